"""Nobody starves: not what asks for much, and no driver beside another one."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight import config
from fanlight import messages as m
from fanlight.core import fairness
from fanlight.core.invariants import validate
from fanlight.core.machine import Core
from fanlight.testing.builders import actor_spec, method_spec, task_spec, units
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode

QUICK = 0.0001


def running(node: SimulatedNode) -> list[str]:
    return sorted(w.specs[e.spec].name for w in node.busy() for e in w.running.values())


def finish_oldest(node: SimulatedNode, began: dict[bytes, int], duration: float = 1.0) -> str:
    """End the task that runs longest; returns its name."""
    for worker in node.busy():
        for task in worker.running:
            began.setdefault(task, len(began))
    worker = min((w for w in node.busy() if not w.blocked), key=lambda w: began[w.current])
    name = worker.specs[worker.running[worker.current].spec].name
    worker.finish(duration=duration)
    return name


class Stream:
    """A driver that always has ten small tasks waiting."""

    def __init__(self, node: SimulatedNode, spec: m.TaskSpec) -> None:
        self.node = node
        self.spec = spec
        self.driver = node.driver()
        self.began: dict[bytes, int] = {}
        self.top_up()

    def top_up(self) -> None:
        tasks = self.node.core.tasks.table.values()
        mine = sum(t.client == self.driver.peer for t in tasks)
        for _ in range(10 - mine):
            self.driver.submit(self.spec)

    def go_on_until(self, predicate: Any, most: int, duration: float = 1.0) -> int:
        """Small tasks end and come until the predicate holds; how many ended."""
        for ended in range(most):
            if predicate():
                return ended
            finish_oldest(self.node, self.began, duration)
            self.top_up()
        raise AssertionError(f"not within {most} tasks; {running(self.node)}")


# --- what asks for much --------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [1.0, QUICK])
@pytest.mark.parametrize("small", [task_spec("small"), task_spec("small", cpus=0.5)])
def test_all_cpus_at_once(small: m.TaskSpec, duration: float) -> None:
    node = SimulatedNode(4, pool_size=4)
    stream = Stream(node, small)
    node.driver().submit(task_spec("large", cpus=4))
    stream.go_on_until(lambda: "large" in running(node), most=400, duration=duration)
    assert running(node) == ["large"]
    node.settle()


def test_several_gpus_at_once() -> None:
    node = SimulatedNode(8, 4, pool_size=8)
    stream = Stream(node, task_spec("part", gpus=0.5))
    node.driver().submit(task_spec("large", gpus=3))
    stream.go_on_until(lambda: "large" in running(node), most=200)
    # What is left over is for others, all the time.
    assert set(running(node)) == {"large", "part"}


def test_an_actor_among_tasks() -> None:
    node = SimulatedNode(2, pool_size=2)
    stream = Stream(node, task_spec("small"))
    node.driver().create_actor(actor_spec("Large", cpus=2))
    stream.go_on_until(lambda: running(node) == ["Large"], most=100)


@pytest.mark.parametrize("duration", [1.0, QUICK])
def test_a_placement_group_among_tasks(duration: float) -> None:
    node = SimulatedNode(4, pool_size=4)
    stream = Stream(node, task_spec("small"))
    driver = node.driver()
    group = driver.create_group(units(2), units(1))
    ready = driver.group_ready(group)
    stream.go_on_until(lambda: driver.values[ready], most=400, duration=duration)
    node.settle()


def test_inside_a_bundle() -> None:
    node = SimulatedNode(4, pool_size=4)
    driver = node.driver()
    group = driver.create_group(units(2))
    stream = Stream(node, task_spec("small", where=m.Where(group)))
    driver.submit(task_spec("large", cpus=2, where=m.Where(group, 0)))
    stream.go_on_until(lambda: "large" in running(node), most=100)


def test_an_actor_that_holds_little_is_not_starved_by_quick_tasks() -> None:
    """Workers that are filled up again and again would never give their CPU back."""
    node = SimulatedNode(1, pool_size=1)
    stream = Stream(node, task_spec("quick"))
    stream.go_on_until(lambda: node.core.groups[0].counts[4] > 3, most=10, duration=QUICK)
    node.driver().create_actor(actor_spec("A", cpus=1))
    stream.go_on_until(lambda: "A" in running(node), most=100, duration=QUICK)


def test_nothing_is_kept_that_cannot_come_together() -> None:
    """An actor holds one of two CPUs: who wants both waits, and others go on."""
    node = SimulatedNode(2, pool_size=2)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A", cpus=1))
    node.busy()[0].finish()
    stream = Stream(node, task_spec("small"))
    driver.submit(task_spec("large", cpus=2))
    for _ in range(100):
        assert running(node) == ["small"]
        finish_oldest(node, stream.began)
        stream.top_up()
    driver.send(m.KillActor(actor))
    stream.go_on_until(lambda: "large" in running(node), most=50)


def test_what_waits_itself_is_not_waited_for() -> None:
    """A parent holds the resource that the large one wants, and waits for a small child."""
    node = SimulatedNode(2, disk=1, pool_size=2)
    stream = Stream(node, task_spec("small"))
    driver = node.driver()
    driver.submit(task_spec("large", cpus=2, disk=1))
    driver.submit(task_spec("parent", cpus=0, disk=1))
    parent = node.runs("parent")
    # Until something is kept for the large one.
    stream_parent = {parent.current}
    for _ in range(40):
        if node.core.scheduler.patience.kept is not None:
            break
        worker = next(w for w in node.busy() if w.current not in stream_parent)
        worker.finish()
        stream.top_up()
    [child] = parent.submit(task_spec("child"))
    parent.block()
    for _ in range(40):
        if parent.values[child] is not None:
            break
        worker = next(w for w in node.busy() if w is not parent)
        worker.finish()
        stream.top_up()
    assert parent.values[child] is not None
    node.settle()


def test_what_is_kept_is_kept_for_a_time() -> None:
    """Tasks that need each other to run at once go on, though a large one waits."""
    node = SimulatedNode(2, pool_size=2)
    stream = Stream(node, task_spec("small"))
    driver = node.driver()
    driver.submit(task_spec("large", cpus=2))
    patience = node.core.scheduler.patience
    stream.go_on_until(lambda: patience.kept is not None, most=50)
    kept = []
    for _ in range(4):
        before = node.now
        while patience.kept is not None:  # the one that runs does not end
            node.advance(0.25)
        kept.append(node.now - before)
        assert running(node) == ["small", "small"]
        rests = node.now
        worker = node.busy()[1]
        while patience.kept is None:  # only one CPU's tasks end
            worker.finish()
            stream.top_up()
            node.advance(0.25)
            worker = node.busy()[-1]
        assert node.now - rests >= kept[-1], "others have their turn for as long"
    assert kept == sorted(kept) and kept[-1] >= 4 * kept[0]
    node.settle()


def test_a_cancelled_one_leaves_nothing_kept() -> None:
    node = SimulatedNode(2, pool_size=2)
    stream = Stream(node, task_spec("small"))
    driver = node.driver()
    [large] = driver.submit(task_spec("large", cpus=2))
    patience = node.core.scheduler.patience
    stream.go_on_until(lambda: patience.kept is not None, most=50)
    finish_oldest(node, stream.began)
    assert len(running(node)) == 1
    driver.cancel(large)
    assert patience.kept is None
    assert running(node) == ["small", "small"]


def test_what_is_kept_is_for_any_queue_of_the_shape() -> None:
    """Another client's turn may come first: its equal tasks may take what is kept."""
    node = SimulatedNode(2, pool_size=2)
    stream = Stream(node, task_spec("small"))
    node.driver().submit(task_spec("large", cpus=2))
    patience = node.core.scheduler.patience
    stream.go_on_until(lambda: patience.kept is not None, most=50)
    kept = patience.kept
    assert kept is not None and isinstance(kept.who, tuple)
    equal = (*kept.who,)
    assert equal is not kept.who
    assert patience.lets(equal, kept.pool, kept.demand)
    patience.granted(equal, kept.pool, {})
    assert patience.kept is None


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    cpus=st.integers(2, 6),
    smalls=st.lists(
        st.tuples(st.sampled_from([0.25, 0.5, 1.0, 1.5]), st.sampled_from([QUICK, 0.5])),
        min_size=1,
        max_size=3,
    ),
    share=st.sampled_from([0.5, 0.75, 1.0]),
)
def test_nobody_starves(cpus: int, smalls: list[tuple[float, float]], share: float) -> None:
    """Whatever small tasks keep coming, a large one starts after a bounded number of them."""
    node = crowd(cpus)
    streams = [Stream(node, task_spec(f"{i}", cpus=c)) for i, (c, _) in enumerate(smalls)]
    durations = {str(i): d for i, (_, d) in enumerate(smalls)}
    node.driver().submit(task_spec("large", cpus=max(2, round(cpus * share))))
    began: dict[bytes, int] = {}
    for _ in range(600):
        if "large" in running(node):
            break
        oldest = min(
            (w for w in node.busy()),
            key=lambda w: began.setdefault(w.current, len(began)),
        )
        name = oldest.specs[oldest.running[oldest.current].spec].name
        node.now += durations[name] / len(node.busy())
        oldest.finish(duration=durations[name])
        for stream in streams:
            stream.top_up()
    assert "large" in running(node)


