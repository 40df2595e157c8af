"""The panel without JupyterLab: one HTML file in a bare browser, with everything in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import SHOTS, bare_page
from fanlight import standalone
from tests.labextension.fake_node import Simulation

# A live source whose socket is fed by the test.
SHOW = """
([status, snapshot]) => {
    const socket = { send: () => {}, close: () => {} };
    const session = new FanlightStandalone.Session({
        connect: () => socket,
        diagnose: async () => null,
        schedule: run => requestAnimationFrame(run)
    });
    const shown = FanlightStandalone.show(
        document.getElementById('fanlight-host'), session, { title: 'A <b>run</b>' });
    window.feed = text => socket.onmessage({ data: text });
    window.shown = shown;
    return new Promise(done => {
        const open = () => {
            if (!socket.onopen) return requestAnimationFrame(open);
            socket.onopen();
            window.feed(status);
            window.feed(snapshot);
            done();
        };
        open();
    });
}
"""


@pytest.fixture
def bare(browser: Browser) -> Iterator[Page]:
    with bare_page(browser, 900, 1200) as (page, problems):
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("request", lambda r: asked(r.url, problems))
        yield page


def asked(url: str, problems: list[str]) -> None:
    if not url.startswith(("file:", "blob:", "data:")):
        problems.append(f"the page asked for {url}")


def event(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def test_a_file_shows_the_panel(bare: Page, tmp_path: Path) -> None:
    run = Simulation()
    file = tmp_path / "run.html"
    made = standalone.page("Run </title><script>alert(1)</script>", "nobody", {"a": "</script>"})
    file.write_text(made, "utf-8")
    bare.goto(file.as_uri())
    expect(bare.locator("#fanlight-host")).to_contain_text("it has no “nobody”")
    bare.evaluate("() => document.getElementById('fanlight-host').replaceChildren()")

    bare.emulate_media(color_scheme="light")
    for _ in range(40):
        run.step(0.1)
    status = {"type": "status", "state": "live", "reason": "", "runtime_id": run.runtime_id}
    bare.evaluate(SHOW, [event(status), event(run.snapshot())])
    row = bare.locator(".fl-Progress li[data-group]").first
    expect(row).to_be_visible()
    expect(bare.locator(".fl-Light")).to_have_text("live")
    expect(bare.locator(".fl-Chart-host[data-ready=true]")).to_be_visible()  # charts.js came
    bare.screenshot(path=SHOTS / "standalone-light.png")
    light = background(bare)

    ended = int(row.get_attribute("data-ended") or 0)
    while not run.done:
        bare.evaluate("text => feed(text)", event(run.step(1.0)))
    expect(row).not_to_have_attribute("data-ended", str(ended))
    bare.emulate_media(color_scheme="dark")
    expect(bare.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    assert background(bare) != light
    bare.screenshot(path=SHOTS / "standalone-dark.png")

    bare.evaluate("() => shown.dispose()")
    expect(bare.locator("#fanlight-host > *")).to_have_count(0)


def background(page: Page) -> str:
    return str(
        page.evaluate("() => getComputedStyle(document.querySelector('.fl-Panel')).backgroundColor")
    )
