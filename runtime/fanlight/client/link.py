"""The client's end of the connection to the node: a unix socket that whoever waits reads itself.

A thread that blocks in ``wait`` becomes the reader, and handles messages in place: no hand-over
between threads stands between a result and its ``get``. Other threads that wait meanwhile follow
it. A background thread reads while nobody waits.

Ctrl-C may strike between any two byte codes of the main thread. So that no message is lost or cut,

* SIGINT is held back while messages are handled, and let through while the thread sleeps;
* bytes go from the kernel into a deque within one C call, and into the kernel within one that also
  notes their number; what was sent of a frame is always to be read from those numbers.
"""

from __future__ import annotations

import _signal  # what signal wraps in enums, at a cost of 10 us for each wait
import contextlib
import os
import select
import signal
import socket
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fanlight.errors import RuntimeLostError
from fanlight.wire import codec
from fanlight.wire.failures import ConnectionLost, WireError
from fanlight.wire.framing import FrameReader

_READ = 1 << 18
_BURST = 64  # calls in a row that are sent one by one, before they are sent together
_BURST_GAP = 0.0002  # seconds between two calls that belong to one burst
_HOLD = 16  # calls held back at most
_HOLD_SECONDS = 0.002
_SLICE = 500.0  # milliseconds
_NAP = 0.02  # how long the background reader leaves the socket to threads that wait
_MAIN = threading.main_thread().ident
_NOTHING: tuple[bytes, list[int]] = (b"", [])
_links: weakref.WeakSet[SocketLink] = weakref.WeakSet()


class _Lost(ConnectionLost, RuntimeLostError):
    """What sending raises after the end; it may surface in any call, so it is a FanlightError."""


