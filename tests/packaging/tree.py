"""The files that the project consists of: what git has, or would take."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = {
    "fanlight": ROOT / "runtime" / "fanlight",
    "fanlight_kernel": ROOT / "kernel_ext" / "fanlight_kernel",
    "fanlight_lab": ROOT / "labextension" / "fanlight_lab",
}


@cache
def project_files() -> tuple[Path, ...]:
    """Relative to ROOT; without what git ignores."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("THE TREE WAS NOT CHECKED: that needs git and a checkout")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = (Path(name) for name in sorted(set(names.split("\0"))) if name)
    return tuple(path for path in paths if (ROOT / path).is_file())


def package_files(name: str) -> set[str]:
    """What belongs to an import package, as a wheel names it."""
    folder = PACKAGES[name].relative_to(ROOT)
    return {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for path in project_files()
        if path.is_relative_to(folder)
    }
