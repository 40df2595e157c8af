"""Where a worker dies × what the user sees."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.support import DEADLINE, alive, poll


def _exit_7() -> None:
    os._exit(7)


def _sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def _abort() -> None:
    os.abort()


def _last_words() -> None:
    os.write(2, b"these are my last words\n")
    os._exit(3)


def _sys_exit() -> None:
    raise SystemExit(5)


def _exit_in_thread() -> None:
    import threading

    thread = threading.Thread(target=os._exit, args=(9,))
    thread.start()
    thread.join()


def _alive() -> bool:
    return True


DEATHS = {
    "os._exit": (_exit_7, "exit code 7", ""),
    "SIGKILL": (_sigkill, "SIGKILL", ""),
    "segfault": (_segfault, "SIGSEGV", "Segmentation fault"),
    "abort": (_abort, "SIGABRT", "Aborted"),
    "last words": (_last_words, "exit code 3", "these are my last words"),
    "sys.exit": (_sys_exit, "exit code 5", "called sys.exit(5)"),
    "in a thread": (_exit_in_thread, "exit code 9", ""),
}


@pytest.mark.parametrize("way", DEATHS)
def test_a_task_that_kills_its_worker_fails(rt: Any, way: str) -> None:
    die, how, words = DEATHS[way]
    task = rt.remote(die).options(max_retries=0, name="deadly")
    with pytest.raises(rt.errors.WorkerCrashedError) as info:
        rt.get(task.remote(), timeout=DEADLINE)
    assert how in str(info.value)
    assert words in str(info.value)
    assert "deadly" in str(info.value)
    assert rt.get(rt.remote(_alive).remote(), timeout=DEADLINE)


@pytest.mark.parametrize("way", ["os._exit", "SIGKILL", "segfault"])
def test_a_task_that_kills_its_worker_is_run_again(rt: Any, tmp_path: Path, way: str) -> None:
    die = DEATHS[way][0]
    log = str(tmp_path / "attempts")

    @rt.remote(max_retries=3)
    def task() -> str:
        with open(log, "a") as f:
            f.write("x")
        if os.path.getsize(log) < 3:
            die()
        return "done"

    assert rt.get(task.remote(), timeout=DEADLINE) == "done"
    assert Path(log).read_text() == "xxx"


def test_retries_end(rt: Any, tmp_path: Path) -> None:
    log = str(tmp_path / "attempts")

    @rt.remote(max_retries=2)
    def task() -> None:
        with open(log, "a") as f:
            f.write("x")
        os._exit(1)

    with pytest.raises(rt.errors.WorkerCrashedError):
        rt.get(task.remote(), timeout=DEADLINE)
    assert Path(log).read_text() == "xxx"


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


def test_a_killed_actor(rt: Any) -> None:
    @rt.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    actor = Actor.remote()
    pid = rt.get(actor.pid.remote())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(rt.errors.ActorDiedError, match="SIGKILL"):
        while True:
            rt.get(actor.pid.remote(), timeout=DEADLINE)
    assert not psutil.pid_exists(pid)


def test_a_killed_actor_is_restarted(rt: Any) -> None:
    @rt.remote(max_restarts=1, max_task_retries=-1)
    class Actor:
        def __init__(self) -> None:
            self.calls = 0

        def call(self) -> tuple[int, int]:
            self.calls += 1
            return os.getpid(), self.calls

    actor = Actor.remote()
    first, calls = rt.get(actor.call.remote())
    assert calls == 1
    os.kill(first, signal.SIGKILL)
    second, calls = rt.get(actor.call.remote(), timeout=DEADLINE)
    assert (second != first, calls) == (True, 1), "a restarted actor begins anew"
    os.kill(second, signal.SIGKILL)
    with pytest.raises(rt.errors.ActorDiedError):
        rt.get(actor.call.remote(), timeout=DEADLINE)


def test_queued_calls_of_a_killed_actor_all_fail(rt: Any, tmp_path: Path) -> None:
    @rt.remote
    class Actor:
        def block(self, folder: str) -> None:
            Path(folder, str(os.getpid())).touch()
            signal.pause()

    actor = Actor.remote()
    refs = [actor.block.remote(str(tmp_path)) for _ in range(200)]
    (file,) = poll(lambda: list(tmp_path.iterdir()))
    os.kill(int(file.name), signal.SIGKILL)
    for ref in refs:
        with pytest.raises(rt.errors.ActorDiedError):
            rt.get(ref, timeout=DEADLINE)


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


def test_a_task_that_forks(rt: Any) -> None:
    """The child has no connection to the node; whatever it does, results stay right."""

    @rt.remote
    def task(way: str) -> tuple[str, int]:
        pid = os.fork()
        if not pid:
            if way == "prints":
                print("from the child")
            elif way == "uses the runtime":
                code = 0 if not rt.is_initialized() else 1
                os._exit(code)
            elif way == "returns":
                return "child", 0
            os._exit(0)
        return "parent", os.waitpid(pid, 0)[1]

    for way in ("exits", "prints", "uses the runtime"):
        refs = [task.remote(way) for _ in range(5)]
        assert rt.get(refs, timeout=DEADLINE) == [("parent", 0)] * 5
    # A child that returns from the task: its result goes nowhere.
    assert [who for who, _ in rt.get([task.remote("returns") for _ in range(5)], timeout=DEADLINE)]
    assert rt.get(task.remote("exits"), timeout=DEADLINE) == ("parent", 0)


def test_multiprocessing_in_a_task(rt: Any) -> None:
    @rt.remote
    def task() -> list[int]:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2, -3])

    assert rt.get([task.remote() for _ in range(3)], timeout=DEADLINE) == [[1, 2, 3]] * 3


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
