"""What a person orders for all at once: the end of functions, and more or fewer CPUs."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from fanlight import messages as m
from fanlight.core import model
from fanlight.core.invariants import validate
from fanlight.testing.builders import actor_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode


def running(node: SimulatedNode) -> list[str]:
    return sorted(w.specs[e.spec].name for w in node.busy() for e in w.running.values())


def number(node: SimulatedNode, name: str) -> int:
    return next(g.number for g in node.core.groups.values() if g.name == name)


def answer(reply: m.Reply) -> Any:
    assert not reply.error, reply.error
    return msgspec.msgpack.decode(reply.data)


def cancel(client: SimulatedClient, *groups: int, force: bool = False) -> int:
    return int(answer(client.ask(m.CancelGroups(7, list(groups), force))))


def scale(client: SimulatedClient, cpus: float) -> float:
    return float(answer(client.ask(m.Scale(8, cpus))))


def test_a_function_is_cancelled_whatever_its_tasks_do() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    (first,) = driver.submit(task_spec("first"))
    (waits,) = driver.submit(task_spec("waits"), [first])
    queued = [driver.submit(task_spec("first"))[0] for _ in range(50)]
    (other,) = driver.submit(task_spec("other"))
    assert cancel(driver, number(node, "first")) == 51
    driver.subscribe(*queued, waits, other)
    node.settle()
    first_counts = node.core.groups[number(node, "first")].counts
    assert first_counts[model.CANCELLED] >= 50 and sum(first_counts) == 51
    assert driver.values[other].kind < m.ERROR, "work of others is left alone"
    validate(node.core)
    assert cancel(driver, number(node, "first")) == 0, "they are over"
    assert cancel(driver, 12345) == 0


def test_what_it_submitted_goes_too_and_actors_stay() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"))
    node.settle()
    driver.submit(task_spec("outer"))
    worker = node.runs("outer")
    worker.submit(task_spec("inner"))
    assert cancel(driver, number(node, "outer"), number(node, "A")) == 1
    node.settle()
    assert not [t for t in node.core.tasks.table.values() if t.name == "inner"]
    assert node.core.actors.table[actor].state == model.A_ALIVE


def test_more_cpus_run_what_waited_and_what_could_never_run() -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    for _ in range(3):
        driver.submit(task_spec("small"))
    driver.submit(task_spec("large", cpus=3))
    assert running(node) == ["small"]
    assert scale(driver, 4) == 1
    assert node.core.pool.total["CPU"] == 40_000
    while "large" not in running(node):
        node.runs("small").finish()
    node.settle()
    assert len([w for w in node.core.workers.values() if w.state == model.W_IDLE]) == 4
    validate(node.core)


def test_fewer_cpus_let_go_on_what_runs_and_begin_nothing() -> None:
    node = SimulatedNode(4, pool_size=4)
    driver = node.driver()
    for _ in range(8):
        driver.submit(task_spec("f"))
    assert running(node) == ["f"] * 4
    scale(driver, 1)
    assert node.core.pool.available["CPU"] == -30_000
    for left in (3, 2, 1, 1, 1, 1, 1, 0):
        node.busy()[0].finish()
        assert running(node) == ["f"] * left
    node.settle()
    validate(node.core)


def test_idle_processes_end_at_once() -> None:
    node = SimulatedNode(4, pool_size=4)
    driver = node.driver()
    node.settle()
    assert node.core.scheduler.pooled == 4
    scale(driver, 0.5)
    node.settle()
    assert node.core.scheduler.pooled == 1
    validate(node.core)


@pytest.mark.parametrize("cpus", [-1, math.nan, math.inf, 1e300, 10_001])
def test_a_number_that_cannot_be(cpus: float) -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    assert "from 0 to 10000" in driver.ask(m.Scale(8, cpus)).error
    assert node.core.pool.total["CPU"] == 20_000
