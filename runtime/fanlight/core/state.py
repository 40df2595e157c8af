"""What there is and what happened, as rows for ``fanlight.util.state``: filtered here, bounded here.

A listing comes in pages: each looks at no more than :data:`PAGE` records, so that a question never
holds the node up for long. Attempts that were retried, workers that
ended and jobs that are over are remembered in :class:`History`, the newest few of each.

Columns and values have Ray's names. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from fanlight import ids
from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import model
from fanlight.core.model import PENDING, Actor, Client, Group, Object, Spec, Task, Worker
from fanlight.core.placement import GROUP_STATES, PlacementGroup

if TYPE_CHECKING:
    from fanlight.core.machine import Core

PAGE = 5_000  # records that one question looks at
_SCANNED = 200_000  # unfinished tasks that are looked through for what they use
_ATTEMPTS_KEPT = 2_000
_ENDED_KEPT = 500  # workers, jobs
_TEXT = 2_000  # characters of an error message in a row

# What kind of failure ended a task: the codes of errors.FAILURES, and these two.
RAISED = "raised"
WORKER_DIED = "worker_crashed"
_ERROR_TYPES = {
    RAISED: "TASK_EXECUTION_EXCEPTION",
    "dependency": "TASK_EXECUTION_EXCEPTION",
    "cancelled": "TASK_CANCELLED",
    WORKER_DIED: "WORKER_DIED",
    "actor_died": "ACTOR_DIED",
    "actor_unavailable": "ACTOR_UNAVAILABLE",
    "object_lost": "OBJECT_LOST",
    "owner_died": "OWNER_DIED",
    "store_full": "OUT_OF_DISK_ERROR",
    "out_of_memory": "OUT_OF_MEMORY",
    "env_setup": "RUNTIME_ENV_SETUP_FAILED",
    "task_unschedulable": "TASK_UNSCHEDULABLE_ERROR",
    "actor_unschedulable": "ACTOR_UNSCHEDULABLE_ERROR",
    "task_group_removed": "TASK_PLACEMENT_GROUP_REMOVED",
    "actor_group_removed": "ACTOR_PLACEMENT_GROUP_REMOVED",
}
_TASK_STATES = (
    "PENDING_ARGS_AVAIL",
    "PENDING_NODE_ASSIGNMENT",
    "SUBMITTED_TO_WORKER",
    "RUNNING",
    "FINISHED",
    "FAILED",
    "FAILED",  # cancelled
)
_ACTOR_STATES = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
_TASK_TYPES = ("NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK")  # by TaskSpec.kind
_GROUP_TYPES = {"task": "NORMAL_TASK", "actor": "ACTOR_CREATION_TASK", "method": "ACTOR_TASK"}

Row = dict[str, Any]


class Attempt(NamedTuple):
    """One attempt of a task that failed and was made again."""

    task: Task
    number: int
    worker: Worker | None
    code: str
    error: str
    submitted: float
    started: float
    ended: float


class _Ended(NamedTuple):
    """A worker process that is gone."""

    id: bytes
    pid: int
    how: str
    expected: bool
    started: float
    ended: float


class _Job:
    def __init__(self, number: int, client: Client, now: float) -> None:
        self.number = number
        self.pid = client.pid
        self.entrypoint = client.info.get("entrypoint", "")
        self.started = now
        self.ended = 0.0


class History:
    """What is over, the newest of it."""

    def __init__(self) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=_ATTEMPTS_KEPT)
        self.workers: deque[_Ended] = deque(maxlen=_ENDED_KEPT)
        self.jobs: dict[int, _Job] = {}

    def attempt_failed(self, task: Task, code: str, error: str, now: float) -> None:
        """Called before a task is tried again, while it still knows its worker."""
        self.attempts.append(
            Attempt(task, task.attempt, task.worker, code, error, task.submitted, task.started, now)
        )

    def worker_ended(self, worker: Worker, how: str, now: float) -> None:
        expected = bool(worker.retiring)
        how = worker.retiring or how
        ended = _Ended(worker.id, worker.pid, how, expected, worker.created, now)
        self.workers.append(ended)

    def job_started(self, client: Client, now: float) -> None:
        self.jobs[client.job] = _Job(client.job, client, now)
        if len(self.jobs) > _ENDED_KEPT:
            over = next((n for n, job in self.jobs.items() if job.ended), None)
            if over is not None:
                del self.jobs[over]

    def job_ended(self, number: int, now: float) -> None:
        job = self.jobs.get(number)
        if job is not None:
            job.ended = now


# --- rows ----------------------------------------------------------------------------------------


def _ms(seconds: float) -> int | None:
    return round(seconds * 1000) if seconds else None


def _job(number: int) -> str:
    return number.to_bytes(4, "little").hex()


def _amounts(units: dict[str, int]) -> dict[str, float]:
    return {name: amount / UNITS for name, amount in units.items() if amount}


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else text[:_TEXT] + "…"


def task_name(task: Task) -> str:
    spec = task.spec.spec
    return f"{spec.name}.__init__" if spec.kind == m.ACTOR_CREATE else spec.name


def _function(task: Task) -> str:
    spec = task.spec.spec
    return spec.label or task_name(task)


def _task_row(core: Core, item: Task | Attempt, detail: bool) -> Row:
    if isinstance(item, Attempt):
        task, worker = item.task, item.worker
        attempt, state, code, error = item.number, "FAILED", item.code, item.error
        started, ended = item.started, item.ended
    else:
        task, worker = item, item.worker
        attempt, state, code, error = item.attempt, _TASK_STATES[item.state], item.code, item.error
        started, ended = item.started, item.finished
        if item.state == model.CANCELLED:
            code = code or "cancelled"
    spec = task.spec.spec
    row: Row = {
        "task_id": task.id.hex(),
        "attempt_number": attempt,
        "name": task_name(task),
        "state": state,
        "job_id": _job(task.job),
        "actor_id": task.actor.id.hex() if task.actor is not None else None,
        "type": _TASK_TYPES[spec.kind],
        "func_or_class_name": _function(task),
        "parent_task_id": task.parent.hex() or None,
        "node_id": core.config.node_id.hex() if worker is not None else None,
        "worker_id": worker.id.hex() if worker is not None else None,
        "worker_pid": worker.pid if worker is not None else None,
        "error_type": _error_type(code),
    }
    if detail:
        row |= {
            "language": "PYTHON",
            "required_resources": _amounts(spec.resources),
            "placement_group_id": _group_of(task.spec),
            "creation_time_ms": _ms(task.submitted),
            "start_time_ms": _ms(started),
            "end_time_ms": _ms(ended),
            "error_message": _cut(error) or None,
            "call_site": core.objects.sites.get(ids.object_id(task.id, 0)),
            "cell": spec.origin or None,
        }
    return row


def _group_of(spec: Spec) -> str | None:
    return spec.where.group.hex() or None if spec.where is not None else None


def _error_type(code: str) -> str | None:
    return _ERROR_TYPES.get(code, code.upper()) if code else None


def _tasks(core: Core) -> Iterator[Task | Attempt]:
    """Unfinished tasks, then the newest of those that ended."""
    return chain(core.tasks.table.values(), reversed(core.history.attempts), reversed(core.recent))


def _actor_row(core: Core, actor: Actor, detail: bool) -> Row:
    dead = actor.state == model.A_DEAD
    row: Row = {
        "actor_id": actor.id.hex(),
        "class_name": actor.spec.spec.name,
        "state": _ACTOR_STATES[actor.state],
        "job_id": _job(actor.job),
        "name": actor.name,
        "node_id": core.config.node_id.hex() if actor.pid else None,
        "pid": actor.pid,
        "ray_namespace": actor.namespace,
    }
    if detail:
        row |= {
            "required_resources": _amounts(actor.spec.spec.resources),
            "death_cause": _cut(actor.exit_reason) if dead else None,
            "is_detached": actor.detached,
            "placement_group_id": _group_of(actor.spec),
            "repr_name": "",
            "num_restarts": actor.deaths,
            "end_time_ms": _ms(actor.ended),
            "cell": actor.spec.spec.origin or None,
        }
    return row


class _Holder(NamedTuple):
    """One object and one of those that keep it."""

    obj: Object
    client: Client | None
    kind: str


def _holders(core: Core) -> Iterator[_Holder]:
    used: set[bytes] | None = None
    for obj in core.objects.table.values():
        handle = obj.id.endswith(ids.ACTOR_SUFFIX) and obj.id[: ids.ACTOR_LEN] in core.actors.table
        local = "ACTOR_HANDLE" if handle else "LOCAL_REFERENCE"
        pinned = ""
        if obj.pins and not handle:
            if used is None:
                used = _used_by_tasks(core)
            pinned = "USED_BY_PENDING_TASK" if obj.id in used else "CAPTURED_IN_OBJECT"
        if obj.owner in core.clients:
            yield _Holder(obj, core.clients[obj.owner], pinned or local)
        for peer in sorted(obj.others or ()):
            yield _Holder(obj, core.clients.get(peer), local)
        if not obj.holders:
            yield _Holder(obj, None, pinned or local)


def _used_by_tasks(core: Core) -> set[bytes]:
    used: set[bytes] = set()
    for task, _ in zip(core.tasks.table.values(), range(_SCANNED), strict=False):
        used.update(task.deps)
        used.update(task.pins)
    return used


def _object_row(core: Core, held: _Holder, detail: bool) -> Row:
    obj, client = held.obj, held.client
    task = core.tasks.table.get(obj.id[: ids.TASK_LEN])
    if task is not None:
        status = _TASK_STATES[task.state]
    elif obj.group is None:
        status = "NIL"  # made by put, or a handle
    else:
        status = "FAILED" if obj.kind >= m.ERROR else "FINISHED"
    row: Row = {
        "object_id": obj.id.hex(),
        "object_size": obj.size if obj.kind != PENDING else None,
        "task_status": status,
        "attempt_number": task.attempt if task is not None else 0,
        "reference_type": held.kind,
        "call_site": core.objects.sites.get(obj.id, "disabled"),
        "type": "" if client is None else client.role.upper(),
        "pid": client.pid if client is not None else None,
        "ip": core.config.address,
    }
    if detail:
        row |= {
            "stored": obj.kind == m.STORED,
            "creator": obj.group.name if obj.group is not None else None,
            "pins": obj.pins,
        }
    return row


def _node_row(core: Core, _: Any, detail: bool) -> Row:
    config = core.config
    row: Row = {
        "node_id": config.node_id.hex(),
        "node_ip": config.address,
        "is_head_node": True,
        "state": "ALIVE",
        "state_message": None,
        "node_name": config.hostname,
        "resources_total": core.resources(core.pool.total),
        "labels": core.placement.labels,
    }
    if detail:
        row |= {"start_time_ms": _ms(core.started), "end_time_ms": None}
    return row


def _workers(core: Core) -> Iterator[Worker | Client | _Ended]:
    drivers = (c for c in core.clients.values() if c.role == "driver")
    return chain(drivers, core.workers.values(), reversed(core.history.workers))


def _worker_row(core: Core, item: Worker | Client | _Ended, detail: bool) -> Row:
    ended = item if isinstance(item, _Ended) else None
    how = ended.how if ended is not None else ""
    if ended is None:
        kind = None
    elif ended.expected:
        kind = "INTENDED_SYSTEM_EXIT"
    else:
        kind = exit_type(how)
    row: Row = {
        "worker_id": item.id.ljust(28, b"\0").hex(),
        "is_alive": ended is None,
        "worker_type": "DRIVER" if isinstance(item, Client) else "WORKER",
        "exit_type": kind,
        "node_id": core.config.node_id.hex(),
        "ip": core.config.address,
        "pid": item.pid,
    }
    if detail:
        created = 0.0
        if not isinstance(item, Client):
            created = ended.started if ended is not None else item.created  # type: ignore[union-attr]
        row |= {
            "exit_detail": how or None,
            "start_time_ms": _ms(created),
            "end_time_ms": _ms(ended.ended) if ended is not None else None,
        }
    return row


def exit_type(how: str) -> str:
    """Ray's word for how a process ended that nobody told to."""
    return "USER_ERROR" if how.startswith("exit code") else "SYSTEM_ERROR"


