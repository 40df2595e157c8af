"""Where a worker writes why it dies, for the node to quote: its log, whatever tasks do to stderr."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os

_HIGH = 64  # above what tasks that close and reopen descriptors meet
_fd = 2


def keep() -> None:
    """Called once in a new worker, whose descriptor 2 is its log."""
    global _fd
    with contextlib.suppress(OSError, ValueError):  # few descriptors are allowed
        _fd = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    faulthandler.enable(file=_fd)


def restore() -> None:
    """Open the descriptors 1 and 2 again, should a task have closed them."""
    try:
        os.fstat(1)
        os.fstat(2)
    except OSError:
        with contextlib.suppress(OSError):
            for fd in (1, 2):
                os.dup2(_fd, fd)


def say(text: str) -> None:
    for fd in (_fd, 2):  # user code may have closed one
        with contextlib.suppress(OSError):
            os.write(fd, f"{text}\n".encode(errors="replace"))
            return
