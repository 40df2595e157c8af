"""From the runtime's events to what a cell's monitor shows. Pure: no clock, no IPython, no thread.

A :class:`Tracker` keeps the newest state of all groups; a :class:`Progress` is one cell's share of
it since the cell started, because running a cell again adds to groups that exist already. What is
said of it in words is in :mod:`fanlight_kernel.widgets.wording`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

WAITING = ("PENDING_ARGS", "PENDING_RESOURCES", "SUBMITTED")
ENOUGH = 3  # tasks of a function that must have ended before its mean says anything
TASKS_KEPT = 8000


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
    waits: bool = False  # its tasks submit others, and wait for them

    @property
    def total(self) -> int:
        return self.pending + self.running + self.done + self.failed + self.cancelled

    @property
    def unfinished(self) -> int:
        return self.pending + self.running

    def add(self, other: Row) -> None:
        """Count another row's tasks here too."""
        for name in ("pending", "running", "done", "failed", "cancelled", "busy"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Failure:
    """Failures of one function with the same message."""

    name: str
    message: str
    count: int = 1


@dataclass
class Progress:
    """What the monitor shows at one moment."""

    rows: list[Row] = field(default_factory=list)
    cpus: float = 0.0
    elapsed: float = 0.0  # seconds
    busy: float | None = None  # seconds of work; None when tasks waited for others of the cell
    failures: list[Failure] = field(default_factory=list)
    retried: int = 0  # attempts after the first
    memory: int = 0  # bytes: the most that workers had at once while they ran its tasks
    spilled: int = 0  # bytes that went to disk meanwhile
    ended: str = ""  # why nothing can be known any more: the runtime is gone
    engine: str = ""  # "" for worker processes

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
        """Estimated seconds to go; ``None`` where no estimate is sound.

        What is left is counted in work, since a second function may be slower than the first:
        every function with unfinished tasks must have shown how long its tasks take, and none may
        submit others, whose number nobody knows.
        """
        work = 0.0
        for row in self.rows:
            if not row.unfinished:
                continue
            ended = row.done + row.failed
            if row.waits or ended < ENOUGH:
                return None
            work += (row.pending + 0.5 * row.running) * row.busy / ended
        done = sum(row.busy for row in self.rows if not row.waits)
        if not self.unfinished or done <= 0 or self.elapsed <= 0:
            return None
        return self.elapsed * work / done


class Tracker:
    """The newest state of groups, edges and tasks, fed with every event."""

    def __init__(self) -> None:
        self.groups: dict[int, Any] = {}
        self.waits: set[int] = set()  # groups whose tasks submit others, and wait for them
        # task -> group, when it was submitted, state, attempt
        self.tasks: dict[str, tuple[int, float, str, int]] = {}
        self.errors: list[Any] = []
        self.workers: list[Any] = []
        self.store: Any = None
        self.cpus = 0.0
        self.ready = False  # a snapshot has arrived
        self.ended = ""  # why the runtime is gone
        self.engine = ""

    def feed(self, event: Any) -> None:
        """Take a Snapshot, a Delta or an Ended (:mod:`fanlight.events`)."""
        if not hasattr(event, "groups"):
            self.ended = str(getattr(event, "reason", "")) or "it ended"
            return
        if hasattr(event, "version"):  # a snapshot replaces everything
            for table in (self.groups, self.waits, self.tasks, self.errors):
                table.clear()
            self.store = event.store[-1] if event.store else None
            self.ready = True
        elif event.store is not None:
            self.store = event.store
        if event.runtime is not None:
            self.cpus = float(event.runtime.total.get("CPU", 0.0))
            self.engine = event.runtime.engine
        if event.workers is not None:
            self.workers = event.workers
        for group in event.groups:
            self.groups[group.id] = group
        for edge in event.edges:
            if edge.kind == "spawn":
                self.waits.add(edge.source)
        for task in event.tasks:
            self.tasks[task.id] = (task.group, task.submitted, task.state, task.attempt)
        if len(self.tasks) > TASKS_KEPT:
            for key in list(self.tasks)[: TASKS_KEPT // 2]:
                del self.tasks[key]
        self.errors += event.errors
        del self.errors[:-200]

    def baseline(self, origin: str, since: float) -> dict[int, tuple[dict[str, int], float]]:
        """Counts and busy seconds that groups of ``origin`` had before ``since``.

        Exact while the group's tasks since then are among those the snapshot lists.
        """
        found: dict[int, tuple[dict[str, int], float]] = {}
        for group in self.groups.values():
            if group.origin != origin or group.first >= since:
                continue
            fresh: dict[str, int] = {}
            for of, when, state, _ in self.tasks.values():
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
        own: set[int] = set()
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
            own.add(group.id)
            name = f"{group.name}()" if group.kind == "actor" else group.name
            row = rows.setdefault(name, Row(name))
            row.pending += sum(counts.get(s, 0) for s in WAITING)
            row.running += counts.get("RUNNING", 0)
            row.done += counts.get("FINISHED", 0)
            row.failed += counts.get("FAILED", 0)
            row.cancelled += counts.get("CANCELLED", 0)
            row.waits = row.waits or group.id in self.waits
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
            found.engine = "inproc" if self.engine == "inproc" else ""
        self._details(found, own, since)
        return found

    def _details(self, found: Progress, own: set[int], since: float) -> None:
        """Failures, retries and memory of the groups ``own``."""
        if found.failed:
            counts = Counter(
                (error.name, one_line(error.message))
                for error in self.errors
                if error.group in own and error.time >= since
            )
            found.failures = [Failure(*key, n) for key, n in counts.most_common()]
        found.retried = sum(
            attempt
            for group, when, _, attempt in self.tasks.values()
            if attempt and group in own and when >= since
        )

    def memory(self, origin: str) -> int:
        """Bytes of the workers that run a task of ``origin`` right now."""
        total = 0
        for worker in self.workers:
            task = self.tasks.get(worker.task_id)
            group = self.groups.get(task[0]) if task is not None else None
            if group is not None and group.origin == origin:
                total += worker.rss
        return total

    def waiting(self, origin: str, since: float) -> str:
        """The id of a task of ``origin`` that waits for resources or arguments, or "".

        One that waits for resources comes first: its reason says more.
        """
        found = ""
        for identity, (group, when, state, _) in self.tasks.items():
            if when < since or not state.startswith("PENDING"):
                continue
            known = self.groups.get(group)
            if known is not None and known.origin == origin:
                if state == "PENDING_RESOURCES":
                    return identity
                found = found or identity
        return found


def one_line(text: str) -> str:
    """The first line that is not empty, cut to what people read of it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "failed")
    return line if len(line) <= 300 else line[:299] + "…"


def shown_rows(rows: list[Row], limit: int) -> tuple[list[Row], Row | None]:
    """At most ``limit`` rows, in their order, and all the others as one.

    >>> rows = [Row("a", done=1), Row("b", done=5), Row("c", failed=1), Row("d", done=2)]
    >>> shown, rest = shown_rows(rows, 2)
    >>> [row.name for row in shown], rest.name, rest.done
    (['b', 'c'], 'and 2 others', 3)
    """
    if len(rows) <= limit:
        return rows, None
    ranked = sorted(range(len(rows)), key=lambda i: (not rows[i].failed, -rows[i].total, i))
    chosen = set(ranked[:limit])
    rest = Row(f"and {len(rows) - limit} others")
    for index, row in enumerate(rows):
        if index not in chosen:
            rest.add(row)
    return [row for index, row in enumerate(rows) if index in chosen], rest
