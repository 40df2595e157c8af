"""Nothing of the extension answers a stranger: every route and the socket refuse without a token."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketHandler, websocket_connect

from fanlight_lab.routes import handlers

pytestmark = pytest.mark.usefixtures("http_server")

HTTP_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def registered(jp_serverapp: Any) -> list[tuple[str, type]]:
    """All routes of the server whose handler is the extension's, with an id filled in."""
    found = []
    for rule in jp_serverapp.web_app.wildcard_router.rules + [
        inner
        for outer in jp_serverapp.web_app.default_router.rules
        for inner in getattr(outer.target, "rules", [])
    ]:
        target = rule.target
        if isinstance(target, type) and target.__module__.startswith("fanlight_lab"):
            path = re.sub(r"\([^)]*\)", "some-runtime", rule.matcher.regex.pattern.rstrip("$"))
            found.append((path.replace("\\", ""), target))
    return found


def address(jp_serverapp: Any, path: str, scheme: str = "http") -> str:
    return f"{scheme}://{host(jp_serverapp)}{path}"


def host(jp_serverapp: Any) -> str:
    return f"127.0.0.1:{jp_serverapp.port}"


async def status_of(request: HTTPRequest) -> int:
    response = await AsyncHTTPClient().fetch(request, raise_error=False)
    return response.code


async def test_all_routes_are_seen(jp_serverapp: Any) -> None:
    routes = {path for path, _ in registered(jp_serverapp)}
    assert len(routes) == len(handlers(jp_serverapp.base_url)) == 5
    assert all(path.startswith(jp_serverapp.base_url + "fanlight/api/") for path in routes)


async def test_no_route_answers_without_token(jp_serverapp: Any) -> None:
    tried = 0
    for path, handler in registered(jp_serverapp):
        if issubclass(handler, WebSocketHandler):
            continue
        for method in HTTP_METHODS:
            if getattr(handler, method.lower()).__module__ == "tornado.web":
                continue  # answers 405 for everybody
            if method == "OPTIONS":
                continue  # jupyter_server's own answer, without content, for everybody
            body = "{}" if method in ("POST", "PUT", "PATCH") else None
            request = HTTPRequest(
                address(jp_serverapp, path), method=method, body=body, follow_redirects=False
            )
            assert await status_of(request) in (401, 403), (method, path)
            tried += 1
    assert tried >= 3


async def test_wrong_token_is_refused(jp_serverapp: Any) -> None:
    request = HTTPRequest(
        address(jp_serverapp, jp_serverapp.base_url + "fanlight/api/runtimes"),
        headers={"Authorization": "token wrong"},
        follow_redirects=False,
    )
    assert await status_of(request) in (401, 403)


async def test_socket_refuses_without_token(jp_serverapp: Any) -> None:
    sockets = [p for p, h in registered(jp_serverapp) if issubclass(h, WebSocketHandler)]
    assert sockets
    for path in sockets:
        for query in ("", "?token=wrong"):
            with pytest.raises(HTTPClientError) as refused:
                await websocket_connect(address(jp_serverapp, path, "ws") + query)
            assert refused.value.code in (401, 403)


async def signed_in(jp_serverapp: Any, jp_auth_header: dict[str, str]) -> str:
    """The cookies of a browser that has signed in with the token."""
    token = jp_auth_header["Authorization"].split()[-1]
    url = address(jp_serverapp, f"{jp_serverapp.base_url}login?token={token}")
    response = await AsyncHTTPClient().fetch(url, follow_redirects=False, raise_error=False)
    cookies = [c.split(";")[0] for c in response.headers.get_list("Set-Cookie")]
    assert any(c.startswith("username-") for c in cookies), "signing in did not work"
    return "; ".join(cookies)


async def test_cookie_opens_the_socket_from_the_same_origin_only(
    jp_serverapp: Any, jp_auth_header: dict[str, str]
) -> None:
    cookie = await signed_in(jp_serverapp, jp_auth_header)
    url = address(jp_serverapp, jp_serverapp.base_url + "fanlight/api/events", "ws")
    own = f"http://{host(jp_serverapp)}"
    socket = await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie, "Origin": own}))
    socket.close()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        request = HTTPRequest(url, headers={"Cookie": cookie, "Origin": origin})
        with pytest.raises(HTTPClientError) as refused:
            await websocket_connect(request)
        assert refused.value.code == 403, origin


async def test_cookie_alone_cannot_post(jp_serverapp: Any, jp_auth_header: dict[str, str]) -> None:
    """A page of another site can make the browser send its cookies, but not the XSRF token."""
    cookie = await signed_in(jp_serverapp, jp_auth_header)
    for path, method in (
        ("recordings", "POST"),
        ("recordings/export", "POST"),
        ("recordings/some", "DELETE"),
    ):
        request = HTTPRequest(
            address(jp_serverapp, f"{jp_serverapp.base_url}fanlight/api/{path}"),
            method=method,
            body="{}" if method == "POST" else None,
            headers={"Cookie": cookie},
        )
        assert await status_of(request) == 403, path


async def test_an_authorizer_is_asked(
    jp_serverapp: Any, jp_fetch: Any, jp_ws_fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def refuse(handler: Any, user: Any, action: str, resource: str) -> bool:
        asked.append((action, resource))
        return False

    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", refuse)
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch("fanlight", "api", "runtimes")
    assert refused.value.code == 403
    with pytest.raises(HTTPClientError) as refused:
        await jp_ws_fetch("fanlight", "api", "events")
    assert refused.value.code == 403
    assert asked == [("read", "fanlight"), ("execute", "fanlight")]
