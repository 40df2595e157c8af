"""What becomes of the work that a process had submitted when that process dies.

A process that is told to end (an idle worker, an actor that leaves) goes in good order: what it
submitted goes on, and whoever holds refs gets the values. A process that crashes or is killed takes
its unfinished work along: a retry of its task would submit all of it once more. Values that exist
stay, since they are not kept by the process that made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core.model import PENDING_ARGS, PENDING_RESOURCES, Worker

if TYPE_CHECKING:
    from fanlight.core.machine import Core


def owner_died(core: Core, worker: Worker, how: str) -> None:
    """Cancel what a dead worker process had submitted; its results raise OwnerDiedError.

    Called once the process is gone and all that it sent has been handled.
    """
    core.actor_ends.end_children(worker)
    mine = [t for t in core.tasks.table.values() if t.client == worker.peer and not t.cancel]
    for task in mine:
        if task.id not in core.tasks.table or task.spec.spec.kind == m.ACTOR_CREATE:
            continue  # it ended with another one of them; a detached actor goes on
        task.doom = core.failure(
            "owner_died",
            f"{task.name} was cancelled: the process (pid {worker.pid}) that had submitted it "
            f"died, {how}. Submit from the driver, or from an actor that you keep, what is to "
            "outlive a task.",
            task=task,
        )
        if task.state in (PENDING_ARGS, PENDING_RESOURCES):
            core.tasks.cancel(task.id, False, False)
        elif task.worker is not None:
            task.cancel = True
            core.effects.out[task.worker.peer].append(m.CancelRunning(task.id))
