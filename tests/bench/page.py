"""The bench as one self-contained page: a chart of ratios, and the table."""

from __future__ import annotations

import html
from typing import Any

from bokeh.embed import components
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    Span,
)
from bokeh.models.tickers import LogTicker
from bokeh.plotting import figure
from bokeh.resources import INLINE

from . import curves
from .results import show
from .rows import OWN

COLOURS = {
    "ray": "#2f6db5",
    "dask": "#d9822b",
    "futures": "#3f8f5b",
    "pool": "#8a5fb0",
    "raw": "#7a7a7a",
    "memcpy": "#12908e",
    "": "#222222",
}
NAMES = {"memcpy": "memcpy", "": "the goal's own figure"}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2rem auto;
       padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: right; }
th:first-child, td:first-child, td:last-child { text-align: left; }
td { white-space: nowrap; } td:first-child { white-space: normal; }
.own { font-weight: 600; } .yes { color: #23733f; } .no { color: #b3261e; } .later { color: #777; }
table.curve td:last-child { text-align: right; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; margin-bottom: 1rem; }
small { color: #666; }
"""

INTRODUCTION = """
<p>Each dot: how many times better Fanlight is than one peer, both measured in this run. Right of the
line at 1, Fanlight is ahead. A bar of the same colour is the goal against that peer. Black: goals that
are plain figures; the diamond shows how far above (right) or below (left) the goal Fanlight is.</p>
"""


def page(results: dict[str, Any]) -> str:
    """The whole page as HTML; it loads nothing from anywhere."""
    found = results.get("curves", [])
    plots = [curves.plot(curve, results["peers"], COLOURS) for curve in found if curve["points"]]
    script, drawn = components((chart(results), *plots))
    rows = f"{INTRODUCTION}{drawn[0]}{_table(results)}" if results["rows"] else ""
    scaling = ""
    if found:
        tables = "".join(curves.table(curve, results["peers"]) for curve in found)
        scaling = f"<h2>Scaling</h2><div class='curves'>{''.join(drawn[1:])}</div>{tables}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Fanlight bench</title><style>{STYLE}</style>{INLINE.render()}</head><body>"
        f"<h1>Fanlight beside its peers</h1>{rows}{scaling}{script}"
        "</body></html>\n"
    )


def chart(results: dict[str, Any]) -> Any:
    """Ratios on a log scale, one line per row, one colour per peer."""
    rows = [row for row in results["rows"] if "median" in row["values"].get(OWN, {})]
    titles = [row["title"] for row in rows]
    dots: dict[str, dict[str, list[Any]]] = {}
    marks: dict[str, dict[str, list[Any]]] = {}

    def add(to: dict[str, dict[str, list[Any]]], name: str, **fields: Any) -> None:
        source = to.setdefault(name, {key: [] for key in fields})
        for key, value in fields.items():
            source[key].append(value)

    for y, row in enumerate(rows):
        own = show(row["values"][OWN]["median"], row["unit"])
        for name, ratio in row["ratios"].items():
            other = row["values"].get(name, {}).get("median")
            theirs = show(other, row["unit"]) if other is not None else ""
            add(dots, name, x=ratio, y=y, row=row["title"], own=own, theirs=theirs)
        for goal in row["goals"]:
            if not goal["against"]:
                if goal["margin"] and not goal["later"]:
                    add(
                        dots,
                        "",
                        x=goal["margin"],
                        y=y,
                        row=row["title"],
                        own=own,
                        theirs=goal["text"],
                    )
                    add(marks, "", x=1.0, y=y, text=goal["text"])
            elif goal["against"] in row["ratios"]:
                add(marks, goal["against"], x=goal["factor"], y=y, text=goal["text"])
    spread = [x for source in (*dots.values(), *marks.values()) for x in source["x"]] or [1.0]
    figure_ = figure(
        height=130 + 42 * len(rows),
        sizing_mode="stretch_width",
        x_axis_type="log",
        x_range=Range1d(min(0.3, min(spread) / 1.5), max(10.0, max(spread) * 1.5)),
        y_range=Range1d(len(rows) - 0.4, -0.6),
        tools="save",
        x_axis_label="times better than the peer (log scale)",
        x_axis_location="above",
    )
    figure_.xaxis.ticker = LogTicker(num_minor_ticks=0)
    figure_.xaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    figure_.toolbar.logo = None
    figure_.yaxis.ticker = FixedTicker(ticks=list(range(len(rows))))
    figure_.yaxis.major_label_overrides = dict(enumerate(titles))
    figure_.ygrid.grid_line_color = "#eeeeee"
    figure_.outline_line_color = None
    figure_.add_layout(Span(location=1, dimension="height", line_color="#888888", line_width=2))
    for name, source in dots.items():
        peer = results["peers"].get(name, {}).get("title") or NAMES[name]
        drawn = figure_.scatter(
            "x",
            "y",
            source=ColumnDataSource(source),
            size=12,
            color=COLOURS[name],
            marker="diamond" if not name else "circle",
            alpha=0.9,
            legend_label=peer,
        )
        figure_.add_tools(
            HoverTool(
                renderers=[drawn],
                tooltips=[
                    ("", "@row"),
                    ("Fanlight", "@own"),
                    (peer, "@theirs"),
                    ("times better", "@x{0.00}"),
                ],
            )
        )
    for name, source in marks.items():
        peer = results["peers"].get(name, {}).get("title") or NAMES[name]
        figure_.scatter(
            "x",
            "y",
            source=ColumnDataSource(source),
            marker="dash",
            angle=1.5708,
            size=28,
            line_width=3,
            color=COLOURS[name],
            legend_label=peer,
        )
    if dots or marks:
        figure_.legend.location = "bottom_right"
        figure_.legend.click_policy = "hide"
        figure_.add_layout(figure_.legend[0], "below")
        figure_.legend.orientation = "horizontal"
    return figure_


def _table(results: dict[str, Any]) -> str:
    names = [name for name in results["peers"] if "note" not in results["peers"][name]]
    head = "".join(
        f"<th>{html.escape(results['peers'][n]['title'])}"
        f"<br><small>{html.escape(results['peers'][n]['version'])}</small></th>"
        for n in names
    )
    body = []
    for row in results["rows"]:
        cells = []
        for name in names:
            entry = row["values"].get(name, {})
            text = "failed" if "error" in entry else "–"
            if "median" in entry:
                text = show(entry["median"], row["unit"])
            if ratio := row["ratios"].get(name):
                text += f"<br><small>{show(ratio, '')}×</small>"
            note = html.escape(str(entry.get("error", "")), quote=True)
            cells.append(f'<td class="{"own" if name == OWN else ""}" title="{note}">{text}</td>')
        goals = "<br>".join(_goal(goal) for goal in row["goals"])
        body.append(
            f"<tr><td>{html.escape(row['title'])}</td>{''.join(cells)}<td>{goals}</td></tr>"
        )
    facts = results["machine"]
    about = (
        f"{facts['cores']} cores · {facts['memory_gib']} GiB · {facts['processor']} · "
        f"{facts['system']} · Python {facts['python']} · {results['settings']['cpus']} workers each · "
        f"median of {results['settings']['rounds']} round(s) · {results['when']}"
    )
    notes = [
        about,
        *(
            f"{p['title']} was left out: {p['note']}"
            for p in results["peers"].values()
            if "note" in p
        ),
    ]
    return f"<table><tr><th>what</th>{head}<th>goals</th></tr>{''.join(body)}</table>" + "".join(
        f"<p><small>{html.escape(note)}</small></p>" for note in notes
    )


def _goal(goal: dict[str, Any]) -> str:
    text = html.escape(goal["text"])
    if goal["later"]:
        return f'<span class="later">later {text}</span>'
    if goal["reached"] is None:
        return f"<span>{text}</span>"
    kind, mark = ("yes", "✓") if goal["reached"] else ("no", "✗")
    return f'<span class="{kind}">{mark} {text}</span>'
