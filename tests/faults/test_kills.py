"""``kill -9`` of each process at each moment: nothing is left, and the next ``init`` works."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import leaks
from tests.faults.support import DEADLINE, PATIENCE, Driver, Runtime, assert_gone, poll

# What the driver does when the victim dies. Each says "ready" or notes it from a task.
MOMENTS = {
    "idle": """
        say("ready")
        sys.stdin.readline()
        """,
    "busy": """
        refs = [sleeper.remote(i) for i in range(40)]
        say("ready")
        sys.stdin.readline()
        """,
    "put": """
        note("task0")
        refs = []
        say("ready")
        try:
            if VICTIM == "worker":
                fanlight.get(big.options(max_retries=0).remote())
            else:
                for i in range(6):
                    refs.append(fanlight.put(bytes(150_000_000)))
                    if i % 2:
                        refs.clear()
                sys.stdin.readline()
        except (fanlight.errors.RuntimeLostError, fanlight.errors.WorkerCrashedError):
            pass
        """,
    "actor": """
        actor = Slow.remote()
        refs = [actor.step.remote() for _ in range(50)]
        say("ready")
        sys.stdin.readline()
        """,
    "get": """
        ref = sleeper.remote(0)
        say("ready")
        try:
            fanlight.get(ref)
        except fanlight.errors.RuntimeLostError:
            say("lost")
        """,
}

SCRIPT = """
VICTIM = {victim!r}

@fanlight.remote
def sleeper(i):
    note(f"task{{i}}")
    time.sleep(600)

@fanlight.remote
def big():
    return bytes(150_000_000)

@fanlight.remote
class Slow:
    def step(self):
        note("task0")
        time.sleep(600)

started(object_store_memory=2_000_000_000)
{moment}
# Whoever was killed, this process lives, and goes on as a user would.
if VICTIM == "node":
    while fanlight.is_initialized():  # it hears of it within moments
        time.sleep(0.002)
    fanlight.init(num_cpus=2, log_to_driver=False)
