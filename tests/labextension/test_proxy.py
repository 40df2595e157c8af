"""The routes behind a reverse proxy, with a password, as JupyterHub and shared servers have them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from jupyter_server.auth import passwd
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.websocket import websocket_connect

from .conftest import Browser
from .fake_node import FakeNode, Simulation
from .proxy import Proxy

PASSWORD = "correct horse"


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    """Behind a proxy, with a password."""
    return {
        "ServerApp": {
            "jpserver_extensions": {"fanlight_lab": True},
            "base_url": "/user/ada/",
            "trust_xheaders": True,
        },
        "PasswordIdentityProvider": {"hashed_password": passwd(PASSWORD, "sha1")},
    }


@pytest.fixture
def jp_base_url() -> str:
    return "/user/ada/"


@pytest.fixture
def proxy(jp_serverapp: Any, http_server: Any, jp_http_port: int) -> Proxy:
    return Proxy("/user/ada/", jp_http_port, scheme="https")


async def fetch(url: str, **options: Any) -> HTTPResponse:
    request = HTTPRequest(url, follow_redirects=False, **options)
    return await AsyncHTTPClient().fetch(request, raise_error=False)


def cookies(answer: HTTPResponse) -> dict[str, str]:
    pairs = [c.split(";")[0].split("=", 1) for c in answer.headers.get_list("Set-Cookie")]
    return {name: value for name, value in pairs if value}


def header(found: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in found.items())


async def sign_in(proxy: Proxy, password: str) -> dict[str, str]:
    """The cookies of a browser that went through the form; without "username-…" if it failed."""
    form = await fetch(f"{proxy.url}/login")
    assert form.code == 200
    found = cookies(form)
    answer = await fetch(
        f"{proxy.url}/login",
        method="POST",
        body=urlencode({"password": password, "_xsrf": found["_xsrf"]}),
        headers={"Cookie": header(found)},
    )
    return {**found, **cookies(answer)}


async def connect(proxy: Proxy, cookie: str, origin: str) -> Any:
    headers = {"Cookie": cookie, "Origin": origin}
    address = proxy.url.replace("http", "ws", 1) + "/fanlight/api/events"
    return await websocket_connect(HTTPRequest(address, headers=headers))


async def test_behind_a_proxy_with_a_password(proxy: Proxy) -> None:
    """The form opens it, for pages of the proxy's own address only; a proxy that is restarted is
    found again; posts need what only our pages know."""
    await proxy.start()
    try:
        await use(proxy)
    finally:
        await proxy.stop()


async def use(proxy: Proxy) -> None:
    own = f"https://127.0.0.1:{proxy.port}"  # the proxy ends TLS
    async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
        stranger = await sign_in(proxy, "guess")
        with pytest.raises(HTTPClientError) as refused:
            await connect(proxy, header(stranger), own)
        assert refused.value.code in (401, 403)
        assert (await fetch(f"{proxy.url}/fanlight/api/runtimes")).code in (302, 401, 403)
        assert (await fetch(proxy.url.removesuffix("/user/ada") + "/fanlight/api")).code == 404

        found = await sign_in(proxy, PASSWORD)
        cookie = header(found)
        listed = await fetch(f"{proxy.url}/fanlight/api/runtimes", headers={"Cookie": cookie})
        assert [r["runtime_id"] for r in json.loads(listed.body)] == [node.info.runtime_id]
        with pytest.raises(HTTPClientError) as refused:
            await connect(proxy, cookie, "https://evil.example")
        assert refused.value.code == 403

        for _ in range(2):
            browser = Browser(await connect(proxy, cookie, own))
            await browser.say(type="follow", kernel_id="k1")
            await browser.until("snapshot")
            await browser.say(type="ask", id=1, query={"what": "group_tasks", "group": 1})
            await browser.until("answer")
            await proxy.stop()
            while await browser.next() is not None:
                pass  # it notices
            await proxy.start()  # on the same port: the cookies still count

        address = f"{proxy.url}/fanlight/api/recordings"
        for headers, allowed in (
            ({"Cookie": cookie}, False),
            ({"Cookie": cookie, "X-XSRFToken": "made-up"}, False),
            ({"Cookie": cookie, "X-XSRFToken": found["_xsrf"]}, True),
        ):
            answer = await fetch(
                address,
                method="POST",
                headers=headers,
                body=json.dumps({"runtime_id": node.info.runtime_id}),
            )
            assert (answer.code == 200) is allowed, (headers, answer.code)
        assert proxy.sockets >= 2
