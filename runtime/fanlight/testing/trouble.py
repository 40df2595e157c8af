"""Random histories: memory and disk that run out, and bytes that are lost."""

from __future__ import annotations

from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.testing.actions import action, submitter
from fanlight.testing.builders import task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.world import Draw, World


@action(1)
def lose(world: World, draw: Draw) -> None:
    """The bytes of an object are gone."""
    table = world.core.objects.table
    stored = [oid for oid, obj in table.items() if obj.kind == m.STORED]
    if stored := [oid for oid in stored if table[oid].data.decode() in world.files]:
        world.lose(draw.one(stored))


@action(2)
def memory(world: World, draw: Draw) -> None:
    """The memory monitor looks, and may find too much in use."""
    used, store = (0, 500, 950, 1500)[draw.below(4)], draw.below(300)
    world.memory(used, *draw.some((0, 1, 30, 300, 800), 12), store=store)


@action(1)
def memory_is_low(world: World, draw: Draw) -> None:
    """What is killed from now on may have been, by the system; or not any more."""
    world.low = "memory was almost full" if draw.below(2) else ""


# --- room, and the disk ----------------------------------------------------------------------------


@action(3)
def put_many(world: World, draw: Draw) -> None:
    """More than fits in all, and they are used afterwards."""
    if client := submitter(world, draw):
        size = draw.one((200, 400, 900))
        refs = [client.put(size) for _ in range(2 + draw.below(5))]
        client.submit(task_spec("uses", retries=1), refs[:2])
        if draw.below(2):
            client.looking.add(draw.one(refs))
        if draw.below(3):
            client.drop(*refs[3:])


@action(1)
def look_away(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        client.looking.clear()


@action(2)
def want_room(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        client.want_room(draw.one((300, 900, 1500, 5000)))


@action(2)
def withdraw(world: World, draw: Draw) -> None:
    waits = [w for w in world.core.room.waiting if w.peer in world.clients]
    if waits := [w for w in waits if w.peer not in world.mad]:
        wait = draw.one(waits)
        world.clients[wait.peer].withdraw(wait.request)


@action(3)
def fetch(world: World, draw: Draw) -> None:
    """A client reads an object that is on disk; or begins to, and may think better of it."""
    if away := _away(world):
        client, oid = draw.one(away)
        waits, looks, thinks = draw.below(2), draw.below(2), draw.below(3)
        if looks:
            client.looking.add(oid)
        if waits:
            value = client.look(oid)
            client._release([value])
            client._return_segments()
        else:
            request = client.fetch(oid)
            if not thinks:
                client.withdraw(request)


def _away(world: World) -> list[tuple[SimulatedClient, bytes]]:
    return [
        (client, oid)
        for client in world.sane()
        if not client.deaf
        for oid, value in client.values.items()
        if value is not None and value.kind == m.AWAY
    ]


@action(5)
def answer_job(world: World, draw: Draw) -> None:
    """Something was written to disk, or brought back; or could not be."""
    if jobs := list(world.disk.jobs.values()):
        job = draw.one(jobs)
        problem = draw.one(("", "", "", "", "disk", "no_room", "lost"))
        if problem == ("disk" if isinstance(job, fx.Restore) else "no_room"):
            problem = ""
        world.disk.answer(job.number, problem)


@action(1)
def disk_trouble(world: World, draw: Draw) -> None:
    """The disk is full, or is not any more; something was overwritten or deleted."""
    if world.core.config.spill:
        world.disk.full = draw.below(2) == 1
        if world.files and draw.once_in(4):
            world.disk.damaged.add(draw.one(sorted(world.files)))
