"""A pool's processes, and who gives them work.

Calls of the pool become *jobs*, and jobs are cut into *chunks*. A chunk is one call of an actor; quick
ones of one function share a call. A process gets its next chunk when it is done with the last, quick
chunks some ahead. Whoever waits for a result sees to that meanwhile (he *attends*), so that nothing
is handed from thread to thread; while nobody does, a thread that lives as long as there is work.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from fanlight import errors, serialization
from fanlight import messages as m
from fanlight import session as sessions
from fanlight.actor import ActorClass
from fanlight.client import failures
from fanlight.refs import ObjectRef
from fanlight.util.multiprocessing.process import Answer, PoolProcess
from fanlight.util.multiprocessing.results import Job

_LINGER = 1.0  # seconds that the thread stays without work
_SLICE = 0.5  # seconds after which who attends looks for calls that others made
_QUICK = 0.02  # seconds of work that may be handed out ahead
_MOST_TOGETHER = 256  # chunks
_LARGE = 16_384  # bytes of a pickled function that are not sent with each call
_FEED_AHEAD = 64  # chunks of a lazy iterable that wait, for each process


class Function(NamedTuple):
    """A function as it goes to the processes."""

    key: bytes
    blob: bytes | list[ObjectRef[bytes]]
    name: str


class _Work:
    """One job as the workers see it."""

    def __init__(
        self, job: Job, function: Function, how: int, chunks: Iterator[Sequence[Any]]
    ) -> None:
        self.job = job
        self.function = function
        self.how = how
        self.chunks: Iterator[Sequence[Any]] | None = chunks  # None: no more of them
        self.again: deque[_Chunk] = deque()  # given to a process that died before it began
        self.made = 0
        self.context = contextvars.copy_context()  # the cell and the task that it belongs to
        self.room: threading.Semaphore | None = None  # of a lazy iterable

    def next_chunk(self) -> _Chunk | None:
        """Raises nothing: an iterable that fails gives that as its last result."""
        if self.again:
            return self.again.popleft()
        if not _has_some(self.chunks):
            return None
        assert self.chunks is not None
        try:
            items = next(self.chunks)
        except StopIteration:
            self.chunks = None
            self.job.end(self.made)
            return None
        except Exception as e:
            self.chunks = None
            self.job.put(self.made, [None], {0: e})
            self.job.end(self.made + 1)
            return None
        self.made += 1
        return _Chunk(self, self.made - 1, items)


class _Chunk(NamedTuple):
    work: _Work
    number: int
    items: Sequence[Any]


class _Process:
    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.flight: dict[ObjectRef[Any], list[_Chunk]] = {}  # oldest first
        self.load = 0  # chunks in flight
        self.given = 0  # chunks ever
        self.methods: dict[str, Any] = {}  # by the name that people see


class Workers:
    """The state of one pool. Public methods are called by the pool and its results."""

    def __init__(
        self, count: int, setup: bytes, most_chunks: int | None, options: dict[str, Any]
    ) -> None:
        self.count = count
        self.session = sessions.ensure()
        self._threaded = bool(self.session.engine.capabilities.processes)
        self._setup = setup
        self._most = most_chunks or 0
        self._make = ActorClass(PoolProcess, {"num_cpus": 0}).options(**options).remote
        self._lock = threading.RLock()  # guards all that follows
        self._events: SimpleQueue[ObjectRef[Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._queue: deque[_Work] = deque()
        self._running: dict[ObjectRef[Any], _Process] = {}
        self._attending = 0  # threads that see to what ends
        self._watched: set[ObjectRef[Any]] = set()  # the thread is told when they end
        self._seconds = -1.0  # moving average of a chunk
        self._broken: BaseException | None = None
        self._idle = threading.Condition(self._lock)
        self._ends: list[ObjectRef[Any]] = []
        self.stopped = ""  # "closed" or "terminated"
        self._processes = [self._start() for _ in range(count)]

    def _start(self) -> _Process:
        return _Process(self._make(self._setup))

    # --- from outside ------------------------------------------------------------------------

    def submit(
        self, job: Job, function: Function, how: int, chunks: Iterable[Sequence[Any]], lazy: bool
    ) -> None:
        """Take a job. ``lazy``: its chunks come from an iterator that may block."""
        work = _Work(job, function, how, iter(chunks))
        if lazy and self._threaded:
            feed = _Feed(self, work)
            work.chunks = feed
            threading.Thread(target=feed.run, name="fanlight-pool-feed", daemon=True).start()
        self._handle(functools.partial(self._take, work))

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Inside, this thread calls ``wait_for``: what ends need not be told to the other one."""
        with self._lock:
            self._attending += 1
        try:
            yield
        finally:
            with self._lock:
                self._attending -= 1
                if not self._attending:
                    for ref in self._running:
                        self._watch(ref)

    def wait_for(
        self, done: Callable[[], bool], sleep: Callable[[float | None], Any], timeout: float | None
    ) -> None:
        """Return when ``done()``, or after ``timeout`` seconds; ``sleep`` lets others see to it."""
        if done():
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.attended():
            while not done():
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not self._step(left):
                    break
                if left == 0:
                    return
        if not done() and self._threaded:
            sleep(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def poll(self) -> None:
        """Somebody looks whether a result is there."""
        if not self._threaded:  # so that a loop of polls gets somewhere
            self._step(0)

    def close(self) -> None:
        self.stopped = self.stopped or "closed"
        self._handle(lambda: None)

    def terminate(self) -> None:
        """End the processes at once; what is not done fails."""
        with self._lock:
            self.stopped = "terminated"
            self._fail_all(
                errors.TaskCancelledError("The pool was terminated before this was done.")
            )
            if self._usable():
                for process in self._processes:
                    self.session.engine.kill(process.actor._id, True)
            self._processes.clear()
            self._running.clear()
            self._idle.notify_all()

    def join(self) -> None:
        """Wait until all work is done and the processes have ended; after ``close``."""

        def wait(_: float | None) -> None:
            with self._idle:
                self._idle.wait_for(self._is_idle)

        self.wait_for(self._is_idle, wait, None)
        with self._lock:
            self._finish()
        if self._ends and self._usable():
            self.session.engine.wait([ref._id for ref in self._ends], len(self._ends), None)

    def _finish(self) -> None:
        """All is done, and no more will come: the processes end in their own way."""
        if self._usable():
            self._ends += [p.actor.__ray_terminate__.remote() for p in self._processes]
        self._processes.clear()

    def _is_idle(self) -> bool:
        return not (self._queue or self._running)

    def _usable(self) -> bool:
        return sessions.current() is self.session

    # --- events ------------------------------------------------------------------------------

    def _handle(self, event: Callable[[], None]) -> None:
        """Let ``event`` change the state, and give out what can be given out then."""
        with self._lock:
            try:
                event()
                self._fill()
            except Exception as e:  # the runtime went away, or a bug of ours: nobody waits in vain
                if not isinstance(e, errors.FanlightError):
                    traceback.print_exc()
                self._fail_all(e)
            if not self._running and not self._queue:
                if self.stopped == "closed":
                    self._finish()
                self._idle.notify_all()

    def _step(self, timeout: float | None) -> bool:
        """Let something end; False if nothing can, so that others must see to what is missing."""
        self._handle(lambda: None)
        refs = list(self._running)
        if not refs:
            return False
        oids = [ref._id for ref in refs]
        wait = self.session.engine.wait
        slice_ = timeout if timeout is not None and timeout < _SLICE else _SLICE
        ready = wait(oids, 1, slice_ if self._threaded else timeout)
        if ready and len(oids) > 1:
            ready = wait(oids, len(oids), 0)
        for i in ready:
            self._handle(functools.partial(self._ended, refs[i]))
        return bool(ready) or self._threaded

    def _watch(self, ref: ObjectRef[Any]) -> None:
        """Have the thread told when the call ends."""
        if not self._threaded or ref in self._watched:
            return
        self._watched.add(ref)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="fanlight-pool", daemon=True)
            self._thread.start()
        self.session.client.on_ready(ref._id, functools.partial(self._events.put, ref))

    def _serve(self) -> None:
        """The thread: handle what ends, until there is nothing left to wait for."""
        while True:
            try:
                ref = self._events.get(timeout=_LINGER)
            except Empty:
                with self._lock:
                    if self._events.empty() and not self._watched:
                        self._thread = None
                        return
                continue
            self._watched.discard(ref)
            self._handle(functools.partial(self._ended, ref))
            del ref

    # --- handing out -------------------------------------------------------------------------

    def _take(self, work: _Work) -> None:
        if self._broken is not None or self.stopped == "terminated":
            work.job.fail(self._broken or errors.TaskCancelledError("The pool was terminated."))
        else:
            self._queue.append(work)

    def _ahead(self) -> tuple[int, int]:
        """How many calls a process may have, and how many chunks may share one."""
        if self._seconds < 0 or self._seconds > _QUICK:
            return 1, 1
        return 2, min(_MOST_TOGETHER, 1 + int(_QUICK / 2 / max(self._seconds, 1e-5)))

    def _fill(self) -> None:
        """Give out chunks while there are some, and processes that may have more."""
        if not self._usable() and (self._queue or self._running):
            raise errors.RuntimeLostError("The runtime of this pool was shut down.")
        most = self._most
        calls, chunks = self._ahead()
        while self._queue:
            able = [
                p
                for p in self._processes
                if len(p.flight) < calls and not (most and p.given >= most)
            ]
            process = min(able, key=lambda p: p.load, default=None)
            if process is None:
                break
            batch = self._draw(min(chunks, most - process.given) if most else chunks)
            if not batch:
                break
            self._give(process, batch)

    def _draw(self, most: int) -> list[_Chunk]:
        """The next chunks, of one function."""
        batch: list[_Chunk] = []
        while self._queue and len(batch) < most:
            work = self._queue[0]
            if batch and (
                work.function is not batch[0].work.function or work.how != batch[0].work.how
            ):
                break
            chunk = work.next_chunk()
            if chunk is not None:
                batch.append(chunk)
            elif work.chunks is None:
                self._queue.popleft()
            else:  # a lazy iterable that has nothing at the moment: others may go on
                self._queue.rotate(-1)
                if not any(w.again or _has_some(w.chunks) for w in self._queue):
                    break
        return batch

    def _give(self, process: _Process, batch: list[_Chunk]) -> None:
        work = batch[0].work
        function = work.function
        call = process.methods.get(function.name)
        if call is None:
            call = process.methods[function.name] = process.actor.run.options(name=function.name)
        items = batch[0].items if len(batch) == 1 else [x for c in batch for x in c.items]
        try:
            ref = work.context.run(call.remote, function.key, function.blob, work.how, items)
        except (TypeError, ValueError) as e:  # items that cannot be pickled
            if len(batch) > 1:
                for chunk in batch:
                    self._give(process, [chunk])
            else:
                self._deliver(batch[0], [None], {0: e})
            return
        process.flight[ref] = batch
        process.load += len(batch)
        process.given += len(batch)
        self._running[ref] = process
        if not self._attending:
            self._watch(ref)

    # --- ends --------------------------------------------------------------------------------

    def _ended(self, ref: ObjectRef[Any]) -> None:
        process = self._running.get(ref)
        if process is None:
            return  # seen to already, or nobody wants to know
        try:
            answer: Answer = self.session.engine.get(ref._id, None)
        except errors.TaskError as e:  # what it returned cannot be pickled
            answer = Answer([], {}, -1.0)
            failed: dict[int, BaseException] = {-1: failures.own_error(e)}
        except errors.ActorError as e:
            self._process_died(process, e)
            return
        else:
            failed = {
                position: failures.own_error(failures.exception_of(m.Value(b"", m.ERROR, packed)))
                for position, (packed, _) in answer.errors.items()
            }
        batch = process.flight.pop(ref)
        del self._running[ref]
        process.load -= len(batch)
        if answer.seconds >= 0:
            each = answer.seconds / len(batch)
            self._seconds = each if self._seconds < 0 else 0.8 * self._seconds + 0.2 * each
        if self._most and process.given >= self._most and not process.flight:
            self._replace(process)
        if -1 in failed:
            self._fail(batch, failed[-1])
            return
        if len(batch) == 1:
            self._deliver(batch[0], answer.values, failed)
            return
        start = 0
        for chunk in batch:
            end = start + len(chunk.items)
            here = {p - start: e for p, e in failed.items() if start <= p < end}
            self._deliver(chunk, answer.values[start:end], here)
            start = end

    def _deliver(self, chunk: _Chunk, values: list[Any], failed: dict[int, BaseException]) -> None:
        chunk.work.job.put(chunk.number, values, failed)
        if chunk.work.room is not None:
            chunk.work.room.release()

    def _fail(self, batch: list[_Chunk], error: BaseException) -> None:
        for chunk in batch:
            self._deliver(chunk, [None], {0: error})

    def _replace(self, process: _Process) -> None:
        """Its handle goes, and with it the process; a new one takes its place."""
        if process in self._processes:
            self._processes[self._processes.index(process)] = self._start()

    def _process_died(self, process: _Process, error: errors.ActorError) -> None:
        """The call that it ran fails; the ones behind it are given to others."""
        if error.actor_init_failed:
            self._broken = failures.own_error(error)
            self._fail_all(self._broken)
            return
        lost: list[list[_Chunk]] = []
        for ref in list(process.flight):
            if not self._ended_well(ref):
                lost.append(process.flight.pop(ref))
                process.load -= len(lost[-1])
                del self._running[ref]
        if not isinstance(error, errors.ActorUnavailableError):
            self._replace(process)
        for chunk in [c for batch in reversed(lost[1:]) for c in reversed(batch)]:
            work = chunk.work
            work.again.appendleft(chunk)
            if work not in self._queue:
                self._queue.appendleft(work)
        if lost:
            self._fail(lost[0], error)

    def _ended_well(self, ref: ObjectRef[Any]) -> bool:
        """Whether a call of a process that died had ended before."""
        if not self.session.engine.wait([ref._id], 1, 0):
            return False
        try:
            self.session.engine.get(ref._id, None)
        except errors.ActorError:
            return False
        except Exception:
            pass
        return True

    def _fail_all(self, error: BaseException) -> None:
        works = {id(w): w for w in self._queue}
        flights = [batch for p in self._processes for batch in p.flight.values()]
        works.update({id(c.work): c.work for batch in flights for c in batch})
        self._queue.clear()
        self._running.clear()
        for process in self._processes:
            process.flight.clear()
            process.load = 0
        for work in works.values():
            if isinstance(work.chunks, _Feed):
                work.chunks.stop()
            work.job.fail(error)


