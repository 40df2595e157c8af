"""Who holds what: pins of arguments and nested refs, errors through dependencies, segments."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core.effects import DeleteSegment
from fanlight.testing.builders import task_spec
from fanlight.testing.clients import SimulatedClient, StoreFull
from fanlight.testing.simulation import SimulatedNode


def known(node: SimulatedNode, *oids: bytes) -> list[bool]:
    return [oid in node.core.objects.table for oid in oids]


def failure(client: SimulatedClient, ref: bytes) -> m.Failure:
    value = client.values[ref]
    assert value is not None and value.kind == m.FAILURE
    return msgspec.msgpack.decode(value.data, type=m.Failure)


# --- references ----------------------------------------------------------------------------------


def test_arguments_live_until_the_task_has_ended() -> None:
    node = SimulatedNode()
    driver = node.driver()
    top, nested = driver.put(8), driver.put(8)
    driver.submit(task_spec("f"), deps=[top], pins=[nested])
    driver.drop(top, nested)
    assert known(node, top, nested) == [True, True]
    node.busy()[0].finish()
    assert known(node, top, nested) == [False, False]


def test_arguments_live_through_a_retry() -> None:
    node = SimulatedNode()
    driver = node.driver()
    arg = driver.put(300)
    [ref] = driver.submit(task_spec("f", retries=1), deps=[arg])
    driver.drop(arg)
    node.busy()[0].crash()
    assert known(node, arg) == [True]
    node.busy()[0].finish()
    assert known(node, arg, ref) == [False, True]


def test_a_value_keeps_the_refs_inside_it() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    inner = driver.put(300)
    outer = driver.put(8, contained=[inner, inner])
    driver.drop(inner)
    other.adopt(outer)
    driver.drop(outer)
    assert known(node, outer, inner) == [True, True]
    other.adopt(inner)
    other.drop(outer)
    assert known(node, outer, inner) == [False, True]
    other.drop(inner)
    assert known(node, inner) == [False]


def test_a_result_keeps_refs_that_its_task_made() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [ref] = driver.submit(task_spec("parent"))
    [worker] = node.busy()
    [child] = worker.submit(task_spec("child"))
    worker.finish(contained=[child])
    worker.drop(child)
    node.settle()
    assert known(node, child) == [True]
    driver.drop(ref)
    assert known(node, child) == [False]


def test_results_that_nobody_wants_are_not_kept() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    driver.drop(ref)
    assert known(node, ref) == [True], "its task still runs"
    node.busy()[0].finish(sizes=[300])
    assert known(node, ref) == [False]


def test_long_chains_of_nested_refs_are_freed() -> None:
    node = SimulatedNode(check=lambda core: None)
    driver = node.driver()
    ref = driver.put(8)
    for _ in range(3000):
        outer = driver.put(8, contained=[ref])
        driver.drop(ref)
        ref = outer
    driver.drop(ref)
    assert not node.core.objects.table


def test_a_client_that_is_gone_holds_and_awaits_nothing() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    [ref] = driver.submit(task_spec("f"))
    other.adopt(ref)
    other.subscribe(ref)
    other.disconnect()
    node.busy()[0].finish(sizes=[300])
    driver.drop(ref)
    node.settle()
    assert all(segment.cached for segment in node.core.objects.segments.values())


def test_objects_that_are_gone_are_said_to_be_lost() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    ref = driver.put(8)
    driver.drop(ref)
    other.adopt(ref)
    other.subscribe(ref)
    assert failure(other, ref).code == "object_lost"
    [result] = other.submit(task_spec("f"), deps=[ref])
    assert failure(other, result).code == "dependency"


# --- errors --------------------------------------------------------------------------------------


def test_errors_pass_through_dependencies() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [bad, also] = driver.submit(task_spec("bad", returns=2))
    [good] = driver.submit(task_spec("good"))
    [next_] = driver.submit(task_spec("next"), deps=[good, bad])
    [last] = driver.submit(task_spec("last"), deps=[next_])
    [beside] = driver.submit(task_spec("beside"), pins=[bad])
    node.runs("bad").finish(error="ValueError: no")
    assert driver.values[also] is not None and driver.values[also].kind == m.ERROR
    cause = failure(driver, last)
    assert (cause.code, cause.task_name) == ("dependency", "last")
    inner = msgspec.msgpack.decode(cause.detail["data"], type=m.Failure)
    assert (inner.task_name, inner.detail["kind"]) == ("next", m.ERROR)
    node.settle()
    assert driver.values[beside] is not None and driver.values[beside].kind == m.INLINE


def test_an_error_passes_through_a_very_long_chain_and_stays_small() -> None:
    node = SimulatedNode(check=lambda core: None)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    for _ in range(3000):
        [ref] = driver.submit(task_spec("f"), deps=[ref])
    node.busy()[0].finish(error="ValueError: no")
    assert not node.core.tasks.table
    last = driver.values[ref]
    assert last is not None and last.size < 10_000
    while last.kind == m.FAILURE:
        cause = msgspec.msgpack.decode(last.data, type=m.Failure)
        last = m.Value(b"", cause.detail["kind"], cause.detail["data"])
    assert (last.kind, last.data) == (m.ERROR, b"error")


def test_one_argument_given_twice() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [arg] = driver.submit(task_spec("arg"))
    [ref] = driver.submit(task_spec("f"), deps=[arg, arg], pins=[arg])
    node.settle()
    assert driver.values[ref] is not None and driver.values[ref].kind == m.INLINE
    driver.drop(arg)
    assert known(node, arg) == [False]


# --- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("recursive", [True, False])
def test_cancelling_a_task_cancels_its_children(recursive: bool) -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    [ref] = driver.submit(task_spec("parent"))
    [parent] = node.busy()
    [child] = parent.submit(task_spec("child", cpus=2))
    driver.cancel(ref, recursive=recursive)
    assert (parent.values[child] is not None) == recursive
    parent.finish()
    assert failure(driver, ref).code == "cancelled"


def test_cancel_by_force_ends_the_process_and_nothing_is_tried_again() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f", retries=-1))
    [worker] = node.busy()
    driver.cancel(ref, force=True)
    assert worker.number not in node.workers
    assert failure(driver, ref).code == "cancelled"
    assert not node.core.tasks.table


def test_a_driver_that_leaves_takes_its_tasks_along_and_no_others() -> None:
    node = SimulatedNode(1)
    driver, other = node.driver(), node.driver()
    driver.submit(task_spec("running"))
    driver.submit(task_spec("waiting"))
    [kept] = other.submit(task_spec("kept"))
    driver.disconnect()
    node.settle()
    assert other.values[kept] is not None and other.values[kept].kind == m.INLINE
    assert node.core.groups[0].counts[6] == 1, "cancelled"


# --- segments ------------------------------------------------------------------------------------


def test_a_segment_is_given_back_when_nobody_maps_it() -> None:
    node = SimulatedNode(capacity=10_000)
    driver, other = node.driver(), node.driver()
    ref = driver.put(1000)
    other.adopt(ref)
    other.subscribe(ref)
    driver.drop(ref)
    assert not driver.free
    other.drop(ref)
    assert list(driver.free.values()) == [1000]
    driver.put(900)
    assert len(node.files) == 1, "the warm segment is written again"


def test_warm_segments_make_room_for_others() -> None:
    node = SimulatedNode(capacity=4000)
    driver, other = node.driver(), node.driver()
    driver.drop(driver.put(1000))
    assert node.core.objects.cached == 1000
    other.put(3500)
    assert not driver.free
    assert any(isinstance(a, DeleteSegment) for e in node.effects for a in e.actions)


def test_a_full_store_refuses_and_says_what_fills_it() -> None:
    node = SimulatedNode(capacity=4000)
    driver = node.driver()
    [ref] = driver.submit(task_spec("make"))
    node.busy()[0].finish(sizes=[3000])
    with pytest.raises(StoreFull, match="made by make"):
        driver.put(2000)
    assert node.core.objects.used == 3000 and node.core.objects.reserved == 0
    driver.drop(ref)
    driver.put(3500)


def test_a_task_whose_result_finds_no_room_fails() -> None:
    node = SimulatedNode(capacity=4000)
    driver = node.driver()
    refs = driver.submit(task_spec("f", returns=2))
    node.busy()[0].finish(sizes=[3000, 3000])
    assert [v.kind for r in refs if (v := driver.values[r])] == [m.ERROR, m.ERROR]
    node.settle()
    driver.put(3500)


def test_a_promise_is_given_back() -> None:
    node = SimulatedNode(capacity=4000)
    driver = node.driver()
    driver.reserve(3000)
    with pytest.raises(StoreFull):
        driver.reserve(3000)
    driver.reserve(-3000)
    assert node.core.objects.reserved == 0
    driver.reserve(-3000)  # what was never promised
    assert node.core.objects.reserved == 0
    driver.reserve(3000)
    driver.disconnect()
    assert node.core.objects.reserved == 0


def test_a_dead_workers_segments_are_deleted_when_unused() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    [worker] = node.busy()
    worker.finish(sizes=[300])
    worker.crash()
    assert node.files, "the object outlives its maker"
    driver.drop(ref)
    assert not node.files


def test_results_reported_after_the_end_of_their_task_are_thrown_away() -> None:
    node = SimulatedNode(prompt=False)
    driver = node.driver()
    node.settle()
    [ref] = driver.submit(task_spec("f"))
    [worker] = node.busy()
    task = worker.current
    worker.finish(sizes=[300])
    again = worker.value(ids.object_id(task, 0), 300)
    worker.send(m.Done(task, True, [again]))
    worker.reader.done(again.data.decode())
    worker._return_segments()
    driver.drop(ref)
    assert all(segment.cached for segment in node.core.objects.segments.values())


def test_a_value_for_an_object_that_is_there_gives_its_segment_back() -> None:
    node = SimulatedNode()
    driver = node.driver()
    ref = driver.put(300)
    again = driver.value(ref, 400)
    driver.send(m.Put(again))
    driver.reader.done(again.data.decode())
    driver._return_segments()
    assert list(driver.free.values()) == [400]
    assert node.core.objects.table[ref].size == 300


# --- who breaks the protocol ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        m.Submit(b"t" * 24, 99, b"", [], []),
        m.CreateActor(b"a" * 16, b"t" * 24, 99, b"", [], []),
        m.Done(b"t" * 24, True, []),
        m.DefineSpec(1, task_spec("unknown function")),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_client_that_breaks_the_protocol_is_dropped(message: object) -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    driver.send(message)
    assert [d.peer for d in node.dropped] == [driver.peer]
    [ref] = other.submit(task_spec("f"))
    node.settle()
    assert other.values[ref] is not None


def test_questions_with_wrong_arguments_are_answered() -> None:
    node = SimulatedNode()
    driver = node.driver()
    for what, args in [("task", {"id": 5}), ("nonsense", {}), ("group_tasks", {"group": "x"})]:
        try:
            driver.query(what, **args)
        except LookupError:
            pass
    with pytest.raises(LookupError):
        driver.query("task", id=5)
