"""Static pictures of things: MIME bundles with HTML in the notebook's theme, and plain text.

Colours come from JupyterLab's CSS variables with fallbacks that are legible in both themes, so
that a saved notebook looks right in nbconvert and on a web page too.
"""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from typing import Any

from fanlight import look
from fanlight.look import BAD, BUSY, FONT, GOOD, LINE, MUTED, WARN, rich
from fanlight.progress_bar import seconds
from fanlight_kernel.widgets.progress import Progress, Row
from fanlight_kernel.widgets.wording import failures, notes, number, summary, table

CODE = "font-family:var(--jp-code-font-family,monospace);padding:0;background:none;color:inherit"


def note(text: str) -> dict[str, Any]:
    """A remark under a cell, of one or more lines."""
    lines = "<br>".join(rich(line) for line in text.strip().splitlines())
    style = f"{FONT};color:{MUTED};padding:2px 0 2px 16px"
    return {"text/plain": text.strip(), "text/html": f'<div style="{style}">{lines}</div>'}


def placeholder() -> dict[str, Any]:
    """The monitor's place before there is anything to show."""
    return {"text/plain": "", "text/html": "<div></div>"}


def nothing() -> dict[str, Any]:
    """A display that turned out to have no content."""
    return {"text/plain": "", "text/html": "<div></div>"}


def final(progress: Progress) -> dict[str, Any]:
    """The folded monitor: one line, which opens into a table of functions; failures are open."""
    line = summary(progress)
    mark, colour, word = _mark(progress)
    head = (
        f'<span style="color:{colour}" role="img" aria-label="{word}">{mark}</span> '
        f"<span>{html.escape(line)}</span>"
    )
    body = ""
    rows = table(progress)
    if len(rows) > 1:
        body += _rows(rows)
    extra = notes(progress)
    if extra:
        body += f'<div style="margin-left:16px">{html.escape(" · ".join(extra))}</div>'
    failed = failures(progress)
    body += "".join(_failure(*failure) for failure in failed)
    text = "\n".join([line, *(_failure_text(*failure) for failure in failed)])
    if not body:
        inner = f'<div style="padding:2px 0 2px 16px;color:{MUTED}">{head}</div>'
    else:
        inner = (
            f"<details{' open' if failed else ''}>"
            f'<summary style="cursor:pointer;padding:2px 0;color:{MUTED}">{head}</summary>'
            f'<div style="color:{MUTED}">{body}</div></details>'
        )
    return {"text/plain": text, "text/html": f'<div style="{FONT}">{inner}</div>'}


def _failure(name: str, message: str, count: int) -> str:
    times = f" ({count} times)" if count > 1 else ""
    said = f" {html.escape(message)}{times}" if message else ""
    return (
        f'<div style="margin-left:16px;overflow-wrap:anywhere"><code style="{CODE}">'
        f'{html.escape(name)}</code><span style="color:{BAD}">{said}</span></div>'
    )


def _failure_text(name: str, message: str, count: int) -> str:
    times = f" ({count} times)" if count > 1 else ""
    return f"  {name}: {message}{times}" if message else f"  {name}"


def stand_in(bundle: dict[str, Any]) -> dict[str, Any]:
    """What a notebook shows that was saved while the display was live: as of when that was."""
    as_of = time.strftime("as of %H:%M:%S")
    return {
        "text/plain": f"{bundle['text/plain']} ({as_of})",
        "text/html": f'{bundle["text/html"]}<div style="{FONT};color:{MUTED};padding-left:16px">'
        f"{as_of}</div>",
    }


def live(state: dict[str, Any]) -> dict[str, Any]:
    """A moment of the monitor where no widget can run."""
    total, ended = state["total"], state["total"] - state["unfinished"]
    percent = 100 * ended / total if total else 0
    text = live_text(state)
    bar = (
        f'<div style="width:220px;height:6px;border-radius:3px;background:{LINE};'
        f'overflow:hidden;display:inline-block;vertical-align:middle;margin-right:8px">'
        f'<div style="width:{percent:.0f}%;height:100%;background:{BUSY}"></div></div>'
    )
    return {
        "text/plain": text,
        "text/html": f'<div style="{FONT};color:{MUTED}">{bar}{html.escape(text)}</div>',
    }


def live_text(state: dict[str, Any]) -> str:
    """The same in a line of text: "12 of 64 tasks, 3.1 s, about 4 s left"."""
    total, label = state["total"], state["label"]
    ended = total - state["unfinished"]
    parts = [f"{number(ended)} of {number(total)} {label}{'' if total == 1 else 's'}"]
    parts += [f"{number(state[key])} {key}" for key in ("failed", "cancelled") if state[key]]
    return ", ".join([*parts, *(state[k] for k in ("elapsed", "remaining") if state[k])])


def _mark(progress: Progress) -> tuple[str, str, str]:
    if progress.ended:
        return "■", BAD, "ended"
    if progress.cancelled:  # then what failed mostly waited for what was cancelled
        return "■", WARN, "cancelled"
    if progress.failed:
        return "✗", BAD, "failed"
    return "✓", GOOD, "done"


def _rows(rows: Sequence[Row]) -> str:
    columns = [("done", [row.done for row in rows])]
    for name in ("failed", "cancelled", "unfinished"):
        counts = [getattr(row, name) for row in rows]
        if any(counts):
            columns.append((name, counts))
    head = ("function", *(name for name, _ in columns), "time")
    body = [
        (row.name, *(number(counts[i]) for _, counts in columns), seconds(row.busy))
        for i, row in enumerate(rows)
    ]
    shown = look.table(head, body, right=range(1, len(head)))
    return f'<div style="margin-left:16px">{shown}</div>'


__all__ = [
    "BAD", "FONT", "GOOD", "LINE", "MUTED", "WARN", "final", "live", "live_text", "note", "nothing",
    "placeholder", "stand_in",
]  # fmt: skip
