"""What is over, as far as the core remembers it: failed attempts, ended workers, jobs.

The newest few of each; :mod:`fanlight.core.rows` shows them.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from fanlight.core.model import Client, Task, Worker

_ATTEMPTS_KEPT = 2_000
_ENDED_KEPT = 500  # workers, jobs

# What kind of failure ended a task: the codes of errors.FAILURES, and these two.
RAISED = "raised"
WORKER_DIED = "worker_crashed"


class Attempt(NamedTuple):
    """One attempt of a task that failed and was made again."""

    task: Task
    number: int
    worker: Worker | None
    code: str
    error: str
    submitted: float
    started: float
    ended: float


class Ended(NamedTuple):
    """A worker process that is gone."""

    id: bytes
    pid: int
    how: str
    expected: bool
    started: float
    ended: float


class Job:
    """A driver's work, from its connection on; ``ended`` is 0 while it is connected."""

    def __init__(self, number: int, client: Client, now: float) -> None:
        self.number = number
        self.pid = client.pid
        self.entrypoint = client.info.get("entrypoint", "")
        self.started = now
        self.ended = 0.0


class History:
    """What is over, the newest of it."""

    def __init__(self) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=_ATTEMPTS_KEPT)
        self.workers: deque[Ended] = deque(maxlen=_ENDED_KEPT)
        self.jobs: dict[int, Job] = {}

    def attempt_failed(self, task: Task, code: str, error: str, now: float) -> None:
        """Called before a task is tried again, while it still knows its worker."""
        self.attempts.append(
            Attempt(task, task.attempt, task.worker, code, error, task.submitted, task.started, now)
        )

    def worker_ended(self, worker: Worker, how: str, now: float) -> None:
        expected = bool(worker.retiring)
        how = worker.retiring or how
        ended = Ended(worker.id, worker.pid, how, expected, worker.created, now)
        self.workers.append(ended)

    def job_started(self, client: Client, now: float) -> None:
        self.jobs[client.job] = Job(client.job, client, now)
        if len(self.jobs) > _ENDED_KEPT:
            over = next((n for n, job in self.jobs.items() if job.ended), None)
            if over is not None:
                del self.jobs[over]

    def job_ended(self, number: int, now: float) -> None:
        job = self.jobs.get(number)
        if job is not None:
            job.ended = now


def exit_type(how: str) -> str:
    """Ray's word for how a process ended that nobody told to."""
    return "USER_ERROR" if how.startswith("exit code") else "SYSTEM_ERROR"
