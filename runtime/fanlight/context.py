"""What runs just now: the task that the current thread (or asyncio task) executes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import msgspec


class ActorExitRequest(BaseException):
    """Raised by ``exit_actor()`` to leave the method; caught by the worker."""


class TaskContext(msgspec.Struct, eq=False):
    """Set by the worker around each task; read by ``get_runtime_context`` and by submission."""

    task_id: bytes
    name: str
    origin: str
    namespace: str = ""
    attempt: int = 0
    job: int = 0
    where: Any = None  # the messages.Where of its spec (an actor's for its calls)
    blocking: bool = False  # gives its CPU back while it waits in get
    gpus: list[Any] = []
    resources: dict[str, float] = {}
    caller: Any = None  # the channel that the call came on, if it did
    actor_id: bytes = b""
    actor_name: str = ""
    cancelled: bool = False
    on_loop: bool = False  # a method of an async actor


current: ContextVar[TaskContext | None] = ContextVar("fanlight_task", default=None)
# In a thread: the task that started it, whose output it writes. The thread may outlive the task.
started_by: ContextVar[TaskContext | None] = ContextVar("fanlight_started_by", default=None)

_default_origin = ""
generation = 0  # grows with each run of a cell: what a remote function captures is looked at anew
_origin: ContextVar[str | None] = ContextVar("fanlight_origin", default=None)


def origin() -> str:
    """The notebook cell that work submitted now belongs to; "" if none."""
    explicit = _origin.get()
    if explicit is not None:
        return explicit
    task = current.get()
    if task is not None:
        return task.origin
    if _default_origin:
        return _default_origin
    task = started_by.get()
    return task.origin if task is not None else ""


def set_default_origin(value: str) -> None:
    """Called before each run of a cell."""
    global _default_origin, generation
    generation += 1
    _default_origin = value


def push_origin(value: str) -> Any:
    return _origin.set(value)


def pop_origin(token: Any) -> None:
    _origin.reset(token)
