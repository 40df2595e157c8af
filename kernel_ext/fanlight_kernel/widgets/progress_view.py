"""``fanlight.progress(refs)`` in a notebook: the monitor's widget over these refs.

It moves while the loop's body works, since :class:`fanlight_kernel.widgets.live.Live` asks on a thread of its
own. As the last expression of a cell it is shown without being iterated.
"""

from __future__ import annotations

import html
import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from fanlight.progress_bar import LineDisplay, Progress, Tally, roughly, seconds, set_display, words
from fanlight_kernel.widgets import facts, render
from fanlight_kernel.widgets.watch import ASK_AGAIN, STALLED


class ProgressItem:
    """One :class:`fanlight.progress_bar.Progress` on display. It does not keep it alive."""

    kind = "monitor"
    steady = 0.5

    def __init__(self, progress: Progress[Any], iterated: bool) -> None:
        self._progress = weakref.ref(progress)
        self._iterated = iterated
        self.desc = progress.desc
        self.origin = f"progress-{uuid.uuid4().hex}"
        self.tally = progress.tally(look=False)
        self.cancelling = 0
        self.why = ""
        self._moved = time.monotonic()
        self._asked = 0.0

    def look(self) -> tuple[dict[str, Any], bool]:
        progress = self._progress()
        if progress is not None:
            before, self.tally = self.tally, progress.tally()
            self._ask_why(progress, moved=before.ended != self.tally.ended)
        left = self.tally.total - self.tally.ended
        final = not left or progress is None or (self._iterated and self.tally.stopped)
        return self.state(final), final

    def _ask_why(self, progress: Progress[Any], moved: bool) -> None:
        """When nothing has come for a while: what the next one waits for."""
        now = time.monotonic()
        if moved:
            self._moved, self.why = now, ""
        elif now - self._moved > STALLED and now - self._asked > ASK_AGAIN:
            self._asked = now
            waiting = progress.first_waiting()
            if waiting is not None:
                self.why = " ".join(facts.ref_card(waiting).lines)

    def cancel(self) -> None:
        """The button; the second press insists."""
        progress = self._progress()
        if progress is not None:
            self.cancelling += 1
            progress.cancel(force=self.cancelling > 1)

    def state(self, final: bool) -> dict[str, Any]:
        """As :func:`fanlight_kernel.widgets.wording.as_state` makes it for cells."""
        tally = self.tally
        left = tally.total - tally.ended
        row = {
            "name": self.desc or "results",
            "pending": left,
            "running": 0,
            "done": tally.done,
            "failed": tally.failed,
            "cancelled": tally.cancelled,
            "total": tally.total,
        }
        remaining = tally.remaining if not self.cancelling else None
        return {
            "title": self.desc or "results",
            "label": "result",
            "rows": [row],
            "total": tally.total,
            "done": tally.done,
            "failed": tally.failed,
            "running": 0,
            "cancelled": tally.cancelled,
            "unfinished": left,
            "elapsed": seconds(tally.elapsed),
            "remaining": f"about {roughly(remaining)} left" if remaining is not None else "",
            "notes": [],
            "why": self.why if left else "",
            "failures": [],
            "ended": "",
            "summary": words(tally, self.desc),
            "cancelling": bool(self.cancelling and left),
            "over": final,
        }

    def bundle(self) -> dict[str, Any]:
        tally = self.tally
        text = words(tally, self.desc)
        mark, colour, word = "✓", render.GOOD, "done"
        if tally.cancelled:
            mark, colour, word = "■", render.WARN, "cancelled"
        elif tally.failed:
            mark, colour, word = "✗", render.BAD, "failed"
        elif tally.ended < tally.total:
            mark, colour, word = "■", render.MUTED, "stopped"
        return {
            "text/plain": text,
            "text/html": f'<div style="{render.FONT};color:{render.MUTED};padding:2px 0 2px 16px">'
            f'<span style="color:{colour}" role="img" aria-label="{word}">{mark}</span> '
            f"{html.escape(text)}</div>",
        }


class ProgressDisplay:
    """What a :class:`fanlight.progress_bar.Progress` tells while it is iterated."""

    def __init__(self, extension: Any, cell: Any, progress: Progress[Any]) -> None:
        self.extension = extension
        self.item = ProgressItem(progress, iterated=True)
        extension.hub.hush(cell)
        show(extension, cell, self.item)

    def update(self, tally: Tally) -> None:
        """The live display looks by itself, except on the in-process engine."""
        from fanlight import session

        current = session.current()
        if current is not None and not current.engine.capabilities.processes:
            self.extension.live.poke(self.item)

    def close(self, tally: Tally) -> None:
        self.item.tally = tally
        self.extension.cancels.pop(self.item.origin, None)
        self.extension.live.poke(self.item, final=True)


def show(extension: Any, cell: Any, item: ProgressItem) -> None:
    extension.cancels[item.origin] = item.cancel
    while len(extension.cancels) > 200:  # of displays that nobody looks at any more
        extension.cancels.pop(next(iter(extension.cancels)))
    extension.live.show(item, cell, item.state(False), item.origin)


def register(extension: Any) -> Callable[[], None]:
    """Have ``fanlight.progress`` show widgets, or be the only line of a terminal; returns what
    undoes it."""

    def make(progress: Progress[Any]) -> Any:
        cell = extension.cells.current
        if cell is not None and extension.rich:
            return ProgressDisplay(extension, cell, progress)
        if cell is not None:
            extension.hub.hush(cell)
        return LineDisplay(progress)

    def display(progress: Progress[Any]) -> None:
        cell = extension.cells.current
        item = ProgressItem(progress, iterated=False)
        if cell is None or item.look()[1]:
            raise NotImplementedError  # its text says all
        extension.hub.hush(cell)
        show(extension, cell, item)

    restore = set_display(make)
    if not extension.rich:
        return restore
    formatter = extension.shell.display_formatter.ipython_display_formatter
    formatter.for_type(Progress, display)

    def undo() -> None:
        restore()
        formatter.pop(Progress, None)

    return undo
