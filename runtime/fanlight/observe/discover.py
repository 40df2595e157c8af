"""Connection files: how runtimes are found.

A node writes one JSON file, mode 0600, into ``<Jupyter runtime dir>/fanlight/`` and removes it when
it ends. The file names the node's unix socket and holds the token that the handshake needs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
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
    path: str = ""  # where this was read from

    def alive(self) -> bool:
        """Whether the node's process still exists."""
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
    fd, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")  # mode 0600
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(msgspec.json.encode(info))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return path


def remove(runtime_id: str) -> None:
    with contextlib.suppress(OSError):
        (connection_dir() / f"{runtime_id}.json").unlink()


def runtimes() -> list[ConnectionInfo]:
    """The runtimes of this user that are alive, newest first."""
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
        if info.alive():
            found.append(info)
    return sorted(found, key=lambda i: i.created, reverse=True)
