"""Runtime environments in the core: prepared for whom, whose workers, and what a failure means."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core import environments as e
from fanlight.core.invariants import validate
from fanlight.core.model import NEW, IllegalTransition
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker

VARS, PIP = "vars", "pip numpy"


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode(2, 1, pool_size=2)


@pytest.fixture
def driver(node: SimulatedNode) -> SimulatedClient:
    return node.driver()


def why(client: SimulatedClient, ref: bytes) -> str:
    text: str = client.query("task", id=ids.task_of(ref).hex())["why"]
    return text


def failure(client: SimulatedClient, ref: bytes) -> m.Failure:
    value = client.values[ref]
    assert value is not None and value.kind == m.FAILURE, value
    return msgspec.msgpack.decode(value.data, type=m.Failure)


def actions(node: SimulatedNode, kind: type) -> list[object]:
    return [a for step in node.effects for a in step.actions if isinstance(a, kind)]


def state(node: SimulatedNode, key: str) -> str:
    return e.ENVIRONMENT_STATES[node.core.environments.table[key].state]


def entering(node: SimulatedNode) -> list[SimulatedWorker]:
    """Workers that have not said yet that they are in their environment."""
    return [w for w in node.workers.values() if w.env and not node.core.workers[w.number].entered]


# --- the table -----------------------------------------------------------------------------------


def test_every_move_that_is_not_in_the_table_raises(node: SimulatedNode) -> None:
    states = range(len(e.ENVIRONMENT_STATES))
    for old in (NEW, *states):
        for new in states:
            env = e.Environment(m.DefineEnvironment("x", b"{}"))
            env.state = old
            if new in e.ENVIRONMENT_MOVES[old]:
                node.core.environments.move(env, new, "test")
                assert env.state == new
            else:
                with pytest.raises(IllegalTransition, match="78 cannot go"):
                    node.core.environments.move(env, new, "test")
                assert env.state == old


# --- workers -------------------------------------------------------------------------------------


def test_workers_belong_to_one_environment(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.submit(task_spec("plain"))
    driver.submit(task_spec("f", env=VARS))
    plain, other = node.runs("plain"), node.runs("f")
    assert plain.env == "" and other.env == VARS
    plain.finish()
    other.finish()
    driver.submit(task_spec("f", env=VARS))
    driver.submit(task_spec("plain"))
    assert node.runs("f") is other
    assert node.runs("plain") is not other


def test_an_actor_gets_a_worker_of_its_environment(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    driver.create_actor(actor_spec("Counter", env=VARS))
    [worker] = node.busy()
    assert worker.env == VARS


def test_other_environments_make_room_and_then_get_it_back() -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    for i in range(8):
        driver.submit(task_spec("f", env=f"vars {i}"))
        node.settle()
        assert len(node.core.workers) <= 2
    driver.submit(task_spec("f"))
    assert node.runs("f").env == ""
    node.settle()


def test_no_more_processes_are_started_than_can_run() -> None:
    """Sixty environments and one CPU are no reason for sixty processes."""
    node = SimulatedNode(2, pool_size=2, prompt=False)
    driver = node.driver()
    node.settle()
    refs = [driver.submit(task_spec("f", env=f"vars {i}"))[0] for i in range(60)]
    assert len(node.spawning) == 2
    while node.spawning:
        node.answer_spawn()
        for worker in node.busy():
            worker.finish()
        for number in list(node.dying):
            node.reap(number)
        assert len(node.core.workers) <= 6
    node.settle()
    assert all(driver.values[ref] is not None for ref in refs)


def test_idle_workers_of_an_environment_retire(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    for _ in range(2):
        driver.submit(task_spec("f", env=VARS))
    node.settle()
    assert len(node.core.workers) == 4
    node.advance(60.0)
    assert len(node.core.workers) == 2


def test_a_full_machine_serves_an_environment_that_is_new() -> None:
    """At the limit of processes, idle ones of others end; what ends is not replaced meanwhile."""
    node = SimulatedNode(40, pool_size=40)
    driver = node.driver()
    assert len(node.core.workers) == node.core.scheduler.limit == 40
    for _ in range(3):
        driver.submit(task_spec("f", env=VARS))
    assert [w.env for w in node.busy()] == [VARS] * 3
    node.settle()


def test_a_spec_of_an_undefined_environment_is_refused(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    spec = task_spec("f", env="nobody knows")
    driver.send(m.DefineFunction(spec.function, b"code"), m.DefineSpec(1, spec))
    assert "runtime environment was not defined" in node.dropped[0].reason


# --- preparation ---------------------------------------------------------------------------------


def test_tasks_wait_for_the_preparation(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("f", env=PIP))[0] for _ in range(3)]
    assert not node.busy() and len(node.preparing) == 1
    assert why(driver, refs[0]) == (
        "It waits for its runtime environment (pip numpy), which is being set up."
    )
    node.answer_preparation()
    assert {w.env for w in node.busy()} == {PIP}
    node.settle()
    assert all(driver.values[ref] is not None for ref in refs)
    driver.submit(task_spec("f", env=PIP))
    assert node.busy() and len(actions(node, fx.PrepareEnvironment)) == 1


def test_other_work_goes_on_meanwhile(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.submit(task_spec("f", env=PIP))
    driver.submit(task_spec("plain"))
    driver.create_actor(actor_spec("Waits", env=PIP))
    driver.create_actor(actor_spec("Plain"))
    assert {s.specs[x.spec].name for s in node.busy() for x in s.running.values()} == {
        "plain",
        "Plain",
    }
    node.settle()


def test_a_failure_reaches_tasks_and_actors(node: SimulatedNode, driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("f", env=PIP, retries=-1))
    actor = driver.create_actor(actor_spec("Counter", env=PIP), max_restarts=-1)
    [call] = driver.submit(method_spec(), actor=actor)
    assert why(driver, call).endswith("which is being set up.")
    node.answer_preparation("Its installer ended: exit code 1.", "no such package")
    for each in (ref, call):
        got = failure(driver, each)
        assert got.code == "env_setup"
        assert got.message.endswith("Its installer ended: exit code 1.\nno such package")
    [later] = driver.submit(method_spec(), actor=actor)
    assert failure(driver, later).code == "env_setup"
    assert not node.busy()


def test_work_right_after_a_failure_shares_it_and_later_work_tries_again(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    driver.submit(task_spec("f", env=PIP))
    node.answer_preparation("no network")
    [soon] = driver.submit(task_spec("f", env=PIP))
    assert failure(driver, soon).code == "env_setup" and not node.preparing
    node.advance(e.RETRY_SECONDS)
    [later] = driver.submit(task_spec("f", env=PIP))
    node.answer_preparation()
    node.settle()
    value = driver.values[later]
    assert value is not None and value.kind == m.INLINE


def test_a_preparation_takes_too_long(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.environment(PIP, timeout=60.0)
    [ref] = driver.submit(task_spec("f", env=PIP))
    node.advance(59.0)
    assert driver.values[ref] is None
    node.advance(2.0)
    assert "It took longer than 60 s." in failure(driver, ref).message
    assert not node.preparing and actions(node, fx.CancelPreparation)


def test_without_a_limit_it_may_take_for_ever(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.environment(PIP, timeout=0.0)
    [ref] = driver.submit(task_spec("f", env=PIP))
    node.advance(1e6)
    assert driver.values[ref] is None and node.preparing


def test_nobody_waits_any_more(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("f", env=PIP))[0] for _ in range(2)]
    actor = driver.create_actor(actor_spec("Counter", env=PIP))
    driver.cancel(refs[0])
    driver.cancel(refs[1])
    assert node.preparing
    driver.send(m.KillActor(actor))
    assert not node.preparing and state(node, PIP) == "DEFINED"
    driver.submit(task_spec("f", env=PIP))
    assert list(node.preparing) == [2]
    driver.disconnect()
    assert not node.preparing


def test_ahead_of_work(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.environment(PIP, eager=True)
    assert node.preparing
    [ref] = driver.submit(task_spec("f", env=PIP))
    driver.cancel(ref)
    assert node.preparing, "it was asked for, whoever waits"
    node.answer_preparation()
    assert state(node, PIP) == "READY"


def test_an_answer_that_comes_too_late_is_ignored(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    [ref] = driver.submit(task_spec("f", env=PIP))
    number = next(iter(node.preparing))
    driver.cancel(ref)
    node.post([(0, fx.EnvironmentPrepared(number, "killed"))])
    assert state(node, PIP) == "DEFINED"


# --- environments that cannot be entered ---------------------------------------------------------


def test_a_worker_cannot_enter_it(node: SimulatedNode, driver: SimulatedClient) -> None:
    node.broken.add(VARS)
    refs = [driver.submit(task_spec("f", env=VARS, retries=-1))[0] for _ in range(4)]
    actor = driver.create_actor(actor_spec("Counter", env=VARS), max_restarts=-1)
    [call] = driver.submit(method_spec(), actor=actor)
    node.settle()
    for ref in (*refs, call):
        assert failure(driver, ref).code == "env_setup"
        assert "no such module" in failure(driver, ref).message
    assert all(not w.env for w in node.workers.values())
    node.broken.clear()
    node.advance(e.RETRY_SECONDS)
    [later] = driver.submit(task_spec("f", env=VARS))
    node.settle()
    value = driver.values[later]
    assert value is not None and value.kind == m.INLINE


def test_a_cancelled_task_of_a_broken_environment_is_cancelled(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    """It was with the worker when it was cancelled, and had not begun."""
    node.entering.add(VARS)
    [ref] = driver.submit(task_spec("f", env=VARS))
    [worker] = entering(node)
    driver.cancel(ref)
    worker.send(m.EnvironmentEntered("no such module"))
    node.settle()
    assert failure(driver, ref).code == "cancelled"


def test_a_plain_worker_has_no_environment_to_break(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    driver.submit(task_spec("f"))
    node.busy()[0].send(m.EnvironmentEntered("?"))
    assert "no environment to enter" in node.dropped[0].reason
    node.settle()


def test_workers_that_die_while_they_enter(node: SimulatedNode, driver: SimulatedClient) -> None:
    """Once is an accident: nothing is lost. Three times in a row is the environment's fault."""
    node.entering.add(VARS)
    [ref] = driver.submit(task_spec("f", env=VARS, retries=0))
    actor = driver.create_actor(actor_spec("Counter", env=VARS), max_restarts=-1)
    [call] = driver.submit(method_spec(), actor=actor)
    for deaths in range(e.DEATHS):
        assert driver.values[ref] is None and driver.values[call] is None, f"after {deaths} deaths"
        entering(node)[0].crash("exit code 3")
    for worker in entering(node):  # another that was on its way
        worker.crash("exit code 3")
    for each in (ref, call):
        assert failure(driver, each).code == "env_setup"
        assert "died 3 times in a row" in failure(driver, each).message


