"""Connection files: how runtimes are found.

A node writes one JSON file, mode 0600, into ``<Jupyter runtime dir>/fanlight/`` and removes it when
it ends. The file names the node's unix socket and holds the token that the handshake needs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import msgspec


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
            return True
        return True


def jupyter_runtime_dir() -> Path:
    """Where Jupyter keeps connection files, by its own rules, without importing jupyter_core."""
    if env := os.environ.get("JUPYTER_RUNTIME_DIR"):
        return Path(env)
    if env := os.environ.get("JUPYTER_DATA_DIR"):
        return Path(env) / "runtime"
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Jupyter" / "runtime"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else home / ".local" / "share") / "jupyter" / "runtime"


def connection_dir() -> Path:
    return jupyter_runtime_dir() / "fanlight"


def write(info: ConnectionInfo) -> Path:
    """Write (or replace) the connection file of a runtime; nobody else can read it."""
    folder = connection_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{info.runtime_id}.json"
    temporary = _temporary(path)
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as f:
            f.write(msgspec.json.encode(info))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
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


def runtimes() -> list[ConnectionInfo]:
    """The runtimes of this user that are alive, newest first."""
    found = [info for info in _all() if info.alive()]
    return sorted(found, key=lambda i: i.created, reverse=True)


def _all() -> list[ConnectionInfo]:
    found = []
    try:
        paths = list(connection_dir().glob("*.json"))
    except OSError:
        return []
    for path in paths:
        try:
            info = msgspec.json.decode(path.read_bytes(), type=ConnectionInfo)
        except (OSError, msgspec.DecodeError):
            continue
        info.path = str(path)
        found.append(info)
    return found
