"""Who holds what of the resources that something waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fanlight.config import UNITS
from fanlight.core import model
from fanlight.core.why_text import Node, seconds, several

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.core.resources import Pool

_MOST = 12  # that are told one by one


def holders(core: Core, names: set[str], pool: Pool) -> list[dict[str, Any]]:
    """Who holds these resources of a pool: kind, name, task, pid, ``held``, and for how long
    (seconds, None if that is not known); the longest first."""
    found: list[dict[str, Any]] = []

    def add(kind: str, name: str, amounts: Iterable[tuple[str, int]], since: float | None,
            pid: int = 0, task: str = "") -> None:  # fmt: skip
        has = {n: amount / UNITS for n, amount in amounts if n in names and amount > 0}
        if has:
            age = None if since is None else max(0.0, core.now - since)
            found.append(
                {"kind": kind, "name": name, "task": task, "pid": pid, "held": has, "seconds": age}
            )

    for worker in core.workers.values():
        if worker.pool is not pool or not worker.held:
            continue
        blocked = worker.state == model.W_BLOCKED  # it has lent its CPU
        amounts = [(n, x) for n, x in worker.held.items() if n != "CPU" or not blocked]
        actor, task = worker.actor, worker.queue[0] if worker.queue else None
        if actor is not None:
            since = actor.create.started if actor.create is not None else worker.created
            add("actor", actor.spec.spec.name, amounts, since, worker.pid)
        elif task is not None:
            add("task", task.name, amounts, task.started, worker.pid, task.id.hex())
        else:
            add("process", "a process that ends", amounts, None, worker.pid)
    if pool is core.pool:
        for group in core.placement.table.values():
            if group.bundles:
                add("placement group", group.label, group.total().items(), None)
    found.sort(key=lambda h: -(h["seconds"] or 0.0))
    return found


def held_text(found: list[dict[str, Any]]) -> str:
    """Who holds it, shortly."""
    grouped: dict[tuple[str, str], list[float]] = {}
    for h in found:
        grouped.setdefault((h["kind"], h["name"]), []).append(h["seconds"] or 0.0)
    words = []
    for (kind, name), ages in grouped.items():
        label = {"actor": f"the actor `{name}`", "task": f"`{name}`"}.get(kind, f"the {name}")
        label = name if kind == "process" else label
        many = f" ×{len(ages)}" if len(ages) > 1 else ""
        age = f" for {seconds(max(ages))}" if max(ages) else ""
        words.append(f"{label}{many}{age}")
    return several(words) or "nobody"


def held(found: list[dict[str, Any]]) -> Node:
    """As keys of a node."""
    node: Node = {"held_by": found[:_MOST]}
    if len(found) > _MOST:
        node["held_by_more"] = len(found) - _MOST
    return node
