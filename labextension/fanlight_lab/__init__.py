"""Fanlight in JupyterLab: the server extension and the place of the built panel.

Jupyter Server imports this package, asks for the extension points and calls
``_load_jupyter_server_extension``; JupyterLab asks for the labextension's path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "fanlight-lab"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "fanlight_lab"}]


def _load_jupyter_server_extension(serverapp: ServerApp) -> None:
    """Add the routes. Called once, while the server starts; starts nothing else."""
    from fanlight_lab.routes import handlers

    serverapp.web_app.add_handlers(".*$", handlers(serverapp.web_app.settings["base_url"]))
    serverapp.log.debug("Fanlight: routes registered")
