"""The records of the core as rows for ``fanlight.util.state``; :mod:`fanlight.core.state` asks.

Columns and values have Ray's names. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from fanlight import ids
from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import model
from fanlight.core.history import RAISED, WORKER_DIED, Attempt, Ended, Job, exit_type
from fanlight.core.model import PENDING, Actor, Client, Object, Spec, Task, Worker
from fanlight.core.placement import GROUP_STATES, PlacementGroup

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_SCANNED = 200_000  # unfinished tasks that are looked through for what they use
_TEXT = 2_000  # characters of an error message in a row

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
TASK_STATES = (  # by Task.state
    "PENDING_ARGS_AVAIL",
    "PENDING_NODE_ASSIGNMENT",
    "SUBMITTED_TO_WORKER",
    "RUNNING",
    "FINISHED",
    "FAILED",
    "FAILED",  # cancelled
)
ACTOR_STATES = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
_TASK_TYPES = ("NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK")  # by TaskSpec.kind
GROUP_TYPES = {"task": "NORMAL_TASK", "actor": "ACTOR_CREATION_TASK", "method": "ACTOR_TASK"}

Row = dict[str, Any]


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
        attempt, state, code, error = item.attempt, TASK_STATES[item.state], item.code, item.error
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
        "state": ACTOR_STATES[actor.state],
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
        status = TASK_STATES[task.state]
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
            "stored": obj.kind in (m.STORED, m.AWAY),
            "place": core.room.place_of(obj),
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


def _workers(core: Core) -> Iterator[Worker | Client | Ended]:
    drivers = (c for c in core.clients.values() if c.role == "driver")
    return chain(drivers, core.workers.values(), reversed(core.history.workers))


def _worker_row(core: Core, item: Worker | Client | Ended, detail: bool) -> Row:
    ended = item if isinstance(item, Ended) else None
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


def _job_row(_core: Core, job: Job, _detail: bool) -> Row:
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


# Each kind: its records, and what makes a row of one.
LISTINGS: dict[str, tuple[Callable[[Core], Iterable[Any]], Callable[[Core, Any, bool], Row]]] = {
    "tasks": (_tasks, _task_row),
    "actors": (lambda core: core.actors.table.values(), _actor_row),
    "objects": (_holders, _object_row),
    "nodes": (lambda core: (None,), _node_row),
    "workers": (_workers, _worker_row),
    "jobs": (lambda core: core.history.jobs.values(), _job_row),
    "placement_groups": (lambda core: core.placement.table.values(), _placement_group_row),
}

_DETAILS = {  # columns by kind
    "tasks": (
        "language", "required_resources", "placement_group_id", "creation_time_ms",
        "start_time_ms", "end_time_ms", "error_message", "call_site", "cell",
    ),
    "actors": (
        "required_resources", "death_cause", "is_detached", "placement_group_id", "repr_name",
        "num_restarts", "end_time_ms", "cell",
    ),
    "objects": ("stored", "place", "creator", "pins"),
    "nodes": ("start_time_ms", "end_time_ms"),
    "workers": ("exit_detail", "start_time_ms", "end_time_ms"),
    "placement_groups": ("bundles", "is_detached", "stats"),
}  # fmt: skip


def make_plain(row: Row, what: str) -> Row:
    """The row without the columns that are only shown with detail."""
    hidden = _DETAILS.get(what, ())
    return {key: value for key, value in row.items() if key not in hidden}
