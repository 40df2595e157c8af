"""What runs just now: the task that the current thread (or asyncio task) executes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any


class ActorExitRequest(BaseException):
    """Raised by ``exit_actor()`` to leave the method; caught by the worker."""


class TaskContext:
    """Set by the worker around each task; read by ``get_runtime_context`` and by submission."""

    __slots__ = (
        "actor_id", "actor_name", "attempt", "blocking", "caller", "cancelled", "gpus", "job",
        "name", "namespace", "on_loop", "origin", "resources", "task_id", "where",
    )  # fmt: skip

    def __init__(self, task_id: bytes, name: str, origin: str) -> None:
        self.task_id = task_id
        self.name = name
        self.origin = origin
        self.actor_id = b""
        self.actor_name = ""
        self.namespace = ""
        self.attempt = 0
        self.job = 0
        self.caller: Any = None  # the channel that the call came on, if it did
        self.gpus: list[Any] = []
        self.resources: dict[str, float] = {}
        self.cancelled = False
        self.on_loop = False  # a method of an async actor
        self.where: Any = None  # the messages.Where of its spec (an actor's for its calls)
        self.blocking = False  # gives its CPU back while it waits in get


current: ContextVar[TaskContext | None] = ContextVar("fanlight_task", default=None)

_default_origin = ""
_origin: ContextVar[str | None] = ContextVar("fanlight_origin", default=None)


def origin() -> str:
    """The notebook cell that work submitted now belongs to; "" if none."""
    explicit = _origin.get()
    if explicit is not None:
        return explicit
    task = current.get()
    return task.origin if task is not None else _default_origin


def set_default_origin(value: str) -> None:
    global _default_origin
    _default_origin = value


def push_origin(value: str) -> Any:
    return _origin.set(value)


def pop_origin(token: Any) -> None:
    _origin.reset(token)
