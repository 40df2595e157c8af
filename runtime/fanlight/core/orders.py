"""What a person orders for all at once: the end of many tasks, and more or fewer CPUs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.config import UNITS

if TYPE_CHECKING:
    from fanlight.core.machine import Core

MOST_CPUS = 10_000


def cancel_groups(core: Core, peer: int, x: m.CancelGroups) -> None:
    """Cancel all unfinished tasks of some functions, and what they submitted.

    In the order of submission, in which they stand in their queues. Answers with their number;
    those that wait are cancelled then, the others have been asked to end.
    """
    wanted = set(x.groups)
    tasks = [
        task.id
        for task in core.tasks.table.values()
        if task.spec.group.number in wanted and task.spec.spec.kind != m.ACTOR_CREATE
    ]
    for task in tasks:
        core.tasks.cancel(task, x.force, True)
    for caller in core.channels.called:  # knows of calls that the node has not heard of
        specs = core.clients[caller].specs.items()
        if numbers := [number for number, spec in specs if spec.group.number in wanted]:
            core.effects.out[caller].append(m.CancelCalls(numbers))
    core.reply(peer, x.request, len(tasks))


def scale(core: Core, peer: int, x: m.Scale) -> None:
    """Have so many CPUs from now on, and as many processes for tasks.

    Fewer than are held: what runs goes on, and nothing new starts until there is a CPU for it.
    Answers with the number that there was.
    """
    cpus = x.cpus * UNITS
    if not math.isfinite(cpus) or not 0 <= cpus <= MOST_CPUS * UNITS:
        text = f"the number of CPUs must be from 0 to {MOST_CPUS}, not {x.cpus:g}"
        core.reply(peer, x.request, None, text)
        return
    pool, scheduler = core.pool, core.scheduler
    before = pool.total.get("CPU", 0)
    pool.total["CPU"] = round(cpus)
    pool.available["CPU"] = pool.available.get("CPU", 0) + pool.total["CPU"] - before
    scheduler.resize(max(1, round(cpus) // UNITS))
    core.reply(peer, x.request, before / UNITS)
