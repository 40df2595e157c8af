"""One task, actor or worker from near; failures by cause."""

from __future__ import annotations

import pytest

from fanlight import messages as m
from fanlight.core import causes
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode

TRACE = 'Traceback (most recent call last):\n  File "<cell 4>", line {}, in f\n    x\n{}'


def test_a_task_with_what_it_takes():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    put = driver.put(300)
    [a] = driver.submit(task_spec("a", origin="cell-1"))
    [b] = driver.submit(task_spec("b"), deps=[a, put])
    found = driver.query("task", id=b[:24].hex())
    assert [(x["name"], x["state"], x["size"]) for x in found["arguments"]] == [
        ("a", "RUNNING", 0), ("put", "READY", 300),
    ]  # fmt: skip
    assert found["arguments"][1]["task"] == "" and found["times"] is None
    node.core.timeline.record(a[:24], 0, 1, 77, node.now + 1, 2.0, reading=0.5, waited=1.0, size=8)
    node.busy()[0].finish()
    found = driver.query("task", id=a[:24].hex())
    times = {"waited": 1.0, "reading": 0.5, "running": 1.5, "storing": 0.0, "size": 8}
    assert found["times"] == times
    assert (found["origin"], found["attempts"][0]["ok"]) == ("cell-1", True)
    assert found["results"][0]["state"] == "READY"
    node.core.recent.clear()
    found = driver.query("task", id=a[:24].hex())
    assert found["forgotten"] and found["task"]["state"] == "FINISHED"
    assert found["origin"] == "cell-1"
    with pytest.raises(LookupError):
        driver.query("task", id="ab" * 24)
    assert driver.query("named", ids=[a[:24].hex(), b[:24].hex(), "ab" * 24]).keys() == {
        a[:24].hex(), b[:24].hex(),
    }  # fmt: skip


def test_neighbours_as_far_as_asked():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    put = driver.put(300)
    chain = [driver.submit(task_spec("f"), deps=[put])[0]]
    for _ in range(5):
        chain.append(driver.submit(task_spec("f"), deps=[chain[-1]])[0])
    [side] = driver.submit(task_spec("g"), deps=[chain[2]])
    near = driver.query("neighbours", id=chain[2][:24].hex(), radius=1)
    wanted = {chain[i][:24].hex() for i in (1, 2, 3)} | {side[:24].hex()}
    assert {t["id"] for t in near["tasks"]} == wanted and near["whole"]
    assert [v["name"] for v in near["values"]] == ["f"]  # what made the argument of chain[1]
    pairs = {(x["source"], x["target"]) for x in near["links"]}
    assert (chain[2][:24].hex(), side[:24].hex()) in pairs
    far = driver.query("neighbours", id=chain[2][:24].hex(), radius=6)
    assert len(far["tasks"]) == 7
    assert [(v["name"], v["size"]) for v in far["values"]] == [("put", 300)]
    cut = driver.query("neighbours", id=chain[2][:24].hex(), radius=6, limit=3)
    assert len(cut["tasks"]) == 3 and not cut["whole"]


def test_an_actor_and_its_worker():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("C"))
    node.busy()[0].finish()
    for _ in range(3):
        driver.submit(method_spec("C.m"), actor=actor)
    found = driver.query("actor", id=actor.hex())
    assert [g["name"] for g in found["methods"]] == ["C.m"]
    assert len(found["waiting"]) == 3
    worker = driver.query("worker", id=found["actor"]["worker"])
    assert worker["worker"]["state"] == "ACTOR" and len(worker["queue"]) >= 1
    node.workers[worker["number"]].crash("killed by signal 9")
    gone = driver.query("worker", id=found["actor"]["worker"])
    assert gone["worker"] is None and "SIGKILL" in gone["how"]
    for what, key in (("actor", "ab" * 16), ("worker", "ab" * 28), ("worker", "ab" * 24)):
        with pytest.raises(LookupError):
            driver.query(what, id=key)


def test_failures_by_cause(monkeypatch):
    monkeypatch.setattr(causes, "KEPT", 2)
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    for line, text in ((3, "ValueError: 1"), (3, "ValueError: 2"), (5, "ValueError: 3")):
        driver.submit(task_spec("f", origin="cell-4"))
        [task] = node.core.tasks.table.values()
        node.core.record_error(task, text, TRACE.format(line, text))
        node.busy()[0].finish()
    found = driver.query("errors")
    assert [(x["line"], x["count"], x["message"]) for x in found["causes"]] == [
        (5, 1, "ValueError: 3"), (3, 2, "ValueError: 2"),
    ]  # fmt: skip
    assert found["causes"][1]["kind"] == "ValueError" and len(found["causes"][1]["tasks"]) == 2
    driver.submit(task_spec("f"))
    node.busy()[0].finish(error="KeyError: 'x'")
    found = driver.query("errors")
    assert [x["kind"] for x in found["causes"]] == ["KeyError", "ValueError"]
    assert found["count"] == 4


def test_drivers_tell_what_holds_the_largest_objects():
    node = SimulatedNode(cpus=1)
    driver, other = node.driver(), node.driver()
    big, small = driver.put(5000), driver.put(2000)
    first = driver.query("panel_objects", limit=10)
    assert [(row["size"], row["variables"]) for row in first["rows"]] == [(5000, []), (2000, [])]
    second = other.query("panel_objects", limit=10)
    assert [(r["variables"], r["where"], r["origin"]) for r in second["rows"]] == [
        (["x"], ["f.py", 3], "cell"),
    ] * 2
    assert other.peer not in node.core.kept._asked  # it holds none of them
    asked = dict(node.core.kept._asked)
    driver.query("panel_objects")
    assert node.core.kept._asked == asked  # not again at once
    report = node.core.kept._found
    driver.query("panel_objects", limit=1)
    assert node.core.kept._found is report  # nor are all objects looked through again
    driver.drop(small)
    node.advance(5.0)
    driver.query("panel_objects")
    assert node.core.kept.facts.keys() == {big}
    node.busy() or driver.submit(task_spec("f"))
    [worker] = node.busy()
    worker.send(m.RefFacts([m.RefFact(big, ["theirs"])]))  # it is asked nothing
    assert driver.peer in node.core.kept.facts[big]
    assert worker.peer not in node.core.kept.facts[big]
    driver.disconnect()
    assert not node.core.kept._asked
    assert not any(node.core.kept.facts.values())


def test_bytes_along_edges():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    [a] = driver.submit(task_spec("a"))
    driver.submit(task_spec("b"), deps=[a])
    assert node.core.definitions.flows.get((0, 1, "data"), 0) == 0
    node.busy()[0].finish(sizes=[500])
    assert node.core.definitions.flows[0, 1, "data"] == 500
    driver.submit(task_spec("b"), deps=[a])  # it is there already
    assert node.core.definitions.flows[0, 1, "data"] == 1000
    assert node.core.objects.table[a].kind == m.STORED
