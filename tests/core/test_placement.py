"""Placement groups in the core: reservation, devices, removal, lives, and why work waits."""

from __future__ import annotations

import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.core import placement
from fanlight.core.model import IllegalTransition
from fanlight.testing.builders import NODE_ID, actor_spec, method_spec, task_spec, units
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode


def inside(group: bytes, bundle: int = -1) -> m.Where:
    return m.Where(group, bundle)


def why(client: SimulatedClient, ref: bytes) -> str:
    text: str = client.query("task", id=ids.task_of(ref).hex())["why"]
    return text


def state(client: SimulatedClient, group: bytes) -> str:
    text: str = client.query("placement_group", id=group.hex())["state"]
    return text


def test_states_change_only_along_the_table() -> None:
    node = SimulatedNode(2)
    group = node.driver().create_group(units(1))
    record = node.core.placement.table[group]
    with pytest.raises(IllegalTransition, match="reserved"):
        node.core.placement.move(record, placement.G_PENDING, "back")
    assert placement.GROUP_MOVES[placement.G_REMOVED] == frozenset()


def test_the_oldest_that_fits_is_reserved_first() -> None:
    node = SimulatedNode(4)
    driver = node.driver()
    groups = [driver.create_group(units(3)) for _ in range(3)]
    never = driver.create_group(units(9))
    small = driver.create_group(units(1))
    assert [state(driver, g) for g in groups] == ["CREATED", "PENDING", "PENDING"]
    assert (state(driver, never), state(driver, small)) == ("PENDING", "CREATED")
    driver.remove_group(groups[0])
    assert [state(driver, g) for g in groups] == ["REMOVED", "CREATED", "PENDING"]


def test_devices_belong_to_bundles() -> None:
    node = SimulatedNode(4, 3)
    driver = node.driver()
    group = driver.create_group(units(1, 0.5), units(1, 2))
    halves, whole = node.core.placement.table[group].bundles
    assert whole.owned == [0, 1] and halves.owned == [2]
    assert node.core.pool.devices == [0, 0, 5000]
    driver.submit(task_spec("one", gpus=1, where=inside(group)))
    assert node.runs("one").running[node.runs("one").current].gpus == [0]
    driver.submit(task_spec("part", cpus=0, gpus=0.5))
    assert node.core.pool.devices == [0, 0, 0]
    driver.remove_group(group)
    node.settle()
    assert node.core.pool.available == node.core.pool.total


def test_what_is_held_is_free_when_the_process_is_gone() -> None:
    node = SimulatedNode(2, prompt=False, pool_size=2)
    while node.spawning:
        node.answer_spawn()
    driver = node.driver()
    group = driver.create_group(units(1), units(1))
    [ref] = driver.submit(task_spec("f", where=inside(group)))
    driver.remove_group(group)
    pool = node.core.pool
    assert pool.available["CPU"] == 10_000, "only the bundle that was free"
    [number] = node.dying
    node.reap(number)
    assert pool.available == pool.total
    value = driver.values[ref]
    assert value is not None and b"worker_crashed" in value.data and b"was removed" in value.data


def test_a_blocked_task_of_a_removed_group() -> None:
    node = SimulatedNode(2, prompt=False, pool_size=2)
    while node.spawning:
        node.answer_spawn()
    driver = node.driver()
    group = driver.create_group(units(1))
    driver.submit(task_spec("parent", where=inside(group)))
    parent = node.runs("parent")
    [child] = parent.submit(task_spec("child", where=inside(group)))
    parent.block()
    assert node.runs("child")
    driver.remove_group(group)
    parent.unblock()  # on its way when it was killed: a debt of the node's pool
    for number in list(node.dying):
        node.reap(number)
    node.settle()
    assert node.core.pool.available == node.core.pool.total
    assert not node.core.tasks.table and child


def test_a_retry_has_no_place() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    group = driver.create_group(units(1))
    [ref] = driver.submit(task_spec("f", retries=3, where=inside(group)))
    driver.remove_group(group)
    value = driver.values[ref]
    assert value is not None and b"task_group_removed" in value.data
    assert not any("run again" in text for text in driver.notices)


