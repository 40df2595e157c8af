"""``fanlight.panel()``: the whole panel as a widget, for VS Code, remote kernels and wide outputs.

What the Jupyter server does for the sidebar is done here by the kernel: the same
:class:`fanlight_lab.follow.Follower` serves each page that shows the widget, on an event loop in a
thread of its own (:mod:`fanlight_kernel.widgets.panel_link`). Its bytes go out on the widget's comm,
which only ever pushes; what a page says comes in on a comm of its own, which JupyterLab puts on a
subshell, so that the panel lives while the kernel is busy.

The display holds HTML and text, too: what the runtime was like at that moment. A saved notebook shows
them; so does the same notebook after the kernel has ended.
"""

from __future__ import annotations

import contextlib
import html
import json
import sys
import uuid
from typing import Any

from fanlight import standalone
from fanlight_kernel.widgets import render, widget
from fanlight_kernel.widgets.panel_link import Idleness, Link

TARGET = "fanlight.panel"
MIN_HEIGHT, MAX_HEIGHT = 200, 4000  # pixels
_classes: list[Any] = []
_links: dict[str, Link] = {}  # by the widget's channel
_known: set[int] = set()  # comm managers that have our target


class Panel:
    """What :func:`fanlight.panel` returns: shows itself when it is a cell's last line.

    ``close()`` ends the traffic and leaves what was shown last; so does the end of the kernel.
    """

    def __init__(self, height: int = 560) -> None:
        if isinstance(height, bool) or not isinstance(height, int):
            raise TypeError(f"height is a number of pixels, not {type(height).__name__}")
        if not MIN_HEIGHT <= height <= MAX_HEIGHT:
            raise ValueError(f"height is {MIN_HEIGHT} to {MAX_HEIGHT} pixels, not {height}")
        self.height = height
        self._link: Link | None = None
        self._widget: Any = None
        self._display_id = uuid.uuid4().hex

    def __repr__(self) -> str:
        return str(_moment()["text/plain"])

    def _ipython_display_(self) -> None:
        """Called by IPython, also when the same panel is shown again: the new place is live."""
        self.close()
        shell, kernel = _shell(), getattr(_shell(), "kernel", None)
        if kernel is None:
            print(repr(self))  # a terminal
            return
        try:
            made = _widget_class()(height=self.height, channel=uuid.uuid4().hex)
        except ImportError:
            _display({**_moment(), **_note("For the panel: pip install anywidget")}, {}, "")
            return
        except FileNotFoundError as error:
            _display(_note(str(error)), {}, "")
            return
        self._display_id = uuid.uuid4().hex
        self._widget = made
        link = Link(made.send, Idleness(shell), self._ended)
        self._link = _links[made.channel] = link
        _listen(kernel.comm_manager)
        made.on_msg(lambda _w, content, _b: link.receive(content))
        bundle = made._repr_mimebundle_()
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        _display({**data, **render.stand_in(_moment())}, widget.mark(), self._display_id)
        link.open()

    def close(self) -> None:
        """End it: nothing is watched or sent any more, and the figures of this moment stay."""
        link, self._link = self._link, None
        if link is None:
            return
        made, self._widget = self._widget, None
        _links.pop(made.channel, None)
        link.close()
        with contextlib.suppress(Exception):  # the front end may be gone already
            _display(render.stand_in(_moment()), {}, self._display_id, update=True)
        made.close()

    def _ended(self) -> None:
        """The kernel ends."""
        self.close()


def _shell() -> Any:
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _display(data: dict[str, Any], metadata: dict[str, Any], where: str, **more: Any) -> None:
    from IPython.display import display

    display(data, raw=True, metadata=metadata, display_id=where or None, **more)


def _note(text: str) -> dict[str, Any]:
    return render.note(text)


def _moment() -> dict[str, Any]:
    """The runtime at this moment, as text and HTML."""
    import fanlight

    found = fanlight.status()
    return {
        "text/plain": f"Fanlight's panel.\n{found!r}",
        "text/html": f"<div>{found._repr_html_()}</div>",
    }


def _listen(manager: Any) -> None:
    """Take what pages say on comms of their own. Once for each kernel."""
    if id(manager) in _known:
        return
    _known.add(id(manager))

    def said(message: dict[str, Any]) -> None:
        content = message["content"].get("data")
        link = _links.get(str(content.get("to"))) if isinstance(content, dict) else None
        if link is not None:
            link.receive(content)

    def opened(comm: Any, message: dict[str, Any]) -> None:
        # Nothing is ever sent on this comm: that would tie it to the main thread.
        comm.on_msg(said)
        said(message)

    manager.register_target(TARGET, opened)


def _widget_class() -> Any:
    if not _classes:
        import anywidget
        import traitlets

        class FanlightPanel(anywidget.AnyWidget):
            """The panel's scripts, and the two ways of its messages."""

            _esm = _module()
            channel = traitlets.Unicode().tag(sync=True)  # what pages call it on their comms
            height = traitlets.Int().tag(sync=True)
            target = traitlets.Unicode(TARGET).tag(sync=True)

        _classes.append(FanlightPanel)
    return _classes[0]


def _module() -> str:
    """The bundle as a module. A page runs it once, however many panels it shows."""
    build = html.escape(standalone.build())
    return (
        f"if (globalThis.FanlightStandalone?.build !== '{build}') {{\n{standalone.script()}\n"
        f"globalThis.FanlightStandalone.build = '{build}';\n"
        f"globalThis.FanlightStandalone.style = {json.dumps(standalone.style())};\n}}\n"
        "export default globalThis.FanlightStandalone.widget;\n"
    )
