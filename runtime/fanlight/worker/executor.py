"""Runs tasks and actor methods in a worker process.

The main thread runs tasks one after the other; it reads the socket itself while it has none. When
the methods of an actor run elsewhere (:mod:`fanlight.worker.actor_host`), it only reads.

Only ``dispatch`` and ``_report`` know where a call came from.
"""

from __future__ import annotations

import inspect
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from fanlight import context, errors, ids
from fanlight import messages as m
from fanlight.client.arguments import decode_args
from fanlight.client.client import Client
from fanlight.config import UNITS
from fanlight.context import ActorExitRequest
from fanlight.worker import arguments, generators, last_words, values
from fanlight.worker.actor_host import ActorHost, warn_if_on_loop
from fanlight.worker.channels import DirectCall
from fanlight.worker.generators import Cancelled as _Cancelled
from fanlight.worker.gpus import VisibleGpus
from fanlight.worker.idleness import LONG, Idleness
from fanlight.worker.output import Outbox

if TYPE_CHECKING:
    import asyncio

    from fanlight.worker.channels import Callers

_QUICK = 0.0005  # results of functions quicker than this (seconds) are sent several at a time
_SLOW = 0.002  # seconds
_BATCH = 32
_LANES = 0.01  # seconds between two looks at whether calls in lanes are over
_LABEL = 100  # characters of an actor's repr in front of what it prints
_PHASE = 0.0002  # seconds of reading arguments or storing results that are worth reporting


