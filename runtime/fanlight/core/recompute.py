"""Runs of finished tasks that compute lost objects again: which ones it takes, and their beginning.

A part of :mod:`fanlight.core.lineage`. Chains of arguments may be long: everything is worked off in
loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.effects import RestoreFolder
from fanlight.core.model import Actor, Object, Spec, Task

if TYPE_CHECKING:
    from fanlight.core.lineage import Past
    from fanlight.core.machine import Core

RESTORE_FOLDER = RestoreFolder()


class Refused(Exception):
    """The object cannot be computed again. ``code`` is one word, the text a sentence."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def limit_of(core: Core, spec: Spec, actor: Actor | None) -> int:
    """How often a task may be run again in all; -1 for any number of times."""
    limit = spec.spec.max_retries
    if actor is not None and not limit:
        limit = actor.message.max_task_retries
    return limit


# --- which runs ------------------------------------------------------------------------------------


def plan(core: Core, oid: bytes) -> list[Past]:
    """The tasks to run for a lost object: its own, and those of arguments that are gone, too.

    Raises Refused if one of them may not run again.
    """
    runs: dict[bytes, Past] = {}
    todo = [(oid, b"")]
    table = core.objects.table
    while todo:
        wanted, by = todo.pop()
        task = ids.task_of(wanted)
        if task in runs or under_way(core, wanted) is not None:
            continue
        try:
            past = core.lineage.table.get(task)
            if past is None:
                raise _without_past(core, wanted)
            _check(core, past)
        except Refused as e:
            if not by:
                raise
            name = core.lineage.table[by].spec.spec.name
            text = f"{name} would have to run again, and an argument of it is gone, too: {e}"
            raise Refused(e.code, text) from None
        runs[task] = past
        needed = {dep for dep in past.deps if dep not in past.values}
        # If a ref inside cannot be had, whoever asks for it hears so: perhaps nobody does.
        pasts = core.lineage.table
        needed.update(inner for inner in _inside(past) if ids.task_of(inner) in pasts)
        todo.extend((dep, task) for dep in sorted(needed - table.keys()))
    return sorted(runs.values(), key=lambda past: past.number)


def under_way(core: Core, oid: bytes) -> Task | None:
    """The task that will complete an object. The node has no results of calls on channels."""
    task = core.tasks.table.get(ids.task_of(oid))
    return task if task is not None and not task.direct else None


def _inside(past: Past) -> list[bytes]:
    """Refs inside a task's arguments."""
    found = [oid for oid in past.pins if oid not in past.values]
    for _, contained in past.values.values():
        found += [oid for oid in contained or () if oid not in past.values]
    return found


def _without_past(core: Core, oid: bytes) -> Refused:
    """Why a task is not known any more."""
    if ids.task_of(oid) in core.lineage.evicted or ids.task_of(oid) in core.lineage.wanted:
        # Wanted and not there: small ones are copied, all others were there once.
        megabytes = core.config.lineage_bytes / 1e6
        return Refused(
            "LINEAGE_EVICTED",
            "what it takes to run its task again was dropped, since that of all tasks together may "
            f"take {megabytes:.0f} MB. Raise RAY_max_lineage_bytes before init(), or store "
            "intermediate results in files.",
        )
    obj = core.objects.table.get(oid)
    if obj is None:
        return Refused(
            "OUT_OF_SCOPE",
            "nobody held it any more, and it was stored with put(), or was a large argument, or its "
            "task may not run twice. Keep a ref to it.",
        )
    group = obj.group
    if group is None:
        return Refused(
            "PUT",
            "it was stored with put() (or as a large argument of a call, or as an item of a dynamic "
            "generator), so there is no task that could make it again. Have a task make what must "
            "not be lost, or keep a copy.",
        )
    if group.kind == "method":
        return Refused(
            "RETRIES_DISABLED",
            f"{group.name} is a method of an actor that is not called again. Set max_task_retries "
            "of the actor, or max_retries of the method, if it may be called twice.",
        )
    return Refused(
        "RETRIES_DISABLED",
        f"{group.name} has max_retries=0, or failed after it had yielded it. Set max_retries, if it "
        "may run twice.",
    )


