"""Objects on disk: files that are damaged, cut short or gone; full disks; deaths while files are
written; and waiting for room that is cut short."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.faults.support import Driver, Runtime, assert_gone, poll

np = pytest.importorskip("numpy")

MB = 1 << 20


def array(mb: int, fill: int) -> Any:
    return np.full(mb * MB // 8, fill, dtype=np.int64)


@pytest.fixture
def start(before: leaks.Snapshot) -> Iterator[Callable[..., Any]]:
    """``start(**options)``: a runtime with 32 MB of shared memory; nothing is left when it ends."""
    import fanlight

    def start(**options: Any) -> Any:
        fanlight.shutdown()
        defaults = {"num_cpus": 2, "log_to_driver": False, "object_store_memory": 32 * MB}
        fanlight.init(**(defaults | options))
        return fanlight

    yield start
    fanlight.shutdown()
    assert_gone(before)


@pytest.fixture
def rt(start: Callable[..., Any]) -> Any:
    return start()


def session(rt: Any) -> Any:
    return rt.session.current()


def store(rt: Any) -> dict[str, int]:
    return session(rt).engine.query("store")


def folder(rt: Any) -> Path:
    return Path(session(rt).info["spill_dir"])


def on_disk(rt: Any, refs: list[Any]) -> list[Any]:
    return [ref for ref in refs if rt.session.ref_state(ref)["place"] == "disk"]


def fill(rt: Any, count: int = 8) -> tuple[list[Any], Any]:
    """Refs to more than fits, and one of them that is on disk only; it is the n-th of its value."""
    refs = [rt.put(array(8, i)) for i in range(count)]
    return refs, on_disk(rt, refs)[0]


def file_of(rt: Any, number: int) -> Path:
    """The file of the object that is all ``number``."""
    for path in folder(rt).iterdir():
        with path.open("rb") as file:
            file.seek(MB)
            if file.read(8) == number.to_bytes(8, "little"):
                return path
    raise AssertionError(f"no file of {number}")


# --- files that cannot be read back ---------------------------------------------------------------


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5 * MB + 3)
        file.write(b"?")


def overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(9)
        file.write(b"?")


def cut(path: Path) -> None:
    os.truncate(path, 3 * MB)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (overwrite, "its file on disk is damaged"),
        pytest.param(overwrite_header, "its file on disk is damaged", marks=pytest.mark.long),
        (cut, "its file on disk was cut short"),
        pytest.param(empty, "its file on disk is damaged", marks=pytest.mark.long),
        (os.unlink, "its file on disk was deleted"),
    ],
)
def test_one_file_is_no_good(rt: Any, harm: Callable[[Path], None], text: str) -> None:
    refs, lost = fill(rt)
    number = refs.index(lost)
    harm(file_of(rt, number))
    use = rt.remote(lambda a: int(a[0]))
    with pytest.raises(rt.exceptions.ObjectLostError, match=text):
        rt.get(lost)
    with pytest.raises(rt.exceptions.ObjectLostError):
        rt.get(use.remote(lost))
    for i, ref in enumerate(refs):
        if ref is not lost:
            assert rt.get(ref)[-1] == i and rt.get(use.remote(ref)) == i
    del refs, ref, lost
    gc.collect()
    assert poll(lambda: not list(folder(rt).iterdir()))


def test_what_a_task_made_is_made_again(rt: Any, tmp_path: Path) -> None:
    @rt.remote
    def make(i: int) -> Any:
        with (tmp_path / "runs").open("a") as file:
            file.write(f"{i}\n")
        return array(8, i)

    refs = [make.remote(i) for i in range(8)]
    rt.wait(refs, num_returns=8)
    (lost,) = on_disk(rt, refs)[:1]
    number = refs.index(lost)
    overwrite(file_of(rt, number))
    assert rt.get(rt.remote(lambda a: int(a[-1])).remote(lost), timeout=60) == number
    assert rt.get(lost)[0] == number
    runs = (tmp_path / "runs").read_text().split()
    assert sorted(runs) == sorted([*map(str, range(8)), str(number)])


def test_the_directory_is_deleted(rt: Any) -> None:
    refs, _ = fill(rt)
    away = on_disk(rt, refs)
    shutil.rmtree(folder(rt))
    with pytest.raises(rt.exceptions.ObjectLostError, match="deleted"):
        rt.get(away[0])
    kept = [ref for ref in refs if ref not in away]
    for ref in kept:
        assert rt.get(ref)[0] == refs.index(ref)
    with pytest.raises(rt.exceptions.ObjectStoreFullError, match="No such file or directory"):
        rt.put(array(40, 1))
    assert rt.get(rt.remote(lambda: 5).remote()) == 5


def test_shared_memory_is_deleted_and_what_is_on_disk_stays(rt: Any) -> None:
    refs, _ = fill(rt)
    away = on_disk(rt, refs)
    shutil.rmtree(session(rt).info["segment_dir"])
    for ref in away:
        assert rt.get(ref, timeout=60)[0] == refs.index(ref)
    assert rt.get(rt.remote(lambda: 5).remote()) == 5


# --- disks that are full -------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB; who may not mount one has none. It is asked for before the runtime, which
    ends first."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("limit", ["0.95", "1.0"])
def test_a_full_disk(
    small_disk: Path, start: Callable[..., Any], limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit, and (without one) when the file system says so."""
    monkeypatch.setenv("FANLIGHT_local_fs_capacity_threshold", limit)
    rt = start(object_spilling_directory=small_disk)
    make = rt.remote(lambda i, mb: array(mb, i))
    refs: list[Any] = []
    with pytest.raises(rt.exceptions.OutOfDiskError) as info:
        refs.extend(rt.put(array(8, i)) for i in range(9))  # it keeps those that came
    text = str(info.value)
    assert "The object store is full: 8.4 MB are needed" in text and str(small_disk) in text
    assert "8.4 MB disk  made by put, held by driver" in text and "8.4 MB memory" in text, text
    assert 4 <= len(refs) <= 6
    with pytest.raises(rt.exceptions.RayTaskError, match="The object store is full"):
        rt.get(make.remote(9, 8))
    for i, ref in enumerate(refs):
        assert rt.get(ref)[-1] == i
    assert not [p for p in folder(rt).iterdir() if p.name.endswith(".part")]
    left = sum(p.stat().st_size for p in folder(rt).iterdir())
    assert left % (8 * MB) < MB, "no half of a file is left"
    del refs, ref
    gc.collect()
    assert rt.get(make.remote(7, 8), timeout=60)[0] == 7
    assert rt.get(rt.put(array(8, 3)))[0] == 3


