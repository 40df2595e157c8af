"""Processes that were stopped: nobody else waits for them, and their users are told."""

from __future__ import annotations

from fanlight.core import effects as fx
from fanlight.core.model import W_DEAD
from fanlight.core.stopped import STOPPED_SECONDS
from fanlight.core.why import text as why
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker


def stop(node: SimulatedNode, worker: SimulatedWorker, seconds: float = STOPPED_SECONDS) -> None:
    begun = worker.begun or b""
    node.post([(0, fx.WorkerStopped(worker.number, "SIGSTOP", begun))])
    node.advance(seconds)


def proceed(node: SimulatedNode, worker: SimulatedWorker) -> None:
    node.post([(0, fx.WorkerStopped(worker.number, ""))])


def test_an_idle_one_is_replaced() -> None:
    node = SimulatedNode(1)
    node.settle()
    before = list(node.workers.values())
    for worker in before:
        stop(node, worker, 0)
    driver = node.driver()
    driver.submit(task_spec("f"))
    [worker] = node.busy()
    assert worker not in before and len(node.workers) == len(before)


def test_one_that_runs_is_told_of_and_left_alone() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    [worker] = node.busy()
    stop(node, worker, STOPPED_SECONDS / 2)
    assert not node.core.stopped._told
    node.advance(STOPPED_SECONDS)
    [task] = node.core.tasks.table.values()
    assert "is stopped by SIGSTOP" in why(node.core, task)
    proceed(node, worker)
    assert not node.core.stopped.table and "stopped" not in why(node.core, task)
    worker.finish()
    assert driver.values[ref].size == 8


def test_what_stands_behind_it_runs_elsewhere() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    for _ in range(4):
        driver.submit(task_spec("f"))
    [worker] = node.busy()
    worker.finish(duration=0.0001)
    behind = {task.id for task in node.core.workers[worker.number].queue} - {worker.current}
    assert behind
    stop(node, worker)
    assert worker.cancelled >= behind  # should they be begun all the same, when it goes on
    assert len(node.core.workers[worker.number].queue) == 1


def test_one_that_stopped_between_two_tasks_is_ended_without_an_attempt() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.submit(task_spec("f", max_retries=0))
    [worker] = node.busy()
    worker.begun = b"x" * 24  # an earlier one
    stop(node, worker)
    [task] = node.core.tasks.table.values()
    assert task.attempt == 0 and task.worker is not None and task.worker.number != worker.number


def test_an_actor_waits_and_can_be_killed() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"))
    [worker] = node.busy()
    worker.finish()
    driver.submit(method_spec("A.f"), actor=actor)
    stop(node, worker)
    [task] = node.core.tasks.table.values()
    assert "kill(actor) ends it" in why(node.core, task)
    node.core.stopped.slept(3600)
    node.advance(0)
    assert node.core.workers[worker.number].state != W_DEAD
