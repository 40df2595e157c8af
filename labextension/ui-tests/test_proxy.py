"""JupyterLab as JupyterHub's users have it: under a path, behind a reverse proxy that may restart."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import jupyter_page as nb
from playwright.sync_api import Page, WebSocket, expect

from tests.labextension.proxy import Proxy

START = """\
import fanlight
fanlight.init(num_cpus=2, num_gpus=0)
@fanlight.remote
def work(i):
    return i
fanlight.get([work.remote(i) for i in range(3)])"""
MORE = "fanlight.get([work.remote(i) for i in range({})])"


class Traffic:
    """What the panel's socket sent and was sent."""

    def __init__(self, page: Page) -> None:
        self.sent: list[str] = []
        self.heard = 0
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        if "/fanlight/api/events" in socket.url:
            socket.on("framesent", lambda frame: self.sent.append(str(frame)))
            socket.on("framereceived", lambda _: self._took())

    def _took(self) -> None:
        self.heard += 1


def test_behind_a_proxy(page: Page, lab: Any) -> None:
    """The panel works under a path through a real proxy, sends nothing while it is hidden, and comes
    back by itself when the proxy does."""
    parts = urlsplit(lab.url)
    assert parts.path == "/user/ada" and parts.port is not None
    traffic = Traffic(page)
    name = lab.write_notebook("proxy.ipynb", START, "'later'")
    with Proxy("/user/ada/", parts.port) as proxy:
        page.goto(f"{proxy.url}/lab/tree/{name}?token={lab.token}&reset")
        nb.wait_for_kernel(page)
        nb.run_all(page)
        nb.show_panel(page)
        nb.expect_state(page, "live", timeout=60_000)
        nb.expect_ended(page, "work", 3)

        nb.execute(page, "application:toggle-right-area")
        expect(page.locator("#fanlight-panel")).not_to_be_visible()
        deadline = time.monotonic() + 60
        while '"pause"' not in traffic.sent[-1] and time.monotonic() < deadline:
            page.wait_for_timeout(20)  # lets the events of the socket come in
        assert '"pause"' in traffic.sent[-1], traffic.sent[-3:]
        nb.replace_last_cell(page, MORE.format(4))
        nb.run_last(page)
        nb.wait_until_ran(page)
        heard, sent = traffic.heard, len(traffic.sent)
        nb.replace_last_cell(page, MORE.format(5))
        nb.run_last(page)
        nb.wait_until_ran(page)
        assert (traffic.heard, len(traffic.sent)) == (heard, sent)  # nobody looks: nothing at all

        nb.show_panel(page)
        nb.expect_ended(page, "work", 12)
        proxy.call("stop")
        expect(page.locator(".fl-Light")).not_to_have_text("live")
        proxy.call("start")
        nb.expect_state(page, "live", timeout=60_000)
        nb.dismiss(page)
        assert proxy.refused == 0  # nothing was asked for outside the path
