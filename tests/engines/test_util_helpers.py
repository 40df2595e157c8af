"""UTL: the small functions of ``util``, and Ray's names."""

from __future__ import annotations

import importlib
import io
import threading

import numpy as np
import pytest

import fanlight
from fanlight import util
from tests.engines.support import line, needs


@line("LIF.23")
def test_list_named_actors(rt):
    @rt.remote
    class Named:
        def ping(self):
            return util.list_named_actors()

    assert util.list_named_actors() == []
    here = Named.options(name="here").remote()
    there = Named.options(name="there", namespace="elsewhere").remote()
    unnamed = Named.remote()
    assert util.list_named_actors() == ["here"]
    assert rt.get(unnamed.ping.remote()) == ["here"]
    namespace = rt.get_runtime_context().namespace
    everywhere = util.list_named_actors(all_namespaces=True)
    assert sorted(everywhere, key=lambda a: a["name"]) == [
        {"name": "here", "namespace": namespace},
        {"name": "there", "namespace": "elsewhere"},
    ]
    rt.get(here.ping.remote())
    rt.kill(here)
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(here.ping.remote())
    assert util.list_named_actors() == []
    del there


@line("UTL.11")
def test_as_completed(rt):
    square = rt.remote(lambda x: x * x)
    refs = [square.remote(i) for i in range(25)]
    assert sorted(util.as_completed(refs)) == [i * i for i in range(25)]
    assert sorted(util.as_completed(refs, chunk_size=1)) == [i * i for i in range(25)]
    assert list(util.as_completed(refs, chunk_size=100)) == [i * i for i in range(25)]
    assert set(util.as_completed(refs, yield_obj_refs=True)) == set(refs)
    assert list(util.as_completed([])) == []
    with pytest.raises(ValueError):
        util.as_completed(refs, chunk_size=0)


@line("UTL.11")
@needs("background")
def test_as_completed_gives_what_is_ready_first(rt, tmp_path, wait_for, note):
    gate = str(tmp_path / "gate")
    slow = rt.remote(lambda: wait_for(gate)).remote()
    quick = rt.remote(lambda: "quick").remote()
    results = util.as_completed([slow, quick], chunk_size=1)
    assert next(results) == "quick"
    note(gate)
    assert next(results) is None


@line("UTL.11")
def test_map_unordered(rt):
    square = rt.remote(lambda x: x * x)
    assert sorted(util.map_unordered(square, range(30))) == [i * i for i in range(30)]
    drawn = []

    def endless():
        for i in range(10**9):
            drawn.append(i)
            yield i

    results = util.map_unordered(square, endless(), backpressure_size=4, chunk_size=2)
    first = [next(results) for _ in range(6)]
    assert set(first) <= {i * i for i in range(12)}
    assert len(drawn) <= 12  # no more than it has given out, and 4 under way
    with pytest.raises(ValueError):
        util.map_unordered(square, [], backpressure_size=1, chunk_size=2)
    with pytest.raises(TypeError):
        util.map_unordered(lambda x: x, [1])


def test_node_ip_address(rt):
    assert util.get_node_ip_address() == rt.nodes()[0]["NodeManagerAddress"]


# --- serialization -------------------------------------------------------------------------------


@line("UTL.10")
def test_inspect_serializability():
    lock = threading.Lock()

    def uses_lock():
        return lock

    out = io.StringIO()
    ok, failures = util.inspect_serializability(uses_lock, name="test", print_file=out)
    assert not ok
    [failure] = failures
    assert failure.obj is lock
    assert "lock" in failure.name and failure.parent is uses_lock
    assert "test" in out.getvalue() and "_thread.lock" in out.getvalue()


@line("UTL.10")
def test_inspect_serializability_finds_all_and_only_the_innermost():
    class Holder:
        def __init__(self):
            self.good = 1
            self.bad = {"deep": [threading.Lock(), 2]}
            self.me = self
            self.file = (x for x in ())

    holder = Holder()
    ok, failures = util.inspect_serializability(holder, print_file=io.StringIO())
    assert not ok
    assert {f.path.partition(".")[2] for f in failures} == {"bad['deep'][0]", "file"}
    assert util.inspect_serializability(fanlight.remote(lambda: holder.me))[0] is False


