"""One suite, all engines: the fixtures."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.support import CAPABILITIES, DEADLINE, ENGINES, Runtimes, poll

_failed = pytest.StashKey[bool]()
HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "line(*ids): lines of the conformance list that it proves")
    config.addinivalue_line("markers", "needs(*capabilities): skip where an engine lacks one")
    config.addinivalue_line("markers", "runtime(**options): arguments of init for this test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(2 * DEADLINE))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    """Every test that uses it, directly or not, runs once for each engine."""
    return request.param


@pytest.fixture(scope="module")
def _runtimes(engine: str) -> Iterator[Runtimes]:
    fanlight = importlib.import_module("fanlight")
    importlib.import_module("fanlight.exceptions")
    runtimes = Runtimes(fanlight, engine)
    runtimes.stop()
    yield runtimes
    runtimes.stop()


@pytest.fixture(autouse=True)
def _skip_what_the_engine_cannot(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("needs")
    if marker is None or "engine" not in request.fixturenames:
        return
    name = request.getfixturevalue("engine")
    for capability in marker.args:
        if capability not in ENGINES[name].has:
            pytest.skip(f"{name} is not an engine that {CAPABILITIES[capability]}")


@pytest.fixture
def rt(_runtimes: Runtimes, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The module ``fanlight`` with a runtime: 2 CPUs, unless ``@runtime(...)`` says otherwise."""
    marker = request.node.get_closest_marker("runtime")
    _runtimes.use(**({"num_cpus": 2} | (marker.kwargs if marker else {})))
    yield _runtimes.fanlight
    _runtimes.settle(failed=request.node.stash.get(_failed, False))


@pytest.fixture
def fresh(_runtimes: Runtimes) -> Iterator[Runtimes]:
    """No runtime yet: the test calls ``fresh.init(...)``; ``fresh.fanlight`` is the module."""
    _runtimes.stop()
    yield _runtimes
    _runtimes.stop()


@pytest.fixture
def wait_for() -> Callable[[str], None]:
    """``wait_for(path)`` until a file is there; a gate, in the driver and in tasks."""

    def wait_for(path: str) -> None:
        import os
        import time

        end = time.monotonic() + 25
        while not os.path.exists(path):
            if time.monotonic() > end:
                raise AssertionError(f"{path} did not appear")
            time.sleep(0.004)

    return wait_for


@pytest.fixture
def note() -> Callable[[str, str], None]:
    """``note(path, text)`` appends a line to a file: what bodies leave behind."""

    def note(path: str, text: str = "x") -> None:
        import os

        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (text + "\n").encode())
        os.close(fd)

    return note


@pytest.fixture
def never(rt: Any) -> Callable[[], Any]:
    """``never()`` is a ref that stays pending: its task asks for what no node has."""

    @rt.remote(resources={"never": 1}, num_cpus=0)
    def never() -> None:
        pass

    return never.remote


@pytest.fixture
def eventually(rt: Any) -> Callable[[Callable[[], Any]], None]:
    """``eventually(predicate)`` lets work go on until the predicate holds."""

    @rt.remote(num_cpus=0)
    def step() -> None:
        pass

    def eventually(predicate: Callable[[], Any]) -> None:
        def stepped() -> Any:
            value = predicate()
            if not value:
                rt.get(step.remote())
            return value

        assert poll(stepped), "it did not happen"

    return eventually


@pytest.fixture
def pid_gone() -> Callable[[int], bool]:
    """``pid_gone(pid)``: the process has ended (a zombie counts as ended)."""

    def pid_gone(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            return Path("/proc/self").exists()
        return stat.rpartition(")")[2].split()[0] in "ZX"

    return pid_gone


@pytest.fixture
def script(engine: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``script(code)`` runs a driver of its own: a file, with ``init`` done for this engine."""

    def run(code: str, num_cpus: int = 2) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / f"script{time.monotonic_ns()}"
        folder.mkdir()
        options = ENGINES[engine].init | {"num_cpus": num_cpus}
        header = f"import fanlight\nfanlight.init(**{options!r})\n"
        (folder / "main.py").write_text(header + textwrap.dedent(code))
        (folder / "helper.py").write_text("def double(x):\n    return 2 * x\n")
        package = Path(importlib.import_module("fanlight").__file__ or "").parents[1]
        old = os.environ.get("PYTHONPATH")
        env = os.environ | {"PYTHONPATH": f"{package}:{old}" if old else str(package)}
        return subprocess.run(
            [sys.executable, str(folder / "main.py")],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )

    return run