# --- drivers -------------------------------------------------------------------------------------


def crowd(cpus: int) -> SimulatedNode:
    """A node for thousands of tasks: the invariants are checked at every hundredth step."""
    steps = itertools.count()

    def check(core: Core) -> None:
        if next(steps) % 100 == 0:
            validate(core)

    return SimulatedNode(cpus, pool_size=cpus, check=check)


def deep(node: SimulatedNode, name: str, count: int = 400, **options: Any) -> SimulatedClient:
    driver = node.driver()
    for _ in range(count):
        driver.submit(task_spec(name, **options))
    return driver


@pytest.mark.parametrize("duration", [QUICK, config.PREFETCH_SECONDS / 2, 1.0])
@pytest.mark.parametrize("cpus", [1, 3])
def test_two_drivers_share(cpus: int, duration: float) -> None:
    node = crowd(cpus)
    deep(node, "a")
    deep(node, "b")
    began: dict[bytes, int] = {}
    done: Counter[str] = Counter()
    for step in range(400):
        done[finish_oldest(node, began, duration)] += 1
        # In the order in which they were handed out, so in portions.
        assert abs(done["a"] - done["b"]) <= (cpus + 1) * config.PREFETCH_LIMIT / 2, step
    assert abs(done["a"] - done["b"]) <= 80, done


