"""What all Bokeh figures here have in common: no backgrounds, tools, texts that follow the theme.

Texts and lines have a grey that is legible on white and on black; the JupyterLab extension, and the
page that ``to_html`` writes, set BokehJS's ``--bk-*`` variables to better ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from fanlight_kernel.pictures import palette


def models() -> Any:
    """``bokeh.models``, whose types a checker does not see through."""
    return import_module("bokeh.models")


def bokeh_plotting() -> Any:
    return import_module("bokeh.plotting")


def bare_figure(options: dict[str, Any], zoom: str) -> Any:
    """A figure with tools for zooming (``zoom``: "width" or "both") and nothing drawn yet."""
    bokeh = models()

    wheel = bokeh.WheelZoomTool(dimensions=zoom, modifiers={"ctrl": True})
    drag = bokeh.BoxZoomTool(dimensions=zoom)
    tools = [
        drag, bokeh.PanTool(dimensions=zoom), wheel, bokeh.ZoomInTool(dimensions=zoom),
        bokeh.ZoomOutTool(dimensions=zoom), bokeh.ResetTool(), bokeh.SaveTool(),
    ]  # fmt: skip
    plot: Any = bokeh_plotting().figure(
        **({
            "tools": tools, "active_drag": drag, "active_scroll": wheel,
            "sizing_mode": "stretch_width", "toolbar_location": "above",
            "background_fill_color": None, "border_fill_color": None, "outline_line_color": None,
        } | options),
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.min_border_left = 8
    for axis in plot.axis:
        axis.update(
            axis_line_color=palette.FAINT, major_tick_line_color=palette.FAINT,
            minor_tick_line_color=None, major_label_text_color=palette.TEXT,
            axis_label_text_color=palette.TEXT, axis_label_text_font_style="normal",
            axis_label_text_font_size="11px", major_label_text_font_size="11px",
        )  # fmt: skip
    plot.grid.grid_line_color = palette.FAINT
    if plot.title is not None:
        plot.title.update(
            text_color=palette.TEXT, text_font_size="13px", text_font_style="bold", name="title"
        )
    return plot


def tooltips(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Labels with columns; BokehJS writes such values as text, whatever is in them."""
    return list(rows)


def legend_below(plot: Any, items: list[tuple[str, list[Any]]]) -> None:
    """A legend under the plot; a click on a name hides what it names."""
    if not items:
        return
    widest = max(len(name) for name, _ in items)
    legend = models().Legend(
        items=items, orientation="horizontal", ncols=max(1, min(len(items), 110 // (widest + 5))),
        click_policy="hide", background_fill_color=None, border_line_color=None,
        inactive_fill_color="#808080", inactive_fill_alpha=0.4, label_text_color=palette.TEXT,
        label_text_font_size="11px", padding=2, margin=4, location="top_left",
    )  # fmt: skip
    plot.add_layout(legend, "below")
