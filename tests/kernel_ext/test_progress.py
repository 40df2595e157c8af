"""From events to the monitor's figures and words."""

from __future__ import annotations

import io
from typing import Any

import pytest

from fanlight import events
from fanlight.progress_bar import seconds
from fanlight_kernel.widgets import render
from fanlight_kernel.widgets.progress import Progress, Row, Tracker
from fanlight_kernel.widgets.wording import as_state, summary
from tests.kernel_ext.conftest import Notebook


def group(number: int, origin: str = "c", first: float = 10.0, **counts: int) -> events.GroupView:
    return events.GroupView(
        id=number,
        name=f"f{number}",
        kind="task",
        origin=origin,
        counts=counts,  # type: ignore[arg-type]
        duration=0.5 * (counts.get("FINISHED", 0) + counts.get("FAILED", 0)),
        first=first,
        last=20.0,
    )


def task(identity: str, number: int, state: str, submitted: float) -> events.TaskView:
    return events.TaskView(
        id=identity,
        group=number,
        name=f"f{number}",
        state=state,  # type: ignore[arg-type]
        deps=[],
        parent="",
        actor="",
        worker="",
        submitted=submitted,
        started=0.0,
        finished=0.0,
        attempt=0,
        error="",
    )


def snapshot(
    groups: list[Any], tasks: list[Any] = (), edges: list[Any] = (), errors: list[Any] = ()
) -> events.Snapshot:  # type: ignore[assignment]
    runtime = events.RuntimeView(
        id="r", name="r", engine="local", version="1", python="3", pid=1, started=0.0,
        total={"CPU": 2.0}, available={"CPU": 2.0}, drivers=[],
    )  # fmt: skip
    return events.Snapshot(
        version=1, seq=1, time=0.0, runtime=runtime, groups=groups, edges=list(edges),
        tasks=list(tasks), workers=[], actors=[], gpus=[], gpu_status="", store=[], objects=[],
        errors=list(errors),
    )  # fmt: skip


def test_only_the_cells_own_groups_count() -> None:
    tracker = Tracker()
    tracker.feed(snapshot([group(1, FINISHED=3, RUNNING=1), group(2, origin="other", FINISHED=9)]))
    progress = tracker.progress("c", 10.0, 12.0)
    assert (progress.total, progress.done, progress.running) == (4, 3, 1)
    assert progress.cpus == 2.0
    assert progress.elapsed == pytest.approx(2.0)


def test_running_a_cell_again_starts_at_nothing() -> None:
    tracker = Tracker()
    fresh = [task(str(i), 1, "FINISHED", 31.0) for i in range(2)]
    tracker.feed(
        snapshot([group(1, first=10.0, FINISHED=7)], [task("old", 1, "FINISHED", 11.0), *fresh])
    )
    baseline = tracker.baseline("c", since=30.0)
    progress = tracker.progress("c", 30.0, 32.0, baseline)
    assert progress.done == 2


def test_waiting_tasks_do_not_count_as_work() -> None:
    tracker = Tracker()
    edge = events.EdgeView(source=1, target=2, count=4, kind="spawn")
    tracker.feed(snapshot([group(1, FINISHED=2), group(2, FINISHED=4)], edges=[edge]))
    progress = tracker.progress("c", 10.0, 30.0)
    assert progress.busy == pytest.approx(2.0)  # four tasks of half a second


@pytest.mark.parametrize(
    ("rows", "elapsed", "busy", "expected"),
    [
        ([Row("f", done=64)], 3.1, 5.83, "64 tasks, 3.1 s, 1.9× on 2 CPUs (94 %)"),
        ([Row("f", done=1)], 0.012, None, "1 task, 12 ms"),
        ([Row("f", failed=1)], 0.5, None, "1 task failed, 0.5 s"),
        ([Row("f", done=2, failed=1)], 75.0, None, "3 tasks, 1 failed, 1:15 min"),
        ([Row("f", done=2, cancelled=1)], 2.0, 3.0, "3 tasks, 1 cancelled, 2.0 s"),
        ([Row("f", done=4)], 1.0, 9.0, "4 tasks, 1.0 s"),  # more than two CPUs can do: sleepers
        ([Row("f", done=12345)], 7200.0, None, "12\u202f345 tasks, 2:00:00 h"),
    ],
)
def test_the_summary(rows: list[Row], elapsed: float, busy: float | None, expected: str) -> None:
    assert summary(Progress(rows=rows, cpus=2, elapsed=elapsed, busy=busy)) == expected


def test_the_estimate_needs_some_tasks_first() -> None:
    few = Progress(rows=[Row("f", done=2, pending=8, busy=2.0)], elapsed=3.0)
    assert few.remaining() is None
    some = Progress(rows=[Row("f", done=5, pending=10, busy=5.0)], elapsed=3.0)
    assert some.remaining() == pytest.approx(6.0)
    assert as_state(some, title="x")["remaining"] == "about 6 s left"
    assert as_state(some, title="x", growing=True)["remaining"] == ""


def test_the_estimate_counts_work_not_tasks() -> None:
    """A second function that is ten times slower: the first one's pace says nothing of it."""
    quick = Row("quick", done=10, busy=1.0)
    slow = Row("slow", done=3, pending=7, busy=3.0)
    assert Progress(rows=[quick, slow], elapsed=2.0).remaining() == pytest.approx(3.5)
    unknown = Row("slow", pending=1)
    assert Progress(rows=[quick, unknown], elapsed=2.0).remaining() is None
    parents = Row("tree", done=9, running=2, busy=3.0, waits=True)
    assert Progress(rows=[quick, parents], elapsed=2.0).remaining() is None