class SocketLink:
    """Sends and receives messages over a connected, handshaken socket.

    ``on_message`` is called with each message, in order, by whichever thread reads.
    ``on_idle`` is called by the background thread after it read or was woken.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Any], None],
        on_lost: Callable[[str], None],
        on_idle: Callable[[], None],
        early: bytes = b"",
    ) -> None:
        self._socket = sock
        self._recv = sock.recv
        self._send = sock.send
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_idle = on_idle
        self._frames = FrameReader()
        self._inbox: deque[bytes] = deque([early] if early else [])
        self._out: deque[bytes] = deque()
        self._burst = 0
        self._last_soon = 0.0
        self._flight = _NOTHING  # the frame being sent, and how many bytes each call sent of it
        self._send_lock = threading.RLock()  # owned already when a finalizer sends within a send
        self._late: deque[bytes] = deque()  # what those sent; it follows the frame under way
        self._reader = threading.Lock()
        self._reads = 0  # the thread that holds it
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._followers = 0
        self._progress = threading.Condition()
        self._last_wait = 0.0
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)
        os.set_blocking(self._wake_r, False)
        self._woken = False
        self._prompt = 0  # how many callers need the background reader to be prompt
        self.lost = ""  # why there is no connection any more
        self._closing = False
        # For SIGINT handlers: asleep, so raising is safe; and a signal that came meanwhile.
        self.polling = False
        self.interrupted = False
        # A process with a SIGINT handler of its own (a worker) names it here; the handler then
        # only notes the signal while `inside` is true and `polling` is not.
        self.own_handler: Callable[[int, Any], Any] | None = None
        self.inside = False
        self._thread: threading.Thread | None = None
        _links.add(self)

    # --- sending -----------------------------------------------------------------------------

    def send(self, messages: Sequence[Any]) -> None:
        """Send messages as one frame. Raises ConnectionLost."""
        data = codec.encode(messages)
        if self._send_lock._is_owned():  # type: ignore[attr-defined]
            self._late.append(data)
            self.wake()
            return
        with self._send_lock:
            self._out.append(data)
            self._push()

    def send_soon(self, message: Any) -> None:
        """Like ``send``, for calls in a loop: in a long burst several go out together.

        The first calls of a burst are sent at once: a driver that then holds the GIL for long must
        not keep its workers waiting. What is held back goes out within milliseconds.
        """
        data = codec.encode((message,))
        now = time.monotonic()
        if self._send_lock._is_owned():  # type: ignore[attr-defined]
            self._late.append(data)
            self.wake()
            return
        with self._send_lock:
            self._burst = self._burst + 1 if now - self._last_soon < _BURST_GAP else 0
            self._last_soon = now
            self._out.append(data)
            if self._burst < _BURST or len(self._out) >= _HOLD:
                self._push()
            else:
                self.wake()

    def push(self) -> None:
        """Send what was held back."""
        with self._send_lock:
            self._push()

    def _push(self) -> None:
        # An interrupt between any two calls leaves a state from which the next call goes on: the
        # two stores below have none between them.
        while True:
            data, counts = self._flight
            position = sum(counts)
            if position == len(data):
                while self._late:
                    self._out.append(self._late.popleft())
                if not self._out:
                    self._flight = _NOTHING
                    return
                joined = self._out[0] if len(self._out) == 1 else b"".join(self._out)
                fresh: deque[bytes] = deque()
                counts = []
                self._flight, self._out = (joined, counts), fresh
                continue
            if self.lost:
                self._flight = _NOTHING
                self._out.clear()
                raise _Lost(self.lost)
            rest = memoryview(data)[position:] if position else data
            try:
                counts.extend(map(self._send, (rest,), (socket.MSG_DONTWAIT,)))
            except BlockingIOError:
                self._wait_writable()
            except OSError as e:
                self._lose(f"the connection to the runtime broke: {e.strerror or e}")

    def _wait_writable(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        poll.poll(1000)

    # --- receiving ---------------------------------------------------------------------------

    def wait(self, done: Callable[[], Any], timeout: float | None = None) -> bool:
        """Block until ``done()`` is true; False after ``timeout`` seconds.

        Raises ConnectionLost when the connection ends first.
        """
        if done():
            return True
        if self._out or self._late or self._flight is not _NOTHING:  # held back, or interrupted
            self.push()
        if threading.get_ident() == _MAIN:
            handler = _signal.getsignal(signal.SIGINT)
            if self.own_handler is not None and handler == self.own_handler:
                return self._wait_noting(done, timeout)
            if callable(handler):
                return self._wait_guarded(done, timeout, handler)
        return self._wait(done, timeout)

    def _wait_noting(self, done: Callable[[], Any], timeout: float | None) -> bool:
        self.inside = True
        try:
            result = self._wait(done, timeout)
        finally:
            self.inside = False
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        return result

    def _wait_guarded(
        self, done: Callable[[], Any], timeout: float | None, handler: Callable[..., Any]
    ) -> bool:
        def on_sigint(number: int, frame: Any) -> None:
            if self.polling:
                self.polling = False
                handler(number, frame)
                self.polling = True  # it did not raise: we sleep on
            else:
                self.interrupted = True

        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.interrupted = noted = False
            _signal.signal(signal.SIGINT, on_sigint)
            try:
                result = self._wait(done, timeout)
            finally:
                _signal.signal(signal.SIGINT, handler)
                if self.interrupted:
                    self.interrupted, noted = False, True
                    handler(signal.SIGINT, None)
            if result or not noted:
                return result
            # A handler that did not raise (the first of asyncio.run does not): wait on.
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())

    def _wait(self, done: Callable[[], Any], timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        main = threading.get_ident() == _MAIN
        while True:
            if self._reader.acquire(blocking=False):
                self._reads = threading.get_ident()
                try:
                    while not done():
                        if self.lost:
                            raise _Lost(self.lost)
                        if main and self.interrupted:
                            return False  # our caller raises
                        if not self._inbox and not self._sleep(deadline, main):
                            return bool(done())
                        self._read()
                        if self._followers:
                            self._tell_followers()
                    return True
                finally:
                    self._last_wait = time.monotonic()
                    self._reads = 0
                    self._reader.release()
                    if self._followers:
                        self._tell_followers()
            if self._reads == threading.get_ident():
                raise RuntimeError(
                    "This waits for the runtime in a callback of the thread that reads from it "
                    "(an output listener, or a future's callback), and would wait for ever."
                )
            # Another thread reads: sleep until it made progress, then look again.
            with self._progress:
                self._followers += 1
                try:
                    if not done() and self._reader.locked():
                        left = 0.05 if deadline is None else deadline - time.monotonic()
                        # SIGINT is only noted here: a Condition does not stand being interrupted.
                        self._progress.wait(max(0.0, min(left, 0.05)))
                finally:
                    self._followers -= 1
            if done():
                return True
            if main and self.interrupted:
                return False
            if deadline is not None and time.monotonic() >= deadline:
                return bool(done())

    def _sleep(self, deadline: float | None, main: bool) -> bool:
        """Wait for bytes; False when the time is up. May return early."""
        if deadline is None:
            milliseconds = None
        else:
            milliseconds = max(0.0, deadline - time.monotonic()) * 1000
        if main:
            # In slices: a signal that strikes just before the system call does not end it.
            milliseconds = _SLICE if milliseconds is None else min(milliseconds, _SLICE)
            self.polling = True
            if self.interrupted:  # just before: it was only noted
                self.polling = False
                return True
        ready = self._poll.poll(milliseconds)
        if main:
            self.polling = False
            if not ready:
                return deadline is None or time.monotonic() < deadline
        return bool(ready)

    def _tell_followers(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _read(self) -> None:
        """Read what is there and handle it. Only with the reader lock."""
        inbox = self._inbox
        try:
            inbox.extend(map(self._recv, (_READ,), (socket.MSG_DONTWAIT,)))
        except BlockingIOError:
            pass
        except OSError as e:
            self._lose(f"the connection to the runtime broke: {e.strerror or e}")
        while inbox:
            data = inbox.popleft()
            if not data:
                self._lose("the runtime's node process has ended")
                return
            try:
                for frame in self._frames.feed(data):
                    for message in codec.decode_from_node(frame):
                        try:
                            self._on_message(message)
                        except WireError:
                            raise
                        except Exception:  # a callback's; the next messages are to be handled
                            with contextlib.suppress(Exception):  # stderr may be closed
                                traceback.print_exc()
            except WireError as e:
                self._lose(f"the runtime sent what is not the protocol: {e}")

    def _lose(self, reason: str) -> None:
        if not self.lost:
            self.lost = reason
            self._on_lost(reason)
            self._tell_followers()

    # --- the background reader ---------------------------------------------------------------

    def start(self) -> None:
        """Start the background reader."""
        self._thread = threading.Thread(target=self._background, name="fanlight-io", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have ``on_idle`` called soon. Safe in finalizers."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):
                os.write(self._wake_w, b"x")

    def prompt(self, on: bool) -> None:
        """Somebody needs messages handled at once though nobody waits (callbacks, asyncio)."""
        self._prompt += 1 if on else -1
        if on:
            self.wake()

    def ended(self) -> bool:
        """Whether the connection is gone; looks, since nobody may have read its end yet."""
        if not self.lost:
            try:
                if self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                    self._lose("the runtime's node process has ended")
            except BlockingIOError:
                pass
            except OSError as e:
                self._lose(f"the connection to the runtime broke: {e.strerror or e}")
        return bool(self.lost)

    def settle(self, done: Callable[[], Any]) -> None:
        """Nothing to do: the node works by itself."""

    def _background(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake_r, select.POLLIN)
        while not self._closing and not self.lost:
            ready = {fd for fd, _ in poll.poll()}
            if self._out:  # held back by send_soon
                time.sleep(_HOLD_SECONDS)
            elif not self._prompt and time.monotonic() - self._last_wait < _NAP:
                time.sleep(_NAP)
            if self._wake_r in ready:
                with contextlib.suppress(OSError):
                    os.read(self._wake_r, 512)
                if not (self._prompt or self._out or self._late):
                    time.sleep(_NAP)  # let more come together
                self._woken = False
            if self._out or self._late:
                with contextlib.suppress(WireError):
                    self.push()
            if self._reader.acquire(blocking=False):
                self._reads = threading.get_ident()
                try:
                    if self._socket.fileno() in ready:
                        self._read()
                finally:
                    self._reads = 0
                    self._reader.release()
                    if self._followers:
                        self._tell_followers()
            else:
                time.sleep(_NAP)
            try:
                self._on_idle()
            except WireError:
                break
        self._tell_followers()

    def _abandon(self) -> None:
        """In a fork of this process: the connection is the parent's, and its locks mean nothing."""
        self.lost = "this process is a fork of the one that is connected to the runtime"
        self._send_lock, self._reader = threading.RLock(), threading.Lock()
        self._progress = threading.Condition()
        self._thread = None
        self._socket.close()  # else the node would not notice when the parent dies
        for fd in (self._wake_r, self._wake_w):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._wake_r = self._wake_w = -1

    def close(self) -> None:
        """Disconnect and end the background thread."""
        self._closing = True
        if not self.lost:
            self.lost = "the runtime was shut down"
        with contextlib.suppress(OSError):
            os.write(self._wake_w, b"x")
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._socket.close()
        if (thread is None or not thread.is_alive()) and self._wake_r >= 0:
            os.close(self._wake_r)
            os.close(self._wake_w)
            self._wake_w = self._wake_r = -1


def _after_fork() -> None:
    for link in list(_links):
        link._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
