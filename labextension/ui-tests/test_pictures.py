"""Pictures in notebooks: drawn, pointed at, zoomed, clicked, in both themes, and saved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jupyter_page as nb
from playwright.sync_api import Locator, Page, expect

SHOTS = Path(__file__).resolve().parents[2] / "test-results" / "screenshots"
WORK = """\
import time
import fanlight

@fanlight.remote
def part(i):
    time.sleep(0.3)
    return bytes(200_000 + i)

@fanlight.remote
def whole(*parts):
    return sum(map(len, parts))

fanlight.init(num_cpus=2)
total = whole.remote(*[part.remote(i) for i in range(4)])
fanlight.get(total)
"""
SHOW = "from IPython.display import display\ndisplay(fanlight.timeline(), fanlight.graph(total))"


def drawn(page: Page, number: int) -> Locator:
    """A picture, once BokehJS has drawn it."""
    picture = page.locator(".fl-Picture").nth(number)
    expect(picture.locator("canvas").first).to_be_visible(timeout=60_000)
    picture.scroll_into_view_if_needed()
    return picture


def point_at(page: Page, picture: Locator, text: str, step: tuple[int, int]) -> None:
    """Move over the picture until a tooltip says just the text; upwards where steps are negative."""
    box = picture.bounding_box()
    assert box is not None
    tip = page.locator(".bk-tooltip-row-value", has_text=re.compile(rf"^\s*{text}\s*$")).first
    rows = range(70, int(box["height"]) - 40, abs(step[1]))
    for y in rows if step[1] > 0 else reversed(rows):
        for x in range(120, int(box["width"]) - 40, step[0]):
            page.mouse.move(box["x"] + x, box["y"] + y)
            page.evaluate(FRAMES)  # BokehJS looks where the mouse is once in a frame
            if tip.is_visible():
                page.wait_for_timeout(200)
                if tip.is_visible():  # still: it does not tell of the place before this one
                    return
    raise AssertionError(f"nothing in the picture says {text!r}")


MIME = "application/vnd.fanlight.picture+json"
BLOCK, NODE = (83, 11), (67, -23)  # pixels between the places that are pointed at

FRAMES = """() => new Promise(done => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20)));
})"""
RANGE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    return [...panel.node.querySelectorAll('.fl-Picture')].map(node => node.dataset.range ?? '');
}"""


def test_timeline_and_graph(page: Page, lab: Any) -> None:
    name = lab.write_notebook("pictures.ipynb", WORK, SHOW)
    nb.open_notebook(page, lab, name)
    nb.run_all(page)
    timeline, graph = drawn(page, 0), drawn(page, 1)
    expect(timeline).to_have_attribute("aria-label", re.compile("^Timeline: "))
    point_at(page, drawn(page, 0), "part", BLOCK)
    nb.shot(page, SHOTS, "pictures-1-timeline-light")
    before = page.evaluate(RANGE)
    box = timeline.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -240)
    page.keyboard.up("Control")
    page.wait_for_function(f"before => ({RANGE})()[0] !== before", arg=before[0])
    zoomed = page.evaluate(RANGE)[0]

    point_at(page, drawn(page, 1), "whole", NODE)
    page.mouse.down()
    page.mouse.up()
    expect(graph.locator(".fl-Picture-details")).to_contain_text("✓ whole")

    nb.use_theme(page, "JupyterLab Dark")
    drawn(page, 0)
    page.wait_for_function(f"zoomed => ({RANGE})()[0] === zoomed", arg=zoomed)
    nb.shot(page, SHOTS, "pictures-2-dark")

    # As the notebook is saved: what nothing but the extension reads is a string, whose order stays.
    nb.execute(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    saved = json.loads((lab.folder / name).read_text())
    outputs = [output["data"] for cell in saved["cells"] for output in cell["outputs"]
               if "data" in output]  # fmt: skip
    pictures = [data[MIME] for data in outputs if MIME in data]
    assert len(pictures) == 2 and all(json.loads(p["document"])["roots"] for p in pictures)