def test_quick_tasks_of_two_drivers_are_handed_out_ahead() -> None:
    node = crowd(1)
    deep(node, "a")
    deep(node, "b")
    began: dict[bytes, int] = {}
    behind = []
    for _ in range(300):
        finish_oldest(node, began, QUICK)
        behind.append(len(node.busy()[0].queue))
    assert behind[100:].count(0) < 30, "its worker often waits for the node"


def test_the_queue_of_a_client_that_left_ends_when_others_take_its_tasks() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec())
    node.settle()
    driver.submit(method_spec(), actor=actor)
    [host] = node.busy()
    for _ in range(3):
        driver.submit(task_spec("f"))
    host.submit(task_spec("f"))
    host.exit_actor()
    [worker] = node.busy()
    worker.finish(duration=QUICK)  # now they are known to be quick, and handed out ahead
    assert len(worker.queue) == 2 and len(node.core.scheduler.queues) == 1
    node.settle()
    assert not node.core.tasks.table


def test_shapes_get_portions_in_turns() -> None:
    """Shapes cannot follow each other on a lease, so each lease is a portion."""
    node = crowd(2)
    deep(node, "thin", count=800, cpus=1)
    deep(node, "wide", count=300, cpus=2)
    began: dict[bytes, int] = {}
    done: Counter[str] = Counter()
    for _ in range(800):
        done[finish_oldest(node, began, QUICK)] += 1
    # A wide one waits until two CPUs come together, so thin ones have more turns; not many more.
    assert done["wide"] > 120, done


def test_a_driver_with_many_clients_gets_no_more() -> None:
    """Tasks that submit tasks have queues of their own; they count as their driver's."""
    node = crowd(2)
    first = node.driver()
    for _ in range(4):
        first.submit(task_spec("parent", cpus=0))
    parents = node.busy()
    for parent in parents:
        for _ in range(150):
            parent.submit(task_spec("nested"))
        parent.block()
    deep(node, "other")
    began: dict[bytes, int] = {}
    done: Counter[str] = Counter()
    for _ in range(600):
        done[finish_oldest(node, began, QUICK)] += 1
    assert abs(done["nested"] - done["other"]) < 130, done


def test_slow_tasks_of_the_same_shape_have_their_turn() -> None:
    node = crowd(1)
    deep(node, "quick")
    deep(node, "slow", count=5)
    began: dict[bytes, int] = {}
    done: Counter[str] = Counter()
    while done["slow"] < 5:
        name = running(node)[0]
        done[finish_oldest(node, began, QUICK if name == "quick" else 1.0)] += 1
        assert sum(done.values()) < 600, done


def test_what_can_never_run_does_not_end_leases() -> None:
    node = crowd(1)
    driver = deep(node, "quick")
    driver.submit(task_spec("never", cpus=9))
    driver.create_actor(actor_spec("Never", gpus=1))
    driver.create_group(units(9))
    began: dict[bytes, int] = {}
    behind = []
    for _ in range(300):
        finish_oldest(node, began, QUICK)
        behind.append(len(node.busy()[0].queue))
    assert min(behind[5:200]) > 0
    assert fairness.KEPT_SECONDS and node.core.scheduler.patience.kept is None


def test_nothing_is_kept_for_a_whole_gpu_while_there_are_only_halves() -> None:
    """Actors that stay hold a half of each of two GPUs: the other halves are no whole one."""
    node = SimulatedNode(4, 2)
    driver = node.driver()
    first = driver.create_actor(actor_spec("A", gpus=0.5))
    for name in "BC":
        driver.create_actor(actor_spec(name, gpus=0.5))
    node.settle()
    driver.send(m.KillActor(first))
    node.settle()
    assert node.core.pool.devices == [5000, 5000]
    driver.submit(task_spec("whole", gpus=1))
    for _ in range(30):
        driver.submit(task_spec("half", gpus=0.5))
        node.runs("half").finish()
        assert node.core.scheduler.patience.kept is None
