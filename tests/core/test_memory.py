"""What ends when memory runs low, what is tried again and when, and what is told."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core import memory, model
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker

MB = 1_000_000
LIMIT = 1000  # MB, of every sample here, and 900 the threshold


def failure(client: SimulatedClient, ref: bytes) -> m.Failure | None:
    value = client.values[ref]
    if value is None or value.kind != m.FAILURE:
        return None
    return msgspec.msgpack.decode(value.data, type=m.Failure)


def sample(node: SimulatedNode, uses: dict[SimulatedWorker, int], **options: int) -> None:
    """A sample in which just these processes have anything; in MB."""
    store = options.pop("store", 0)
    used = options.pop("used", sum(uses.values()) + store)
    limit, threshold = options.pop("limit", LIMIT), options.pop("threshold", 900)
    each = [0] * max((w.number for w in uses), default=0)
    for worker, size in uses.items():
        each[worker.number - 1] = size * MB
    node.memory(used * MB, *each, store=store * MB, limit=limit * MB, threshold=threshold * MB)


def alive(node: SimulatedNode, *workers: SimulatedWorker) -> list[bool]:
    return [w.number in node.workers for w in workers]


class Kinds:
    """One process of each kind; each is older than those after it."""

    def __init__(self) -> None:
        self.node = SimulatedNode(8, pool_size=5)
        self.driver = self.node.driver()
        self.of: dict[str, SimulatedWorker] = {}
        for name, retries in (("plain1", 0), ("plain2", 0), ("again1", 3), ("again2", -1)):
            self.driver.submit(task_spec(name, retries=retries))
            self.of[name] = self.node.runs(name)
        for name, restarts in (("actor1", 0), ("actor2", 0), ("restart1", 1), ("restart2", -1)):
            self.node.now += 1
            actor = self.driver.create_actor(actor_spec(name), max_restarts=restarts)
            self.of[name] = next(w for w in self.node.busy() if w.running[w.current].actor == actor)
            self.of[name].finish()
        (self.of["idle"],) = [w for w in self.node.workers.values() if w not in self.of.values()]
        for i, name in enumerate(("plain1", "plain2", "again1", "again2")):
            self.task(name).started = 1000.0 + i

    def task(self, name: str) -> model.Task:
        return next(t for t in self.node.core.tasks.table.values() if t.name == name)


ORDER = ["idle", "again2", "again1", "plain2", "plain1", "restart2", "restart1", "actor2", "actor1"]


def test_the_order() -> None:
    """The newest of each class, and the classes by what is lost with them."""
    kinds = Kinds()
    node, left = kinds.node, dict(kinds.of)
    gone = []
    while left:
        sample(node, dict.fromkeys(left.values(), 500), used=5000)
        dead = [name for name, w in left.items() if w.number not in node.workers]
        assert len(dead) == 1, "one at a time"
        gone += dead
        del left[dead[0]]
    assert gone == ORDER


@pytest.mark.parametrize("newest", ["again2", "idle", "plain2"])
def test_who_holds_little_is_passed_over(newest: str) -> None:
    kinds = Kinds()
    sizes = {kinds.of["again1"]: 800, kinds.of["actor1"]: 100, kinds.of[newest]: 79}
    sample(kinds.node, sizes)
    assert alive(kinds.node, *sizes) == [False, True, True]


def test_a_tenth_of_the_largest_is_enough() -> None:
    kinds = Kinds()
    sizes = {kinds.of["plain1"]: 900, kinds.of["again2"]: 90}
    sample(kinds.node, sizes)
    assert alive(kinds.node, *sizes) == [True, False]


def test_what_a_fresh_process_has_is_not_notable() -> None:
    kinds = Kinds()
    sizes = {kinds.of["actor1"]: 100, kinds.of["again2"]: 30}
    sample(kinds.node, sizes, used=950)
    assert alive(kinds.node, *sizes) == [False, True]


def test_below_the_threshold_nothing_ends() -> None:
    kinds = Kinds()
    sizes = dict.fromkeys(kinds.of.values(), 100)
    sample(kinds.node, sizes, used=899)
    assert all(alive(kinds.node, *sizes))
    sample(kinds.node, sizes, used=900)
    assert not all(alive(kinds.node, *sizes))


def test_nothing_of_ours_would_help() -> None:
    """Something else takes the memory: the drivers are told, once, and nothing ends."""
    kinds = Kinds()
    sizes = dict.fromkeys(kinds.of.values(), 1)
    for _ in range(3):
        sample(kinds.node, sizes, used=999_000, limit=1_000_000, threshold=900_000)
    assert all(alive(kinds.node, *sizes))
    (text,) = [x for x in kinds.driver.notices if "no task or actor uses a notable part" in x]
    assert "running low on memory" in text
    sample(kinds.node, sizes, used=0)
    sample(kinds.node, sizes, used=999_000, limit=1_000_000, threshold=900_000)
    assert sum("notable" in x for x in kinds.driver.notices) == 2


def test_no_second_one_before_the_first_is_gone() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    for name in "ab":
        driver.submit(task_spec(name, retries=1))
    sizes = {node.runs("a"): 500, node.runs("b"): 500}
    for worker in sizes:
        worker.begun = b"unknown"  # so that the kills do not come through

    def kills() -> list[int]:
        actions = [a for e in node.effects for a in e.actions]
        return [a.number for a in actions if isinstance(a, fx.KillWorker)]

    sample(node, sizes)
    assert len(kills()) == 1
    sample(node, sizes)
    assert len(kills()) == 1
    node.now += memory.KILL_SECONDS
    sample(node, sizes)
    assert len(set(kills())) == 2, "the first one does not end: another"


def test_a_task_that_ended_just_in_time() -> None:
    """The kill names the task: who runs another one meanwhile is left alone, and not waited for."""
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    [a] = driver.submit(task_spec("a", retries=1))
    worker = node.runs("a")
    worker.begun = b"another"  # the shell finds that it is not the one
    sample(node, {worker: 950})
    assert worker.number in node.workers and worker.number in node.core.memory.kills
    worker.finish()
    assert driver.values[a]
    [b] = driver.submit(task_spec("b", retries=0))
    sample(node, {worker: 950})
    found = failure(driver, b)
    assert found is not None and found.code == "out_of_memory"


def test_a_killed_task_runs_again_when_there_is_room() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    [a], [b] = driver.submit(task_spec("a", retries=1)), driver.submit(task_spec("b", retries=1))
    node.core.tasks.table[b[:24]].started += 1
    sample(node, {node.runs("a"): 500, node.runs("b"): 450})
    [held] = node.core.memory.held.values()
    assert held.name == "b" and driver.values[b] is None
    sample(node, {node.runs("a"): 500})
    node.advance(1.0)
    assert node.core.memory.held, "450 are not free yet"
    assert "waits until 450 MB are free" in driver.query("task", id=b[:24].hex())["why"]
    sample(node, {node.runs("a"): 440})
    assert not node.core.memory.held
    node.runs("b").finish()
    node.runs("a").finish()
    assert driver.values[a] and driver.values[b]
    sample(node, {})
    assert not node.core.memory.records


def test_it_runs_again_when_nothing_else_does_or_after_some_time() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    driver.submit(task_spec("a", retries=1))
    driver.submit(task_spec("b", retries=1))
    node.core.tasks.table[next(reversed(node.core.tasks.table))].started += 1
    sample(node, {node.runs("a"): 500, node.runs("b"): 450})
    sample(node, {node.runs("a"): 880})
    node.advance(29.0)
    assert node.core.memory.held
    node.advance(2.0)
    assert not node.core.memory.held, "half a minute is enough"
    sample(node, {node.runs("a"): 500, node.runs("b"): 450})
    assert node.core.memory.held
    node.runs("a").finish()
    node.advance(2.0)
    assert not node.core.memory.held, "nothing else runs"


def test_the_delay_doubles() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.submit(task_spec("a", retries=-1))
    waited = []
    for _ in range(10):
        begun = node.now
        sample(node, {node.runs("a"): 950})
        while node.core.memory.held:
            node.advance(0.25)
        waited.append(node.now - begun)
    assert waited == sorted(waited)
    assert waited[0] == 0.5 and waited[1] == 1.0 and waited[-1] == 60.0


def test_kills_for_others_are_not_retries() -> None:
    """``max_retries`` is for what the task does itself; a crash after ten kills is the first one."""
    node = SimulatedNode(2, pool_size=2)
    driver = node.driver()
    driver.submit(task_spec("other", retries=0))
    [ref] = driver.submit(task_spec("a", retries=1))
    for _ in range(10):
        task = node.core.tasks.table[ref[:24]]
        task.started += 1
        sample(node, {node.runs("other"): 500, node.runs("a"): 450})
        node.advance(100.0)
    assert node.core.tasks.table[ref[:24]].attempt == 10
    node.runs("a").crash()
    assert any("There are 0 retries remaining" in x for x in driver.notices)
    node.runs("a").crash()
    found = failure(driver, ref)
    assert found is not None and found.code == "worker_crashed"


@pytest.mark.parametrize("retries", [1, 3])
def test_what_is_too_large_by_itself_fails(retries: int) -> None:
    node = SimulatedNode(2, pool_size=2)
    driver = node.driver()
    [ref] = driver.submit(task_spec("huge", retries=retries, origin="cell7"))
    driver.submit(task_spec("small"))
    for _ in range(retries):
        sample(node, {node.runs("huge"): 870, node.runs("small"): 5}, store=60)
        assert failure(driver, ref) is None
        node.advance(100.0)
    sample(node, {node.runs("huge"): 870, node.runs("small"): 5}, store=60)
    found = failure(driver, ref)
    assert found is not None and found.code == "out_of_memory"
    assert "it alone needs more than there is" in found.message
    assert "running low on memory" in found.message
    assert "task huge (cell cell7)  <- ended" in found.message
    assert "object store" in found.message
    assert not node.core.memory.records


def test_without_retries_it_fails_at_once() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("a", retries=0))
    sample(node, {node.runs("a"): 950})
    found = failure(driver, ref)
    assert found is not None and found.code == "out_of_memory"
    assert "max_retries=0" in found.message
    [error] = node.core.errors
    assert error.name == "a" and "<- ended" in error.traceback


def test_a_bound_of_such_retries() -> None:
    node = SimulatedNode(1)
    node.core.memory.retries = 1
    driver = node.driver()
    [ref] = driver.submit(task_spec("a", retries=-1))
    sample(node, {node.runs("a"): 950})
    node.advance(100.0)
    sample(node, {node.runs("a"): 950})
    found = failure(driver, ref)
    assert found is not None and "task_oom_retries=1" in found.message


def test_waiting_tasks_can_be_cancelled() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("a", retries=1))
    sample(node, {node.runs("a"): 950})
    driver.cancel(ref)
    found = failure(driver, ref)
    assert found is not None and found.code == "cancelled"
    assert not node.core.memory.held
    sample(node, {})
    assert not node.core.memory.records


def test_an_actor() -> None:
    """Its calls, those under way and later ones, raise the error with the table."""
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("Hoard"))
    node.busy()[0].finish()
    [ref] = driver.submit(method_spec("Hoard.more"), actor=actor)
    sample(node, {node.runs("Hoard.more"): 950})
    [later] = driver.submit(method_spec("Hoard.more"), actor=actor)
    for one in (ref, later):
        found = failure(driver, one)
        assert found is not None and found.code == "out_of_memory"
        assert "running low on memory" in found.message
        assert "actor Hoard, in Hoard.more" in found.message
    assert any("The actor Hoard" in x for x in driver.notices)
    assert any("<- ended" in e.traceback for e in node.core.errors)


def test_an_actor_that_is_restarted() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("Hoard"), max_restarts=1)
    node.busy()[0].finish()
    [ref] = driver.submit(method_spec("Hoard.more"), actor=actor)
    sample(node, {node.runs("Hoard.more"): 950})
    found = failure(driver, ref)
    assert found is not None and found.code == "actor_unavailable"
    node.busy()[0].finish()
    [later] = driver.submit(method_spec("Hoard.more"), actor=actor)
    sample(node, {node.runs("Hoard.more"): 950})
    found = failure(driver, later)
    assert found is not None and found.code == "out_of_memory", "no restart is left"


def test_warm_segments_go_first() -> None:
    node = SimulatedNode(1, capacity=4000)
    driver = node.driver()
    driver.submit(task_spec("a"))
    ref = driver.put(400)
    driver.drop(ref)
    assert node.core.objects.cached
    driver.deaf = True
    sample(node, {node.runs("a"): 920})
    assert node.core.objects.cached and node.runs("a")
    driver.listen()
    assert not node.core.objects.cached
    sample(node, {node.runs("a"): 920})
    assert not node.busy()


@pytest.mark.parametrize("used", [920, 1100])
def test_objects_go_to_disk_before_a_process_ends(used: int) -> None:
    """Unless there is no time for that."""
    node = SimulatedNode(1, capacity=4000, spill=True)
    driver = node.driver()
    ref = driver.put(400)
    driver.submit(task_spec("a"))
    sample(node, {node.runs("a"): used})
    if used == 1100:
        assert not node.busy()
        return
    sample(node, {node.runs("a"): used})
    assert node.core.spilling.writing or node.core.spilling.away
    value = driver.values[ref]
    assert value is not None and value.kind == m.AWAY
    node.now += 2
    sample(node, {node.runs("a"): used})
    assert not node.busy(), "it was not enough"


@pytest.mark.parametrize("low", ["", "memory was almost full"])
def test_what_the_kernel_killed(low: str) -> None:
    node = SimulatedNode(1)
    node.low = low
    driver = node.driver()
    [ref] = driver.submit(task_spec("a"))
    node.runs("a").crash("killed by SIGKILL")
    found = failure(driver, ref)
    assert found is not None
    assert found.code == ("out_of_memory" if low else "worker_crashed")
    assert ("probably ended by the system" in found.message) == bool(low)
    assert ("memory was almost full" in found.message) == bool(low)


def test_what_the_kernel_kills_again_and_again() -> None:
    node = SimulatedNode(1)
    node.low = "the kernel ended it"
    driver = node.driver()
    [ref] = driver.submit(task_spec("a", retries=2))
    for _ in range(3):
        assert failure(driver, ref) is None
        node.runs("a").crash("killed by SIGKILL")
        node.advance(100.0)
    found = failure(driver, ref)
    assert found is not None and found.code == "out_of_memory"


def test_other_ways_to_die_are_not_taken_for_it() -> None:
    node = SimulatedNode(1, prompt=False)
    node.low = "memory was almost full"
    driver = node.driver()
    node.answer_spawn()
    [ref] = driver.submit(task_spec("a"))
    node.runs("a").crash("killed by SIGSEGV")
    found = failure(driver, ref)
    assert found is not None and found.code == "worker_crashed"


def test_a_flood_of_kills_is_told_of_now_and_then() -> None:
    node = SimulatedNode(20, pool_size=20)
    driver = node.driver()
    for _ in range(20):
        driver.submit(task_spec("eat", retries=1))
    for _ in range(19):
        sample(node, dict.fromkeys(node.busy(), 900))
    assert sum("eat" in x for x in driver.notices) == 1
    assert len(node.core.errors) == 1
