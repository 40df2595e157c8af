"""Recordings made by the panel's button: where they lie, who may end them, what is refused."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from fanlight import standalone
from fanlight.observe import client as observers
from fanlight.observe.recording import Recording, Writer
from fanlight_lab import recordings

from .conftest import Browser, OpenBrowser, eventually
from .fake_node import FakeNode, Simulation


@pytest.fixture
def sessions(jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the server says of notebooks and their kernels."""
    rows: list[dict[str, Any]] = []
    monkeypatch.setattr(jp_serverapp.session_manager, "list_sessions", lambda: rows)
    return rows


async def ask(jp_fetch: Any, *path: str, method: str = "POST", body: Any = None) -> Any:
    data = json.dumps(body or {}) if method == "POST" else None
    response = await jp_fetch("fanlight", "api", "recordings", *path, method=method, body=data)
    return json.loads(response.body)


async def refused(jp_fetch: Any, *path: str, **options: Any) -> tuple[int, str]:
    with pytest.raises(HTTPClientError) as failed:
        await ask(jp_fetch, *path, **options)
    assert failed.value.response is not None
    return failed.value.code, json.loads(failed.value.response.body)["message"]


async def told(browser: Browser, *active: bool) -> list[dict[str, Any]]:
    """What a page is told of the recordings, once as many go on as are named here."""
    while True:
        message = await browser.until("recordings")
        rows: list[dict[str, Any]] = message["recordings"]
        if [row["active"] for row in rows] == list(active):
            return rows


async def test_a_recording_lies_beside_the_notebook(
    jp_fetch: Any, jp_root_dir: Path, sessions: list[dict[str, Any]], open_browser: OpenBrowser
) -> None:
    (jp_root_dir / "course").mkdir()
    sessions.append({"type": "notebook", "path": "course/lesson 1.ipynb", "kernel": {"id": "k1"}})
    simulation = Simulation()
    pages = [await open_browser(), await open_browser()]
    for page in pages:
        assert await told(page) == []
    async with FakeNode(simulation, kernel_ids=["k1"]) as node:
        made = await ask(jp_fetch, body={"runtime_id": "simulated"})
        assert made["path"].startswith("course/lesson 1-2") and made["active"]
        for page in pages:
            [row] = await told(page, True)
            assert row["id"] == made["id"]
        code, text = await refused(jp_fetch, body={"runtime_id": "simulated"})
        assert (code, "already" in text) == (409, True)
        file = jp_root_dir / made["path"]
        await eventually(lambda: file.stat().st_size > 200)
        ending = asyncio.ensure_future(ask(jp_fetch, made["id"], method="DELETE"))
        while not ending.done():  # what happened until then is in the next event
            await node.step()
            await asyncio.sleep(0.01)
        ended = await ending
        assert not ended["active"] and not ended["failed"]
        for page in pages:
            assert await told(page, False) == [ended]
        assert await told(await open_browser(), False) == [ended]  # a page that is loaded again
        assert ended["size"] == file.stat().st_size
    found = Recording(file)
    assert found.whole and found.head["title"] == "lesson 1"
    assert (await refused(jp_fetch, "f" * 12, method="DELETE"))[0] == 404
    assert (await refused(jp_fetch, body={"runtime_id": "simulated"}))[0] == 404


async def test_the_end_of_the_runtime_ends_it(
    jp_fetch: Any, jp_root_dir: Path, sessions: list[dict[str, Any]], open_browser: OpenBrowser
) -> None:
    page = await open_browser()
    async with FakeNode(Simulation()):
        made = await ask(jp_fetch, body={"runtime_id": "simulated"})
        assert "/" not in made["path"]  # no notebook: the server's own folder
    [row] = await told(page, False)
    assert row["reason"] and not row["failed"]
    assert Recording(jp_root_dir / made["path"]).whole


