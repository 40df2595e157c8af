"""The life of a task: submitted, waiting for arguments, handed out, done, retried, cancelled."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.effects import KillWorker
from fanlight.core.history import RAISED, WORKER_DIED
from fanlight.core.model import (
    CANCELLED,
    FAILED,
    FINISHED,
    PENDING,
    PENDING_ARGS,
    PENDING_RESOURCES,
    RUNNING,
    SUBMITTED,
    TASK_MOVES,
    TASK_STATES,
    Object,
    Task,
)
from fanlight.core.timeline import GATE

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_SMOOTHING = 0.25  # weight of the newest duration in a function's moving average
_DEPS_KEPT = 100  # arguments of a finished task that are remembered
_CAUSES_KEPT = 8  # errors that an error carries as its cause, each within the next
_object_id = ids.object_id
_size_of = operator.attrgetter("size")
_FIRST = ids.FIRST


class Tasks:
    def __init__(self, core: Core) -> None:
        self.core = core
        self._note = core.story.note
        self._large = core.config.large
        self.table: dict[bytes, Task] = {}
        # Unfinished tasks by the task that submitted them; in order, so that runs can be repeated.
        self.children: dict[bytes, dict[bytes, None]] = {}

    # --- state -------------------------------------------------------------------------------

    def move(self, task: Task, new: int, cause: str) -> None:
        old = task.state
        if new not in TASK_MOVES[old]:
            raise self.core.story.illegal(task.id, TASK_STATES, old, new, cause)
        core = self.core
        self._note((task.id, TASK_STATES, old, new, cause))
        group = task.spec.group
        counts = group.counts
        if old >= 0:
            counts[old] -= 1
        counts[new] += 1
        group.last = core.now
        task.state = new
        if core.watched:
            core.changed_groups.add(group.number)
            core.changed_tasks[task.id] = task

    def makes(self, oid: bytes) -> bool:
        """Whether a task is under way that will complete this object."""
        return oid[: ids.TASK_LEN] in self.table

    # --- submission --------------------------------------------------------------------------

    def submit(self, peer: int, message: m.Submit) -> None:
        """A client calls a function or an actor's method."""
        core = self.core
        client = core.clients[peer]
        spec = client.specs.get(message.spec)
        task_id = message.task
        objects = core.objects
        if spec is None or task_id in self.table or task_id + _FIRST in objects.table:
            raise model.ProtocolViolation("a task of an unknown spec, or submitted twice")
        if not task_id.startswith(client.id) or spec.called is not (message.actor != b""):
            raise model.ProtocolViolation("a task under another client's id, or not of its kind")
        worker = client.worker
        task = Task.of(message, spec, peer, client.job if worker is None else worker.job, core.now)
        self.table[task_id] = task
        if spec.returns == 1:
            oid = task_id + _FIRST  # as in Objects.create
            objects.touched.add(peer)
            objects.table[oid] = Object(oid, peer, spec.group)
        else:
            for i in range(spec.returns):
                oid = _object_id(task_id, i)
                if oid not in objects.table:  # else somebody made it up
                    objects.create(oid, peer, spec.group)
        if spec.streams:
            core.streams.begin(task)
        if task.parent:
            self.note_parent(task)
        if task.pins:
            objects.pin(task.pins)
        if not (task.deps or message.actor or spec.where):
            self.move(task, PENDING_RESOURCES, "submitted")
            core.scheduler.stand(task)
            return
        if message.after:
            task.after, task.incarnation = message.after, message.incarnation
        self.admit(task, message.actor)

    def admit(self, task: Task, actor: bytes) -> None:
        """A task that is in the table, and whose objects exist, waits for arguments or its turn."""
        core = self.core
        self.move(task, PENDING_ARGS, "submitted")
        if task.deps:
            core.objects.pin(task.deps)
        if actor:
            if core.actors.accept(task, actor) and task.deps:
                self._await_arguments(task)
                if task.state == PENDING_ARGS:
                    core.actors.advance(task)
            return
        if task.spec.where is not None and core.placement.refuses(task):
            return
        if task.deps:
            self._await_arguments(task)
        if task.state == PENDING_ARGS and not task.missing:
            core.scheduler.enqueue(task)

    def create_actor_task(self, task: Task) -> None:
        """The task that runs an actor's constructor; it has no objects of its own."""
        self.table[task.id] = task
        self.move(task, PENDING_ARGS, "actor created")
        objects = self.core.objects
        objects.pin(task.pins)
        objects.pin(task.deps)
        self._await_arguments(task)

    def _await_arguments(self, task: Task) -> None:
        objects = self.core.objects
        target = task.spec.group.number
        failed: Object | None = None
        for oid in task.deps:
            obj = objects.wait_for(task, oid)
            if obj is None:
                failure = self.core.failure("object_lost", "An argument's value is gone.")
                failed = Object(oid, 0, None)
                failed.kind, failed.data = m.FAILURE, failure
                continue
            if obj.kind == PENDING:
                task.missing += 1
            elif obj.kind >= m.ERROR:
                failed = obj
            if obj.group is not None:
                self.core.definitions.edge(obj.group.number, target, "data", obj.size)
        if failed is not None:
            self.dependency_failed(task, failed)

    def note_parent(self, task: Task) -> None:
        """Remember a task with the one that submitted it."""
        if not task.parent:
            return
        self.children.setdefault(task.parent, {})[task.id] = None
        parent = self.table.get(task.parent)
        if parent is not None:
            parent.spec.group.nests = True
            number = parent.spec.group.number
            self.core.definitions.edge(number, task.spec.group.number, "spawn")

    def argument_ready(self, task: Task, obj: Object) -> None:
        """An object that the task waits for has a value or an error."""
        if task.state != PENDING_ARGS:
            return
        task.missing -= 1
        if obj.group is not None:
            self.core.definitions.flow(obj.group.number, task.spec.group.number, obj.size)
        if obj.kind >= m.ERROR:
            self.dependency_failed(task, obj)
        elif not task.missing:
            task.gate = obj.id[GATE]
            if task.actor is not None:
                self.core.actors.advance(task)
            else:
                self.core.scheduler.enqueue(task)

    def argument_lost(self, obj: Object) -> None:
        """An object is pending again: what was ready for its turn because of it is not any more.

        Looks at all tasks: losses are rare.
        """
        if obj.pins:
            waiting = (PENDING_ARGS, PENDING_RESOURCES)
            for task in [t for t in self.table.values() if t.state in waiting]:
                if obj.id in task.deps:
                    self.await_again(task, obj)

    def await_again(self, task: Task, obj: Object) -> None:
        """An argument of a task that waits is pending again."""
        if task.state == PENDING_RESOURCES:
            if task.spec.spec.kind == m.ACTOR_CALL:
                return  # it keeps its place; the actor's process waits
            self.core.scheduler.withdraw(task)
            self.move(task, PENDING_ARGS, "an argument was lost")
        if obj.waiters is None:
            obj.waiters = []
        count = task.deps.count(obj.id)
        task.missing += count
        obj.waiters += [task] * count

    def dependency_failed(self, task: Task, obj: Object) -> None:
        detail: dict[str, Any] = {"kind": obj.kind, "data": obj.data, "depth": 1}
        if obj.kind == m.FAILURE:
            cause = _decoded(obj.data)
            if cause is not None and cause.code == "dependency":
                detail["depth"] = cause.detail.get("depth", 1) + 1
                if detail["depth"] > _CAUSES_KEPT:  # of a long chain, the first links are enough
                    detail = cause.detail
        failure = self.core.failure(
            "dependency",
            "At least one of the input arguments for this task could not be computed:",
            task=task,
            detail=detail,
        )
        if task.actor is not None:
            self.core.actors.argument_failed(task, failure)
        else:
            self.fail(task, failure, FAILED, "an argument failed")

    # --- ends --------------------------------------------------------------------------------

    def done(self, task: Task, message: m.Done, peer: int) -> None:
        """A worker reports the end of a task."""
        group = task.spec.group
        duration = message.duration
        group.duration += duration
        average = group.average
        group.average = duration if average < 0 else average + _SMOOTHING * (duration - average)
        core = self.core
        objects = core.objects
        if message.ok:
            if max(map(_size_of, message.values), default=0) > self._large:
                core.lineage.keep(task, message.values)
            if task.stream is not None:
                if core.streams.fell_short(task):
                    objects.discard(message.values, peer)
                    return
                core.lineage.keep_items(task)
            self.finish(task, FINISHED, "done")
            complete = objects.complete
            for value in message.values:
                complete(value.oid, value, peer)
            if task.stream is not None and task.stream.missing:
                core.lineage.run_again(task)
            return
        if task.cancel:
            objects.discard(message.values[1:], peer)
            self.fail_cancelled(task)
            return
        self.core.record_error(task, message.error, message.traceback)
        task.code = RAISED
        value = message.values[0]
        self.finish(task, FAILED, message.error or "raised")
        for good in message.values[1:]:
            objects.complete(good.oid, good, peer)
        self._complete_all(task, value.kind, value.data, value.contained)

    def should_retry(self, task: Task) -> bool:
        """Whether the task has attempts left, after one more failure."""
        limit = task.spec.spec.max_retries
        used = task.attempt - self.core.memory.spared(task)
        return not task.cancel and (limit < 0 or used < limit)

    def requeue(self, task: Task, cause: str, *, again: bool, code: str = WORKER_DIED) -> None:
        """Back to the queue; ``again`` when an attempt was used up, ``code`` says by what."""
        if again:
            self.core.history.attempt_failed(task, code, cause, self.core.now)
        if again:
            task.attempt += 1
        self.put_back(task, cause)
        self.core.scheduler.requeue(task)

    def put_back(self, task: Task, cause: str) -> None:
        """It was handed out, and waits again; the caller says where."""
        task.worker = None
        task.gpus = None
        task.started = 0.0
        self.move(task, PENDING_RESOURCES, cause)

    def fail(self, task: Task, failure: bytes, state: int, cause: str) -> None:
        """The system gives the task an error instead of a result."""
        if state == FAILED:
            decoded = msgspec.msgpack.decode(failure, type=m.Failure)
            self.core.record_error(task, decoded.message.split("\n")[0], decoded.message)
            task.code = decoded.code
        self.finish(task, state, cause)
        self._complete_all(task, m.FAILURE, failure, None)

    def fail_cancelled(self, task: Task) -> None:
        failure = task.doom or self.core.failure(
            "cancelled", f"Task {task.name} was cancelled.", task=task
        )
        self.fail(task, failure, CANCELLED, "cancelled")

    def finish(self, task: Task, state: int, cause: str) -> None:
        """Leave the table; arguments are let go. The caller completes the objects."""
        core = self.core
        task.finished = core.now
        self.move(task, state, cause)
        del self.table[task.id]
        core.recent.append(task)
        if task.parent:
            siblings = self.children.get(task.parent)
            if siblings is not None:
                siblings.pop(task.id, None)
                if not siblings:
                    del self.children[task.parent]
        task.args = b""
        if core.lineage.running:
            core.lineage.ended(task)
        if task.deps:
            core.objects.unpin(task.deps)
        if task.pins:
            core.objects.unpin(task.pins)
        if task.stream is not None:
            core.streams.end(task)
        if task.actor is not None:
            core.actors.call_ended(task)
        if task.pins or len(task.deps) > _DEPS_KEPT:  # the newest tasks stay visible: not all this
            task.deps, task.pins = task.deps[:_DEPS_KEPT], []

    def _complete_all(
        self, task: Task, kind: int, data: bytes, contained: list[bytes] | None
    ) -> None:
        self._tell_of_failure(task, kind, data)
        if task.stream is not None:
            self.core.streams.add_failure(task, kind, data, contained)
        for i in range(task.spec.returns):
            oid = ids.object_id(task.id, i)
            value = m.Value(oid, kind, data, len(data), contained)
            self.core.objects.complete(oid, value, 0)

    def _tell_of_failure(self, task: Task, kind: int, data: bytes) -> None:
        """The submitter hears of a failure even if it has dropped the ref, and nobody else has one:
        it reports what nobody will ask for."""
        obj = self.core.objects.table.get(ids.object_id(task.id, 0))
        if obj is None or obj.holders or obj.pins or task.state != FAILED:
            return
        client = self.core.clients.get(task.client)
        if client is not None and client.role == "driver":
            self.core.effects.out[client.peer].append(
                m.Objects([m.Value(obj.id, kind, data, len(data))])
            )

    # --- cancellation ------------------------------------------------------------------------

    def cancel(self, task_id: bytes, force: bool, recursive: bool) -> None:
        """Cancel a task in whatever state it is; unknown and finished tasks are left alone."""
        task = self.table.get(task_id)
        if task is not None and task.spec.spec.kind == m.ACTOR_CREATE:
            return
        if recursive:
            for child in list(self.children.get(task_id, ())):
                self.cancel(child, force, True)
        if task is None:  # called on a channel, perhaps: its caller knows
            obj = self.core.objects.table.get(_object_id(task_id, 0))
            if obj is not None and obj.kind == PENDING:
                owner = self.core.objects.declared.get(obj.id, obj.owner)  # if it dropped its ref
                if owner:
                    self.core.effects.out[owner].append(m.CancelRunning(task_id))
            return
        if task.id not in self.table:
            return
        task.cancel = True
        if task.state in (PENDING_ARGS, PENDING_RESOURCES):
            if task.actor is not None:
                self.core.actors.withdraw(task)
            else:
                self.core.scheduler.withdraw(task)
            self.fail_cancelled(task)
            return
        worker = task.worker
        if worker is None:
            return
        if not force or task.actor is not None:
            self.core.effects.out[worker.peer].append(m.CancelRunning(task.id, recursive))
            if not worker.entered and task.actor is None:
                # It enters its environment, for as long as a hook takes: nothing has begun.
                self.core.scheduler.give_back(worker, [task.id])
        elif len(worker.queue) == 1:
            self.core.kill_worker(worker, "cancelled with force=True")
        else:
            # It may have ended, or not begun: only the process knows which of them it runs.
            self.core.effects.out[worker.peer].append(m.CancelRunning(task.id, recursive))
            self.core.effects.actions.append(KillWorker(worker.number, task.id))

    def withdraw_job(self, job: int) -> None:
        """A driver is gone: nothing of its work goes on."""
        for task in [t for t in self.table.values() if t.job == job]:
            if task.id not in self.table or task.spec.spec.kind == m.ACTOR_CREATE:
                continue
            actor = task.actor
            if actor is not None and actor.job != job and task.state >= SUBMITTED:
                continue  # it runs in another driver's actor, and ends by itself
            task.cancel = True
            if task.state in (PENDING_ARGS, PENDING_RESOURCES):
                self.cancel(task.id, False, False)
            elif task.worker is not None and actor is None:
                if task.state == RUNNING:
                    self.core.kill_worker(task.worker, "its driver ended")
                else:  # it stands behind a task that may be another driver's
                    self.core.effects.out[task.worker.peer].append(m.CancelRunning(task.id))


def _decoded(data: bytes) -> m.Failure | None:
    """A failure; None for what a client put as one that is none."""
    try:
        return msgspec.msgpack.decode(data, type=m.Failure)
    except msgspec.MsgspecError:
        return None
