"""Fixtures of the fault tests. Each of them ends by counting what is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import leaks
from tests.faults.support import Driver, assert_gone, longest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if longest:
        test, seconds = max(longest.items(), key=lambda item: item[1])
        terminalreporter.write_line(
            f"Longest time until nothing was left of a dead runtime: {seconds:.2f} s ({test})"
        )


@pytest.fixture
def before() -> leaks.Snapshot:
    """What there was when the test began."""
    return leaks.snapshot()


@pytest.fixture
def driver(
    tmp_path: Path, before: leaks.Snapshot, no_leaks: None
) -> Iterator[Callable[..., Driver]]:
    """``driver(body, **env)`` starts a script in a process of its own."""
    made: list[Driver] = []

    def start(body: str, **env: str) -> Driver:
        made.append(Driver(tmp_path, body, env))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def rt(before: leaks.Snapshot) -> Iterator[Any]:
    """The module ``fanlight`` with a runtime of this process; nothing is left when it ends."""
    import fanlight

    fanlight.shutdown()
    fanlight.init(num_cpus=2, log_to_driver=False)
    yield fanlight
    fanlight.shutdown()
    assert_gone(before)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nodes that are started now check their invariants now and then, and stop at the first flaw."""
    folder = tmp_path / "watch"
    folder.mkdir()
    watch = str(HERE / "nodewatch")
    old = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{watch}:{old}" if old else watch)
    monkeypatch.setenv("FANLIGHT_NODEWATCH", str(folder))
    yield folder
    broken = folder / "broken"
    assert not broken.exists(), broken.read_text()


@pytest.fixture
def start(
    watched: Path, before: leaks.Snapshot, no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """``start(**options)`` begins a runtime of this process."""
    import fanlight

    monkeypatch.setenv("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # some are raised and never looked at

    def begin(**options: Any) -> Any:
        fanlight.init(**({"num_cpus": 3, "log_to_driver": False} | options))
        return fanlight

    fanlight.shutdown()
    yield begin
    fanlight.shutdown()
    assert_gone(before)
