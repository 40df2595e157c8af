"""The logs of workers: what a dead one wrote last, and how long its logs are kept."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from fanlight.core.model import Worker

MARK = "\x1e"  # as fanlight.worker.logfile marks whose the lines are that follow
_OLD_LOGS = 100  # dead workers whose logs are kept


class WorkerLogs:
    """The files in the session's ``logs`` folder; asked by the node when a worker ended."""

    def __init__(self, session_dir: str) -> None:
        self._folder = Path(session_dir, "logs")
        self._old: deque[str] = deque()  # of dead workers: names without their ends

    def tail(self, number: int, worker: Worker | None, begun: bytes | None = None) -> str:
        """The last that a dead worker wrote; its logs are kept a while.

        That is what native code and dying interpreters wrote, or what the task ``begun`` printed.
        """
        base = ""
        if worker is not None and worker.pid:
            base = f"worker-{worker.id.hex()}-{worker.pid}"
            self._old.append(base)
        if len(self._old) > _OLD_LOGS:
            old = Path(self._folder, self._old.popleft())
            for end in (".out", ".err", ".out.1", ".err.1"):
                old.with_name(old.name + end).unlink(missing_ok=True)
        path = Path(self._folder, f"worker-{number}.log")
        text = _end_of(path)
        path.unlink(missing_ok=True)
        if not text.strip() and worker is not None and not worker.retiring and base:
            task = b"" if worker.actor is not None else begun or b"-"
            text = _printed(Path(self._folder, base + ".err"), task) or _printed(
                Path(self._folder, base + ".out"), task
            )
        lines = text.strip().splitlines()
        for i, line in enumerate(lines):
            if line.startswith("Fatal Python error"):  # a dump, the frames of the task on top
                return "\n".join(lines[max(0, i - 10) : i + 15])
        return "\n".join(lines[-20:])


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 20_000))
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def _printed(path: Path, task: bytes) -> str:
    """The end of what a task printed, if it was the last one to print; of any, for b""."""
    _, *parts = _end_of(path).split(MARK)
    texts = [part.partition("\n") for part in parts]
    if not task:
        return "".join(text for _, _, text in texts)
    return texts[-1][2] if texts and texts[-1][0] == task.hex() else ""
