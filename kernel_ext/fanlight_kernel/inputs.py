"""The values that go to the worker: which, how large, and why one cannot go.

The notebook's functions travel as bare code and share the cell's globals there, as they do here.
"""

from __future__ import annotations

import builtins
import dataclasses
import hashlib
import io
import types
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fanlight_kernel.capture import function_globals

LARGE = 64 << 10  # bytes: above this a value goes through the store, once for each content
HASH_LIMIT = 256 << 20  # bytes: above this hashing takes longer than it saves
_NEVER = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open", "display"})


class CaptureError(Exception):
    """An input cannot be sent; the text names the variable, the reason and the way out."""


@dataclass
class Inputs:
    """What a cell takes along."""

    values: dict[str, Any] = field(default_factory=dict)  # as they travel
    modules: dict[str, str] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    placeholders: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # of large values without refs inside


def gather(
    names: Iterable[str],
    user_ns: dict[str, Any],
    *,
    hidden: dict[str, Any] | None = None,
    deleted: Iterable[str] = (),
    explicit: Iterable[str] | None = None,
) -> Inputs:
    """Find the values of ``names`` in the user's namespace, and of what their functions use.

    ``hidden`` are IPython's own names, left out while they have their first value. ``deleted`` are
    names that are only deleted: they go as placeholders. ``explicit`` (``--in``) replaces
    ``names``. Raises :class:`CaptureError`.
    """
    found = Inputs()
    wanted = list(names if explicit is None else explicit)
    if explicit is not None:
        missing = [n for n in wanted if n not in user_ns]
        if missing:
            raise CaptureError(
                f"--in {', '.join(missing)}: the notebook has no variable of that name."
            )
    todo = list(wanted)
    seen: set[str] = set()
    via: dict[str, str] = {}
    while todo:
        name = todo.pop(0)
        if name in seen or not _is_users(name, user_ns, hidden or {}):
            continue
        seen.add(name)
        value = user_ns[name]
        if isinstance(value, types.ModuleType):
            found.modules[name] = _module_name(name, value)
            continue
        if isinstance(value, types.FunctionType) and value.__globals__ is user_ns:
            found.functions.append(name)
            travelling: Any = strip(value)
        else:
            travelling = value
        for other in _used_by(value, user_ns):
            via.setdefault(other, name)
            todo.append(other)
        _measure(name, travelling, found, via)
        found.values[name] = travelling
    for name in deleted:
        if name not in seen and _is_users(name, user_ns, hidden or {}):
            found.placeholders.append(name)
    return found


def _is_users(name: str, user_ns: dict[str, Any], hidden: dict[str, Any]) -> bool:
    if name not in user_ns or name.startswith("__") or name in _NEVER:
        return False
    value = user_ns[name]
    if name in hidden and hidden[name] is value:
        return False
    return getattr(builtins, name, hidden) is not value


def _module_name(name: str, module: types.ModuleType) -> str:
    if module.__name__ == "__main__":
        raise CaptureError(
            f"`{name}` is the notebook's own module (__main__), which cannot be sent. "
            "Use the variables themselves."
        )
    return module.__name__


def _used_by(value: Any, user_ns: dict[str, Any]) -> list[str]:
    """Globals of the notebook that a function or class of the notebook uses."""
    names: list[str] = []
    for function in _functions_of(value):
        if function.__globals__ is user_ns:
            names += function_globals(function)
    return names


def _functions_of(value: Any) -> list[types.FunctionType]:
    if isinstance(value, types.FunctionType):
        return [value]
    if not isinstance(value, type) or value.__module__ != "__main__":
        return []
    parts = [
        part
        for member in vars(value).values()
        for part in (
            member,
            getattr(member, "__func__", None),
            getattr(member, "fget", None),
            getattr(member, "fset", None),
        )
    ]
    return [part for part in parts if isinstance(part, types.FunctionType)]


def strip(function: types.FunctionType) -> types.FunctionType:
    """The function without its globals, which would otherwise be copied into its pickle."""
    from fanlight_kernel.worker import adopt

    return adopt(function, {"__name__": "__main__", "__builtins__": builtins})


def _measure(name: str, value: Any, found: Inputs, via: dict[str, str]) -> None:
    try:
        pickled, buffers, refs = _pickle(value)
    except Exception as error:
        raise CaptureError(explain(name, value, error, via.get(name))) from None
    size = len(pickled) + sum(b.nbytes for b in buffers)
    found.sizes[name] = size
    if LARGE < size <= HASH_LIMIT and not refs:
        digest = hashlib.blake2b(pickled, digest_size=16)
        for buffer in buffers:
            digest.update(buffer)
        found.digests[name] = digest.hexdigest()


