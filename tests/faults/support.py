"""Drivers that can be killed, and the count of what they leave behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from fanlight import config
from fanlight.observe import discover
from tests import leaks

DEADLINE = 60.0  # seconds: a safety net, never waited for when all is well
# Seconds after a death until nothing is left: two are promised, and a tenth is usual. Tests assert no
# times, since a machine may be slow; the longest wait is printed at the end of the run.
PATIENCE = 60.0
longest: dict[str, float] = {}  # by test

_PRELUDE = """
import os, sys, time, signal
import fanlight

FOLDER = {folder!r}

def say(*words):
    os.write({fd}, (" ".join(map(str, words)) + "\\n").encode())

def note(name):
    path = os.path.join(FOLDER, name)
    new = path + "." + str(os.getpid())  # several processes may note the same
    with open(new, "w") as file:
        file.write(str(os.getpid()))
    os.rename(new, path)

def started(**options):
    fanlight.init(**({{"num_cpus": 2, "log_to_driver": False}} | options))
    session = fanlight.session.current()
    say("up", session.runtime_id, session.node_pid)

@fanlight.remote(num_cpus=0)
def add(x, y):
    return x + y

def check():
    assert fanlight.get([add.remote(i, 1) for i in range(20)], timeout=60) == list(range(1, 21))

"""


def poll(predicate: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true value of ``predicate``, or its last value when the time is up."""
    end = time.monotonic() + seconds
    pause = 0.002
    while True:
        value = predicate()
        if value or time.monotonic() > end:
            return value
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Runtime:
    """One runtime, as seen from outside: its processes and its files."""

    def __init__(self, runtime_id: str, node_pid: int) -> None:
        self.id = runtime_id
        self.node = psutil.Process(node_pid)
        self.session = config.socket_dir() / runtime_id
        self.segments = config.segment_root() / runtime_id
        self.connection = discover.connection_dir() / f"{runtime_id}.json"
        self._seen: set[psutil.Process] = {self.node}

    def zygote(self) -> psutil.Process:
        (zygote,) = poll(lambda: len(found := self.node.children()) == 1 and found)
        return zygote

    def workers(self, count: int = 2) -> list[psutil.Process]:
        zygote = self.zygote()
        poll(lambda: len(zygote.children()) >= count)
        return zygote.children()

    def look(self) -> None:
        """Remember the processes that there are, to ask later whether they are gone."""
        with contextlib.suppress(psutil.Error):
            self._seen.update(self.node.children(recursive=True))

    def left(self) -> list[str]:
        """What still exists of it."""
        left = [f"process {p.pid} {_name(p)}" for p in self._seen if alive(p)]
        left += [str(p) for p in (self.session, self.segments, self.connection) if p.exists()]
        return left


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:80]
    except psutil.Error:
        return ""


def assert_gone(before: leaks.Snapshot, *runtimes: Runtime) -> None:
    """Soon there is no process, session, segment or connection file."""
    started = time.monotonic()

    def read() -> list[str]:
        found = [x for r in runtimes for x in r.left()]
        # Descriptors of this process are counted by `no_leaks`, when the drivers are closed.
        return found or [x for x in leaks.left_since(before, seconds=0) if "descriptor" not in x]

    left = poll_empty(read, PATIENCE)
    assert not left, f"{PATIENCE:.0f} s later there is still: {left}"
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
    longest[test] = max(longest.get(test, 0.0), time.monotonic() - started)


def poll_empty(read: Callable[[], list[Any]], seconds: float) -> list[Any]:
    """What ``read`` still returns when the time is up, [] as soon as it returns nothing."""
    found: list[Any] = []

    def empty() -> bool:
        found[:] = read()
        return not found

    poll(empty, seconds)
    return found


class Driver:
    """A script in a process of its own that can be killed; it reports over a pipe."""

    def __init__(self, folder: Path, body: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._read, write = os.pipe()
        self._pending = b""
        number = sum(1 for _ in folder.glob("driver*.py"))
        script = folder / f"driver{number}.py"
        prelude = _PRELUDE.format(folder=str(folder), fd=write)
        script.write_text(prelude + textwrap.dedent(body))
        self._log = (folder / f"driver{number}.log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            pass_fds=(write,),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | (env or {}),
        )
        os.close(write)

    def hear(self, word: str, seconds: float = DEADLINE) -> list[str]:
        """Wait until the script says ``word``; returns what it said after it."""
        end = time.monotonic() + seconds
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if newline:
                self._pending = rest
                first, *words = line.decode().split(" ")
                if first == word:
                    return words
                raise AssertionError(
                    f"it said {line!r}, not {word!r}; its output:\n{self.output()}"
                )
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._read, 65536) if ready else b""
            if not data:
                raise AssertionError(f"it did not say {word!r}; its output:\n{self.output()}")
            self._pending += data

    def up(self) -> Runtime:
        """Wait for its runtime."""
        runtime_id, pid = self.hear("up")
        return Runtime(runtime_id, int(pid))

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def has(self, name: str) -> None:
        """Wait until the script, or a task of it, has noted ``name``."""
        assert poll((self.folder / name).exists), f"no {name}; its output:\n{self.output()}"

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = DEADLINE) -> int:
        return self.process.wait(seconds)

    def output(self) -> str:
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self._log.close()
        os.close(self._read)
