"""The task graph with ten thousand tasks, in a bare page: it stays where it is, smooth and small."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import bench_page as bench
import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import SHOTS, bare_page

FRAMES = 60  # the tasks change in every tenth of them
FACTOR = 3.0  # as long as in an empty page, at most; more on a slow machine
TRIES = 4
WHEEL = """n => document.querySelector('.fl-Board').dispatchEvent(new WheelEvent('wheel', {
    bubbles: true, cancelable: true, ctrlKey: true, clientX: 200, clientY: 200,
    deltaY: n % 20 < 10 ? -6 : 6
}))"""


@pytest.fixture
def bare(browser: Browser) -> Iterator[Page]:
    with bare_page(browser, 900, 900) as (page, _):
        yield page


def places(page: Page) -> dict[str, str]:
    """Where each function stands."""
    found: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('.fl-Node')].map(
            node => [node.dataset.group, node.parentElement.style.transform]))"""
    )
    return found


def change(page: Page, run: bench.Run) -> None:
    """Let 40 tasks end, and wait until that is drawn."""
    grid = page.locator(".fl-Graph-grid")
    version = int(grid.get_attribute("data-version") or 0)
    event = run.delta(change=40)
    bench.answer(page, "group_tasks", run.columns(whole=False))
    bench.feed(page, event)
    expect(grid).to_have_attribute("data-version", str(version + 1))


