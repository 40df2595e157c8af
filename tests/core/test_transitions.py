"""The tables of legal moves: each legal one happens in some scenario, each illegal one raises."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.ids import handle_oid
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode

Scenario = Callable[[], SimulatedNode]


def moves_of(node: SimulatedNode, names: tuple[str, ...]) -> set[tuple[int, int]]:
    return {(old, new) for _, table, old, new, _ in node.core.story._log if table is names}


def results() -> SimulatedNode:
    """Finished, failed, retried, an argument that failed, cancelled in each state."""
    node = SimulatedNode(1)
    driver = node.driver()
    driver.submit(task_spec("ok"))
    node.busy()[0].finish()
    [bad] = driver.submit(task_spec("again", retries=1, retry_exceptions=True))
    [late] = driver.submit(task_spec("late"), deps=[bad])
    [gone] = driver.submit(task_spec("gone"), deps=[bad])
    [queued] = driver.submit(task_spec("queued"))
    driver.cancel(gone)
    driver.cancel(queued)
    node.busy()[0].finish(error="ValueError", retriable=True)
    node.busy()[0].finish(error="ValueError", retriable=True)
    assert driver.values[late] is not None
    [running] = driver.submit(task_spec("running"))
    driver.cancel(running)
    node.busy()[0].finish()
    return node


def losses() -> SimulatedNode:
    """An argument is lost when everything is ready."""
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    [arg] = driver.submit(task_spec("made", retries=1))
    node.busy()[0].finish(sizes=[300])
    driver.submit(task_spec("first"))
    driver.submit(task_spec("second"), deps=[arg])
    node.lose(arg)
    node.settle()
    return node


def ahead() -> SimulatedNode:
    """Tasks handed out ahead: their turn comes, they are given back, their worker dies."""
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    refs = [driver.submit(task_spec("quick"))[0] for _ in range(6)]
    node.busy()[0].finish(duration=0.0001)
    node.busy()[0].finish(duration=0.0001)
    driver.cancel(refs[-1])
    worker = node.busy()[0]
    worker.block()
    worker.unblock()
    worker.crash()
    worker = node.busy()[0]
    worker.block()
    value = m.Value(ids.object_id(worker.current, 0), m.INLINE, b"")
    worker.send(m.Done(worker.current, True, [value]))
    return node


def lost_ahead() -> SimulatedNode:
    """A cancelled task stands behind another when the worker dies."""
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    refs = [driver.submit(task_spec("quick"))[0] for _ in range(6)]
    node.busy()[0].finish(duration=0.0001)
    driver.cancel(refs[-1])
    node.busy()[0].crash()
    return node


def actor_calls() -> SimulatedNode:
    """Calls answered in any order; the actor dies with calls in each state."""
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A", concurrency=1))
    [early] = driver.submit(method_spec(), actor=actor)
    driver.cancel(early)
    node.busy()[0].finish()
    calls = [driver.submit(method_spec(), actor=actor)[0] for _ in range(4)]
    worker = node.busy()[0]
    third = ids.task_of(calls[2])
    worker.send(m.Done(third, True, [m.Value(calls[2], m.INLINE, b"")]))
    driver.submit(method_spec(), deps=driver.submit(task_spec("slow")), actor=actor)
    driver.send(m.KillActor(actor))
    return node


def actor_lives() -> SimulatedNode:
    """Restarted while it is made, while it lives, while it restarts; killed in each state."""
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"), max_restarts=-1)
    node.busy()[0].crash()  # while it is made
    node.busy()[0].crash()  # while it restarts
    driver.submit(method_spec(), actor=actor)
    node.busy()[0].finish()
    node.busy()[0].crash()  # while it lives
    driver.send(m.KillActor(actor))  # while it restarts again
    [never] = driver.submit(task_spec("slow"))
    driver.send(m.KillActor(driver.create_actor(actor_spec("B"), deps=[never])))
    driver.send(m.KillActor(driver.create_actor(actor_spec("C"))))
    living = driver.create_actor(actor_spec("D"))
    node.settle()
    driver.drop(handle_oid(living))
    return node


def actor_retries() -> SimulatedNode:
    """A restarted actor's calls: sent again, lost, failed while it could not be reached."""
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"), max_restarts=1)
    node.settle()
    for retries in (0, 1, 1):
        driver.submit(method_spec(retries=retries), actor=actor)
    [worker] = node.busy()
    worker.crash()
    driver.submit(method_spec(), actor=actor)
    driver.send(m.KillActor(actor))
    return node


