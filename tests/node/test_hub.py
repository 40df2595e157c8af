"""What observers cost the node: bounded by counts, and by time against a yardstick."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from fanlight import events as e
from fanlight.core import views
from fanlight.node import hub as hubs
from fanlight.node.hub import Hub
from fanlight.observe.discover import ConnectionInfo
from fanlight.testing.builders import task_spec
from fanlight.testing.simulation import SimulatedNode
from fanlight.wire import codec

OBSERVERS = 3


def make(cpus: float = 4) -> tuple[SimulatedNode, Any, Hub]:
    node = SimulatedNode(cpus=cpus, check=lambda core: None, capacity=1 << 40)
    info = ConnectionInfo(
        version=1, runtime_id="r", name="r", engine="local", pid=1, socket="", token="",
        session_dir="", created=0.0, kernel_ids=[],
    )  # fmt: skip
    hub = Hub(node.core, info, "1")
    hub._sample = lambda: None  # type: ignore[method-assign]  # processes that do not exist
    return node, node.driver(), hub


def watched(hub: Hub, now: float) -> None:
    for peer in range(1000, 1000 + OBSERVERS):
        hub.attach(peer)
    hub.tick(now)


def told(out: list[tuple[int, list[Any]]]) -> e.Delta | None:
    """The event of one tick; all observers get the same one, which is encoded once."""
    if not out:
        return None
    assert len(out) == OBSERVERS
    assert len({id(messages) for _, messages in out}) == 1
    return msgspec.json.decode(out[0][1][0].payload, type=e.Delta)


def records(delta: e.Delta) -> int:
    lists = (
        delta.groups,
        delta.edges,
        delta.tasks,
        delta.actors,
        delta.errors,
        delta.workers or (),
    )
    return sum(map(len, lists))


def test_the_more_is_told_the_longer_the_next_event_waits() -> None:
    node, driver, hub = make()
    specs = [task_spec(f"f{i}") for i in range(1500)]
    for spec in specs:
        driver.submit(spec)
    now = node.now
    watched(hub, now)
    total = events = 0
    seen: set[int] = set()
    for _ in range(100):  # ten seconds, in which all groups change all the time
        now += 0.1
        node.core.now = now
        for group in node.core.groups.values():
            node.core.changed_groups.add(group.number)
        delta = told(hub.tick(now))
        if delta is not None:
            events += 1
            total += records(delta)
            seen.update(group.id for group in delta.groups)
    assert total <= hubs._RECORDS_A_SECOND * 10 * 1.2
    assert events >= 10
    assert len(seen) == 1500  # nothing is left out for good
    # A little that changes is told at once, ten times a second.
    for _ in range(5):
        now += 1.0
        hub.tick(now)
    for _ in range(10):
        now += 0.1
        node.core.now = now
        node.core.changed_groups.add(3)
        delta = told(hub.tick(now))
        assert delta is not None and [group.id for group in delta.groups] == [3]


def test_nobody_looks_and_nothing_is_done(monkeypatch: Any) -> None:
    node, driver, hub = make()
    watched(hub, node.now)
    for peer in list(hub.observers):
        hub.detach(peer)
    driver.submit(task_spec("f"))
    for name in ("task_view", "group_view", "object_views", "worker_view"):
        monkeypatch.setattr(views, name, lambda *_: 1 / 0)
    for i in range(20):
        assert hub.tick(node.now + i / 10) == []
    assert not node.core.watched and not node.core.changed_tasks


def test_what_is_mapped_is_not_added_up_anew() -> None:
    node, driver, hub = make()
    refs = [driver.put(1000) for _ in range(5)]
    watched(hub, node.now)
    view = views.store_view(node.core)
    assert view.pinned == node.core.objects.mapped > 0
    driver.drop(*refs)
    assert views.store_view(node.core).pinned == 0


def test_three_browsers_cost_little() -> None:
    """Two busy seconds at ten events a second, on a node that has much, against a yardstick: a loop
    that takes about 0.1 s of one core. 3 % of a core would be 0.06 s."""
    node, driver, hub = make(cpus=8)
    for _ in range(10_000):
        driver.put(200)
    specs = [task_spec(f"f{i}") for i in range(20)]
    for i in range(2_000):
        driver.submit(specs[i % 20])
    watched(hub, node.now)
    spent: list[float] = []
    now = node.now
    for _ in range(3):
        spent.append(0.0)
        for _ in range(20):
            for worker in node.busy():
                worker.finish()
            now += 0.1
            node.core.now = now
            begin = time.process_time()
            last = None
            for _, messages in hub.tick(now):
                if messages is not last:
                    last = messages
                    codec.encode(messages)
            spent[-1] += time.process_time() - begin
    assert min(spent) < 0.6 * min(yardstick() for _ in range(3)), spent


def yardstick() -> float:
    begin = time.process_time()
    table: dict[int, int] = {}
    for i in range(1_000_000):
        table[i & 1023] = i
    return time.process_time() - begin
