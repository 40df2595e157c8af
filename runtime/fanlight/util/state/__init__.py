# ruff: noqa: A002  the arguments have Ray's names
"""What there is in the runtime: tasks, actors, objects, workers, as rows that can be filtered.

>>> import fanlight
>>> from fanlight.util.state import list_tasks, summarize_tasks
>>> @fanlight.remote
... def square(x):
...     return x * x
>>> with fanlight.init(engine="inproc", num_cpus=2):
...     values = fanlight.get([square.remote(i) for i in range(3)])
...     rows = list_tasks(filters=[("state", "=", "FINISHED")])
...     counts = summarize_tasks()["cluster"]["summary"]["square"]["state_counts"]
>>> rows[0].name, rows[0]["type"], len(rows), counts
('square', 'NORMAL_TASK', 3, {'FINISHED': 3})

The node keeps what is unfinished and the newest of what is over (2,000 tasks); summaries count all.
Rows come from this process's runtime; without one, or with ``address=``, from a running one of this
user.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from fanlight.util.state.asking import ask
from fanlight.util.state.common import (
    SCHEMAS,
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    StateSchema,
    TaskState,
    WorkerState,
)
from fanlight.util.state.exception import BadQuestion, RayStateApiException
from fanlight.util.state.logs import get_log, list_logs

MAX_LIMIT = 10_000
Filters = Sequence[tuple[str, str, Any]] | None


def _pages(
    what: str, filters: Filters, limit: int, detail: bool, address: str | None, timeout: float
) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Pages of rows, and whether records are left after each."""
    checked = []
    for item in filters or ():
        if not isinstance(item, tuple | list) or len(item) != 3:
            raise BadQuestion(f"A filter is (column, '=' or '!=', value), not {item!r}.")
        key, predicate, value = item
        if predicate not in ("=", "!="):
            raise BadQuestion(f"The predicate {predicate!r} of {key!r} is not one of '=', '!='.")
        if key not in SCHEMAS[what].columns():
            known = ", ".join(sorted(SCHEMAS[what].columns()))
            raise BadQuestion(f"There is no column {key!r} of {what}; there are: {known}.")
        checked.append([key, predicate, value])
    skip: int | None = 0
    while skip is not None:
        args = {"kind": what, "filters": checked, "limit": limit, "detail": detail, "skip": skip}
        page = ask("state", args, address, timeout)
        skip = page["next"]
        limit -= len(page["rows"])
        yield page["rows"], skip is not None
        if limit <= 0:
            return


def _list(
    what: str,
    address: str | None,
    filters: Filters,
    limit: int,
    timeout: float,
    detail: bool,
    **_: Any,
) -> list[Any]:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MAX_LIMIT:
        raise BadQuestion(f"limit must be between 1 and {MAX_LIMIT}, got {limit!r}.")
    schema, rows, left = SCHEMAS[what], [], False
    for page, more in _pages(what, filters, limit, detail, address, timeout):
        rows += [schema(**row) for row in page]
        left = more
    if left and len(rows) == limit:
        warnings.warn(
            f"Only {limit} {what} are listed, and there may be more: pass a larger limit= (up to "
            f"{MAX_LIMIT}), or filters=.",
            stacklevel=3,
        )
    return rows


