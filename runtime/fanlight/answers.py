"""What a runtime answers to the questions of the panel (:mod:`fanlight.observe.questions`).

The node sends these as MessagePack; browsers get JSON, in which bytes are base64. Columns are
little-endian arrays of one type, so that a browser reads 20,000 tasks without making objects. The
TypeScript types of the panel are generated from this file; a test fails when they differ.

Units as in :mod:`fanlight.events`: seconds since the epoch (0: not yet, or not known), durations in
seconds, sizes in bytes, ids in hexadecimal.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from fanlight.events import ActorView, GroupView, TaskState, TaskView, WorkerView

# --- one thing -----------------------------------------------------------------------------------


class WhyLine(Struct):
    """One fact of a reason to wait; a tree by depth."""

    depth: int
    label: str
    text: str
    task: str  # an id to go to, or ""


class WhyAnswer(Struct):
    """Why a task or an actor waits, or what it does. Names stand in backquotes."""

    sentence: str
    lines: list[WhyLine]


class ArgumentView(Struct):
    """An object that a task takes or makes."""

    id: str
    task: str  # that makes it, or "" for what was put
    name: str  # of the function that makes it, or "put", or "?" when it is forgotten
    state: str  # a TaskState while it is made; READY, FAILED or GONE
    size: int
    place: str  # "node" (a small one), "memory", "mapped" (in use), "disk"; "" if it has no value


class AttemptView(Struct):
    """One attempt of a task that ended."""

    attempt: int
    pid: int
    worker: int  # its number
    started: float
    finished: float
    error: str  # "" if it ended well, or if only that it failed is remembered
    ok: bool


class TaskTimes(Struct):
    """Where the time of the last attempt that ended went."""

    waited: float  # from submission to its start
    reading: float  # of its arguments
    running: float  # the user's code
    storing: float  # of its results
    size: int  # of the results


class TaskAnswer(Struct):
    task: TaskView
    why: str
    lines: list[WhyLine]
    traceback: str
    deps: list[str]  # the objects that it takes, the first 100
    arguments: list[ArgumentView]  # what is known of them, the first 32
    results: list[ArgumentView]
    attempts: list[AttemptView]  # oldest first; the last one only if it ended
    times: TaskTimes | None
    origin: str
    pid: int  # of the process that runs it, or ran it last
    worker: int  # its number
    site: str  # where in the user's code it was called, if that is recorded
    forgotten: bool  # all but its times, function and worker is


class ActorAnswer(Struct):
    actor: ActorView
    why: str
    lines: list[WhyLine]
    origin: str
    resources: dict[str, float]
    gpus: list[int]
    methods: list[GroupView]  # all calls of methods of this class from any cell
    waiting: list[TaskView]  # the first 100 of its calls that are not over
    detached: bool


class WorkerAnswer(Struct):
    worker: WorkerView | None  # None: the process is gone
    number: int
    how: str  # how it ended, "" while it lives
    created: float
    ended: float
    recent: list[TaskView]  # the newest that it ran, newest first
    queue: list[TaskView]  # given to it and not over
    resources: dict[str, float]  # that it holds
    blocked: int  # its threads that wait in get


# --- many ----------------------------------------------------------------------------------------


class TaskColumns(Struct):
    """Tasks of one group, at most 20,000, as columns.

    A task has a *slot*, which it keeps; a new task of the group gets the next one, and when all are
    in use, one that runs takes the slot of the one that ended first. The columns tell only the slots
    in ``slot`` (of as many rows), which changed after the cursor that was asked with.
    """

    group: int
    cursor: int  # to ask with next time
    reset: bool  # all slots are told: forget what you know
    slots: int  # in use
    total: int  # tasks of the group so far
    slot: bytes  # u32
    ids: bytes  # 24 bytes each
    state: bytes  # u8, index into TASK_STATES
    depth: bytes  # u16: tasks that it depends on, in a row
    worker: bytes  # u32: number of the worker, 0 for none
    submitted: bytes  # f64
    started: bytes  # f64
    finished: bytes  # f64


class LinkView(Struct):
    """Something went from one task to another."""

    source: str  # a task, or an object that was put
    target: str
    kind: Literal["data", "spawn"]
    size: int  # bytes; 0 while it is not there, or where it is not known


class NeighboursAnswer(Struct):
    """The surroundings of one task."""

    tasks: list[TaskView]
    values: list[ArgumentView]  # that no task of these made: put, or made by a forgotten task
    links: list[LinkView]
    whole: bool  # False: there are more than are told


class SpansAnswer(Struct):
    """A page of the packed timeline; see :mod:`fanlight.core.timeline` for the records."""

    records: bytes
    record: int  # bytes of one
    next: int  # number to go on from
    reset: bool  # this is no continuation of what was asked for: forget what you know
    more: bool
    forgotten: int  # records that are not kept any more
    now: float
    names: dict[int, tuple[str, str, str]]  # of groups: name, kind, origin
    # Only on the last page. Task, group, worker's number, pid, attempt, start, submission, gate:
    running: list[tuple[str, int, int, int, int, float, float, str]]
    # By the worker's number: class and name of the actor, GPUs, pid, worker's id, actor's id.
    lanes: dict[int, tuple[str, str, list[int], int, str, str]]
    # By the worker's number: what the ids of tasks begin with that were submitted there.
    clients: dict[int, str]


class HolderView(Struct):
    """A process that holds an object."""

    role: str  # "driver", "worker"
    pid: int
    what: str


class ObjectRow(Struct):
    """One object, and why it is still there."""

    id: str
    size: int
    state: str  # READY, FAILED, RESTORING
    place: str  # as in ArgumentView
    type: str  # "ndarray float64 (1000, 1000)"; "" if it cannot be told without unpickling
    creator: str  # name of the function that made it, or "put"
    origin: str  # cell
    file: str  # where in the user's code, "" where it is not known
    line: int
    made: float
    holders: list[HolderView]  # the first 8
    holders_count: int
    mapped: list[HolderView]  # processes that have its memory mapped, the first 8
    pins: int  # tasks and objects that need it
    used_by: list[str]  # what those are
    variables: list[str]  # of the notebook that hold it
    why: str  # one sentence: why it is kept
    release: str  # one line of code that lets it go, or ""


class MakerView(Struct):
    """All objects of one function, or all that were put."""

    creator: str
    origin: str
    count: int
    size: int


class StoreFacts(Struct):
    capacity: int
    used: int  # warm segments included
    reserved: int
    mapped: int
    cached: int
    spilled: int
    spilled_total: int
    restored_total: int
    inline: int
    objects: int
    segments: int
    lineage: int


class ObjectsAnswer(Struct):
    now: float
    store: StoreFacts
    rows: list[ObjectRow]
    makers: list[MakerView]  # largest first
    count: int  # objects of 1 KiB and more
    size: int  # of these
    small: int  # objects that are smaller, or not there yet


class CauseView(Struct):
    """Failures with the same cause."""

    id: str
    kind: str  # type of the exception, or what the system calls it
    message: str  # of the newest
    name: str  # function
    group: int
    origin: str
    file: str  # of the innermost frame of the user's
    line: int
    function: str  # that frame's
    count: int
    first: float
    last: float
    tasks: list[str]  # the newest, newest first
    traceback: str  # of the newest


class ErrorsAnswer(Struct):
    causes: list[CauseView]  # newest first
    count: int  # failures so far, those of forgotten causes included


class LogLine(Struct):
    time: float  # when it was read; 0 for what was there before anybody looked
    worker: str
    pid: int
    stream: Literal["out", "err", "log"]  # log: what went past Python's streams
    task: str  # "" for none
    name: str  # of the task's function
    origin: str
    text: str


class LogsAnswer(Struct):
    lines: list[LogLine]  # oldest first
    cursor: int  # to ask with next time
    reset: bool  # this is no continuation of what was asked for: forget what you know
    more: bool  # there are older lines than these
    note: str  # why there are none


# --- small things that the answers above need ----------------------------------------------------


class Named(Struct):
    """Whose a task is."""

    name: str
    group: int
    origin: str
    state: TaskState | None
