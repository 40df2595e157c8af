"""What an actor is, inside its process: the instance, and the lanes where its methods run.

A plain actor's methods run in the main thread, like tasks. With ``max_concurrency`` above 1 or with
concurrency groups each group has a pool of threads; with ``async`` methods each has an event loop.
"""

from __future__ import annotations

import gc
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.context import ActorExitRequest, TaskContext
from fanlight.worker.lanes import Lane, LoopLane, ThreadLane

_log = logging.getLogger("fanlight")
_warned = False


class ActorHost:
    """One actor; made by the executor when the constructor is about to run.

    ``run`` and ``run_async`` are the executor's: one call, in a thread or on a loop. ``leave`` is
    called when the actor asked to end and nothing of it runs any more.
    """

    def __init__(
        self,
        execute: m.Execute,
        spec: m.TaskSpec,
        run: Callable[[m.Execute, m.TaskSpec], None],
        run_async: Callable[..., Coroutine[Any, Any, None]],
        leave: Callable[[ActorHost], None],
    ) -> None:
        self.id = execute.actor
        self.instance: Any = None
        self.name = spec.method
        self.namespace = spec.namespace
        self.resources = {k: v / UNITS for k, v in spec.resources.items() if v}
        self.gpus: list[Any] = []  # as the context of its constructor has them
        self.where = spec.where
        self.limits = {"": spec.max_concurrency, **spec.groups}
        self.is_async = False
        self.interruptible = False  # cancelling a call that runs interrupts it, as it does a task
        self.lanes: dict[str, Lane] = {}  # by group; empty: the main thread
        self.leaving = ""  # why it ends as soon as the calls that run have ended
        self._run = run
        self._run_async = run_async
        self._leave = leave
        self._lock = threading.Lock()
        self._inside = 0  # calls in lanes that began or wait for a slot
        self._left = False

    @property
    def plain(self) -> bool:
        """Whether its methods run in the main thread, one after the other."""
        return not self.is_async and len(self.limits) == 1 and self.limits[""] <= 1

    def describe(self, task: TaskContext) -> None:
        """Fill in what a call's context says of its actor."""
        task.actor_id = self.id
        task.actor_name = self.name
        task.namespace = task.namespace or self.namespace
        task.resources = self.resources
        task.gpus = self.gpus
        task.where = self.where

    def repr(self) -> str:
        """The user's repr of the instance, for error texts; never raises."""
        try:
            return repr(self.instance)
        except Exception:
            return object.__repr__(self.instance)

    # --- the instance ------------------------------------------------------------------------

    def construct(self, cls: type, *args: Any, **kwargs: Any) -> None:
        """Make the instance, and the lanes that its class and options ask for.

        A class of ours may set ``__fanlight_interruptible__``: a call of it that is cancelled while
        it runs gets a KeyboardInterrupt, and the actor lives on. Others' calls run to their end.
        """
        self.is_async = any(
            inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f)
            for _, f in inspect.getmembers(cls, callable)
        )
        self.interruptible = self.plain and getattr(cls, "__fanlight_interruptible__", False)
        if self.is_async:
            self.start_lanes()
            self.instance = self.on_loop(_construct(cls, args, kwargs))
        else:
            self.instance = cls(*args, **kwargs)
            if not self.plain:
                self.start_lanes()

    def start_lanes(self) -> None:
        for group, limit in self.limits.items():
            if self.is_async:
                self.lanes[group] = LoopLane(limit, group, self, self._run_async)
            else:
                self.lanes[group] = ThreadLane(limit, group, self, self._run)

    def lane(self, group: str) -> Lane | None:
        """Where calls of a group run; None for the main thread. Unknown groups are checked by
        whoever calls; a handle that is older than its actor's groups has the default."""
        return self.lanes.get(group) or self.lanes.get("")

    def on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the default group's loop and wait for it."""
        lane = self.lanes[""]
        assert isinstance(lane, LoopLane)
        return lane.wait_for(coroutine)

    def method(self, name: str, args: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
        """The function of a call and its positional arguments."""
        if name == "__ray_call__":
            function, *rest = args
            return function, [self.instance, *rest]
        if name == "__ray_ready__":
            return _true, args
        if name == "__ray_terminate__":
            return _terminate, args
        instance = self.instance
        if name in getattr(instance, "__dict__", ()):  # an attribute that hides the method
            cls = type(instance)
            return inspect.getattr_static(cls, name).__get__(instance, cls), args
        return getattr(instance, name), args

    def cancel(self, task: bytes) -> None:
        """Cancel a call on a loop; others are not interrupted. Any thread may call it."""
        for lane in self.lanes.values():
            lane.cancel(task)

    # --- its end -----------------------------------------------------------------------------

    def begins(self) -> bool:
        """A call in a lane is about to start; False when the actor ends and it must not."""
        return not self.leaving

    def enters(self) -> None:
        """A lane takes up a call."""
        with self._lock:
            self._inside += 1

    def left(self) -> None:
        """A call is over, its frames are gone. When the actor wants to end, the last one ends it:
        so ``__del__`` finds nobody who still holds the instance."""
        with self._lock:
            self._inside -= 1
            if not self.leaving or self._inside or self._left:
                return
            self._left = True
        self._leave(self)

    def end(self) -> None:
        """A graceful end: ``__ray_shutdown__``, then ``__del__`` as the last reference goes."""
        instance, self.instance = self.instance, None
        if instance is None:
            return
        shutdown = getattr(instance, "__ray_shutdown__", None)
        if callable(shutdown):
            try:
                result = shutdown()
                if inspect.iscoroutine(result) and self.is_async:
                    self.on_loop(result)
                del result
            except Exception:
                sys.excepthook(*sys.exc_info())
        del shutdown, instance
        gc.collect()  # it may be part of a cycle


def warn_if_on_loop() -> None:
    """Called when a thread is about to wait in ``get``: on a loop, everything stands still."""
    global _warned
    asyncio = sys.modules.get("asyncio")
    if not _warned and asyncio is not None and asyncio._get_running_loop() is not None:
        _warned = True
        _log.warning(
            "A method of an async actor waits in get() or wait(): no other call of its group can "
            "go on meanwhile. Use `await ref` instead. (Said once for each actor.)"
        )


def _true(*_: Any) -> bool:
    return True


def _terminate() -> None:
    raise ActorExitRequest


async def _construct(cls: type, args: Any, kwargs: Any) -> Any:
    initialize: Any = inspect.getattr_static(cls, "__init__")
    if not inspect.iscoroutinefunction(initialize):
        return cls(*args, **kwargs)
    instance = cls.__new__(cls, *args, **kwargs)
    await initialize(instance, *args, **kwargs)
    return instance
