"""What this process's program calls, for who watches it: the coach of the notebook.

While nobody watches, nothing here runs: :func:`watch` puts its wrappers around an engine's own
functions, and takes them off again. A record is a tuple, made without looking anything up; its
reader turns code and instruction into file and line. Records of a moment are bounded (:data:`LIMIT`);
what comes beyond is counted only.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fanlight import context
from fanlight.config import INLINE_LIMIT
from fanlight.refs import ObjectRef

if TYPE_CHECKING:
    from types import CodeType, FrameType

LIMIT = 50_000  # records of each kind between two calls of `Log.take`
FIELDS = 6  # of the frequent kinds
END = LIMIT * FIELDS
_LEAST = 0.0005  # seconds of a wait that is kept for the timeline

_clock = time.perf_counter
_thread = threading.get_ident
_frame = sys._getframe


class Function(NamedTuple):
    """A function or an actor's method as a cell calls it."""

    name: str
    target: Any  # the function; None for a method
    options: dict[str, Any]
    actor: bytes  # b"" for a function


class Submitted(NamedTuple):
    """One ``remote()``. ``oid`` names the first object that it makes (b"": none, or a stream)."""

    start: float  # seconds, by perf_counter, as all times here
    end: float
    code: CodeType
    at: int  # the instruction
    function: Function
    oid: bytes


class Got(NamedTuple):
    """One ``get``; ``refs`` says that a value was itself a ref."""

    start: float
    end: float
    code: CodeType
    at: int
    oids: tuple[bytes, ...]
    single: bool  # of a ref, not of a list
    refs: bool


class Waited(NamedTuple):
    """One ``wait``."""

    start: float
    end: float
    code: CodeType
    at: int
    given: int  # refs
    found: int  # of them ready
    timeout: float | None


class Sent(NamedTuple):
    """One call whose arguments were too large for its message, and went to the store."""

    end: float
    seconds: float  # it took to store them
    code: CodeType
    at: int
    function: Function
    size: int  # bytes, of all its arguments
    oid: bytes  # as in Submitted
    values: tuple[tuple[Any, ...], ...]  # see `Log.describe`


class Defined(NamedTuple):
    """One function or class that was pickled for the workers."""

    start: float
    end: float
    name: str
    target: Any
    size: int  # bytes


Record = Submitted | Got | Waited | Sent | Defined


class Log:
    """Records of the calls that one thread makes, while :attr:`on`.

    ``describe(args, kwargs)`` says which large values are among arguments, as plain facts: it may
    not keep them alive.
    """

    def __init__(
        self, describe: Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], ...]]
    ) -> None:
        self.on = True
        self.thread = _thread()
        self.describe = describe
        # `remote()` and `get(ref)` are frequent. Their fields stand one after the other in these, so
        # that nothing is made that the garbage collector would look at.
        self.calls: list[Any] = []
        self.gets: list[Any] = []
        self.records: list[Record] = []  # the rest
        self.beyond = 0  # records that were not kept
        self.stored: list[tuple[float, int]] = []  # seconds and bytes of arguments just stored
        self.offset = time.time() - _clock()  # from our clock to seconds since the epoch

    def take(self) -> tuple[list[Record], int]:
        """All records since the last call, and the number of those that were not kept.

        Any thread may call it; of a call that ends at this very moment the record may be lost.
        """
        calls, self.calls = self.calls, []
        gets, self.gets = self.gets, []
        found, self.records = self.records, []
        beyond, self.beyond = self.beyond, 0
        found += [Submitted(*fields) for fields in zip(*[iter(calls)] * FIELDS, strict=False)]
        for start, end, code, at, oid, refs in zip(*[iter(gets)] * FIELDS, strict=False):
            found.append(Got(start, end, code, at, (oid,), True, refs))
        found.sort(key=lambda record: record.end)
        _kept.extend(_waits(found, self.offset))
        return found, beyond

    def add(self, record: Record) -> None:
        if len(self.records) < LIMIT:
            self.records.append(record)
        else:
            self.beyond += 1


