"""Worker processes that were stopped (``kill -STOP``, a debugger), and may go on one day.

A stopped process cannot answer, but it is not dead. What it runs is its user's to decide about: a
notice and ``why()`` say so, and a forced cancel or ``kill`` ends it. Nothing else may wait for it:
an idle process is replaced, and tasks that stand behind the one that runs go elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core.effects import WorkerStopped
from fanlight.core.model import W_DEAD, W_IDLE, W_STARTING, Worker

if TYPE_CHECKING:
    from fanlight.core.machine import Core

# Seconds until it counts: a laptop that wakes up continues one process after the other.
STOPPED_SECONDS = 1.0


class Stopped:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.table: dict[int, WorkerStopped] = {}  # by worker number
        self._since: dict[int, float] = {}
        self._told: set[int] = set()

    def changed(self, _peer: int, x: WorkerStopped) -> None:
        """The shell saw a process stop, or go on."""
        worker = self.core.workers.get(x.number)
        if worker is None:
            return
        if not x.how:
            if x.number in self._told:
                what = _what(worker)
                self.core.notice(worker.job, f"{what} (pid {worker.pid}) goes on.")
            self.gone(x.number)
            return
        self.table[x.number] = x
        self._since.setdefault(x.number, self.core.now)
        if worker.state in (W_IDLE, W_STARTING):
            self._end(worker)
        else:
            worker.reclaimed = True  # nothing more is put behind what it runs

    def gone(self, number: int) -> None:
        """The process goes on, or has ended."""
        if self.table.pop(number, None) is not None:
            del self._since[number]
            self._told.discard(number)

    def slept(self, seconds: float) -> None:
        """Time passed that does not count."""
        for number in self._since:
            self._since[number] += seconds

    def tick(self) -> None:
        for number, since in list(self._since.items()):
            if number not in self._told and self.core.now - since >= STOPPED_SECONDS:
                self._told.add(number)
                self._settle(self.core.workers[number], self.table[number])

    def why(self, worker: Worker | None) -> str:
        """What a task or call of this worker waits for; "" if it is not stopped."""
        x = self.table.get(worker.number) if worker is not None else None
        if worker is None or x is None:
            return ""
        end = "kill(actor)" if worker.actor is not None else "cancel(ref, force=True)"
        return (
            f"{_what(worker)} (pid {worker.pid}) is stopped by {x.how}: nothing goes on there until "
            f"somebody continues it (kill -CONT {worker.pid}). {end} ends it."
        )

    def _settle(self, worker: Worker, x: WorkerStopped) -> None:
        """It is no matter of a moment."""
        core = self.core
        if worker.retiring or worker.state in (W_DEAD, W_IDLE, W_STARTING):
            self._end(worker)
            return
        if worker.actor is None:
            running = {x.begun} & {task.id for task in worker.queue}
            if not running:  # it stopped between two tasks: they have not begun, and run elsewhere
                core.kill_worker(worker, f"it was stopped by {x.how}")
                return
            behind = [task.id for task in worker.queue if task.id not in running]
            if behind:
                core.effects.out[worker.peer].extend(m.CancelRunning(oid) for oid in behind)
                core.scheduler.give_back(worker, behind)
        core.notice(worker.job, self.why(worker))

    def _end(self, worker: Worker) -> None:
        """It does nothing that anybody waits for: another one takes its place."""
        worker.retiring = worker.retiring or "it was stopped"
        core = self.core
        if worker.state == W_IDLE:
            core.scheduler.idle.remove(worker)
            core.move_worker(worker, W_DEAD, worker.retiring)
        core.scheduler.kill(worker)


def _what(worker: Worker) -> str:
    if worker.actor is not None:
        return f"The process of the actor {worker.actor.spec.spec.name}"
    if worker.queue:
        return f"The process that runs {worker.queue[0].name}"
    return "A worker process"
