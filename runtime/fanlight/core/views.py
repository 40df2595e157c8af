"""Records of the core as observers see them (:mod:`fanlight.events`)."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from fanlight import events as e
from fanlight import messages as m
from fanlight.core.model import (
    ACTOR_STATES,
    RUNNING,
    TASK_STATES,
    WORKER_STATES,
    Actor,
    Group,
    Object,
    Task,
    Worker,
)

if TYPE_CHECKING:
    from fanlight.core.machine import Core, ErrorRecord

_size_of = operator.attrgetter("size")
_DEPS_SHOWN = 32
_OBJECTS_SHOWN = 20
OBJECTS_SCANNED = 100_000
_MESSAGE_SHOWN = 2_000  # characters; a snapshot holds up to 200 errors
_TRACEBACK_SHOWN = 20_000
_NAME_SHOWN = 200  # an event holds hundreds of them


def task_view(task: Task) -> e.TaskView:
    worker = task.worker
    return e.TaskView(
        id=task.id.hex(),
        group=task.spec.group.number,
        name=task.name[:_NAME_SHOWN],
        state=TASK_STATES[task.state],  # type: ignore[arg-type]
        deps=[oid[:24].hex() for oid in task.deps[:_DEPS_SHOWN]],
        parent=task.parent.hex(),
        actor=task.actor.id.hex() if task.actor is not None else "",
        worker=worker.id.hex() if worker is not None else "",
        submitted=task.submitted,
        started=task.started,
        finished=task.finished,
        attempt=task.attempt,
        error=task.error[:_MESSAGE_SHOWN],
    )


def snapshot_tasks(core: Core) -> list[Task]:
    """What an observer is told at first: the newest that ended, what runs, the newest that wait."""
    half = e.TASK_LIMIT // 2
    ended = [*islice(reversed(core.recent), half)][::-1]
    waiting = [*islice(reversed(core.tasks.table.values()), half)][::-1]
    newest = {t.id for t in waiting}
    # Of very many the oldest run: they would be missing among the newest.
    older = [t for t in islice(running_tasks(core), half) if t.id not in newest]
    return [*ended, *older, *waiting[len(older) :]]


def delta_tasks(core: Core, limit: int) -> list[Task]:
    """Of what changed, the newest changes; before them, where they are too many, what runs."""
    changed = core.changed_tasks.values()
    newest = [*islice(reversed(changed), limit)][::-1]
    older = islice(changed, max(0, len(changed) - limit))
    begun = [t for t in older if t.state == RUNNING][-limit // 2 :]
    return begun + newest[len(begun) :]


def running_tasks(core: Core) -> Iterator[Task]:
    """The tasks that run now, worker by worker."""
    for worker in core.workers.values():
        tasks: Iterable[Task] = worker.queue
        actor = worker.actor
        if actor is not None:
            tasks = chain(tasks, actor.flight.values(), actor.direct.values())
        yield from (t for t in tasks if t.state == RUNNING)


def group_view(group: Group) -> e.GroupView:
    return e.GroupView(
        id=group.number,
        name=group.name[:_NAME_SHOWN],
        kind=group.kind,  # type: ignore[arg-type]
        origin=group.origin[:_NAME_SHOWN],
        counts=dict(zip(TASK_STATES, group.counts, strict=True)),  # type: ignore[arg-type]
        duration=group.duration,
        first=group.first,
        last=group.last,
    )


def worker_view(worker: Worker, cpu_percent: float, rss: int) -> e.WorkerView:
    running = worker.queue[0] if worker.queue else None
    actor = worker.actor
    if actor is not None:
        running = next(iter(actor.flight.values()), actor.create if worker.queue else None)
        running = running or next(iter(actor.direct.values()), None)
    return e.WorkerView(
        id=worker.id.hex(),
        pid=worker.pid,
        state=WORKER_STATES[worker.state],  # type: ignore[arg-type]
        cpu_percent=cpu_percent,
        rss=rss,
        task=running.name[:_NAME_SHOWN] if running is not None else "",
        task_id=running.id.hex() if running is not None else "",
        actor=actor.spec.spec.name[:_NAME_SHOWN] if actor is not None else "",
        finished=worker.finished,
        gpus=worker.gpus or [],
    )


def actor_view(actor: Actor) -> e.ActorView:
    worker = actor.worker
    waiting = sum(len(line) for line in actor.lines.values())
    return e.ActorView(
        id=actor.id.hex(),
        class_name=actor.spec.spec.name[:_NAME_SHOWN],
        name=actor.name[:_NAME_SHOWN],
        namespace=actor.namespace[:_NAME_SHOWN],
        state=ACTOR_STATES[actor.state],  # type: ignore[arg-type]
        worker=worker.id.hex() if worker is not None else "",
        pid=worker.pid if worker is not None else 0,
        queued=waiting + len(actor.backlog) + len(actor.flight) + len(actor.direct),
        finished=actor.finished,
        restarts=actor.deaths,
        death_cause=_cut(actor.exit_reason, _MESSAGE_SHOWN)
        if ACTOR_STATES[actor.state] == "DEAD"
        else "",
    )


def error_view(record: ErrorRecord) -> e.ErrorView:
    return e.ErrorView(
        task_id=record.task.hex(),
        group=record.group,
        name=record.name[:_NAME_SHOWN],
        origin=record.origin,
        time=record.time,
        message=_cut(record.message, _MESSAGE_SHOWN),
        traceback=_cut(record.traceback, _TRACEBACK_SHOWN),
    )


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` characters: the beginning and the end of a longer text."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - limit} characters left out …\n{text[-half:]}"


def store_view(core: Core) -> e.StoreView:
    objects = core.objects
    return e.StoreView(
        time=core.now,
        capacity=objects.capacity,
        used=max(objects.peak, objects.used - objects.cached),
        pinned=objects.mapped,
        cached=objects.cached,
        inline=objects.inline,
        spilled=core.spilling.away + objects.on_disk,
        objects=len(objects.table),
        spills=core.spilling.spills,
        restores=core.spilling.restores,
        spill_bytes=core.spilling.spilled,
        restore_bytes=core.spilling.restored,
    )


def object_views(core: Core) -> list[e.ObjectView]:
    """The largest stored objects, of the newest."""
    stored: Iterable[Object] = ()
    if core.objects.segments or core.spilling.away:
        newest = islice(reversed(core.objects.table.values()), OBJECTS_SCANNED)
        stored = (o for o in newest if o.kind in (m.STORED, m.AWAY))
    return [
        e.ObjectView(
            id=o.id.hex(),
            size=o.size,
            stored=True,
            creator=o.group.name[:_NAME_SHOWN] if o.group is not None else "put",
            origin=o.group.origin if o.group is not None else "",
            holders=o.holders,
        )
        for o in heapq.nlargest(_OBJECTS_SHOWN, stored, key=_size_of)
    ]


def edge_views(core: Core, keys: set[tuple[int, int, str]] | None = None) -> list[e.EdgeView]:
    edges, flows = core.edges, core.definitions.flows
    return [
        e.EdgeView(key[0], key[1], edges[key], key[2], flows.get(key, 0))  # type: ignore[arg-type]
        for key in (edges if keys is None else keys)
    ]