def test_the_node_cannot_write_files(rt: Any) -> None:
    """A limit for the size of files, which needs no root; the driver has none."""
    resource.prlimit(session(rt).engine.node_pid, resource.RLIMIT_FSIZE, (MB, MB))
    refs = [rt.put(array(8, i)) for i in range(8)]
    for i, ref in enumerate(refs):
        assert rt.get(ref)[-1] == i
    names = [p.name for p in folder(rt).iterdir()]
    assert len(names) >= 4 and not any(n.startswith("@s") or n.endswith(".part") for n in names)


# --- deaths --------------------------------------------------------------------------------------


def test_a_worker_dies_while_it_writes_to_disk(rt: Any) -> None:
    @rt.remote(max_retries=0)
    def big() -> Any:
        from fanlight.store import files

        whole = files._write_all

        def half(file: Any, data: memoryview) -> None:
            whole(file, data)
            if data.nbytes > 1000:
                os.kill(os.getpid(), signal.SIGKILL)

        files._write_all = half
        return array(40, 1)

    with pytest.raises(rt.errors.WorkerCrashedError):
        rt.get(big.remote(), timeout=60)
    assert poll(lambda: not list(folder(rt).iterdir()))
    assert store(rt)["reserved"] == 0


_SPILLS = """
import numpy as np
started(object_store_memory=32 << 20{options})
say("dir", fanlight.session.current().info["spill_dir"])
refs = [fanlight.put(np.full(1 << 20, 1.0)) for _ in range(4)]
note("full")
while True:
    refs.append(fanlight.put(np.full(1 << 20, 1.0)))
    if len(refs) > 20:
        refs = refs[-4:]
"""


