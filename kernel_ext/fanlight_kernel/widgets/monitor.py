"""The live monitor under a cell: when it appears, what feeds it, when it folds.

One :class:`Hub` with one thread serves all cells. The runtime's events only mark that something
changed; the thread draws, at most ten times a second. It subscribes to events only while a cell is
being watched. A :class:`Watch` is one execution of one cell.

Views: a live widget in a notebook (:mod:`fanlight_kernel.widgets.widget`), plain HTML that is updated in
place where there is no anywidget, a line of text that is updated in place in a terminal. When the
work is done, the display is replaced by a short static summary, so that a saved notebook, nbconvert
and a restarted kernel all show the same thing. It says so, too, when the runtime or the kernel ends
before the work does.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from typing import Any

from fanlight.progress_bar import Line
from fanlight_kernel.cells import Cell
from fanlight_kernel.widgets import render, widget
from fanlight_kernel.widgets.progress import Progress, Tracker
from fanlight_kernel.widgets.watch import Watch, short
from fanlight_kernel.widgets.wording import summary

PERIOD = 0.1  # seconds between two pushes: at most ten a second
SETTLE = 0.3  # seconds that the end of a cell waits for the last figures
ANSWER = 2.0  # seconds that a runtime has for its answer
KEPT = 20  # finished widgets that stay for pages that are loaded again


class Hub:
    """Watches cells. All methods may be called from any thread."""

    def __init__(self, extension: Any) -> None:
        self.extension = extension
        self.tracker = Tracker()
        self._watches: dict[str, Watch] = {}
        self._changed = threading.Condition()
        # Held while something is shown of a cell that is watched yet: what the thread found a moment
        # ago does not replace the summary. Never taken with ``_changed`` held.
        self._drawing = threading.RLock()
        self._dirty = False
        self._subscription: Any = None
        self._session: Any = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._over: deque[Any] = deque()  # views of cells that are done

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
        from fanlight import session

        watch = self._watches.get(cell.origin)
        if watch is None or watch.cell is not cell or cell.remote:
            return
        if self._inproc():
            self._finish(watch, self._look_once(watch))
            return
        if not watch.placed and self._subscription is None:
            with self._changed:
                if session.current() is None:
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

    def hush(self, cell: Cell) -> None:
        """Another display shows this cell's progress: it needs no monitor of its own."""
        watch = self._watches.get(cell.origin)
        if watch is not None and watch.cell is cell and not watch.placed and not cell.remote:
            watch.hushed = True

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
        for view in [*self._over, *(watch.view for watch in watches if watch.view is not None)]:
            view.close()
        self._over.clear()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._unsubscribe()

    def farewell(self) -> None:
        """The kernel ends: say so under the cells whose work it ends."""
        for watch in list(self._watches.values()):
            with contextlib.suppress(Exception):  # the front end may be gone already
                if self.extension.rich:
                    self._lose(watch, "then the kernel was shut down")

    # -- events -------------------------------------------------------------------------------
    def _on_event(self, event: Any) -> None:
        with self._changed:
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
            return  # watching the in-process engine would slow each of its steps down
        if self._subscription is not None and self._session is current:
            return
        self._unsubscribe()
        self.tracker = Tracker()
        self._session = current
        tracker = self.tracker
        try:
            self._subscription = session.subscribe(self._on_event)
        except Exception:
            # It cannot be reached, or ended just now: there is nothing to show.
            self._session = None
            tracker.ready = False

    def _gone(self) -> str:
        """Why the runtime that is being watched is gone, or ""."""
        from fanlight import session

        if self._session is None:
            return ""
        if self._session is not session.current():
            return short(session.why_gone()) or "then the runtime was shut down"
        return short(self.tracker.ended)

    def _lose(self, watch: Watch, reason: str) -> None:
        """The runtime that a cell's work was in is gone."""
        known = watch.known
        over = watch.cell.ended and watch.own_done
        if known is not None and watch.placed and (known.unfinished or (known.total and over)):
            known.ended = reason if known.unfinished else ""
            self._finish(watch, known)
            return
        # Its work was done, or not begun; in another runtime it starts from nothing.
        watch.known, watch.baseline, watch.since = None, None, time.time()

    def _inproc(self) -> bool:
        from fanlight import session

        current = session.current()
        return current is not None and current.engine_name == "inproc"

    def _look_once(self, watch: Watch) -> Progress:
        """The figures of the in-process engine, after a cell that took notable time."""
        from fanlight import session

        if time.monotonic() < watch.due:
            return Progress()
        tracker = Tracker()
        session.subscribe(tracker.feed).close()
        baseline = tracker.baseline(watch.cell.origin, watch.since)
        return tracker.progress(watch.cell.origin, watch.since, time.time(), baseline)

    def _unsubscribe(self) -> None:
        subscription, self._subscription, self._session = self._subscription, None, None
        if subscription is not None:
            with contextlib.suppress(Exception):  # its runtime may be gone
                subscription.close()

    def _left_behind(self, watch: Watch) -> bool:
        """Whether a cell that is over has work that goes on."""
        from fanlight import session

        current = session.current()
        if current is None or current.engine_name == "inproc":
            return False
        try:
            return bool(current.engine.query("tasks_of_origin", ANSWER, origin=watch.cell.origin))
        except Exception:  # it has ended, or does not answer
            return False

    # -- the thread ---------------------------------------------------------------------------
    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fanlight-monitor", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:  # asked here: it may have been said just before
                    return
                if self._watches:
                    self._changed.wait(self._patience())
                elif self._subscription is None:
                    self._changed.wait()
                self._dirty = False
                watches = list(self._watches.values())
            gone = self._gone()
            if gone or not watches:
                self._unsubscribe()
            for watch in watches:
                try:
                    if gone:
                        self._lose(watch, gone)
                    else:
                        self._tend(watch)
                except Exception as error:  # a monitor must never harm the notebook
                    self._drop(watch)
                    self.extension.log(f"cell monitor: {type(error).__name__}: {error}")
            if gone:
                self.tracker = Tracker()

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
        watch.pushed = now
        over = watch.cell.ended and watch.own_done
        if over and self._subscription is None and not self._left_behind(watch):
            self._drop(watch)
            return
        self._subscribe()
        if self._subscription is None or not self.tracker.ready:
            if over and (self._subscription is None or now > watch.due + ANSWER):
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
        """The newest figures of a cell, with what only time tells: growth, peaks."""
        with self._changed:
            if watch.baseline is None and self.tracker.ready:
                watch.baseline = self.tracker.baseline(watch.cell.origin, watch.since)
            progress = self.tracker.progress(
                watch.cell.origin, watch.since, time.time(), watch.baseline
            )
            watch.take(progress, self.tracker)
        return progress

    def _ask_why(self, watch: Watch) -> None:
        """When nothing runs though something waits: the runtime's own reason for one of them."""
        task = watch.stalled(self.tracker)
        if task and self._session is not None:
            with contextlib.suppress(Exception):  # it has ended meanwhile, or there is no answer
                watch.why = str(self._session.engine.query("task", ANSWER, id=task)["why"])

    def _show(self, watch: Watch, progress: Progress) -> None:
        if watch.cell.quiet or watch.hushed:
            return
        self._ask_why(watch)
        with self._drawing:
            if self._watches.get(watch.cell.origin) is watch:
                self._draw(watch, watch.state(progress))

    def _draw(self, watch: Watch, state: dict[str, Any]) -> None:
        if state == watch.last:
            return
        watch.last = state
        if not self.extension.rich:
            self._show_line(watch, state)
        elif watch.view is None:
            watch.view = self.extension.make_view(watch.cell, state)
            bundle = watch.view.bundle(state)
            self.extension.router.display(
                watch.cell, bundle, widget.mark(), display_id=watch.display_id, update=watch.placed
            )
            watch.placed = True
        else:
            bundle = watch.view.push(state)
            if bundle is not None:
                self.extension.router.display(
                    watch.cell, bundle, display_id=watch.display_id, update=True
                )

    def _show_line(self, watch: Watch, state: dict[str, Any]) -> None:
        """A terminal: one line, while the cell holds the prompt back."""
        if watch.cell.ended or self.extension.cells.current is not watch.cell:
            if watch.view is not None:
                watch.view.clear()
            return
        if watch.view is None:
            line = Line(sys.stderr)
            if not line.live:
                return
            watch.view = line
        watch.placed = True
        watch.view.draw(render.live_text(state))

    def _settle(self, watch: Watch) -> None:
        """Called as the cell ends: wait briefly for the last figures, then fold the display."""
        deadline = time.monotonic() + SETTLE
        while True:
            gone = self._gone()
            if gone:
                self._lose(watch, gone)
                return
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
        with self._drawing:
            if self._forget(watch):
                self._sum_up(watch, progress)

    def _forget(self, watch: Watch) -> bool:
        """Watch a cell no more; whether it was watched."""
        with self._changed:
            if self._watches.get(watch.cell.origin) is not watch:
                return False
            del self._watches[watch.cell.origin]
            self._changed.notify()
            return True

    def _sum_up(self, watch: Watch, progress: Progress) -> None:
        if not self.extension.rich:
            self._finish_line(watch, progress)
        elif watch.cell.quiet or watch.hushed or not progress.total:
            if watch.placed:
                self._show_final(watch, render.nothing())
        else:
            self._show_final(watch, render.final(progress))
        if watch.view is not None and self.extension.rich:
            # A page that is loaded again finds it as it was in the end.
            with contextlib.suppress(Exception):
                watch.view.push(watch.state(progress, over=True))
            self._over.append(watch.view)
            while len(self._over) > KEPT:
                self._over.popleft().close()

    def _finish_line(self, watch: Watch, progress: Progress) -> None:
        drawn = watch.view is not None
        if drawn:
            watch.view.clear()
        if watch.cell.quiet or watch.hushed or not progress.total:
            return
        if watch.cell.remote:
            self.extension.router.display(watch.cell, render.final(progress))
        elif self.extension.cells.current is watch.cell:
            line = watch.view if drawn else Line(sys.stderr)
            if line.live and (drawn or progress.engine):
                line.end(summary(progress))

    def _show_final(self, watch: Watch, bundle: dict[str, Any]) -> None:
        self.extension.router.display(
            watch.cell, bundle, display_id=watch.display_id, update=watch.placed
        )

    def _drop(self, watch: Watch) -> None:
        """There was nothing to watch."""
        with self._drawing:
            if not self._forget(watch):
                return
            if watch.placed and self.extension.rich:
                self._show_final(watch, render.nothing())
            if watch.view is not None:
                watch.view.close()
