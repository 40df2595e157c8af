"""Why a task waits: answered from the tables alone, as a node of :mod:`fanlight.core.why_text`.

Each reason has a ``code``: argument, resources, gpu, kept, infeasible, placement, environment, memory,
processes, process, worker_limit, actor, restart, turn, behind, paused, inproc (only while the driver waits),
blocked, stopped, running, finished, failed, cancelled. Actors, objects and groups are in :mod:`fanlight.core.why_things`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import model
from fanlight.core.model import PENDING, TASK_STATES, Actor, Task, Worker
from fanlight.core.placement import PlacementGroup
from fanlight.core.why_holders import held, held_text, holders
from fanlight.core.why_text import Node, called, seconds, sentence, several

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.core.resources import Pool

_DEPTH = 25  # reasons in one chain
_WIDTH = 4  # things that one thing waits for, that are looked at
_MOST = 60  # things that are looked at for one question
_SCANNED = 20_000  # tasks that are looked through for those that another one waits for
_JUST = 0.05  # seconds
# What matters more, if a thing waits for several: what will never come before what takes its time.
_WORST = ("infeasible", "stopped", "failed", "cancelled", "lost", "unknown", "memory", "processes")


class Why:
    """One question. It is asked rarely, and looks at no more than it must."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._seen: set[bytes] = set()

    # --- tasks -------------------------------------------------------------------------------

    def task(self, task: Task, depth: int = 0) -> Node:
        spec = task.spec.spec
        create = spec.kind == m.ACTOR_CREATE
        core = self.core
        node: Node = {
            "kind": "actor" if create else "task" if task.actor is None else "call",
            "name": task.name,
            "id": task.actor.id.hex() if create and task.actor is not None else task.id.hex(),
            "state": TASK_STATES[task.state],
            "next": [],
            "waited": core.now - task.submitted,
            "attempt": task.attempt,
            "origin": spec.origin,
            "again": core.lineage.running.get(task.id, ""),
        }
        if task.attempt:
            past = (a for a in reversed(core.history.attempts) if a.task is task)
            node["failed"] = next((a.error for a in past), "")[:300]
        if task.id in self._seen:  # only if the tables are wrong: nothing waits for itself
            return node | {"code": "seen", "clause": "is named above"}
        self._seen.add(task.id)
        node |= self._over(task) if task.state >= model.FINISHED else self._unfinished(task, depth)
        if node["again"]:
            node["clause"] = (
                f"is being computed again, because {node['again']}, and {node['clause']}"
            )
        return node

    def _over(self, task: Task) -> Node:
        took = seconds(task.finished - task.started)
        ago = seconds(self.core.now - task.finished)
        if task.state == model.FINISHED:
            ran = f", after it had run for {took}" if task.started else ""
            return {"code": "finished", "clause": f"finished {ago} ago{ran}", **_place(task)}
        if task.state == model.CANCELLED:
            return {"code": "cancelled", "clause": f"was cancelled {ago} ago"}
        error = task.error[:500] or "no reason is known"
        return {"code": "failed", "clause": f"failed {ago} ago: {error}", "error": task.error}

    def _unfinished(self, task: Task, depth: int) -> Node:
        core = self.core
        if task.state == model.PENDING_ARGS:
            missing = [
                oid
                for oid in dict.fromkeys(task.deps)
                if (obj := core.objects.table.get(oid)) is not None and obj.kind == PENDING
            ]
            if missing:
                return self._arguments(task, missing, depth)
        actor = task.actor
        if actor is not None and task.spec.spec.kind != m.ACTOR_CREATE:
            if actor.state != model.A_ALIVE:
                clause = f"waits for its actor `{actor.spec.spec.name}`"
                return {"code": "actor", "clause": clause, "next": [self.actor(actor, depth + 1)]}
            return self._call(task, actor, depth)
        if task.state in (model.PENDING_ARGS, model.PENDING_RESOURCES):
            return self._resources(task)
        if stopped := self._stopped(task.worker):
            return stopped
        if task.state == model.SUBMITTED:
            first = task.worker.queue[0] if task.worker is not None and task.worker.queue else None
            others = first is not None and first is not task
            behind = [self.task(first, depth + 1)] if others and first is not None else []
            clause = "is with a worker, behind another short task"
            if behind:
                clause = f"is with a worker, behind {called(behind[0])}"
            return {"code": "behind", "clause": clause, "next": behind, **_place(task)}
        return self._running(task, depth)

    def _arguments(self, task: Task, missing: list[bytes], depth: int) -> Node:
        found = self._several(
            [lambda oid=oid: self.makes(oid, depth + 1) for oid in missing], depth
        )
        first = called(found[0]) if found else "an object"
        many, of = len(missing), len(set(task.deps))
        if many == 1:
            clause = f"waits for its argument {first}"
        elif many == of:
            clause = f"waits for {many} arguments, first of all {first}"
        else:
            clause = f"waits for {many} of its {of} arguments, first of all {first}"
        return {
            "code": "argument",
            "clause": clause,
            "missing": many,
            "next": found,
            "left_out": len(missing) - len(found),
        }

    def makes(self, oid: bytes, depth: int) -> Node:
        """The node of what makes a pending object."""
        core = self.core
        task = core.tasks.table.get(oid[: ids.TASK_LEN])
        if task is not None:
            return self.task(task, depth)
        node: Node = {"kind": "object", "name": "an object", "id": oid.hex(), "state": "PENDING"}
        owner = core.objects.declared.get(oid)
        client = core.clients.get(owner) if owner is not None else None
        if client is not None:
            who = f"{client.role} with pid {client.pid}"
            return node | {
                "code": "declared",
                "clause": f"is the result of an actor's call that the {who} has not got yet",
                "next": [],
            }
        for group in core.placement.pending.values():
            if any(oid == waiting for waiting, _ in group.waiting):
                return self.group(group)
        return node | {"code": "unknown", "clause": "is not made by any task", "next": []}

    def _several(self, looks: list[Any], depth: int) -> list[Node]:
        """What a few of them say, the worst first, each thing once."""
        if depth >= _DEPTH or len(self._seen) >= _MOST:
            return []
        found: dict[str, Node] = {}
        for look in looks[:_WIDTH]:
            node = look()
            if node["code"] != "seen" or not found:
                found.setdefault(node["id"], node)
        return sorted(found.values(), key=lambda n: _severity(n))

    # --- resources ---------------------------------------------------------------------------

    def _resources(self, task: Task) -> Node:
        core, spec = self.core, task.spec.spec
        demand, cpu, where = dict(spec.resources), spec.placement_cpu, task.spec.where
        if text := core.memory.why(task):
            return {"code": "memory", "clause": _clause(text)}
        pools = list(core.scheduler.pools(where))
        grouped = where is not None and where.group
        if where is not None and (text := core.placement.why(where, demand, cpu)):
            group = core.placement.table.get(where.group)
            if group is not None and group in core.placement.pending.values():
                return {
                    "code": "placement",
                    "clause": f"waits for its {group.label}",
                    "next": [self.group(group)],
                }
            if "can never run" in text:
                return {"code": "infeasible", "clause": _clause(text), "hint": _GIVE_UP}
            found = [h for pool in pools for h in holders(core, set(demand), pool)]
            return {
                "code": "resources",
                "clause": _clause(text),
                **held(found),
                **_ahead(core, task),
            }
        placed = max(demand.get("CPU", 0), cpu)
        least = {**demand, "CPU": placed} if placed else demand
        if not grouped and not core.pool.feasible(least):
            lacking = core.pool.lacking(least)
            clause = f"can never run here: it asks for {lacking}"
            return {"code": "infeasible", "clause": clause, "hint": _GIVE_UP}
        if text := core.environments.why(spec.env):
            return {"code": "environment", "clause": _clause(text)}
        pool = next((p for p in pools if p.fits(demand)), None)
        if pool is None:
            return self._lacking(task, pools[0] if pools else core.pool, demand)
        kept = core.scheduler.patience.kept
        who = task if task.actor is not None else task.spec.shape
        if kept is not None and not core.scheduler.patience.lets(who, pool, demand):
            name = self._waiter(kept.who)
            need = several(f"{value / UNITS:g} {n}" for n, value in kept.demand.items())
            clause = f"waits until {name} has had its turn, for which {need} is kept"
            return {"code": "kept", "clause": clause, **_ahead(core, task)}
        if text := core.processes.why(task):
            return {"code": "processes", "clause": _clause(text)}
        return self._process(task)

    def _lacking(self, task: Task, pool: Pool, demand: dict[str, int]) -> Node:
        core = self.core
        missing = pool.missing(demand)
        if not missing:  # enough of it, but in pieces
            whole = demand.get("GPU", 0) / UNITS
            free = several(f"{part / UNITS:g}" for part in pool.devices if part)
            found = holders(core, {"GPU"}, pool)
            clause = f"waits for {whole:g} GPU in one piece (free on the devices: {free})"
            return {"code": "gpu", "clause": clause, **held(found), **_ahead(core, task)}
        need = several(
            f"{want:g} {name} ({free:g} of {pool.total.get(name, 0) / UNITS:g} free)"
            for name, (want, free) in missing.items()
        )
        found = holders(core, set(missing), pool)
        ahead = _ahead(core, task)
        clause = f"waits for {need}, held by {held_text(found)}"
        if ahead:
            clause += f"; {ahead['ahead']} like it come{'s' * (ahead['ahead'] == 1)} first"
        totals = {n: (w, f, pool.total.get(n, 0) / UNITS) for n, (w, f) in missing.items()}
        return {
            "code": "resources", "clause": clause, "resources": totals, **held(found), **ahead,
        }  # fmt: skip

    def _waiter(self, who: Any) -> str:
        if isinstance(who, PlacementGroup):
            return f"the {who.label}"
        if isinstance(who, Task):
            return f"the actor `{who.name}`"
        queues = (q for q in self.core.scheduler.turn if q.shape == who and q.tasks)
        task = next((q.tasks[0] for q in queues), None)
        return f"`{task.name}`" if task is not None else "other work"

    def _process(self, task: Task) -> Node:
        """Nothing lacks but a process."""
        scheduler, env = self.core.scheduler, task.spec.spec.env
        ahead = _ahead(self.core, task)
        if scheduler.failed_starts:
            clause = (
                f"waits for a worker process: {scheduler.failed_starts} in a row could not be "
                "started, and another one is tried soon"
            )
        elif scheduler.starting[env]:
            clause = "waits for a worker process, which is being started"
        elif scheduler.crowded:
            clause = f"waits for a worker process: {scheduler.limit} are there, and all are in use"
            return {"code": "worker_limit", "clause": clause, **ahead}
        else:
            clause = "waits for a worker process"
        return {"code": "process", "clause": clause, **ahead}

    # --- what runs ---------------------------------------------------------------------------

    def _stopped(self, worker: Worker | None) -> Node:
        text = self.core.stopped.why(worker)
        if not text or worker is None:
            return {}
        first, _, rest = text.partition(". ")
        return {
            "code": "stopped",
            "clause": f"stands still: {first[0].lower()}{first[1:]}",
            "hint": rest,
            "pid": worker.pid,
        }

    def _running(self, task: Task, depth: int) -> Node:
        core, worker = self.core, task.worker
        node: Node = {"code": "running", "for": core.now - task.started, **_place(task)}
        where = _where(worker)
        if core.executing is not None and task.id not in core.executing:
            clause = "is next: work goes on while this process waits in get() or wait()"
            return node | {"code": "inproc", "clause": f"{clause} (engine='inproc')"}
        if worker is not None and not worker.entered:
            clause = f"is with a worker that sets up its runtime environment{where}"
            return node | {"code": "environment", "clause": clause}
        what = "has been in its constructor" if _makes_actor(task) else "has been running"
        ran = core.now - task.started
        clause = f"{what} for {seconds(ran)}{where}"
        if ran < _JUST:
            clause = f"has just begun{where}"
        stream = task.stream
        if stream is not None and stream.paused:
            left = stream.delivered - stream.consumed
            clause += f", and pauses until its consumer takes some of the {left} items that wait"
            return node | {"code": "paused", "clause": clause}
        waits = worker is not None and worker.state == model.W_BLOCKED
        if not waits and worker is not None and worker.actor is None:
            return node | {"clause": clause}
        children = self._children(task, worker)
        if not children or not (waits or task.actor is not None):
            return node | {"clause": clause + (", and waits in get()" if waits else "")}
        found = self._several([lambda t=t: self.task(t, depth + 1) for t in children], depth)
        if not found or not waits:
            names = several(dict.fromkeys(f"`{t.name}`" for t in children))
            many = len(children)
            verb = "are" if many > 1 else "is"
            own = f"; {names}, which it has submitted, {verb} not finished"  # an actor may wait for it
            tail = f", and waits in get() for {names}" if waits else own
            return node | {"clause": clause + tail, "submitted": many, "next": []}
        clause += f", and waits in get() for {called(found[0])}"
        return node | {"code": "blocked", "clause": clause, "next": found}

    def _children(self, task: Task, worker: Worker | None) -> list[Task]:
        """Unfinished tasks that a running one has submitted."""
        table = self.core.tasks.table
        return [
            t
            for t in islice(reversed(table.values()), _SCANNED)
            if t.parent == task.id and t is not task
        ][-_WIDTH:]

    # --- calls of actors ---------------------------------------------------------------------

    def _call(self, task: Task, actor: Actor, depth: int) -> Node:
        if stopped := self._stopped(actor.worker):
            return stopped
        name = actor.spec.spec.name
        first, limit, room = self._before(task, actor)
        runs = task.id in actor.flight or task.direct
        if runs and len(first) < limit:
            return self._running(task, depth)
        if not runs and not first:
            line = next((x for x in actor.lines.values() if task in x), None)
            if line and line[0] is not task:  # an earlier call lacks an argument
                found = [self.task(line[0], depth + 1)] if depth < _DEPTH else []
                clause = f"waits behind {called(found[0]) if found else 'an earlier call'}"
                return {"code": "turn", "clause": f"{clause} of the same caller", "next": found}
            return {"code": "turn", "clause": f"is about to be sent to its actor `{name}`"}
        found = [self.task(first[0], depth + 1)] if first and depth < _DEPTH else []
        group = task.spec.spec.group
        many = (
            f"{len(first)} call{'s' * (len(first) != 1)} of it come{'s' * (len(first) == 1)} first"
        )
        busy = f" ({room})" if room else ""
        clause = f"waits for its turn on its actor `{name}`{busy}: {many}"
        clause += f", now {called(found[0])}" if found else ""
        return {
            "code": "turn", "clause": clause, "next": found, "ahead": len(first), "group": group,
        }  # fmt: skip

    def _before(self, task: Task, actor: Actor) -> tuple[list[Task], int, str]:
        """Calls that come before one, how many may run at once, and that in words."""
        spec, group = actor.spec.spec, task.spec.spec.group
        limit, room = spec.max_concurrency, ""
        if spec.groups:
            limit = spec.groups.get(group, spec.max_concurrency)
            room = f"its concurrency group {group or 'default'!r} runs {limit} at a time"
        elif limit > 1:
            room = f"which runs {limit} calls at a time"

        def same(t: Task) -> bool:
            return not spec.groups or t.spec.spec.group == group

        found = [t for t in actor.direct.values() if t is not task and same(t)]
        if task.direct:
            found = [t for t in found if t.submitted < task.submitted or t.state == model.RUNNING]
        for t in actor.flight.values():
            if t is task:
                break
            if same(t):
                found.append(t)
        else:  # it was not sent yet
            if not task.direct:
                for t in actor.backlog:
                    if t is task:
                        break
                    if same(t):
                        found.append(t)
        found.sort(key=lambda t: (t.state != model.RUNNING, t.submitted))
        return found, limit, room

    # --- actors and groups -------------------------------------------------------------------

    def actor(self, actor: Actor, depth: int = 0) -> Node:
        from fanlight.core.why_things import actor_node

        return actor_node(self, actor, depth)

    def group(self, group: PlacementGroup) -> Node:
        from fanlight.core.why_things import group_node

        return group_node(self.core, group)


