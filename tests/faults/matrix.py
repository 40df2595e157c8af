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


# --- the driver, or kernel -----------------------------------------------------------------------

DRIVER = "driver, or kernel"
_GONE = Row(
    'what Python or Jupyter says; the panel: "its last driver ended". The next `init` works at once',
    "nothing: who would want it is gone",
    "its tasks, actors and values; nothing of other drivers of the runtime",
    "the runtime, with all its processes and files, if it was the last driver",
)
_GOES_ON = Row("nothing of the fault", "nothing", "nothing", "nothing is left of it")


def _driver() -> Iterator[Cell]:
    ends = "faults/test_driver_ends.py::test_driver_ends"
    for fault in ("exception", "sys.exit", "os._exit", "segfault", "abort", "recursion"):
        yield _GONE.cell(DRIVER, fault, ends)
    for fault in ("out of memory", "SIGTERM", "SIGHUP", "os.execv"):
        yield _GONE.cell(DRIVER, fault, ends)
    yield _GONE.cell(DRIVER, "SIGKILL", "faults/test_kills.py::test_kill")
    yield _GONE.cell(DRIVER, "SIGKILL in `init`", "faults/test_kills.py::test_kill_during_init")
    yield _GONE.cell(
        DRIVER, "becomes a daemon", "faults/test_kernel.py::test_a_driver_that_becomes_a_daemon"
    )
    suspend = "faults/test_suspend.py"
    yield Row(
        "everything goes on after SIGCONT; no time-out of the runtime counts the pause",
        "nothing", "nothing", "nothing needs to be",
    ).cell(DRIVER, "SIGSTOP of it, or of all (sleep)", f"{suspend}::test_everything_stands_still_for_a_while")  # fmt: skip
    yield _GOES_ON.cell(DRIVER, "clock set", f"{suspend}::test_the_clock_jumps")
    yield Row(
        "`KeyboardInterrupt`, and the next call works; in `init` and `shutdown` when nothing is half done",
        "nothing", "the call that was cut; tasks go on, as in Ray", "what the cut call had made",
    ).cell(DRIVER, "Ctrl-C at any moment", "faults/test_interrupts.py::test_a_call_interrupted_at_any_moment")  # fmt: skip
    yield Row(
        "waiting calls raise `RuntimeLostError`: \"the runtime was shut down\"",
        "nothing", "what was not got", "all, when `shutdown` returns",
    ).cell(DRIVER, "shutdown() from anywhere", "faults/test_kernel.py::test_shutdown_from_anywhere")  # fmt: skip
    yield Row(
        "in the child `RuntimeNotStartedError`: it is a fork, and may have a runtime of its own",
        "nothing", "nothing", "nothing of the parent's, when the child ends",
    ).cell(DRIVER, "fork, multiprocessing", "faults/test_kernel.py::test_a_fork_of_the_driver_does_not_touch_its_runtime")  # fmt: skip
    streams = "faults/test_kernel.py::test_a_driver_without_standard_streams"
    yield _GOES_ON.cell(DRIVER, "closed stdin, stdout, stderr", streams)


# --- observers, and the Jupyter server -----------------------------------------------------------

OBSERVER = "observer"
SERVER = "Jupyter server"
_UNNOTICED = Row(
    "nothing: the runtime is as quick as before", "nothing", "nothing",
    "its connection and what waited for it (4 MB at most)",
)  # fmt: skip
_PANEL = Row(
    "the panel: \"server unreachable\", with what it last knew; it comes back by itself",
    "nothing", "nothing: runtimes go on, but kernels that Jupyter ends take theirs along",
    "its connections to the runtimes",
)  # fmt: skip


def _watchers() -> Iterator[Cell]:
    observers, sockets = "faults/test_observers.py", "faults/test_socket.py"
    for fault in ("SIGKILL", "SIGSTOP", "exception, sys.exit, os._exit, segfault"):
        yield _UNNOTICED.cell(OBSERVER, fault, f"{observers}::test_a_process_of_observers")
    nonsense = f"{observers}::test_observers_that_talk_nonsense_or_say_goodbye_badly"
    yield _UNNOTICED.cell(OBSERVER, "garbage", nonsense)
    slow = f"{sockets}::test_an_observer_that_never_reads_is_dropped"
    yield _UNNOTICED.cell(OBSERVER, "never reads", slow)
    yield _UNNOTICED.cell(OBSERVER, "fifty of them", f"{observers}::test_fifty_observers")
    for fault in ("SIGKILL", "SIGSTOP", "exit or restart"):
        yield _PANEL.cell(SERVER, fault, f"{observers}::test_a_process_of_observers")
    yield Row(
        "the panel: \"The runtime's node process (pid …) died\", and the next runtime when there is one",
        "nothing", "nothing of the server's", "its connection",
    ).cell(SERVER, "a runtime dies while it is watched", "labextension/test_events_socket.py::test_a_runtime_that_died_is_not_called_ended_in_order")  # fmt: skip


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
    *_driver(),
    *_watchers(),
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
