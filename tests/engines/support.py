"""What the conformance suite knows about engines, and its small tools.

A test never asks which engine it runs on; it says what it needs. To add an engine, add a row.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest

CAPABILITIES = {
    "processes": "runs work in other processes, which can die",
    "background": "work goes on while the driver does something else",
    "overlap": "calls of one actor can overlap",
    "output": "sends what work prints to the driver, with its name",
    "ordered_output": "shows what a task wrote before its result",
    "default": "is what starts by itself",
}


class EngineRow(NamedTuple):
    """One engine: the arguments of ``init`` that choose it, and what it can do."""

    init: dict[str, Any]
    has: frozenset[str]


ENGINES = {
    "inproc": EngineRow({"engine": "inproc"}, frozenset()),
    "local": EngineRow({"engine": "local"}, frozenset(CAPABILITIES)),
}

# Seconds; a safety net, never waited for when all is well.
DEADLINE = float(os.environ.get("FANLIGHT_TEST_DEADLINE", "60"))

line = pytest.mark.line  # the lines of the conformance list that a test proves
needs = pytest.mark.needs  # capabilities without which a test says nothing
runtime = pytest.mark.runtime  # arguments of the init that a test wants


class Runtimes:
    """The runtime of the moment: kept from test to test while nothing speaks against it."""

    def __init__(self, fanlight: ModuleType, engine: str) -> None:
        self.fanlight = fanlight
        self._row = ENGINES[engine]
        self._options: dict[str, Any] | None = None

    def init(self, **options: Any) -> Any:
        """``init`` with this engine; the test ends it, or ``stop`` does."""
        self._options = None
        return self.fanlight.init(**(self._row.init | options))

    def use(self, **options: Any) -> None:
        """Have a runtime with these options: the one that is there, if it has them."""
        if self._options != options or not self.fanlight.is_initialized():
            self.stop()
            self.init(**options)
            self._options = options

    def settle(self, failed: bool) -> None:
        """After a test: keep the runtime only if it is as good as new."""
        if self._options is None or failed or not self._idle():
            self.stop()

    def _idle(self) -> bool:
        total = self.fanlight.cluster_resources()
        return poll(lambda: _free(self.fanlight) == _wanted(total), seconds=1.0)

    def stop(self) -> None:
        self._options = None
        self.fanlight.shutdown()


def _wanted(total: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in total.items() if not k.startswith(("node:", "object_store", "memory"))}


def _free(fanlight: ModuleType) -> dict[str, float]:
    return _wanted(fanlight.available_resources())


def poll(predicate: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true value of ``predicate``, or its last value when the time is up."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        value = predicate()
        if value or time.monotonic() > end:
            return value
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


@contextlib.contextmanager
def raises_task_error(
    fanlight: ModuleType, kind: type[BaseException], match: str | None = None
) -> Iterator[Any]:
    """``err(T)``: raises what is both the runtime's task error and the user's type."""
    with pytest.raises(kind, match=match) as info:
        yield info
    assert isinstance(info.value, fanlight.exceptions.RayTaskError)
