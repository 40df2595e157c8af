"""PG: resources reserved together, and work inside of them."""

from __future__ import annotations

import os
import time

import pytest

from tests.engines.support import line, needs, poll


@pytest.fixture
def pgs(rt):
    """The functions of ``util`` for groups; all groups are gone after the test."""
    from fanlight import util

    yield util
    for key, row in util.placement_group_table().items():
        if row["state"] != "REMOVED":
            util.remove_placement_group(util.PlacementGroup(bytes.fromhex(key)))


@pytest.fixture
def inside():
    """``inside(group, index=-1, capture=None)`` as options of a task or actor."""
    from fanlight.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    def inside(group, index=-1, capture=None):
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, index, capture)}

    return inside


def cpus(rt):
    return rt.available_resources().get("CPU", 0.0)


class Counter:
    def __init__(self):
        self.n = 0

    def inc(self):
        self.n += 1
        return self.n

    def pid(self):
        return os.getpid()


# --- reservation ---------------------------------------------------------------------------------


@line("PG.1", "PG.3", "PG.2")
@pytest.mark.runtime(num_cpus=4, resources={"x": 2})
def test_what_is_reserved_is_gone_until_the_removal(rt, pgs):
    before = rt.available_resources()
    group = pgs.placement_group([{"CPU": 1}, {"CPU": 2, "x": 1}])
    assert group.wait(10) is True
    assert cpus(rt) == 1.0
    assert rt.available_resources()["x"] == 1.0
    assert rt.cluster_resources()["CPU"] == 4.0
    pgs.remove_placement_group(group)
    assert poll(lambda: rt.available_resources() == before)


@line("PG.1")
@pytest.mark.runtime(num_cpus=4)
def test_all_or_nothing_and_the_oldest_first(rt, pgs):
    first = pgs.placement_group([{"CPU": 3}])
    second = pgs.placement_group([{"CPU": 1}, {"CPU": 1}])
    third = pgs.placement_group([{"CPU": 2}])
    assert first.wait(10)
    assert not second.wait(0.05)
    assert cpus(rt) == 1.0
    pgs.remove_placement_group(first)
    assert second.wait(10) and third.wait(10)
    assert "CPU" not in rt.available_resources()


@line("PG.2", "PG.16")
def test_ready_resolves_to_the_group(rt, pgs):
    group = pgs.placement_group([{"CPU": 1}])
    again = rt.get(group.ready(), timeout=60)
    assert again == group and again.bundle_specs == [{"CPU": 1.0}]
    assert rt.get([group.ready(), group.ready()]) == [group, group]


@line("PG.2", "PG.10")
@pytest.mark.parametrize(
    ("bundles", "strategy"),
    [([{"CPU": 50}], "PACK"), ([{"nothing": 1}], "SPREAD"), ([{"CPU": 1}] * 2, "STRICT_SPREAD")],
)
def test_what_cannot_be_placed_pends(rt, pgs, bundles, strategy):
    group = pgs.placement_group(bundles, strategy=strategy)
    assert group.wait(0.05) is False
    ready = group.ready()
    assert rt.wait([ready], timeout=0.05) == ([], [ready])
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(ready, timeout=0.05)
    row = pgs.placement_group_table(group)
    assert row["state"] == "PENDING"
    why = {"PACK": "50 CPU", "SPREAD": "1 nothing", "STRICT_SPREAD": "one node"}[strategy]
    assert why in row["why"]
    pgs.remove_placement_group(group)
    with pytest.raises(rt.exceptions.TaskPlacementGroupRemoved):
        rt.get(ready, timeout=60)
    assert group.wait(10) is False


@line("PG.10")
@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK"])
def test_strategies_place_what_fits_on_the_one_node(rt, pgs, strategy):
    group = pgs.placement_group([{"CPU": 1}, {"CPU": 1}], strategy=strategy)
    assert group.wait(10)
    row = pgs.placement_group_table(group)
    assert row["strategy"] == strategy
    assert set(row["bundles_to_node_id"].values()) == {rt.nodes()[0]["NodeID"]}


