"""What C code and child processes print while a cell runs in a worker.

They write to descriptors 1 and 2, which in a worker lead to its log file. What is added to that file
is passed on to ``sys.stdout``, and so to the notebook, a few times a second and when the cell ends.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator

PERIOD = 0.2  # seconds
_PIECE = 1 << 16


@contextlib.contextmanager
def followed() -> Iterator[None]:
    """Pass it on while the body runs; does nothing in a process that is no worker."""
    from fanlight import session

    current = session.current()
    follower = None
    if current is not None and current.role == "worker":
        with contextlib.suppress(OSError, RuntimeError):  # a task may have closed it
            follower = _Follower()
    try:
        yield
    finally:
        if follower is not None:
            follower.stop()


class _Follower:
    def __init__(self) -> None:
        found = os.fstat(1)
        self._file = (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
        self._at = found.st_size
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lock = threading.Lock()
        self._ended = threading.Event()
        if self._file is not None:
            threading.Thread(target=self._run, name="fanlight-descriptors", daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD):
            self._pass_on()

    def stop(self) -> None:
        self._ended.set()
        if "ctypes" in sys.modules:
            with contextlib.suppress(Exception):
                import ctypes

                ctypes.CDLL(None).fflush(None)  # what C's own buffers hold
        self._pass_on()

    def _pass_on(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            found = os.fstat(1)
            if (found.st_dev, found.st_ino) != self._file:
                return  # the cell has put something else there
            while data := os.pread(1, _PIECE, self._at):
                self._at += len(data)
                sys.stdout.write(self._decoder.decode(data))
