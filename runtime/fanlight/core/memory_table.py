"""Who uses what memory, as a table for people: in errors, notices and the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import ids
from fanlight.core.effects import OWN_LIMIT, MemorySample
from fanlight.core.model import Task, Worker

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_ROWS = 12  # processes that are shown one by one


def table(core: Core, x: MemorySample, victim: Worker | None) -> str:
    """Own and resident megabytes, pid, what it is; the largest first, and ``victim`` marked.

    Pages of the object store are counted once, in its row, and in no process.
    """
    uses = x.processes or {}
    by_pid = {w.pid: w for w in core.workers.values() if w.pid}
    if victim is not None:  # it may be gone already
        by_pid[victim.pid] = victim
    drivers = {c.pid for c in core.clients.values() if c.role == "driver"}
    rows: list[tuple[int, int, int, str]] = []
    rest = 0
    for pid, (own, resident) in uses.items():
        worker = by_pid.get(pid)
        if worker is not None:
            mark = "  <- ended" if worker is victim else ""
            rows.append((own, resident, pid, describe(core, worker) + mark))
        elif pid in drivers:
            rows.append((own, resident, pid, "driver (is never ended)"))
        else:
            rest += own
    if victim is not None and victim.pid not in uses:
        rows.append((0, 0, victim.pid, describe(core, victim) + "  <- ended"))
    rows.sort(key=lambda row: (-row[0], row[2]))
    lines = ["      own  resident      pid"]
    for own, resident, pid, what in rows[:_ROWS]:
        # What the kernel killed is gone before it can be measured.
        sizes = (
            f"{own / 1e6:6.0f} MB {resident / 1e6:6.0f} MB" if own else f"{'?':>6}    {'?':>6}   "
        )
        lines.append(f"{sizes} {pid:8}  {what}")
    others = rows[_ROWS:]
    if others:
        lines.append(_row(sum(row[0] for row in others), f"{len(others)} more processes"))
    lines.append(_row(x.store, f"object store: {len(core.objects.segments)} segments"))
    if x.processes is not None:
        lines.append(_row(rest, "Fanlight's node and zygote"))
    if x.scope != OWN_LIMIT:
        known = sum(row[0] for row in rows) + x.store + rest
        where = "in this container" if x.scope == "this container" else f"on {x.scope}"
        lines.append(_row(max(0, x.used - known), f"everything else {where}"))
    return "\n".join(lines)


def _row(size: int, what: str) -> str:
    return f"{size / 1e6:6.0f} MB {'':9} {'':8}  {what}"


def describe(core: Core, worker: Worker) -> str:
    """What a process runs, and where in the notebook it was asked for."""
    actor = worker.actor or worker.was
    if actor is not None:
        call = next(iter(actor.flight.values()), None) or next(iter(actor.direct.values()), None)
        named = f" {actor.name!r}" if actor.name else ""
        doing = f", in {call.name}" if call is not None else ""
        return f"actor {actor.spec.spec.name}{named}{doing}{_place(core, call or actor.create)}"
    if worker.queue:
        task = worker.queue[0]
        return f"task {task.name}{_place(core, task)}"
    return "idle worker"


def _place(core: Core, task: Task | None) -> str:
    if task is None:
        return ""
    origin = task.spec.spec.origin
    site = core.objects.sites.get(ids.object_id(task.id, 0), "")
    line = site.strip().splitlines()[0].strip() if site.strip() else ""
    return "".join(f" ({part})" for part in (f"cell {origin}" if origin else "", line) if part)
