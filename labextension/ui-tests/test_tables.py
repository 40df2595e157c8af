"""Tables and lines of output with ten thousand rows: few elements, smooth, and used by keyboard."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_page as bench
import msgspec
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from conftest import SHOTS, bare_page
from fanlight import events as ev
from fanlight import standalone
from tests.labextension.fake_node import Simulation

ROWS = 10_000
NOW = 1_800_000_000.0

# A panel whose socket is fed by the test, and whose runtime has printed many lines.
SHOW = """
([status, snapshot]) => {
    const line = i => ({ time: 1.8e9 + i / 100, worker: '0'.repeat(56), pid: 20000, task: '',
        stream: i % 9 ? 'out' : 'err', name: 'f', origin: '', text: `line ${i} <b>` });
    const all = Array.from({ length: ROWS }, (_, i) => line(i));
    const logs = ({ after, search }) => ({
        lines: all.filter((l, i) => i >= after && l.text.includes(search)),
        cursor: all.length, reset: false, more: false, note: '' });
    window.print = () => all.push(line(all.length));
    const socket = {
        close: () => {},
        send: text => {
            const { type, id, query } = JSON.parse(text);
            if (type !== 'ask') return;
            const answer = query.what === 'logs' ? { data: logs(query) } : { error: 'not here' };
            setTimeout(() => feed(JSON.stringify({ type: 'answer', id, ...answer })));
        }
    };
    window.feed = text => socket.onmessage({ data: text });
    const session = new FanlightStandalone.Session({
        connect: () => socket,
        diagnose: async () => '',
        schedule: run => requestAnimationFrame(run)
    });
    window.shown = FanlightStandalone.show(document.getElementById('fanlight-host'), session);
    return new Promise(done => {
        const open = () => {
            if (!socket.onopen) return requestAnimationFrame(open);
            socket.onopen();
            feed(status);
            feed(snapshot);
            done();
        };
        open();
    });
}
"""

# Milliseconds from frame to frame while `box` is scrolled from its beginning towards its end.
FRAMES = """
([selector, deltas, count]) => new Promise(done => {
    const box = document.querySelector(selector);
    const times = [];
    let last = 0;
    const frame = now => {
        if (last) times.push(now - last);
        last = now;
        if (times.length >= count) return done(times);
        if (box) box.scrollTop = (times.length / count) * box.scrollHeight;
        if (box && times.length % 20 === 0 && deltas.length) feed(deltas.shift());
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})
"""


def worker(i: int, load: int) -> ev.WorkerView:
    return ev.WorkerView(
        id=f"{i:056x}",
        pid=20_000 + i,
        state="BUSY",
        cpu_percent=float((i * 37 + load) % 101),
        rss=10_000_000 + i,
        task=f"step_{i % 5}",
        task_id=f"{i:048x}",
        actor="",
        finished=i,
        gpus=[],
    )


def delta(seq: int) -> str:
    event = ev.Delta(
        seq=seq,
        time=NOW + seq / 10,
        runtime=None,
        groups=[],
        edges=[],
        tasks=[],
        workers=[worker(i, seq) for i in range(ROWS)],
        actors=[],
        gpus=None,
        store=None,
        objects=None,
        errors=[],
    )
    return msgspec.json.encode(event).decode()


@pytest.fixture
def bare(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page of its own, without a server; an error in it fails the test."""
    with bare_page(browser, 760, 900, seconds=60) as (page, _):
        file = tmp_path / "tables.html"
        file.write_text(standalone.page("Tables", "", {}), "utf-8")
        page.goto(file.as_uri())
        page.evaluate("() => document.getElementById('fanlight-host').replaceChildren()")
        snapshot: Any = Simulation().snapshot()
        snapshot.time = NOW
        snapshot.seq = 0
        snapshot.workers = [worker(i, 0) for i in range(ROWS)]
        snapshot.tasks, snapshot.groups, snapshot.edges, snapshot.actors = [], [], [], []
        status = {
            "type": "status",
            "state": "live",
            "reason": "",
            "runtime_id": snapshot.runtime.id,
        }
        page.evaluate(
            SHOW.replace("ROWS", str(ROWS)),
            [json.dumps(status), msgspec.json.encode(snapshot).decode()],
        )
        yield page


def only(page: Page, name: str) -> Locator:
    """One section, unfolded; all others folded."""
    page.locator(".fl-Section").first.wait_for()
    for section in page.locator(".fl-Section").all():
        button = section.locator(".fl-Section-head button[aria-expanded]")
        wanted = str(section.get_attribute("data-section") == name).lower()
        if button.get_attribute("aria-expanded") != wanted:
            button.click()
    return page.locator(f".fl-Section[data-section='{name}']")


def frame(page: Page, selector: str, deltas: list[str]) -> float:
    """The mean of the frames: one that blocks a while counts with all its length."""
    return statistics.fmean(page.evaluate(FRAMES, [selector, deltas, 60]))


def test_ten_thousand_rows(bare: Page) -> None:
    section = only(bare, "workers")
    grid = section.get_by_role("grid", name="Workers")
    rows = grid.locator(".fl-Table-row")
    expect(grid).to_have_attribute("aria-rowcount", str(ROWS + 1))
    assert 5 < rows.count() < 60

    # Scrolled through while all rows change: not much slower than a page in which nothing happens.
    box = ".fl-Table-scroll"
    empty = max(frame(bare, ".none", []), frame(bare, ".none", []))
    slow = bench.slowness(bare)
    table = min(frame(bare, box, [delta(i) for i in (n, n + 1)]) for n in (1, 3))
    assert rows.count() < 60
    print(f"frames: empty page {empty:.1f} ms, 10,000 rows that change {table:.1f} ms")
    slow = max(slow, bench.slowness(bare))
    assert table < 12 * empty * slow, (table, empty, slow)

    # The keyboard: to the last row, into its details, and back to where one was.
    grid.evaluate("box => { box.scrollTop = 0; }")
    grid.focus()
    grid.press("End")
    last = grid.locator(f".fl-Table-row[aria-rowindex='{ROWS + 1}']")
    expect(last).to_be_visible()
    assert grid.get_attribute("aria-activedescendant") == last.get_attribute("id")
    grid.press("Enter")
    drawer = bare.locator(".fl-Drawer")
    expect(drawer.locator("h3")).to_have_text("process 29999")
    expect(last).to_have_attribute("aria-selected", "true")
    bare.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(grid).to_be_focused()

    # Sorted: first by the largest, then by the least. Under the pointer nothing moves.
    cpu = grid.get_by_role("columnheader", name="CPU")
    cpu.get_by_role("button").click()
    expect(cpu).to_have_attribute("aria-sort", "descending")
    bare.mouse.move(5, 5)
    grid.evaluate("box => { box.scrollTop = 0; }")
    first = grid.locator(".fl-Table-row[aria-rowindex='2']")
    expect(first).to_contain_text("100 %")
    first.hover()
    before = first.get_by_role("gridcell").nth(1).inner_text()  # its process
    bare.evaluate("text => feed(text)", delta(5))
    expect(first.get_by_role("gridcell").nth(2)).to_have_text("0 %")  # one more, of 101
    assert first.get_by_role("gridcell").nth(1).inner_text() == before
    bare.mouse.move(5, 5)
    expect(first).to_contain_text("100 %")

    # Filtered, and wider by a step of the keyboard.
    section.get_by_role("searchbox").fill("20 77 step_2")
    expect(section.get_by_role("status").first).to_contain_text("of 10,000 rows")
    found = int(grid.get_attribute("aria-rowcount") or 0) - 1
    assert 0 < found < ROWS and "77" in first.inner_text()
    section.get_by_role("searchbox").fill("nothing has this")
    section.get_by_role("button", name="Show all").click()
    expect(grid).to_have_attribute("aria-rowcount", str(ROWS + 1))
    width = cpu.bounding_box()
    cpu.get_by_role("button").press("Shift+ArrowRight")
    assert width is not None
    bare.wait_for_function(
        "([cell, width]) => Math.abs(cell.getBoundingClientRect().width - width) <= 2",
        arg=[cpu.element_handle(), width["width"] + 16],
    )
    bare.screenshot(path=SHOTS / "tables-workers-light.png")


def test_ten_thousand_lines_of_output(bare: Page) -> None:
    section = only(bare, "logs")
    output = section.get_by_role("log")
    line = section.locator(".fl-Line")
    expect(output).to_have_accessible_name("10,000 lines of output")
    expect(line.filter(has_text="line 9999 <b>")).to_be_visible()  # the end is in view
    assert line.count() < 60
    bare.evaluate("() => print()")
    expect(line.filter(has_text="line 10000 <b>")).to_be_visible()  # it follows

    output.press("Home")
    expect(line.filter(has_text="line 0 <b>")).to_be_visible()
    section.get_by_role("button", name="Follow the end").click()
    expect(line.filter(has_text="line 10000 <b>")).to_be_visible()
    section.get_by_role("searchbox").fill("line 777")
    expect(output).to_have_accessible_name("11 lines of output")
    expect(line).to_have_count(11)
    section.get_by_role("button", name="stderr").click()
    expect(line.filter(has_text="line 7776 <b>")).to_be_visible()  # 9 × 864
    expect(line.filter(has_text="line 7775 <b>")).to_have_count(0)
    bare.screenshot(path=SHOTS / "tables-logs-light.png")
