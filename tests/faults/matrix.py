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


# --- code that runs ------------------------------------------------------------------------------

TASK = "worker that runs a task"
ACTOR = "actor with queued calls"
GENERATOR = "generator task"
IDLE = "idle worker"
ZYGOTE = "zygote"
NODE = "node"

NOBODY = "nothing"
_DEATHS: dict[str, tuple[str, ...]] = {  # and what the error's text says
    "sys.exit": ("exit code 5", "called sys.exit(5)"),
    "os._exit": ("exit code 7",),
    "segfault": ("SIGSEGV", "Segmentation fault"),
    "abort": ("SIGABRT", "Aborted"),
    "SIGKILL": ("SIGKILL",),
    "recursion in C": ("SIGSEGV", "Segmentation fault", "in __getattr__"),
}
_RAISED: dict[str, tuple[str, tuple[str, ...]]] = {
    "exception": ("ValueError", ("ValueError: it went wrong",)),
    "MemoryError": ("TaskError", ("MemoryError",)),
    "RecursionError": ("RecursionError", ("maximum recursion depth",)),
    "unpicklable result": ("TypeError", ("['lock']", "cannot pickle")),
    "exception that cannot be pickled": ("TaskError", ("with a lock", "cannot be pickled")),
    "exception that cannot be rebuilt": (
        "UnserializableException",
        ("cannot be rebuilt", "made of two numbers"),
    ),
}
_SURVIVED = (
    "fork",
    "fork and exec",
    "multiprocessing",
    "fork, the child raises",
    "fork, the child returns",
    "fork, the child uses fanlight",
    "os.close(1)",
    "sys.stdout.close()",
    "sys.stdout = None",
)
_RAISES = Row(
    "the exception with its remote traceback, of its own type where that can be pickled",
    "no, unless `retry_exceptions` asks for it",
    NOBODY,
    "what the task held",
)
_GOES_ON = Row(
    "the result; a forked child that uses the runtime gets `RuntimeNotStartedError`",
    "no",
    "what the child returns, and what is printed to what was closed",
    "streams, before another task runs; children with their worker",
)

_LARGE = Row(
    "the result, which went to disk; `ObjectStoreFullError` or `OutOfDiskError` if that is full",
    "no",
    NOBODY,
    "the file, with the last reference",
)


def _code(
    victim: str, test: str, died: Row, error: str, raises: Row = _RAISES, goes_on: Row = _GOES_ON
) -> Iterator[Cell]:
    """The cells of code that runs: it raises, its process dies, or neither."""
    for fault, (cause, says) in _RAISED.items():
        yield raises.cell(victim, fault, test, cause, says)
    for fault, says in _DEATHS.items():
        yield died.cell(victim, fault, test, error, says)
    for fault in _SURVIVED:
        yield goes_on.cell(victim, fault, test)
    yield _LARGE.cell(victim, "result larger than the store", test)


