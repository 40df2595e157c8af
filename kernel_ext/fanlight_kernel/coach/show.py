"""How hints look: a box under the cell, plain text where there is no HTML. Static, and escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

from fanlight_kernel.coach.rules import RULES
from fanlight_kernel.widgets.render import FONT, LINE, MUTED, WARN

OFF = "%config FanlightMagics.coach = False"
_CODE = (
    "font-family:var(--jp-code-font-family,monospace);font-size:12px;margin:2px 0 6px;"
    "padding:6px 8px;border-radius:3px;overflow-x:auto;line-height:1.4;"
    "background:var(--jp-layout-color2,rgba(128,128,128,.14));color:inherit;border:0"
)
_INLINE = "font-family:var(--jp-code-font-family,monospace);font-size:12px;color:inherit"


class Shown(NamedTuple):
    """A hint as it is shown: what was measured, "In[7], line 3", and that line."""

    rule: str
    evidence: str
    where: str
    line: str


def example(rule: str, alias: str) -> str:
    """The mended code, for who calls Fanlight ``alias``; without the blank lines of a module."""
    return re.sub(r"\bray\.", f"{alias}.", re.sub(r"\n\n+", "\n\n", RULES[rule].right))


def text(hints: Sequence[Shown], alias: str = "ray") -> str:
    """For terminals, and for those who read the file of a notebook."""
    parts = []
    for hint in hints:
        parts.append(f"Hint: {hint.evidence}")
        if hint.where:
            parts.append(f"  {hint.where}: {hint.line}" if hint.line else f"  {hint.where}")
        parts.append("  Instead:")
        parts += [f"    {line}".rstrip() for line in example(hint.rule, alias).splitlines()]
    parts.append(f"  (No more hints: {OFF})")
    return "\n".join(parts)


def bundle(hints: Sequence[Shown], alias: str = "ray") -> dict[str, str]:
    """The MIME bundle of one cell's hints. ``alias`` is the user's name for Fanlight."""
    blocks = "".join(_block(hint, alias) for hint in hints)
    box = (
        f'<div role="note" aria-label="Hint of the Fanlight coach" style="{FONT};'
        f"color:var(--jp-content-font-color1,inherit);border-left:3px solid {WARN};"
        f'padding:2px 0 2px 10px;margin:4px 0;max-width:60em">{blocks}'
        f'<div style="color:{MUTED}">No more hints: <code style="{_INLINE}">{html.escape(OFF)}'
        f"</code></div></div>"
    )
    return {"text/plain": text(hints, alias), "text/html": box}


def _block(hint: Shown, alias: str) -> str:
    rule = RULES[hint.rule]
    where = ""
    if hint.where:
        line = f': <code style="{_INLINE}">{html.escape(hint.line)}</code>' if hint.line else ""
        where = f'<div style="color:{MUTED}">{html.escape(hint.where)}{line}</div>'
    return (
        f'<div style="margin-bottom:4px"><div><b>Hint:</b> {_marked(hint.evidence)}</div>{where}'
        f'<details><summary style="cursor:pointer;color:{MUTED}">Why, and what to write instead'
        f'</summary><div style="margin:4px 0">{_marked(rule.why)}</div>'
        f'<pre style="{_CODE};border:1px solid {LINE}">{html.escape(example(hint.rule, alias))}</pre>'
        f"</details></div>"
    )


def _marked(words: str) -> str:
    """Escaped, with what stands between backquotes as code."""
    parts = re.split(r"`([^`]*)`", words)
    return "".join(
        f'<code style="{_INLINE}">{html.escape(part)}</code>' if i % 2 else html.escape(part)
        for i, part in enumerate(parts)
    )
