"""What every notebook of the course must be."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.lessons import PATHS, fails


def test_there_are_notebooks() -> None:
    assert [path.stem for path in PATHS] == ["01_tasks_objects_actors", "02_remote_cells"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_is_clean(path: Path) -> None:
    """No outputs, no traces of a run, and ids that stay as they are when somebody saves it."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", cell["id"])
        assert cell.metadata == ({"tags": ["raises-exception"]} if fails(cell) else {})
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
