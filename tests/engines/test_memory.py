"""MemoryError, the `memory=` reservation, limits of a runtime. Kills are in faults/test_out_of_memory."""

from __future__ import annotations

import pytest

from tests.engines.support import line, needs, poll, raises_task_error, runtime

MB = 1_000_000


@line("OBJ.8")
def test_a_memory_error_is_an_ordinary_exception(rt):
    @rt.remote
    def wants(size):
        return len(b"x" * size)

    with raises_task_error(rt, MemoryError):
        rt.get(wants.remote(1 << 60))
    assert rt.get(wants.remote(10)) == 10


@line("FLT.3")
def test_a_memory_error_can_be_retried(rt, tmp_path):
    marker = tmp_path / "tried"

    @rt.remote(retry_exceptions=[MemoryError], max_retries=1)
    def wants():
        if not marker.exists():
            marker.touch()
            raise MemoryError("no room for 8 GiB")
        return "there was room"

    assert rt.get(wants.remote()) == "there was room"


@line("RES.20")
@runtime(num_cpus=4, _memory=1000 * MB)
def test_memory_is_reserved_like_any_resource(rt, tmp_path):
    assert rt.cluster_resources()["memory"] == 1000 * MB

    @rt.remote(num_cpus=0, memory=600 * MB)
    def holds():
        return rt.available_resources()["memory"]

    assert rt.get([holds.remote() for _ in range(3)]) == [400 * MB] * 3

    @rt.remote(memory=600 * MB)
    class Actor:
        def held(self):
            return rt.get_runtime_context().get_assigned_resources()

    actor = Actor.remote()
    assert rt.get(actor.held.remote()) == {"memory": 600 * MB}, "no CPU with memory alone"
    too_much = holds.options(memory=1001 * MB).remote()
    assert rt.wait([too_much], timeout=0.1) == ([], [too_much])
    rt.cancel(too_much)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"memory": 1000}, ValueError, "at least 64 MiB"),
        ({"memory": "2G"}, TypeError, "memory must be a number"),
        ({"memory": 10**9, "object_store_memory": 10**9}, ValueError, "part of memory"),
        ({"max_processes": 0}, ValueError, "at least 1"),
        ({"max_processes": 1.5}, ValueError, "whole number"),
        ({"max_processes": True}, TypeError, "max_processes must be a number"),
        ({"_memory": -1}, ValueError, "negative"),
        ({"_system_config": 7}, TypeError, "must be a dict"),
        ({"_system_config": {"memory_usage_threshold": 95}}, ValueError, "at most 1"),
        ({"_system_config": {"memory_usage_threshold": "a"}}, ValueError, "must be a number"),
        ({"_system_config": {"task_oom_retries": -2}}, ValueError, "at least -1"),
    ],
)
def test_nonsense_is_refused(fresh, options, error, match):
    with pytest.raises(error, match=match):
        fresh.init(**options)
    assert not fresh.fanlight.is_initialized()


def test_unknown_settings_of_ray_are_named(fresh):
    with pytest.warns(UserWarning, match="raylet_heartbeat has no meaning in Fanlight"):
        fresh.init(num_cpus=1, _system_config={"raylet_heartbeat": 5})


@pytest.mark.parametrize("option", ["memory", "max_processes"])
def test_an_engine_without_processes_says_so(fresh, engine, option):
    value = {option: 1 << 30 if option == "memory" else 4}
    if engine == "inproc":
        with pytest.raises(fresh.fanlight.exceptions.RayError, match=rf"inproc.*init\({option}=\)"):
            fresh.init(**value)
    else:
        fresh.init(num_cpus=1, **value)


@needs("processes")
def test_the_store_is_a_part_of_the_limit(fresh):
    fresh.init(num_cpus=1, memory=1000 * MB)
    total = fresh.fanlight.cluster_resources()
    assert total["memory"] == 700 * MB
    assert total["object_store_memory"] <= 300 * MB


def test_an_administrators_bounds(fresh, monkeypatch, capfd):
    """What is asked for beyond them is lowered, and the user is told."""
    monkeypatch.setenv("FANLIGHT_MAX_CPUS", "3")
    monkeypatch.setenv("FANLIGHT_MAX_PROCESSES", "2")
    monkeypatch.setenv("FANLIGHT_MAX_MEMORY", "1G")
    fl = fresh.fanlight
    fresh.init(num_cpus=64)
    assert fl.cluster_resources()["CPU"] == 3
    text = "init(num_cpus=64) was lowered to 3: the environment variable FANLIGHT_MAX_CPUS says so"
    assert poll(lambda: text in capfd.readouterr().err, seconds=60)
    fl.shutdown()
    fresh.init(num_cpus=2)
    assert fl.cluster_resources()["CPU"] == 2


@needs("processes")
def test_an_administrators_bounds_of_memory_and_processes(fresh, monkeypatch, capfd):
    monkeypatch.setenv("FANLIGHT_MAX_PROCESSES", "2")
    monkeypatch.setenv("MEM_LIMIT", str(1 << 30))
    monkeypatch.setenv("CPU_LIMIT", "0.5")
    fl = fresh.fanlight
    fresh.init(num_cpus=8, memory=64 << 30, max_processes=100)
    assert fl.cluster_resources()["CPU"] == 1
    assert fl.cluster_resources()["memory"] == int((1 << 30) * 0.7)
    said = ""

    def told():
        nonlocal said
        said += capfd.readouterr().err
        return all(x in said for x in ("FANLIGHT_MAX_PROCESSES", "MEM_LIMIT", "CPU_LIMIT"))

    assert poll(told, seconds=60), said


def test_bounds_that_say_nothing(fresh, monkeypatch):
    monkeypatch.setenv("FANLIGHT_MAX_MEMORY", "lots")
    with pytest.raises(ValueError, match="FANLIGHT_MAX_MEMORY must be bytes"):
        fresh.init(num_cpus=1)


@needs("processes")
@runtime(num_cpus=8, max_processes=3)
def test_no_more_processes_than_allowed(rt):
    """Wide work, nested work and actors share them."""

    @rt.remote(num_cpus=0)
    def nested(depth):
        return 1 + (rt.get(nested.remote(depth - 1)) if depth else 0)

    @rt.remote(num_cpus=0)
    class Cell:
        def get(self):
            return 7

    def processes():
        from fanlight.util import state

        return sum(1 for w in state.list_workers() if w.is_alive and w.worker_type == "WORKER")

    cell = Cell.remote()
    assert rt.get([nested.remote(1) for _ in range(20)], timeout=60) == [2] * 20
    assert rt.get(cell.get.remote()) == 7
    assert processes() <= 3
