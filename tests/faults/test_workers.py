"""What a dying worker takes along, and what not; see test_matrix.py for the ways to die."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.support import DEADLINE, alive, poll


def test_what_stands_behind_a_deadly_task_is_not_lost(rt: Any) -> None:
    """Tasks that were handed to the same worker ahead of time run elsewhere."""

    @rt.remote(max_retries=0)
    def task(i: int) -> int:
        if i == 150:
            os._exit(1)
        return i

    rt.get([task.remote(i) for i in range(50)])  # it is known to be quick: it is prefetched
    refs = [task.remote(i) for i in range(300)]
    _, not_ready = rt.wait(refs, num_returns=len(refs), timeout=DEADLINE)
    assert not not_ready
    with pytest.raises(rt.errors.WorkerCrashedError):
        rt.get(refs[150])
    for i, ref in enumerate(refs):
        if i > 200 or i < 50:  # others near it may be charged with the death: nobody else can tell
            assert rt.get(ref) == i


@pytest.mark.parametrize("own_session", [False, True])
def test_force_cancel_takes_subprocesses_along(rt: Any, tmp_path: Path, own_session: bool) -> None:
    """Those in a session of their own only end with the runtime: they asked to be let alone."""
    file = tmp_path / "pid"

    @rt.remote
    def task() -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "600"], start_new_session=own_session)
        (tmp_path / "new").write_text(str(child.pid))
        (tmp_path / "new").rename(file)
        child.wait()

    ref = task.remote()
    assert poll(file.exists)
    child = psutil.Process(int(file.read_text()))
    rt.cancel(ref, force=True)
    with pytest.raises(rt.errors.TaskCancelledError):
        rt.get(ref, timeout=DEADLINE)
    if own_session:
        assert alive(child)
        rt.shutdown()
    assert poll(lambda: not alive(child))


def test_an_unfinished_segment_of_a_killed_worker_is_deleted(rt: Any) -> None:
    """A worker dies while it writes a large result."""
    folder = Path(rt.session.current().info["segment_dir"])

    @rt.remote(max_retries=0)
    def big() -> Any:
        import fanlight.store.segments as segments

        write = segments.SegmentWriter._write_fresh

        def half(fd: int, value: Any) -> None:
            os.write(fd, b"x" * 1000)
            os.kill(os.getpid(), signal.SIGKILL)
            write(fd, value)

        segments.SegmentWriter._write_fresh = staticmethod(half)
        return bytes(10_000_000)

    with pytest.raises(rt.errors.WorkerCrashedError):
        rt.get(big.remote(), timeout=DEADLINE)
    assert poll(lambda: not list(folder.iterdir())), list(folder.iterdir())
    total = rt.available_resources()["object_store_memory"]
    assert poll(lambda: rt.available_resources()["object_store_memory"] == total)


def test_workers_collect_garbage_though_the_node_does_not(rt: Any) -> None:
    """Workers of a second zygote are forks of a node that serves already."""

    @rt.remote
    def facts() -> tuple[bool, int, int]:
        import gc

        return gc.isenabled(), os.getpid(), os.getppid()

    enabled, pid, zygote = rt.get(facts.remote())
    assert enabled
    psutil.Process(zygote).kill()
    poll(lambda: not alive(psutil.Process(pid)) if psutil.pid_exists(pid) else True, DEADLINE)
    enabled, _, second = rt.get(facts.remote(), timeout=DEADLINE)
    assert enabled and second != zygote
