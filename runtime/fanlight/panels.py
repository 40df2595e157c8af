"""``fanlight.panel()``: the panel in an output of the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanlight_kernel.widgets.panel import Panel


def panel(*, height: int = 560) -> Panel:
    """The panel as a widget: what the sidebar of JupyterLab shows, wherever notebooks are shown.

    For VS Code, for kernels on other machines, and for a wide view below a cell. It is live while
    the kernel is busy, and shows the runtime of this notebook, also one that starts later. A saved
    notebook keeps the figures of the moment in which it was shown.

    Args:
        height: pixels; the lower edge can be dragged.

    Returns:
        Something that shows itself as the last line of a cell; its ``close()`` ends it.

    >>> import fanlight
    >>> fanlight.panel(height=700)                                # doctest: +SKIP
    """
    from fanlight_kernel.widgets.panel import Panel

    return Panel(height)
