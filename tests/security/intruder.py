"""Another user of the machine: a process with a uid of its own, and what it gets at.

Needs root, as continuous integration has it; without, the tests look at modes and owners.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

STRANGER = 65534  # "nobody", on every system
ROOT = os.geteuid() == 0


def as_stranger(action: Callable[[], Any]) -> Any:
    """What ``action`` returns (as JSON) in a child that has become another user."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            os.umask(0o022)
            with os.fdopen(write, "w") as pipe:
                json.dump(action(), pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the stranger's own code failed"
    return json.loads(text)


def attempts(paths: list[str], pids: list[int]) -> list[str]:
    """Everything that worked of what must not; run as a stranger."""
    got: list[str] = []

    def attempt(what: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except OSError:
            return
        got.append(what)

    for path in paths:
        attempt(f"read {path}", lambda path=path: _read(path))
        attempt(f"write {path}", lambda path=path: os.close(os.open(path, os.O_WRONLY)))
        attempt(f"list {path}", lambda path=path: os.listdir(path))
        attempt(f"make a file in {path}", lambda path=path: Path(path, "new").touch())
        attempt(f"remove {path}", lambda path=path: os.unlink(path))
        attempt(f"rename {path}", lambda path=path: os.rename(path, path + "-mine"))
        attempt(f"connect to {path}", lambda path=path: _connect(path))
    for pid in pids:
        for name in ("environ", "mem", "maps", "fd", "cwd"):
            attempt(f"look at /proc/{pid}/{name}", lambda f=f"/proc/{pid}/{name}": _look(f))
        attempt(f"signal {pid}", lambda pid=pid: os.kill(pid, 0))
    return got


def _read(path: str) -> None:
    with open(path, "rb") as f:
        f.read(1)


def _look(path: str) -> None:
    if path.endswith("fd"):
        os.listdir(path)
    elif path.endswith("cwd"):
        os.readlink(path)
    else:
        with open(path, "rb") as f:
            f.read(1)


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)


def everything_below(*folders: Path) -> list[str]:
    found = []
    for folder in folders:
        found += [str(folder), *(str(p) for p in folder.rglob("*"))]
    return found