_HERE = "faults/test_matrix.py::"
_TASK_DIED = Row(
    "`WorkerCrashedError` with exit code or signal, pid and the last lines of the process",
    "yes, up to `max_retries` (3)",
    "nothing else: tasks behind it run elsewhere, values that exist stay",
    "process, its process group, unfinished segments; the pool is filled up",
)
_GENERATOR_DIED = Row(
    "the items that there were, each once, then `WorkerCrashedError` as above",
    "yes, from its start; what was delivered is not delivered again",
    NOBODY,
    "as above",
)
_GENERATOR_RAISES = Row("the items that there were, then the exception", "no", NOBODY, "as above")
_ACTOR_DIED = Row(
    "`ActorDiedError` with exit code or signal, pid and the last lines, for this call and those "
    "behind it; `ActorUnavailableError` while it restarts",
    "the actor up to `max_restarts` (0), its calls up to `max_task_retries` (0)",
    "its state",
    "process, its process group, channels, what it held; actors that it made",
)
_ACTOR_RAISES = Row(_RAISES.sees, _RAISES.retried, NOBODY, "what the call held; the actor goes on")
_ACTOR_GOES_ON = Row(_GOES_ON.sees, "no", _GOES_ON.lost, "children with the actor")
_STOPPED_TASK = Row(
    "a notice within 2 s, and `why()`: its pid, that it is stopped, what ends it",
    "no: it goes on when it is continued; `cancel(force=True)` ends it",
    "nothing: tasks behind it run elsewhere",
    "at the latest by `shutdown()`, within 2 s",
)
_STOPPED_ACTOR = Row(
    _STOPPED_TASK.sees,
    "no: its calls go on when it is continued; `kill` ends it",
    NOBODY,
    _STOPPED_TASK.cleaned,
)
_UNSEEN = Row("nothing", "nothing ran", NOBODY, "the process; another one takes its place")
_THREAD = Row("a traceback in the driver's output", "no", NOBODY, "the thread, with its process")
_ZYGOTE_DIED = Row(
    "`WorkerCrashedError` or `ActorDiedError` where nothing can be run again; they say that the "
    "zygote died",
    "tasks up to `max_retries`, actors up to `max_restarts`",
    "state of actors; values that exist stay",
    "all workers and what they started, in sessions of their own too; a new zygote is forked",
)
_ZYGOTE_STOPPED = Row("nothing: the node continues it", "no", NOBODY, NOBODY)
_NODE_DIED = Row(
    "`RuntimeLostError` with exit code or signal and the node's last lines",
    "no",
    "all tasks, actors and values; `init()` starts a new runtime",
    "all processes, sockets, segments and files, by the zygote",
)
_NODE_STOPPED = Row(
    "a notice after a few seconds of waiting: its pid, and that it is stopped; Ctrl-C works",
    "no: all goes on when it is continued",
    NOBODY,
    "by `shutdown()`, within 2 s",
)


def _idle() -> Iterator[Cell]:
    for fault in ("SIGKILL", "SIGSEGV", "SIGTERM", "SIGSTOP"):
        yield _UNSEEN.cell(IDLE, fault, _HERE + "test_idle")
    yield _UNSEEN.cell(IDLE, "a thread left behind calls os._exit", _HERE + "test_idle")
    yield _THREAD.cell(IDLE, "a thread left behind raises", _HERE + "test_idle")


def _zygote() -> Iterator[Cell]:
    for fault in ("SIGKILL", "SIGSEGV"):
        yield _ZYGOTE_DIED.cell(ZYGOTE, fault, _HERE + "test_zygote", "WorkerCrashedError")
    yield _ZYGOTE_STOPPED.cell(ZYGOTE, "SIGSTOP", _HERE + "test_a_stopped_zygote")


def _node() -> Iterator[Cell]:
    test = "faults/test_matrix_node.py::test_node"
    for fault, says in {
        "SIGKILL": ("SIGKILL",),
        "SIGSEGV": ("SIGSEGV",),
        "SIGTERM": ("SIGTERM",),
        "no memory": ("MemoryError",),
    }.items():
        yield _NODE_DIED.cell(NODE, fault, test, "RuntimeLostError", says)
    stopped = "faults/test_matrix_node.py::test_a_stopped_node"
    yield _NODE_STOPPED.cell(NODE, "SIGSTOP", stopped)


CELLS: list[Cell] = [
    *_code(TASK, _HERE + "test_task", _TASK_DIED, "WorkerCrashedError"),
    _STOPPED_TASK.cell(TASK, "SIGSTOP", _HERE + "test_a_stopped_task"),
    *_code(
        GENERATOR,
        _HERE + "test_generator",
        _GENERATOR_DIED,
        "WorkerCrashedError",
        _GENERATOR_RAISES,
    ),
    *_code(
        ACTOR, _HERE + "test_actor", _ACTOR_DIED, "ActorDiedError", _ACTOR_RAISES, _ACTOR_GOES_ON
    ),
    _STOPPED_ACTOR.cell(ACTOR, "SIGSTOP", _HERE + "test_a_stopped_actor"),
    *_idle(),
    *_zygote(),
    *_node(),
]


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
            lines.append(f"| {' | '.join((name, ' · '.join(faults), *answers))} |")
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
