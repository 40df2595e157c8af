"""RES, OPT: where work runs: strategies, labels, kinds of accelerators, the environment's GPUs."""

from __future__ import annotations

import os

import pytest

from tests.engines.support import line

STRANGER = "ab" * 28  # the id of a node that does not exist


@pytest.fixture
def strategies():
    from fanlight.util import scheduling_strategies

    return scheduling_strategies


@pytest.fixture
def why():
    from fanlight import session

    return lambda ref: session.ref_state(ref)["why"]


class Actor:
    def ping(self):
        return "pong"


def pends(rt, ref):
    return rt.wait([ref], timeout=0.05) == ([], [ref])


# --- strategies ----------------------------------------------------------------------------------


@line("OPT.12", "RES.16")
@pytest.mark.parametrize("strategy", [None, "DEFAULT", "SPREAD"])
def test_strategies_by_name(rt, strategy):
    f = rt.remote(lambda: rt.get_runtime_context().get_node_id())
    node = rt.nodes()[0]["NodeID"]
    options = {"scheduling_strategy": strategy}
    assert rt.get([f.options(**options).remote() for _ in range(4)]) == [node] * 4
    assert rt.get(rt.remote(Actor).options(**options).remote().ping.remote()) == "pong"


@line("OPT.12")
def test_what_is_no_strategy(rt):
    """Earlier than in the reference, which says so at ``.remote()``."""
    with pytest.raises(ValueError, match="WHEREVER"):
        rt.remote(lambda: 1).options(scheduling_strategy="WHEREVER").remote()
    for wrong in (5, object()):
        with pytest.raises(TypeError):
            rt.remote(lambda: 1).options(scheduling_strategy=wrong).remote()


@line("RES.17", "OPT.12")
@pytest.mark.parametrize("soft", [False, True])
def test_affinity_to_this_node(rt, strategies, soft):
    me = rt.get_runtime_context().get_node_id()
    strategy = strategies.NodeAffinitySchedulingStrategy(me, soft=soft)
    f = rt.remote(lambda: rt.get_runtime_context().get_node_id())
    assert rt.get(f.options(scheduling_strategy=strategy).remote()) == me
    actor = rt.remote(Actor).options(scheduling_strategy=strategy).remote()
    assert rt.get(actor.ping.remote()) == "pong"


