"""Objects whose bytes are gone."""

from __future__ import annotations

import random
from unittest import mock

import msgspec
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import definitions, model, recompute
from fanlight.core.invariants import validate
from fanlight.core.lineage import Past
from fanlight.core.machine import Core
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode


def failure(client: SimulatedClient, ref: bytes) -> m.Failure:
    value = client.values[ref]
    assert value is not None and value.kind == m.FAILURE
    return msgspec.msgpack.decode(value.data, type=m.Failure)


def ask(client: SimulatedClient, ref: bytes) -> m.Failure:
    """What a client hears that takes the ref out of a value."""
    client.adopt(ref)
    client.subscribe(ref)
    return failure(client, ref)


def test_whoever_asks_for_a_lost_object_hears_why() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    ref = driver.put(300)
    node.lose(ref, "its file was deleted")
    heard = ask(other, ref)
    assert heard.code == "reconstruction_failed" and "its file was deleted" in heard.message
    assert not node.files and not node.core.objects.segments
    driver.drop(ref)
    other.drop(ref)
    assert not node.core.objects.table


def test_refs_inside_a_lost_value_stay_as_long_as_the_object() -> None:
    """Who has read the value need not have told the node of them."""
    node = SimulatedNode()
    driver = node.driver()
    inner = driver.put(8)
    outer = driver.put(300, contained=[inner])
    driver.drop(inner)
    node.lose(outer)
    assert inner in node.core.objects.table
    driver.drop(outer)
    assert not node.core.objects.table


def test_a_task_with_a_lost_argument_fails() -> None:
    node = SimulatedNode()
    driver = node.driver()
    ref = driver.put(300)
    node.lose(ref, "its file was deleted")
    [result] = driver.submit(task_spec("f"), deps=[ref])
    heard = failure(driver, result)
    assert heard.code == "dependency"
    inner = msgspec.msgpack.decode(heard.detail["data"], type=m.Failure)
    assert inner.code == "reconstruction_failed" and "its file was deleted" in inner.message


# --- computed again --------------------------------------------------------------------------------

again = task_spec("f", retries=3)


def made(node: SimulatedNode, driver: SimulatedClient, spec: m.TaskSpec, *deps: bytes) -> bytes:
    """A large result."""
    [ref] = driver.submit(spec, deps=deps)
    node.busy()[0].finish(sizes=[300])
    return ref


def stored(client: SimulatedClient, ref: bytes) -> bool:
    value = client.values[ref]
    return value is not None and value.kind == m.STORED


def test_a_lost_result_is_computed_again() -> None:
    node = SimulatedNode()
    driver = node.driver()
    ref = made(node, driver, again)
    node.lose(ref, "its file was deleted")
    assert driver.values[ref] is None
    [worker] = node.busy()
    assert worker.running[ref[:24]].attempt == 1
    assert (
        "being computed again, because its result was lost: its file"
        in (driver.query("task", id=ref[:24].hex())["why"])
    )
    [notice] = driver.notices
    assert "its file was deleted. There are 2 retries remaining" in notice
    worker.finish(sizes=[300])
    assert stored(driver, ref)
    driver.drop(ref)
    assert not node.core.lineage.table and not node.core.objects.table


def test_lost_again_and_again_until_the_attempts_are_used_up() -> None:
    node = SimulatedNode()
    driver = node.driver()
    ref = made(node, driver, task_spec("f", retries=2))
    for _ in range(2):
        node.lose(ref)
        node.busy()[0].finish(sizes=[300])
        assert stored(driver, ref)
    node.lose(ref)
    heard = failure(driver, ref)
    assert heard.detail["reason"] == "MAX_ATTEMPTS_EXCEEDED" and "3 time(s)" in heard.message
    assert not node.core.lineage.table


def test_crashes_and_losses_draw_on_one_budget() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [ref] = driver.submit(task_spec("f", retries=1))
    node.busy()[0].crash()
    node.busy()[0].finish(sizes=[300])
    node.lose(ref)
    assert failure(driver, ref).detail["reason"] == "MAX_ATTEMPTS_EXCEEDED"


def test_why_not() -> None:
    node = SimulatedNode(lineage_bytes=2_000)
    driver = node.driver()
    put, once = driver.put(300), made(node, driver, task_spec("once"))
    old, newer, newest = (made(node, driver, again) for _ in range(3))
    actor = driver.create_actor(actor_spec(), max_task_retries=0)
    node.busy()[0].finish()
    result = made_by(node, driver, actor)
    kept = driver.create_actor(actor_spec(), max_task_retries=1)
    node.busy()[0].finish()
    of_dead = made_by(node, driver, kept)
    driver.send(m.KillActor(kept))
    reasons = {}
    for ref in (put, once, old, result, of_dead):
        node.lose(ref)
        reasons[ref] = failure(driver, ref).detail["reason"]
    assert [*reasons.values()] == [
        "PUT", "RETRIES_DISABLED", "LINEAGE_EVICTED", "RETRIES_DISABLED", "ACTOR_DIED",
    ]  # fmt: skip
    driver.drop(*reasons, newer, newest)
    assert not node.core.lineage.evicted and not node.core.lineage.table


