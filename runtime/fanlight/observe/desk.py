"""Answers what one browser asks, several questions at a time, over one observer.

A :class:`Desk` belongs to one browser: to a WebSocket of the server extension, or to a comm. It
knows neither. Whoever has it hands it the questions and, while there is one, the observer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from fanlight import messages as m
from fanlight.observe import questions as q
from fanlight.observe.client import AsyncObserver
from fanlight.wire.failures import WireError

ANSWER_TIMEOUT = 5.0  # seconds that a runtime may take
AT_ONCE = 16  # questions of one browser
REFUSALS = 240  # beyond them, that one which does not read may leave waiting
_NO_RUNTIME = "No runtime is attached."
_TOO_MANY = "Too many questions at a time."
_log = logging.getLogger("fanlight")

Send = Callable[[bytes], Awaitable[None]]


class Desk:
    """Takes :class:`questions.Ask` and :class:`questions.Do`, and sends the answers.

    Each question has a task of its own, so that a slow one holds nothing up; who asks more than
    :data:`AT_ONCE` at a time is refused the rest, by one task for all refusals.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._observer: AsyncObserver | None = None
        self._logs: Any = None
        self._objects: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: deque[int] = deque()
        self._refusing: asyncio.Task[None] | None = None

    @property
    def open(self) -> int:
        """Questions that are not answered yet."""
        return len(self._tasks)

    def attach(self, observer: AsyncObserver) -> None:
        """Ask this one from now on; its ``payloads`` must be read."""
        self._observer = observer
        self._logs = self._objects = None

    def detach(self) -> None:
        """There is nobody to ask for the moment; open questions fail with the connection."""
        self._observer = None
        self._logs = self._objects = None

    def take(self, message: q.Ask | q.Do) -> None:
        """Begin to answer. Called from the event loop.

        Raises ValueError for a browser that floods: it is to be served no more.
        """
        loop = asyncio.get_running_loop()
        if len(self._tasks) < AT_ONCE:
            task = loop.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if len(self._refused) >= REFUSALS:
            raise ValueError("questions without end")
        self._refused.append(message.id)
        if self._refusing is None:
            self._refusing = loop.create_task(self._refuse())

    async def close(self) -> None:
        """The browser is gone: end what is open."""
        tasks = [*self._tasks, *filter(None, (self._refusing,))]
        for task in tasks:
            task.cancel()
        if tasks:  # else there may be no loop any more to wait on
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _refuse(self) -> None:
        while self._refused:
            answer = {"type": "answer", "id": self._refused[0], "error": _TOO_MANY}
            await self._say(answer)
            self._refused.popleft()
        self._refusing = None

    async def _answer(self, message: q.Ask | q.Do) -> None:
        answer: dict[str, Any] = {"type": "answer", "id": message.id}
        try:
            answer["data"] = await self._found(message)
        except (OSError, WireError, TimeoutError, Refused) as error:
            answer["error"] = reason(error)
        except Exception as error:  # a fault of ours: told, since who asked waits for an answer
            _log.exception("A question of the panel could not be answered.")
            answer["error"] = f"It could not be answered: {type(error).__name__}: {error}"
        await self._say(answer)

    async def _say(self, answer: dict[str, Any]) -> None:
        payload = msgspec.json.encode(answer)
        with contextlib.suppress(Exception):  # the browser is gone, which its reader notices
            await self._send(payload)

    async def _found(self, message: q.Ask | q.Do) -> Any:
        try:
            if isinstance(message, q.Do):
                return await self.do(q.command_decoder.decode(message.command))
            return await self.ask(q.query_decoder.decode(message.query))
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise Refused(f"Bad question: {error}") from None

    async def ask(self, query: q.Query) -> Any:
        """The answer, as JSON can hold it. Raises Refused, OSError, WireError, TimeoutError."""
        match query:
            case q.QueryObjects():
                facts = self._objects
                if facts is None:
                    from fanlight.observe.objects import ObjectFacts

                    facts = self._objects = ObjectFacts(self._require().welcome)
                found = await self.query("panel_objects", {"limit": max(query.limit, 100)})
                return await asyncio.to_thread(facts.answer, found, query)
            case q.QueryLogs():
                if self._logs is None:
                    from fanlight.observe.logs import Logs

                    self._logs = Logs(self._require().welcome)
                return await self._logs.answer(query, self.query)
            case q.QueryGroupTasks(group=group, limit=int(limit)):
                return await self.query("group_tasks", {"group": group, "limit": limit})
            case q.QueryGroupTasks(group=group, after=after):
                return await self.query("columns", {"group": group, "after": after})
            case q.QueryNeighbours(id=task, radius=radius):
                return await self.query("neighbours", {"id": task, "radius": radius})
            case q.QuerySpans(after=after):
                return await self.query("spans", {"after": after})
            case q.QueryErrors():
                return await self.query("errors", {})
            case q.QueryTask(id=key) | q.QueryWhy(id=key) | q.QueryWorker(id=key):
                what = {q.QueryTask: "task", q.QueryWhy: "why", q.QueryWorker: "worker"}
                return await self.query(what[type(query)], {"id": key})
            case q.QueryActor(id=key):
                return await self.query("actor", {"id": key})

    async def do(self, command: q.Command) -> Any:
        """What came of it, or True. Raises Refused, OSError, WireError, TimeoutError."""
        message: Any
        match command:
            case q.CancelTask(task=task, force=force):
                message = m.Cancel(bytes.fromhex(task), force)
            case q.CancelGroups(groups=groups, force=force):
                return await self._request(lambda n: m.CancelGroups(n, groups, force))
            case q.Scale(cpus=cpus):
                return await self._request(lambda n: m.Scale(n, cpus))
            case q.KillActor(actor=actor):
                message = m.KillActor(bytes.fromhex(actor))
            case q.ShutDown():
                message = m.Shutdown("ended from the panel")
        await self._require().send(message)
        return True

    async def query(self, what: str, args: dict[str, Any]) -> Any:
        """Ask the node. Raises as ``ask`` does."""
        return await self._request(lambda request: m.Query(request, what, args))

    async def _request(self, make: Callable[[int], Any]) -> Any:
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes with the answer.
        async with asyncio.timeout(ANSWER_TIMEOUT):
            reply = await self._require().request(make)
        if reply.error:
            raise Refused(reply.error)
        return msgspec.msgpack.decode(reply.data, strict=False)

    def _require(self) -> AsyncObserver:
        if self._observer is None:
            raise Refused(_NO_RUNTIME)
        return self._observer


class Refused(Exception):
    """There is no answer; the text says why, for people."""


def reason(error: Exception) -> str:
    """What to tell a browser."""
    if isinstance(error, TimeoutError):
        return "The runtime did not answer in time."
    if isinstance(error, Refused):
        return str(error)
    return f"The connection to the runtime was lost: {error}"
