"""Every message that crosses a process boundary, and every stimulus of the core, defined once.

A message is a msgspec Struct that travels as a MessagePack array whose first element is its tag.
The core consumes messages from clients and workers and emits messages to them, so these types are
leaves: they import nothing of Fanlight, hold no behaviour, and never hold user objects, only the
opaque bytes that :mod:`fanlight.serialization` made of them.

Conventions: ids are ``bytes`` (see :mod:`fanlight.ids`); resources are integers in units of
1/10000; durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

PROTOCOL_VERSION = 2

# What a field may hold. The decoder refuses everything else before anybody reads it.
_MANY = 1 << 60
MOST_RETURNS = 1 << 24
TaskId = Annotated[bytes, Meta(min_length=24, max_length=24)]
MaybeTask = Annotated[bytes, Meta(max_length=24)]  # b"" for none
ObjectId = Annotated[bytes, Meta(min_length=28, max_length=28)]
ActorId = Annotated[bytes, Meta(min_length=16, max_length=16)]  # of actors, groups and clients
EnvironmentKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]  # a word of a line, too
MaybeId = Annotated[bytes, Meta(max_length=16)]
Count = Annotated[int, Meta(ge=0, le=_MANY)]
Pid = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
ShortText = Annotated[str, Meta(max_length=500)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]  # no NaN, no infinity

# What the bytes of a value are -------------------------------------------------------------------
INLINE = 0  # data is the serialized value
STORED = 1  # data is the name of a segment in the object store that holds the serialized value
LOST = -1  # of an argument: it had a value, which is being computed again
AWAY = -2  # there is a value, on disk: Fetch brings it (to clients only; no data)
ERROR = 2  # data is a serialized exception, made by the worker that ran the task
FAILURE = 3  # data is a msgpack-encoded Failure, made by the node: the system failed the task

# What a task spec describes ----------------------------------------------------------------------
TASK = 0
ACTOR_CREATE = 1
ACTOR_CALL = 2

# Kinds of metrics --------------------------------------------------------------------------------
COUNTER = 0
GAUGE = 1
HISTOGRAM = 2

# Numbers of returns that are none: the function is a generator -----------------------------------
STREAMING = -1  # object 0 is its end (value None), objects 1, 2, ... are its items
DYNAMIC = -2  # object 0 holds the refs of all its items


class Value(Struct, array_like=True, gc=False):
    """The value of one object as it travels: where it is, or what went wrong."""

    oid: ObjectId
    kind: Annotated[int, Meta(ge=-2, le=3)]  # below 0 only on its way to a client
    data: bytes
    size: Count = 0  # bytes of the serialized value
    # Object ids serialized inside it. On its way to a client [] marks a failure that also went to
    # a task or into another object: theirs to report.
    contained: list[ObjectId] | None = None


class Failure(Struct):
    """Why the node gave an object an error instead of a value."""

    code: str  # a key of fanlight.errors.FAILURES
    message: str
    task_name: str = ""
    task_id: bytes = b""
    actor_id: bytes = b""
    detail: dict[str, Any] = {}


class Where(Struct, array_like=True):
    """Where a task or actor may run, beyond the resources that it asks for."""

    group: MaybeId = b""  # the placement group whose bundles it takes from
    bundle: Annotated[int, Meta(ge=-1, le=_MANY)] = -1  # which of them; -1 for any
    capture: bool = False  # what it submits goes into the group, too
    node: str = ""  # the node to run on, hexadecimal
    soft: bool = False  # elsewhere if that node does not exist
    labels: dict[str, list[str]] = {}  # by name: "in" | "!in" | "exists" | "!exists", and values


class TaskSpec(Struct, array_like=True):
    """What all calls of one function (with the same options, from the same cell) share.

    Sent once for each client and afterwards named by a small integer.
    """

    kind: Annotated[int, Meta(ge=0, le=2)]
    function: bytes  # content hash of the pickled function or class
    name: str  # what people see: "f", "Counter", "Counter.inc"
    resources: dict[str, Count]
    num_returns: Annotated[int, Meta(ge=-2, le=MOST_RETURNS)] = 1
    max_retries: int = 3
    retry_exceptions: bool = False
    retry_types: bytes = b""  # pickled tuple of exception classes; b"" for all of them
    origin: str = ""  # the notebook cell it was submitted from
    method: str = ""
    max_concurrency: Annotated[int, Meta(ge=1, le=_MANY)] = 1
    namespace: str = ""  # where names that the task uses are valid
    placement_cpu: Count = 0  # actors: CPU that must exist to place it, though none is held
    groups: dict[
        str, Annotated[int, Meta(ge=1, le=_MANY)]
    ] = {}  # actors: calls of each concurrency group that may overlap
    group: str = ""  # methods: the concurrency group of the call; "" is the default one
    unordered: bool = False  # actors: calls of one caller may overtake each other
    env: str = ""  # key of its runtime environment; "" for none
    max_calls: Count = 0  # its worker ends after so many runs of the function; 0: no limit
    label: str = ""  # the function's own name, where ``name`` is one that was given
    where: Where | None = None
    backpressure: Count = 0  # generators: items that may wait for the consumer; 0 for any number


# Handshake (the only messages read before the token was checked) ---------------------------------
class Hello(Struct, array_like=True, tag=1):
    version: int
    token: str
    role: str  # "driver" | "worker" | "observer"
    pid: Pid
    client_id: bytes
    info: dict[str, str] = {}

    def __repr__(self) -> str:  # it may stand in a traceback: without the token
        return f"Hello({self.role!r}, pid={self.pid})"


class Welcome(Struct, array_like=True, tag=2):
    info: dict[str, Any]


class Refused(Struct, array_like=True, tag=3):
    reason: str


# Client -> node ----------------------------------------------------------------------------------
class DefineFunction(Struct, array_like=True, tag=10, gc=False):
    """The pickled function or class of a content hash; client -> node and node -> worker."""

    key: bytes
    blob: bytes


class DefineSpec(Struct, array_like=True, tag=11):
    """Names a TaskSpec by a number; client -> node and node -> worker."""

    number: int
    spec: TaskSpec


class Submit(Struct, array_like=True, tag=12):
    """One call of a function or of an actor's method (``actor`` set)."""

    task: TaskId
    spec: int
    args: bytes  # pickled (args, kwargs); b"" for no arguments
    deps: list[ObjectId]  # objects to replace top-level arguments, in order of their slots
    pins: list[ObjectId]  # refs nested in args
    parent: MaybeTask = b""
    actor: MaybeId = b""
    after: Count = 0  # calls that this client sent on its channel before; they come first
    incarnation: Count = 0  # the actor's process that `after` speaks of


