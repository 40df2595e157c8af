"""The live monitor under a cell: when it appears, what feeds it, when it folds.

One :class:`Hub` with one thread serves all cells. The runtime's events only mark that something
changed; the thread draws, at most ten times a second. It subscribes to events only while a cell is
being watched. A :class:`Watch` is one execution of one cell.

Views: a live widget in a notebook (:mod:`fanlight_kernel.widget`), plain HTML that is updated in
place where there is no anywidget, one line of text at the end in a terminal. When the work is
done, the display is replaced by a short static summary, so that a saved notebook, nbconvert and a
restarted kernel all show the same thing.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import Any

from fanlight_kernel import render
from fanlight_kernel.cells import Cell
from fanlight_kernel.progress import Progress, Tracker, as_state

PERIOD = 0.1  # seconds between two pushes: at most ten a second
SETTLE = 0.3  # seconds that the end of a cell waits for the last figures


class Watch:
    """One cell that may have, or has, a monitor."""

    def __init__(self, cell: Cell, due: float) -> None:
        self.cell = cell
        self.due = due  # time.monotonic()
        self.since = cell.started
        self.baseline: dict[int, Any] | None = None
        self.view: Any = None
        self.display_id = uuid.uuid4().hex
        self.placed = False  # something is displayed under display_id
        self.last: dict[str, Any] | None = None
        self.pushed = 0.0
        self.cancelling = False
        self.own_done = not cell.remote  # a %%remote cell says itself when it ended
        self.seen = 0  # tasks seen so far


class Hub:
    """Watches cells. All methods may be called from any thread."""

    def __init__(self, extension: Any) -> None:
        self.extension = extension
        self.tracker = Tracker()
        self._watches: dict[str, Watch] = {}
        self._changed = threading.Condition()
        self._dirty = False
        self._subscription: Any = None
        self._session: Any = None
        self._thread: threading.Thread | None = None
        self._closed = False

    # -- called by the extension --------------------------------------------------------------
    def watch(self, cell: Cell, delay: float) -> None:
        """Look after ``delay`` seconds whether the cell has work, and show its monitor then."""
        if self._closed or not self.extension.monitor_on:
            return
        with self._changed:
            previous = self._watches.pop(cell.origin, None)
            self._watches[cell.origin] = Watch(cell, time.monotonic() + delay)
            self._start()
            self._changed.notify()
        if previous is not None and previous.view is not None:
            previous.view.close()

    def place(self, cell: Cell) -> None:
        """Reserve the monitor's place above what the cell is going to print."""
        watch = self._watches.get(cell.origin)
        if watch is not None and self.extension.rich and not watch.placed:
            watch.placed = True
            self.extension.router.display(cell, render.placeholder(), display_id=watch.display_id)

    def cell_ended(self, cell: Cell) -> None:
        """The notebook's cell is over: settle its display, unless its work goes on."""
        watch = self._watches.get(cell.origin)
        if watch is None or watch.cell is not cell or cell.remote:
            return
        if not watch.placed and self._subscription is None:
            with self._changed:
                if not self._has_work():
                    self._watches.pop(cell.origin, None)
            return
        if watch.placed:
            self._settle(watch)

    def remote_ended(self, cell: Cell, progress: Progress | None = None) -> None:
        """A %%remote cell's own tasks are over; ``progress`` is what it knows of them itself."""
        watch = self._watches.get(cell.origin)
        if watch is None or watch.cell is not cell:
            return
        watch.own_done = True
        if progress is not None and watch.view is None:
            self._finish(watch, progress)
        else:
            self._settle(watch)

    def cancel(self, origin: str) -> None:
        """The cancel button: on whatever thread the front end's message arrived."""
        watch = self._watches.get(origin)
        if watch is None:
            return
        force = watch.cancelling
        watch.cancelling = True
        self.extension.cancel_origin(watch.cell, None, force=force)
        self._wake()

    def close(self) -> None:
        """Unloading: close every view and end the thread."""
        with self._changed:
            self._closed = True
            watches = list(self._watches.values())
            self._watches.clear()
            self._changed.notify()
            thread = self._thread
        for watch in watches:
            if watch.view is not None:
                watch.view.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._unsubscribe()

    # -- events -------------------------------------------------------------------------------
    def _on_event(self, event: Any) -> None:
        with self._changed:
            if hasattr(event, "reason") and not hasattr(event, "groups"):
                self._session = None
            self.tracker.feed(event)
            self._dirty = True
            self._changed.notify()

    def _wake(self) -> None:
        with self._changed:
            self._dirty = True
            self._changed.notify()

    def _subscribe(self) -> None:
        from fanlight import session

        current = session.current()
        if current is None or current.engine_name == "inproc":
            return  # the in-process engine runs in the notebook's thread and cannot be watched
        if self._subscription is not None and self._session is current:
            return
        self._unsubscribe()
        self.tracker = Tracker()
        self._session = current
        self._subscription = session.subscribe(self._on_event)

    def _unsubscribe(self) -> None:
        subscription, self._subscription, self._session = self._subscription, None, None
        if subscription is not None:
            with contextlib.suppress(Exception):  # its runtime may be gone
                subscription.close()

    def _has_work(self) -> bool:
        """Whether the cell may have left work behind that goes on."""
        from fanlight import session

        current = session.current()
        return current is not None and current.engine_name != "inproc"

    # -- the thread ---------------------------------------------------------------------------
    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fanlight-monitor", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                if self._watches:
                    self._changed.wait(self._patience())
                elif self._subscription is None:
                    self._changed.wait()
                self._dirty = False
                watches = list(self._watches.values())
            if not watches:
                self._unsubscribe()
            for watch in watches:
                try:
                    self._tend(watch)
                except Exception as error:  # a monitor must never harm the notebook
                    self._drop(watch)
                    self.extension.log(f"cell monitor: {type(error).__name__}: {error}")

    def _patience(self) -> float:
        """Seconds until there is something to do."""
        now = time.monotonic()
        times = [
            w.pushed + PERIOD if w.placed or self._subscription is not None else w.due
            for w in self._watches.values()
        ]
        nearest = max(0.0, min(times) - now)
        if self._dirty:
            return nearest
        waiting = [w.due - now for w in self._watches.values() if w.due > now]
        return max(0.01, min([0.5, *waiting]))

    def _tend(self, watch: Watch) -> None:
        now = time.monotonic()
        if now < watch.due or now < watch.pushed + PERIOD * 0.9:
            return
        self._subscribe()
        watch.pushed = now
        if self._subscription is None or not self.tracker.ready:
            if watch.cell.ended and watch.own_done:
                self._drop(watch)
            return
        progress = self._progress(watch)
        if not progress.total or (not progress.unfinished and not watch.placed):
            if watch.cell.ended and watch.own_done and not progress.unfinished:
                self._drop(watch)
            return
        if progress.unfinished or not watch.own_done:
            self._show(watch, progress)
        elif watch.cell.ended:
            self._finish(watch, progress)
        else:
            self._show(watch, progress)  # all done for now; the cell may submit more

    def _progress(self, watch: Watch) -> Progress:
        with self._changed:
            if watch.baseline is None and self.tracker.ready:
                watch.baseline = self.tracker.baseline(watch.cell.origin, watch.since)
            progress = self.tracker.progress(
                watch.cell.origin, watch.since, time.time(), watch.baseline
            )
        watch.seen = max(watch.seen, progress.total)
        return progress

    def _show(self, watch: Watch, progress: Progress) -> None:
        if not self.extension.rich or watch.cell.quiet:
            return
        state = as_state(progress, title=self._title(watch), cancelling=watch.cancelling)
        if state == watch.last:
            return
        watch.last = state
        if watch.view is None:
            watch.view = self.extension.make_view(watch.cell, state)
            bundle = watch.view.bundle(state)
            self.extension.router.display(
                watch.cell, bundle, display_id=watch.display_id, update=watch.placed
            )
            watch.placed = True
        else:
            bundle = watch.view.push(state)
            if bundle is not None:
                self.extension.router.display(
                    watch.cell, bundle, display_id=watch.display_id, update=True
                )

    def _title(self, watch: Watch) -> str:
        return f"In[{watch.cell.number}]" if watch.cell.number else "cell"

    def _settle(self, watch: Watch) -> None:
        """Called as the cell ends: wait briefly for the last figures, then fold the display."""
        deadline = time.monotonic() + SETTLE
        while True:
            progress = self._progress(watch)
            if (progress.total and not progress.unfinished) or not self.tracker.ready:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                break
            with self._changed:
                self._changed.wait(left)
        if progress.unfinished:
            watch.pushed = 0.0
            self._wake()  # its work goes on: the thread sees to the end
            return
        self._finish(watch, progress)

    def _finish(self, watch: Watch, progress: Progress) -> None:
        """Replace the live view by its summary, once."""
        with self._changed:
            if self._watches.get(watch.cell.origin) is not watch:
                return
            del self._watches[watch.cell.origin]
            self._changed.notify()
        if watch.cell.quiet or not progress.total:
            if watch.placed:
                self._show_final(watch, render.nothing())
        elif self.extension.rich or watch.cell.remote:
            self._show_final(watch, render.final(progress))
        if watch.view is not None:
            watch.view.close()

    def _show_final(self, watch: Watch, bundle: dict[str, Any]) -> None:
        self.extension.router.display(
            watch.cell, bundle, display_id=watch.display_id, update=watch.placed
        )

    def _drop(self, watch: Watch) -> None:
        with self._changed:
            if self._watches.get(watch.cell.origin) is watch:
                del self._watches[watch.cell.origin]
            self._changed.notify()
        if watch.placed:
            self._show_final(watch, render.nothing())
        if watch.view is not None:
            watch.view.close()
