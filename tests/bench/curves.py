"""The scaling plots: a rate against something that grows, one line per peer, and their tables."""

from __future__ import annotations

import html
import math
from typing import Any

from bokeh.models import ColumnDataSource, FixedTicker, HoverTool
from bokeh.plotting import figure

from .results import show
from .rows import OWN

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def amount(x: float, of: str) -> str:
    """A point's x as people read it.

    >>> amount(65536, "bytes"), amount(1000, "tasks")
    ('64 KiB', '1,000')
    """
    if of == "bytes":
        for size, unit in _UNITS:
            if x >= size:
                return f"{x / size:g} {unit}"
    return f"{x:,.0f}"


def rate(y: float, unit: str) -> str:
    """A point's y as people read it.

    >>> rate(0.00291, "GB/s"), rate(184.0, "/s")
    ('2.91 MB/s', '184/s')
    """
    if unit == "GB/s" and y < 0.1:
        return show(y * 1e3, "MB/s")
    return show(float(y), unit)


def ticks(values: list[float]) -> list[float]:
    """Where a log axis over these values has its marks: decades, or 1, 2, 5 where they are few.

    >>> ticks([130.0, 1600.0]), ticks([0.5, 80000.0])
    ([100.0, 200.0, 500.0, 1000.0, 2000.0], [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0])
    """
    if not values:
        return [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    decades = [10.0**k for k in range(low, high + 1)]
    if len(decades) > 4:
        return decades
    marks = [step * decade for decade in decades for step in (1, 2, 5)]
    above = min((i for i, y in enumerate(marks) if y >= max(values)), default=len(marks) - 1)
    below = max((i for i, y in enumerate(marks) if y <= min(values)), default=0)
    return marks[below : above + 1]


def plot(curve: dict[str, Any], peers: dict[str, Any], colours: dict[str, str]) -> Any:
    """One curve on two log scales. Fanlight's line is black and thicker than the others."""
    xs = sorted({x for points in curve["points"].values() for x, _ in points})
    drawing = figure(
        height=380,
        width=560,
        x_axis_type="log",
        y_axis_type="log",
        title=curve["title"],
        x_axis_label=curve["x"],
        y_axis_label=curve["y"],
        tools="save",
    )
    drawing.toolbar.logo = None
    drawing.outline_line_color = None
    drawing.xaxis.ticker = FixedTicker(ticks=xs)
    drawing.xaxis.major_label_overrides = {x: amount(x, curve["x"]) for x in xs}
    if len(xs) > 5:
        drawing.xaxis.major_label_orientation = 0.6
    ys = [y for points in (*curve["points"].values(), curve["ideal"]) for _, y in points if y > 0]
    marks = ticks(ys)
    drawing.yaxis.ticker = FixedTicker(ticks=marks)
    drawing.yaxis.major_label_overrides = {y: rate(y, curve["unit"]) for y in marks}
    drawing.grid.grid_line_color = "#eeeeee"
    if curve["ideal"]:
        drawing.line(
            *zip(*curve["ideal"], strict=True),
            line_dash="dashed",
            line_color="#888888",
            legend_label="what the naps allow",
        )
    for name, points in curve["points"].items():
        own = name == OWN
        title = peers[name]["title"]
        source = ColumnDataSource(
            {
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
                "at": [amount(x, curve["x"]) for x, _ in points],
                "rate": [rate(y, curve["unit"]) for _, y in points],
            }
        )
        style = {
            "color": "#111111" if own else colours[name],
            "level": "overlay" if own else "glyph",
            "legend_label": title,
        }
        drawing.line("x", "y", source=source, line_width=3 if own else 1.5, **style)
        dots = drawing.scatter("x", "y", source=source, size=8 if own else 6, **style)
        tips = [("", title), (curve["x"], "@at"), (curve["y"], "@rate")]
        drawing.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    if curve["points"]:
        drawing.legend.click_policy = "hide"
        drawing.legend.label_text_font_size = "11px"
        drawing.legend.background_fill_alpha = 0.6
        drawing.add_layout(drawing.legend[0], "below")
        drawing.legend.ncols = 3
    return drawing


def cells(curve: dict[str, Any], peers: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of a curve's table: Fanlight's figure, and each peer's with the ratio."""
    by_peer = {name: dict(map(tuple, points)) for name, points in curve["points"].items()}
    names = [name for name in peers if name in by_peer]
    xs = sorted({x for points in by_peer.values() for x in points})
    lines = []
    for x in xs:
        own = by_peer.get(OWN, {}).get(x)
        line = [amount(x, curve["x"])]
        for name in names:
            y = by_peer[name].get(x)
            text = "–" if y is None else rate(y, curve["unit"])
            if y and own and name != OWN:
                text += f" ({show(own / y, '')}×)"
            line.append(text)
        lines.append(line)
    return [curve["x"], *(peers[name]["title"] for name in names)], lines


def markdown(results: dict[str, Any]) -> str:
    """A table for each curve, to follow the one of the rows."""
    parts = []
    for curve in results.get("curves", []):
        head, lines = cells(curve, results["peers"])
        parts += [f"\n{curve['title']}:\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        parts += [f"| {' | '.join(line)} |" for line in lines]
        parts += [
            f"{results['peers'][name]['title']}: {error}."
            for name, error in curve["errors"].items()
        ]
    return "\n".join(parts) + "\n" if parts else ""


def table(curve: dict[str, Any], peers: dict[str, Any]) -> str:
    """The same as HTML."""
    head, lines = cells(curve, peers)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>"
        for line in lines
    )
    heads = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    errors = "".join(
        f"<p><small>{html.escape(peers[name]['title'])}: {html.escape(error)}</small></p>"
        for name, error in curve["errors"].items()
    )
    return f"<h3>{html.escape(curve['title'])}</h3><table class='curve'><tr>{heads}</tr>{rows}</table>{errors}"
