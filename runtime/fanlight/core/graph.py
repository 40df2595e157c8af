"""The tasks and what they pass to each other: what ``fanlight.graph()`` is made of.

All groups, with counts, and single tasks where there are not too many, or where a ref asks for what
it was made of. One question looks at a bounded number of records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight import messages as m
from fanlight.core.model import FAILED, FINISHED, PENDING, TASK_STATES, Task

if TYPE_CHECKING:
    from fanlight.core.lineage import Past
    from fanlight.core.machine import Core

LIMIT = 2_000  # tasks in one answer
_SCANNED = 20_000  # unfinished tasks that are looked through for those of a cell or function
_DEPS = 200  # arguments of one task that are followed and shown


def query(core: Core, _client: Any, args: dict[str, Any]) -> Any:
    """Groups and edges between them, of all or of one ``origin`` or ``function``; and tasks.

    Tasks are those that the objects ``refs`` (hex) were made by and of, or, without, all that are
    known, if they are no more than ``limit``. ``whole`` is False where tasks were left out.
    """
    limit = max(0, min(int(args.get("limit", 300)), LIMIT))
    origin, function = str(args.get("origin", "")), str(args.get("function", ""))
    groups = {
        n: group
        for n, group in core.groups.items()
        if (not origin or group.origin == origin)
        and (not function or function in (group.name, group.function))
    }
    refs = [bytes.fromhex(text) for text in args.get("refs", ())]
    if refs:
        tasks, whole = _made_of(core, refs, limit)
        used = {row["group"] for row in tasks}
        groups = {n: group for n, group in core.groups.items() if n in used}
    else:
        tasks, whole = _all(core, set(groups), limit)
    return {
        "groups": [
            [g.number, g.name[:200], g.kind, g.origin, list(g.counts), g.duration]
            for g in groups.values()
        ],
        "edges": [
            [*key, count]
            for key, count in core.definitions.edges.items()
            if key[0] in groups and key[1] in groups
        ],
        "tasks": tasks,
        "whole": whole,
        "states": TASK_STATES,
        "now": core.now,
    }


def _all(core: Core, groups: set[int], limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Every task that is known by itself, of these groups; none if there are too many."""
    unfinished = islice(core.tasks.table.values(), _SCANNED)
    found: list[Task] = []
    for task in chain(core.recent, unfinished):
        if task.spec.group.number in groups:
            if len(found) == limit:
                return [], False
            found.append(task)
    counted = sum(sum(core.groups[n].counts) for n in groups)
    rows = {task.id: _row(core, task) for task in found}
    _add_values(core, rows)
    return list(rows.values()), len(found) >= counted


def _made_of(core: Core, refs: list[bytes], limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The tasks that made these objects, those that made their arguments, and so on."""
    recent = {task.id: task for task in core.recent}
    rows: dict[bytes, dict[str, Any]] = {}
    line = deque(ids.task_of(oid) for oid in refs)
    objects = {ids.task_of(oid): oid for oid in refs}
    while line:
        maker = line.popleft()
        if maker in rows:
            continue
        if len(rows) == limit:
            return list(rows.values()), False
        task = core.tasks.table.get(maker) or recent.get(maker) or core.lineage.table.get(maker)
        if task is None:
            rows[maker] = _unknown(core, maker, objects[maker])
            continue
        rows[maker] = _row(core, task)
        for oid in task.deps[:_DEPS]:
            objects.setdefault(ids.task_of(oid), oid)
            line.append(ids.task_of(oid))
    return list(rows.values()), True


def _add_values(core: Core, rows: dict[bytes, dict[str, Any]]) -> None:
    """Arguments that no task of these made: what was put, and what is forgotten."""
    for row in list(rows.values()):
        for oid, _ in row["deps"]:
            maker = ids.task_of(oid)
            if maker not in rows and len(rows) < 2 * LIMIT:
                rows[maker] = _unknown(core, maker, oid)


def _row(core: Core, task: Task | Past) -> dict[str, Any]:
    spec = task.spec
    name = spec.spec.name + (".__init__" if spec.spec.kind == m.ACTOR_CREATE else "")
    row: dict[str, Any] = {
        "id": task.id,
        "group": spec.group.number,
        "name": name[:200],
        "cell": spec.spec.origin,
        "state": TASK_STATES[FINISHED],
        "deps": list(_sizes(core, task.deps)),
        "parent": task.parent,
        "attempt": task.attempt,
        "size": sum(s or 0 for _, s in _sizes(core, _results(core, task.id, spec.returns))),
        "times": [0.0, 0.0, 0.0],
        "worker": 0,
        "error": "",
    }
    if isinstance(task, Task):
        row |= {
            "state": TASK_STATES[task.state],
            "times": [task.submitted, task.started, task.finished],
            "worker": task.worker.pid if task.worker is not None else 0,
            "error": task.error[:500],
        }
    return row


def _results(core: Core, task: bytes, count: int) -> list[bytes]:
    return [ids.object_id(task, i) for i in range(min(count, _DEPS))]


def _sizes(core: Core, oids: list[bytes]) -> Iterator[tuple[bytes, int | None]]:
    """Each object with its bytes, None while it has no value or is gone."""
    table = core.objects.table
    for oid in oids[:_DEPS]:
        obj = table.get(oid)
        yield oid, obj.size if obj is not None and obj.kind != PENDING else None


def _unknown(core: Core, maker: bytes, oid: bytes) -> dict[str, Any]:
    """An object of which only itself is known, or not even that."""
    obj = core.objects.table.get(oid)
    state, name, group, size = "GONE", "?", -1, 0
    if obj is not None:
        size = obj.size if obj.kind != PENDING else 0
        if obj.group is not None:  # its task is forgotten, or was a call on a channel
            name, group = obj.group.name[:200], obj.group.number
            state = TASK_STATES[FAILED if obj.kind >= m.ERROR else FINISHED]
            state = "PENDING" if obj.kind == PENDING else state
        else:
            name, state = "put", "VALUE"
            if maker in core.objects.declared or obj.kind == PENDING:
                name, state = "call of an actor", "PENDING"
    return {
        "id": maker, "group": group, "name": name, "cell": "", "state": state, "deps": [],
        "parent": b"", "attempt": 0, "size": size, "times": [0.0, 0.0, 0.0], "worker": 0,
        "error": "",
    }  # fmt: skip
