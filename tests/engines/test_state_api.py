"""OBS: the state API: rows, filters, summaries, logs."""

from __future__ import annotations

import os
import signal
import sys
import warnings

import pytest

from tests.engines.support import line, needs, poll


@pytest.fixture
def state(rt):
    from fanlight.util import state

    return state


@pytest.fixture
def soon(eventually):
    """``soon(f)``: the first true answer of ``f`` (rows are eventually consistent)."""

    def soon(f):
        found = []
        eventually(lambda: found.append(f()) or found[-1])
        return found[-1]

    return soon


@line("OBS.7", "OBS.8")
def test_rows_of_tasks(rt, state, never):
    @rt.remote
    def add(a, b):
        return a + b

    first = add.remote(1, 2)
    rt.get(first)
    waiting = never()
    behind = add.remote(waiting, 1)
    rows = {row.task_id: row for row in state.list_tasks(detail=True)}
    row = rows[first.task_id().hex()]
    assert row.name == row["name"] == "add" and row.func_or_class_name == "add"
    assert row.state == "FINISHED" and row.type == "NORMAL_TASK"
    assert row.attempt_number == 0 and row.error_type is None and row.actor_id is None
    assert row.creation_time_ms <= row.start_time_ms <= row.end_time_ms
    assert row.required_resources == {"CPU": 1.0}
    assert row.job_id == rt.get_runtime_context().get_job_id()
    assert row.node_id == rt.nodes()[0]["NodeID"]
    assert rows[waiting.task_id().hex()].state == "PENDING_NODE_ASSIGNMENT"
    assert rows[behind.task_id().hex()].state == "PENDING_ARGS_AVAIL"
    assert rows[behind.task_id().hex()].worker_pid is None
    with pytest.raises(KeyError):
        row["no such column"]
    assert "error_type" in row and row.get("nothing", 7) == 7
    assert dict(row.items())["name"] == "add" == row.asdict()["name"]
    rt.cancel(waiting)
    rt.cancel(behind)


@line("OBS.7")
def test_filters_limits_and_detail(rt, state):
    @rt.remote
    def even():
        pass

    @rt.remote
    def odd():
        raise ValueError("odd")

    refs = [(odd if i % 2 else even).remote() for i in range(6)]
    rt.wait(refs, num_returns=6)
    rows = state.list_tasks(filters=[("func_or_class_name", "=", "odd")])
    assert {r.name for r in rows} == {"odd"} and len(rows) == 3
    rows = state.list_tasks(filters=[("name", "!=", "odd"), ("state", "=", "FINISHED")])
    assert rows and all(r.name != "odd" and r.state == "FINISHED" for r in rows)
    assert all(r.error_message is None for r in rows), "a column of detail"
    rows = state.list_tasks(filters=[("error_message", "=", "ValueError: odd")], detail=True)
    assert len(rows) == 3
    assert state.list_tasks(filters=[("attempt_number", "=", "7")]) == []
    with pytest.warns(UserWarning, match="Only 2 tasks are listed"):
        assert len(state.list_tasks(limit=2)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(state.list_nodes(limit=1)) == 1, "all there is: no warning"


@line("OBS.7", "OBS.11")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"filters": [("state", ">", "RUNNING")]}, "predicate"),
        ({"filters": [("state", "contains", "R")]}, "predicate"),
        ({"filters": [("colour", "=", "red")]}, "no column 'colour'"),
        ({"filters": ["state"]}, "A filter is"),
        ({"limit": 0}, "limit must be"),
        ({"limit": 10_001}, "limit must be"),
        ({"limit": "many"}, "limit must be"),
    ],
)
def test_questions_that_are_refused(rt, state, arguments, text):
    with pytest.raises(state.RayStateApiException, match=text):
        state.list_tasks(**arguments)
    with pytest.raises(ValueError):
        state.list_actors(**arguments)
    assert state.list_nodes()[0].state == "ALIVE", "nothing broke"


@line("OBS.11")
def test_without_a_runtime(fresh):
    from fanlight.util import state

    with pytest.raises(state.RayStateApiException, match="There is no runtime"):
        state.list_tasks(address="no such runtime")
    with pytest.raises(state.RayStateApiException, match="There is no runtime"):
        state.get_log(address="no such runtime", pid=1)


