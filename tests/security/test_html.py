"""Names, errors and output that hold HTML are shown as text, wherever a notebook shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import fanlight
from fanlight import look
from fanlight_kernel.widgets import render, wording
from fanlight_kernel.widgets.progress import Progress, Row
from tests.kernel_ext.conftest import Notebook, notebook, shell

__all__ = ["notebook", "shell"]  # fixtures

ROOT = Path(__file__).resolve().parents[2]
BAD = (
    "<img src=x onerror=alert(1)>",
    "</td></table><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' style='position:fixed'",
    "<svg/onload=alert(1)>",
    "&lt;b&gt;",
    "<!--",
    "\x1b[31mred\x1b[0m\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\u202egnp.exe\u2066",
    "x" * 100_000,
)


class _Looker(HTMLParser):
    """Notes what a browser would act upon."""

    ALLOWED = frozenset(
        [
            "div",
            "span",
            "table",
            "thead",
            "tbody",
            "tr",
            "td",
            "th",
            "details",
            "summary",
            "br",
            "b",
            "i",
            "p",
            "pre",
            "code",
        ]
    )

    ATTRIBUTES = frozenset(
        ["style", "class", "title", "aria-label", "aria-hidden", "open", "role", "scope"]
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.ALLOWED:
            self.found.append(tag)
        for name, value in attrs:
            if name not in self.ATTRIBUTES:
                self.found.append(f"{tag} {name}={value}")
            if "position" in (value or "") or "url(" in (value or ""):
                self.found.append(f"{tag} {name}={value}")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"comment {data[:40]}")

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(markup: str) -> str:
    """What one reads; fails if there is anything in it that was not meant."""
    looker = _Looker()
    looker.feed(markup)
    looker.close()
    assert not looker.found
    return looker.text


@pytest.mark.parametrize("bad", BAD)
def test_pictures_of_things(bad: str) -> None:
    progress = Progress([Row(bad, done=1, busy=1.0), Row(bad + "2", failed=2)], elapsed=1.0)
    state = wording.as_state(progress, title=bad, why=bad, label=bad)
    pictures = [
        look.table((bad, "b"), [(bad, 1)]),
        look.page(look.title(bad, bad), look.facts([(bad, bad)])),
        render.live(state)["text/html"],
        render.final(progress)["text/html"],
    ]
    for picture in pictures:
        assert bad in text_of(picture)


@pytest.fixture
def bad_class() -> Iterator[type]:
    yield type("<img src=x onerror=alert(1)>", (), {"method": lambda self: 1})


def html_of(notebook: Notebook, value: Any) -> str:
    data, _ = notebook.shell.display_formatter.format(value)
    return str(data["text/html"])


def test_refs_and_actors(notebook: Notebook, bad_class: type) -> None:
    bad = BAD[0]

    def work(fail: bool) -> None:
        if fail:
            raise ValueError(f"{bad}\n{bad}")

    task = fanlight.remote(work)
    good = task.options(name=bad).remote(False)
    fails = task.options(name=bad, max_retries=0).remote(True)
    fanlight.wait([good, fails], num_returns=2)
    for ref in (good, fails):
        assert bad in text_of(html_of(notebook, ref))
    actor = fanlight.remote(bad_class).remote()
    assert bad in text_of(html_of(notebook, actor))
    assert bad in text_of(html_of(notebook, [good, fails]))
    for report in (fanlight.why(fails), fanlight.status(), fanlight.memory()):
        text_of(report._repr_html_())


def test_cells(notebook: Notebook) -> None:
    """What a cell displays by itself: the monitor, the status, a rehearsal, a failure."""
    ran = [
        notebook.run("%fanlight status"),
        notebook.run("bad = '<img src=x onerror=alert(1)>'"),
        notebook.run(
            "import fanlight\n"
            "@fanlight.remote\n"
            "def f():\n"
            "    print(bad)\n"
            "@fanlight.remote\n"
            "def g(): raise ValueError(bad)\n"
            "refs = [f.options(name=bad).remote(), g.options(name=bad + '2', max_retries=0).remote()]\n"
            "fanlight.wait(refs, num_returns=2)\n"
            "refs[0]"
        ),
        notebook.run("Evil = type(bad, (), {})\nevil = Evil()"),
        notebook.run("%%remote --dry-run\nx = evil"),
        notebook.run("%%remote\nraise ValueError(bad)", fails=True),
        notebook.run("fanlight.get(refs[1])", fails=True),
    ]
    shown = 0
    for one in ran:
        for output in one.outputs:
            markup = output.data.get("text/html")
            if markup is not None:
                text_of(markup)
                shown += 1
            assert not {"application/javascript", "text/latex", "text/markdown"} & set(output.data)
    assert shown >= 3


def test_no_source_makes_markup_of_text() -> None:
    """The front ends build elements; nothing parses a string as HTML or as a program."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|"
        r"createContextualFragment|\beval\(|new Function\(|srcdoc|DOMParser"
    )
    sources = [
        *(ROOT / "labextension" / "src").rglob("*.ts*"),
        *(ROOT / "kernel_ext").rglob("*.js"),
    ]
    assert len(sources) > 20
    for path in sources:
        assert not forbidden.findall(path.read_text()), path


def test_no_source_phones_home() -> None:
    """No telemetry: neither the runtime nor the extensions know how to speak to another machine."""
    network = re.compile(
        r"\bAF_INET|urllib\.request|http\.client|import requests|import httpx|import aiohttp|"
        r"create_connection|socketserver|smtplib|ftplib|\bXMLHttpRequest\b|sendBeacon"
    )
    url = re.compile(r"https?://(?!127\.0\.0\.1|localhost|www\.w3\.org)")
    for folder in ("runtime", "kernel_ext", "labextension/fanlight_lab", "labextension/src"):
        for path in (ROOT / folder).rglob("*.*"):
            built = any(f"/fanlight_lab/{x}/" in str(path) for x in ("labextension", "standalone"))
            if path.suffix in (".py", ".ts", ".tsx", ".js") and not built:
                text = path.read_text()
                assert not network.findall(text), path
                assert not url.findall(text), path
