"""What variables there are in a namespace: types, sizes, shapes, short reprs. Worker side.

:func:`light` is quick enough to be done after each cell: it calls nothing of the user's. :func:`full`
calls ``repr``, which may take long, and so has a time limit; a repr that hangs in C code is ended
by whoever asked, who cancels the call.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import reprlib
import signal
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LIMIT = 500  # variables told of
WIDTH = 72  # characters of a repr
_ABOUT = 2_000  # items of a container that are looked at for its size


@dataclass
class Variable:
    """One variable of a namespace."""

    name: str
    type: str
    size: int | None = None  # bytes
    shape: str = ""  # "3 × 4 float64", "12 items"
    text: str = ""  # a short repr, where it was asked for


def light(ns: dict[str, Any]) -> list[Variable]:
    """The variables without reprs, in order of assignment."""
    return [describe(name, value) for name, value in _visible(ns)]


def full(ns: dict[str, Any], seconds: float) -> list[Variable]:
    """The variables with reprs, as long as there is time for them."""
    end = time.monotonic() + seconds
    found = light(ns)
    for variable in found:
        if time.monotonic() > end:
            variable.text = "…"
            continue
        try:
            with _limited(max(0.05, end - time.monotonic())):
                variable.text = short_repr(ns[variable.name])
        except _TooLong:
            variable.text = "<its repr takes too long>"
        except Exception as error:
            variable.text = f"<its repr failed: {type(error).__name__}>"
    return found


class _TooLong(BaseException):
    """Raised in a repr that has had its time."""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _TooLong inside after so long; only in a main thread whose alarm nobody uses."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def strike(number: int, frame: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _visible(ns: dict[str, Any]) -> list[tuple[str, Any]]:
    chosen = (
        (name, value)
        for name, value in list(ns.items())
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    )
    return list(itertools.islice(chosen, LIMIT))


def describe(name: str, value: Any) -> Variable:
    """Type, size and shape; calls no code of the user's but attributes of arrays and frames."""
    variable = Variable(name, _type_name(value))
    try:
        variable.shape = _shape(value)
        variable.size = _size(value)
    except Exception:
        variable.size = None
    return variable


def _type_name(value: Any) -> str:
    if isinstance(value, type):
        return "class"
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return "function"
    return type(value).__qualname__


def _shape(value: Any) -> str:
    kind = type(value)
    if kind in _COUNTED:
        return f"{len(value):,} item{'' if len(value) == 1 else 's'}"
    if kind in (str, bytes, bytearray):
        return f"{len(value):,} {'characters' if kind is str else 'bytes'}"
    if kind.__module__.partition(".")[0] not in _ARRAYS or isinstance(value, type):
        return ""
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
        return ""
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    device = str(getattr(value, "device", ""))
    where = f" on {device}" if device not in ("", "cpu") else ""
    return f"{' × '.join(f'{n:,}' for n in shape) or 'scalar'} {dtype}".strip() + where


_COUNTED = (list, tuple, dict, set, frozenset)
_ARRAYS = frozenset({"numpy", "pandas", "torch", "cupy", "jax", "jaxlib", "pyarrow", "polars"})


def _size(value: Any) -> int | None:
    kind = type(value)
    if kind in _COUNTED:
        return _container_size(value)
    library = kind.__module__.partition(".")[0]
    if library == "pandas" and hasattr(value, "memory_usage"):
        usage = value.memory_usage(index=True)
        return int(getattr(usage, "sum", lambda: usage)())
    if library in _ARRAYS:
        nbytes = getattr(value, "nbytes", None)
        return int(nbytes) if isinstance(nbytes, int) else None
    if library == "builtins" and not isinstance(value, (types.FunctionType, type)):
        return sys.getsizeof(value)
    return None


def _container_size(value: Any) -> int:
    """The container and its items, one level deep; a sample of a long one."""
    items = itertools.chain(value.keys(), value.values()) if type(value) is dict else iter(value)
    sample = list(itertools.islice(items, _ABOUT))
    total = len(value) * (2 if type(value) is dict else 1)
    inner = sum(
        int(n) if isinstance(n := getattr(item, "nbytes", None), int) else _own_size(item)
        for item in sample
    )
    return sys.getsizeof(value) + (inner * total // len(sample) if sample else 0)


def _own_size(item: Any) -> int:
    return sys.getsizeof(item) if type(item).__module__ == "builtins" else 0


class _Short(reprlib.Repr):
    """reprlib's, which never walks through the whole of a long container."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = WIDTH


_short = _Short()


def short_repr(value: Any) -> str:
    """A repr in one line of at most :data:`WIDTH` characters. Raises what the user's repr raises."""
    known = type(value) in (*_COUNTED, str, int, float, bool, type(None))
    if isinstance(value, types.FunctionType):
        text = f"{value.__name__}{inspect.signature(value)}"
    else:
        text = _short.repr(value) if known else repr(value)
    line = " ".join(text[: 20 * WIDTH].split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


class Same:
    """Remembers a value well enough to know it again, without keeping it alive."""

    __slots__ = ("_simple", "_value")

    def __init__(self, value: Any) -> None:
        simple = type(value) in (int, float, complex, bool, type(None), str, bytes)
        self._simple = simple and sys.getsizeof(value) < 1_000
        if self._simple:
            self._value: Any = value
            return
        try:
            self._value = weakref.ref(value)
        except TypeError:
            self._value = id(value)

    def is_(self, value: Any) -> bool:
        """Whether ``value`` is that object, or as good as that."""
        if self._simple:
            return type(value) is type(self._value) and bool(value == self._value)
        if isinstance(self._value, int):
            return id(value) == self._value
        return self._value() is value
