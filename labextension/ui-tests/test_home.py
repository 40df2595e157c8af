"""The panel's home in JupyterLab and Notebook 7: start, tabs, layout, menu, settings, go to cell,
keyboard, what axe-core says of it in every theme, and another language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import accessible
import extract_messages
import jupyter_page as nb
import pytest
from playwright.sync_api import Page, expect

SHOTS = Path(__file__).resolve().parents[2] / "test-results" / "screenshots"
THEMES = ("JupyterLab Dark", "JupyterLab Dark High Contrast", "JupyterLab Light")

FAR = "\n".join(f"# line {i}" for i in range(1, 60))
WORK = """\
import fanlight

@fanlight.remote
def fail():
    raise ValueError("<b>wrong</b>")

@fanlight.remote
def add(a, b):
    return a + b

kept = fanlight.put(bytes(1_000_000))
refs = [add.remote(1, 2), fail.remote()]
_ = fanlight.wait(refs, num_returns=2)
"""

# A flash and a notification may be over before a slow machine looks: these are noted as they come.
NOTE_SHORT_LIVED = """() => {
    window.noted = { flash: '', toast: '' };
    const look = () => {
        for (const [key, selector] of [['flash', '.fl-Flash'], ['toast', '.Toastify__toast']])
            window.noted[key] += document.querySelector(selector)?.textContent ?? '';
    };
    new MutationObserver(look).observe(document.body, {
        subtree: true, childList: true, attributes: true, attributeFilter: ['class']
    });
}"""


def set_settings(lab: Any, plugin: str, **values: Any) -> None:
    """As somebody writes them in the settings' editor; the page is to be loaded afterwards."""
    package, _, name = plugin.partition(":")
    folder = Path(lab.env["JUPYTERLAB_SETTINGS_DIR"]) / package
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jupyterlab-settings"
    if values:
        file.write_text(json.dumps(values))
    else:
        file.unlink(missing_ok=True)


def test_at_home_in_jupyterlab(page: Page, lab: Any) -> None:
    name = lab.write_notebook("home.ipynb", "", WORK, *[FAR] * 4)
    nb.open_notebook(page, lab, name)
    page.wait_for_function(
        "() => jupyterapp.commands.keyBindings.some(b => b.command === 'fanlight:show-panel')"
    )
    page.keyboard.press("Control+Alt+f")
    panel = page.locator("#fanlight-panel")
    expect(panel).to_contain_text("No runtime here yet")
    accessible.check(page, "#fanlight-panel")

    # One click starts a runtime, the next adds what to do first; nothing is run unasked.
    panel.get_by_role("button", name="Start Fanlight").click()
    nb.expect_state(page, "live", timeout=60_000)
    expect(panel.locator(".fl-Notice")).to_contain_text("Call a remote function")
    panel.get_by_role("button", name="Add a cell").click()
    first = page.evaluate(
        "() => jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.getSource()"
    )
    assert "square.remote" in first
    page.evaluate("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1 }")
    nb.execute(page, "notebook:run-cell")
    nb.expect_ended(page, "fail", 1)
    expect(panel.locator(".fl-Notice")).to_have_count(0)

    # A section as a tab: by its button, and its neighbour by dragging its title.
    nb.section(page, "errors").hover()
    panel.get_by_role("button", name="Open “Errors” as a tab").click()
    expect(page.locator("#fanlight-tab-errors")).to_contain_text("fail")
    nb.execute(page, "docmanager:open", path=name)
    target = page.locator("#jp-main-dock-panel").bounding_box()
    assert target is not None
    for _ in range(10):  # what stands above it may still grow while the pointer is on its way
        head = nb.section(page, "workers").locator("h3 button")
        head.hover()  # as soon as it stays where it is
        title = head.bounding_box()
        assert title is not None
        page.mouse.move(title["x"] + 40, title["y"] + 8)
        page.mouse.down()
        page.mouse.move(title["x"] - 40, title["y"] + 20, steps=4)
        page.mouse.move(target["x"] + 40, target["y"] + target["height"] / 2, steps=6)
        if page.locator(".lm-DockPanel-overlay:not(.lm-mod-hidden)").count():
            break
        page.mouse.up()
    page.mouse.up()
    workers = page.locator("#fanlight-tab-workers")
    expect(workers).to_be_visible()
    page.wait_for_function(  # it was split off
        "([tab, most]) => tab.offsetWidth > 0 && tab.offsetWidth < most",
        arg=[workers.element_handle(), target["width"] * 0.6],
    )

    nb.execute(page, "fanlight:open-section", section="all")
    everything = page.locator("#fanlight-tab-all")
    everything.locator(".fl-Progress li[data-group='add'] button").first.click()
    expect(everything.locator(".fl-Drawer")).to_be_visible()
    for theme in THEMES:
        page.evaluate(
            "name => jupyterapp.commands.execute('apputils:change-theme', { theme: name })", theme
        )
        page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
        accessible.check(page, "#fanlight-panel", "#fanlight-tab-all", "#fanlight-tab-workers")
        nb.shot(page, SHOTS, f"20-home-{theme.split(' ', 1)[1].lower().replace(' ', '-')}")
    page.keyboard.press("Escape")

    # The same tabs at the same places after a reload.
    page.wait_for_function(
        """async () => {
            const id = `layout-restorer:data`;
            const { baseUrl } = window.jupyterapp.serviceManager.serverSettings;
            const seen = JSON.stringify((await (await fetch(
                `${baseUrl}lab/api/workspaces/default`, {credentials: 'same-origin'})).json()).data[id]);
            return ['all', 'errors', 'workers'].every(s => seen.includes(`fanlight-sections:${s}`));
        }"""
    )
    page.goto(f"{lab.url}/lab")
    expect(everything).to_be_visible(timeout=60_000)
    expect(workers).to_have_count(1)
    # To a line of a cell far down, in a notebook that has no tab yet.
    page.wait_for_function(
        """name => {
            const tabs = [...jupyterapp.shell.widgets('main')];
            const panel = tabs.find(tab => tab.context?.path === name);
            if (!panel?.context.isReady) return false; // it is still being restored
            return panel.context.save().then(() => panel.close() ?? true);
        }""",
        arg=name,
    )
    page.wait_for_function(
        "name => ![...jupyterapp.shell.widgets('main')].some(tab => tab.context?.path === name)",
        arg=name,
    )
    panel.get_by_role("button", name="Watch").click()
    expect(panel.locator(".fl-Light")).to_have_text("live")
    page.evaluate(NOTE_SHORT_LIVED)
    nb.execute(page, "fanlight:go-to-cell", origin="cell-5", line=40)
    page.wait_for_function("() => window.noted.flash.includes('line 40')")
    expect(page.locator(".jp-Cell.jp-mod-active .cm-selectionBackground")).to_be_in_viewport()
    nb.execute(page, "fanlight:go-to-cell", origin="nowhere")
    page.wait_for_function("() => window.noted.toast.includes('in no notebook that is open')")
    nb.expect_ended(page, "fail", 1)


