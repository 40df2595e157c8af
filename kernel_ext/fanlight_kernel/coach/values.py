"""Large values: how large, whether it is the same one again, what it is called. Keeps none alive."""

from __future__ import annotations

import contextlib
import itertools
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from fanlight_kernel.capture.names import function_globals
from fanlight_kernel.coach.facts import Large

LARGE = 64 << 10  # bytes: smaller values are not looked at
_SAMPLES = 64
_PIECE = 512  # bytes
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))


def size_of(value: Any, depth: int = 2) -> int:
    """About how many bytes ``value`` has; containers are measured by some of their elements.

    >>> size_of(b"x" * 1000) > 1000
    True
    """
    with contextlib.suppress(Exception):
        number = getattr(value, "nbytes", None)
        if isinstance(number, int):
            return number
        usage = getattr(value, "memory_usage", None)
        if usage is not None and not isinstance(value, type):
            used = usage(deep=False)
            return int(used.sum() if hasattr(used, "sum") else used)
        own = sys.getsizeof(value)
        if depth and isinstance(value, list | tuple | set | frozenset | dict) and value:
            items: Iterable[Any] = value.values() if isinstance(value, dict) else value
            some = [*itertools.islice(items, _SAMPLES)]
            return own + sum(size_of(x, depth - 1) for x in some) * len(value) // len(some)
        if depth and hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType):
            return own + sum(size_of(x, depth - 1) for x in vars(value).values())
        return own
    return 0


def fingerprint(value: Any) -> int:
    """A number that changes when the value does, in all likelihood: it looks at 64 places."""
    with contextlib.suppress(Exception):
        if isinstance(value, list | tuple):
            step = max(1, len(value) // _SAMPLES)
            some = [*value[::step], value[-1]] if value else []
            return hash((len(value), *map(_of_element, some)))
        if isinstance(value, dict):
            step = max(1, len(value) // _SAMPLES)
            pairs = itertools.islice(value.items(), 0, None, step)
            return hash((len(value), *(_of_element(x) for pair in pairs for x in pair)))
        if isinstance(value, str):
            step = max(1, len(value) // _SAMPLES)
            return hash((len(value), value[::step], value[-_PIECE:]))
        view = memoryview(value).cast("B")
        step = max(_PIECE, view.nbytes // _SAMPLES)
        pieces = [bytes(view[at : at + _PIECE]) for at in range(0, view.nbytes, step)]
        return hash((view.nbytes, *pieces, bytes(view[-_PIECE:])))
    return 0


def _of_element(value: Any) -> Any:
    return value if isinstance(value, _SIMPLE) else (type(value).__name__, id(value))


def described(value: Any) -> str:
    """``an ndarray``."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"


class Known:
    """Tells large values from each other, also where an address is used again."""

    def __init__(self) -> None:
        self._refs: dict[int, tuple[Any, int]] = {}  # by address: a weak reference, and a number
        self._count = itertools.count(1)

    def describe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Large, ...]:
        """The large values among arguments. Called at each call whose arguments are large."""
        found = []
        for value in (*args, *kwargs.values()):
            size = size_of(value)
            if size >= LARGE:
                found.append(Large(self._key(value), size, described(value)))
        return tuple(found)

    def _key(self, value: Any) -> tuple[Any, ...]:
        try:
            weak: Any = weakref.ref(value)
        except TypeError:  # a list, say: its content tells
            return (id(value), 0, fingerprint(value))
        known = self._refs.get(id(value))
        if known is None or known[0]() is not value:
            known = self._refs[id(value)] = (weak, next(self._count))
        return (id(value), known[1], fingerprint(value))

    def name(self, key: tuple[Any, ...], namespace: Mapping[str, Any]) -> str:
        """The variable that holds the value of ``key``; "" if there is none any more."""
        for name, value in [*namespace.items()]:
            if id(value) == key[0] and not name.startswith("_") and size_of(value) >= LARGE:
                return name
        return ""

    def clear(self) -> None:
        self._refs.clear()


def captured(target: Any) -> list[tuple[str, int]]:
    """Variables that travel with a function or class, and their sizes, the largest first."""
    functions = [target] if isinstance(target, types.FunctionType) else []
    if isinstance(target, type):
        functions = [f for f in vars(target).values() if isinstance(f, types.FunctionType)]
    found: dict[str, int] = {}
    for function in functions:
        for name in function_globals(function):
            if name in function.__globals__:
                found[name] = _travels(function.__globals__[name])
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=False
        ):
            with contextlib.suppress(ValueError):  # not set yet
                found[name] = _travels(cell.cell_contents)
    return sorted(found.items(), key=lambda pair: -pair[1])


def _travels(value: Any) -> int:
    return 0 if isinstance(value, types.ModuleType | types.FunctionType | type) else size_of(value)


def is_state(value: Any) -> bool:
    """Whether a change of ``value`` in another process is lost: not modules, functions, handles."""
    kind = type(value)
    return not (
        isinstance(value, types.ModuleType | types.FunctionType | type)
        or kind.__module__.partition(".")[0] in ("fanlight", "ray")
    )
