"""The second lesson runs top to bottom in a real kernel, and shows in each cell what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.notebooks.lessons import FOLDER, RUN_SECONDS, Lesson, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * RUN_SECONDS)]


@pytest.fixture(scope="module")
def second() -> Iterator[Lesson]:
    yield from started(FOLDER / "02_remote_cells.ipynb")


def shown(lesson: Lesson, cell_id: str) -> str:
    """All that stands below a cell, as text."""
    outputs = lesson.cells[cell_id].outputs
    texts = (o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)
    return "\n".join(texts)


def test_a_cell_elsewhere(second: Lesson) -> None:
    assert re.search(r"40 means, computed in process \d+", shown(second, "cell-remote"))
    assert "array([" in shown(second, "cell-remote")
    assert re.search(r"process (\d+); the cell ran in process (?!\1)", shown(second, "cell-back"))
    text = shown(second, "dry")
    assert re.search(r"temperatures +ndarray +117 kB", text)
    assert "yearly, worker_pid" in text


def test_a_copy_that_is_changed(second: Lesson) -> None:
    assert "changed a copy of `notes`" in shown(second, "copies")
    assert "notes = []" in shown(second, "copies-result")


def test_each(second: Lesson) -> None:
    lines = re.findall(r"^\[part=(\d+)\] 0\.\d\d to 0\.\d\d$", shown(second, "each"), re.MULTILINE)
    assert sorted(map(int, lines)) == list(range(20))
    assert "1000 slopes, nearly all of them from 0.2" in shown(second, "each-result")


def test_in_the_background(second: Lesson) -> None:
    assert "Is it done? " in shown(second, "background-meanwhile")
    assert "ObjectRef(" in shown(second, "background-meanwhile")
    assert "0 of 20,000" in shown(second, "background-result")


def test_the_error(second: Lesson) -> None:
    (error,) = (o for o in second.cells["error"].outputs if o.output_type == "error")
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    assert "----> 2 row = list(years).index(year)" in text
    assert text.endswith("1 other failed (year = 2040), of 4 runs.")


def test_a_place_that_remembers(second: Lesson) -> None:
    assert "14,600 days" in shown(second, "place")
    assert "`db`" in shown(second, "place")  # it stays there, and that is said
    assert len(re.findall(r"^\d{4}, day \d+: [23]\d\.\d", shown(second, "place-result"), re.M)) == 3
    assert "Connection" in shown(second, "place-vars")


def test_pictures(second: Lesson) -> None:
    assert "compared: 8 done" in shown(second, "look")
    assert re.search(r"simulate: 8 ×", shown(second, "look-timeline"))
    graph = shown(second, "look-graph")
    assert (graph.count("simulate"), graph.count("compare")) == (2, 1)
    assert "8 objects" in shown(second, "look-memory")


def test_why(second: Lesson) -> None:
    assert "can never run here: it asks for 64 GPU" in shown(second, "why")


def test_the_coach(second: Lesson) -> None:
    text = shown(second, "coach")
    assert "`get` in a loop: 12 calls waited" in text
    assert "results.append(fanlight.get(measure.remote(station)))" in text


@pytest.mark.parametrize(
    ("exercise", "wrong"),
    [
        ("notes", "%%remote --out notes\nnotes.append('colder')"),
        ("month", "monthly = [0.0] * 12"),
        ("coach", "refs = []\nresults = []"),
    ],
)
def test_exercises(second: Lesson, exercise: str, wrong: str) -> None:
    second.check_exercise(exercise, wrong)


@pytest.mark.long
def test_run_all_again(second: Lesson) -> None:
    second.run_all()
