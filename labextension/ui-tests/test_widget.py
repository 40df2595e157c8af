"""``fanlight.panel()`` in a real JupyterLab: the panel in an output, over comms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jupyter_page as nb
from playwright.sync_api import Page, expect

SHOTS = Path(__file__).resolve().parents[2] / "test-results" / "screenshots"
START = """\
import fanlight, os, time
fanlight.init(num_cpus=2, num_gpus=0)
@fanlight.remote
def work(i):
    return i
fanlight.get([work.remote(i) for i in range(3)])"""
WORK = """\
fanlight.get([work.remote(i) for i in range(5)])
end = time.monotonic() + 200
while not os.path.exists({gate!r}):
    assert time.monotonic() < end
    time.sleep(0.02)"""
PAUSED = """\
from fanlight_kernel.widgets import panel as widgets
pages = [p for link in widgets._links.values() for p in link._pages.values()]
print('paused:', [p.follower._paused for p in pages])"""
# Runs code in the kernel of the notebook, whatever is in front; gives what it prints.
ASK = """
async code => {
    const { kernel } = window.notebook.sessionContext.session;
    const future = kernel.requestExecute({ code, store_history: false });
    let text = '';
    future.onIOPub = m => { text += m.content.text ?? ''; };
    await future.done;
    return text;
}
"""


def test_panel_in_an_output(page: Page, lab: Any) -> None:
    """It comes while the kernel is busy, answers then, is quiet when hidden, and leaves figures."""
    gate = lab.folder / "widget.gate"
    name = lab.write_notebook(
        "widget.ipynb", START, "fanlight.panel(height=700)", WORK.format(gate=str(gate))
    )
    nb.open_notebook(page, lab, name)
    page.evaluate("() => { window.notebook = window.jupyterapp.shell.currentWidget; }")
    nb.run_all(page)

    panel = page.locator(".fl-Widget .fl-Panel")
    row = panel.locator(".fl-Progress li[data-group='work']").first
    expect(row).to_have_attribute("data-ended", "8", timeout=60_000)  # of which 5 came later
    expect(panel.locator(".fl-Light")).to_have_text("live")
    expect(panel.locator(".fl-Chart-host[data-ready=true]")).to_be_visible()  # it was asked for
    # A question is answered though the kernel is still in its cell.
    answer = page.evaluate(
        "() => [...FanlightStandalone.widget.sessions.values()][0].ask({ what: 'errors' })"
    )
    assert answer["count"] == 0
    page.screenshot(path=SHOTS / "widget.png")
    assert not gate.exists()

    nb.execute(page, "launcher:create")  # another tab in front: nobody looks
    expect(panel).not_to_be_visible()
    gate.touch()
    page.wait_for_function(
        f"async code => (await ({ASK})(code)).includes('paused: [True]')",
        arg=PAUSED,
    )

    page.evaluate("() => window.jupyterapp.shell.activateById(window.notebook.id)")
    expect(panel.locator(".fl-Light")).to_have_text("live")
    page.evaluate("() => window.notebook.context.save()")
    (output,) = json.loads((lab.folder / name).read_text("utf-8"))["cells"][1]["outputs"]
    assert "engine local" in "".join(output["data"]["text/html"])
    assert "as of" in "".join(output["data"]["text/plain"])

    nb.restart_kernel(page)
    expect(panel).to_have_count(0)
    expect(page.locator(".jp-OutputArea").nth(1)).to_contain_text("as of")
    nb.wait_for_kernel(page)  # the next one has come
