"""The GPU and object-store sections, with a driver that is a stand-in and a store that is too small."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupyter_page as nb
import pytest
from playwright.sync_api import Page, expect

from conftest import ROOT, SHOTS

STANDIN = ROOT / "tests" / "observe" / "nvml_standin.c"

# The node inherits the kernel's environment.
START = """
import os
os.environ |= {{"LD_LIBRARY_PATH": {folder!r}, "NVML_STANDIN": {conf!r}}}
os.environ.pop("CUDA_VISIBLE_DEVICES", None)
import fanlight as ray, numpy as np
ray.init(num_cpus=1, num_gpus=2, object_store_memory=40_000_000)

@ray.remote(num_gpus=1, num_cpus=0)
class Model:
    def pid(self):
        return os.getpid()

model = Model.remote()
open({folder!r} + "/pid", "w").write(str(ray.get(model.pid.remote())))
"""
SPILL = """
big = [ray.put(np.full(1_000_000, i, dtype="f8")) for i in range(10)]
total = sum(float(ray.get(ref).sum()) for ref in big)
"""


class Driver:
    """The stand-in: what it answers can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "conf"

    def says(self, text: str) -> None:
        part = self.conf.with_suffix(".part")
        part.write_text(text)
        part.rename(self.conf)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("GPU TESTS DID NOT RUN: no C compiler (cc, gcc or clang)")
    library = tmp_path / "libnvidia-ml.so.1"
    flags = ["-std=gnu11", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", str(library), str(STANDIN)], check=True)
    yield Driver(tmp_path)


def test_devices_and_a_full_store(page: Page, lab: Any, driver: Driver) -> None:
    driver.says("devices 3\ngpu0.util 83\ngpu2.util 12\n")
    start = START.format(folder=str(driver.folder), conf=str(driver.conf))
    name = lab.write_notebook("meters.ipynb", start, SPILL)
    nb.open_notebook(page, lab, name)
    panel = nb.show_panel(page)
    nb.run_all(page)
    nb.wait_until_ran(page)

    gpus = nb.section(page, "gpus")
    cards = gpus.locator(".fl-Gpu")
    expect(cards).to_have_count(3)
    expect(cards.nth(0)).to_contain_text("83 %")
    expect(cards.nth(0)).to_contain_text("100 % held")
    expect(cards.nth(0)).to_contain_text("Model")  # holds it, though no process shows there yet
    expect(cards.nth(2)).to_contain_text("not used by this runtime")
    canvas = gpus.locator(".fl-Chart-host canvas").first
    expect(canvas).to_be_visible()

    pid = (driver.folder / "pid").read_text()
    driver.says(f"devices 3\ngpu0.processes {pid}:4000000000,1:7000\ngpu1.lost 15\n")
    expect(cards.nth(1)).to_contain_text("fell off the bus")
    expect(cards.nth(0).locator(".fl-Gpu-users li")).to_have_count(2)
    expect(cards.nth(0)).to_contain_text("4 GB")
    expect(gpus.locator(".fl-Section-summary")).to_contain_text("1 of 3 lost")
    nb.shot(panel, SHOTS, "meters-gpus-light")
    gpus.get_by_role("button", name="Memory").click()
    chart = gpus.get_by_role("slider")
    chart.focus()
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"GPU 0 \d+ %"))

    store = nb.section(page, "store")
    expect(store.locator(".fl-Meters")).to_have_attribute("data-spilled", re.compile("[1-9]"))
    expect(store.get_by_role("slider")).to_have_count(2)  # use, and what goes to disk and back
    rows = store.get_by_role("grid").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("8 MB")
    expect(rows.nth(1)).to_contain_text("ndarray float64")
    # The second answer of the runtime knows the variable, since its driver was asked meanwhile.
    expect(store.locator(".fl-Releases li").first).to_contain_text("del big")
    expect(store.locator(".fl-Releases li").first).to_contain_text("frees 80 MB in 10 objects")
    use = store.get_by_role("slider").first
    use.focus()
    expect(use).to_have_attribute("aria-valuetext", re.compile("Capacity 40 MB"))
    now = use.get_attribute("aria-valuetext") or ""
    page.keyboard.press("Home")
    expect(use).not_to_have_attribute("aria-valuetext", now)
    nb.use_theme(page, "JupyterLab Dark")
    nb.shot(panel, SHOTS, "meters-store-dark")
