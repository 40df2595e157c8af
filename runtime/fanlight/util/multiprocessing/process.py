"""What runs inside a pool's processes."""

from __future__ import annotations

import functools
import os
import time
from typing import Any, NamedTuple

from fanlight import api, refs, serialization
from fanlight.client.failures import pack_error
from fanlight.refs import ObjectRef
from fanlight.worker import tracebacks

# How a function takes an item of a chunk.
MAP = 0  # f(item)
STAR = 1  # f(*item)
APPLY = 2  # args, kwargs = item; f(*args, **kwargs)


class Answer(NamedTuple):
    """How a chunk went."""

    values: list[Any]  # None where there is an error
    errors: dict[int, tuple[bytes, list[ObjectRef[Any]]]]  # by position: packed, the refs within
    seconds: float


class PoolProcess:
    """One process of a pool. ``setup`` is the pickled initializer and its arguments, or b""."""

    def __init__(self, setup: bytes) -> None:
        self._functions: dict[bytes, Any] = {}
        self._space: Any = None  # the global names that the initializer saw, and
        self._set: dict[str, Any] = {}  # what it set of them
        if setup:
            initializer, initargs = serialization.loads(setup)
            self._space = _globals(initializer)
            before = dict(self._space)
            initializer(*initargs)
            missing = object()
            self._set = {
                name: value
                for name, value in self._space.items()
                if before.get(name, missing) is not value
            }

    def run(
        self, key: bytes, blob: bytes | list[ObjectRef[bytes]], how: int, chunk: list[Any]
    ) -> Answer:
        """Call the function of ``blob`` (known again by ``key``) with each item of a chunk."""
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._load(
                blob if isinstance(blob, bytes) else api.get(blob[0])
            )
        values: list[Any] = []
        errors: dict[int, tuple[bytes, list[ObjectRef[Any]]]] = {}
        started = time.perf_counter()
        for item in chunk:
            try:
                if how == MAP:
                    values.append(function(item))
                elif how == STAR:
                    values.append(function(*item))
                else:
                    values.append(function(*item[0], **item[1]))
            except Exception as e:
                errors[len(values)] = _pack(e, function)
                values.append(None)
        return Answer(values, errors, time.perf_counter() - started)

    def _load(self, blob: bytes) -> Any:
        """A function of a notebook comes with global names of its own, as does the initializer
        that was pickled with it: what the initializer set in this process is set there too."""
        function, initializer = serialization.loads(blob)
        space = _globals(initializer)
        if self._set and space is not self._space:
            space.update(self._set)
        return function


def _globals(function: Any) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    space: dict[str, Any] = getattr(function, "__globals__", {})
    return space


def _pack(error: Exception, function: Any) -> tuple[bytes, list[ObjectRef[Any]]]:
    name = getattr(function, "__name__", type(function).__name__)
    text = tracebacks.text_of(error, f"fanlight::{name}() (pid={os.getpid()})")
    packed = pack_error(error, text, name)
    return packed.to_bytes(), [refs.rebuild(oid) for oid in packed.contained]
