"""What a worker's tasks print, kept in files: ``worker-ID-PID.out`` and ``.err`` of the session."""

from __future__ import annotations

import contextlib
import os

LIMIT = 32 << 20  # bytes of one file; then it becomes ``….1``, in the place of an earlier one
MARK = b"\x1e"  # begins a line that says which task wrote what follows


class LogFile:
    """One file; made by the first write. A full disk costs the log, not the task."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._size = 0
        self._task: bytes | None = None
        self._within = False  # a line: the last one has no end yet
        self.actor = b""  # what the process has become; marked before what it writes from then on

    def write(self, task: bytes, data: bytes) -> None:
        """Append output of ``task`` (b"" for none); its last line may go on with the next."""
        with contextlib.suppress(OSError):
            if self._fd < 0 or self._size > LIMIT:
                self._open()
            marks = []
            if self.actor:
                marks, self.actor = [self.actor], b""
            if task != self._task:
                self._task = task
                marks.append(task)
            if marks:  # each is a line of its own
                lines = b"".join(MARK + mark.hex().encode() + b"\n" for mark in marks)
                data = b"\n" * self._within + lines + data
            self._size += os.write(self._fd, data)
            self._within = not data.endswith(b"\n")

    def _open(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            os.replace(self.path, self.path + ".1")
        self._fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._within = self._size > 0  # another process may have ended within a line
        self._task = None