@line("PG.10")
def test_strict_spread_of_one_bundle(rt, pgs):
    assert pgs.placement_group([{"CPU": 1}], strategy="STRICT_SPREAD").wait(10)


@line("PG.1")
@needs("background")
def test_a_group_waits_for_what_runs(rt, pgs, tmp_path, wait_for):
    f = rt.remote(wait_for)
    ref = f.remote(str(tmp_path / "go"))
    assert poll(lambda: cpus(rt) == 1.0)
    group = pgs.placement_group([{"CPU": 2}])
    assert not group.wait(0.05)
    why = pgs.placement_group_table(group)["why"]
    assert why == "it waits for 2 CPU (1 free). Held by: wait_for."
    (tmp_path / "go").touch()
    assert group.wait(10)
    rt.get(ref)


# --- work inside ---------------------------------------------------------------------------------


@line("PG.4", "PG.7", "PG.9")
def test_tasks_and_actors_run_inside(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 1}])

    @rt.remote
    def facts():
        context = rt.get_runtime_context()
        current = rt.util.get_current_placement_group()
        return current, context.get_placement_group_id(), context.get_assigned_resources()

    @rt.remote(num_cpus=1)
    class Actor:
        def facts(self):
            return (
                rt.util.get_current_placement_group(),
                rt.get_runtime_context().get_assigned_resources(),
            )

    current, text, resources = rt.get(facts.options(**inside(group)).remote())
    assert (current, text, resources) == (group, group.id.hex(), {"CPU": 1.0})
    assert current.bundle_specs == [{"CPU": 1.0}]
    actor = Actor.options(**inside(group, 0)).remote()
    assert rt.get(actor.facts.remote()) == (group, {"CPU": 1.0})
    assert rt.get(facts.remote())[:2] == (None, None)
    assert rt.util.get_current_placement_group() is None
    assert rt.get_runtime_context().get_placement_group_id() is None


@line("PG.4", "PG.6")
@pytest.mark.runtime(num_cpus=4)
def test_a_full_bundle_makes_work_wait(rt, pgs, inside, eventually):
    group = pgs.placement_group([{"CPU": 1}, {"CPU": 1}])
    holder = rt.remote(num_cpus=1)(Counter).options(**inside(group, 0)).remote()
    assert rt.get(holder.inc.remote()) == 1
    f = rt.remote(lambda: "ran")
    waits = f.options(**inside(group, 0)).remote()
    assert rt.get(f.options(**inside(group, 1)).remote()) == "ran"
    assert rt.get(f.options(**inside(group)).remote()) == "ran"
    assert rt.get(f.remote()) == "ran"  # outside there is room
    assert rt.wait([waits], timeout=0.05) == ([], [waits])
    from fanlight import session

    why = session.ref_state(waits)["why"]
    assert "in bundle 0 of its placement group" in why and "nothing" in why
    rt.kill(holder)
    assert rt.get(waits) == "ran"


@line("PG.4")
def test_work_for_a_pending_group_waits_for_it(rt, pgs, inside):
    first = pgs.placement_group([{"CPU": 2}])
    second = pgs.placement_group([{"CPU": 1}], name="next")
    ref = rt.remote(lambda: 5).options(**inside(second)).remote()
    actor = rt.remote(Counter).options(**inside(second)).remote()
    call = actor.inc.remote()
    assert rt.wait([ref, call], timeout=0.05)[0] == []
    from fanlight import session

    assert "placement group 'next', which is not reserved yet" in session.ref_state(ref)["why"]
    assert "placement group" in session.ref_state(call)["why"]
    pgs.remove_placement_group(first)
    assert rt.get([ref, call]) == [5, 1]


