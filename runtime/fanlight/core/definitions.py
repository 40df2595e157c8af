"""Functions, specs and groups: what clients define, and how it is forgotten.

A client names what it will not use any more (or leaves). Tasks and actors may still use that, and
workers may know it, so it is looked through now and then, in proportion to what has become loose.

Groups, the aggregates over all calls of one name, are many when names are made up in a loop. Of more
than :data:`GROUPS_KEPT`, the ones longest at rest are added up in one for each kind, "(others)".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core import checks, model
from fanlight.core.model import Client, Group, Spec

if TYPE_CHECKING:
    from fanlight.core.machine import Core

GROUPS_KEPT = 2_000
EDGES_KEPT = 20_000
_FOLDED = 500  # groups at a time
_LOOSE = 256  # definitions that may be loose before they are looked for
OTHERS = "(others)"
_KINDS = ("task", "actor", "method")


class Definitions:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.functions: dict[bytes, bytes] = {}
        self.groups: dict[int, Group] = {}
        self.edges: dict[tuple[int, int, str], int] = {}
        self.flows: dict[tuple[int, int, str], int] = {}  # bytes that went along them
        self._index: dict[tuple[str, str, str], Group] = {}
        self._specs = self._groups = 0  # made so far
        self._loose = 0
        self._fold_at = GROUPS_KEPT

    # --- defining ----------------------------------------------------------------------------

    def function(self, peer: int, x: m.DefineFunction) -> None:
        self.functions.setdefault(x.key, x.blob)
        self.core.clients[peer].functions.add(x.key)

    def spec(self, peer: int, x: m.DefineSpec) -> None:
        spec = x.spec
        named = spec.function or spec.kind != m.ACTOR_CALL
        if named and spec.function not in self.functions:
            raise model.ProtocolViolation("a spec whose function was not defined")
        if spec.env and spec.env not in self.core.environments.table:
            raise model.ProtocolViolation("a spec whose runtime environment was not defined")
        checks.spec(x)
        self._specs += 1
        group = self.group(spec.name, _KINDS[spec.kind], spec.origin, spec.label)
        where = self.core.placement.resolve(spec.where)
        self.core.clients[peer].specs[x.number] = Spec(self._specs, spec, group, peer, where)

    def group(self, name: str, kind: str, origin: str, function: str = "") -> Group:
        """The aggregate that calls of this name count in."""
        key = (name, kind, origin)
        group = self._index.get(key)
        if group is None:
            if len(self.groups) >= self._fold_at and name != OTHERS:
                self._fold()
            group = Group(self._groups, name, kind, origin, self.core.now, function)
            self._groups += 1
            self._index[key] = group
            self.groups[group.number] = group
        return group

    def edge(self, source: int, target: int, kind: str, size: int = 0) -> None:
        """One more object (of ``size`` bytes, 0 while it is not there) or call went from one group
        to another."""
        key = (source, target, kind)
        count = self.edges.get(key, 0)
        if count or len(self.edges) < EDGES_KEPT:
            self.edges[key] = count + 1
            if size:
                self.flows[key] = self.flows.get(key, 0) + size
            if self.core.watched:
                self.core.changed_edges.add(key)

    def flow(self, source: int, target: int, size: int) -> None:
        """An object that an edge was noted for is there now."""
        key = (source, target, "data")
        if key in self.edges:
            self.flows[key] = self.flows.get(key, 0) + size
            if self.core.watched:
                self.core.changed_edges.add(key)

    # --- forgetting --------------------------------------------------------------------------

    def forget(self, peer: int, x: m.Forget) -> None:
        """A client will not use these any more."""
        client = self.core.clients[peer]
        for number in x.specs:
            client.specs.pop(number, None)
        client.functions.difference_update(x.functions)
        self._loosen(len(x.specs) + len(x.functions))

    def client_gone(self, client: Client) -> None:
        """Called when a client is gone, and is not among the clients any more."""
        self._loosen(len(client.specs) + len(client.functions))

    def _loosen(self, count: int) -> None:
        self._loose += count
        core = self.core
        users = len(core.tasks.table) + len(core.actors.table) + len(core.lineage.table)
        if self._loose > _LOOSE + users // 8:
            self._loose = 0
            self._sweep()

    def _sweep(self) -> None:
        core = self.core
        specs: set[int] = set()
        functions: set[bytes] = set()
        for client in core.clients.values():
            specs.update(spec.number for spec in client.specs.values())
            functions.update(spec.spec.function for spec in client.specs.values())
            functions |= client.functions
        used = [task.spec for task in core.tasks.table.values()]
        used += [a.spec for a in core.actors.table.values() if a.state != model.A_DEAD]
        used += [past.spec for past in core.lineage.table.values()]
        for spec in used:
            specs.add(spec.number)
            functions.add(spec.spec.function)
        for key in self.functions.keys() - functions:
            del self.functions[key]
        for worker in core.workers.values():
            if worker.retiring:
                continue  # calls of an actor that ended may still be queued in its process
            old, gone = worker.specs - specs, worker.functions - functions
            if old or gone:
                worker.specs -= old
                worker.functions -= gone
                if worker.peer in core.clients:
                    message = m.Forget(sorted(old), sorted(gone))
                    core.effects.out[worker.peer].append(message)

    # --- too many groups ---------------------------------------------------------------------

    def _fold(self) -> None:
        core = self.core
        live = {spec.group.number for c in core.clients.values() for spec in c.specs.values()}
        live |= {a.spec.group.number for a in core.actors.table.values()}  # they may be restarted
        live |= {past.spec.group.number for past in core.lineage.table.values()}
        idle = [
            group
            for group in self.groups.values()
            if group.number not in live and not any(group.counts[:4]) and group.name != OTHERS
        ]
        idle.sort(key=lambda group: group.last)
        moved: dict[int, int] = {}
        for group in idle[:_FOLDED]:
            others = self.group(OTHERS, group.kind, "")
            others.counts = [a + b for a, b in zip(others.counts, group.counts, strict=True)]
            others.duration += group.duration
            others.first = min(others.first, group.first)
            others.last = max(others.last, group.last)
            moved[group.number] = others.number
            del self.groups[group.number], self._index[group.name, group.kind, group.origin]
            group.number = others.number  # finished tasks and objects still name it
        # If too few are at rest, many more may come before it is worth another look.
        self._fold_at = max(GROUPS_KEPT, len(self.groups) + _FOLDED)
        edges, self.edges = self.edges, {}
        flows, self.flows = self.flows, {}
        for (source, target, kind), count in edges.items():
            key = (moved.get(source, source), moved.get(target, target), kind)
            self.edges[key] = self.edges.get(key, 0) + count
            self.flows[key] = self.flows.get(key, 0) + flows.get((source, target, kind), 0)
        for record in core.errors:
            record.group = moved.get(record.group, record.group)
        core.causes.moved(moved)
        core.changed_groups = {moved.get(n, n) for n in core.changed_groups}
        core.changed_edges &= self.edges.keys()
        core.regrouped = bool(moved)
