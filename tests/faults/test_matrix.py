"""The crash matrix (matrix.py), provoked cell by cell in one runtime."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.faults import matrix
from tests.faults.support import DEADLINE, assert_gone


@pytest.fixture(scope="module")
def rt() -> Iterator[Any]:
    """One runtime for all cells that it survives."""
    import fanlight

    before = leaks.snapshot()
    fanlight.shutdown()
    fanlight.init(num_cpus=2, log_to_driver=False)
    yield fanlight
    fanlight.shutdown()
    assert_gone(before)


def parametrize(test: str) -> Any:
    found = matrix.cells(f"faults/test_matrix.py::{test}")
    return pytest.mark.parametrize("cell", found, ids=[cell.fault for cell in found])


def _sys_exit() -> None:
    raise SystemExit(5)


def _exit_7() -> None:
    os._exit(7)


def _segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def _sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, Callable[[], Any]] = {
    "sys.exit": _sys_exit,
    "os._exit": _exit_7,
    "segfault": _segfault,
    "abort": os.abort,
    "SIGKILL": _sigkill,
}


@parametrize("test_task")
def test_task(rt: Any, tmp_path: Path, cell: matrix.Cell) -> None:
    fault, log = FAULTS[cell.fault], str(tmp_path / "attempts")

    @rt.remote(max_retries=1, name="deadly")
    def task() -> None:
        with open(log, "a") as f:
            f.write(f"{os.getpid()}\n")
        os.write(2, b"these are its last words\n")
        fault()

    with pytest.raises(getattr(rt.errors, cell.error)) as info:
        rt.get(task.remote(), timeout=DEADLINE)
    text = str(info.value)
    pids = [int(line) for line in Path(log).read_text().split()]
    assert len(pids) == 2
    for words in (*cell.says, "deadly", f"pid {pids[-1]}", "these are its last words"):
        assert re.search(words, text) or words in text, (words, text)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert rt.get(rt.remote(lambda: 1).remote(), timeout=DEADLINE) == 1
