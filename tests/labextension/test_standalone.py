"""What the panel needs where there is no JupyterLab, and how a page holds it."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fanlight import standalone

SRC = Path(__file__).parents[2] / "labextension" / "src"
TYPES = re.compile(r"^(?:import|export) type [^;]*;", re.MULTILINE)
IMPORT = re.compile(r"(?:from|import|import\()\s*'([^']+)'")


def test_it_needs_neither_jupyterlab_nor_lumino() -> None:
    """Each module that can be reached from its entry; types do not count."""
    seen: dict[Path, list[str]] = {}
    left = [SRC / "standalone" / "index.ts"]
    while left:
        path = left.pop()
        if path in seen:
            continue
        names = IMPORT.findall(TYPES.sub("", path.read_text("utf-8")))
        seen[path] = [name for name in names if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                base = os.path.normpath(path.parent / name)
                ends = (".ts", ".tsx", "/index.ts", "/index.tsx")
                left += [Path(base + end) for end in ends if Path(base + end).is_file()]
    reached = {path.relative_to(SRC).as_posix() for path in seen}
    assert {"views/panel.tsx", "sections/index.ts", "chart.ts"} <= reached
    wrong = {
        path.relative_to(SRC).as_posix(): name
        for path, names in seen.items()
        for name in names
        if name.startswith(("@jupyterlab/", "@lumino/"))
    }
    assert not wrong


def test_what_a_page_holds_stays_in_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a title, nor data, nor a script can end the element that it stands in."""
    hostile = "</title></style></SCRIPT><!--<script>alert('x')</script>&amp;"
    for name in standalone.NAMES:
        (tmp_path / name).write_text(f"'{hostile}'")
    monkeypatch.setattr(standalone, "folder", lambda: tmp_path)
    standalone.text.cache_clear()
    standalone.charts.cache_clear()
    try:
        made = standalone.page(hostile, hostile, {"key": hostile}, blob=b"<>", lang=hostile)
    finally:
        standalone.text.cache_clear()
        standalone.charts.cache_clear()
    found = Elements()
    found.feed(made)
    assert found.seen == [
        *("html", "head", "meta", "meta", "meta", "title", "style", "body", "div"),
        *["script"] * 5,
    ]


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def test_without_a_build_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(standalone, "NAMES", ("nothing-of-the-kind.js",))
    with pytest.raises(FileNotFoundError, match="make install"):
        standalone.folder()
