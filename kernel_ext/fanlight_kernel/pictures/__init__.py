"""Pictures of runs, drawn with Bokeh: what ``fanlight.timeline()`` and ``fanlight.graph()`` show.

The runtime loads this package when a picture is wanted. In JupyterLab and Notebook the extension
draws :data:`MIME`, which holds a Bokeh document and no code, with the BokehJS that it brings; so
notebooks stay small, need no network, and show the picture again without a kernel. Everywhere else
there is plain HTML in the same bundle.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MIME = "application/vnd.fanlight.picture+json"


def bundle(shown: Any) -> dict[str, Any]:
    """MIME bundle of a ``Timeline`` or ``Graph``, beside its text."""
    from fanlight_kernel.pictures import static

    if not hasattr(shown, "spans"):
        from fanlight_kernel.pictures import graph

        found: dict[str, Any] = {"text/html": graph.static(shown)}
        if shown.nodes:
            found[MIME] = document(graph.figure(shown))
        return found
    rich: dict[str, Any] = {"text/html": static.timeline(shown)}
    if len(shown.spans):
        rich[MIME] = document(timeline_figure(shown))
    return rich


def timeline_figure(timeline: Any, **options: Any) -> Any:
    from fanlight_kernel.pictures.timeline import figure

    return figure(timeline, **options)


def graph_figure(graph: Any, **options: Any) -> Any:
    from fanlight_kernel.pictures.graph import figure

    return figure(graph, **options)


def document(figure: Any) -> dict[str, Any]:
    """A figure for the extension's renderer.

    The document is JSON in a string: saving a notebook sorts the keys of what is no string, and
    BokehJS needs them in their order.
    """
    from bokeh.document import Document

    made = Document()
    made.add_root(figure)
    text = json.dumps(made.to_json(deferred=False), separators=(",", ":"))
    return {"document": text, "height": figure.height}


def write_page(shown: Any, filename: str | os.PathLike[str]) -> None:
    """A page with the picture that works by itself, BokehJS included."""
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    figure = timeline_figure(shown) if hasattr(shown, "spans") else graph_figure(shown)
    text = file_html(figure, INLINE, title=shown.headline())
    Path(filename).write_text(text.replace("</head>", f"{_STYLE}</head>", 1), encoding="utf-8")


def _colours(text: str, faint: str) -> str:
    texts = ("major-label", "axis-label", "label")
    return "".join(f"--bk-{name}-text-color:{text};" for name in texts) + (
        f"--bk-text-color:{text};--bk-grid-line-color:{faint};--bk-axis-line-color:{faint};"
        f"--bk-major-tick-line-color:{faint};"
    )


_STYLE = (
    '<meta name="color-scheme" content="light dark"><style>'
    "html,body{background:#fff;color-scheme:light;margin:8px}"
    f"body{{{_colours('#333', '#0002')}}}"
    "@media (prefers-color-scheme:dark){html,body{background:#121212;color-scheme:dark}"
    f"body{{{_colours('#ddd', '#fff2')}}}}}</style>"
)