@pytest.mark.parametrize(
    ("who", "own"),
    [
        ("driver", True),
        ("node", False),
        ("node and zygote", True),
        ("zygote", False),
        pytest.param("driver", False, marks=pytest.mark.long),
        pytest.param("node", True, marks=pytest.mark.long),
        pytest.param("node and zygote", False, marks=pytest.mark.long),
    ],
)
def test_deaths_while_objects_are_written(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path, who: str, own: bool
) -> None:
    place = tmp_path / "place"
    options = f", object_spilling_directory={str(place)!r}" if own else ""
    script = driver(_SPILLS.format(options=options))
    runtime: Runtime = script.up()
    (spills,) = script.hear("dir")
    script.has("full")
    assert poll(lambda: list(Path(spills).iterdir()))
    runtime.workers()
    runtime.look()
    if who == "driver":
        script.kill()
    elif who == "zygote":  # a new one is forked while the disk is busy, and all goes on
        old = runtime.zygote()
        old.kill()
        assert poll(lambda: [p for p in runtime.node.children() if p != old])
        assert poll(lambda: len(runtime.workers()) >= 2)
        seen = set(os.listdir(spills))
        assert poll(lambda: set(os.listdir(spills)) - seen), "it spills no more"
        script.kill()
    else:
        zygote = runtime.zygote()
        runtime.node.kill()
        if who == "node and zygote":
            with contextlib.suppress(psutil.Error):
                zygote.kill()
        script.wait()
    script.wait()
    if who == "node and zygote":  # the next one clears up
        import fanlight

        fanlight.init(num_cpus=1, log_to_driver=False)
        fanlight.shutdown()
    assert_gone(before, runtime)
    assert poll(lambda: not Path(spills).exists())
    assert not own or list(place.iterdir()) == []


# --- waiting for room ----------------------------------------------------------------------------


def test_ctrl_c_while_waiting_for_room(rt: Any) -> None:
    """The place in line, or the promise that comes too late, is given back."""
    refs, _ = fill(rt, 6)
    node = psutil.Process(session(rt).engine.node_pid)
    for _ in range(3):
        node.suspend()
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            rt.put(array(8, 9))
        timer.join()
        node.resume()
    assert poll(lambda: store(rt)["reserved"] == 0)
    assert rt.get(rt.put(array(8, 5)))[0] == 5
    for i, ref in enumerate(refs):
        assert rt.get(ref)[0] == i


def test_a_worker_is_killed_while_it_waits_for_room(rt: Any, tmp_path: Path) -> None:
    fill(rt, 6)

    @rt.remote(max_retries=0)
    def big() -> Any:
        (tmp_path / "pid").write_text(str(os.getpid()))
        return array(8, 1)

    node = psutil.Process(session(rt).engine.node_pid)
    ref = big.remote()
    assert poll(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    node.suspend()
    time.sleep(0.05)  # it may be anywhere between its body and its report
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    node.resume()
    with contextlib.suppress(rt.errors.WorkerCrashedError):
        rt.get(ref, timeout=60)
    assert poll(lambda: store(rt)["reserved"] == 0)
    assert rt.get(rt.put(array(8, 5)))[0] == 5


def test_nobody_waits_for_a_process_that_stands_still(rt: Any) -> None:
    @rt.remote
    class Holder:
        def __init__(self) -> None:
            self.refs = [rt.put(array(8, i)) for i in range(3)]
            self.seen = [rt.get(ref)[0] for ref in self.refs]

        def pid(self) -> int:
            return os.getpid()

        def sum(self) -> int:
            return int(sum(rt.get(ref)[-1] for ref in self.refs))

    holder = Holder.remote()
    process = psutil.Process(rt.get(holder.pid.remote()))
    process.suspend()
    try:
        refs = [rt.put(array(8, i)) for i in range(6)]
        assert [int(rt.get(ref)[0]) for ref in refs] == list(range(6))
    finally:
        process.resume()
    assert rt.get(holder.sum.remote(), timeout=60) == 3
