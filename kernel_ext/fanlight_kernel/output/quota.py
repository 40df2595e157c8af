"""How much of what its work prints a cell shows, and what is kept of the rest.

No clock and no I/O here: the time comes with each call, in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

LAST = 20  # lines that are always shown, the last
_LONG = 1000  # characters of such a line


@dataclass
class Rate:
    """How much a cell shows: at once, per second, and in all. Users change it in ``Limits``."""

    burst: float
    per_second: float
    total: float


@dataclass
class Limits:
    """For one cell. A single task may take half of what is there."""

    lines: Rate = field(default_factory=lambda: Rate(8_000, 500, 20_000))
    size: Rate = field(default_factory=lambda: Rate(1_000_000, 200_000, 4_000_000))
    displays: Rate = field(default_factory=lambda: Rate(100, 10, 500))


class Bucket:
    """What may still be shown."""

    def __init__(self, rate: Rate, share: float = 1.0) -> None:
        self._burst = rate.burst * share
        self._per_second = rate.per_second * share
        self._now = self._burst
        self.left = rate.total * share
        self._at: float | None = None

    def room(self, now: float) -> float:
        """How much may be shown now."""
        if self._at is not None:
            self._now = min(self._burst, self._now + (now - self._at) * self._per_second)
        self._at = now
        return min(self._now, self.left)

    def take(self, amount: float) -> None:
        self._now -= amount
        self.left -= amount


class Quota:
    """Buckets of a cell or of one of its tasks.

    >>> quota = Quota(Limits(lines=Rate(2, 1, 100)))
    >>> quota.fits("one\\ntwo\\nthree\\n", 0.0)
    8
    >>> quota.fits("four\\n", 0.1), quota.fits("five\\n", 1.1)
    (0, 5)
    """

    def __init__(self, limits: Limits, share: float = 1.0) -> None:
        self._lines = Bucket(limits.lines, share)
        self._size = Bucket(limits.size, share)

    @property
    def spent(self) -> bool:
        """Whether nothing more will be shown, however long one waits."""
        return self._lines.left < 1 or self._size.left < 1

    def fits(self, text: str, now: float) -> int:
        """How many characters of ``text`` may be shown, whole lines. Takes them."""
        lines, size = self._lines.room(now), self._size.room(now)
        count = text.count("\n")
        if count <= lines and len(text) <= size and lines > 0:
            end = len(text)
        else:
            end = count = 0
            limit = int(max(0.0, min(size, len(text))))
            while count < int(lines):
                cut = text.find("\n", end, limit) + 1
                if not cut:
                    break
                end, count = cut, count + 1
        self._lines.take(count)
        self._size.take(end)
        return end

    def give_back(self, text: str) -> None:
        self._lines.take(-text.count("\n"))
        self._size.take(-len(text))


class Skipped:
    """What a cell did not show of one stream since it said so."""

    def __init__(self) -> None:
        self.lines = 0
        self.size = 0
        self.tail: deque[str] = deque(maxlen=LAST)

    def add(self, text: str, prefix: str = "") -> None:
        """Count text; keep its last lines, with ``prefix`` in front."""
        self.lines += text.count("\n")
        self.size += len(text)
        start = len(text)
        for _ in range(LAST + 1):
            start = text.rfind("\n", 0, start)
            if start < 0:
                break
        for line in text[start + 1 :].splitlines(keepends=True):
            if self.tail and not self.tail[-1].endswith("\n"):
                line = self.tail.pop() + line
            else:
                line = prefix + line
            self.tail.append(line if len(line) <= _LONG else line[:_LONG] + "…\n")

    @property
    def hidden(self) -> tuple[int, int]:
        """Lines and characters that are not among the last ones."""
        tail = "".join(self.tail)
        return max(0, self.lines - tail.count("\n")), max(0, self.size - len(tail))