class _Feed:
    """The chunks of a lazy iterable, drawn in a thread of its own: it may block."""

    def __init__(self, workers: Workers, work: _Work) -> None:
        assert work.chunks is not None
        self._source = work.chunks
        self._workers = workers
        self._ready: SimpleQueue[Sequence[Any] | Exception] = SimpleQueue()
        self._stopped = threading.Event()
        self._room = work.room = threading.Semaphore(_FEED_AHEAD * workers.count)

    def run(self) -> None:
        while True:
            self._room.acquire()
            if self._stopped.is_set():
                return
            try:
                item: Sequence[Any] | Exception = next(self._source)
            except Exception as e:
                item = e
            self._ready.put(item)
            self._workers._handle(lambda: None)
            if isinstance(item, Exception):
                return

    def stop(self) -> None:
        self._stopped.set()
        self._room.release()

    def some(self) -> bool:
        return not self._ready.empty()

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> Sequence[Any]:
        item = self._ready.get_nowait()
        if isinstance(item, Exception):
            raise item
        return item


def _has_some(chunks: Any) -> bool:
    return chunks is not None and (not isinstance(chunks, _Feed) or chunks.some())


def pickle_function(function: Any, initializer: Any) -> Function:
    """Pickle a function, together with the initializer whose global names it shares."""
    import hashlib

    from fanlight import api

    name = getattr(function, "__name__", None) or type(function).__name__
    try:
        packed = serialization.dumps((function, initializer))
    except Exception as e:
        raise failures.cannot_serialize(f"the function {name}", function, e) from e
    blob = packed.to_bytes()
    key = hashlib.blake2b(blob, digest_size=16).digest()
    client = sessions.require_client()
    for oid in packed.contained:  # refs in closures are kept as long as this process
        client.adopt(oid)
    return Function(key, [api.put(blob)] if len(blob) > _LARGE else blob, name)
