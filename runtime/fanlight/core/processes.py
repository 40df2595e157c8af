"""The bound of processes that run tasks and actors (``init(max_processes=…)``).

Work beyond it waits for a process, as it waits for a CPU, and its driver is told. One process is kept for
tasks, so that actors, which keep theirs until they end, cannot stop everything.

Tasks that wait in ``get`` keep their processes, too, and what they wait for must get one. So half of
the processes are kept for what tasks submit, half of that for what those submit, and so on; but not
from functions that are known to submit nothing and to wait for nothing. Where that is not enough, so
that all processes wait and what they wait for stands in line, nothing would ever go on: it fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fanlight.core.model import FAILED, W_ACTOR, W_BLOCKED, W_IDLE, Task

if TYPE_CHECKING:
    from fanlight.core.machine import Core

TOLD_SECONDS = 5.0  # that something waits for a process before its driver is told
STUCK_SECONDS = 5.0  # that all processes wait for others before those fail
_PLENTY = 1 << 30
_DEPTH = 30  # tasks within tasks that are counted
_LOOKED_AT = 1000  # waiting tasks, in one tick


class Processes:
    """A part of the core; ``most`` is 0 for no bound."""

    def __init__(self, core: Core, most: int) -> None:
        self.core = core
        self.most = most
        self._stuck_since = 0.0
        self._told: set[tuple[int, bool]] = set()  # (job, whether of an actor): told, and still so

    def room(self) -> int:
        """How many more processes may be started."""
        return self.most - len(self.core.workers) if self.most else _PLENTY

    def may_place(self) -> bool:
        """Whether one more process may become an actor's."""
        if not self.most:
            return True
        actors = self.core.scheduler.actor_workers
        leased = [w for w in self.core.workers.values() if w.lease is not None]
        nests = any(not w.queue or _may_wait(w.queue[0]) for w in leased)  # or the next one may
        return actors < max(1, self.most - 1) and self.most - actors - 1 - len(leased) >= nests

    def may_lease(self, task: Task) -> bool:
        """Whether a task may have one more of the processes; asked only if there is a bound."""
        if not _may_wait(task):
            return True
        depth = self._depth(task)
        mine = self.most - self.core.scheduler.actor_workers
        leased = [w for w in self.core.workers.values() if w.lease is not None]
        if mine - len(leased) - 1 >= mine >> (depth + 1):
            return True
        # All wait, perhaps for this one: it may, if nothing is there for which the rest is kept.
        return all(w.state == W_BLOCKED for w in leased) and not any(
            self._depth(queue.tasks[0]) > depth for queue in self.core.scheduler.turn
        )

    def _depth(self, task: Task) -> int:
        """How many unfinished tasks it is within."""
        table = self.core.tasks.table
        depth, parent = 0, table.get(task.parent)
        while parent is not None and depth < _DEPTH:
            depth, parent = depth + 1, table.get(parent.parent)
        return depth

    def make_room(self, count: int, wanted: Iterable[str]) -> None:
        """End idle processes of other runtime environments, the least recently used ones first."""
        scheduler = self.core.scheduler
        others = [w for w in scheduler.idle if w.env not in wanted]
        for worker in others[: max(0, count)]:
            scheduler.retire(worker, "makes room")

    def why(self, task: Task) -> str:
        """One sentence on a task or actor that waits for a process; "" if that is not why."""
        if not self.most:
            return ""
        may = self.may_place() if task.actor is not None else self.may_lease(task)
        if may and self.room() > 0:
            return ""
        actors = self.core.scheduler.actor_workers
        blocked = sum(1 for w in self.core.workers.values() if w.state == W_BLOCKED)
        kept = ", one is kept for tasks" if self.most > 1 else ""
        return (
            f"It waits for a process: this runtime may have {self.most} (max_processes). "
            f"{actors} are actors, which keep theirs until they end{kept}; {blocked} run tasks that "
            "wait in get()."
        )

    def tick(self) -> None:
        """Called now and then."""
        if not self.most:
            return
        waiting = self._waiting()
        self._tell(waiting)
        if not waiting or not self._all_wait():
            self._stuck_since = 0.0
        elif not self._stuck_since:
            self._stuck_since = self.core.now
        elif self.core.now - self._stuck_since >= STUCK_SECONDS:
            self._stuck_since = 0.0
            self._fail(waiting)

    def slept(self, seconds: float) -> None:
        """Time passed that does not count."""
        if self._stuck_since:
            self._stuck_since += seconds

    def _waiting(self) -> list[Task]:
        """What could run, or be made, if there were a process."""
        scheduler = self.core.scheduler
        found: list[Task] = []
        for queue in scheduler.turn:
            if scheduler.pool_for(queue.shape, queue.where, queue.demand) is not None:
                found += queue.tasks
            if len(found) > _LOOKED_AT:
                break
        for task in scheduler.creations:
            spec = task.spec.spec
            if scheduler.pool_for(task, task.spec.where, spec.resources, spec.placement_cpu):
                found.append(task)
        return [t for t in found[: 2 * _LOOKED_AT] if self.why(t)]

    def _tell(self, waiting: list[Task]) -> None:
        late = [t for t in waiting if self.core.now - t.submitted >= TOLD_SECONDS]
        self._told &= {(t.job, t.actor is not None) for t in waiting}
        for task in late:
            key = (task.job, task.actor is not None)
            if key not in self._told:
                self._told.add(key)
                what = "actor" if task.actor is not None else "task"
                self.core.notice(task.job, f"The {what} {task.name} waits. {self.why(task)}")

    def _all_wait(self) -> bool:
        """Whether no process does anything but wait for others."""
        for worker in self.core.workers.values():
            actor = worker.actor
            idle = actor is not None and not (actor.flight or actor.direct or actor.backlog)
            if worker.state not in (W_BLOCKED, W_IDLE) and not (worker.state == W_ACTOR and idle):
                return False
        return any(w.state == W_BLOCKED for w in self.core.workers.values())

    def _fail(self, waiting: list[Task]) -> None:
        """End what is waited for, so that those who wait go on with its error."""
        core = self.core
        running = {t.id for w in core.workers.values() for t in w.queue}
        for task in [t for t in waiting if t.parent in running] or waiting:
            if task.id not in core.tasks.table:
                continue  # its actor was made by one that failed just now
            text = (
                f"{task.name} cannot run: this runtime may have {self.most} processes "
                "(max_processes), and each of them runs a task that waits in get(). Let fewer "
                "tasks wait for others at a time, or start with a larger max_processes=."
            )
            if task.actor is not None:
                core.actor_ends.displace(task.actor, text, "actor_unschedulable")
                continue
            failure = core.failure("task_unschedulable", text, task=task)
            core.scheduler.withdraw(task)
            core.tasks.fail(task, failure, FAILED, "all processes wait for others")


def _may_wait(task: Task) -> bool:
    """Whether it may wait for others: its function does, or could, or has not ended once."""
    group = task.spec.group
    return group.blocks or group.nests or group.average < 0
