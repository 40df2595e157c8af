"""The question for the task graph: what is in the answer, and how much."""

from __future__ import annotations

import pytest

from fanlight import ids
from fanlight.core import graph
from fanlight.testing.builders import task_spec
from fanlight.testing.simulation import SimulatedNode


def names(answer):
    return sorted((row["name"], row["state"]) for row in answer["tasks"])


def test_tasks_of_a_ref_and_what_they_are_made_of():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    put = driver.put(8)
    [a] = driver.submit(task_spec("a"))
    [b] = driver.submit(task_spec("b"), deps=[a, put])
    driver.submit(task_spec("other"), deps=[a])
    [c] = driver.submit(task_spec("c"), deps=[b])
    answer = driver.query("graph", refs=[c.hex()])
    assert names(answer) == [
        ("a", "RUNNING"), ("b", "PENDING_ARGS"), ("c", "PENDING_ARGS"), ("put", "VALUE"),
    ]  # fmt: skip
    (row,) = [row for row in answer["tasks"] if row["name"] == "b"]
    assert row["deps"] == [(a, None), (put, 8)] or row["deps"] == [[a, None], [put, 8]]
    assert answer["whole"] and {g[1] for g in answer["groups"]} == {"a", "b", "c"}
    assert [e[2:] for e in answer["edges"]] == [["data", 1]] * 2
    node.busy()[0].finish()
    node.settle()
    assert ("a", "FINISHED") in names(driver.query("graph", refs=[c.hex()]))


def test_all_tasks_or_none_if_they_are_too_many():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    driver.submit(task_spec("f", origin="cell-1"))
    for _ in range(3):
        driver.submit(task_spec("g"))
    assert len(driver.query("graph", limit=4)["tasks"]) == 4
    many = driver.query("graph", limit=3)
    assert many["tasks"] == [] and not many["whole"]
    assert sorted((g[1], sum(g[4])) for g in many["groups"]) == [("f", 1), ("g", 3)]
    for part in ({"origin": "cell-1"}, {"function": "f"}):
        assert {row["name"] for row in driver.query("graph", **part)["tasks"]} == {"f"}


def test_a_long_chain_is_cut(monkeypatch):
    monkeypatch.setattr(graph, "LIMIT", 5)
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f", never=1))
    for _ in range(20):
        [ref] = driver.submit(task_spec("f"), deps=[ref])
    answer = driver.query("graph", refs=[ref.hex()], limit=10**9)
    assert len(answer["tasks"]) == 5 and not answer["whole"]


def test_what_is_gone_is_named():
    driver = SimulatedNode().driver()
    unknown = b"nobody".ljust(ids.OBJECT_LEN, b"\0")
    (row,) = driver.query("graph", refs=[unknown.hex()])["tasks"]
    assert (row["name"], row["state"]) == ("?", "GONE")
    with pytest.raises(LookupError):
        driver.query("graph", refs=["no hex"])
