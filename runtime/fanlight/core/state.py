"""What there is and what happened, as rows for ``fanlight.util.state``: filtered here, bounded here.

A listing comes in pages: each looks at no more than :data:`PAGE` records, so that a question never
holds the node up for long. What the rows are made of is in :mod:`fanlight.core.rows`; what is over is
remembered, the newest of it, in :mod:`fanlight.core.history`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from fanlight.core.model import Client, Group
from fanlight.core.rows import ACTOR_STATES, GROUP_TYPES, LISTINGS, TASK_STATES, Row, make_plain

if TYPE_CHECKING:
    from fanlight.core.machine import Core

PAGE = 5_000  # records that one question looks at


def listing(core: Core, _client: Client, args: dict[str, Any]) -> Any:
    """A page of rows of one kind: ``kind``, ``filters`` as [key, "=" or "!=", value], ``limit``,
    ``detail``, and ``skip``: how many records earlier pages looked at.

    Answers ``rows``, and ``next``: the ``skip`` of the next page, None after the last. What comes
    and goes between two pages may be missed or seen twice.
    """
    found = LISTINGS.get(args["kind"])
    if found is None:
        raise LookupError(f"There is no listing of {args['kind']!r}.")
    records, make = found
    filters = [(str(k), p, v) for k, p, v in args.get("filters", ())]
    for key, predicate, _ in filters:
        if predicate not in ("=", "!="):
            raise ValueError(f"The predicate {predicate!r} of {key!r} is not one of = and !=.")
    limit = min(int(args.get("limit", 100)), PAGE)
    skip = int(args.get("skip", 0))
    detail = bool(args.get("detail"))
    rows: list[Row] = []
    position = skip
    for record in islice(records(core), skip, None):
        if position - skip == PAGE or len(rows) == limit:
            return {"rows": rows, "next": position}
        position += 1
        row = make(core, record, detail or bool(filters))  # a filter may name any column
        if all(_holds(row, *f) for f in filters):
            rows.append(row if detail or not filters else make_plain(row, args["kind"]))
    return {"rows": rows, "next": None}


def _holds(row: Row, key: str, predicate: str, value: Any) -> bool:
    if key not in row:
        raise ValueError(f"There is no column {key!r}; there are: {', '.join(row)}.")
    have = row[key]
    if isinstance(have, bool) and isinstance(value, str):
        same = str(have).lower() == value.lower()
    else:
        same = have == value or str(have) == str(value)
    return same == (predicate == "=")


def _merged(groups: Iterable[Group]) -> dict[tuple[str, str], Counter[str]]:
    merged: dict[tuple[str, str], Counter[str]] = {}
    for group in groups:
        name = f"{group.function}.__init__" if group.kind == "actor" else group.function
        counts = merged.setdefault((name, GROUP_TYPES[group.kind]), Counter())
        for state, count in zip(TASK_STATES, group.counts, strict=True):
            if count:
                counts[state] += count
    return merged


def summary(core: Core, _client: Client, args: dict[str, Any]) -> Any:
    """Counts of all tasks there were, by function, or of the actors, by class."""
    return {"tasks": _sum_tasks, "actors": _sum_actors}[args["kind"]](core)


def _sum_tasks(core: Core) -> Any:
    rows: dict[str, Row] = {}
    totals: Counter[str] = Counter()
    for (name, kind), counts in _merged(core.groups.values()).items():
        totals[kind] += sum(counts.values())
        key = name if name not in rows else f"{name} ({kind})"
        rows[key] = {"func_or_class_name": name, "type": kind, "state_counts": dict(counts)}
    return {
        "summary": rows,
        "total_tasks": totals["NORMAL_TASK"],
        "total_actor_tasks": totals["ACTOR_TASK"],
        "total_actor_scheduled": totals["ACTOR_CREATION_TASK"],
        "summary_by": "func_name",
    }


def _sum_actors(core: Core) -> Any:
    rows: dict[str, Row] = {}
    for actor in core.actors.table.values():
        name = actor.spec.spec.name
        row = rows.setdefault(name, {"class_name": name, "state_counts": Counter()})
        row["state_counts"][ACTOR_STATES[actor.state]] += 1
    return {"summary": rows, "total_actors": len(core.actors.table), "summary_by": "class"}
