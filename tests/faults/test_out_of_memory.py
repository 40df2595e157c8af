"""Real memory, in runtimes with small limits: who ends, who is told what, and that all else goes on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.engines.support import line
from tests.faults.support import Driver, assert_gone, poll

MB = 1_000_000
LIMIT = 350 * MB

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


@pytest.fixture
def small(before: leaks.Snapshot) -> Iterator[Callable[..., Any]]:
    """``small(**options)`` is the module ``fanlight`` with a runtime of 350 MB."""
    import fanlight

    def start(**options: Any) -> Any:
        fanlight.shutdown()
        wanted = {"num_cpus": 2, "memory": LIMIT, "log_to_driver": False}
        fanlight.init(**(wanted | options))
        return fanlight

    yield start
    fanlight.shutdown()
    assert_gone(before)


def fill(size: int) -> bytearray:
    """Memory whose pages are touched."""
    return bytearray(b"x") * size


def note(folder: Path, name: str) -> None:
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def notes(folder: Path, name: str) -> int:
    try:
        return len((folder / name).read_text().split())
    except OSError:
        return 0


def everything_works(fl: Any) -> None:
    @fl.remote
    def add(x: int) -> int:
        return x + 1

    assert fl.get([add.remote(i) for i in range(20)], timeout=60) == list(range(1, 21))


@line("FLT.15", "OBJ.9")
def test_the_newest_goes_first_and_all_finish(small: Callable[..., Any], tmp_path: Path) -> None:
    """Four tasks of 110 MB in 350: the older ones are not disturbed, the others run when there is
    room."""
    fl = small(num_cpus=4)

    @fl.remote
    def eat(i: int) -> int:
        note(tmp_path, f"began{i}")
        mine = fill(110 * MB)
        note(tmp_path, f"full{i}")
        while not notes(tmp_path, "end"):
            time.sleep(0.01)
        return len(mine) + i

    from fanlight.util import state

    refs = []
    for i in range(2):  # one after the other, so that it is known which are the newest
        refs.append(eat.remote(i))
        assert poll(lambda i=i: notes(tmp_path, f"full{i}"))
    refs += [eat.remote(i) for i in (2, 3)]
    assert poll(lambda: any(t.attempt_number for t in state.list_tasks()))
    note(tmp_path, "end")
    assert fl.get(refs, timeout=60) == [110 * MB + i for i in range(4)]
    assert notes(tmp_path, "began0") == notes(tmp_path, "began1") == 1
    assert notes(tmp_path, "began2") + notes(tmp_path, "began3") > 2


@line("OBJ.8", "FLT.15")
def test_without_retries_the_error_says_who_used_what(small: Callable[..., Any]) -> None:
    fl = small(object_store_memory=100 * MB)
    kept = fl.put(bytes(50 * MB))

    @fl.remote(max_retries=0)
    def grow(holds: Any) -> None:
        mine = []
        while len(mine) < 60:  # 600 MB at most
            mine.append(fill(10 * MB))
            time.sleep(0.02)
        time.sleep(60)

    with pytest.raises(fl.exceptions.OutOfMemoryError, match="running low on memory") as info:
        fl.get(grow.remote([kept]), timeout=60)
    text = str(info.value)
    for words in ("task grow", "<- ended", "object store: 1 segments", "driver", "resident"):
        assert words in text, text
    assert f"{os.getpid()}" in text, "the driver, which was not ended"
    row = next(x for x in text.splitlines() if "object store" in x)
    assert 45 <= float(row.split()[0]) <= 60, "counted once, and as itself"
    assert "max_retries=0" in text
    assert len(fl.get(kept)) == 50 * MB
    everything_works(fl)


@line("FLT.15")
def test_what_is_too_large_by_itself_does_not_go_on_for_ever(
    small: Callable[..., Any], tmp_path: Path
) -> None:
    fl = small()

    @fl.remote(max_retries=1)
    def grow() -> None:
        note(tmp_path, "began")
        mine = []
        while len(mine) < 60:  # 600 MB at most
            mine.append(fill(10 * MB))
            time.sleep(0.02)
        time.sleep(60)

    with pytest.raises(fl.exceptions.OutOfMemoryError, match="needs more than there is"):
        fl.get(grow.remote(), timeout=60)
    assert notes(tmp_path, "began") == 2
    everything_works(fl)


@line("OBJ.8")
def test_an_actor(small: Callable[..., Any]) -> None:
    fl = small()

    @fl.remote
    class Hoard:
        def __init__(self) -> None:
            self.mine: list[bytearray] = []

        def more(self) -> int:
            self.mine.append(fill(30 * MB))
            return len(self.mine)

    actor = Hoard.remote()
    assert fl.get(actor.more.remote()) == 1
    with pytest.raises(fl.exceptions.OutOfMemoryError, match="running low on memory") as info:
        for _ in range(1000):
            fl.get(actor.more.remote(), timeout=60)
            time.sleep(0.01)
    assert "actor Hoard" in str(info.value)
    with pytest.raises(fl.exceptions.OutOfMemoryError, match="actor Hoard"):
        fl.get(actor.more.remote(), timeout=60)
    everything_works(fl)


def test_what_a_task_started_counts(small: Callable[..., Any]) -> None:
    fl = small()

    @fl.remote(max_retries=0)
    def spawns() -> None:
        import subprocess
        import sys

        code = f"x = bytearray(b'x') * {400 * MB}; input()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
            child.wait()

    with pytest.raises(fl.exceptions.OutOfMemoryError, match="task spawns"):
        fl.get(spawns.remote(), timeout=60)
    everything_works(fl)


@line("OBJ.8")
def test_objects_go_to_disk_before_a_task_ends(small: Callable[..., Any]) -> None:
    fl = small(memory=400 * MB, object_store_memory=300 * MB)
    refs = [fl.put(bytes([i]) * 20 * MB) for i in range(10)]

    @fl.remote(max_retries=0)
    def grow() -> int:
        mine = []
        for _ in range(15):
            mine.append(fill(10 * MB))
            time.sleep(0.1)
        return len(mine)

    assert fl.get(grow.remote(), timeout=60) == 15
    assert [fl.get(ref)[0] for ref in refs] == list(range(10))


@pytest.mark.long
def test_the_driver_sees_what_is_tried_again(driver: Callable[..., Driver]) -> None:
    """A notice names the task; the panel has it among the errors, with the table."""
    body = f"""
    started(memory={LIMIT}, log_to_driver=True)
    events = []
    watch = fanlight.session.subscribe(events.append)

    @fanlight.remote(max_retries=1)
    def grow():
        mine = []
        while not os.path.exists(os.path.join(FOLDER, "again")):
            if len(mine) < 60:
                mine.append(bytearray(b"x") * 10_000_000)
            time.sleep(0.02)
        return "at last"

    ref = grow.remote()
    while not any("grow" in x.name for e in events for x in getattr(e, "errors", ())):
        time.sleep(0.01)
    note("again")
    error = next(x for e in events for x in getattr(e, "errors", ()) if "grow" in x.name)
    say("table", *error.traceback.split())
    runtime = next(e.runtime for e in reversed(events) if getattr(e, "runtime", None))
    say("memory", runtime.memory_limit, runtime.memory_used > 0)
    assert fanlight.get(ref, timeout=60) == "at last"
    watch.close()
    fanlight.shutdown()
    """
    script = driver(body)
    script.up()
    table = " ".join(script.hear("table"))
    assert "task grow" in table and "<- ended" in table and "It is run again in 0.5 s" in table
    assert script.hear("memory") == [str(LIMIT), "True"]
    assert script.wait() == 0
    assert "running low on memory" in script.output()


def test_ctrl_c_and_shutdown_while_a_task_waits_for_memory(small: Callable[..., Any]) -> None:
    fl = small()

    @fl.remote(max_retries=-1)
    def grow() -> None:
        mine = []
        while len(mine) < 60:  # 600 MB at most
            mine.append(fill(10 * MB))
            time.sleep(0.01)
        time.sleep(60)

    from fanlight.util import state

    ref = grow.remote()
    assert poll(lambda: any(t.attempt_number for t in state.list_tasks()))
    fl.cancel(ref)
    with pytest.raises(fl.exceptions.TaskCancelledError):
        fl.get(ref, timeout=60)
    again = grow.remote()
    assert poll(lambda: fl.session.ref_state(again)["why"].startswith("It was ended since memory"))
    fl.shutdown()


@line("OBJ.8")
def test_it_can_be_turned_off(small: Callable[..., Any]) -> None:
    """With a threshold of nearly nothing every task would end; with refresh 0 none does."""
    settings = {"memory_usage_threshold": 1e-6, "memory_monitor_refresh_ms": 0}
    fl = small(memory=None, _system_config=settings)

    @fl.remote(max_retries=0)
    def held() -> int:
        mine = fill(100 * MB)
        time.sleep(1.0)
        return len(mine)

    assert fl.get(held.remote(), timeout=60) == 100 * MB


@line("OBJ.8")
def test_the_threshold_of_the_machine(small: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    fl = small(memory=None)

    @fl.remote(max_retries=0)
    def held() -> None:
        mine = fill(100 * MB)
        time.sleep(60)
        del mine

    with pytest.raises(fl.exceptions.OutOfMemoryError, match=r"this (machine|container) was run"):
        fl.get(held.remote(), timeout=60)


@pytest.mark.long
def test_a_fork_bomb_of_tasks(driver: Callable[..., Driver]) -> None:
    """Each task waits for two more, without end: bounded, an error in the end, and all goes on."""
    body = """
    started(max_processes=6, num_cpus=2)

    @fanlight.remote(num_cpus=0, max_retries=0)
    def bomb():
        return sum(fanlight.get([bomb.remote(), bomb.remote()]))

    say("lit")
    try:
        fanlight.get(bomb.remote(), timeout=100)
    except fanlight.exceptions.TaskUnschedulableError as e:
        say("error", *str(e).split())
    check()
    fanlight.shutdown()
    """
    script = driver(body)
    runtime = script.up()
    script.hear("lit")
    most = 0

    def count() -> bool:
        nonlocal most
        with contextlib.suppress(psutil.Error):
            most = max(most, len(runtime.zygote().children()))
        return script.process.poll() is not None

    assert poll(count, 100)
    assert "may have 6 processes (max_processes)" in " ".join(script.hear("error"))
    assert 2 < most <= 6
    assert script.wait() == 0
