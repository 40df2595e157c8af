"""What ``fanlight.status()`` and ``fanlight.memory()`` are made of: answers to two questions."""

from __future__ import annotations

import heapq
import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.memory_table import describe
from fanlight.core.model import (
    ACTOR_STATES,
    PENDING,
    TASK_STATES,
    WORKER_STATES,
    Client,
    Object,
    Task,
    Worker,
)
from fanlight.core.placement import GROUP_STATES
from fanlight.core.why import Why
from fanlight.core.why_holders import holders
from fanlight.core.why_things import group_node

if TYPE_CHECKING:
    from fanlight.core.machine import Core

Args = dict[str, Any]
_REASONS = 20  # kinds of pending work that are told
_SCANNED = 300_000  # objects that are looked at for one report, the newest
_TASKS = 20_000  # tasks that are looked through for what they use
_ROWS = 1_000
_SMALL = 1_024  # bytes: smaller objects are counted together
_HOLDERS = 8  # of one object
_size_of = operator.attrgetter("size")


# --- status --------------------------------------------------------------------------------------
def status(core: Core, _client: Client, _args: Args) -> Any:
    """Resources and who holds them, processes, tasks by state, what is pending and why, memory."""
    totals = [0] * len(TASK_STATES)
    for group in core.groups.values():
        for i, n in enumerate(group.counts):
            totals[i] += n
    workers = core.workers.values()
    return {
        "started": core.started,
        "now": core.now,
        "total": core.resources(core.pool.total),
        "available": core.resources(core.pool.available),
        "held_by": _held(core),
        "workers": Counter(WORKER_STATES[w.state] for w in workers),
        "stopped": [core.stopped.why(w) for w in workers if w.number in core.stopped.table],
        "failed_starts": core.scheduler.failed_starts,
        "drivers": [c.pid for c in core.clients.values() if c.role == "driver"],
        "tasks": dict(zip(TASK_STATES, totals, strict=True)),
        "pending": _pending(core),
        "actors": Counter(ACTOR_STATES[a.state] for a in core.actors.table.values()),
        "groups": Counter(GROUP_STATES[g.state] for g in core.placement.table.values()),
        "store": store(core),
        "memory": _memory(core),
        "trouble": core.spilling.trouble,
    }


def store(core: Core) -> dict[str, int]:
    """Bytes of the object store."""
    objects, spilling = core.objects, core.spilling
    return {
        "capacity": objects.capacity,
        "used": objects.used,
        "reserved": objects.reserved,
        "mapped": objects.mapped,
        "cached": objects.cached,
        "spilled": spilling.away + objects.on_disk,  # bytes that are on disk only
        "spilled_total": spilling.spilled,  # bytes written since the start
        "restored_total": spilling.restored,
        "inline": objects.inline,
        "objects": len(objects.table),
        "segments": len(objects.segments),
        "lineage": core.lineage.size,
    }


def _memory(core: Core) -> dict[str, Any] | None:
    x = core.memory.sample
    if x is None:
        return None
    return {"used": x.used, "limit": x.limit, "threshold": x.threshold, "scope": x.scope}


