"""A real JupyterLab of this tree, in private directories, and a headless Chromium to use it with.

Nothing here sleeps: everything waits for what it needs, up to a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    Page,
    Playwright,
    ViewportSize,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "labextension"
BUNDLE = LAB / "fanlight_lab" / "labextension"
SHOTS = ROOT / "test-results" / "screenshots"
LESSON = ROOT / "notebooks" / "01_tasks_objects_actors.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START = 90.0  # seconds that the server may take to answer
BASE = "/user/ada"  # as behind JupyterHub: who asks for something outside it, gets nothing
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--font-render-hinting=none", "--disable-lcd-text",  # the same letters on each machine
)  # fmt: skip

expect.set_options(timeout=30_000)  # as for what a page does itself; by itself it would be 5 s


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.ui)
            item.add_marker(pytest.mark.slow)
            long = item.get_closest_marker("long") is not None
            item.add_marker(pytest.mark.timeout(1800 if long else 420))


class Lab:
    """A running JupyterLab."""

    def __init__(self, url: str, token: str, folder: Path, command: list[str], log: Path) -> None:
        self.url = url
        self.token = token
        self.folder = folder  # what it serves
        self.env: dict[str, str] = {}  # its directories: for others that are to share them
        self.log = log
        self._command = command
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, at first or after it was killed, and wait until it answers."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self._command, cwd=self.folder, env=self.env, stdout=out, stderr=subprocess.STDOUT
            )
        _wait_for_server(self, self.process, self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def request(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None

    def write_notebook(self, name: str, *cells: str) -> str:
        """Put a notebook with these code cells into the folder; its name."""
        notebook = {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{i}",
                    "metadata": {},
                    "source": source,
                    "outputs": [],
                    "execution_count": None,
                }
                for i, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.folder / name).write_text(json.dumps(notebook))
        return name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(home: Path) -> dict[str, str]:
    """Private directories, with this tree's bundle and server configuration in them."""
    if not (BUNDLE / "package.json").is_file():
        pytest.fail("there is no bundle to test: run `make install`")
    env = dict(os.environ)
    for name in ("RUNTIME", "CONFIG", "DATA"):
        folder = home / name.lower()
        folder.mkdir(mode=0o700)
        env[f"JUPYTER_{name}_DIR"] = str(folder)
    env["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    env["IPYTHONDIR"] = str(home / "ipython")
    env["JUPYTER_PREFER_ENV_PATH"] = "0"  # what stands in these directories comes first
    roots = [str(ROOT / name) for name in ("runtime", "kernel_ext", "labextension")]
    env["PYTHONPATH"] = os.pathsep.join([*roots, env.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    extensions = home / "data" / "labextensions"
    extensions.mkdir()
    (extensions / "fanlight-lab").symlink_to(BUNDLE)
    shutil.copytree(
        LAB / "jupyter-config" / "jupyter_server_config.d",
        home / "config" / "jupyter_server_config.d",
    )
    page = home / "config" / "labconfig"
    page.mkdir()
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (page / "page_config.json").write_text(json.dumps(quiet))
    return env


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    home = Path(tempfile.mkdtemp(prefix="flui-", dir="/tmp"))  # short, for the unix sockets
    folder = home / "work"
    folder.mkdir()
    if LESSON.is_file():
        shutil.copy(LESSON, folder)
    token = os.urandom(16).hex()
    port = _free_port()
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"),
        *(f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"),
        *("--JupyterNotebookApp.expose_app_in_browser=True", f"--ServerApp.base_url={BASE}/"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if os.geteuid() == 0:
        command.append("--allow-root")
    log = home / "server.log"
    server = Lab(f"http://127.0.0.1:{port}{BASE}", token, folder, command, log)
    server.env = _environment(home)
    try:
        server.start()
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.request("/api/shutdown", "POST")
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        text = log.read_text("utf-8", "replace")
        shutil.rmtree(home, ignore_errors=True)
    assert "Fanlight: serving a panel failed" not in text, text[-5000:]


def _wait_for_server(server: Lab, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            server.request("/api/status")
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)  # a poll with a deadline
    process.kill()
    pytest.fail(f"JupyterLab did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium: install it or set CHROMIUM to its path")
    browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
    yield browser
    browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_FAILED] = True
    return report


_FAILED = pytest.StashKey[bool]()


@contextlib.contextmanager
def bare_page(
    browser: Browser, width: int, height: int, *, seconds: float = 30, **context_options: Any
) -> Iterator[tuple[Page, list[str]]]:
    """A page without a server, and its problems: an error in its scripts is one, a test may add others.

    ``seconds`` is how long it waits for what should come. Fails at the end if there are problems.
    """
    SHOTS.mkdir(parents=True, exist_ok=True)
    size: ViewportSize = {"width": width, "height": height}
    context = browser.new_context(viewport=size, **context_options)
    context.set_default_timeout(seconds * 1000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page, problems
    context.close()
    assert not problems, problems


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, lab: Lab) -> Iterator[Page]:
    """A tab of its own; an error in the extension's scripts fails the test."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(30_000)
    page = context.new_page()
    problems: list[str] = []
    page.on(
        "pageerror",
        lambda error: problems.append(str(error)) if "fanlight" in (error.stack or "") else None,
    )
    yield page
    if request.node.stash.get(_FAILED, False):
        with contextlib.suppress(Exception):
            page.screenshot(path=SHOTS / f"failed-{request.node.name}.png")
    context.close()
    # What a test set, a theme for instance, is not for the next one.
    shutil.rmtree(lab.env["JUPYTERLAB_SETTINGS_DIR"], ignore_errors=True)
    deadline = time.monotonic() + START
    while sessions := lab.request("/api/sessions"):
        assert time.monotonic() < deadline, sessions
        for session in sessions:
            with contextlib.suppress(urllib.error.HTTPError):  # a kernel that is restarted
                lab.request(f"/api/sessions/{session['id']}", "DELETE")
    assert not problems, problems
