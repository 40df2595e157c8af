"""What the core does when time has passed in which nothing could happen.

A laptop that sleeps, a virtual machine that is paused, a clock that is set: the node finds that hours
have passed between two turns of its loop. Nobody was late: all processes stood still, or none did and
only the clock jumped. So whatever waits for a moment waits as much longer, and nothing is given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanlight.core.effects import Slept
    from fanlight.core.machine import Core


def slept(core: Core, x: Slept) -> None:
    """Move every deadline by the time that did not count (backwards if the clock was set back).

    When a task was submitted, began or ended is not touched: those are times of day.
    """
    seconds = x.seconds
    for worker in core.workers.values():
        worker.since += seconds
    core.environments.slept(seconds)
    core.scheduler.patience.slept(seconds)
    core.channels.slept(seconds)
    core.memory.slept(seconds)
    core.processes.slept(seconds)
    core.room.slept(seconds)
    core.stopped.slept(seconds)
    if core.scheduler.retry_at:
        core.scheduler.retry_at += seconds
