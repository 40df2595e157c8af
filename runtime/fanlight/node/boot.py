"""What a driver tells the node that it starts, and the directories of a session."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fanlight import config, interrupts, private
from fanlight.node import spill_dirs

_SOCKET_PATH_LIMIT = 107 if sys.platform.startswith("linux") else 103  # bytes


_LATEST = "session_latest"  # a link, as in Ray's temporary directory
_ALONE_SECONDS = 10.0  # for another process to make its session, or to sweep


class BootConfig(msgspec.Struct):
    """Sent to a new node on its standard input, so that no token shows in a process list."""

    runtime_id: str
    name: str
    token: str
    node_id: bytes
    session_dir: str
    segment_dir: str
    resources: dict[str, int]  # units of 1/10000
    capacity: int
    pool_size: int
    sys_path: list[str]
    cwd: str
    driver_fd: int  # a connected socket: the driver that starts us, already trusted
    driver_info: dict[str, str]
    driver_client: bytes
    gpu_tokens: list[str] = []  # what CUDA_VISIBLE_DEVICES calls each GPU, by our number
    gpus_preset: bool = False  # the environment chose them
    persistent: bool = False
    set_threads: bool = True  # set by the zygote: OMP_NUM_THREADS is ours to choose
    labels: dict[str, str] = {}
    memory_limit: int = 0  # bytes of processes and objects together, 0 for none
    memory_threshold: float = 0.95  # of memory, or of that limit: above it something ends
    memory_refresh: float = 0.25  # seconds between two looks at it; 0: only at the limit
    oom_retries: int = -1
    max_processes: int = 0  # of workers and actors; 0 for no limit
    spill_dir: str = ""  # where objects go that do not fit into memory
    lineage_bytes: int = config.LINEAGE_BYTES
    lock_fds: list[int] = []  # set by the node: while they are open, the session is alive

    def __repr__(self) -> str:  # it may stand in a traceback: without the token
        return f"BootConfig({self.name!r}, {self.session_dir!r})"


def choose_dirs(runtime_id: str, temp_dir: str = "") -> tuple[Path, Path]:
    """Where a new runtime's session and its segments will be; clears up what dead ones left.

    ``temp_dir`` stands for the system's temporary directory.

    Called by the driver. It makes only the directories that all runtimes share: those of its own
    are made by the node, so that there is nothing to clear up when the driver dies before.

    Raises PermissionError for a shared directory that is not ours, OSError for a path too long.
    """
    place = private.place(Path(temp_dir)) if temp_dir else config.socket_dir()
    sessions, segments = private.make(place), private.make(config.segment_root())
    session = sessions / runtime_id
    path = os.fsencode(session / "node.sock")
    if len(path) > _SOCKET_PATH_LIMIT:
        raise OSError(
            errno.ENAMETOOLONG,
            f"The temporary directory's path is too long: a Unix socket's path has at most "
            f"{_SOCKET_PATH_LIMIT} bytes, and this would have {len(path)}. Set TMPDIR (or "
            "init(_temp_dir=)) to a shorter one",
            os.fsdecode(path),
        )
    with _alone(sessions, segments) as alone:
        if alone:
            sweep(sessions, segments)
    # Without tmpfs both are under the same directory.
    return session, segments / runtime_id if segments != sessions else session / "segments"


def make_dirs(boot: BootConfig) -> None:
    """Make the directories that ``choose_dirs`` chose, and lock them; called by the node."""
    session_dir, segment_dir = Path(boot.session_dir), Path(boot.segment_dir)
    inside = segment_dir.parent == session_dir
    with _alone(session_dir.parent, session_dir.parent if inside else segment_dir.parent):
        session_dir.mkdir(mode=0o700)
        lock = os.open(session_dir / "lock", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        segment_dir.mkdir(mode=0o700)
        boot.lock_fds = [lock, os.open(segment_dir, os.O_RDONLY)]
        for fd in boot.lock_fds:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            new = session_dir / _LATEST
            new.symlink_to(session_dir.name)
            new.rename(session_dir.with_name(_LATEST))
    (session_dir / "logs").mkdir(mode=0o700)
    boot.lock_fds += spill_dirs.make(Path(boot.spill_dir), session_dir)


def restore_segments(boot: BootConfig) -> None:
    """Make the folder of segments anew, with its lock, if somebody has deleted it; called by the
    node. What was in it is lost. Raises OSError if it cannot be made."""
    session, folder = Path(boot.session_dir).parent, Path(boot.segment_dir)
    if folder.is_dir():
        return
    inside = folder.parent.parent == session
    private.make(folder.parent)
    with _alone(session, session if inside else folder.parent):
        folder.mkdir(mode=0o700)
        fd = os.open(folder, os.O_RDONLY)
        boot.lock_fds.append(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _alone(sessions: Path, segments: Path) -> Iterator[bool]:
    """No other process of this user makes or sweeps sessions meanwhile.

    Gives False when another one has done so for long: it is stopped in the middle of it, and what
    it has not yet looked at may wait.

    Raises PermissionError if one of the directories is not ours (any more).
    """
    with contextlib.ExitStack() as stack:
        alone = True
        for folder in dict.fromkeys((sessions, segments)):
            fd = private.enter(folder)
            stack.callback(os.close, fd)
            alone = alone and _lock(fd)
        yield alone


def _lock(fd: int) -> bool:
    for pause in interrupts.slices(_ALONE_SECONDS, 0.005):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if interrupts.noted():
                return False
            time.sleep(pause)
    return False


def remove_dirs(session_dir: str | Path, segment_dir: str | Path) -> None:
    """Delete everything that a runtime left on disk and in shared memory."""
    latest = Path(session_dir).with_name(_LATEST)
    with contextlib.suppress(OSError):
        if os.readlink(latest) == os.path.basename(session_dir):
            latest.unlink()
    shutil.rmtree(segment_dir, ignore_errors=True)
    _remove_session(Path(session_dir))


def _remove_session(session_dir: Path) -> None:
    """Delete a session's directory, and before it the one of spilled objects that lies elsewhere."""
    spill_dirs.remove(session_dir)
    shutil.rmtree(session_dir, ignore_errors=True)


def sweep(sessions: Path, segments: Path) -> None:
    """Remove what runtimes left that did not end in order (the machine lost power, say).

    A session and a segment directory have a lock each, and only that counts: runtimes with other
    temporary directories have their segments in the same place.
    """
    from fanlight.observe import discover

    discover.sweep()
    for session in _folders(sessions):
        if not private.locked(session / "lock"):
            discover.remove(session.name)
            _remove_session(session)
    if segments != sessions:
        for folder in _folders(segments):
            if not private.locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
    latest = sessions / _LATEST
    if latest.is_symlink() and not latest.exists():
        with contextlib.suppress(OSError):
            latest.unlink()


def _folders(parent: Path) -> list[Path]:
    try:
        return [p for p in parent.iterdir() if private.ours(p.lstat())]
    except OSError:
        return []


def stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal (Linux only): it does not end by itself."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):
        return False