class CreateActor(Struct, array_like=True, tag=13):
    actor: ActorId
    task: TaskId
    spec: int
    args: bytes
    deps: list[ObjectId]
    pins: list[ObjectId]
    parent: MaybeTask = b""
    name: str = ""
    namespace: str = ""
    detached: bool = False
    max_restarts: int = 0
    max_task_retries: int = 0
    methods: bytes = b""  # pickled description of the methods, for handles made by get_actor
    request: int = 0  # not 0: answer with a Reply (named actors)
    get_if_exists: bool = False


class Put(Struct, array_like=True, tag=14):
    value: Value


class AddRefs(Struct, array_like=True, tag=15):
    oids: list[ObjectId]


class DropRefs(Struct, array_like=True, tag=16):
    oids: list[ObjectId]


class Subscribe(Struct, array_like=True, tag=19):
    """Ask for the values of objects that this client did not make itself."""

    oids: list[ObjectId]


class Cancel(Struct, array_like=True, tag=20):
    task: TaskId
    force: bool = False
    recursive: bool = True


class KillActor(Struct, array_like=True, tag=21):
    actor: ActorId
    no_restart: bool = True


class Reserve(Struct, array_like=True, tag=17):
    """Ask for room in the object store before writing; answered by a Reply: False when it may write
    to shared memory, True when it is to write to disk. A size below 0 gives room back."""

    request: int
    size: Annotated[int, Meta(ge=-_MANY, le=_MANY)]


class Withdraw(Struct, array_like=True, tag=80):
    """The room asked for with Reserve, or the value asked for with Fetch, is not wanted any more.
    The request is answered all the same, unless it was already: once."""

    request: int


class Fetch(Struct, array_like=True, tag=81):
    """Ask for the bytes of an object that is AWAY; answered by a Reply with its Value."""

    request: int
    oid: ObjectId


