"""How values travel between the notebook and a cell that runs elsewhere.

A plain pickle would take a function's globals along as a snapshot: a cell that rebinds ``k`` would
then not be seen by the functions that use it. Here functions whose globals are the namespace that
is left travel bare, wherever they are (in a class, a closure, a ``partial``, a list), and get
the namespace that they come to; the names that they use are noted, so that these travel too.

A class of the notebook is built anew for each run of a cell, for the same reason. On its way home
it is only named: an instance that comes back is one of the notebook's own class, which stays
as it is. Refs and handles inside a value travel beside it, where the runtime counts them.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import threading
import types
import uuid
from collections import OrderedDict
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as internals

from fanlight import by_value, serialization
from fanlight_kernel.capture import mentions
from fanlight_kernel.capture.names import function_globals

OUT_OF_BAND = 64 << 10  # bytes: a longer pickle travels like a buffer, and is not copied again
_CLASSES = 256  # of the notebook that were sent, and are kept so that they can be named


class Space:
    """A namespace that functions and classes come to live in: that of a cell, in a worker."""

    home = False

    def __init__(self, ns: dict[str, Any]) -> None:
        self.ns = ns
        self.classes: dict[str, type] = {}  # by the id that the notebook gave them
        self.tokens: dict[type, str] = {}  # of those
        self.made: dict[type, str] = {}  # ids of classes that are made here

    def take_class(self, token: str, make: Any, args: tuple[Any, ...]) -> type:
        """The class of that id; made now if it is new here."""
        cls = self.classes.get(token)
        if cls is None:
            cls = self.classes[token] = make(*args)
            self.tokens[cls] = token
            with internals._DYNAMIC_CLASS_TRACKER_LOCK:
                internals._DYNAMIC_CLASS_TRACKER_BY_CLASS[cls] = token
                if Home.here is None:  # what nested tasks return are instances of this class
                    internals._DYNAMIC_CLASS_TRACKER_BY_ID[token] = cls
        return cls

    def token_of(self, cls: type) -> str:
        """The id of a class that is made here, and leaves."""
        if Home.here is None:
            token = str(internals._get_or_create_tracker_id(cls))
        else:  # in the notebook's process, whose own class of that id is another one
            token = self.made.setdefault(cls, uuid.uuid4().hex)
        self.classes.setdefault(token, cls)
        return token

    def fill_class(self, cls: type, token: str, state: Any) -> None:
        """Give a class its members; a namespace that lives on gets changed ones."""
        internals._class_setstate(cls, state)
        by_value.know(cls)


class Home(Space):
    """The notebook's own namespace."""

    here: Home | None = None  # in the notebook's process
    home = True

    def __init__(self, ns: dict[str, Any]) -> None:
        super().__init__(ns)
        self.own: OrderedDict[str, type] = OrderedDict()  # known here: never changed from outside

    def token_of(self, cls: type) -> str:
        token = str(internals._get_or_create_tracker_id(cls))
        self.note(token, cls)
        return token

    def note(self, token: str, cls: type) -> None:
        self.own[token] = cls
        self.own.move_to_end(token)
        while len(self.own) > _CLASSES:
            self.own.popitem(last=False)

    def take_class(self, token: str, make: Any, args: tuple[Any, ...]) -> type:
        known = self.own.get(token)
        if known is not None:
            return known
        with internals._DYNAMIC_CLASS_TRACKER_LOCK:
            known = internals._DYNAMIC_CLASS_TRACKER_BY_ID.get(token)
        if known is not None:
            return known
        return internals._lookup_class_or_track(token, make(*args))

    def fill_class(self, cls: type, token: str, state: Any) -> None:
        if token not in self.own:
            super().fill_class(cls, token, state)
            self.note(token, cls)


class _Opening(threading.local):
    """The value that this thread is rebuilding."""

    space: Space | None = None
    refs: list[Any] = []  # noqa: RUF012


_opening = _Opening()


class Packed:
    """A pickled value, its buffers, and the refs inside it: what goes over the runtime."""

    __slots__ = ("buffers", "data", "refs", "staged")

    def __init__(
        self, data: Any, buffers: list[Any], refs: list[Any], staged: bool = False
    ) -> None:
        self.data = data
        self.buffers = buffers
        self.refs = refs
        self.staged = staged  # see :func:`pack_names`

    def __reduce__(self) -> Any:
        data = self.data
        if isinstance(data, bytes) and len(data) > OUT_OF_BAND:
            data = pickle.PickleBuffer(data)
        return Packed, (data, self.buffers, self.refs, self.staged)

    @property
    def size(self) -> int:
        """Bytes, refs aside."""
        return len(self.data) + sum(memoryview(b).nbytes for b in self.buffers)

    def open(self, space: Space, *, writable: bool = False) -> Any:
        """The value, in ``space``. Its arrays are read-only views of the buffers; ``writable``
        copies those."""
        buffers = [bytearray(b) for b in self.buffers] if writable else self.buffers
        before = _opening.space, _opening.refs
        _opening.space, _opening.refs = space, self.refs
        try:
            if not self.staged:
                return pickle.loads(self.data, buffers=buffers)
            unpickler = pickle.Unpickler(io.BytesIO(self.data), buffers=buffers)
            found = unpickler.load()
            for name, value in found.items():
                space.ns.setdefault(name, value)
            return found | unpickler.load()
        finally:
            _opening.space, _opening.refs = before


