"""Objects whose values are gone though somebody holds them: computed again, or failed with the reason.

The bytes of a stored object can be lost: its segment was deleted, cut short or overwritten by
somebody else, or what was spilled to disk cannot be read back. Whoever notices calls
:meth:`Lineage.lost`, and nobody waits for ever. Rules, which :mod:`fanlight.core.invariants` checks:

* What it takes to run a finished task once more, its *past*, is kept while one of its large results
  exists, or while another past needs it for an argument. It keeps no value alive but copies of small
  arguments, and all pasts together are bounded in bytes: the oldest are dropped first.
* A lost object is pending again, and either its task is under way, or it fails in the same step.
* A run that computes something again is an attempt like any other, and draws on the task's retries.

How runs are planned and begun is in :mod:`fanlight.core.recompute`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model, notices, recompute
from fanlight.core.model import PENDING, Object, Spec, Task

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_RECORD = 1_000  # bytes that a past is counted as, beside its arguments
_LOOKED_AT = 10_000  # arguments of one task, and refs in them, that are kept track of


class Past(msgspec.Struct, eq=False):
    """What it takes to run a finished task once more."""

    id: bytes
    number: int  # by the order in which the tasks had ended
    spec: Spec
    args: bytes
    deps: list[bytes]
    pins: list[bytes]
    parent: bytes
    client: int
    job: int
    attempt: int  # the last one that ended
    actor: bytes
    delivered: int  # items of a generator
    results: set[bytes]  # large ones that exist
    # Small arguments, and small values whose refs are in arguments: data, and the refs inside.
    values: dict[bytes, tuple[bytes, list[bytes] | None]]
    needs: set[bytes]  # tasks that made the others
    size: int


class Lineage:
    """A part of the core, beside :class:`fanlight.core.objects.Objects`, whose table it uses."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.large = core.config.large
        self.table: dict[bytes, Past] = {}  # by task, oldest first
        self.size = 0  # bytes, of all
        self.wanted: dict[bytes, int] = {}  # by task: how many pasts need its own
        self.evicted: dict[bytes, set[bytes]] = {}  # results whose past was dropped, by task
        self.running: dict[bytes, str] = {}  # tasks that run again, and why
        self.told = notices.Recomputed(core)
        self._made = 0

    # --- keeping -----------------------------------------------------------------------------

    def keep(self, task: Task, values: Iterable[m.Value]) -> None:
        """A task is about to finish that made large values, which are about to be complete."""
        if not recompute.limit_of(self.core, task.spec, task.actor):
            return
        table = self.core.objects.table
        large = {value.oid for value in values if value.size > self.large}
        self._keep(task, {oid for oid in large if oid in table and table[oid].kind == PENDING})

    def keep_items(self, task: Task) -> None:
        """A generator is about to finish; its items are complete."""
        stream = task.stream
        assert stream is not None
        if stream.large and recompute.limit_of(self.core, task.spec, task.actor):
            table = self.core.objects.table
            items = [table[oid] for oid in stream.large if oid in table]
            # One that was lost meanwhile has no size; nor is one large that is an error by now.
            good = (m.STORED, m.INLINE, m.AWAY)
            self._keep(task, {x.id for x in items if x.kind in good and x.size > self.large})

    def _keep(self, task: Task, results: set[bytes]) -> None:
        past = self.table.get(task.id)
        if past is not None:  # it ran again
            past.attempt = task.attempt
            past.results |= results
            return
        again = task.stream is not None and task.stream.missing  # in a moment
        if not results and task.id not in self.wanted and not again:
            return
        self._made += 1
        past = Past(
            task.id, self._made, task.spec, task.args, task.deps, task.pins, task.parent,
            task.client, task.job, task.attempt, task.actor.id if task.actor is not None else b"",
            task.stream.delivered if task.stream is not None else 0, results, {}, set(),
            _RECORD + len(task.args) + 28 * (len(task.deps) + len(task.pins)),
        )  # fmt: skip
        self._note_arguments(past)
        self.table[task.id] = past
        self.size += past.size
        while self.size > self.core.config.lineage_bytes:
            self._evict(next(iter(self.table.values())))

    def _note_arguments(self, past: Past) -> None:
        """Copy small values; note whose pasts are needed for the others."""
        table, wanted = self.core.objects.table, self.wanted
        todo = [*past.deps, *past.pins]
        seen: set[bytes] = set()
        while todo and len(seen) < _LOOKED_AT:
            oid = todo.pop()
            obj = table.get(oid)
            if obj is None or oid in seen:
                continue
            seen.add(oid)
            if obj.kind == m.INLINE and obj.size <= self.large:
                past.values[oid] = (obj.data, obj.contained)
                past.size += len(obj.data) + 200
                todo += obj.contained or ()
            elif obj.group is not None:
                maker = ids.task_of(oid)
                known = maker in self.table or obj.kind == PENDING
                if known and maker not in past.needs and maker != past.id:
                    past.needs.add(maker)
                    wanted[maker] = wanted.get(maker, 0) + 1

    def freed(self, obj: Object) -> None:
        """A large object is not in the table any more."""
        task = ids.task_of(obj.id)
        past = self.table.get(task)
        if past is not None:
            past.results.discard(obj.id)
            self._settle(past)
        else:
            self._not_evicted(task, obj.id)

    def _not_evicted(self, task: bytes, oid: bytes) -> None:
        results = self.evicted.get(task)
        if results is not None:
            results.discard(oid)
            if not results:
                del self.evicted[task]

    def _settle(self, past: Past) -> None:
        """Drop a past that is of no use any more, and those that only it needed."""
        todo = [past]
        while todo:
            past = todo.pop()
            if past.results or past.id in self.wanted or past.id in self.running:
                continue
            if self.table.pop(past.id, None) is not None:
                self.size -= past.size
                todo += self._needs_no_more(past)

    def _needs_no_more(self, past: Past) -> list[Past]:
        """A past that is dropped needs no others; returns those that nobody needs now."""
        loose = []
        for task in past.needs:
            self.wanted[task] -= 1
            if not self.wanted[task]:
                del self.wanted[task]
                if task in self.table:
                    loose.append(self.table[task])
        return loose

    def _evict(self, past: Past) -> None:
        """Drop a past though it may be needed yet: there are too many."""
        del self.table[past.id]
        self.size -= past.size
        if past.results:
            self.evicted[past.id] = past.results
        for loose in self._needs_no_more(past):
            self._settle(loose)

    # --- losing ------------------------------------------------------------------------------

    def report(self, peer: int, x: m.LostObject) -> None:
        """A process could not read an object's segment. It asks for the new value, if it wants it."""
        if not x.oid:
            self.core.effects.actions.append(recompute.RESTORE_FOLDER)
            return
        objects = self.core.objects
        obj = objects.table.get(x.oid)
        # Else the segment that it speaks of was replaced meanwhile.
        known = obj is not None and obj.kind == m.STORED and obj.data == x.segment.encode()
        if known and obj is not None and not self.core.spilling.has_copy(obj):
            self.lost(obj, x.saw)
        if x.wanted:
            objects.subscribe(peer, [x.oid])

    def lost(self, obj: Object, reason: str) -> None:
        """The bytes of an object that has a value are gone, for ``reason`` (a clause, for people:
        "its file in shared memory was deleted").

        Its segment is deleted. Its task runs again if it may; else everyone who waits for it, or
        asks for it from now on, gets an ObjectReconstructionFailedError that says why not.
        """
        if obj.kind == PENDING or obj.kind in (m.ERROR, m.FAILURE):
            return  # known already
        core, objects = self.core, self.core.objects
        task = recompute.under_way(core, obj.id)
        past = self.table.get(ids.task_of(obj.id))
        if past is not None:
            past.results.discard(obj.id)
        runs: list[Past] = []
        problem = b""
        if task is None:
            try:
                runs = recompute.plan(core, obj.id)
            except recompute.Refused as e:
                problem = recompute.failure(core, obj, reason, e)
        elif task.stream is not None:  # it yielded the item a moment ago, and goes on
            task.stream.missing.add(obj.id)
        self._not_evicted(ids.task_of(obj.id), obj.id)
        objects.vacate(obj)
        core.tasks.argument_lost(obj)
        if problem:
            objects.fail([obj.id], problem)
            if past is not None:
                self._settle(past)
        else:
            recompute.start(core, runs, [obj.id], reason)

    def run_again(self, task: Task) -> None:
        """A generator has finished, and items of it were lost while it ran."""
        assert task.stream is not None
        objects = self.core.objects
        known = [objects.table[oid] for oid in task.stream.missing if oid in objects.table]
        missing = [obj.id for obj in known if obj.holders or obj.pins]
        for obj in known:
            if not (obj.holders or obj.pins):
                objects.forget(obj.id)
        past = self.table.get(task.id)
        if missing:
            try:
                runs = recompute.plan(self.core, missing[0])
            except recompute.Refused as e:
                obj = objects.table[missing[0]]
                objects.fail(missing, recompute.failure(self.core, obj, "", e))
            else:
                recompute.start(self.core, runs, missing, "an item was lost while it ran")
        if past is not None:
            self._settle(past)

    def ended(self, task: Task) -> None:
        """A task leaves the table; called while any runs again."""
        if self.running.pop(task.id, None) is not None:
            past = self.table.get(task.id)
            if past is not None:
                past.attempt = task.attempt
                again = task.stream is not None and task.stream.missing
                if not (again and task.state == model.FINISHED):  # else see run_again
                    self._settle(past)

    def given_back(self, task: Task) -> None:
        """A worker did not start a task: it waits again for arguments that were lost."""
        tasks, table = self.core.tasks, self.core.objects.table
        if task.id not in tasks.table:
            return  # its runtime environment, or its placement group, has failed meanwhile
        for oid in dict.fromkeys(task.deps):
            obj = table.get(oid)
            if obj is None:
                continue
            if obj.kind == PENDING:
                tasks.await_again(task, obj)
            elif obj.kind in (m.ERROR, m.FAILURE) and task.state == model.PENDING_RESOURCES:
                self.core.scheduler.withdraw(task)
                tasks.dependency_failed(task, obj)
            if task.id not in tasks.table:
                return


__all__ = ["Lineage", "Past"]
