"""Observer connections: attach to a runtime and read its events."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import codec, failures, peers
from fanlight.wire.framing import FrameReader

WELCOME_SECONDS = 30.0  # for a node to greet who observes without a time-out


def _hello(info: ConnectionInfo) -> bytes:
    return codec.encode(
        [m.Hello(m.PROTOCOL_VERSION, info.token, "observer", os.getpid(), ids.new_client_id())]
    )


def _check_welcome(payload: bytes) -> m.Welcome:
    (answer,) = codec.decode_handshake(payload)
    if isinstance(answer, m.Welcome):
        return answer
    raise failures.HandshakeRefused(getattr(answer, "reason", "unexpected answer"))


class AsyncObserver:
    """An observer on asyncio: ``async for payload in observer.payloads()`` gives JSON events.

    ``payloads`` ends when the runtime closes the connection. ``send`` takes the messages that an
    observer may send: those that this package has. ``query`` may be asked several times at once.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._early: list[bytes] = []
        self.welcome: dict[str, Any] = {}  # what the node says of itself, folders among it
        self._requests = 0
        self._replies: dict[int, asyncio.Future[m.Reply]] = {}

    @classmethod
    async def attach(cls, info: ConnectionInfo) -> AsyncObserver:
        """Connect and shake hands. Raises OSError or HandshakeRefused."""
        reader, writer = await asyncio.open_unix_connection(info.socket)
        self = cls(reader, writer)
        try:
            peers.check(writer.get_extra_info("socket"))
            writer.write(_hello(info))
            await writer.drain()
            frames: list[bytes] = []
            while not frames:
                data = await reader.read(1 << 16)
                if not data:
                    raise failures.ConnectionLost("the runtime closed the connection")
                frames = self._frames.feed(data)
            self.welcome = _check_welcome(frames[0]).info
            self._early = frames[1:]
        except BaseException:
            writer.close()
            raise
        return self

    async def payloads(self) -> AsyncIterator[bytes]:
        """JSON events, as the node encoded them, until the connection ends."""
        frames = self._early
        self._early = []
        while True:
            for frame in frames:
                for message in codec.decode_from_node(frame):
                    if isinstance(message, m.Events):
                        yield message.payload
                    elif isinstance(message, m.Reply):
                        waiter = self._replies.pop(message.request, None)
                        if waiter is not None and not waiter.done():
                            waiter.set_result(message)
            try:
                data = await self._reader.read(1 << 20)
            except (ConnectionError, OSError):
                data = b""
            if not data:
                self._fail_replies()
                return
            frames = self._frames.feed(data)

    async def send(self, message: Any) -> None:
        self._writer.write(codec.encode([message]))
        await self._writer.drain()

    async def query(self, what: str, args: dict[str, Any] | None = None) -> m.Reply:
        """Ask the node; needs ``payloads`` to be running. See fanlight.core.queries for names."""
        return await self.request(lambda request: m.Query(request, what, args or {}))

    async def request(self, make: Callable[[int], Any]) -> m.Reply:
        """Send ``make(request number)``, a message that is answered; needs ``payloads``, too."""
        self._requests += 1
        request = self._requests
        reply = self._replies[request] = asyncio.get_running_loop().create_future()
        try:
            await self.send(make(request))
            return await reply
        finally:  # who asked may have given up
            self._replies.pop(request, None)

    def close(self) -> None:
        """Disconnect; questions that are open fail with ConnectionLost."""
        self._fail_replies()
        self._writer.close()

    def _fail_replies(self) -> None:
        for waiter in self._replies.values():
            if not waiter.done():
                waiter.set_exception(failures.ConnectionLost("it was closed"))


class Observer:
    """A blocking observer, for scripts, tests and threads."""

    def __init__(self, info: ConnectionInfo, timeout: float | None = None) -> None:
        """``timeout``: seconds that anything may take; None: events, as long as they like.

        Raises OSError (TimeoutError for a node that is stopped) or HandshakeRefused.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._frames = FrameReader()
        self._queue: list[bytes] = []
        try:
            self._socket.settimeout(WELCOME_SECONDS if timeout is None else timeout)
            self._socket.connect(info.socket)
            peers.check(self._socket)
            self._socket.sendall(_hello(info))
            self.welcome = _check_welcome(self._next_frame()).info
            self._socket.settimeout(timeout)
        except BaseException:
            self._socket.close()
            raise

    def _next_frame(self) -> bytes:
        while not self._queue:
            data = self._socket.recv(1 << 20)
            if not data:
                raise failures.ConnectionLost("the runtime closed the connection")
            self._queue = self._frames.feed(data)
        return self._queue.pop(0)

    def items(self) -> Iterator[bytes | m.Reply]:
        """JSON events, and answers to what was sent as Query, until the runtime ends or ``close``."""
        while True:
            try:
                frame = self._next_frame()
            except (failures.ConnectionLost, OSError):
                return
            for message in codec.decode_from_node(frame):
                if isinstance(message, m.Events):
                    yield message.payload
                elif isinstance(message, m.Reply):
                    yield message

    def payloads(self) -> Iterator[bytes]:
        """JSON events until the runtime ends or ``close`` is called."""
        return (item for item in self.items() if isinstance(item, bytes))

    def send(self, message: Any) -> None:
        self._socket.sendall(codec.encode([message]))

    def query(self, what: str, args: dict[str, Any] | None = None) -> Any:
        """Ask the node and wait for its answer; events that come meanwhile are left out.

        Raises LookupError with the node's sentence, OSError (TimeoutError) or ConnectionLost.
        """
        self.send(m.Query(1, what, args or {}))
        while True:
            for message in codec.decode_from_node(self._next_frame()):
                if isinstance(message, m.Reply):
                    if message.error:
                        raise LookupError(message.error)
                    return msgspec.msgpack.decode(message.data)

    def close(self) -> None:
        """End ``payloads`` in whatever thread runs it, and disconnect."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