def _check(core: Core, past: Past) -> None:
    """Raises Refused if a task may not run again."""
    spec = past.spec.spec
    actor = core.actors.table.get(past.actor) if past.actor else None
    if past.actor and (actor is None or actor.state == model.A_DEAD):
        why = f" {actor.exit_reason}" if actor is not None else ""
        raise Refused("ACTOR_DIED", f"the actor of {spec.name} is dead.{why}")
    limit = limit_of(core, past.spec, actor)
    if 0 <= limit <= past.attempt:
        raise Refused(
            "MAX_ATTEMPTS_EXCEEDED",
            f"{spec.name} has run {past.attempt + 1} time(s), as often as it may. Raise "
            f"{'max_task_retries' if past.actor else 'max_retries'}.",
        )
    if _client(core, past) is None:
        raise Refused("OWNER_DIED", f"the driver that had submitted {spec.name} is gone.")


def _client(core: Core, past: Past) -> int | None:
    """On whose behalf it runs: who had submitted it, or the driver whose work it is."""
    if past.client in core.clients:
        return past.client
    drivers = (c.peer for c in core.clients.values() if c.role == "driver" and c.job == past.job)
    return next(drivers, None)


def failure(core: Core, obj: Object, reason: str, refused: Refused) -> bytes:
    """What everyone gets who asks for an object that is gone for good."""
    made = f"a result of {obj.group.name}" if obj.group is not None else "a value that was put"
    why = f": {reason}" if reason else ""
    return core.failure(
        "reconstruction_failed",
        f"The object {obj.id.hex()} ({made}) is lost{why}. It cannot be computed again "
        f"({refused.code}): {refused}",
        detail={"reason": refused.code},
    )


# --- their beginning -------------------------------------------------------------------------------


def start(core: Core, runs: list[Past], oids: list[bytes], reason: str) -> None:
    """Run tasks again, for objects of one of them, which are pending."""
    tasks: list[tuple[Past, Task]] = []
    for past in runs:
        client = _client(core, past)
        assert client is not None
        task = Task(
            past.id, past.spec, past.args, past.deps, past.pins, past.parent, client, past.job,
            core.now, bool(past.spec.spec.max_calls), attempt=past.attempt + 1,
        )  # fmt: skip
        core.tasks.table[task.id] = task
        own = task.id == ids.task_of(oids[0])
        core.lineage.running[task.id] = (
            f"its result was lost: {reason}" if own else "an argument of a lost object is gone, too"
        )
        if past.spec.streams:
            core.streams.begin(task)
            assert task.stream is not None
            task.stream.again = task.stream.closed = True
            task.stream.delivered = past.delivered
            if own:
                task.stream.missing.update(oids)
        tasks.append((past, task))
    for past, task in tasks:
        _provide(core, past)
        table = core.objects.table
        # Refs inside arguments that cannot be had are not pinned: whoever asks for one hears so.
        task.pins = [oid for oid in past.pins if oid in table]
    for past, task in tasks:
        limit = limit_of(core, past.spec, core.actors.table.get(past.actor))
        core.lineage.told.tell(task, limit, reason)
        if task.parent:
            core.tasks.note_parent(task)
        if task.pins:
            core.objects.pin(task.pins)
        core.tasks.admit(task, past.actor)


def _provide(core: Core, past: Past) -> None:
    """Make the objects that a run takes, where they are not there any more."""
    objects = core.objects
    made: list[Object] = []
    todo = [*past.deps, *past.pins]
    while todo:
        oid = todo.pop()
        if oid in objects.table:
            continue
        copy = past.values.get(oid)
        producer = under_way(core, oid)
        if copy is not None:
            data, contained = copy
            obj = objects.create(oid, 0, None)
            obj.kind, obj.data, obj.size = m.INLINE, data, len(data)
            objects.inline += len(data)
            if contained:
                todo += contained
                obj.contained = contained
                made.append(obj)
        elif producer is not None:
            objects.create(oid, 0, producer.spec.group)
            if producer.stream is not None and ids.index_of(oid):
                producer.stream.missing.add(oid)
    for obj in made:
        assert obj.contained is not None
        obj.contained = [oid for oid in obj.contained if oid in objects.table]
        objects.pin(obj.contained)


__all__ = ["RESTORE_FOLDER", "Refused", "failure", "limit_of", "plan", "start"]
