"""Fanlight's IPython extension: ``%%remote`` cells, live output and monitors under their cells.

``%load_ext fanlight`` ends up here: ``fanlight.load_ipython_extension`` hands on.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython for ``%load_ext fanlight``."""
    from fanlight_kernel.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Called by IPython for ``%unload_ext fanlight``."""
    from fanlight_kernel.extension import unload

    unload(shell)
