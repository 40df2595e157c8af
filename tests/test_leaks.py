"""The leak check itself can fail: it finds what is left, and is content when that is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fanlight import config
from fanlight.observe import discover

from . import leaks

SLEEPER = "import time; time.sleep(600)"
# Starts a sleeper, prints its pid and ends: the sleeper is an orphan.
PARENT = f"""
import subprocess, sys
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], **quiet).pid)
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directories that are looked into, without anyone else's entries."""
    monkeypatch.setattr(config, "segment_root", lambda: tmp_path / "segments")
    monkeypatch.setattr(config, "socket_dir", lambda: tmp_path / "sessions")
    monkeypatch.setattr(discover, "connection_dir", lambda: tmp_path / "connections")
    for name in ("segments", "sessions", "connections"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_nothing_is_nothing(folders: Path) -> None:
    assert leaks.left_since(leaks.snapshot(), seconds=0) == []


def test_an_orphan_is_found_and_ended(folders: Path) -> None:
    before = leaks.snapshot()
    done = subprocess.run(
        [sys.executable, "-c", PARENT], capture_output=True, text=True, check=True
    )
    orphan = psutil.Process(int(done.stdout))
    (found,) = leaks.left_since(before, seconds=0)
    assert found.startswith(f"process {orphan.pid}: ") and "sleep(600)" in found
    leaks.kill_since(before)
    assert leaks.left_since(before) == []


@pytest.mark.parametrize("name", ["segments", "sessions", "connections"])
def test_a_file_is_found(folders: Path, name: str) -> None:
    before = leaks.snapshot()
    left = folders / name / "abc"
    left.mkdir()
    assert leaks.left_since(before, seconds=0) == [f"file {left}"]
    left.rmdir()
    assert leaks.left_since(before, seconds=0) == []


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks")
def test_what_a_live_runtime_holds_is_not_a_leak(folders: Path) -> None:
    import fcntl

    before = leaks.snapshot()
    for name in ("segments", "sessions"):
        (folders / name / "abc").mkdir()
    with open(folders / "sessions" / "abc" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert leaks.left_since(before, seconds=0) == []
    assert len(leaks.left_since(before, seconds=0)) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are read from /proc")
def test_descriptors_are_found(folders: Path) -> None:
    before = leaks.snapshot()
    a, b = socket.socketpair()
    assert leaks.left_since(before, seconds=0) == ["2 more open descriptor(s): socket"]
    a.close()
    b.close()
    reader, writer = os.pipe()
    assert leaks.left_since(before, seconds=0) == ["2 more open descriptor(s): pipe"]
    os.close(reader)
    os.close(writer)
    assert leaks.left_since(before, seconds=0) == []


def test_the_check_waits_for_what_ends_by_itself(folders: Path) -> None:
    before = leaks.snapshot()
    code = "import sys; sys.stdin.read()"
    ending = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while not leaks.snapshot().processes and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ending.stdin is not None
    ending.stdin.close()
    assert leaks.left_since(before) == []
    ending.wait()
