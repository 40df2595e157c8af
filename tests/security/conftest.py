"""Fixtures of the security tests: those of the fault tests, and runtimes in places of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import before, driver, rt

__all__ = ["base", "before", "driver", "rt"]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory like /tmp, with a short path: everybody may write there, and it is sticky."""
    folder = Path(tempfile.mkdtemp(prefix="fls", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            os.chmod(path, 0o700)
    shutil.rmtree(folder)
