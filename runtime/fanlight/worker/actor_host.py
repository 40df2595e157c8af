"""What an actor is, inside its process: the instance and where its methods run.

A plain actor's methods run in the main thread, like tasks. With ``max_concurrency`` above 1 they run
in a pool of threads; with ``async`` methods all of them run on an event loop in a thread of its own.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.context import ActorExitRequest, TaskContext

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor


class ActorHost:
    """One actor; made by the executor when the constructor is about to run."""

    def __init__(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        self.id = execute.actor
        self.instance: Any = None
        self.name = spec.method
        self.namespace = spec.namespace
        self.resources = {k: v / UNITS for k, v in spec.resources.items() if v}
        self.gpus = execute.gpus or []
        self.concurrency = spec.max_concurrency
        self.pool: ThreadPoolExecutor | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._slots: asyncio.Semaphore | None = None
        self._running: dict[bytes, asyncio.Task[Any]] = {}  # calls on the loop, by task id

    def describe(self, task: TaskContext) -> None:
        """Fill in what a call's context says of its actor."""
        task.actor_id = self.id
        task.actor_name = self.name
        task.namespace = task.namespace or self.namespace
        task.resources = self.resources
        task.gpus = self.gpus

    def repr(self) -> str:
        """The user's repr of the instance, for error texts; never raises."""
        try:
            return repr(self.instance)
        except Exception:
            return object.__repr__(self.instance)

    # --- the instance ------------------------------------------------------------------------

    def construct(self, cls: type, *args: Any, **kwargs: Any) -> None:
        """Make the instance, and the threads that its class and options ask for."""
        if any(inspect.iscoroutinefunction(f) for _, f in inspect.getmembers(cls, callable)):
            self.start_loop()
            self.instance = self.on_loop(_construct(cls, args, kwargs))
        else:
            self.instance = cls(*args, **kwargs)
            if self.concurrency > 1:
                from concurrent.futures import ThreadPoolExecutor

                self.pool = ThreadPoolExecutor(self.concurrency, "fanlight-actor")

    def method(self, name: str, args: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
        """The function of a call and its positional arguments."""
        if name == "__ray_call__":
            function, *rest = args
            return function, [self.instance, *rest]
        if name == "__ray_ready__":
            return _true, args
        if name == "__ray_terminate__":
            return _terminate, args
        return getattr(self.instance, name), args

    def end(self) -> None:
        """A graceful end: let the actor clean up."""
        instance, self.instance = self.instance, None
        if instance is None:
            return
        shutdown = getattr(instance, "__ray_shutdown__", None)
        if callable(shutdown):
            try:
                shutdown()
            except Exception:
                sys.excepthook(*sys.exc_info())
        del instance

    # --- where calls run ---------------------------------------------------------------------

    def start_loop(self) -> None:
        import asyncio  # costs a worker 20 ms and 3 MB; most never need it

        loop = asyncio.new_event_loop()
        self.loop = loop

        def run() -> None:
            asyncio.set_event_loop(loop)
            self._slots = asyncio.Semaphore(self.concurrency)
            loop.run_forever()

        threading.Thread(target=run, name="fanlight-loop", daemon=True).start()

    def on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the actor's loop and wait for it."""
        import asyncio

        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def submit_async(self, task: bytes, call: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        """Start ``call(slots)`` on the loop; ``slots`` are what it must acquire to run."""
        import asyncio

        async def tracked() -> None:
            this = asyncio.current_task()
            assert this is not None
            self._running[task] = this
            try:
                await call(self._slots)
            finally:
                del self._running[task]

        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(tracked(), self.loop)

    def cancel(self, task: bytes) -> None:
        """Cancel a call on the loop; others are not interrupted. Any thread may call it."""
        running = self._running.get(task)
        if running is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(running.cancel)


def _true(*_: Any) -> bool:
    return True


def _terminate() -> None:
    raise ActorExitRequest


async def _construct(cls: type, args: Any, kwargs: Any) -> Any:
    return cls(*args, **kwargs)
