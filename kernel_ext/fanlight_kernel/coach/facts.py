"""What the rules look at: one run of one cell, as plain facts. Pure: no IPython, no clock.

All times are seconds since the epoch, as the runtime's own are; durations are seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fanlight_kernel.coach.reading import Source

WAITED = 2  # flag of a span: it hardly used the CPU that it held


class Site(NamedTuple):
    """A call in the user's code. Lines count from 1, columns from 0, in characters of UTF-8."""

    file: str
    line: int
    end_line: int
    column: int
    end_column: int

    def inside(self, other: Site) -> bool:
        return (
            self.file == other.file
            and (other.line, other.column) <= (self.line, self.column)
            and (self.end_line, self.end_column) <= (other.end_line, other.end_column)
        )


@dataclass(frozen=True, eq=False)
class Function:
    """A remote function, or a method of one actor, that the cell calls."""

    name: str
    target: Any = None  # the Python function; None for a method
    options: dict[str, Any] = field(default_factory=dict)
    actor: bytes = b""


class Submit(NamedTuple):
    """``f.remote()``. ``task`` is b"" where it makes no object that can be got."""

    start: float
    end: float
    site: Site
    function: Function
    task: bytes


class Get(NamedTuple):
    start: float
    end: float
    site: Site
    tasks: tuple[bytes, ...]
    single: bool = True  # of a ref, not of a list
    refs: bool = False  # a value was a ref itself

    @property
    def waited(self) -> float:
        return max(0.0, self.end - self.start)


class Wait(NamedTuple):
    start: float
    end: float
    site: Site
    given: int  # refs
    found: int  # of them ready
    timeout: float | None


class Large(NamedTuple):
    """A large value among arguments. ``key`` is equal for the same value, unchanged."""

    key: tuple[Any, ...]
    size: int  # bytes
    label: str  # "an ndarray"


class Sent(NamedTuple):
    """Arguments that went through the store because they are large."""

    end: float
    seconds: float
    site: Site
    function: Function
    size: int
    task: bytes
    values: tuple[Large, ...]


class Defined(NamedTuple):
    """A function or class that was pickled for the workers, ``size`` bytes with what it captures."""

    start: float
    end: float
    name: str
    target: Any
    size: int


class Span(NamedTuple):
    """When and where a task ran."""

    start: float
    duration: float
    pid: int
    name: str
    flags: int = 0

    @property
    def end(self) -> float:
        return self.start + self.duration


@dataclass
class Facts:
    """One run of one cell."""

    elapsed: float = 0.0
    totals: dict[str, float] = field(default_factory=dict)  # resources of the runtime
    machine: int = 1  # CPUs that the runtime's processes really have
    processes: bool = True  # tasks run in processes of their own
    submits: list[Submit] = field(default_factory=list)
    gets: list[Get] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    defined: list[Defined] = field(default_factory=list)
    spans: dict[bytes, Span] = field(default_factory=dict)
    capacity: int = 0  # bytes of the object store
    spilled: int = 0  # bytes of objects that are on disk only
    source: Callable[[str], Source | None] = lambda file: None
    main: str = ""  # the file name of the cell's own code
    name_of: Callable[[tuple[Any, ...]], str] = lambda key: ""  # a variable, by `Large.key`
    captured: Callable[[Any], list[tuple[str, int]]] = lambda target: []  # variables and sizes
    mutated: dict[str, Mutation] = field(default_factory=dict)  # by tasks, in this cell or before

    def slots(self, function: Function) -> int:
        """How many calls of ``function`` can run at once; 0 if that is not known.

        No more than the machine has CPUs: more of them would not be quicker for certain.
        """
        options = function.options
        if function.actor:
            return 1
        cpus = options.get("num_cpus")
        cpus = 1.0 if cpus is None else float(cpus)
        at_once = [float(self.machine)]
        if cpus > 0:
            at_once.append(self.totals.get("CPU", 0.0) / cpus)
        if options.get("num_gpus"):
            at_once.append(self.totals.get("GPU", 0.0) / float(options["num_gpus"]))
        for name, amount in (options.get("resources") or {}).items():
            if amount:
                at_once.append(self.totals.get(name, 0.0) / amount)
        if options.get("scheduling_strategy") or options.get("placement_group"):
            return 0
        return int(min(at_once) + 1e-6)


@dataclass(frozen=True)
class Mutation:
    """A global of the notebook that a task changed, in its own process."""

    name: str
    function: str
    site: Site
    how: str  # "assigns", "changes"
    calls: int
    pids: int
    line: int = 0  # of the last call in this cell's own code; 0: an earlier cell called it


@dataclass(frozen=True)
class Hint:
    """One anti-pattern that happened: which, what was measured, where."""

    rule: str
    evidence: str
    site: Site | None = None


@dataclass
class Limits:
    """What has to be lost before a hint is given. Tests set them."""

    seconds: float = 0.5  # saved or lost, at least
    part: float = 0.2  # of the cell's time, at least
    gets: int = 3  # in a loop
    tiny: float = 0.001  # seconds: a shorter run is not worth a task
    tiny_tasks: int = 200
    tiny_lost: float = 0.5  # of the cell's time, around them, at least
    tiny_run: float = 0.3  # of that time, in the runs themselves, at most
    sends: int = 3  # of the same value
    sent_bytes: int = 100_000_000  # sent again, in all
    early_bytes: int = 10_000_000  # fetched only to be sent on, in all
    captured_bytes: int = 5_000_000  # in a function's definition
    pending: int = 100  # tasks that wait for each that runs
    pending_bytes: float = 0.25  # of the store, held by what waits
    nested: int = 8  # waiting processes, beside two for each CPU
    idle_seconds: float = 20.0  # that tasks held CPUs without using them
    idle_tasks: int = 4  # for each that runs at once
    definitions: int = 100  # of one function
    polls: int = 200  # that found nothing


def makespan(durations: Iterable[float], slots: int) -> float:
    """When the last of these ends, if each begins as soon as one of ``slots`` is free.

    >>> makespan([1, 1, 1, 1, 1], 2)
    3.0
    """
    free = [0.0] * max(1, slots)
    last = 0.0
    for duration in durations:
        end = heapq.heappop(free) + max(0.0, duration)
        heapq.heappush(free, end)
        last = max(last, end)
    return last


def median(values: Sequence[float]) -> float:
    """The middle one.

    >>> median([3, 1, 2])
    2
    """
    return sorted(values)[len(values) // 2] if values else 0.0
