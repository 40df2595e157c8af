"""The Bokeh figure of a timeline: a lane for each worker, time to the right."""

from __future__ import annotations

import itertools
import time
from typing import Any

from fanlight.words import seconds
from fanlight_kernel.pictures import facts, palette
from fanlight_kernel.pictures.blocks import DRIVER, Block, Scene, merged_waits, scene
from fanlight_kernel.pictures.style import bare_figure, legend_below, models, tooltips

BLOCKS = 3_000  # in one picture
_QUEUE_STEPS = 400
_WAITS = 600  # of the program itself
_QUEUE = "waiting to start"
_FUNCTIONS = len(palette.COLOURS)


def figure(timeline: Any, **options: Any) -> Any:
    """A ``bokeh.plotting.figure`` of a ``fanlight.trace.Timeline``."""
    spans = timeline.spans
    drawn = scene(spans, BLOCKS)
    queue = _queue(spans.queue(), drawn)
    span = max(drawn.end - drawn.begin, 1e-6)
    left = min([0.0, *(row[0] for row in queue)])
    top = 1.35 if queue else 0.55
    waits = merged_waits(spans, _WAITS)
    lanes = len(drawn.lanes) + bool(waits)
    notes = [*timeline.remarks()[:3], *([drawn.note + "."] if drawn.note else [])]
    started = time.strftime("%H:%M:%S", time.localtime(drawn.begin))
    plot = bare_figure(
        {
            "height": min(112 + 26 * (lanes + bool(queue)), 620) + 16 * len(notes),
            "x_range": (left - 0.01 * span, 1.01 * span),
            "y_range": (0.45 - lanes, top),
            "x_axis_label": f"seconds since {started}",
            "title": timeline.headline(),
        }
        | options,
        zoom="width",
    )
    plot.yaxis.ticker = [-i for i in range(lanes)] + ([0.95] if queue else [])
    plot.yaxis.major_label_overrides = {
        **{-i: _cut(lane.label) for i, lane in enumerate(drawn.lanes)},
        0.95: _QUEUE,
        **({1 - lanes: DRIVER} if waits else {}),
    }
    plot.ygrid.grid_line_color = None
    plot.hbar(
        y=[-i for i in range(lanes)], left=0.0, right=span, height=0.84, level="underlay",
        fill_color=palette.TEXT, fill_alpha=0.10, line_color=None,
    )  # fmt: skip
    names = [row[0] for row in spans.functions]
    _draw_blocks(plot, drawn, names)
    if queue:
        _draw_queue(plot, queue)
    if waits:
        _draw_waits(plot, waits, 1 - lanes, drawn)
    _say(plot, notes)
    return plot


def _draw_blocks(plot: Any, drawn: Scene, names: list[str]) -> None:
    colours = palette.of_functions(names)
    kinds: dict[str, list[Block]] = {}
    for block in drawn.blocks:
        name = block.span.name
        kinds.setdefault(name if name in names[:_FUNCTIONS] else "others", []).append(block)
    cells = facts.cell_names()
    items = []
    for name in [*names[:_FUNCTIONS], "others"]:
        if name not in kinds:
            continue
        blocks = kinds[name]
        columns: dict[str, Any] = {
            "left": [b.begin - drawn.begin for b in blocks],
            "right": [b.end - drawn.begin for b in blocks],
            "edge": [palette.FAILED if b.failed else "#ffffff" for b in blocks],
            "edge_alpha": [1.0 if b.failed else 0.6 for b in blocks],
            "edge_width": [2 if b.failed else 0.7 for b in blocks],
            "alpha": [0.45 if b.span.state == "running" else 0.9 for b in blocks],
        }
        columns["bottom"], columns["top"] = _heights(blocks, drawn)
        texts = [facts.of_block(b, cells) for b in blocks]
        columns |= {f"f{i}": [t[i] for t in texts] for i in range(len(facts.LABELS))}
        columns["lane"] = [drawn.lanes[b.lane].label for b in blocks]
        made = plot.quad(
            left="left", right="right", top="top", bottom="bottom", source=columns,
            fill_color=colours.get(name, palette.OTHER), fill_alpha="alpha", line_color="edge",
            line_alpha="edge_alpha", line_width="edge_width",
        )  # fmt: skip
        items.append((_cut(name), [made]))
    hover = [renderer for _, (renderer,) in items]
    _draw_transfers(plot, drawn)
    failed = [b for b in drawn.blocks if b.failed]
    if failed:
        bottoms, tops = _heights(failed, drawn)
        marks = plot.scatter(
            x=[b.begin - drawn.begin for b in failed],
            y=[(a + b) / 2 for a, b in zip(bottoms, tops, strict=True)],
            marker="x", size=9, line_width=2.5, line_color=palette.FAILED,
        )  # fmt: skip
        items.append(("failed", [marks]))
    shown = [("worker", "@lane"), *((label, f"@f{i}") for i, label in enumerate(facts.LABELS))]
    plot.add_tools(
        models().HoverTool(renderers=hover, tooltips=tooltips(shown), description="Details")
    )
    legend_below(plot, items)


