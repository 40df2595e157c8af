"""OBS.12: the timeline, as Chrome trace events."""

from __future__ import annotations

import itertools
import json
import os
import time

import numpy as np
import pytest

from tests.engines.support import line, needs

KEYS = {"cat", "name", "ph", "ts", "dur", "pid", "tid", "args", "cname"}


def spans(events, cat):
    return [e for e in events if e["cat"] == cat]


@line("OBS.12")
def test_events_of_tasks(rt):
    @rt.remote
    def work(i):
        time.sleep(0.002)
        return i

    before = time.time()
    refs = [work.remote(i) for i in range(4)]
    rt.get(refs)
    after = time.time()
    events = rt.timeline()
    assert all(e.keys() >= KEYS for e in events)
    ids = {ref.task_id().hex() for ref in refs}
    tasks = [e for e in spans(events, "task::work") if e["args"]["task_id"] in ids]
    assert len(tasks) == 4 and len(spans(events, "task:execute")) >= 4
    for event in tasks:
        assert event["ph"] == "X" and event["dur"] >= 2000, "microseconds, as the worker saw it"
        assert before * 1e6 <= event["ts"] <= event["ts"] + event["dur"] <= after * 1e6 + 1000
        (inner,) = [e for e in spans(events, "task:execute") if e["args"] == event["args"]]
        assert event["ts"] <= inner["ts"] and inner["tid"] == event["tid"]
        assert inner["ts"] + inner["dur"] <= event["ts"] + event["dur"] + 1


@line("OBS.12")
@needs("processes")
def test_tasks_overlap_in_lanes_and_never_within_one(rt):
    @rt.remote
    def work():
        time.sleep(0.01)
        return os.getpid()

    pids = set(rt.get([work.remote() for _ in range(6)]))
    events = rt.timeline()
    lanes = {}
    for event in spans(events, "task::work"):
        lanes.setdefault(event["tid"], []).append(event)
    assert {e["args"]["pid"] for lane in lanes.values() for e in lane} >= pids
    for lane in lanes.values():
        lane.sort(key=lambda e: e["ts"])
        for a, b in itertools.pairwise(lane):
            assert a["ts"] + a["dur"] <= b["ts"] + 100, "one at a time in each process"
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert named.keys() >= lanes.keys()


@line("OBS.12")
def test_a_file_for_viewers(rt, tmp_path):
    rt.get(rt.remote(lambda: 1).remote())
    path = tmp_path / "trace.json"
    assert rt.timeline(str(path)) is None
    loaded = json.loads(path.read_text())
    assert loaded == rt.timeline()
    assert [p.name for p in tmp_path.iterdir()] == ["trace.json"]
    with pytest.raises(OSError):
        rt.timeline(str(tmp_path / "no" / "such" / "folder"))


@line("OBS.12")
def test_failures_retries_and_actors(rt, tmp_path):
    @rt.remote(retry_exceptions=True, max_retries=1)
    def second(path):
        with open(path, "a") as f:
            f.write("x")
        if os.path.getsize(path) < 2:
            raise ValueError("first")

    @rt.remote
    class Actor:
        def call(self):
            pass

    ref = second.remote(str(tmp_path / "tries"))
    actor = Actor.remote()
    rt.get([ref, actor.call.remote()])
    events = rt.timeline()
    tries = [
        e for e in spans(events, "task::second") if e["args"]["task_id"] == ref.task_id().hex()
    ]
    assert [(e["args"]["attempt_number"], e["args"]["ok"]) for e in tries] == [
        (0, False),
        (1, True),
    ]
    assert tries[0]["cname"] == "terrible" != tries[1]["cname"]
    assert spans(events, "task::Actor.call") and spans(events, "task::Actor.__init__")