async def test_a_full_disk_is_told_to_all_pages(
    jp_fetch: Any,
    sessions: list[dict[str, Any]],
    open_browser: OpenBrowser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: Writer, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    page = await open_browser()
    async with FakeNode(Simulation()) as node:
        made = await ask(jp_fetch, body={"runtime_id": "simulated"})
        await told(page, True)
        monkeypatch.setattr(Writer, "_append", full)
        await node.end("over")  # what is to be written then cannot be
        [row] = await told(page, False)
        assert row["failed"] and "the disk is full" in row["reason"]
        ended = await ask(jp_fetch, made["id"], method="DELETE")  # by a page that did not know
        assert ended == row


async def test_two_windows_begin_one_recording(
    jp_fetch: Any, jp_root_dir: Path, sessions: list[dict[str, Any]], open_browser: OpenBrowser
) -> None:
    async with FakeNode(Simulation()) as node:
        body = {"runtime_id": "simulated"}
        both = asyncio.gather(*(ask(jp_fetch, body=body) for _ in range(2)), return_exceptions=True)
        answers = await both
        assert sum(isinstance(a, HTTPClientError) and a.code == 409 for a in answers) == 1
        await told(await open_browser(), True)
        await node.end("over")
    assert len(list(jp_root_dir.glob("*.fanlight"))) == 1


async def test_a_runtime_that_is_stopped_holds_no_other_up(
    jp_fetch: Any, sessions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One recording begins after the other, so that none may wait for ever."""
    monkeypatch.setattr(observers, "WELCOME_SECONDS", 0.05)
    node = FakeNode(Simulation())
    async with node:
        await node.vanish()
        Path(node.info.socket).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.bind(node.info.socket)
            silent.listen()  # the system accepts for it, and nobody answers
            for _ in range(2):
                code, text = await refused(jp_fetch, body={"runtime_id": "simulated"})
                assert (code, "does not answer" in text) == (502, True)


@pytest.mark.parametrize("path", ["../elsewhere/a.ipynb", "link/a.ipynb", ".hidden/a.ipynb"])
async def test_nothing_is_written_elsewhere(
    jp_fetch: Any, jp_root_dir: Path, tmp_path: Path, sessions: list[dict[str, Any]], path: str
) -> None:
    outside = jp_root_dir.parent / "elsewhere"
    outside.mkdir(exist_ok=True)
    (jp_root_dir / "link").symlink_to(outside)
    (jp_root_dir / ".hidden").mkdir()
    sessions.append({"type": "notebook", "path": path, "kernel": {"id": "k1"}})
    async with FakeNode(Simulation(), kernel_ids=["k1"]):
        assert (await refused(jp_fetch, body={"runtime_id": "simulated"}))[0] in (403, 404)
    assert not list(outside.iterdir()) and not list((jp_root_dir / ".hidden").iterdir())


async def test_a_folder_that_cannot_be_written(
    jp_fetch: Any, sessions: list[dict[str, Any]]
) -> None:
    sessions.append({"type": "notebook", "path": "gone/a.ipynb", "kernel": {"id": "k1"}})
    async with FakeNode(Simulation(), kernel_ids=["k1"]):
        code, text = await refused(jp_fetch, body={"runtime_id": "simulated"})
        assert code == 500 and "could not be made" in text


async def test_export(jp_fetch: Any, jp_root_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standalone, "text", lambda name: "")
    monkeypatch.setattr(standalone, "charts", lambda: b"")
    jp_root_dir.joinpath("notes.txt").write_text("mine")
    writer = Writer(jp_root_dir / "a.fanlight")
    assert (await refused(jp_fetch, "export", body={"path": "notes.txt"}))[0] == 400
    assert (await refused(jp_fetch, "export", body={"path": "../../etc/passwd"}))[0] == 403
    assert (await refused(jp_fetch, "export", body={"path": "a\0.fanlight"}))[0] == 404
    code, text = await refused(jp_fetch, "export", body={"path": "a.fanlight"})
    assert code == 400 and "holds nothing" in text
    writer.part("key", b"{}", 0.0, 0.0)
    writer.close()
    assert not list(jp_root_dir.glob("*.html"))
    assert await ask(jp_fetch, "export", body={"path": "a.fanlight"}) == {"path": "a.html"}
    assert b"fanlight-blob" in (jp_root_dir / "a.html").read_bytes()


async def test_an_export_replaces_nothing(
    jp_fetch: Any, jp_root_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "text", lambda name: "")
    monkeypatch.setattr(standalone, "charts", lambda: b"")
    writer = Writer(jp_root_dir / "a.fanlight")
    writer.part("key", b"{}", 0.0, 0.0)
    (jp_root_dir / "a.html").write_text("mine")
    (jp_root_dir / "a-2.html").symlink_to(jp_root_dir / "nowhere")
    asked = (ask(jp_fetch, "export", body={"path": "a.fanlight"}) for _ in range(3))
    assert await asyncio.gather(*asked) == [{"path": "a-3.html"}] * 3  # the same page, once
    writer.part("key", b"{}", 1.0, 1.0)
    writer.close()
    assert await ask(jp_fetch, "export", body={"path": "a.fanlight"}) == {"path": "a-4.html"}
    assert (jp_root_dir / "a.html").read_text() == "mine"
    assert not (jp_root_dir / "nowhere").exists()
    assert len(list(jp_root_dir.iterdir())) == 5


async def test_colons_in_names(
    jp_fetch: Any, jp_root_dir: Path, sessions: list[dict[str, Any]]
) -> None:
    for folder in ("notes", "a:b"):
        (jp_root_dir / folder).mkdir()
    (jp_root_dir / "e:f.ipynb").touch()
    for path, made in (
        ("RTC:notes/run.ipynb", "notes/run-2"),  # JupyterLab's drive of shared editing
        ("RTC:run.ipynb", "run-2"),
        ("a:b/run.ipynb", "a:b/run-2"),  # a folder's own name
        ("notes/c:d.ipynb", "notes/c:d-2"),
        ("e:f.ipynb", "e:f-2"),
        ("RTC:a:b/run.ipynb", "a:b/run-2"),
    ):
        sessions[:] = [{"type": "notebook", "path": path, "kernel": {"id": "k1"}}]
        async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
            row = await ask(jp_fetch, body={"runtime_id": "simulated"})
            await node.end("over")
        assert row["path"].startswith(made)
        assert (jp_root_dir / row["path"]).is_file()
        await ask(jp_fetch, row["id"], method="DELETE")


def test_what_has_ended_is_forgotten_after_a_while() -> None:
    class Ended:
        active, reason, error, size, started = False, "over", None, 1, 0.0

        def stop(self, reason: str) -> None: ...

    made = recordings.Recordings()
    for n in range(100):
        made.add(Ended(), "r", f"{n}.fanlight")  # type: ignore[arg-type]
    assert len(made.rows()) <= recordings.KEPT + 2
    assert made.active == 0
