"""Sentences for drivers: what died, what is tried again, and what waits for what it cannot get."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from fanlight.core import model
from fanlight.core.effects import WorkerExited
from fanlight.core.history import exit_type
from fanlight.core.model import Task, Worker
from fanlight.core.why import text as why

if TYPE_CHECKING:
    from fanlight.core.machine import Core

INFEASIBLE_SECONDS = 5.0  # a task that can never run waits before its driver is told
STARVED_SECONDS = 30.0  # one that waits for what only actors hold
_QUIET_SECONDS = 1.0  # between two sentences on lost results of one function
_SHAPES = 1_000  # demands that were told of, at most
_LOOKED_AT = 100  # queues and actors looked at in one tick


def worker_died(core: Core, worker: Worker, was: int, x: WorkerExited) -> None:
    """A process ended that nobody told to; called before its tasks are dealt with."""
    if was in (model.W_DEAD, model.W_STARTING) or worker.retiring or core.memory.of(worker):
        return
    if worker.actor is not None:
        ran = f"the actor {worker.actor.spec.spec.name}"
    else:
        task = next(iter(worker.queue), None)
        if x.begun is not None:  # what it was given and had not begun runs elsewhere, unharmed
            task = next((t for t in worker.queue if t.id == x.begun), None)
        if task is None:
            return
        ran = f"the task {task.name}"
    core.notice(
        worker.job,
        f"A worker died unexpectedly while it ran {ran}. Worker ID: {worker.id.hex()}, "
        f"pid: {worker.pid}, exit type: {exit_type(x.how)}, detail: {x.how}.",
    )


def retried(core: Core, task: Task, limit: int, why: str) -> None:
    """A task is about to be tried again; its ``attempt`` still is that of the one that failed.

    Users of Ray know the words "retries remaining".
    """
    counted = task.attempt + 1 - core.memory.spared(task)
    core.notice(task.job, f"{task.name} is run again: {why}. {_left(limit, counted)}.")


def _left(limit: int, attempt: int) -> str:
    """How many attempts there are after this one."""
    if limit < 0:
        return "There is no limit to its retries"
    return f"There are {limit - attempt} retries remaining"


class Recomputed:
    """Tells drivers that lost results are computed again: at once, and sums of many."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._told: dict[tuple[int, str], tuple[float, int]] = {}  # when, and how many since

    def tell(self, task: Task, limit: int, lost: str) -> None:
        """A task is about to run again, since a result of it is gone; ``lost`` says how."""
        key = (task.job, task.name)
        when, since = self._told.get(key, (-_QUIET_SECONDS, 0))
        if self.core.now - when < _QUIET_SECONDS:
            self._told[key] = when, since + 1
            return
        self._told[key] = self.core.now, 0
        text = f"{task.name} is run again, since a result was lost: {lost}."
        self.core.notice(task.job, f"{text} {_left(limit, task.attempt)}.")

    def tick(self) -> None:
        """Tell of those that were not told of one by one."""
        for (job, name), (when, since) in list(self._told.items()):
            if self.core.now - when >= _QUIET_SECONDS:
                if since:
                    self.core.notice(job, f"{name} is run again for {since} more lost results.")
                del self._told[job, name]


class Starved:
    """Tells drivers, once for each demand, of work that waits for what it cannot get."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._told: dict[tuple[int, str, object], None] = {}

    def tick(self) -> None:
        """Called now and then. Looks at the oldest task of each queue, and at actors to be placed."""
        scheduler = self.core.scheduler
        queues = (queue.tasks[0] for queue in scheduler.turn if queue.tasks and not queue.workers)
        waiting = chain(queues, scheduler.creations)
        for task, _ in zip(waiting, range(_LOOKED_AT), strict=False):
            self._look(task)

    def _look(self, task: Task) -> None:
        core = self.core
        key = (task.job, task.name, task.spec.shape)
        waited = core.now - task.submitted
        if waited < INFEASIBLE_SECONDS or key in self._told:
            return
        what = "actor" if task.actor is not None else "task"
        reason = why(core, task)
        if "can never run" in reason:
            text = f"{reason} The {what} {task.name} waits all the same; cancel() gives it up."
        elif waited >= STARVED_SECONDS and self._held_by_actors(task):
            text = (
                f"The {what} {task.name} has waited for {waited:.0f} s, and actors keep what they "
                f"hold until they end. {reason}"
            )
        else:
            return
        if len(self._told) >= _SHAPES:
            del self._told[next(iter(self._told))]
        self._told[key] = None
        core.notice(task.job, text)

    def _held_by_actors(self, task: Task) -> bool:
        lacking = self.core.pool.missing(task.spec.spec.resources).keys()
        holders = [w for w in self.core.workers.values() if lacking & w.held.keys()]
        return bool(holders) and all(w.actor is not None for w in holders)
