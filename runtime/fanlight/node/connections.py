"""The sockets of the node: who is behind each of them, and what waits to be written to it."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
from collections import deque
from typing import Any

from fanlight.wire import codec
from fanlight.wire.framing import HANDSHAKE_LIMIT, FrameReader

IN, OUT = select.POLLIN, select.POLLOUT
_MOST_FDS = 1 << 17
_OBSERVER_BACKLOG = 4 << 20  # bytes that an observer may fall behind before it is dropped


def raise_fd_limit() -> int:
    """Each worker takes one descriptor of the node: have as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FDS if hard == resource.RLIM_INFINITY else min(hard, _MOST_FDS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(soft, _MOST_FDS) if soft != resource.RLIM_INFINITY else _MOST_FDS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


class Poller:
    """epoll where there is one, else poll; the same few calls."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poll = select.poll() if self._epoll is None else None
        impl: Any = self._epoll or self._poll
        self.register = impl.register
        self.modify = impl.modify
        self.unregister = impl.unregister

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        if self._epoll is not None:
            return self._epoll.poll(seconds)
        assert self._poll is not None
        return self._poll.poll(seconds * 1000)


class Connection:
    """One socket, and what is known of who is behind it."""

    __slots__ = ("client_id", "deadline", "frames", "out", "out_bytes", "peer", "poller", "role",
                 "sock", "worker", "writing")  # fmt: skip

    def __init__(self, sock: socket.socket, peer: int, deadline: float, poller: Poller) -> None:
        self.sock = sock
        self.poller = poller
        self.peer = peer
        self.role = ""  # until the handshake
        self.worker = 0
        self.client_id = b""
        self.deadline = deadline
        self.frames = FrameReader(HANDSHAKE_LIMIT)
        self.out: deque[bytes] = deque()
        self.out_bytes = 0
        self.writing = False

    def send(self, messages: list[Any]) -> None:
        """Write at once what the socket takes; the rest when it takes more."""
        self.write(codec.encode(messages))

    def write(self, data: bytes) -> None:
        """The same for a frame."""
        if not self.out:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # reading will notice its end
            if sent == len(data):
                return
            data = data[sent:]
        self.out.append(data)
        self.out_bytes += len(data)
        behind = self.out_bytes > _OBSERVER_BACKLOG and len(self.out) > 1
        if self.role == "observer" and behind:
            self.out.clear()
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # it is too slow: it may come again
            return
        if not self.writing:
            self.writing = True
            self.poller.modify(self.sock.fileno(), IN | OUT)

    def write_more(self) -> None:
        """The socket takes more."""
        out = self.out
        while out:
            try:
                sent = self.sock.send(out[0])
            except BlockingIOError:
                return
            except OSError:
                out.clear()
                break
            self.out_bytes -= sent
            if sent < len(out[0]):
                out[0] = out[0][sent:]
                return
            out.popleft()
        self.out_bytes = 0
        self.writing = False
        with contextlib.suppress(OSError):
            self.poller.modify(self.sock.fileno(), IN)