def working(page: Page, run: bench.Run) -> list[float]:
    """Milliseconds of frames in which the picture is zoomed, while tasks change."""
    deltas = [[run.delta(change=40), run.columns(whole=False)] for _ in range(FRAMES // 10)]
    page.evaluate("deltas => { bench.deltas = deltas; }", deltas)
    return bench.frames(
        page,
        FRAMES,
        f"""n => {{
            ({WHEEL})(n);
            const next = n % 10 === 0 ? bench.deltas.shift() : undefined;
            if (next) {{
                bench.answers.group_tasks = () => next[1];
                bench.feed(next[0]);
            }}
        }}""",
    )


def colours(page: Page, tasks: list[int]) -> list[tuple[int, ...]]:
    """Of some squares of the grid, as they are on the screen."""
    picture = page.locator(".fl-Graph-grid .fl-Board-canvas").screenshot()
    found = page.evaluate(
        """async ([png, tasks]) => {
            const [x0, y0, zoom] =
                document.querySelector('.fl-Graph-grid .fl-Board').dataset.view.split(' ').map(Number);
            const rows = Number(document.querySelector('.fl-Graph-grid').dataset.rows);
            const bytes = Uint8Array.from(atob(png), c => c.charCodeAt(0));
            const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            return tasks.map(i => {
                const x = (Math.floor(i / rows) * 12 + 6 - x0) * zoom;
                const y = ((i % rows) * 12 + 6 - y0) * zoom;
                return [...context.getImageData(Math.floor(x), Math.floor(y), 1, 1).data];
            });
        }""",
        [base64.b64encode(picture).decode(), tasks],
    )
    return [tuple(colour) for colour in found]


def test_ten_thousand_tasks_are_smooth_and_stay_where_they_are(bare: Page) -> None:
    bare.set_content("<p>nothing")
    empty = bench.median(bench.frames(bare, 40))
    run = bench.Run(tasks=12_100)
    bench.show(bare, run)
    board = bare.locator(".fl-GraphSection .fl-Board")
    expect(board).to_be_visible()
    assert board.get_attribute("data-painter") == "flat"  # since the WebGL here is emulated
    before = places(bare)
    assert len(before) == 8

    # All tasks of one function: each is a square, and only what changed is drawn anew.
    bare.locator(".fl-Node[data-group='simulate']").dblclick()
    grid = bare.locator(".fl-Graph-grid")
    expect(grid).to_have_attribute("data-tasks", "10000")
    still = board.get_attribute("data-view")
    change(bare, run)
    assert board.get_attribute("data-view") == still

    # Zooming in and out while tasks change: about as many frames as in an empty page. This is drawn
    # by the processor, which others may need, too: the best of a few tries counts.
    ratios = []
    while len(ratios) < TRIES and (not ratios or min(ratios) > FACTOR):
        slow = bench.slowness(bare)
        busy = bench.median(working(bare, run))
        slow = max(slow, bench.slowness(bare))
        ratios.append(busy / max(empty, 1000 / 60) / slow)
    assert min(ratios) <= FACTOR, ratios
    bare.screenshot(path=SHOTS / "graph-tasks.png")

    # What is looked for is lit; a click shows the task; the way back leads to the same picture.
    bare.locator(".fl-StateChip[data-state='failed']").click()
    expect(bare.locator(".fl-GraphBar-found")).to_contain_text("of 10,000 tasks")
    bare.get_by_role("button", name="Show all", exact=True).click()
    bare.keyboard.press("Tab")
    board.focus()
    bare.keyboard.press("ArrowRight")
    expect(bare.locator(".fl-Graph-card")).to_contain_text("simulate")
    bare.keyboard.press("Enter")
    expect(bare.locator(".fl-Drawer")).to_be_visible()
    bare.get_by_role("button", name="All functions").click()
    expect(bare.locator(".fl-Node")).to_have_count(8)
    assert places(bare) == before

    # The same as a table, for who cannot see the picture.
    bare.get_by_role("button", name="Show as a table").click()
    table = bare.locator(".fl-GraphSection [role=grid]")
    expect(table).to_have_attribute("aria-rowcount", "9")

    # A million tasks of four hundred functions: nodes with counts, those in view only, laid out by
    # the worker. A function more moves none of them.
    many = bench.Run(tasks=1_010_000, groups=401, others=2500)
    bench.show(bare, many)
    graph = bare.locator(".fl-GraphSection .fl-Graph")
    expect(graph).to_have_attribute("data-layout", "worker")
    expect(graph).to_have_attribute("data-nodes", "401")
    assert bare.locator(".fl-Node").count() < 200
    before = places(bare)
    bench.feed(bare, many.more_groups(1))
    expect(graph).to_have_attribute("data-nodes", "402")
    after = places(bare)
    seen = before.keys() & after.keys()  # which are in view changes when the picture is fitted
    assert len(seen) > 20
    assert {name: after[name] for name in seen} == {name: before[name] for name in seen}


# Emulated WebGL, which the panel does without, is good enough to look at what it draws.
HIDE_EMULATION = """() => {
    const get = WebGL2RenderingContext.prototype.getExtension;
    WebGL2RenderingContext.prototype.getExtension = function (name) {
        return name === 'WEBGL_debug_renderer_info' ? null : get.call(this, name);
    };
}"""


def test_webgl_draws_the_same_and_is_sent_only_what_changed(bare: Page) -> None:
    run = bench.Run(tasks=3_000, groups=2)
    pictures = []
    for webgl in (False, True):
        if webgl:
            bare.evaluate(HIDE_EMULATION)
        bench.show(bare, run)
        bare.locator(".fl-Node[data-group='simulate']").dblclick()
        board = bare.locator(".fl-Graph-grid .fl-Board")
        expect(board).to_have_attribute("data-painter", "webgl" if webgl else "flat")
        expect(bare.locator(".fl-Graph-grid")).to_have_attribute("data-tasks", "2700")
        pictures.append(colours(bare, [0, 5, 1000, 1630, 2600]))
    assert pictures[0] == pictures[1]
    done, failed, _, running, pending = pictures[0]
    assert len({done, failed, running, pending}) == 4

    sent = int(board.get_attribute("data-uploaded") or 0)
    assert 2700 * 9 <= sent < 2700 * 10, sent  # two numbers and a byte for each
    change(bare, run)
    assert int(board.get_attribute("data-uploaded") or 0) - sent < 1000

    # The context is lost, as when a laptop wakes up: the picture stays.
    bare.evaluate(
        """() => document.querySelector('.fl-Graph-grid canvas').getContext('webgl2')
            .getExtension('WEBGL_lose_context').loseContext()"""
    )
    expect(board).to_have_attribute("data-painter", "flat")
    assert colours(bare, [0, 5, 1000, 2600]) == [done, failed, done, pending]
