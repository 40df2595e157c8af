"""``validate`` finds what it is there to find: one broken record of each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fanlight import messages as m
from fanlight.core import model
from fanlight.core.invariants import validate
from fanlight.core.machine import Core
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode


def full_core() -> Core:
    """A core with something in every table."""
    node = SimulatedNode(2, 1, pool_size=3)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("A"), name="a")
    node.settle()
    driver.drop(driver.put(500))
    ref = driver.put(300, contained=[driver.put(8)])
    [slow] = driver.submit(task_spec("slow", gpus=0.5), pins=[ref])
    [child] = node.runs("slow").submit(task_spec("child", cpus=2))
    driver.submit(task_spec("waits"), deps=[slow])
    for _ in range(3):
        driver.submit(method_spec(), actor=actor)
    driver.submit(method_spec(), deps=[slow], actor=actor)
    driver.submit(task_spec("items", cpus=0, returns=m.STREAMING, backpressure=1))
    node.runs("items").yields(8, paused=True)
    driver.adopt(child)
    driver.subscribe(child)
    return node.core


def task(core: Core, state: int) -> model.Task:
    return next(t for t in core.tasks.table.values() if t.state == state and t.actor is None)


def actor(core: Core) -> model.Actor:
    return next(iter(core.actors.table.values()))


def leased(core: Core) -> model.Worker:
    return next(w for w in core.workers.values() if w.lease is not None)


def pending(core: Core) -> model.Object:
    return next(o for o in core.objects.table.values() if o.subscribers)


def stream(core: Core) -> model.Stream:
    found = next(iter(core.streams.table.values())).stream
    assert found is not None
    return found


def ready(core: Core) -> model.Object:
    return next(o for o in core.objects.table.values() if o.contained)


BREAKS: dict[str, Callable[[Core], object]] = {
    "CPU taken and not held": lambda c: c.pool.take({"CPU": 1}),
    "a GPU's share": lambda c: c.pool.devices.__setitem__(0, 0),
    "a queue without its turn": lambda c: c.scheduler.turn.clear(),
    "an idle worker not in the list": lambda c: c.scheduler.idle.pop(),
    "a lease that nobody knows": lambda c: leased(c).lease.workers.clear(),
    "starting workers": lambda c: setattr(c.scheduler, "starting", 1),
    "a blocked worker that is busy": lambda c: setattr(leased(c), "blocked", 1),
    "a task in no queue": lambda c: next(
        q for q in c.scheduler.queues.values() if q.tasks
    ).tasks.clear(),
    "a task in two places": lambda c: c.scheduler.creations.append(task(c, model.RUNNING)),
    "a finished task in the table": lambda c: setattr(
        task(c, model.RUNNING), "state", model.FINISHED
    ),
    "missing arguments": lambda c: setattr(task(c, model.PENDING_ARGS), "missing", 2),
    "counts of a group": lambda c: c.groups[0].counts.__setitem__(model.RUNNING, 7),
    "a generator without its stream": lambda c: c.streams.table.clear(),
    "items that nobody delivered": lambda c: setattr(stream(c), "seen", 9),
    "a generator paused for nothing": lambda c: setattr(stream(c), "consumed", 1),
    "children": lambda c: c.tasks.children.clear(),
    "a call in flight that is not in the table": lambda c: c.tasks.table.pop(
        next(iter(actor(c).flight))
    ),
    "a name without its actor": lambda c: c.actors.names.clear(),
    "an actor without its process": lambda c: setattr(actor(c), "worker", None),
    "a dead actor with calls": lambda c: setattr(actor(c), "state", model.A_DEAD),
    "one pin too many": lambda c: c.objects.pin(list(c.objects.table)[:1]),
    "an object that nobody holds": lambda c: setattr(ready(c), "pins", 0),
    "a subscriber that is gone": lambda c: pending(c).subscribers.append(99),
    "a waiter of nobody": lambda c: setattr(pending(c), "kind", 0),
    "bytes in use": lambda c: setattr(c.objects, "used", 0),
    "bytes kept warm": lambda c: setattr(c.objects, "cached", 0),
    "bytes promised": lambda c: setattr(c.objects, "reserved", 5),
    "bytes inline": lambda c: setattr(c.objects, "inline", 0),
    "a segment that is mapped by nobody": lambda c: [
        (s.mapped.clear(), setattr(s, "live", False)) for s in c.objects.segments.values()
    ],
}


def test_a_sound_core_is_valid() -> None:
    validate(full_core())


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_broken_is_found(what: str) -> None:
    core = full_core()
    BREAKS[what](core)
    with pytest.raises(AssertionError):
        validate(core)


def test_the_story_of_the_broken_record_is_told() -> None:
    core = full_core()
    broken = task(core, model.PENDING_ARGS)
    broken.missing = 5
    with pytest.raises(AssertionError, match="1 missing, not 5") as caught:
        validate(core)
    assert broken.id.hex() in str(caught.value)
    assert "NEW -> PENDING_ARGS: submitted" in str(caught.value)
