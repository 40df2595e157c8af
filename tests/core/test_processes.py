"""The bound of processes: what waits, what is told, and what can never go on."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import messages as m
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode


def code(client: SimulatedClient, ref: bytes) -> str:
    value = client.values[ref]
    if value is None or value.kind != m.FAILURE:
        return ""
    return msgspec.msgpack.decode(value.data, type=m.Failure).code


@pytest.mark.parametrize("most", [1, 2, 3])
def test_tasks_wait_for_a_process(most: int) -> None:
    node = SimulatedNode(8, pool_size=8, max_processes=most)
    driver = node.driver()
    refs = [driver.submit(task_spec("f"))[0] for _ in range(8)]
    assert len(node.busy()) == most - most // 2, "they may wait for tasks of their own"
    node.busy()[0].finish()
    assert len(node.busy()) == most == len(node.workers), "they do not"
    node.settle()
    assert all(driver.values[ref] for ref in refs)
    assert len(node.workers) <= most


@pytest.mark.parametrize("most", [2, 3, 8])
def test_nested_work_in_few_processes(most: int) -> None:
    """Each of many tasks waits for one of its own: there is always a process for those."""
    node = SimulatedNode(8, pool_size=8, max_processes=most)
    driver = node.driver()
    refs = [driver.submit(task_spec("top"))[0] for _ in range(20)]
    waiting: dict[int, bytes] = {}
    while not all(driver.values[ref] for ref in refs):
        names = {w: w.specs[w.running[w.current].spec].name for w in node.busy()}
        worker = next(w for w, name in names.items() if name == "leaf" or not w.blocked)
        if names[worker] == "leaf":
            worker.finish()
        else:
            [waiting[worker.number]] = worker.submit(task_spec("leaf"))
            worker.block()
        for other in node.busy():
            if other.blocked and other.values[waiting[other.number]]:
                other.unblock()
                other.finish()
    assert len(node.workers) <= most


def test_no_actor_takes_a_process_that_nested_work_may_need() -> None:
    """One task of a function has ended and none has waited yet: that it submits tasks is known."""
    node = SimulatedNode(8, pool_size=8, max_processes=3)
    driver = node.driver()
    refs = [driver.submit(task_spec("nested"))[0] for _ in range(4)]
    first, second = node.busy()
    [inner] = first.submit(task_spec("nested"))
    second.finish()
    assert len(node.busy()) == 2, "one is kept for what they submit"
    driver.create_actor(actor_spec("Cell"))
    assert node.core.scheduler.actor_workers == 0
    first.block()
    while not first.values[inner]:
        next(w for w in node.busy() if w is not first).finish()
    first.unblock()
    node.settle()
    assert all(driver.values[ref] for ref in refs)
    assert node.core.scheduler.actor_workers == 1


def test_tasks_that_block_do_not_get_around_it() -> None:
    node = SimulatedNode(1, max_processes=2)
    driver = node.driver()
    driver.submit(task_spec("f"))
    node.runs("f").block()
    node.runs("f").submit(task_spec("g"))
    node.runs("g").block()
    [ref] = driver.submit(task_spec("h"))
    assert len(node.workers) == 2
    text = driver.query("task", id=ref[:24].hex())["why"]
    assert "may have 2 (max_processes)" in text and "2 run tasks that wait in get()" in text
    node.runs("g").unblock()
    node.runs("g").finish()
    assert node.runs("h")


def test_one_process_is_kept_for_tasks() -> None:
    node = SimulatedNode(8, max_processes=3)
    driver = node.driver()
    actors = [driver.create_actor(actor_spec("Cell")) for _ in range(4)]
    for worker in node.busy():
        worker.finish()
    assert node.core.scheduler.actor_workers == 2
    [ref] = driver.submit(task_spec("f"))
    node.runs("f").finish()
    assert driver.values[ref]
    node.advance(6.0)
    node.advance(6.0)
    (text,) = [x for x in driver.notices if "actor Cell waits" in x]
    assert "2 are actors, which keep theirs until they end, one is kept for tasks" in text
    node.post([(0, m.KillActor(actors[0], True))])
    node.settle()
    assert node.core.scheduler.actor_workers == 2, "the next one"


def test_an_actor_does_not_take_what_nested_work_needs() -> None:
    node = SimulatedNode(8, max_processes=3)
    driver = node.driver()
    for _ in range(2):
        driver.submit(task_spec("top"))
    driver.create_actor(actor_spec("Cell"))
    assert node.core.scheduler.actor_workers == 0
    for worker in node.busy():
        worker.submit(task_spec("leaf"))
        worker.block()
    node.runs("leaf").finish()
    tops = [w for w in node.busy() if w.specs[w.running[w.current].spec].name == "top"]
    tops[0].unblock()
    tops[0].finish()
    node.settle()
    assert node.core.scheduler.actor_workers == 1


def test_an_environment_gets_its_process() -> None:
    """Idle processes of others make room."""
    node = SimulatedNode(2, max_processes=2)
    driver = node.driver()
    for env in ("vars", "", "other", ""):
        [ref] = driver.submit(task_spec("f", env=env))
        node.settle()
        assert driver.values[ref] and len(node.workers) <= 2
    driver.create_actor(actor_spec("Vars", env="vars"))
    node.settle()
    assert node.core.scheduler.actor_workers == 1


def test_all_wait_for_what_cannot_run() -> None:
    """A tree of tasks that is deeper than there are processes: an error, not a wait for ever."""
    node = SimulatedNode(1, max_processes=2)
    driver = node.driver()
    [top] = driver.submit(task_spec("top"))
    one = node.runs("top")
    one.submit(task_spec("middle"))
    one.block()
    two = node.runs("middle")
    [leaf] = two.submit(task_spec("leaf"))
    two.block()
    [other] = driver.submit(task_spec("other"))
    node.advance(1.0)
    assert code(two, leaf) == ""
    node.advance(6.0)
    assert code(two, leaf) == "task_unschedulable", "its parent waits for it"
    assert driver.values[other] is None, "this one can wait"
    two.unblock()
    two.finish(error="TaskUnschedulableError")
    node.settle()
    assert driver.values[top] and driver.values[other]


def test_an_actor_that_all_wait_for() -> None:
    node = SimulatedNode(1, max_processes=1)
    driver = node.driver()
    driver.submit(task_spec("top"))
    worker = node.runs("top")
    actor = worker.create_actor(actor_spec("Late"))
    [call] = worker.submit(method_spec("Late.get"), actor=actor)
    worker.block()
    node.advance(1.0)
    node.advance(6.0)
    assert code(worker, call) == "actor_unschedulable"


def test_work_that_goes_on_is_waited_for() -> None:
    """An actor's call may be what the others wait for."""
    node = SimulatedNode(2, max_processes=2)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("Slow"))
    node.busy()[0].finish()
    driver.submit(method_spec("Slow.get"), actor=actor)
    driver.submit(task_spec("top"))
    worker = node.runs("top")
    [leaf] = worker.submit(task_spec("leaf"))
    worker.block()
    for _ in range(5):
        node.advance(10.0)
    assert code(worker, leaf) == ""
    assert sum("The task leaf waits" in x for x in driver.notices) == 1
