"""Python values to bytes and back, with large buffers out of band.

The serialized form of a value is either a plain pickle (it starts with ``b"\\x80"``) or, when the
value has out-of-band buffers, a *packed* form that readers use in place without copying::

    b"FLV1" | u32 buffers | u64 pickle offset | u64 pickle length
    (u64 offset | u64 length) per buffer
    padding to 64 | buffer 0 | padding to 64 | buffer 1 ... | pickle [| ids]

A buffer whose length has its highest bit set (and then the number of buffers has, too) is for
memory that the reader may write to, see :mod:`fanlight.tensors`; all others come back read-only.

A value that holds refs is always packed, with the magic ``FLR1``: a second pickle, the list of the
refs' ids, follows. The first one names each ref by its place in that list, so that a reader makes
and counts all of them in a few steps, before it rebuilds the value: whatever happens then, there
are as many refs as were counted.

Values are pickled by the C pickler. Only what it cannot carry to another process (functions and
classes of a notebook, lambdas, local classes) goes through cloudpickle. References and handles
inside a value are noted, so that the runtime keeps what they name alive.
"""

from __future__ import annotations

import importlib
import io
import itertools
import pickle
import struct
import sys
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from fanlight import by_value

_MAGIC = b"FLV1"
_MAGIC_REFS = b"FLR1"
_HEAD = struct.Struct("<4sIQQ")
_ENTRY = struct.Struct("<QQ")
_ALIGN = 64
_OVERWRITTEN = "its file in shared memory was overwritten"
_OWN, _ANY_OWN = 1 << 63, 1 << 31  # in the length of a buffer; in the number of buffers

# Modules that register reducers for classes of packages that need not be there.
_LATE = {("torch", "Tensor"): "fanlight.tensors"}

# Exact types that the C pickler carries unchanged and that can hold no reference.
PLAIN = frozenset({int, float, str, bytes, bool, type(None), complex})

_ref_class: Any = None
_make_refs: Callable[[list[bytes], bytes], list[Any]]
_own: weakref.WeakSet[pickle.PickleBuffer] = weakref.WeakSet()
_refs_leave: Callable[[list[bytes]], None]
_reducers: dict[type, Callable[[Any, list[bytes]], tuple[Any, ...]]] = {}


def register_reducer(cls: type, reducer: Callable[[Any, list[bytes]], tuple[Any, ...]]) -> None:
    """Pickle instances of ``cls`` with ``reducer(obj, contained)``; called by refs and handles."""
    _reducers[cls] = reducer


def unregister_reducer(cls: type) -> None:
    """Pickle instances of ``cls`` as Python does again."""
    _reducers.pop(cls, None)


def reducer_of(cls: type) -> Callable[[Any, list[bytes]], Any] | None:
    """What pickles instances of ``cls``, if not Python does; asked by whoever pickles for itself."""
    return _reducers.get(cls) or _late_reducer(cls)


def register_refs(
    cls: type,
    make: Callable[[list[bytes], bytes], list[Any]],
    leave: Callable[[list[bytes]], None],
) -> None:
    """Have instances of ``cls``, which have an ``_id``, travel beside values.

    ``make(ids, outer)`` makes those of a value that is being rebuilt; ``outer`` is the object whose
    value it is, b"" if it is no object's. ``leave(ids)`` is told of those that a value was found to
    hold, before it is sent anywhere.
    """
    global _ref_class, _make_refs, _refs_leave
    _ref_class, _make_refs, _refs_leave = cls, make, leave


def own_pages(buffer: pickle.PickleBuffer) -> pickle.PickleBuffer:
    """Have what is rebuilt from ``buffer`` be writable, at the writer's own expense."""
    _own.add(buffer)
    return buffer


def _late_reducer(cls: type) -> Any:
    """The reducer of a class that was never seen before."""
    module = _LATE.get((cls.__module__, cls.__name__))
    if module is None:
        return None
    importlib.import_module(module)
    return _reducers.get(cls)


def ref_inside(index: int) -> Any:
    """What a value's pickle calls for each ref in it; readers put the refs of the value here."""
    raise pickle.UnpicklingError("a value with refs inside can only be rebuilt by fanlight")


class _NeedsCloudpickle(Exception):
    pass


def _by_value(module: str | None) -> bool:
    return module is None or module == "__main__" or module == "__mp_main__"


def _importable(obj: Any) -> bool:
    """Whether another process finds ``obj`` under its module and name."""
    module = getattr(obj, "__module__", None)
    if _by_value(module):
        return False
    found: Any = sys.modules.get(module)  # type: ignore[arg-type]
    if found is None:
        return False
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
        if found is None:
            return False
    return found is obj and not _registered_by_value(module)


def _registered_by_value(module: str | None) -> bool:
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    registered = getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", ())
    return bool(registered) and any(
        module == name or str(module).startswith(name + ".") for name in registered
    )


