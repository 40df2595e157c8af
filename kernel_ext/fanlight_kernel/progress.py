"""From the runtime's events to what a cell's monitor shows. Pure: no clock, no IPython, no thread.

A :class:`Tracker` keeps the newest state of all groups; a :class:`Progress` is one cell's share of
it since the cell started, because running a cell again adds to groups that exist already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WAITING = ("PENDING_ARGS", "PENDING_RESOURCES", "SUBMITTED")


@dataclass
class Row:
    """One function (or method) of the cell."""

    name: str
    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    busy: float = 0.0  # seconds, sum over finished tasks

    @property
    def total(self) -> int:
        return self.pending + self.running + self.done + self.failed + self.cancelled

    @property
    def unfinished(self) -> int:
        return self.pending + self.running


@dataclass
class Progress:
    """What the monitor shows at one moment."""

    rows: list[Row] = field(default_factory=list)
    cpus: float = 0.0
    elapsed: float = 0.0  # seconds
    busy: float | None = None  # seconds of work; None when tasks waited for others of the cell

    def _sum(self, key: str) -> int:
        return sum(getattr(row, key) for row in self.rows)

    @property
    def total(self) -> int:
        return self._sum("total")

    @property
    def unfinished(self) -> int:
        return self._sum("unfinished")

    @property
    def done(self) -> int:
        return self._sum("done")

    @property
    def failed(self) -> int:
        return self._sum("failed")

    @property
    def cancelled(self) -> int:
        return self._sum("cancelled")

    @property
    def running(self) -> int:
        return self._sum("running")

    def remaining(self) -> float | None:
        """Estimated seconds to go, from the rate so far; ``None`` while that says little."""
        ended = self.done + self.failed
        if ended < 3 or not self.unfinished or self.elapsed <= 0:
            return None
        return self.elapsed * self.unfinished / ended


class Tracker:
    """The newest state of groups, edges and tasks, fed with every event."""

    def __init__(self) -> None:
        self.groups: dict[int, Any] = {}
        self.waits: set[int] = set()  # groups whose tasks submit others, and wait for them
        self.submitted: dict[str, tuple[int, float, str]] = {}  # task -> group, when, state
        self.cpus = 0.0
        self.ready = False  # a snapshot has arrived

    def feed(self, event: Any) -> None:
        """Take a Snapshot or a Delta (:mod:`fanlight.events`)."""
        if not hasattr(event, "groups"):
            return
        if hasattr(event, "version"):  # a snapshot replaces everything
            self.groups.clear()
            self.waits.clear()
            self.submitted.clear()
            self.ready = True
        if event.runtime is not None:
            self.cpus = float(event.runtime.total.get("CPU", 0.0))
        for group in event.groups:
            self.groups[group.id] = group
        for edge in event.edges:
            if edge.kind == "spawn":
                self.waits.add(edge.source)
        for task in event.tasks:
            self.submitted[task.id] = (task.group, task.submitted, task.state)
        if len(self.submitted) > 8000:
            for key in list(self.submitted)[:4000]:
                del self.submitted[key]

    def baseline(self, origin: str, since: float) -> dict[int, tuple[dict[str, int], float]]:
        """Counts and busy seconds that groups of ``origin`` had before ``since``.

        Exact while the group's tasks since then are among those the snapshot lists.
        """
        found: dict[int, tuple[dict[str, int], float]] = {}
        for group in self.groups.values():
            if group.origin != origin or group.first >= since:
                continue
            fresh: dict[str, int] = {}
            for of, when, state in self.submitted.values():
                if of == group.id and when >= since:
                    fresh[state] = fresh.get(state, 0) + 1
            before = {s: max(0, n - fresh.get(s, 0)) for s, n in group.counts.items()}
            ended = sum(n for s, n in group.counts.items() if s in ("FINISHED", "FAILED"))
            kept = sum(n for s, n in before.items() if s in ("FINISHED", "FAILED"))
            found[group.id] = (before, group.duration * (kept / ended if ended else 0.0))
        return found

    def progress(
        self,
        origin: str,
        since: float,
        now: float,
        baseline: dict[int, tuple[dict[str, int], float]] | None = None,
    ) -> Progress:
        """The share of ``origin`` since ``since`` (seconds since the epoch)."""
        rows: dict[str, Row] = {}
        busy = 0.0
        busy_tasks = 0
        last = first = 0.0
        for group in self.groups.values():
            if group.origin != origin:
                continue
            before, before_busy = (baseline or {}).get(group.id, ({}, 0.0))
            counts = {s: max(0, n - before.get(s, 0)) for s, n in group.counts.items()}
            # Old tasks that were unfinished move on: never count less than nothing.
            if not sum(counts.values()):
                continue
            row = rows.setdefault(group.name, Row(group.name))
            row.pending += sum(counts.get(s, 0) for s in WAITING)
            row.running += counts.get("RUNNING", 0)
            row.done += counts.get("FINISHED", 0)
            row.failed += counts.get("FAILED", 0)
            row.cancelled += counts.get("CANCELLED", 0)
            spent = max(0.0, group.duration - before_busy)
            row.busy += spent
            if group.id not in self.waits and group.kind != "actor":
                busy += spent
                busy_tasks += counts.get("FINISHED", 0) + counts.get("FAILED", 0)
            started = group.first if group.first >= since else since
            first = min(first, started) if first else started
            last = max(last, group.last)
        found = Progress(rows=list(rows.values()), cpus=self.cpus)
        if rows:
            end = now if found.unfinished else max(last, first)
            found.elapsed = max(0.0, end - first)
            found.busy = busy if busy_tasks > 1 else None
        return found


def seconds(value: float) -> str:
    """``0.02`` → "20 ms", ``3.14`` → "3.1 s", ``75`` → "1:15 min"."""
    if value < 0.1:
        return f"{max(1, round(value * 1000))} ms" if value > 0 else "0 ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h"


def _tasks(count: int) -> str:
    return f"{count:,} task{'' if count == 1 else 's'}".replace(",", "\u202f")


def summary(progress: Progress) -> str:
    """One line: "64 tasks, 3.1 s, 1.9× on 2 CPUs (94 %)"."""
    parts = [_tasks(progress.total)]
    for count, word in ((progress.failed, "failed"), (progress.cancelled, "cancelled")):
        if count and progress.total == 1:
            parts = [f"{parts[0]} {word}"]
        elif count:
            parts.append(f"{count} {word}")
    parts.append(seconds(progress.elapsed))
    gain = speed_up(progress)
    if gain is not None:
        factor, cpus, percent = gain
        parts.append(f"{factor:.1f}× on {cpus:g} CPU{'' if cpus == 1 else 's'} ({percent:.0f} %)")
    return ", ".join(parts)


def speed_up(progress: Progress) -> tuple[float, float, float] | None:
    """Work done per second of waiting, CPUs, and percent of them; ``None`` where it says nothing.

    Nothing is said of a single task, of tasks that waited inside others, or when the sum cannot be
    work (more than the CPUs can do: tasks that sleep, or that hold no CPU).
    """
    if progress.busy is None or progress.elapsed <= 0 or not progress.cpus:
        return None
    if progress.unfinished or progress.cancelled:
        return None
    factor = progress.busy / progress.elapsed
    percent = 100 * factor / progress.cpus
    if percent > 102 or factor < 0.05:
        return None
    return factor, progress.cpus, min(percent, 100.0)


def as_state(progress: Progress, *, title: str, cancelling: bool = False) -> dict[str, Any]:
    """The monitor widget's state; plain JSON."""
    remaining = progress.remaining()
    return {
        "title": title,
        "rows": [
            {
                "name": row.name,
                "pending": row.pending,
                "running": row.running,
                "done": row.done,
                "failed": row.failed,
                "cancelled": row.cancelled,
                "total": row.total,
            }
            for row in progress.rows
        ],
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "running": progress.running,
        "unfinished": progress.unfinished,
        "elapsed": seconds(progress.elapsed),
        "remaining": f"about {seconds(remaining)} left" if remaining is not None else "",
        "summary": summary(progress),
        "cancelling": cancelling,
    }
