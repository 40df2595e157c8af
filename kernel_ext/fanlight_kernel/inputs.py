"""The values that go to the worker: which, how large, and why one cannot go.

How they travel is :mod:`fanlight_kernel.carry`'s business.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fanlight.serialization import PLAIN
from fanlight_kernel.capture import function_globals
from fanlight_kernel.carry import Home, Packed, Packer, Space

LARGE = 64 << 10  # bytes: above this a value goes through the store, once for each content
# IPython's, and those of the notebook as a module: the worker has its own.
_NEVER = frozenset(
    {"In", "Out", "get_ipython", "exit", "quit"}
    | {f"__{n}__" for n in ("name", "builtins", "builtin", "doc", "loader", "package", "spec")}
    | {f"__{n}__" for n in ("annotations", "conditional_annotations", "file", "cached")}
)


class CaptureError(Exception):
    """An input cannot be sent; the text names the variable, the reason and the way out."""


@dataclass
class Inputs:
    """What a cell takes along."""

    values: dict[str, Any] = field(default_factory=dict)
    large: dict[str, Packed] = field(default_factory=dict)  # of those, what goes through the store
    modules: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name: what to import
    placeholders: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # names that functions and classes use

    def drop(self, name: str) -> None:
        """Leave one out: the variable of ``--each``."""
        for part in (self.values, self.large, self.modules, self.sizes):
            part.pop(name, None)


def gather(
    names: Iterable[str],
    home: Home,
    *,
    hidden: dict[str, Any] | None = None,
    deleted: Iterable[str] = (),
    explicit: Iterable[str] | None = None,
    attributes: Iterable[str] = (),
    looks_up: bool = False,
) -> Inputs:
    """Find the values of ``names`` in the user's namespace, and of what their functions use.

    ``hidden`` are IPython's own names, left out while they have their first value. ``deleted`` are
    names that are only deleted: they go as placeholders. ``explicit`` (``--in``) replaces
    ``names``. ``attributes`` are those that the cell names: they tell which submodules it uses. ``looks_up``: the
    cell looks names up at run time, so that a string it reads may be one. Raises :class:`CaptureError`.
    """
    found = Inputs()
    user_ns = home.ns
    if explicit is not None:
        missing = [n for n in explicit if n not in user_ns]
        if missing:
            raise CaptureError(
                f"--in {', '.join(missing)}: the notebook has no variable of that name."
            )
    todo = list(names if explicit is None else explicit)
    via: dict[str, str] = {}
    seen: set[str] = set()
    modules: dict[str, types.ModuleType] = {}
    for name in todo:  # it grows
        if name in seen or not _is_users(name, user_ns, hidden or {}):
            continue
        seen.add(name)
        value = user_ns[name]
        if isinstance(value, types.ModuleType):
            modules[name] = value
            continue
        found.values[name] = value
        if type(value) in PLAIN and not (type(value) in (str, bytes) and len(value) > LARGE):
            found.sizes[name] = _plain_size(value)
            if looks_up and type(value) is str and value.isidentifier():
                todo.append(value)
            continue
        packer = Packer(home)
        try:
            packed = packer.pack(value)
        except Exception as error:
            raise CaptureError(explain(name, value, error, via.get(name), home)) from None
        for other in packer.used:
            via.setdefault(other, name)
            todo.append(other)
        found.used.update(packer.used)
        found.sizes[name] = packed.size
        if packed.size > LARGE:
            found.large[name] = packed
    chains = {*attributes, *found.used}
    for name, module in modules.items():
        found.modules[name] = _module_names(name, module, chains)
    for name in deleted:
        if name not in seen and _is_users(name, user_ns, hidden or {}):
            found.placeholders.append(name)
    return found


def _plain_size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes)) else sys.getsizeof(value)


def _is_users(name: str, user_ns: dict[str, Any], hidden: dict[str, Any]) -> bool:
    if name not in user_ns or name in _NEVER:
        return False
    value = user_ns[name]
    if name in hidden and hidden[name] is value:
        return False
    return getattr(builtins, name, hidden) is not value


def _module_names(name: str, module: types.ModuleType, parts: set[str]) -> tuple[str, ...]:
    """The module's own name, and those of its submodules that are loaded here and may be meant."""
    own = module.__name__
    if own == "__main__":
        raise CaptureError(
            f"`{name}` is the notebook's own module (__main__), which cannot be sent. "
            "Use the variables themselves, or `import __main__` in the cell."
        )
    inner = [n for n in list(sys.modules) if n.startswith(own + ".")]
    return own, *(n for n in inner if parts.issuperset(n[len(own) + 1 :].split(".")))


def why_not(value: Any, space: Space) -> str | None:
    """Why ``value`` cannot be pickled, in a few words; ``None`` when it can."""
    try:
        Packer(space).pack(value)
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


def explain(name: str, value: Any, error: BaseException, via: str | None, space: Space) -> str:
    """One message for a variable that cannot be sent: which, why, and what to do."""
    reason = _reason(error)
    path, culprit = find_culprit(name, value, space)
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


def find_culprit(path: str, value: Any, space: Space, depth: int = 4) -> tuple[str, Any]:
    """The innermost part of ``value`` that cannot be pickled, as an expression and itself."""
    if depth > 0:
        for part_path, part in _parts(path, value):
            if why_not(part, space) is not None:
                return find_culprit(part_path, part, space, depth - 1)
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
        parts += [(f"{path}.{key}", v) for key, v in vars(value).items()]
        known = value.__globals__
        return parts + [(n, known[n]) for n in function_globals(value) if n in known]
    if isinstance(value, types.MethodType):
        return [(f"{path}.__self__", value.__self__)]
    if isinstance(value, functools.partial):
        named = [(f"{path}.keywords[{key!r}]", v) for key, v in value.keywords.items()]
        return [*((f"{path}.args[{i}]", v) for i, v in enumerate(value.args)), *named]
    if isinstance(value, type):
        return [(f"{path}.{key}", v) for key, v in vars(value).items() if key[:2] != "__"]
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        return [(f"{path}.{key}", v) for key, v in list(vars(value).items())[:1000]]
    return []
