"""The values that go to the worker: which, how large, and why one cannot go.

How they travel is :mod:`fanlight_kernel.capture.carry`'s business.
"""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fanlight.serialization import PLAIN
from fanlight_kernel.capture import mentions
from fanlight_kernel.capture.carry import Home, Packed, Packer
from fanlight_kernel.capture.refusals import explain

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
    aliases: dict[str, str] = field(default_factory=dict)  # another name of the same large object
    modules: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name: what to import
    placeholders: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # names that functions and classes use

    def drop(self, name: str) -> None:
        """Leave one out: the variable of ``--each``."""
        for alias, other in list(self.aliases.items()):
            if other == name and name in self.large:
                self.large[alias] = self.large[name]
                del self.aliases[alias]
                break
        parts: tuple[dict[str, Any], ...]
        parts = self.values, self.large, self.aliases, self.modules, self.sizes
        for part in parts:
            part.pop(name, None)


def gather(
    names: Iterable[str],
    home: Home,
    *,
    hidden: dict[str, Any] | None = None,
    deleted: Iterable[str] = (),
    explicit: Iterable[str] | None = None,
    attributes: Iterable[str] = (),
    words: Iterable[str] = (),
    looks_up: bool = False,
) -> Inputs:
    """Find the values of ``names`` in the user's namespace, and of what their functions use.

    ``hidden`` are IPython's own names, left out while they have their first value. ``deleted`` are
    names that are only deleted: they go as placeholders. ``explicit`` (``--in``) replaces
    ``names``. ``attributes`` are those that the cell names: they tell which submodules it uses. ``looks_up``: the
    cell looks names up at run time, so that a string it reads may be one, and so may ``words``, those
    of its strings. Raises :class:`CaptureError`.
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
    if looks_up:
        todo += words
    same: dict[int, str] = {}
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
        if not looks_up and not mentions.LOOK_UP.isdisjoint(packer.used):
            looks_up = True
            todo += words
        found.used.update(packer.used)
        found.sizes[name] = packed.size
        if packed.size > LARGE:
            if same.setdefault(id(value), name) == name:
                found.large[name] = packed
            else:
                found.aliases[name] = same[id(value)]
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
    if own not in sys.modules:
        raise CaptureError(
            f"`{name}` is a module that was made at run time ({own}), which a worker cannot "
            "import. Write it to a file, or send what you need of it in variables."
        )
    if own == "__main__":
        raise CaptureError(
            f"`{name}` is the notebook's own module (__main__), which cannot be sent. "
            "Use the variables themselves, or `import __main__` in the cell."
        )
    inner = [n for n in list(sys.modules) if n.startswith(own + ".")]
    return own, *(n for n in inner if parts.issuperset(n[len(own) + 1 :].split(".")))