class _FastPickler(pickle.Pickler):
    """The C pickler; gives up on what only cloudpickle can carry."""

    def __init__(self, file: Any, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, 5, buffer_callback=_collector(buffers))
        self.contained: list[bytes] = []
        self.refs: dict[bytes, int] = {}

    def reducer_override(self, obj: Any) -> Any:
        cls = type(obj)
        if cls is _ref_class:
            refs = self.refs
            return ref_inside, (refs.setdefault(obj._id, len(refs)),)
        reducer = _reducers.get(cls)
        if reducer is None and cls not in _class_ok:
            reducer = _late_reducer(cls)
        if reducer is not None:
            return reducer(obj, self.contained)
        if cls is FunctionType or isinstance(obj, type):
            if not _importable(obj):
                raise _NeedsCloudpickle
        elif cls is ModuleType or (cls is not BuiltinFunctionType and not _importable_class(cls)):
            raise _NeedsCloudpickle
        return NotImplemented


_class_ok: dict[type, bool] = {}


def _importable_class(cls: type) -> bool:
    ok = _class_ok.get(cls)
    if ok is None:
        module = cls.__module__
        if module == "builtins":
            # Cells, code objects, generators and so on have no importable type of that name.
            ok = cls.__name__ not in ("code", "cell", "mappingproxy", "module", "dict_keys")
        else:
            ok = _importable(cls)
        if not _by_value(module):  # a class of a notebook may be redefined: ask each time
            _class_ok[cls] = ok
    return ok


