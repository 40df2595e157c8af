"""Segments that somebody deletes, cuts or overwrites while a runtime uses them. What can be computed
again is; for the rest there is a clear error, and nothing else is lost."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanlight import session
from fanlight.testing.losses import WAYS, damage, lose
from tests.faults.support import Driver, poll

N = 200_000  # bytes: such a value goes to shared memory


def segments() -> Path:
    folder = session.require_client().values.folder
    assert folder is not None
    return folder


@pytest.mark.parametrize("seed", [1, *(pytest.param(i, marks=pytest.mark.long) for i in (2, 3))])
def test_files_vanish_while_tasks_run(rt: Any, seed: int) -> None:
    """Chains and fans of tasks whose results are deleted at random: every result is right."""
    dice = random.Random(seed)

    @rt.remote(max_retries=-1)
    def make(i: int) -> bytes:
        return bytes([i]) * N

    @rt.remote(max_retries=-1)
    def join(*parts: bytes) -> bytes:
        return bytes([sum(part[0] for part in parts) % 251]) * N

    @rt.remote(max_retries=-1)
    def first(part: bytes) -> int:
        assert part == part[:1] * N
        return part[0]

    folder = segments()
    done = threading.Event()
    deleted = 0

    def delete() -> None:
        nonlocal deleted
        while not done.wait(0.01):
            names = sorted(os.listdir(folder))
            for name in dice.sample(names, min(2, len(names))):
                try:
                    (folder / name).unlink()
                    deleted += 1
                except FileNotFoundError:
                    pass

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        results, expected = [], []
        for start in range(12):
            parts = [make.remote(start), make.remote(start + 1)]
            values = [start, start + 1]
            for _ in range(4):
                parts.append(join.remote(*parts[-2:]))
                values.append(sum(values[-2:]) % 251)
            results += [first.remote(part) for part in parts]
            expected += values
        assert rt.get(results, timeout=120) == expected
        poll(lambda: deleted > 20)
    finally:
        done.set()
        thread.join()
    assert deleted > 20


def test_the_whole_folder_vanishes(rt: Any) -> None:
    @rt.remote
    def make(i: int) -> bytes:
        return bytes([i]) * N

    folder = segments()
    results = [make.remote(i) for i in range(5)]
    put, small = rt.put(bytes(N)), rt.put(7)
    rt.wait(results, num_returns=5)
    shutil.rmtree(folder)
    assert [value[0] for value in rt.get(results)] == [0, 1, 2, 3, 4]
    with pytest.raises(rt.exceptions.ObjectReconstructionFailedError, match="PUT"):
        rt.get(put)
    assert rt.get(small) == 7
    assert len(rt.get(rt.put(bytes(N)))) == N
    assert folder.stat().st_mode & 0o777 == 0o700
    fd = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):  # else the next init() of another program would remove it
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    shutil.rmtree(folder)
    assert len(rt.get(rt.put(bytes(N)))) == N, "and once more"


@pytest.mark.long
def test_a_folder_that_cannot_be_made_again(rt: Any) -> None:
    folder = segments()
    shutil.rmtree(folder)
    folder.write_text("in the way")
    try:
        with pytest.raises(rt.exceptions.ObjectStoreFullError, match="was deleted"):
            rt.put(bytes(N))
        assert rt.get(rt.put(1)) == 1
        with pytest.raises(rt.exceptions.ObjectStoreFullError, match="was deleted"):
            rt.get(rt.remote(lambda: bytes(N)).remote())
    finally:
        folder.unlink()
    assert len(rt.get(rt.put(bytes(N)))) == N


def test_warm_segments_that_were_damaged(rt: Any) -> None:
    """They hold nothing, and wait to be written again: here and in a worker."""
    make = rt.remote(lambda i: bytes([i]) * N)
    query = session.require_client().query
    for way in WAYS:
        for i in range(3):  # written twice, so that a mapping is kept
            assert rt.get(make.remote(i)) == bytes([i]) * N
            assert rt.get(rt.put(bytes([i]) * N)) == bytes([i]) * N
        assert poll(lambda: query("store")["cached"] == query("store")["used"] > 0)
        for path in segments().iterdir():
            if path.stat().st_size:  # else it is one of the last round, not deleted yet
                damage(path, way)


def test_an_interrupted_wait_for_what_is_computed_again(rt: Any, tmp_path: Path) -> None:
    gate, count = tmp_path / "gate", tmp_path / "count"

    @rt.remote
    def slow() -> bytes:
        with count.open("a") as file:
            file.write("x")
        while count.stat().st_size > 1 and not gate.exists():
            time.sleep(0.005)
        return bytes(N)

    ref = slow.remote()
    rt.wait([ref])
    lose(ref)

    def interrupt() -> None:
        poll(lambda: count.stat().st_size > 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        rt.get(ref)
    thread.join()
    gate.touch()
    assert len(rt.get(ref)) == N
    assert count.stat().st_size == 2


def test_workers_that_are_killed_while_they_compute_it_again(rt: Any, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()

    @rt.remote
    def link(i: int, before: bytes) -> bytes:
        mine = pids / str(i)
        if mine.exists() and mine.read_text() != "killed":
            mine.write_text("killed")
            os.kill(os.getpid(), signal.SIGKILL)
        if not mine.exists():
            mine.write_text("ran")
        return bytes([before[0] + 1]) * N

    refs = [rt.remote(lambda: bytes(N)).remote()]
    for i in range(8):
        refs.append(link.remote(i, refs[-1]))
    rt.wait(refs, num_returns=len(refs))
    for i in range(len(refs)):
        lose(refs[i])
    assert rt.get(refs[-1])[0] == 8


TWO_DRIVERS = """
fanlight.init(address="auto", log_to_driver=False)
keeper = fanlight.get_actor("keeper", namespace="shared")
[ref] = fanlight.get(keeper.get.remote())
assert fanlight.get(ref)[0] == 1
say("has")
sys.stdin.readline()
value = fanlight.get(ref)
say("again", value[0])
del value
sys.stdin.readline()
try:
    fanlight.get(ref)
except fanlight.exceptions.ObjectLostError as e:
    say("error", *str(e).split())
"""


@pytest.mark.long
def test_two_drivers(rt: Any, driver: Callable[..., Driver], tmp_path: Path) -> None:
    """Both hold it; the one that had submitted it goes."""
    count = tmp_path / "count"
    first = driver(
        f"""
        started(num_cpus=2, namespace="shared")

        @fanlight.remote
        class Keeper:
            def set(self, refs):
                self.refs = refs

            def get(self):
                return self.refs

        @fanlight.remote
        def make():
            with open({str(count)!r}, "a") as file:
                file.write("x")
            return bytes([os.stat({str(count)!r}).st_size]) * {N}

        keeper = Keeper.options(name="keeper", lifetime="detached").remote()
        ref = make.remote()
        fanlight.get(keeper.set.remote([ref]))
        say("stored")
        sys.stdin.readline()
        from fanlight.testing.losses import lose
        lose(ref)
        assert fanlight.get(ref)[0] == 2
        say("lost")
        sys.stdin.readline()
        lose(ref)
        os._exit(0)
        """
    )
    rt.shutdown()
    first.up()
    first.hear("stored")
    second = driver(TWO_DRIVERS)
    second.hear("has")
    first.tell()
    first.hear("lost")
    second.tell()
    assert second.hear("again") == ["2"]
    first.tell()
    first.wait()
    second.tell()
    assert "OWNER_DIED" in " ".join(second.hear("error"))
    second.wait()
