"""Generators: items as they come, their consumer, and what failures make of them."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode


def item(task: bytes, index: int) -> bytes:
    return ids.object_id(task, index)


def start(
    retries: int = 0, backpressure: int = 0, **options: object
) -> tuple[SimulatedNode, SimulatedClient, bytes]:
    node = SimulatedNode()
    driver = node.driver()
    spec = task_spec(
        "g", returns=m.STREAMING, retries=retries, backpressure=backpressure, **options
    )
    [end] = driver.submit(spec)
    return node, driver, ids.task_of(end)


def code(driver: SimulatedClient, oid: bytes) -> str:
    value = driver.values[oid]
    assert value is not None and value.kind == m.FAILURE
    return msgspec.msgpack.decode(value.data, type=m.Failure).code


def test_items_arrive_while_the_task_runs() -> None:
    node, driver, task = start()
    [worker] = node.busy()
    worker.yields(8)
    assert driver.values[item(task, 1)] is not None
    worker.yields(300, 8)
    assert driver.received[task] == 3 and driver.values[item(task, 0)] is None
    worker.finish()
    assert driver.ended == {task: 3}
    assert driver.values[item(task, 0)].kind == m.INLINE
    driver.drop(*list(driver.values))
    assert not node.core.objects.table


def test_items_are_sent_before_the_end() -> None:
    node, driver, task = start()
    [worker] = node.busy()
    driver.deaf = True
    worker.yields(8, 8)
    worker.finish()
    kinds = [type(x) for x in driver.inbox]
    assert kinds.index(m.StreamEnd) == len(kinds) - 1
    driver.listen()
    assert driver.ended == {task: 2}


def test_an_empty_generator_has_an_end() -> None:
    node, driver, task = start()
    node.settle()
    assert driver.ended == {task: 0}


def test_an_exception_is_one_more_item() -> None:
    node, driver, task = start()
    [worker] = node.busy()
    worker.yields(8, 8)
    worker.finish(error="ValueError: no")
    assert driver.values[item(task, 3)].kind == m.ERROR
    assert driver.values[item(task, 0)].kind == m.INLINE, "its end is no failure of the system"
    assert driver.ended == {task: 3}
    assert node.core.groups[0].counts[5] == 1, "failed"


def test_a_crash_is_one_more_item() -> None:
    node, driver, task = start()
    [worker] = node.busy()
    worker.yields(8)
    worker.crash()
    assert code(driver, item(task, 2)) == code(driver, item(task, 0)) == "worker_crashed"
    assert driver.ended == {task: 2}


def test_after_a_crash_no_index_comes_twice() -> None:
    node, driver, task = start(retries=1)
    [worker] = node.busy()
    worker.yields(8, 300)
    driver.drop(item(task, 1))
    worker.crash()
    [worker] = node.busy()
    worker.yields(8, 400, 8)  # the simulated client asserts the order
    assert item(task, 1) not in node.core.objects.table, "taken, dropped, and not made again"
    assert driver.values[item(task, 2)].size == 300
    worker.finish()
    assert driver.ended == {task: 3}
    driver.drop(*list(driver.values))
    assert all(s.cached for s in node.core.objects.segments.values())


def test_a_retried_exception_runs_it_again() -> None:
    node, driver, task = start(retries=1, retry_exceptions=True)
    [worker] = node.busy()
    worker.yields(8, 8)
    worker.finish(error="OSError: no", retriable=True)
    [worker] = node.busy()
    worker.yields(8)
    worker.finish(error="OSError: no", retriable=True)
    assert driver.values[item(task, 3)].kind == m.ERROR, "behind what was delivered before"
    assert driver.ended == {task: 3}


def test_a_shorter_run_is_an_error() -> None:
    node, driver, task = start(retries=1)
    [worker] = node.busy()
    worker.yields(8, 8)
    worker.crash()
    [worker] = node.busy()
    worker.yields(8)
    worker.finish()
    assert code(driver, item(task, 3)) == code(driver, item(task, 0)) == "replay_inconsistent"
    assert driver.ended == {task: 3}


def test_a_failed_argument_is_the_one_item() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [bad] = driver.submit(task_spec("bad"))
    [end] = driver.submit(task_spec("g", returns=m.STREAMING), deps=[bad])
    node.busy()[0].finish(error="ValueError: no")
    task = ids.task_of(end)
    assert code(driver, item(task, 1)) == "dependency" and driver.ended == {task: 1}


@pytest.mark.parametrize("running", [True, False])
def test_cancel(running: bool) -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    if not running:
        driver.submit(task_spec("first"))
    [end] = driver.submit(task_spec("g", returns=m.STREAMING))
    task = ids.task_of(end)
    if running:
        node.busy()[0].yields(8)
    driver.cancel(end)
    node.settle()
    last = 1 + running
    assert code(driver, item(task, last)) == "cancelled" and driver.ended[task] == last


def test_backpressure() -> None:
    node, driver, task = start(backpressure=2)
    [worker] = node.busy()
    worker.yields(8)
    worker.yields(8, paused=True)
    assert task in worker.paused
    driver.consume(task, 1)
    assert task not in worker.paused
    worker.yields(8, paused=True)
    assert task in worker.paused
    driver.consume(task, 1)  # late news
    assert task in worker.paused
    driver.consume(task, 3)
    assert task not in worker.paused


def test_a_run_after_a_crash_hears_of_earlier_consumption() -> None:
    node, driver, task = start(retries=1, backpressure=1)
    [worker] = node.busy()
    for taken in (1, 2):
        worker.yields(8, paused=True)
        driver.consume(task, taken)
    worker.crash()
    [worker] = node.busy()
    for _ in range(2):
        worker.yields(8, paused=True)
        assert task not in worker.paused
    worker.yields(8, paused=True)
    assert task in worker.paused


def test_a_dropped_generator_runs_to_its_end_and_leaves_nothing() -> None:
    node, driver, task = start(backpressure=1)
    [worker] = node.busy()
    worker.yields(300, paused=True)
    driver.close_stream(task)
    driver.drop(*list(driver.values))
    assert task not in worker.paused
    worker.yields(300, 8)
    assert not node.core.objects.table.keys() - {item(task, 0)}
    worker.finish(error="ValueError: no")
    assert not node.core.objects.table and driver.ended == {task: 4}


def test_items_on_the_way_to_a_consumer_that_dropped_the_generator() -> None:
    node, driver, task = start()
    [worker] = node.busy()
    driver.deaf = True
    worker.yields(300, 8)
    driver.close_stream(task)
    worker.yields(300)
    worker.finish()
    assert len(node.core.objects.table) == 3
    driver.listen()
    driver.drop(*list(driver.values))
    assert not node.core.objects.table
    assert driver.ended == {task: 3}


def test_the_consumer_dies() -> None:
    """Its process was a worker: what it had submitted is cancelled, and nobody hears of it."""
    node = SimulatedNode()
    driver = node.driver()
    driver.submit(task_spec("consumer"))
    consumer = node.runs("consumer")
    consumer.submit(task_spec("g", returns=m.STREAMING, backpressure=1))
    producer = node.runs("g")
    producer.yields(300, paused=True)
    consumer.crash()
    assert not producer.paused and producer.cancelled
    producer.yields(300)
    node.settle()
    driver.drop(*list(driver.values))
    assert not node.core.objects.table and not node.core.streams.table


def test_the_driver_leaves() -> None:
    node, driver, _ = start()
    node.busy()[0].yields(300)
    driver.disconnect()
    node.settle()
    assert not node.core.objects.table and not node.core.streams.table and not node.files


def test_an_actors_generator() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec(), max_restarts=1)
    node.settle()
    ends = [
        driver.submit(method_spec(f"A.{i}", returns=m.STREAMING, retries=i), actor=actor)[0]
        for i in (1, 0)
    ]
    first, second = map(ids.task_of, ends)
    [worker] = node.busy()
    worker.yields(8)
    worker.crash()
    assert code(driver, item(second, 1)) == "actor_unavailable" and driver.ended == {second: 1}
    worker = node.busy()[0]
    worker.finish()  # its constructor
    worker.yields(8, 8, task=first)
    driver.send(m.KillActor(actor))
    assert code(driver, item(first, 3)) == "actor_died" and driver.ended[first] == 3


def test_late_items_give_their_segments_back() -> None:
    node, _, task = start()
    [worker] = node.busy()
    worker.yields(300)
    worker.finish()
    again = worker.value(item(task, 2), 300)
    worker.send(m.Yield(task, [again]))
    worker._release([again])
    worker._return_segments()
    assert item(task, 2) not in node.core.objects.table
    assert sum(s.cached for s in node.core.objects.segments.values()) == 1


def test_results_that_a_failed_task_has_all_the_same() -> None:
    node = SimulatedNode()
    driver = node.driver()
    refs = driver.submit(task_spec("f", returns=3, retries=1, retry_exceptions=True))
    node.busy()[0].finish(sizes=[300], kept=1, error="ValueError: no", retriable=True)
    assert driver.values[refs[0]] is None, "it is retried"
    node.busy()[0].finish(sizes=[300], kept=2, error="ValueError: no", retriable=True)
    assert [driver.values[r].kind for r in refs] == [m.STORED, m.INLINE, m.ERROR]
    driver.drop(*refs)
    assert all(s.cached for s in node.core.objects.segments.values())


@pytest.mark.parametrize("message", [m.Yield(b"t" * 24, []), m.Consumed(b"t" * 24, 1)])
def test_only_those_concerned_report(message: object) -> None:
    node, _, task = start()
    other = node.driver()
    message.task = task
    other.send(message)
    assert [d.peer for d in node.dropped] == [other.peer]


def test_an_item_of_another_task_is_refused() -> None:
    node, _, task = start()
    [worker] = node.busy()
    worker.send(m.Yield(task, [m.Value(b"x" * 28, m.INLINE, b"")]))
    assert [d.peer for d in node.dropped] == [worker.peer]
