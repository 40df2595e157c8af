"""The socket: what a browser is told, in which order, and what it costs when nobody looks."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from fanlight.observe import discover
from fanlight_lab import follow

from .conftest import OpenBrowser, eventually
from .fake_node import FakeNode, Simulation


def simulation(name: str, start: float = 1_800_000_000.0) -> Simulation:
    return Simulation(runtime_id=name, start=start)


async def test_follows_a_kernel_and_passes_events_on(open_browser: OpenBrowser) -> None:
    browser = await open_browser()
    await browser.until("status", state="none")
    await browser.say(type="follow", kernel_id="k1")
    async with FakeNode(simulation("one"), kernel_ids=["k1"]) as node:
        listed = await browser.until("runtimes")
        while not listed["runtimes"]:
            listed = await browser.until("runtimes")
        assert "token" not in listed["runtimes"][0]
        assert "socket" not in listed["runtimes"][0]
        await browser.until("status", state="connecting", runtime_id="one")
        await browser.until("status", state="live", runtime_id="one")
        snapshot = await browser.until("snapshot")
        assert snapshot["seq"] == 0
        await node.step(1.0)
        delta = await browser.until("delta")
        assert delta["seq"] == 1
        assert len(delta["tasks"]) == 8
        await node.end("the kernel has gone")
        assert (await browser.until("ended"))["reason"] == "the kernel has gone"
        ended = await browser.until("status", state="none")
        assert ended["runtime_id"] == ""


async def test_a_kernel_without_runtime_says_so(open_browser: OpenBrowser) -> None:
    browser = await open_browser()
    await browser.say(type="follow", kernel_id="nothing")
    status = await browser.until("status", reason="This kernel has not started Fanlight.")
    assert status["state"] == "none"


async def test_each_status_says_what_it_is_of(open_browser: OpenBrowser) -> None:
    """Two kernels have one runtime: who follows the other one is told so, too."""
    browser = await open_browser()
    async with FakeNode(simulation("one"), kernel_ids=["k1", "k2"]):
        await browser.say(type="follow", kernel_id="k1")
        await browser.until("status", state="live", target="k1")
        await browser.say(type="follow", kernel_id="k2")
        await browser.until("status", state="live", target="k2")
        await browser.say(type="follow", kernel_id="k3")
        await browser.until("status", state="none", target="k3")


async def test_reattaches_after_a_restart(open_browser: OpenBrowser) -> None:
    browser = await open_browser()
    await browser.say(type="follow", kernel_id="k1")
    async with FakeNode(simulation("one"), kernel_ids=["k1"]) as first:
        await browser.until("snapshot")
        await first.end("the kernel restarted")
        await browser.until("ended")
        async with FakeNode(simulation("two", 1_800_000_100.0), kernel_ids=["k1"]):
            snapshot = await browser.until("snapshot")
            assert snapshot["runtime"]["id"] == "two"


async def test_takes_the_newest_runtime_of_a_kernel(open_browser: OpenBrowser) -> None:
    """After a restart the old node may live a moment longer than the new one is there."""
    browser = await open_browser()
    await browser.say(type="follow", kernel_id="k1")
    async with FakeNode(simulation("old"), kernel_ids=["k1"]) as old:
        assert (await browser.until("snapshot"))["runtime"]["id"] == "old"
        async with FakeNode(simulation("new", 1_800_000_100.0), kernel_ids=["k1"]):
            assert (await browser.until("snapshot"))["runtime"]["id"] == "new"
            await eventually(lambda: old.observers == 0)


async def test_kernel_attached_later(open_browser: OpenBrowser) -> None:
    """A second notebook joins a runtime: its connection file is written again."""
    browser = await open_browser()
    await browser.say(type="follow", kernel_id="k2")
    async with FakeNode(simulation("one"), kernel_ids=["k1"]) as node:
        await browser.until("status", state="none")
        node.info.kernel_ids.append("k2")
        discover.write(node.info)
        await browser.until("snapshot")


async def test_follow_one_runtime_by_name_and_change(open_browser: OpenBrowser) -> None:
    browser = await open_browser()
    async with FakeNode(simulation("one")) as one, FakeNode(simulation("two")) as two:
        await browser.say(type="follow", runtime_id="one")
        assert (await browser.until("snapshot"))["runtime"]["id"] == "one"
        await browser.say(type="follow", runtime_id="two")
        assert (await browser.until("snapshot"))["runtime"]["id"] == "two"
        await eventually(lambda: (one.observers, two.observers) == (0, 1))


async def test_lost_runtime_is_called_lost_and_found_again(
    open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RETRY", (0.02,))
    browser = await open_browser()
    await browser.say(type="follow", runtime_id="one")
    node = FakeNode(simulation("one"))
    async with node:
        await browser.until("snapshot")
        await node.vanish()
        assert (await browser.until("status", state="lost"))["reason"]
        async with FakeNode(simulation("one")):  # writes its own socket's path into the file
            await browser.until("status", state="live")
            await browser.until("snapshot")


@pytest.mark.parametrize("target", ["kernel_id", "runtime_id"])
async def test_a_runtime_that_died_is_not_called_ended_in_order(
    open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(follow, "RETRY", (0.02,))
    browser = await open_browser()
    await browser.say(type="follow", **{target: "one"})
    node = FakeNode(simulation("one"), kernel_ids=["one"])
    async with node:
        await browser.until("snapshot")
        await node.vanish()
        await browser.until("status", state="lost")
        discover.remove("one")  # as its zygote, or the next `init`, does
        assert "died" in (await browser.until("ended"))["reason"]
        await browser.until("status", state="none")
        async with FakeNode(simulation("two"), kernel_ids=["one"]):
            if target == "kernel_id":
                assert (await browser.until("snapshot"))["runtime"]["id"] == "two"


async def test_a_runtime_that_dies_again_and_again_costs_no_descriptors(
    open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that is there and does not answer."""
    monkeypatch.setattr(follow, "RETRY", (0.01,))
    browser = await open_browser()
    await browser.say(type="follow", kernel_id="k")
    counts = []
    for _ in range(8):
        async with FakeNode(simulation("one"), kernel_ids=["k"]) as node:
            await browser.until("snapshot")
            await node.vanish()
            await browser.until("status", state="lost")
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[1], counts


