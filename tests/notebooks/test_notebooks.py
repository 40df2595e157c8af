"""Every notebook of the course runs top to bottom in a real kernel, and again in the same one."""

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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * RUN_SECONDS)]


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
        cell = nbformat.from_dict(self.cells[cell_id])
        if source is not None:
            cell.source = source
        index = list(self.cells).index(cell_id)
        try:
            self.runner.run(self.client.async_execute_cell(cell, index))
        finally:
            self.notebook.cells[index] = self.cells[cell_id]  # the client puts its own there
        return printed(cell)

    def printed(self, cell_id: str) -> str:
        return printed(self.cells[cell_id])

    def solution(self, exercise: str) -> str:
        """The code folded away under an exercise."""
        text = self.cells[f"{exercise}-solution"].source
        found = re.search(r"<details>.*?```python\n(.*?)```.*</details>", text, re.DOTALL)
        assert found is not None, text
        return found.group(1)


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


def test_there_are_notebooks() -> None:
    assert [path.name for path in PATHS][:1] == ["01_tasks_objects_actors.ipynb"]


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


# What the cells of the first lesson give, one by one.


@pytest.fixture(scope="module")
def first() -> Iterator[Lesson]:
    yield from started(FOLDER / "01_tasks_objects_actors.ipynb")


def test_primes(first: Lesson) -> None:
    n = 300_000
    sieve = bytearray([1]) * n
    sieve[:2] = b"\0\0"
    for k in range(2, int(n**0.5) + 1):
        if sieve[k]:
            sieve[k * k :: k] = bytes(len(range(k * k, n, k)))
    expected = sum(k for k in range(n) if sieve[k])
    assert f"below {n:,} is {expected:,}." in first.printed("primes-serial")


def test_speed_up_is_a_number(first: Lesson) -> None:
    found = re.search(r"^Speed-up: (\S+)$", first.printed("primes-parallel"), re.MULTILINE)
    assert found is not None
    assert float(found.group(1)) > 0


def test_sent_before_anything_was_finished(first: Lesson) -> None:
    """``remote`` does not wait: sending takes a small part of the whole."""
    text = first.printed("primes-parallel")
    found = re.search(r"Sent after (\S+) ms, finished after (\S+) s", text)
    assert found is not None
    assert float(found.group(1)) / 1000 < float(found.group(2)) / 4


def test_arrays(first: Lesson) -> None:
    assert "8 MB, mean 4.00" in first.printed("arrays-get")
    assert "writeable: False" in first.printed("arrays-get")
    (output,) = first.cells["arrays-add"].outputs
    assert output.output_type == "execute_result"
    assert "ObjectRef" in output.data["text/plain"]


def test_counter(first: Lesson) -> None:
    assert first.printed("counter").strip() == str(list(range(1, 11)))


def test_quicksort(first: Lesson) -> None:
    """The order itself is asserted in the cell."""
    assert first.printed("quicksort-run").startswith("600,000 numbers: ")


def test_pi(first: Lesson) -> None:
    found = re.search(r"π is about (\S+)", first.printed("pi-run"))
    assert found is not None
    assert abs(float(found.group(1)) - 3.1416) < 0.005


def test_cell_for_each_seed(first: Lesson) -> None:
    farthest = [walk(seed) for seed in range(8)]
    assert first.printed("walks-result").splitlines()[0] == str(farthest)
    lines = [f"[seed={seed}] {steps} steps from home" for seed, steps in enumerate(farthest)]
    assert set(lines) <= set(first.printed("walks").splitlines())


@pytest.mark.parametrize(
    ("exercise", "wrong"),
    [
        ("count", "count = 9593"),
        ("means", "means = [0, 0, 0, 0]"),
        ("counter", "prediction = 10"),
    ],
)
def test_exercises(first: Lesson, exercise: str, wrong: str) -> None:
    """Untouched it waits, a wrong answer is told, the folded solution is right."""
    check, place = f"{exercise}-check", f"{exercise}-exercise"
    assert first.printed(check).startswith("Your turn")
    first.run(place, wrong)
    with pytest.raises(CellExecutionError, match="AssertionError"):
        first.run(check)
    given = first.cells[place].source
    first.run(place, f"{given}\n{first.solution(exercise)}")
    assert first.run(check).strip() == "Right!"


def test_run_all_again(first: Lesson) -> None:
    first.run_all()


def test_it_says_where_to_look(first: Lesson) -> None:
    """Each section, and the introduction, names one thing to watch in the panel."""
    texts = [c.source for c in first.notebook.cells if c.cell_type == "markdown"]
    sections = sum(text.startswith("## ") for text in texts) - 1  # not the last
    assert sections == 6
    assert "\n".join(texts).count("**In the panel:**") == sections + 1


def walk(seed: int) -> int:
    import random

    walker = random.Random(seed)
    position = farthest = 0
    for _ in range(100_000):
        position += walker.choice((-1, 1))
        farthest = max(farthest, abs(position))
    return farthest
