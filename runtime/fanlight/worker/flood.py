"""Of a task that prints more than anybody reads: what goes to the notebook, and what is counted.

No I/O and no clock here. The worker's log file gets everything.
"""

from __future__ import annotations

from collections import deque
from typing import Any

LINES = 6000  # of one task in one second
SIZE = 1 << 20  # characters of them
LAST = 50  # lines that are kept of what is left out
_LONG = 2000  # characters of a line that are kept
_MOVES = "\x1b[A", "\x1b[1A", "\x1b[2A", "\x1b[3A", "\x1b[F"  # the cursor, up


class _Held:
    """What was left out of one stream since somebody was told."""

    __slots__ = ("lines", "size", "tail")

    def __init__(self) -> None:
        self.lines = 0
        self.size = 0
        self.tail: deque[str] = deque(maxlen=LAST)


class Flood:
    """The budget of one task. ``now`` is in seconds.

    >>> flood = Flood(0.0)
    >>> flood.pass_on("stdout", "few\\n", 0.1)
    [('stdout', 'few\\n')]
    >>> [(kind, len(what)) for kind, what in flood.pass_on("stdout", "many\\n" * 7000, 0.2)]
    [('stdout', 29995)]
    >>> flood.rest()[0]
    ('left_out', {'stream': 'stdout', 'lines': 951, 'bytes': 4755})
    >>> flood.rest()
    []
    """

    def __init__(self, now: float) -> None:
        self.since = now
        self._lines = LINES
        self._size = SIZE
        self._held: dict[str, _Held] = {}

    @property
    def holds(self) -> bool:
        """Whether there is something that nobody was told of."""
        return bool(self._held)

    def due(self, now: float) -> bool:
        """Whether it is time to tell of what was left out."""
        return bool(self._held) and now - self.since >= 1.0

    def pass_on(self, stream: str, text: str, now: float) -> list[tuple[str, Any]]:
        """What is to be sent now, in order: pairs of a stream and text, or "left_out" and counts."""
        found: list[tuple[str, Any]] = []
        if now - self.since >= 1.0:
            found = self.rest()
            self.since, self._lines, self._size = now, LINES, SIZE
        held = self._held.get(stream)
        if held is None:
            count = text.count("\n")
            if count <= self._lines and len(text) <= self._size:
                self._lines -= count
                self._size -= len(text)
                found.append((stream, text))
                return found
            cut = self._cut(text)
            if cut:
                found.append((stream, text[:cut]))
                text = text[cut:]
            self._lines = self._size = 0
            held = self._held[stream] = _Held()
        held.lines += text.count("\n")
        held.size += len(text)
        self._keep(held.tail, text)
        return found

    def _cut(self, text: str) -> int:
        """Where the budget ends, at the end of a line."""
        end = 0
        for _ in range(self._lines):
            next_ = text.find("\n", end, self._size) + 1
            if not next_:
                break
            end = next_
        return end

    @staticmethod
    def _keep(tail: deque[str], text: str) -> None:
        """Keep the last lines of ``text``, without splitting all of it."""
        start = len(text)
        for _ in range(LAST + 1):
            start = text.rfind("\n", 0, start)
            if start < 0:
                break
        for line in text[start + 1 :].splitlines(keepends=True):
            if tail and not tail[-1].endswith("\n"):
                line = tail.pop() + line
            tail.append(line if len(line) <= _LONG else f"{line[:_LONG]}…\n")

    def rest(self) -> list[tuple[str, Any]]:
        """What is to be said of what was left out, and its last lines."""
        found: list[tuple[str, Any]] = []
        for stream, held in self._held.items():
            tail = "".join(held.tail)
            lines = held.lines - tail.count("\n")
            if lines > 0 or held.size > len(tail):
                counts = {"stream": stream, "lines": max(lines, 0), "bytes": held.size - len(tail)}
                found.append(("left_out", counts))
            found.append((stream, tail))
        self._held = {}
        return found


def last_states(text: str) -> str:
    r"""``text`` without those states of progress bars that the next ones replace.

    >>> last_states("\r10 %\r20 %\r30 %\r40 %\r50 %")
    '\r40 %\r50 %'
    >>> last_states("plain\n")
    'plain\n'
    """
    if text.count("\r") < 4 or any(move in text for move in _MOVES):
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        states = line.split("\r")
        if len(states) > 3:
            lines[i] = "\r" + "\r".join(states[-3:] if not states[-1] else states[-2:])
    return "\n".join(lines)
