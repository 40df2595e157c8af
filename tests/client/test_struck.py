"""Ctrl-C at each moment of a few calls that must stand it: when a function begins, and when a call of
C code has ended, which is when Python looks for signals."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fanlight import interrupts
from fanlight.client.streams import Stream
from fanlight_kernel.cells import Cell, Cells
from fanlight_kernel.coach import Coach


@pytest.fixture(autouse=True)
def _ctrl_c_raises() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def strikes(call: Callable[[], Any]) -> Iterator[BaseException]:
    """Run ``call`` again and again, each time interrupted one moment later, until it was not."""
    for at in itertools.count(1):
        seen = 0

        def strike(frame: Any, event: str, arg: Any, at: int = at) -> None:
            nonlocal seen
            if event in ("call", "c_return") and arg is not sys.setprofile:
                seen += 1
                if seen == at:
                    sys.setprofile(None)
                    handler: Any = signal.getsignal(signal.SIGINT)
                    handler(signal.SIGINT, frame)

        try:
            sys.setprofile(strike)
            try:
                call()
            finally:
                sys.setprofile(None)
        except KeyboardInterrupt as e:
            yield e
        else:
            assert seen < at, "it was not heard"
            assert at > 2, "there was no such moment"
            return


def test_an_interrupted_next_loses_no_item() -> None:
    taken: list[int] = []

    def take() -> None:
        item: Any = stream.pop()
        taken.append(item)

    stream = Stream(None, b"task", False)  # type: ignore[arg-type]
    stream.ready.extend([1, 2, 3])  # type: ignore[list-item]
    for _ in strikes(take):
        left: Any = list(stream.ready)
        assert taken + left == [1, 2, 3]
        stream.ready.extendleft(reversed(taken))  # type: ignore[arg-type]
        taken.clear()
    assert taken == [1] and list(stream.ready) == [2, 3]


def test_an_interrupt_on_the_way_in_or_out_is_over_with_it() -> None:
    """What is struck must not go on when its traceback, which holds the frames, is let go."""

    def waits() -> None:
        with interrupts.held(), interrupts.let_through():
            pass

    for struck in strikes(waits):
        struck.__traceback__ = None
        struck.__context__ = None
        del struck
        gc.collect()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert interrupts.noted() == 0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_cell_holds_nobody_s_output_back() -> None:
    cells = Cells()

    def submits() -> None:
        with cells.submitting():
            pass

    for _ in strikes(submits):  # a notebook keeps the last traceback, and so do we
        other = threading.Thread(target=cells.get, args=("a",), daemon=True)
        other.start()
        other.join(60)
        assert not other.is_alive()


def test_an_interrupt_as_a_cell_begins_does_not_end_the_coach() -> None:
    coach = Coach(SimpleNamespace(magics=SimpleNamespace(coach=True)))
    coach._thread = threading.main_thread()  # it needs none of its own
    found: list[bool] = []

    def look() -> None:
        found.append(coach._lock.acquire(timeout=60))

    for _ in strikes(lambda: coach.before(Cell("a"))):
        other = threading.Thread(target=look)
        other.start()
        other.join()
        assert found.pop()
        coach._lock = threading.RLock()  # the other thread has kept that one
    coach.close()
