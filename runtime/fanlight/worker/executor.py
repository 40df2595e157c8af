"""Runs tasks and actor methods in a worker process.

The main thread runs tasks one after the other; it reads the socket itself while it has none. An
actor with ``max_concurrency`` above 1 runs its methods in a pool of threads; one with ``async``
methods runs all of them on an event loop in a thread of its own. Then the main thread only reads.
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
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fanlight import context, errors, ids, serialization
from fanlight import messages as m
from fanlight.client.client import Client, decode_args
from fanlight.client.failures import pack_error
from fanlight.config import UNITS
from fanlight.context import ActorExitRequest
from fanlight.worker import tracebacks

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

_QUICK = 0.0005  # results of functions quicker than this (seconds) are sent several at a time
_BATCH = 32


class _Cancelled(Exception):
    """The task was cancelled before it began."""


class Executor:
    """Everything that a worker does with Execute messages."""

    own_process = True

    def __init__(
        self, client: Client, streams: list[Any], gpu_tokens: list[str] | None = None
    ) -> None:
        self.client = client
        self.gpu_tokens = gpu_tokens or []
        self.streams = streams
        self.functions: dict[bytes, Any] = {}
        self.blobs: dict[bytes, bytes] = {}
        self.specs: dict[int, m.TaskSpec] = {}
        self.queue: deque[m.Execute] = deque()
        self.actor: Any = None
        self.actor_id = b""
        self.actor_context: dict[str, Any] = {}
        self.cancelled: set[bytes] = set()
        self.exiting = ""
        self.running: bytes = b""  # the task that the main thread runs
        self.in_user_code = False
        self._quick: dict[int, bool] = {}
        self._cuda: str | None = None  # CUDA_VISIBLE_DEVICES as it was before a task with GPUs
        self._cuda_was_set = False
        self._done: deque[m.Done] = deque()  # results held back
        self._sending = threading.RLock()  # whoever flushed knows that they are sent
        self._pool: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: asyncio.Semaphore | None = None
        self._active: dict[bytes, context.TaskContext] = {}
        self._async_tasks: dict[bytes, asyncio.Task[Any]] = {}
        client.before_block = self.before_block
        client.handlers.update(
            {
                m.DefineFunction: self._define_function,
                m.DefineSpec: self._define_spec,
                m.Execute: self.queue.append,
                m.CancelRunning: self._cancel,
                m.Reclaim: self._reclaim,
                m.Exit: self._exit,
            }
        )

    # --- messages ----------------------------------------------------------------------------

    def _define_function(self, x: m.DefineFunction) -> None:
        self.blobs[x.key] = x.blob

    def _define_spec(self, x: m.DefineSpec) -> None:
        self.specs[x.number] = x.spec

    def _exit(self, x: m.Exit) -> None:
        self.exiting = x.reason or "told to end"

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
        self.cancelled.add(x.task)
        active = self._active.get(x.task)
        if active is not None:
            active.cancelled = True
        task = self._async_tasks.get(x.task)
        if task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(task.cancel)
        elif x.task == self.running and not self.actor_id:
            # A signal, so that a sleeping system call returns at once.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

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
            return None
        if threading.get_ident() != threading.main_thread().ident:
            return None
        task_id = running.task_id
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
        while not self.exiting:
            if not queue:
                self.flush()
                link.wait(lambda: queue or self.exiting)
                continue
            try:
                execute = queue.popleft()
            except IndexError:
                continue
            self.dispatch(execute)
        self.flush()
        self._end_actor()

    def dispatch(self, execute: m.Execute) -> None:
        spec = self.specs[execute.spec]
        if spec.kind == m.ACTOR_CALL and self._loop is not None:
            self._submit_async(execute, spec)
        elif spec.kind == m.ACTOR_CALL and self._pool is not None:
            self._pool.submit(self.run, execute, spec)
        else:
            # Results wait for company only while quick tasks follow each other.
            if self._done and not (self._quick.get(execute.spec) and spec.max_retries):
                self.flush()
            self.running = execute.task
            self.run(execute, spec, main=True)
            self.running = b""

    def _take_done(self) -> list[m.Done]:
        done: list[m.Done] = []
        while True:
            try:
                done.append(self._done.popleft())
            except IndexError:
                return done

    def flush(self) -> None:
        with self._sending:
            done = self._take_done()
            if done:
                self.client.link.send(done)

    def _report(self, execute: m.Execute, done: m.Done, main: bool) -> None:
        for stream in self.streams:
            if stream._parts:
                stream.end_of(execute.task, context.current.get())
        if main:
            quick = done.duration < _QUICK
            self._quick[execute.spec] = quick
            self._done.append(done)
            # The node must know of a segment before we give it back, and of the refs in a result
            # before we drop ours.
            alone = any(v.kind == m.STORED or v.contained for v in done.values)
            if alone or not (quick and self.queue) or len(self._done) >= _BATCH:
                self.flush()
        else:
            self.client.link.send([done])
        for value in done.values:
            self.client.release(value)

    # --- one task ----------------------------------------------------------------------------

    def _context(self, execute: m.Execute, spec: m.TaskSpec) -> context.TaskContext:
        task = context.TaskContext(execute.task, spec.name, spec.origin)
        task.attempt = execute.attempt
        task.job = execute.job
        task.gpus = execute.gpus or []
        task.actor_id = self.actor_id
        task.blocking = spec.kind == m.TASK
        task.namespace = spec.namespace or self.actor_context.get("namespace", "")
        if self.actor_id:
            task.resources = self.actor_context["resources"]
            task.actor_name = self.actor_context["name"]
            task.gpus = self.actor_context["gpus"]
        else:
            task.resources = {k: v / UNITS for k, v in spec.resources.items() if v}
        return task

    def run(self, execute: m.Execute, spec: m.TaskSpec, main: bool = False) -> None:
        """Run one task or method in this thread and report its end."""
        task = self._context(execute, spec)
        token = context.current.set(task)
        self._active[execute.task] = task
        started = time.perf_counter()
        result: Any = None
        try:
            self._take_arguments(execute)
            try:
                if execute.task in self.cancelled:
                    raise _Cancelled
                if execute.gpus is not None:
                    self._show_gpus(execute.gpus)
                function, args, kwargs = self._prepare(execute, spec)
                try:
                    self.in_user_code = main
                    if execute.task in self.cancelled:  # while its arguments were unpickled
                        raise _Cancelled
                    result = function(*args, **kwargs)
                finally:
                    self.in_user_code = False
                del args, kwargs
                result = self._settle(result)
                values = self._values(execute, spec, result)
                done = m.Done(execute.task, True, values, time.perf_counter() - started)
            except BaseException as e:
                done = self._failed(execute, spec, e, time.perf_counter() - started)
            if execute.task in self.cancelled:
                self.cancelled.discard(execute.task)
                if self.actor_id and done.ok:
                    # A method is not interrupted; its result is not wanted.
                    for value in done.values:
                        self.client.abandon(value)
                    done = self._failed(execute, spec, _Cancelled(), done.duration)
            self._report(execute, done, main)
            del result  # not before: refs in it are ours until the node has the report
            if spec.kind == m.ACTOR_CREATE and not done.ok:
                self.exiting = "its constructor failed"
        finally:
            self._release_arguments(execute)
            if execute.gpus is not None and not (self.actor_id and self.own_process):
                self._show_gpus(None)  # an actor keeps its GPUs for life
            del self._active[execute.task]
            context.current.reset(token)

    def _show_gpus(self, gpus: list[int] | None) -> None:
        """Let CUDA see just these GPUs; None restores what it saw before."""
        if gpus is not None:
            if self._cuda is None:
                self._cuda = os.environ.get("CUDA_VISIBLE_DEVICES", "")
                self._cuda_was_set = "CUDA_VISIBLE_DEVICES" in os.environ
            names = self.gpu_tokens
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(
                names[i] if i < len(names) else str(i) for i in gpus
            )
        elif self._cuda is not None:
            if self._cuda_was_set:
                os.environ["CUDA_VISIBLE_DEVICES"] = self._cuda
            else:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            self._cuda = None

    def _settle(self, result: Any) -> Any:
        """What a function returned; a coroutine has nobody to run it."""
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("async functions cannot be tasks; make them methods of an actor")
        return result

    def _prepare(self, execute: m.Execute, spec: m.TaskSpec) -> tuple[Any, list[Any], Any]:
        values = [self.client.decode(v) for v in execute.deps]
        args, kwargs = decode_args(self.client, execute.args, values)
        if spec.kind == m.TASK:
            return self.function(spec.function), args, kwargs
        if spec.kind == m.ACTOR_CALL:
            if spec.method == "__ray_call__":
                function, *rest = args
                return function, [self.actor, *rest], kwargs
            if spec.method == "__ray_ready__":
                return _true, args, kwargs
            if spec.method == "__ray_terminate__":
                return self._terminate, args, kwargs
            return getattr(self.actor, spec.method), args, kwargs
        return self._constructor(execute, spec), args, kwargs

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

    def _values(self, execute: m.Execute, spec: m.TaskSpec, result: Any) -> list[m.Value]:
        count = spec.num_returns
        if count == 1:
            results = (result,)
        elif count == 0:
            return []
        else:
            results = self._split(result, count)
        values: list[m.Value] = []
        try:
            for i, item in enumerate(results):
                packed = serialization.dumps(item)
                values.append(self.client.store(ids.object_id(execute.task, i), packed))
        except BaseException:
            # Segments of the first results are written: announced, they are taken back.
            for value in values:
                self.client.abandon(value)
            raise
        return values

    @staticmethod
    def _split(result: Any, count: int) -> tuple[Any, ...]:
        try:
            length = len(result)
        except TypeError:
            raise TypeError(
                f"A task with num_returns={count} must return {count} values, not a "
                f"{type(result).__name__}."
            ) from None
        if length != count:
            raise ValueError(f"Task returned {length} objects, but num_returns={count}.")
        return tuple(result)

    def _failed(
        self, execute: m.Execute, spec: m.TaskSpec, error: BaseException, duration: float
    ) -> m.Done:
        """The report of a task that raised."""
        if isinstance(error, SystemExit | ActorExitRequest):
            return self._exits(execute, spec, error, duration)
        if isinstance(error, _Cancelled):
            error = errors.TaskCancelledError(f"{spec.name} was cancelled.", execute.task.hex())
        header = f"fanlight::{spec.name}() (pid={os.getpid()}"
        if self.actor_id:
            header += f", actor_id={self.actor_id.hex()}, repr={self._actor_repr()}"
        text = tracebacks.text_of(error, header + ")")
        packed = pack_error(error, text, spec.name)
        value = m.Value(
            ids.object_id(execute.task, 0), m.ERROR, packed.to_bytes(), packed.size,
            packed.contained or None,
        )  # fmt: skip
        retriable = spec.retry_exceptions and isinstance(error, Exception)
        if retriable and spec.retry_types:
            retriable = isinstance(errors.innermost(error), pickle.loads(spec.retry_types))
        return m.Done(
            execute.task, False, [value], duration, tracebacks.last_line(error), text, retriable
        )

    def _actor_repr(self) -> str:
        try:
            return repr(self.actor)
        except Exception:
            return object.__repr__(self.actor)

    def _exits(
        self, execute: m.Execute, spec: m.TaskSpec, error: BaseException, duration: float
    ) -> m.Done:
        """``sys.exit`` in a task is a death of its worker; in an actor it ends the actor."""
        code = error.code if isinstance(error, SystemExit) else 0
        if spec.kind == m.TASK or code not in (None, 0) or spec.kind == m.ACTOR_CREATE:
            self.flush()
            print(f"{spec.name} called sys.exit({code!r})", file=sys.__stderr__, flush=True)
            os._exit(code if isinstance(code, int) else 1)
        reason = (
            "exit_actor() is called."
            if isinstance(error, ActorExitRequest)
            else f"{spec.name} called sys.exit({code!r})."
        )
        self.exiting = reason
        self.flush()
        self.client.link.send([m.ActorExit(self.actor_id, reason)])
        self.client.link.wake()
        return m.Done(execute.task, False, [], duration, reason)

    # --- actors ------------------------------------------------------------------------------

    def _constructor(self, execute: m.Execute, spec: m.TaskSpec) -> Callable[..., None]:
        cls = self.function(spec.function)
        self.actor_id = execute.actor
        self.actor_context = {
            "name": spec.method,
            "namespace": spec.namespace,
            "resources": {k: v / UNITS for k, v in spec.resources.items() if v},
            "gpus": execute.gpus or [],
        }
        for stream in self.streams:
            stream.label = spec.name
        is_async = any(inspect.iscoroutinefunction(f) for _, f in inspect.getmembers(cls, callable))
        self.client.link.prompt(True)  # calls and cancellations are to be seen at once

        def construct(*args: Any, **kwargs: Any) -> None:
            if is_async:
                self._start_loop(spec.max_concurrency)
                self.actor = self._on_loop(_construct(cls, args, kwargs))
            else:
                self.actor = cls(*args, **kwargs)
                if spec.max_concurrency > 1:
                    from concurrent.futures import ThreadPoolExecutor

                    self._pool = ThreadPoolExecutor(spec.max_concurrency, "fanlight-actor")

        return construct

    def _start_loop(self, concurrency: int) -> None:
        import asyncio  # costs a worker 20 ms and 3 MB; most never need it

        loop = asyncio.new_event_loop()
        self._loop = loop

        def run() -> None:
            asyncio.set_event_loop(loop)
            self._slots = asyncio.Semaphore(concurrency)
            loop.run_forever()

        threading.Thread(target=run, name="fanlight-loop", daemon=True).start()

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the actor's loop and wait for it."""
        import asyncio

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _submit_async(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        import asyncio

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._run_async(execute, spec), self._loop)

    async def _run_async(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        """One method of an async actor, on its loop."""
        import asyncio

        assert self._slots is not None
        task = self._context(execute, spec)
        context.current.set(task)  # each asyncio task has a context of its own
        started = time.perf_counter()
        this = asyncio.current_task()
        assert this is not None
        self._async_tasks[execute.task] = this
        self._take_arguments(execute)
        try:
            async with self._slots:
                if execute.task in self.cancelled:
                    raise _Cancelled
                started = time.perf_counter()
                function, args, kwargs = self._prepare(execute, spec)
                result = function(*args, **kwargs)
                if inspect.isawaitable(result):
                    result = await result
                if execute.task in self.cancelled:
                    raise _Cancelled
                values = self._values(execute, spec, result)
            done = m.Done(execute.task, True, values, time.perf_counter() - started)
        except asyncio.CancelledError:
            done = self._failed(execute, spec, _Cancelled(), time.perf_counter() - started)
        except BaseException as e:
            done = self._failed(execute, spec, e, time.perf_counter() - started)
        finally:
            del self._async_tasks[execute.task]
            self.cancelled.discard(execute.task)
            self._release_arguments(execute)
        self._report(execute, done, main=False)

    def _terminate(self) -> None:
        raise ActorExitRequest

    def _end_actor(self) -> None:
        """A graceful end: let the actor clean up."""
        actor, self.actor = self.actor, None
        if actor is None:
            return
        shutdown = getattr(actor, "__ray_shutdown__", None)
        if callable(shutdown):
            try:
                shutdown()
            except Exception:
                sys.excepthook(*sys.exc_info())
        del actor


def _true(*_: Any) -> bool:
    return True


async def _construct(cls: type, args: Any, kwargs: Any) -> Any:
    return cls(*args, **kwargs)
