"""A laptop that slept, or a clock that was set: time that passed for nobody ends nothing."""

from __future__ import annotations

import pytest

from fanlight import config, ids
from fanlight import messages as m
from fanlight.core import environments as e
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode

HOURS = [2 * 3600.0, 1e7, -3600.0]


@pytest.mark.parametrize("seconds", HOURS)
def test_a_preparation_has_as_much_time_as_before(seconds: float) -> None:
    node = SimulatedNode(2, pool_size=2)
    driver = node.driver()
    driver.environment("pip numpy", timeout=60.0)
    [ref] = driver.submit(task_spec("f", env="pip numpy"))
    node.advance(50.0)
    node.sleep(seconds)
    assert driver.values[ref] is None and node.preparing
    node.advance(8.0)
    assert driver.values[ref] is None and node.preparing
    node.advance(3.0)
    value = driver.values[ref]
    assert value is not None and value.kind == m.FAILURE, "but not more"


@pytest.mark.parametrize("seconds", HOURS)
def test_what_failed_is_tried_again_as_late_as_before(seconds: float) -> None:
    node = SimulatedNode(2, pool_size=2)
    driver = node.driver()
    driver.environment("pip numpy")
    driver.submit(task_spec("f", env="pip numpy"))
    node.answer_preparation("no network")
    node.sleep(seconds)
    driver.submit(task_spec("f", env="pip numpy"))
    assert not node.preparing
    node.advance(e.RETRY_SECONDS)
    driver.submit(task_spec("f", env="pip numpy"))
    assert node.preparing


@pytest.mark.parametrize("seconds", HOURS)
def test_a_process_that_is_to_end_is_not_killed_for_it(seconds: float) -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec())
    node.settle()
    worker = next(w for w in node.workers.values() if w.actor)
    worker.deaf = True
    driver.drop(actor + b"\0" * 12)
    node.sleep(seconds)
    assert worker.number in node.workers
    node.advance(config.RETIRE_SECONDS + 1)
    assert worker.number not in node.workers


@pytest.mark.parametrize("seconds", HOURS)
def test_idle_processes_stay_as_long_as_before(seconds: float) -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    for _ in range(3):
        driver.submit(task_spec("parent"))
        next(w for w in node.busy() if not w.blocked).block()
    node.settle()
    assert len(node.workers) > 1
    node.sleep(seconds)
    assert len(node.workers) > 1
    node.advance(config.IDLE_WORKER_SECONDS + 1)
    assert len(node.workers) == 1


@pytest.mark.parametrize("seconds", HOURS)
def test_a_lost_call_is_given_the_same_time(seconds: float) -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec())
    node.settle()
    oid = ids.object_id(ids.own_task_id_factory(driver.id)(), 0)
    driver.values[oid] = None
    driver.send(m.LostCall(ids.task_of(oid), driver.spec(method_spec()), actor, 0, [oid]))
    node.sleep(seconds)
    assert driver.values[oid] is None
    node.advance(10.0)
    value = driver.values[oid]
    assert value is not None and value.kind == m.FAILURE


@pytest.mark.parametrize("seconds", HOURS)
def test_a_pause_between_starts_is_not_longer_after_a_jump(seconds: float) -> None:
    node = SimulatedNode(1, pool_size=1, prompt=False)
    node.driver().submit(task_spec("f"))
    node.answer_spawn(ok=False)
    pause = node.core.scheduler.retry_at - node.now
    node.sleep(seconds)
    assert node.core.scheduler.retry_at - node.now == pytest.approx(pause, abs=1e-3)
    node.advance(pause * 1.1)
    assert node.spawning
