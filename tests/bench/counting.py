"""Counts the byte codes that Python executes: the same on every machine, whatever else it does."""

from __future__ import annotations

import gc
import sys
from types import FrameType, TracebackType
from typing import Any


class Opcodes:
    """Counts in this thread while the context is open; it may be opened again, and goes on.

    Work done in C (a dict's look-up, a deque's ``remove``) counts as the one instruction that calls
    it. The garbage collector is off meanwhile, so that nobody's finalizers are counted.

    >>> with Opcodes() as few:
    ...     _ = sorted([3, 1, 2], key=lambda x: -x)
    >>> with Opcodes() as many:
    ...     _ = sorted(range(30), key=lambda x: -x)
    >>> many.count == 10 * few.count > 0
    True
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: Any = None
        self._collects = False

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._inside

    def _inside(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.count += 1
        return self._inside

    def __enter__(self) -> Opcodes:
        self._collects = gc.isenabled()
        gc.disable()
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        sys.settrace(self._before)  # our own __exit__ was entered as a traced call: taken off
        self.count -= self._own
        if self._collects:
            gc.enable()

    _own = 0


def _calibrate() -> None:
    """What a context with nothing in it counts: the first instructions of ``__exit__``."""
    with Opcodes() as nothing:
        pass
    Opcodes._own = nothing.count


_calibrate()