@line("PG.5")
@pytest.mark.runtime(num_cpus=4)
def test_work_that_fits_no_bundle_is_refused(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 1}, {"CPU": 2}])
    f = rt.remote(lambda: 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot fit into any bundles"):
            f.options(num_cpus=3, **inside(group)).remote()
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        f.options(resources={"x": 1}, **inside(group)).remote()
    # Better than in the reference, where this waits for ever.
    with pytest.raises(ValueError, match="bundle 0"):
        f.options(num_cpus=2, **inside(group, 0)).remote()
    for index in (2, -2):
        with pytest.raises(ValueError, match="between -1"):
            f.options(**inside(group, index)).remote()
    with pytest.raises(ValueError, match="cannot fit"):
        rt.remote(Counter).options(num_cpus=4, **inside(group)).remote()
    assert rt.get(f.options(num_cpus=2, **inside(group)).remote()) == 1


@line("PG.7")
@pytest.mark.runtime(num_cpus=2, num_gpus=4)
def test_gpus_of_a_bundle(rt, pgs, inside):
    first = pgs.placement_group([{"GPU": 2}, {"GPU": 0.5}])
    second = pgs.placement_group([{"GPU": 0.5}])

    @rt.remote(num_cpus=0)
    def view():
        return rt.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    def ids(group, index, gpus):
        found, visible = rt.get(view.options(num_gpus=gpus, **inside(group, index)).remote())
        assert visible == ",".join(map(str, found))
        return found

    whole = ids(first, 0, 2)
    assert len(set(whole)) == 2
    assert set(ids(first, 0, 1)) < set(whole)
    [shared] = ids(first, 1, 0.5)
    assert shared not in whole and ids(second, -1, 0.5) == [shared]
    assert rt.available_resources()["GPU"] == 1.0
    [other] = rt.get(view.options(num_gpus=1).remote())[0]
    assert other not in {*whole, shared}


@line("PG.18")
@pytest.mark.runtime(num_cpus=2, resources={"x": 1})
def test_a_default_actor_needs_a_bundle_with_a_cpu(rt, pgs, inside):
    group = pgs.placement_group([{"x": 1}, {"CPU": 1}])
    actors = [rt.remote(Counter).options(**inside(group)).remote() for _ in range(3)]
    assert rt.get([a.inc.remote() for a in actors]) == [1, 1, 1]
    assert rt.get(rt.remote(lambda: 1).options(**inside(group)).remote()) == 1  # the CPU is free
    with pytest.raises(ValueError, match="bundle 0"):
        rt.remote(Counter).options(**inside(group, 0)).remote()
    for actor in actors:
        rt.kill(actor)


@line("PG.8")
@pytest.mark.runtime(num_cpus=4)
def test_children_and_capture(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 2}])

    @rt.remote
    def leaf():
        current = rt.util.get_current_placement_group()
        return current is not None and current.id.hex()

    @rt.remote
    def middle():
        return rt.get(leaf.remote()), leaf_of_actor()

    def leaf_of_actor():
        @rt.remote
        class Actor:
            def leaf(self):
                return rt.get(leaf.remote())

        return rt.get(Actor.remote().leaf.remote())

    @rt.remote
    def root():
        return (
            rt.get(leaf.remote()),
            rt.get(middle.remote()),
            rt.get(leaf.options(scheduling_strategy="DEFAULT").remote()),
        )

    me = group.id.hex()
    assert rt.get(root.options(**inside(group)).remote()) == (False, (False, False), False)
    captured = root.options(**inside(group, -1, True)).remote()
    assert rt.get(captured) == (me, (me, me), False)
    # The same functions in the same processes, outside again.
    assert rt.get(root.remote()) == (False, (False, False), False)


@line("PG.5", "PG.8")
def test_captured_children_must_fit(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 1}])

    @rt.remote
    def root():
        return rt.get(rt.remote(lambda: 1).options(num_cpus=2).remote())

    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        rt.get(root.options(**inside(group, -1, True)).remote())
    pgs.remove_placement_group(group)
    assert rt.get(root.remote()) == 1


