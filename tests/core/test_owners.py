"""What a process had submitted when it died, or when it was told to end."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import config, ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker


def code(client: SimulatedClient, ref: bytes) -> str:
    """How a ref failed; "" if it did not."""
    value = client.values[ref]
    assert value is not None
    if value.kind != m.FAILURE:
        return ""
    return msgspec.msgpack.decode(value.data, type=m.Failure).code


def shared(driver: SimulatedClient, refs: list[bytes]) -> None:
    """The driver got these refs inside a value, and asks for what they stand for."""
    for ref in refs:
        driver.adopt(ref)
    driver.subscribe(*refs)


def parent_on(node: SimulatedNode, driver: SimulatedClient) -> SimulatedWorker:
    driver.submit(task_spec("parent", cpus=0))
    return node.runs("parent")


def test_pending_work_of_a_dead_process_is_cancelled() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    parent = parent_on(node, driver)
    [runs] = parent.submit(task_spec("runs"))
    [waits] = parent.submit(task_spec("waits"))
    [needs] = parent.submit(task_spec("needs", cpus=0), [waits])
    shared(driver, [runs, waits, needs])
    child = node.runs("runs")
    parent.crash()
    assert [code(driver, ref) for ref in (waits, needs)] == ["owner_died", "dependency"]
    assert driver.values[runs] is None, "it is interrupted, not killed: what it leaves is tidy"
    child.finish()
    assert code(driver, runs) == "owner_died"
    assert not node.core.tasks.table


def test_values_that_exist_outlive_who_made_them() -> None:
    """Better than the reference, where they go with their owner."""
    node = SimulatedNode(2)
    driver = node.driver()
    parent = parent_on(node, driver)
    [done] = parent.submit(task_spec("child"))
    node.runs("child").finish()
    put = parent.put(500)
    shared(driver, [done, put])
    parent.crash()
    assert [code(driver, ref) for ref in (done, put)] == ["", ""]


def test_a_result_that_crosses_the_cancellation_is_kept() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    parent = parent_on(node, driver)
    [ref] = parent.submit(task_spec("child"))
    shared(driver, [ref])
    child = node.runs("child")
    child.deaf = True  # its report is on the way
    parent.crash()
    child.finish()
    assert code(driver, ref) == ""


def test_what_stands_behind_another_task_is_cancelled_there() -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    parent = parent_on(node, driver)
    refs = [parent.submit(task_spec("child"))[0] for _ in range(4)]
    shared(driver, refs)
    node.runs("child").finish(duration=0.0001)
    worker = node.runs("child")
    assert worker.queue
    parent.crash()
    node.settle()
    assert [code(driver, ref) for ref in refs] == ["", *["owner_died"] * 3]


def test_calls_of_a_dead_process_and_its_actors() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    parent = parent_on(node, driver)
    mine = parent.create_actor(actor_spec("Mine"))
    kept = parent.create_actor(actor_spec("Kept"), name="kept", detached=True)
    others = driver.create_actor(actor_spec("Others"))
    for worker in [w for w in node.busy() if w is not parent]:
        worker.finish()
    parent.adopt(ids.handle_oid(others))
    refs = [parent.submit(method_spec("A.m"), actor=a)[0] for a in (others, others, mine)]
    shared(driver, refs)
    parent.crash()
    node.settle()
    states = [model.ACTOR_STATES[node.core.actors.table[a].state] for a in (mine, kept, others)]
    assert states == ["DEAD", "ALIVE", "ALIVE"]
    assert [code(driver, ref) for ref in refs] == ["owner_died", "owner_died", "actor_died"]


def test_cancelled_work_stays_cancelled() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    parent = parent_on(node, driver)
    [ref] = parent.submit(task_spec("child"))
    shared(driver, [ref])
    parent.cancel(ref)
    parent.crash()
    node.settle()
    value = driver.values[ref]
    assert value is not None and (value.kind == m.ERROR or code(driver, ref) == "cancelled")


@pytest.mark.parametrize("who", ["idle", "actor"])
def test_a_process_that_ends_in_good_order_takes_nothing_along(who: str) -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    if who == "actor":
        actor = driver.create_actor(actor_spec("A"))
        node.busy()[0].finish()
        driver.submit(method_spec("A.m"), actor=actor)
        worker = node.runs("A.m")
    else:
        worker = parent_on(node, driver)
    [ref] = worker.submit(task_spec("child"))
    shared(driver, [ref])
    child = node.runs("child")
    if who == "actor":
        worker.exit_actor()
    else:
        worker.finish()
        node.advance(config.IDLE_WORKER_SECONDS + 1)
    assert worker.number not in node.workers
    child.finish()
    assert code(driver, ref) == ""
