"""Connecting to a node: the handshake, before anything else is exchanged."""

from __future__ import annotations

import socket
from typing import Any

from fanlight import messages as m
from fanlight.interrupts import slices
from fanlight.wire import codec
from fanlight.wire.failures import ConnectionLost, HandshakeRefused
from fanlight.wire.framing import FrameReader, frame


def handshake(
    sock: socket.socket, hello: m.Hello, seconds: float | None = None
) -> tuple[dict[str, Any], bytes]:
    """Say hello and wait for the answer: the node's facts, and bytes that came after it.

    Raises ConnectionLost, HandshakeRefused, or TimeoutError after ``seconds``, if that is given or
    the socket has a time-out.
    """
    try:
        sock.sendall(codec.encode([hello]))
    except OSError as e:
        try:  # it may have said why before it closed
            return read_welcome(sock, seconds)
        except (OSError, ConnectionLost):
            raise ConnectionLost(f"the runtime closed the connection ({e})") from None
    return read_welcome(sock, seconds)


def read_welcome(sock: socket.socket, seconds: float | None = None) -> tuple[dict[str, Any], bytes]:
    reader = FrameReader()
    frames: list[bytes] = []
    left = slices(seconds, 0.5) if seconds is not None else None
    while not frames:
        if left is not None:
            pause = next(left, None)
            if pause is None:
                raise TimeoutError(f"it said nothing for {seconds:g} s")
            sock.settimeout(pause)
        try:
            data = sock.recv(1 << 16)
        except TimeoutError:
            if left is None:
                raise
            continue
        if not data:
            raise ConnectionLost("the runtime closed the connection")
        frames = reader.feed(data)
    (answer,) = codec.decode_handshake(frames[0])
    if not isinstance(answer, m.Welcome):
        raise HandshakeRefused(getattr(answer, "reason", "unexpected answer"))
    early = b"".join(frame(f) for f in frames[1:]) + reader.rest()
    return answer.info, early
