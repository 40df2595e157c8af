"""From events to the monitor's figures and words."""

from __future__ import annotations

from typing import Any

import pytest

from fanlight import events
from fanlight_kernel import render
from fanlight_kernel.progress import Progress, Row, Tracker, as_state, seconds, summary


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


def snapshot(groups: list[Any], tasks: list[Any] = (), edges: list[Any] = ()) -> events.Snapshot:  # type: ignore[assignment]
    runtime = events.RuntimeView(
        id="r", name="r", engine="local", version="1", python="3", pid=1, started=0.0,
        total={"CPU": 2.0}, available={"CPU": 2.0}, drivers=[],
    )  # fmt: skip
    return events.Snapshot(
        version=1, seq=1, time=0.0, runtime=runtime, groups=groups, edges=list(edges),
        tasks=list(tasks), workers=[], actors=[], gpus=[], gpu_status="", store=[], objects=[],
        errors=[],
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
    few = Progress(rows=[Row("f", done=2, pending=8)], elapsed=1.0)
    assert few.remaining() is None
    some = Progress(rows=[Row("f", done=5, pending=10)], elapsed=1.0)
    assert some.remaining() == pytest.approx(2.0)
    assert as_state(some, title="x")["remaining"] == "about 2.0 s left"


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
