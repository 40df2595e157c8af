"""What ends when memory runs low, and when it is tried again.

The shell measures (:mod:`fanlight.node.memory_monitor`) and sends a ``MemorySample`` every now and then.
Over the threshold one process ends, and nothing more until it is gone and a new sample says that it
was not enough. First goes what loses nothing: warm segments of the store, objects that can be written
to disk, idle processes. Then, of what holds notable memory, the newest task that may be retried, the newest other task, the newest
actor that can be restarted, the newest other one. Never a driver. Notable is more than a fresh
process has, a tenth of what the largest has, and a thousandth of all: ending less would not help.

A task that was ended runs again, whatever became of ``max_retries`` so far (with 0, never). It waits for
a delay that doubles from kill to kill, and then until as much is free as it had, or nothing else
runs, or some time has passed. If other processes held less than a tenth of all, it was too much by
itself, and that counts: after more than ``max_retries`` such kills it fails. So does one that the kernel killed as often,
since nobody knows how much it had. ``OutOfMemoryError`` tells who used what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanlight.core.effects import OWN_LIMIT, KillWorker, MemorySample, WorkerExited
from fanlight.core.memory_table import table
from fanlight.core.model import (
    FAILED,
    W_ACTOR,
    W_BLOCKED,
    W_BUSY,
    W_IDLE,
    Actor,
    Task,
    Worker,
)

if TYPE_CHECKING:
    from fanlight.core.machine import Core

CODE = "out_of_memory"
KILL_SECONDS = 5.0  # for a process that was killed to be gone, before another is
_DELAY, _LONGEST = 0.5, 60.0  # seconds before a task runs again, after the first kill and at most
_PATIENCE = 30.0  # seconds beyond that it waits for room
_WRITE_SECONDS = 1.0  # for the store to write objects to disk, before a process ends
_TOLD_SECONDS = 10.0  # between two notices of one function
_FRESH = 32 << 20  # bytes: a process that has taken nothing yet, libraries included, has less
_IDLE, _RETRIABLE, _TASK, _RESTARTABLE, _ACTOR = range(5)


class Kill(msgspec.Struct):
    """A process that ends, or has ended, for want of memory."""

    number: int  # the worker's
    task: bytes  # what it ran, b"" for an actor's or an idle process
    time: float
    use: int  # bytes, 0 if not known
    alone: bool  # no other process had much
    how: str  # in one sentence
    text: str  # that sentence and the table


class Record(msgspec.Struct):
    """A task that was ended at least once, and has not finished."""

    kills: int = 0
    alone: int = 0
    use: int = 0  # the most that it had
    until: float = 0.0  # it waits until then at least
    latest: float = 0.0  # and for room at most until then


class Memory:
    """A part of the core. ``retries`` is how often a task runs again, -1 for no limit."""

    def __init__(self, core: Core, retries: int = -1) -> None:
        self.core = core
        self.retries = retries
        self.sample: MemorySample | None = None
        self.kills: dict[int, Kill] = {}  # by worker's number, from the kill to the process's end
        self.records: dict[bytes, Record] = {}  # by task
        self.held: dict[bytes, Task] = {}  # tasks that wait for memory, oldest first
        self._trimmed = 0.0  # since when the store has given what it can, 0 if memory is not low
        self._helpless = False  # it was told that nothing of ours would help
        self._told: dict[int, float] = {}  # when a notice was sent last, by group

    @property
    def detail(self) -> bool:
        """Whether the next sample should tell what each process has."""
        return bool(self.records)

    # --- samples -----------------------------------------------------------------------------

    def sampled(self, _peer: int, x: MemorySample) -> None:
        """The shell has measured."""
        self.sample = x
        self._sweep()
        if x.used < x.threshold:
            self._trimmed, self._helpless = 0.0, False
        elif not any(self._ends(kill) for kill in list(self.kills.values())):
            self._relieve(x)
        self.tick()

    def tick(self) -> None:
        """Called with every sample, and every now and then."""
        if self.held:
            self._release()

    def _sweep(self) -> None:
        tasks, workers = self.core.tasks.table, self.core.workers
        for task_id in [t for t in self.records if t not in tasks]:
            del self.records[task_id]
        for number in [n for n in self.kills if n not in workers]:
            del self.kills[number]
        if len(self._told) > 1000:
            self._told.clear()

    def _ends(self, kill: Kill) -> bool:
        """Whether a kill is still to show its effect. One whose task ended in time does not come."""
        worker = self.core.workers[kill.number]
        if kill.task and not (worker.queue and worker.queue[0].id == kill.task):
            del self.kills[kill.number]
            return False
        return self.core.now - kill.time < KILL_SECONDS

    # --- who goes ----------------------------------------------------------------------------

    def _relieve(self, x: MemorySample) -> None:
        if self._store_gives(x):
            return
        uses = x.processes or {}
        found = [w for w in self.core.workers.values() if uses.get(w.pid, (0, 0))[0]]
        # One whose kill was sent long ago does not end: it is passed over, and another one goes.
        found = [w for w in found if not w.retiring and w.number not in self.kills]
        largest = max((uses[w.pid][0] for w in found), default=0)
        least = max(largest // 10, x.limit // 1000, min(_FRESH, largest // 2))
        ranked = [
            (rank, -since, w.number, w)
            for w in found
            if uses[w.pid][0] >= least
            for rank, since in self._rank(w)
        ]
        if not ranked:
            self._nothing_helps(x)
            return
        rank, _, _, worker = min(ranked, key=lambda r: r[:3])
        others = [uses.get(w.pid, (0, 0))[0] for w in self.core.workers.values() if w is not worker]
        alone = sum(max(0, own - _FRESH) for own in others) < x.limit // 10
        self._end(worker, rank, uses[worker.pid][0], alone, x)

    def _store_gives(self, x: MemorySample) -> bool:
        """Whether the store gives room first: warm segments, and objects that can go to disk.

        It has a second for that, unless memory may be full before.
        """
        room = self.core.room
        if not self._trimmed:
            self._trimmed = self.core.now
            room.trim()
        # Nobody but us enforces the runtime's own limit: to be over it for a moment is harmless.
        most = x.limit * 11 // 10 if x.scope == OWN_LIMIT else (x.threshold + x.limit) // 2
        if x.used >= most or not 0 <= self.core.now - self._trimmed < _WRITE_SECONDS:
            return False
        room.shed(2 * (x.used - x.threshold) + x.limit // 100 - room.coming())
        return room.coming() > 0

    @property
    def over(self) -> bool:
        """Whether memory runs low: what was written to disk leaves it at once."""
        return self.sample is not None and self.sample.used >= self.sample.threshold

    def _rank(self, worker: Worker) -> list[tuple[int, float]]:
        """Which class of victims it belongs to, and since when it runs what it runs; [] for none."""
        if worker.state == W_IDLE:
            return [(_IDLE, worker.since)]
        if worker.state in (W_BUSY, W_BLOCKED) and worker.queue:
            task = worker.queue[0]
            return [(_RETRIABLE if not self._final(task) else _TASK, task.started)]
        actor = worker.actor
        if worker.state == W_ACTOR and actor is not None:
            limit = actor.message.max_restarts
            since = actor.create.started if actor.create is not None else worker.created
            return [(_RESTARTABLE if limit < 0 or actor.deaths < limit else _ACTOR, since)]
        return []

    def _end(self, worker: Worker, rank: int, use: int, alone: bool, x: MemorySample) -> None:
        core = self.core
        if rank == _IDLE:
            core.scheduler.retire(worker, "memory was running low")
            return
        task = b"" if rank >= _RESTARTABLE else worker.queue[0].id
        share = 100 * x.threshold / x.limit
        how = (
            f"it was ended because {x.scope} was running low on memory: {_mb(x.used)} of "
            f"{_mb(x.limit)} were in use, and {share:.0f} % is the threshold. It used {_mb(use)}"
        )
        text = f"{how}.\n{table(core, x, worker)}"
        self.kills[worker.number] = Kill(worker.number, task, core.now, use, alone, how, text)
        if task:
            core.effects.actions.append(KillWorker(worker.number, task))
        else:
            core.kill_worker(worker, how)

    def _nothing_helps(self, x: MemorySample) -> None:
        """Something else takes the memory."""
        if self._helpless:
            return
        self._helpless = True
        text = (
            f"{x.scope[0].upper()}{x.scope[1:]} is running low on memory ({_mb(x.used)} of "
            f"{_mb(x.limit)} are in use), and no task or actor uses a notable part of it.\n"
            f"{table(self.core, x, None)}"
        )
        for job in {c.job for c in self.core.clients.values() if c.role == "driver"}:
            self.core.notice(job, text)

    # --- ends --------------------------------------------------------------------------------

    def exited(self, worker: Worker, x: WorkerExited) -> WorkerExited:
        """A process is gone; called first of all. Returns its end as it is to be told."""
        kill = self.kills.get(worker.number)
        if kill is None and not x.memory:
            return x  # as nearly always
        other = kill is not None and kill.task and x.begun not in (None, kill.task)
        if other or (kill is not None and x.how != "killed by SIGKILL"):
            del self.kills[worker.number]  # it died of something else
            kill = None
        works = (worker.queue or worker.actor) and not worker.retiring
        if kill is None and x.memory and x.how == "killed by SIGKILL" and works:
            kill = self._by_kernel(worker, x)
        if kill is None or worker.retiring not in ("", kill.how):
            return x
        if worker.actor is not None:
            self._tell_of_actor(worker.actor, worker, kill)
        return x._replace(how=kill.how, log="")

    def _by_kernel(self, worker: Worker, x: WorkerExited) -> Kill:
        how = (
            "it was probably ended by the system, which was running low on memory: it was "
            f"{x.how}, and {x.memory}"
        )
        begun = x.begun or (worker.queue[0].id if worker.queue else b"")
        task = b"" if worker.actor is not None else begun
        text = f"{how}.\n{table(self.core, self.sample, worker)}" if self.sample else f"{how}."
        kill = Kill(worker.number, task, self.core.now, 0, True, how, text)
        self.kills[worker.number] = kill
        return kill

    def of(self, worker: Worker) -> Kill | None:
        """The kill that a process died of."""
        return self.kills.get(worker.number)

    def task_ended(self, task: Task, worker: Worker, kill: Kill) -> None:
        """The task that a killed process ran: it waits, or fails."""
        core = self.core
        if core.placement.ended(task):
            core.placement.fail_removed(task)
            return
        record = self.records.setdefault(task.id, Record())
        record.kills += 1
        record.alone += kill.alone
        record.use = max(record.use, kill.use)
        final = self._final(task)
        who = f"{task.name} (pid {worker.pid})"
        if final:
            del self.records[task.id]
            text = f"Task {who} failed: {kill.text}\n{final}"
            failure = core.failure(CODE, text, task=task)
            core.tasks.fail(task, failure, FAILED, kill.how)
            return
        delay = min(_LONGEST, _DELAY * 2.0 ** min(record.kills - 1, 10))
        record.until = core.now + delay
        record.latest = record.until + _PATIENCE
        core.history.attempt_failed(task, CODE, kill.how, core.now)
        again = f"It is run again in {delay:g} s"
        again += f", when {_mb(record.use)} are free" if record.use else ""
        if record.alone:
            left = task.spec.spec.max_retries - record.alone + 1
            again += "; it alone was too much for the memory that there is"
            more = "once more" if left == 1 else f"{left} times more"
            again += f", and fails if that happens {more}" if left > 0 else ""
        if self._may_tell(task.spec.group.number):
            core.notice(task.job, f"{who}: {kill.text}\n{again}.")
            core.note_error(task, f"{task.name}: {kill.how}", f"{kill.text}\n{again}.")
        task.attempt += 1
        task.solo = True
        core.tasks.put_back(task, kill.how)
        self.held[task.id] = task

    def _tell_of_actor(self, actor: Actor, worker: Worker, kill: Kill) -> None:
        who = f"The actor {actor.spec.spec.name} (pid {worker.pid})"
        self.core.notice(actor.job, f"{who}: {kill.text}")
        if actor.create is not None:
            self.core.note_error(actor.create, f"{who}: {kill.how}", kill.text)

    def _final(self, task: Task) -> str:
        """Why a task is not run again if it ends for want of memory; "" if it is."""
        limit = task.spec.spec.max_retries
        record = self.records.get(task.id)
        if limit == 0:
            return "It is not run again, since it has max_retries=0."
        if record is not None and 0 < limit < record.alone:
            return (
                f"It was ended {record.alone} times though nothing else used notable memory: it "
                "alone needs more than there is. Give it less data at a time, or more memory."
            )
        if record is not None and 0 <= self.retries < record.kills:
            return f"It was ended so {record.kills} times, and task_oom_retries={self.retries}."
        return ""

    def _may_tell(self, group: int) -> bool:
        """A function's tasks may be ended in great numbers."""
        if self.core.now - self._told.get(group, -_TOLD_SECONDS) < _TOLD_SECONDS:
            return False
        self._told[group] = self.core.now
        return True

    # --- waiting -----------------------------------------------------------------------------

    def spared(self, task: Task) -> int:
        """Attempts of a task that ended for want of memory: they do not count as retries."""
        record = self.records.get(task.id)
        return record.kills if record is not None else 0

    def withdraw(self, task: Task) -> bool:
        """Take a task out of the waiting ones; whether it was there."""
        return self.held.pop(task.id, None) is not None

    def why(self, task: Task) -> str:
        """One sentence on why a task waits; "" if it does not wait for memory."""
        if task.id not in self.held:
            return ""
        record = self.records[task.id]
        seconds = max(0.0, record.latest - self.core.now)
        return (
            f"It was ended since memory ran low, and waits until {_mb(record.use)} are free, or "
            f"nothing else runs; {seconds:.0f} s at most."
        )

    def slept(self, seconds: float) -> None:
        """Time passed that does not count."""
        for kill in self.kills.values():
            kill.time += seconds
        for record in self.records.values():
            record.until += seconds
            record.latest += seconds
        self._told = {group: time + seconds for group, time in self._told.items()}
        if self._trimmed:
            self._trimmed += seconds

    def _release(self) -> None:
        core, x = self.core, self.sample
        now = core.now
        room = x.threshold - x.used - self._promised() if x is not None else 0
        busy = any(w.queue and w.actor is None for w in core.workers.values())
        for task in list(self.held.values()):
            record = self.records[task.id]
            if now < record.until:
                continue
            if not (record.use <= room or now >= record.latest or not busy):
                continue
            del self.held[task.id]
            room -= record.use
            busy = True
            core.scheduler.stand(task, front=True)

    def _promised(self) -> int:
        """Bytes that tasks which run again have not taken yet, if they take what they took before."""
        uses: dict[int, Any] = (self.sample.processes if self.sample else None) or {}
        total = 0
        for task_id, record in self.records.items():
            task = self.core.tasks.table.get(task_id)
            if task is None or task_id in self.held:
                continue
            have = uses.get(task.worker.pid, (0, 0))[0] if task.worker is not None else 0
            total += max(0, record.use - have)
        return total


def _mb(size: int) -> str:
    """
    >>> _mb(310_000_000), _mb(24_000_000_000)
    ('310 MB', '24.0 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 10_000_000_000 else f"{size / 1e6:.0f} MB"
