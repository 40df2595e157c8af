"""The first lesson runs top to bottom in a real kernel, and again in the same one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.notebooks.lessons import FOLDER, RUN_SECONDS, Lesson, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * RUN_SECONDS)]


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
    first.check_exercise(exercise, wrong)


@pytest.mark.long
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
