"""What a task's process is given before it runs: variables, files, packages.

>>> from fanlight.runtime_env import RuntimeEnv
>>> RuntimeEnv(env_vars={"MODE": "test"}) == {"env_vars": {"MODE": "test"}}
True

A runtime environment is a dict, or this class, which is one. It can be given to ``init`` (for all
work of this driver), to ``@remote`` and to ``.options``. Fields:

==========================  =======================================================================
env_vars                    variables, strings to strings; ``${NAME}`` stands for an earlier value
working_dir                 a directory (or .zip) that workers get a copy of, as current directory
py_modules                  directories, .py files, wheels or modules that workers can import
pip, uv                     requirements: a list, the path of a file, or a dict with "packages"
worker_process_setup_hook   a function, or "module.function", called once in each worker
config                      {"setup_timeout_seconds": 600, "eager_install": True}
excludes                    patterns, as in .gitignore, of what not to copy
==========================  =======================================================================

Local directories are copied when ``init`` is called, so they can only be given there.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from fanlight.errors import UnsupportedError

INSTALLERS = ("pip", "uv")
_EXCLUSIVE = ("pip", "uv", "conda")
_UNSUPPORTED = (
    "conda", "container", "image_uri", "java_jars", "mpi", "nsight", "py_executable",
    "rocprof_sys",
)  # fmt: skip
_INSTALL_OPTIONS = {
    "pip": ("packages", "pip_check", "pip_install_options"),
    "uv": ("packages", "uv_check", "uv_pip_install_options"),
}
SETUP_TIMEOUT = 600.0  # seconds
KNOWN = (
    "config", "env_vars", "excludes", "pip", "py_modules", "uv", "worker_process_setup_hook",
    "working_dir",
)  # fmt: skip


class RuntimeEnvConfig(dict[str, Any]):
    """The field ``config``: how an environment is set up.

    >>> RuntimeEnvConfig(setup_timeout_seconds=60)
    {'setup_timeout_seconds': 60, 'eager_install': True}
    """

    def __init__(
        self, setup_timeout_seconds: float = SETUP_TIMEOUT, eager_install: bool = True
    ) -> None:
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install)
        _check_config(self)


class RuntimeEnv(dict[str, Any]):
    """A runtime environment, checked when it is made; equal to the dict of its fields.

    Raises ValueError, TypeError, or UnsupportedError for a field that Ray has and Fanlight has not.

    >>> RuntimeEnv(pip=["numpy"])["pip"]
    ['numpy']
    >>> RuntimeEnv(env_vars={"N": 1})
    Traceback (most recent call last):
    TypeError: runtime_env['env_vars'] must map strings to strings, but 'N' is 1 (int).
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__({name: value for name, value in fields.items() if value is not None})
        check(self)

    def has_pip(self) -> bool:
        return bool(self.get("pip"))

    def has_working_dir(self) -> bool:
        return bool(self.get("working_dir"))

    def env_vars(self) -> dict[str, str]:
        return dict(self.get("env_vars", {}))

    def to_dict(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> Any:
        return _rebuild, (dict(self),)


def _rebuild(fields: dict[str, Any]) -> RuntimeEnv:
    made = RuntimeEnv()
    made.update(fields)
    return made


def check(env: dict[str, Any], *, job: bool = True) -> None:
    """Validate a runtime environment; ``job`` says whether it is that of ``init``.

    Called where it is written: by ``init``, by options of tasks and actors, by RuntimeEnv. Raises
    TypeError, ValueError or UnsupportedError. Fields that nobody knows are let pass, as in Ray.

    >>> check({"pip": ["a"], "conda": "b"})
    Traceback (most recent call last):
    ValueError: runtime_env: 'pip' and 'conda' exclude each other.
    """
    if not isinstance(env, dict):
        raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, got {type(env).__name__}.")
    for name in env:
        if not isinstance(name, str):
            raise TypeError(f"The fields of runtime_env are strings, got {name!r}.")
    given = [name for name in _EXCLUSIVE if env.get(name)]
    if len(given) > 1:
        raise ValueError(f"runtime_env: '{given[0]}' and '{given[1]}' exclude each other.")
    for name in _UNSUPPORTED:
        if env.get(name) is not None:
            raise UnsupportedError(f"runtime_env['{name}'] is not in this version of Fanlight.")
    for name, value in env.items():
        if value is None:
            continue
        if name == "env_vars":
            _check_env_vars(value)
        elif name in INSTALLERS:
            _check_install(name, value)
        elif name == "working_dir":
            _check_working_dir(value, job)
        elif name == "py_modules":
            _check_modules(value, job)
        elif name == "excludes":
            _check_excludes(value)
        elif name == "config":
            _check_config(value)
        elif name == "worker_process_setup_hook" and not (callable(value) or _is_path(value)):
            raise TypeError(
                "runtime_env['worker_process_setup_hook'] must be a function or "
                f"'module.function', got {value!r}."
            )


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "." in value.strip(".")


def _check_env_vars(value: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"runtime_env['env_vars'] must be a dict, got {type(value).__name__}.")
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise TypeError(
                f"runtime_env['env_vars'] must map strings to strings, but {key!r} is {item!r} "
                f"({type(item).__name__})."
            )
        if not key or "=" in key or "\0" in key + item:
            raise ValueError(f"runtime_env['env_vars']: {key!r} cannot be a variable.")


def _check_install(name: str, value: Any) -> None:
    if isinstance(value, str):
        if not os.path.isfile(value):
            raise ValueError(
                f"runtime_env['{name}'] = {value!r} is not a valid path of a requirements file."
            )
        return
    packages = value
    if isinstance(value, dict):
        for key in value:
            if key not in _INSTALL_OPTIONS[name]:
                raise UnsupportedError(
                    f"runtime_env['{name}']['{key}'] is not in this version of Fanlight; known "
                    f"are {', '.join(_INSTALL_OPTIONS[name])}."
                )
        if "packages" not in value:
            raise ValueError(f"runtime_env['{name}'] needs 'packages'.")
        _check_strings(f"runtime_env['{name}']", value.get(_INSTALL_OPTIONS[name][2]) or [])
        packages = value["packages"]
        if isinstance(packages, str):
            _check_install(name, packages)
            return
    _check_strings(f"runtime_env['{name}']", packages)


def _check_strings(what: str, value: Any) -> None:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{what} must be a list, a path or a dict, got {type(value).__name__}.")
    for item in value:
        if not isinstance(item, str):
            raise TypeError(f"{what} must list strings, got {item!r}.")
        if "\n" in item:
            raise ValueError(f"{what}: {item!r} has more than one line.")


def _check_excludes(value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(x, str) for x in value):
        raise TypeError(f"runtime_env['excludes'] must be a list of patterns, got {value!r}.")


def _check_config(value: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"runtime_env['config'] must be a dict, got {type(value).__name__}.")
    seconds = value.get("setup_timeout_seconds", SETUP_TIMEOUT)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"setup_timeout_seconds must be a number, got {seconds!r}.")
    if seconds <= 0 and seconds != -1:
        raise ValueError(
            f"setup_timeout_seconds must be above zero, or -1 for no limit, got {seconds}."
        )
    if not isinstance(value.get("eager_install", True), bool):
        raise TypeError(f"eager_install must be True or False, got {value['eager_install']!r}.")


