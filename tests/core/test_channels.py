"""What the node does about calls that go past it."""

from __future__ import annotations

from fanlight import ids
from fanlight import messages as m
from fanlight.testing.builders import actor_spec, method_spec
from fanlight.testing.simulation import SimulatedNode


def test_a_call_that_is_lost_while_its_actor_lives_fails_after_a_while():
    node = SimulatedNode()
    driver = node.driver()
    actor = driver.create_actor(actor_spec())
    node.settle()
    oid = ids.object_id(ids.own_task_id_factory(driver.id)(), 0)
    driver.values[oid] = None
    call = m.LostCall(ids.task_of(oid), driver.spec(method_spec()), actor, 0, [oid])
    driver.send(call)
    assert driver.values[oid] is None
    node.advance(10.0)
    assert driver.values[oid].kind == m.FAILURE
    assert not node.core.tasks.table


def test_a_value_that_is_put_twice_keeps_its_segment():
    node = SimulatedNode()
    driver = node.driver()
    oid = driver.put(400)
    value = driver.values[oid]
    driver.send(m.Put(value))
    driver.send(m.DropRefs([oid]))
    assert oid not in node.core.objects.table
    segment = node.core.objects.segments[value.data.decode()]
    assert not segment.live and segment.mapped == {driver.peer: 1}
