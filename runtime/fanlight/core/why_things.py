"""Why other things than tasks wait, and the question as clients and observers ask it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import model
from fanlight.core.model import ACTOR_STATES, PENDING, Actor, Client, Object, Task
from fanlight.core.placement import GROUP_STATES, PlacementGroup
from fanlight.core.why import Why
from fanlight.core.why_holders import held, held_text, holders
from fanlight.core.why_text import Node, amount, called, lines, seconds, sentence, several

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_MANY = 1_000  # refs in one question
_KINDS = 8  # different reasons that one answer tells
_SCANNED = 200_000  # tasks that are looked through for a name


# --- actors --------------------------------------------------------------------------------------
def actor_node(why: Why, actor: Actor, depth: int) -> Node:
    """What an actor does, or why it does nothing yet."""
    core = why.core
    node: Node = {
        "kind": "actor",
        "name": actor.spec.spec.name,
        "id": actor.id.hex(),
        "state": ACTOR_STATES[actor.state],
        "next": [],
        "restarts": actor.deaths,
        "origin": actor.spec.spec.origin,
        "queued": len(actor.backlog) + sum(len(line) for line in actor.lines.values()),
    }
    if actor.state == model.A_DEAD:
        reason = actor.exit_reason.split("\n")[0] or "no reason is known"
        ago = f" since {seconds(core.now - actor.ended)}" if actor.ended else ""
        return node | {"code": "failed", "clause": f"is dead{ago}: {reason}", "error": reason}
    if actor.state != model.A_ALIVE and actor.create is not None:
        made = why.task(actor.create, depth)
        if actor.state == model.A_RESTARTING:
            how = actor.lost_reason.split("\n")[0].partition("unexpectedly, ")[2].split(". ")[0]
            ended = f" after its process ended ({how.rstrip('.')})" if how else ""
            made["clause"] = f"is being restarted{ended}, and {made['clause']}"
            made["code"] = "restart" if made["code"] in ("process", "running") else made["code"]
        return node | {k: v for k, v in made.items() if k not in ("kind", "name", "id", "state")}
    calls = [*actor.flight.values(), *actor.direct.values()]
    running = sorted(calls, key=lambda t: (t.state != model.RUNNING, t.started or t.submitted))
    where = "" if actor.worker is None else f" (worker {actor.worker.number}, pid {actor.pid})"
    node["pid"] = actor.pid
    if stopped := why._stopped(actor.worker):
        return node | stopped
    waiting = node["queued"] + max(0, len(calls) - actor.spec.spec.max_concurrency)
    if not running:
        behind = next((line[0] for line in actor.lines.values() if line), None)
        if behind is not None:
            found = why.task(behind, depth + 1)
            clause = f"is alive and idle{where}; its next call is {called(found)}"
            return node | {"code": "turn", "clause": clause, "next": [found]}
        return node | {"code": "idle", "clause": f"is alive and idle{where}"}
    first = why.task(running[0], depth + 1)
    more = f" ({waiting} more call{'s' * (waiting != 1)} after that)" if waiting else ""
    clause = f"is alive and runs {called(first)}{more}"
    return node | {"code": "running", "clause": clause, "next": [first], "ahead": waiting}


# --- placement groups ----------------------------------------------------------------------------
def group_node(core: Core, group: PlacementGroup) -> Node:
    """Why a placement group is not reserved, or that it is."""
    node: Node = {
        "kind": "group",
        "name": group.label,
        "id": group.id.hex(),
        "state": GROUP_STATES[group.state],
        "next": [],
    }
    if group.id not in core.placement.pending:
        if group.bundles:
            total = several(f"{x / UNITS:g} {name}" for name, x in group.total().items())
            return node | {"code": "ready", "clause": f"is reserved, and holds {total}"}
        return node | {"code": "cancelled", "clause": "was removed"}
    if never := core.placement.never(group):
        hint = "remove_placement_group() gives it up."
        clause = f"can never be placed here: {never}"
        return node | {"code": "infeasible", "clause": clause, "hint": hint}
    missing = core.pool.missing(group.total())
    if not missing:
        first = next(iter(core.placement.pending.values()))
        if first is not group:
            clause = f"is not reserved yet: it waits behind the {first.label}"
            return node | {"code": "kept", "clause": clause}
        found = holders(core, {"GPU"}, core.pool)
        clause = "is not reserved yet: it waits for whole GPUs"
        return node | {"code": "gpu", "clause": clause, **held(found)}
    totals = {n: (w, f, core.pool.total.get(n, 0) / UNITS) for n, (w, f) in missing.items()}
    need = several(f"{w:g} {n} ({f:g} of {t:g} free)" for n, (w, f, t) in totals.items())
    found = holders(core, set(missing), core.pool)
    clause = f"is not reserved yet: it waits for {need}, held by {held_text(found)}"
    return node | {"code": "resources", "clause": clause, "resources": totals, **held(found)}


# --- objects -------------------------------------------------------------------------------------
def object_node(core: Core, oid: bytes) -> Node:
    """What an object's value waits for, or where it is."""
    obj = core.objects.table.get(oid)
    if oid.endswith(ids.ACTOR_SUFFIX) and oid[: ids.ACTOR_LEN] in core.actors.table:
        return Why(core).actor(core.actors.table[oid[: ids.ACTOR_LEN]])
    made = core.tasks.table.get(oid[: ids.TASK_LEN]) or _recent(core, oid[: ids.TASK_LEN])
    if obj is None:
        return _gone(core, oid, made)
    if obj.kind == PENDING:
        return Why(core).makes(oid, 0)
    name = obj.group.name if obj.group is not None else made.name if made is not None else "put"
    node: Node = {
        "kind": "object",
        "name": name,
        "id": oid.hex(),
        "state": "READY",
        "next": [],
        "size": obj.size,
        "place": core.room.place_of(obj),
        "holders": obj.holders,
        "origin": obj.group.origin if obj.group is not None else "",
    }
    if obj.kind in (m.ERROR, m.FAILURE):
        return node | _failed(core, obj, made)
    since = ""
    if made is not None and made.finished:
        took = seconds(made.finished - made.started) if made.started else "0.0 s"
        since = f"; its task finished {seconds(core.now - made.finished)} ago, after {took}"
    places = {
        "node": "in the runtime's memory",
        "memory": "in the object store",
        "mapped": "in the object store, mapped by some process",
        "disk": "on disk",
    }
    place = places.get(node["place"], "in the runtime's memory")
    code, clause = "ready", f"is ready: {amount(obj.size)} {place}{since}"
    if oid in core.spilling.returning:
        code, clause = "restoring", f"is being brought back from disk ({amount(obj.size)}){since}"
    elif obj.kind == m.AWAY:
        code = "spilled"
        clause = f"is ready, on disk ({amount(obj.size)}): it comes back when it is used{since}"
    return node | {"code": code, "clause": clause}