class Portable:
    """An output on its own (``--refs``, ``--bg``): whoever gets it gets the value itself.

    In the notebook its functions use the notebook's globals; anywhere else those that they had.
    """

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    def __reduce__(self) -> Any:
        return open_anywhere, (self.packed,)


def open_anywhere(packed: Packed) -> Any:
    """Called when a :class:`Portable` arrives: its value."""
    if Home.here is not None:
        return packed.open(Home.here)[0]
    space = Space({"__name__": "__main__", "__builtins__": __builtins__})
    value, used = packed.open(space)
    for name, content in used.items():
        space.ns.setdefault(name, content)
    return value


class Packer(cloudpickle.Pickler):
    """Pickles what leaves ``space``. After :meth:`pack`, ``used`` are the globals it needs."""

    def __init__(self, space: Space, *, by_name: bool = True) -> None:
        self._out = io.BytesIO()
        self._raw: list[pickle.PickleBuffer] = []
        super().__init__(self._out, 5, buffer_callback=self._raw.append)
        self.space = space
        self.by_name = by_name  # classes that the reader has are only named
        self.used: dict[str, None] = {}
        self.sources: set[str] = set()  # files whose lines are in this pickle
        self.refs: list[Any] = []
        self._references = reference_types()
        self._places: dict[int, int] = {}
        self.local = False  # it holds functions or classes of the space

    def pack(self, value: Any) -> Packed:
        """Raises what pickling raises."""
        self.dump(value)
        return Packed(self._out.getvalue(), list(self._raw), self.refs)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is types.FunctionType:
            if obj.__globals__ is self.space.ns:
                reduced = self._function(obj)
            else:
                reduced = super().reducer_override(obj)
            return by_value.reduce(self, obj, reduced)
        if isinstance(obj, type):
            return self._class(obj)
        if kind is types.CellType:
            return _cell(obj)
        if isinstance(obj, self._references):
            place = self._places.setdefault(id(obj), len(self.refs))
            if place == len(self.refs):
                self.refs.append(obj)
            return nth_ref, (place,)
        if kind.__module__.partition(".")[0] == "torch":
            _refuse_device(obj)
        reducer = serialization.reducer_of(kind)
        if reducer is not None:
            reduced = reducer(obj, [])
            if reduced is not NotImplemented:
                return reduced
        if kind is io.TextIOWrapper and obj not in (sys.stdin, sys.stdout, sys.stderr):
            # cloudpickle would send the file's whole text instead.
            raise TypeError(f"cannot pickle an open file ({getattr(obj, 'name', '?')!r})")
        if kind is functools._lru_cache_wrapper and _is_dynamic(obj):
            wrapped = obj.__wrapped__
            rest = {k: v for k, v in vars(obj).items() if k != "__wrapped__"}
            return make_cached, (wrapped, obj.cache_parameters()), rest, None, None, set_dict
        if kind is functools.cached_property:  # up to Python 3.11 it holds a lock
            return functools.cached_property, (obj.func,), {"attrname": obj.attrname}
        return super().reducer_override(obj)

    def _function(self, function: types.FunctionType) -> Any:
        self.local = True
        for name in function_globals(function):
            self.used.setdefault(name)
        self.used.update(dict.fromkeys(mentions.in_code(function.__code__)))
        state = {name: getattr(function, name) for name in _FUNCTION if hasattr(function, name)}
        parts = function.__code__, function.__closure__
        return make_function, parts, (state, function.__dict__), None, None, fill_function

    def _class(self, cls: type) -> Any:
        token = self.space.tokens.get(cls) if self.by_name else None
        if token is not None:
            self.local = True
            return named_class, (token, cls.__qualname__)
        reduced = super().reducer_override(cls)
        if type(reduced) is not tuple or reduced[0] not in _SKELETONS:
            return reduced
        self.local = True
        make, args, state = reduced[:3]
        token = self.space.token_of(cls)
        # The skeleton's own id is left out: which class it is, is the reader's business.
        args = (*args[:-2], None, args[-1])
        slots = vars(cls).get("__slots__")
        plain = make is internals._make_skeleton_class and not issubclass(cls, tuple)
        kwargs: dict[str, Any] = {"__qualname__": cls.__qualname__} if plain else {}
        if plain and isinstance(slots, (str, tuple, list, dict)):
            # Real slots, or an instance's state would not fit into those of the other side.
            kwargs["__slots__"] = slots
            members = state[0]
            for name in [n for n, m in members.items() if _is_slot(n, m)]:
                del members[name]
        if plain:
            args = (*args[:3], {**args[3], **kwargs}, *args[4:])
        return make_class, (token, make, args), (token, state), None, None, fill_class