def _held(core: Core) -> list[dict[str, Any]]:
    """Who holds resources of the node, by kind and name."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for h in holders(core, set(core.pool.total), core.pool):
        row = found.setdefault(
            (h["kind"], h["name"]), {"kind": h["kind"], "name": h["name"], "count": 0, "held": {}}
        )
        row["count"] += 1
        for name, amount in h["held"].items():
            row["held"][name] = row["held"].get(name, 0.0) + amount
    return list(found.values())[:_REASONS]


def _pending(core: Core) -> list[dict[str, Any]]:
    """Work that could run but for what it asks for: kinds of it, how many, and why each waits."""
    rows: dict[object, dict[str, Any]] = {}

    def add(key: object, tasks: list[Task] | Task, count: int, kind: str) -> None:
        row = rows.get(key)
        if row is not None:
            row["count"] += count
        elif len(rows) < _REASONS:
            task = tasks if isinstance(tasks, Task) else tasks[0]
            node = Why(core).task(task)
            rows[key] = {
                "kind": kind,
                "name": task.name,
                "count": count,
                "demand": core.resources(task.spec.spec.resources),
                "code": node["code"],
                "clause": node["clause"],
            }

    for queue in core.scheduler.turn:
        if queue.tasks:
            add((queue.shape, queue.tasks[0].name), queue.tasks[0], len(queue.tasks), "task")
    for task in islice(core.scheduler.creations, _TASKS):
        add((task.spec.shape, task.name, "actor"), task, 1, "actor")
    for env in core.environments.table.values():
        if env.waiting:
            first = next(iter(env.waiting.values()))
            add(("env", env.key), first, len(env.waiting), "task")
    for task in core.memory.held.values():
        add(("memory", task.name), task, 1, "task")
    found = list(rows.values())
    for group in islice(core.placement.pending.values(), _REASONS):
        node = group_node(core, group)
        row = {"kind": "placement group", "name": group.label, "count": 1, "code": node["code"]}
        found.append(row | {"demand": core.resources(group.total()), "clause": node["clause"]})
    return found


# --- memory --------------------------------------------------------------------------------------
def memory(core: Core, _client: Client, args: Args) -> Any:
    """The ``limit`` largest objects with all that is known of them, and sums of all by their maker.

    Sizes in bytes, times in seconds since the epoch (0: not known).
    """
    limit = max(0, min(int(args.get("limit", 50)), _ROWS))
    scanned = max(0, min(int(args.get("scanned", _SCANNED)), _SCANNED))
    found = [
        obj
        for obj in islice(reversed(core.objects.table.values()), scanned)
        if obj.size >= _SMALL and obj.kind != PENDING
    ]
    sums: dict[tuple[str, str], list[int]] = {}
    for obj in found:
        total = sums.setdefault(_maker(obj), [0, 0])
        total[0] += 1
        total[1] += obj.size
    largest = heapq.nlargest(limit, found, key=_size_of)
    users = _users(core, {obj.id for obj in largest})
    ended = {task.id: task for task in core.recent}
    makers = sorted(sums.items(), key=lambda item: -item[1][1])
    return {
        "now": core.now,
        "store": store(core),
        "rows": [_row(core, obj, users.get(obj.id, []), ended) for obj in largest],
        "makers": [
            {"creator": name, "origin": origin, "count": count, "size": size}
            for (name, origin), (count, size) in makers[:_ROWS]
        ],
        "count": len(found),
        "size": sum(map(_size_of, found)),
        "small": len(core.objects.table) - len(found),
    }


def _maker(obj: Object) -> tuple[str, str]:
    return ("put", "") if obj.group is None else (obj.group.name, obj.group.origin)


def _row(core: Core, obj: Object, users: list[str], ended: dict[bytes, Task]) -> dict[str, Any]:
    creator, origin = _maker(obj)
    task = ended.get(obj.id[: ids.TASK_LEN])
    segment = core.objects.segments.get(obj.data.decode()) if obj.kind == m.STORED else None
    peers = [obj.owner, *sorted(obj.others or ())] if obj.owner else sorted(obj.others or ())
    state = "FAILED" if obj.kind >= m.ERROR else "READY"
    if obj.id in core.spilling.returning:
        state = "RESTORING"
    return {
        "id": obj.id.hex(),
        "size": obj.size,
        "state": state,
        "place": core.room.place_of(obj),
        "file": segment.name if segment is not None else core.spilling.files.get(obj.id, ""),
        "creator": creator,
        "origin": origin,
        "site": core.objects.sites.get(obj.id, ""),
        "made": task.finished if task is not None else 0.0,
        "holders": [h for peer in peers[:_HOLDERS] if (h := _client_of(core, peer))],
        "holders_count": obj.holders,
        "mapped": [
            h for peer in islice(segment.mapped if segment is not None else (), _HOLDERS)
            if (h := _client_of(core, peer))
        ],
        "pins": obj.pins,
        "used_by": users,
    }  # fmt: skip


def _client_of(core: Core, peer: int) -> dict[str, Any]:
    """A process that holds something: its role, pid, and what it runs; {} if it is gone."""
    client = core.clients.get(peer)
    if client is None:
        return {}
    worker: Worker | None = client.worker
    what = describe(core, worker) if worker is not None else client.role
    return {"role": client.role, "pid": client.pid, "what": what}


def _users(core: Core, wanted: set[bytes]) -> dict[bytes, list[str]]:
    """Unfinished tasks, by name, that have these objects as arguments; and values that refs to
    them are in."""
    found: dict[bytes, list[str]] = {}
    if not wanted:
        return found
    for task in islice(core.tasks.table.values(), _TASKS):
        for oid in _of(task.deps, task.pins):
            if oid in wanted and len(found.setdefault(oid, [])) < _HOLDERS:
                found[oid].append(f"an argument of `{task.name}`")
    for obj in islice(core.objects.table.values(), _TASKS):
        for oid in obj.contained or ():
            if oid in wanted and len(found.setdefault(oid, [])) < _HOLDERS:
                found[oid].append(f"in a value of `{_maker(obj)[0]}`")
    for actor in core.actors.table.values():
        if actor.state != model.A_DEAD:
            for oid in _of(actor.message.deps, actor.message.pins):
                if oid in wanted and len(found.setdefault(oid, [])) < _HOLDERS:
                    found[oid].append(f"an argument of the actor `{actor.spec.spec.name}`")
    return found


def _of(*lists: Iterable[bytes] | None) -> Iterator[bytes]:
    return chain.from_iterable(x for x in lists if x)
