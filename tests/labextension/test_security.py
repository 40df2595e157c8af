"""The server extension before strangers, other sites, other users and odd parameters."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketHandler, websocket_connect

from fanlight.observe import discover
from fanlight_lab import messages

from .fake_node import FakeNode, Simulation
from .test_auth import HTTP_METHODS, address, host, registered, signed_in

pytestmark = pytest.mark.usefixtures("http_server")


async def fetch(jp_serverapp: Any, path: str, **options: Any) -> Any:
    request = HTTPRequest(address(jp_serverapp, path), follow_redirects=False, **options)
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def test_every_handler_asks_who_it_is(
    jp_serverapp: Any, jp_auth_header: dict[str, str]
) -> None:
    """For each registered route and method: not without a token, not with a wrong one, not with one
    in a place where Jupyter does not take it; and what it says to strangers tells them nothing."""
    async with FakeNode(Simulation()) as node:
        tried = 0
        for path, handler in registered(jp_serverapp):
            path = path.replace("some-runtime", node.info.runtime_id)
            for method in HTTP_METHODS:
                if issubclass(handler, WebSocketHandler) and method != "GET":
                    continue
                body = "{}" if method in ("POST", "PUT", "PATCH") else None
                for extra, headers in (
                    ("", {}),
                    ("?token=wrong", {}),
                    ("", {"Authorization": "token"}),
                    ("", {"Authorization": "Bearer null"}),
                    ("", {"X-XSRFToken": "x", "Cookie": "_xsrf=x"}),
                    ("", {"Origin": f"http://{host(jp_serverapp)}"}),
                ):
                    answer = await fetch(
                        jp_serverapp, path + extra, method=method, body=body, headers=headers
                    )
                    allowed = (401, 403, 405)
                    if method == "OPTIONS":  # Jupyter's own answer, for everybody, without content
                        allowed = (200, 204)
                        assert not answer.body
                    assert answer.code in allowed, (method, path, answer.code)
                    assert node.token.encode() not in (answer.body or b"")
                    assert node.info.runtime_id.encode() not in (answer.body or b"").replace(
                        path.encode(), b""
                    )
                    tried += 1
        assert tried > 50
        assert node.received == []


async def test_the_token_of_the_server_opens_each_route(
    jp_serverapp: Any, jp_auth_header: dict[str, str]
) -> None:
    """The other half of the test above: it is the token that is asked for, and nothing else."""
    found = await fetch(
        jp_serverapp, jp_serverapp.base_url + "fanlight/api/runtimes", headers=jp_auth_header
    )
    assert found.code == 200
    token = jp_auth_header["Authorization"].split()[-1]
    found = await fetch(jp_serverapp, f"{jp_serverapp.base_url}fanlight/api/runtimes?token={token}")
    assert found.code == 200


async def test_headers_are_jupyters(jp_serverapp: Any, jp_auth_header: dict[str, str]) -> None:
    """Content types, security policy and caching as for Jupyter's own answers."""
    ours = await fetch(
        jp_serverapp, jp_serverapp.base_url + "fanlight/api/runtimes", headers=jp_auth_header
    )
    theirs = await fetch(jp_serverapp, jp_serverapp.base_url + "api/status", headers=jp_auth_header)
    assert ours.headers["Content-Security-Policy"] == theirs.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in ours.headers["Content-Security-Policy"]
    assert ours.headers["X-Content-Type-Options"] == "nosniff"
    assert ours.headers["Content-Type"].startswith("application/json")
    for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"):
        assert ours.headers.get(name) == theirs.headers.get(name), name


async def test_other_origins(jp_serverapp: Any, jp_auth_header: dict[str, str]) -> None:
    """A page of another site, in a browser that is signed in, gets no socket; unless the server's
    owner has allowed that site, and then only that one."""
    cookie = await signed_in(jp_serverapp, jp_auth_header)
    url = address(jp_serverapp, jp_serverapp.base_url + "fanlight/api/events", "ws")
    own = host(jp_serverapp)
    strangers = (
        "http://evil.example", f"http://{own}.evil.example", f"http://evil.example/{own}", "null",
        f"http://evil@{own}x", "http://127.0.0.1", "file://", f"http://{own}@evil.example",
    )  # fmt: skip

    async def code(origin: str) -> int:
        request = HTTPRequest(url, headers={"Cookie": cookie, "Origin": origin})
        try:
            socket = await websocket_connect(request)
        except HTTPClientError as refused:
            return int(refused.code)
        socket.close()
        return 101

    for origin in strangers:
        assert await code(origin) == 403, origin
    settings = jp_serverapp.web_app.settings
    settings["allow_origin"] = "https://friend.example"
    try:
        assert await code("https://friend.example") == 101
        for origin in (*strangers, "http://friend.example", "https://friend.example.evil"):
            assert await code(origin) == 403, origin
    finally:
        settings["allow_origin"] = ""


