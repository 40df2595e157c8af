"""``fanlight.panel()``'s end in the kernel: pages come, go, miss messages, and are too slow."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanlight import session, standalone
from fanlight_kernel.widgets import panel_link
from fanlight_kernel.widgets.panel_link import Idleness, Link

from .conftest import eventually
from .fake_node import FakeNode, Simulation


class Events:
    """A shell's."""

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Any]] = {"pre_run_cell": [], "post_run_cell": []}

    def register(self, name: str, callback: Any) -> None:
        self.callbacks[name].append(callback)

    def unregister(self, name: str, callback: Any) -> None:
        self.callbacks[name].remove(callback)


class Shell:
    def __init__(self) -> None:
        self.events = Events()

    def run(self, name: str) -> None:
        for callback in self.events.callbacks[name]:
            callback(None)


class Pages:
    """What the browsers' side of a widget hears, and what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "kernel_id", lambda: "k1")
        self.heard: list[tuple[dict[str, Any], bytes]] = []
        self.shell = Shell()
        self.link = Link(self.push, Idleness(self.shell), lambda: None)

    def push(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self.heard.append((content, b"".join(bytes(b) for b in buffers)))

    def say(self, page: str, kind: str, message: Any = None) -> None:
        text = {} if message is None else {"text": json.dumps(message)}
        self.link.receive({"page": page, "type": kind, **text})

    def messages(self, page: str) -> list[dict[str, Any]]:
        """What one page was sent, put together."""
        found, parts = [], b""
        for content, part in list(self.heard):
            if content["page"] == page and content["kind"] == "said":
                parts += part
                if content["last"]:
                    data = zlib.decompress(parts) if content["packed"] == "deflate" else parts
                    found.append(json.loads(data))
                    parts = b""
        return found

    def count(self, page: str, kind: str) -> int:
        return sum(1 for m in self.messages(page) if m["type"] == kind)

    def closed(self, page: str) -> list[str]:
        return [c["reason"] for c, _ in self.heard if (c["page"], c["kind"]) == (page, "closed")]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pages]:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    made = Pages(monkeypatch)
    yield made
    made.link.close()
    for thread in threading.enumerate():
        if thread.name == "fanlight-panel":
            thread.join(60)
            assert not thread.is_alive()


async def test_all_pages_are_served_until_one_is_heard(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that the kernel cannot hear yet sees the runtime, whenever it comes."""
    monkeypatch.setattr(panel_link, "RENEW", 0.05)
    async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
        pages.link.open()
        await eventually(lambda: pages.count("", "snapshot") >= 1)
        before = pages.count("", "snapshot")
        while pages.count("", "snapshot") < before + 2:  # it begins anew by itself
            await node.step()
            await asyncio.sleep(0.02)
        pages.say("p1", "hello")
        await eventually(lambda: pages.count("p1", "snapshot") == 1)
        await eventually(lambda: node.observers == 1)
        assert pages.link.pages == ["p1"]
        numbers = [c["n"] for c, _ in pages.heard if c["page"] == "p1"]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_page_asks_pauses_and_leaves(pages: Pages) -> None:
    async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
        pages.link.open()
        pages.say("p1", "opened")  # the comm itself: no message
        pages.say("p1", "hello")
        pages.say("p1", "say", {"type": "follow"})  # of its own kernel's runtime
        await eventually(lambda: pages.count("p1", "snapshot") >= 1)
        pages.say("p2", "hello")
        await eventually(lambda: pages.count("p2", "snapshot") >= 1)

        ask = {"type": "ask", "id": 7, "query": {"what": "why", "id": "0" * 48}}
        pages.say("p1", "say", ask)
        await eventually(lambda: pages.count("p1", "answer") == 1)
        assert pages.count("p2", "answer") == 0  # nobody else's

        pages.say("p1", "say", {"type": "pause"})
        pages.say("p2", "say", {"type": "pause"})
        await eventually(lambda: node.observers == 0)
        seen = len(pages.heard)
        for _ in range(5):
            await node.step()
        assert len(pages.heard) == seen  # hidden: nothing at all

        pages.say("p1", "say", {"type": "resume"})
        await eventually(lambda: pages.count("p1", "snapshot") >= 2)
        pages.say("p1", "bye")
        await eventually(lambda: node.observers == 0 and pages.link.pages == ["p2"])
        pages.say("p1", "say", {"type": "resume"})  # one that the kernel has forgotten
        await eventually(lambda: len(pages.closed("p1")) == 1)


