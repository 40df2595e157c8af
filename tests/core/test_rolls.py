"""The tasks of one function as columns: slots that stay, and only what changed after a cursor."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from fanlight.core import rolls
from fanlight.core.model import FAILED, FINISHED, PENDING_RESOURCES, RUNNING
from fanlight.core.timeline import Timeline
from fanlight.testing.builders import task_spec
from fanlight.testing.simulation import SimulatedNode

CODES = {"slot": "I", "state": "B", "depth": "H", "worker": "I", "submitted": "d"}


def watched(cpus: float = 1) -> tuple[SimulatedNode, Any]:
    node = SimulatedNode(cpus=cpus)
    driver = node.driver()
    node.core.watched = True
    return node, driver


def tick(node: SimulatedNode) -> None:
    """What the hub does ten times a second."""
    node.core.rolls.note(node.core.changed_tasks.values())
    node.core.changed_tasks.clear()


def ask(driver: Any, after: int = 0, group: int = 0) -> dict[str, Any]:
    found = driver.query("columns", group=group, after=after)
    columns = {name: array(code, found[name]).tolist() for name, code in CODES.items()}
    joined = found["ids"]
    tasks = [joined[i : i + 24] for i in range(0, len(joined), 24)]
    assert len(tasks) == len(columns["slot"]) == len(columns["state"])
    return {**found, **columns, "ids": tasks}


def test_all_at_first_and_then_what_changed():
    node, driver = watched()
    refs = [driver.submit(task_spec("f"))[0] for _ in range(4)]
    tick(node)
    first = ask(driver)
    assert first["reset"] and first["slots"] == first["total"] == 4
    assert first["ids"] == [ref[:24] for ref in refs]
    assert first["state"] == [RUNNING, *[PENDING_RESOURCES] * 3]
    again = ask(driver, first["cursor"])
    assert not again["reset"] and again["slot"] == []
    [worker] = node.busy()
    worker.finish()
    driver.submit(task_spec("f"))
    tick(node)
    changed = ask(driver, first["cursor"])
    assert not changed["reset"] and changed["slots"] == 5
    states = dict(zip(changed["slot"], changed["state"], strict=True))
    assert (states[0], states[4]) == (FINISHED, PENDING_RESOURCES)
    assert 3 not in states
    assert ask(driver, changed["cursor"])["slot"] == []
    # Two who ask at different times do not disturb each other.
    assert set(ask(driver, first["cursor"])["slot"]) == set(changed["slot"])
    assert ask(driver, 10**9)["reset"]  # a cursor of another runtime


def test_depth_is_how_many_tasks_stand_before():
    node, driver = watched()
    put = driver.put(8)
    [a] = driver.submit(task_spec("f"), deps=[put])
    [b] = driver.submit(task_spec("g"), deps=[a])
    [c] = driver.submit(task_spec("f"), deps=[b, put])
    tick(node)
    assert ask(driver)["depth"] == [0, 2]
    driver.submit(task_spec("f"), deps=[c, a])
    tick(node)
    assert ask(driver)["depth"] == [0, 2, 3]


def test_bounded_and_who_runs_takes_the_slot_of_who_ended(monkeypatch):
    monkeypatch.setattr(rolls, "SLOTS", 4)
    node, driver = watched()
    refs = [driver.submit(task_spec("f"))[0] for _ in range(10)]
    tick(node)
    found = ask(driver)
    assert (found["slots"], found["total"]) == (4, 10)
    assert found["ids"] == [ref[:24] for ref in refs[:4]]
    for i in range(10):
        [worker] = node.busy()
        assert worker.running.keys() == {refs[i][:24]}
        worker.finish()
        tick(node)
        found = ask(driver, found["cursor"])
        assert found["slots"] == 4
    kept = ask(driver)["ids"]
    assert set(kept) == {ref[:24] for ref in refs[6:]}
    roll = node.core.rolls.table[0]
    assert len(roll.slots) == len(roll.changed) == 4
    assert len(roll._over) <= 4


def test_who_runs_again_keeps_the_slot_until_the_next_end(monkeypatch):
    monkeypatch.setattr(rolls, "SLOTS", 2)
    roll = rolls.Roll(0, 1)

    def put(task: bytes, state: int) -> set[bytes]:
        roll.put(task, state, 0, 0, 1.0, 2.0, 0.0, 1)
        return set(roll.slots)

    for state in (RUNNING, FAILED, PENDING_RESOURCES):
        put(b"again", state)
    put(b"over", FINISHED)
    assert put(b"third", RUNNING) == {b"again", b"third"}
    put(b"again", RUNNING)
    assert put(b"fourth", RUNNING) == {b"again", b"third"}, "nobody has ended"
    put(b"again", FINISHED)
    assert put(b"fourth", RUNNING) == {b"fourth", b"third"}
    put(b"third", FINISHED)
    put(b"fourth", FINISHED)
    assert put(b"fifth", RUNNING) == {b"fourth", b"fifth"}
    assert put(b"sixth", RUNNING) == {b"sixth", b"fifth"}


def test_what_the_node_forgot_comes_from_its_timeline():
    node, driver = watched()
    other = b""
    for group, name in enumerate("fffg"):
        [other] = driver.submit(task_spec(name))
        node.core.timeline.record(other[:24], group // 3, 1, 1, node.now + 1, 0.5, waited=1.0)
        node.busy()[0].finish()
    node.core.recent.clear()
    driver.submit(task_spec("f"))
    found = ask(driver)
    assert found["slots"] == 4
    assert found["state"] == [*[FINISHED] * 3, RUNNING]
    assert other[:24] not in found["ids"]
    assert found["submitted"][:3] == [node.now] * 3
    # Calls on channels that only the timeline hears of.
    node.core.timeline.record(b"c" * 24, 0, 1, 1, node.now, 0.5)
    found = ask(driver, found["cursor"])
    assert (found["slot"], found["ids"], found["state"]) == ([4], [b"c" * 24], [FINISHED])


def test_a_roll_that_nobody_asks_for_goes(monkeypatch):
    node, driver = watched()
    for name in "fgh":
        driver.submit(task_spec(name))
    tick(node)
    monkeypatch.setattr(rolls, "ROLLS", 2)
    for group in range(3):
        ask(driver, group=group)
        node.advance(1.0)
    assert list(node.core.rolls.table) == [1, 2]
    node.advance(rolls.IDLE_SECONDS + 1)
    tick(node)
    assert node.core.rolls.table == {}
    with pytest.raises(LookupError):
        ask(driver, group=77)


def test_newest_records_of_a_group_around_the_end_of_the_ring():
    line = Timeline(limit=100)
    for i in range(257):
        line.record(i.to_bytes(24, "big"), (7, 7 + 256, 9)[i % 3], 1, 1, 1.0 + i, 0.5)
    numbers = [int.from_bytes(record[0], "big") for record in line.newest(7)]
    assert numbers == [i for i in range(256, 156, -1) if i % 3 == 0]
    numbers = [int.from_bytes(record[0], "big") for record in line.newest(7, 10)]
    assert numbers == [i for i in range(256, 246, -1) if i % 3 == 0]
    assert [r[6] for r in line.find((200).to_bytes(24, "big"))] == [201.0]
    assert line.find((100).to_bytes(24, "big")) == []
