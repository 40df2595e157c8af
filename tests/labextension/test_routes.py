"""What the HTTP routes answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from fanlight import messages as m

from .conftest import eventually
from .fake_node import FakeNode, Simulation


async def post(jp_fetch: Any, path: str, body: object) -> Any:
    response = await jp_fetch(
        "fanlight", "api", "runtimes", *path.split("/"), method="POST", body=json.dumps(body)
    )
    return json.loads(response.body)


async def code_of(jp_fetch: Any, path: str, body: object) -> int:
    with pytest.raises(HTTPClientError) as failed:
        await post(jp_fetch, path, body)
    return int(failed.value.code)


async def test_runtimes_are_listed_without_secrets(jp_fetch: Any) -> None:
    async with FakeNode(Simulation(), kernel_ids=["k1"]) as node:
        response = await jp_fetch("fanlight", "api", "runtimes")
        assert json.loads(response.body) == [
            {
                "runtime_id": "simulated",
                "name": "lesson",
                "engine": "local",
                "pid": node.info.pid,
                "kernel_ids": ["k1"],
                "created": node.info.created,
            }
        ]
        text = response.body.decode()
        assert node.token not in text
        assert node.info.socket not in text
    response = await jp_fetch("fanlight", "api", "runtimes")
    assert json.loads(response.body) == []


async def test_query_task_and_group(jp_fetch: Any) -> None:
    async with FakeNode(Simulation()) as node:
        await node.step(1.0)
        waiting = f"{8:048x}"
        answer = await post(jp_fetch, "simulated/query", {"what": "task", "id": waiting})
        assert answer["task"]["name"] == "sum_of_primes"
        assert "CPU" in answer["why"]
        assert answer["lines"][1] == {"depth": 1, "label": "CPU", "text": "asks for 1", "task": ""}
        answer = await post(jp_fetch, "simulated/query", {"what": "why", "id": "a" * 32})
        assert answer["sentence"] == "`Model` waits for 1 GPU."
        wrong = {"what": "why", "id": "zz"}
        assert await code_of(jp_fetch, "simulated/query", wrong) == 400
        answer = await post(
            jp_fetch, "simulated/query", {"what": "group_tasks", "group": 1, "limit": 5}
        )
        assert [t["id"] for t in answer["tasks"]] == [f"{i:048x}" for i in range(4, 9)]
        unknown = {"what": "task", "id": "f" * 48}
        assert await code_of(jp_fetch, "simulated/query", unknown) == 404
        await eventually(lambda: node.observers == 0)


async def test_commands_reach_the_runtime(jp_fetch: Any) -> None:
    async with FakeNode(Simulation()) as node:
        await node.step(1.0)
        task = f"{5:048x}"
        await post(jp_fetch, "simulated/command", {"action": "cancel", "task": task})
        await post(jp_fetch, "simulated/command", {"action": "kill_actor", "actor": "c0" * 16})
        await post(jp_fetch, "simulated/command", {"action": "shutdown"})
        await eventually(lambda: len(node.received) == 3)
        cancel, kill, shutdown = node.received
        assert isinstance(cancel, m.Cancel)
        assert (cancel.task.hex(), cancel.force) == (task, False)
        assert isinstance(kill, m.KillActor)
        assert kill.actor == b"\xc0" * 16
        assert isinstance(shutdown, m.Shutdown)
        assert node.simulation.jobs[task].view.state == "CANCELLED"


async def test_commands_that_the_runtime_answers(jp_fetch: Any) -> None:
    async with FakeNode(Simulation()) as node:
        answer = await post(jp_fetch, "simulated/command", {"action": "scale", "cpus": 1})
        assert answer == {"ok": True}
        body = {"action": "scale", "cpus": 9999}
        assert await code_of(jp_fetch, "simulated/command", body) == 404
        await eventually(lambda: node.observers == 0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"action": "rm"},
        {"action": "cancel", "task": "xyz"},
        {"action": "cancel", "task": "0" * 48, "extra": 1},
        {"action": "cancel", "task": "0" * 48, "force": "yes"},
    ],
)
async def test_bad_commands_are_refused(jp_fetch: Any, body: object) -> None:
    async with FakeNode(Simulation()) as node:
        assert await code_of(jp_fetch, "simulated/command", body) == 400
        assert node.received == []


async def test_bad_queries_are_refused(jp_fetch: Any) -> None:
    async with FakeNode(Simulation()):
        for body in ({"what": "secrets"}, {"what": "group_tasks", "group": 1, "limit": 10**9}):
            assert await code_of(jp_fetch, "simulated/query", body) == 400
        long = {"what": "task", "id": "0" * 10_000}
        assert await code_of(jp_fetch, "simulated/query", long) == 413


async def test_unknown_runtime(jp_fetch: Any) -> None:
    assert await code_of(jp_fetch, "nobody/command", {"action": "shutdown"}) == 404


async def test_runtime_that_does_not_answer(jp_fetch: Any) -> None:
    node = FakeNode(Simulation())
    async with node:
        await node.vanish()  # the file stays, the socket is gone
        assert await code_of(jp_fetch, "simulated/command", {"action": "shutdown"}) == 502


async def test_wrong_connection_token_is_an_error(jp_fetch: Any) -> None:
    node = FakeNode(Simulation())
    async with node:
        node.token = "another"
        assert await code_of(jp_fetch, "simulated/command", {"action": "shutdown"}) == 502
        assert node.received == []
