"""A panel in a browser tab that is left open: hours of a busy notebook, and its memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator

import bench_page as bench
import msgspec
import pytest
from playwright.sync_api import Browser, Page

from conftest import bare_page
from fanlight import events as ev

EVENTS = 96  # in one part of the stream
TASKS = 30  # new ones in each event
SLACK = 1.1  # of the memory after the first part, in which all bounds are reached
MORE = 1_000_000  # bytes: what a page may gain by itself


@pytest.fixture
def bare(browser: Browser) -> Iterator[Page]:
    with bare_page(browser, 900, 900, seconds=60) as (page, _):
        yield page


def event(seq: int) -> str:
    """All is new in it: functions, tasks, actors, edges, failures."""
    now = bench.START + seq
    state: ev.TaskState
    tasks = []
    for k in range(TASKS):
        state = "RUNNING" if k % 7 == 0 else "FINISHED"
        tasks.append(
            ev.TaskView(
                id=f"{seq * TASKS + k:048x}", group=1000 + 6 * seq, name=f"step {seq}", state=state,
                deps=[f"{seq * TASKS + k - 1:048x}"], parent="", actor="", worker="a" * 56,
                submitted=now, started=now, finished=0.0 if state == "RUNNING" else now + 1,
                attempt=0, error="",
            )
        )  # fmt: skip
    groups = [
        ev.GroupView(
            id=1000 + 6 * seq + i, name=f"step {seq} {i}", kind="task", origin=f"cell-{seq}",
            counts={"FINISHED": 25, "RUNNING": 5}, duration=9.0, first=now, last=now,
        )
        for i in range(6)
    ]  # fmt: skip
    edges = [
        ev.EdgeView(groups[i % 6].id, groups[0].id - i // 6, 3, "data", 800) for i in range(24)
    ]
    actors = [
        ev.ActorView(
            id=f"{6 * seq + i:032x}", class_name="C", name="", namespace="", state="ALIVE", worker="", pid=1,
            queued=0, finished=1, restarts=0, death_cause="",
        )
        for i in range(6)
    ]  # fmt: skip
    errors = [
        ev.ErrorView(
            task_id=tasks[i].id, group=groups[0].id, name="step", origin="cell", time=now,
            message="ValueError: 1", traceback="x" * 2_000,
        )
        for i in range(3)
    ]  # fmt: skip
    store = ev.StoreView(
        time=now, capacity=10**9, used=seq % 1000 * 1000, pinned=0, cached=0, inline=0, spilled=0,
        objects=seq % 100,
    )  # fmt: skip
    delta = ev.Delta(
        seq=seq, time=now, runtime=None, groups=groups, edges=edges, tasks=tasks, workers=None,
        actors=actors, gpus=None, store=store, objects=None, errors=errors,
    )  # fmt: skip
    return msgspec.json.encode(delta).decode()


def memory(page: Page) -> int:
    """Bytes of the page's heap that are in use, without garbage."""
    session = page.context.new_cdp_session(page)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
        page.evaluate("() => new Promise(done => requestAnimationFrame(done))")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return int(used)


@pytest.mark.long
def test_memory_stays_flat(bare: Page) -> None:
    run = bench.Run(tasks=3_000)
    bench.show(bare, run)
    seq, used = run.seq, []
    for _ in range(3):
        for _ in range(EVENTS // 8):
            events = [event(seq + i + 1) for i in range(8)]
            seq += len(events)
            # Each pair of events is drawn: the panel draws once in a frame.
            bare.evaluate(
                """async events => {
                    for (let i = 0; i < events.length; i += 2) {
                        bench.feed(events[i]);
                        bench.feed(events[i + 1]);
                        await new Promise(done => requestAnimationFrame(done));
                    }
                }""",
                events,
            )
        used.append(memory(bare))
    assert bare.evaluate("() => bench.shown.model.source.store.get().data.seq") == seq
    assert max(used[1:]) <= used[0] * SLACK + MORE, used
