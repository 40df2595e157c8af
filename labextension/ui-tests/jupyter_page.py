"""What a person does in JupyterLab, as functions: open a notebook, run it, look at the panel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

RUN_TIMEOUT = 240_000  # milliseconds that a whole notebook may take
POLLING = 100  # milliseconds; else a page looks, and draws, in every frame while it waits


def open_notebook(page: Page, lab: Any, name: str) -> None:
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    wait_for_kernel(page)


def wait_for_kernel(page: Page) -> None:
    page.wait_for_function(
        """() => {
            const panel = window.jupyterapp?.shell.currentWidget;
            return panel?.sessionContext?.session?.kernel?.status === 'idle';
        }""",
        polling=POLLING,
        timeout=90_000,
    )


def execute(page: Page, command: str, **arguments: Any) -> None:
    """Run one of JupyterLab's commands as soon as it is there, without waiting for its end."""
    page.wait_for_function(
        "command => window.jupyterapp?.commands.hasCommand(command)",
        arg=command,
        polling=POLLING,
        timeout=90_000,
    )
    page.evaluate(
        "([command, args]) => void window.jupyterapp.commands.execute(command, args)",
        [command, arguments],
    )


def show_panel(page: Page, width: int = 460) -> Locator:
    execute(page, "fanlight:show-panel")
    panel = page.locator("#fanlight-panel")
    expect(panel).to_be_visible()
    box = panel.bounding_box()
    assert box is not None
    edge = box["x"] - 2
    page.mouse.move(edge, 500)
    page.mouse.down()
    page.mouse.move(edge + box["width"] - width, 500, steps=4)
    page.mouse.up()
    return panel


def run_all(page: Page) -> None:
    execute(page, "notebook:run-all-cells")


def replace_last_cell(page: Page, source: str) -> None:
    page.evaluate(
        """source => {
            const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells];
            cells.at(-1).sharedModel.setSource(source);
        }""",
        source,
    )


def run_last(page: Page) -> None:
    page.evaluate(
        """() => {
            const { content } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = content.widgets.length - 1;
        }"""
    )
    execute(page, "notebook:run-cell")


def ended(page: Page, function: str) -> int:
    """How many tasks of a function have ended, as the panel says."""
    return int(row(page, function).get_attribute("data-ended") or 0)


def expect_more(page: Page, function: str, than: int) -> None:
    """Wait until more tasks of a function have ended."""
    page.wait_for_function(
        """([name, than]) => {
            const row = document.querySelector(`.fl-Progress li[data-group='${name}']`);
            return row !== null && Number(row.dataset.ended) > than;
        }""",
        arg=[function, than],
        polling=POLLING,
        timeout=60_000,
    )


def dismiss(page: Page) -> None:
    """Close what JupyterLab itself has to say, of a server that does not answer for instance."""
    page.evaluate(
        """() => document.querySelectorAll('.jp-Dialog .jp-Dialog-footer button:first-child')
            .forEach(button => button.click())"""
    )


def scroll_to(page: Page, cell: str) -> None:
    """Show the cell with this id."""
    page.evaluate(
        """id => {
            const { content } = window.jupyterapp.shell.currentWidget;
            const cells = [...content.model.cells];
            return content.scrollToItem(cells.findIndex(c => c.id === id), 'start');
        }""",
        cell,
    )


def wait_until_ran(page: Page) -> None:
    """Until every code cell has run and none waits; fails with the first error of a cell."""
    page.wait_for_function(
        """() => {
            const panel = window.jupyterapp.shell.currentWidget;
            const cells = [...panel.content.model.cells].filter(c => c.type === 'code');
            const failed = cells.some(c =>
                c.outputs.toJSON().some(o => o.output_type === 'error'));
            const idle = panel.sessionContext.session.kernel.status === 'idle';
            return failed || (idle && cells.every(c => c.executionCount !== null));
        }""",
        polling=POLLING,
        timeout=RUN_TIMEOUT,
    )
    errors = page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
            .filter(c => c.type === 'code')
            .flatMap(c => c.outputs.toJSON().filter(o => o.output_type === 'error')
                .map(o => `${c.id}: ${o.ename}: ${o.evalue}\\n${o.traceback.join('\\n')}`))"""
    )
    assert not errors, errors[0]


def kernel_busy(page: Page) -> bool:
    """What JupyterLab knows of it; a cell that runs makes it busy."""
    status = page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    )
    return bool(status == "busy")


def restart_kernel(page: Page) -> None:
    execute(page, "notebook:restart-kernel")
    page.locator(".jp-Dialog button.jp-mod-accept").click()


def record(page: Page) -> None:
    """From now on, note ten times a second what the panel says; read it with :func:`recorded`."""
    page.evaluate(
        """() => {
            window.seen = { ended: {}, used: [], states: [] };
            setInterval(() => {
                for (const row of document.querySelectorAll('.fl-Progress li')) {
                    const list = (window.seen.ended[row.dataset.group] ??= []);
                    const now = Number(row.dataset.ended);
                    if (list.at(-1) !== now) list.push(now);
                }
                const used = document.querySelector('.fl-Meters[data-used]')?.dataset.used;
                if (used !== undefined && window.seen.used.at(-1) !== Number(used))
                    window.seen.used.push(Number(used));
                const state = document.querySelector('.fl-Light')?.textContent;
                if (state && window.seen.states.at(-1) !== state) window.seen.states.push(state);
            }, 50);
        }"""
    )


def recorded(page: Page) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(page.evaluate("() => JSON.stringify(window.seen)"))
    return seen


def row(page: Page, function: str) -> Locator:
    return page.locator(f".fl-Progress li[data-group='{function}']").first


def expect_ended(page: Page, function: str, ended: int, timeout: float = 60_000) -> None:
    expect(row(page, function)).to_have_attribute("data-ended", str(ended), timeout=timeout)


def expect_state(page: Page, text: str, timeout: float = 30_000) -> None:
    expect(page.locator(".fl-Light")).to_have_text(text, timeout=timeout)


def section(page: Page, name: str) -> Locator:
    """A section of the panel, unfolded and scrolled into view."""
    found = page.locator(f".fl-Section[data-section='{name}']")
    button = found.locator(".fl-Section-head h3 button")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    found.evaluate("section => section.scrollIntoView({ block: 'start' })")
    return found


def use_theme(page: Page, name: str) -> None:
    light = "true" if "Light" in name else "false"
    execute(page, "apputils:change-theme", theme=name)
    page.wait_for_function(
        "light => document.body.dataset.jpThemeLight === light", arg=light, timeout=30_000
    )


def shot(target: Page | Locator, folder: Path, name: str) -> None:
    target.screenshot(path=folder / f"{name}.png")
