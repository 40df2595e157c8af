"""``%%remote --bg``: a cell whose work goes on after it, and the handle on it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from fanlight_kernel import tracebacks
from fanlight_kernel.interrupting import GRACE

if TYPE_CHECKING:
    from fanlight_kernel.remote import RemoteCell


class BackgroundCell:
    """The handle of a cell that runs in the background (``%%remote --bg NAME``)."""

    def __init__(self, run: RemoteCell) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._left = len(run.results)
        self._timer: threading.Timer | None = None
        self._results: list[Any] = [None] * len(run.results)
        self._errors: list[tuple[int, BaseException]] = []
        self.finished = threading.Event()
        self._started = time.monotonic()
        self._ended = 0.0

    def __repr__(self) -> str:
        state = "done" if self.done() else "running"
        if self.done() and self._errors:
            state = "failed"
        return f"<background cell {self._run.title}: {state}>"

    @property
    def title(self) -> str:
        return str(self._run.title)

    def __fanlight_refs__(self) -> list[Any]:
        """What ``fanlight.why`` looks at."""
        return list(self._run.results)

    def counts(self) -> tuple[int, int, int]:
        """Runs, how many of them ended, and how many of those failed."""
        with self._lock:
            return len(self._results), len(self._results) - self._left, len(self._errors)

    def elapsed(self) -> float:
        """Seconds from its start to its end, or until now."""
        return (self._ended or time.monotonic()) - self._started

    def done(self) -> bool:
        """Whether all of it has ended."""
        return self.finished.is_set()

    def cancel(self, *, force: bool = False) -> None:
        """Stop what has not ended."""
        self._run.extension.cancel_origin(self._run.cell, self._run.results, force=force)

    def result(self) -> dict[str, Any]:
        """Wait, and return the outputs by name. Raises what the cell raised.

        Interrupting the wait leaves the work alone; ``cancel`` stops it.
        """
        import fanlight

        run = self._run
        if run.results:
            fanlight.wait(run.results, num_returns=len(run.results))
        run.collect()
        columns = [fanlight.get(list(refs)) for refs in run.outputs]
        found = {}
        for position, name in enumerate(run.job.outputs):
            column = [values[position] for values in columns]
            found[name] = column[0] if run.elements is None else column
        return found

    # -- watching, on the runtime's own threads ----------------------------------------------
    def watch(self) -> None:
        """Show each result and any error under the cell when it is there."""
        limit = self._run.options.timeout
        if limit is not None:
            self._timer = threading.Timer(limit, self._out_of_time, [limit])
            self._timer.daemon = True
            self._timer.start()
        if not self._left:
            self._end()
        for index, ref in enumerate(self._run.results):
            ref.future().add_done_callback(lambda f, i=index: self._one_ended(i, f))

    def _out_of_time(self, limit: float) -> None:
        if not self.done():
            self._run.say(f"{self._run.title} was cancelled after {limit:g} s (--timeout).\n")
            self.cancel()
            killer = threading.Timer(GRACE, self._kill)
            killer.daemon = True
            killer.start()

    def _kill(self) -> None:
        if not self.done():
            self.cancel(force=True)

    def _one_ended(self, index: int, future: Any) -> None:
        try:
            error = future.exception()
        except BaseException as cancelled:
            error = cancelled
        with self._lock:
            if error is None:
                self._results[index] = future.result()
            else:
                self._errors.append((index, error))
            self._run.got(index, self._results[index], error)
            self._left -= 1
            last = self._left == 0
        if last:
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        run = self._run
        try:
            if self._errors:
                shown = run.failed(sorted(self._errors, key=lambda e: e[0]))
                run.say(tracebacks.text_of(shown, run.shell) + "\n")
            for note in run.notes([r for r in self._results if r is not None]):
                run.say(note)
            for result in self._results:
                if result is not None and result.shown and result.data:
                    run.extension.router.display(run.cell, result.data, result.metadata)
        finally:
            self._ended = time.monotonic()
            self.finished.set()
            run.extension.hub.remote_ended(run.cell)
