"""From a ``runtime_env`` as users write it to one that has a key, and that workers can be given.

The *normal form* holds what workers need (names of copies in the session's directory, what to
install, the pickled hook) and is what children inherit. Its hash is its key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanlight import errors, serialization
from fanlight import messages as m
from fanlight.client import failures
from fanlight.runtime_env import INSTALLERS, SETUP_TIMEOUT, RuntimeEnv, check

if TYPE_CHECKING:
    from fanlight.client.client import Client

Normal = dict[str, Any]
FOLDER = "environments"  # in the session's directory
_INPROC = ("env_vars", "config", "excludes")


def job(env: dict[str, Any], session_dir: str) -> Normal:
    """The normal form of what ``init`` was given; copies local files.

    Raises ValueError if they are too many, OSError if they cannot be read.
    """
    check(env)
    made = _common(env)
    folder = Path(session_dir, FOLDER)
    excludes = list(env.get("excludes") or ())
    if env.get("working_dir") is not None:
        from fanlight.client import snapshot

        path = os.fspath(env["working_dir"])
        made["working_dir"] = {
            "given": path,
            "copy": snapshot.working_dir(folder, path, excludes),
        }
    if env.get("py_modules"):
        from fanlight.client import snapshot

        items = env["py_modules"]
        made["py_modules"] = {
            "given": [getattr(item, "__name__", None) or os.fspath(item) for item in items],
            "copies": [snapshot.module(folder, item, excludes) for item in items],
        }
    return made


def _common(env: dict[str, Any]) -> Normal:
    """The fields that need no copies, in normal form."""
    made: Normal = {}
    for name, value in env.items():
        if value is None or name in ("working_dir", "py_modules", "excludes"):
            continue
        if name in INSTALLERS:
            made[name] = _install(name, value)
        elif name == "worker_process_setup_hook":
            made[name] = _hook(value)
        elif name == "env_vars":
            made[name] = dict(sorted(value.items()))
        elif name == "config":
            made[name] = dict(value)
        else:  # nobody knows it: shown by get_runtime_context(), and nothing else
            made[name] = value if _plain(value) else repr(value)
    return {name: value for name, value in made.items() if value not in ({}, None)}


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _install(tool: str, value: Any) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    packages = value
    if isinstance(value, dict):
        packages = value["packages"]
        extra = value.get("pip_install_options" if tool == "pip" else "uv_pip_install_options")
        options = {"check": bool(value.get(f"{tool}_check")), "options": list(extra or ())}
    if isinstance(packages, str):
        lines = _requirements(packages)
    else:
        # Where the installer runs is not where a path was meant from.
        lines = [os.path.abspath(p) if os.path.exists(p) and os.sep in p else p for p in packages]
        lines = [line.strip() for line in lines if line.strip()]
    return {"lines": lines, **options} if lines else None


def _requirements(path: str) -> list[str]:
    """The lines of a requirements file; files that it names are named in full."""
    folder = os.path.dirname(os.path.abspath(path))
    lines = []
    for line in Path(path).read_text("utf-8").replace("\\\n", "").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("-r", "--requirement", "-c", "--constraint") and len(words) > 1:
            words[1] = os.path.join(folder, words[1])
            line = " ".join(words)
        lines.append(line.strip())
    return lines


def _hook(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        return {"given": value}
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"
    try:
        blob, _ = serialization.dumps_function(value)
    except Exception as e:
        raise failures.cannot_serialize(f"the worker_process_setup_hook {name}", value, e) from e
    return {"given": name, "blob": base64.b64encode(blob).decode()}


def effective(parent: Normal | None, own: dict[str, Any] | None) -> Normal:
    """What work runs in that sets ``own``, submitted by what runs in ``parent``.

    Variables are merged one by one; other fields replace the parent's.

    >>> effective({"env_vars": {"A": "1", "B": "1"}}, {"env_vars": {"B": "2"}})
    {'env_vars': {'A': '1', 'B': '2'}}
    """
    if not own:
        return parent or {}
    mine = _common(own)
    merged = dict(parent or {})
    if "env_vars" in mine:
        mine["env_vars"] = dict(sorted({**merged.get("env_vars", {}), **mine["env_vars"]}.items()))
    if any(mine.get(tool) for tool in INSTALLERS):
        for tool in INSTALLERS:
            merged.pop(tool, None)
    return {**merged, **mine}


def key_of(env: Normal) -> str:
    """A name for it, the same for the same content; "" for an empty one."""
    if not env:
        return ""
    return hashlib.blake2b(describe(env), digest_size=12).hexdigest()


def describe(env: Normal) -> bytes:
    return json.dumps(env, sort_keys=True).encode()


def label(env: Normal) -> str:
    """For people: what takes time, or else what it sets."""
    for tool in INSTALLERS:
        if env.get(tool):
            lines = env[tool]["lines"]
            more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
            return f"{tool} {', '.join(lines[:3])}{more}"
    return ", ".join(sorted(env))


def define(client: Client, env: Normal, *, eager: bool = False) -> str:
    """Make it known to the node, once; returns its key."""
    key = key_of(env)
    if key and key not in client.environments:
        config = env.get("config", {})
        install = any(env.get(tool) for tool in INSTALLERS)
        seconds = config.get("setup_timeout_seconds", SETUP_TIMEOUT)
        client.link.send(
            [
                m.DefineEnvironment(
                    key,
                    describe(env),
                    label(env),
                    prepare=install,
                    eager=eager and install and config.get("eager_install", True),
                    timeout=max(0.0, float(seconds)),
                )
            ]
        )
        client.environments.add(key)
    return key


def shown(env: Normal | None) -> RuntimeEnv:
    """What ``get_runtime_context().runtime_env`` says of it."""
    made = RuntimeEnv()
    for name, value in (env or {}).items():
        if name in INSTALLERS:
            made[name] = value["lines"]
        elif name in ("working_dir", "py_modules", "worker_process_setup_hook"):
            made[name] = value["given"]
        else:
            made[name] = value
    return made


def refuse_for_inproc(env: dict[str, Any]) -> None:
    """One process cannot be several environments. Raises UnsupportedError."""
    from fanlight.runtime_env import KNOWN

    for name in env:
        if name in KNOWN and name not in _INPROC and env[name]:
            raise errors.UnsupportedError(
                f"The engine 'inproc' runs everything in this process and cannot honour "
                f"runtime_env['{name}']; env_vars it can. Use engine='local'."
            )