def _failed(core: Core, obj: Object, made: Task | None) -> Node:
    if obj.kind == m.FAILURE:
        failure = msgspec.msgpack.decode(obj.data, type=m.Failure)
        lost = failure.code in ("object_lost", "reconstruction_failed")
        code = "cancelled" if failure.code == "cancelled" else "lost" if lost else "failed"
        error = failure.message.split("\n")[0]
        verb = {"cancelled": "was cancelled", "lost": "is lost"}.get(code, "failed")
        return {"state": "FAILED", "code": code, "clause": f"{verb}: {error}", "error": error}
    record = next((e for e in reversed(core.errors) if e.task == obj.id[: ids.TASK_LEN]), None)
    error = made.error if made is not None else record.message if record is not None else ""
    ago = f" {seconds(core.now - made.finished)} ago" if made is not None and made.finished else ""
    clause = f"failed{ago}: {error[:500] or 'get() raises the error'}"
    return {"state": "FAILED", "code": "failed", "clause": clause, "error": error}


def _gone(core: Core, oid: bytes, made: Task | None) -> Node:
    node: Node = {"kind": "object", "name": "the object", "id": oid.hex(), "state": "GONE"}
    node |= {"next": [], "code": "freed"}
    if made is not None:
        node["name"] = made.name
        text = "has been freed: no process holds a ref to it any more"
        if made.state < model.FINISHED:
            text = "is not wanted any more: no process holds a ref to its result"
        return node | {"clause": text}
    if oid[: ids.CLIENT_LEN] in core.peers:
        return node | {"clause": "has been freed: no process holds a ref to it any more"}
    text = "is not known here: it was freed, or is another runtime's"
    return node | {"code": "unknown", "clause": text}


def _recent(core: Core, task_id: bytes) -> Task | None:
    return next((t for t in reversed(core.recent) if t.id == task_id), None)


