"""Order of calls, restarts, names, and the end of an actor when nobody can call it any more."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.invariants import validate
from fanlight.ids import handle_oid
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker


def living(
    node: SimulatedNode, driver: SimulatedClient, concurrency: int = 1, **options: object
) -> tuple[bytes, SimulatedWorker]:
    actor = driver.create_actor(actor_spec("A", concurrency=concurrency), **options)
    node.settle()
    return actor, next(w for w in node.workers.values() if w.actor == actor)


def state(node: SimulatedNode, actor: bytes) -> str:
    return model.ACTOR_STATES[node.core.actors.table[actor].state]


def running(worker: SimulatedWorker) -> list[str]:
    return [worker.specs[e.spec].name for e in worker.running.values()]


def failure(client: SimulatedClient, ref: bytes) -> m.Failure:
    value = client.values[ref]
    assert value is not None and value.kind == m.FAILURE
    return msgspec.msgpack.decode(value.data, type=m.Failure)


# --- order ---------------------------------------------------------------------------------------


def test_a_call_waits_for_the_arguments_of_an_earlier_one() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver)
    [slow] = driver.submit(task_spec("slow"))
    driver.submit(method_spec("A.first"), deps=[slow], actor=actor)
    driver.submit(method_spec("A.second"), actor=actor)
    assert running(worker) == []
    node.runs("slow").finish()
    assert running(worker) == ["A.first"]
    worker.finish()
    assert running(worker) == ["A.second"]


def test_callers_do_not_wait_for_each_other() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    actor, worker = living(node, driver)
    other.adopt(handle_oid(actor))
    [slow] = driver.submit(task_spec("slow"))
    driver.submit(method_spec("A.first"), deps=[slow], actor=actor)
    other.submit(method_spec("A.other"), actor=actor)
    assert running(worker) == ["A.other"]


def test_concurrent_actors_keep_no_order() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver, concurrency=2)
    [slow] = driver.submit(task_spec("slow"))
    driver.submit(method_spec("A.first"), deps=[slow], actor=actor)
    driver.submit(method_spec("A.second"), actor=actor)
    assert running(worker) == ["A.second"]


def test_calls_with_the_same_number_of_two_clients_are_no_line() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    actor, worker = living(node, driver, concurrency=2)
    other.adopt(handle_oid(actor))
    [slow] = driver.submit(task_spec("slow"))
    [first] = driver.submit(method_spec("A.first"), deps=[slow], actor=actor)
    number = int.from_bytes(first[16:24], "big")
    while int.from_bytes(other.next_task_id()[16:], "big") < number - 1:
        pass
    [second] = other.submit(method_spec("A.second"), actor=actor)
    assert second[16:24] == first[16:24]
    assert running(worker) == ["A.second"]


def test_calls_made_before_the_actor_lives_keep_their_order() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"))
    for i in range(3):
        driver.submit(method_spec(f"A.m{i}"), actor=actor)
    [worker] = node.busy()
    worker.finish()
    order = []
    while worker.running:
        order += running(worker)
        worker.finish()
    assert order == ["A.m0", "A.m1", "A.m2"]


def test_a_cancelled_call_lets_those_behind_it_pass() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver)
    [slow] = driver.submit(task_spec("slow"))
    [first] = driver.submit(method_spec("A.first"), deps=[slow], actor=actor)
    driver.submit(method_spec("A.second"), actor=actor)
    driver.cancel(first)
    assert running(worker) == ["A.second"]
    assert failure(driver, first).code == "cancelled"


def test_as_many_calls_run_as_the_actor_allows() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver, concurrency=2)
    refs = [driver.submit(method_spec(), actor=actor)[0] for _ in range(3)]
    states = [node.core.tasks.table[ids.task_of(r)].state for r in refs]
    assert states == [model.RUNNING, model.RUNNING, model.SUBMITTED]
    worker.finish(ids.task_of(refs[1]))
    states = [node.core.tasks.table[ids.task_of(r)].state for r in (refs[0], refs[2])]
    assert states == [model.RUNNING, model.RUNNING]


def test_the_next_call_runs_while_a_failed_one_waits_for_its_retry() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver)
    spec = method_spec(retries=1, retry_exceptions=True)
    first, second = (driver.submit(spec, actor=actor)[0] for _ in range(2))
    worker.finish(error="ValueError", retriable=True)
    states = [node.core.tasks.table[ids.task_of(r)].state for r in (first, second)]
    assert states == [model.SUBMITTED, model.RUNNING]
    node.settle()
    assert driver.values[first] is not None and driver.values[first].kind == m.INLINE


# --- death ---------------------------------------------------------------------------------------


def test_calls_that_depend_on_calls_of_an_actor_that_dies() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, _ = living(node, driver)
    [first] = driver.submit(method_spec(), actor=actor)
    [second] = driver.submit(method_spec(), deps=[first], actor=actor)
    [third] = driver.submit(method_spec(), deps=[second], actor=actor)
    driver.send(m.KillActor(actor))
    assert failure(driver, first).code == "actor_died"
    assert {failure(driver, r).code for r in (second, third)} <= {"actor_died", "dependency"}
    assert not node.core.tasks.table


def test_an_actor_that_nobody_can_call_is_not_restarted() -> None:
    """The last handle is held by a call that is lost with the process."""
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver, max_restarts=-1)
    driver.submit(method_spec(), actor=actor)
    driver.drop(handle_oid(actor))
    assert state(node, actor) == "ALIVE"
    worker.crash()
    assert state(node, actor) == "DEAD"
    assert not node.core.tasks.table


def test_an_actor_without_handles_whose_constructor_crashed_is_not_restarted() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"), max_restarts=-1)
    driver.drop(handle_oid(actor))
    assert state(node, actor) == "PENDING_CREATION", "its constructor is let finish"
    node.busy()[0].crash()
    assert state(node, actor) == "DEAD"


def test_a_restarted_actor_runs_the_calls_that_may_be_repeated_first() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver, max_restarts=1)
    [lost] = driver.submit(method_spec("A.lost"), actor=actor)
    driver.submit(method_spec("A.again", retries=1), actor=actor)
    worker.crash()
    driver.submit(method_spec("A.new"), actor=actor)
    assert state(node, actor) == "RESTARTING"
    assert failure(driver, lost).code == "actor_unavailable"
    [worker] = node.busy()
    worker.finish()
    order = []
    while worker.running:
        order += running(worker)
        worker.finish()
    assert order == ["A.again", "A.new"]
    worker.crash()
    assert state(node, actor) == "DEAD", "no restart is left"


def test_calls_made_after_the_connection_ended_are_not_lost() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver, max_restarts=1)
    node.prompt = False
    worker.disconnect()
    [ref] = driver.submit(method_spec(), actor=actor)
    worker.exited("killed by SIGKILL")
    node.settle()
    value = driver.values[ref]
    assert value is not None and value.kind == m.INLINE


def test_an_actor_whose_argument_fails_dies_and_says_why() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [bad] = driver.submit(task_spec("bad"))
    actor = driver.create_actor(actor_spec("A"), deps=[bad])
    [call] = driver.submit(method_spec(), actor=actor)
    assert state(node, actor) == "PENDING_ARGS"
    node.busy()[0].finish(error="ValueError")
    assert state(node, actor) == "DEAD"
    assert failure(driver, call).code == "actor_died"


def test_actors_of_a_driver_end_with_it_and_detached_ones_stay() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    mortal, worker = living(node, driver)
    detached, _ = living(node, driver, name="d", detached=True)
    other.adopt(handle_oid(mortal))
    driver.disconnect()
    assert state(node, mortal) == "DEAD" and worker.number not in node.workers
    assert state(node, detached) == "ALIVE"
    assert other.query("get_actor", name="d", namespace="")["actor"] == detached


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_kill_that_allows_a_restart_finds_no_process(restarts: int) -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.submit(task_spec("slow"))
    actor = driver.create_actor(actor_spec("A", cpus=1), max_restarts=restarts)
    driver.send(m.KillActor(actor, False))
    assert state(node, actor) == ("PENDING_CREATION" if restarts else "DEAD")
    node.settle()
    assert state(node, actor) == ("ALIVE" if restarts else "DEAD")


# --- handles and names ---------------------------------------------------------------------------


def test_an_actor_ends_with_its_last_handle() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    actor, worker = living(node, driver)
    box = driver.put(8, contained=[handle_oid(actor)])
    driver.drop(handle_oid(actor))
    other.adopt(box)
    driver.drop(box)
    assert state(node, actor) == "ALIVE", "a value holds a handle"
    other.adopt(handle_oid(actor))
    other.drop(box)
    assert state(node, actor) == "ALIVE"
    other.drop(handle_oid(actor))
    assert state(node, actor) == "DEAD" and worker.number not in node.workers


def test_an_actor_finishes_its_calls_before_it_goes() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor, worker = living(node, driver)
    refs = [driver.submit(method_spec(), actor=actor)[0] for _ in range(2)]
    driver.drop(handle_oid(actor))
    worker.finish()
    worker.finish()
    assert state(node, actor) == "DEAD"
    assert [v.kind for r in refs if (v := driver.values[r])] == [m.INLINE, m.INLINE]


def test_names_are_given_once_and_come_free_again() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    actor, _ = living(node, driver, name="n", namespace="s")
    with pytest.raises(LookupError, match="taken"):
        other.create_actor(actor_spec("B"), name="n", namespace="s")
    assert other.create_actor(actor_spec("B"), name="n", namespace="s", get_if_exists=True) == actor
    driver.send(m.KillActor(actor))
    with pytest.raises(LookupError, match="there is none"):
        other.query("get_actor", name="n", namespace="s")
    assert other.create_actor(actor_spec("B"), name="n", namespace="s") != actor


# --- concurrency groups --------------------------------------------------------------------------


def grouped(node: SimulatedNode, driver: SimulatedClient) -> tuple[bytes, SimulatedWorker]:
    actor = driver.create_actor(actor_spec("A", groups={"io": 2, "one": 1}))
    node.settle()
    return actor, next(w for w in node.workers.values() if w.actor == actor)


def test_all_ready_calls_of_groups_go_to_the_process() -> None:
    """Only the process knows which group is full: none is to wait for another here."""
    node = SimulatedNode(1, check=lambda core: None)  # else at every step of many
    driver = node.driver()
    actor, _ = grouped(node, driver)
    for _ in range(400):
        driver.submit(method_spec("A.m", group="one"), actor=actor)
    driver.submit(method_spec("A.m", group="io"), actor=actor)
    record = node.core.actors.table[actor]
    assert len(record.flight) == 401 and not record.backlog
    validate(node.core)
    node.settle()
    assert not node.core.tasks.table


@pytest.mark.parametrize(("group", "waits"), [("one", True), ("", True), ("io", False)])
def test_groups_of_one_keep_the_order_of_a_caller(group: str, waits: bool) -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    actor, worker = grouped(node, driver)
    [pending] = driver.submit(task_spec("never", cpus=9))
    driver.submit(method_spec("A.first", group=group), [pending], actor=actor)
    driver.submit(method_spec("A.second", group=group), actor=actor)
    assert running(worker) == ([] if waits else ["A.second"])
    others = "io" if group != "io" else "one"
    driver.submit(method_spec("A.third", group=others), actor=actor)
    assert "A.third" in running(worker)


def test_calls_that_may_overtake_each_other() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    spec = actor_spec("A")
    spec.unordered = True
    actor = driver.create_actor(spec)
    node.settle()
    worker = next(w for w in node.workers.values() if w.actor == actor)
    [pending] = driver.submit(task_spec("never", cpus=9))
    driver.submit(method_spec("A.first"), [pending], actor=actor)
    driver.submit(method_spec("A.second"), actor=actor)
    assert running(worker) == ["A.second"]
