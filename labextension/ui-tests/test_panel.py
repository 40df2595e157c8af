"""The whole path in a real JupyterLab: a notebook runs, and the panel shows it, live."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import accessible
import jupyter_page as nb
import psutil
import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

SHOTS = Path(__file__).resolve().parents[2] / "test-results" / "screenshots"
LESSON = "01_tasks_objects_actors.ipynb"

START = "import fanlight\nfanlight.init(num_cpus=2)"
WORK = """\
import time

@fanlight.remote
def nap(seconds):
    time.sleep(seconds)

@fanlight.remote
def fail():
    raise ValueError("<b>wrong</b>")
"""


def test_the_lesson_with_the_panel_beside_it(page: Page, lab: Any) -> None:
    nb.open_notebook(page, lab, LESSON)
    panel = nb.show_panel(page)
    expect(panel).to_contain_text("No runtime here yet")
    nb.shot(page, SHOTS, "1-no-runtime-light")

    nb.record(page)
    nb.run_all(page)
    nb.expect_state(page, "live", timeout=60_000)
    nb.scroll_to(page, "primes-parallel")
    page.wait_for_function(  # in every frame: `expect` looks once in a second, and may miss them
        """() => {
            const row = document.querySelector(`.fl-Progress li[data-group='sum_of_primes']`);
            return row !== null && /^[1-6]$/.test(row.dataset.ended);
        }""",
        timeout=120_000,
    )
    nb.shot(page, SHOTS, "2-running-light")
    nb.expect_ended(page, "sum_of_primes", 8)
    nb.wait_until_ran(page)

    page.locator(".fl-Section[data-section='progress'] .fl-Link").click()  # "Show 4 more"
    # Counted up while the kernel was blocked in `get`, not just once at the end.
    nb.expect_ended(page, "add", 7)
    nb.expect_ended(page, "read_array", 8)
    nb.expect_ended(page, "throw_darts", 8)
    seen = nb.recorded(page)
    steps = seen["ended"]["sum_of_primes"]
    assert steps == sorted(steps) and len(steps) >= 3 and steps[-1] == 8, steps

    # The graph is drawn: both functions, the edge between them with its count, add's own loop.
    nb.section(page, "graph")
    for function in ("read_array", "add", "sum_of_primes"):
        expect(page.locator(f".fl-Node[data-group='{function}']")).to_be_visible()
    graph = page.locator(".fl-Section[data-section='graph'] .fl-Graph")
    expect(graph).to_have_attribute("data-edges", re.compile(r"^([2-9]|\d\d+)$"))
    expect(graph.locator(".fl-Edge-count > span", has_text="8").first).to_be_visible()

    # The object store rose, and BokehJS drew it.
    store = nb.section(page, "store")
    canvas = store.locator(".fl-Chart-host canvas").first
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None and box["width"] > 200 and box["height"] > 80, box
    used = seen["used"]
    # How much of the short peak is sampled depends on the machine; `total`, 8 MB, stays.
    assert used[0] == 0 and max(used) >= 8_000_000, used

    page.locator(".fl-Node[data-group='add']").click()
    drawer = page.locator(".fl-Drawer")
    expect(drawer.locator(".fl-Field [role=option]:not(.fl-Dot-other)")).to_have_count(7)
    drawer.locator(".fl-Field [role=option]").first.click()
    expect(drawer).to_contain_text("done")
    nb.shot(page, SHOTS, "3-done-light")
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)

    page.get_by_role("button", name="Show fewer").click()
    nb.use_theme(page, "JupyterLab Dark")
    nb.section(page, "progress")
    nb.shot(page, SHOTS, "4-done-dark")
    nb.section(page, "store")
    nb.shot(panel, SHOTS, "5-store-dark")
    nb.use_theme(page, "JupyterLab Light")
    nb.shot(panel, SHOTS, "5-store-light")


def test_live_while_the_kernel_holds_the_gil(page: Page, lab: Any, tmp_path: Path) -> None:
    """`PyDLL` calls C without letting go of the GIL: no thread of the kernel runs meanwhile."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)  # opening it lasts until somebody writes
    busy = f"""\
refs = [nap.remote(0.2) for _ in range(40)]
fanlight.wait(refs, num_returns=1)  # they have all been sent
import ctypes
opened = ctypes.PyDLL(None).open({str(fifo).encode()!r}, 0)
print("free again")
"""
    name = lab.write_notebook("busy.ipynb", START, WORK, "pass")
    nb.open_notebook(page, lab, name)
    nb.show_panel(page)
    nb.run_all(page)
    nb.wait_until_ran(page)
    nb.expect_state(page, "live")  # it cannot ask the kernel for its runtime any later
    nb.record(page)
    nb.replace_last_cell(page, busy)
    nb.run_last(page)
    nb.expect_ended(page, "nap", 40)
    assert nb.kernel_busy(page)
    assert "free again" not in "".join(page.locator(".jp-OutputArea").all_inner_texts())
    steps = nb.recorded(page)["ended"]["nap"]
    assert len(steps) >= 4, steps
    nb.shot(page, SHOTS, "7-busy-kernel-light")
    fifo.write_text("")
    nb.wait_until_ran(page)
    expect(page.locator(".jp-OutputArea").last).to_contain_text("free again")


