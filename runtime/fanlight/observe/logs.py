"""What tasks printed, for the panel: lines of all workers, numbered in the order they are found.

Reads the session's log files in the process that asks, never in the node. Each look reads what was
added since the look before; of what was there before anybody looked, the end. The newest lines are
kept, bounded; a browser asks for what came after the number it knows.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fanlight.observe import questions as q

KEPT = 50_000  # lines
KEPT_BYTES = 16 << 20
LINE = 2_000  # characters of one line
_END = 128 << 10  # bytes of a file that was there before anybody looked
_AT_ONCE = 4 << 20  # bytes of one file in one look; more than that is skipped
_CHUNK = 1 << 20  # bytes that are read at a time of what is skipped
_TASK_BYTES = 64 << 20  # of the files of one worker that are searched for a task's lines
_MARK = b"\x1e"  # as fanlight.worker.logfile marks whose the lines are that follow
_NAME = re.compile(r"^worker-([0-9a-f]{56})-(\d+)\.(out|err)$")
_RAW = re.compile(r"^worker-(\d+)\.log$")

Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]


class _Line(NamedTuple):
    number: int
    time: float
    worker: str
    pid: int
    stream: str
    task: str
    text: str


class _File:
    """How far a log file was read."""

    def __init__(self, worker: str, pid: int, stream: str) -> None:
        self.worker = worker
        self.pid = pid
        self.stream = stream
        self.inode = -1
        self.offset = 0
        self.task = ""
        self.rest = b""


class Logs:
    """The log lines of one runtime; made by whoever observes it."""

    def __init__(self, welcome: dict[str, Any], clock: Callable[[], float] = time.time) -> None:
        session = str(welcome.get("session_dir", ""))
        self._folder = Path(session, "logs") if session else None
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._lines: deque[_Line] = deque()
        self._bytes = 0
        # Numbers begin with the time, so that a cursor of other lines than these is known for one.
        self._last = self._first = int(clock() * 1_000_000)
        self._looked = False
        self._lock = asyncio.Lock()

    async def answer(self, query: q.QueryLogs, ask: Ask) -> dict[str, Any]:
        """A :class:`fanlight.answers.LogsAnswer`. ``ask`` asks the node."""
        if self._folder is None or not self._folder.is_dir():
            return _empty("This runtime keeps no log files.")
        async with self._lock:  # one thread at a time has the lines
            await asyncio.to_thread(self.look)
            cursor = self._last
            fresh = not self._first <= query.after <= cursor
            whole = query.task is not None and fresh
            if not whole:
                lines, more = await asyncio.to_thread(self._find, query, fresh)
        if whole:  # may read much; the files are there for everybody
            lines, more = await asyncio.to_thread(self._of_task, query)
        named = await self._names(lines, ask)
        if query.cell is not None:
            lines = [x for x in lines if named.get(x.task, _NOBODY)["origin"] == query.cell]
            more = more or len(lines) > query.limit
            lines = lines[-query.limit :]
        note = "" if lines else "Nothing was printed." if not query.search else "No line matches."
        return {
            "lines": [_told(line, named) for line in lines],
            "cursor": cursor,
            "reset": fresh,
            "more": more,
            "note": note if fresh else "",
        }

    # --- reading -----------------------------------------------------------------------------

    def look(self) -> None:
        """Read what was added. In a thread: a disk may be slow."""
        assert self._folder is not None
        try:
            with os.scandir(self._folder) as entries:
                found = [
                    (entry.stat().st_mtime, entry.name)
                    for entry in entries
                    if _NAME.match(entry.name) or _RAW.match(entry.name)
                ]
        except OSError:
            return
        names = {name for _, name in found}
        for gone in self._files.keys() - names:
            del self._files[gone]
        for _, name in sorted(found):
            self._read(name)
        self._looked = True

    def _read(self, name: str) -> None:
        file = self._files.get(name)
        if file is None:
            match = _NAME.match(name)
            if match:
                file = _File(match[1], int(match[2]), match[3])
            else:
                file = _File("", 0, "log")
            self._files[name] = file
        assert self._folder is not None
        try:
            with open(self._folder / name, "rb") as f:
                status = os.fstat(f.fileno())
                if file.inode not in (-1, status.st_ino) or status.st_size < file.offset:
                    file.offset, file.rest, file.task = 0, b"", ""  # it was rotated
                first = not self._looked and file.inode == -1
                file.inode = status.st_ino
                most = _END if first else _AT_ONCE
                if status.st_size - file.offset > most:
                    skipped = file.offset - len(file.rest)
                    f.seek(status.st_size - most)
                    file.offset, file.rest = f.tell() + len(f.readline()), b""
                    file.task = _last_task(f, skipped, file.offset, file.task)
                f.seek(file.offset)
                data = f.read(most)
        except OSError:
            return
        if not data:
            return
        file.offset += len(data)
        self._take(file, file.rest + data, 0.0 if first else self._clock())

    def _take(self, file: _File, data: bytes, now: float) -> None:
        *lines, file.rest = data.split(b"\n")
        if len(file.rest) > LINE:
            lines.append(file.rest)
            file.rest = b""
        for raw in lines:
            if raw.startswith(_MARK):
                file.task = _task(raw)
                continue
            self._last += 1
            text = _text(raw)
            self._bytes += len(text) + 200
            self._lines.append(
                _Line(self._last, now, file.worker, file.pid, file.stream, file.task, text)
            )
        while self._lines and (len(self._lines) > KEPT or self._bytes > KEPT_BYTES):
            self._bytes -= len(self._lines.popleft().text) + 200

    # --- finding -----------------------------------------------------------------------------

    def _find(self, query: q.QueryLogs, fresh: bool) -> tuple[list[_Line], bool]:
        """The newest lines that match, the oldest first; and whether older ones do, too."""
        wanted = _matcher(query)
        after = 0 if fresh else query.after
        most = KEPT if query.cell is not None else query.limit  # cells are told apart later
        found: list[_Line] = []
        for line in reversed(self._lines):
            if line.number <= after:
                return found[::-1], False
            if wanted(line):
                if len(found) == min(most, 5_000):
                    return found[::-1], True
                found.append(line)
        return found[::-1], False

    def _of_task(self, query: q.QueryLogs) -> tuple[list[_Line], bool]:
        """All that a task printed, from the files themselves: it may be older than what is kept."""
        wanted = _matcher(query)
        found: deque[_Line] = deque(maxlen=query.limit + 1)
        assert self._folder is not None and query.task is not None
        mark = _MARK + query.task.encode()
        left = _TASK_BYTES
        for name in list(self._files):
            match = _NAME.match(name)
            if match is None:
                continue
            for end in (".1", ""):
                for line in self._lines_of(self._folder / (name + end), match, mark):
                    left -= len(line.text)
                    if wanted(line):
                        found.append(line)
                    if left < 0:
                        return list(found)[-query.limit :], True
        return list(found)[-query.limit :], len(found) > query.limit

    def _lines_of(self, path: Path, match: re.Match[str], mark: bytes) -> Iterator[_Line]:
        worker, pid, stream = match[1], int(match[2]), match[3]
        try:
            data = path.read_bytes()
        except OSError:
            return
        at = data.find(mark)
        while at >= 0:
            begin = data.find(b"\n", at) + 1
            end = data.find(b"\n" + _MARK, begin - 1) if begin else -1
            if not begin:
                return
            part = data[begin : end if end >= 0 else len(data)]
            lines = part.split(b"\n") if begin <= end or end < 0 else []
            for raw in lines[: -1 if end < 0 else None]:
                yield _Line(0, 0.0, worker, pid, stream, mark[1:].decode(), _text(raw))
            at = data.find(mark, begin)

    async def _names(self, lines: list[_Line], ask: Ask) -> dict[str, dict[str, Any]]:
        wanted = list(dict.fromkeys(line.task for line in reversed(lines) if line.task))[:500]
        if not wanted:
            return {}
        try:
            found: dict[str, dict[str, Any]] = await ask("named", {"ids": wanted})
        except Exception:  # the lines are worth having without names
            return {}
        return found


_NOBODY: dict[str, Any] = {"name": "", "origin": ""}


def _empty(note: str) -> dict[str, Any]:
    return {"lines": [], "cursor": 0, "reset": True, "more": False, "note": note}


def _task(raw: bytes) -> str:
    """The task that a mark names; marks of actors, which are shorter, name none."""
    text = raw[1:].strip().decode(errors="replace")
    return text if len(text) == 48 else ""


def _last_task(f: BinaryIO, begin: int, end: int, task: str) -> str:
    """What the last mark between two beginnings of lines names; ``task`` if there is none."""
    behind = b""
    while end > begin:
        start = max(begin, end - _CHUNK)
        f.seek(start)
        data = (b"\n" if start == begin else b"") + f.read(end - start) + behind
        at = data.rfind(b"\n" + _MARK)
        if at >= 0:
            return _task(data[at + 1 : at + 100].partition(b"\n")[0])
        behind, end = data[:100], start
    return task


def _text(raw: bytes) -> str:
    text = raw.rstrip(b"\r").decode(errors="replace")
    return text if len(text) <= LINE else text[:LINE] + "…"


def _matcher(query: q.QueryLogs) -> Callable[[_Line], bool]:
    search = query.search.casefold()

    def matches(line: _Line) -> bool:
        return (
            (query.worker is None or line.worker == query.worker)
            and (query.task is None or line.task == query.task)
            and (not search or search in line.text.casefold())
        )

    return matches


def _told(line: _Line, named: dict[str, dict[str, Any]]) -> dict[str, Any]:
    whose = named.get(line.task, _NOBODY)
    return {
        "time": line.time,
        "worker": line.worker,
        "pid": line.pid,
        "stream": line.stream,
        "task": line.task,
        "name": whose["name"],
        "origin": whose["origin"],
        "text": line.text,
    }
