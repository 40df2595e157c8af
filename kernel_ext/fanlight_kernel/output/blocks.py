"""Places under a cell that are updated: its progress bars, and what a task takes back and redoes."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from fanlight_kernel.output.screen import Screen, printable
from fanlight_kernel.widgets import render

if TYPE_CHECKING:
    from fanlight_kernel.output.outlet import Outlet

PERIOD = 0.1  # seconds between two drawings
PLACES = 20  # displays of a task before its first clear_output that this takes back
ROWS = 60  # lines of bars that are shown; more of them are counted
_TEXT = 50_000  # characters of a text that is updated


class Bar:
    """The lines that one task rewrites."""

    def __init__(self, prefix: str, stream: str) -> None:
        self.prefix = prefix
        self.stream = stream
        self.screen = Screen()
        self.settled: list[str] | None = None  # its lines, when they do not change any more

    def lines(self) -> list[str]:
        found = self.screen.lines() if self.settled is None else self.settled
        return [self.prefix + line for line in found]


class Bars:
    """All lines of a cell that tasks rewrite: one block of text, each task's in lines of its own."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._bars: list[Bar] = []
        self._ended = 0  # lines that are counted only
        self._display_id = ""
        self._drawn = 0.0
        self._text = ""
        self.waiting = False  # something has changed since it was drawn

    def start(self, prefix: str, stream: str) -> Bar:
        bar = Bar(prefix, stream)
        self._bars.append(bar)
        return bar

    def settle(self, bar: Bar) -> None:
        """What follows is plain text: the bar stays as it is."""
        bar.settled = bar.screen.lines()
        if not self._outlet.router.rich:
            self._print(bar)
        settled = [b for b in self._bars if b.settled is not None]
        surplus = sum(len(b.settled or ()) for b in settled) - ROWS
        for old in settled:
            if surplus <= 0:
                break
            surplus -= len(old.settled or ())
            self._ended += len(old.settled or ())
            self._bars.remove(old)

    def _print(self, bar: Bar) -> None:
        """In a terminal: the last state of a bar, as lines."""
        text = "".join(f"{line}\n" for line in bar.lines())
        self._bars.remove(bar)
        self._outlet.router.write(self._outlet.cell, bar.stream, text)

    def changed(self, now: float) -> None:
        """A bar was rewritten."""
        self.waiting = True
        if now - self._drawn >= PERIOD:
            self.draw(now)
        else:
            self._outlet.router.tend(self._outlet)

    def tick(self, now: float) -> None:
        if self.waiting and now - self._drawn >= PERIOD:
            self.draw(now)

    def draw(self, now: float, final: bool = False) -> None:
        """Show the bars as they are; in a terminal only in the end."""
        self.waiting = False
        self._drawn = now
        if not self._outlet.router.rich:
            for bar in list(self._bars) if final else ():
                self._print(bar)
                bar.screen = Screen()
            return
        lines = [line for bar in self._bars for line in bar.lines()]
        hidden = len(lines) - ROWS
        if hidden > 0:
            lines = [*lines[:ROWS], f"… {hidden} more lines of progress bars …"]
        if self._ended:
            lines.insert(0, f"… {self._ended} lines of progress bars that have ended …")
        text = "\n".join(lines)
        if text == self._text or not (text or self._display_id):
            return
        self._text = text
        data = {"text/plain": text}
        if self._display_id:
            self._outlet.router.display(
                self._outlet.cell, data, {}, display_id=self._display_id, update=True
            )
        else:
            self._display_id = uuid.uuid4().hex
            self._outlet.show(self._display_id, data, {})


class Board:
    """What a task shows from its first ``clear_output`` on, in places that are used again.

    So one task takes back its own and nothing of the others' under the same cell, and what it redoes
    does not flicker. Text that it printed before it first cleared stays; ``shown`` are the display
    ids of what it displayed before.
    """

    def __init__(self, outlet: Outlet, shown: list[str]) -> None:
        self._outlet = outlet
        self._places = shown
        self._filled = self._next = len(shown)
        self._text: str | None = None  # of the last place, if it is text
        self._wait = False
        self.used = False

    def clear(self, wait: bool, now: float) -> None:
        """Take back what the task has shown: now, or when it shows something."""
        self.used = True
        if wait:
            self._wait = True
        else:
            self._begin_anew()
            self._blank(now)

    def write(self, text: str, now: float) -> None:
        """Show text, below what the task has shown since."""
        self._if_waiting()
        if self._text is not None:
            self._text = (self._text + printable(text))[-_TEXT:]
            place = self._places[self._next - 1]
            self._outlet.update(place, {"text/plain": self._text.rstrip("\n")}, {}, now)
            self._blank(now)
            return
        kept = printable(text)[-_TEXT:]
        self.show({"text/plain": kept.rstrip("\n")}, {}, now)
        self._text = kept

    def show(self, data: dict[str, Any], metadata: dict[str, Any], now: float) -> None:
        """Show a mimebundle, below what the task has shown since."""
        self._if_waiting()
        self._text = None
        if self._next < len(self._places):
            self._outlet.update(self._places[self._next], data, metadata, now)
        else:
            self._places.append(uuid.uuid4().hex)
            self._outlet.show(self._places[-1], data, metadata)
        self._next += 1
        self._blank(now)

    def _if_waiting(self) -> None:
        if self._wait:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._wait = False
        self._filled = max(self._filled, self._next)
        self._next = 0
        self._text = None

    def _blank(self, now: float) -> None:
        """Empty the places that are not used again."""
        for place in self._places[self._next : self._filled]:
            self._outlet.update(place, render.nothing(), {}, now)
        self._filled = self._next
