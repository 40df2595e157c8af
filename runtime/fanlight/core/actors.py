"""The life of an actor: created, placed, alive, restarted, dead; and the calls in its lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core import model, notices
from fanlight.core.history import RAISED, WORKER_DIED
from fanlight.core.model import (
    A_ALIVE,
    A_DEAD,
    A_PENDING_ARGS,
    A_PENDING_CREATION,
    A_RESTARTING,
    ACTOR_MOVES,
    ACTOR_STATES,
    CANCELLED,
    FAILED,
    PENDING_ARGS,
    PENDING_RESOURCES,
    RUNNING,
    SUBMITTED,
    W_ACTOR,
    Actor,
    Task,
    Worker,
    take_out,
)
from fanlight.ids import handle_oid

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.core.resources import Pool

WINDOW = 256  # calls sent to an actor's process beyond those that may run at once


def _line_key(actor: Actor, task: Task) -> int | bytes:
    if actor.ordered:
        return task.client
    spec = actor.spec.spec
    group = task.spec.spec.group
    if spec.groups and spec.groups.get(group, spec.max_concurrency) <= 1 and not spec.unordered:
        return f"{task.client}/{group}".encode()
    return task.id  # no order to keep: every call is a line of its own


class Actors:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.table: dict[bytes, Actor] = {}
        self.names: dict[tuple[str, str], Actor] = {}
        self._makers: set[int] = set()  # clients that made actors

    def move(self, actor: Actor, new: int, cause: str) -> None:
        old = actor.state
        story = self.core.story
        if new not in ACTOR_MOVES[old]:
            raise story.illegal(actor.id, ACTOR_STATES, old, new, cause)
        story.note((actor.id, ACTOR_STATES, old, new, cause))
        actor.state = new
        if self.core.watched:
            self.core.changed_actors[actor.id] = actor

    # --- creation ----------------------------------------------------------------------------

    def create(self, peer: int, message: m.CreateActor) -> None:
        """A client makes an actor. A named one is answered, since the name may be taken."""
        core = self.core
        client = core.clients[peer]
        if message.name:
            existing = self.names.get((message.namespace, message.name))
            if existing is not None:
                if message.get_if_exists:
                    core.objects.add_refs(peer, [handle_oid(existing.id)])
                    core.reply(peer, message.request, self.describe(existing))
                else:
                    error = (
                        f"The name {message.name!r} (namespace {message.namespace!r}) is taken by "
                        "another actor. Use get_actor() to reach it, or get_if_exists=True."
                    )
                    core.reply(peer, message.request, None, error)
                return
        spec = client.specs.get(message.spec)
        if spec is None or message.actor in self.table:
            raise model.ProtocolViolation("an actor of an unknown spec, or created twice")
        job = client.job if client.worker is None else client.worker.job
        actor = Actor(message, spec, peer, job)
        self.table[actor.id] = actor
        self._makers.add(peer)
        self.move(actor, A_PENDING_ARGS, "created")
        if actor.name:
            self.names[(actor.namespace, actor.name)] = actor
            core.reply(peer, message.request, self.describe(actor))
        handle = core.objects.create(handle_oid(actor.id), peer, None)
        if actor.detached:
            handle.pins += 1
        task = Task.of(message, spec, peer, job, core.now)
        task.actor = actor
        actor.create = task
        # Held until the actor is dead: a restart runs the constructor again.
        core.objects.pin(message.deps)
        core.objects.pin(message.pins)
        core.tasks.create_actor_task(task)
        if spec.where is None or not core.placement.refuses(task):
            self.advance(task)

    def describe(self, actor: Actor) -> dict[str, object]:
        """What a client needs to make a handle."""
        return {
            "actor": actor.id,
            "methods": actor.message.methods,
            "class_name": actor.spec.spec.name,
            "name": actor.name,
            "namespace": actor.namespace,
        }

    def place(self, task: Task, worker: Worker, pool: Pool) -> None:
        """Give the constructor a process of its own; what it holds is taken from ``pool``."""
        core = self.core
        actor = task.actor
        assert actor is not None
        demand = dict(actor.spec.spec.resources)
        worker.held = demand
        worker.pool = pool
        worker.gpus = pool.take(demand)
        worker.actor = actor
        worker.job = actor.job
        actor.worker = worker
        actor.pid = worker.pid
        core.move_worker(worker, W_ACTOR, f"is {actor.spec.spec.name} now")
        core.scheduler.hand(worker, task, running=True)
        core.scheduler.fill()

    def created(self, actor: Actor, message: m.Done) -> None:
        """The constructor returned, or raised."""
        task = actor.create
        assert task is not None
        if message.ok:
            self.core.tasks.finish(task, model.FINISHED, "constructor done")
            self.move(actor, A_ALIVE, "constructor done")
            for caller in list(actor.lines):
                self._advance_line(actor, caller)
            self._send(actor)  # calls that were lost with an earlier process
            self.core.channels.introduce(actor)
            if actor.exit_reason:  # it went out of scope meanwhile
                self._leave_when_idle(actor)
            return
        self.core.record_error(task, message.error, message.traceback)
        self.core.tasks.finish(task, FAILED, message.error)
        actor.init_failed = True
        if not (actor.backlog or actor.lines):  # else its calls will tell
            name = actor.spec.spec.name
            self.core.notice(
                actor.job, f"The constructor of the actor {name} raised:\n{message.traceback}"
            )
        self.die(
            actor,
            "The actor died because of an error raised in its creation task, "
            f"{actor.spec.spec.name}.__init__():\n{message.traceback}",
        )

    # --- calls -------------------------------------------------------------------------------

    def accept(self, task: Task, actor_id: bytes) -> bool:
        """A call arrives. False when it has its (bad) end already."""
        actor = self.table.get(actor_id)
        if actor is None or actor.state == A_DEAD:
            failure = self.unknown(task) if actor is None else self.death(actor, task)
            self.core.tasks.fail(task, failure, FAILED, "the actor is dead")
            return False
        task.actor = actor
        self.core.channels.accepted(actor, task.client)
        handle = self.core.objects.table.get(handle_oid(actor_id))
        if handle is not None:
            handle.pins += 1
        self._line(actor, task).append(task)
        if not task.deps:
            self.advance(task)
        return True

    def _line(self, actor: Actor, task: Task) -> deque[Task]:
        key = _line_key(actor, task)
        line = actor.lines.get(key)
        if line is None:
            line = actor.lines[key] = deque()
        return line

    def advance(self, task: Task) -> None:
        """The arguments of a call (or of a constructor) are ready."""
        actor = task.actor
        assert actor is not None
        if task.spec.spec.kind == m.ACTOR_CREATE:
            if task.state == PENDING_ARGS and not task.missing:
                if actor.state == A_PENDING_ARGS:
                    self.move(actor, A_PENDING_CREATION, "arguments ready")
                self.core.scheduler.enqueue(task)
            return
        if actor.state == A_ALIVE:
            self._advance_line(actor, _line_key(actor, task))

    def _advance_line(self, actor: Actor, key: int | bytes) -> None:
        line = actor.lines.get(key)
        if line is None:
            return
        while line and not line[0].missing:
            task = line.popleft()
            if task.state == PENDING_ARGS:
                self.core.tasks.move(task, PENDING_RESOURCES, "arguments ready")
            actor.backlog.append(task)
        if not line:
            del actor.lines[key]
        self._send(actor)

    def _send(self, actor: Actor) -> None:
        """Send calls to the actor's process, as many as it should have."""
        worker = actor.worker
        if actor.state != A_ALIVE or worker is None or worker.peer not in self.core.clients:
            return
        spec = actor.spec.spec
        concurrency = spec.max_concurrency + sum(spec.groups.values())
        # A full group must not keep the calls of others back: only its process knows which is.
        window = WINDOW + concurrency if not spec.groups else len(actor.backlog) + len(actor.flight)
        backlog, flight = actor.backlog, actor.flight
        while backlog and len(flight) < window:
            task = backlog.popleft()
            running = len(flight) < concurrency
            flight[task.id] = task
            self.core.scheduler.hand(worker, task, running)

    def _start_next(self, actor: Actor) -> None:
        """A call left the actor's process: the next one there runs now."""
        for task in actor.flight.values():
            if task.state == SUBMITTED:
                task.started = self.core.now
                self.core.tasks.move(task, RUNNING, "its turn came")
                return
            if actor.ordered:
                return

    def done(self, actor: Actor, task: Task, message: m.Done, peer: int) -> None:
        """A call ended in the actor's process."""
        tasks = self.core.tasks
        retry = not message.ok and message.retriable and not task.cancel
        if retry and self._call_retries_left(actor, task):
            self.core.objects.discard(message.values[1:], peer)
            actor.flight.pop(task.id, None)
            self._start_next(actor)
            limit = task.spec.spec.max_retries or actor.message.max_task_retries
            notices.retried(self.core, task, limit, message.error)
            self._resend(actor, task, f"retried after {message.error}", RAISED)
            self._send(actor)
            return
        actor.finished += 1
        tasks.done(task, message, peer)

    def call_ended(self, task: Task) -> None:
        """A call is over, whatever way; called by Tasks.finish."""
        actor = task.actor
        assert actor is not None
        if self.core.watched:
            self.core.changed_actors[actor.id] = actor
        if task.direct:
            actor.direct.pop(task.id, None)
            self.core.channels.lost.pop(task.id, None)
            return
        if task.spec.spec.kind == m.ACTOR_CREATE:
            return
        self.core.channels.ended(actor, task)
        if actor.flight.pop(task.id, None) is not None and actor.state == A_ALIVE:
            self._start_next(actor)
            if actor.backlog:
                self._send(actor)
        self.core.objects.unpin([handle_oid(actor.id)])
        if actor.exit_reason and actor.state != A_DEAD:
            self._leave_when_idle(actor)

    def argument_failed(self, task: Task, failure: bytes) -> None:
        actor = task.actor
        assert actor is not None
        if task.spec.spec.kind == m.ACTOR_CREATE:
            self.core.tasks.finish(task, FAILED, "an argument failed")
            actor.death_cause = failure
            self.die(
                actor,
                f"The actor {actor.spec.spec.name} died because of its constructor's arguments:",
            )
            return
        self.withdraw(task)
        self.core.tasks.fail(task, failure, FAILED, "an argument failed")

    def environment_failed(self, actor: Actor, sentence: str) -> None:
        """It cannot be made, and a restart would not help: its calls say why."""
        if actor.state != A_DEAD:
            actor.env_failure = f"The actor {actor.spec.spec.name} cannot run. {sentence}"
            self.die(actor, actor.env_failure)

    def withdraw(self, task: Task) -> None:
        """Take a call that was not sent out of its line; those behind it move up."""
        actor = task.actor
        assert actor is not None
        key = _line_key(actor, task)
        line = actor.lines.get(key)
        if line is not None and take_out(line, task):
            if actor.state == A_ALIVE:
                self._advance_line(actor, key)
            elif not line:
                del actor.lines[key]
        else:
            take_out(actor.backlog, task)

    # --- ends --------------------------------------------------------------------------------

    def out_of_scope(self, actor_id: bytes) -> bool:
        """Nobody has a handle any more. True while the actor still has to end."""
        actor = self.table.get(actor_id)
        if actor is None or actor.state == A_DEAD:
            return False
        actor.exit_reason = actor.exit_reason or "all handles to it went out of scope"
        self._leave_when_idle(actor)
        return actor.state != A_DEAD

    def _leave_when_idle(self, actor: Actor) -> None:
        if actor.flight or actor.backlog or actor.lines or actor.state == A_DEAD:
            return
        handle = self.core.objects.table.get(handle_oid(actor.id))
        if handle is not None and (handle.holders or handle.pins):
            actor.exit_reason = ""  # somebody took a handle out of a value meanwhile
            return
        if actor.state in (A_ALIVE, A_PENDING_ARGS) or actor.worker is None:
            self._end(actor, actor.exit_reason, kill=False)
        # A constructor that runs is let finish first; created() comes back here.

    def exits(self, actor: Actor, reason: str) -> None:
        """The actor itself wants to end (exit_actor)."""
        self._end(actor, reason, kill=False)

    def kill(self, actor_id: bytes, no_restart: bool) -> None:
        actor = self.table.get(actor_id)
        if actor is None or actor.state == A_DEAD:
            return
        if not no_restart and actor.worker is not None:
            self.core.kill_worker(actor.worker, "killed by `kill(no_restart=False)`")
            return
        limit = actor.message.max_restarts
        if not no_restart and (limit < 0 or actor.deaths < limit):
            return  # it has no process to kill, and is to get one
        never = actor.state in (A_PENDING_ARGS, A_PENDING_CREATION) and actor.worker is None
        tail = " It never ran." if never else ""
        self._end(actor, f"It was killed by `fanlight.kill` (`ray.kill`).{tail}", kill=True)

    def displace(self, actor: Actor, reason: str, code: str = "actor_died") -> None:
        """It has no place to run any more, or never had one; ``code`` is what its calls raise."""
        actor.death_code = code
        self._end(actor, reason, kill=True)

    def _end(self, actor: Actor, reason: str, *, kill: bool) -> None:
        worker = actor.worker
        name = actor.spec.spec.name
        self.die(actor, f"The actor {name} ({actor.id.hex()}) is dead. {reason}", kill=kill)
        if worker is not None and not kill:
            worker.retiring = reason
            worker.graceful = True
            worker.since = self.core.now
            self.core.effects.out[worker.peer].append(m.Exit(reason))

    def die(self, actor: Actor, reason: str, kill: bool = True) -> None:
        """The actor is gone for good: every call that it owes an answer fails."""
        if actor.state == A_DEAD:
            return
        core = self.core
        create = actor.create
        if create is not None and create.id in core.tasks.table:
            if create.state in (PENDING_ARGS, PENDING_RESOURCES):
                core.scheduler.withdraw(create)
            core.tasks.finish(create, CANCELLED, reason)
        actor.exit_reason = reason
        self.move(actor, A_DEAD, reason.split("\n")[0])
        actor.ended = core.now
        if actor.name and self.names.get((actor.namespace, actor.name)) is actor:
            del self.names[(actor.namespace, actor.name)]
        worker = actor.worker
        actor.worker = None
        if worker is not None:
            self.end_children(worker)
            core.scheduler.release(worker)
            worker.actor = None
            worker.was = actor
            if kill:
                core.kill_worker(worker, reason.split("\n")[0])
        calls = list(actor.flight.values()) + list(actor.backlog)
        for line in actor.lines.values():
            calls.extend(line)
        actor.backlog.clear()
        actor.lines.clear()
        for task in calls:
            if task.id not in core.tasks.table:
                continue  # its argument was a call that failed just now
            if task.cancel:
                core.tasks.fail_cancelled(task)
            else:
                failure = self.death(actor, task)
                core.tasks.fail(task, failure, FAILED, "the actor died")
        actor.flight.clear()
        core.channels.process_ended(actor)
        core.objects.unpin(actor.message.deps)
        core.objects.unpin(actor.message.pins)
        core.objects.forget(handle_oid(actor.id))
        actor.message.args = b""  # it is not made again
        core.retire_actor(actor)
        if actor.detached:
            core.placement.actor_ended(actor)

    def unknown(self, task: Task | None = None) -> bytes:
        """The failure of a call to an actor that is not in the table."""
        text = (
            "The actor is not known to this runtime: it died long ago, or belongs to another "
            "runtime."
        )
        return self.core.failure("actor_died", text, task=task)

    def death(self, actor: Actor, task: Task | None) -> bytes:
        """The failure of a call to a dead actor."""
        if actor.env_failure:
            return self.core.failure("env_setup", actor.env_failure, task=task, actor=actor)
        detail: dict[str, object] = {"init_failed": actor.init_failed}
        if actor.death_cause:
            detail |= {"kind": m.FAILURE, "data": actor.death_cause}
        reason = actor.exit_reason or "The actor died."
        return self.core.failure(actor.death_code, reason, task=task, actor=actor, detail=detail)

    def cannot_start(self, how: str, log: str) -> None:
        """No process could be started for a while: actors that wait for one are given up.

        Tasks go on waiting: they can run in the processes that there are.
        """
        core = self.core
        alive = sum(1 for a in self.table.values() if a.state == A_ALIVE)
        tail = f"\nIts last output:\n{log}" if log else ""
        for task in list(core.scheduler.creations):
            actor = task.actor
            if actor is None or not core.pool.fits(actor.spec.spec.resources):
                continue  # it waits for resources, not for a process
            self.die(
                actor,
                f"The actor {actor.spec.spec.name} ({actor.id.hex()}) could not be made: no process "
                f"could be started for it, {how}. {alive} actors are alive; each is a process of "
                f"its own.{tail}",
            )

    # --- restarts ----------------------------------------------------------------------------

    def process_lost(self, actor: Actor, how: str, log: str) -> None:
        """The actor's process died without being told to."""
        core = self.core
        name = actor.spec.spec.name
        worker = actor.worker
        assert worker is not None
        pid = worker.pid
        limit = actor.message.max_restarts
        tail = f"\nIts last output:\n{log}" if log else ""
        reason = (
            f"The actor {name} ({actor.id.hex()}, pid {pid}, namespace {actor.namespace!r}) is "
            f"dead: its process ended unexpectedly, {how}.{tail}"
        )
        if 0 <= limit <= actor.deaths:
            self.die(actor, reason, kill=False)
            return
        actor.deaths += 1
        self.end_children(worker)
        if actor.state == A_DEAD:
            return  # an actor that ended with it held its last handle
        core.scheduler.release(worker)
        worker.actor = None
        actor.worker = None
        left = "no limit" if limit < 0 else f"{limit - actor.deaths} restarts left"
        core.notice(actor.job, f"{reason.splitlines()[0]} It is restarted ({left}).")
        lost = list(actor.flight.values())
        actor.flight.clear()
        actor.lost_reason = reason.splitlines()[0]
        self.move(actor, A_RESTARTING, how)
        core.channels.process_ended(actor)
        for task in reversed(lost):
            if task.cancel:
                core.tasks.fail_cancelled(task)
            elif self._call_retries_left(actor, task):
                self._resend(actor, task, "the actor restarts")
            else:
                failure = core.failure(
                    "actor_unavailable",
                    f"{reason.splitlines()[0]} It restarts; this call was lost.",
                    task=task,
                    actor=actor,
                )
                core.tasks.fail(task, failure, FAILED, "the actor restarts")
        if actor.exit_reason:
            self._leave_when_idle(actor)
        if actor.state == A_DEAD:
            return  # nobody has a handle: the calls that were lost held the last one
        create = actor.create
        assert create is not None
        if create.id in core.tasks.table:
            core.tasks.requeue(create, "the actor restarts", again=True)
        else:
            again = Task.of(actor.message, actor.spec, actor.client, actor.job, core.now)
            again.actor = actor
            again.attempt = create.attempt + 1
            actor.create = again
            core.tasks.create_actor_task(again)
            self.advance(again)

    def _call_retries_left(self, actor: Actor, task: Task) -> bool:
        limit = task.spec.spec.max_retries
        if limit == 0:
            limit = actor.message.max_task_retries
        return limit < 0 or task.attempt < limit

    def _resend(self, actor: Actor, task: Task, cause: str, code: str = WORKER_DIED) -> None:
        self.core.history.attempt_failed(task, code, cause, self.core.now)
        task.attempt += 1
        task.worker = None
        self.core.tasks.move(task, PENDING_RESOURCES, cause)
        actor.backlog.appendleft(task)

    def end_children(self, worker: Worker) -> None:
        """Actors that an actor made die with its process, unless they are detached."""
        if worker.peer not in self._makers:  # else the end of each of n actors looks at all n
            return
        self._makers.remove(worker.peer)
        for child in [a for a in self.table.values() if a.client == worker.peer]:
            if not child.detached and child.state != A_DEAD:
                self._end(child, "The actor that created it died.", kill=True)

    def job_ended(self, job: int) -> None:
        for actor in [a for a in self.table.values() if a.job == job and not a.detached]:
            if actor.state != A_DEAD:
                self._end(actor, "Its driver ended.", kill=True)
