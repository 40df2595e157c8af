"""What a runtime on a shared machine may take, and the settings of the memory monitor.

Whoever runs the machine sets these variables in the environment of the Jupyter server (JupyterHub:
``c.Spawner.environment``); what a user's ``init`` asks for beyond them is lowered, with a notice:

=========================  ==========================================================
FANLIGHT_MAX_CPUS          CPUs to schedule on; else CPU_LIMIT, which JupyterHub sets
FANLIGHT_MAX_MEMORY        bytes of all processes and objects of a runtime, also "2G", "512M"; else MEM_LIMIT
FANLIGHT_MAX_PROCESSES     processes that run tasks and actors
=========================  ==========================================================

They guard against accidents, not against intent: a process can change its own environment. What must
hold against anybody is a cgroup's business, and Fanlight stays within those that it is in.

The monitor's settings are those of Ray, as ``init(_system_config={"memory_usage_threshold": 0.9})`` or as
variables ``RAY_memory_usage_threshold``; ``FANLIGHT_MEMORY_USAGE_THRESHOLD`` goes before them.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from fanlight import config

SMALLEST_MEMORY = 64 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SETTINGS = ("memory_usage_threshold", "memory_monitor_refresh_ms", "task_oom_retries")


class Limits(NamedTuple):
    """What a new runtime is given."""

    cpus: float | None  # None: those of the machine
    memory: int = 0  # bytes of processes and objects, 0 for no limit
    processes: int = 0  # of tasks and actors, 0 for no limit
    threshold: float = 0.95
    refresh: float = 0.25  # seconds
    oom_retries: int = -1
    notices: tuple[str, ...] = ()  # what the user should know


def check(memory: Any, processes: Any, store: Any, reservable: Any, settings: Any) -> None:
    """The arguments of ``init`` that are about this. Raises TypeError, ValueError."""
    for name, value in (("memory", memory), ("max_processes", processes), ("_memory", reservable)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name} must be a number, got {value!r}.")
    if memory is not None and memory < SMALLEST_MEMORY:
        raise ValueError(f"memory must be at least {SMALLEST_MEMORY >> 20} MiB (it is in bytes).")
    if memory is not None and store is not None and store >= memory:
        raise ValueError("object_store_memory is a part of memory, and must be less.")
    if processes is not None and (processes < 1 or processes != int(processes)):
        raise ValueError(f"max_processes must be a whole number of at least 1, got {processes}.")
    if reservable is not None and reservable < 0:
        raise ValueError(f"_memory cannot be negative, got {reservable}.")
    if settings is not None and not isinstance(settings, dict):
        raise TypeError(f"_system_config must be a dict, got {settings!r}.")


def settle(
    cpus: float | None,
    memory: int | None,
    processes: int | None,
    settings: dict[str, Any] | None,
    environ: Mapping[str, str] = os.environ,
) -> Limits:
    """What ``init`` asks for, within what the environment allows. Raises ValueError for nonsense.

    >>> settle(8, None, None, None, {"FANLIGHT_MAX_CPUS": "2", "MEM_LIMIT": "1G"})[:3]
    (2, 1073741824, 0)
    """
    notices: list[str] = []
    most_cpus, name = _first(environ, "FANLIGHT_MAX_CPUS", "CPU_LIMIT")
    most = math.ceil(_number(name, most_cpus)) if most_cpus else 0
    if most:
        wanted = config.cpu_count() if cpus is None else cpus
        if cpus is not None and cpus > most:
            notices.append(_lowered("num_cpus", f"{cpus:g}", f"{most}", name))
        cpus = min(wanted, max(1, most))
    text, name = _first(environ, "FANLIGHT_MAX_MEMORY", "MEM_LIMIT")
    most = _bytes(name, text) if text else 0
    if most and memory is not None and memory > most:
        notices.append(_lowered("memory", _gb(memory), _gb(most), name))
    bound = int(min(x for x in (memory or 0, most) if x)) if memory or most else 0
    text, name = _first(environ, "FANLIGHT_MAX_PROCESSES")
    most = int(_number(name, text)) if text else 0
    if most and processes is not None and processes > most:
        notices.append(_lowered("max_processes", f"{processes}", f"{most}", name))
    count = int(min(x for x in (processes or 0, most) if x)) if processes or most else 0
    found = _monitor(settings or {}, environ)
    return Limits(
        cpus, bound, count, found["memory_usage_threshold"],
        found["memory_monitor_refresh_ms"] / 1000, int(found["task_oom_retries"]), tuple(notices),
    )  # fmt: skip


def _monitor(settings: dict[str, Any], environ: Mapping[str, str]) -> dict[str, float]:
    found = dict(zip(_SETTINGS, (0.95, 250.0, -1.0), strict=True))
    for key in _SETTINGS:
        text, name = _first(environ, f"FANLIGHT_{key.upper()}", f"RAY_{key}")
        if key in settings:
            text, name = str(settings[key]), f"_system_config[{key!r}]"
        if text:
            found[key] = _number(name, text, least=-1 if key == "task_oom_retries" else 0)
    if not 0 < found["memory_usage_threshold"] <= 1:
        raise ValueError(
            "memory_usage_threshold is a part of memory: more than 0 and at most 1, not "
            f"{found['memory_usage_threshold']:g}."
        )
    if unknown := settings.keys() - set(_SETTINGS):
        names = ", ".join(sorted(map(str, unknown)))
        warnings.warn(f"_system_config: {names} has no meaning in Fanlight.", stacklevel=5)
    return found


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of these variables that is set, and its name."""
    return next(((environ[n].strip(), n) for n in names if environ.get(n, "").strip()), ("", ""))


def _number(name: str, text: str, least: float = 0.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least {least:g}, not {text!r}.")
    return value


def _bytes(name: str, text: str) -> int:
    """
    >>> _bytes("X", "1.5G"), _bytes("X", "300M"), _bytes("X", "1000000000")
    (1610612736, 314572800, 1000000000)
    """
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    if unit not in _UNITS:
        raise ValueError(f"{name} must be bytes, or end with K, M, G or T, not {text!r}.")
    return int(_number(name, text[: len(text) - len(unit)]) * _UNITS[unit])


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _lowered(option: str, asked: str, given: str, name: str) -> str:
    return (
        f"init({option}={asked}) was lowered to {given}: the environment variable {name} says so."
    )
