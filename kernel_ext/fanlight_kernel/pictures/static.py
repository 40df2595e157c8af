"""The same pictures as plain HTML: for saved and untrusted notebooks, nbconvert, other front ends.

Only elements, attributes and styles that JupyterLab leaves in untrusted output: no SVG, no script, no
variables where a colour matters. Pointing at a block shows its ``title``.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from fanlight.words import seconds
from fanlight_kernel.pictures import facts, palette
from fanlight_kernel.pictures.blocks import DRIVER, merged_waits, scene

BLOCKS = 400  # in one static picture
FONT = "font-family:system-ui,sans-serif;font-size:12px;line-height:1.5"
_LABEL = 170  # pixels for the names of lanes


def timeline(shown: Any) -> str:
    """A ``fanlight.trace.Timeline``: a line for each worker."""
    spans = shown.spans
    if not len(spans):
        return f'<div style="{FONT}">Timeline: no task has ended yet.</div>'
    drawn = scene(spans, BLOCKS)
    names = [row[0] for row in spans.functions]
    colours = palette.of_functions(names)
    cells = facts.cell_names()
    width = max(drawn.end - drawn.begin, 1e-9)
    lanes: list[list[str]] = [[] for _ in drawn.lanes]
    for block in drawn.blocks:
        height = 18 / drawn.rows[block.lane]
        texts = zip(facts.LABELS, facts.of_block(block, cells), strict=True)
        title = "\n".join(f"{label}: {text}" for label, text in texts if text != "–")
        left = 100 * (block.begin - drawn.begin) / width
        long = min(max(100 * (block.end - block.begin) / width, 0.15), 100 - left)
        edge = f";border-left:3px solid {palette.FAILED}" if block.failed else ""
        lanes[block.lane].append(
            f'<div title="{html.escape(title, quote=True)}" style="position:absolute;'
            f"left:{left:.2f}%;width:{long:.2f}%;top:{1 + block.row * height:.1f}px;"
            f"height:{height - 1:.1f}px;box-sizing:border-box;"
            "border-right:1px solid rgba(255,255,255,0.6);"
            f'background-color:{colours.get(block.span.name, palette.OTHER)}{edge}"></div>'
        )
    body = "".join(
        _lane(lane, "".join(parts), spans.extent)
        for lane, parts in zip(drawn.lanes, lanes, strict=True)
    )
    if spans.waits:
        parts = "".join(
            f'<div title="{html.escape(what, quote=True)}: {seconds(end - begin)}" style="'
            f"position:absolute;left:{100 * (begin - drawn.begin) / width:.2f}%;"
            f"width:{max(100 * (end - begin) / width, 0.15):.2f}%;top:5px;height:10px;"
            f'background-color:{palette.OTHER}"></div>'
            for begin, end, what in merged_waits(spans, BLOCKS // 2)
        )
        body += _row(DRIVER, "where your program waited for results", parts, spans.waited / width)
    scale = (
        f'<div style="display:flex;color:{palette.TEXT}"><div style="width:{_LABEL}px;'
        'flex-shrink:0"></div><div style="flex-grow:1">0 s</div>'
        f'<div style="padding-right:46px">{seconds(spans.extent)}</div></div>'
    )
    keys = [(name, colours[name]) for name in names[: len(palette.COLOURS)]]
    if len(names) > len(keys):
        keys.append((f"{len(names) - len(keys)} others", palette.OTHER))
    if any(block.failed for block in drawn.blocks):
        keys.append(("failed", palette.FAILED))
    notes = [*shown.remarks(), *([drawn.note + "."] if drawn.note else [])]
    return page(f"Timeline: {shown.headline()}", body + scale + legend(keys), notes)


def _lane(lane: Any, blocks: str, extent: float) -> str:
    title = f"{lane.label}, process {lane.pid}"
    return _row(lane.label, title, blocks, lane.busy / extent if extent else 1.0)


def _row(label: str, title: str, blocks: str, share: float) -> str:
    return (
        f'<div style="display:flex;margin:2px 0"><div title="{html.escape(title, quote=True)}" '
        f'style="width:{_LABEL}px;flex-shrink:0;overflow:hidden;white-space:nowrap;'
        f'text-overflow:ellipsis">{html.escape(label)}</div><div style="position:relative;'
        f'height:20px;flex-grow:1;background-color:rgba(128,128,128,0.15)">{blocks}</div>'
        f'<div style="width:46px;text-align:right;flex-shrink:0">{share:.0%}</div></div>'
    )


def legend(keys: Iterable[tuple[str, str]]) -> str:
    """Names with their colours."""
    items = "".join(
        '<span style="margin-right:14px;white-space:nowrap"><span style="display:inline-block;'
        f"width:10px;height:10px;margin-right:4px;background-color:{colour}"
        f'"></span>{html.escape(name[:60])}</span>'
        for name, colour in keys
    )
    return f'<div style="margin:4px 0">{items}</div>'


def page(title: str, body: str, notes: Iterable[str] = ()) -> str:
    """A headline, what is below it, and sentences."""
    lines = "".join(f"<div>{html.escape(note)}</div>" for note in notes)
    return (
        f'<div role="figure" aria-label="{html.escape(title, quote=True)}" style="{FONT};'
        f'max-width:1100px"><div style="font-weight:600">{html.escape(title)}</div>{body}'
        f'<div style="color:{palette.TEXT}">{lines}</div></div>'
    )
