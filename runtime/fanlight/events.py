"""What an observer sees: one versioned, tagged union of events.

An observer (the panel, a cell monitor, the recorder) first gets a :class:`Snapshot`, then numbered
:class:`Delta` events about ten times a second while something changes (and one a second when
nothing does, for the clocks and gauges). A gap in ``seq`` means: attach again. The last event is
:class:`Ended`. Every record in a delta replaces the record with the same id.

The TypeScript types of the panel are generated from this file; a test fails when they differ.

Units: times are seconds since the epoch, durations seconds, sizes bytes, ``*_percent`` 0-100
(of one core for processes, of the device for GPUs).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

EVENTS_VERSION = 2

TaskState = Literal[
    "PENDING_ARGS",  # waits for objects
    "PENDING_RESOURCES",  # waits for CPUs, GPUs or its actor
    "SUBMITTED",  # sent to a worker, behind another task
    "RUNNING",
    "FINISHED",
    "FAILED",
    "CANCELLED",
]
ActorState = Literal["PENDING_ARGS", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD"]
WorkerState = Literal["STARTING", "IDLE", "BUSY", "BLOCKED", "ACTOR", "DEAD"]
GroupKind = Literal["task", "actor", "method"]


class RuntimeView(Struct):
    """The runtime as a whole."""

    id: str
    name: str
    engine: str
    version: str
    python: str
    pid: int
    started: float
    total: dict[str, float]  # resources
    available: dict[str, float]
    drivers: list[DriverView]
    memory_used: int = 0  # of what is fullest: the machine, its container, the runtime's own limit
    memory_limit: int = 0  # 0: not measured
    memory_scope: str = ""  # which of them: "this machine", "this container", "this runtime"


class DriverView(Struct):
    """A process that submits work: a kernel or a script."""

    id: str
    pid: int
    kernel_id: str  # "" for scripts
    job: int


class GroupView(Struct):
    """All tasks of one function (or one method, or one actor class) from one cell."""

    id: int
    name: str
    kind: GroupKind
    origin: str  # IPython's cell id, "" if unknown
    counts: dict[TaskState, int]
    duration: float  # sum over finished and failed tasks
    first: float  # when the first was submitted
    last: float  # when the last one changed


class EdgeView(Struct):
    """Objects made by tasks of ``source`` that are arguments of tasks of ``target``."""

    source: int
    target: int
    count: int
    kind: Literal["data", "spawn"]
    bytes: int = 0  # of these objects, as far as they are there


class TaskView(Struct):
    id: str
    group: int
    name: str
    state: TaskState
    deps: list[str]  # tasks that make its arguments (the first 32)
    parent: str  # task that submitted it, "" for a driver
    actor: str  # "" unless a method call or a creation
    worker: str
    submitted: float
    started: float  # 0 until it starts
    finished: float  # 0 until it ends
    attempt: int
    error: str  # last line of the traceback


class WorkerView(Struct):
    id: str
    pid: int
    state: WorkerState
    cpu_percent: float
    rss: int
    task: str  # name of what it runs
    task_id: str
    actor: str  # its class
    finished: int  # tasks finished so far
    gpus: list[int]


class ActorView(Struct):
    id: str
    class_name: str
    name: str
    namespace: str
    state: ActorState
    worker: str
    pid: int
    queued: int
    finished: int
    restarts: int
    death_cause: str


class GpuProcessView(Struct):
    """A process that computes on a device."""

    pid: int
    memory: int | None  # None: not reported
    task: str  # name of what runs in it; "" for processes of others
    task_id: str = ""
    worker: str = ""  # id of the worker that it is, or whose child; "" for processes of others
    actor: str = ""  # its class
    name: str = ""  # as the system calls the process, if that can be told


class GpuView(Struct):
    """A GPU, or a slice of one in MIG mode."""

    index: int  # as nvidia-smi counts; the slices of one GPU share it
    uuid: str
    name: str
    share: float  # fraction of the device that tasks hold
    utilization_percent: float | None  # None: the device does not report it
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    power: float | None  # watts
    power_limit: float | None
    processes: list[GpuProcessView]
    error: str  # why figures are missing, e.g. "fell off the bus"
    number: int = -1  # the runtime's number for it; -1: this runtime does not use it
    mig: str = ""  # of a slice: its profile, such as "1g.10gb". Heat and power are its whole GPU's
    node: str = ""  # the machine that it is in; "" where there is one


class GpuHistory(Struct):
    """What one device reported, in columns, oldest first; what is old is thinned."""

    device: str  # its uuid, or "NODE#INDEX" where it has none
    time: list[float]
    utilization: list[float | None]
    memory: list[int | None]
    temperature: list[float | None]
    power: list[float | None]


class StoreView(Struct):
    """The object store at one moment."""

    time: float
    capacity: int
    used: int  # bytes of objects in shared memory, at most since the sample before
    pinned: int  # part of it that some process maps
    cached: int  # freed segments kept warm for the next put
    inline: int  # small objects, held in the node's own memory
    spilled: int  # bytes of objects that are on disk only
    objects: int  # number of objects
    # Since the start: objects written to disk and brought back, and their bytes.
    spills: int = 0
    restores: int = 0
    spill_bytes: int = 0
    restore_bytes: int = 0


class ObjectView(Struct):
    """One of the largest objects."""

    id: str
    size: int
    stored: bool
    creator: str  # name of the function that made it, or "put"
    origin: str
    holders: int


class ErrorView(Struct):
    task_id: str
    group: int
    name: str
    origin: str
    time: float
    message: str
    traceback: str


class Snapshot(Struct, tag="snapshot"):
    version: int
    seq: int
    time: float
    runtime: RuntimeView
    groups: list[GroupView]
    edges: list[EdgeView]
    tasks: list[TaskView]  # the newest, at most TASK_LIMIT
    workers: list[WorkerView]
    actors: list[ActorView]
    gpus: list[GpuView]
    gpu_status: str  # why there are no figures, or none of some devices; else ""
    store: list[StoreView]  # history, oldest first
    objects: list[ObjectView]
    errors: list[ErrorView]
    gpu_history: list[GpuHistory] = []


class Delta(Struct, tag="delta"):
    seq: int
    time: float
    runtime: RuntimeView | None
    groups: list[GroupView]
    edges: list[EdgeView]
    tasks: list[TaskView]
    workers: list[WorkerView] | None  # None: unchanged; else the whole list
    actors: list[ActorView]
    gpus: list[GpuView] | None
    store: StoreView | None
    objects: list[ObjectView] | None
    errors: list[ErrorView]
    gpu_status: str | None = None  # None: unchanged


class Ended(Struct, tag="ended"):
    reason: str


Event = Snapshot | Delta | Ended
TASK_LIMIT = 2000
ERROR_LIMIT = 200
HISTORY_LIMIT = 600