def is_uri(value: str) -> bool:
    return "://" in value


def _refuse_uri(field: str, value: str) -> None:
    if is_uri(value):
        raise UnsupportedError(
            f"runtime_env['{field}'] = {value!r}: URIs are not in this version of Fanlight; give "
            "a local path to init(runtime_env=…)."
        )


def _refuse_below_job(field: str, value: Any, job: bool) -> None:
    if not job:
        raise ValueError(
            f"runtime_env['{field}'] = {value!r}: local files and directories are only supported "
            f"at the job level, that is in init(runtime_env={{'{field}': …}}). They are copied "
            "once, before any task runs."
        )


def _check_working_dir(value: Any, job: bool) -> None:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"runtime_env['working_dir'] must be a path, got {type(value).__name__}.")
    path = os.fspath(value)
    _refuse_uri("working_dir", path)
    _refuse_below_job("working_dir", path, job)
    if not os.path.isdir(path) and not (os.path.isfile(path) and path.endswith(".zip")):
        raise ValueError(
            f"runtime_env['working_dir'] = {path!r} is not a valid path: it must be a directory, "
            "or a .zip file."
        )


def _check_modules(value: Any, job: bool) -> None:
    if not isinstance(value, list | tuple):
        raise TypeError(f"runtime_env['py_modules'] must be a list, got {type(value).__name__}.")
    for item in value:
        if isinstance(item, ModuleType):
            _refuse_below_job("py_modules", item.__name__, job)
            if module_path(item) is None:
                raise ValueError(f"runtime_env['py_modules']: {item!r} has no files of its own.")
            continue
        if not isinstance(item, str | os.PathLike):
            raise TypeError(f"runtime_env['py_modules'] must list paths, got {item!r}.")
        path = os.fspath(item)
        _refuse_uri("py_modules", path)
        _refuse_below_job("py_modules", path, job)
        if not os.path.isdir(path) and not (
            os.path.isfile(path) and path.endswith((".py", ".whl", ".zip"))
        ):
            raise ValueError(
                f"runtime_env['py_modules']: {path!r} is not a valid path: it must be a package's "
                "directory, a .py file, a wheel or a .zip file."
            )


def module_path(module: ModuleType) -> str | None:
    """The directory of a package, or the file of a module."""
    paths = list(getattr(module, "__path__", ()))
    if paths:
        return str(paths[0])
    return getattr(module, "__file__", None)
