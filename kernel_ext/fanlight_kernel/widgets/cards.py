"""Cards: what is said of one thing (a ref, many refs, an actor, a placement group), in two lines.

A :class:`Card` is drawn alike by the widget (``static/live.js``), as HTML for saved notebooks, and as
text for terminals. This module asks nobody; :mod:`fanlight_kernel.widgets.facts` does.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

from fanlight.look import BAD, BUSY, FONT, GOOD, LINE, MUTED, WARN
from fanlight_kernel.widgets.render import CODE

_TONES = {"busy": BUSY, "good": GOOD, "bad": BAD, "warn": WARN, "idle": MUTED}
SEGMENTS = (("done", GOOD), ("failed", BAD), ("cancelled", WARN), ("running", BUSY))


def short_id(identity: str) -> str:
    """What tells objects of one maker apart: the beginning, the task's number, which result.

    >>> short_id("e31bb551802e1b9fe59149aca7d08176" + "0000000000000012" + "01000000")
    'e31bb5…12.1'
    >>> short_id("e31bb551802e1b9fe59149aca7d08176")
    'e31bb5…8176'
    """
    if len(identity) != 56:
        return f"{identity[:6]}…{identity[-4:]}" if identity else ""
    task = identity[32:48].lstrip("0") or "0"
    index = int.from_bytes(bytes.fromhex(identity[48:]), "little")
    return f"{identity[:6]}…{task}" + (f".{index}" if index else "")


@dataclass
class Card:
    """What is shown of one thing at one moment."""

    title: str  # "ObjectRef"
    state: str  # "running"
    tone: str = "idle"  # one of _TONES
    facts: list[str] = field(default_factory=list)  # short, joined by dots
    lines: list[str] = field(default_factory=list)  # sentences below
    identity: str = ""  # hexadecimal
    short: str = ""  # the same for people
    counts: dict[str, int] | None = None  # of many: done, failed, cancelled, running, total
    final: bool = False  # it will not change any more

    def __post_init__(self) -> None:
        self.short = self.short or short_id(self.identity)

    def as_state(self) -> dict[str, Any]:
        """The widget's state; plain JSON."""
        return {
            "title": self.title,
            "state": self.state,
            "tone": self.tone,
            "facts": self.facts,
            "lines": self.lines,
            "identity": self.identity,
            "short": self.short,
            "counts": self.counts,
            "final": self.final,
        }

    def text(self) -> str:
        """For terminals: "ObjectRef(3f2a1b…, ready, 800 kB, made by f)"."""
        parts = [self.short] if self.short else []
        return f"{self.title}({', '.join([*parts, self.state, *self.facts])})"

    def html(self) -> str:
        """For notebooks without the widget: saved ones, and web pages."""
        facts = " · ".join(map(html.escape, self.facts))
        identity = (
            f' <code style="{CODE};font-size:11px" title="{html.escape(self.identity)}">'
            f"{html.escape(self.short)}</code>"
            if self.short
            else ""
        )
        colour = _TONES[self.tone]
        below = "".join(
            f'<div style="padding-left:16px;color:{BAD if self.tone == "bad" else MUTED};'
            f'overflow-wrap:anywhere">{html.escape(line)}</div>'
            for line in self.lines
        )
        bar = _bar(self.counts) if self.counts else ""
        return (
            f'<div style="{FONT}"><div><span style="color:{colour}" aria-hidden="true">●</span> '
            f'<span style="font-weight:600">{html.escape(self.title)}</span> '
            f'<span>{html.escape(self.state)}</span> <span style="color:{MUTED}">{facts}{identity}'
            f"</span></div>{bar}{below}</div>"
        )

    def bundle(self) -> dict[str, Any]:
        return {"text/plain": self.text(), "text/html": self.html()}


def _bar(counts: dict[str, int]) -> str:
    total = max(1, counts["total"])
    parts = "".join(
        f'<div style="width:{100 * counts[name] / total:.1f}%;background:{colour}"></div>'
        for name, colour in SEGMENTS
        if counts[name]
    )
    return (
        f'<div style="display:flex;width:320px;max-width:90%;height:6px;border-radius:3px;'
        f'overflow:hidden;margin:3px 0 3px 16px;background:{LINE}" role="img" '
        f'aria-label="{counts["done"]} of {counts["total"]} ready">{parts}</div>'
    )
