"""The wheel, made from a copy of the tree on a machine without Node.js, works in JupyterLab.

The front end is this tree's, where that is up to date, as after `make install`; a long test builds
it anew. No network is needed once `make test` has run: pip builds with the tools of this
environment, yarn takes the packages from its cache, and the fresh environment borrows this one's
libraries.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from .tree import PACKAGES, ROOT, package_files, project_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHARE = "share/jupyter/labextensions/fanlight-lab"
STANDALONE = ("fanlight.js", "fanlight.css", "charts.js", "third-party-licenses.txt")
BUNDLES = ("labextension/fanlight_lab/labextension", "labextension/fanlight_lab/standalone")
NEEDED_COMMANDS = ("sh", "env", "git", "uname", "rm", "dirname", "sed", "cc", "gcc")
SECONDS = 60.0  # for a server to answer


@pytest.fixture(scope="module")
def no_node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose PATH has a shell and this environment's scripts, and no Node.js."""
    folder = tmp_path_factory.mktemp("bin")
    for name in NEEDED_COMMANDS:
        if path := shutil.which(name):
            (folder / name).symlink_to(path)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(folder)])
    assert not any(shutil.which(name, path=path) for name in ("node", "nodejs", "npm", "yarn"))
    dropped = ("NODE", "NPM_", "npm_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PATH": path}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the bundles of this tree; without them where they are out of date."""
    folder = clone(tmp_path_factory.mktemp("clone"))
    if hatch_build().is_current(ROOT):
        for name in BUNDLES:
            shutil.copytree(ROOT / name, folder / name)
        assert hatch_build().is_current(folder)
    return folder


def clone(folder: Path) -> Path:
    """Put into it what a fresh clone holds: no bundle, no node_modules."""
    for path in project_files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    assert not any((folder / name).exists() for name in ("node_modules", *BUNDLES))
    return folder


def hatch_build() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tree: Path, no_node: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, no_node, tmp_path_factory.mktemp("dist"))


def build(tree: Path, env: dict[str, str], out: Path) -> Path:
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out))
    call(sys.executable, "-m", "pip", "wheel", *options, str(tree), env=env)
    (path,) = out.glob("*.whl")
    return path


def call(*command: str, env: dict[str, str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}"
    return done.stdout


def test_contents(wheel: Path, tree: Path) -> None:
    check_contents(wheel, tree)


@pytest.mark.long
def test_a_fresh_clone_builds_its_front_end(no_node: dict[str, str], tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    check_contents(build(folder, no_node, tmp_path / "dist"), folder)
    assert hatch_build().is_current(folder)


def check_contents(wheel: Path, tree: Path) -> None:
    """The three packages as git has them, both bundles, two configuration files; nothing else."""
    assert re.fullmatch(r"fanlight-[\d.]+-py3-none-any\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    stem = "-".join(wheel.name.split("-")[:2])
    data = f"{stem}.data/data"
    metadata = {name for name in names if name.startswith(f"{stem}.dist-info/")}
    shared = {name for name in names if name.startswith(f"{stem}.data/")}
    bundle_folder = tree / "labextension/fanlight_lab/labextension"
    bundle = {
        p.relative_to(bundle_folder).as_posix() for p in bundle_folder.rglob("*") if p.is_file()
    }

    standalone = {f"fanlight_lab/standalone/{name}" for name in STANDALONE}
    assert names - metadata - shared == standalone.union(*map(package_files, PACKAGES))
    assert shared == {
        f"{data}/etc/jupyter/jupyter_server_config.d/fanlight_lab.json",
        f"{data}/{SHARE}/install.json",
        *(f"{data}/{SHARE}/{name}" for name in bundle),
    }
    assert f"{stem}.dist-info/licenses/LICENSE" in metadata
    assert any(re.fullmatch(r"static/remoteEntry\.\w+\.js", name) for name in bundle)
    unwanted = re.compile(r"node_modules|(^|/)tests?/|ui-tests|\.tsx?$|\.map$|__pycache__")
    assert not [name for name in names if unwanted.search(name)]


@pytest.fixture(scope="module")
def fresh(wheel: Path, no_node: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel. The libraries come from this environment,
    by a .pth file that adds its site-packages, but not what an editable install put on the path."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    options = ("--no-index", "--no-deps")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install")
    call(*pip, *options, str(wheel), env=no_node)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # JupyterLab's own front end is data of the environment it was installed into.
    lab = Path(sys.prefix, "share", "jupyter", "lab")
    (folder / "share" / "jupyter" / "lab").symlink_to(lab, target_is_directory=True)
    return python


def test_imports(fresh: Path, no_node: dict[str, str]) -> None:
    """All three packages come from the new environment, and what they require is there."""
    code = """
