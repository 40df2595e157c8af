"""Rich display in a worker: an IPython shell that publishes to the notebook.

Made on first need only (importing IPython takes a tenth of a second), and never in a process that
already has a shell, such as the notebook's own with the in-process engine.
"""

from __future__ import annotations

import builtins
import functools
import html
import re
import sys
from typing import Any

_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_HINTS = re.compile(
    r"\b(display|get_ipython|IPython|matplotlib|pyplot|plt|pylab|seaborn|sns|plotly|altair|bokeh"
    r"|ipywidgets|tqdm)\b"
)


def wants_shell(text: str) -> bool:
    """Whether source text or module names look as if they would talk to a notebook."""
    return _HINTS.search(text) is not None


def ensure_shell(user_ns: dict[str, Any]) -> Any | None:
    """The process's IPython shell, made if need be; ``None`` without IPython."""
    try:
        from IPython.core.interactiveshell import InteractiveShell
    except ImportError:
        return None
    if InteractiveShell.initialized():
        shell = InteractiveShell.instance()
        if getattr(shell, "_fanlight_worker", False):
            shell.user_ns = user_ns
        return shell
    return _make_shell(InteractiveShell, user_ns)


def _make_shell(base: Any, user_ns: dict[str, Any]) -> Any:
    from IPython.core.displaypub import DisplayPublisher
    from traitlets import Type
    from traitlets.config import Config

    class WorkerPublisher(DisplayPublisher):
        """Sends what is displayed to the cell whose work this is."""

        def publish(
            self,
            data: dict[str, Any],
            metadata: dict[str, Any] | None = None,
            source: Any = None,
            *,
            transient: dict[str, Any] | None = None,
            update: bool = False,
            **_: Any,
        ) -> None:
            from fanlight import session

            more: dict[str, Any] = dict(transient or {})
            if update:
                more["update"] = True
            session.publish_display(*portable(data, metadata), more)

        def clear_output(self, wait: bool = False) -> None:
            """Take back what this task has shown since it first called this, nobody else's."""
            from fanlight import session

            session.publish_display({}, {}, {"clear": "wait" if wait else "now"})

    class WorkerShell(base):
        display_pub_class = Type(WorkerPublisher)
        _fanlight_worker = True

        def init_virtualenv(self) -> None:
            """The worker already runs in the right environment."""

        def enable_gui(self, gui: Any = None) -> None:
            """There is no event loop to integrate with."""

    main = sys.modules.get("__main__")
    hook = sys.displayhook
    config = Config()
    config.HistoryManager.enabled = False
    shell = WorkerShell.instance(config=config)
    base._instance = shell
    shell.user_ns = user_ns
    sys.displayhook = hook
    if main is not None:
        sys.modules["__main__"] = main
    builtins.get_ipython = lambda: shell  # type: ignore[attr-defined]
    _teach_figures()
    return shell


def imported(name: str, module: Any) -> None:
    """A task has imported a module that would look for a notebook. Called in workers."""
    if name == "IPython.core.display_functions":
        for function in ("display", "publish_display_data", "clear_output"):
            setattr(module, function, _with_shell(getattr(module, function)))
    elif name == "matplotlib_inline.backend_inline":
        ensure_shell(vars(sys.modules["__main__"]))
        module._enable_matplotlib_integration()  # as it did when there was no shell yet
    elif name == "matplotlib.figure":
        _teach_figures()
    elif name == "tqdm.notebook":
        # Its bars are widgets, which live in the notebook's process; lines of text reach it.
        from tqdm import std

        for alias, kind in (("tqdm", "tqdm"), ("tqdm_notebook", "tqdm")):
            setattr(module, alias, getattr(std, kind))
        module.trange = module.tnrange = std.trange


def _with_shell(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        from IPython.core.interactiveshell import InteractiveShell

        if not InteractiveShell.initialized():
            ensure_shell(vars(sys.modules["__main__"]))
        return function(*args, **kwargs)

    return call


def _teach_figures() -> None:
    """Figures are displayed as pictures, once there are both a shell and figures."""
    if not {"IPython.core.interactiveshell", "matplotlib.figure"} <= set(sys.modules):
        return
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats

    if InteractiveShell.initialized():
        shell = InteractiveShell.instance()
        if getattr(shell, "_fanlight_worker", False):
            select_figure_formats(shell, {"png"})


WIDGET = "application/vnd.jupyter.widget-view+json"
_WIDGET_NOTE = (
    "A widget that was made in a worker: it cannot be shown, since widgets live in the notebook's "
    "own process. Bring the data back and make the widget in a cell without %%remote."
)


def portable(
    data: dict[str, Any], metadata: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A bundle as it can be shown in another process than the one that made it."""
    data, metadata = jsonable(data), dict(metadata or {})
    if WIDGET not in data:
        return data, metadata
    del data[WIDGET]
    metadata.pop(WIDGET, None)
    text = str(data.get("text/plain", "Widget"))
    shown = data.get("text/html") or (
        f'<pre style="font-size: var(--jp-code-font-size, 13px)">{html.escape(text)}</pre>'
    )
    data["text/plain"] = f"{text}\n({_WIDGET_NOTE})"
    data["text/html"] = (
        f'<div>{shown}<div style="color: var(--jp-ui-font-color2, #767676); '
        f'font-size: 90%">{html.escape(_WIDGET_NOTE)}</div></div>'
    )
    return data, metadata


def mimebundle(value: Any, user_ns: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a notebook would show ``value``: data and metadata by MIME type."""
    if isinstance(value, _PLAIN) and type(value) in _PLAIN:
        return {"text/plain": repr(value)}, {}
    shell = ensure_shell(user_ns)
    if shell is not None:
        data, metadata = shell.display_formatter.format(value)
        if data and getattr(shell, "_fanlight_worker", False):
            return portable(data, metadata)
        if data:
            return jsonable(data), metadata
        if hasattr(value, "_ipython_display_"):
            return {}, {}  # it has displayed itself
    try:
        return {"text/plain": repr(value)}, {}
    except Exception as error:
        return {"text/plain": f"<{type(value).__name__}: its repr failed: {error}>"}, {}


def jsonable(data: dict[str, Any]) -> dict[str, Any]:
    """Images as base64 text, as Jupyter messages want them."""
    import base64

    return {
        kind: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for kind, value in data.items()
    }


def forget_figures() -> None:
    """A cell begins in a worker: figures that earlier tasks left open are not the cell's."""
    from fanlight import session

    pyplot = sys.modules.get("matplotlib.pyplot")
    current = session.current()
    if pyplot is not None and current is not None and current.role == "worker":
        pyplot.close("all")


def show_figures(user_ns: dict[str, Any]) -> None:
    """Display and close the figures that the cell left open, as a notebook does after a cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    shell = ensure_shell(user_ns)
    if shell is None or not getattr(shell, "_fanlight_worker", False):
        return  # in the notebook's own process its backend does this after the cell
    from IPython.display import display
    from matplotlib._pylab_helpers import Gcf

    managers = Gcf.get_all_fig_managers()
    if not managers:
        return
    for manager in managers:
        display(manager.canvas.figure)
    pyplot.close("all")
