"""A Jupyter server with the extension, in private directories, and a runtime that pretends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pytest_jupyter.jupyter_server import *  # noqa: F403  (its fixtures, for this folder only)
from pytest_jupyter.pytest_tornasync import *  # noqa: F403  (async tests)

from fanlight_lab import watch

DEADLINE = 60.0  # seconds that anything may take before a test gives up


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"fanlight_lab": True}}}


@pytest.fixture(autouse=True)
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for runtimes often, so that tests need not wait a second for each."""
    monkeypatch.setattr(watch.RuntimeWatcher.__init__, "__defaults__", (0.02,))


async def eventually(check: Callable[[], bool]) -> None:
    """Wait until ``check`` is true; fail at the deadline."""

    async def poll() -> None:
        while not check():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), DEADLINE)


class Browser:
    """The browser's end of a socket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self.closed = False

    async def say(self, **message: Any) -> None:
        await self.socket.write_message(json.dumps(message))

    async def next(self) -> dict[str, Any] | None:
        """The next message; None when the socket is closed."""
        if self.closed:
            return None
        text = await asyncio.wait_for(self.socket.read_message(), DEADLINE)
        if text is None:
            self.closed = True
            return None
        message: dict[str, Any] = json.loads(text)
        self.seen.append(message)
        return message

    async def until(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """Read until a message of this type and with these fields."""
        while True:
            message = await self.next()
            assert message is not None, f"closed before {kind} {wanted}; saw {self.seen[-5:]}"
            if message["type"] == kind and all(message.get(k) == v for k, v in wanted.items()):
                return message


@pytest.fixture
def open_browser(jp_ws_fetch: Any, jp_asyncio_loop: Any) -> Iterator[OpenBrowser]:
    """Open sockets; all are closed at the end of the test."""
    opened: list[Browser] = []

    async def open_one() -> Browser:
        browser = Browser(await jp_ws_fetch("fanlight", "api", "events"))
        opened.append(browser)
        return browser

    async def close() -> None:
        for browser in opened:
            browser.socket.close()
            while await browser.next() is not None:
                pass

    yield open_one
    jp_asyncio_loop.run_until_complete(close())


OpenBrowser = Callable[[], Awaitable[Browser]]
