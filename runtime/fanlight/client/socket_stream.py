"""One socket of a process: frames out and in, whatever moment Ctrl-C strikes at.

A :class:`~fanlight.client.link.SocketLink` reads several of them: the node's, and the channels that
lead straight to actors (:mod:`fanlight.client.channels`) or come from their callers.

Bytes go from the kernel into a deque within one C call, and into the kernel within one that also
notes their number; what was sent of a frame is always to be read from those numbers.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fanlight.errors import RuntimeLostError, lost_text
from fanlight.wire import codec
from fanlight.wire.failures import ConnectionLost, WireError
from fanlight.wire.framing import FrameReader

_READ = 1 << 18
_BURST = 64  # calls in a row that are sent one by one, before they are sent together
_BURST_GAP = 0.0002  # seconds between two calls that belong to one burst
_HOLD = 16  # calls held back at most
_DONT_WAIT = (socket.MSG_DONTWAIT,)
_popleft = deque.popleft
_NOTHING: tuple[bytes, list[int]] = (b"", [])


class Lost(ConnectionLost, RuntimeLostError):
    """What sending raises after the end; it may surface in any call, so it is a FanlightError."""

    def __init__(self, reason: str) -> None:
        super().__init__(lost_text(reason))


class SocketStream:
    """Sends and receives messages over a connected socket.

    ``decode`` makes messages of a frame; ``on_message`` is called with each, in order, by whichever
    thread reads; ``on_lost`` once, when the connection has ended. ``unsent`` holds the streams with
    bytes that are still to be sent, and ``wake`` has somebody send them soon. While the peer's
    buffer is full, a sender waits if ``patient()``; else the bytes are kept, and it returns.

    ``late`` takes a frame at any moment, with no lock and in one C call: ``push_soon`` sends it.
    """

    __slots__ = (
        "_burst", "_flight", "_frames", "_inbox", "_last_soon", "_lock", "_out", "_recv", "_send",
        "_wake", "decode", "late", "lost", "on_lost", "on_message", "on_silence", "patient", "sock",
        "stuck", "unsent", "what",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        decode: Callable[[bytes], Sequence[Any]],
        on_message: Callable[[Any], None],
        on_lost: Callable[[str], None],
        unsent: dict[SocketStream, None],
        wake: Callable[[], None],
        *,
        what: str = "runtime's node process",
        patient: Callable[[], bool] = lambda: True,
        early: bytes = b"",
        limit: int | None = None,
    ) -> None:
        self.sock = sock
        self.decode = decode
        self.on_message = on_message
        self.on_lost = on_lost
        self.what = what
        self.patient = patient
        self.lost = ""  # why there is no connection any more
        self.stuck = False  # the peer's buffer is full: the link waits until it is not
        self.unsent = unsent
        self._wake = wake
        self._recv = sock.recv
        self._send = sock.send
        self._frames = FrameReader() if limit is None else FrameReader(limit)
        self._inbox: deque[bytes] = deque([early] if early else [])
        self._out: deque[bytes] = deque()
        self._burst = 0
        self._last_soon = 0.0
        self._flight = _NOTHING  # the frame being sent, and how many bytes each call sent of it
        self._lock = threading.RLock()  # owned already when a finalizer sends within a send
        self.on_silence: Callable[[], None] = lambda: None  # the peer reads nothing
        self.late: deque[bytes] = deque()  # what those sent; it follows the frame under way

    # --- sending -----------------------------------------------------------------------------

    def send(self, messages: Sequence[Any]) -> None:
        """Send messages as one frame. Raises ConnectionLost."""
        data = codec.encode(messages)
        if self._lock._is_owned():  # type: ignore[attr-defined]
            self.late.append(data)
            self.unsent[self] = None
            self._wake()
            return
        with self._lock:
            if self.late:  # nothing overtakes
                self.late.append(data)
                self._push()
            else:
                self._out.append(data)
                self._push_one() if len(self._out) == 1 else self._push()
        if self.stuck:
            self._wait()

    def send_soon(self, message: Any) -> None:
        """Like ``send``, for calls in a loop: in a long burst several go out together.

        The first calls of a burst are sent at once: a driver that then holds the GIL for long must
        not keep its workers waiting. What is held back goes out within milliseconds.
        """
        data = codec.encode((message,))
        now = time.monotonic()
        if self._lock._is_owned():  # type: ignore[attr-defined]
            self.late.append(data)
            self.unsent[self] = None
            self._wake()
            return
        with self._lock:
            self._burst = self._burst + 1 if now - self._last_soon < _BURST_GAP else 0
            self._last_soon = now
            self._out.append(data)
            if self._burst < _BURST:
                self._push_one() if len(self._out) == 1 else self._push()
            elif len(self._out) >= _HOLD:
                self._push()
            else:
                self.unsent[self] = None
                self._wake()
        if self.stuck:
            self._wait()

    def push_soon(self) -> None:
        """Send what was appended to ``late``, as ``send_soon`` would. Raises ConnectionLost."""
        now = time.monotonic()
        if self._lock._is_owned():  # type: ignore[attr-defined]
            self.unsent[self] = None
            self._wake()
            return
        with self._lock:
            self._burst = self._burst + 1 if now - self._last_soon < _BURST_GAP else 0
            self._last_soon = now
            if self._burst < _BURST or len(self.late) >= _HOLD:
                self._push()
            else:
                self.unsent[self] = None
                self._wake()
        if self.stuck:
            self._wait()

    def push(self, wait: bool = True) -> None:
        """Send what was held back; without ``wait`` as much as the peer's buffer has room for."""
        with self._lock:
            self._push()
        if wait and self.stuck:
            self._wait()

    def _wait(self) -> None:
        """Wait until all is sent, if this thread may; without the lock, which others need."""
        while self.stuck and self.patient():
            self._wait_writable()
            with self._lock:
                self._push()

    def _push_one(self) -> None:
        """``_push`` for the usual case: one frame, which the peer's buffer has room for."""
        if self._flight is not _NOTHING or self.late or self.lost:
            self._push()
            return
        self.unsent[self] = None
        data = self._out[0]
        counts: list[int] = []
        fresh: deque[bytes] = deque()
        self._flight, self._out = (data, counts), fresh
        try:
            counts.extend(map(self._send, (data,), _DONT_WAIT))
        except OSError:
            pass
        else:
            if counts[0] == len(data) and not self.late:
                self._flight = _NOTHING
                self.unsent.pop(self, None)
                return
        self._push()

    def _push(self) -> None:
        # An interrupt between any two calls leaves a state from which the next call goes on: the
        # two stores below have none between them.
        unsent = self.unsent
        unsent[self] = None
        while True:
            data, counts = self._flight
            position = sum(counts)
            if position == len(data):
                if self.late:  # moved within one C call
                    self._out.extend(map(_popleft, [self.late] * len(self.late)))
                if not self._out:
                    self._flight = _NOTHING
                    self.stuck = False
                    unsent.pop(self, None)
                    if not self.late:
                        return
                    unsent[self] = None  # it has just come
                    continue
                joined = self._out[0] if len(self._out) == 1 else b"".join(self._out)
                fresh: deque[bytes] = deque()
                counts = []
                self._flight, self._out = (joined, counts), fresh
                continue
            if self.lost:
                self._flight = _NOTHING
                self.stuck = False
                self._out.clear()
                self.late.clear()
                unsent.pop(self, None)
                raise Lost(self.lost)
            rest = memoryview(data)[position:] if position else data
            try:
                counts.extend(map(self._send, (rest,), (socket.MSG_DONTWAIT,)))
            except BlockingIOError:
                self.stuck = True
                self._wake()  # whoever waits may be interrupted
                return
            except OSError as e:
                self.lose(f"the connection to the {self.what} broke: {e.strerror or e}")

    def _wait_writable(self) -> None:
        poll = select.poll()
        try:
            poll.register(self.sock, select.POLLOUT)
        except ValueError:  # closed by another thread
            self.lose("it was closed")
            return
        if not poll.poll(1000):
            self.on_silence()

    # --- receiving ---------------------------------------------------------------------------

    @property
    def unread(self) -> bool:
        """Bytes were received and not handled."""
        return bool(self._inbox)

    def read(self) -> None:
        """Read what is there and handle it. Only with the link's reader lock."""
        inbox = self._inbox
        if self.lost:
            return
        try:
            inbox.extend(map(self._recv, (_READ,), (socket.MSG_DONTWAIT,)))
        except BlockingIOError:
            pass
        except OSError as e:
            self.lose(f"the connection to the {self.what} broke: {e.strerror or e}")
        while inbox:
            data = inbox.popleft()
            if not data:
                self.lose(f"the {self.what} has ended")
                return
            try:
                for frame in self._frames.feed(data):
                    for message in self.decode(frame):
                        try:
                            self.on_message(message)
                        except WireError:
                            raise
                        except Exception:  # a callback's; the next messages are to be handled
                            with contextlib.suppress(Exception):  # stderr may be closed
                                traceback.print_exc()
            except WireError as e:
                self.lose(f"the {self.what} sent what is not the protocol: {e}")

    def trust(self) -> None:
        """The peer proved who it is: frames of any length from now on."""
        self._frames.limit = FrameReader().limit

    def lose(self, reason: str) -> None:
        if not self.lost:
            self.lost = reason
            self.on_lost(reason)

    def ended(self) -> bool:
        """Whether the connection is gone; looks, since nobody may have read its end yet."""
        if not self.lost:
            try:
                if self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                    self.lose(f"the {self.what} has ended")
            except BlockingIOError:
                pass
            except OSError as e:
                self.lose(f"the connection to the {self.what} broke: {e.strerror or e}")
        return bool(self.lost)

    def abandon(self, reason: str) -> None:
        """In a fork: the connection is the parent's, and the lock means nothing here."""
        self.lost = reason
        self._lock = threading.RLock()
        self.sock.close()  # else the peer would not notice when the parent dies
