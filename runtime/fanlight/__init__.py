"""Fanlight: distributed Python in the notebook.

>>> import fanlight
>>> @fanlight.remote
... def square(x):
...     return x * x
>>> with fanlight.init(engine="inproc", num_cpus=2):
...     fanlight.get([square.remote(i) for i in range(4)])
[0, 1, 4, 9]

Code that was written for Ray's core runs after ``import fanlight as ray``; the name ``ray`` itself
is left to the real package.

Everything here is loaded on first use, so that the runtime's own processes start fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fanlight._version import __version__

if TYPE_CHECKING:
    from fanlight import (
        actor,
        cloudpickle,
        events,
        exceptions,
        observe,
        remote_function,
        runtime_env,
        session,
        types,
        util,
    )
    from fanlight.actor import ActorHandle, get_actor, method
    from fanlight.api import (
        available_resources,
        cancel,
        cluster_resources,
        get,
        get_gpu_ids,
        init,
        is_initialized,
        kill,
        nodes,
        put,
        remote,
        scale,
        shutdown,
        wait,
    )
    from fanlight.generators import DynamicObjectRefGenerator, ObjectRefGenerator
    from fanlight.logging_config import LoggingConfig
    from fanlight.memory_report import memory
    from fanlight.overview import status
    from fanlight.panels import panel
    from fanlight.progress_bar import as_completed, progress
    from fanlight.reasons import why
    from fanlight.recordings import export_html, record, replay
    from fanlight.refs import ObjectRef
    from fanlight.runtime_context import get_runtime_context
    from fanlight.task_graph import graph
    from fanlight.trace import timeline

_HOME = {
    "LoggingConfig": "logging_config",
    "ActorHandle": "actor",
    "DynamicObjectRefGenerator": "generators",
    "ObjectRef": "refs",
    "ObjectRefGenerator": "generators",
    "available_resources": "api",
    "as_completed": "progress_bar",
    "cancel": "api",
    "cluster_resources": "api",
    "export_html": "recordings",
    "get": "api",
    "get_actor": "actor",
    "get_gpu_ids": "api",
    "get_runtime_context": "runtime_context",
    "graph": "task_graph",
    "init": "api",
    "is_initialized": "api",
    "kill": "api",
    "memory": "memory_report",
    "method": "actor",
    "nodes": "api",
    "panel": "panels",
    "progress": "progress_bar",
    "put": "api",
    "record": "recordings",
    "remote": "api",
    "replay": "recordings",
    "scale": "api",
    "shutdown": "api",
    "status": "overview",
    "timeline": "trace",
    "wait": "api",
    "why": "reasons",
}
_MODULES = (
    "actor", "cloudpickle", "errors", "events", "exceptions", "observe", "remote_function",
    "runtime_context", "runtime_env", "session", "types", "util",
)  # fmt: skip
# Ray's libraries and clusters, of which this version has none; `hasattr(fanlight, "data")` is False.
_ABSENT = (
    "air", "autoscaler", "cluster_utils", "cpp_function", "dag", "data", "experimental",
    "java_function", "job_submission", "llm", "rllib", "serve", "train", "tune", "workflow",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"fanlight.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"fanlight.{name}")
    elif name == "ObjectID":  # the name in old courses
        value = __getattr__("ObjectRef")
    elif name in _ABSENT:
        raise AttributeError(_absent(name), name=name, obj=sys.modules[__name__])
    else:
        raise AttributeError(f"module 'fanlight' has no attribute {name!r}")
    globals()[name] = value
    return value


def _absent(name: str) -> str:
    return (
        f"ray.{name} is not in this version of Fanlight, which has Ray's core: tasks, actors, "
        "objects and ray.util."
    )


class _AbsentLibraries:
    """On sys.meta_path: ``import fanlight.data`` says the same as ``fanlight.data`` does."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> None:
        package, _, name = fullname.rpartition(".")
        if package == __name__ and name in _ABSENT:
            raise ModuleNotFoundError(_absent(name))


sys.meta_path.append(_AbsentLibraries)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext fanlight``: the magics, monitors and reprs of the IPython extension."""
    import_module("fanlight_kernel").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    import_module("fanlight_kernel").unload_ipython_extension(ipython)


__all__ = [
    "ActorHandle",
    "DynamicObjectRefGenerator",
    "LoggingConfig",
    "ObjectRef",
    "ObjectRefGenerator",
    "__version__",
    "actor",
    "as_completed",
    "available_resources",
    "cancel",
    "cloudpickle",
    "cluster_resources",
    "events",
    "exceptions",
    "export_html",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "graph",
    "init",
    "is_initialized",
    "kill",
    "memory",
    "method",
    "nodes",
    "observe",
    "panel",
    "progress",
    "put",
    "record",
    "remote",
    "remote_function",
    "replay",
    "runtime_env",
    "scale",
    "session",
    "shutdown",
    "status",
    "timeline",
    "types",
    "util",
    "wait",
    "why",
]
