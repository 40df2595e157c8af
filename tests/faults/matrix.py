"""The crash matrix: what happens to whom, what the user sees, and what becomes of the rest.

One row a cell. The tests take theirs from here (`cells`), and so does the table in
runtime/DESIGN.md: after a change, `python -m tests.faults.matrix` writes it anew, and
test_matrix_page.py fails until that is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "runtime" / "DESIGN.md"
BEGIN = "<!-- The crash matrix: written by `python -m tests.faults.matrix`, not by hand. -->"
END = "<!-- The end of the crash matrix. -->"


@dataclass(frozen=True)
class Cell:
    """One victim × one fault.

    ``sees``, ``retried``, ``lost`` and ``cleaned`` are for the page; cells of a victim that agree
    in them share a line there. ``error`` is the class that ``get`` raises, "" if it raises nothing;
    ``says`` are words that its text (or, without an error, a notice) has. ``test`` is where it is
    proved: a file of tests/, and a function in it.
    """

    victim: str
    fault: str
    sees: str
    retried: str
    lost: str
    cleaned: str
    error: str = ""
    says: tuple[str, ...] = ()
    test: str = "faults/test_matrix.py::test_task"

    @property
    def id(self) -> str:
        return f"{self.victim}: {self.fault}"


@dataclass(frozen=True)
class Row:
    """The answers that several faults of one victim share."""

    sees: str
    retried: str
    lost: str
    cleaned: str

    def cell(
        self, victim: str, fault: str, test: str, error: str = "", says: tuple[str, ...] = ()
    ) -> Cell:
        return Cell(
            victim, fault, self.sees, self.retried, self.lost, self.cleaned, error, says, test
        )


# --- a worker that runs a task -------------------------------------------------------------------

TASK = "worker that runs a task"
_TASK = "faults/test_matrix.py::test_task"
_DIED = Row(
    "`WorkerCrashedError` with exit code or signal, pid and the last lines of the process",
    "yes, up to `max_retries` (3)",
    "nothing else: tasks behind it run elsewhere, values that exist stay",
    "process, its subprocesses, unfinished segments; the pool is filled up",
)


def _task() -> Iterator[Cell]:
    died: dict[str, tuple[str, ...]] = {
        "sys.exit": ("exit code 5", "called sys.exit(5)"),
        "os._exit": ("exit code 7",),
        "segfault": ("SIGSEGV", "Segmentation fault"),
        "abort": ("SIGABRT", "Aborted"),
        "SIGKILL": ("SIGKILL",),
    }
    for fault, says in died.items():
        yield _DIED.cell(TASK, fault, _TASK, "WorkerCrashedError", says)


CELLS: list[Cell] = [*_task()]


def cells(test: str) -> list[Cell]:
    """Those that ``test`` proves, as in ``faults/test_matrix.py::test_task``."""
    return [cell for cell in CELLS if cell.test == test]


# --- the page ------------------------------------------------------------------------------------


def table() -> str:
    """The matrix as a table of Markdown; faults of one victim with equal answers share a line."""
    lines = [
        "| who | what happens | the user sees | is run again | is lost | is cleaned |",
        "|---|---|---|---|---|---|",
    ]
    for victim, mine in groupby(CELLS, lambda cell: cell.victim):
        shared: dict[tuple[str, ...], list[str]] = {}
        for cell in mine:
            answers = (cell.sees, cell.retried, cell.lost, cell.cleaned)
            shared.setdefault(answers, []).append(cell.fault)
        name = victim
        for answers, faults in shared.items():
            lines.append(f"| {' | '.join((name, ', '.join(faults), *answers))} |")
            name = ""
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the table in its place."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} does not have the lines {BEGIN!r} and {END!r}.")
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