async def test_posts_of_other_sites(
    jp_serverapp: Any, jp_auth_header: dict[str, str], jp_root_dir: Path
) -> None:
    """With the cookies of a browser that is signed in, but without what only our pages know."""
    cookie = await signed_in(jp_serverapp, jp_auth_header)
    async with FakeNode(Simulation()) as node:
        for what, body in (
            ("recordings", {"runtime_id": node.info.runtime_id}),
            ("recordings/export", {"path": "a.fanlight"}),
        ):
            path = f"{jp_serverapp.base_url}fanlight/api/{what}"
            for headers in (
                {"Cookie": cookie},
                {"Cookie": cookie, "Origin": "http://evil.example"},
                {"Cookie": cookie + "; _xsrf=made-up", "X-XSRFToken": "other"},
                {"Cookie": cookie, "Content-Type": "text/plain", "Origin": "null"},
            ):
                answer = await fetch(
                    jp_serverapp, path, method="POST", body=json.dumps(body), headers=headers
                )
                assert answer.code in (403, 404), (what, headers, answer.code)
        assert node.observers == 0 and node.received == []
    assert not list(jp_root_dir.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "..", "%2e%2e", "..%2f..%2fetc", "%2Fetc%2Fpasswd", "a%00b", "a%0d%0aSet-Cookie:x=1", "%C3%A9",
        "x" * 5000, "$(id)", "simulated%2f..%2fsimulated", ".", "*", "simulated.json",
    ],
)  # fmt: skip
async def test_runtimes_have_names_not_paths(
    jp_serverapp: Any, jp_auth_header: dict[str, str], name: str
) -> None:
    async with FakeNode(Simulation()) as node:
        api = f"{jp_serverapp.base_url}fanlight/api/recordings"
        body = json.dumps({"runtime_id": unquote(name)})
        for path, method in (
            (f"{api}/{name}", "DELETE"), (f"{api}/{name}", "POST"), (api, "POST"),
        ):  # fmt: skip
            answer = await fetch(
                jp_serverapp,
                path,
                method=method,
                body=body if method == "POST" else None,
                headers=jp_auth_header,
            )
            assert answer.code in (400, 403, 404, 405, 413, 414), answer.code
            assert b"root:" not in (answer.body or b"")
            assert "x" not in dict(
                c.split("=", 1) for c in answer.headers.get_list("Set-Cookie") if "=" in c
            )
        assert node.observers == 0 and node.received == []


async def test_runtimes_of_others_are_not_shown(jp_fetch: Any, tmp_path: Path) -> None:
    """A connection file that somebody else planted, or one that leads elsewhere, is no runtime."""
    async with FakeNode(Simulation()) as node:
        path = Path(discover.connection_dir(), f"{node.info.runtime_id}.json")
        listed = json.loads((await jp_fetch("fanlight", "api", "runtimes")).body)
        assert len(listed) == 1
        content = path.read_bytes()
        path.unlink()
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
        assert json.loads((await jp_fetch("fanlight", "api", "runtimes")).body) == []
        path.unlink()
        path.write_bytes(content)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            assert json.loads((await jp_fetch("fanlight", "api", "runtimes")).body) == []
            os.chown(path, 0, 0)
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(HTTPClientError) as refused:
            body = json.dumps({"runtime_id": node.info.runtime_id})
            await jp_fetch("fanlight", "api", "recordings", method="POST", body=body)
        assert refused.value.code == 404


async def test_messages_of_browsers_are_bounded(open_browser: Any, jp_fetch: Any) -> None:
    for text in (
        "x" * (messages.MESSAGE_LIMIT + 1), "[" * 4000, '{"type":"follow","kernel_id":"../x"}',
        '{"type":"follow","runtime_id":"a/b"}', '{"type":"shutdown"}', "\ud800".encode("utf-8", "replace").decode(),
        '{"type":"follow","kernel_id":"' + "x" * 200 + '"}', "null", "",
    ):  # fmt: skip
        browser = await open_browser()
        await browser.socket.write_message(text)
        while await browser.next() is not None:
            pass  # it is closed
        assert browser.socket.close_code == 1008, text[:40]
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch("fanlight", "api", "recordings", method="POST", body="x" * 1_000_000)
    assert refused.value.code == 413


async def test_no_secret_of_a_runtime_reaches_a_browser(open_browser: Any, jp_fetch: Any) -> None:
    """Neither its token, nor where its socket and its files are: in events, answers and errors."""
    async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
        browser = await open_browser()
        await browser.say(type="follow", kernel_id="k1")
        await browser.until("snapshot")
        await node.step(2.0)
        await browser.until("delta")
        await browser.say(type="ask", id=1, query={"what": "group_tasks", "group": 1})
        await browser.until("answer", id=1)
        await browser.say(type="do", id=2, command={"action": "nothing"})
        await browser.until("answer", id=2)
        said = [(await jp_fetch("fanlight", "api", "runtimes")).body.decode()]
        await node.vanish()
        await browser.until("status", state="lost")
        with pytest.raises(HTTPClientError) as refused:
            body = json.dumps({"runtime_id": node.info.runtime_id})
            await jp_fetch("fanlight", "api", "recordings", method="POST", body=body)
        assert refused.value.code == 502 and refused.value.response is not None
        said.append(refused.value.response.body.decode())
        said += [json.dumps(x) for x in browser.seen]
        assert len(said) > 8
        for text in said:
            assert node.token not in text
            assert not re.search(r"node\.sock|session_dir", text)
