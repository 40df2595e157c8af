"""The crash matrix of runtime/DESIGN.md is that of matrix.py, and each cell has its test."""

from __future__ import annotations

import ast
from collections import Counter

from tests.faults import matrix


def test_the_page_shows_the_matrix() -> None:
    text = matrix.PAGE.read_text()
    assert matrix.page(text) == text, "run `python -m tests.faults.matrix`"


def test_every_cell_has_a_test() -> None:
    for name in {cell.test for cell in matrix.CELLS}:
        file, _, function = name.partition("::")
        tree = ast.parse((matrix.ROOT / "tests" / file).read_text())
        assert function in {
            x.name for x in ast.walk(tree) if isinstance(x, ast.FunctionDef | ast.AsyncFunctionDef)
        }, name


def test_no_cell_is_there_twice() -> None:
    assert Counter(cell.id for cell in matrix.CELLS).most_common(1)[0][1] == 1
    victims = [cell.victim for cell in matrix.CELLS]
    runs = [v for i, v in enumerate(victims) if not i or victims[i - 1] != v]
    assert len(runs) == len(set(runs)), "the cells of a victim stand together"
