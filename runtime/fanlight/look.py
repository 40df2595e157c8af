"""How reports of the runtime look: small HTML in the notebook's theme, and columns of plain text.

Everything that a user named is escaped. Colours come from JupyterLab's CSS variables, with fallbacks
that are legible on light and dark pages.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from fanlight import words

MUTED = "var(--jp-ui-font-color2, #757575)"
FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:12px;line-height:1.5"
GOOD = "var(--jp-success-color1, #388e3c)"
BAD = "var(--jp-error-color1, #d32f2f)"
WARN = "var(--jp-warn-color1, #f57c00)"
BUSY = "var(--jp-brand-color1, #1976d2)"
WARM = "var(--jp-layout-color4, #9e9e9e)"
LINE = "var(--jp-border-color2, #bdbdbd)"
_CODE = "font-family:var(--jp-code-font-family,monospace);font-size:11px;background:none;padding:0"
_QUOTED = re.compile(r"`([^`\n]{1,200})`")


def rich(text: str) -> str:
    """Text as HTML, with what stands in backquotes as code.

    >>> rich("`f` <waits>").endswith("f</code> &lt;waits&gt;")
    True
    """
    return _QUOTED.sub(rf'<code style="{_CODE}">\1</code>', html.escape(text))


def size(count: float | None) -> str:
    """Bytes for people.

    >>> size(512), size(1_500_000), size(None)
    ('512 B', '1.5 MB', '?')
    """
    return "?" if count is None else words.size(count)


def text_table(rows: Sequence[Sequence[Any]], indent: str = "", right: Iterable[int] = ()) -> str:
    """Columns padded to their widest cell; those in ``right`` are aligned there.

    >>> print(text_table([("a", 1), ("bcd", 20)], right=[1]))
    a     1
    bcd  20
    """
    texts = [[str(v) for v in row] for row in rows]
    if not texts:
        return ""
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    aligned = set(right)

    def line(row: list[str]) -> str:
        cells = [
            v.rjust(widths[i]) if i in aligned else v.ljust(widths[i]) for i, v in enumerate(row)
        ]
        return (indent + "  ".join(cells)).rstrip()

    return "\n".join(map(line, texts))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> str:
    """A small table."""
    aligned = set(right)

    def cell(column: int, text: str) -> str:
        side = "right" if column in aligned else "left"
        short = ";white-space:nowrap" if len(text) <= 30 else ""
        return (
            "padding:2px 14px 2px 0;border:0;background:none;vertical-align:top;"
            f"text-align:{side}{short}"
        )

    top = "".join(
        f'<th scope="col" style="{cell(i, name)};font-weight:600">{html.escape(name)}</th>'
        for i, name in enumerate(head)
    )
    lines = "".join(
        '<tr style="background:none">'
        + "".join(f'<td style="{cell(i, str(v))}">{rich(str(v))}</td>' for i, v in enumerate(row))
        + "</tr>"
        for row in rows
    )
    style = f"{FONT};margin:2px 0 6px 0;border-collapse:collapse;border:0"
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<table style="{style}">{header}<tbody>{lines}</tbody></table>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of labels and texts."""
    lines = "".join(
        f'<tr style="background:none"><th scope="row" style="padding:1px 16px 1px 0;border:0;'
        f'text-align:left;vertical-align:top;font-weight:400;color:{MUTED}">{html.escape(k)}</th>'
        f'<td style="padding:1px 0;text-align:left;border:0">{rich(v)}</td></tr>'
        for k, v in rows
    )
    style = f"{FONT};border-collapse:collapse;border:0;margin:2px 0 6px 0"
    return f'<table style="{style}"><tbody>{lines}</tbody></table>'


def title(text: str, note: str = "") -> str:
    """A heading, and something short beside it."""
    beside = f' <span style="font-weight:400;color:{MUTED}">{rich(note)}</span>' if note else ""
    return f'<div style="font-weight:600">{rich(text)}{beside}</div>'


def note(text: str, colour: str) -> str:
    """A sentence that should be seen."""
    style = f"border-left:3px solid {colour};padding:1px 0 1px 10px;margin:2px 0"
    return f'<div role="note" style="{style}">{rich(text)}</div>'


def bar(parts: Sequence[tuple[str, float, str]], label: str) -> str:
    """A bar of parts, each (name, fraction of the whole, colour); ``label`` says it in words."""
    inner = "".join(
        f'<div title="{html.escape(name)}" style="width:{100 * max(0.0, min(1.0, part)):.2f}%;'
        f'height:100%;background:{colour}"></div>'
        for name, part, colour in parts
        if part > 0
    )
    return (
        f'<div role="img" aria-label="{html.escape(label)}" style="display:flex;width:320px;'
        f"max-width:100%;height:8px;margin:4px 0;border-radius:4px;overflow:hidden;"
        f'background:{LINE}">{inner}</div>'
    )


def text_bar(fraction: float, width: int = 24) -> str:
    """
    >>> text_bar(0.5, 8)
    '[####....]'
    """
    full = round(max(0.0, min(1.0, fraction)) * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def page(*parts: str) -> str:
    """The parts of a report as one element."""
    return f'<div style="{FONT};color:var(--jp-ui-font-color1,inherit)">{"".join(parts)}</div>'
