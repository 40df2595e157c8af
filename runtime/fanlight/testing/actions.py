"""What happens in random histories: each action is a function of a world and of a number.

These are the things that programs do; faults are in :mod:`fanlight.testing.faults`. An action that
cannot be done just now does nothing. To add one, write a function with the decorator: it is part of
every history from then on.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.testing.builders import actor_spec, method_spec, task_spec, units
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.world import Draw, World

Action = Callable[[World, Draw], None]
ACTIONS: dict[str, tuple[Action, int]] = {}  # by name, with its weight


def action(weight: int) -> Callable[[Action], Action]:
    def add(function: Action) -> Action:
        ACTIONS[function.__name__] = (function, weight)
        return function

    return add


SIZES = (8, 8, 8, 150, 400, 410, 900)
LABELS = m.Where(labels={"zone": ["in", "here"]})
SPECS = (
    task_spec("quick"),
    task_spec("retried", retries=2),
    task_spec("tries", retries=1, retry_exceptions=True),
    task_spec("pair", returns=2),
    task_spec("silent", returns=0),
    task_spec("free", cpus=0),
    task_spec("half", cpus=0.5),
    task_spec("wide", cpus=2),
    task_spec("gpu", gpus=1, retries=-1),
    task_spec("part", gpus=0.5),
    task_spec("custom", cpus=0, disk=1),
    task_spec("never", cpus=500),
    task_spec("twice", calls=2, retries=1, retry_exceptions=True),
    task_spec("frees", gpus=1, calls=1),
    task_spec("vars", env="vars"),
    task_spec("vars", env="vars", retries=1, gpus=0.5, calls=2),
    task_spec("pip", env="pip a"),
    task_spec("pip2", env="pip b", cpus=0),
    task_spec("items", returns=m.STREAMING, retries=1, retry_exceptions=True),
    task_spec("few", returns=m.STREAMING, backpressure=1, retries=-1),
    task_spec("dynamic", returns=m.DYNAMIC, retries=1),
    task_spec("zone", where=LABELS),
    task_spec("other zone", where=m.Where(labels={"zone": ["!in", "here"]})),
    task_spec("soft", where=m.Where(node="0" * 56, soft=True)),
    task_spec("hard", where=m.Where(node="0" * 56)),
)
ACTOR_SPECS = (
    actor_spec("Plain"),
    actor_spec("Plain"),
    actor_spec("Wide", concurrency=2),
    actor_spec("Heavy", cpus=1),
    actor_spec("Gpu", gpus=0.5),
    actor_spec("Vars", env="vars"),
    actor_spec("Pip", env="pip a"),
    actor_spec("Groups", groups={"io": 2, "one": 1}),
    actor_spec("Loose", unordered=True),
    actor_spec("Zone", where=LABELS),
)
METHOD_SPECS = (
    method_spec("A.m"),
    method_spec("A.m"),
    method_spec("A.two", returns=2),
    method_spec("A.none", returns=0),
    method_spec("A.io", group="io"),
    method_spec("A.one", group="one"),
    method_spec("A.r", retries=1, retry_exceptions=True),
    method_spec("A.g", returns=m.STREAMING, retries=1),
    method_spec("A.d", returns=m.DYNAMIC),
)
BUNDLES = (
    (units(1),),
    (units(0.5, 1), units(0.5)),
    (units(gpus=0.5), units(gpus=0.5)),
    (units(1), units(1, disk=1)),
    (units(2, 1),),
    (units(300),),
)
NAMES = ("", "", "a", "b")


# --- tasks -----------------------------------------------------------------------------------------


@action(12)
def submit(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        spec = draw.one(SPECS)
        deps = draw.some(world.refs(client), 3)
        client.submit(spec, deps, draw.some(world.inside(client), 2))


@action(3)
def submit_many(world: World, draw: Draw) -> None:
    """Many of one kind; when one of them was quick, the others are handed out ahead."""
    if client := submitter(world, draw):
        spec, quick = draw.one(SPECS), draw.below(2)
        for _ in range(2 + draw.below(8)):
            client.submit(spec)
        if quick and (plain := world.plain()):
            draw.one(plain).finish(duration=0.0001)


@action(2)
def cancel(world: World, draw: Draw) -> None:
    if (client := submitter(world, draw)) and (refs := world.refs(client)):
        client.cancel(draw.one(refs), draw.below(2) == 1, draw.below(2) == 0)


@action(1)
def cancel_somebodys(world: World, draw: Draw) -> None:
    """Anybody may cancel anything, whatever its state."""
    if (client := submitter(world, draw)) and (tasks := list(world.core.tasks.table)):
        client.send(m.Cancel(draw.one(tasks), draw.below(2) == 1, draw.below(2) == 0))


@action(1)
def cancel_functions(world: World, draw: Draw) -> None:
    """All unfinished tasks of some functions, by somebody who looks at the panel."""
    if (client := submitter(world, draw)) and (groups := list(world.core.groups)):
        wanted = [draw.one(groups) for _ in range(1 + draw.below(2))]
        client.send(m.CancelGroups(0, wanted, draw.below(2) == 1))


@action(1)
def scale(world: World, draw: Draw) -> None:
    """More or fewer CPUs than there were, or none."""
    if client := submitter(world, draw):
        client.send(m.Scale(0, draw.one((0.0, 1.0, 2.0, 2.5, 4.0, 4.0))))


@action(20)
def finish(world: World, draw: Draw) -> None:
    if runners := world.runners():
        worker, task = draw.one(runners)
        size, quick = draw.one(SIZES), draw.below(2)
        contained = draw.some(world.inside(worker, ids.object_id(task, 0)), 2)
        duration = 0.0001 if quick else 1.0
        streams = worker.specs[worker.running[task].spec].num_returns == m.STREAMING
        sizes = [] if streams else [size, size]  # the end of a generator is small
        worker.finish(task, sizes=sizes, contained=contained, duration=duration)


@action(6)
def finish_all(world: World, draw: Draw) -> None:
    for worker, task in world.runners():
        if task in worker.running and worker.peer in world.clients and task not in worker.paused:
            worker.finish(task, duration=0.0001 if draw.below(2) else 1.0)


@action(3)
def fail(world: World, draw: Draw) -> None:
    if runners := world.runners():
        worker, task = draw.one(runners)
        retriable, kept = draw.below(2) == 1, draw.below(3)
        size = draw.one(SIZES)
        worker.finish(task, error="ValueError: no", retriable=retriable, kept=kept, sizes=[size])


@action(2)
def block(world: World, draw: Draw) -> None:
    if plain := world.plain():
        draw.one(plain).block()


@action(2)
def unblock(world: World, draw: Draw) -> None:
    if blocked := [w for w in world.busy() if w.blocked]:
        draw.one(blocked).unblock()


@action(1)
def give_back_too_late(world: World, draw: Draw) -> None:
    """The reading thread takes what is queued while the main thread finishes."""
    if plain := world.plain():
        worker = draw.one(plain)
        taken = worker.take_unstarted()
        worker.finish()
        if worker.peer in world.clients and taken:
            worker.send(m.Returned(taken))


# --- generators ------------------------------------------------------------------------------------


@action(2)
def generate(world: World, draw: Draw) -> None:
    """A generator that needs no CPU: one of them is likely to run."""
    if client := submitter(world, draw):
        few, retries = draw.below(2), (0, 1, -1)[draw.below(3)]
        spec = task_spec(
            "generator", cpus=0, returns=m.STREAMING, retries=retries, backpressure=2 * few
        )
        client.submit(spec)


@action(4)
def yields(world: World, draw: Draw) -> None:
    if generators := world.generators():
        worker, task = draw.one(generators)
        limited = worker.specs[worker.running[task].spec].backpressure
        some = [draw.one(SIZES) for _ in range(1 + draw.below(3))]
        contained = draw.some(world.inside(worker, ids.object_id(task, 0)), 1)
        worker.yields(
            *some[: limited or None], task=task, contained=contained, paused=bool(limited)
        )


@action(2)
def take_items(world: World, draw: Draw) -> None:
    if consumers := [c for c in world.sane() if c.received]:
        client = draw.one(consumers)
        task = draw.one(list(client.received))
        if draw.below(4):
            client.consume(task, min(draw.below(10), client.received[task]))
        else:
            client.close_stream(task)


# --- actors ----------------------------------------------------------------------------------------


@action(3)
def create_actor(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        name = draw.one(NAMES)
        try:
            client.create_actor(
                draw.one(ACTOR_SPECS),
                draw.some(world.refs(client), 2),
                draw.some(world.inside(client), 1),
                name=name,
                detached=bool(name) and draw.below(2) == 1,
                max_restarts=(0, 0, 1, -1)[draw.below(4)],
                max_task_retries=draw.below(2),
                get_if_exists=draw.below(2) == 1,
            )
        except LookupError:
            assert name


@action(8)
def call(world: World, draw: Draw) -> None:
    if (client := submitter(world, draw)) and (actors := world.handles(client)):
        actor, spec = draw.one(actors), draw.one(METHOD_SPECS)
        for _ in range(1 + draw.below(3)):
            client.submit(spec, draw.some(world.refs(client), 2), actor=actor)


@action(3)
def open_channel(world: World, draw: Draw) -> None:
    """Some use of one actor, as programs do it: calls go straight to it after a while."""
    if not (client := submitter(world, draw)):
        return
    spec = METHOD_SPECS[0]
    actors = world.handles(client)
    if not actors:
        actors = [client.create_actor(ACTOR_SPECS[0], max_restarts=draw.below(2))]
    actor = draw.one(actors)
    for _ in range(3):
        for worker in world.busy():
            if worker.actor == actor or worker.running[worker.current].actor == actor:
                worker.finish()
        if client.peer in world.clients:
            client.submit(spec, actor=actor)
    for worker in world.busy():
        for task in list(worker.running) if worker.actor == actor else ():
            if task in worker.running:
                worker.finish(task)
    if client.peer in world.clients:
        for _ in range(1 + draw.below(4)):
            client.submit(spec, actor=actor)


@action(2)
def report_calls(world: World, draw: Draw) -> None:
    if workers := [w for w in world.workers.values() if w.actor and w.peer not in world.mad]:
        draw.one(workers).callers.report(draw.below(2) == 1)


@action(1)
def kill(world: World, draw: Draw) -> None:
    if (client := submitter(world, draw)) and (actors := world.handles(client)):
        client.send(m.KillActor(draw.one(actors), draw.below(2) == 1))


@action(1)
def exit_actor(world: World, draw: Draw) -> None:
    if runners := world.runners():
        worker, _ = draw.one(runners)
        if worker.actor and len(worker.running) == 1:
            worker.exit_actor()


# --- objects ---------------------------------------------------------------------------------------


@action(5)
def put(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        client.put(draw.one(SIZES), draw.some(world.inside(client), 2))


@action(8)
def drop(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        some = draw.some(list(client.values), 4)
        client.drop(*dict.fromkeys(some))


@action(2)
def drop_most(world: World, draw: Draw) -> None:
    """A cell ends: its variables go. It keeps histories from growing without end."""
    if client := submitter(world, draw):
        held = list(client.values)
        client.drop(*held[: len(held) - draw.below(4)])


@action(4)
def hand_over(world: World, draw: Draw) -> None:
    """A ref travels by hand from one client to another, which asks for its value."""
    client, giver = submitter(world, draw), submitter(world, draw)
    if client and giver and (held := list(giver.values)):
        oid = draw.one(held)
        giver.channels.publish([oid])
        if client.peer not in world.clients:
            return
        new = oid not in client.values
        client.adopt(oid)
        if new and not oid.endswith(ids.ACTOR_SUFFIX):
            client.subscribe(oid)


@action(1)
def note_sites(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        client.send(m.CallSite(draw.some(world.refs(client), 3), "cell 1, line 2"))


# --- placement groups ------------------------------------------------------------------------------


@action(1)
def create_group(world: World, draw: Draw) -> None:
    if len(world.groups()) > 3 or not (client := submitter(world, draw)):
        return
    name = draw.one(("", "g"))
    strategy = ("PACK", "PACK", "PACK", "STRICT_SPREAD")[draw.below(4)]
    detached = bool(name) and draw.below(2) == 1
    try:
        client.create_group(*draw.one(BUNDLES), strategy=strategy, name=name, detached=detached)
    except LookupError:
        assert name


@action(2)
def submit_inside(world: World, draw: Draw) -> None:
    if (groups := list(world.core.placement.table)) and (client := submitter(world, draw)):
        where = m.Where(draw.one(groups), (-1, -1, 0, 1)[draw.below(4)])
        spec = msgspec.structs.replace(draw.one(SPECS), where=where)
        for _ in range(1 + draw.below(4)):
            client.submit(spec)


@action(1)
def create_actor_inside(world: World, draw: Draw) -> None:
    if (groups := list(world.core.placement.table)) and (client := submitter(world, draw)):
        where = m.Where(draw.one(groups))
        spec = msgspec.structs.replace(draw.one(ACTOR_SPECS), where=where)
        client.create_actor(spec, max_restarts=draw.below(2))


@action(1)
def group_ready(world: World, draw: Draw) -> None:
    if (groups := list(world.core.placement.table)) and (client := submitter(world, draw)):
        client.group_ready(draw.one(groups))


@action(1)
def remove_group(world: World, draw: Draw) -> None:
    if (groups := list(world.core.placement.table)) and (client := submitter(world, draw)):
        client.remove_group(draw.one(groups))


# --- definitions, figures, questions ---------------------------------------------------------------


@action(1)
def forget_specs(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        client.forget_specs()


@action(1)
def prepare_ahead(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        client.environment(draw.one(("pip a", "pip c")), eager=True)


@action(1)
def measure(world: World, draw: Draw) -> None:
    if client := submitter(world, draw):
        kind = draw.below(3)
        bounds, counts = ([1.0, 2.0], [0, 1, 2]) if kind == m.HISTOGRAM else ([], [])
        name, tag = draw.one("ab"), draw.one("xy")
        client.send(m.Metrics([m.MetricChange(name, kind, "", {"tag": tag}, 1.0, bounds, counts)]))


def submitter(world: World, draw: Draw) -> SimulatedClient | None:
    """Somebody who may submit."""
    clients = world.submitters()
    return draw.one(clients) if clients else None