@pytest.mark.parametrize("end", [panel_link._Again, panel_link._Silent])
@pytest.mark.parametrize("name", [panel_link.ALL, "p1"])
async def test_who_is_replaced_as_it_ends_takes_nobody_along(
    pages: Pages, name: str, end: type[Exception]
) -> None:
    """A page says hello in the moment in which what served it until then begins anew, or gives up."""
    link, gate = pages.link, asyncio.Event()

    async def run() -> None:
        await gate.wait()
        raise end

    link.join(name)
    old = link._pages[name]
    old.follower.run = run  # type: ignore[method-assign]
    await asyncio.sleep(0)
    gate.set()  # its task goes on after this one, and before it hears that it was dropped
    link.join("p1")
    new = link._pages["p1"]
    await asyncio.wait([old.task])
    try:
        assert list(link._pages.values()) == [new]
    finally:
        await link._end()


async def test_who_is_silent_while_the_kernel_has_time_is_dropped(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_link, "ASK", 3)
    monkeypatch.setattr(panel_link, "PATIENCE", 0.2)
    async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
        pages.link.open()
        pages.say("p1", "hello")
        await eventually(lambda: pages.count("p1", "snapshot") == 1)
        while not any(content.get("alive") for content, _ in pages.heard):
            await node.step()
            await asyncio.sleep(0)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:  # a cell runs, so the page cannot be heard
            await node.step()
            await asyncio.sleep(0.02)
        assert pages.link.pages == ["p1"]
        pages.shell.run("post_run_cell")
        while pages.link.pages:
            await node.step()
            await asyncio.sleep(0.02)
        await eventually(lambda: node.observers == 0)

        pages.say("p1", "hello")  # it was there after all
        await eventually(lambda: pages.link.pages == ["p1"])
        pages.shell.run("pre_run_cell")


async def test_large_messages_are_cut_and_paced(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server drops what comes faster than it allows: what is above the burst has to wait."""
    monkeypatch.setattr(panel_link, "PART", 1000)
    script = random.Random(1).randbytes(150_000)  # the real one may not be built
    monkeypatch.setattr(standalone, "charts", lambda: gzip.compress(script))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    pages.link.open()
    await eventually(lambda: pages.count("", "status") >= 1)
    pages.say("p1", "charts")
    await eventually(lambda: any(c["kind"] == "charts" and c["last"] for c, _ in pages.heard))
    parts = [part for content, part in pages.heard if content["kind"] == "charts"]
    assert max(map(len, parts)) <= 1000 and len(parts) > 100
    assert gzip.decompress(b"".join(parts)) == script

    link = Link(pages.push, Idleness(pages.shell), lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(panel_link, "pause", sleep)
        incompressible = gzip.compress(bytes(range(256)) * 20)
        for _ in range(3):
            await link.send(lambda: 1, {"page": "x", "kind": "said"}, incompressible, "gzip")
        assert not slept
        link._budget = 0.0
        patch.setattr(panel_link, "PACE", 1.0)  # however slow this machine is, it is faster
        await link.send(lambda: 1, {"page": "x", "kind": "said"}, incompressible, "gzip")
    assert slept and all(0 < seconds < 1000 for seconds in slept)


async def test_nonsense_of_pages(pages: Pages) -> None:
    """What none of ours says closes that page, and nothing else happens."""
    pages.link.open()
    for said in (None, 3, {}, {"page": 5}, {"page": ""}, {"page": "x" * 10_000, "type": "hello"}):
        pages.link.receive(said)
    bad: tuple[Any, ...] = (
        [],
        {"type": "nothing"},
        {"type": "follow", "kernel_id": "../x"},
        "x" * 5000,
    )
    for number, message in enumerate(bad):
        name = f"bad{number}"
        pages.say(name, "hello")
        pages.say(name, "say", message)
        await eventually(lambda name=name: len(pages.closed(name)) == 1)
    for number in range(panel_link.PAGES + 3):
        pages.say(f"many{number}", "hello")
    await eventually(lambda: "many10" in pages.link.pages)
    assert len(pages.link.pages) <= panel_link.PAGES


def test_idleness_lets_go_of_the_shell() -> None:
    shell = Shell()
    idle = Idleness(shell)
    assert idle.since() == float("inf")
    shell.run("post_run_cell")
    assert idle.since() <= time.monotonic()
    shell.run("pre_run_cell")
    assert idle.since() == float("inf")
    del idle
    assert shell.events.callbacks == {"pre_run_cell": [], "post_run_cell": []}
