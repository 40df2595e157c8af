"""Recordings in the browser: the button, the document, the player, the exported page, Notebook 7."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jupyter_page import execute, open_notebook, run_all, shot, show_panel, use_theme
from playwright.sync_api import Page, expect

RECORDED = (
    Path(__file__).resolve().parents[2] / "tests/labextension/jest/recorded/simulated.fanlight"
)
FIRST = """\
import fanlight, time

@fanlight.remote
def early(x):
    return x

@fanlight.remote
def late(x):
    time.sleep(0.05)
    return x

fanlight.init(num_cpus=2, ignore_reinit_error=True)
fanlight.get([early.remote(i) for i in range(5)])
"""
LATER = "fanlight.get([late.remote(i) for i in range(12)])"


def seek(page: Page, share: float) -> None:
    """Drag along the track."""
    box = page.locator(".fl-Player-track:visible").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + 10, steps=3)
    page.mouse.up()


def ended(page: Page, function: str) -> Any:
    return page.locator(f".fl-Recording .fl-Progress [data-group='{function}']").first


def test_record_play_and_export(page: Page, lab: Any, tmp_path: Path) -> None:
    (lab.folder / "deep").mkdir(exist_ok=True)
    lab.write_notebook("deep/run.ipynb", FIRST, LATER)
    open_notebook(page, lab, "deep/run.ipynb")
    panel = show_panel(page)
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0; }")
    execute(page, "notebook:run-cell")
    panel.get_by_role("button", name="Record this run").click(timeout=60_000)
    stop = panel.get_by_role("button", name="Stop recording")
    expect(stop).to_be_visible()
    run_all(page)
    expect(panel.locator("[data-group='late']").first).to_have_attribute(
        "data-ended", "12", timeout=60_000
    )
    stop.click()
    page.get_by_role("button", name="Play", exact=True).click()
    view = page.locator(".fl-Recording")
    expect(view.locator(".fl-Player")).to_be_visible()
    expect(ended(page, "late")).to_have_attribute("data-ended", "12")
    [file] = (lab.folder / "deep").glob("run-*.fanlight")
    view.get_by_role("button", name="Export as a page").click()
    expect(page.get_by_text("plays the recording in any browser")).to_be_visible()
    assert file.with_suffix(".html").is_file()


def test_a_file_is_played(page: Page, lab: Any) -> None:
    """No kernel, no runtime: scrub, step, play; what is shown follows, in both themes."""
    shutil.copy(RECORDED, lab.folder / "class.fanlight")
    (lab.folder / "broken.fanlight").write_bytes(b"PK\3\4 something else")
    page.goto(f"{lab.url}/lab/tree/class.fanlight?token={lab.token}&reset")
    player = page.locator(".fl-Player")
    expect(player).to_be_visible(timeout=90_000)
    expect(ended(page, "sample_pi")).to_have_attribute("data-ended", "64")
    expect(page.get_by_role("button", name="2 failures")).to_be_visible()
    seek(page, 0.4)  # the arrays are added, and nothing has failed
    expect(ended(page, "sample_pi")).to_have_count(0)
    expect(ended(page, "sum_of_primes")).to_have_attribute("data-ended", "8")
    moment = float(player.get_attribute("data-at") or 0)
    assert 9 < moment < 12
    page.get_by_role("button", name="One step on").click()
    expect(player).not_to_have_attribute("data-at", f"{moment:.3f}")
    page.get_by_label("Speed").select_option("100")
    player.press("Space")
    expect(ended(page, "sample_pi")).to_have_attribute("data-ended", "64")
    expect(player).to_have_attribute("data-playing", "false")
    page.get_by_role("button", name="2 failures").click()
    expect(page.locator(".fl-Recording [data-section='errors']")).to_contain_text("flaky")
    shots = Path(__file__).resolve().parents[2] / "test-results" / "screenshots"
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        use_theme(page, theme)
        shot(page, shots, f"replay-{theme.split()[1].lower()}")
    execute(page, "docmanager:open", path="broken.fanlight")
    expect(page.get_by_role("alert")).to_contain_text("broken.fanlight is not a recording")
    # Notebook 7 opens it in a page of its own.
    page.goto(f"{lab.url}/edit/class.fanlight?token={lab.token}&factory=Fanlight%20Recording")
    expect(page.locator(".fl-Player")).to_be_visible(timeout=90_000)
    expect(ended(page, "sample_pi")).to_have_attribute("data-ended", "64")