@line("OBS.12")
@needs("processes")
def test_reading_and_storing_show_where_they_take_time(rt):
    @rt.remote
    def copy(x):
        return x + 1

    ref = copy.remote(np.zeros(4_000_000))
    rt.get(ref)
    mine = [e for e in rt.timeline() if e["args"].get("task_id") == ref.task_id().hex()]
    (whole,) = spans(mine, "task::copy")
    (store,) = spans(mine, "task:store_outputs")
    (execute,) = spans(mine, "task:execute")
    assert whole["ts"] <= execute["ts"] <= store["ts"]
    assert abs(store["ts"] + store["dur"] - whole["ts"] - whole["dur"]) < 10


@line("OBS.12", "INI.10")
def test_it_does_not_start_a_runtime(fresh):
    with pytest.raises(fresh.fanlight.exceptions.RaySystemError, match=r"before init|ray\.init"):
        fresh.fanlight.timeline()
    assert not fresh.fanlight.is_initialized()


@line("OBS.12")
def test_it_is_a_list_and_a_picture_in_text(rt):
    @rt.remote
    def work(n):
        return bytes(n)

    @rt.remote(max_retries=0)
    def broken():
        raise ValueError("no")

    refs = [work.remote(200_000) for _ in range(3)]
    rt.get(refs)
    with pytest.raises(ValueError):
        rt.get(broken.remote())
    found = rt.timeline()
    assert isinstance(found, list) and json.loads(json.dumps(found)) == found
    spans = [s for s in found.spans.all if s.name == "work"]
    assert {s.task for s in spans} >= {ref.task_id().binary() for ref in refs}
    assert all(s.state == "done" and s.waited >= 0 and s.size >= 200_000 for s in spans[-3:])
    text = str(found)
    assert text.startswith("Timeline: ") and "work: " in text and "! failed" in text
    facts = found.summary()
    assert facts["functions"]["broken"]["failed"] >= 1 and facts["failed"] >= 1
    assert 0 < facts["utilization"] <= 1


@line("OBS.12")
def test_a_part_of_it(rt, tmp_path):
    @rt.remote
    def one():
        pass

    @rt.remote
    def two():
        pass

    with rt.session.origin("cell-timeline"):
        rt.get(one.remote())
    rt.get([two.remote(), two.remote()])
    mine = rt.timeline(cell="cell-timeline")
    assert [s.name for s in mine.spans.all] == ["one"]
    assert {e["args"]["name"] for e in mine if e["ph"] == "X"} == {"one"}
    assert {s.name for s in rt.timeline(function="two").spans.all} == {"two"}
    assert rt.timeline(last=0, function="two").spans.all == []
    path = tmp_path / "one.json"
    assert rt.timeline(str(path), cell="cell-timeline") is None
    assert json.loads(path.read_text()) == mine
    mine.save(path)
    assert json.loads(path.read_text()) == mine
    for cell in ("this", 1):
        with pytest.raises(ValueError, match="load_ext"):
            rt.timeline(cell=cell)


@line("OBS.12")
@needs("processes")
def test_what_runs_just_now_is_in_the_picture(rt, tmp_path):
    @rt.remote
    def wait(begun, end):
        open(begun, "w").close()
        while not os.path.exists(end):
            time.sleep(0.005)

    begun, end = tmp_path / "begun", tmp_path / "end"
    ref = wait.remote(str(begun), str(end))
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    (running,) = [s for s in rt.timeline().spans.all if s.state == "running"]
    assert (running.name, running.task) == ("wait", ref.task_id().binary())
    end.touch()
    rt.get(ref)
    assert [s.state for s in rt.timeline(function="wait").spans.all] == ["done"]


@line("OBS.12")
def test_it_outlives_its_runtime(fresh):
    with fresh.init(num_cpus=1):
        fresh.fanlight.get(fresh.fanlight.remote(lambda: 1).remote())
        found = fresh.fanlight.timeline()
    assert len(found.spans) == 1 and str(found).startswith("Timeline: 1 task ")
    with pytest.raises(fresh.fanlight.exceptions.RaySystemError):
        fresh.fanlight.timeline()