def threads_of(spec: m.TaskSpec) -> int:
    return max(1, spec.resources.get("CPU", 0) // UNITS)


class Executor:
    """Everything that a worker does with Execute messages."""

    own_process = True
    host_class = ActorHost

    def __init__(
        self,
        client: Client,
        streams: list[Any],
        gpus: VisibleGpus,
        begun: Any = None,
    ) -> None:
        """``begun`` is where the id of the task that began last is written, 24 bytes: memory
        shared with the parent process, who looks when this one is dead."""
        self.client = client
        self.gpus = gpus
        self.streams = streams
        self._outbox = streams[0].outbox if streams else Outbox(client)
        self.creation: context.TaskContext | None = None  # of the actor that this process is
        self._begun = begun if begun is not None else bytearray(ids.TASK_LEN)
        self.functions: dict[bytes, Any] = {}
        self.blobs: dict[bytes, bytes] = {}
        self.specs: dict[int, m.TaskSpec] = {}
        self.queue: deque[Any] = deque()  # Execute messages, and calls that came on channels
        self.callers: Callers | None = None
        self.actor: ActorHost | None = None
        self.cancelled: set[bytes] = set()
        self.exiting = ""
        self._draining = False
        self._was_slow = False  # what ran last took long
        self.running: bytes = b""  # the task that the main thread runs
        self.in_user_code = False
        self.idleness = Idleness()
        self.environment: dict[str, Any] | None = None  # that it belongs to, when it is known
        self.threads = 0  # OMP_NUM_THREADS as it is now; 0 if it is the user's, not ours
        self._quick: dict[int, bool] = {}
        self._resources: dict[int, dict[str, float]] = {}  # by spec, as users see them
        self._done: deque[m.Done] = deque()  # results held back
        self._sending = threading.RLock()  # whoever flushed knows that they are sent
        self._active: dict[bytes, context.TaskContext] = {}
        self.productions: dict[bytes, generators.Production] = {}  # generators that run
        client.before_block = self.before_block
        client.handlers.update(
            {
                m.DefineFunction: self._define_function,
                m.DefineSpec: self._define_spec,
                m.Forget: self._forget,
                m.DefineEnvironment: self._define_environment,
                m.Execute: self.queue.append,
                m.CancelRunning: self._cancel,
                m.Reclaim: self._reclaim,
                m.Exit: self._exit,
                m.Consumed: self._consumed,
            }
        )

    # --- messages ----------------------------------------------------------------------------

    def _define_function(self, x: m.DefineFunction) -> None:
        self.blobs[x.key] = x.blob

    def _define_spec(self, x: m.DefineSpec) -> None:
        self.specs[x.number] = x.spec
        self._resources.pop(x.number, None)

    def _forget(self, x: m.Forget) -> None:
        for number in x.specs:
            self.specs.pop(number, None)
            self._quick.pop(number, None)
            self._resources.pop(number, None)
        for key in x.functions:
            self.blobs.pop(key, None)
            self.functions.pop(key, None)

    def _define_environment(self, x: m.DefineEnvironment) -> None:
        from fanlight.worker import environment  # most workers never have one

        self.environment = environment.decode(x)

    def _exit(self, x: m.Exit) -> None:
        # Calls that weak handles sent on channels, which the node does not wait for, are run yet.
        self._draining = not self.exiting
        self.exiting = self.exiting or x.reason or "told to end"

    def _reclaim(self, _: m.Reclaim) -> None:
        """The node wants back what stands behind a task that turned out slow."""
        self.flush()  # results too: what runs now may run for long
        returned = self._take_unstarted()
        if returned:
            self.client.link.send([m.Returned(returned)])

    def _take_unstarted(self) -> list[bytes]:
        returned: list[bytes] = []
        while True:
            try:
                execute = self.queue.pop()
            except IndexError:
                return returned[::-1]
            self._take_arguments(execute)
            self._release_arguments(execute)
            returned.append(execute.task)

    def _cancel(self, x: m.CancelRunning) -> None:
        """Called by whichever thread reads."""
        channels = self.client.channels
        if channels is not None:
            if channels.cancel(x.task, False):
                return  # the node passes on that somebody cancels a call that we sent
            if x.recursive:
                channels.cancel_children(x.task)
        self.cancelled.add(x.task)
        active = self._active.get(x.task)
        if active is not None:
            active.cancelled = True
        actor = self.actor
        if actor is not None and not actor.interruptible:
            actor.cancel(x.task)
        elif x.task == self.running:
            # A signal, so that a sleeping system call returns at once.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _consumed(self, x: m.Consumed) -> None:
        production = self.productions.get(x.task)
        if production is not None:
            production.consumed(x)

    def on_sigint(self, number: int, frame: Any) -> None:
        """SIGINT in a worker means: cancel the task that runs."""
        link: Any = self.client.link
        if self.running not in self.cancelled or not self.in_user_code:
            return
        if link.inside and not link.polling:
            link.interrupted = True  # messages are being handled: raise right after
        else:
            link.polling = False
            raise KeyboardInterrupt

    def before_block(self) -> Callable[[], None] | None:
        """Called when a task is about to wait: its CPU can do other work meanwhile."""
        running = context.current.get()
        if running is None or not running.blocking:
            if running is not None and running.on_loop:
                warn_if_on_loop()
            return None
        if threading.get_ident() != threading.main_thread().ident:
            return None
        task_id = running.task_id
        self.idleness.blocked = True
        link: Any = self.client.link
        link.inside = True  # a cancellation waits: what is taken out must reach the node
        try:
            with self._sending:
                link.send([*self._take_done(), m.Blocked(task_id, self._take_unstarted())])
        finally:
            link.inside = False
        if link.interrupted:
            link.interrupted = False
            link.send([m.Unblocked(task_id)])
            raise KeyboardInterrupt
        return lambda: link.send([m.Unblocked(task_id)])

    # --- the main thread ---------------------------------------------------------------------

    def serve(self) -> None:
        """Run tasks until told to exit."""
        queue = self.queue
        link = self.client.link
        while not self.exiting or (self._draining and (queue or self._active)):
            if not queue:
                self.flush()
                if self.exiting:  # what runs in lanes is let finish; the node waits for so long
                    link.wait(lambda: queue, _LANES)
                    continue
                if self.cancelled:
                    self._forget_cancelled()
                if self.actor is None:
                    self.restore_streams()
                link.wait(lambda: queue or self.exiting)
                continue
            if self._was_slow:  # what came meanwhile may cancel the next one
                self._was_slow = False
                link.wait(lambda: False, 0)
            try:
                execute = queue.popleft()
            except IndexError:
                continue
            self.dispatch(execute)
        self.flush()
        if self.callers is not None:
            self.callers.report(pause=False)
            self.callers.close()
        if self.actor is not None:
            self.actor.end()

    def dispatch(self, execute: Any) -> None:
        """Run a task here, or start it where the actor's methods run."""
        direct = type(execute) is DirectCall
        spec = execute.known if direct else self.specs[execute.spec]
        actor = self.actor if spec.kind == m.ACTOR_CALL else None
        lane = actor.lane(spec.group) if actor is not None else None
        if lane is not None:
            self._active[execute.task] = self._context(execute, spec)
            lane.submit(execute, spec)
        else:
            # Results wait for company only while quick tasks follow each other.
            if direct and self.callers is not None:
                self.callers.before(execute)
            if self._done and not (self._quick.get(execute.spec) and spec.max_retries):
                self.flush()
            if self.threads and spec.kind != m.ACTOR_CALL:
                self._show_threads(spec)
            self.running = self._begun[: ids.TASK_LEN] = execute.task
            self.run(execute, spec, main=True)
            self.running = b""

    def _forget_cancelled(self) -> None:
        """Cancellations that crossed the report of their task: nothing of that id will come."""
        crossed = set(self.cancelled)
        if not self.queue:  # what was cancelled had come before its cancellation
            waiting = self.callers.behind() if self.callers is not None else set()
            self.cancelled -= crossed - self._active.keys() - waiting

    def restore_streams(self) -> None:
        """A task may have closed or replaced its streams: that is not for the next one."""
        if sys.stdout is not self.streams[0] or sys.stderr is not self.streams[1]:
            sys.stdout, sys.stderr = self.streams
        last_words.restore()

    def _show_threads(self, spec: m.TaskSpec) -> None:
        """Numerical libraries that are loaded from now on use as many threads as it has CPUs."""
        count = threads_of(spec)
        if count != self.threads:
            self.threads = count
            os.environ["OMP_NUM_THREADS"] = str(count)

    def _take_done(self) -> list[m.Done]:
        waiting, done = self._done, []
        try:
            while waiting:
                done.append(waiting.popleft())
        except IndexError:  # this thread was interrupted, and flushed meanwhile
            pass
        return done

    def flush(self) -> None:
        if self.callers is not None:
            self.callers.flush()
        with self._sending:
            done = self._take_done()
            if done:
                self._send(done)

    def _send(self, done: list[m.Done]) -> None:
        if self.client.before_report is not None:
            self.client.before_report()
        self.client.link.send(done)

    def _report(self, execute: Any, done: m.Done, main: bool) -> None:
        duration = done.duration
        done.started = time.time() - duration
        self._was_slow = duration > _SLOW
        if self._outbox.parts:
            self._outbox.end_of(execute.task)
        if type(execute) is DirectCall:
            assert self.callers is not None
            self.callers.answer(execute, done, hold=main and bool(self.queue))
        elif main:
            self._quick[execute.spec] = quick = duration < _QUICK
            self._done.append(done)
            # A result may not be lost whose task is not to run twice.
            alone = not self.specs[execute.spec].max_retries
            # The node must know of a segment before we give it back, and of the refs in a result
            # before we drop ours.
            for value in done.values:
                if value.kind == m.STORED or value.contained:
                    alone = True
            if alone or not (quick and self.queue) or len(self._done) >= _BATCH:
                self.flush()
        else:
            self._send([done])
        for value in done.values:
            if value.kind == m.STORED:
                self.client.release(value)

    def _end_output(self, task: bytes) -> None:
        self._outbox.end_of(task)

    # --- one task ----------------------------------------------------------------------------

    def _context(self, execute: Any, spec: m.TaskSpec) -> context.TaskContext:
        task = context.TaskContext(
            execute.task, spec.name, spec.origin, spec.namespace, execute.attempt, execute.job,
            spec.where, spec.kind == m.TASK,
        )  # fmt: skip
        if type(execute) is DirectCall:
            task.caller = execute.caller
        if self.actor is not None:
            self.actor.describe(task)
            task.on_loop = self.actor.is_async
            return task
        if execute.gpus:
            task.gpus = self.gpus.ids(execute.gpus)
        resources = self._resources.get(execute.spec)
        if resources is None:
            resources = {k: v / UNITS for k, v in spec.resources.items() if v}
            self._resources[execute.spec] = resources
        task.resources = resources
        return task

    def run(self, execute: Any, spec: m.TaskSpec, main: bool = False) -> None:
        """Run one task or method in this thread and report its end."""
        task = self._active.get(execute.task) or self._context(execute, spec)
        if not main and self.actor is not None and not self.actor.begins():
            self.no_longer(execute.task, task)  # the node answers for all that never began
            return
        if spec.num_returns == m.STREAMING:
            generators.Production(self, execute, spec, main).run()
            return
        token = context.current.set(task)
        self._active[execute.task] = task
        if task.caller is not None and self.callers is not None:
            self.callers.begins(execute)
        started = time.perf_counter()
        result: Any = None
        done: m.Done | None
        try:
            self._take_arguments(execute)
            try:
                if execute.task in self.cancelled:
                    raise _Cancelled
                if execute.gpus is not None:
                    self.gpus.show(execute.gpus)
                function, args, kwargs = self._prepare(execute, spec)
                prepared = time.perf_counter()
                try:
                    self.in_user_code = main
                    if execute.task in self.cancelled:  # while its arguments were unpickled
                        raise _Cancelled
                    result = function(*args, **kwargs)
                    if generators.gathers(function, spec, result):
                        result = generators.gather(self, execute, spec, result)
                finally:
                    self.in_user_code = False
                del args, kwargs
                result = self._settle(result)
                returned = time.perf_counter()
                packed = values.results(self.client, execute, spec, result)
                ended = time.perf_counter()
                done = m.Done(execute.task, True, packed, ended - started)
                if (
                    prepared - started > _PHASE
                    or ended - returned > _PHASE
                    or ended - started > LONG
                ):
                    idle = self.idleness.of(ended - started) if main else 0.0
                    done.phases = [prepared - started, ended - returned, idle]
            except arguments.Lost as e:
                done = arguments.give_back(self, execute, spec, e)
            except BaseException as e:
                done = self._failed(execute, spec, e, time.perf_counter() - started)
            if execute.task in self.cancelled:
                self.cancelled.discard(execute.task)
                if self.actor is not None and done is not None and done.ok:
                    # A method is not interrupted; its result is not wanted.
                    for value in done.values:
                        self.client.abandon(value)
                    done = self._failed(execute, spec, _Cancelled(), done.duration)
            if done is not None:
                self._report(execute, done, main)
            del result  # not before: refs in it are ours until the node has the report
            if spec.kind == m.ACTOR_CREATE and not (done is not None and done.ok):
                self.exiting = self.exiting or "its constructor failed"
        finally:
            self._release_arguments(execute)
            if execute.gpus is not None and not (self.actor is not None and self.own_process):
                self.gpus.restore()  # an actor keeps its GPUs for life
            self.no_longer(execute.task, task)
            context.current.reset(token)

    async def _run_async(self, execute: Any, spec: m.TaskSpec, slots: asyncio.Semaphore) -> None:
        """One method of an async actor, on its loop."""
        if spec.num_returns == m.STREAMING:
            await generators.Production(self, execute, spec).run_async(slots)
            return
        actor = self.actor
        assert actor is not None
        task = self._active[execute.task]
        context.current.set(task)  # each asyncio task has its own
        started = time.perf_counter()
        done: m.Done | None = None
        self._take_arguments(execute)
        try:
            async with slots:
                if execute.task in self.cancelled:
                    raise _Cancelled
                if not actor.begins():
                    return  # the node answers for all that never began
                if self.callers is not None and type(execute) is DirectCall:
                    self.callers.begins(execute)
                started = time.perf_counter()
                try:
                    function, args, kwargs = self._prepare(execute, spec)
                except arguments.Lost:
                    deps = await arguments.wait(self, execute)
                    function, args, kwargs = self._prepare(execute, spec, deps)
                result = function(*args, **kwargs)
                if inspect.isawaitable(result):
                    result = await result
                if generators.gathers(function, spec, result):
                    result = await generators.gather_async(self, execute, spec, result)
                if execute.task in self.cancelled:
                    raise _Cancelled
                packed = values.results(self.client, execute, spec, result)
            done = m.Done(execute.task, True, packed, time.perf_counter() - started)
        except BaseException as e:
            error = _Cancelled() if execute.task in self.cancelled else e
            done = self._failed(execute, spec, error, time.perf_counter() - started)
        finally:
            self.cancelled.discard(execute.task)
            self._release_arguments(execute)
            if done is not None:
                self._report(execute, done, main=False)
            self.no_longer(execute.task, task)

    def no_longer(self, task_id: bytes, task: context.TaskContext) -> None:
        """A run has been reported. Its next attempt may have come here since: that one stays."""
        if self._active.get(task_id) is task:
            del self._active[task_id]

    def _settle(self, result: Any) -> Any:
        """What a function returned; a coroutine has nobody to run it."""
        if type(result) is CoroutineType:
            result.close()
            raise TypeError("async functions cannot be tasks; make them methods of an actor")
        return result

    def _prepare(
        self, execute: m.Execute, spec: m.TaskSpec, deps: list[Any] | None = None
    ) -> tuple[Any, list[Any], Any]:
        if execute.deps and deps is None:
            deps = arguments.read(self, execute, spec)
        args, kwargs = decode_args(execute.args, deps or [])
        if spec.kind == m.TASK:
            return self.function(spec.function), args, kwargs
        if spec.kind == m.ACTOR_CALL:
            assert self.actor is not None
            method, args = self.actor.method(spec.method, args)
            return method, args, kwargs
        cls = self.function(spec.function)
        self.actor = self.host_class(execute, spec, self.run, self._run_async, self._leave)
        self.actor.gpus = self.gpus.ids(execute.gpus)
        running = context.current.get()
        if running is not None:
            self.actor.describe(running)
        self._label_streams(spec.name, execute.actor)
        self.client.link.prompt(True)  # calls and cancellations are to be seen at once
        return self._construct, [cls, *args], kwargs

    def _construct(self, cls: type, *args: Any, **kwargs: Any) -> None:
        assert self.actor is not None
        self.actor.construct(cls, *args, **kwargs)
        if getattr(type(self.actor.instance), "__repr__", None) is not object.__repr__:
            first, *_ = self.actor.repr().splitlines() or [""]
            self._label_streams(first[:_LABEL])

    def _label_streams(self, label: str, actor: bytes = b"") -> None:
        """What the process prints from now on is the actor's, and called so."""
        self._outbox.label = label
        if actor:
            self.creation = context.current.get()
            for log in self._outbox.logs.values():
                log.actor = actor

    def owner(self) -> context.TaskContext | None:
        """Whose output it is that a thread writes that runs no task: see :mod:`.output`."""
        return context.started_by.get() or self.creation or self._active.get(self.running)

    def _take_arguments(self, execute: m.Execute) -> None:
        """Count the descriptors that came with a task; ``_release_arguments`` is the other half."""
        for value in execute.deps:
            self.client.take(value)

    def _release_arguments(self, execute: m.Execute) -> None:
        for value in execute.deps:
            self.client.release(value)
        reader = self.client.reader
        if reader is not None and reader.pending:
            self.client.flush_drops()

    def function(self, key: bytes) -> Any:
        found = self.functions.get(key)
        if found is None:
            found = self.functions[key] = pickle.loads(self.blobs[key])
        return found

    def _failed(
        self, execute: m.Execute, spec: m.TaskSpec, error: BaseException, duration: float
    ) -> m.Done | None:
        """The report of a task that raised; None when its actor leaves."""
        if isinstance(error, SystemExit | ActorExitRequest):
            return self._exits(execute, spec, error, duration)
        interrupted = isinstance(error, KeyboardInterrupt) and execute.task in self.cancelled
        if interrupted or isinstance(error, _Cancelled):
            error = errors.TaskCancelledError(f"{spec.name} was cancelled.", execute.task.hex())
        partial = error
        if isinstance(partial, generators.Partial):
            assert partial.__cause__ is not None
            error = partial.__cause__
        done = values.failed(execute, spec, error, duration, self.actor)
        if isinstance(partial, generators.Partial):
            done.values += generators.kept(self.client, execute, partial)
        return done

    def _exits(
        self, execute: m.Execute, spec: m.TaskSpec, error: BaseException, duration: float
    ) -> m.Done | None:
        """``sys.exit`` in a task is a death of its worker; in an actor it ends the actor."""
        code = error.code if isinstance(error, SystemExit) else 0
        asked = isinstance(error, ActorExitRequest)
        if spec.kind == m.TASK or code not in (None, 0) or not (asked or spec.kind == m.ACTOR_CALL):
            self.flush()
            last_words.say(f"{spec.name} called sys.exit({code!r})")
            os._exit(code if isinstance(code, int) else 1)
        actor = self.actor
        assert actor is not None
        self._end_output(execute.task)
        actor.leaving = (
            "exit_actor() is called." if asked else f"{spec.name} called sys.exit({code!r})."
        )
        if actor.plain:
            self._leave(actor)
        return None  # else when all that runs beside it has ended

    def _leave(self, actor: ActorHost) -> None:
        """The actor ends itself; the node answers for the calls that are not reported."""
        self.flush()
        self.client.link.send([m.ActorExit(actor.id, actor.leaving)])
        self.exiting = actor.leaving  # not before: the main thread ends the process then
        self.client.link.wake()
