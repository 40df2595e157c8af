"""The server's routes, all under ``<base_url>fanlight/api/`` and all authenticated.

=========================== ====== ============================================================
``runtimes``                GET    the runtimes of this user that are alive
``recordings…``                    see :mod:`fanlight_lab.recordings`
``events``                  socket one for each browser; see :mod:`fanlight_lab.follow`
=========================== ====== ============================================================

What is asked of a runtime, and ordered, goes over the socket only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from fanlight.observe import discover
from fanlight_lab.follow import Follower
from fanlight_lab.handler import FanlightHandler
from fanlight_lab.recordings import (
    ExportHandler,
    RecordingHandler,
    Recordings,
    RecordingsHandler,
)
from fanlight_lab.watch import RuntimeWatcher, public


class RuntimesHandler(FanlightHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish(msgspec.json.encode([public(info) for info in discover.runtimes()]))


class EventsHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The socket of one browser."""

    auth_resource = "fanlight"
    _tasks: tuple[asyncio.Task[None], ...] = ()
    _refused = False
    _follower: Follower

    def initialize(self, watcher: RuntimeWatcher, recordings: Recordings) -> None:
        self._watcher = watcher
        self._recordings = recordings

    def set_default_headers(self) -> None:
        """A socket has no use for the headers of pages."""

    def get_compression_options(self) -> dict[str, Any] | None:
        options: dict[str, Any] | None = self.settings.get("websocket_compression_options")
        return options

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", self.auth_resource)
        )
        if not allowed:
            raise web.HTTPError(403)
        await super().get(*args, **kwargs)

    def open(self, *args: Any, **kwargs: Any) -> None:
        super().open(*args, **kwargs)
        self._follower = Follower(self._watcher, self._send)
        loop = asyncio.get_running_loop()
        self._tasks = tuple(
            loop.create_task(self._serve(work)) for work in (self._follower.run, self._tell)
        )

    async def _tell(self) -> None:
        """Say which recordings there are, now and after each change, whatever is followed."""
        changed = asyncio.Event()
        self._recordings.listen(changed.set)
        try:
            while True:
                changed.clear()
                message = {"type": "recordings", "recordings": self._recordings.rows()}
                await self._send(msgspec.json.encode(message))
                await changed.wait()
        finally:
            self._recordings.forget(changed.set)

    async def _send(self, payload: bytes) -> None:
        await self.write_message(payload.decode())  # done when the kernel has taken all of it

    async def _serve(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except WebSocketClosedError:
            pass
        except Exception:
            self.log.exception("Fanlight: serving a panel failed")
            self.close(1011, "internal error")

    def on_message(self, message: str | bytes) -> None:
        if self._refused:
            return  # it may still send, until it has heard that this is closed
        try:
            self._follower.receive(message)
        except ValueError as error:
            self._refused = True
            self.log.warning("Fanlight: refused a message of a browser: %s", error)
            self.close(1008, "bad message")

    def on_close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = ()
        super().on_close()


def handlers(base_url: str) -> list[tuple[str, type[Any]] | tuple[str, type[Any], dict[str, Any]]]:
    """Tornado's routes; the watcher is shared by all sockets of this server."""
    api = url_path_join(base_url, "fanlight", "api")
    made: dict[str, Any] = {"recordings": Recordings()}
    return [
        (url_path_join(api, "runtimes"), RuntimesHandler),
        (url_path_join(api, "recordings"), RecordingsHandler, made),
        (url_path_join(api, "recordings", "export"), ExportHandler, made),
        (url_path_join(api, "recordings", r"([A-Za-z0-9_-]+)"), RecordingHandler, made),
        (url_path_join(api, "events"), EventsHandler, {"watcher": RuntimeWatcher(), **made}),
    ]
