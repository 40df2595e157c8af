"""Actors that outlive their callers: drivers come, call over a channel, and leave or are killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from tests import leaks
from tests.faults.support import Driver, assert_gone, poll

CALLER = """
fanlight.init("auto", namespace="shared", log_to_driver=False)
actor = fanlight.get_actor("service")
lines = fanlight.session.current().client.channels.lines
end = time.monotonic() + 20
while time.monotonic() < end:
    fanlight.get(actor.add.remote(1))
    if lines[actor._id].direct:
        break
assert lines[actor._id].direct
held = fanlight.get([actor.large.remote() for _ in range(3)])
refs = [actor.add.remote(1) for _ in range(100)]
assert fanlight.get(refs) == sorted(fanlight.get(refs))
slow = [actor.slow.remote() for _ in range(5)]
say("called")
sys.stdin.readline()
assert fanlight.get(slow[:2]) == [7, 7]
"""


def test_a_detached_actor_and_many_drivers(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """What one caller leaves behind in the actor's process and in the node goes with it."""
    import fanlight

    fanlight.shutdown()
    fanlight.init(num_cpus=2, namespace="shared", log_to_driver=False)
    try:

        @fanlight.remote(num_cpus=0)
        class Service:
            def __init__(self) -> None:
                self.calls = 0

            def add(self, n: int) -> int:
                self.calls += n
                return self.calls

            def large(self) -> bytes:
                return bytes(300_000)

            def slow(self) -> int:
                import time

                time.sleep(0.02)
                return 7

            def use(self) -> dict[str, int]:
                import gc
                import os

                from fanlight.worker.channels import Callers

                (callers,) = [x for x in gc.get_objects() if isinstance(x, Callers)]
                lengths = {
                    name: len(value)
                    for name, value in vars(callers).items()
                    if isinstance(value, dict | set | list) and name not in ("_records", "_sums")
                }
                return lengths | {"descriptors": len(os.listdir("/proc/self/fd"))}

        service = Service.options(name="service", lifetime="detached").remote()

        def use() -> dict[str, int]:
            found: dict[str, Any] = fanlight.get(service.use.remote())
            found.pop("_running"), found.pop("_told"), found.pop("_waits")
            return found

        def store() -> tuple[int, int]:
            facts = fanlight.session.current().client.query("store")
            return facts["objects"], facts["used"] - facts["cached"]

        for _ in range(3):
            fanlight.get(service.add.remote(0))
        first = use()
        for i in range(4):
            one = driver(CALLER)
            one.hear("called")
            if i % 2:
                one.kill(signal.SIGKILL)
                one.wait()
            else:
                one.tell()
                assert one.wait() == 0, one.output()
        assert poll(lambda: use() == first), f"{use()}, not {first}"
        assert poll(lambda: store() == (1, 0)), f"{store()}: more than the handle"
        assert fanlight.get(service.add.remote(0)) >= 404
    finally:
        fanlight.shutdown()
    assert_gone(before)