def _draw_transfers(plot: Any, drawn: Scene) -> None:
    """Hatch the parts of a task in which its arguments were read and its results stored."""
    least = (drawn.end - drawn.begin) / 400
    parts = []
    for block in drawn.blocks:
        span = block.span
        if block.count > 1:
            continue
        if span.reading > least:
            parts.append((span.start, span.start + span.reading, block))
        if span.storing > least:
            parts.append((span.end - span.storing, span.end, block))
    if parts:
        bottoms, tops = _heights([block for *_, block in parts], drawn)
        plot.quad(
            left=[a - drawn.begin for a, _, _ in parts],
            right=[b - drawn.begin for _, b, _ in parts],
            bottom=bottoms, top=tops, fill_color=None, line_color=None, hatch_pattern="/",
            hatch_color="#ffffff", hatch_alpha=0.8, hatch_scale=6,
        )  # fmt: skip


def _heights(blocks: list[Block], drawn: Scene) -> tuple[list[float], list[float]]:
    """Where each block begins and ends upwards: a process's rows share its lane."""
    bottoms, tops = [], []
    for block in blocks:
        height = 0.76 / drawn.rows[block.lane]
        top = -block.lane + 0.38 - block.row * height
        tops.append(top)
        bottoms.append(top - height * 0.94)
    return bottoms, tops


def _queue(steps: list[tuple[float, int]], drawn: Scene) -> list[tuple[float, float, int]]:
    """From, to (seconds since the first start) and how many tasks waited, in not too many steps."""
    if not steps or steps[-1][0] - steps[0][0] < 0.02 * (drawn.end - drawn.begin):
        return []  # nothing waited for long
    found = [
        (moment - drawn.begin, following[0] - drawn.begin, count)
        for (moment, count), following in itertools.pairwise(steps)
    ]
    least = (found[-1][1] - found[0][0]) / _QUEUE_STEPS
    merged: list[tuple[float, float, int]] = []
    for begin, end, count in found:
        if merged and merged[-1][1] - merged[-1][0] < least:
            before = merged.pop()
            begin, count = before[0], max(before[2], count)
        merged.append((begin, end, count))
    return [row for row in merged if row[2]]


def _draw_queue(plot: Any, queue: list[tuple[float, float, int]]) -> None:
    most = max(count for *_, count in queue)
    made = plot.quad(
        left="left", right="right", bottom=0.6, top="top", line_color=None,
        fill_color=palette.OTHER, fill_alpha=0.55,
        source={
            "left": [row[0] for row in queue],
            "right": [row[1] for row in queue],
            "top": [0.6 + 0.7 * row[2] / most for row in queue],
            "count": [f"{row[2]:,} of at most {most:,}" for row in queue],
        },
    )  # fmt: skip
    plot.add_tools(
        models().HoverTool(
            renderers=[made], tooltips=tooltips([(_QUEUE, "@count")]), visible=False,
            description="Queue",
        )
    )  # fmt: skip


def _draw_waits(plot: Any, waits: list[tuple[float, float, str]], y: int, drawn: Scene) -> None:
    """A lane for the program that submitted the tasks: where it waited for them."""
    made = plot.quad(
        left="left", right="right", bottom=y - 0.3, top=y + 0.3, line_color=None,
        fill_color=palette.OTHER, fill_alpha=0.35, hatch_pattern="\\", hatch_scale=8,
        hatch_color=palette.OTHER, hatch_alpha=0.9,
        source={
            "left": [begin - drawn.begin for begin, *_ in waits],
            "right": [end - drawn.begin for _, end, _ in waits],
            "what": [what for *_, what in waits],
            "took": [seconds(end - begin) for begin, end, _ in waits],
        },
    )  # fmt: skip
    plot.add_tools(
        models().HoverTool(
            renderers=[made], tooltips=tooltips([("your program waits", "@what"), ("for", "@took")]),
            visible=False, description="Waits",
        )
    )  # fmt: skip


def _say(plot: Any, notes: list[str]) -> None:
    """Sentences above the picture."""
    if notes:
        plot.add_layout(
            models().Title(
                text="\n".join(_cut(note, 120) for note in notes), text_font_size="11px", text_font_style="normal",
                text_color=palette.TEXT, name="note",
            ),
            "above",
        )  # fmt: skip
        title = plot.title
        plot.title = None
        plot.add_layout(title, "above")


def _cut(text: str, limit: int = 36) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
