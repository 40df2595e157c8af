"""Where an actor's methods run when it is not the main thread: one lane for each concurrency group.

A lane starts calls in the order in which it gets them, at most ``limit`` at a time. The thread that
gives it calls never waits, so a full lane holds no other one up.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from fanlight import messages as m
from fanlight.worker import last_words

if TYPE_CHECKING:
    import asyncio


class Host(Protocol):
    """Told of the calls that a lane takes up, and of those that are over."""

    def enters(self) -> None: ...
    def left(self) -> None: ...


class Lane(Protocol):
    """What the executor knows of a group."""

    def submit(self, execute: m.Execute, spec: m.TaskSpec) -> None: ...
    def cancel(self, task: bytes) -> None: ...


class ThreadLane:
    """A pool of threads; ``run`` is called in one of them for each call."""

    def __init__(
        self, limit: int, group: str, host: Host, run: Callable[[m.Execute, m.TaskSpec], None]
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._host = host
        self._pool = ThreadPoolExecutor(limit, f"fanlight-{group or 'actor'}")
        self._run = run

    def submit(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        self._pool.submit(self._call, execute, spec)

    def _call(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        self._host.enters()
        try:
            self._run(execute, spec)
        except BaseException as e:  # its own errors are its result; this one is of its report
            _end_process(e, "reporting a call failed")
        finally:
            self._host.left()

    def cancel(self, task: bytes) -> None:
        """A thread is not interrupted; a call that waits is skipped by ``run``."""


class LoopLane:
    """An event loop in a thread of its own; ``run(execute, spec, slots)`` is a call's coroutine.

    The coroutine takes one of the ``slots`` while the method runs. The thread lasts as long as the
    process: what would end the loop ends the process, with a message.
    """

    def __init__(
        self,
        limit: int,
        group: str,
        host: Host,
        run: Callable[[m.Execute, m.TaskSpec, asyncio.Semaphore], Coroutine[Any, Any, None]],
    ) -> None:
        import asyncio  # costs a worker 20 ms and 3 MB; most never need it

        self._host = host
        self.loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(limit)
        self._run = run
        self._calls: dict[bytes, asyncio.Task[None]] = {}
        name = f"fanlight-loop-{group}" if group else "fanlight-loop"
        threading.Thread(target=self._thread, name=name, daemon=True).start()

    def _thread(self) -> None:
        import asyncio

        asyncio.set_event_loop(self.loop)
        while True:
            try:
                self.loop.run_forever()
                print("The actor's event loop was stopped; it goes on.", file=sys.stderr)
            except BaseException as e:
                # Not of a call (those are caught): of a callback or a task that the user made.
                _end_process(e, "the event loop of the actor was ended")

    def submit(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        self.loop.call_soon_threadsafe(self._start, execute, spec)

    def _start(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        self.loop.create_task(self._call(execute, spec)).add_done_callback(_log_failure)

    async def _call(self, execute: m.Execute, spec: m.TaskSpec) -> None:
        import asyncio

        # Not before it runs: a coroutine that is cancelled earlier would never report.
        self._calls[execute.task] = asyncio.current_task()  # type: ignore[assignment]
        self._host.enters()
        try:
            await self._run(execute, spec, self._slots)
        finally:
            del self._calls[execute.task]
            self._host.left()

    def cancel(self, task: bytes) -> None:
        """Cancel a call that waits or runs. Any thread may call it."""
        with contextlib.suppress(RuntimeError):  # the user closed the loop
            self.loop.call_soon_threadsafe(self._cancel, task)

    def _cancel(self, task: bytes) -> None:
        call = self._calls.get(task)
        if call is not None:
            call.cancel()

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop and wait for it, in another thread."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()


def _log_failure(call: asyncio.Task[None]) -> None:
    """A call's own errors are its result; this one is of its report: nobody would answer."""
    if not call.cancelled() and (error := call.exception()) is not None:
        _end_process(error, "reporting a call failed")


def _end_process(error: BaseException, what: str) -> None:
    """An error ended a thread that later calls need, or a call that somebody waits for was not
    answered: better no actor than a dumb one."""
    code = error.code if isinstance(error, SystemExit) else 1
    try:
        with contextlib.suppress(Exception):
            text = f"{type(error).__name__}: {what}; the process of the actor ends."
            last_words.say(text)
            traceback.print_exception(error)
            print(text, file=sys.stderr)
            sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) and code else 1)