def made_by(node: SimulatedNode, driver: SimulatedClient, actor: bytes) -> bytes:
    [ref] = driver.submit(method_spec(), actor=actor)
    [worker] = [w for w in node.busy() if w.actor == actor]
    worker.finish(sizes=[300])
    return ref


def test_a_call_of_an_actor_that_lives_is_made_again() -> None:
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec(), max_task_retries=2)
    node.busy()[0].finish()
    ref = made_by(node, driver, actor)
    node.lose(ref)
    node.busy()[0].finish(sizes=[300])
    assert stored(driver, ref)


def test_arguments_that_nobody_holds_any_more_are_computed_too() -> None:
    node = SimulatedNode(check=lambda core: None)  # it would look at a thousand pasts each time
    driver = node.driver()
    refs = [made(node, driver, again)]
    for _ in range(1_000):
        refs.append(made(node, driver, again, refs[-1]))
    driver.drop(*refs[:-1])
    assert len(node.core.objects.table) == 1 and len(node.core.lineage.table) == 1_001
    node.lose(refs[-1])
    finished = 0
    while node.busy():
        node.busy()[0].finish(sizes=[300])
        finished += 1
    assert finished == 1_001 and stored(driver, refs[-1])
    assert len(node.core.objects.table) == 1
    validate(node.core)
    driver.drop(refs[-1])
    assert not node.core.lineage.table and not node.core.lineage.wanted


def test_small_arguments_are_remembered() -> None:
    node = SimulatedNode()
    driver = node.driver()
    inner = made(node, driver, again)
    small, nested = driver.put(8), driver.put(8, contained=[inner])
    [ref] = driver.submit(again, deps=[small], pins=[nested])
    node.busy()[0].finish(sizes=[300])
    driver.drop(small, nested, inner)
    assert [*node.core.objects.table] == [ref]
    node.lose(ref)
    assert {nested, inner, small} < node.core.objects.table.keys()
    node.settle()
    assert [*node.core.objects.table] == [ref] and driver.values[ref] is not None


def test_an_argument_that_cannot_be_had() -> None:
    node = SimulatedNode()
    driver = node.driver()
    put = driver.put(300)
    ref = made(node, driver, again, put)
    driver.drop(put)
    node.lose(ref)
    heard = failure(driver, ref)
    assert heard.detail["reason"] == "OUT_OF_SCOPE" and "argument of it is gone" in heard.message
    assert not node.core.lineage.table


def test_two_lost_results_of_a_task_are_one_run_and_others_stay() -> None:
    node = SimulatedNode()
    driver = node.driver()
    refs = driver.submit(task_spec("f", returns=3, retries=1))
    node.busy()[0].finish(sizes=[300, 300, 300])
    kept = node.core.objects.table[refs[2]].data
    node.lose(refs[0])
    node.lose(refs[1])
    node.busy()[0].finish(sizes=[300, 300, 300])
    assert not node.busy()
    assert all(stored(driver, ref) for ref in refs)
    assert node.core.objects.table[refs[2]].data == kept
    assert sum(s.live for s in node.core.objects.segments.values()) == 3


def test_tasks_wait_again_for_what_was_lost() -> None:
    """Ready ones, those that wait for something else, too, and one that a worker could not begin."""
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    arg = made(node, driver, again)
    other = driver.submit(task_spec("other"))[0]
    waiting = driver.submit(task_spec("waiting"), deps=[arg, other])[0]
    ready = driver.submit(task_spec("ready"), deps=[arg, arg])[0]
    node.lose(arg)
    states = {t.name: model.TASK_STATES[t.state] for t in node.core.tasks.table.values()}
    assert states == {
        "other": "RUNNING", "waiting": "PENDING_ARGS", "ready": "PENDING_ARGS",
        "f": "PENDING_RESOURCES",
    }  # fmt: skip
    assert "being computed again" in driver.query("task", id=ready[:24].hex())["why"]
    node.settle()
    assert driver.values[waiting] is not None and driver.values[ready] is not None


