"""INI: init, shutdown, session."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from tests.engines.support import line, needs, poll


@line("INI.2")
def test_totals_are_logical(fresh):
    fresh.init(num_cpus=64, num_gpus=4, resources={"x": 3})
    total = fresh.fanlight.cluster_resources()
    assert (total["CPU"], total["GPU"], total["x"]) == (64.0, 4.0, 3.0)


@line("INI.3", "INI.11")
def test_defaults_and_the_context(fresh):
    with fresh.init() as context:
        cpus = fresh.fanlight.cluster_resources()["CPU"]
        assert cpus >= 1 and cpus == int(cpus)
        info = context.address_info
        assert {"node_ip_address", "session_dir", "node_id", "address", "webui_url"} <= info.keys()
        with pytest.warns(DeprecationWarning):
            assert context["node_id"] == info["node_id"]
        assert context.python_version.split(".")[0] == "3"
        assert hasattr(context, "dashboard_url")
    assert not fresh.fanlight.is_initialized()


@line("INI.4")
def test_a_second_init(fresh):
    fl = fresh.fanlight
    fresh.init(num_cpus=3)
    with pytest.raises(RuntimeError, match="twice"):
        fresh.init(num_cpus=5)
    again = fresh.init(num_cpus=5, ignore_reinit_error=True)
    assert "node_id" in again.address_info
    assert fl.cluster_resources()["CPU"] == 3.0


@line("INI.5")
def test_init_inside_a_task(rt):
    @rt.remote
    def inner():
        try:
            rt.init()
        except RuntimeError as e:
            return rt.is_initialized(), str(e)
        return None

    initialized, text = rt.get(inner.remote())
    assert initialized
    assert "twice" in text


@line("INI.6", "INI.7")
def test_is_initialized_and_shutdown(fresh):
    fl = fresh.fanlight
    assert bool(fl.is_initialized)  # old courses forget the call
    assert fl.is_initialized() is False
    fl.shutdown()
    fresh.init(num_cpus=1)
    assert fl.is_initialized() is True
    fl.shutdown()
    assert fl.is_initialized() is False
    fl.shutdown()


@line("INI.8")
@pytest.mark.parametrize(
    "ending", ["pass", "raise ValueError('on purpose')", "raise SystemExit(3)"]
)
def test_interpreter_exit(script, pid_gone, ending):
    done = script(
        f"""
        import os
        @fanlight.remote
        def pid():
            return os.getpid()
        node = fanlight.session.current().node_pid
        print(os.getpid(), node or os.getpid(), fanlight.get(pid.remote()), flush=True)
        {ending}
        """
    )
    assert done.returncode == {"p": 0, "r": 1 if "Value" in ending else 3}[ending[0]], done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3
    assert poll(lambda: all(map(pid_gone, pids))), "the driver's processes outlive it"


@line("INI.9")
@needs("default")
@pytest.mark.parametrize("how", ["remote", "put", "actor", "get_actor", "context"])
def test_auto_init(fresh, how):
    fl = fresh.fanlight

    @fl.remote
    class Actor:
        def one(self):
            return 1

    if how == "remote":
        assert fl.get(fl.remote(lambda: 1).remote()) == 1
    elif how == "put":
        assert fl.get(fl.put(1)) == 1
    elif how == "actor":
        assert fl.get(Actor.remote().one.remote()) == 1
    elif how == "get_actor":
        with pytest.raises(ValueError):
            fl.get_actor("nobody")
    else:
        assert fl.get_runtime_context().get_job_id()
    assert fl.is_initialized()


@line("INI.12")
def test_unknown_keyword(fresh):
    with pytest.raises(RuntimeError, match=r"Unknown keyword argument\(s\): foo"):
        fresh.init(foo=1)
    assert not fresh.fanlight.is_initialized()


@line("INI.15")
def test_namespaces(fresh):
    fl = fresh.fanlight
    seen = []
    for _ in range(2):
        fresh.init(num_cpus=1)
        seen.append(fl.get_runtime_context().namespace)
        fl.shutdown()
    assert all(seen) and seen[0] != seen[1]
    fresh.init(num_cpus=1, namespace="mine")
    assert fl.get_runtime_context().namespace == "mine"
    inside = fl.remote(lambda: fl.get_runtime_context().namespace)
    assert fl.get(inside.remote()) == "mine"


@line("INI.16")
@pytest.mark.parametrize("options", [{"resources": {"n": 0.5}}, {"num_cpus": 1.5}])
def test_node_resources_are_whole(fresh, options):
    with pytest.raises(ValueError, match="whole number"):
        fresh.init(**options)
    assert not fresh.fanlight.is_initialized()


@line("INI.17")
def test_cluster_resources(rt):
    total = rt.cluster_resources()
    assert total["CPU"] == 2.0
    assert {"memory", "object_store_memory", "node:__internal_head__"} <= total.keys()
    assert sum(name.startswith("node:") for name in total) == 2
    assert all(type(v) is float for v in total.values())


@line("INI.18")
def test_available_resources_leave_zeros_out(rt, eventually):
    holder = rt.remote(num_cpus=2)(type("Holder", (), {"ready": lambda self: True})).remote()
    assert rt.get(holder.ready.remote())
    eventually(lambda: "CPU" not in rt.available_resources())
    rt.kill(holder)
    eventually(lambda: rt.available_resources().get("CPU") == 2.0)


@line("INI.19")
def test_nodes(rt):
    (node,) = rt.nodes()
    assert node["Alive"] is True and node["alive"] is True
    assert {"NodeID", "NodeManagerAddress", "NodeManagerHostname", "Labels"} <= node.keys()
    assert node["Resources"]["CPU"] == 2.0


@line("INI.20")
@needs("processes")
def test_workers_have_the_environment_of_init(fresh, monkeypatch):
    fl = fresh.fanlight
    monkeypatch.setenv("FANLIGHT_TEST_VARIABLE", "before")
    fresh.init(num_cpus=1)
    monkeypatch.setenv("FANLIGHT_TEST_VARIABLE", "after")
    read = fl.remote(lambda: os.environ.get("FANLIGHT_TEST_VARIABLE"))
    assert fl.get(read.remote()) == "before"


@line("INI.24")
def test_decorated_things_work_after_a_new_init(fresh):
    fl = fresh.fanlight

    @fl.remote
    def f(x):
        return x + 1

    @fl.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def inc(self):
            self.n += 1
            return self.n

    for _ in range(2):
        fresh.init(num_cpus=1)
        assert fl.get(f.remote(1)) == 2
        counter = Counter.remote()
        assert fl.get([counter.inc.remote(), counter.inc.remote()]) == [1, 2]
        fl.shutdown()


@line("INI.25")
def test_what_is_of_an_ended_runtime_fails(fresh):
    fl = fresh.fanlight

    @fl.remote
    class Actor:
        def one(self):
            return 1

    fresh.init(num_cpus=1)
    ref, actor = fl.put(1), Actor.remote()
    made = actor.one.remote()
    assert fl.get([ref, made]) == [1, 1]
    fl.shutdown()
    fresh.init(num_cpus=1)
    errors = (ValueError, RuntimeError, fl.exceptions.RayError)
    for old in (ref, made):
        with pytest.raises(errors):
            fl.get(old, timeout=10)
    with pytest.raises(errors):
        fl.get(actor.one.remote(), timeout=10)
    with pytest.raises(errors):
        fl.kill(actor)
    assert fl.get(fl.put(2)) == 2  # and the new runtime is not hurt
    del ref, made, actor
    assert fl.get(fl.put(3)) == 3


@line("INI.26")
def test_threads_of_the_driver(rt):
    @rt.remote
    def double(x):
        return 2 * x

    results = {}

    def drive(k):
        results[k] = [rt.get(double.remote(k * 100 + i)) for i in range(10)]
        results[k] += rt.get([double.remote(rt.put(k * 100 + i)) for i in range(10)])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # they meet at every place where they can
    try:
        for _ in range(5):
            threads = [threading.Thread(target=drive, args=(k,)) for k in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for k in range(4):
                assert results.pop(k) == [2 * (k * 100 + i) for i in range(10)] * 2
    finally:
        sys.setswitchinterval(interval)


@line("INI.13")
@needs("default")
def test_an_attached_runtime_has_its_totals(fresh, monkeypatch):
    fl = fresh.fanlight
    for argument in ({"num_cpus": 1}, {"num_gpus": 1}, {"resources": {"x": 1}}):
        with pytest.raises(ValueError, match="must not be provided"):
            fl.init("auto", **argument)
    monkeypatch.setenv("FANLIGHT_ADDRESS", "auto")
    with pytest.raises(ValueError, match="must not be provided"):
        fl.init(num_cpus=1)
    assert not fl.is_initialized()


@line("OBS.13")
@needs("default")
def test_there_is_no_dashboard_server_to_turn_off(fresh):
    """The panel lives in JupyterLab: nothing listens on TCP, and the state API is always there."""
    import psutil

    fresh.init(num_cpus=1, include_dashboard=False)
    node = psutil.Process(fresh.fanlight.session.current().node_pid)
    for process in (node, *node.children(recursive=True)):
        assert not process.net_connections("inet")
    from fanlight.util import state

    assert state.list_nodes()
