"""What goes wrong in random histories: processes that end at any moment, time that jumps, messages
that cross, clients that leave. What mad clients send is in :mod:`fanlight.testing.garbage`.
"""

from __future__ import annotations

import msgspec

from fanlight import messages as m
from fanlight.core import views
from fanlight.core.queries import QUERIES
from fanlight.testing.actions import action
from fanlight.testing.world import Draw, World

_HOW = ("exit code 1", "killed by SIGKILL", "killed by SIGSEGV", "exit code 0")


# --- processes -------------------------------------------------------------------------------------


@action(3)
def crash(world: World, draw: Draw) -> None:
    """A process ends. Its connection, or its exit, is seen first, or much later."""
    if workers := list(world.workers.values()):
        worker = draw.one(workers)
        worker.watched = draw.below(3) > 0
        way = draw.below(3)
        if way == 2:
            world.mad.pop(worker.peer, None)
            worker.disconnect()
            world.dying[worker.number] = draw.one(_HOW)
        else:
            world.end(worker, draw.one(_HOW), connection_first=way == 0)


@action(1)
def crash_while_sending(world: World, draw: Draw) -> None:
    """A client ends after some of the next messages that it sends."""
    clients = world.submitters()
    if len(clients) > 1:
        client = draw.one(clients)
        if client.peer in world.core.clients and len(world.drivers()) > 1:
            world.cut[client.peer] = 1 + draw.below(6)


@action(4)
def reap(world: World, draw: Draw) -> None:
    if world.dying:
        world.reap(draw.one(list(world.dying)))


@action(8)
def answer_spawn(world: World, draw: Draw) -> None:
    if world.spawning:
        world.answer_spawn(ok=not draw.once_in(6))


@action(2)
def answer_preparation(world: World, draw: Draw) -> None:
    if world.preparing:
        world.answer_preparation("exit code 1" if draw.once_in(3) else "")


@action(1)
def break_or_mend(world: World, draw: Draw) -> None:
    """Workers that come from now on cannot enter an environment; or can again."""
    world.broken ^= {draw.one(("vars", "pip a"))}


@action(1)
def lose_zygote(world: World, draw: Draw) -> None:
    if draw.once_in(4):
        world.lose_zygote()


# --- clients ---------------------------------------------------------------------------------------


@action(2)
def connect(world: World, draw: Draw) -> None:
    if len(world.drivers()) < 3:
        world.driver()


@action(1)
def leave(world: World, draw: Draw) -> None:
    drivers = world.drivers()
    if len(drivers) > 1:
        draw.one(drivers).disconnect()


@action(2)
def stop_reading(world: World, draw: Draw) -> None:
    if clients := world.sane():
        draw.one(clients).deaf = True


@action(4)
def read(world: World, draw: Draw) -> None:
    if deaf := [c for c in world.sane() if c.deaf]:
        draw.one(deaf).listen()


@action(3)
def hold_messages(world: World, draw: Draw) -> None:
    """What comes next from anybody reaches the core in one step."""
    world.hold()


# --- time, observers -------------------------------------------------------------------------------


@action(4)
def tick(world: World, draw: Draw) -> None:
    world.advance((0.001, 0.06, 0.1, 1.0, 6.0, 30.0)[draw.below(6)])


@action(1)
def jump(world: World, draw: Draw) -> None:
    """The laptop slept for hours; or somebody set the clock back."""
    world.advance((90.0, 3600.0, 86_400.0, -3.0, -7200.0)[draw.below(5)])


@action(1)
def sleep(world: World, draw: Draw) -> None:
    """All processes stood still for hours."""
    if draw.once_in(3):
        world.sleep((7200.0, -3600.0)[draw.below(2)])


@action(1)
def observe(world: World, draw: Draw) -> None:
    core = world.core
    core.watched = not draw.once_in(4)
    for task in core.changed_tasks.values():
        views.task_view(task)
    for number in core.changed_groups:
        views.group_view(core.groups[number])
    views.edge_views(core, core.changed_edges)
    views.object_views(core)
    views.store_view(core)
    for actor in core.changed_actors.values():
        views.actor_view(actor)
    for worker in core.workers.values():
        views.worker_view(worker, 0.0, 0)
    core.changed_tasks.clear()
    core.changed_groups.clear()
    core.changed_edges.clear()
    core.changed_actors.clear()
    core.new_errors.clear()


_KINDS = ("tasks", "actors", "objects", "workers", "nodes", "placement_groups", "jobs", "none", 3)


@action(1)
def ask(world: World, draw: Draw) -> None:
    """A question, with arguments that fit it or do not; some by people, some by programs."""
    core = world.core
    if not (clients := list(core.clients)):
        return
    peer = draw.one(clients)
    what = draw.one(list(QUERIES))
    known = [
        *list(core.tasks.table)[:5],
        *list(core.actors.table)[:5],
        *list(core.objects.table)[:5],
    ]
    args = {
        "id": draw.one([*(k.hex() for k in known), "zz", "", 7]),
        "kind": draw.one(_KINDS),
        "name": draw.one(("a", "b", "", 1)),
        "namespace": draw.one(("", "x", None)),
        "group": draw.one((0, 1, -5, "x")),
        "limit": draw.one((0, 1, 100, 10**30, -1, float("inf"), "many")),
        "skip": draw.one((0, 0, 1, -1, 10**30)),
        "detail": draw.below(2),
        "origin": "",
        "filters": draw.one(([], [["state", "=", "RUNNING"]], [["x", "<", 1]], "no", [[]], 5)),
        "all": True,
    }
    if draw.once_in(4):
        del args[draw.one(list(args))]
    effects = core.handle([(peer, m.Query(77_777, what, args))], world.now)
    replies = [x for x in effects.out[peer] if isinstance(x, m.Reply) and x.request == 77_777]
    assert len(replies) == 1, f"{len(replies)} answers to {what} with {args}"
    msgspec.msgpack.decode(replies[0].data)
    world.effects.append(effects)
    effects.out[peer].remove(replies[0])
    world.perform(effects)