class GaveUp(Struct, array_like=True, tag=82):
    """Answer of GiveUp, after Unmapped for what could be given up."""

    number: int


class Query(Struct, array_like=True, tag=22):
    request: int
    what: str
    args: dict[str, Any] = {}


class Shutdown(Struct, array_like=True, tag=23):
    reason: str = ""


class CancelGroups(Struct, array_like=True, tag=43):
    """Cancel all unfinished tasks of these groups; a Reply says how many.

    Calls on channels that the node has not heard of are cancelled by their callers, and not counted.
    """

    request: int
    groups: list[int]
    force: bool = False


class Scale(Struct, array_like=True, tag=44):
    """Have so many CPUs; a Reply says how many there were."""

    request: int
    cpus: float


class CallSite(Struct, array_like=True, tag=25):
    """Where in the user's code these objects were asked for; sent only when that is recorded."""

    oids: list[ObjectId]
    site: str


class RefFact(Struct, array_like=True):
    """What a driver knows of an object that it holds."""

    oid: ObjectId
    variables: Annotated[list[ShortText], Meta(max_length=5)] = []  # of its user that hold a ref
    # Where and when it was put, if it was put there and is large:
    origin: ShortText = ""
    file: ShortText = ""
    line: Count = 0
    time: Seconds = 0.0
    what: ShortText = ""  # the name of what was put, where no line of the user's did


class RefFacts(Struct, array_like=True, tag=36):
    """The answer to TellRefs."""

    rows: list[RefFact]


class LostObject(Struct, array_like=True, tag=45):
    """This process cannot read an object's segment; ``saw`` says what it found instead.

    Without an object: the folder of segments is gone, and should be made anew.
    """

    oid: bytes
    segment: str
    saw: str
    wanted: bool = True  # send the new value, as after Subscribe


class Forget(Struct, array_like=True, tag=27):
    """These specs and functions will not be used any more; client -> node, node -> worker, and
    caller -> actor."""

    specs: list[int]
    functions: list[bytes]


class Unmapped(Struct, array_like=True, tag=24):
    """This process holds no mapping of these segments any more."""

    segments: list[str]


class DefineEnvironment(Struct, array_like=True, tag=26):
    """A runtime environment by its key; client -> node, and node -> each worker of it."""

    key: EnvironmentKey  # content hash of the description
    description: bytes  # JSON, for workers and whoever prepares it; opaque to the core
    label: str = ""  # for people: "pip numpy"
    prepare: bool = False  # something is to be installed first
    eager: bool = False  # and at once, before work needs it
    timeout: Seconds = 0.0  # seconds that the preparation may take; 0: no limit


class CreateGroup(Struct, array_like=True, tag=40):
    """Reserve all bundles (resources in units of 1/10000), or none of them."""

    group: ActorId
    bundles: list[dict[str, Count]]
    strategy: str
    name: str = ""
    namespace: str = ""
    detached: bool = False
    request: int = 0  # not 0: answer with a Reply (named groups)


class RemoveGroup(Struct, array_like=True, tag=41):
    group: ActorId


class GroupReady(Struct, array_like=True, tag=42):
    """Make an object whose value is ``data``, there as soon as the group is reserved."""

    group: ActorId
    oid: ObjectId
    data: bytes


class MetricChange(Struct, array_like=True):
    """What one process recorded for one metric and set of tags since it last told."""

    name: str
    kind: Annotated[int, Meta(ge=0, le=2)]
    text: str  # what it measures, for people
    tags: dict[str, str]
    value: float  # counters: to add; gauges: the latest; histograms: the sum of the observed
    boundaries: list[float] = []  # histograms: the upper bounds of all buckets but the last
    counts: list[Count] = []  # histograms: how many observed values fell into each bucket


class Metrics(Struct, array_like=True, tag=29):
    changes: list[MetricChange]


class Connect(Struct, array_like=True, tag=92):
    """Ask for a channel straight to an actor; answered by Reach once the actor is alive."""

    actor: ActorId
    sent: Count  # calls of it that this client has sent by the node so far


class Declare(Struct, array_like=True, tag=93):
    """Objects that this client will Put once it has their values (of calls on a channel)."""

    oids: list[ObjectId]


class LostCall(Struct, array_like=True, tag=94):
    """The channel ended before this call was answered: the node knows what became of the actor."""

    task: TaskId
    spec: int
    actor: ActorId
    incarnation: Count
    held: list[ObjectId]  # its results that somebody still has a ref to


