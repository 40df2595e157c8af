"""Fixtures: a shell in this process over the in-process engine, and real kernels over the real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_core.utils import ensure_event_loop
from traitlets.config import Config

import fanlight
import fanlight_kernel
from tests.kernel_ext.kernels import KernelClient

ensure_event_loop()  # jupyter_client keeps one for good; made now, it is no test's leak


class Ran:
    """What a cell put out, without colours."""

    def __init__(self, captured: Any, result: Any) -> None:
        self.stdout = re.sub(r"\x1b\[[0-9;]*m", "", captured.stdout)
        self.stderr = re.sub(r"\x1b\[[0-9;]*m", "", captured.stderr)
        self.outputs = captured.outputs
        self.error = result.error_in_exec or result.error_before_exec
        self.value = result.result


class Notebook:
    """Runs cells in a shell, and says what they put out."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.ns = shell.user_ns

    def run(self, source: str, *, fails: bool = False, cell_id: str = "cell-1") -> Ran:
        """Run a cell; it must fail if ``fails``, and else must not."""
        with capture_output() as captured:
            result = self.shell.run_cell(source, store_history=True, cell_id=cell_id)
        ran = Ran(captured, result)
        if fails:
            assert ran.error is not None, "the cell should have failed"
        else:
            assert ran.error is None, f"the cell failed: {ran.error!r}\n{ran.stdout}"
        return ran


@pytest.fixture
def shell() -> Iterator[Any]:
    """An IPython shell without history, and no other one afterwards."""
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell.instance(config=config)
    try:
        yield made
    finally:
        InteractiveShell.clear_instance()


@pytest.fixture
def notebook(shell: Any) -> Iterator[Notebook]:
    """A shell with the extension, over the in-process engine."""
    fanlight.shutdown()
    fanlight.init(engine="inproc", num_cpus=2)
    fanlight_kernel.load_ipython_extension(shell)
    try:
        yield Notebook(shell)
    finally:
        fanlight_kernel.unload_ipython_extension(shell)
        fanlight.shutdown()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelClient]:
    """A real kernel with the extension loaded and a runtime of two CPUs; shared by a module."""
    client = KernelClient(Path(tmp_path_factory.mktemp("jupyter")))
    try:
        client.run("%load_ext fanlight")
        client.run("import fanlight\nfanlight.init(num_cpus=2, num_gpus=0)")
        yield client
    finally:
        client.close()
