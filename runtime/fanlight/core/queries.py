"""Questions that clients and observers may ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight import messages as m
from fanlight.core import causes, closeup, graph, kept, reports, rolls, state, timeline, why_things
from fanlight.core.model import PENDING, TASK_STATES, Client, Object
from fanlight.core.placement import PlacementGroup
from fanlight.core.why import text

if TYPE_CHECKING:
    from fanlight.core.machine import Core

Args = dict[str, Any]


def _nodes(core: Core, _client: Client, _args: Args) -> Any:
    total = core.resources(core.pool.total)
    config = core.config
    return [
        {
            "NodeID": config.node_id.hex(),
            "Alive": True,
            "alive": True,
            "NodeManagerAddress": config.address,
            "NodeManagerHostname": config.hostname,
            "Resources": total,
            "Labels": core.placement.labels,
        }
    ]


def _resources(core: Core, _client: Client, _args: Args) -> Any:
    return {
        "total": core.resources(core.pool.total),
        "available": core.resources(core.pool.available),
    }


def _job(core: Core, client: Client, _args: Args) -> Any:
    return {"job": client.job}


def _drivers(core: Core, _client: Client, _args: Args) -> Any:
    return sum(1 for c in core.clients.values() if c.role == "driver")


def _get_actor(core: Core, client: Client, args: Args) -> Any:
    actor = core.actors.names.get((args["namespace"], args["name"]))
    if actor is None:
        raise LookupError(
            f"Failed to look up actor {args['name']!r} in namespace {args['namespace']!r}: there "
            "is none of that name. It may have died, or lives in another namespace."
        )
    return core.actors.describe(actor)


def _describe_actor(core: Core, client: Client, args: Args) -> Any:
    return core.actors.describe(core.actors.table[bytes.fromhex(args["id"])])


def _named_actors(core: Core, client: Client, args: Args) -> Any:
    return [
        {"name": name, "namespace": namespace}
        for namespace, name in core.actors.names
        if args.get("all") or namespace == args.get("namespace")
    ]


def _prometheus(core: Core, client: Client, args: Args) -> Any:
    return core.metrics.text()


def _group_tasks(core: Core, client: Client, args: Args) -> Any:
    from fanlight.core.views import task_view

    group, limit = args["group"], min(int(args.get("limit", 500)), 2000)
    found = [t for t in core.tasks.table.values() if t.spec.group.number == group]
    found += [t for t in core.recent if t.spec.group.number == group]
    found.sort(key=lambda t: t.submitted)
    return {"tasks": [task_view(t) for t in found[-limit:]]}


def _object(core: Core, client: Client, args: Args) -> Any:
    oid = bytes.fromhex(args["id"])
    obj = core.objects.table.get(oid)
    if obj is None:
        return {"state": "GONE", "size": 0, "creator": "", "holders": 0, "why": ""}
    return object_facts(core, obj)


_GONE = {"state": "GONE", "size": 0, "creator": "", "origin": "", "holders": 0, "why": ""}
_MANY = 5_000  # objects of one question


def _objects(core: Core, client: Client, args: Args) -> Any:
    """State, size and maker of many objects: ``ids`` are theirs, joined."""
    joined: bytes = args["ids"][: _MANY * ids.OBJECT_LEN]
    found = []
    for start in range(0, len(joined), ids.OBJECT_LEN):
        obj = core.objects.table.get(joined[start : start + ids.OBJECT_LEN])
        if obj is None:
            found.append(_GONE)
            continue
        state = "READY" if obj.kind in (m.INLINE, m.STORED, m.AWAY) else "FAILED"
        if obj.kind == PENDING:
            task = core.tasks.table.get(obj.id[: ids.TASK_LEN])
            state = TASK_STATES[task.state] if task is not None else "PENDING"
        group = obj.group
        found.append(
            {
                "state": state,
                "size": obj.size,
                "creator": group.name if group is not None else "put",
                "origin": group.origin if group is not None else "",
            }
        )
    return found


def _actor_facts(core: Core, client: Client, args: Args) -> Any:
    """An actor as observers see it, and why it is not there yet."""
    from fanlight.core.views import actor_view

    actor = core.actors.table.get(bytes.fromhex(args["id"]))
    if actor is None:
        raise LookupError("The actor ended a while ago; the runtime keeps only the newest ones.")
    return {
        "actor": actor_view(actor),
        "why": text(core, actor.create) if actor.create is not None else "",
    }


def object_facts(core: Core, obj: Object) -> dict[str, Any]:
    """State, size, origin and reason to wait of one object."""
    task = core.tasks.table.get(obj.id[: ids.TASK_LEN])
    states = {PENDING: "PENDING", m.INLINE: "READY", m.STORED: "READY", m.AWAY: "READY"}
    state = states.get(obj.kind, "FAILED")
    if state == "PENDING" and task is not None:
        state = TASK_STATES[task.state]
    return {
        "state": state,
        "size": obj.size,
        "stored": obj.kind in (m.STORED, m.AWAY),
        "place": core.room.place_of(obj),
        "creator": obj.group.name if obj.group is not None else "put",
        "origin": obj.group.origin if obj.group is not None else "",
        "holders": obj.holders,
        "why": text(core, task) if task is not None else "",
    }


def _store(core: Core, client: Client, args: Args) -> Any:
    return reports.store(core)


def _store_full(core: Core, client: Client, args: Args) -> Any:
    """What a client raises that could not store so many bytes, for a reason that it names."""
    return core.room.full(int(args["size"]), str(args.get("why", "")))


def _trim(core: Core, client: Client, args: Args) -> Any:
    """Have warm segments given back: others fill shared memory."""
    core.room.trim()
    return True


def _placement_group(core: Core, client: Client, args: Args) -> Any:
    """One group, by its id or by its name and namespace."""
    group: PlacementGroup | None
    if "id" in args:
        group = core.placement.table.get(bytes.fromhex(args["id"]))
    else:
        group = core.placement.names.get((args["namespace"], args["name"]))
    if group is None:
        raise LookupError(
            f"There is no placement group {args.get('name', args.get('id'))!r} here. It was "
            "removed, ended with its creator, or lives in another namespace."
        )
    return core.placement.describe(group)


def _placement_groups(core: Core, client: Client, args: Args) -> Any:
    return [core.placement.describe(group) for group in core.placement.table.values()]


def _counts(core: Core, client: Client, args: Args) -> Any:
    totals = [0] * 7
    for group in core.groups.values():
        if not args.get("origin") or group.origin == args["origin"]:
            for i, n in enumerate(group.counts):
                totals[i] += n
    return dict(zip(TASK_STATES, totals, strict=True))


def _tasks_of_origin(core: Core, client: Client, args: Args) -> Any:
    """Unfinished tasks submitted from one cell, for cancelling them.

    Of one driver: the cells of two copies of a notebook have the same ids.
    """
    origin, job = args["origin"], client.job if client.worker is None else client.worker.job
    return [
        t.id for t in core.tasks.table.values() if t.spec.spec.origin == origin and t.job == job
    ]


QUERIES: dict[str, Callable[[Core, Client, Args], Any]] = {
    "nodes": _nodes,
    "resources": _resources,
    "job": _job,
    "drivers": _drivers,
    "get_actor": _get_actor,
    "describe_actor": _describe_actor,
    "named_actors": _named_actors,
    "task": closeup.task,
    "neighbours": closeup.neighbours,
    "actor": closeup.actor,
    "worker": closeup.worker,
    "named": closeup.named,
    "spans": closeup.spans,
    "columns": rolls.query,
    "errors": causes.query,
    "panel_objects": kept.query,
    "group_tasks": _group_tasks,
    "object": _object,
    "why": why_things.query,
    "status": reports.status,
    "memory": reports.memory,
    "objects": _objects,
    "actor_facts": _actor_facts,
    "store": _store,
    "store_full": _store_full,
    "trim": _trim,
    "placement_group": _placement_group,
    "placement_groups": _placement_groups,
    "counts": _counts,
    "tasks_of_origin": _tasks_of_origin,
    "state": state.listing,
    "state_summary": state.summary,
    "timeline": timeline.query,
    "graph": graph.query,
    "prometheus": _prometheus,
}
