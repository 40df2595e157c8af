"""The cell monitor and live reprs in a real browser: JupyterLab and Notebook 7."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jupyter_page as nb
import pytest
from playwright.sync_api import Page, expect

SHOTS = Path(__file__).resolve().parents[2] / "test-results" / "screenshots"
START = "%load_ext fanlight\nimport fanlight, os, time\nfanlight.init(num_cpus=2, num_gpus=0)"
WAIT = """\
@fanlight.remote
def wait_for(path):
    end = time.monotonic() + 200
    while not os.path.exists(path):
        assert time.monotonic() < end
        time.sleep(0.02)
"""
MONITOR = "\n%config FanlightMagics.monitor = {}\n"
ACTIVE = ".fanlight-monitor .fl-cancel:not(.fl-away)"


def saved(page: Page, lab: Any, name: str, cell: int) -> list[dict[str, str]]:
    """Save the notebook; the bundles of a cell's outputs, as they are in the file."""
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")
    cells = json.loads((lab.folder / name).read_text("utf-8"))["cells"]
    bundles = [output.get("data", {}) for output in cells[cell]["outputs"]]
    return [{kind: "".join(text) for kind, text in bundle.items()} for bundle in bundles]


@pytest.mark.parametrize("place", ["lab/tree", pytest.param("notebooks", marks=pytest.mark.long)])
def test_monitor_and_reprs(page: Page, lab: Any, place: str) -> None:
    """They move; the button works by keyboard while the kernel is busy; what is left is static."""
    name = f"monitor-{place[:3]}.ipynb"
    gates = [str(lab.folder / f"{name}.{i}") for i in range(2)]
    refs = (
        f"refs = [wait_for.options(num_cpus=0).remote(p) for p in [{gates[0]!r}, 'never']]\n"
        f"{MONITOR.format(True)}refs"
    )
    work = f"fanlight.get([wait_for.remote(p) for p in [{gates[1]!r}] * 2 + ['never'] * 3])"
    lab.write_notebook(name, START + MONITOR.format(False), WAIT + refs, work)
    page.goto(f"{lab.url}/{place}/{name}?token={lab.token}" + ("&reset" if "lab" in place else ""))
    nb.wait_for_kernel(page)
    nb.run_all(page)

    monitor = page.locator(".fanlight-monitor")
    expect(monitor.locator(".fl-text")).to_contain_text("0 of 5 tasks", timeout=60_000)
    expect(monitor.locator(".fl-row .fl-name")).to_have_text("wait_for")
    height = monitor.bounding_box()["height"]  # type: ignore[index]
    Path(gates[1]).touch()
    expect(monitor.locator(".fl-text")).to_contain_text("2 of 5 tasks")
    assert monitor.bounding_box()["height"] == height  # type: ignore[index]
    expect(monitor.locator("[role=progressbar]")).to_have_attribute("aria-valuenow", "2")
    card = page.locator(".fanlight-card")
    expect(card).to_contain_text("2 ObjectRefs")
    Path(gates[0]).touch()
    expect(card).to_contain_text("1 of 2 ready")
    nb.shot(page, SHOTS, f"monitor-{place[:3]}")

    page.locator(ACTIVE).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("5 tasks, 3 cancelled")).to_be_visible(timeout=30_000)
    expect(monitor).to_have_count(0)
    static = saved(page, lab, name, 2)[0]
    assert set(static) == {"text/html", "text/plain"}
    assert static["text/plain"].startswith("5 tasks, 3 cancelled")
    assert "as of " in saved(page, lab, name, 1)[0]["text/plain"]

    # The kernel goes: the HTML of what was live takes the widget's place, also in the file.
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(card).to_have_count(0, timeout=60_000)
    expect(page.locator(".jp-OutputArea", has_text="2 ObjectRefs").first).to_be_visible()
    assert set(saved(page, lab, name, 1)[0]) == {"text/html", "text/plain"}
    expect(page.get_by_text("model not found")).to_have_count(0)
