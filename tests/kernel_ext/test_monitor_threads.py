"""The threads of monitors and live displays, and the cell that ends: both draw at the same time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from fanlight_kernel.cells import Cell
from fanlight_kernel.widgets import render
from fanlight_kernel.widgets.live import Live
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

    def log(self, text: str) -> None:
        raise AssertionError(text)

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


def test_a_display_s_last_look_is_the_last_thing_shown() -> None:
    """A look takes as long as the runtime needs to answer."""

    class Item:
        kind, steady = "card", 0.0

        def __init__(self) -> None:
            self.inside, self.go = threading.Event(), threading.Event()
            self.value = "first"

        def look(self) -> tuple[dict[str, Any], bool]:
            found = self.value
            if threading.current_thread() is not threading.main_thread():
                self.inside.set()
                self.go.wait()
            return {"value": found}, False

        def bundle(self) -> dict[str, Any]:
            return {"text/plain": self.value}

    class View:
        def bundle(self, state: dict[str, Any]) -> dict[str, Any]:
            return {"text/plain": state["value"]}

        push = bundle

        def close(self) -> None:
            """Nothing to close."""

    item, extension = Item(), Extension()
    live = Live(extension, lambda *_: View())
    live.show(item, Cell("c"), {"value": "nothing"})
    try:
        assert item.inside.wait(60)  # the thread looks
        item.value = "last"
        ending = threading.Thread(target=live.poke, args=(item,), kwargs={"final": True})
        thread = live._thread
        ending.start()
        while live._shown:  # it was taken from the thread
            time.sleep(0.001)
        item.go.set()
        ending.join(60)
        assert not ending.is_alive()
    finally:
        item.go.set()
        live.close()
    assert thread is not None
    thread.join(60)
    assert extension.shown[-1] == {"text/plain": "last"}
