"""Messages that are well formed and make no sense: their sender may be dropped, nothing else is harmed.

Each of these was found by random histories (:mod:`fanlight.testing.histories`).
"""

from __future__ import annotations

from typing import Any

import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.world import tables


def pair() -> tuple[SimulatedNode, SimulatedClient, SimulatedClient]:
    """A node and two drivers; the second one is about to say something odd."""
    node = SimulatedNode(1)
    return node, node.driver(), node.driver()


def refused(node: SimulatedNode, client: SimulatedClient, message: Any) -> bool:
    client.send(message)
    return [drop.peer for drop in node.dropped] == [client.peer]


def test_a_task_whose_result_is_there_is_not_submitted_again() -> None:
    node, _, odd = pair()
    [ref] = odd.submit(task_spec())
    node.settle()
    again = m.Submit(ids.task_of(ref), 1, b"", [], [])
    assert refused(node, odd, again) and not node.core.tasks.table


def test_nobody_makes_anything_under_anothers_id() -> None:
    made = [
        lambda task, oid: m.Submit(task, 1, b"", [], []),
        lambda task, oid: m.Put(m.Value(oid, m.INLINE, b"x", 1)),
        lambda task, oid: m.GroupReady(b"group".ljust(16), oid, b"x"),
    ]
    for make in made:
        node, good, odd = pair()
        odd.spec(task_spec())
        task = good.next_task_id()
        assert refused(node, odd, make(task, ids.object_id(task, 0)))
        assert not node.core.objects.table and not node.core.tasks.table


@pytest.mark.parametrize("actor", [b"", b"actor".ljust(16)])
def test_a_spec_is_called_as_what_it_is(actor: bytes) -> None:
    node, _, odd = pair()
    number = odd.spec(task_spec() if actor else method_spec())
    message = m.Submit(odd.next_task_id(), number, b"", [], [], b"", actor)
    assert refused(node, odd, message) and not node.core.tasks.table


def test_a_value_cannot_be_in_the_segment_of_another_one() -> None:
    node, good, odd = pair()
    ref = good.put(500)
    value = good.values[ref]
    assert value is not None
    stolen = m.Value(ids.object_id(odd.next_task_id(), 0), m.STORED, value.data, value.size)
    assert refused(node, odd, m.Put(stolen))
    good.drop(ref)
    assert all(segment.cached for segment in node.core.objects.segments.values())


def test_who_gives_back_a_segment_it_never_had_takes_it_from_nobody() -> None:
    node, good, odd = pair()
    node.core.objects.capacity = 2500  # one segment may be kept warm
    good.drop(good.put(600))
    [name] = good.free
    odd.send(m.Unmapped([name]))
    assert node.core.objects.segments[name].cached and name in node.files


def test_an_idle_worker_that_says_it_waits_gives_no_cpu_back() -> None:
    node, driver, _ = pair()
    for worker in list(node.workers.values()):
        worker.send(m.Blocked(b"", []), m.Blocked(b"", []))
    driver.submit(task_spec())
    node.settle()
    assert node.core.pool.available == node.core.pool.total


def test_a_task_does_not_end_without_its_results() -> None:
    node, driver, _ = pair()
    [ref] = driver.submit(task_spec(retries=0))
    [worker] = node.busy()
    assert refused(node, worker, m.Done(worker.current, True, []))
    node.settle()
    value = driver.values[ref]
    assert value is not None and value.kind == m.FAILURE


def test_only_workers_deliver_results() -> None:
    node, _, odd = pair()
    value = m.Value(ids.object_id(odd.next_task_id(), 0), m.INLINE, b"x", 1)
    assert refused(node, odd, m.Deliver(1, [value]))


def test_a_lost_call_of_an_actor_that_has_no_process_fails_at_once() -> None:
    _node, driver, _ = pair()
    [never] = driver.submit(task_spec(never=1))
    actor = driver.create_actor(actor_spec(), deps=[never])
    oid = ids.object_id(ids.own_task_id_factory(driver.id)(), 0)
    driver.values[oid] = None
    driver.send(m.LostCall(ids.task_of(oid), driver.spec(method_spec()), actor, 0, [oid]))
    value = driver.values[oid]
    assert value is not None and value.kind == m.FAILURE


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), 10**30, -(10**30)])
def test_questions_beyond_all_bounds_are_answered(limit: float) -> None:
    node, driver, _ = pair()
    for what, args in (("group_tasks", {"group": 0}), ("state", {"kind": "tasks"})):
        driver.send(m.Query(5, what, {**args, "limit": limit, "skip": limit}))
        assert driver.replies.pop(5) is not None
    assert not node.dropped


def test_clients_that_made_actors_are_forgotten() -> None:
    node, driver, _ = pair()
    driver.create_actor(actor_spec())
    node.settle()
    driver.submit(task_spec())
    [worker] = node.busy()
    worker.create_actor(actor_spec())
    node.settle()
    worker.crash()
    driver.disconnect()
    node.settle()
    assert not tables(node.core)["makers"]


def test_a_task_that_fails_while_it_is_given_back_is_left_alone() -> None:
    node, driver, other = pair()
    node.entering = {"vars"}
    [held] = other.submit(task_spec())
    node.settle()
    [ref] = driver.submit(task_spec(env="vars"), deps=[held])
    other.drop(held)
    [worker] = [w for w in node.workers.values() if w.env]
    worker.send(m.EnvironmentEntered("no such module"))
    value = driver.values[ref]
    assert value is not None and value.kind == m.FAILURE
    assert not node.core.tasks.table and held not in node.core.objects.table


def test_an_item_that_was_lost_and_is_small_now_is_not_kept_track_of() -> None:
    node, driver, _ = pair()
    spec = task_spec("items", returns=m.STREAMING, retries=3)
    task = ids.task_of(driver.submit(spec)[0])
    [worker] = node.busy()
    worker.yields(500)
    node.lose(ids.object_id(task, 1))
    worker.crash()
    [worker] = node.busy()
    worker.yields(8)
    worker.finish()
    past = node.core.lineage.table.get(task)
    assert past is None or not past.results
    assert node.core.objects.table[ids.object_id(task, 1)].kind != model.PENDING
