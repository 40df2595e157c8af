"""Room in the store and objects on disk: who waits, who goes, who comes back, and what is lost."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core import room
from fanlight.core.model import PENDING
from fanlight.testing.builders import task_spec
from fanlight.testing.clients import SimulatedClient, StoreFull
from fanlight.testing.simulation import SimulatedNode


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode(1, capacity=1000, spill=True)


def kind(node: SimulatedNode, oid: bytes) -> int:
    return node.core.objects.table[oid].kind


def spills(node: SimulatedNode) -> list[str]:
    """Segments that are being written."""
    return [job.segment for job in node.disk.jobs.values() if isinstance(job, fx.Spill)]


def release(client: SimulatedClient, value: m.Value) -> None:
    client._release([value])
    client._return_segments()


def answer(client: SimulatedClient, request: int) -> object:
    """What a Reserve was answered with; None while it was not."""
    found: list[object] = []

    def answered(reply: m.Reply) -> None:
        found.append(reply.error or msgspec.msgpack.decode(reply.data))

    if request in client.replies:
        answered(client.replies[request])
    return found[0] if found else None


def ask(client: SimulatedClient, size: int) -> int:
    """Reserve without waiting for the answer."""
    client._requests += 1
    client.send(m.Reserve(client._requests, size))
    return client._requests


# --- going ---------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(node: SimulatedNode) -> None:
    driver = node.driver()
    first, second, third = (driver.put(300) for _ in range(3))
    release(driver, driver.look(first))  # used again
    driver.put(300)
    assert [kind(node, oid) for oid in (first, second, third)] == [m.STORED, m.AWAY, m.STORED]
    value = driver.values[second]
    assert value is not None and value.kind == m.AWAY


def test_what_nobody_needs_goes_before_anything_is_written(node: SimulatedNode) -> None:
    driver, other = node.driver(), node.driver()
    kept = other.put(300)
    driver.drop(*[driver.put(101 + i) for i in range(2)])
    assert node.core.objects.cached == 203
    driver.put(650)
    assert node.disk.written == 0 and kind(node, kept) == m.STORED


def test_what_is_looked_at_stays(node: SimulatedNode) -> None:
    driver = node.driver()
    looked, other = driver.put(400), driver.put(400)
    driver.looking.add(looked)
    driver.put(400)
    assert [kind(node, oid) for oid in (looked, other)] == [m.STORED, m.AWAY]


def test_arguments_of_a_task_that_runs_stay(node: SimulatedNode) -> None:
    driver = node.driver()
    arg = driver.put(400)
    driver.submit(task_spec("f"), [arg])
    [worker] = node.busy()
    driver.drop(arg)
    driver.put(500)
    driver.put(500)
    assert kind(node, arg) == m.STORED
    worker.finish()
    assert arg not in node.core.objects.table


def test_readers_come_while_it_is_written(node: SimulatedNode) -> None:
    """It stays in memory then, and leaves for nothing later."""
    driver, other = node.driver(), node.driver()
    oid = driver.put(600)
    request = ask(driver, 600)
    assert spills(node) == [f"{driver.peer}-1"]
    value = other.look(oid)
    node.disk.answer()
    assert kind(node, oid) == m.STORED and answer(driver, request) is True, "there was no room"
    release(other, value)
    driver.values[oid] = m.Value(oid, m.AWAY, b"", 600)
    driver.send(m.Reserve(99, 600))
    assert kind(node, oid) == m.AWAY and node.disk.written == 1 and not node.disk.jobs


def test_it_is_dropped_while_it_is_written(node: SimulatedNode) -> None:
    driver = node.driver()
    oid = driver.put(600)
    request = ask(driver, 600)
    driver.drop(oid)
    assert answer(driver, request) is False, "its memory is free at once"
    node.disk.answer()
    assert not node.files and not node.core.spilling.files


def test_the_file_goes_with_the_object(node: SimulatedNode) -> None:
    driver = node.driver()
    first, second = driver.put(600), driver.put(600)
    assert kind(node, first) == m.AWAY and len(node.files) == 2
    driver.drop(first)
    assert len(node.files) == 1
    driver.drop(second)
    driver.disconnect()
    assert not node.files


def test_many_wait_in_order_and_none_is_passed_over(node: SimulatedNode) -> None:
    driver, other = node.driver(), node.driver()
    driver.put(900)
    large, small = ask(other, 800), ask(driver, 50)
    assert answer(other, large) is None and answer(driver, small) is None, "the large one is first"
    node.disk.answer()
    assert answer(other, large) is False and answer(driver, small) is False
    assert node.core.objects.reserved == 850


def test_what_cannot_fit_ever_goes_to_disk_at_once(node: SimulatedNode) -> None:
    driver = node.driver()
    small = driver.put(300)
    large = driver.put(5000)
    assert kind(node, small) == kind(node, large) == m.STORED
    assert node.core.objects.on_disk == 5000 and node.core.objects.used == 300
    [ref] = driver.submit(task_spec("f"), [large])
    node.busy()[0].finish(sizes=[4000])
    value = driver.values[ref]
    assert value is not None and value.data.startswith(b"@")
    driver.drop(small, large, ref)
    assert node.core.objects.on_disk == 0 and node.files <= {f"{driver.peer}-1"}


def test_when_all_is_mapped_new_ones_go_to_disk(node: SimulatedNode) -> None:
    driver = node.driver()
    driver.looking |= {driver.put(400), driver.put(400)}
    third = driver.put(400)
    assert kind(node, third) == m.STORED and node.core.objects.on_disk == 400
    driver.drop(*driver.looking)
    assert driver.put(400) and node.core.objects.on_disk == 400


# --- coming back ---------------------------------------------------------------------------------


def test_an_argument_comes_back_when_its_task_runs(node: SimulatedNode) -> None:
    driver = node.driver()
    first, _ = driver.put(600), driver.put(600)
    [ref] = driver.submit(task_spec("f"), [first, first])
    assert kind(node, first) == m.AWAY, "not before"
    node.busy()[0].finish()
    assert driver.values[ref] is not None and kind(node, first) == m.STORED
    assert node.core.spilling.restored == 600


def test_several_ask_for_one_and_it_comes_once(node: SimulatedNode) -> None:
    driver, other = node.driver(), node.driver()
    first, _ = driver.put(600), driver.put(600)
    other.adopt(first)
    other.subscribe(first)
    value = other.values[first]
    assert value is not None and value.kind == m.AWAY, "there is a value: nobody brings it back"
    for client in (driver, other, driver):
        client.fetch(first)
    while node.disk.jobs:
        node.disk.answer()
    assert kind(node, first) == m.STORED
    for client in (driver, other):
        value = client.values[first]
        assert value is not None and value.kind == m.STORED
    assert node.core.spilling.restored == 600


def test_with_no_room_the_file_itself_is_mapped(node: SimulatedNode) -> None:
    driver = node.driver()
    first, second = driver.put(600), driver.put(600)
    driver.looking.add(second)
    value = driver.look(first)
    assert value.data.startswith(b"@") and node.core.objects.used == 600
    release(driver, value)
    driver.drop(first)
    assert node.files == {driver.values[second].data.decode()}  # type: ignore[union-attr]


def test_shared_memory_is_full_though_the_store_is_not(node: SimulatedNode) -> None:
    driver = node.driver()
    first, _ = driver.put(600), driver.put(600)
    driver.fetch(first)
    while node.disk.jobs:
        job = next(iter(node.disk.jobs.values()))
        node.disk.answer(problem="no_room" if isinstance(job, fx.Restore) else "")
    obj = node.core.objects.table[first]
    assert obj.data.startswith(b"@") and node.core.objects.reserved == 0


def test_whoever_asked_is_gone_when_it_comes(node: SimulatedNode) -> None:
    driver, other = node.driver(), node.driver()
    first, _ = driver.put(600), driver.put(600)
    for client in (driver, other):
        client.adopt(first)
    other.fetch(first)
    other.disconnect()
    node.settle()
    assert not node.core.spilling.fetches and node.core.objects.reserved == 0
    release(driver, driver.look(first))


def test_dropped_on_the_way_back(node: SimulatedNode) -> None:
    driver = node.driver()
    first, second = driver.put(600), driver.put(600)
    driver.fetch(first)
    while spills(node):
        node.disk.answer()
    assert [type(job) for job in node.disk.jobs.values()] == [fx.Restore]
    driver.drop(first)
    node.settle()
    assert node.core.objects.reserved == 0 and first not in node.core.objects.table
    driver.drop(second)
    driver.disconnect()
    assert not node.files


@pytest.mark.parametrize("when", ["in line", "on its way", "there"])
def test_a_fetch_is_withdrawn(node: SimulatedNode, when: str) -> None:
    driver = node.driver()
    first, _ = driver.put(600), driver.put(600)
    request = driver.fetch(first)
    assert node.core.spilling.returning[first] == 0
    if when != "in line":
        while spills(node):
            node.disk.answer()
    if when == "there":
        node.settle()
    driver.withdraw(request)
    assert not driver.unread, "each request has one answer"
    node.settle()
    release(driver, driver.look(first))


# --- trouble -------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_loses_nothing(node: SimulatedNode) -> None:
    driver = node.driver()
    first = driver.put(600)
    node.disk.full = True
    with pytest.raises(StoreFull):
        driver.put(600)
    assert kind(node, first) == m.STORED
    with pytest.raises(StoreFull):
        driver.put(600)
    assert not node.disk.jobs, "not tried again at once"
    node.disk.full = False
    node.advance(10.0)
    driver.put(600)
    assert kind(node, first) == m.AWAY


def test_a_file_that_cannot_be_read_is_lost_and_nothing_else(node: SimulatedNode) -> None:
    driver = node.driver()
    first, second, _ = (driver.put(400) for _ in range(3))
    node.disk.damaged |= {name for name in node.files if name.startswith("@")}
    assert driver.look(first).kind == m.LOST, "who asks again hears the reason"
    assert driver.look(first).kind == m.FAILURE and b"@s" in driver.look(first).data
    assert driver.look(second).kind == m.STORED
    assert node.core.objects.reserved == 0


def test_a_segment_that_cannot_be_read_is_lost(node: SimulatedNode) -> None:
    driver = node.driver()
    first = driver.put(600)
    node.disk.damaged |= node.files
    driver.put(600)
    assert kind(node, first) == m.FAILURE


def test_a_task_makes_again_what_cannot_be_read(node: SimulatedNode) -> None:
    """Whoever waits for it gives its place back: there is only one, and the task needs it."""
    driver = node.driver()
    [made] = driver.submit(task_spec("make", retries=1))
    node.busy()[0].finish(sizes=[600])
    _ = driver.put(600)
    assert kind(node, made) == m.AWAY
    [ref] = driver.submit(task_spec("use"), [made])
    node.disk.damaged |= {name for name in node.files if name.startswith("@")}
    node.runs("use").finish()
    assert kind(node, made) == PENDING and [w.current for w in node.busy()] == [made[:24]]
    node.runs("make").finish(sizes=[600])
    node.settle()
    value = driver.values[ref]
    assert value is not None and value.kind == m.INLINE
    assert node.core.pool.available == node.core.pool.total


def test_nobody_waits_for_a_client_that_does_not_answer(node: SimulatedNode) -> None:
    silent, driver = node.driver(), node.driver()
    held = silent.put(600)
    silent.deaf = True
    request = ask(driver, 600)
    assert answer(driver, request) is None
    node.advance(room.PATIENCE)
    assert answer(driver, request) is True, "to disk"
    again = ask(driver, 600)
    assert answer(driver, again) is True, "nobody waits for it a second time"
    silent.listen()
    third = ask(driver, 600)
    node.settle()
    assert answer(driver, third) is False and kind(node, held) == m.AWAY


def test_a_slow_disk_is_not_waited_for_without_end(node: SimulatedNode) -> None:
    driver = node.driver()
    driver.put(600)
    request = ask(driver, 600)
    node.advance(room.DISK_SECONDS / 2)
    assert answer(driver, request) is None
    node.advance(room.DISK_SECONDS / 2)
    assert answer(driver, request) is True


def test_time_that_does_not_count(node: SimulatedNode) -> None:
    silent, driver = node.driver(), node.driver()
    silent.put(600)
    silent.deaf = True
    request = ask(driver, 600)
    node.now += 3600
    node.post([(0, fx.Slept(3600)), (0, fx.Tick())])
    assert answer(driver, request) is None, "the machine slept: nobody was late"


def test_the_place_in_line_is_given_back(node: SimulatedNode) -> None:
    driver, other = node.driver(), node.driver()
    driver.put(900)
    first, second = driver.want_room(300), ask(other, 100)
    driver.withdraw(first)
    assert first not in driver.unread and answer(other, second) is False
    third = ask(other, 900)
    other.disconnect()
    assert not node.core.room.waiting and answer(other, third) is None
    driver.withdraw(12345)  # never asked


def test_without_a_disk_the_error_names_who_has_what() -> None:
    node = SimulatedNode(1, capacity=1000)
    driver = node.driver()
    ref = driver.put(600)
    driver.send(m.CallSite([ref], "lesson.py:12 in load"))
    with pytest.raises(StoreFull) as info:
        driver.put(600)
    text = str(info.value)
    assert (
        "made by put" in text and f"held by driver {driver.peer}" in text and "lesson.py:12" in text
    )


def test_figures(node: SimulatedNode) -> None:
    driver = node.driver()
    first, second = driver.put(600), driver.put(600)
    facts = driver.query("store")
    assert (facts["used"], facts["spilled"], facts["mapped"]) == (600, 600, 600)
    assert (facts["spilled_total"], facts["restored_total"]) == (600, 0)
    places = [driver.query("object", id=oid.hex())["place"] for oid in (first, second)]
    assert places == ["disk", "mapped"]
    release(driver, driver.look(first))
    assert driver.query("store")["restored_total"] == 600
