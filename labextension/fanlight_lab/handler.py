"""What the HTTP routes of the server extension share."""

from __future__ import annotations

from typing import Any

import msgspec
from jupyter_server.base.handlers import APIHandler
from tornado import web

from fanlight.observe import discover
from fanlight.observe.discover import ConnectionInfo
from fanlight_lab import messages


class FanlightHandler(APIHandler):
    """What the HTTP routes share."""

    auth_resource = "fanlight"
    _track_activity = False  # looking at a panel must not keep an idle server from being culled

    def find(self, runtime_id: str) -> ConnectionInfo:
        for info in discover.runtimes():
            if info.runtime_id == runtime_id:
                return info
        raise web.HTTPError(404, "There is no such runtime.")

    def decode(self, decoder: msgspec.json.Decoder[Any]) -> Any:
        body = self.request.body
        if len(body) > messages.MESSAGE_LIMIT:
            raise web.HTTPError(413, "The request is too long.")
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise web.HTTPError(400, f"Bad request: {error}") from None
