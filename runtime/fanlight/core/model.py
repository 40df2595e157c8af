"""The records that the core keeps, their states, and the table of legal transitions.

Rules, which :mod:`fanlight.core.invariants` checks after every step in the tests:

* A record's state changes only through :meth:`Story.move`, and only along the tables below. An
  illegal move raises :class:`IllegalTransition`, with the recent story of the record.
* A task counts in exactly one state of its group.
* Resources held by all leases and actors, plus what is available, equal the total.
* An object without holders, pins and producer does not exist.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from fanlight import messages as m

# --- tasks ---------------------------------------------------------------------------------------
PENDING_ARGS, PENDING_RESOURCES, SUBMITTED, RUNNING, FINISHED, FAILED, CANCELLED = range(7)
TASK_STATES = (
    "PENDING_ARGS",
    "PENDING_RESOURCES",
    "SUBMITTED",
    "RUNNING",
    "FINISHED",
    "FAILED",
    "CANCELLED",
)
NEW = -1
TASK_MOVES: dict[int, frozenset[int]] = {
    # A task without arguments is ready at once.
    NEW: frozenset({PENDING_ARGS, PENDING_RESOURCES}),
    # The last argument arrives / one failed or the actor died / cancel.
    PENDING_ARGS: frozenset({PENDING_RESOURCES, FAILED, CANCELLED}),
    # Given to a worker, first or behind another / the actor died / cancel / an argument was lost.
    PENDING_RESOURCES: frozenset({SUBMITTED, RUNNING, FAILED, CANCELLED, PENDING_ARGS}),
    # It is next / given back or its worker died / skipped after cancel. Concurrent actors
    # answer in any order, so FINISHED is legal from here too.
    SUBMITTED: frozenset({RUNNING, PENDING_RESOURCES, FINISHED, FAILED, CANCELLED}),
    # Done / retried (its worker died, or its exception is to be retried).
    RUNNING: frozenset({FINISHED, FAILED, CANCELLED, PENDING_RESOURCES}),
    FINISHED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}

# --- actors --------------------------------------------------------------------------------------
A_PENDING_ARGS, A_PENDING_CREATION, A_ALIVE, A_RESTARTING, A_DEAD = range(5)
ACTOR_STATES = ("PENDING_ARGS", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
ACTOR_MOVES: dict[int, frozenset[int]] = {
    NEW: frozenset({A_PENDING_ARGS}),
    A_PENDING_ARGS: frozenset({A_PENDING_CREATION, A_DEAD}),
    # The constructor returned / it raised, was killed / the process died and restarts are left.
    A_PENDING_CREATION: frozenset({A_ALIVE, A_DEAD, A_RESTARTING}),
    A_ALIVE: frozenset({A_RESTARTING, A_DEAD}),
    A_RESTARTING: frozenset({A_ALIVE, A_DEAD, A_RESTARTING}),
    A_DEAD: frozenset(),
}

# --- workers -------------------------------------------------------------------------------------
W_STARTING, W_IDLE, W_BUSY, W_BLOCKED, W_ACTOR, W_DEAD = range(6)
WORKER_STATES = ("STARTING", "IDLE", "BUSY", "BLOCKED", "ACTOR", "DEAD")
WORKER_MOVES: dict[int, frozenset[int]] = {
    NEW: frozenset({W_STARTING}),
    W_STARTING: frozenset({W_IDLE, W_DEAD}),
    W_IDLE: frozenset({W_BUSY, W_ACTOR, W_DEAD}),
    W_BUSY: frozenset({W_IDLE, W_BLOCKED, W_DEAD}),
    # Its task waits in get/wait and gave its CPU back.
    W_BLOCKED: frozenset({W_BUSY, W_IDLE, W_DEAD}),
    W_ACTOR: frozenset({W_DEAD}),
    W_DEAD: frozenset(),
}

# --- objects -------------------------------------------------------------------------------------
_NONE: list[bytes] = []  # of every task without arguments: a million may wait
PENDING = -1  # an object whose kind is not yet one of messages.INLINE, STORED, ERROR, FAILURE


class IllegalTransition(Exception):
    """A bug in the core: a record was to change its state against the tables."""


class ProtocolViolation(Exception):
    """A client sent what it may not send, or named what it did not define."""


class Story:
    """The recent history of all records, for error messages: what, from, to, why."""

    __slots__ = ("_log", "note")

    def __init__(self, length: int = 4096) -> None:
        self._log: deque[tuple[bytes, tuple[str, ...], int, int, str]] = deque(maxlen=length)
        # note((key, names of the states, old, new, cause)): on the hot path, so the deque's own
        self.note = self._log.append

    def of(self, key: bytes) -> str:
        """The history of one record as text, oldest first."""
        lines = [
            f"  {_name(names, old)} -> {names[new]}: {why}"
            for k, names, old, new, why in list(self._log)
            if k == key
        ]
        return "\n".join(lines) or "  (nothing recent)"

    def illegal(
        self, key: bytes, names: tuple[str, ...], old: int, new: int, cause: str
    ) -> IllegalTransition:
        return IllegalTransition(
            f"{key.hex()} cannot go from {_name(names, old)} to {names[new]} ({cause}); its "
            f"story:\n{self.of(key)}"
        )


def _name(states: tuple[str, ...], state: int) -> str:
    return "NEW" if state < 0 else states[state]


class Group:
    """Aggregates over all tasks of one function from one cell; never removed, always bounded."""

    __slots__ = (
        "average",
        "blocks",
        "counts",
        "duration",
        "first",
        "function",
        "kind",
        "last",
        "name",
        "nests",
        "number",
        "origin",
    )

    def __init__(
        self, number: int, name: str, kind: str, origin: str, now: float, function: str = ""
    ) -> None:
        self.number = number
        self.name = name
        self.function = function or name  # what it calls, whatever name the calls were given
        self.kind = kind
        self.origin = origin
        self.counts = [0] * 7
        self.duration = 0.0
        self.blocks = False  # tasks of it wait for others
        self.nests = False  # tasks of it submit others, for which they may wait
        self.average = -1.0  # moving average of the duration, -1 before the first task ended
        self.first = now
        self.last = now


class Spec:
    """A TaskSpec as the node knows it."""

    __slots__ = (
        "called",
        "client",
        "group",
        "number",
        "returns",
        "shape",
        "spec",
        "streams",
        "where",
    )

    def __init__(
        self, number: int, spec: m.TaskSpec, group: Group, client: int, where: m.Where | None
    ) -> None:
        self.number = number
        self.spec = spec
        self.group = group
        self.client = client
        self.where = where  # None for what may run anywhere here
        # What a worker must hold, and be, to run it, and of which pool.
        self.shape: tuple[object, ...] = (spec.env, *sorted(spec.resources.items()))
        if where is not None:
            labels = tuple((k, *v) for k, v in sorted(where.labels.items()))
            self.shape += (where.group, where.bundle, labels)
        # Objects that exist from submission on: of a generator, its end or the list of its items.
        self.returns = spec.num_returns if spec.num_returns >= 0 else 1
        self.streams = spec.num_returns == m.STREAMING
        # Whether a Submit of it names an actor; None for constructors, which none may name.
        self.called = {m.TASK: False, m.ACTOR_CALL: True}.get(spec.kind)


class Task(msgspec.Struct, eq=False):  # a struct: made in one call, without byte codes
    id: bytes
    spec: Spec
    args: bytes
    deps: list[bytes]
    pins: list[bytes]
    parent: bytes
    client: int
    job: int
    submitted: float
    # Never queue it with others: a worker died while it ran, or ends after it.
    solo: bool
    actor: Actor | None = None
    state: int = NEW
    missing: int = 0  # arguments not ready
    gate: bytes = b""  # the last one that came while it waited: timeline.GATE of its id
    worker: Worker | None = None
    attempt: int = 0
    cancel: bool = False
    doom: bytes = b""  # the Failure that a cancelled task ends with, if not the usual one
    direct: bool = False  # called on a channel: the node was told, and has no objects of it
    lost: bool = False  # its channel ended before it was answered
    after: int = 0  # calls that its caller sent on a channel before, to this process:
    incarnation: int = 0
    gpus: list[int] | None = None
    started: float = 0.0
    finished: float = 0.0
    error: str = ""  # last line of its traceback
    code: str = ""  # what kind of failure it was, see core.history
    stream: Stream | None = None  # of a generator

    @classmethod
    def of(cls, message: Any, spec: Spec, client: int, job: int, now: float) -> Task:
        """The task that a ``Submit`` or ``CreateActor`` asks for."""
        return cls(
            message.task, spec, message.args, message.deps or _NONE, message.pins or _NONE,
            message.parent, client, job, now, bool(spec.spec.max_calls),
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self.spec.spec.name


class Stream:
    """How far a generator task is, and its consumer."""

    __slots__ = (
        "again", "closed", "consumed", "delivered", "large", "missing", "paused", "seen",
    )  # fmt: skip

    def __init__(self) -> None:
        self.again = False  # it runs for the sake of lost items only
        self.missing: set[bytes] = set()  # lost items, to be made once more
        self.large: set[bytes] = set()  # items that may be lost
        self.delivered = 0  # items that exist, or existed; those of earlier attempts count
        self.seen = 0  # items of this attempt
        self.consumed = 0  # items that the consumer took, as far as it told
        self.paused = False  # this attempt waits for the consumer
        self.closed = False  # nobody wants further items


def take_out(line: deque[Task], task: Task) -> bool:
    """Remove a task from where it stands in line; False if it is not there.

    Quick at both ends: who cancels many tasks goes through them in one order or the other.
    """
    if not line:
        return False
    if line[-1] is task:
        line.pop()
        return True
    try:
        line.remove(task)
    except ValueError:
        return False
    return True


class Object(msgspec.Struct, eq=False):
    id: bytes
    owner: int  # the client that made it, 0 when it dropped its last ref
    group: Group | None
    kind: int = PENDING
    data: bytes = b""
    size: int = 0
    contained: list[bytes] | None = None
    others: set[int] | None = None  # other clients that hold refs
    pins: int = 0  # tasks and objects that hold it
    waiters: list[Task] | None = None
    subscribers: list[int] | None = None

    @property
    def holders(self) -> int:
        return (1 if self.owner else 0) + (len(self.others) if self.others else 0)


class Segment:
    """A shared-memory file: who made it, how big it is, and who may have it mapped."""

    __slots__ = (
        "asked", "asked_at", "cached", "counted", "disk", "live", "maker", "mapped", "name", "oid", "reused",
        "size", "stamp", "written",
    )  # fmt: skip

    def __init__(self, name: str, size: int, maker: int) -> None:
        self.name = name
        self.size = size
        self.maker = maker
        self.mapped: dict[int, int] = {}  # client -> descriptors it was given and did not return
        self.counted = False  # among the bytes that are mapped
        self.live = True  # an object is in it
        self.cached = False  # given back to its maker, to be written again
        self.reused = False  # was given back at least once: its maker may keep it mapped
        self.oid = b""  # the object in it
        self.disk = name.startswith("@")  # a file that is no part of memory
        self.stamp = 0  # when it was used last, in no unit
        self.written = 0  # number of the Spill that reads it
        self.asked: set[int] | None = None  # clients that were asked to give it up
        self.asked_at = 0.0  # when its maker was asked for it, while it is warm


class Worker:
    __slots__ = (
        "actor", "address", "blocked", "calls", "created", "entered", "env", "finished",
        "functions", "gpus", "graceful",
        "held", "id", "job", "lease", "number", "peer", "pid", "pool", "queue", "reclaimed",
        "retiring", "since", "specs", "spent", "state", "was",
    )  # fmt: skip

    def __init__(self, number: int, wid: bytes, now: float, env: str = "") -> None:
        self.number = number
        self.id = wid
        self.env = env  # key of the runtime environment that it belongs to for life
        self.entered = not env  # it is in it, and may have begun with work
        self.state = NEW
        self.peer = 0
        self.pid = 0
        self.queue: deque[Task] = deque()  # tasks given to it and not reported; the first runs
        self.lease: Any = None  # the scheduler's queue whose tasks it runs
        self.held: dict[str, int] = {}
        self.pool: Any = None  # the Pool that it holds them of
        self.gpus: list[int] | None = None
        self.actor: Actor | None = None
        self.was: Actor | None = None  # the actor that it was, and that is dead
        self.specs: set[int] = set()
        self.functions: set[bytes] = set()
        self.job = 0
        self.created = self.since = now
        self.finished = 0
        self.reclaimed = False
        self.blocked = 0  # threads of it that wait in get
        self.retiring = ""  # why it was told to end
        self.calls: dict[bytes, int] = {}  # runs of functions that bound them
        self.spent = False  # one of them ran as often as it may: the process ends when it is free
        self.graceful = False  # it ends in good order: what it submitted goes on
        self.address: str | None = None  # where it accepts channels; "" until it said so


class Caller:
    """One client and one actor: calls that came by the node, and whether it has a channel."""

    __slots__ = ("accepted", "asked", "reached", "unfinished")

    def __init__(self) -> None:
        self.accepted = 0  # as the client counts them: from 0 since it had no handle
        self.unfinished = 0
        self.asked = False
        self.reached = False


class Actor:
    __slots__ = (
        "backlog", "callers", "client", "create", "death_cause", "death_code", "deaths", "detached",
        "direct", "ended", "ended_calls", "env_failure", "exit_reason", "finished", "flight", "id",
        "init_failed", "job", "lines", "lost_reason", "message", "name", "namespace", "pid", "spec",
        "state", "worker",
    )  # fmt: skip

    def __init__(self, message: m.CreateActor, spec: Spec, client: int, job: int) -> None:
        self.id = message.actor
        self.message = message
        self.spec = spec
        self.client = client
        self.job = job
        self.state = NEW
        self.name = message.name
        self.namespace = message.namespace
        self.detached = message.detached
        self.worker: Worker | None = None
        self.create: Task | None = None
        self.lines: dict[
            int | bytes, deque[Task]
        ] = {}  # by caller: calls that wait for an earlier one
        self.backlog: deque[Task] = deque()  # ready, but the actor has enough for the moment
        self.flight: dict[bytes, Task] = {}  # sent to its process
        self.direct: dict[bytes, Task] = {}  # known calls on channels that are not over
        self.ended_calls: set[bytes] = set()  # those that ended with its process
        self.lost_reason = ""  # how its process ended the last time, for calls that were lost
        self.callers: dict[int, Caller] = {}  # by peer
        self.deaths = 0  # of its process, so far
        self.finished = 0
        self.exit_reason = ""  # why it is dead
        self.pid = 0  # of its process, of the last one when it is dead
        self.ended = 0.0  # when it died
        self.death_code = "actor_died"  # a key of errors.FAILURES: what its calls raise
        self.death_cause = b""  # the Failure of the argument that kept it from being made
        self.init_failed = False
        self.env_failure = ""  # why its runtime environment could not be set up

    @property
    def ordered(self) -> bool:
        """Whether calls of one caller must start in order (of grouped ones, those of a group)."""
        spec = self.spec.spec
        return spec.max_concurrency <= 1 and not spec.groups and not spec.unordered


class Client:
    __slots__ = (
        "functions", "id", "info", "job", "peer", "pid", "reserved", "role", "specs", "worker",
    )  # fmt: skip

    def __init__(self, peer: int, role: str, cid: bytes, pid: int, info: dict[str, str]) -> None:
        self.peer = peer
        self.role = role
        self.id = cid
        self.pid = pid
        self.info = info
        self.job = 0
        self.specs: dict[int, Spec] = {}
        self.functions: set[bytes] = set()  # that it defined, and may name again
        self.worker: Worker | None = None
        self.reserved = 0  # bytes of the store promised to it and not yet used
