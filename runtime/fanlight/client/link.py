"""How a process waits for what it is sent: by the node, and over channels straight to actors.

A thread that blocks in ``wait`` becomes the reader, and handles messages in place: no hand-over
between threads stands between a result and its ``get``. Other threads that wait meanwhile follow
it. A background thread reads while nobody waits.

Ctrl-C may strike between any two byte codes of the main thread. So that no message is lost or cut,
SIGINT is held back while messages are handled, and let through while the thread sleeps; for the
bytes themselves see :mod:`fanlight.client.socket_stream`.
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
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from fanlight.client.socket_stream import Lost, SocketStream
from fanlight.wire import codec
from fanlight.wire.failures import WireError

_HOLD_SECONDS = 0.002
_SLICE = 500.0  # milliseconds
_LONG_SLICE = 2000.0  # of threads that no signal interrupts
_NAP = 0.02  # how long the background reader leaves the sockets to threads that wait
_BRIEF_NAP = 0.005  # the same while somebody needs it to be prompt
_BOTH = select.POLLIN | select.POLLOUT
_MAIN = threading.main_thread().ident
_links: weakref.WeakSet[SocketLink] = weakref.WeakSet()


class SocketLink:
    """The connection to the node, and whatever other streams are attached to it.

    ``on_message`` is called with each message of the node, in order, by whichever thread reads.
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
        self._unsent: dict[SocketStream, None] = {}
        self._node = SocketStream(
            sock, codec.decode_from_node, on_message, self._node_lost, self._unsent, self.wake,
            early=early,
        )  # fmt: skip
        self.send = self._node.send
        self.send_soon = self._node.send_soon
        self._on_lost = on_lost
        self._on_idle = on_idle
        self._attached: dict[int, socket.socket] = {}
        self._readers: dict[int, Callable[[], None]] = {sock.fileno(): self._node.read}
        # What poll() found; an entry stays until it was read, should Ctrl-C come between.
        self._ready: list[tuple[int, int]] = [(sock.fileno(), select.POLLIN)] if early else []
        self._stuck: list[SocketStream] = []  # watched by the background thread until they can send
        self._reader = threading.Lock()
        self._reads = 0  # the thread that holds it
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._background_poll = select.poll()
        self._background_poll.register(sock, select.POLLIN)
        self._followers = 0
        self._progress = threading.Condition()
        self._last_wait = 0.0
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)
        os.set_blocking(self._wake_r, False)
        self._background_poll.register(self._wake_r, select.POLLIN)
        self._woken = False
        self._prompt = 0  # how many callers need the background reader to be prompt
        self.lost = ""  # why there is no connection any more
        self._explaining = threading.RLock()  # held while somebody finds out
        # Called now and then while somebody waits and nothing comes.
        self.on_silence: Callable[[], None] = _nothing
        self._node.on_silence = lambda: self.on_silence()
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

    # --- sockets -----------------------------------------------------------------------------

    def stream(
        self,
        sock: socket.socket,
        decode: Callable[[bytes], Sequence[Any]],
        on_message: Callable[[Any], None],
        on_lost: Callable[[str], None],
        **options: Any,
    ) -> SocketStream:
        """Attach another stream: whoever waits here reads it, too.

        Its peer may be a process like this one, which waits for us: who reads here never waits to
        send there.
        """
        options.setdefault("patient", self._may_wait)
        made = SocketStream(sock, decode, on_message, on_lost, self._unsent, self.wake, **options)
        self.attach(sock, made.read)
        return made

    def attach(self, sock: socket.socket, read: Callable[[], None]) -> None:
        """Call ``read`` whenever ``sock`` is readable, by whichever thread reads."""
        fd = sock.fileno()
        self._attached[fd] = sock
        self._readers[fd] = read
        self._poll.register(fd, select.POLLIN)
        self._background_poll.register(fd, select.POLLIN)
        self.wake()  # the background thread looks at the sockets anew

    def detach(self, sock: socket.socket) -> None:
        """Forget a socket and close it."""
        fd = sock.fileno()
        if self._attached.pop(fd, None) is None:
            return
        del self._readers[fd]
        for poll in (self._poll, self._background_poll):
            with contextlib.suppress(KeyError):
                poll.unregister(fd)
        sock.close()

    def push(self, wait: bool = True) -> None:
        """Send what was held back; without ``wait`` what there is room for."""
        for stream in list(self._unsent):
            if stream is self._node:
                stream.push(wait)
            else:
                with contextlib.suppress(WireError):  # its reader notices
                    stream.push(wait=False)

    def drain(self, seconds: float) -> bool:
        """Have sent what was kept because a peer's buffer was full; False when the time is up."""
        deadline = time.monotonic() + seconds
        while self._unsent and time.monotonic() < deadline:
            self.push(wait=False)
            poll = select.poll()
            for stream in list(self._unsent):
                with contextlib.suppress(ValueError):  # closed meanwhile
                    poll.register(stream.sock, select.POLLOUT)
            if self._unsent:
                poll.poll(50)
        return not self._unsent

    def may_wait(self) -> bool:
        """Whether this thread may ``wait``: not in a callback of the one that reads."""
        return self._reads != threading.get_ident()

    def _may_wait(self) -> bool:
        """Whether this thread may wait until somebody reads what it sends."""
        me = threading.get_ident()
        return me != self._reads and (self._thread is None or me != self._thread.ident)

    # --- receiving ---------------------------------------------------------------------------

    def wait(self, done: Callable[[], Any], timeout: float | None = None) -> bool:
        """Block until ``done()`` is true; False after ``timeout`` seconds.

        Raises ConnectionLost when the connection ends first.
        """
        if done():
            return True
        if self._unsent:  # held back, or interrupted
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
                            raise Lost(self.why())
                        if main and self.interrupted:
                            return False  # our caller raises
                        if not self._ready and not self._sleep(deadline, main):
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
        # In slices: a signal that strikes just before the system call does not end it.
        milliseconds = _SLICE if main else _LONG_SLICE
        if deadline is not None:
            milliseconds = min(milliseconds, max(0.0, deadline - time.monotonic()) * 1000)
        if main:
            self.polling = True
            if self.interrupted:  # just before: it was only noted
                self.polling = False
                return True
        self._ready.extend(self._poll.poll(milliseconds))
        if main:
            self.polling = False
        if self._ready:
            return True
        if milliseconds >= _SLICE:
            self.on_silence()
        return deadline is None or time.monotonic() < deadline

    def _tell_followers(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _read(self) -> None:
        """Read what is there and handle it. Only with the reader lock."""
        ready = self._ready
        while ready:
            read = self._readers.get(ready[-1][0])
            if read is not None:
                read()
            if ready:
                ready.pop()

    def _node_lost(self, reason: str) -> None:
        with self._explaining:
            if not self.lost:
                self.explain(reason)
                self._on_lost(reason)
                self._tell_followers()

    def why(self) -> str:
        """Why the connection is gone; waits a moment for who finds out more, in another thread."""
        with self._explaining:
            return self.lost

    def explain(self, reason: str) -> None:
        """Why the connection ended, in as many words as are known: what every call says from now."""
        self.lost = self._node.lost = reason

    # --- the background reader ---------------------------------------------------------------

    def start(self) -> None:
        """Start the background reader."""
        self._thread = threading.Thread(target=self._background, name="fanlight-io", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have ``on_idle`` called soon. Safe in finalizers."""
        if not self._woken:
            self._woken = True
            try:
                os.write(self._wake_w, b"x")
            except OSError:
                pass
            except BaseException:  # Ctrl-C, perhaps before it was written: the next call does it
                self._woken = False
                raise

    def prompt(self, on: bool) -> None:
        """Somebody needs messages handled at once though nobody waits (callbacks, asyncio)."""
        self._prompt += 1 if on else -1
        if on:
            self.wake()

    def ended(self) -> bool:
        """Whether the connection is gone; looks, since nobody may have read its end yet."""
        return bool(self.lost) or self._node.ended()

    def settle(self, done: Callable[[], Any]) -> None:
        """Nothing to do: the node works by itself."""

    def _background(self) -> None:
        poll = self._background_poll
        while not self._closing and not self.lost:
            ready = poll.poll()
            if self._unsent:  # held back by send_soon
                time.sleep(_HOLD_SECONDS)
            elif self._reads or time.monotonic() - self._last_wait < _NAP:
                time.sleep(_BRIEF_NAP if self._prompt else _NAP)
            if any(fd == self._wake_r for fd, _ in ready):
                with contextlib.suppress(OSError):
                    os.read(self._wake_r, 512)
                if not (self._prompt or self._unsent):
                    time.sleep(_NAP)  # let more come together
                self._woken = False
            if self._unsent or self._stuck:
                with contextlib.suppress(WireError):
                    self.push()
                self._watch_stuck()
            if self._reader.acquire(blocking=False):
                self._reads = threading.get_ident()
                try:
                    self._ready.extend(self._poll.poll(0))
                    self._read()
                finally:
                    self._reads = 0
                    self._reader.release()
                    if self._followers:
                        self._tell_followers()
            try:
                self._on_idle()
            except WireError:
                break
        self._tell_followers()
        if self._closing:
            self._close_pipe()

    def _watch_stuck(self) -> None:
        """Have the background thread woken when a full stream can be written to again."""
        free = [stream for stream in self._stuck if not stream.stuck]
        # A copy, which takes no step of Python: other threads send meanwhile.
        self._stuck = [stream for stream in list(self._unsent) if stream.stuck]
        for streams, events in ((free, select.POLLIN), (self._stuck, _BOTH)):
            for stream in streams:
                with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                    self._background_poll.modify(stream.sock.fileno(), events)

    def _abandon(self) -> None:
        """In a fork of this process: the connection is the parent's, and its locks mean nothing."""
        self.lost = "this process is a fork of the one that is connected to the runtime"
        self._reader, self._progress = threading.Lock(), threading.Condition()
        self._thread = None
        self._node.abandon(self.lost)
        for sock in self._attached.values():
            sock.close()
        for fd in (self._wake_r, self._wake_w):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._wake_r = self._wake_w = -1

    def close(self) -> None:
        """Disconnect and end the background thread."""
        self._closing = True
        self.lost = self._node.lost = "the runtime was shut down"
        with contextlib.suppress(OSError):
            os.write(self._wake_w, b"x")
        with contextlib.suppress(OSError):
            self._node.sock.shutdown(socket.SHUT_RDWR)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._node.sock.close()
        for sock in list(self._attached.values()):
            self.detach(sock)
        if thread is None or not thread.is_alive():
            self._close_pipe()
        # else the background thread itself shuts down, in a callback: it closes it when it ends

    def _close_pipe(self) -> None:
        (read, write), (self._wake_r, self._wake_w) = (self._wake_r, self._wake_w), (-1, -1)
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)


def _nothing() -> None:
    """Nobody wants to know."""


def _after_fork() -> None:
    for link in list(_links):
        link._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