@line("PG.4", "RES.11")
def test_blocked_tasks_give_their_cpu_to_others_of_the_bundle(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 1}])

    @rt.remote
    def fib(n):
        if n < 2:
            return n
        return sum(rt.get([fib.remote(n - 1), fib.remote(n - 2)]))

    assert rt.get(fib.options(**inside(group, 0, True)).remote(5)) == 5
    assert cpus(rt) == 1.0


# --- the end of a group --------------------------------------------------------------------------


@line("PG.11", "PG.3")
@needs("processes")
@pytest.mark.parametrize("retries", [0, 3])
def test_removal_kills_running_tasks(rt, pgs, inside, tmp_path, wait_for, note, retries):
    group = pgs.placement_group([{"CPU": 1}], name="doomed")

    @rt.remote(max_retries=retries)
    def run():
        note(str(tmp_path / "runs"))
        wait_for(str(tmp_path / "never"))

    ref = run.options(**inside(group)).remote()
    behind = run.options(**inside(group)).remote()
    assert poll((tmp_path / "runs").exists)
    pgs.remove_placement_group(group)
    # With retries it would run again, but has no place.
    error = rt.exceptions.TaskPlacementGroupRemoved if retries else rt.exceptions.WorkerCrashedError
    with pytest.raises(error, match="placement group 'doomed' was removed"):
        rt.get(ref)
    with pytest.raises(rt.exceptions.TaskPlacementGroupRemoved):
        rt.get(behind)
    assert poll(lambda: cpus(rt) == 2.0)
    assert (tmp_path / "runs").read_text() == "x\n"


@line("PG.11")
@pytest.mark.runtime(num_cpus=2)
def test_removal_kills_actors(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 1}])
    actor = rt.remote(Counter).options(num_cpus=1, max_restarts=5, **inside(group)).remote()
    assert rt.get(actor.inc.remote()) == 1
    pending = rt.remote(Counter).options(num_cpus=1, **inside(group)).remote()
    call = pending.inc.remote()
    pgs.remove_placement_group(group)
    pgs.remove_placement_group(group)
    with pytest.raises(
        rt.exceptions.ActorDiedError, match=r"placement group [0-9a-f]+ was removed"
    ):
        rt.get(actor.inc.remote())
    for ref in (call, pending.inc.remote()):
        with pytest.raises(rt.exceptions.ActorPlacementGroupRemoved):
            rt.get(ref)
    assert poll(lambda: cpus(rt) == 2.0)


@line("PG.11")
def test_work_for_a_removed_group(rt, pgs, inside, never):
    group = pgs.placement_group([{"CPU": 2}])
    options = inside(group)
    argument = never()
    early = rt.remote(lambda x: x).options(**options).remote(argument)
    dependent = rt.remote(lambda x: x).remote(early)
    pgs.remove_placement_group(group)
    late = rt.remote(lambda: 1).options(**options).remote()
    actor = rt.remote(Counter).options(**options).remote()
    for ref in (early, late):
        with pytest.raises(rt.exceptions.TaskPlacementGroupRemoved):
            rt.get(ref)
    with pytest.raises(rt.exceptions.TaskPlacementGroupRemoved):
        rt.get(dependent)
    with pytest.raises(rt.exceptions.ActorPlacementGroupRemoved):
        rt.get(actor.inc.remote())
    with pytest.raises(rt.exceptions.TaskPlacementGroupRemoved):
        rt.get(group.ready())
    rt.cancel(argument)


@line("PG.11")
def test_a_task_that_removes_its_own_group(rt, pgs, inside):
    """What it returns may or may not arrive; nothing hangs, and the resources are back."""
    group = pgs.placement_group([{"CPU": 1}])

    @rt.remote(max_retries=0)
    def remove():
        rt.util.remove_placement_group(rt.util.get_current_placement_group())
        return 1

    try:
        assert rt.get(remove.options(**inside(group)).remote(), timeout=60) == 1
    except rt.exceptions.WorkerCrashedError:
        pass
    assert poll(lambda: cpus(rt) == 2.0)
    assert rt.get(rt.remote(lambda: 3).remote()) == 3