def _job_row(_core: Core, job: _Job, _detail: bool) -> Row:
    number = _job(job.number)
    return {
        "job_id": number,
        "submission_id": None,
        "type": "DRIVER",
        "status": "SUCCEEDED" if job.ended else "RUNNING",
        "entrypoint": job.entrypoint,
        "message": None,
        "error_type": None,
        "driver_info": {"id": number, "node_ip_address": "127.0.0.1", "pid": str(job.pid)},
        "start_time": _ms(job.started),
        "end_time": _ms(job.ended),
    }


def _placement_group_row(_core: Core, group: PlacementGroup, detail: bool) -> Row:
    state = GROUP_STATES[group.state]
    row: Row = {
        "placement_group_id": group.id.hex(),
        "name": group.name,
        "creator_job_id": _job(group.job),
        "state": state,
    }
    if detail:
        row |= {
            "bundles": [
                {"bundle_id": f"{group.id.hex()}:{i}", "unit_resources": _amounts(demand)}
                for i, demand in enumerate(group.demands)
            ],
            "is_detached": group.detached,
            "stats": {"strategy": group.strategy, "scheduling_state": state},
        }
    return row


_LISTINGS: dict[str, tuple[Callable[[Core], Iterable[Any]], Callable[[Core, Any, bool], Row]]] = {
    "tasks": (_tasks, _task_row),
    "actors": (lambda core: core.actors.table.values(), _actor_row),
    "objects": (_holders, _object_row),
    "nodes": (lambda core: (None,), _node_row),
    "workers": (_workers, _worker_row),
    "jobs": (lambda core: core.history.jobs.values(), _job_row),
    "placement_groups": (lambda core: core.placement.table.values(), _placement_group_row),
}

