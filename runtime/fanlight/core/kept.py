"""The largest objects and what keeps them, for the panel.

Which variables hold an object, and where it was put, only its driver knows: drivers are asked while
somebody looks, at most once a second, and what they said is in the answer after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.core import reports

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_HEAD = 2_048  # bytes of a small value, by which its type is told
_ASKED = 200  # objects of one driver
_KEPT = 2_000  # objects of which something was told
_PAUSE = 0.9  # seconds between two questions to one driver


class Kept:
    """A part of the core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.facts: dict[bytes, dict[int, m.RefFact]] = {}  # by object, then by driver
        self._asked: dict[int, float] = {}  # when, by driver

    def told(self, peer: int, x: m.RefFacts) -> None:
        """A driver's answer."""
        if self.core.clients[peer].role != "driver":
            return
        for fact in x.rows[:_ASKED]:
            if fact.oid in self.core.objects.table:
                self.facts.setdefault(fact.oid, {})[peer] = fact
        while len(self.facts) > _KEPT:
            del self.facts[next(iter(self.facts))]

    def client_gone(self, peer: int) -> None:
        self._asked.pop(peer, None)
        for facts in self.facts.values():
            facts.pop(peer, None)

    def ask(self, rows: list[dict[str, Any]]) -> None:
        """Have the drivers tell what they know of these objects."""
        core = self.core
        table = core.objects.table
        self.facts = {oid: facts for oid, facts in self.facts.items() if oid in table}
        for peer, client in core.clients.items():
            if client.role != "driver" or core.now - self._asked.get(peer, -1.0) < _PAUSE:
                continue
            oids = [oid for row in rows if self._holds(peer, oid := bytes.fromhex(row["id"]))]
            if oids:
                self._asked[peer] = core.now
                core.effects.out[peer].append(m.TellRefs(oids[:_ASKED]))

    def _holds(self, peer: int, oid: bytes) -> bool:
        obj = self.core.objects.table.get(oid)
        return obj is not None and (obj.owner == peer or peer in (obj.others or ()))


def query(core: Core, client: Any, args: dict[str, Any]) -> Any:
    """As ``fanlight.memory()`` asks; with the beginning of what is in the node's own memory."""
    found = reports.memory(core, client, args)
    for row in found["rows"]:
        obj = core.objects.table[bytes.fromhex(row["id"])]
        row["head"] = obj.data[:_HEAD] if obj.kind == m.INLINE else b""
        facts = list(core.kept.facts.get(obj.id, {}).values())
        row["variables"] = list(dict.fromkeys(name for fact in facts for name in fact.variables))
        put = next((fact for fact in facts if fact.time), None)
        row["where"] = (put.file, put.line) if put is not None else ("", 0)
        if put is not None:
            row["origin"] = row["origin"] or put.origin
            row["made"] = row["made"] or put.time
            row["creator"] = put.what or row["creator"]
    core.kept.ask(found["rows"])
    return found
