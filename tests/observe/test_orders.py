"""What the panel orders a real runtime to do, as the desk passes it on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fanlight
from fanlight.observe import desk as desks
from fanlight.observe import discover
from fanlight.observe.client import AsyncObserver
from tests.engines.support import poll


async def do(*commands: dict[str, Any]) -> list[Any]:
    """What came of each command, given to the runtime of this process."""
    info = next(i for i in discover.runtimes() if i.runtime_id == _runtime())
    observer = await AsyncObserver.attach(info)

    async def read() -> None:
        async for _ in observer.payloads():
            pass

    reader = asyncio.create_task(read())

    async def nowhere(payload: bytes) -> None:
        raise AssertionError("nobody hears this")

    desk = desks.Desk(nowhere)
    desk.attach(observer)
    try:
        decoder = desks.q.command_decoder
        return [await desk.do(decoder.decode(msgspec.json.encode(c))) for c in commands]
    finally:
        observer.close()
        await reader


def _runtime() -> str:
    return fanlight.session.require().runtime_id


@pytest.fixture
def runtime() -> Any:
    fanlight.init(num_cpus=2)
    yield fanlight
    fanlight.shutdown()


def test_cancel_a_function(runtime: Any, tmp_path: Path) -> None:
    @fanlight.remote
    def waits(path: str) -> None:
        import time
        from pathlib import Path

        Path(path).touch()
        while True:
            time.sleep(0.01)

    @fanlight.remote
    def other() -> str:
        return "done"

    refs = [waits.remote(str(tmp_path / str(i))) for i in range(40)]
    last = other.remote()
    known = fanlight.session.require().engine.query("graph")["groups"]
    groups = [number for number, name, *_ in known if name == "waits"]
    assert asyncio.run(do({"action": "cancel_groups", "groups": groups})) == [40]
    for ref in refs:
        with pytest.raises(fanlight.errors.TaskCancelledError):
            fanlight.get(ref, timeout=60)
    assert fanlight.get(last, timeout=60) == "done"


def test_cancel_calls_that_only_their_caller_knows(runtime: Any) -> None:
    """They went straight to the actor, which names no more than fifty at a time to the node."""

    @fanlight.remote
    class Actor:
        def until_cancelled(self, count: int) -> int:
            import time

            from fanlight import messages, session

            cancel: Any = session.require_client().handlers[messages.CancelRunning]
            cancelled = cancel.__self__.cancelled
            deadline = time.monotonic() + 60
            while len(cancelled) < count and time.monotonic() < deadline:
                time.sleep(0.005)
            return len(cancelled)

        def work(self) -> str:
            return "done"

        def other(self) -> str:
            return "done"

    actor = Actor.remote()
    line = fanlight.session.require_client().channels.lines

    def straight() -> bool:
        fanlight.get([actor.work.remote(), actor.other.remote()], timeout=60)
        return bool(line[actor._id].direct)

    assert poll(straight)
    first = actor.until_cancelled.remote(300)
    refs = [actor.work.remote() for _ in range(300)]
    last = actor.other.remote()
    known = fanlight.session.require().engine.query("graph")["groups"]
    groups = [number for number, name, *_ in known if name == "Actor.work"]
    assert len(groups) == 1
    asyncio.run(do({"action": "cancel_groups", "groups": groups}))
    assert fanlight.get(first, timeout=90) == 300
    for ref in refs:
        with pytest.raises(fanlight.errors.TaskCancelledError):
            fanlight.get(ref, timeout=60)
    assert fanlight.get(last, timeout=60) == "done"


def test_scale(runtime: Any) -> None:
    assert asyncio.run(do({"action": "scale", "cpus": 5}, {"action": "scale", "cpus": 3})) == [2, 5]
    assert fanlight.cluster_resources()["CPU"] == 3
    with pytest.raises(msgspec.ValidationError):
        asyncio.run(do({"action": "scale", "cpus": -1}))


def test_again_is_what_it_was(runtime: Any) -> None:
    fanlight.shutdown()
    fanlight.init(num_cpus=3, name="mine", resources={"disk": 2})
    before = _runtime()
    fanlight.scale(9)
    fanlight.shutdown()
    session = fanlight.session.again()
    assert session.connection is not None and session.connection.name == "mine"
    assert _runtime() != before
    resources = fanlight.cluster_resources()
    assert (resources["CPU"], resources["disk"]) == (3, 2)
