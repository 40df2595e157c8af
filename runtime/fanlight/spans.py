"""What ran when and where, decoded: the rows behind the pictures of ``fanlight.timeline()``.

:class:`Spans` is made of the node's pages by :mod:`fanlight.trace`; ``fanlight_kernel.pictures``
draws it, :mod:`fanlight.gantt` writes it as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from fanlight.core.timeline import FAILED, unpack

OTHERS = "others"


class Span(NamedTuple):
    """One attempt of a task: when it ran, and where. Times are seconds, ``start`` since the epoch."""

    task: bytes
    name: str
    kind: str  # "task", "actor" (a constructor) or "method"
    cell: str  # IPython's id of the cell that it belongs to, "" if none
    worker: int
    pid: int
    attempt: int
    state: str  # "done", "failed" or "running"
    start: float
    duration: float  # so far, of what runs
    reading: float  # parts of the duration, where they took long
    storing: float
    waited: float  # from submission to start; -1 for a later attempt, of which it is not known
    size: int  # bytes of the results

    @property
    def end(self) -> float:
        return self.start + self.duration


class Lane:
    """One worker process and what ran in it, by start."""

    def __init__(
        self, worker: int, pid: int, actor: str, name: str, gpus: list[int], spans: list[Span]
    ) -> None:
        self.worker = worker
        self.pid = pid
        self.actor = actor  # its class, "" for a worker of tasks
        self.name = name  # of the actor
        self.gpus = gpus
        self.spans = spans

    @property
    def label(self) -> str:
        """What a person calls it: "worker 2", "Counter 'c' (worker 3)"."""
        text = f"worker {self.worker}"
        if self.actor:
            named = f" {self.name!r}" if self.name else ""
            text = f"{self.actor}{named} ({text})"
        return text + (f" · GPU {', '.join(map(str, self.gpus))}" if self.gpus else "")

    @cached_property
    def busy(self) -> float:
        """Seconds in which something ran: what overlaps counts once."""
        total, reached = 0.0, 0.0
        for span in self.spans:
            end = span.start + span.duration
            if end > reached:
                total += end - (span.start if span.start > reached else reached)
                reached = end
        return total


class Spans:
    """All that a timeline knows, oldest first."""

    def __init__(
        self,
        spans: Iterable[Span],
        live: dict[int, Any] | None = None,
        cut: bool = False,
        waits: Iterable[tuple[float, float, str]] = (),
    ) -> None:
        self.all = sorted(spans, key=lambda s: s.start)
        self.live = live or {}  # by worker's number: class and name of the actor that it is, GPUs
        self.cut = cut  # older ones were forgotten
        begin, end = self.begin, self.end
        # Where the program itself waited meanwhile: start, end, and what for.
        self.waits = sorted(w for w in waits if w[1] > begin and w[0] < end)
        # None of it changes from now on: what is computed of it is kept.

    def __len__(self) -> int:
        return len(self.all)

    @cached_property
    def begin(self) -> float:
        return self.all[0].start if self.all else 0.0

    @cached_property
    def end(self) -> float:
        return max((s.start + s.duration for s in self.all), default=0.0)

    @property
    def extent(self) -> float:
        """Seconds from the first start to the last end."""
        return self.end - self.begin

    @cached_property
    def waited(self) -> float:
        """Seconds in which the program itself waited for results, while something ran."""
        total, reached = 0.0, self.begin
        for start, end, _ in self.waits:
            stop = min(end, self.end)
            if stop > reached:
                total += stop - max(start, reached)
                reached = stop
        return total

    @cached_property
    def lanes(self) -> list[Lane]:
        """One for each process, in the order of the workers' numbers: workers, then actors."""
        found: dict[tuple[int, int], list[Span]] = {}
        for span in self.all:
            found.setdefault((span.worker, span.pid), []).append(span)
        lanes = []
        for (worker, pid), spans in sorted(found.items()):
            actor, name, gpus = self.live.get(worker, ("", "", []))
            if not actor:
                own = next((s for s in spans if s.kind != "task"), None)
                actor = own.name.partition(".")[0] if own is not None else ""
            lanes.append(Lane(worker, pid, actor, name, list(gpus), spans))
        return sorted(lanes, key=lambda lane: bool(lane.actor))

    @cached_property
    def functions(self) -> list[tuple[str, int, int, float, float]]:
        """Name, attempts, failures, seconds in all and longest, of each function; the one that took
        most first."""
        sums: dict[str, list[float]] = {}
        for span in self.all:
            row = sums.setdefault(span.name, [0, 0, 0.0, 0.0])
            row[0] += 1
            row[1] += span.state == "failed"
            row[2] += span.duration
            row[3] = max(row[3], span.duration)
        rows = [(name, int(n), int(bad), total, top) for name, (n, bad, total, top) in sums.items()]
        return sorted(rows, key=lambda row: (-row[3], row[0]))

    def queue(self) -> list[tuple[float, int]]:
        """How many tasks had been submitted and did not run yet: (time, number), at each change."""
        steps: list[tuple[float, int]] = []
        for span in self.all:
            if span.waited > 0:
                steps += [(span.start - span.waited, 1), (span.start, -1)]
        steps.sort()
        found: list[tuple[float, int]] = []
        waiting = 0
        for moment, step in steps:
            waiting += step
            if found and found[-1][0] == moment:
                found[-1] = (moment, waiting)
            else:
                found.append((moment, waiting))
        return found


def decode(
    records: bytes, names: dict[int, list[str]], running: Iterable[Any], now: float
) -> list[Span]:
    """Spans of one answer of the node (:func:`fanlight.core.timeline.query`)."""
    spans = []
    for row in unpack(records):
        task, group, worker, pid, attempt, flags, start, took, reading, storing = row[:10]
        waited, size, _ = row[10:]
        name, kind, cell = names.get(group, (OTHERS, "task", ""))
        spans.append(
            Span(
                task, shown_name(name, kind), kind, cell, worker, pid, attempt,
                "failed" if flags & FAILED else "done", start, max(took, 0.0), reading, storing,
                -1.0 if attempt else max(waited, 0.0), int(size),
            )
        )  # fmt: skip
    for task, group, worker, pid, attempt, started, submitted, _ in running:
        name, kind, cell = names.get(group, (OTHERS, "task", ""))
        spans.append(
            Span(
                task, shown_name(name, kind), kind, cell, worker, pid, attempt, "running", started,
                max(now - started, 0.0), 0.0, 0.0,
                -1.0 if attempt else max(started - submitted, 0.0), 0,
            )
        )  # fmt: skip
    return spans


def shown_name(name: str, kind: str) -> str:
    """What a task of a group is called: constructors have the name of their class there."""
    return f"{name}.__init__" if kind == "actor" else name