def pseudo() -> dict[str, Any]:
    """A catalogue in which every text of the panel is there, and looks different."""
    found = extract_messages.messages()
    head = {
        "domain": "fanlight_lab",
        "language": "de",
        "plural_forms": "nplurals=2; plural=n != 1;",
    }
    catalogue: dict[str, Any] = {"": head}
    for message in found:
        key = f"{message.context}\x04{message.text}" if message.context else message.text
        catalogue[key] = [f"⟦{text}⟧" for text in (message.text, message.plural) if text]
    return catalogue


@pytest.mark.long
def test_in_another_language_and_as_settings_want_it(page: Page, lab: Any) -> None:
    """With a language pack: the panel, its commands, the menu; and what settings hide is hidden."""
    body = json.dumps({"data": {"fanlight_lab": pseudo()}, "message": ""})
    page.route(
        "**/api/translations/de_DE*",
        lambda route: route.fulfill(body=body, content_type="application/json"),
    )
    translation = "@jupyterlab/translation-extension:plugin"
    set_settings(lab, translation, locale="de_DE")
    set_settings(lab, "fanlight-lab:panel", hiddenSections=["graph", "gpus"], statusBar=False)
    try:
        name = lab.write_notebook("german.ipynb", WORK)
        nb.open_notebook(page, lab, name)
        # The menu's own name comes from the server, which has no language pack here.
        page.locator(".lm-MenuBar-item", has_text="Fanlight").click()
        expect(page.locator(".lm-Menu-item", has_text="⟦Show Fanlight Panel⟧")).to_be_visible()
        page.keyboard.press("Escape")
        panel = nb.show_panel(page, 210)
        expect(panel.get_by_role("button", name="⟦Start Fanlight⟧")).to_be_visible()
        expect(panel).to_contain_text("⟦german.ipynb has not started")
        nb.run_all(page)
        nb.wait_until_ran(page)
        nb.expect_ended(page, "fail", 1)
        nb.shot(page, SHOTS, "21-another-language")
        shown = panel.locator(".fl-Section").evaluate_all("all => all.map(s => s.dataset.section)")
        assert "progress" in shown and not {"graph", "gpus"} & set(shown)
        expect(page.locator(".fl-Status")).to_be_hidden()
        wide = panel.evaluate(
            """panel => [...panel.querySelectorAll('.fl-Header, .fl-Section-head')]
                .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"""
        )
        assert wide == []
    finally:
        set_settings(lab, translation)
        set_settings(lab, "fanlight-lab:panel")
