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