# Worker -> node ----------------------------------------------------------------------------------
class Done(Struct, array_like=True, tag=30):
    task: TaskId
    ok: bool
    # One for each return. On failure one ERROR for all of them, but those named after it.
    values: list[Value]
    duration: Seconds = 0.0
    error: str = ""  # last line of the traceback, for people
    traceback: str = ""
    retriable: bool = False  # the exception is one that the task wants retried
    started: Seconds = 0.0  # by the worker's clock, seconds since the epoch; 0: not measured
    # Seconds of reading arguments, of storing results, and of waiting for neither CPU nor get; if long.
    phases: list[Seconds] | None = None


class Blocked(Struct, array_like=True, tag=31):
    """The task waits in get/wait; ``returned`` are tasks that were queued behind it."""

    task: MaybeTask
    returned: list[TaskId]


class Unblocked(Struct, array_like=True, tag=32):
    task: MaybeTask


class Returned(Struct, array_like=True, tag=33):
    """Tasks given back unstarted, in answer to Reclaim."""

    tasks: list[TaskId]


class Output(Struct, array_like=True, tag=34):
    """Text or rich output of a task; worker -> node -> the driver whose work it is."""

    task: MaybeTask
    stream: str  # "stdout" | "stderr" | "display" | "left_out"
    # UTF-8 text, or a JSON object: of "display" {"data": mimebundle, "metadata": {}, "transient":
    # {}}, of "left_out" {"stream": str, "lines": int, "bytes": int}
    data: bytes
    name: str = ""
    pid: Pid = 0
    origin: str = ""
    job: Count = 0  # whose it is, where the node does not know the task


class ActorExit(Struct, array_like=True, tag=35):
    """The actor asked to end (exit_actor, or out of scope): not a crash."""

    actor: ActorId
    reason: str


class EnvironmentEntered(Struct, array_like=True, tag=38):
    """The worker is in its runtime environment; or could not enter it, and has run nothing."""

    problem: str = ""


class Yield(Struct, array_like=True, tag=70):
    """Items of a running generator, in order; their ids say which."""

    task: TaskId
    values: list[Value]
    paused: bool = False  # nothing more comes before the node answers with Consumed


class Consumed(Struct, array_like=True, tag=71):
    """How many items of a generator were taken; client -> node and node -> worker.

    A client tells it only of generators with back-pressure, and when it dropped the generator. A
    worker is told when it paused and may go on.
    """

    task: TaskId
    count: Count
    closed: bool = False  # nobody wants further items


class Listening(Struct, array_like=True, tag=95):
    """An actor's process accepts channels at this path; answer to Listen."""

    path: str


class Deliver(Struct, array_like=True, tag=96):
    """Results of a call on a channel that hold segments or refs: the node tells the caller."""

    spec: int  # as its caller numbered it
    values: list[Value]


class CallRecord(Struct, array_like=True, gc=False):
    """One call on a channel, for people to see."""

    task: TaskId
    spec: int  # as its caller numbered it
    parent: MaybeTask
    state: Annotated[
        int, Meta(ge=0, le=4)
    ]  # 0: it runs · 1: done · 2: raised · 3: cancelled · 4: it waits for its turn
    started: Seconds  # seconds since the epoch
    duration: Seconds = 0.0
    error: str = ""
    traceback: str = ""


class CallSum(Struct, array_like=True, gc=False):
    """Many quick calls of one method by one caller, folded into one record."""

    caller: ActorId
    spec: int
    count: Count
    duration: Seconds


class Calls(Struct, array_like=True, tag=97):
    """What an actor did for its channels since it last said so (at most 50 times a second)."""

    records: list[CallRecord]
    sums: list[CallSum]


# Node -> client ----------------------------------------------------------------------------------
class StreamEnd(Struct, array_like=True, tag=72):
    """A generator has ended; all its ``count`` items were sent before this."""

    task: bytes
    count: int


class Objects(Struct, array_like=True, tag=50):
    values: list[Value]


class Execute(Struct, array_like=True, tag=51):
    task: bytes
    spec: int
    args: bytes
    deps: list[Value]
    attempt: int = 0
    actor: bytes = b""
    gpus: list[int] | None = None
    job: int = 0
    after: int = 0  # as in Submit


