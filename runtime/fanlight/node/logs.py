"""The logs of workers: what a dead one wrote last, and how long its logs are kept."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from fanlight.core.model import Worker

_OLD_LOGS = 100  # dead workers whose logs are kept


class WorkerLogs:
    """The files in the session's ``logs`` folder; asked by the node when a worker ended."""

    def __init__(self, session_dir: str) -> None:
        self._folder = Path(session_dir, "logs")
        self._old: deque[str] = deque()  # of dead workers: names without their ends

    def tail(self, number: int, worker: Worker | None) -> str:
        """The last that a dead worker wrote past its tasks' streams; its logs are kept a while."""
        if worker is not None and worker.pid:
            self._old.append(f"worker-{worker.id.hex()}-{worker.pid}")
        if len(self._old) > _OLD_LOGS:
            base = Path(self._folder, self._old.popleft())
            for end in (".out", ".err", ".out.1", ".err.1"):
                base.with_name(base.name + end).unlink(missing_ok=True)
        path = Path(self._folder, f"worker-{number}.log")
        try:
            with path.open("rb") as f:
                f.seek(0, os.SEEK_END)
                f.seek(max(0, f.tell() - 20_000))
                tail = f.read().decode(errors="replace")
            path.unlink()
        except OSError:
            return ""
        lines = tail.strip().splitlines()
        for i, line in enumerate(lines):
            if line.startswith("Fatal Python error"):  # a dump, the frames of the task on top
                return "\n".join(lines[max(0, i - 10) : i + 15])
        return "\n".join(lines[-20:])
