"""Rich display in a worker: an IPython shell that publishes to the notebook.

Made on first need only (importing IPython takes a tenth of a second), and never in a process that
already has a shell, such as the notebook's own with the in-process engine.
"""

from __future__ import annotations

import builtins
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
            **_: Any,
        ) -> None:
            from fanlight import session

            sys.stdout.flush()
            sys.stderr.flush()
            session.publish_display(jsonable(data), metadata or {})

        def clear_output(self, wait: bool = False) -> None:
            """Other tasks of the cell may have printed meanwhile: nothing is taken back."""

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
    return shell


def mimebundle(value: Any, user_ns: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a notebook would show ``value``: data and metadata by MIME type."""
    if isinstance(value, _PLAIN) and type(value) in _PLAIN:
        return {"text/plain": repr(value)}, {}
    shell = ensure_shell(user_ns)
    if shell is not None:
        data, metadata = shell.display_formatter.format(value)
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


def show_figures(user_ns: dict[str, Any]) -> None:
    """Display and close the figures that the cell left open, as a notebook does after a cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    shell = ensure_shell(user_ns)
    if shell is None or not getattr(shell, "_fanlight_worker", False):
        return  # in the notebook's own process its backend does this after the cell
    from IPython.core.pylabtools import select_figure_formats
    from IPython.display import display
    from matplotlib._pylab_helpers import Gcf

    managers = Gcf.get_all_fig_managers()
    if not managers:
        return
    if "image/png" not in _figure_formats(shell):
        select_figure_formats(shell, {"png"})
    for manager in managers:
        display(manager.canvas.figure)
    pyplot.close("all")


def _figure_formats(shell: Any) -> set[str]:
    from matplotlib.figure import Figure

    return {
        kind
        for kind, formatter in shell.display_formatter.formatters.items()
        if Figure in formatter.type_printers
    }