@line("PG.11")
@needs("background")
def test_groups_come_and_go_under_load(rt, pgs, inside):
    f = rt.remote(max_retries=0)(lambda: time.sleep(0.001))
    for _ in range(15):
        group = pgs.placement_group([{"CPU": 1}, {"CPU": 1}])
        refs = [f.options(**inside(group)).remote() for _ in range(10)]
        rt.wait(refs, num_returns=3)
        pgs.remove_placement_group(group)
        for ref in refs:
            try:
                assert rt.get(ref) is None
            except (rt.exceptions.WorkerCrashedError, rt.exceptions.TaskPlacementGroupRemoved):
                pass
    assert poll(lambda: cpus(rt) == 2.0)


# --- names, tables, lives ------------------------------------------------------------------------


@line("PG.12")
def test_the_table(rt, pgs):
    group = pgs.placement_group([{"CPU": 1}, {"CPU": 0.5}], name="mine")
    group.wait(10)
    row = pgs.placement_group_table(group)
    node = rt.nodes()[0]["NodeID"]
    assert row == {
        "placement_group_id": group.id.hex(),
        "name": "mine",
        "bundles": {0: {"CPU": 1.0}, 1: {"CPU": 0.5}},
        "bundles_to_node_id": {0: node, 1: node},
        "strategy": "PACK",
        "state": "CREATED",
        "why": "",
    }
    assert pgs.placement_group_table()[group.id.hex()] == row
    pgs.remove_placement_group(group)
    assert poll(lambda: pgs.placement_group_table(group)["state"] == "REMOVED")


@line("PG.13")
def test_groups_by_name(rt, pgs, script):
    group = pgs.placement_group([{"CPU": 1}], name="found")
    assert pgs.get_placement_group("found") == group
    assert pgs.get_placement_group("found").bundle_specs == [{"CPU": 1.0}]
    # Better than in the reference, where the second group is lost without a word.
    with pytest.raises(ValueError, match="'found' is taken"):
        pgs.placement_group([{"CPU": 1}], name="found")
    for name in ("unknown", ""):
        with pytest.raises(ValueError):
            pgs.get_placement_group(name)
    pgs.remove_placement_group(group)
    with pytest.raises(ValueError, match="found"):
        pgs.get_placement_group("found")
    assert pgs.placement_group([{"CPU": 1}], name="found") != group


@line("PG.13", "PG.15")
@needs("processes")
def test_groups_of_other_drivers(fresh, tmp_path):
    fresh.init(num_cpus=4, namespace="one", name="groups")
    rt = fresh.fanlight
    util = rt.util
    code = f"""
import fanlight, sys
sys.path.insert(0, {os.getcwd()!r})
fanlight.init("groups", namespace="one")
fanlight.util.placement_group([{{"CPU": 1}}], name="mine").wait(10)
fanlight.util.placement_group([{{"CPU": 1}}], name="kept", lifetime="detached").wait(10)
print(fanlight.available_resources()["CPU"])
"""
    import subprocess
    import sys

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "2.0\n", run.stderr
    assert poll(lambda: rt.available_resources()["CPU"] == 3.0)
    with pytest.raises(ValueError):
        util.get_placement_group("mine")
    kept = util.get_placement_group("kept")
    assert kept.bundle_specs == [{"CPU": 1.0}]
    util.remove_placement_group(kept)
    assert poll(lambda: rt.available_resources()["CPU"] == 4.0)


