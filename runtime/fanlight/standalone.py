"""The panel as scripts that need no JupyterLab: where they are, and how a page holds them.

They are built from the front end's sources beside the JupyterLab extension, and lie in the package
``fanlight_lab``, which is found without being imported. :func:`fanlight.panel` sends them to the
notebook; a page exported from a recording holds them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

NAMES = ("fanlight.js", "fanlight.css", "charts.js")


def folder() -> Path:
    """Where the files are. Raises FileNotFoundError where the front end has not been built."""
    spec = importlib.util.find_spec("fanlight_lab")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = Path(place, "standalone")
        if all((found / name).is_file() for name in NAMES):
            return found
    raise FileNotFoundError(
        "The panel's scripts are not there: they are built when Fanlight is installed. "
        "In a checkout, run: make install"
    )


@cache
def text(name: str) -> str:
    """One of :data:`NAMES`, as it was when it was first asked for."""
    return (folder() / name).read_text("utf-8")


def script() -> str:
    """A classic script that defines ``globalThis.FanlightStandalone``."""
    return text("fanlight.js")


def style() -> str:
    """The style sheet that goes with it."""
    return text("fanlight.css")


@cache
def build() -> str:
    """Differs between two builds that are not the same."""
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(text(name).encode())
    return digest.hexdigest()[:16]


@cache
def charts() -> bytes:
    """What :func:`script` loads on demand (the charts), compressed with gzip."""
    return gzip.compress(text("charts.js").encode(), 9, mtime=0)


def page(title: str, start: str, data: Any = None, *, blob: bytes = b"", lang: str = "en") -> str:
    """One HTML file with everything in it: the scripts, the charts, ``data`` and ``blob``.

    ``start`` names what draws it: a function given to ``FanlightStandalone.drawsPages``, which is
    called with the element to draw in and ``{data, blob}``: ``data`` as it was given (JSON),
    ``blob`` as a Uint8Array. The page loads nothing, and its policy says so.
    """
    policy = (
        "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; worker-src blob:"
    )
    return "\n".join(
        (
            "<!DOCTYPE html>",
            f'<html lang="{html.escape(lang)}"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{_within(style(), 'style')}</style></head>",
            '<body class="fl-Page"><div id="fanlight-host"></div>',
            _held("fanlight-data", _json(data)),
            _held("fanlight-blob", base64.b64encode(blob).decode()),
            _held("fanlight-charts", base64.b64encode(charts()).decode()),
            f"<script>{_within(script(), 'script')}</script>",
            f"<script>FanlightStandalone.open({_json(start)})</script>",
            "</body></html>\n",
        )
    )


def _held(name: str, content: str) -> str:
    return f'<script type="text/plain" id="{name}">{content}</script>'


def _json(value: Any) -> str:
    """JSON that can stand in a script element, whatever it holds."""
    made = json.dumps(value, ensure_ascii=True)
    return made.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _within(source: str, element: str) -> str:
    """A script or a style sheet that cannot end its own element."""
    # In strings, templates and regular expressions of scripts; in strings of style sheets.
    escaped = "\\\\3c " if element == "style" else "\\\\x3c"
    return re.sub(rf"<(?=/{element}|!--|script)", escaped, source, flags=re.IGNORECASE)