# --- questions -----------------------------------------------------------------------------------


def listing(core: Core, _client: Client, args: dict[str, Any]) -> Any:
    """A page of rows of one kind: ``kind``, ``filters`` as [key, "=" or "!=", value], ``limit``,
    ``detail``, and ``skip``: how many records earlier pages looked at.

    Answers ``rows``, and ``next``: the ``skip`` of the next page, None after the last. What comes
    and goes between two pages may be missed or seen twice.
    """
    found = _LISTINGS.get(args["kind"])
    if found is None:
        raise LookupError(f"There is no listing of {args['what']!r}.")
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


_DETAILS = {
    "tasks": (
        "language", "required_resources", "placement_group_id", "creation_time_ms",
        "start_time_ms", "end_time_ms", "error_message", "call_site", "cell",
    ),
    "actors": (
        "required_resources", "death_cause", "is_detached", "placement_group_id", "repr_name",
        "num_restarts", "end_time_ms", "cell",
    ),
    "objects": ("stored", "creator", "pins"),
    "nodes": ("start_time_ms", "end_time_ms"),
    "workers": ("exit_detail", "start_time_ms", "end_time_ms"),
    "placement_groups": ("bundles", "is_detached", "stats"),
}  # fmt: skip


def make_plain(row: Row, what: str) -> Row:
    """The row without the columns that are only shown with detail."""
    hidden = _DETAILS.get(what, ())
    return {key: value for key, value in row.items() if key not in hidden}


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
        counts = merged.setdefault((name, _GROUP_TYPES[group.kind]), Counter())
        for state, count in zip(_TASK_STATES, group.counts, strict=True):
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
        row["state_counts"][_ACTOR_STATES[actor.state]] += 1
    return {"summary": rows, "total_actors": len(core.actors.table), "summary_by": "class"}