@line("PG.15")
@needs("processes")
@pytest.mark.runtime(num_cpus=4)
def test_groups_of_actors(rt, pgs):
    class Maker:
        def make(self):
            group = rt.util.placement_group([{"CPU": 1}])
            assert group.wait(10)
            return group

    plain = rt.remote(Maker).remote()
    detached = rt.remote(Maker).options(name="maker", lifetime="detached").remote()
    first, second = rt.get([plain.make.remote(), detached.make.remote()])
    rt.kill(plain)
    rt.kill(detached)
    assert poll(lambda: pgs.placement_group_table(second)["state"] == "REMOVED")
    # That of a plain actor belongs to the driver.
    assert pgs.placement_group_table(first)["state"] == "CREATED"


@line("PG.16")
@pytest.mark.runtime(num_cpus=4)
def test_groups_as_values(rt, pgs):
    group = pgs.placement_group([{"CPU": 1, "memory": 1000}])
    assert group.bundle_specs == [{"CPU": 1.0, "memory": 1000.0}]
    assert group.bundle_count == 1 and len(group.id.hex()) == 32
    again = rt.get(rt.remote(lambda g: g).remote(group))
    assert again == group and {again, group} == {group}
    assert again != pgs.placement_group([{"CPU": 1}]) and again != "group"
    assert rt.get(rt.remote(lambda: group.bundle_count).remote()) == 1  # in a closure
    assert group.id.hex() in repr(group)


@line("PG.14")
@pytest.mark.parametrize(
    "arguments",
    [
        ([],),
        ({"CPU": 1},),
        (None,),
        ([{}],),
        ([{"CPU": 1}, {}],),
        ([{"CPU": 0}],),
        ([{"CPU": -1}],),
        ([{"CPU": "1"}],),
        ([{"CPU": 0.00001}],),
        ([{"GPU": 1.5}],),
        ([{1: 1}],),
        (["CPU"],),
        ([{"CPU": float("nan")}],),
        ([{"CPU": 1}], "SOMEWHERE"),
        ([{"CPU": 1}], "PACK", "", "forever"),
    ],
)
def test_impossible_groups(rt, pgs, arguments):
    with pytest.raises(ValueError):
        pgs.placement_group(*arguments)
    with pytest.raises(TypeError):
        pgs.remove_placement_group("group")


@line("PG.17")
def test_states_of_a_group(rt, pgs):
    """There is one node: a group cannot lose it and go on, so RESCHEDULING does not happen."""
    group = pgs.placement_group([{"CPU": 1}])
    states = {pgs.placement_group_table(group)["state"]}
    group.wait(10)
    states.add(pgs.placement_group_table(group)["state"])
    assert states <= {"PENDING", "CREATED"}


@line("OPT.13")
@pytest.mark.runtime(num_cpus=4)
def test_the_old_options(rt, pgs, inside):
    group = pgs.placement_group([{"CPU": 1}, {"CPU": 1}])

    @rt.remote
    def current():
        found = rt.util.get_current_placement_group()
        return found and found.id.hex()

    @rt.remote
    def parent():
        return current_of_child()

    def current_of_child():
        return rt.get(current.remote())

    with pytest.warns(DeprecationWarning, match="placement_group"):
        old = current.options(placement_group=group, placement_group_bundle_index=1)
    assert rt.get(old.remote()) == group.id.hex()
    with pytest.warns(DeprecationWarning):
        outer = parent.options(placement_group=group, placement_group_capture_child_tasks=True)
    assert rt.get(outer.remote()) == group.id.hex()
    with pytest.warns(DeprecationWarning):
        actor = rt.remote(Counter).options(placement_group=group).remote()
    assert rt.get(actor.inc.remote()) == 1
    with pytest.warns(DeprecationWarning):
        assert rt.get(current.options(placement_group="default").remote()) is None
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="combined"):
        current.options(placement_group=group, **inside(group)).remote()
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="combined"):
        current.options(**inside(group)).options(placement_group=group).remote()
    with pytest.raises(ValueError, match="needs placement_group"):
        current.options(placement_group_bundle_index=1).remote()
    with pytest.raises(TypeError):
        current.options(placement_group="elsewhere")
    with pytest.raises(TypeError):
        current.options(scheduling_strategy=group)
    rt.kill(actor)
