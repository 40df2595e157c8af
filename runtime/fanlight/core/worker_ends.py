"""What becomes of a worker's tasks, actor and submitted work when its process is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight.core import model, notices
from fanlight.core.effects import WorkerExited
from fanlight.core.model import W_DEAD, W_STARTING, Worker
from fanlight.core.owners import owner_died

if TYPE_CHECKING:
    from fanlight.core.machine import Core

START_TRIES = 5  # failed starts of processes in a row, after which actors are given up


def worker_exited(core: Core, x: WorkerExited) -> None:
    """A worker's process is gone, and all that it had sent has been handled."""
    worker = core.workers.pop(x.number, None)
    if worker is None:
        return
    x = core.memory.exited(worker, x)
    was = worker.state
    core.stopped.gone(x.number)
    core.history.worker_ended(worker, x.how, core.now)
    worker.specs.clear()  # its tasks may be remembered for long
    worker.functions.clear()
    notices.worker_died(core, worker, was, x)
    if was != W_DEAD:
        core.move_worker(worker, W_DEAD, x.how)
        core.scheduler.worker_lost(worker, was)
    if worker.peer and not worker.entered and not worker.retiring:
        core.environments.died(worker, x)
    actor = worker.actor
    if actor is not None and actor.worker is worker:
        how = worker.retiring or x.how
        core.actor_ends.process_lost(actor, how, "" if worker.retiring else x.log)
    else:
        core.scheduler.release(worker)
        _fail_tasks_of(core, worker, x)
    if not worker.graceful:
        owner_died(core, worker, worker.retiring or x.how)
    core.actor_ends.makers.discard(worker.peer)
    if was == W_STARTING and core.scheduler.failed_starts == 3:
        for job in range(1, core.jobs + 1):
            core.notice(job, f"Worker processes cannot be started: {x.how}\n{x.log}")
    if was == W_STARTING and core.scheduler.failed_starts == START_TRIES:
        core.actor_ends.cannot_start(x.how, x.log)
    core.scheduler.fill()


def _fail_tasks_of(core: Core, worker: Worker, x: WorkerExited) -> None:
    queue = list(worker.queue)
    how = worker.retiring or x.how
    worker.queue.clear()
    # Else the first one that was not reported is blamed.
    exact = x.begun is not None or not worker.entered
    for position, task in reversed(list(enumerate(queue))):
        if task.cancel:
            core.tasks.fail_cancelled(task)
        elif task.id != x.begun if exact else position > 0:
            task.solo = task.solo or not exact
            core.tasks.requeue(task, "its worker died while it ran another", again=False)
        elif core.tasks.should_retry(task) and core.placement.ended(task):
            core.placement.fail_removed(task)
        elif (kill := core.memory.of(worker)) is not None:
            core.memory.task_ended(task, worker, kill)
        elif core.tasks.should_retry(task):
            lost = f"its worker (pid {worker.pid}) died, {how}"
            notices.retried(core, task, task.spec.spec.max_retries, lost)
            task.solo = True
            core.tasks.requeue(task, f"its worker died, {how}", again=True)
        else:
            tail = f"\nIts last output:\n{x.log}" if x.log else ""
            failure = core.failure(
                "worker_crashed",
                f"The worker (pid {worker.pid}) that ran {task.name} died: {how}. "
                f"Attempts: {task.attempt + 1}.{tail}",
                task=task,
            )
            core.tasks.fail(task, failure, model.FAILED, how)
