"""The crash matrix (matrix.py), provoked cell by cell in one runtime that survives all of it."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.faults import matrix
from tests.faults.provoke import FAULTS, STORE
from tests.faults.support import DEADLINE, alive, assert_gone, poll, poll_empty

LAST_WORDS = "these are its last words"
PRINTED = "printed by the next task"


class Runtime:
    """The runtime of all cells, and what is said to its driver."""

    def __init__(self, fanlight: Any) -> None:
        self.api = fanlight
        session = fanlight.session.current()
        self.session = session
        self.node = psutil.Process(session.node_pid)
        self.notices: list[str] = []
        self.output: list[str] = []
        session.client.on_notice = self.notices.append
        self._off = fanlight.task_output.add_listener(lambda x: self.output.append(x.text))

    def zygote(self) -> psutil.Process:
        (zygote,) = poll(lambda: len(found := self.node.children()) == 1 and found)
        return zygote

    def objects(self) -> int:
        return int(self.session.engine.query("store")["objects"])

    def assert_tidy(self, objects: int) -> None:
        """All resources are free, no more objects are left, and below the zygote are workers only."""
        total = self.api.cluster_resources()

        def untidy() -> list[Any]:
            zygote = self.zygote()
            workers = zygote.children()
            below = [p for p in zygote.children(recursive=True) if p not in workers]
            free = self.api.available_resources()
            held = {k for k in ("CPU", "memory") if free.get(k) != total[k]}
            more = max(0, self.objects() - objects)
            if more > 0:  # an exception holds the frames that it went through, and their refs
                gc.collect()
            return [x for x in (below, held, more) if x]

        left = poll_empty(untidy, 5.0)
        assert not left, left

    def assert_prints(self) -> None:
        """Tasks of every worker print as they always did."""

        @self.api.remote
        def task() -> int:
            print(PRINTED, flush=True)
            return 1

        self.output.clear()
        assert self.api.get([task.remote() for _ in range(4)], timeout=DEADLINE) == [1] * 4
        assert poll(lambda: "".join(self.output).count(PRINTED) == 4), self.output


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    import fanlight

    before = leaks.snapshot()
    fanlight.shutdown()
    fanlight.init(num_cpus=2, log_to_driver=False, object_store_memory=STORE)
    made = Runtime(fanlight)
    yield made
    made._off()
    fanlight.shutdown()
    assert_gone(before)


@pytest.fixture
def rt(runtime: Runtime) -> Iterator[Any]:
    runtime.notices.clear()
    objects = runtime.objects()
    yield runtime.api
    runtime.assert_tidy(objects)


def cells(test: str, long: Callable[[matrix.Cell], bool] = lambda cell: False) -> Any:
    """The cells of a test; those that are ``long`` run in test-long only."""
    params = [
        pytest.param(cell, id=cell.fault, marks=pytest.mark.long if long(cell) else ())
        for cell in matrix.cells(f"faults/test_matrix.py::{test}")
    ]
    return pytest.mark.parametrize("cell", params)


def harm(fault: str, log: str) -> Any:
    """Note that an attempt was made, say something as native code does, and do it."""
    with open(log, "a") as f:
        f.write(f"{os.getpid()}\n")
    os.write(2, f"{LAST_WORDS}\n".encode())
    return FAULTS[fault]()


def expect(rt: Any, cell: matrix.Cell, get: Callable[[], Any], log: Path, *also: str) -> list[int]:
    """What ``get`` raises or returns is what the cell says; the pids of the attempts."""
    if cell.error:
        error = getattr(rt.errors, cell.error, None) or __builtins__[cell.error]  # type: ignore[index]
        with pytest.raises(error) as info:
            get()
        text = str(info.value)
        for words in (*cell.says, *also):
            assert words in text, text
    else:
        result = get()
        assert result == "survived" or result[:8] == b"survived"
        text = ""
    pids = [int(line) for line in log.read_text().split()]
    if cell.error in ("WorkerCrashedError", "ActorDiedError"):
        assert f"pid {pids[-1]}" in text and (LAST_WORDS in text or "Fatal Python" in text), text
        assert poll(lambda: not any(map(psutil.pid_exists, pids)))
    return pids


@cells("test_task")
def test_task(rt: Any, runtime: Runtime, tmp_path: Path, cell: matrix.Cell) -> None:
    log = tmp_path / "attempts"
    task = rt.remote(harm).options(max_retries=1, name="deadly")
    ref = task.remote(cell.fault, str(log))
    died = cell.error == "WorkerCrashedError"
    words = ["deadly"] if died or cell.error == "TaskError" else []
    pids = expect(rt, cell, lambda: rt.get(ref, timeout=DEADLINE), log, *words)
    assert len(pids) == (2 if died else 1)
    runtime.assert_prints()


@cells("test_generator", long=lambda cell: not cell.error and cell.fault != "fork")
def test_generator(rt: Any, tmp_path: Path, cell: matrix.Cell) -> None:
    log = tmp_path / "attempts"

    @rt.remote(max_retries=1)
    def items(fault: str, log: str) -> Iterator[Any]:
        yield 0
        yield 1
        yield harm(fault, log)
        yield 3

    gen = items.remote(cell.fault, str(log))
    got = []

    def consume() -> Any:
        got.extend(rt.get(ref, timeout=DEADLINE) for ref in gen)
        return got[2]

    pids = expect(rt, cell, consume, log)
    assert len(pids) == (2 if cell.error == "WorkerCrashedError" else 1)
    assert got == ([0, 1] if cell.error else [0, 1, got[2], 3])


class Plain:
    def harm(self, fault: str, log: str, *_: Any) -> Any:
        return harm(fault, log)

    def block(self, gate: str, *_: Any) -> str:
        poll(lambda: os.path.exists(gate))
        return "passed"

    def call(self, i: int) -> int:
        return i

    def pid(self) -> int:
        return os.getpid()


class Async:
    async def harm(self, fault: str, log: str) -> Any:
        return harm(fault, log)

    async def block(self, gate: str) -> str:
        poll(lambda: os.path.exists(gate))
        return "passed"

    async def call(self, i: int) -> int:
        return i

    async def pid(self) -> int:
        return os.getpid()


FLAVOURS: dict[str, tuple[type, dict[str, Any]]] = {
    "channel": (Plain, {}),
    "node": (Plain, {"max_task_retries": 0}),
    "async": (Async, {}),
    "threaded": (Plain, {"max_concurrency": 1, "concurrency_groups": {"other": 1}}),
}


# Each fault in one flavour; in the others, those where the runtime's own code differs.
DIFFER = ("exception", "sys.exit", "SIGKILL", "unpicklable result", "fork, the child returns")


@pytest.mark.parametrize(
    ("flavour", "cell"),
    [
        pytest.param(
            flavour,
            cell,
            id=f"{flavour}-{cell.fault}",
            marks=[] if flavour == "channel" or cell.fault in DIFFER else pytest.mark.long,
        )
        for flavour in FLAVOURS
        for cell in matrix.cells("faults/test_matrix.py::test_actor")
    ],
)
def test_actor(rt: Any, tmp_path: Path, cell: matrix.Cell, flavour: str) -> None:
    """A call does it while others wait behind it: in one that goes on, they are answered."""
    cls, options = FLAVOURS[flavour]
    if cell.fault == "recursion in C" and flavour in ("async", "threaded"):
        cell = replace(cell, says=("SIGSEGV",))  # no stack is left for a dump but the main thread's
    log, gate = tmp_path / "attempts", str(tmp_path / "gate")
    actor = made(rt, cls, options).remote()
    rt.get([actor.call.remote(0) for _ in range(2)])  # the second one asked for a channel
    rt.get(actor.call.remote(0))
    more = [rt.put(0)] if flavour == "node" else []  # calls with refs go by the node
    first = actor.block.remote(gate, *more)
    bad = actor.harm.remote(cell.fault, str(log), *more)
    behind = [actor.call.remote(i) for i in range(3)]
    Path(gate).touch()
    assert rt.get(first, timeout=DEADLINE) == "passed"
    pids = expect(rt, cell, lambda: rt.get(bad, timeout=DEADLINE), log)
    assert len(pids) == 1
    if cell.error == "ActorDiedError":
        for ref in (*behind, actor.call.remote(9)):
            with pytest.raises(rt.errors.ActorDiedError, match=cell.says[0]):
                rt.get(ref, timeout=DEADLINE)
    else:
        assert rt.get([*behind, actor.call.remote(9)], timeout=DEADLINE) == [0, 1, 2, 9]


two_flavours = pytest.mark.parametrize(
    "flavour",
    [
        pytest.param(x, marks=() if x in ("channel", "async") else pytest.mark.long)
        for x in FLAVOURS
    ],
)


def made(rt: Any, cls: type, options: dict[str, Any]) -> Any:
    return rt.remote(**options)(cls) if options else rt.remote(cls)


@two_flavours
def test_an_actor_that_restarts(rt: Any, tmp_path: Path, flavour: str) -> None:
    """What waited behind the deadly call runs in its next process, when it may be sent again."""
    cls, options = FLAVOURS[flavour]
    gate, log = str(tmp_path / "gate"), tmp_path / "attempts"
    for retries in (0, 2):
        actor = made(rt, cls, options | {"max_restarts": 2, "max_task_retries": retries}).remote()
        rt.get([actor.call.remote(0) for _ in range(3)])
        first = actor.block.remote(gate)
        bad = actor.harm.remote("os._exit", str(log))
        behind = [actor.call.remote(i) for i in range(3)]
        Path(gate).touch()
        assert rt.get(first, timeout=DEADLINE) == "passed"
        lost = rt.errors.ActorDiedError if retries else rt.errors.ActorUnavailableError
        with pytest.raises(lost, match="exit code 7") as info:
            rt.get(bad, timeout=DEADLINE)
        assert LAST_WORDS in str(info.value)
        if not retries:
            for ref in behind:
                with pytest.raises(rt.errors.ActorUnavailableError, match="exit code 7"):
                    rt.get(ref, timeout=DEADLINE)
            assert rt.get(actor.call.remote(9), timeout=DEADLINE) == 9
        os.unlink(gate)
    assert len(log.read_text().split()) == 4  # once, and then three times


# --- SIGSTOP -------------------------------------------------------------------------------------


def why(rt: Any, ref: Any) -> str:
    return str(rt.session.ref_state(ref)["why"])


def test_a_stopped_task(rt: Any, runtime: Runtime, tmp_path: Path) -> None:
    """It is told, what stands behind it runs elsewhere, and a forced cancel ends it."""
    file = tmp_path / "pid"

    @rt.remote
    def task(i: int) -> int:
        if i == 5:
            (tmp_path / "new").write_text(str(os.getpid()))
            (tmp_path / "new").rename(file)
            signal.pause()
        return i

    rt.get([task.remote(0) for _ in range(50)])  # it is known to be quick
    refs = [task.remote(i) for i in range(60)]
    assert poll(file.exists)
    pid = int(file.read_text())
    os.kill(pid, signal.SIGSTOP)
    others = [ref for i, ref in enumerate(refs) if i != 5]
    assert rt.get(others, timeout=DEADLINE) == [i for i in range(60) if i != 5]
    assert poll(lambda: runtime.notices)
    for text in (runtime.notices[0], why(rt, refs[5])):
        for words in ("task", f"pid {pid}", "SIGSTOP", "kill -CONT", "cancel(ref, force=True)"):
            assert words in text
    rt.cancel(refs[5], force=True)
    with pytest.raises(rt.errors.TaskCancelledError):
        rt.get(refs[5], timeout=DEADLINE)
    assert poll(lambda: not psutil.pid_exists(pid))


def test_a_stopped_task_goes_on(rt: Any, runtime: Runtime, tmp_path: Path) -> None:
    @rt.remote
    def task(file: str, gate: str) -> int:
        Path(file).touch()
        poll(lambda: os.path.exists(gate))
        return os.getpid()

    file, gate = tmp_path / "runs", tmp_path / "gate"
    ref = task.remote(str(file), str(gate))
    assert poll(file.exists)
    states = rt.util.state.list_tasks(filters=[("state", "=", "RUNNING")], detail=True)
    process = psutil.Process(states[0].worker_pid)
    process.suspend()
    assert poll(lambda: "is stopped by SIGSTOP" in "".join(runtime.notices))
    gate.touch()
    process.resume()
    assert rt.get(ref, timeout=DEADLINE) == process.pid
    assert poll(lambda: any("goes on" in text for text in runtime.notices))


@two_flavours
def test_a_stopped_actor(rt: Any, runtime: Runtime, flavour: str) -> None:
    """It is told; continued, it goes on; stopped, it can be killed."""
    cls, options = FLAVOURS[flavour]
    actor = made(rt, cls, options).remote()
    pid = rt.get([actor.pid.remote() for _ in range(2)])[0]
    rt.get(actor.call.remote(0))
    os.kill(pid, signal.SIGSTOP)
    refs = [actor.call.remote(i) for i in range(3)]
    assert poll(lambda: runtime.notices)
    for words in (cls.__name__, f"pid {pid}", "SIGSTOP", "kill -CONT", "kill(actor)"):
        assert words in runtime.notices[0]
    os.kill(pid, signal.SIGCONT)
    assert rt.get(refs, timeout=DEADLINE) == [0, 1, 2]
    os.kill(pid, signal.SIGSTOP)
    ref = actor.call.remote(4)
    rt.kill(actor)
    with pytest.raises(rt.errors.ActorDiedError, match="killed"):
        rt.get(ref, timeout=DEADLINE)
    assert poll(lambda: not psutil.pid_exists(pid))


# --- processes that run nothing ------------------------------------------------------------------


@cells("test_idle")
def test_idle(rt: Any, runtime: Runtime, tmp_path: Path, cell: matrix.Cell) -> None:
    """Nobody sees it, and there are as many processes as before."""
    if "thread" in cell.fault:
        task = rt.remote(harm)
        assert rt.get(task.remote(cell.fault, str(tmp_path / "log"))) == "survived"
        victim = psutil.Process(int((tmp_path / "log").read_text()))
    else:
        victim = psutil.Process(rt.get(rt.remote(lambda: os.getpid()).remote()))
        victim.send_signal(getattr(signal, cell.fault))
    if cell is matrix.cells(cell.test)[-1]:  # an exception in a thread ends no process
        assert poll(lambda: "ValueError: it went wrong" in "".join(runtime.output))
    else:
        assert poll(lambda: not alive(victim))
    assert poll(lambda: len(runtime.zygote().children()) >= 2)
    runtime.assert_prints()
    assert runtime.notices == []


@cells("test_zygote")
def test_zygote(rt: Any, runtime: Runtime, tmp_path: Path, cell: matrix.Cell) -> None:
    """All workers end with it, and all that they started; there is another zygote."""

    @rt.remote
    def block(file: str) -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (tmp_path / "new").write_text(str(child.pid))
        (tmp_path / "new").rename(file)
        signal.pause()

    @rt.remote
    def again(log: str, gate: str) -> str:
        with open(log, "a") as f:
            f.write("x")
        poll(lambda: os.path.exists(gate))
        return "done"

    actor = rt.remote(Plain).remote()
    lasting = rt.remote(Plain).options(max_restarts=1, max_task_retries=1).remote()
    rt.get([actor.call.remote(0), lasting.call.remote(0)])
    value = rt.put(bytes(1_000_000))
    file, log, gate = tmp_path / "pid", tmp_path / "log", tmp_path / "gate"
    ref = block.options(max_retries=0).remote(str(file))
    retried = again.remote(str(log), str(gate))
    assert poll(file.exists) and poll(log.exists)
    child = psutil.Process(int(file.read_text()))
    zygote = runtime.zygote()
    workers = zygote.children()
    zygote.send_signal(getattr(signal, cell.fault))
    with pytest.raises(rt.errors.WorkerCrashedError, match="zygote"):
        rt.get(ref, timeout=DEADLINE)
    with pytest.raises(rt.errors.ActorDiedError, match="zygote"):
        rt.get(actor.call.remote(0), timeout=DEADLINE)
    assert rt.get(lasting.call.remote(7), timeout=DEADLINE) == 7
    gate.touch()
    assert rt.get(retried, timeout=DEADLINE) == "done" and log.read_text() == "xx"
    assert len(rt.get(value)) == 1_000_000
    assert poll(lambda: not any(map(alive, [*workers, child, zygote])))
    runtime.assert_prints()


def test_a_stopped_zygote(rt: Any, runtime: Runtime) -> None:
    """The node has it go on, since no process could be started or ended without it."""
    runtime.zygote().suspend()
    actors = [rt.remote(Plain).remote() for _ in range(3)]
    assert rt.get([actor.call.remote(1) for actor in actors], timeout=DEADLINE) == [1, 1, 1]
    runtime.zygote().suspend()
    rt.kill(actors[0])
    with pytest.raises(rt.errors.ActorDiedError):
        rt.get(actors[0].call.remote(1), timeout=DEADLINE)