async def test_pause_costs_nothing(open_browser: OpenBrowser, jp_serverapp: Any) -> None:
    browser = await open_browser()
    await browser.say(type="follow", kernel_id="k1")
    async with FakeNode(simulation("one"), kernel_ids=["k1"]) as node:
        await browser.until("snapshot")
        watcher = the_watcher(jp_serverapp)
        assert watcher.running
        await browser.say(type="pause")
        await eventually(lambda: node.observers == 0 and not watcher.running)
        await node.step(1.0)
        await browser.say(type="resume")
        snapshot = await browser.until("snapshot")
        assert snapshot["seq"] == 1
        assert not [m for m in browser.seen if m["type"] == "delta"]


async def test_closing_the_socket_ends_everything(
    open_browser: OpenBrowser, jp_serverapp: Any
) -> None:
    browser = await open_browser()
    watcher = the_watcher(jp_serverapp)
    async with FakeNode(simulation("one")) as node:
        await browser.say(type="follow", runtime_id="one")
        await browser.until("snapshot")
        browser.socket.close()
        await eventually(lambda: node.observers == 0 and not watcher.running)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "shutdown"},
        {"type": "follow", "kernel_id": "../../etc"},
        {"type": "follow", "kernel_id": 5},
        {"type": "pause", "more": 1},
        {"type": "follow", "kernel_id": "k" * 5000},
    ],
)
async def test_bad_messages_close_the_socket(
    open_browser: OpenBrowser, message: dict[str, Any]
) -> None:
    browser = await open_browser()
    await browser.say(**message)
    while await browser.next() is not None:
        pass
    assert browser.socket.close_code == 1008


async def test_a_slow_browser_gets_a_new_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the follower attaches again; the node is never held back."""
    monkeypatch.setattr(follow, "QUEUE_LIMIT", 5)
    sent: list[bytes] = []
    gate = asyncio.Event()

    async def send(payload: bytes) -> None:
        sent.append(payload)
        if b'"type":"delta"' in payload:
            await gate.wait()

    from fanlight_lab.messages import Follow
    from fanlight_lab.watch import RuntimeWatcher

    follower = follow.Follower(RuntimeWatcher(0.02), send)
    follower.handle(Follow(runtime_id="one"))
    task = asyncio.create_task(follower.run())
    async with FakeNode(simulation("one")) as node:
        await eventually(lambda: any(b'"snapshot"' in p for p in sent))
        await node.step()
        await eventually(lambda: any(b'"delta"' in p for p in sent))
        for _ in range(20):
            await node.step()
            await asyncio.sleep(0.005)
        gate.set()
        await eventually(lambda: node.attached == 2)
        await eventually(lambda: sum(b'"type":"snapshot"' in p for p in sent) == 2)
        assert sum(b'"type":"delta"' in p for p in sent) < 20
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_browser_that_goes_while_its_follower_lets_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page is hidden and closed in one moment: the follower ends, and does not wait for ever."""
    from fanlight_lab.messages import Follow, Pause
    from fanlight_lab.watch import RuntimeWatcher

    async def send(payload: bytes) -> None:
        pass

    close = follow._Feed.close

    async def closing(feed: follow._Feed) -> None:
        asyncio.get_running_loop().call_soon(task.cancel)  # while it waits for the reader's end
        await close(feed)

    monkeypatch.setattr(follow._Feed, "close", closing)
    follower = follow.Follower(RuntimeWatcher(0.02), send)
    follower.handle(Follow(runtime_id="one"))
    task = asyncio.create_task(follower.run())
    async with FakeNode(simulation("one")) as node:
        await eventually(lambda: node.observers == 1)
        follower.handle(Pause())
        await eventually(task.done)
        assert task.cancelled()
        await eventually(lambda: node.observers == 0)


def the_watcher(jp_serverapp: Any) -> Any:
    for outer in jp_serverapp.web_app.default_router.rules:
        for rule in getattr(outer.target, "rules", []):
            if "watcher" in (getattr(rule, "target_kwargs", None) or {}):
                return rule.target_kwargs["watcher"]
    raise AssertionError("the socket's route is not registered")