def _pickle(value: Any) -> tuple[bytes, list[memoryview], bool]:
    """Pickle as the runtime would, refs and handles aside: bytes, buffers, whether it holds refs."""
    import cloudpickle

    from fanlight import by_value

    references = reference_types()
    found_refs: list[bool] = []

    class Pickler(cloudpickle.Pickler):
        sources: set[str]

        def reducer_override(self, obj: Any) -> Any:
            if references and isinstance(obj, references):
                found_refs.append(True)
                return str, ("ref",)
            return by_value.reduce(self, obj, super().reducer_override(obj))

    out = io.BytesIO()
    raw: list[Any] = []
    pickler = Pickler(out, 5, buffer_callback=raw.append)
    pickler.sources = set()
    pickler.dump(value)
    return out.getvalue(), [b.raw() for b in raw], bool(found_refs)


def reference_types() -> tuple[type, ...]:
    import fanlight

    found: list[type] = []
    reference = getattr(fanlight, "ObjectRef", None)
    if isinstance(reference, type):
        found.append(reference)
    try:
        from fanlight.actor import ActorHandle

        found.append(ActorHandle)
    except ImportError:
        return tuple(found)
    return tuple(found)


def size_of(value: Any) -> int:
    """Bytes that ``value`` takes on its way. Raises what pickling raises."""
    pickled, buffers, _ = _pickle(value)
    return len(pickled) + sum(b.nbytes for b in buffers)


def why_not(value: Any) -> str | None:
    """Why ``value`` cannot be pickled, in a few words; ``None`` when it can."""
    try:
        _pickle(value)
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


_WAYS = (
    (("_io.", "TextIOWrapper", "Buffered", "file"), "open the file inside the cell"),
    (("lock", "RLock", "Condition", "Semaphore"), "make the lock inside the cell"),
    (("generator", "coroutine"), "send a list of its items, or make it inside the cell"),
    (("socket",), "open the connection inside the cell"),
    (("sqlite3", "Connection", "Cursor", "engine"), "connect inside the cell"),
    (("frame", "traceback"), "send its text instead"),
    (("thread", "Thread", "Executor"), "make it inside the cell"),
)


def explain(name: str, value: Any, error: BaseException, via: str | None) -> str:
    """One message for a variable that cannot be sent: which, why, and what to do."""
    reason = _reason(error)
    path, culprit = find_culprit(name, value)
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__} {reason}"
    way = next((w for keys, w in _WAYS if any(k in kind for k in keys)), "make it inside the cell")
    where = f"`{name}`" if path == name else f"`{name}` (in `{path}`, {_a(culprit)})"
    used = f", which `{via}` uses," if via else ""
    return (
        f"The variable {where}{used} cannot be sent to a worker: {reason}. "
        f"Way out: {way}, or leave it out with --in."
    )


def _a(value: Any) -> str:
    name = type(value).__qualname__
    return f"a{'n' if name[:1].lower() in 'aeiou' else ''} {name}"


def find_culprit(path: str, value: Any, depth: int = 4) -> tuple[str, Any]:
    """The innermost part of ``value`` that cannot be pickled, as an expression and itself."""
    if depth > 0:
        for part_path, part in _parts(path, value):
            try:
                _pickle(part)
            except Exception:
                return find_culprit(part_path, part, depth - 1)
    return path, value


def _parts(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", v) for key, v in list(value.items())[:1000]]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{i}]", v) for i, v in enumerate(value[:1000])]
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        parts = []
        for name, cell in cells:
            try:
                parts.append((name, cell.cell_contents))
            except ValueError:  # not filled yet
                continue
        known = value.__globals__
        return parts + [(n, known[n]) for n in function_globals(value) if n in known]
    if isinstance(value, type):
        return []
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        return [(f"{path}.{key}", v) for key, v in list(vars(value).items())[:1000]]
    return []


class PutCache:
    """Large values already in the store, by content, so that running again uploads nothing new."""

    def __init__(self, limit: int = 64) -> None:
        self._refs: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._limit = limit

    def put(self, runtime_id: str, digest: str | None, value: Any) -> Any:
        """A ref to ``value``; ``digest`` is its content hash, ``None`` for "do not remember"."""
        import fanlight

        if digest is None:
            return fanlight.put(value)
        key = (runtime_id, digest)
        ref = self._refs.get(key)
        if ref is None:
            ref = self._refs[key] = fanlight.put(value)
        self._refs.move_to_end(key)
        while len(self._refs) > self._limit:
            self._refs.popitem(last=False)
        return ref

    def clear(self) -> None:
        self._refs.clear()
