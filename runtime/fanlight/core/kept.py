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
_SCANNED = 100_000  # objects that are looked through, the newest
_SCANS_A_SECOND = 20_000  # of all who look: the more there are, the older an answer may be


class Kept:
    """A part of the core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.facts: dict[bytes, dict[int, m.RefFact]] = {}  # by object, then by driver
        self._asked: dict[int, float] = {}  # when, by driver
        self._found: dict[str, Any] = {}  # the last report, and until when it will do
        self._until = -1.0
        self._limit = 0

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

    def report(self, limit: int) -> dict[str, Any]:
        """The largest objects, as they are or were a moment ago."""
        core, now = self.core, self.core.now
        if now >= self._until or self._until - now > 60 or limit > self._limit:
            self._limit = limit
            self._found = reports.memory(core, None, {"limit": limit, "scanned": _SCANNED})  # type: ignore[arg-type]
            scanned = min(len(core.objects.table), _SCANNED)
            self._until = now + max(_PAUSE, scanned / _SCANS_A_SECOND)
        rows = [r for r in self._found["rows"] if bytes.fromhex(r["id"]) in core.objects.table]
        return {**self._found, "rows": [dict(row) for row in rows[:limit]]}

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


def query(core: Core, _client: Any, args: dict[str, Any]) -> Any:
    """As ``fanlight.memory()`` asks; with the beginning of what is in the node's own memory."""
    found = core.kept.report(max(0, min(int(args.get("limit", 50)), 1_000)))
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
