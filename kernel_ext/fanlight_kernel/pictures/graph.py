"""The task graph as a Bokeh figure, and as plain HTML."""

from __future__ import annotations

import base64
import html
from typing import Any

from fanlight.words import size
from fanlight_kernel.pictures import facts, palette
from fanlight_kernel.pictures.static import legend, page
from fanlight_kernel.pictures.style import bare_figure, legend_below, models, tooltips

_WIDE = 8  # nodes beside each other that have room for their names
_EDGES_NAMED = 30
_HALF = 0.42, 0.28  # of a node's width and height
_STATIC = 400  # nodes in plain HTML
_WIDTH = 1_000  # pixels of it


def figure(graph: Any, **options: Any) -> Any:
    """A ``bokeh.plotting.figure`` of a ``fanlight.task_graph.Graph``."""
    layout = graph.layout
    wide, high = max(layout.width, 1.0), max(layout.height, 1.0)
    plot = bare_figure(
        {
            "height": int(max(180, min(120 + 72 * high, 640))),
            "x_range": (min(-0.6, wide / 2 - 3.0), max(wide - 0.4, wide / 2 + 2.0)),
            "y_range": (-(high - 0.4), 0.6),
            "title": f"Task graph: {graph.headline()}",
        }
        | options,
        zoom="both",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    _draw_edges(plot, graph)
    _draw_nodes(plot, graph)
    if graph.note:
        plot.add_layout(
            models().Title(
                text=graph.note, text_font_size="11px", text_font_style="normal",
                text_color=palette.TEXT,
            ),
            "below",
        )  # fmt: skip
    return plot


def _place(graph: Any, i: int) -> tuple[float, float]:
    x, y = graph.layout.places[i]
    return x, -y


def _path(graph: Any, edge: Any) -> tuple[list[float], list[float]]:
    """From the bottom of the source to the top of the target; a loop stands at the right."""
    (x0, y0), (x1, y1) = _place(graph, edge.source), _place(graph, edge.target)
    across, up = _HALF
    if edge.source == edge.target:
        right = x0 + across
        return (
            [right, right + 0.13, right + 0.13, right],
            [y0 + up * 0.6, y0 + up * 0.6, y0 - up * 0.6, y0 - up * 0.6],
        )
    if y0 > y1:
        begin, end = y0 - up, y1 + up
        middle = (begin + end) / 2
        steps = [i / 8 for i in range(9)]
        # A curve that leaves and arrives upright.
        ease = [t * t * (3 - 2 * t) for t in steps]
        return [x0 + (x1 - x0) * e for e in ease], [
            begin + (end - begin) * t if abs(end - begin) > 1e-9 else middle for t in steps
        ]
    return [x0, x1], [y0, y1]


def _draw_edges(plot: Any, graph: Any) -> None:
    if not graph.edges:
        return
    largest = max((edge.size or 0) for edge in graph.edges) or 1
    most = max(edge.count for edge in graph.edges)
    paths = [_path(graph, edge) for edge in graph.edges]

    def width(edge: Any) -> float:
        share = edge.size / largest if edge.size else 0.0
        return 1.2 + 3.8 * max(share, 0.5 * edge.count / most if most > 1 else 0.0)

    lines = plot.multi_line(
        xs="xs", ys="ys", line_width="width", line_alpha=0.6, line_dash="dash",
        line_color=palette.TEXT,
        source={
            "xs": [xs for xs, _ in paths],
            "ys": [ys for _, ys in paths],
            "width": [width(edge) for edge in graph.edges],
            "dash": ["dashed" if edge.kind == "spawn" else "solid" for edge in graph.edges],
            "what": [_edge_text(graph, edge) for edge in graph.edges],
        },
    )  # fmt: skip
    heads = [
        (xs[-1], ys[-1]) for edge, (xs, ys) in zip(graph.edges, paths, strict=True)
        if edge.source != edge.target
    ]  # fmt: skip
    if heads and graph.layout.width <= 3 * _WIDE:
        plot.scatter(
            x=[x for x, _ in heads], y=[y + 0.03 for _, y in heads], marker="inverted_triangle",
            size=7, fill_color=palette.TEXT, line_color=None,
        )  # fmt: skip
    plot.add_tools(
        models().HoverTool(
            renderers=[lines], tooltips=tooltips([("passes", "@what")]), line_policy="interp",
            description="Edges", visible=False,
        )
    )  # fmt: skip
    if len(graph.edges) <= _EDGES_NAMED and graph.layout.width <= _WIDE:
        names = [
            (
                sum(xs) / len(xs),
                sum(ys) / len(ys),
                size(edge.size) if edge.size else str(edge.count),
            )
            for edge, (xs, ys) in zip(graph.edges, paths, strict=True)
            if edge.size or edge.count > 1
        ]
        plot.text(
            x=[x + 0.03 for x, *_ in names], y=[y for _, y, _ in names],
            text=[text for *_, text in names], text_font_size="10px", text_color=palette.TEXT,
            text_baseline="middle",
        )  # fmt: skip


def _edge_text(graph: Any, edge: Any) -> str:
    source, target = graph.nodes[edge.source].name, graph.nodes[edge.target].name
    return f"{edge.text} from {source} to {target}"


def _facts(node: Any, cells: dict[str, str]) -> str:
    parts = [f"{key}: {value}" for key, value in node.facts.items() if key != "id"]
    return "\n".join(
        [
            f"{node.mark} {node.name} {node.progress}".rstrip(),
            *([f"cell: {facts.cell_name(node.cell, cells)}"] if node.cell else []),
            *parts,
            *([f"id: {node.facts['id']}"] if "id" in node.facts else []),
        ]
    )


def _draw_nodes(plot: Any, graph: Any) -> None:
    bokeh = models()
    cells = facts.cell_names()
    named = graph.layout.width <= _WIDE
    items, drawn = [], []
    states = sorted({node.state for node in graph.nodes}, key=list(palette.STATES).index)
    for word in dict.fromkeys(palette.WORDS[state] for state in states):
        chosen = [i for i, n in enumerate(graph.nodes) if palette.WORDS[n.state] == word]
        nodes = [graph.nodes[i] for i in chosen]
        places = [_place(graph, i) for i in chosen]
        source = bokeh.ColumnDataSource(
            {
                "x": [x for x, _ in places],
                "y": [y for _, y in places],
                "name": [n.name for n in nodes],
                "state": [f"{n.mark} {palette.WORDS[n.state]}" for n in nodes],
                "cell": [facts.cell_name(n.cell, cells) for n in nodes],
                "said": ["; ".join(f"{k} {v}" for k, v in n.facts.items() if k not in ("state", "id"))
                         or "–" for n in nodes],
                "details": [_facts(n, cells) for n in nodes],
            }
        )  # fmt: skip
        colour = palette.STATES[nodes[0].state]
        made = plot.rect(
            x="x", y="y", width=2 * _HALF[0], height=2 * _HALF[1], source=source,
            fill_color=colour, fill_alpha=0.25, line_color=colour, line_width=2, border_radius=4,
            nonselection_fill_alpha=0.25, nonselection_line_alpha=1.0, selection_line_width=4,
        )  # fmt: skip
        drawn.append(made)
        items.append((word, [made]))
    _draw_progress(plot, graph)
    plot.add_tools(
        bokeh.HoverTool(
            renderers=drawn, description="Details",
            tooltips=tooltips(
                [("function", "@name"), ("state", "@state"), ("cell", "@cell"), ("", "@said")]
            ),
        ),
        bokeh.TapTool(renderers=drawn),
    )  # fmt: skip
    if named:
        places = [_place(graph, i) for i in range(len(graph.nodes))]
        plot.text(
            x=[x for x, _ in places], y=[y for _, y in places], text_align="center",
            text=[_label(node) for node in graph.nodes], text_baseline="middle",
            text_font_size="11px", text_color=palette.TEXT,
        )  # fmt: skip
    legend_below(plot, items)


def _label(node: Any) -> str:
    name = node.name if len(node.name) <= 16 else node.name[:15] + "…"
    return f"{node.mark} {name}" + (f"\n{node.progress}" if node.progress else "")


def _draw_progress(plot: Any, graph: Any) -> None:
    """How much of a function's work is done, as a bar at the foot of its node."""
    rows = [(i, n) for i, n in enumerate(graph.nodes) if n.kind == "function" and n.count]
    if rows:
        places = [_place(graph, i) for i, _ in rows]
        left = [x - _HALF[0] for x, _ in places]
        plot.quad(
            left=left,
            right=[x + 2 * _HALF[0] * n.done / n.count for x, (_, n) in zip(left, rows, strict=True)],
            bottom=[y - _HALF[1] for _, y in places],
            top=[y - _HALF[1] + 0.08 for _, y in places],
            fill_color=[
                palette.FAILED if n.state == "FAILED" else palette.STATES["FINISHED"]
                for _, n in rows
            ],
            line_color=None,
        )  # fmt: skip


# --- as plain HTML -------------------------------------------------------------------------------


def static(graph: Any) -> str:
    """Boxes with their names over lines, which are an image: so untrusted notebooks show them too."""
    if len(graph.nodes) > _STATIC or not graph.nodes:
        return page(f"Task graph: {graph.headline()}", "", [graph.note] if graph.note else [])
    layout = graph.layout
    step = max(min(_WIDTH / max(layout.width, 1.0), 150.0), 30.0)
    tall = 58.0 if step > 60 else 40.0
    width, height = step * max(layout.width, 1.0) + 20, tall * max(layout.height, 1.0)
    cells = facts.cell_names()
    boxes = []
    for i, node in enumerate(graph.nodes):
        x, y = _place(graph, i)
        left, top = (x + 0.5 - _HALF[0]) * step, (-y + 0.5 - _HALF[1]) * tall
        text = html.escape(_label(node)).replace("\n", "<br>") if step > 60 else node.mark
        title = html.escape(_facts(node, cells), quote=True)
        boxes.append(
            f'<div title="{title}" style="position:absolute;left:{left:.1f}px;top:{top:.1f}px;'
            f"width:{2 * _HALF[0] * step:.1f}px;height:{2 * _HALF[1] * tall:.1f}px;"
            f"border:2px solid {palette.STATES[node.state]};box-sizing:border-box;"
            "border-radius:4px;text-align:center;overflow:hidden;white-space:nowrap;"
            f'font-size:11px;line-height:{14 if "<br>" in text else 27}px">{text}</div>'
        )
    picture = base64.b64encode(_lines(graph, step, tall, width, height).encode()).decode()
    image = (
        f'<img alt="" src="data:image/svg+xml;base64,{picture}" style="position:absolute;left:0px;'
        f'top:0px;width:{width:.0f}px;height:{height:.0f}px;max-width:none;margin:0px">'
    )
    words = dict.fromkeys((palette.WORDS[n.state], palette.STATES[n.state]) for n in graph.nodes)
    body = (
        '<div style="overflow-x:auto"><div style="position:relative;'
        f'width:{width:.0f}px;height:{height:.0f}px">{image}{"".join(boxes)}</div></div>'
    )
    notes = [graph.note] if graph.note else []
    return page(f"Task graph: {graph.headline()}", body + legend(words), notes)


def _lines(graph: Any, step: float, tall: float, width: float, height: float) -> str:
    """An SVG of the edges: in a grey that shows on white and on black, since no theme reaches it."""
    paths = []
    for edge in graph.edges:
        xs, ys = _path(graph, edge)
        points = " ".join(
            f"{(x + 0.5) * step:.1f},{(-y + 0.5) * tall:.1f}" for x, y in zip(xs, ys, strict=True)
        )
        dash = ' stroke-dasharray="4 3"' if edge.kind == "spawn" else ""
        paths.append(f'<polyline points="{points}"{dash}/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">'
        f'<g fill="none" stroke="{palette.TEXT}" stroke-width="1.3">{"".join(paths)}</g></svg>'
    )
