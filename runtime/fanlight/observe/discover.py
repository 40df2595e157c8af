"""Connection files: how runtimes are found.

A node writes one JSON file, mode 0600, into ``<Jupyter runtime dir>/fanlight/`` and removes it when
it ends. The file names the node's unix socket and holds the token that the handshake needs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path

import msgspec

from fanlight import private

_LIMIT = 1 << 16  # bytes of a connection file
_FRESH_SECONDS = 60.0  # so old is a file that nobody is still writing


class ConnectionInfo(msgspec.Struct):
    """The content of a connection file."""

    version: int
    runtime_id: str
    name: str
    engine: str
    pid: int
    socket: str  # path of the node's unix socket
    token: str
    session_dir: str
    created: float
    kernel_ids: list[str] = []  # kernels whose drivers are attached
    host: str = ""  # home directories may be shared by machines, processes are not
    path: str = ""  # where this was read from

    def __repr__(self) -> str:  # it may be printed, or stand in a traceback: without the token
        return f"ConnectionInfo(name={self.name!r}, pid={self.pid}, socket={self.socket!r})"

    def sound(self, name: str) -> bool:
        """Whether it can be what a node wrote into the file ``name``.

        What is in it is used for paths and pids: a runtime id with slashes would have files
        elsewhere removed.
        """
        paths = (self.socket, self.session_dir)
        return (
            f"{self.runtime_id}.json" == name
            and self.pid > 0
            and all(os.path.isabs(p) and os.path.normpath(p) == p for p in paths)
            and "\0" not in "".join(paths)
        )

    def alive(self) -> bool:
        """Whether the node's process still exists, on this machine."""
        here = socket.gethostname()
        if (self.host or here) != here or not os.path.isdir(self.session_dir):
            return False  # elsewhere, or its directory was cleared away (at boot, say)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return False  # another user's: the number has come again
        lock = Path(self.session_dir, "lock")
        return private.locked(lock, exclusive=False) or not lock.exists()


def jupyter_runtime_dir() -> Path:
    """Where Jupyter keeps connection files, by its own rules, without importing jupyter_core."""
    if env := os.environ.get("JUPYTER_RUNTIME_DIR"):
        return Path(env)
    if env := os.environ.get("JUPYTER_DATA_DIR"):
        return Path(env) / "runtime"
    try:
        home = Path.home()
    except RuntimeError:
        raise FileNotFoundError(
            "Runtimes are found by files in Jupyter's runtime directory, which is in the home "
            "directory, and this user has none: set HOME, or JUPYTER_RUNTIME_DIR."
        ) from None
    if sys.platform == "darwin":
        return home / "Library" / "Jupyter" / "runtime"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else home / ".local" / "share") / "jupyter" / "runtime"


def connection_dir() -> Path:
    return jupyter_runtime_dir() / "fanlight"


def write(info: ConnectionInfo) -> Path:
    """Write (or replace) the connection file of a runtime; nobody else can read it."""
    path = private.make(connection_dir(), shared=False) / f"{info.runtime_id}.json"
    temporary = _temporary(path).name
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = private.enter(path.parent)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as f:
            f.write(msgspec.json.encode(info))
        os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(folder)
    return path


def remove(runtime_id: str) -> None:
    path = connection_dir() / f"{runtime_id}.json"
    for file in (path, _temporary(path)):
        with contextlib.suppress(OSError):
            file.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def sweep() -> None:
    """Remove the files of this machine's runtimes that are no more."""
    for info in _all():
        if info.host == socket.gethostname() and not info.alive():
            remove(info.runtime_id)
    try:
        folder = private.enter(connection_dir())
    except OSError:
        return
    try:
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if _broken(name, folder):
                    os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _broken(name: str, folder: int) -> bool:
    """Whether a node died while it wrote this file (the machine lost power, say)."""
    ours = name.endswith(".json") or (name.startswith(".") and name.endswith(".json.tmp"))
    if not ours or abs(time.time() - os.lstat(name, dir_fd=folder).st_mtime) < _FRESH_SECONDS:
        return False
    if name.startswith("."):
        return True
    try:
        msgspec.json.decode(private.read(name, folder, _LIMIT))
    except msgspec.DecodeError:
        return True  # not even JSON: what another version wrote would be
    return False


def runtimes() -> list[ConnectionInfo]:
    """The runtimes of this user that are alive, newest first."""
    found = [info for info in _all() if info.alive()]
    return sorted(found, key=lambda i: i.created, reverse=True)


def _all() -> list[ConnectionInfo]:
    place = connection_dir()
    try:
        folder = private.enter(place)
    except OSError:
        return []
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".json")]
        infos = [(name, _read(name, folder)) for name in names if not name.startswith(".")]
    finally:
        os.close(folder)
    found = []
    for name, info in infos:
        if info is not None:
            info.path = str(place / name)
            found.append(info)
    return found


def _read(name: str, folder: int) -> ConnectionInfo | None:
    try:
        info = msgspec.json.decode(private.read(name, folder, _LIMIT), type=ConnectionInfo)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    return info if info.sound(name) else None


def find(runtime_id: str) -> ConnectionInfo | None:
    """The connection file of one runtime, None if there is none."""
    try:
        folder = private.enter(connection_dir())
    except OSError:
        return None
    try:
        return _read(f"{runtime_id}.json", folder)
    finally:
        os.close(folder)
