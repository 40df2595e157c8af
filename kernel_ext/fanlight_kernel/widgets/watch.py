"""One execution of one cell that may have, or has, a monitor: what only time tells of it."""

from __future__ import annotations

import time
import uuid
from typing import Any

from fanlight_kernel.cells import Cell
from fanlight_kernel.widgets.progress import Progress, Tracker
from fanlight_kernel.widgets.wording import as_state

STALLED = 1.0  # seconds in which nothing runs, after which the reason is asked for
ASK_AGAIN = 2.0  # seconds between two such questions
SETTLED = 1.0  # seconds without new tasks, after which an estimate is worth something


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
        self.hushed = False  # another display shows its progress
        self.known: Progress | None = None  # the newest figures
        self.grown = 0.0  # when the number of tasks last changed; time.monotonic()
        self.moved = 0.0  # when something of it ran last
        self.memory = 0  # bytes, the most so far
        self.spilled: int | None = None  # bytes on disk when it started
        self.why = ""  # it waits
        self.asked = 0.0
        self.own_done = not cell.remote  # a %%remote cell says itself when it ended

    @property
    def title(self) -> str:
        return f"In[{self.cell.number}]" if self.cell.number else "cell"

    def take(self, progress: Progress, tracker: Tracker) -> None:
        """Note the newest figures, and complete them with peaks and growth."""
        if progress.running:
            self.memory = max(self.memory, tracker.memory(self.cell.origin))
        if tracker.store is not None and progress.total:
            if self.spilled is None:
                self.spilled = tracker.store.spilled
            progress.spilled = max(0, tracker.store.spilled - self.spilled)
        progress.memory = self.memory
        if self.cell.remote:  # its own failures are shown as the cell's error
            progress.failures = [f for f in progress.failures if f.name != self.title]
        now = time.monotonic()
        if self.known is None or self.known.total != progress.total:
            self.grown = now
        if progress.running or self.known is None:
            self.moved, self.why = now, ""
        self.known = progress

    def stalled(self, tracker: Tracker) -> str:
        """The id of a task to ask about, when none has run for a while; else ""."""
        now = time.monotonic()
        if self.known is None or not self.known.unfinished or self.known.running:
            return ""
        if now - self.moved < STALLED or now - self.asked < ASK_AGAIN:
            return ""
        self.asked = now
        return tracker.waiting(self.cell.origin, self.since)

    def state(self, progress: Progress, *, over: bool = False) -> dict[str, Any]:
        """The widget's state."""
        return as_state(
            progress,
            title=self.title,
            cancelling=self.cancelling and not over,
            growing=time.monotonic() - self.grown < SETTLED and not self.cell.ended,
            why=self.why if progress.unfinished and not progress.running else "",
            over=over,
        )


def short(reason: str) -> str:
    """Why a runtime ended, as the end of a line.

    >>> short("The runtime's node process (pid 7) was killed by SIGKILL. Its last lines: …")
    "the runtime's node process (pid 7) was killed by SIGKILL"
    """
    sentence = reason.strip().split("\n", 1)[0].split(". ", 1)[0].strip().rstrip(".:")
    return sentence[:1].lower() + sentence[1:200]
