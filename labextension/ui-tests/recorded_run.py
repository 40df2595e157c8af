"""A recording that is the same whenever and wherever it is made: what the snapshots show.

:func:`write` makes a ``.fanlight`` file of a simulated run with something for every section: tasks in
every state, failures, an actor, GPUs, a store that spills, lines of output. Times are those of a
virtual clock, ids and processes are numbers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from fanlight import events as ev
from fanlight.core.timeline import RECORD, Timeline
from fanlight.observe.recording import Writer
from tests.labextension.fake_node import MB, START, Simulation

MOMENT = 18.1  # seconds after the start: the last wave of tasks is under way
NODE = 4000  # its process
TYPES = ("float64[1000000]", "DataFrame", "float64[1000, 1000]", "bytes", "list")


class _Run(Simulation):
    """With fixed processes, memory, GPUs that differ, and a store that moves objects to disk."""

    def runtime(self) -> ev.RuntimeView:
        view = super().runtime()
        view.pid = NODE
        view.drivers = [ev.DriverView("d0" * 16, NODE - 1, "", 1)]
        view.memory_used, view.memory_limit = 11_200 * MB, 16_000 * MB
        view.memory_scope = "this machine"
        return view

    def gpu_views(self) -> list[ev.GpuView]:
        """One trains, one is almost full and idle."""
        views = super().gpu_views()
        busy, full = views
        busy.number, full.number = 0, 1
        busy.processes = [ev.GpuProcessView(4101, 37_000 * MB, "quicksort", worker=f"{1:056x}")]
        full.utilization_percent = 6 + 5 * math.sin(self.now)
        full.memory_used, full.power = 143_000 * MB, 92.0
        full.processes = [ev.GpuProcessView(777, 143_000 * MB, "", name="python")]
        return views

    def _store(self) -> ev.StoreView:
        view = super()._store()
        view.used -= view.spilled
        view.capacity = 200 * MB
        view.spills = view.spilled // (8 * MB)
        view.spill_bytes = view.spilled
        view.restores, view.restore_bytes = view.spills // 3, view.spilled // 3
        view.cached = 16 * MB
        return view


def write(path: Path) -> None:
    """Make the recording."""
    run = _Run(cpus=4, gpus=2)
    timeline = Timeline()
    first = run.snapshot()
    deltas: list[bytes] = []
    answers: list[bytes] = []
    while not run.done:
        delta = run.step()
        _record(timeline, delta)
        deltas.append(msgspec.json.encode(delta))
        if run.now - START >= 17.5 and not answers:
            for job in list(run.jobs.values())[-3:]:
                run.cancel(job.view.id)
            answers = [
                _answer(run.now, "logs", _logs(run)),
                _answer(run.now, "objects", _objects(run)),
            ]
    page = {
        "record": RECORD, "next": timeline.total, "more": False, "forgotten": 0,
        "names": {str(g.id): [g.name, g.kind, g.origin] for g in run.groups.values()},
        "lanes": {str(n): ["", "", []] for n in range(1, run.cpus + 1)},
    }  # fmt: skip
    head = {"fanlight": "0.1.0", "events": ev.EVENTS_VERSION, "began": START, "title": "A run",
            "runtime": "lesson", "engine": "local"}  # fmt: skip
    writer = Writer(path)
    for kind, body in (
        ("head", msgspec.json.encode(head)),
        ("key", msgspec.json.encode(first)),
        ("delta", b"\n".join(deltas)),
        ("spans", msgspec.json.encode(page) + b"\n" + timeline.page(0)[1]),
        ("answers", b"\n".join(answers)),
        ("end", msgspec.json.encode({"time": run.now, "reason": "stopped"})),
    ):
        writer.part(kind, body, START, START if kind == "key" else run.now)
    writer.close()


def _record(timeline: Timeline, delta: ev.Delta) -> None:
    for view in delta.tasks:
        if view.started and view.finished:
            timeline.record(
                bytes.fromhex(view.id), view.group, int(view.worker[-8:], 16) or 5,
                4_100 + int(view.worker[-8:], 16), view.started, view.finished - view.started,
                ok=view.state == "FINISHED", reading=0.02 if view.deps else 0.0,
                waited=view.started - view.submitted,
            )  # fmt: skip


def _answer(time: float, what: str, data: Any) -> bytes:
    return msgspec.json.encode({"time": time, "query": {"what": what}, "data": data})


def _logs(run: Simulation) -> dict[str, Any]:
    lines = []
    for job in run.jobs.values():
        task = job.view
        if task.name in ("mean", "flaky", "quicksort") and task.started:
            failed = task.state == "FAILED"
            lines.append(
                {"time": task.started, "worker": task.worker, "pid": 4100 + int(task.worker, 16),
                 "stream": "err" if failed else "out", "task": task.id, "name": task.name,
                 "origin": run.groups[task.group].origin,
                 "text": "bad input 3, giving up" if failed else f"{task.name}: part {len(lines)}"}
            )  # fmt: skip
    return {"lines": lines, "cursor": len(lines), "reset": True, "more": False, "note": ""}


def _objects(run: Simulation) -> dict[str, Any]:
    rows = []
    for n, view in enumerate(run.objects):
        holder = {"role": "driver", "pid": NODE - 1, "what": "kernel"}
        rows.append(
            {"id": view.id, "size": view.size * (8 - n) // 8, "state": "READY",
             "place": "mapped" if n == 0 else "disk" if n > 5 else "memory",
             "type": TYPES[n % len(TYPES)], "creator": view.creator, "origin": "cell-2",
             "file": "", "line": 3 + n % 2, "made": START + 6.5 + n / 4,
             "holders": [holder], "holders_count": 1, "mapped": [], "pins": 0, "used_by": [],
             "variables": ["parts"] if n < 4 else [],
             "why": "The variable `parts` holds it." if n < 4 else "A task that waits needs it.",
             "release": "del parts" if n < 4 else ""}
        )  # fmt: skip
    store = run.history[-1]
    facts = {
        "capacity": store.capacity, "used": store.used, "reserved": 0, "mapped": store.pinned,
        "cached": store.cached, "spilled": store.spilled, "spilled_total": store.spill_bytes,
        "restored_total": store.restore_bytes, "inline": store.inline, "objects": store.objects,
        "segments": store.objects, "lineage": 0,
    }  # fmt: skip
    size = sum(row["size"] for row in rows)
    return {"now": run.now, "store": facts, "rows": rows, "makers": [], "count": len(rows),
            "size": size, "small": 12}  # fmt: skip