class CancelRunning(Struct, array_like=True, tag=52):
    task: TaskId
    recursive: bool = False  # calls that it sent on channels, too


class CancelCalls(Struct, array_like=True, tag=65):
    """Cancel what you sent over channels with these specs of yours, and is not answered."""

    specs: list[int]


class Reclaim(Struct, array_like=True, tag=53):
    """Give back what you have not started."""


class Exit(Struct, array_like=True, tag=54):
    reason: str = ""


class Reply(Struct, array_like=True, tag=55):
    request: int
    data: bytes  # msgpack
    error: str = ""


class Recycle(Struct, array_like=True, tag=56):
    """Nobody maps these segments any more: their maker may reuse or delete them."""

    segments: list[str]


class Discard(Struct, array_like=True, tag=59):
    """Segments given with Recycle are wanted back: answer Unmapped, or write to them first."""

    segments: list[str]


class GiveUp(Struct, array_like=True, tag=83):
    """Room is wanted: return the descriptors of these objects, unless they are being looked at."""

    number: int
    oids: list[bytes]
    segments: list[str]


class Notice(Struct, array_like=True, tag=57):
    """A sentence for the user of this driver (a worker died, a task is retried, ...)."""

    text: str


class TellRefs(Struct, array_like=True, tag=64):
    """Somebody looks at the largest objects: what does this driver know of these?"""

    oids: list[ObjectId]


class Ending(Struct, array_like=True, tag=63):
    """Node -> driver: it was told to end, and does so now."""

    reason: str


class Events(Struct, array_like=True, tag=58):
    """Node -> observer: one JSON-encoded event of :mod:`fanlight.events`."""

    payload: bytes


class Listen(Struct, array_like=True, tag=60):
    """Accept channels; answered by Listening."""


class Reach(Struct, array_like=True, tag=61):
    """How to reach an actor's process straight, and what the node still has of our calls."""

    actor: bytes
    path: str
    incarnation: int
    job: int
    accepted: int  # calls of this client that the node took for the actor
    idle: bool  # and none of them is unfinished


class Idle(Struct, array_like=True, tag=62):
    """The node has none of this client's calls of an actor any more."""

    actor: bytes
    accepted: int


# Caller <-> actor, on a channel (after Hello and Welcome) ------------------------------------------
class Call(Struct, array_like=True, tag=90, gc=False):
    """One call of a method whose arguments hold no refs."""

    task: TaskId
    spec: int
    args: bytes
    parent: MaybeTask = b""
    job: Count = 0


class Answers(Struct, array_like=True, tag=91):
    """Results. ``ended`` names calls without a value here: those with no result, and those whose
    results come from the node."""

    values: list[Value]
    ended: list[bytes]


HandshakeMessage = Hello | Welcome | Refused
FromClient = (
    DefineFunction
    | DefineSpec
    | Submit
    | CreateActor
    | Put
    | AddRefs
    | DropRefs
    | Subscribe
    | Cancel
    | KillActor
    | Reserve
    | Withdraw
    | Fetch
    | GaveUp
    | Query
    | Shutdown
    | CancelGroups
    | Scale
    | Unmapped
    | CallSite
    | RefFacts
    | LostObject
    | Forget
    | Metrics
    | Done
    | Blocked
    | Unblocked
    | Returned
    | Output
    | ActorExit
    | DefineEnvironment
    | EnvironmentEntered
    | CreateGroup
    | RemoveGroup
    | GroupReady
    | Yield
    | Consumed
    | Connect
    | Declare
    | LostCall
    | Listening
    | Deliver
    | Calls
)
FromNode = (
    DefineFunction
    | Forget
    | DefineEnvironment
    | DefineSpec
    | Objects
    | Execute
    | CancelRunning
    | CancelCalls
    | Reclaim
    | Exit
    | Reply
    | Recycle
    | Discard
    | GiveUp
    | Notice
    | TellRefs
    | Events
    | Output
    | Consumed
    | StreamEnd
    | Listen
    | Reach
    | Idle
    | Ending
)
FromCaller = DefineSpec | Call | CancelRunning | Forget
FromActor = Welcome | Refused | Answers | Output
__all__ = [name for name in dir() if name[0].isupper() and name not in ("Annotated", "Meta")]