import importlib.metadata, json, sys
import fanlight, fanlight.standalone, fanlight_kernel, fanlight_lab
from packaging.requirements import Requirement
missing = []
for text in importlib.metadata.requires("fanlight"):
    need = Requirement(text)
    if need.marker is None or need.marker.evaluate({"extra": ""}):
        if not need.specifier.contains(importlib.metadata.version(need.name), prereleases=True):
            missing.append(text)
origins = [m.__file__ for m in (fanlight, fanlight_kernel, fanlight_lab)]
origins += [str(fanlight.standalone.folder() / "fanlight.js")]
assert "FanlightStandalone" in fanlight.standalone.page("title", "nobody")
print(json.dumps({"missing": missing, "version": fanlight.__version__, "origins": origins}))
"""
    found = json.loads(call(str(fresh), "-c", code, env=no_node, cwd=fresh.parent).splitlines()[-1])
    assert found["missing"] == []
    assert found["version"] == json.loads((ROOT / "package.json").read_text())["version"]
    assert all(Path(path).is_relative_to(fresh.parent.parent) for path in found["origins"])


def test_extensions_are_enabled(fresh: Path, no_node: dict[str, str]) -> None:
    lab = "from jupyterlab.labextensions import main; main()"
    listed = call(str(fresh), "-c", lab, "list", env=no_node)
    assert re.search(r"fanlight-lab v[\d.]+ .*enabled.* OK", plain(listed)), listed
    server = ("-m", "jupyter_server.extension.serverextension", "list")
    listed = plain(call(str(fresh), *server, env=no_node))
    assert re.search(r"fanlight_lab .*enabled", listed), listed
    assert re.search(r"fanlight_lab .*OK", listed), listed


def plain(text: str) -> str:
    """Without the colours of a terminal."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_jupyterlab_serves_the_panel(fresh: Path, no_node: dict[str, str], tmp_path: Path) -> None:
    """A server started from the new environment names the extension and serves its script."""
    env = no_node | {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    log = tmp_path / "log"
    options = ("--no-browser", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={tmp_path}")
    if os.geteuid() == 0:
        options += ("--allow-root",)
    with open(log, "w") as output:
        server = subprocess.Popen(
            [str(fresh), "-m", "jupyterlab", *options],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        info = wait_for_server(tmp_path / "runtime", server, log)
        page = fetch(info, "lab")
        config = re.search(
            r'<script id="jupyter-config-data" type="application/json">(.*?)</script>',
            page,
            re.DOTALL,
        )
        assert config is not None, page[:2000]
        extensions = {e["name"]: e for e in json.loads(config[1])["federated_extensions"]}
        assert "fanlight-lab" in extensions
        entry = extensions["fanlight-lab"]["load"]
        assert "fanlight-lab" in fetch(info, f"lab/extensions/fanlight-lab/{entry}")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_server(runtime: Path, server: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                info: dict[str, str] = json.loads(path.read_text())
                fetch(info, "api/status")
                return info
            except (ValueError, OSError):
                pass  # half written, or not listening yet
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start\n{log.read_text()[-4000:]}")


def fetch(info: dict[str, str], path: str) -> str:
    request = urllib.request.Request(
        info["url"] + path, headers={"Authorization": f"token {info['token']}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=SECONDS) as answer:
        body: bytes = answer.read()
        return body.decode()


def test_sdist_holds_the_bundle(
    wheel: Path, tree: Path, no_node: dict[str, str], tmp_path: Path
) -> None:
    """A wheel made from the sdist is the same, and took no front-end build."""
    make = "import hatchling.build as b, sys; print(b.build_sdist(sys.argv[1]))"
    name = call(sys.executable, "-c", make, str(tmp_path), env=no_node, cwd=tree).split()[-1]
    shutil.unpack_archive(tmp_path / name, tmp_path)
    source = tmp_path / name.removesuffix(".tar.gz")
    assert not (source / "node_modules").exists()

    ask = "import hatchling.build as b, json; print(json.dumps(b.get_requires_for_build_wheel()))"
    needed = call(sys.executable, "-c", ask, env=no_node, cwd=source).splitlines()[-1]
    assert json.loads(needed) == []

    again = build(source, no_node, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in two.infolist()
        }
    assert not (source / "node_modules").exists()
