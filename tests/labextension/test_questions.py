"""Questions on the socket: several at a time, each answered, and none that holds the others up."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest

from fanlight import messages as m
from fanlight.observe import desk as desks

from .conftest import Browser, OpenBrowser, eventually
from .fake_node import FakeNode, Simulation

TASK = f"{8:048x}"


async def opened(open_browser: OpenBrowser) -> Browser:
    browser = await open_browser()
    await browser.say(type="follow", runtime_id="simulated")
    await browser.until("snapshot")
    return browser


async def test_asks_and_orders(open_browser: OpenBrowser) -> None:
    async with FakeNode(Simulation()) as node:
        browser = await opened(open_browser)
        await node.step(1.0)
        await browser.say(type="ask", id=7, query={"what": "task", "id": TASK})
        answer = await browser.until("answer", id=7)
        assert answer["data"]["task"]["name"] == "sum_of_primes"
        assert "CPU" in answer["data"]["why"]
        label = {"depth": 1, "label": "CPU", "text": "asks for 1", "task": ""}
        assert answer["data"]["lines"][1] == label
        await browser.say(type="ask", id=8, query={"what": "task", "id": "f" * 48})
        assert (await browser.until("answer", id=8))["error"] == "there is no such task"
        await browser.say(type="do", id=9, command={"action": "cancel", "task": TASK})
        assert (await browser.until("answer", id=9))["data"] is True
        await browser.say(type="ask", id=10, query={"what": "task", "id": TASK})
        answer = await browser.until("answer", id=10)
        assert answer["data"]["task"]["state"] == "CANCELLED"
        await browser.say(type="ask", id=11, query={"what": "why", "id": "a" * 32})
        answer = await browser.until("answer", id=11)
        assert answer["data"]["sentence"] == "`Model` waits for 1 GPU."
        newest = {"what": "group_tasks", "group": 1, "limit": 5}
        await browser.say(type="ask", id=12, query=newest)
        answer = await browser.until("answer", id=12)
        assert [t["id"] for t in answer["data"]["tasks"]] == [f"{i:048x}" for i in range(4, 9)]
        await browser.say(type="do", id=20, command={"action": "scale", "cpus": 1})
        assert (await browser.until("answer", id=20))["data"] is True
        await browser.say(type="do", id=21, command={"action": "scale", "cpus": 9999})
        refused = await browser.until("answer", id=21)  # by the runtime
        assert refused["error"] == "there are not so many CPUs"
        await browser.say(type="do", id=13, command={"action": "kill_actor", "actor": "c0" * 16})
        await browser.say(type="do", id=14, command={"action": "shutdown"})
        await eventually(lambda: len(node.received) == 10)
        orders = [x for x in node.received if not isinstance(x, m.Query | m.Scale)]
        cancel, kill, shutdown = orders
        assert isinstance(cancel, m.Cancel)
        assert (cancel.task.hex(), cancel.force) == (TASK, False)
        assert isinstance(kill, m.KillActor) and kill.actor == b"\xc0" * 16
        assert isinstance(shutdown, m.Shutdown)


async def test_what_is_no_question_is_told_so_and_the_socket_stays(
    open_browser: OpenBrowser,
) -> None:
    async with FakeNode(Simulation()) as node:
        browser = await opened(open_browser)
        for number, bad in enumerate(
            (
                {},
                {"what": "passwords"},
                {"what": "why", "id": "zz"},
                {"what": "group_tasks", "group": 1, "limit": 10**9},
            )
        ):
            await browser.say(type="ask", id=number, query=bad)
            assert "Bad question" in (await browser.until("answer", id=number))["error"]
        for number, bad in enumerate(
            (
                {},
                {"action": "rm"},
                {"action": "cancel", "task": "../x"},
                {"action": "cancel", "task": TASK, "extra": 1},
                {"action": "cancel", "task": TASK, "force": "yes"},
            ),
            start=20,
        ):
            await browser.say(type="do", id=number, command=bad)
            assert "Bad question" in (await browser.until("answer", id=number))["error"]
        assert node.received == []


async def test_without_a_runtime(open_browser: OpenBrowser) -> None:
    browser = await open_browser()
    await browser.until("status", state="none")
    await browser.say(type="ask", id=1, query={"what": "errors"})
    assert (await browser.until("answer", id=1))["error"] == "No runtime is attached."


async def test_a_slow_answer_holds_nothing_up_and_there_is_a_limit(
    open_browser: OpenBrowser, monkeypatch: Any
) -> None:
    monkeypatch.setattr(desks, "AT_ONCE", 3)
    monkeypatch.setattr(desks, "ANSWER_TIMEOUT", 600.0)
    async with FakeNode(Simulation()) as node:
        browser = await opened(open_browser)
        node.silent = {"why"}
        for number in range(2):
            await browser.say(type="ask", id=number, query={"what": "why", "id": TASK})
        await browser.say(type="ask", id=5, query={"what": "task", "id": "f" * 48})
        await browser.until("answer", id=5)  # the two before it are still open
        for number in (20, 21):
            await browser.say(type="ask", id=number, query={"what": "why", "id": TASK})
        refused = await browser.until("answer")
        assert (refused["id"], refused["error"]) == (21, "Too many questions at a time.")
        await node.step(1.0)
        await browser.until("delta")  # events go on, too
        await node.vanish()
        errors = {(await browser.until("answer"))["error"] for _ in range(3)}
        assert errors == {"The connection to the runtime was lost: it was closed"}


async def test_a_flood_costs_its_own_socket_only(
    open_browser: OpenBrowser, monkeypatch: Any
) -> None:
    """Refusals are no tasks, are few, and a browser that reads none of them is let go."""
    reading = asyncio.Event()

    async def send(payload: bytes) -> None:
        await reading.wait()
        sent.append(desks.msgspec.json.decode(payload)["id"])

    def ask(number: int) -> desks.q.Ask:
        query = desks.msgspec.Raw(b'{"what":"why","id":"%048x"}' % 8)
        return desks.q.Ask(number, query)

    sent: list[int] = []
    monkeypatch.setattr(desks, "REFUSALS", 30)
    desk = desks.Desk(send)
    before = len(asyncio.all_tasks())
    for number in range(desks.AT_ONCE + 30):
        desk.take(ask(number))
    with pytest.raises(ValueError, match="without end"):
        desk.take(ask(99))
    assert len(asyncio.all_tasks()) - before == desks.AT_ONCE + 1
    reading.set()  # it was slow only: it is answered, and may ask again
    await eventually(lambda: len(sent) == desks.AT_ONCE + 30 and desk.open == 0)
    desk.take(ask(100))
    await eventually(lambda: sent[-1] == 100)
    await desk.close()

    monkeypatch.setattr(desks, "REFUSALS", 0)
    async with FakeNode(Simulation()) as node:
        node.silent = {"why"}
        browsers = [await opened(open_browser) for _ in range(2)]
        for number in range(desks.AT_ONCE + 5):
            await browsers[0].say(type="ask", id=number, query={"what": "why", "id": TASK})
        while await browsers[0].next() is not None:
            pass
        assert browsers[0].socket.close_code == 1008
        await browsers[1].say(type="ask", id=1, query={"what": "task", "id": TASK})
        answer = await browsers[1].until("answer", id=1)
        assert answer["error"] == "there is no such task"  # the runtime says so


async def test_who_does_not_answer_in_time(open_browser: OpenBrowser, monkeypatch: Any) -> None:
    monkeypatch.setattr(desks, "ANSWER_TIMEOUT", 0.01)
    async with FakeNode(Simulation()) as node:
        browser = await opened(open_browser)
        node.silent = {"why"}
        await browser.say(type="ask", id=1, query={"what": "why", "id": TASK})
        error = (await browser.until("answer", id=1))["error"]
        assert error == "The runtime did not answer in time."


async def test_a_desk_that_closes_leaves_no_task() -> None:
    async with FakeNode(Simulation()) as node:
        node.silent = {"errors"}
        observer = await desks.AsyncObserver.attach(node.info)
        sent: list[bytes] = []

        async def send(payload: bytes) -> None:
            sent.append(payload)

        desk = desks.Desk(send)
        desk.attach(observer)
        desk.take(desks.q.Ask(1, desks.msgspec.Raw(b'{"what":"errors"}')))
        await asyncio.sleep(0)
        assert desk.open == 1
        await desk.close()
        assert desk.open == 0
        assert sent == []
        observer.close()


class Answers:
    """An observer with one question, which the test answers."""

    def __init__(self) -> None:
        self.welcome: dict[str, Any] = {}
        self.asked = asyncio.Event()
        self.reply: asyncio.Future[m.Reply] = asyncio.get_running_loop().create_future()

    async def request(self, make: Any) -> m.Reply:
        self.asked.set()
        return await self.reply

    def answer(self, data: Any) -> None:
        self.reply.set_result(m.Reply(1, desks.msgspec.msgpack.encode(data)))


async def test_a_browser_that_goes_as_its_answer_comes_is_sent_nothing() -> None:
    observer: Any = Answers()
    sent: list[bytes] = []

    async def send(payload: bytes) -> None:
        sent.append(payload)

    desk = desks.Desk(send)
    desk.attach(observer)
    desk.take(desks.q.Ask(1, desks.msgspec.Raw(b'{"what":"errors"}')))
    # Before the question's own task has its turn.
    observer.reply.add_done_callback(lambda _: [task.cancel() for task in desk._tasks])
    await observer.asked.wait()
    observer.answer([])
    while desk.open:
        await asyncio.sleep(0)
    assert sent == []


async def test_a_runtime_that_goes_as_it_answers() -> None:
    observer: Any = Answers()
    desk = desks.Desk(AsyncMock())
    desk.attach(observer)
    asking = asyncio.ensure_future(desk.ask(desks.q.QueryObjects()))
    await observer.asked.wait()
    observer.answer({"rows": [], "count": 0})
    desk.detach()
    assert await asking == {"rows": [], "count": 0}


async def test_a_fault_is_told_to_who_asked(open_browser: OpenBrowser, monkeypatch: Any) -> None:
    async def broken(self: desks.Desk, query: Any) -> Any:
        raise ZeroDivisionError("one by none")

    async with FakeNode(Simulation()):
        browser = await opened(open_browser)
        monkeypatch.setattr(desks.Desk, "ask", broken)
        await browser.say(type="ask", id=7, query={"what": "errors"})
        answer = await browser.until("answer", id=7)
        assert answer["error"] == "It could not be answered: ZeroDivisionError: one by none"
