"""Monitors and cards as widgets, and the way back from the cancel button.

Two comms, because ipykernel handles messages of a comm that was also pushed from another thread on
the main thread, and so after the running cell: the widget's own comm only ever carries state from
here to the browser; the button opens a comm of its own to :data:`TARGET`, which the front end runs
on a subshell, so that it arrives while the kernel is busy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fanlight_kernel.widgets import render

TARGET = "fanlight.uplink"
_STATIC = Path(__file__).parent / "static"
_classes: dict[str, Any] = {}


def _class(kind: str) -> Any:
    """The widget class of a kind: "monitor" (rows, a cancel button) or "card"."""
    if kind not in _classes:
        import anywidget
        import traitlets

        name = {"monitor": "monitor", "card": "live"}[kind]

        class LiveState(anywidget.AnyWidget):
            """A state made in Python, drawn in the notebook."""

            _esm = (_STATIC / f"{name}.js").read_text(encoding="utf-8")
            _css = (_STATIC / f"{name}.css").read_text(encoding="utf-8")
            state = traitlets.Dict().tag(sync=True)
            origin = traitlets.Unicode().tag(sync=True)
            target = traitlets.Unicode(TARGET).tag(sync=True)

        LiveState.__name__ = LiveState.__qualname__ = {"monitor": "CellMonitor", "card": "Card"}[
            kind
        ]
        _classes[kind] = LiveState
    return _classes[kind]


class WidgetView:
    """A live widget. Made and pushed on any thread, by one at a time."""

    def __init__(
        self, kind: str, origin: str, state: dict[str, Any], cancel: Callable[[str], None]
    ) -> None:
        self.widget = _class(kind)(state=state, origin=origin)
        # Front ends without a way to the kernel itself answer on the widget's comm.
        self.widget.on_msg(lambda _w, content, _b: _uplink(content, cancel))

    def bundle(self, state: dict[str, Any]) -> dict[str, Any]:
        """The MIME bundle to display: the widget, with text and HTML for where none can run."""
        made = self.widget._repr_mimebundle_()
        data = dict(made[0] if isinstance(made, tuple) else made or {})
        return {**data, **render.stand_in(_fallback(state))}

    def push(self, state: dict[str, Any]) -> dict[str, Any] | None:
        self.widget.state = state
        return None

    def close(self) -> None:
        self.widget.close()


class HtmlView:
    """The same without anywidget: HTML that is replaced in place. It has no cancel button."""

    def bundle(self, state: dict[str, Any]) -> dict[str, Any]:
        return _fallback(state)

    def push(self, state: dict[str, Any]) -> dict[str, Any] | None:
        return _fallback(state)

    def close(self) -> None:
        """Nothing is held."""


def _fallback(state: dict[str, Any]) -> dict[str, Any]:
    if "rows" in state:
        return render.live(state)
    from fanlight_kernel.widgets.cards import Card

    return Card(**state).bundle()


def make_view(kind: str, origin: str, state: dict[str, Any], cancel: Callable[[str], None]) -> Any:
    """The best view that can be had here."""
    try:
        return WidgetView(kind, origin, state, cancel)
    except ImportError:
        return HtmlView()


def _uplink(content: Any, cancel: Callable[[str], None]) -> None:
    if isinstance(content, dict) and content.get("type") == "cancel":
        cancel(str(content.get("origin", "")))


def mark() -> dict[str, Any]:
    """The metadata of a display that is live as long as this kernel is. The JupyterLab extension
    puts the display's HTML in the widget's place where the kernel is gone."""
    from fanlight import session

    kernel = session.kernel_id()
    return {"fanlight": {"kernel": kernel}} if kernel else {}


def register_uplink(shell: Any, cancel: Callable[[str], None]) -> Callable[[], None]:
    """Listen for the cancel button; returns what undoes it. Handlers run on a subshell's thread."""
    kernel = getattr(shell, "kernel", None)
    manager = getattr(kernel, "comm_manager", None)
    if manager is None:
        return lambda: None

    def opened(comm: Any, message: dict[str, Any]) -> None:
        # Nothing is ever sent on this comm: that would tie it to the main thread.
        comm.on_msg(lambda m: _uplink(m["content"].get("data"), cancel))
        _uplink(message["content"].get("data"), cancel)

    manager.register_target(TARGET, opened)
    return lambda: manager.unregister_target(TARGET, opened)
