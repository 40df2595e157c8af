"""The sentences that say why a task waits, and the facts behind them."""

from __future__ import annotations

import itertools
from collections import Counter
from itertools import islice
from typing import Any
from unittest import mock

import msgspec
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import reports, why_text
from fanlight.core.effects import WorkerStopped
from fanlight.core.machine import Core
from fanlight.core.why import Why
from fanlight.core.why_things import group_node, object_node
from fanlight.testing import histories
from fanlight.testing.builders import actor_spec, method_spec, task_spec, units
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.world import World


def why(client: SimulatedClient, ref: bytes) -> str:
    text: str = client.query("task", id=ids.task_of(ref).hex())["why"]
    return text


def ask(client: SimulatedClient, ref: bytes) -> dict[str, Any]:
    found: dict[str, Any] = client.query("why", id=ref.hex())
    return found


def codes(node: dict[str, Any]) -> list[str]:
    """The codes along the chain of reasons."""
    return [link["code"] for link in why_text.chain(node)]


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode(2, 1, pool_size=2)


@pytest.fixture
def driver(node: SimulatedNode) -> SimulatedClient:
    return node.driver()


# --- arguments -----------------------------------------------------------------------------------
def test_waiting_for_arguments(node: SimulatedNode, driver: SimulatedClient) -> None:
    slow = [driver.submit(task_spec("slow", cpus=2))[0] for _ in range(5)]
    [one] = driver.submit(task_spec("f"), deps=slow[:1])
    [many] = driver.submit(task_spec("f"), deps=slow)
    node.advance(12)
    assert why(driver, one) == (
        "It waits for its argument `slow`, which has been running for 12 s (worker 2, pid 2)."
    )
    found = ask(driver, many)
    assert found["sentence"] == (
        "`f` waits for 5 arguments, first of all `slow`, which waits for 2 CPU (0 of 2 free), held "
        "by `slow` for 12 s."
    )
    assert (found["missing"], found["left_out"], len(found["next"])) == (5, 1, 4)
    assert [n["code"] for n in found["next"]] == ["resources"] * 3 + ["running"]


def test_a_chain_to_the_root_cause(node: SimulatedNode, driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("root"))
    for i in range(6):
        [ref] = driver.submit(task_spec(f"t{i}"), deps=[ref])
    node.advance(3)
    found = ask(driver, ref)
    assert found["sentence"] == (
        "`t5` waits for its argument `t4`, which waits for its argument `t3`, which waits for its "
        "argument `t2`, … and so on for 3 more, up to `root`, which has been running for 3.0 s "
        "(worker 2, pid 2)."
    )
    assert codes(found) == ["argument"] * 6 + ["running"]
    depths = [line["depth"] for line in found["lines"] if line["label"].startswith("`")]
    assert depths == list(range(7)), "each one step further in"


def test_what_never_comes_is_named_first(driver: SimulatedClient) -> None:
    [runs] = driver.submit(task_spec("runs"))
    [never] = driver.submit(task_spec("never", gpus=9))
    [ref] = driver.submit(task_spec("f"), deps=[runs, never])
    found = ask(driver, ref)
    assert found["sentence"] == (
        "`f` waits for 2 arguments, first of all `never`, which can never run here: it asks for 9 "
        "GPU (there are 1). It waits all the same, in case that changes; cancel() gives it up."
    )
    assert codes(found) == ["argument", "infeasible"]


def test_a_long_chain_and_a_wide_one_are_bounded(driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("root", cpus=2))[0] for _ in range(30)]
    for i in range(40):
        refs = [driver.submit(task_spec(f"t{i}"), deps=refs)[0] for _ in range(3)]
    found = ask(driver, refs[0])
    assert len(found["lines"]) <= 61 and len(found["sentence"]) < 500


