"""What can be done from the panel: more CPUs, the end of a function, another runtime, none."""

from __future__ import annotations

from typing import Any

import jupyter_page as nb
from playwright.sync_api import Page, expect

WAITS = """\
import fanlight, os, time
fanlight.init(num_cpus=2)
@fanlight.remote
def waits(path):
    while not os.path.exists(path):
        time.sleep(0.01)
refs = [waits.remote(path) for _ in range(20)]
"""


def test_the_runtime_is_scaled_restarted_and_stopped(page: Page, lab: Any) -> None:
    gate = lab.folder / "controls-gate"
    name = lab.write_notebook("controls.ipynb", f"path = {str(gate)!r}\n{WAITS}")
    nb.open_notebook(page, lab, name)
    panel = nb.show_panel(page, 380)
    nb.run_all(page)
    cpus = panel.get_by_role("textbox", name="CPUs to schedule on")
    expect(cpus).to_have_value("2", timeout=60_000)
    row = nb.row(page, "waits")
    expect(row).to_contain_text("2 running")

    # More CPUs run more at once; what is no number changes nothing.
    panel.get_by_role("button", name="One CPU more").click()
    expect(cpus).to_have_value("3")
    expect(row).to_contain_text("3 running")
    cpus.fill("many")
    cpus.press("Enter")
    expect(cpus).to_have_value("3")

    # A function is cancelled as a whole, after a question that says what is lost.
    row.get_by_role("button").first.click()
    cancel = panel.get_by_role("button", name="Cancel all unfinished tasks of waits")
    cancel.click()
    question = panel.get_by_role("alertdialog")
    expect(question).to_contain_text("3 run now")
    expect(question.get_by_role("button", name="Keep it running")).to_be_focused()
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    cancel.click()
    panel.get_by_role("alertdialog").get_by_role("button", name="Cancel 20 tasks").click()
    nb.expect_ended(page, "waits", 20)
    panel.get_by_role("button", name="Close the details").click()

    # Another runtime, with what the first was started with: its tasks are gone.
    panel.get_by_role("button", name="Restart the runtime").click()
    panel.get_by_role("alertdialog").get_by_role("button", name="Restart", exact=True).click()
    expect(cpus).to_have_value("2", timeout=60_000)
    expect(row).to_have_count(0)
    nb.expect_state(page, "live")

    # Nothing is lost with an empty one: nothing is asked.
    panel.get_by_role("button", name="Stop the runtime").click()
    nb.expect_state(page, "ended")
    expect(panel.get_by_role("button", name="Stop the runtime")).to_have_count(0)
    panel.get_by_role("button", name="Start Fanlight").click()
    nb.expect_state(page, "live")
