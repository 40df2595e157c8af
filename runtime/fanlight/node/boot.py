"""What a driver tells the node that it starts, and the directories of a session."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from pathlib import Path

import msgspec

from fanlight import config


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
    lock_fd: int  # holds the session's lock
    driver_info: dict[str, str]
    driver_client: bytes
    persistent: bool = False


def private_dir(path: Path) -> Path:
    """Make (or check) a directory that only this user can enter. Raises PermissionError."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise PermissionError(
            f"{path} is not a directory of yours: someone else made it, and could read what goes "
            "there. Remove it, or set TMPDIR to a directory of your own."
        )
    if facts.st_mode & 0o077:
        path.chmod(0o700)
    return path


class Session:
    """The directories of one runtime and the lock that says that it is alive."""

    def __init__(self, runtime_id: str) -> None:
        sweep()
        self.session_dir = private_dir(config.socket_dir()) / runtime_id
        self.segment_dir = private_dir(config.segment_root()) / runtime_id
        self.session_dir.mkdir(mode=0o700)
        self.lock_fd = os.open(self.session_dir / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.segment_dir.mkdir(mode=0o700)
        (self.session_dir / "logs").mkdir(mode=0o700)


def remove_dirs(session_dir: str | Path, segment_dir: str | Path) -> None:
    """Delete everything that a runtime left on disk and in shared memory."""
    shutil.rmtree(segment_dir, ignore_errors=True)
    shutil.rmtree(session_dir, ignore_errors=True)


def sweep() -> None:
    """Remove what runtimes left that did not end in order (the machine lost power, say)."""
    from fanlight.observe import discover

    try:
        sessions = [p for p in config.socket_dir().iterdir() if p.is_dir()]
    except OSError:
        sessions = []
    alive = set()
    for session in sessions:
        if _locked(session / "lock"):
            alive.add(session.name)
        else:
            discover.remove(session.name)
            remove_dirs(session, config.segment_root() / session.name)
    with contextlib.suppress(OSError):
        for segments in config.segment_root().iterdir():
            if segments.name not in alive and not (config.socket_dir() / segments.name).exists():
                shutil.rmtree(segments, ignore_errors=True)


def _locked(path: Path) -> bool:
    """Whether a live process holds the lock. A session without a lock file is just being made."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
