"""Objects whose bytes are gone."""

from __future__ import annotations

import msgspec

from fanlight import messages as m
from fanlight.testing.builders import task_spec
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
    assert heard.code == "object_lost" and "its file was deleted" in heard.message
    assert not node.files and not node.core.objects.segments
    driver.drop(ref)
    other.drop(ref)
    assert not node.core.objects.table


def test_a_lost_value_lets_go_of_the_refs_inside_it() -> None:
    node = SimulatedNode()
    driver = node.driver()
    inner = driver.put(8)
    outer = driver.put(300, contained=[inner])
    driver.drop(inner)
    node.lose(outer)
    assert inner not in node.core.objects.table


def test_a_task_with_a_lost_argument_fails() -> None:
    node = SimulatedNode()
    driver = node.driver()
    ref = driver.put(300)
    node.lose(ref, "its file was deleted")
    [result] = driver.submit(task_spec("f"), deps=[ref])
    heard = failure(driver, result)
    assert heard.code == "dependency"
    inner = msgspec.msgpack.decode(heard.detail["data"], type=m.Failure)
    assert inner.code == "object_lost" and "its file was deleted" in inner.message