_GIVE_UP = "It waits all the same, in case that changes; cancel() gives it up."


def _makes_actor(task: Task) -> bool:
    return task.spec.spec.kind == m.ACTOR_CREATE


def _severity(node: Node) -> int:
    links = [node]
    while links[-1]["next"]:
        links.append(links[-1]["next"][0])
    code = links[-1]["code"]
    if code in _WORST:
        return _WORST.index(code)
    return len(_WORST) + (code in ("running", "blocked"))


def _clause(text: str) -> str:
    """A sentence that begins with "It", as a clause."""
    return text.removeprefix("It ").rstrip(".")


def _where(worker: Worker | None) -> str:
    return f" (worker {worker.number}, pid {worker.pid})" if worker is not None else ""


def _place(task: Task) -> Node:
    worker = task.worker
    return {} if worker is None else {"worker": worker.number, "pid": worker.pid}


def _ahead(core: Core, task: Task) -> Node:
    """How many of the same shape and caller are to run before it."""
    if _makes_actor(task):
        creations = core.scheduler.creations
        count = creations.index(task) if task in creations else 0
    else:
        queue = core.scheduler.queues.get((task.spec.shape, task.client))
        try:  # a million may stand there: it is gone through once
            count = queue.tasks.index(task) if queue is not None else 0
        except ValueError:
            count = 0
    return {"ahead": count} if count else {}


def text(core: Core, task: Task) -> str:
    """What an unfinished task waits for, in one sentence or two."""
    found = sentence(Why(core).task(task), "It")
    return found.removesuffix(f" {_GIVE_UP}")  # who asks says it in other words