# Waits of records that were taken: start and end (seconds since the epoch), what for.
_kept: deque[tuple[float, float, str]] = deque(maxlen=5_000)
_log: Log | None = None
_undo: list[Callable[[], None]] = []


def watch(log: Log | None, engine: Any = None) -> None:
    """Record in ``log`` from now on what is called on ``engine`` and on those that come; None: stop.

    ``engine`` is that of the current session, if there is one; one log at a time.
    """
    global _log
    if _log is not None:
        _log.on = False
    while _undo:
        _undo.pop()()
    _log = log
    if log is not None:
        log.on = True
        attach(engine)


def waits() -> list[tuple[float, float, str]]:
    """Where the program waited in ``get`` and ``wait``, the newest of it: start and end (seconds
    since the epoch), and what for. Empty unless somebody watches; for ``fanlight.timeline()``."""
    found = list(_kept)
    log = _log
    if log is not None:
        fields = zip(*[iter(log.gets[:])] * FIELDS, strict=False)
        newest: list[Record] = [
            Got(a, b, code, at, (oid,), True, r) for a, b, code, at, oid, r in fields
        ]
        newest += log.records
        found += sorted(_waits(newest, log.offset))
    return found


def _waits(records: list[Record], offset: float) -> list[tuple[float, float, str]]:
    found = []
    for record in records:
        if isinstance(record, Got | Waited) and record.end - record.start >= _LEAST:
            if isinstance(record, Got):
                count = len(record.oids)
                what = f"get of {count:,} object{'s' if count != 1 else ''}"
            else:
                what = f"wait: {record.found:,} of {record.given:,} ready"
            found.append((record.start + offset, record.end + offset, what))
    return found


def ended_runs(
    client: Any, after: int = 0, timeout: float | None = None
) -> tuple[list[tuple[bytes, str, int, int, float, float]], int]:
    """When and where tasks ran: id, name, process, flags (``core.timeline``), start (seconds since
    the epoch) and duration of each attempt that has ended, from number ``after`` on; and the number
    to go on with. Raises GetTimeoutError if the node does not answer within ``timeout`` seconds."""
    from fanlight.core.timeline import unpack

    found, more = [], True
    while more:
        page = client.query("timeline", timeout, after=after)
        after, more = page["next"], page["more"]
        names = page["names"]
        for task, group, _, pid, _, flags, start, duration, *_ in unpack(page["records"]):
            name = names[group][0] if group in names else ""
            found.append((task, name, pid, flags, start, duration))
    return found, after


def attach(engine: Any) -> None:
    """A session begins: have its calls recorded, if somebody watches."""
    log = _log
    if log is None or engine is None:
        return
    # In one process with its driver, tasks call the same functions: those are not the driver's.
    nested = None if engine.capabilities.processes else context.current.get
    for owner, name, wrap in (
        (engine, "get", _get),
        (engine, "get_many", _get_many),
        (engine.client, "await_some", _await_some),
        (engine.client.values, "put_packed", _put_packed),
        (engine, "_define", _define),
        (engine, "bind_task", _bind_task),
        (engine, "bind_method", _bind_method),
    ):
        _replace(owner, name, wrap(getattr(owner, name), log, nested))


def _replace(owner: Any, name: str, wrapper: Any) -> None:
    own = vars(owner)
    missing = object()
    before = own.get(name, missing)

    def restore() -> None:
        if before is missing:
            own.pop(name, None)
        else:
            own[name] = before

    own[name] = wrapper
    _undo.append(restore)


def _user_frame(frame: FrameType) -> FrameType:
    """The innermost frame that is not Fanlight's."""
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fanlight."):
        frame = frame.f_back
    return frame


def _foreign(log: Log, nested: Any) -> bool:
    """Whether this call is none of the program that is watched."""
    return not log.on or _thread() != log.thread or (nested is not None and nested() is not None)


# --- the wrappers: `remote()` and `get` are short, since they are called often -------------------


