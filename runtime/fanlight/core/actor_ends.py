"""How an actor ends, and how it is restarted when its process died without being told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core.memory import CODE
from fanlight.core.model import (
    A_ALIVE,
    A_DEAD,
    A_PENDING_ARGS,
    A_PENDING_CREATION,
    A_RESTARTING,
    CANCELLED,
    FAILED,
    PENDING_ARGS,
    PENDING_RESOURCES,
    Actor,
    Task,
    Worker,
)
from fanlight.ids import handle_oid

if TYPE_CHECKING:
    from fanlight.core.machine import Core


class ActorEnds:
    """A part of the core, beside :class:`fanlight.core.actors.Actors`, whose tables it uses."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.makers: set[int] = set()  # clients that made actors

    def out_of_scope(self, actor_id: bytes) -> bool:
        """Nobody has a handle any more. True while the actor still has to end."""
        actor = self.core.actors.table.get(actor_id)
        if actor is None or actor.state == A_DEAD:
            return False
        actor.exit_reason = actor.exit_reason or "all handles to it went out of scope"
        self.leave_when_idle(actor)
        return actor.state != A_DEAD

    def leave_when_idle(self, actor: Actor) -> None:
        """End an actor that has an ``exit_reason``, if it has no calls and nobody a handle."""
        if actor.flight or actor.backlog or actor.lines or actor.state == A_DEAD:
            return
        handle = self.core.objects.table.get(handle_oid(actor.id))
        if handle is not None and (handle.holders or handle.pins):
            actor.exit_reason = ""  # somebody took a handle out of a value meanwhile
            return
        if actor.state in (A_ALIVE, A_PENDING_ARGS) or actor.worker is None:
            self.end(actor, actor.exit_reason, kill=False)
        # A constructor that runs is let finish first; created() comes back here.

    def exits(self, actor: Actor, reason: str) -> None:
        """The actor itself wants to end (exit_actor)."""
        self.end(actor, reason, kill=False)

    def kill(self, actor_id: bytes, no_restart: bool) -> None:
        """A client calls ``fanlight.kill``."""
        actor = self.core.actors.table.get(actor_id)
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
        self.end(actor, f"It was killed by `fanlight.kill` (`ray.kill`).{tail}", kill=True)

    def displace(self, actor: Actor, reason: str, code: str = "actor_died") -> None:
        """It has no place to run any more, or never had one; ``code`` is what its calls raise."""
        actor.death_code = code
        self.end(actor, reason, kill=True)

    def end(self, actor: Actor, reason: str, *, kill: bool) -> None:
        """It dies, for ``reason``; its process is killed, or leaves in good order."""
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
        core.actors.move(actor, A_DEAD, reason.split("\n")[0])
        actor.ended = core.now
        if actor.name and core.actors.names.get((actor.namespace, actor.name)) is actor:
            del core.actors.names[(actor.namespace, actor.name)]
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
        alive = sum(1 for a in core.actors.table.values() if a.state == A_ALIVE)
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

    def end_children(self, worker: Worker) -> None:
        """Actors that an actor made die with its process, unless they are detached."""
        if worker.peer not in self.makers:  # else the end of each of n actors looks at all n
            return
        self.makers.remove(worker.peer)
        for child in [a for a in self.core.actors.table.values() if a.client == worker.peer]:
            if not child.detached and child.state != A_DEAD:
                self.end(child, "The actor that created it died.", kill=True)

    def job_ended(self, job: int) -> None:
        """A driver is gone, and its actors with it, unless they are detached."""
        table = self.core.actors.table
        for actor in [a for a in table.values() if a.job == job and not a.detached]:
            if actor.state != A_DEAD:
                self.end(actor, "Its driver ended.", kill=True)

    def constructor_returned(self, worker: Worker, task_ids: list[bytes]) -> None:
        """An argument of the constructor was lost: it waits again, and holds nothing meanwhile."""
        core = self.core
        actor = worker.actor
        create = actor.create if actor is not None else None
        if actor is None or create is None or create.worker is not worker:
            return
        if create.id not in task_ids or create.id not in core.tasks.table:
            return
        core.scheduler.release(worker)
        worker.actor = actor.worker = None
        worker.retiring = "an argument of its constructor was lost"
        worker.since = core.now
        core.workers_retired(worker)
        core.tasks.requeue(create, "given back", again=False)
        core.lineage.given_back(create)
        if actor.exit_reason and actor.state != A_DEAD:
            self.leave_when_idle(actor)

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
        who = f"The actor {name} ({actor.id.hex()}, pid {pid}, namespace {actor.namespace!r})"
        reason = f"{who} is dead: its process ended unexpectedly, {how}.{tail}"
        kill = core.memory.of(worker)
        if kill is not None:
            reason = f"{who} is dead: {kill.text}"
        if 0 <= limit <= actor.deaths:
            actor.death_code = CODE if kill is not None else actor.death_code
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
        actor.lost_reason = f"{reason.splitlines()[0]} It restarts; this call was lost.{tail}"
        core.actors.move(actor, A_RESTARTING, how)
        core.channels.process_ended(actor)
        for task in reversed(lost):
            if task.cancel:
                core.tasks.fail_cancelled(task)
            elif core.actors.may_resend(actor, task):
                core.actors.resend(actor, task, "the actor restarts")
            else:
                failure = core.failure(
                    "actor_unavailable",
                    actor.lost_reason,
                    task=task,
                    actor=actor,
                )
                core.tasks.fail(task, failure, FAILED, "the actor restarts")
        if actor.exit_reason:
            self.leave_when_idle(actor)
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
            core.actors.advance(again)