check()
fanlight.shutdown()
started()
check()
say("done")
"""


def start(driver: Callable[..., Driver], victim: str, moment: str) -> tuple[Driver, Runtime]:
    """A driver with its runtime, at that moment."""
    body = "\n".join(line.strip("\n")[8:] for line in MOMENTS[moment].splitlines())
    one = driver(SCRIPT.format(victim=victim, moment=body))
    runtime = one.up()
    one.hear("ready")
    if moment in ("busy", "actor", "get"):
        one.has("task0")
    elif moment == "put":
        assert poll(lambda: any(runtime.segments.iterdir()))
    runtime.look()
    return one, runtime


def pick(one: Driver, runtime: Runtime, victim: str, moment: str) -> psutil.Process:
    if victim == "driver":
        return psutil.Process(one.process.pid)
    if victim == "node":
        return runtime.node
    if victim == "zygote":
        return runtime.zygote()
    workers = runtime.workers()
    if moment in ("get", "actor"):  # the one that does it has said so
        return psutil.Process(int((one.folder / "task0").read_text()))
    if moment == "put":  # it has used most CPU
        return max(workers, key=lambda p: sum(p.cpu_times()[:2]))
    return workers[0]


# What test_matrix.py does in one runtime; here each is a driver of its own, which goes on.
_SHORT = {("node", "put"), ("zygote", "put"), ("driver", "busy"), ("driver", "put")}


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        pytest.param(
            victim,
            moment,
            id=f"{victim}-{moment}",
            marks=[] if (victim, moment) in _SHORT else pytest.mark.long,
        )
        for victim in ("driver", "node", "zygote", "worker")
        for moment in MOMENTS
    ],
)
def test_kill(
    driver: Callable[..., Driver], before: leaks.Snapshot, victim: str, moment: str
) -> None:
    one, runtime = start(driver, victim, moment)
    killed = pick(one, runtime, victim, moment)
    (one.folder / "task0").unlink(missing_ok=True)  # before: its next attempt may be quick
    killed.kill()
    if victim == "driver":
        one.wait()
        assert_gone(before, runtime)
        return
    if victim == "node":
        if moment == "get":
            one.hear("lost", PATIENCE)
        assert not poll_left(runtime)
    if moment == "get" and victim != "node":
        # The task is run again, by another process: the driver still waits for it.
        one.has("task0")
        one.kill()
        one.wait()
        assert_gone(before, runtime)
        return
    one.tell()
    second = one.up()
    one.hear("done")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime, second)


def poll_left(runtime: Runtime) -> list[str]:
    """What is left of a runtime two seconds later."""
    poll(lambda: not runtime.left(), PATIENCE)
    return runtime.left()


@pytest.mark.parametrize(
    "seed", [pytest.param(i, marks=[] if i in (1, 4) else pytest.mark.long) for i in range(6)]
)
@pytest.mark.parametrize("victim", ["driver", "node"])
def test_kill_during_init(
    driver: Callable[..., Driver], before: leaks.Snapshot, victim: str, seed: int
) -> None:
    one = driver("""
        say("starting")
        try:
            fanlight.init(num_cpus=2, log_to_driver=False)
            check()
        except fanlight.errors.RuntimeLostError:
            pass
        fanlight.shutdown()
        sys.stdin.readline()
        fanlight.init(num_cpus=2, log_to_driver=False)
        check()
        say("done")
        """)
    one.hear("starting")
    me = psutil.Process(one.process.pid)
    (node,) = poll(me.children)
    # The moment, not a wait: from right after the fork until about when init returns.
    poll(lambda: False, random.Random(seed).random() * 0.06 * seed)
    (me if victim == "driver" else node).kill()
    if victim == "driver":
        one.wait()
        assert_gone(before)
        return
    one.tell()
    one.hear("done")
    assert one.wait() == 0, one.output()
    assert_gone(before)


@pytest.mark.parametrize(
    "victim",
    [
        "driver",
        "node",
        *(pytest.param(x, marks=pytest.mark.long) for x in ("second driver", "zygote", "worker")),
    ],
)
def test_kill_with_two_drivers(
    driver: Callable[..., Driver], before: leaks.Snapshot, victim: str
) -> None:
    first = driver("""
        started()
        say("ready")
        sys.stdin.readline()
        try:
            check()
        except fanlight.errors.RuntimeLostError:
            fanlight.init(num_cpus=2, log_to_driver=False)
            check()
        say("works")
        sys.stdin.readline()
        """)
    runtime = first.up()
    first.hear("ready")
    second = driver("""
        fanlight.init("auto", log_to_driver=False)
        say("attached", fanlight.session.current().runtime_id)
        check()
        say("ready")
        sys.stdin.readline()
        try:
            check()
        except fanlight.errors.RuntimeLostError:
            fanlight.init(num_cpus=2, log_to_driver=False)
            check()
        say("works")
        sys.stdin.readline()
        """)
    assert second.hear("attached") == [runtime.id]
    second.hear("ready")
    runtime.look()
    if victim in ("driver", "second driver"):
        dead, other = (first, second) if victim == "driver" else (second, first)
        dead.kill()
        dead.wait()
        other.tell()
        other.hear("works")
        assert runtime.node.is_running(), "the runtime lives as long as one of its drivers"
        other.kill()
        other.wait()
        assert_gone(before, runtime)
        return
    pick(first, runtime, victim, "idle").kill()
    if victim == "node":
        assert not poll_left(runtime)
    for one in (first, second):
        one.tell()
        one.hear("works")
    for one in (second, first):  # the first one's end ends the runtime
        one.tell()
        assert one.wait(DEADLINE) == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.long
def test_kill_node_and_zygote_at_once(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """Nobody is left to clear up but the driver and the next ``init``."""
    one, runtime = start(driver, "node", "busy")
    zygote = runtime.zygote()
    runtime.node.send_signal(signal.SIGSTOP)
    zygote.kill()
    runtime.node.kill()
    one.tell()
    second = one.up()
    one.hear("done")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime, second)


def test_a_zygote_that_cannot_work_ends_the_runtime(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path
) -> None:
    """It is not started again for ever, and the user learns what is wrong."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cloudpickle.py").write_text("raise ImportError('it is broken')")
    one = driver("""
        import cloudpickle
        sys.path.insert(0, os.path.join(FOLDER, "broken"))  # workers search where we do
        started()
        try:
            fanlight.get(add.remote(1, 2))
        except fanlight.errors.RuntimeLostError as e:
            assert "it is broken" in str(e), e
            say("lost")
        """)
    one.up()
    one.hear("lost")
    assert one.wait() == 0, one.output()
    assert_gone(before)