# --- the question --------------------------------------------------------------------------------
def query(core: Core, client: Client, args: dict[str, Any]) -> Any:
    """``id``: hexadecimal, of an object, task, actor or group; or ``name``; or ``ids`` of objects.

    Answers a node with ``sentence`` and ``lines``; for ``ids``: ``total``, ``ready``, ``reasons``:
    such nodes, each with ``count``, of those that are not ready. Raises LookupError.
    """
    if "ids" in args:
        return _many(core, client, [bytes.fromhex(x) for x in args["ids"][:_MANY]])
    if "id" in args:
        node = _by_id(core, bytes.fromhex(args["id"]), args)
    else:
        node = _by_name(core, client, str(args["name"]))
    return _finish(core, client, node)


def _finish(core: Core, client: Client, node: Node) -> Node:
    job = client.job if client.worker is None else client.worker.job
    task = core.tasks.table.get(bytes.fromhex(node["id"])) if len(node["id"]) == 48 else None
    if task is not None and job and task.job != job:
        owners = (c.pid for c in core.clients.values() if c.role == "driver" and c.job == task.job)
        node["driver"] = next(owners, 0)
    return node | {"sentence": sentence(node), "lines": lines(node)}


def _by_id(core: Core, key: bytes, args: dict[str, Any]) -> Node:
    if len(key) == ids.OBJECT_LEN:
        return object_node(core, key)
    if len(key) == ids.TASK_LEN:
        task = core.tasks.table.get(key) or _recent(core, key)
        if task is not None:
            return Why(core).task(task)
        actor = core.actors.table.get(bytes.fromhex(args.get("actor", "")))
        if actor is not None:  # a call that only its caller and the actor know
            node = Why(core).actor(actor)
            clause = f"was sent to its actor `{node['name']}` and is not answered yet"
            call = {"kind": "call", "name": str(args.get("label", "the call")), "id": key.hex()}
            return {**call, "state": "SUBMITTED", "code": "turn", "clause": clause, "next": [node]}
        raise LookupError("The task ended a while ago; the runtime keeps only the newest ones.")
    if key in core.actors.table:
        return Why(core).actor(core.actors.table[key])
    if key in core.placement.table:
        return group_node(core, core.placement.table[key])
    raise LookupError("There is no task, object, actor or placement group of this id here.")


def _by_name(core: Core, client: Client, name: str) -> Node:
    """An unfinished task of this name, else an actor, a group, or the newest task that ended."""
    tasks = islice(core.tasks.table.values(), _SCANNED)
    found = [t for t in tasks if t.name == name]
    job = client.job if client.worker is None else client.worker.job
    found.sort(key=lambda t: (t.job != job, t.submitted))
    actors = [a for a in core.actors.table.values() if name in (a.name, a.spec.spec.name)]
    actors.sort(key=lambda a: (a.name != name, a.state == model.A_DEAD, a.job != job))
    if actors and (not found or found[0].actor is not None):
        node = Why(core).actor(actors[0])
        node["same"] = len(actors) - 1
        return node
    if found:
        node = Why(core).task(found[0])
        node["same"] = len(found) - 1
        return node
    for (_, known), group in core.placement.names.items():
        if known == name:
            return group_node(core, group)
    ended = next((t for t in reversed(core.recent) if t.name == name), None)
    if ended is None:
        raise LookupError(f"There is no task, actor or placement group named {name!r} here.")
    return Why(core).task(ended)


def _many(core: Core, client: Client, oids: list[bytes]) -> Any:
    first: dict[object, bytes] = {}
    counts: dict[object, int] = {}
    ready = 0
    for oid, key in zip(oids, _classes(core, oids), strict=True):
        if key is None:
            ready += 1
            continue
        first.setdefault(key, oid)
        counts[key] = counts.get(key, 0) + 1
    reasons = []
    order = sorted(first, key=lambda k: -counts[k])
    for key in order[:_KINDS]:
        node = _finish(core, client, object_node(core, first[key]))
        reasons.append(node | {"count": counts[key]})
    return {
        "total": len(oids),
        "ready": ready,
        "reasons": reasons,
        "left_out": sum(counts[k] for k in order[_KINDS:]),
    }


def _classes(core: Core, oids: Iterable[bytes]) -> Iterator[object]:
    """Of each object what stands for all that wait for the same; None if it has a value."""
    for oid in oids:
        obj = core.objects.table.get(oid)
        if oid.endswith(ids.ACTOR_SUFFIX):
            yield "actor", oid
        elif obj is None:
            yield "gone"
        elif obj.kind in (m.INLINE, m.STORED, m.AWAY):
            yield None
        elif obj.kind != PENDING:
            yield "failed", obj.group.number if obj.group is not None else 0
        else:
            task = core.tasks.table.get(oid[: ids.TASK_LEN])
            if task is None:
                yield "other"
            else:
                yield task.state, task.spec.number, task.client, task.worker is None
