"""Installs the packages of one runtime environment; a process of its own, which may take minutes.

Packages go into a virtual environment in the session's directory, named by what is installed, which
also sees the packages of the driver's. Environments that install the same share it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fanlight.node.zygote import die_with_parent

READY = "fanlight-ready"  # a file in a virtual environment that is complete
_INSTALLERS = ("pip", "uv")


def site_name(env: dict[str, Any]) -> str:
    """The directory of what an environment installs; "" if that is nothing.

    >>> site_name({"env_vars": {"A": "1"}})
    ''
    """
    for tool in _INSTALLERS:
        if env.get(tool):
            text = json.dumps([tool, env[tool]], sort_keys=True)
            return f"{tool}-{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"
    return ""


def packages_of(folder: Path) -> Path:
    """Where packages lie in a virtual environment."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return folder / "lib" / version / "site-packages"


def main(request: str, sys_path: list[str], parent: int) -> int:
    """Install what the environment in the file ``request`` asks for; returns the exit status.

    The process leads a group of its own; ``parent`` is the zygote, which ends the group when it is
    told to, and whose death, in whatever way, ends it too.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    die_with_parent(parent, signal.SIGTERM)
    path = Path(request)
    env = json.loads(path.read_bytes())
    target = path.parent / site_name(env)
    lock = os.open(f"{target}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # another environment may install the same just now
    if (target / READY).exists():
        return 0
    shutil.rmtree(target, ignore_errors=True)
    tool = next(tool for tool in _INSTALLERS if env.get(tool))
    status = _install(target, tool, env[tool], sys_path)
    if status:
        shutil.rmtree(target, ignore_errors=True)
    else:
        (target / READY).touch()
    return status


def _install(target: Path, tool: str, wanted: dict[str, Any], sys_path: list[str]) -> int:
    import venv

    venv.EnvBuilder(symlinks=True, with_pip=False).create(target)
    # Lines that begin with "import" are run: so the .pth files there (editable installs) count too.
    bases = [p for p in sys_path if os.path.basename(p) in ("site-packages", "dist-packages")]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in bases]
    (packages_of(target) / "_fanlight_base.pth").write_text("".join(lines), "utf-8")
    requirements = target / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in wanted["lines"]), "utf-8")
    python = str(target / "bin" / "python")
    found = _command(tool, python)
    if not found:
        return 1
    install, check = found
    command = [*install, "-r", str(requirements), *wanted.get("options", ())]
    # (Not written to the log: options may hold a password for an index.)
    status = _run(command)
    if not status and wanted.get("check"):
        status = _run(check)
    return status


def _command(tool: str, python: str) -> tuple[list[str], list[str]] | None:
    """How to install into, and to check, the environment of ``python``."""
    uv = shutil.which("uv")
    pip = importlib.util.find_spec("pip") is not None
    if uv and (tool == "uv" or not pip):
        return [uv, "pip", "install", "--python", python], [uv, "pip", "check", "--python", python]
    if pip:
        base = [sys.executable, "-m", "pip", "--python", python, "--no-input"]
        base.append("--disable-pip-version-check")
    elif _run([python, "-m", "ensurepip", "--default-pip"]) == 0:
        base = [python, "-m", "pip", "--no-input", "--disable-pip-version-check"]
    else:
        print("There is neither pip nor uv to install packages with.", flush=True)
        return None
    return [*base, "install"], [*base, "check"]


def _run(command: list[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