def test_a_worker_gives_back_what_it_cannot_begin() -> None:
    node = SimulatedNode(1, gpus=1, pool_size=1)
    driver = node.driver()
    spec = task_spec("f", gpus=1, retries=1)
    arg = made(node, driver, spec)
    name = node.core.objects.table[arg].data.decode()
    node.files.remove(name)
    node.deleted.add(name)
    [ref] = driver.submit(task_spec("g", gpus=1), deps=[arg])  # it needs the GPU, as f does
    assert node.busy()[0].specs[node.busy()[0].running[arg[:24]].spec].name == "f"
    node.busy()[0].finish(sizes=[300])
    [worker] = node.busy()
    assert worker.running[ref[:24]].attempt == 0
    worker.finish()
    assert driver.values[ref] is not None


def test_a_constructor_waits_again_for_what_was_lost() -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    arg = made(node, driver, again)
    name = node.core.objects.table[arg].data.decode()
    node.files.remove(name)
    node.deleted.add(name)
    actor = driver.create_actor(actor_spec(cpus=1), deps=[arg])
    node.busy()[0].finish(sizes=[300])
    node.settle()
    assert node.core.actors.table[actor].state == model.A_ALIVE


def test_a_lost_item_of_a_generator_is_made_alone() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [end] = driver.submit(task_spec("g", returns=m.STREAMING, retries=1))
    [worker] = node.busy()
    worker.yields(300, 300, 300)
    worker.finish()
    first, second, third = (ids.object_id(end[:24], i) for i in (1, 2, 3))
    driver.drop(third)
    node.lose(second)
    [worker] = node.busy()
    worker.yields(300, 300, 300)
    worker.finish()
    assert stored(driver, first) and stored(driver, second)
    assert third not in node.core.objects.table
    assert driver.ended == {end[:24]: 3}
    driver.drop(first, second, end)
    assert not node.core.objects.table and not node.core.lineage.table


def test_an_item_that_is_lost_while_its_generator_runs() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [end] = driver.submit(task_spec("g", returns=m.STREAMING, retries=2))
    node.busy()[0].yields(300)
    first = ids.object_id(end[:24], 1)
    node.lose(first)
    node.busy()[0].yields(300)
    node.busy()[0].finish()
    assert driver.values[first] is None
    node.busy()[0].yields(300, 300)
    node.busy()[0].finish()
    assert stored(driver, first)


@pytest.mark.parametrize("runs", [1, 3])
def test_the_only_item_is_lost_while_its_generator_runs(runs: int) -> None:
    node = SimulatedNode()
    driver = node.driver()
    [end] = driver.submit(task_spec("g", returns=m.STREAMING, retries=runs))
    first = ids.object_id(end[:24], 1)
    for run in range(runs):
        node.busy()[0].yields(300)
        if run:
            driver.unreadable(first, "it was deleted")
        else:
            node.lose(first)
        node.busy()[0].finish()
        assert driver.values[first] is None
    node.busy()[0].yields(300)
    node.busy()[0].finish()
    assert stored(driver, first)
    driver.drop(first, end)
    assert not node.core.lineage.table and not node.core.objects.table


def test_nobody_wants_an_item_any_more_that_was_lost_while_its_generator_runs() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [end] = driver.submit(task_spec("g", returns=m.STREAMING, retries=1))
    node.busy()[0].yields(300)
    first = ids.object_id(end[:24], 1)
    node.lose(first)
    driver.drop(first)
    node.busy()[0].finish()
    assert not node.busy() and not node.core.lineage.table
    assert first not in node.core.objects.table


def test_a_generator_that_yields_less_the_second_time() -> None:
    node = SimulatedNode()
    driver = node.driver()
    [end] = driver.submit(task_spec("g", returns=m.STREAMING, retries=1))
    node.busy()[0].yields(300, 300)
    node.busy()[0].finish()
    second = ids.object_id(end[:24], 2)
    node.lose(second)
    node.busy()[0].yields(300)
    node.busy()[0].finish()
    assert failure(driver, second).code == "replay_inconsistent"
    assert driver.ended == {end[:24]: 2}


def test_cancelled_while_it_is_computed_again() -> None:
    node = SimulatedNode()
    driver = node.driver()
    ref = made(node, driver, again)
    node.lose(ref)
    driver.cancel(ref)
    node.busy()[0].finish()
    value = driver.values[ref]
    assert value is not None and value.kind == m.FAILURE
    assert not node.core.lineage.table and not node.core.lineage.running


def test_the_process_that_submitted_it_is_gone() -> None:
    """Its driver stands in for a worker; nobody stands in for a driver."""
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    driver.submit(task_spec("parent"))
    [parent] = node.busy()
    [ref] = parent.submit(again)
    [child] = [w for w in node.busy() if w is not parent]
    child.finish(sizes=[300])
    mine = made(node, driver, again)
    for oid in (ref, mine):
        driver.adopt(oid)
        other.adopt(oid)
        other.subscribe(oid)
    parent.crash()
    node.lose(ref)
    node.busy()[0].finish(sizes=[300])
    assert stored(other, ref)
    driver.disconnect()
    for oid in (ref, mine):
        node.lose(oid)
        assert failure(other, oid).detail["reason"] == "OWNER_DIED"