_SKELETONS = (internals._make_skeleton_class, internals._make_skeleton_enum)
_FUNCTION = (
    "__name__",
    "__qualname__",
    "__module__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
    "__type_params__",
)


def pack(value: Any, space: Space) -> Packed:
    """Pickle ``value`` on its way out of ``space``. Raises what pickling raises."""
    return Packer(space).pack(value)


def pack_names(values: dict[str, Any], space: Space) -> Packed:
    """Pickle variables. Functions and classes, and the constants that they may use, come first,
    and are there while the others are rebuilt, which may call them (``__reduce__``, ``__hash__``).
    Raises what pickling raises."""
    packer = Packer(space)
    if not any(map(_defines, values.values())):
        return packer.pack(values)
    definitions = {
        n: v
        for n, v in values.items()
        if n.isidentifier() and (_defines(v) or type(v) in serialization.PLAIN)
    }
    packer.dump(definitions)
    packed = packer.pack({n: v for n, v in values.items() if n not in definitions})
    packed.staged = True
    return packed


def portable(value: Any, space: Space) -> Any:
    """``value`` for any reader: itself where it holds nothing of ``space``. Raises likewise."""
    packer = Packer(space, by_name=False)
    packer.pack(value)
    if not packer.local:
        return value
    used: dict[str, Any] = {}
    todo = list(packer.used)
    while todo:
        name = todo.pop()
        if name in used or name not in space.ns or name.startswith("__"):
            continue
        inner = Packer(space, by_name=False)
        try:
            inner.pack(space.ns[name])
        except Exception:
            continue  # then only what needs it fails, and says so
        used[name] = space.ns[name]
        todo += inner.used
    return Portable(Packer(space, by_name=False).pack((value, used)))


def reference_types() -> tuple[type, ...]:
    """The types whose instances the runtime counts."""
    import fanlight
    from fanlight.actor import ActorHandle

    return fanlight.ObjectRef, ActorHandle


# --- what a pickle calls: their names are part of the format -----------------------------------


def _current() -> Space:
    if _opening.space is None:
        raise pickle.UnpicklingError("a value of a %%remote cell can only be rebuilt by fanlight")
    return _opening.space


def nth_ref(place: int) -> Any:
    _current()
    return _opening.refs[place]


def make_function(code: types.CodeType, closure: Any) -> types.FunctionType:
    return types.FunctionType(code, _current().ns, closure=closure)


def fill_function(function: types.FunctionType, state: Any) -> None:
    for name, value in state[0].items():
        setattr(function, name, value)
    function.__dict__.update(state[1])


def make_class(token: str, make: Any, args: tuple[Any, ...]) -> type:
    return _current().take_class(token, make, args)


def fill_class(cls: type, state: Any) -> None:
    token, members = state
    _current().fill_class(cls, token, members)


def named_class(token: str, name: str) -> type:
    """The notebook's own class."""
    space = _current()
    cls = space.own.get(token) if isinstance(space, Home) else space.classes.get(token)
    if cls is None:
        cls = internals._DYNAMIC_CLASS_TRACKER_BY_ID.get(token)
    if cls is None:
        raise pickle.UnpicklingError(
            f"the notebook's class {name} that this is an instance of is gone"
        )
    return cls


def make_cell() -> types.CellType:
    return types.CellType()


def fill_cell(cell: types.CellType, content: tuple[Any, ...]) -> None:
    cell.cell_contents = content[0]


def make_cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def set_dict(obj: Any, state: dict[str, Any]) -> None:
    vars(obj).update(state)


# --- what a pickler asks about single objects ----------------------------------------------------


def _cell(cell: types.CellType) -> Any:
    """Cells keep their identity: two functions may share one (``nonlocal``)."""
    try:
        content = (cell.cell_contents,)
    except ValueError:  # not filled yet
        return make_cell, ()
    return make_cell, (), content, None, None, fill_cell


def _refuse_device(tensor: Any) -> None:
    """Memory of a GPU stays where it is: whoever unpickled it would need the GPU, too."""
    device = getattr(getattr(tensor, "device", None), "type", "cpu")
    if device not in ("cpu", "meta"):
        raise TypeError(f"cannot pickle a tensor on {tensor.device}: use its .cpu()")


def _defines(value: Any) -> bool:
    return isinstance(value, (types.FunctionType, type))


def _is_slot(name: str, member: Any) -> bool:
    return name == "__slots__" or isinstance(member, types.MemberDescriptorType)


def _is_dynamic(obj: Any) -> bool:
    """Whether no other process finds ``obj`` under its module and name."""
    module = getattr(obj, "__module__", None)
    return module is None or module == "__main__" or "<locals>" in obj.__qualname__