@line("UTL.10")
def test_inspect_serializability_when_all_is_well(capsys):
    assert util.inspect_serializability(lambda x: x + 1) == (True, set())
    assert util.inspect_serializability({"a": np.arange(3)}, "data") == (True, set())
    assert "data can be sent" in capsys.readouterr().out


class Locked:
    def __init__(self, n):
        self.n = n
        self.lock = threading.Lock()


@line("ARG.12")
def test_register_serializer(rt):
    class Mine:
        def __init__(self, n):
            self.n = n
            self.lock = threading.Lock()

    @rt.remote
    def more(x):
        return Mine(x.n + 1)

    with pytest.raises(TypeError):
        rt.put(Mine(1))
    for cls in (Mine, Locked):
        util.register_serializer(cls, serializer=lambda x: x.n, deserializer=cls)
    try:
        back = rt.get(rt.put([Mine(1), {"a": Mine(2)}]))
        assert [back[0].n, back[1]["a"].n] == [1, 2] and isinstance(back[0], Mine)
        # A process that received an instance can send one.
        assert rt.get(more.remote(Mine(1))).n == 2
    finally:
        for cls in (Mine, Locked):
            util.deregister_serializer(cls)
    with pytest.raises(TypeError):
        rt.put(Mine(1))
    util.deregister_serializer(Mine)


@line("ARG.12")
def test_what_cannot_have_a_serializer(rt):
    for wrong in (int, list, fanlight.ObjectRef, "Mine"):
        with pytest.raises(TypeError):
            util.register_serializer(wrong, serializer=str, deserializer=str)
        with pytest.raises(TypeError):
            util.deregister_serializer(wrong)
    with pytest.raises(TypeError):
        util.register_serializer(Locked, serializer=None, deserializer=Locked)


@line("ARG.12")
def test_reduce_and_getstate(rt):
    class Reduced:
        def __init__(self, n):
            self.n = n

        def __reduce__(self):
            return Reduced, (self.n + 1,)

    class Stateful:
        def __getstate__(self):
            return {"state": "saved"}

        def __setstate__(self, state):
            self.state = state["state"] + " and restored"

    assert rt.get(rt.put(Reduced(1))).n == 2
    assert rt.get(rt.remote(lambda x: x.state).remote(Stateful())) == "saved and restored"


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "ObjectRef",
        "ObjectID",
        "cloudpickle",
        "types.ObjectRef",
        "actor.ActorHandle",
        "actor.exit_actor",
        "remote_function",
        "exceptions",
        "__version__",
        "util.ActorPool",
        "util.queue.Queue",
        "util.list_named_actors",
        "method",
        "get_gpu_ids",
    ],
)
def test_names_of_ray(name):
    module, _, last = f"fanlight.{name}".rpartition(".")
    assert getattr(importlib.import_module(module), last) is not None


@pytest.mark.parametrize(
    "name", ["data", "train", "tune", "serve", "rllib", "workflow", "job_submission"]
)
def test_libraries_that_are_not_here(name):
    assert not hasattr(fanlight, name)
    with pytest.raises(AttributeError, match=f"ray.{name} is not in this version"):
        getattr(fanlight, name)
    with pytest.raises(ImportError, match=f"ray.{name} is not in this version"):
        importlib.import_module(f"fanlight.{name}")
    with pytest.raises(ImportError, match=f"ray.{name} is not in this version"):
        exec(f"from fanlight import {name}")


def test_what_is_refused():
    with pytest.raises(fanlight.errors.UnsupportedError, match="client"):
        util.connect("localhost:10001")
    parallel = importlib.import_module("fanlight.util.iter")
    with pytest.raises(fanlight.errors.UnsupportedError, match="parallel iterators"):
        _ = parallel.from_items
    with pytest.raises(AttributeError):
        _ = util.no_such_thing


def test_cloudpickle(rt):
    n = 3
    again = fanlight.cloudpickle.loads(fanlight.cloudpickle.dumps(lambda x: x + n))
    assert again(4) == 7
    ref = rt.put("kept")
    data = fanlight.cloudpickle.dumps({"ref": ref})
    del ref
    assert rt.get(fanlight.cloudpickle.loads(data)["ref"]) == "kept"