def list_tasks(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[TaskState]:
    """Attempts of tasks: unfinished ones first, then the newest that ended.

    Args:
        address: a runtime's name or id, or "auto"; None is this process's runtime.
        filters: (column, "=" or "!=", value); all of them must hold.
        limit: rows at most; a warning says when some were left out.
        timeout: seconds to wait for a runtime that this process is not attached to.
        detail: fill in all columns.

    Raises:
        RayStateApiException: no runtime answers, or a filter is not possible.
    """
    return _list("tasks", address, filters, limit, timeout, detail)


def list_actors(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ActorState]:
    """Actors, also the newest dead ones. Arguments and errors as for ``list_tasks``."""
    return _list("actors", address, filters, limit, timeout, detail)


def list_objects(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ObjectState]:
    """Objects, a row for each process that holds one. Arguments as for ``list_tasks``."""
    return _list("objects", address, filters, limit, timeout, detail)


def list_nodes(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[NodeState]:
    """Machines. Arguments as for ``list_tasks``."""
    return _list("nodes", address, filters, limit, timeout, detail)


def list_workers(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """Processes of drivers and workers, also the newest that ended. Arguments as for
    ``list_tasks``."""
    return _list("workers", address, filters, limit, timeout, detail)


def list_jobs(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """Drivers, also the newest that ended. Arguments as for ``list_tasks``."""
    return _list("jobs", address, filters, limit, timeout, detail)


def list_placement_groups(
    address: str | None = None,
    filters: Filters = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[PlacementGroupState]:
    """Placement groups. Arguments as for ``list_tasks``."""
    return _list("placement_groups", address, filters, limit, timeout, detail)


def _one(what: str, key: str, value: str, address: str | None, timeout: float) -> list[Any]:
    if not isinstance(value, str):
        raise BadQuestion(f"{key} is a hexadecimal string, not a {type(value).__name__}.")
    return _list(what, address, [(key, "=", value)], MAX_LIMIT, timeout, True)


def get_task(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> TaskState | list[TaskState] | None:
    """A task by its id, with all columns: a list if it had several attempts, None if unknown.

    ``id`` may also be an ObjectRef: its task is meant.
    """
    task = getattr(id, "task_id", None)
    rows = _one("tasks", "task_id", task().hex() if task is not None else id, address, timeout)
    rows.sort(key=lambda row: row.attempt_number)
    return rows if len(rows) > 1 else rows[0] if rows else None


def get_actor(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> ActorState | None:
    """An actor by its id, with all columns; None if unknown."""
    rows = _one("actors", "actor_id", id, address, timeout)
    return rows[0] if rows else None


def get_node(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> NodeState | None:
    """A machine by its id, with all columns; None if unknown."""
    rows = _one("nodes", "node_id", id, address, timeout)
    return rows[0] if rows else None


def get_worker(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> WorkerState | None:
    """A process by its worker id, with all columns; None if unknown."""
    rows = _one("workers", "worker_id", id, address, timeout)
    return rows[0] if rows else None


def get_placement_group(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> PlacementGroupState | None:
    """A placement group by its id, with all columns; None if unknown."""
    rows = _one("placement_groups", "placement_group_id", id, address, timeout)
    return rows[0] if rows else None


def get_objects(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> list[ObjectState]:
    """The rows of one object, one for each process that holds it; [] if unknown."""
    return _one("objects", "object_id", id, address, timeout)


# --- summaries -----------------------------------------------------------------------------------


def summarize_tasks(
    address: str | None = None,
    timeout: float = 30,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many tasks there are and were, by function and state, under ``["cluster"]``."""
    return {"cluster": ask("state_summary", {"kind": "tasks"}, address, timeout)}


def summarize_actors(
    address: str | None = None,
    timeout: float = 30,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many actors there are, by class and state, under ``["cluster"]``."""
    return {"cluster": ask("state_summary", {"kind": "actors"}, address, timeout)}


def summarize_objects(
    address: str | None = None,
    timeout: float = 30,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Objects and their bytes by where they were made, under ``["cluster"]``.

    Places are recorded when FANLIGHT_RECORD_REF_CREATION_SITES=1 (or Ray's
    RAY_record_ref_creation_sites=1) was set before ``init``; otherwise the only one is "disabled".
    """
    sites: dict[str, dict[str, Any]] = {}
    pids: dict[str, set[int]] = {}
    total, size = 0, 0
    for page, _ in _pages("objects", None, 1 << 30, False, address, timeout):
        for row in page:
            into = sites.setdefault(row["call_site"], _empty())
            into["total_objects"] += 1
            into["total_size_mb"] += (row["object_size"] or 0) / (1 << 20)
            into["task_state_counts"][row["task_status"]] += 1
            into["ref_type_counts"][row["reference_type"]] += 1
            pids.setdefault(row["call_site"], set()).add(row["pid"])
            total += 1
            size += row["object_size"] or 0
    for site, seen in pids.items():
        sites[site]["total_num_workers"] = len(seen)
        for key in ("task_state_counts", "ref_type_counts"):
            sites[site][key] = dict(sites[site][key])
    return {
        "cluster": {
            "summary": sites,
            "total_objects": total,
            "total_size_mb": size / (1 << 20),
            "callsite_enabled": any(site != "disabled" for site in sites),
            "summary_by": "callsite",
        }
    }


def _empty() -> dict[str, Any]:
    return {
        "total_objects": 0,
        "total_size_mb": 0.0,
        "total_num_workers": 0,
        "total_num_nodes": 1,
        "task_state_counts": Counter(),
        "ref_type_counts": Counter(),
    }


__all__ = [
    "ActorState",
    "JobState",
    "NodeState",
    "ObjectState",
    "PlacementGroupState",
    "RayStateApiException",
    "StateSchema",
    "TaskState",
    "WorkerState",
    "get_actor",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]
