"""The notebooks of the course, run as Jupyter runs them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 60  # far above what any cell takes; a hang fails here, with the cell's source
RUN_SECONDS = 300


class Lesson:
    """A notebook and its kernel. What it ran last is in the outputs of ``cells``."""

    def __init__(self, path: Path, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.notebook = nbformat.read(path, as_version=4)
        self.cells = {cell["id"]: cell for cell in self.notebook.cells}
        self.client = NotebookClient(
            self.notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
        )

    def run_all(self) -> None:
        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type == "code":
                self.runner.run(self.client.async_execute_cell(cell, index))
                errors = [o for o in cell.outputs if o.output_type == "error"]
                assert len(errors) == fails(cell), cell["id"]

    def run(self, cell_id: str, source: str | None = None) -> str:
        """Run one cell, with another text where ``source`` is given; gives what it printed."""
        cell = self.cells[cell_id]
        own = cell.source
        cell.source = own if source is None else source
        try:
            self.runner.run(self.client.async_execute_cell(cell, list(self.cells).index(cell_id)))
        finally:
            cell.source = own
        return printed(cell)

    def printed(self, cell_id: str) -> str:
        return printed(self.cells[cell_id])

    def solution(self, exercise: str) -> str:
        """The code folded away under an exercise."""
        text = self.cells[f"{exercise}-solution"].source
        found = re.search(r"<details>.*?```python\n(.*?)```.*</details>", text, re.DOTALL)
        assert found is not None, text
        return found.group(1)

    def check_exercise(self, exercise: str, wrong: str) -> None:
        """Untouched it waits, a wrong answer is told, the folded solution is right."""
        check, place = f"{exercise}-check", f"{exercise}-exercise"
        assert self.printed(check).startswith("Your turn")
        self.run(place, wrong)
        with pytest.raises(CellExecutionError, match="AssertionError"):
            self.run(check)
        given, solution = self.cells[place].source, self.solution(exercise)
        whole = solution.startswith("%%")  # else it is what comes after the cell's own lines
        self.run(place, solution if whole else f"{given}\n{solution}")
        assert self.run(check).strip() == "Right!"


def fails(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell is there to show an error; *run all* goes on after it."""
    return "raises-exception" in cell.metadata.get("tags", [])


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def started(path: Path) -> Iterator[Lesson]:
    """The lesson after a first run of all its cells; its kernel ends when the generator does.

    On a loop of its own: nbclient's blocking methods keep one, open, for the rest of the process.
    """
    with asyncio.Runner() as runner:
        lesson = Lesson(path, runner)
        kernel = lesson.client.async_setup_kernel()
        runner.run(kernel.__aenter__())
        try:
            lesson.run_all()
            yield lesson
        finally:
            runner.run(kernel.__aexit__(None, None, None))
