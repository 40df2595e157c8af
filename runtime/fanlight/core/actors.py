"""Actors: how they are made and placed, and the calls in their lines.

How they end and are restarted is in :mod:`fanlight.core.actor_ends`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core import checks, model, notices
from fanlight.core.history import RAISED, WORKER_DIED
from fanlight.core.model import (
    A_ALIVE,
    A_DEAD,
    A_PENDING_ARGS,
    A_PENDING_CREATION,
    ACTOR_MOVES,
    ACTOR_STATES,
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
        checks.constructor(message, spec, core)
        if spec is None or message.actor in self.table:
            raise model.ProtocolViolation("an actor of an unknown spec, or created twice")
        job = client.job if client.worker is None else client.worker.job
        actor = Actor(message, spec, peer, job)
        self.table[actor.id] = actor
        core.actor_ends.makers.add(peer)
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
                self.core.actor_ends.leave_when_idle(actor)
            return
        self.core.record_error(task, message.error, message.traceback)
        self.core.tasks.finish(task, FAILED, message.error)
        actor.init_failed = True
        if not (actor.backlog or actor.lines):  # else its calls will tell
            name = actor.spec.spec.name
            self.core.notice(
                actor.job, f"The constructor of the actor {name} raised:\n{message.traceback}"
            )
        self.core.actor_ends.die(
            actor,
            "The actor died because of an error raised in its creation task, "
            f"{actor.spec.spec.name}.__init__():\n{message.traceback}",
        )

    # --- calls -------------------------------------------------------------------------------

    def accept(self, task: Task, actor_id: bytes) -> bool:
        """A call arrives. False when it has its (bad) end already."""
        actor = self.table.get(actor_id)
        if actor is None or actor.state == A_DEAD:
            ends = self.core.actor_ends
            failure = ends.unknown(task) if actor is None else ends.death(actor, task)
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
        if retry and self.may_resend(actor, task):
            self.core.objects.discard(message.values[1:], peer)
            actor.flight.pop(task.id, None)
            self._start_next(actor)
            limit = task.spec.spec.max_retries or actor.message.max_task_retries
            notices.retried(self.core, task, limit, message.error)
            self.resend(actor, task, f"retried after {message.error}", RAISED)
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
            self.core.actor_ends.leave_when_idle(actor)

    def argument_failed(self, task: Task, failure: bytes) -> None:
        actor = task.actor
        assert actor is not None
        if task.spec.spec.kind == m.ACTOR_CREATE:
            self.core.tasks.finish(task, FAILED, "an argument failed")
            actor.death_cause = failure
            self.core.actor_ends.die(
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
            self.core.actor_ends.die(actor, actor.env_failure)

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

    def may_resend(self, actor: Actor, task: Task) -> bool:
        """Whether a call that failed, or whose process died, has an attempt left."""
        limit = task.spec.spec.max_retries
        if limit == 0:
            limit = actor.message.max_task_retries
        return limit < 0 or task.attempt < limit

    def resend(self, actor: Actor, task: Task, cause: str, code: str = WORKER_DIED) -> None:
        """Put a call that was in the actor's process first in its line again."""
        self.core.history.attempt_failed(task, code, cause, self.core.now)
        task.attempt += 1
        task.worker = None
        self.core.tasks.move(task, PENDING_RESOURCES, cause)
        actor.backlog.appendleft(task)