@line("OBS.8")
def test_each_retry_is_a_row(rt, state, tmp_path):
    @rt.remote(retry_exceptions=True, max_retries=2)
    def third(path):
        with open(path, "a") as f:
            f.write("x")
        if os.path.getsize(path) < 3:
            raise KeyError("again")
        return "done"

    ref = third.remote(str(tmp_path / "tries"))
    assert rt.get(ref) == "done"
    rows = state.get_task(ref)
    assert [r.attempt_number for r in rows] == [0, 1, 2]
    assert [r.state for r in rows] == ["FAILED", "FAILED", "FINISHED"]
    assert [r.error_type for r in rows] == ["TASK_EXECUTION_EXCEPTION"] * 2 + [None]
    assert "again" in rows[0].error_message and rows[2].error_message is None
    assert rows[0].worker_pid and rows[0].start_time_ms <= rows[0].end_time_ms


@line("OBS.8")
@needs("processes")
def test_attempts_that_died(rt, state, tmp_path):
    @rt.remote(max_retries=1)
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    ref = dies.remote()
    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(ref)
    rows = state.get_task(ref.task_id().hex())
    assert [r.error_type for r in rows] == ["WORKER_DIED", "WORKER_DIED"]
    assert rows[0].worker_id != rows[1].worker_id
    worker = state.get_worker(rows[0].worker_id)
    assert not worker.is_alive and worker.exit_type == "SYSTEM_ERROR"
    assert "SIGKILL" in worker.exit_detail and worker.pid == rows[0].worker_pid


