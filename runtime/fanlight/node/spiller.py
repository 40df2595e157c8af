"""Writes objects to disk and brings them back, beside the node's loop, which never waits for a disk.

Two threads copy: they hold the interpreter's lock only between two system calls. They start with the
first job. Their answers are stimuli for the core, which the loop takes when ``wake_fd`` is readable.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from fanlight.core.effects import Restore, Restored, Spill, Spilled
from fanlight.store import files

_THREADS = 2
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.EAGAIN)  # what may be there a moment later
_TRIES = 50
_PAUSE = 0.1  # seconds between them
_END_SECONDS = 2.0  # for a disk that does not answer, at the end


class Spiller:
    """Made by the node; all methods are called by its loop."""

    def __init__(self, spill_dir: str, segment_dir: str) -> None:
        self._files = Path(spill_dir)
        self._segments = Path(segment_dir)
        self.wake_fd, self._wake = os.pipe()
        for fd in (self.wake_fd, self._wake):
            os.set_blocking(fd, False)
        self._jobs: deque[Any] = deque()  # effects, and names of files to delete
        self._answers: deque[Spilled | Restored] = deque()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._going = True

    # --- the loop's side ---------------------------------------------------------------------

    def start(self, job: Spill | Restore) -> None:
        """Begin one; its answer comes in ``take``."""
        self._add(job)

    def delete(self, name: str) -> None:
        """Delete a file, which may take a while."""
        self._add(name)

    def take(self) -> list[tuple[int, Any]]:
        """Answers, as stimuli; called when ``wake_fd`` is readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, 4096)
        return [(0, self._answers.popleft()) for _ in range(len(self._answers))]

    def pause(self) -> None:
        """End the threads, at the next chunk of what they copy: this process is going to fork."""
        with self._changed:
            self._going = False
            self._changed.notify_all()
        deadline = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads.clear()

    def resume(self) -> None:
        """Go on with what is left; what was interrupted begins anew."""
        self._going = True
        if self._jobs:
            self._start_threads()

    def close(self) -> None:
        self.pause()
        for fd in (self.wake_fd, self._wake):
            os.close(fd)
        self.wake_fd = self._wake = -1

    def _add(self, job: Any) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        if self._going:
            self._start_threads()

    def _start_threads(self) -> None:
        while len(self._threads) < min(_THREADS, len(self._jobs)):
            thread = threading.Thread(target=self._work, name="fanlight-spill", daemon=True)
            self._threads.append(thread)
            thread.start()

    # --- a thread's side ---------------------------------------------------------------------

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the loop's
        while True:
            with self._changed:
                while self._going and not self._jobs:
                    self._changed.wait()
                if not self._going:
                    return
                job = self._jobs.popleft()
            try:
                answer = self._do(job)
            except files.Stopped:
                with self._changed:
                    self._jobs.appendleft(job)
                return
            if answer is not None:
                self._answers.append(answer)
                with contextlib.suppress(OSError):  # full: it is readable already
                    os.write(self._wake, b"x")

    def _do(self, job: Any) -> Spilled | Restored | None:
        if isinstance(job, str):
            with contextlib.suppress(OSError):
                os.unlink(self._files / job)
            return None
        for last in (False,) * _TRIES + (True,):
            try:
                return self._spill(job) if isinstance(job, Spill) else self._restore(job)
            except OSError as e:
                if last or e.errno not in _SCARCE:
                    return self._failed(job, e)
            if not self._going:
                raise files.Stopped
            time.sleep(_PAUSE)
        return None

    def _is_going(self) -> bool:
        return self._going

    def _spill(self, job: Spill) -> Spilled:
        try:
            files.spill(
                self._segments / job.segment, self._files, job.file, job.size, self._is_going
            )
        except files.Unreadable as e:
            return Spilled(job.number, "lost", str(e))
        return Spilled(job.number)

    def _restore(self, job: Restore) -> Restored:
        segment = self._segments / job.segment if job.segment else None
        try:
            files.restore(self._files, job.file, segment, job.size, self._is_going)
        except files.Unreadable as e:
            return Restored(job.number, "lost", str(e))
        return Restored(job.number)

    def _failed(self, job: Spill | Restore, error: OSError) -> Spilled | Restored:
        if isinstance(job, Spill):
            return Spilled(job.number, "disk", f"{error.strerror} ({self._files})")
        if job.segment:  # shared memory is full, or was deleted: the file will do
            return Restored(job.number, "no_room", f"{error.strerror} ({self._segments})")
        return Restored(job.number, "lost", f"its file on disk cannot be read: {error.strerror}")