def test_one_that_enters_clears_the_count(node: SimulatedNode, driver: SimulatedClient) -> None:
    for _ in range(e.DEATHS):
        node.entering.add(VARS)
        [ref] = driver.submit(task_spec("f", env=VARS))
        entering(node)[0].crash("exit code 3")
        node.entering.clear()
        entering(node)[0].crash("exit code 3")
        node.runs("f").finish()
        assert driver.values[ref] is not None
        for worker in [w for w in node.workers.values() if w.env]:
            worker.crash()
    assert state(node, VARS) == "READY"


# --- max_calls -----------------------------------------------------------------------------------


def test_a_worker_ends_after_max_calls(node: SimulatedNode, driver: SimulatedClient) -> None:
    seen = []
    for _ in range(5):
        driver.submit(task_spec("f", calls=2, cpus=2))
        [worker] = node.busy()
        seen.append(worker.number)
        worker.finish(duration=0.0001)
    first, second, third = seen[0], seen[2], seen[4]
    assert seen == [first, first, second, second, third] and len({*seen}) == 3


def test_nothing_stands_behind_a_task_that_may_end_its_worker(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    for name in ("quick", "once"):
        driver.submit(task_spec(name, cpus=2, calls=1 if name == "once" else 0))
        node.busy()[0].finish(duration=0.0001)
    driver.submit(task_spec("once", cpus=2, calls=1))
    for _ in range(5):
        driver.submit(task_spec("quick", cpus=2))
    [worker] = node.busy()
    assert not worker.queue
    worker.finish(duration=0.0001)
    assert worker.peer not in node.clients
    node.settle()


def test_a_retry_counts(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.submit(task_spec("f", calls=1, retries=1, retry_exceptions=True))
    [first] = node.busy()
    first.finish(error="ValueError: no", retriable=True)
    [second] = node.busy()
    assert second is not first


def test_gpus_are_free_when_the_process_is_gone() -> None:
    node = SimulatedNode(2, 1, pool_size=2, prompt=False)
    driver = node.driver()
    driver.submit(task_spec("f", gpus=1, calls=1))
    while node.spawning:
        node.answer_spawn()
    [ref] = driver.submit(task_spec("f", gpus=1, calls=1))
    [worker] = node.busy()
    worker.deaf = True  # it takes its time to end
    worker.finish()
    pool = node.core.pool
    assert pool.available["CPU"] == pool.total["CPU"], "the CPU is free at once"
    assert pool.available["GPU"] == 0 and worker.peer in node.clients
    assert why(driver, ref) == "It waits for 1 GPU (0 of 1 free), held by a process that ends."
    validate(node.core)
    worker.crash("exit code 0")
    node.settle()
    assert pool.available == pool.total
