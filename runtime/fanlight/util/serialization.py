"""Serializers of the user's own, for classes that cannot be pickled as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from fanlight import serialization

_kept: WeakSet[type] = WeakSet()  # classes for which this process has decided itself
_installed: WeakSet[type] = WeakSet()


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Send instances of ``cls`` as what ``serializer`` makes of them.

    Instances of subclasses are not affected. Other processes learn of it with the first instance
    that they receive, so that they can send instances too; a task that makes instances without
    having received one registers the serializer itself.

    Args:
        cls: a class of yours.
        serializer: takes an instance, returns what can be pickled.
        deserializer: takes that, returns an instance.

    Raises:
        TypeError: ``cls`` is not a class, or one of Python's own.

    >>> import threading, fanlight
    >>> class Counter:
    ...     def __init__(self, n):
    ...         self.n, self.lock = n, threading.Lock()
    >>> register_serializer(Counter, serializer=lambda c: c.n, deserializer=Counter)
    >>> with fanlight.init(num_cpus=1, engine="inproc"):
    ...     fanlight.get(fanlight.put(Counter(3))).n
    3
    >>> deregister_serializer(Counter)
    """
    _check(cls, "register_serializer")
    for function in (serializer, deserializer):
        if not callable(function):
            raise TypeError(f"A serializer must be callable, got {function!r}.")
    _kept.add(cls)
    _install(cls, serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Send instances of ``cls`` as Python pickles them again; no error if it was never otherwise.

    Processes that learned of the serializer keep it; what they send stays readable here.
    """
    _check(cls, "deregister_serializer")
    _kept.add(cls)
    serialization.unregister_reducer(cls)


def _check(cls: Any, what: str) -> None:
    ours = cls in serialization._reducers and cls not in _installed
    if not isinstance(cls, type) or cls.__module__ == "builtins" or ours:
        raise TypeError(f"{what}() takes a class of your own, not {cls!r}.")


def _install(
    cls: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    def reduce(obj: Any, _contained: list[bytes]) -> tuple[Any, ...]:
        return _rebuild, (cls, serializer, deserializer, serializer(obj))

    serialization.register_reducer(cls, reduce)
    _installed.add(cls)


def _rebuild(
    cls: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any], data: Any
) -> Any:
    """Called when an instance is unpickled."""
    if cls not in _kept:
        _install(cls, serializer, deserializer)
    return deserializer(data)


__all__ = ["deregister_serializer", "register_serializer"]
