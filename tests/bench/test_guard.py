"""The guard: no more work per task than recorded, and none that grows with the number of tasks.

Budgets are in ``budgets.json``; ``python -m tests.bench.guard --record`` writes them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import fanlight
from fanlight import ids, serialization
from fanlight import messages as m
from fanlight.client.link import SocketLink
from fanlight.testing.builders import method_spec, task_spec
from fanlight.wire import codec
from fanlight.wire.framing import FrameReader
from tests.bench import guard, workloads


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_within_its_budget_and_not_growing(name: str) -> None:
    few, many = guard.measure(name)
    found = guard.problems(name, few, many, guard.recorded())
    assert not found, "\n".join([*found, guard.ADVICE])


def test_messages_are_as_short_as_recorded() -> None:
    found = guard.bytes_problems(guard.recorded())
    assert not found, "\n".join([*found, guard.ADVICE])


def test_budgets_name_just_the_workloads() -> None:
    budgets = guard.recorded()
    for of_version in budgets["byte codes"].values():
        assert set(of_version) == set(workloads.WORKLOADS)
    assert set(budgets["counts"]) == set(workloads.WORKLOADS)


def test_the_guard_finds_what_is_dearer_and_what_grows() -> None:
    budgets = {"byte codes": {guard.PYTHON: {"f": 100.0}}, "counts": {"f": {"messages": 2.0}}}
    same = {"byte codes": 109.0, "messages": 2.0}
    assert guard.problems("f", same, same, budgets) == []
    dearer = {"byte codes": 111.0, "messages": 3.0}
    assert len(guard.problems("f", dearer, dearer, budgets)) == 2
    grows = {"byte codes": 80.0, "messages": 2.0}
    (found,) = guard.problems("f", grows, same, budgets)
    assert "grows" in found


def test_counts_repeat() -> None:
    assert workloads.core_burst(50) == workloads.core_burst(50)
    assert workloads.client_one_at_a_time(50) == workloads.client_one_at_a_time(50)


# --- system calls --------------------------------------------------------------------------------


class CountingSocket(socket.socket):
    sends = receives = 0

    def send(self, *arguments: Any) -> int:
        self.sends += 1
        return super().send(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        self.receives += 1
        return super().recv(*arguments)


def answer(sock: socket.socket) -> None:
    """A node that has every task done at once."""
    reader = FrameReader()
    while data := sock.recv(1 << 16):
        for frame in reader.feed(data):
            for message in codec.decode_from_client(frame):
                if type(message) is m.Submit:
                    oid = ids.object_id(message.task, 0)
                    value = m.Value(oid, m.INLINE, serialization.dumps(1).to_bytes(), 5)
                    sock.sendall(codec.encode([m.Objects([value])]))


def test_one_task_at_a_time_takes_one_send_and_one_receive() -> None:
    ours, theirs = socket.socketpair()
    counting = CountingSocket(fileno=ours.detach())
    node = threading.Thread(target=answer, args=(theirs,))
    node.start()
    try:
        with workloads.Driver() as driver:
            link = SocketLink(counting, driver.client.handle, lambda _: None, lambda: None)
            driver.client.link = link
            for _ in range(50):
                assert fanlight.get(driver.f.remote(1)) == 1
            link.close()
    finally:
        counting.close()
        node.join()
        theirs.close()
    assert (counting.sends, counting.receives) == (50, 50)


# --- what happens in C: ratios of times, both measured here ------------------------------------------


def cancel_in_the_queue(n: int) -> Callable[[], None]:
    """Cancel n queued tasks, the newest first."""
    shell = workloads.Shell(counted=False)
    spec = shell.define(task_spec("slow"))
    calls = [shell.call(spec) for _ in range(n + 2)]
    shell.send(calls)
    cancels = [(shell.driver, m.Cancel(call.task)) for call in reversed(calls[2:])]
    return lambda: _handle(shell, cancels)


def cancel_calls_of_an_actor(n: int) -> Callable[[], None]:
    shell = workloads.Shell(counted=False)
    actor = shell.actor()
    spec = shell.define(method_spec())
    calls = [shell.call(spec, actor=actor) for _ in range(n + 300)]  # so many are sent ahead
    shell.send(calls)
    cancels = [(shell.driver, m.Cancel(call.task)) for call in reversed(calls[300:])]
    return lambda: _handle(shell, cancels)


def a_driver_leaves(n: int) -> Callable[[], None]:
    shell = workloads.Shell(counted=False)
    spec = shell.define(task_spec("slow"))
    shell.send([shell.call(spec) for _ in range(n + 2)])
    return lambda: _handle(shell, [(shell.driver, workloads.fx.Disconnected())])


def workers_leave(n: int) -> Callable[[], None]:
    """As many processes as ever end while the driver holds n refs."""
    shell = workloads.Shell(counted=False)
    shell.put(n)
    actors = [shell.actor() for _ in range(n // 100)]
    kills = [(shell.driver, m.KillActor(actor)) for actor in actors]
    return lambda: shell.step(kills)


def _handle(shell: workloads.Shell, stimuli: list[tuple[int, object]]) -> None:
    shell.core.handle(stimuli, 1.0)


@pytest.mark.parametrize(
    "prepare", [cancel_in_the_queue, cancel_calls_of_an_actor, a_driver_leaves, workers_leave]
)
def test_time_per_thing_does_not_grow(prepare: Callable[[int], Callable[[], None]]) -> None:
    """Ten times as many take ten times as long; a scan for each would take a hundred times."""

    def shortest(n: int) -> float:
        times = []
        for _ in range(3):
            action = prepare(n)
            start = time.process_time()
            action()
            times.append(time.process_time() - start)
        return min(times)

    few, many = shortest(800), shortest(8_000)
    assert many < 30 * few, f"{few / 1e-3:.1f} ms for 800, {many / 1e-3:.1f} ms for 8,000"
