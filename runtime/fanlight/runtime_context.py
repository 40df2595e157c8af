"""``get_runtime_context()``: who am I, and where do I run?"""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from fanlight import context
from fanlight import session as sessions

T = TypeVar("T")
_log = logging.getLogger("fanlight")


class RuntimeContext:
    """Facts about the current process and task. Ids are hexadecimal strings."""

    def __init__(self, session: sessions.Session) -> None:
        self._session = session

    def get_job_id(self) -> str:
        return int(self._session.job).to_bytes(4, "little").hex()

    def get_node_id(self) -> str:
        return str(self._session.info["node_id"])

    def get_worker_id(self) -> str:
        return (self._session.worker_id or self._session.client.id.ljust(28, b"\0")).hex()

    def get_task_id(self) -> str | None:
        """Of the task that calls this; None in a driver."""
        running = context.current.get()
        if running is None:
            _log.warning("There is no task id: this is not a task but a driver.")
            return None
        return running.task_id.hex()

    def get_task_name(self) -> str | None:
        running = context.current.get()
        return running.name if running is not None else None

    def get_actor_id(self) -> str | None:
        running = context.current.get()
        return running.actor_id.hex() if running is not None and running.actor_id else None

    def get_actor_name(self) -> str | None:
        running = context.current.get()
        return running.actor_name if running is not None and running.actor_id else None

    def get_assigned_resources(self) -> dict[str, float]:
        running = context.current.get()
        assert running is not None, "get_assigned_resources() is for tasks and actors"
        return dict(running.resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        running = context.current.get()
        return {"GPU": [str(i) for i in running.gpus] if running is not None else []}

    def get_placement_group_id(self) -> str | None:
        """Of the group that this runs in; None outside of any."""
        running = context.current.get()
        if running is None or running.where is None or not running.where.group:
            return None
        return str(running.where.group.hex())

    def is_canceled(self) -> bool:
        """In a method of a sync actor: whether somebody cancelled this call."""
        running = context.current.get()
        if running is None or not running.actor_id or running.on_loop:
            raise RuntimeError(
                "is_canceled() is for methods of actors that are not async; those get an "
                "asyncio.CancelledError."
            )
        return running.cancelled

    @property
    def current_actor(self) -> Any:
        """A handle to the actor that this runs in."""
        from fanlight.actor import rebuild_handle

        running = context.current.get()
        if running is None or not running.actor_id:
            raise RuntimeError("current_actor is for methods of actors.")
        found = self._session.engine.query("describe_actor", id=running.actor_id.hex())
        methods, traits = pickle.loads(found["methods"])
        return rebuild_handle(found["actor"], found["class_name"], methods, traits, True)

    @property
    def job_id(self) -> str:
        """Deprecated, as are the next ones: use ``get_job_id()``."""
        return self._old("job_id", self.get_job_id)

    @property
    def node_id(self) -> str:
        return self._old("node_id", self.get_node_id)

    @property
    def worker_id(self) -> str:
        return self._old("worker_id", self.get_worker_id)

    @property
    def task_id(self) -> str | None:
        return self._old("task_id", self.get_task_id)

    @property
    def actor_id(self) -> str | None:
        return self._old("actor_id", self.get_actor_id)

    @staticmethod
    def _old(name: str, now: Callable[[], T]) -> T:
        warnings.warn(f"Use get_{name}() instead of .{name}.", DeprecationWarning, stacklevel=3)
        return now()

    @property
    def namespace(self) -> str:
        return self._session.task_namespace

    @property
    def was_current_actor_reconstructed(self) -> bool:
        running = context.current.get()
        return running is not None and running.attempt > 0

    @property
    def runtime_env(self) -> Any:
        """The runtime environment in effect here: of this driver, task or actor; a dict."""
        from fanlight.client.environments import shown

        return shown(self._session.engine.environment)

    def get_runtime_env_string(self) -> str:
        """The same as JSON."""
        import json

        return json.dumps(self.runtime_env, sort_keys=True)

    def get(self) -> dict[str, Any]:
        return {"job_id": self.get_job_id(), "node_id": self.get_node_id()}


def get_runtime_context() -> RuntimeContext:
    """Facts about the current process and task; starts a runtime if there is none."""
    return RuntimeContext(sessions.ensure())
