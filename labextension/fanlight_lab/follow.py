"""One browser's view: finds the runtime it follows, attaches, and passes the events on.

A :class:`Follower` belongs to one WebSocket. All its sending happens in one task, so that what the
browser sees is in order. A browser that reads too slowly does not hold the runtime back: what waits
for it is bounded, and beyond the bound the follower detaches and attaches again, which gives the
browser a new snapshot in place of everything it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from fanlight.observe import WireError
from fanlight.observe.client import AsyncObserver
from fanlight.observe.desk import Desk
from fanlight.observe.discover import ConnectionInfo
from fanlight_lab.messages import (
    MESSAGE_LIMIT,
    Ask,
    Do,
    Follow,
    Pause,
    Resume,
    SocketMessage,
    socket_decoder,
)
from fanlight_lab.watch import RuntimeWatcher, public

QUEUE_LIMIT = 64  # events that wait for a slow browser
QUEUE_BYTES = 16 << 20
ATTACH_TIMEOUT = 5.0  # seconds
RETRY = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts on a runtime that does not answer

Send = Callable[[bytes], Awaitable[None]]


class _Feed:
    """Events read from the runtime that wait to be sent to the browser."""

    def __init__(self, observer: AsyncObserver, wake: asyncio.Event) -> None:
        self.waiting: deque[bytes] = deque()
        self.overflow = False
        self.closed = False
        self._size = 0
        self._observer = observer
        self._wake = wake
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            async for payload in self._observer.payloads():
                self.waiting.append(payload)
                self._size += len(payload)
                # A single event may be larger than the bound: there is no smaller way to say it.
                if len(self.waiting) > 1 and (
                    len(self.waiting) > QUEUE_LIMIT or self._size > QUEUE_BYTES
                ):
                    self.overflow = True
                    self.waiting.clear()
                    break
                self._wake.set()
        except (WireError, OSError):
            pass  # the same as an end: the follower looks what became of the runtime
        finally:
            self.closed = True
            self._wake.set()

    def next(self) -> bytes:
        payload = self.waiting.popleft()
        self._size -= len(payload)
        return payload

    async def close(self) -> None:
        self._observer.close()
        self._task.cancel()
        # Not `await self._task`: its end by cancellation could not be told from the follower's own,
        # which comes when the browser goes while this waits.
        await asyncio.wait((self._task,))


class Follower:
    """Made by the WebSocket's handler, which then runs :meth:`run` until the socket closes.

    It knows nothing of the socket: ``send`` takes what goes to the browser, and :meth:`receive` what
    comes from there. Questions are answered beside the events, by a :class:`Desk`.
    """

    def __init__(self, watcher: RuntimeWatcher, send: Send) -> None:
        self._watcher = watcher
        self._send = send
        self.desk = Desk(send)
        self._wake = asyncio.Event()
        self._target = Follow()
        self._paused = False
        self._told: list[dict[str, Any]] | None = None  # the list of runtimes the browser knows
        self._status: dict[str, Any] = {}
        self._ended: dict[str, str] = {}  # runtime id -> why it ended
        self._failures = 0
        self._broken: ConnectionInfo | None = None  # its connection ended, and it said nothing

    def receive(self, text: str | bytes) -> None:
        """Take what a browser sent. Raises ValueError for what none of ours says."""
        try:
            if len(text) > MESSAGE_LIMIT:
                raise ValueError("too long")
            # As bytes: the part of a question that is decoded later refers to them.
            message = socket_decoder.decode(text.encode() if isinstance(text, str) else text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise ValueError(str(error)) from None
        self.handle(message)

    def handle(self, message: SocketMessage) -> None:
        """Take a message of the browser; called from the event loop."""
        match message:
            case Follow():
                if message != self._target:
                    self._target = message
                    self._failures = 0
            case Pause():
                self._paused = True
            case Resume():
                self._paused = False
            case Ask() | Do():
                self.desk.take(message)
                return
        self._wake.set()

    async def run(self) -> None:
        """Serve the browser until cancelled or until sending fails."""
        try:
            while True:
                if self._paused:
                    self._watcher.remove(self._wake.set)
                    self._status = {}
                    await self._pause()
                    continue
                self._watcher.add(self._wake.set)
                await self._tell_runtimes()
                info = self._find()
                if info is None:
                    await self._tell_death()
                    await self._tell_status("none", reason=self._why_none())
                    await self._pause()
                else:
                    await self._attach(info)
        finally:
            self._watcher.remove(self._wake.set)
            await self.desk.close()

    def _find(self) -> ConnectionInfo | None:
        """The runtime to show; with a kernel, the newest that it is attached to."""
        target = self._target
        for info in self._watcher.runtimes:
            if info.runtime_id in self._ended:
                continue
            if target.runtime_id is not None:
                if info.runtime_id == target.runtime_id:
                    return info
            elif target.kernel_id is not None and target.kernel_id in info.kernel_ids:
                return info
        return None

    def _why_none(self) -> str:
        target = self._target
        if target.runtime_id is not None:
            return self._ended.get(target.runtime_id, "This runtime does not exist any more.")
        if target.kernel_id is not None:
            return "This kernel has not started Fanlight."
        return "No notebook is open."

    async def _tell_death(self) -> None:
        """A runtime whose connection broke is gone: it did not end in order."""
        info, self._broken = self._broken, None
        if info is None or not self._is_target(info):
            return
        reason = f"The runtime's node process (pid {info.pid}) died."
        self._ended[info.runtime_id] = reason
        await self._send(msgspec.json.encode({"type": "ended", "reason": reason}))

    async def _pause(self, timeout: float | None = None) -> None:
        """Wait until something happens: a message, a change of the runtimes, an event."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()

    async def _attach(self, info: ConnectionInfo) -> None:
        if not self._failures:
            await self._tell_status("connecting", info.runtime_id)
        try:
            # Not `wait_for`: in Python 3.11 it loses a cancellation that comes with the answer.
            async with asyncio.timeout(ATTACH_TIMEOUT):
                observer = await AsyncObserver.attach(info)
        except (OSError, WireError, TimeoutError) as error:
            self._watcher.refresh()  # it may just be gone
            delay = RETRY[min(self._failures, len(RETRY) - 1)]
            self._failures += 1
            reason = str(error) or "The runtime does not answer."
            await self._tell_status("lost", info.runtime_id, reason)
            await self._pause(delay)
            return
        feed = _Feed(observer, self._wake)
        self.desk.attach(observer)
        try:
            await self._stream(info, feed)
        finally:
            self.desk.detach()
            await feed.close()

    async def _stream(self, info: ConnectionInfo, feed: _Feed) -> None:
        """Pass events on until the target changes or the runtime's connection ends."""
        while True:
            await self._pause()
            if self._paused:
                return
            await self._tell_runtimes()
            target = self._find()
            if target is None or target.runtime_id != info.runtime_id:
                # A connection file may vanish just before the last event, which is worth having.
                if not self._is_target(info):
                    return
                if target is not None:
                    return
            if self._status.get("state") == "live":
                await self._tell_status("live", info.runtime_id)  # if it is another target's, too
            while feed.waiting:
                payload = feed.next()
                if self._status.get("state") != "live":
                    self._failures = 0
                    self._broken = None
                    await self._tell_status("live", info.runtime_id)
                await self._send(payload)
                if payload.startswith(b'{"type":"ended"'):
                    self._ended[info.runtime_id] = _reason(payload)
                    self._watcher.refresh()
                    return
            if feed.overflow:
                return  # attach again at once: a snapshot replaces what was dropped
            if feed.closed:
                self._broken = info
                self._watcher.refresh()
                await self._tell_status("lost", info.runtime_id, "The connection was lost.")
                self._failures += 1
                await self._pause(RETRY[min(self._failures, len(RETRY)) - 1])
                return

    def _is_target(self, info: ConnectionInfo) -> bool:
        if self._target.runtime_id is not None:
            return info.runtime_id == self._target.runtime_id
        return self._target.kernel_id is not None and self._target.kernel_id in info.kernel_ids

    async def _tell_runtimes(self) -> None:
        runtimes = [public(info) for info in self._watcher.runtimes]
        if runtimes != self._told:
            self._told = runtimes
            await self._send(msgspec.json.encode({"type": "runtimes", "runtimes": runtimes}))

    async def _tell_status(self, state: str, runtime_id: str = "", reason: str = "") -> None:
        status = {"type": "status", "state": state, "reason": reason, "runtime_id": runtime_id}
        # A browser that follows something else by now must not take it for that one's.
        status["target"] = self._target.runtime_id or self._target.kernel_id or ""
        if status != self._status:
            self._status = status
            await self._send(msgspec.json.encode(status))


class _Ended(msgspec.Struct, tag="ended", tag_field="type"):
    reason: str = ""


def _reason(payload: bytes) -> str:
    try:
        return msgspec.json.decode(payload, type=_Ended).reason or "The runtime ended."
    except msgspec.DecodeError:
        return "The runtime ended."