def test_many_functions_are_added_up() -> None:
    rows = [Row(f"f{i}", done=i + 1) for i in range(19)] + [Row("broken", failed=1)]
    state = as_state(Progress(rows=rows, elapsed=1.0), title="x")
    names = [row["name"] for row in state["rows"]]
    assert len(names) == 9
    assert names[-2:] == ["broken", "and 12 others"]
    assert sum(row["total"] for row in state["rows"]) == state["total"] == 191


def error(number: int, name: str, message: str, when: float = 12.0) -> events.ErrorView:
    return events.ErrorView(
        task_id="t", group=number, name=name, origin="c", time=when, message=message, traceback=""
    )


def test_failures_are_told_with_their_message() -> None:
    tracker = Tracker()
    tracker.feed(
        snapshot(
            [group(1, FINISHED=3, FAILED=3), group(2, origin="other", FAILED=1)],
            errors=[
                error(1, "f1", "ValueError: <b>\nmore of it"),
                error(1, "f1", "ValueError: <b>\nmore of it"),
                error(1, "f1", "KeyError: 3"),
                error(1, "f1", "KeyError: of an earlier run", when=1.0),
                error(2, "f2", "OSError: of another cell"),
            ],
        )
    )
    progress = tracker.progress("c", 10.0, 12.0)
    found = [(f.name, f.message, f.count) for f in progress.failures]
    assert found == [("f1", "ValueError: <b>", 2), ("f1", "KeyError: 3", 1)]
    bundle = render.final(progress)
    assert "<details open>" in bundle["text/html"]
    assert "ValueError: &lt;b&gt; (2 times)" in bundle["text/html"]
    assert "f1: KeyError: 3" in bundle["text/plain"]


def test_retries_memory_and_who_waits() -> None:
    tracker = Tracker()
    again = task("a", 1, "FINISHED", 11.0)
    again.attempt = 2
    waits = task("w", 1, "PENDING_RESOURCES", 11.0)
    args = task("v", 1, "PENDING_ARGS", 11.0)
    runs = task("r", 1, "RUNNING", 11.0)
    shot = snapshot([group(1, RUNNING=1, PENDING_RESOURCES=1)], [args, again, waits, runs])
    shot.workers = [
        events.WorkerView(
            id=str(i), pid=i, state="BUSY", cpu_percent=0.0, rss=100 << 20, task="f1",
            task_id=of, actor="", finished=0, gpus=[],
        )
        for i, of in enumerate(("r", "unknown"))
    ]  # fmt: skip
    tracker.feed(shot)
    assert tracker.progress("c", 10.0, 12.0).retried == 2
    assert tracker.memory("c") == 100 << 20
    assert tracker.memory("other") == 0
    assert tracker.waiting("c", 10.0) == "w"
    assert tracker.waiting("c", 20.0) == ""
    state = as_state(Progress(rows=[Row("f")], retried=2, memory=1 << 30, spilled=5), title="x")
    assert state["notes"] == ["2 retried", "5 B on disk", "peak 1.1 GB"]


def test_what_a_lost_runtime_leaves() -> None:
    progress = Progress(rows=[Row("f", done=12, pending=50, running=2)], elapsed=3.1, cpus=2)
    progress.ended = "then the runtime was shut down"
    line = "12 of 64 tasks, 3.1 s, then the runtime was shut down"
    assert summary(progress) == line
    assert line in render.final(progress)["text/html"]
    assert as_state(progress, title="x")["remaining"] == ""


def test_words_for_seconds() -> None:
    assert [seconds(v) for v in (0.0, 0.0004, 0.05, 0.5, 59.94, 61)] == [
        "0 ms",
        "1 ms",
        "50 ms",
        "0.5 s",
        "59.9 s",
        "1:01 min",
    ]


def test_the_folded_monitor_is_plain_html_and_text() -> None:
    rows = [Row("f<b>", done=3, busy=1.5), Row("g", done=1, failed=2)]
    bundle = render.final(Progress(rows=rows, elapsed=1.0))
    assert set(bundle) == {"text/plain", "text/html"}
    assert "<details>" in bundle["text/html"]
    assert "f&lt;b&gt;" in bundle["text/html"]
    assert "script" not in bundle["text/html"]
    assert "<details>" not in render.final(Progress(rows=rows[:1], elapsed=1.0))["text/html"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_last_line(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    notebook.run("%config FanlightMagics.monitor_delay = 0.0\nimport fanlight")
    notebook.run("f = fanlight.remote(lambda i: i)")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    notebook.shell.run_cell("r = fanlight.get([f.remote(i) for i in range(3)])", cell_id="c-9")
    said = terminal.getvalue()
    assert "\x1b[K3 tasks, " in said and "one after the other (inproc)\n" in said
    terminal.truncate(0)
    notebook.shell.run_cell("r = list(fanlight.progress([f.remote(1)], 'ones'))", cell_id="c-10")
    said = terminal.getvalue()
    assert "ones: 1 done, " in said
    assert "task" not in said  # one line, not two
