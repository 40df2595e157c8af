"""Channels: callers that speak to an actor's process with no node between them.

The node introduces a caller to an actor that is alive, and is told afterwards, in batches, what was
called. It does not know the results of such calls, unless their refs leave the caller (``Declare``,
``Put``) or they hold segments or refs (``Deliver``). A call whose arguments hold refs still goes by
the node; so that calls of one caller keep their order,

* such a call names how many calls went over the channel before it (``Submit.after``), and the
  actor's process lets them come first;
* the caller uses its channel again only when the node has none of its calls any more (``Idle``).

When the actor's process ends, so do its channels, and each caller says which calls were not answered
(``LostCall``). Only actors whose calls are not to be sent twice have channels, so these calls fail;
why, only the node can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.model import (
    A_ALIVE,
    A_DEAD,
    CANCELLED,
    FAILED,
    FINISHED,
    PENDING_ARGS,
    PENDING_RESOURCES,
    RUNNING,
    SUBMITTED,
    Actor,
    Caller,
    Spec,
    Task,
)

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_ENDS = {1: FINISHED, 2: FAILED, 3: CANCELLED}
_PATIENCE = 5.0  # seconds for an actor's end to be noticed, after a channel to it ended


class Channels:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.lost: dict[bytes, Task] = {}  # lost calls of actors that seem to be alive
        self.called: dict[int, dict[bytes, None]] = {}  # actors that know a caller, by peer

    # --- introductions -----------------------------------------------------------------------

    def connect(self, peer: int, x: m.Connect) -> None:
        """A client wants a channel to an actor. Not answered where there can be none."""
        actor = self.core.actors.table.get(x.actor)
        if actor is None or actor.state == A_DEAD or actor.message.max_task_retries:
            return
        if self.core.config.channels:
            caller = self._caller(actor, peer)
            caller.asked = True
            caller.accepted = x.sent  # of one client messages come in order
            # Its earlier channel, if it had one, was closed when all on it was answered.
            for task in (*actor.backlog, *(t for line in actor.lines.values() for t in line)):
                if task.client == peer:
                    task.after = 0
            self.introduce(actor)

    def introduce(self, actor: Actor) -> None:
        """Tell callers that asked how to reach an actor that is alive."""
        worker = actor.worker
        if actor.state != A_ALIVE or worker is None or worker.peer not in self.core.clients:
            return
        asking = [peer for peer, caller in actor.callers.items() if caller.asked]
        if asking and worker.address is None:
            worker.address = ""
            self.core.effects.out[worker.peer].append(m.Listen())
        if not worker.address:
            return
        for peer in asking:
            caller = actor.callers[peer]
            caller.asked, caller.reached = False, True
            client = self.core.clients[peer]
            self.core.effects.out[peer].append(
                m.Reach(
                    actor.id,
                    worker.address,
                    actor.deaths,
                    client.job if client.worker is None else client.worker.job,
                    caller.accepted,
                    not caller.unfinished,
                )
            )

    def listening(self, peer: int, x: m.Listening) -> None:
        worker = self.core.clients[peer].worker
        if worker is not None and worker.actor is not None:
            worker.address = x.path
            self.introduce(worker.actor)

    def _caller(self, actor: Actor, peer: int) -> Caller:
        caller = actor.callers.get(peer)
        if caller is None:
            caller = actor.callers[peer] = Caller()
            self.called.setdefault(peer, {})[actor.id] = None
        return caller

    def accepted(self, actor: Actor, peer: int) -> None:
        """A call came by the node."""
        caller = self._caller(actor, peer)
        caller.accepted += 1
        caller.unfinished += 1

    def ended(self, actor: Actor, task: Task) -> None:
        """A call that came by the node is over."""
        caller = actor.callers.get(task.client)
        if caller is not None:
            caller.unfinished -= 1
            if caller.reached and not caller.unfinished and task.client in self.core.clients:
                self.core.effects.out[task.client].append(m.Idle(actor.id, caller.accepted))

    def client_gone(self, peer: int) -> None:
        for actor_id in self.called.pop(peer, ()):
            actor = self.core.actors.table[actor_id]
            actor.callers.pop(peer, None)
            if actor.ended_calls:  # nobody will ask for them
                mine = self.core.clients[peer].id
                actor.ended_calls = {t for t in actor.ended_calls if not t.startswith(mine)}

    def actor_gone(self, actor: Actor) -> None:
        """A dead actor is forgotten."""
        for peer in actor.callers:
            self.called[peer].pop(actor.id)
            if not self.called[peer]:
                del self.called[peer]

    # --- what was called ---------------------------------------------------------------------

    def _spec(self, client_id: bytes, number: int) -> Spec | None:
        client = self.core.clients.get(self.core.peers.get(client_id, 0))
        return None if client is None else client.specs.get(number)

    def calls(self, peer: int, x: m.Calls) -> None:
        """An actor's process says what it did for its channels."""
        worker = self.core.clients[peer].worker
        actor = worker.actor or worker.was if worker is not None else None  # its last words
        if worker is None or actor is None:
            return
        for many in x.sums:
            spec = self._spec(many.caller, many.spec)
            if spec is None:
                continue
            group = spec.group
            group.counts[FINISHED] += many.count
            group.duration += many.duration
            group.average = many.duration / max(1, many.count)
            group.last = self.core.now
            self.core.changed_groups.add(group.number)
            worker.finished += many.count
            actor.finished += many.count
        for record in x.records:
            self._record(actor, record)
        if actor.id in self.core.actors.table:
            self.core.changed_actors[actor.id] = actor

    def _record(self, actor: Actor, record: m.CallRecord) -> None:
        core = self.core
        task = core.tasks.table.get(record.task)
        if task is None:
            if actor.state == A_DEAD and (
                record.state not in _ENDS or record.task in actor.ended_calls
            ):
                return  # counted as failed already, or will be
            task = self._known(actor, record)
            if task is None:
                return
        if not task.direct or task.lost:
            return
        if record.state not in _ENDS:
            if record.state == 0 and task.state == SUBMITTED:
                task.started = record.started
                core.tasks.move(task, RUNNING, "its turn came")
            return
        worker = actor.worker
        if worker is not None:
            worker.finished += 1
            core.timeline.record(
                task.id, task.spec.group.number, worker.number, worker.pid, record.started,
                record.duration, ok=record.state == 1, waited=record.started - task.submitted,
            )  # fmt: skip
        task.spec.group.duration += record.duration
        if record.state == 2:
            core.record_error(task, record.error, record.traceback)
        core.tasks.finish(task, _ENDS[record.state], record.error or "done")
        actor.finished += 1

    def _known(self, actor: Actor, record: m.CallRecord) -> Task | None:
        """A record of a call that waits, runs, or ran, in the actor's process."""
        core = self.core
        caller = record.task[: ids.CLIENT_LEN]
        spec = self._spec(caller, record.spec)
        if spec is None:
            return None
        task = self._task(actor, spec, core.peers[caller], record.task, record.parent)
        task.submitted = record.started
        if record.state != 4:
            task.started = record.started
            core.tasks.move(task, RUNNING, "called on a channel")
        return task

    def _task(self, actor: Actor, spec: Spec, peer: int, task_id: bytes, parent: bytes) -> Task:
        core = self.core
        message = m.Submit(task_id, spec.number, b"", [], [], parent, actor.id)
        client = core.clients[peer]
        job = client.job if client.worker is None else client.worker.job
        task = Task.of(message, spec, peer, job, core.now)
        task.direct = True
        task.actor = actor
        task.worker = actor.worker
        core.tasks.table[task_id] = task
        core.tasks.move(task, PENDING_ARGS, "called on a channel")
        core.tasks.move(task, PENDING_RESOURCES, "called on a channel")
        core.tasks.move(task, SUBMITTED, "called on a channel")
        core.tasks.note_parent(task)
        actor.direct[task_id] = task
        return task

    # --- results that leave the caller -------------------------------------------------------

    def declare(self, peer: int, x: m.Declare) -> None:
        objects = self.core.objects
        for oid in x.oids:
            if oid not in objects.table:
                objects.create(oid, peer, None)
                objects.declared[oid] = peer

    def deliver(self, peer: int, x: m.Deliver) -> None:
        """Results that hold segments or refs."""
        objects = self.core.objects
        if self.core.clients[peer].worker is None:
            raise model.ProtocolViolation("only workers deliver results")
        for value in x.values:
            objects.check_segment(value, peer)
            caller = value.oid[: ids.CLIENT_LEN]
            if value.oid not in objects.table:
                spec = self._spec(caller, x.spec)
                owner = self.core.peers.get(caller, 0)
                objects.create(value.oid, owner, spec.group if spec is not None else None)
            objects.complete(value.oid, value, peer)

    # --- ends --------------------------------------------------------------------------------

    def lost_call(self, peer: int, x: m.LostCall) -> None:
        """A channel ended before this call was answered."""
        core = self.core
        spec = core.clients[peer].specs.get(x.spec)
        task = core.tasks.table.get(x.task)
        if task is not None and (not task.direct or task.client != peer):
            raise model.ProtocolViolation("a lost call that was none")
        for oid in x.held:
            if ids.task_of(oid) == x.task and oid not in core.objects.table:
                core.objects.create(oid, peer, spec.group if spec is not None else None)
        actor = core.actors.table.get(x.actor)
        if actor is None or spec is None:
            failure = core.actor_ends.unknown() if actor is None else self._failure(actor, None)
            core.objects.fail(x.held, failure)
            return
        if task is None and x.task in actor.ended_calls:  # counted as failed already
            actor.ended_calls.discard(x.task)
            core.objects.fail(x.held, self._failure(actor, None))
            return
        if task is None:
            task = self._task(actor, spec, peer, x.task, b"")
            core.tasks.move(task, RUNNING, "its channel ended")
        task.lost = True
        if actor.worker is None or actor.deaths != x.incarnation:
            core.tasks.fail(task, self._failure(actor, task), FAILED, "its actor's process ended")
        else:
            task.started = core.now  # since when it is lost
            self.lost[task.id] = task

    def _failure(self, actor: Actor, task: Task | None) -> bytes:
        core = self.core
        if actor.state == A_DEAD:
            return core.actor_ends.death(actor, task)
        text = actor.lost_reason
        return core.failure("actor_unavailable", text, task=task, actor=actor)

    def process_ended(self, actor: Actor) -> None:
        """The actor is dead, or restarts: what was lost with its process fails."""
        tasks = self.core.tasks
        calls, actor.direct = actor.direct, {}
        actor.ended_calls = set()
        for task in calls.values():
            self.lost.pop(task.id, None)
            if task.lost:
                tasks.fail(task, self._failure(actor, task), FAILED, "its actor's process ended")
            else:  # its caller will say so, if anybody wants the result
                if task.client in self.core.clients:
                    actor.ended_calls.add(task.id)
                task.error = "its actor's process ended"
                tasks.finish(task, FAILED, task.error)
        for caller in actor.callers.values():
            caller.reached = False

    def slept(self, seconds: float) -> None:
        """That time does not count."""
        for task in self.lost.values():
            task.started += seconds  # since when it is lost

    def tick(self) -> None:
        """Calls of a channel that ended though the actor lives: they are lost all the same."""
        for task in list(self.lost.values()):
            if self.core.now - task.started > _PATIENCE:
                actor = task.actor
                assert actor is not None
                text = f"The connection to the actor {actor.spec.spec.name} broke: a call was lost."
                failure = self.core.failure("actor_unavailable", text, task=task, actor=actor)
                self.core.tasks.fail(task, failure, FAILED, "its channel broke")
