"""What tasks printed, read from the session's files."""

from __future__ import annotations

import fnmatch
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fanlight import errors
from fanlight.util.state.asking import find_session_dir
from fanlight.util.state.exception import BadQuestion, RayStateApiException
from fanlight.worker.logfile import MARK

_POLL = 0.1  # seconds between two looks at a file that is followed


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: float = 30,
) -> dict[str, list[str]]:
    """Names of the log files, by what wrote them: ``worker_out``, ``worker_err``, ``core_worker``.

    ``core_worker`` is what went past Python's streams (C code, crashes). ``get_log(filename=…)``
    reads one. Raises RayStateApiException; UnsupportedError for ``engine="inproc"``.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(_folder(address).iterdir()):
        if fnmatch.fnmatch(path.name, glob_filter or "*"):
            kind = {".out": "worker_out", ".err": "worker_err"}.get(path.suffix, "core_worker")
            found.setdefault(kind, []).append(path.name)
    return found


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: float = 30,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
) -> Iterator[Any]:
    """Parts of a log, in order: of a file, or of what one process, actor or task printed.

    Args:
        filename: as ``list_logs`` names it; or one of ``pid``, ``actor_id`` and ``task_id``.
        follow: go on for ever, as more is printed.
        tail: only the last lines, so many; -1 for all.
        suffix: "out" or "err".
        encoding: None gives bytes.

    Raises:
        RayStateApiException: there is no such log.
        UnsupportedError: with ``engine="inproc"``, which keeps none.
    """
    if sum(x is not None for x in (filename, actor_id, task_id, pid)) != 1:
        raise BadQuestion("get_log() takes one of filename, pid, actor_id and task_id.")
    if suffix not in ("out", "err"):
        raise BadQuestion(f"suffix must be 'out' or 'err', got {suffix!r}.")
    folder = _folder(address)
    task = actor = b""
    if filename is not None:
        path = folder / filename
        if path.name != filename or not os.path.isfile(path):
            raise RayStateApiException(f"There is no log {filename!r}; see list_logs().")
    else:
        if actor_id is not None:
            pid = _pid_of("actors", "actor_id", actor_id, None, address, timeout)
            actor = actor_id.encode()
        elif task_id is not None:
            pid = _pid_of("tasks", "task_id", task_id, attempt_number, address, timeout)
            task = task_id.encode()
        pid = int(pid)  # type: ignore[arg-type]  # it becomes part of a pattern
        files = sorted(folder.glob(f"worker-*-{pid}.{suffix}"), key=os.path.getmtime)
        if not files:
            if any(folder.glob(f"worker-*-{pid}.*")) or task_id is not None or actor_id is not None:
                return iter(())  # it printed nothing there
            raise RayStateApiException(f"There is no log of a process {pid}; see list_logs().")
        path = files[-1]
    parts = _read(path, _Wanted(task, actor), tail, follow)
    return parts if encoding is None else (p.decode(encoding, errors or "strict") for p in parts)


def _pid_of(
    what: str, key: str, value: str, attempt: int | None, address: str | None, timeout: float
) -> int:
    from fanlight.util.state import _one

    rows = _one(what, key, value, address, timeout)
    if what == "tasks" and len(rows) > 1:
        rows = [row for row in rows if row.attempt_number == attempt]
    if not rows:
        raise RayStateApiException(f"Nothing is known of the {key} {value}.")
    row = rows[0]
    pid: int | None = row.pid if what == "actors" else row.worker_pid
    if not pid:
        raise RayStateApiException(f"{value} has not had a process yet: it is {row.state}.")
    return pid


def _folder(address: str | None) -> Path:
    folder = find_session_dir(address)
    if not folder:
        raise errors.UnsupportedError(
            "engine='inproc' keeps no log files: get_log() and list_logs() need engine='local'."
        )
    return Path(folder, "logs")


class _Wanted:
    """Which lines of a file: those of one task, those since the process became an actor, or all."""

    def __init__(self, task: bytes, actor: bytes) -> None:
        self.task = task
        self.actor = actor
        self.now = not task and not actor

    def __call__(self, line: bytes) -> bool:
        if not line.startswith(MARK):
            return self.now
        mark = line[1:].strip()
        if self.actor:
            self.now = self.now or mark == self.actor
        elif self.task:
            self.now = mark == self.task
        return False


def _read(path: Path, wanted: _Wanted, tail: int, follow: bool) -> Iterator[bytes]:
    """The wanted lines of a file, in parts of about 64 KiB."""
    try:
        file = path.open("rb")
    except OSError as e:
        raise RayStateApiException(f"The log {path.name} cannot be read: {e}") from None
    with file:
        last: deque[bytes] | None = deque(maxlen=tail) if tail >= 0 else None
        while chunk := file.readlines(1 << 16):
            part = [line for line in chunk if wanted(line)]
            if last is not None:
                last.extend(part)
            elif part:
                yield b"".join(part)
        if last:
            yield b"".join(last)
        while follow:
            part = [line for line in file.readlines(1 << 16) if wanted(line)]
            if part:
                yield b"".join(part)
            else:
                time.sleep(_POLL)