def test_a_report_of_a_segment_that_was_replaced() -> None:
    node = SimulatedNode()
    driver, other = node.driver(), node.driver()
    ref = made(node, driver, again)
    old = node.core.objects.table[ref].data.decode()
    node.lose(ref)
    node.busy()[0].finish(sizes=[300])
    other.values[ref] = None
    other.send(m.AddRefs([ref]), m.LostObject(ref, old, "it is not there"))
    assert not node.busy() and stored(other, ref)
    assert node.core.objects.table[ref].kind == m.STORED


def test_what_a_lost_object_needs_is_not_forgotten() -> None:
    with mock.patch.object(definitions, "_LOOSE", 0):
        node = SimulatedNode()
        driver = node.driver()
        ref = made(node, driver, again)
        driver.forget_specs()
        [worker] = node.workers.values() if len(node.workers) == 1 else [*node.workers.values()][:1]
        worker.crash()
        node.lose(ref)
        node.settle()
        assert driver.values[ref] is not None


def test_many_losses_are_told_of_in_few_sentences() -> None:
    node = SimulatedNode(cpus=8)
    driver = node.driver()
    refs = [made(node, driver, again) for _ in range(20)]
    for ref in refs:
        node.lose(ref)
    assert len(driver.notices) == 1
    node.advance(2.0)
    assert driver.notices[1:] == ["f is run again for 19 more lost results."]
    node.advance(2.0)
    assert len(driver.notices) == 2


# --- random graphs ---------------------------------------------------------------------------------


class Graph:
    """Tasks on each other's results, large and small, of which some are dropped and some are lost."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.node = SimulatedNode(2, pool_size=2, lineage_bytes=self.dice.choice([12_000, 1 << 20]))
        self.driver = self.node.driver()
        self.mine: list[bytes] = []

    def some(self, most: int) -> list[bytes]:
        count = min(len(self.mine), self.dice.randint(0, most))
        return self.dice.sample(self.mine, count)

    def submit(self) -> None:
        spec = self.dice.choice([again, again, task_spec("pair", returns=2, retries=-1), once])
        self.mine += self.driver.submit(spec, deps=self.some(2), pins=self.some(1))

    def put(self) -> None:
        size = self.dice.choice([8, 8, 300])
        self.mine.append(self.driver.put(size, contained=self.some(2)))

    def finish(self) -> None:
        busy = self.node.busy()
        if busy:
            sizes = [self.dice.choice([8, 300, 300]) for _ in range(2)]
            self.dice.choice(busy).finish(sizes=sizes)

    def drop(self) -> None:
        if len(self.mine) > 3:
            self.driver.drop(self.mine.pop(self.dice.randrange(len(self.mine))))

    def lose(self) -> None:
        table = self.node.core.objects.table
        stored = [oid for oid, obj in table.items() if obj.kind == m.STORED]
        if stored:
            self.node.lose(self.dice.choice(stored))

    def crash(self) -> None:
        if self.dice.random() < 0.2 and self.node.busy():
            self.dice.choice(self.node.busy()).crash()

    def cancel(self) -> None:
        if self.dice.random() < 0.2 and self.mine:
            self.driver.cancel(self.dice.choice(self.mine))


once = task_spec("once")


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(20, 400, 20))]
)
def test_random_graphs(first: int) -> None:
    """The invariants hold after each step, and at the end everything has a value or an error."""
    plans: list[int] = []
    start = recompute.start

    def counting(core: Core, runs: list[Past], oids: list[bytes], reason: str) -> None:
        plans.append(len(runs))
        start(core, runs, oids, reason)

    with mock.patch.object(recompute, "start", counting):
        for seed in range(first, first + 20):
            graph = Graph(seed)
            moves = [graph.submit, graph.put, *[graph.finish] * 4, *[graph.drop] * 3]
            moves += [graph.lose, graph.lose, graph.crash, graph.cancel]
            for _ in range(150):
                graph.dice.choice(moves)()
            node, driver = graph.node, graph.driver
            node.settle()
            assert all(driver.values[oid] is not None for oid in graph.mine)
            driver.drop(*graph.mine)
            node.settle()
            assert not node.core.objects.table and not node.core.tasks.table
            lineage = node.core.lineage
            assert not (lineage.table or lineage.wanted or lineage.evicted or lineage.running)
    assert max(plans) > 1 and len(plans) > 20, "it did not try much"
