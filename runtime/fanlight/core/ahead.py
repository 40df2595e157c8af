"""Work handed to workers before they are free, so that they need not wait for the node in between.

Only functions that are known to be quick, up to ``PREFETCH_SECONDS`` of work or ``PREFETCH_LIMIT``
tasks. While nobody else waits for what a worker holds, it is filled up again and again, from all
queues of its shape in equal parts: first for each driver, then for each of its queues. While
others wait, a worker gets one portion when it is leased, and the lease ends with it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fanlight import config
from fanlight.core.model import W_BUSY, Worker

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.core.scheduler import Queue, Scheduler
    from fanlight.messages import Where


_workers_of = operator.attrgetter("workers")


class Ahead:
    def __init__(self, core: Core, scheduler: Scheduler) -> None:
        self.core = core
        self.scheduler = scheduler
        self.fresh: list[Worker] = []  # leased in this step
        self._emptied = False  # a queue gave its last task

    def hand_out(self) -> None:
        """Called at the end of each step."""
        turn = self.scheduler.turn
        if not turn:
            self.fresh.clear()
            return
        fresh, self.fresh = self.fresh, []
        if len(turn) == 1 and not self.scheduler.creations and not self.core.placement.pending:
            queue = turn[0]  # the usual case
            if _quick(queue):
                self._fill([queue], [w for w in queue.workers if self._takes(w)], 0)
        elif any(_quick(q) and any(map(self._takes, q.workers)) for q in filter(_workers_of, turn)):
            shapes: dict[object, list[Queue]] = {}
            for queue in turn:
                shapes.setdefault(queue.shape, []).append(queue)
            for queues in shapes.values():
                if not any(q.workers for q in queues):
                    continue
                quick = [q for q in queues if _quick(q)]
                workers = [w for q in quick for w in q.workers if self._takes(w)]
                if workers:
                    rivals = len(queues) - len(quick)
                    rivals += self._rivals(quick[0], workers, shapes.values())
                    if rivals:
                        workers = [w for w in workers if w in fresh]
                    self._fill(quick, workers, rivals)
        if self._emptied:
            self._emptied = False
            for queue in [q for q in turn if not q.tasks]:
                turn.remove(queue)
                self.scheduler.prune(queue)  # another queue's workers may have taken the last

    def _takes(self, worker: Worker) -> bool:
        """Whether it may be given more than it has."""
        return (
            worker.state == W_BUSY
            and 2 * len(worker.queue) <= config.PREFETCH_LIMIT
            and not worker.reclaimed
            and not worker.retiring
            and worker.peer in self.core.clients
        )

    def _rivals(self, queue: Queue, workers: list[Worker], shapes: Iterable[list[Queue]]) -> int:
        """How many other shapes, actors and groups wait for what these workers hold."""
        scheduler = self.scheduler
        count = 0
        for other, *_ in shapes:
            if other.shape != queue.shape:
                count += self._competes(other.where, other.demand, queue, workers)
        for task in scheduler.creations:
            if count > 3:  # whether they are many or very many changes little
                break
            spec = task.spec
            count += self._competes(spec.where, spec.spec.resources, queue, workers)
        placement = self.core.placement
        for group in placement.pending.values():
            if not placement.never(group):
                count += self._competes(None, group.total(), queue, workers)
        return count

    def _competes(
        self, where: Where | None, demand: dict[str, int], queue: Queue, workers: list[Worker]
    ) -> bool:
        """Whether one who waits could have a place if one of the workers had less to do."""
        for pool in self.scheduler.pools(where):
            if pool.feasible(demand) and any(w.pool is pool for w in workers):
                free = pool.available
                lacks = [name for name, amount in demand.items() if free.get(name, 0) < amount]
                if not lacks or any(name in queue.demand for name in lacks):
                    return True
        return False

    def _fill(self, queues: list[Queue], workers: list[Worker], rivals: int) -> None:
        """Give each worker its part of each queue."""
        if not workers:
            return
        seconds = config.PREFETCH_SECONDS / (1 + rivals)
        jobs: dict[int, int] = {}
        for queue in queues:
            job = queue.tasks[0].job
            jobs[job] = jobs.get(job, 0) + 1
        evens = [-(-len(q.tasks) // len(workers)) for q in queues]  # for each worker
        shares = [len(jobs) * jobs[q.tasks[0].job] for q in queues]
        for worker in workers:
            behind = sum(t.spec.group.average for t in worker.queue) - _head(worker)
            if 2 * behind > seconds:
                continue
            for queue, share, even in zip(queues, shares, evens, strict=True):
                budget = (seconds - behind) / share
                if not queue.tasks:
                    continue
                if share > 1 or rivals:
                    budget = max(budget, queue.average)  # at least one
                room = -(-(config.PREFETCH_LIMIT // (1 + rivals) - 1) // share)
                self._move(queue, worker, min(room, even), budget)

    def _move(self, queue: Queue, worker: Worker, most: int, budget: float) -> None:
        tasks = queue.tasks
        bounded = self.core.processes.most
        most = min(most, config.PREFETCH_LIMIT - len(worker.queue))
        while most > 0 and tasks and not tasks[0].solo:
            group = tasks[0].spec.group
            budget -= group.average
            if group.average < 0 or budget < -1e-9:
                return
            if bounded and (group.blocks or group.nests):
                return  # it needs leave to begin: Processes.may_lease
            task = tasks.popleft()
            worker.queue.append(task)
            self.scheduler.hand(worker, task, running=False)
            self.scheduler.handed_ahead = True
            most -= 1
        self._emptied = self._emptied or not tasks


def _quick(queue: Queue) -> bool:
    return 0 <= queue.average < config.PREFETCH_SECONDS


def _head(worker: Worker) -> float:
    return worker.queue[0].spec.group.average if worker.queue else 0.0
