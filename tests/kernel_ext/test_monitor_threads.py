"""The cell monitor's thread and the end of the cell, which draw at the same time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fanlight_kernel.cells import Cell
from fanlight_kernel.widgets import render
from fanlight_kernel.widgets.monitor import Hub
from fanlight_kernel.widgets.progress import Progress
from fanlight_kernel.widgets.watch import Watch
from tests.kernel_ext.test_progress import group, snapshot


class Extension:
    """What a hub needs of one, and the notebook's router, too."""

    rich = monitor_on = True

    def __init__(self) -> None:
        self.router = self
        self.shown: list[dict[str, Any]] = []

    def display(self, cell: Cell, data: dict[str, Any], *_: Any, **__: Any) -> None:
        self.shown.append(data)

    def make_view(self, cell: Cell, state: dict[str, Any]) -> Any:
        raise AssertionError("a live view was shown of a cell that is over")


@pytest.fixture
def hub() -> Hub:
    hub = Hub(Extension())
    watch = Watch(Cell("c", started=10.0), due=0.0)
    watch.placed = True
    hub._watches["c"] = watch
    hub.tracker.feed(snapshot([group(1, RUNNING=1)]))
    return hub


def end(hub: Hub, watch: Watch) -> Progress:
    """The cell ends, on the main thread; returns what its summary says."""
    hub.tracker.feed(snapshot([group(1, FINISHED=1)]))
    watch.cell.ended = True
    done = hub._progress(watch)
    hub._finish(watch, done)
    return done


def test_a_summary_stays_though_the_thread_was_about_to_show_the_cell(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread asks the runtime why nothing runs, which may take seconds."""
    done: list[Progress] = []
    monkeypatch.setattr(hub, "_ask_why", lambda watch: done.append(end(hub, watch)))
    watch = hub._watches["c"]
    hub._show(watch, hub._progress(watch))
    assert hub.extension.shown == [render.final(done[0])]


def test_a_summary_stays_though_the_thread_was_about_to_drop_the_cell(hub: Hub) -> None:
    watch = hub._watches["c"]
    done = end(hub, watch)
    hub._drop(watch)  # it had seen no task of the cell
    assert hub.extension.shown == [render.final(done)]


def test_the_thread_ends_though_it_was_not_waiting_yet(hub: Hub) -> None:
    class Changed(threading.Condition):
        def __enter__(self) -> bool:
            if threading.current_thread() is hub._thread:
                hub._watches.clear()
                hub._closed = True  # `close` was quicker: it has told whoever waited
            return super().__enter__()

    hub._changed = Changed()
    hub._start()
    assert hub._thread is not None
    hub._thread.join(60)
    assert not hub._thread.is_alive()