# --- resources -----------------------------------------------------------------------------------
def test_waiting_for_resources(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.submit(task_spec("train", gpus=1))
    node.advance(30)
    driver.submit(task_spec("load"))
    node.advance(12)
    [ref] = driver.submit(task_spec("f", gpus=0.5))
    [behind] = driver.submit(task_spec("f", gpus=0.5))
    assert why(driver, ref) == (
        "It waits for 1 CPU (0 of 2 free) and 0.5 GPU (0 of 1 free), held by `train` for 42 s and "
        "`load` for 12 s."
    )
    found = ask(driver, behind)
    assert found["sentence"].endswith("; 1 like it comes first.") and found["ahead"] == 1
    assert found["resources"] == {"CPU": [1, 0, 2], "GPU": [0.5, 0, 1]}
    train, load = found["held_by"]
    assert (train["name"], train["held"], train["seconds"]) == ("train", {"CPU": 1, "GPU": 1}, 42)
    assert (load["name"], load["held"], load["kind"]) == ("load", {"CPU": 1}, "task")
    assert load["pid"] == node.runs("load").number
    labels = [(line["label"], line["text"]) for line in found["lines"]]
    assert ("GPU", "asks for 0.5, 0 of 1 free") in labels
    assert any(x == "held by" and "`train` (task) holds 1 CPU, 1 GPU" in t for x, t in labels)


def test_halves_of_two_devices() -> None:
    node = SimulatedNode(4, 2, pool_size=4)
    driver = node.driver()
    for name in ("a", "b"):
        driver.submit(task_spec(name, gpus=0.6))
    [ref] = driver.submit(task_spec("f", cpus=0, gpus=0.8))
    assert why(driver, ref) == (
        "It waits for 0.8 GPU in one piece (free on the devices: 0.4 and 0.4)."
    )
    assert {h["name"] for h in ask(driver, ref)["held_by"]} == {"a", "b"}


def test_held_by_an_actor_and_a_group(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.create_actor(actor_spec("Keeper", cpus=1))
    node.runs("Keeper").finish()
    driver.create_group(units(1), name="kept")
    node.advance(60)
    [ref] = driver.submit(task_spec("f"))
    assert why(driver, ref) == (
        "It waits for 1 CPU (0 of 2 free), held by the actor `Keeper` for 1 min 0 s and the "
        "placement group 'kept'."
    )


def test_who_waits_in_get_has_lent_its_cpu(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.submit(task_spec("outer", cpus=2))
    [worker] = node.busy()
    worker.block()
    driver.submit(task_spec("other", cpus=2))
    [ref] = driver.submit(task_spec("f"))
    assert [h["name"] for h in ask(driver, ref)["held_by"]] == ["other"]


def test_never(driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("f", cpus=3, disk=1))
    assert why(driver, ref) == (
        "It can never run here: it asks for 3 CPU (there are 2), 1 disk (there are 0)."
    )
    assert "cancel() gives it up" in ask(driver, ref)["sentence"]


def test_waiting_for_a_process() -> None:
    node = SimulatedNode(1, prompt=False)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f"))
    assert why(driver, ref) == "It waits for a worker process, which is being started."
    node.answer_spawn(ok=False)
    assert "1 in a row could not be started" in why(driver, ref)


def test_what_is_kept_for_another() -> None:
    node = SimulatedNode(4, pool_size=4)
    driver = node.driver()
    [first] = [driver.submit(task_spec("long", cpus=1))[0]]
    driver.submit(task_spec("big", cpus=4))
    texts = []
    for _ in range(40):
        [ref] = driver.submit(task_spec("small", cpus=0.5))
        found = ask(driver, ref)
        texts.append(found["sentence"])
        if found["code"] == "kept":
            break
        node.runs("small").finish()
    assert texts[-1] == ("`small` waits until `big` has had its turn, for which 4 CPU is kept."), (
        texts
    )
    assert ask(driver, first)["code"] == "running"


def test_environments_and_memory(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.environment("pip")
    [ref] = driver.submit(task_spec("f", env="pip"))
    found = ask(driver, ref)
    assert found["code"] == "environment" and "which is being set up" in found["sentence"]


# --- what runs -----------------------------------------------------------------------------------
def test_behind_others(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("f", cpus=2))[0] for _ in range(4)]
    node.busy()[0].finish(duration=0.0001)
    assert why(driver, refs[1]) == "It has just begun (worker 2, pid 2)."
    assert why(driver, refs[2]).startswith("It is with a worker, behind `f`, which has just begun")
    node.settle()
    assert why(driver, refs[2]).startswith("It finished 0.0 s ago, after it had run for ")


def test_it_waits_in_get_for_what_it_has_submitted(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    [outer] = driver.submit(task_spec("outer"))
    worker = node.runs("outer")
    worker.submit(task_spec("inner", gpus=3))
    worker.block()
    node.advance(5)
    found = ask(driver, outer)
    assert found["sentence"].startswith(
        "`outer` has been running for 5.0 s (worker 2, pid 2), and waits in get() for `inner`, "
        "which can never run here: it asks for 3 GPU (there are 1)."
    )
    assert codes(found) == ["blocked", "infeasible"]


def test_a_process_that_is_stopped(node: SimulatedNode, driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("f"))
    [after] = driver.submit(task_spec("g"), deps=[ref])
    worker = node.runs("f")
    node.post([(0, WorkerStopped(worker.number, "SIGSTOP", ref[:24]))])
    found = ask(driver, after)
    assert codes(found) == ["argument", "stopped"]
    assert "which stands still: the process that runs f (pid" in found["sentence"]
    assert found["sentence"].endswith("cancel(ref, force=True) ends it.")


def test_how_it_ended(node: SimulatedNode, driver: SimulatedClient) -> None:
    [good] = driver.submit(task_spec("good"))
    [bad] = driver.submit(task_spec("bad"))
    node.runs("good").finish(duration=3.0)
    node.runs("bad").finish(error="ValueError: no")
    [gone] = driver.submit(task_spec("gone", cpus=9))
    driver.cancel(gone)
    assert ask(driver, good)["code"] == "ready" and "is ready: " in ask(driver, good)["sentence"]
    assert ask(driver, bad)["code"] == "failed"
    assert ask(driver, gone)["code"] == "cancelled"
    task = driver.query("why", id=ids.task_of(bad).hex())
    assert task["state"] == "FAILED" and task["error"] and task["error"] in task["sentence"]


def test_the_last_failure_of_what_is_tried_again(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    [ref] = driver.submit(task_spec("f", cpus=2, retries=3))
    node.runs("f").crash("exit code 7")
    found = ask(driver, ref)
    assert found["attempt"] == 1 and "its worker died" in found["failed"]
    assert any("2; the last one failed" in line["text"] for line in found["lines"])


# --- actors --------------------------------------------------------------------------------------
def test_an_actor_that_can_never_be_placed() -> None:
    node = SimulatedNode(0, 1, pool_size=1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("Counter"))
    [call] = driver.submit(method_spec(), actor=actor)
    text = "can never run here: it asks for 1 CPU (there are 0)."
    assert why(driver, call) == f"It waits for its actor `Counter`, which {text}"
    assert driver.query("why", id=actor.hex())["sentence"].startswith(f"`Counter` {text}")


def test_calls_of_actors(node: SimulatedNode, driver: SimulatedClient) -> None:
    actor = driver.create_actor(actor_spec("Counter"))
    [first] = driver.submit(method_spec("Counter.inc"), actor=actor)
    node.advance(2)
    assert why(driver, first) == (
        "It waits for its actor `Counter`, which has been in its constructor for 2.0 s "
        "(worker 2, pid 2)."
    )
    node.busy()[0].finish()
    refs = [driver.submit(method_spec("Counter.inc"), actor=actor)[0] for _ in range(3)]
    node.advance(7)
    assert why(driver, first) == "It has been running for 7.0 s (worker 2, pid 2)."
    assert why(driver, refs[2]) == (
        "It waits for its turn on its actor `Counter`: 3 calls of it come first, now "
        "`Counter.inc`, which has been running for 7.0 s (worker 2, pid 2)."
    )
    handle = driver.query("why", id=actor.hex())
    assert handle["sentence"].startswith(
        "`Counter` is alive and runs `Counter.inc` (3 more calls after that), which has been"
    )
    assert (handle["kind"], handle["state"], handle["ahead"]) == ("actor", "ALIVE", 3)
    node.settle()
    assert driver.query("why", id=actor.hex())["code"] == "idle"


def test_a_call_that_has_submitted_work(node: SimulatedNode, driver: SimulatedClient) -> None:
    """Whether it waits for it, an actor's process does not say."""
    actor = driver.create_actor(actor_spec("Counter"))
    node.busy()[0].finish()
    [call] = driver.submit(method_spec("Counter.ask"), actor=actor)
    node.runs("Counter.ask").submit(task_spec("inner", gpus=5))
    node.advance(2)
    assert why(driver, call) == (
        "It has been running for 2.0 s (worker 2, pid 2); `inner`, which it has submitted, is not "
        "finished."
    )


def test_a_call_behind_one_that_lacks_an_argument(
    node: SimulatedNode, driver: SimulatedClient
) -> None:
    actor = driver.create_actor(actor_spec("Counter"))
    node.busy()[0].finish()
    [slow] = driver.submit(task_spec("slow"))
    driver.submit(method_spec("Counter.add"), actor=actor, deps=[slow])
    [ref] = driver.submit(method_spec("Counter.get"), actor=actor)
    found = ask(driver, ref)
    assert codes(found) == ["turn", "argument", "running"]
    assert found["sentence"].startswith(
        "`Counter.get` waits behind `Counter.add` of the same caller, which waits for its argument "
        "`slow`, which has just begun"
    )


def test_a_full_concurrency_group(node: SimulatedNode, driver: SimulatedClient) -> None:
    actor = driver.create_actor(actor_spec("Server", groups={"io": 2}))
    node.busy()[0].finish()
    spec = method_spec("Server.read", group="io")
    refs = [driver.submit(spec, actor=actor)[0] for _ in range(4)]
    assert [ask(driver, ref)["code"] for ref in refs] == ["running", "running", "turn", "turn"]
    text = ask(driver, refs[3])["sentence"]
    assert "(its concurrency group 'io' runs 2 at a time): 3 calls of it come first" in text
    [other] = driver.submit(method_spec("Server.ping"), actor=actor)
    assert ask(driver, other)["code"] == "running", "another group has room"


def test_an_actor_that_restarts() -> None:
    node = SimulatedNode(2, pool_size=2, prompt=False)
    driver = node.driver()
    node.answer_spawn(), node.answer_spawn()
    actor = driver.create_actor(actor_spec("Counter", cpus=1), max_restarts=1)
    node.runs("Counter").finish()
    driver.submit(task_spec("other", cpus=1))
    driver.submit(task_spec("next", cpus=1))
    for worker in list(node.workers.values()):
        if node.core.workers[worker.number].actor is not None:
            worker.crash("killed by SIGKILL")
    [call] = driver.submit(method_spec(), actor=actor)
    found = ask(driver, call)
    assert found["next"][0]["state"] == "RESTARTING"
    assert "is being restarted after its process ended (killed by SIGKILL)" in found["sentence"]


def test_a_dead_actor(node: SimulatedNode, driver: SimulatedClient) -> None:
    actor = driver.create_actor(actor_spec("Counter"))
    node.busy()[0].finish()
    driver.send(m.KillActor(actor))
    found = driver.query("why", id=actor.hex())
    assert found["code"] == "failed" and "is dead since" in found["sentence"]


# --- objects, groups, names ----------------------------------------------------------------------
def test_placement_groups(node: SimulatedNode, driver: SimulatedClient) -> None:
    driver.submit(task_spec("busy"))
    group = driver.create_group(units(2), name="pair")
    ready = driver.group_ready(group)
    text = (
        "`placement group 'pair'` is not reserved yet: it waits for 2 CPU (1 of 2 free), held by "
        "`busy`."
    )
    assert driver.query("why", id=group.hex())["sentence"] == text
    assert ask(driver, ready)["sentence"] == text
    node.settle()
    assert "is reserved, and holds 2 CPU" in driver.query("why", id=group.hex())["sentence"]
    driver.remove_group(group)
    assert "was removed" in driver.query("why", id=group.hex())["sentence"]


def test_names(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("work"))[0] for _ in range(4)]
    actor = driver.create_actor(actor_spec("Counter"), name="the counter")
    found = driver.query("why", name="work")
    assert found["id"] == refs[0][:24].hex() and found["same"] == 3
    assert driver.query("why", name="the counter")["id"] == actor.hex()
    assert driver.query("why", name="Counter")["id"] == actor.hex()
    node.settle()
    assert driver.query("why", name="work")["code"] == "finished"
    with pytest.raises(LookupError, match="named 'nobody'"):
        driver.query("why", name="nobody")


def test_many_at_once(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("f"))[0] for _ in range(20)]
    refs += [driver.submit(task_spec("big", gpus=2))[0] for _ in range(5)]
    node.busy()[0].finish()
    found = driver.query("why", ids=[r.hex() for r in refs])
    assert (found["total"], found["ready"], found["left_out"]) == (25, 1, 0)
    counts = {(n["name"], n["code"]): n["count"] for n in found["reasons"]}
    assert counts == {("f", "resources"): 17, ("f", "running"): 2, ("big", "infeasible"): 5}


def test_what_was_lost(node: SimulatedNode, driver: SimulatedClient) -> None:
    ref = driver.put(500)
    node.lose(ref)
    found = ask(driver, ref)
    assert found["code"] == "lost" and "is lost: The object" in found["sentence"]


def test_what_is_on_disk() -> None:
    node = SimulatedNode(2, pool_size=2, capacity=1000, spill=True)
    driver = node.driver()
    refs = [driver.put(400) for _ in range(4)]
    codes = [ask(driver, ref)["code"] for ref in refs]
    assert set(codes) == {"ready", "spilled"} and codes[-1] == "ready"
    assert "it comes back when it is used" in ask(driver, refs[codes.index("spilled")])["sentence"]


def test_the_bound_of_processes() -> None:
    node = SimulatedNode(4, pool_size=1, max_processes=1)
    driver = node.driver()
    refs = [driver.submit(task_spec("f"))[0] for _ in range(2)]
    found = ask(driver, refs[1])
    assert found["code"] == "processes" and "may have 1 (max_processes)" in found["sentence"]


def test_memory_that_ran_low(node: SimulatedNode, driver: SimulatedClient) -> None:
    refs = [driver.submit(task_spec("f", retries=1))[0] for _ in range(2)]
    node.memory(950_000_000, 500_000_000, 450_000_000, limit=1_000_000_000, threshold=900_000_000)
    [held] = node.core.memory.held.values()
    found = driver.query("why", id=held.id.hex())
    assert found["code"] == "memory" and held.id in {r[:24] for r in refs}
    assert found["sentence"].startswith("`f` was ended since memory ran low, and waits until ")


def test_work_of_another_driver(node: SimulatedNode, driver: SimulatedClient) -> None:
    other = node.driver()
    [ref] = other.submit(task_spec("f"))
    found = driver.query("why", id=ids.task_of(ref).hex())
    assert found["driver"] and "driver" not in ask(other, ref)
    assert any(line["label"] == "driver" for line in found["lines"])


def test_ids_that_nobody_knows(node: SimulatedNode, driver: SimulatedClient) -> None:
    assert driver.query("why", id=bytes(28).hex())["code"] == "unknown"
    for key in (bytes(24), bytes(16), b""):
        with pytest.raises(LookupError):
            driver.query("why", id=key.hex())
    with pytest.raises(LookupError):
        driver.query("why", id="no hex at all")


def test_any_state_can_be_asked_about() -> None:
    """In the middle of random histories: every thing has an answer, and asking changes nothing."""
    asked: Counter[str] = Counter()
    calls = itertools.count()
    look = World.sample

    def sample(world: World, core: Core) -> None:
        look(world, core)
        if next(calls) % 7:
            return
        things = [Why(core).task(t) for t in islice(core.tasks.table.values(), 15)]
        things += [Why(core).actor(a) for a in islice(core.actors.table.values(), 5)]
        things += [group_node(core, g) for g in islice(core.placement.table.values(), 5)]
        things += [object_node(core, oid) for oid in islice(core.objects.table, 15)]
        for found in things:
            assert len(why_text.sentence(found)) < 3_000 and why_text.lines(found)
            asked[found["code"]] += 1
        client = next(iter(core.clients.values()), None)
        if client is not None:
            for answer in (reports.status(core, client, {}), reports.memory(core, client, {})):
                msgspec.msgpack.encode(answer)
        msgspec.msgpack.encode(things)

    with mock.patch.object(World, "sample", sample):
        for seed in range(18):
            histories.replay(seed, histories.plan(seed, 150), 5)
    often = (
        "argument",
        "resources",
        "running",
        "actor",
        "turn",
        "ready",
        "placement",
        "infeasible",
    )
    assert all(asked[code] > 5 for code in often), asked


def test_a_task_that_is_forgotten(driver: SimulatedClient) -> None:
    with pytest.raises(LookupError, match="keeps only the newest"):
        why(driver, bytes(28))


def test_the_facts_of_an_object(node: SimulatedNode, driver: SimulatedClient) -> None:
    [ref] = driver.submit(task_spec("make"))
    facts = driver.query("object", id=ref.hex())
    assert (facts["state"], facts["why"]) == ("RUNNING", "It has just begun (worker 2, pid 2).")
    node.busy()[0].finish(sizes=[500])
    facts = driver.query("object", id=ref.hex())
    assert (facts["state"], facts["size"], facts["stored"]) == ("READY", 500, True)
    assert (facts["creator"], facts["holders"]) == ("make", 1)
    assert "is ready: 500 B in the object store" in ask(driver, ref)["sentence"]
    driver.drop(ref)
    assert driver.query("object", id=ref.hex())["state"] == "GONE"
    assert "has been freed" in ask(driver, ref)["sentence"]
    assert m.STORED not in {v.kind for v in driver.values.values() if v}