def _collector(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    # All buffers, small ones too: arrays that come back are read-only whatever their size.
    return buffers.append  # type: ignore[return-value]


_cloud_class: type | None = None


def _cloud_pickler(file: Any, buffers: list[pickle.PickleBuffer] | None) -> Any:
    global _cloud_class
    if _cloud_class is None:
        import cloudpickle

        class CloudPickler(cloudpickle.Pickler):
            contained: list[bytes]
            refs: dict[bytes, int] | None  # None: each ref is rebuilt by itself
            sources: set[str]

            def reducer_override(self, obj: Any) -> Any:
                if type(obj) is _ref_class and self.refs is not None:
                    return ref_inside, (self.refs.setdefault(obj._id, len(self.refs)),)
                reducer = _reducers.get(type(obj)) or _late_reducer(type(obj))
                reduced = NotImplemented if reducer is None else reducer(obj, self.contained)
                if reduced is not NotImplemented:
                    return reduced
                return by_value.reduce(self, obj, super().reducer_override(obj))

        _cloud_class = CloudPickler
    callback = None if buffers is None else _collector(buffers)
    pickler = _cloud_class(file, 5, buffer_callback=callback)
    pickler.contained = []
    pickler.sources = set()
    pickler.refs = None if buffers is None else {}
    return pickler


class Serialized:
    """A value's pickle, its out-of-band buffers, and the ids of the objects inside it."""

    __slots__ = ("_layout", "_own", "_tail", "buffers", "contained", "pickled", "size")

    def __init__(
        self,
        pickled: bytes,
        buffers: list[pickle.PickleBuffer],
        contained: list[bytes],
        refs: list[bytes] | None = None,
    ) -> None:
        """``refs`` are those that the pickle names by their places; ``contained`` others."""
        self.pickled = pickled
        self.contained = contained
        self._own: list[int] = []
        self._layout: list[tuple[int, int]] = []
        self._tail = b""  # of the packed form
        if refs:
            _refs_leave(refs)
            self.contained = refs + contained
            self._tail = pickle.dumps(refs, 5)
        elif not buffers:
            self.buffers: list[memoryview] = []
            self.size = len(pickled)
            return
        self.buffers = [b.raw() for b in buffers]
        if _own:
            self._own = [_OWN if b in _own else 0 for b in buffers]
        position = _HEAD.size + _ENTRY.size * len(buffers)
        for view in self.buffers:
            position = -(-position // _ALIGN) * _ALIGN
            self._layout.append((position, view.nbytes))
            position += view.nbytes
        self.size = position + len(pickled) + len(self._tail)

    def _table(self) -> bytes:
        """What stands before the buffers of the packed form."""
        length = len(self.pickled)
        magic = _MAGIC_REFS if self._tail else _MAGIC
        start = self.size - length - len(self._tail)
        layout, number = self._layout, len(self.buffers)
        if any(self._own):
            layout = [(at, size | own) for (at, size), own in zip(layout, self._own, strict=True)]
            number |= _ANY_OWN
        head = _HEAD.pack(magic, number, start, length)
        return head + b"".join(itertools.starmap(_ENTRY.pack, layout))

    def write_into(self, target: memoryview) -> None:
        """Write the serialized form into ``target``, which has ``size`` bytes."""
        position = 0
        for piece in self.pieces():
            end = position + len(piece)
            target[position:end] = piece
            position = end

    def pieces(self) -> list[bytes | memoryview]:
        """The serialized form in parts, to be written one after the other without copying."""
        if not (self.buffers or self._tail):
            return [self.pickled]
        table = self._table()
        out: list[bytes | memoryview] = [table]
        position = len(table)
        for (offset, length), buffer in zip(self._layout, self.buffers, strict=True):
            if offset > position:
                out.append(bytes(offset - position))
            out.append(buffer)
            position = offset + length
        out.append(self.pickled)
        if self._tail:
            out.append(self._tail)
        return out

    def to_bytes(self) -> bytes:
        if not (self.buffers or self._tail):
            return self.pickled
        return b"".join(self.pieces())


def dumps(value: Any) -> Serialized:
    """Serialize ``value``. Raises what pickling raises (TypeError, PicklingError, …)."""
    if type(value) in PLAIN:
        return Serialized(pickle.dumps(value, 5), [], [])
    buffers: list[pickle.PickleBuffer] = []
    out = io.BytesIO()
    pickler: Any = _FastPickler(out, buffers)
    try:
        pickler.dump(value)
        fast = True
    except (_NeedsCloudpickle, pickle.PicklingError, AttributeError, TypeError):
        # TypeError and AttributeError too: cloudpickle explains better what cannot be pickled.
        fast = False
    if not fast:  # not above, where what it raises would have the first error as its context
        buffers = []
        out = io.BytesIO()
        pickler = _cloud_pickler(out, buffers)
        pickler.dump(value)
    return Serialized(out.getvalue(), buffers, pickler.contained, [*pickler.refs])


def dumps_function(function: Any) -> tuple[bytes, list[bytes]]:
    """Pickle a function or class by value where it must be; returns bytes and contained ids."""
    out = io.BytesIO()
    pickler = _cloud_pickler(out, None)
    pickler.dump(function)
    return out.getvalue(), pickler.contained


class _Unpickler(pickle.Unpickler):
    """Rebuilds a value whose refs are made already."""

    nth: Callable[[int], Any]

    def find_class(self, module: str, name: str) -> Any:
        if name == "ref_inside" and module == __name__:
            return self.nth
        return super().find_class(module, name)


def damage(data: memoryview, size: int) -> str:
    """What speaks against ``data`` beginning with a serialized value of ``size`` bytes, as a clause;
    "" if nothing does. Looks at its ends and its table, not at what is between."""
    if len(data) < size:
        return f"its file in shared memory has {len(data)} of {size} bytes"
    start, end = 0, size
    if bytes(data[:1]) == b"F" and size >= _HEAD.size:
        magic, count, start, length = _HEAD.unpack_from(data, 0)
        count &= ~_ANY_OWN
        table = _HEAD.size + _ENTRY.size * count
        end = start + length
        if magic not in (_MAGIC, _MAGIC_REFS) or not table <= start < end <= size:
            return _OVERWRITTEN
        if count:
            offset, last = _ENTRY.unpack_from(data, table - _ENTRY.size)
            if offset + (last & ~_OWN) > start:
                return _OVERWRITTEN
    if data[start] != 0x80 or data[end - 1] != 0x2E:  # what pickles begin and end with
        return _OVERWRITTEN
    return ""


def wants_own_pages(data: memoryview) -> bool:
    """Whether the value has buffers that are to be writable."""
    return bytes(data[:1]) == b"F" and bool(_HEAD.unpack_from(data, 0)[1] & _ANY_OWN)


def loads(data: bytes | memoryview, outer: bytes = b"") -> Any:
    """Rebuild a value. Buffers are read-only views into ``data``: nothing large is copied.

    ``outer`` is the id of the object whose value it is. Where it wants pages of its own, ``data``
    should be writable; what is to be writable is copied otherwise.
    """
    if data[:1] != b"F":
        return pickle.loads(data)
    whole = memoryview(data)
    view = whole.toreadonly()
    magic, count, start, length = _HEAD.unpack_from(view, 0)
    if magic not in (_MAGIC, _MAGIC_REFS):
        raise pickle.UnpicklingError("this is not a serialized value")
    count &= ~_ANY_OWN
    buffers = []
    for offset, size in _ENTRY.iter_unpack(view[_HEAD.size : _HEAD.size + _ENTRY.size * count]):
        if size & _OWN:
            part = whole[offset : offset + (size ^ _OWN)]
            buffers.append(memoryview(bytearray(part)) if part.readonly else part)
        else:
            buffers.append(view[offset : offset + size])
    pickled = view[start : start + length]
    if magic == _MAGIC:
        return pickle.loads(pickled, buffers=buffers)
    refs = _make_refs(pickle.loads(view[start + length :]), outer)
    unpickler = _Unpickler(io.BytesIO(pickled), buffers=buffers)
    unpickler.nth = refs.__getitem__
    return unpickler.load()
