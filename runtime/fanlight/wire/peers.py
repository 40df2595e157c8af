"""Whose process is at the other end of a Unix socket: a second line behind modes and tokens.

Asked of the system, which noted it when the connection was made. The one who accepts looks before it
reads anything, the one who connects before it shows its token.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from fanlight.wire.failures import HandshakeRefused

_PEERCRED = getattr(socket, "SO_PEERCRED", None)
_UCRED = struct.Struct("3i")  # pid, uid, gid


def stranger(sock: Any) -> str:
    """Why the peer is not to be talked to, "" if it is this user's, or if nobody can say (macOS)."""
    if _PEERCRED is None:
        return ""
    try:
        _, uid = _credentials(sock)
    except OSError as e:
        return f"whose process it is cannot be found out ({e.strerror})"
    return "" if uid == os.geteuid() else f"a process of another user (uid {uid})"


def _credentials(sock: Any) -> tuple[int, int]:
    data = sock.getsockopt(socket.SOL_SOCKET, _PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(data)
    return pid, uid


def parent(sock: Any) -> tuple[int, int] | None:
    """The pids of the peer and of its parent; None if the system does not say (macOS)."""
    if _PEERCRED is None:
        return None
    try:
        pid, _ = _credentials(sock)
        with open(f"/proc/{pid}/stat", "rb") as f:
            return pid, int(f.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None if not os.path.isdir("/proc/self") else (0, 0)


def check(sock: Any) -> None:
    """Before a token is sent. Raises HandshakeRefused."""
    problem = stranger(sock)
    if problem:
        raise HandshakeRefused(f"behind the socket is {problem}: it gets no token")
