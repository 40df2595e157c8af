"""The rows of the state API: attributes, and items by the same names."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(init=False)
class StateSchema:
    """A row. Columns that are only there with ``detail=True`` are None without it."""

    ID: ClassVar[str] = ""  # the column that names a row

    def __init__(self, **columns: Any) -> None:
        for field in fields(self):
            setattr(self, field.name, columns.get(field.name))

    def __getitem__(self, key: str) -> Any:
        if key not in self.columns():
            raise KeyError(key)
        return getattr(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key) if key in self.columns() else default

    def __contains__(self, key: object) -> bool:
        return key in self.columns()

    def __iter__(self) -> Iterator[str]:
        return iter(self.asdict())

    def __len__(self) -> int:
        return len(fields(self))

    def keys(self) -> KeysView[str]:
        return self.asdict().keys()

    def items(self) -> ItemsView[str, Any]:
        return self.asdict().items()

    def asdict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def columns(cls) -> set[str]:
        return {field.name for field in fields(cls)}


@dataclass(init=False)
class TaskState(StateSchema):
    """One attempt of a task. Times are milliseconds since the epoch."""

    ID: ClassVar[str] = "task_id"
    task_id: str
    attempt_number: int
    name: str
    state: str
    job_id: str
    actor_id: str | None
    type: str
    func_or_class_name: str
    parent_task_id: str | None
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    language: str | None
    required_resources: dict[str, float] | None
    placement_group_id: str | None
    creation_time_ms: int | None
    start_time_ms: int | None
    end_time_ms: int | None
    error_message: str | None
    call_site: str | None
    cell: str | None  # the notebook cell that it was submitted from


@dataclass(init=False)
class ActorState(StateSchema):
    ID: ClassVar[str] = "actor_id"
    actor_id: str
    class_name: str
    state: str
    job_id: str
    name: str
    node_id: str | None
    pid: int
    ray_namespace: str
    required_resources: dict[str, float] | None
    death_cause: str | None
    is_detached: bool | None
    placement_group_id: str | None
    repr_name: str | None
    num_restarts: int | None
    end_time_ms: int | None
    cell: str | None


@dataclass(init=False)
class ObjectState(StateSchema):
    """One object and one process that holds a reference to it (or what else keeps it)."""

    ID: ClassVar[str] = "object_id"
    object_id: str
    object_size: int | None
    task_status: str
    attempt_number: int
    reference_type: str
    call_site: str
    type: str
    pid: int | None
    ip: str
    stored: bool | None  # in the object store, not in the node
    place: str | None  # "node", "memory", "mapped" (memory that some process may use) or "disk"
    creator: str | None
    pins: int | None


@dataclass(init=False)
class NodeState(StateSchema):
    ID: ClassVar[str] = "node_id"
    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    state_message: str | None
    node_name: str
    resources_total: dict[str, float]
    labels: dict[str, str]
    start_time_ms: int | None
    end_time_ms: int | None


@dataclass(init=False)
class WorkerState(StateSchema):
    ID: ClassVar[str] = "worker_id"
    worker_id: str
    is_alive: bool
    worker_type: str
    exit_type: str | None
    node_id: str
    ip: str
    pid: int
    exit_detail: str | None
    start_time_ms: int | None
    end_time_ms: int | None


@dataclass(init=False)
class JobState(StateSchema):
    ID: ClassVar[str] = "job_id"
    job_id: str
    submission_id: str | None
    type: str
    status: str
    entrypoint: str
    message: str | None
    error_type: str | None
    driver_info: dict[str, str]
    start_time: int | None
    end_time: int | None


@dataclass(init=False)
class PlacementGroupState(StateSchema):
    ID: ClassVar[str] = "placement_group_id"
    placement_group_id: str
    name: str
    creator_job_id: str
    state: str
    bundles: list[dict[str, Any]] | None
    is_detached: bool | None
    stats: dict[str, Any] | None


SCHEMAS: dict[str, type[StateSchema]] = {
    "tasks": TaskState,
    "actors": ActorState,
    "objects": ObjectState,
    "nodes": NodeState,
    "workers": WorkerState,
    "jobs": JobState,
    "placement_groups": PlacementGroupState,
}