@line("OBS.8")
def test_error_types_and_parents(rt, state):
    @rt.remote
    def fails():
        raise ValueError("no")

    @rt.remote
    def parent():
        return [fails.remote()]

    outer = parent.remote()
    inner = rt.get(outer)[0]
    after = rt.remote(lambda x: x).remote(inner)
    rt.wait([inner, after], num_returns=2)
    row = state.get_task(inner)
    assert (row.state, row.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    assert row.parent_task_id == outer.task_id().hex()
    assert state.get_task(outer).parent_task_id is None
    assert state.get_task(after).error_type == "TASK_EXECUTION_EXCEPTION"


@line("OBS.8")
def test_a_cancelled_task_has_failed(rt, state, never):
    ref = never()
    rt.cancel(ref)
    rt.wait([ref])
    row = state.get_task(ref)
    assert (row.state, row.error_type) == ("FAILED", "TASK_CANCELLED")


@line("OBS.9", "OBS.11")
def test_rows_of_actors(rt, state, soon):
    @rt.remote
    class Counter:
        def inc(self):
            return 1

    actor = Counter.options(name="the one", namespace="there").remote()
    rt.get(actor.inc.remote())
    actor_id = actor._actor_id.hex()
    row = state.get_actor(actor_id)
    assert row.state == "ALIVE" and row.class_name == "Counter" and row.name == "the one"
    assert row.ray_namespace == "there" and row.pid and row.num_restarts == 0
    assert row.node_id == rt.nodes()[0]["NodeID"]
    assert [r.actor_id for r in state.list_actors(filters=[("name", "=", "the one")])] == [actor_id]
    assert state.list_actors(filters=[("actor_id", "=", actor_id)])[0].death_cause is None
    calls = state.list_tasks(filters=[("actor_id", "=", actor_id)])
    assert {(c.name, c.type) for c in calls} == {
        ("Counter.__init__", "ACTOR_CREATION_TASK"),
        ("Counter.inc", "ACTOR_TASK"),
    }
    rt.kill(actor)
    row = soon(lambda: (found := state.get_actor(actor_id)).state == "DEAD" and found)
    assert "kill" in row.death_cause, "dead ones stay listed"
    waits = Counter.options(resources={"none": 1}, num_cpus=0).remote()
    assert state.get_actor(waits._actor_id.hex()).state == "PENDING_CREATION"


@line("OBS.9")
def test_an_actor_that_waits_for_its_arguments(rt, state, never):
    actor = rt.remote(type("Waits", (), {"__init__": lambda self, x: None})).remote(never())
    assert state.get_actor(actor._actor_id.hex()).state == "DEPENDENCIES_UNREADY"
    rt.kill(actor)


@line("OBS.7")
def test_rows_of_objects(rt, state, never):
    ref = rt.put(b"x" * 1000)
    row = state.get_objects(ref.hex())[0]
    assert row.object_size > 1000 and row.reference_type == "LOCAL_REFERENCE"
    assert row.type == "DRIVER" and row.pid == os.getpid() and row.call_site == "disabled"
    other = never()
    user = rt.remote(lambda x, y: x).remote(ref, other)
    assert state.get_objects(ref.hex())[0].reference_type == "USED_BY_PENDING_TASK"
    pending = state.get_objects(user.hex())[0]
    assert pending.task_status == "PENDING_ARGS_AVAIL" and pending.object_size is None
    rt.cancel(other)
    rt.wait([user])
    outer = rt.put([ref])
    assert state.get_objects(ref.hex())[0].reference_type == "CAPTURED_IN_OBJECT"
    del outer


@line("OBS.7", "OBS.11")
def test_rows_of_nodes_workers_and_jobs(rt, state):
    (node,) = state.list_nodes(detail=True)
    assert node.state == "ALIVE" and node.is_head_node and node.resources_total["CPU"] == 2
    assert state.get_node(node.node_id).node_ip == node.node_ip
    assert state.get_node("0" * 56) is None and state.get_task("0" * 48) is None
    assert state.get_actor("0" * 32) is None and state.get_objects("0" * 56) == []
    rt.get(rt.remote(lambda: 1).remote())
    workers = state.list_workers(
        filters=[("worker_type", "=", "WORKER"), ("is_alive", "=", "true")]
    )
    assert workers and all(w.pid for w in workers)
    (driver,) = state.list_workers(filters=[("worker_type", "=", "DRIVER")])
    assert driver.pid == os.getpid()
    job = next(j for j in state.list_jobs() if j.status == "RUNNING")
    assert job.job_id == rt.get_runtime_context().get_job_id()
    assert job.driver_info["pid"] == str(os.getpid()) and job.start_time


@line("OBS.7")
def test_rows_of_placement_groups(rt, state):
    from fanlight.util.placement_group import placement_group, remove_placement_group

    group = placement_group([{"CPU": 1}], strategy="PACK", name="mine")
    rt.get(group.ready())
    (row,) = state.list_placement_groups(filters=[("name", "=", "mine")], detail=True)
    assert row.placement_group_id == group.id.hex() and row.state == "CREATED"
    assert row.bundles[0]["unit_resources"] == {"CPU": 1.0} and not row.is_detached
    remove_placement_group(group)
    assert poll(lambda: state.get_placement_group(group.id.hex()).state == "REMOVED")


@line("OBS.10")
@pytest.mark.runtime(num_cpus=1)
def test_summaries(rt, fresh):
    from fanlight.util import state

    fresh.init(num_cpus=2)

    @rt.remote
    def works():
        pass

    @rt.remote
    class Actor:
        def call(self):
            pass

    @rt.remote
    def fails():
        raise ValueError

    actor = Actor.remote()
    refs = [works.options(name=f"number {i}").remote() for i in range(3)]
    refs += [works.remote(), actor.call.remote(), fails.remote()]
    rt.wait(refs, num_returns=6)
    found = state.summarize_tasks()["cluster"]
    assert found["summary"]["works"]["state_counts"] == {"FINISHED": 4}, "by function, not by name"
    assert found["summary"]["fails"]["state_counts"] == {"FAILED": 1}
    assert found["summary"]["Actor.call"]["type"] == "ACTOR_TASK"
    assert found["summary"]["Actor.__init__"]["type"] == "ACTOR_CREATION_TASK"
    assert found["total_tasks"] == 5 and found["total_actor_tasks"] == 1
    row = state.list_tasks(filters=[("name", "=", "number 1")])[0]
    assert row.func_or_class_name == "works"
    found = state.summarize_actors()["cluster"]
    assert found["summary"]["Actor"]["state_counts"] == {"ALIVE": 1} and found["total_actors"] == 1
    keep = [rt.put(b"x" * (1 << 20))]
    found = state.summarize_objects()["cluster"]
    assert set(found["summary"]) == {"disabled"} and not found["callsite_enabled"]
    assert 1 <= found["total_size_mb"] < 1.1
    assert found["total_objects"] == found["summary"]["disabled"]["total_objects"] >= 7
    del keep


@line("OBS.10")
@pytest.mark.parametrize(
    "name", ["RAY_record_ref_creation_sites", "FANLIGHT_RECORD_REF_CREATION_SITES"]
)
def test_objects_by_call_site(fresh, monkeypatch, name):
    from fanlight.util import state

    monkeypatch.setenv(name, "1")
    fresh.init(num_cpus=1)
    rt = fresh.fanlight
    here = sys._getframe().f_lineno
    refs = [rt.put(i) for i in range(3)]
    refs.append(rt.remote(lambda: 5).remote())
    assert rt.get(refs[-1]) == 5
    found = state.summarize_objects()["cluster"]
    assert found["callsite_enabled"]
    sites = found["summary"]
    put = next(s for s in sites if s.startswith("(put object)"))
    assert f"test_state_api.py:{here + 1}" in put and sites[put]["total_objects"] == 3
    call = next(s for s in sites if s.startswith("(task call)"))
    assert f"test_state_api.py:{here + 2}" in call and "test_objects_by_call_site" in call
    assert state.get_objects(refs[0].hex())[0].call_site == put
    assert state.get_task(refs[-1]).call_site == call
    del refs
    assert poll(lambda: not state.summarize_objects()["cluster"]["total_objects"])


@line("OBS.11", "OBS.5")
@needs("processes")
def test_logs_of_processes_tasks_and_actors(rt, state):
    @rt.remote
    def speak(i):
        print(f"task {i}")
        print(f"line 2 of {i}")
        print("to stderr", file=sys.stderr)
        return os.getpid()

    @rt.remote
    class Speaker:
        def speak(self):
            print("from the actor")

    ref = speak.remote(7)
    pid = rt.get(ref)
    rt.get([speak.remote(i) for i in range(4)])
    actor = Speaker.remote()
    rt.get(actor.speak.remote())
    assert "".join(state.get_log(task_id=ref.task_id().hex())) == "task 7\nline 2 of 7\n"
    assert list(state.get_log(task_id=ref.task_id().hex(), suffix="err")) == ["to stderr\n"]
    assert "".join(state.get_log(actor_id=actor._actor_id.hex())) == "from the actor\n"
    whole = "".join(state.get_log(pid=pid))  # the actor's too, if it is in the same process
    assert "task 7\nline 2 of 7\n" in whole and "\x1e" not in whole
    assert "".join(state.get_log(pid=pid, tail=1)) == whole.splitlines(keepends=True)[-1]
    assert b"".join(state.get_log(pid=pid, encoding=None)).decode() == whole
    names = state.list_logs()
    (name,) = [n for n in names["worker_out"] if n.endswith(f"-{pid}.out")]
    assert "".join(state.get_log(filename=name)) == whole
    assert state.list_logs(glob_filter=f"*{pid}.err")["worker_err"]
    followed = state.get_log(pid=pid, follow=True)
    assert next(followed) == whole
    for bad in ({"filename": "../lock"}, {"filename": "none"}, {"pid": 1}, {"task_id": "00"}, {}):
        with pytest.raises(state.RayStateApiException):
            state.get_log(**bad)


@line("OBS.11")
def test_an_engine_without_logs_says_so(fresh):
    from fanlight.util import state

    fresh.fanlight.init(engine="inproc")
    with pytest.raises(fresh.fanlight.errors.UnsupportedError, match="inproc"):
        state.list_logs()


@line("OBS.11")
@needs("processes")
def test_another_runtime_can_be_asked(rt, state, script):
    done = script(
        f"""
        from fanlight.util import state
        (job,) = state.list_jobs(address="{rt.session.current().runtime_id}")
        print(job.driver_info["pid"])
        """
    )
    assert done.stdout.strip() == str(os.getpid()), done.stderr
