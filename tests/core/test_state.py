"""Rows, summaries and the timeline of the core."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import timeline
from fanlight.core.timeline import Timeline, unpack
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode


def rows(driver, kind="tasks", **args):
    found, skip = [], 0
    while skip is not None:
        page = driver.query("state", kind=kind, skip=skip, **args)
        found += page["rows"]
        skip = page["next"]
    return found


def test_states_of_tasks_have_rays_names():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    [first] = driver.submit(task_spec("first"))
    [second] = driver.submit(task_spec("second"))
    driver.submit(task_spec("third"), deps=[second])
    states = {row["name"]: row["state"] for row in rows(driver)}
    assert states == {
        "first": "RUNNING",
        "second": "PENDING_NODE_ASSIGNMENT",
        "third": "PENDING_ARGS_AVAIL",
    }
    node.busy()[0].finish(error="ValueError: no")
    node.settle()
    states = {row["name"]: (row["state"], row["error_type"]) for row in rows(driver)}
    assert states["first"] == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    assert states["second"] == ("FINISHED", None)
    assert first


def test_attempts_of_calls_of_an_actor():
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec(), max_restarts=1, max_task_retries=1)
    node.settle()
    driver.submit(method_spec(), actor=actor)
    node.runs("Actor.method").crash("killed by SIGSEGV")
    node.settle()
    found = [r for r in rows(driver, detail=True) if r["type"] == "ACTOR_TASK"]
    assert [(r["attempt_number"], r["state"], r["error_type"]) for r in found] == [
        (0, "FAILED", "WORKER_DIED"),
        (1, "FINISHED", None),
    ]
    (lost,) = [w for w in rows(driver, "workers", detail=True) if not w["is_alive"]]
    assert lost["exit_type"] == "SYSTEM_ERROR" and "killed by" in lost["exit_detail"]
    (row,) = rows(driver, "actors", detail=True)
    assert row["num_restarts"] == 1 and row["state"] == "ALIVE"


def test_pages_look_at_a_bounded_number_of_records(monkeypatch):
    monkeypatch.setattr("fanlight.core.state.PAGE", 7)
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    for _ in range(20):
        driver.submit(task_spec("f", never=1))
    page = driver.query("state", kind="tasks", filters=[["name", "=", "g"]])
    assert page == {"rows": [], "next": 7}
    assert len(rows(driver)) == 20
    assert len(rows(driver, filters=[["state", "!=", "RUNNING"]])) == 20
    page = driver.query("state", kind="tasks", limit=3)
    assert len(page["rows"]) == 3 and page["next"] == 3
    assert driver.query("state", kind="tasks", limit=20, skip=15)["next"] is None


@pytest.mark.parametrize(
    "args",
    [
        {"kind": "nothing"},
        {"kind": "tasks", "filters": [["name", "<", 1]]},
        {"kind": "tasks", "filters": [["nothing", "=", 1]]},
        {"kind": "tasks", "filters": [1]},
        {"kind": "tasks", "limit": "x"},
        {},
    ],
)
def test_a_bad_question_is_answered_with_an_error(args):
    node = SimulatedNode()
    driver = node.driver()
    driver.submit(task_spec())
    with pytest.raises(LookupError):
        driver.query("state", **args)


def test_jobs_stay_listed():
    node = SimulatedNode()
    for _ in range(3):
        last = node.driver()
        last.disconnect()
    driver = node.driver()
    assert [j["status"] for j in rows(driver, "jobs")] == ["SUCCEEDED"] * 3 + ["RUNNING"]


def test_call_sites_live_as_long_as_their_objects():
    node = SimulatedNode()
    driver = node.driver()
    oid = driver.put(8)
    driver.send(m.CallSite([oid, b"unknown".ljust(ids.OBJECT_LEN)], "here"))
    assert rows(driver, "objects")[0]["call_site"] == "here"
    assert node.core.objects.sites == {oid: "here"}
    driver.drop(oid)
    assert not node.core.objects.sites


# --- the timeline --------------------------------------------------------------------------------


def numbers(spans, after=0):
    found, more = [], True
    while more:
        after, records = spans.page(after)
        found += [row[1] for row in unpack(records)]
        more = after < spans.total
    return found


def test_the_ring_keeps_the_newest(monkeypatch):
    monkeypatch.setattr(timeline, "PAGE", 3)
    spans = Timeline(limit=5)
    assert numbers(spans) == []
    for n in range(1, 14):
        spans.record(b"t" * 24, n, 1, 2, 1.0, 2.0)
        assert numbers(spans) == list(range(max(1, n - 4), n + 1))
        assert len(spans._ring) <= 5 * timeline.RECORD
    assert numbers(spans, after=12) == [13]
    assert numbers(spans, after=99) == []
    spans.record(b"t" * 24, 1, 1, 2, 0.0, 2.0)
    assert spans.total == 13, "not measured"


def test_reports_of_workers_are_recorded():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    driver.submit(task_spec("f"))
    (worker,) = node.busy()
    task = worker.current
    submitted = node.core.tasks.table[task].submitted
    (running,) = driver.query("timeline")["running"]
    assert running[0] == task and running[6] == submitted
    value = m.Value(ids.object_id(task, 0), m.INLINE, b"x", 1)
    worker.running.clear()
    worker.send(m.Done(task, True, [value], 0.5, started=1234.5, phases=[0.1, 0.2, 0.0]))
    page = driver.query("timeline")
    ((got, group, _, pid, attempt, flags, started, duration, *parts),) = unpack(page["records"])
    assert got == task and page["names"] == {group: ["f", "task", ""]} and not page["more"]
    assert (pid, attempt, flags) == (worker.number, 0, 0)
    assert (started, duration) == (1234.5, 0.5)
    waited = 1234.5 - submitted
    assert parts == [*(pytest.approx(n) for n in (0.1, 0.2, waited, 1)), bytes(12)]
    assert page["running"] == [] and page["clients"][worker.number] == worker.id.hex()
    assert rows(driver, detail=True)[0]["start_time_ms"] == 1234500


@pytest.mark.parametrize(("idle", "ok", "flags"), [(0.5, True, 2), (0.4, True, 0), (0.5, False, 3)])
def test_runs_that_only_waited_are_flagged(idle, ok, flags):
    spans = Timeline()
    spans.record(b"t" * 24, 1, 1, 2, 1.0, 0.5, ok=ok, idle=idle)
    ((*_, found, _, _, _, _, _, _, _),) = unpack(spans.page(0)[1])
    assert found == flags


def test_a_record_is_laid_out_as_the_panel_reads_it():
    spans = Timeline()
    spans.record(
        bytes(range(24)), 7, 3, 4242, 1_800_000_000.25, 1.5, 2, False, 0.25, 0.125, 0.75, 4096, 1.5,
        bytes(range(100, 112)),
    )  # fmt: skip
    panel = Path(__file__).parents[1] / "labextension/jest/timeline.test.ts"
    assert base64.b64encode(spans.page(0)[1]).decode() in panel.read_text()


def test_the_last_argument_to_come_is_noted():
    node = SimulatedNode(cpus=2)
    driver = node.driver()
    (slow,), (quick,) = driver.submit(task_spec("slow")), driver.submit(task_spec("quick"))
    (both,) = driver.submit(task_spec("both"), [quick, slow])
    (after,) = driver.submit(task_spec("after"), [both, quick])
    for oid in (quick, slow, both, after):
        (worker,) = [w for w in node.busy() if w.current == ids.task_of(oid)]
        worker.running.clear()
        value = m.Value(oid, m.INLINE, b"x", 1)
        worker.send(m.Done(ids.task_of(oid), True, [value], 0.5, started=1234.5))
    gates = [row[-1] for row in unpack(driver.query("timeline")["records"])]
    assert gates == [bytes(12), bytes(12), slow[timeline.GATE], both[timeline.GATE]]


# --- sentences for drivers -----------------------------------------------------------------------


def test_deaths_and_retries_are_told():
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    driver.submit(task_spec("f", retries=1))
    node.busy()[0].exited("killed by SIGKILL")
    died, again = driver.notices
    assert "while it ran the task f" in died and "killed by SIGKILL" in died
    assert "exit type: SYSTEM_ERROR" in died and "Worker ID: " in died
    assert again.startswith("f is run again") and "There are 0 retries remaining." in again
    node.busy()[0].exited("exit code 3")
    assert "exit type: USER_ERROR" in driver.notices[2] and len(driver.notices) == 3
    assert not other.notices, "another driver's work"


def test_retried_exceptions_are_told():
    node = SimulatedNode()
    driver = node.driver()
    driver.submit(task_spec("f", retries=-1, retry_exceptions=True))
    node.busy()[0].finish(error="ValueError: no", retriable=True)
    assert driver.notices == ["f is run again: ValueError: no. There is no limit to its retries."]
    actor = driver.create_actor(actor_spec())
    driver.submit(method_spec(retries=2, retry_exceptions=True), actor=actor)
    node.runs("Actor").finish()
    node.runs("Actor.method").finish(error="ValueError: no", retriable=True)
    assert "There are 1 retries remaining." in driver.notices[1]


def test_a_worker_that_is_told_to_end_is_not_told_of():
    node = SimulatedNode()
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    driver.cancel(ref, force=True)
    actor = driver.create_actor(actor_spec())
    node.settle()
    driver.send(m.KillActor(actor))
    node.settle()
    assert driver.notices == []


def test_a_constructor_that_raises_is_told_if_nobody_calls():
    node = SimulatedNode()
    driver = node.driver()
    driver.create_actor(actor_spec("Quiet"))
    node.runs("Quiet").finish(error="ValueError: in init")
    (notice,) = driver.notices
    assert "Quiet" in notice and "ValueError: in init" in notice
    actor = driver.create_actor(actor_spec("Called"))
    driver.submit(method_spec(), actor=actor)
    node.runs("Called").finish(error="ValueError: in init")
    assert len(driver.notices) == 1, "the call tells"


def test_work_that_can_never_run_is_told_once_for_each_demand():
    node = SimulatedNode(cpus=2)
    driver = node.driver()
    for _ in range(3):
        driver.submit(task_spec("huge", cpus=5))
    driver.create_actor(actor_spec("Gpu", gpus=1))
    node.advance(4)
    assert driver.notices == []
    node.advance(2)
    node.advance(60)
    assert sorted(n.split("The ")[1].split(" waits")[0] for n in driver.notices) == [
        "actor Gpu",
        "task huge",
    ]
    assert "5 CPU" in driver.notices[0] and "1 GPU" in driver.notices[1]


def test_work_that_actors_keep_waiting_is_told():
    node = SimulatedNode(cpus=2)
    driver = node.driver()
    driver.create_actor(actor_spec("Holder", cpus=2))
    node.settle()
    driver.submit(task_spec("waits"))
    node.advance(29)
    assert driver.notices == []
    node.advance(2)
    (notice,) = driver.notices
    assert "The task waits has waited for 31 s" in notice and "Holder" in notice


def test_work_that_waits_for_tasks_is_not_told_of():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    driver.submit(task_spec("slow"))
    driver.submit(task_spec("next", retries=1))
    node.advance(100)
    assert driver.notices == []


# --- failures that nobody holds ------------------------------------------------------------------


def test_the_submitter_hears_of_a_failure_whose_ref_it_dropped():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    told = []
    driver._arrived = told.append
    [ref] = driver.submit(task_spec("f"))
    driver.drop(ref)
    node.busy()[0].finish(error="ValueError: no")
    (value,) = told
    assert value.oid == ref and value.kind == m.ERROR and value.contained is None
    [ref] = driver.submit(task_spec("f"))
    driver.drop(ref)
    node.busy()[0].finish()
    [ref] = driver.submit(task_spec("f"))
    driver.drop(ref)
    driver.cancel(ref)
    node.settle()
    assert len(told) == 1, "neither values nor cancellations"


def test_a_failure_that_goes_on_into_a_task_says_so():
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    [other] = driver.submit(task_spec("g"), deps=[ref])
    node.busy()[0].finish(error="ValueError: no")
    assert driver.values[ref].contained == [] and driver.values[other].contained is None