def processes() -> SimulatedNode:
    """Processes that fail to start, end while idle, or end while they wait."""
    node = SimulatedNode(2, prompt=False)
    driver = node.driver()
    node.answer_spawn(ok=False)
    node.answer_spawn()
    driver.submit(task_spec("f"))
    [worker] = node.busy()
    worker.block()
    worker.crash()
    node.settle()
    next(w for w in node.workers.values() if not w.running).crash()
    return node


SCENARIOS: list[Scenario] = [
    results, losses, ahead, lost_ahead, actor_calls, actor_lives, actor_retries, processes,
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (model.TASK_STATES, model.TASK_MOVES),
        (model.ACTOR_STATES, model.ACTOR_MOVES),
        (model.WORKER_STATES, model.WORKER_MOVES),
    ],
    ids=["tasks", "actors", "workers"],
)
def test_every_legal_move_happens(names: tuple[str, ...], table: dict[int, frozenset[int]]) -> None:
    done = set().union(*(moves_of(scenario(), names) for scenario in SCENARIOS))
    legal = {(old, new) for old, news in table.items() for new in news}
    never = {(model._name(names, old), names[new]) for old, new in legal - done}
    assert not never


def _illegal(table: dict[int, frozenset[int]]) -> list[tuple[int, int]]:
    states = range(len(table) - 1)
    return [(old, new) for old, new in product(table, states) if new not in table[old]]


def _expect_refusal(
    node: SimulatedNode, record: Any, move: Callable[[int], None], old: int, new: int
) -> None:
    record.state = old
    with pytest.raises(model.IllegalTransition, match="its story"):
        move(new)
    assert record.state == old


@pytest.mark.parametrize(("old", "new"), _illegal(model.TASK_MOVES))
def test_illegal_moves_of_tasks(old: int, new: int) -> None:
    node = SimulatedNode()
    node.driver().submit(task_spec("f", cpus=9))
    [task] = node.core.tasks.table.values()
    counts = list(task.spec.group.counts)
    _expect_refusal(node, task, lambda to: node.core.tasks.move(task, to, "test"), old, new)
    assert task.spec.group.counts == counts


@pytest.mark.parametrize(("old", "new"), _illegal(model.ACTOR_MOVES))
def test_illegal_moves_of_actors(old: int, new: int) -> None:
    node = SimulatedNode()
    node.driver().create_actor(actor_spec())
    [actor] = node.core.actors.table.values()
    _expect_refusal(node, actor, lambda to: node.core.actors.move(actor, to, "test"), old, new)


@pytest.mark.parametrize(("old", "new"), _illegal(model.WORKER_MOVES))
def test_illegal_moves_of_workers(old: int, new: int) -> None:
    node = SimulatedNode()
    worker = node.core.workers[1]
    _expect_refusal(node, worker, lambda to: node.core.move_worker(worker, to, "test"), old, new)


def test_an_illegal_move_tells_the_story() -> None:
    node = SimulatedNode()
    driver = node.driver()
    driver.submit(task_spec("f"))
    [task] = node.core.tasks.table.values()
    node.settle()
    with pytest.raises(model.IllegalTransition) as caught:
        node.core.tasks.move(task, model.RUNNING, "a bug")
    text = str(caught.value)
    assert task.id.hex() in text
    assert "cannot go from FINISHED to RUNNING (a bug)" in text
    story = ["NEW -> PENDING_RESOURCES", "RESOURCES -> RUNNING", "RUNNING -> FINISHED: done"]
    positions = [text.index(line) for line in story]
    assert positions == sorted(positions)