def _get(inner: Any, log: Log, nested: Any) -> Any:
    clock, caller, thread, ref = _clock, _frame, _thread, ObjectRef
    ours = log.thread

    def get(oid: bytes, timeout: float | None) -> Any:
        if not log.on or thread() != ours or (nested is not None and nested() is not None):
            return inner(oid, timeout)
        start = clock()
        value = inner(oid, timeout)
        frame = caller(2)
        if len(log.gets) < END:
            log.gets.extend((start, clock(), frame.f_code, frame.f_lasti, oid, type(value) is ref))
        else:
            log.beyond += 1
        return value

    return get


def _get_many(inner: Any, log: Log, nested: Any) -> Any:
    def get_many(oids: list[bytes], timeout: float | None) -> Any:
        if _foreign(log, nested):
            return inner(oids, timeout)
        start = _clock()
        values = inner(oids, timeout)
        end = _clock()
        frame = _frame(2)
        refs = ObjectRef in set(map(type, values))
        log.add(Got(start, end, frame.f_code, frame.f_lasti, tuple(oids), False, refs))
        return values

    return get_many


def _await_some(inner: Any, log: Log, nested: Any) -> Any:
    def await_some(oids: list[bytes], number: int, timeout: float | None) -> Any:
        if _foreign(log, nested):
            return inner(oids, number, timeout)
        start = _clock()
        found = inner(oids, number, timeout)
        end = _clock()
        frame = _user_frame(_frame(1))
        log.add(
            Waited(start, end, frame.f_code, frame.f_lasti, len(oids), len(found), timeout)
        )  # fmt: skip
        return found

    return await_some


def _put_packed(inner: Any, log: Log, nested: Any) -> Any:
    from fanlight.client.arguments import Arguments

    implicit = Arguments._as_object.__code__

    def put_packed(packed: Any) -> Any:
        if packed.size <= INLINE_LIMIT or _frame(1).f_code is not implicit or _foreign(log, nested):
            return inner(packed)
        start = _clock()
        ref = inner(packed)
        log.stored.append((_clock() - start, packed.size))
        return ref

    return put_packed


def _define(inner: Any, log: Log, nested: Any) -> Any:
    def define(target: Any, name: str) -> Any:
        if _foreign(log, nested):
            return inner(target, name)
        start = _clock()
        key, blob = inner(target, name)
        log.add(Defined(start, _clock(), name, target, len(blob)))
        return key, blob

    return define


def _bind_task(inner: Any, log: Log, nested: Any) -> Any:
    def bind_task(spec: Any) -> Any:
        function = Function(spec.name, spec.target, spec.options, b"")
        return _call(inner(spec), log, nested, function)

    return bind_task


def _bind_method(inner: Any, log: Log, nested: Any) -> Any:
    def bind_method(
        actor_id: bytes, method: str, label: str, options: dict[str, Any], origin: str
    ) -> Any:
        function = Function(label, None, options, actor_id)
        call = inner(actor_id, method, label, options, origin)
        return _call(call, log, nested, function)

    return bind_method


def _call(inner: Any, log: Log, nested: Any, function: Function) -> Any:
    clock, caller, thread, ref = _clock, _frame, _thread, ObjectRef
    ours = log.thread

    def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not log.on or thread() != ours or (nested is not None and nested() is not None):
            return inner(args, kwargs)
        start = clock()
        made = inner(args, kwargs)
        frame = caller(3)
        if len(log.calls) < END:
            oid = made._id if type(made) is ref else _first(made)
            log.calls.extend((start, clock(), frame.f_code, frame.f_lasti, function, oid))
        else:
            log.beyond += 1
        if log.stored:
            _sent(log, function, args, kwargs, made, frame)
        return made

    return call


def _first(made: Any) -> bytes:
    """The id of the first object of several."""
    return made[0]._id if type(made) is list and made else b""


def _sent(
    log: Log,
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    made: Any,
    frame: FrameType,
) -> None:
    """The arguments of a call were large. Stored ones of a call that failed are left behind."""
    seconds, size = log.stored[-1]
    log.stored.clear()
    oid = made._id if type(made) is ObjectRef else _first(made)
    values = log.describe(args, kwargs)
    log.add(Sent(_clock(), seconds, frame.f_code, frame.f_lasti, function, size, oid, values))
