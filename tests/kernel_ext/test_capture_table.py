"""Cells run here and in a worker process, and compared: the same bindings, output and error.

The cases are in ``capture_cases.py``.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.async_helpers import get_asyncio_loop
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import fanlight
import fanlight_kernel
from tests.kernel_ext.capture_cases import CHANGED, SAME
from tests.kernel_ext.conftest import Notebook, Ran

pytestmark = pytest.mark.slow

get_asyncio_loop()  # IPython keeps one for good; made now, it is no test's leak


class Table:
    """A shell over one worker process, emptied before each cell."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.base = dict(notebook.ns)

    def reset(self) -> None:
        ns = self.notebook.ns
        for name in [n for n in ns if n not in self.base]:
            del ns[name]
        ns.update(self.base)

    def run(self, source: str) -> Ran:
        from IPython.utils.capture import capture_output

        with capture_output() as captured:
            result = self.notebook.shell.run_cell(source, store_history=False)
        return Ran(captured, result)

    def outcome(self, case: tuple[str, ...], remote: bool) -> tuple[dict[str, Any], str]:
        """Bindings, output and error of a case, and what it said on stderr."""
        setup, cell, probe = (*case, "")[:3]
        self.reset()
        for part in setup.split(";;"):
            assert self.run(part).error is None, part
        ran = self.run(("%%remote\n" if remote else "") + cell)
        facts = self.facts(ran)
        if ran.error is None:
            facts["bindings"] = {
                name: plain(value)
                for name, value in self.notebook.ns.items()
                if name not in self.base and not name.startswith("_")
            }
            if probe:
                asked = self.run(probe)
                facts["asked"] = plain(asked.value), self.facts(asked)
        return facts, ran.stderr

    def facts(self, ran: Ran) -> dict[str, Any]:
        error = ran.error
        return {
            "output": tidy(ran.stdout).split("---------")[0],
            "error": None if error is None else (type(error).__name__, str(error)),
        }


def tidy(text: str) -> str:
    text = re.sub(r"Out\[\d+\]: ", "", text).replace("\r\n", "\n")  # of a pty
    return re.sub(r"(?<=Task-)\d+| at 0x[0-9a-fA-F]+|0x[0-9A-F]+", "", text)


def plain(value: Any, depth: int = 3) -> Any:
    """Something that can be compared."""
    if isinstance(value, (types.FunctionType, type)):
        return type(value).__name__, value.__qualname__
    if isinstance(value, types.ModuleType):
        return "module", value.__name__
    if isinstance(value, BaseException):
        return type(value).__name__, str(value)
    if type(value).__name__ == "ndarray":
        return "array", str(value.dtype), value.shape, value.tolist()[:9]
    if depth and isinstance(value, dict):
        return [(repr(key), plain(part, depth - 1)) for key, part in value.items()]
    if depth and isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(part, depth - 1) for part in value]
    return tidy(repr(value))


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    fanlight.shutdown()
    fanlight.init(num_cpus=1, num_gpus=0)
    fanlight_kernel.load_ipython_extension(shell)
    try:
        yield Table(Notebook(shell))
    finally:
        fanlight_kernel.unload_ipython_extension(shell)
        fanlight.shutdown()
        stop = getattr(shell.magics_manager.registry.get("ScriptMagics"), "stop_event_loop", None)
        if stop is not None:
            stop()
        InteractiveShell.clear_instance()


@pytest.mark.parametrize("case", SAME, ids=range(len(SAME)))
def test_the_same_as_here(table: Table, case: tuple[str, ...]) -> None:
    here, _ = table.outcome(case, remote=False)
    there, said = table.outcome(case, remote=True)
    assert there == here
    assert "note:" not in said


@pytest.mark.parametrize("case", CHANGED, ids=range(len(CHANGED)))
def test_changes_in_place_are_told(table: Table, case: tuple[str, ...]) -> None:
    """The same output; the notebook keeps what it had, and is told so."""
    here, _ = table.outcome(case, remote=False)
    there, said = table.outcome(case, remote=True)
    assert (there["output"], there["error"]) == (here["output"], here["error"])
    assert "note: the cell changed a copy of" in said