def test_groups_end_with_their_driver_or_detached_actor() -> None:
    node = SimulatedNode(4, pool_size=4)
    first, second = node.driver(), node.driver()
    own, kept = first.create_group(units(1)), first.create_group(units(1), detached=True)
    first.create_actor(actor_spec("Maker"), name="maker", detached=True)
    maker = node.runs("Maker")
    of_actor = maker.create_group(units(1))
    maker.finish()
    [actor] = node.core.actors.table
    first.disconnect()
    states = [state(second, g) for g in (own, kept, of_actor)]
    assert states == ["REMOVED", "CREATED", "CREATED"]
    second.send(m.KillActor(actor))
    assert state(second, of_actor) == "REMOVED"
    assert state(second, kept) == "CREATED"


def test_removed_groups_are_forgotten_in_the_end() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    first = driver.create_group(units(1))
    driver.remove_group(first)
    for _ in range(placement.REMOVED_KEPT):
        driver.remove_group(driver.create_group(units(1)))
    assert len(node.core.placement.table) == placement.REMOVED_KEPT
    with pytest.raises(LookupError):
        state(driver, first)
    [ref] = driver.submit(task_spec("f", where=inside(first)))
    value = driver.values[ref]
    assert value is not None and b"task_group_removed" in value.data
    ready = driver.values[driver.group_ready(first)]
    assert ready is not None and ready.kind == m.FAILURE


def test_what_breaks_the_protocol_is_dropped() -> None:
    for message in (
        m.CreateGroup(b"g", [], "PACK"),
        m.CreateGroup(b"g", [units(1)], "SOMEWHERE"),
    ):
        node = SimulatedNode(1)
        node.driver().send(message)
        assert node.dropped and not node.core.placement.table


def test_reasons_to_wait() -> None:
    node = SimulatedNode(2, 1, pool_size=2, labels={"zone": "a"})
    driver = node.driver()
    driver.submit(task_spec("busy"))
    first = driver.create_group(units(2), name="first")
    [ref] = driver.submit(task_spec("f", where=inside(first)))
    assert why(driver, ref) == (
        "It waits for its placement group 'first', which is not reserved yet: it waits for 2 CPU "
        "(1 of 2 free), held by `busy`."
    )
    node.settle()
    actor = driver.create_actor(actor_spec("Holder", cpus=2, where=inside(first)))
    node.runs("Holder").finish()
    [ref] = driver.submit(task_spec("f", where=inside(first, 0)))
    assert why(driver, ref) == (
        "It waits for 1 CPU in bundle 0 of its placement group 'first'. Free there: 0: nothing."
    )
    [outside] = driver.submit(task_spec("f"))
    assert why(driver, outside) == (
        "It waits for 1 CPU (0 of 2 free), held by the placement group 'first'."
    )
    [large] = driver.submit(task_spec("f", cpus=3, where=inside(first)))
    assert "does not fit into any bundle" in why(driver, large)
    spread = driver.create_group(units(1), units(1), strategy="STRICT_SPREAD")
    [ref] = driver.submit(task_spec("f", where=inside(spread)))
    assert "different nodes (STRICT_SPREAD), and there is one node" in why(driver, ref)
    [ref] = driver.submit(task_spec("f", where=m.Where(labels={"zone": ["in", "b", "c"]})))
    assert why(driver, ref) == (
        "It can never run here: it asks for a node with the label zone one of b, c."
    )
    [call] = driver.submit(method_spec(), actor=actor)
    assert why(driver, call).startswith("It has just begun (worker ")


@pytest.mark.parametrize(("node_id", "soft", "fails"), [
    (NODE_ID.hex(), False, False), ("ab" * 28, True, False), ("ab" * 28, False, True),
])  # fmt: skip
def test_affinity(node_id: str, soft: bool, fails: bool) -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    where = m.Where(node=node_id, soft=soft)
    [ref] = driver.submit(task_spec("f", where=where))
    value = driver.values[ref]
    assert (value is not None and b"task_unschedulable" in value.data) == fails
    actor = driver.create_actor(actor_spec(where=where))
    [call] = driver.submit(method_spec(), actor=actor)
    value = driver.values[call]
    assert (value is not None and b"actor_unschedulable" in value.data) == fails
    node.settle()
