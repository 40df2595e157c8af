"""Where work may run, beyond what it asks for: placement groups, labels, one particular node.

A placement group is a list of *bundles*, amounts of resources that are reserved together or not at
all, oldest group first. A reserved bundle is a pool of its own: its resources are gone from the
node's pool, its GPUs are particular devices, and work inside the group takes from it alone. When the
group is removed, what runs inside is killed; until a process is really gone, what it held counts as
held of the node's pool, so nothing is given out twice.

::

    PENDING ──────► CREATED ──────► REMOVED
        └──────────────────────────────┘      kept for a while, so that it can be named
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import model
from fanlight.core.model import A_DEAD, FAILED, NEW, PENDING_ARGS, PENDING_RESOURCES, Actor, Task
from fanlight.core.resources import Pool

if TYPE_CHECKING:
    from fanlight.core.machine import Core

G_PENDING, G_CREATED, G_REMOVED = range(3)
GROUP_STATES = ("PENDING", "CREATED", "REMOVED")
GROUP_MOVES: dict[int, frozenset[int]] = {
    NEW: frozenset({G_PENDING}),
    # Everything is reserved / removed before that.
    G_PENDING: frozenset({G_CREATED, G_REMOVED}),
    G_CREATED: frozenset({G_REMOVED}),
    G_REMOVED: frozenset(),
}
STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
REMOVED_KEPT = 200  # removed groups that can still be asked about
NODE_ID_LABEL = "ray.io/node-id"


class PlacementGroup:
    """One group, from its creation until it is forgotten."""

    __slots__ = (
        "bundles", "demands", "detached", "id", "job", "name", "namespace", "owner", "state",
        "strategy", "waiting",
    )  # fmt: skip

    def __init__(self, message: m.CreateGroup, job: int, owner: bytes) -> None:
        self.id = message.group
        self.name = message.name
        self.namespace = message.namespace
        self.strategy = message.strategy
        self.demands = message.bundles
        self.detached = message.detached
        self.job = job
        self.owner = owner  # the detached actor that made it, b"" if none
        self.state = NEW
        self.bundles: list[Pool] = []  # while it is CREATED
        self.waiting: list[tuple[bytes, bytes]] = []  # objects for ready(), and their values

    @property
    def label(self) -> str:
        """What people see."""
        return f"placement group {self.name!r}" if self.name else f"placement group {self.short}"

    @property
    def short(self) -> str:
        return self.id.hex()[:8]

    def total(self) -> dict[str, int]:
        """What all of its bundles hold together."""
        total: dict[str, int] = {}
        for demand in self.demands:
            for name, amount in demand.items():
                total[name] = total.get(name, 0) + amount
        return total


class Placement:
    """All groups, and the answer to "from which pool may this work take?"."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.labels = {**core.config.labels, NODE_ID_LABEL: core.config.node_id.hex()}
        self.table: dict[bytes, PlacementGroup] = {}
        self.names: dict[tuple[str, str], PlacementGroup] = {}
        self.pending: dict[bytes, PlacementGroup] = {}  # oldest first
        self.removed: deque[bytes] = deque()

    def move(self, group: PlacementGroup, new: int, cause: str) -> None:
        old, story = group.state, self.core.story
        if new not in GROUP_MOVES[old]:
            raise story.illegal(group.id, GROUP_STATES, old, new, cause)
        story.note((group.id, GROUP_STATES, old, new, cause))
        group.state = new

    # --- the life of a group -----------------------------------------------------------------

    def create(self, peer: int, x: m.CreateGroup) -> None:
        """A client makes a group. A named one is answered, since the name may be taken."""
        core = self.core
        if x.group in self.table or not x.bundles or x.strategy not in STRATEGIES:
            raise model.ProtocolViolation("a placement group made twice, or of nothing")
        if x.name and (x.namespace, x.name) in self.names:
            error = f"The name {x.name!r} is taken by another placement group in this namespace."
            core.reply(peer, x.request, None, error)
            return
        client = core.clients[peer]
        worker = client.worker
        actor = worker.actor if worker is not None else None
        owner = actor.id if actor is not None and actor.detached else b""
        group = PlacementGroup(x, client.job if worker is None else worker.job, owner)
        self.table[group.id] = self.pending[group.id] = group
        self.move(group, G_PENDING, "created")
        if group.name:
            self.names[group.namespace, group.name] = group
            core.reply(peer, x.request, group.id)

    def reserve(self) -> None:
        """Give pending groups what they ask for, the oldest first; called in every step."""
        patience = self.core.scheduler.patience
        refused = False
        for group in list(self.pending.values()):
            if self.never(group):
                continue
            bundles = self._bundles(group)
            if bundles is None:
                if not refused:  # the oldest stands for all
                    patience.refused(group, self.core.pool, group.total())
                    refused = True
                continue
            patience.granted(group, self.core.pool, group.total())
            group.bundles = bundles
            del self.pending[group.id]
            self.move(group, G_CREATED, "reserved")
            for oid, data in group.waiting:
                value = m.Value(oid, m.INLINE, data, len(data))
                self.core.objects.complete(oid, value, 0)
            group.waiting.clear()

    def _bundles(self, group: PlacementGroup) -> list[Pool] | None:
        """Reserve all bundles in the node's pool; None, and nothing reserved, if one does not fit."""
        pool = self.core.pool
        if not self.core.scheduler.patience.lets(group, pool, group.total()):
            return None
        made: dict[int, Pool] = {}
        # Whole GPUs before parts of one: the parts can use what is left of others.
        for i in sorted(
            range(len(group.demands)), key=lambda i: (-group.demands[i].get("GPU", 0), i)
        ):
            demand = group.demands[i]
            if not pool.fits(demand):
                for j, bundle in made.items():
                    pool.give(group.demands[j], bundle.owned)
                return None
            made[i] = Pool.part(demand, pool.take(demand), len(pool.devices))
        return [made[i] for i in range(len(group.demands))]

    def never(self, group: PlacementGroup) -> str:
        """Why the group can never be reserved here, "" if it may."""
        if group.strategy == "STRICT_SPREAD" and len(group.demands) > 1:
            return (
                f"its {len(group.demands)} bundles must be on different nodes (STRICT_SPREAD), and "
                "there is one node"
            )
        if not self.core.pool.feasible(group.total()):
            return f"it asks for {self.core.pool.lacking(group.total())}"
        return ""

    def ready(self, peer: int, x: m.GroupReady) -> None:
        """A client wants an object that has a value as soon as the group is reserved."""
        self.core.objects.check_new(peer, x.oid)
        self.core.objects.create(x.oid, peer, None)
        group = self.table.get(x.group)
        if group is not None and group.state == G_PENDING:
            group.waiting.append((x.oid, x.data))
        elif group is not None and group.state == G_CREATED:
            value = m.Value(x.oid, m.INLINE, x.data, len(x.data))
            self.core.objects.complete(x.oid, value, 0)
        else:
            self._tell_removed(x.oid, x.group)

    def _tell_removed(self, oid: bytes, group: bytes) -> None:
        failure = self.core.failure("task_group_removed", f"The {self._label(group)} was removed.")
        self.core.objects.complete(oid, m.Value(oid, m.FAILURE, failure, len(failure)), 0)

    def remove(self, group_id: bytes, why: str = "was removed") -> None:
        """End a group and all that runs inside. Groups that are gone are left alone."""
        group = self.table.get(group_id)
        if group is None or group.state == G_REMOVED:
            return
        core = self.core
        self.move(group, G_REMOVED, why)
        self.pending.pop(group.id, None)
        if group.name:
            del self.names[group.namespace, group.name]
        reason = f"Its {group.label} {why}."
        for actor in [a for a in core.actors.table.values() if _inside(a.spec.where, group)]:
            self._end_actor(actor, reason)
        bundles, group.bundles = group.bundles, []
        for worker in list(core.workers.values()):
            if worker.pool is not None and any(worker.pool is bundle for bundle in bundles):
                worker.pool = core.pool
                core.kill_worker(worker, f"its {group.label} {why}")
        for bundle in bundles:
            core.pool.merge(bundle)
        for task in [t for t in core.tasks.table.values() if _inside(t.spec.where, group)]:
            if task.id in core.tasks.table and task.state in (PENDING_ARGS, PENDING_RESOURCES):
                core.scheduler.withdraw(task)
                self.fail_removed(task)
        waiting, group.waiting = group.waiting, []
        for oid, _ in waiting:
            self._tell_removed(oid, group.id)
        self.removed.append(group.id)
        while len(self.removed) > REMOVED_KEPT:
            del self.table[self.removed.popleft()]

    def _end_actor(self, actor: Actor, reason: str) -> None:
        if actor.state != A_DEAD:
            never = actor.worker is None and not actor.deaths
            code = "actor_group_removed" if never else "actor_died"
            self.core.actor_ends.displace(actor, reason, code)

    def ended(self, task: Task) -> bool:
        """Whether the task is one of a group that was removed."""
        where = task.spec.where
        if where is None or not where.group:
            return False
        group = self.table.get(where.group)
        return group is None or group.state == G_REMOVED

    def fail_removed(self, task: Task) -> None:
        where = task.spec.where
        assert where is not None
        text = f"{task.name} cannot run: its {self._label(where.group)} was removed."
        failure = self.core.failure("task_group_removed", text, task=task)
        self.core.tasks.fail(task, failure, FAILED, "its placement group was removed")

    def _label(self, group_id: bytes) -> str:
        group = self.table.get(group_id)
        return group.label if group is not None else f"placement group {group_id.hex()[:8]}"

    def job_ended(self, job: int) -> None:
        """A driver is gone: its groups go with it, but for detached ones and detached actors'."""
        for group in list(self.table.values()):
            if group.job == job and not group.detached and not group.owner:
                self.remove(group.id, "ended with its driver")

    def actor_ended(self, actor: Actor) -> None:
        for group in list(self.table.values()):
            if group.owner == actor.id and not group.detached:
                self.remove(group.id, "ended with the actor that made it")

    # --- work and its place ------------------------------------------------------------------

    def resolve(self, where: m.Where | None) -> m.Where | None:
        """What of a spec's wishes is left to ask at run time; None if all of them hold here."""
        if where is None or where.group:
            return where
        here = not where.node or where.node == self.core.config.node_id.hex() or where.soft
        return None if here and self.unmet(where) is None else where

    def unmet(self, where: m.Where) -> str | None:
        """The first label that the node should have and has not, as people write it."""
        for name, rule in where.labels.items():
            if not _holds(self.labels.get(name), rule):
                return f"{name} {_RULES.get(rule[0], rule[0])} {', '.join(rule[1:])}".rstrip()
        return None

    def refuses(self, task: Task) -> bool:
        """Fail a task or actor that can have no place; called when it is submitted."""
        where = task.spec.where
        assert where is not None
        here = self.core.config.node_id.hex()
        if self.ended(task):
            if task.actor is None:
                self.fail_removed(task)
            else:
                reason = f"Its {self._label(where.group)} was removed."
                self.core.actor_ends.displace(task.actor, reason, "actor_group_removed")
            return True
        if not where.node or where.soft or where.node == here:
            return False
        text = (
            f"{task.name} is to run on the node {where.node} and on no other (NodeAffinity with "
            f"soft=False), and there is no such node. The node here is {here}."
        )
        if task.actor is None:
            failure = self.core.failure("task_unschedulable", text, task=task)
            self.core.tasks.fail(task, failure, FAILED, "its node does not exist")
        else:
            self.core.actor_ends.displace(task.actor, text, "actor_unschedulable")
        return True

    def pools(self, where: m.Where) -> list[Pool]:
        """The pools that work of this kind may take from, full or not."""
        if self.unmet(where) is not None:
            return []
        if not where.group:
            return [self.core.pool]
        group = self.table.get(where.group)
        if group is None or where.bundle >= len(group.bundles):
            return []
        return group.bundles if where.bundle < 0 else [group.bundles[where.bundle]]

    # --- for people --------------------------------------------------------------------------

    def why(self, where: m.Where, demand: dict[str, int], cpu: int) -> str:
        """Why work with these wishes waits; "" when only a process is missing."""
        unmet = self.unmet(where)
        if unmet is not None:
            return f"It can never run here: it asks for a node with the label {unmet}."
        group = self.table.get(where.group)
        if group is None:
            return ""
        if group.state != G_CREATED:
            return f"Its {self._label(where.group)} is not reserved yet: {self.why_group(group)}"
        pools = self.pools(where)
        if any(p.fits(demand) and p.total.get("CPU", 0) >= cpu for p in pools):
            return ""
        place = f"bundle {where.bundle}" if where.bundle >= 0 else "any bundle"
        least = {**demand, "CPU": max(demand.get("CPU", 0), cpu)} if cpu else demand
        if not any(p.feasible(least) for p in pools):
            return f"It can never run: it does not fit into {place} of its {group.label}."
        need = ", ".join(f"{amount / UNITS:g} {name}" for name, amount in demand.items())
        free = ", ".join(
            f"{i if where.bundle < 0 else where.bundle}: "
            + (
                ", ".join(f"{a / UNITS:g} {n}" for n, a in p.available.items() if a > 0)
                or "nothing"
            )
            for i, p in enumerate(pools)
        )
        return f"It waits for {need} in {place} of its {group.label}. Free there: {free}."

    def why_group(self, group: PlacementGroup) -> str:
        """Why a pending group is not reserved yet; "" for others."""
        if group.state != G_PENDING:
            return ""
        never = self.never(group)
        if never:
            return f"it can never be placed here: {never}."
        missing = self.core.pool.missing(group.total())
        need = ", ".join(
            f"{want:g} {name} ({free:g} free)" for name, (want, free) in missing.items()
        )
        held = holders(self.core, set(missing), self.core.pool)
        return f"it waits for {need or 'whole GPUs'}. Held by: {held}."

    def describe(self, group: PlacementGroup) -> dict[str, Any]:
        """A row of ``placement_group_table``."""
        node = self.core.config.node_id.hex() if group.state == G_CREATED else ""
        return {
            "placement_group_id": group.id.hex(),
            "name": group.name,
            "bundles": {i: self.core.resources(d) for i, d in enumerate(group.demands)},
            "bundles_to_node_id": dict.fromkeys(range(len(group.demands)), node),
            "strategy": group.strategy,
            "state": GROUP_STATES[group.state],
            "why": self.why_group(group),
        }


def holders(core: Core, names: set[str], pool: Pool) -> str:
    """Who holds these resources of a pool. For people."""
    held: dict[str, int] = {}
    for worker in core.workers.values():
        if worker.pool is pool and names & set(worker.held):
            label = (
                worker.actor.spec.spec.name
                if worker.actor is not None
                else worker.queue[0].name
                if worker.queue
                else "a finishing task"
            )
            held[label] = held.get(label, 0) + 1
    if pool is core.pool:
        for group in core.placement.table.values():
            if group.bundles and names & set(group.total()):
                held[group.label] = 1
    return ", ".join(f"{n}× {label}" if n > 1 else label for label, n in held.items()) or "nobody"


def _inside(where: m.Where | None, group: PlacementGroup) -> bool:
    return where is not None and where.group == group.id


_RULES = {"in": "one of", "!in": "none of", "exists": "(any value)", "!exists": "(absent)"}


def _holds(value: str | None, rule: list[str]) -> bool:
    kind, *values = rule
    if kind == "in":
        return value in values
    if kind == "!in":
        return value not in values
    return (value is not None) == (kind == "exists")
