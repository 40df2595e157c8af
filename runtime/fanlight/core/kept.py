"""The largest objects and what keeps them, for the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.core import reports

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_HEAD = 2_048  # bytes of a small value, by which its type is told


def query(core: Core, client: Any, args: dict[str, Any]) -> Any:
    """As ``fanlight.memory()`` asks; with the beginning of what is in the node's own memory."""
    found = reports.memory(core, client, args)
    for row in found["rows"]:
        obj = core.objects.table[bytes.fromhex(row["id"])]
        row["head"] = obj.data[:_HEAD] if obj.kind == m.INLINE else b""
        row["variables"] = []
        row["where"] = ("", 0)
    return found
