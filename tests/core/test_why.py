"""The sentences that say why a task waits."""

from __future__ import annotations

import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode


def why(client: SimulatedClient, ref: bytes) -> str:
    text: str = client.query("task", id=ids.task_of(ref).hex())["why"]
    return text


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode(2, 1, pool_size=2)


@pytest.fixture
def driver(node: SimulatedNode) -> SimulatedClient:
    return node.driver()


def test_waiting_for_arguments(driver: SimulatedClient) -> None:
    slow = [driver.submit(task_spec("slow", cpus=2))[0] for _ in range(5)]
    [one] = driver.submit(task_spec("f"), deps=slow[:1])
    [many] = driver.submit(task_spec("f"), deps=slow)
    assert why(driver, one) == "It waits for 1 argument(s): slow (running)."
    assert why(driver, many) == (
        "It waits for 5 argument(s): slow (running), slow (pending_resources), "
        "slow (pending_resources) and 2 more."
    )


def test_waiting_for_resources(driver: SimulatedClient) -> None:
    driver.submit(task_spec("train", gpus=1))
    driver.submit(task_spec("load"))
    [ref] = driver.submit(task_spec("f", gpus=0.5))
    assert why(driver, ref) == (
        "It waits for 1 CPU (0 free), 0.5 GPU (0 free). Held by: load, train."
    )


def test_never(driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("f", cpus=3, disk=1))
    assert why(driver, ref) == (
        "It can never run here: it asks for 3 CPU (there are 2), 1 disk (there are 0)."
    )


def test_an_actor_that_can_never_be_placed() -> None:
    node = SimulatedNode(0, 1, pool_size=1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("Counter"))
    [call] = driver.submit(method_spec(), actor=actor)
    assert why(driver, call) == (
        "Its actor Counter is pending_creation. "
        "It can never run here: it asks for 1 CPU (there are 0)."
    )


def test_waiting_for_a_process() -> None:
    node = SimulatedNode(1, prompt=False)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    assert why(driver, ref) == "It waits for a worker process, which is being started."


def test_behind_others(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("f", cpus=2))[0] for _ in range(4)]
    node.busy()[0].finish(duration=0.0001)
    assert why(driver, refs[1]) == "It runs."
    assert why(driver, refs[2]) == "It is with a worker, behind another short task."
    node.settle()
    assert why(driver, refs[2]) == "It has ended."


def test_calls_of_actors(node: SimulatedNode, driver: SimulatedClient) -> None:
    actor = driver.create_actor(actor_spec("Counter"))
    [first] = driver.submit(method_spec("Counter.inc"), actor=actor)
    assert why(driver, first) == "Its actor Counter is pending_creation. It runs."
    node.busy()[0].finish()
    [second] = driver.submit(method_spec("Counter.inc"), actor=actor)
    assert why(driver, first) == "It runs."
    assert "earlier call(s) of this actor come first" in why(driver, second)


def test_a_task_that_is_forgotten(driver: SimulatedClient) -> None:
    with pytest.raises(LookupError, match="keeps only the newest"):
        why(driver, bytes(28))


def test_the_facts_of_an_object(node: SimulatedNode, driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("make"))
    facts = driver.query("object", id=ref.hex())
    assert (facts["state"], facts["why"]) == ("RUNNING", "It runs.")
    node.busy()[0].finish(sizes=[500])
    facts = driver.query("object", id=ref.hex())
    assert (facts["state"], facts["size"], facts["stored"]) == ("READY", 500, True)
    assert (facts["creator"], facts["holders"]) == ("make", 1)
    driver.drop(ref)
    assert driver.query("object", id=ref.hex())["state"] == "GONE"
    assert m.STORED not in {v.kind for v in driver.values.values() if v}
