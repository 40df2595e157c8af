"""How a process becomes a worker of a runtime environment: before it runs anything of the user's."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import site
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanlight import messages as m

if TYPE_CHECKING:
    from fanlight.worker.executor import Executor

_VARIABLE = re.compile(r"\$\{(\w+)\}")
FOLDER = "environments"  # in the session's directory


def receive(executor: Executor, session_dir: str) -> None:
    """Wait for the description and act on it; called in the main thread of a fresh worker.

    When that fails, the node is told, and the worker waits to be ended: it must run nothing.
    """
    link = executor.client.link
    link.wait(lambda: executor.environment or executor.exiting)
    if executor.exiting:
        return
    try:
        assert executor.environment is not None
        if "OMP_NUM_THREADS" in executor.environment.get("env_vars", {}):
            executor.threads = 0
        enter(executor.environment, session_dir)
        link.send([m.EnvironmentEntered()])
    except BaseException as e:
        executor.streams[0].outbox.close()
        link.send([m.EnvironmentEntered(f"A worker could not enter it: {_describe(e)}")])
        link.wait(lambda: executor.exiting)


def _describe(error: BaseException) -> str:
    from fanlight.worker import tracebacks

    return tracebacks.text_of(error, "").strip() or traceback.format_exc()


def enter(env: dict[str, Any], session_dir: str) -> None:
    """Set variables, directory and search path; then call the user's hook."""
    from fanlight import session

    current = session.current()
    if current is not None:
        current.engine.environment = env  # what this process submits inherits it
    folder = Path(session_dir, FOLDER)
    set_variables(env.get("env_vars", {}))
    front: list[str] = []
    if "working_dir" in env:
        place = str(folder / env["working_dir"]["copy"])
        os.chdir(place)
        front.append(place)
    front += [str(folder / name) for name in env.get("py_modules", {}).get("copies", ())]
    front += _installed(env, folder)
    front += [p for p in env.get("env_vars", {}).get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:] = [*front, *(p for p in sys.path if p not in front)]
    importlib.invalidate_caches()
    hook = env.get("worker_process_setup_hook")
    if hook is not None:
        _find_hook(hook)()


def _installed(env: dict[str, Any], folder: Path) -> list[str]:
    """Directories of installed packages, the environment's first; programs of it are found too."""
    from fanlight.node.install import packages_of, site_name

    name = site_name(env)
    if not name:
        return []
    target = folder / name
    before = list(sys.path)
    site.addsitedir(str(packages_of(target)))
    new = [path for path in sys.path if path not in before]
    sys.path[:] = before
    sys.executable = str(target / "bin" / "python")
    os.environ["VIRTUAL_ENV"] = str(target)
    os.environ["PATH"] = f"{target / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return new


def _find_hook(hook: dict[str, str]) -> Any:
    if "blob" in hook:
        import base64
        import pickle

        return pickle.loads(base64.b64decode(hook["blob"]))
    module, _, name = hook["given"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def set_variables(variables: dict[str, str]) -> None:
    """Set environment variables; ``${NAME}`` in a value is what NAME was before."""
    earlier = dict(os.environ) if any("${" in value for value in variables.values()) else {}
    for name, value in variables.items():
        os.environ[name] = _VARIABLE.sub(lambda found: earlier.get(found[1], ""), value)
    if "TZ" in variables:
        time.tzset()


class Overlay:
    """Variables for a while, one set at a time; for engines whose tasks share a process."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._before: dict[str, str | None] = {}  # values of the same names without it

    @contextlib.contextmanager
    def put(self, wanted: dict[str, str]) -> Iterator[None]:
        """A task within a task (the outer one waits) sees its own variables only."""
        outer = self._now
        self._switch(wanted)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, wanted: dict[str, str]) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if "TZ" in self._now and "TZ" not in wanted:
            time.tzset()
        self._before = {name: os.environ.get(name) for name in wanted}
        self._now = wanted
        set_variables(wanted)


def decode(message: m.DefineEnvironment) -> dict[str, Any]:
    env: dict[str, Any] = json.loads(message.description)
    return env