def test_names_are_text(page: Page, lab: Any) -> None:
    """In the panel, in what cells display, and in the saved notebook when it is opened again."""
    bad = "<img src=x onerror='window.pwned = 1'>"
    hostile = f"""\
bad = {bad!r} + chr(27) + "[31m" + chr(0x202E)
Evil = fanlight.remote(type(bad, (), {{"method": lambda self: 1}}))
evil = Evil.options(name=bad).remote()
refs = [evil.method.remote(), nap.options(name=bad).remote(0),
        *(fail.options(name=bad + "2", max_retries=0).remote() for _ in range(2))]
kept = fanlight.put(bytes(1_000_000))
_ = fanlight.wait(refs, num_returns=4)
"""
    cells = (
        "%load_ext fanlight",
        START,
        WORK.replace("<b>wrong</b>", bad),
        hostile,
        "refs[2]",
        "evil",
    )
    name = lab.write_notebook("hostile.ipynb", *cells)
    nb.open_notebook(page, lab, name)
    panel = nb.show_panel(page)
    nb.run_all(page)
    nb.wait_until_ran(page)
    cause = nb.section(page, "errors").locator(".fl-Table-row")
    expect(cause).to_have_count(1)  # two failures, one cause
    expect(cause).to_contain_text("ValueError: <img src=x")
    expect(cause.get_by_role("gridcell", name="2", exact=True)).to_be_visible()
    cause.click()
    drawer = page.locator(".fl-Drawer")
    expect(drawer.locator(".fl-Traceback")).to_contain_text(f"ValueError: {bad}")
    drawer.locator(".fl-Tag", has_text="<img src=x").first.click()
    expect(drawer.locator(".fl-Badge")).to_have_text("failed")
    expect(drawer.locator(".fl-Traceback")).to_contain_text("in fail")
    nb.shot(page, SHOTS, "8-error-light")
    expect(drawer.locator("h3")).to_contain_text("<img src=x")
    for section in ("graph", "workers", "actors", "store"):
        nb.section(page, section)
    expect(panel.locator(".fl-Node").first).to_contain_text("<img")
    nb.execute(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")

    def clean() -> None:
        assert page.evaluate("() => window.pwned") is None
        assert page.locator("img[src=x]").count() == 0

    clean()
    page.reload()
    nb.open_notebook(page, lab, name)
    expect(page.locator(".jp-OutputArea").last).to_contain_text("<img src=x")
    clean()


def test_cancel_from_the_panel_and_why_it_waits(page: Page, lab: Any) -> None:
    body = "refs = [nap.remote(0.3) for _ in range(2)] + [nap.remote(600) for _ in range(3)]"
    name = lab.write_notebook("cancel.ipynb", START, WORK, body)
    nb.open_notebook(page, lab, name)
    nb.show_panel(page)
    nb.run_all(page)
    nb.expect_ended(page, "nap", 2)
    page.locator(".fl-Node[data-group='nap']").click()
    drawer = page.locator(".fl-Drawer")
    drawer.locator(".fl-Field .fl-fill-pending").first.click()
    expect(drawer).to_contain_text("Why it waits")
    why = drawer.locator(".fl-Why")
    expect(why).to_contain_text("waits for 1 CPU (0 of 2 free), held by nap ×2")
    expect(why.get_by_role("list", name="The facts")).to_contain_text("asks for 1, 0 of 2 free")
    before = why.locator("p").inner_text()
    expect(why.locator("p")).not_to_have_text(before)  # it is asked again while it is looked at
    drawer.get_by_role("button", name="Cancel", exact=True).click()
    nb.expect_ended(page, "nap", 3)
    expect(drawer.locator(".fl-Badge")).to_have_text("cancelled")


def test_many_tasks(page: Page, lab: Any) -> None:
    """Thousands of tasks: one canvas instead of thousands of elements, and usable by keyboard."""
    body = "_ = fanlight.get([nap.remote(0) for _ in range(3000)])"
    name = lab.write_notebook("many.ipynb", START, WORK, body)
    nb.open_notebook(page, lab, name)
    panel = nb.show_panel(page, 320)
    nb.run_all(page)
    nb.expect_ended(page, "nap", 3000)
    nothing_sticks_out(panel)
    page.locator(".fl-Node[data-group='nap']").click()
    drawer = page.locator(".fl-Drawer")
    tasks = drawer.get_by_role("listbox")
    expect(tasks.locator("canvas")).to_be_visible()
    assert page.locator(".fl-Dot").count() == 0
    tasks.press("ArrowRight")
    expect(tasks.get_by_role("option")).to_contain_text("nap: done")
    tasks.press("Enter")
    expect(drawer.locator(".fl-Badge")).to_have_text("done")


def test_two_notebooks_and_a_hidden_panel(page: Page, lab: Any) -> None:
    """The panel follows the notebook in front; hidden, it does not follow anything."""
    sockets: list[WebSocket] = []
    page.on("websocket", lambda s: sockets.append(s) if "/fanlight/api/" in s.url else None)
    first = lab.write_notebook("first.ipynb", START, WORK, "fanlight.get(nap.remote(0.05))")
    second = lab.write_notebook("second.ipynb", "1 + 1")
    nb.open_notebook(page, lab, first)
    nb.show_panel(page)
    nb.run_all(page)
    nb.wait_until_ran(page)
    nb.expect_ended(page, "nap", 1)
    nb.execute(page, "docmanager:open", path=second)
    expect(page.locator("#fanlight-panel")).to_contain_text("second.ipynb has not started")
    page.locator("#fanlight-panel").get_by_role("button", name="Watch").first.click()
    nb.expect_ended(page, "nap", 1)
    page.locator(".fl-Header select.fl-Select").select_option("")
    expect(page.locator("#fanlight-panel")).to_contain_text("second.ipynb has not started")
    nb.execute(page, "application:activate-previous-tab")
    nb.expect_ended(page, "nap", 1)

    assert len(sockets) == 1
    with sockets[0].expect_event("framesent", lambda frame: '"pause"' in str(frame)):
        nb.execute(page, "application:toggle-right-area")
    expect(page.locator("#fanlight-panel")).to_be_hidden()
    assert page.locator("#fanlight-panel .fl-Progress").count() == 0  # nothing is rendered
    with sockets[0].expect_event("framesent", lambda frame: '"resume"' in str(frame)):
        nb.execute(page, "application:toggle-right-area")
    nb.expect_ended(page, "nap", 1)
    assert len(sockets) == 1


def test_notebook_7(page: Page, lab: Any) -> None:
    """The same panel in the right sidebar of Notebook 7; and pictures in its cells."""
    pytest.importorskip("notebook")
    run = "fanlight.get(nap.remote(0.05))"
    name = lab.write_notebook("seven.ipynb", START, WORK, run, "fanlight.timeline()")
    page.goto(f"{lab.url}/notebooks/{name}?token={lab.token}")
    nb.wait_for_kernel(page)
    nb.execute(page, "fanlight:show-panel")
    panel = page.locator("#fanlight-panel")
    expect(panel).to_contain_text("seven.ipynb has not started Fanlight")
    nb.run_all(page)
    nb.expect_state(page, "live", timeout=60_000)
    nb.expect_ended(page, "nap", 1)
    expect(page.locator(".fl-Picture canvas").first).to_be_visible(timeout=60_000)
    nb.shot(page, SHOTS, "10-notebook-7-light")
    # Tabs open below the notebook, with room to read them, the newest in front.
    for section in ("workers", "all"):
        nb.execute(page, "fanlight:open-section", section=section)
        tab = page.locator(f"#fanlight-tab-{section}")
        expect(tab).to_be_visible()
        page.wait_for_function("tab => tab.offsetHeight > 120", arg=tab.element_handle())
    expect(page.locator("#fanlight-tab-workers")).to_be_hidden()
    accessible.check(page, "#fanlight-panel", "#fanlight-tab-all")


def nothing_sticks_out(panel: Locator) -> None:
    """Nothing sticks out sideways."""
    wide = panel.evaluate(
        """panel => [...panel.querySelectorAll('.fl-Header, .fl-Section-head, .fl-Section-body')]
            .filter(e => e.scrollWidth > e.clientWidth + 1)
            .map(e => `${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""
    )
    assert wide == []


@pytest.mark.long
@pytest.mark.parametrize("width", [230, 320, 760])
def test_any_width(page: Page, lab: Any, width: int) -> None:
    name = lab.write_notebook("width.ipynb", START, WORK, "fanlight.get(nap.remote(0.05))")
    nb.open_notebook(page, lab, name)
    panel = nb.show_panel(page, width)
    nb.run_all(page)
    nb.expect_ended(page, "nap", 1)
    nothing_sticks_out(panel)
    nb.shot(panel, SHOTS, f"9-width-{width}-light")


def pid_of(page: Page) -> int:
    """Of the node that the panel shows."""
    title = page.locator(".fl-Chip").first.get_attribute("title") or ""
    return int(title.rpartition("pid ")[2])


def expect_another_node(page: Page, pid: int) -> None:
    """The panel shows the next runtime; for a moment it is live, and the last one is on view."""
    chip = page.locator(".fl-Chip").first
    expect(chip).to_have_attribute("title", re.compile(rf"pid (?!{pid}$)\d+$"), timeout=60_000)


def both_themes(page: Page, name: str) -> None:
    for theme in ("Dark", "Light"):
        nb.use_theme(page, f"JupyterLab {theme}")
        nb.shot(page, SHOTS, f"{name}-{theme.lower()}")


def test_the_kernel_is_restarted_and_killed(page: Page, lab: Any) -> None:
    """Either way there is another kernel; the panel says that the runtime ended, and shows the next
    one."""
    source = "fanlight.get([nap.remote(0.05) for _ in range(6)])"
    name = lab.write_notebook("killed.ipynb", START, WORK, source)
    nb.open_notebook(page, lab, name)
    nb.show_panel(page)
    nb.run_all(page)
    nb.wait_until_ran(page)
    nb.expect_ended(page, "nap", 6)
    first = pid_of(page)

    nb.restart_kernel(page)
    nb.expect_state(page, "ended", timeout=60_000)
    nb.expect_ended(page, "nap", 6)  # what was last seen stays on view
    nb.shot(page, SHOTS, "6-ended-light")
    nb.wait_for_kernel(page)
    nb.run_all(page)
    nb.expect_state(page, "live", timeout=60_000)
    nb.expect_ended(page, "nap", 6)
    nb.wait_until_ran(page)
    expect_another_node(page, first)
    node = psutil.Process(pid_of(page))

    kernel = node.parent()
    assert kernel is not None and "ipykernel" in " ".join(kernel.cmdline())
    processes = [node, *node.children(recursive=True)]
    kernel.kill()
    nb.expect_state(page, "ended", timeout=60_000)
    psutil.wait_procs(processes, timeout=30)
    assert not [p for p in processes if p.is_running()]
    notice = page.locator(".fl-Notice")
    expect(notice).to_contain_text("The next runtime of this notebook shows up here")
    nb.dismiss(page)
    both_themes(page, "11-kernel-killed")
    dialog = page.locator(".jp-Dialog button.jp-mod-accept")
    nb.wait_for_kernel(page)
    if dialog.count():
        dialog.first.click()
    nb.run_all(page)
    nb.expect_state(page, "live", timeout=60_000)
    nb.expect_ended(page, "nap", 6)
    expect_another_node(page, node.pid)


def test_the_node_dies(page: Page, lab: Any) -> None:
    """The panel says so; the kernel's next call does, too, and `init` starts another."""
    again = "try:\n    fanlight.get(nap.remote(0.05))\nexcept fanlight.errors.RuntimeLostError:\n"
    again += "    fanlight.init(num_cpus=1)\n    fanlight.get([nap.remote(0.05)] * 2)"
    name = lab.write_notebook("dies.ipynb", START, WORK, "fanlight.get(nap.remote(0.05))")
    nb.open_notebook(page, lab, name)
    nb.show_panel(page)
    nb.run_all(page)
    nb.wait_until_ran(page)
    nb.expect_ended(page, "nap", 1)
    pid = pid_of(page)
    psutil.Process(pid).kill()
    nb.expect_state(page, "ended", timeout=60_000)
    expect(page.locator(".fl-Notice")).to_contain_text(f"node process (pid {pid}) died")
    nb.expect_ended(page, "nap", 1)  # what was last seen stays on view
    both_themes(page, "12-node-died")
    nb.replace_last_cell(page, again)
    nb.run_last(page)
    nb.expect_state(page, "live", timeout=60_000)
    nb.wait_until_ran(page)
    expect_another_node(page, pid)


SCRIPT = """
import time
import fanlight

@fanlight.remote
def nap(seconds):
    time.sleep(seconds)

fanlight.init(num_cpus=1, name="script")
refs = [nap.remote(0.1) for _ in range(5000)]
print(fanlight.session.current().node_pid, flush=True)
input()
assert fanlight.get(fanlight.put(3)) == 3
print("works", flush=True)
"""


@pytest.mark.parametrize("theme", [pytest.param("Dark", marks=pytest.mark.long), "Light"])
def test_the_server_is_stopped_and_killed(page: Page, lab: Any, theme: str) -> None:
    """A script's runtime does not notice. The panel says what is wrong, and comes back by itself;
    nothing is left of the connections that were cut."""
    name = lab.write_notebook("server.ipynb", "1 + 1")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=lab.env) as script:
        try:
            assert script.stdin is not None and script.stdout is not None
            node = psutil.Process(int(script.stdout.readline()))
            nb.open_notebook(page, lab, name)
            panel = nb.show_panel(page)
            panel.get_by_role("button", name="Watch").first.click()
            nb.expect_state(page, "live", timeout=60_000)
            nb.expect_more(page, "nap", 0)
            descriptors = node.num_fds()

            lab.process.send_signal(signal.SIGSTOP)  # it sleeps, and the tasks go on
            page.wait_for_timeout(2000)
            lab.process.send_signal(signal.SIGCONT)
            nb.expect_more(page, "nap", nb.ended(page, "nap") + 10)
            nb.expect_state(page, "live")

            nb.use_theme(page, f"JupyterLab {theme}")  # now: it comes from the server
            lab.kill()
            expect(page.locator(".fl-Notice-bad")).to_contain_text("Trying again", timeout=60_000)
            nb.dismiss(page)
            nb.shot(page, SHOTS, f"13-server-gone-{theme.lower()}")
            seen = nb.ended(page, "nap")
            lab.start()
            nb.dismiss(page)
            nb.expect_state(page, "live", timeout=60_000)
            nb.expect_more(page, "nap", seen)
            assert pid_of(page) == node.pid
            nb.dismiss(page)
            nb.shot(page, SHOTS, f"14-server-back-{theme.lower()}")
            assert node.num_fds() <= descriptors
            script.stdin.write(b"\n")
            script.stdin.close()
            assert script.stdout.read().strip() == b"works"
        finally:
            script.kill()
            if lab.process.poll() is not None:
                lab.start()  # for the other tests