@line("RES.17")
def test_affinity_to_an_unknown_node(rt, strategies):
    hard = {"scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(STRANGER)}
    soft = {"scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(STRANGER, soft=True)}
    f = rt.remote(lambda: 1)
    with pytest.raises(rt.exceptions.TaskUnschedulableError, match=STRANGER):
        rt.get(f.options(**hard).remote())
    actor = rt.remote(Actor).options(**hard).remote()
    for _ in range(2):
        with pytest.raises(rt.exceptions.ActorUnschedulableError, match=STRANGER):
            rt.get(actor.ping.remote())
    assert rt.get(f.options(**soft).remote()) == 1
    assert rt.get(rt.remote(Actor).options(**soft).remote().ping.remote()) == "pong"


@line("RES.17")
def test_a_named_actor_that_has_no_place(rt, strategies):
    strategy = strategies.NodeAffinitySchedulingStrategy(STRANGER)
    options = {"name": "nowhere", "scheduling_strategy": strategy}
    actor = rt.remote(Actor).options(**options).remote()
    with pytest.raises(rt.exceptions.ActorUnschedulableError):
        rt.get(actor.ping.remote())
    with pytest.raises(ValueError):
        rt.get_actor("nowhere")


@line("RES.17")
@pytest.mark.parametrize("node", ["", "xyz", "ab", "f" * 56, None, 5, "AB" * 29])
def test_malformed_node_ids(strategies, node):
    with pytest.raises(ValueError, match="node_id"):
        strategies.NodeAffinitySchedulingStrategy(node, soft=False)


# --- resources that say what a node is -----------------------------------------------------------


@line("RES.15")
def test_the_resource_of_a_node(rt, why):
    name = f"node:{rt.nodes()[0]['NodeManagerAddress']}"
    assert rt.cluster_resources()[name] == 1.0
    f = rt.remote(lambda: "ran")
    assert rt.get(f.options(resources={name: 0.01}).remote()) == "ran"
    stranger = f.options(resources={"node:10.0.0.99": 0.01}).remote()
    assert pends(rt, stranger)
    assert "node:10.0.0.99" in why(stranger)
    rt.cancel(stranger)


@line("RES.18")
@pytest.mark.runtime(num_cpus=2, resources={"accelerator_type:V100": 1})
def test_accelerator_types(rt, why):
    from fanlight.util.accelerators import NVIDIA_TESLA_K80, NVIDIA_TESLA_V100

    f = rt.remote(lambda: rt.get_runtime_context().get_assigned_resources())
    found = rt.get(f.options(accelerator_type=NVIDIA_TESLA_V100).remote())
    assert found == {"CPU": 1.0, "accelerator_type:V100": 0.001}
    actors = [rt.remote(Actor).options(accelerator_type="V100").remote() for _ in range(2)]
    assert rt.get([a.ping.remote() for a in actors]) == ["pong"] * 2
    other = f.options(accelerator_type=NVIDIA_TESLA_K80).remote()
    assert pends(rt, other)
    assert "accelerator_type:K80" in why(other)
    rt.cancel(other)
    with pytest.raises(ValueError):
        f.options(accelerator_type="")
    for actor in actors:
        rt.kill(actor)


@line("RES.20")
def test_memory_is_a_resource(rt, eventually):
    total = rt.cluster_resources()["memory"]
    f = rt.remote(lambda: rt.get_runtime_context().get_assigned_resources())
    assert rt.get(f.options(memory=1000).remote()) == {"CPU": 1.0, "memory": 1000.0}
    too_much = f.options(memory=2 * total).remote()
    assert pends(rt, too_much)
    rt.cancel(too_much)
    actor = rt.remote(Actor).options(memory=total).remote()
    assert rt.get(actor.ping.remote()) == "pong"
    assert "memory" not in rt.available_resources()
    assert rt.available_resources()["CPU"] == 2.0  # memory alone does not make it hold a CPU
    rt.kill(actor)
    eventually(lambda: rt.available_resources().get("memory") == total)


# --- labels --------------------------------------------------------------------------------------


@line("RES.19")
@pytest.mark.runtime(num_cpus=2, labels={"zone": "a", "disk": "ssd"})
@pytest.mark.parametrize(
    ("selector", "runs"),
    [
        ({"zone": "a"}, True),
        ({"zone": "b"}, False),
        ({"zone": "!a"}, False),
        ({"zone": "!b"}, True),
        ({"zone": "in(a,b)"}, True),
        ({"zone": "in(b, c)"}, False),
        ({"zone": "!in(b,c)"}, True),
        ({"zone": "!in(a,b)"}, False),
        ({"other": "x"}, False),
        ({"other": "!x"}, True),
        ({"zone": "a", "disk": "ssd"}, True),
        ({"zone": "a", "disk": "hdd"}, False),
        ({}, True),
    ],
)
def test_label_selectors(rt, why, selector, runs):
    ref = rt.remote(lambda: 1).options(label_selector=selector).remote()
    actor = rt.remote(Actor).options(label_selector=selector).remote()
    if runs:
        assert rt.get([ref, actor.ping.remote()]) == [1, "pong"]
        return
    call = actor.ping.remote()
    assert pends(rt, ref) and pends(rt, call)
    assert "a node with the label" in why(ref) and "a node with the label" in why(call)
    rt.cancel(ref)
    rt.kill(actor)


@line("RES.19")
@pytest.mark.runtime(num_cpus=2, labels={"zone": "a"})
def test_label_strategies(rt, strategies):
    s = strategies

    def place(**rules):
        strategy = s.NodeLabelSchedulingStrategy(**rules)
        return rt.remote(lambda: 1).options(scheduling_strategy=strategy).remote()

    met = [
        {"zone": s.In("a", "b")},
        {"zone": s.NotIn("b")},
        {"zone": s.Exists()},
        {"other": s.DoesNotExist()},
        {"ray.io/node-id": s.In(rt.nodes()[0]["NodeID"])},
    ]
    assert rt.get([place(hard=rules) for rules in met]) == [1] * len(met)
    unmet = [
        {"zone": s.In("b")},
        {"zone": s.NotIn("a")},
        {"zone": s.DoesNotExist()},
        {"other": s.Exists()},
    ]
    refs = [place(hard=rules) for rules in unmet]
    assert rt.wait(refs, timeout=0.05) == ([], refs)
    for ref in refs:
        rt.cancel(ref)
    assert rt.get(place(hard={}, soft={"zone": s.In("b")})) == 1


@line("RES.19")
@pytest.mark.runtime(num_cpus=2, labels={"zone": "a"})
def test_labels_of_the_node(rt):
    row = rt.nodes()[0]
    assert row["Labels"] == {"zone": "a", "ray.io/node-id": row["NodeID"]}
    one = {"ray.io/node-id": row["NodeID"]}
    assert rt.get(rt.remote(lambda: 1).options(label_selector=one).remote()) == 1


@line("RES.19")
@pytest.mark.parametrize(
    "labels", [{"zone": "a b"}, {"-": "a"}, {"ray.io/x": "1"}, {"zone": 1}, {"x": "a" * 64}]
)
def test_malformed_labels(fresh, labels):
    with pytest.raises(ValueError):
        fresh.init(num_cpus=1, labels=labels)
    with pytest.raises(TypeError):
        fresh.init(num_cpus=1, labels=["zone"])


@line("RES.19")
def test_malformed_selectors(rt, strategies):
    f = rt.remote(lambda: 1)
    for selector in ({"zone": ""}, {"zone": "in()"}, {"zone": "in(a,)"}, {"zone": 1}, {"": "a"}):
        with pytest.raises(ValueError):
            f.options(label_selector=selector)
    with pytest.raises(TypeError):
        f.options(label_selector="zone")
    for hard in ({"zone": "a"}, {}, {"a b": strategies.Exists()}, ["zone"]):
        with pytest.raises(ValueError):
            strategies.NodeLabelSchedulingStrategy(hard)
    with pytest.raises(ValueError):
        strategies.In()


@line("RES.19", "PG.4")
@pytest.mark.runtime(num_cpus=2, labels={"zone": "a"})
def test_labels_within_a_group(rt, strategies):
    group = rt.util.placement_group([{"CPU": 1}])
    inside = strategies.PlacementGroupSchedulingStrategy(group)
    f = rt.remote(lambda: rt.util.get_current_placement_group() == group)
    f = f.options(scheduling_strategy=inside)
    assert rt.get(f.options(label_selector={"zone": "a"}).remote()) is True
    waits = f.options(label_selector={"zone": "b"}).remote()
    assert pends(rt, waits)
    rt.util.remove_placement_group(group)
    with pytest.raises(rt.exceptions.TaskPlacementGroupRemoved):
        rt.get(waits)


# --- the environment's GPUs ----------------------------------------------------------------------


@line("RES.10", "RES.7")
def test_preset_gpus_are_renamed(fresh, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    with pytest.raises(ValueError, match="names only 2"):
        fresh.init(num_cpus=2, num_gpus=3)
    fresh.init(num_cpus=2, num_gpus=2)
    rt = fresh.fanlight

    @rt.remote
    def view():
        context = rt.get_runtime_context()
        visible = os.environ["CUDA_VISIBLE_DEVICES"]
        return visible, rt.get_gpu_ids(), context.get_accelerator_ids()["GPU"]

    @rt.remote(num_gpus=1)
    class Holder:
        def view(self):
            return rt.get_gpu_ids()

    assert rt.get(view.options(num_gpus=2).remote()) == (
        "5,GPU-abc", ["5", "GPU-abc"], ["5", "GPU-abc"],
    )  # fmt: skip
    assert rt.get(view.remote()) == ("5,GPU-abc", [], [])
    assert rt.get(Holder.remote().view.remote()) == ["5"]


@line("RES.10")
def test_the_user_may_choose_the_gpus(fresh, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", "1")
    fresh.init(num_cpus=2, num_gpus=2)
    rt = fresh.fanlight
    view = rt.remote(lambda: (os.environ.get("CUDA_VISIBLE_DEVICES"), rt.get_gpu_ids()))
    assert rt.get(view.options(num_gpus=1).remote()) == (None, [0])
