"""What the HTTP routes answer."""

from __future__ import annotations

import json
from typing import Any

from .fake_node import FakeNode, Simulation


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
