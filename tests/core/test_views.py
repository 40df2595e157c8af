"""Which of very many tasks observers are told of."""

from __future__ import annotations

import pytest

from fanlight import events
from fanlight.core import views
from fanlight.core.model import RUNNING
from fanlight.testing.builders import task_spec
from fanlight.testing.simulation import SimulatedNode


def test_what_runs_is_told_whatever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TASK_LIMIT", 80)
    node = SimulatedNode(cpus=2)
    driver = node.driver()
    node.core.watched = True
    for _ in range(events.TASK_LIMIT):
        driver.submit(task_spec("f"))
    tasks = views.snapshot_tasks(node.core)
    assert [t.state for t in tasks[:3]].count(RUNNING) == 2
    assert len(tasks) == len({t.id for t in tasks}) == events.TASK_LIMIT // 2

    changed = views.delta_tasks(node.core, 20)
    assert len(changed) == len({t.id for t in changed}) == 20
    assert [t.state for t in changed].count(RUNNING) == 2

    for worker in node.busy():
        worker.finish()
    tasks = views.snapshot_tasks(node.core)
    assert [t.state for t in tasks].count(RUNNING) == 2  # the next ones
    assert len(tasks) == 2 + events.TASK_LIMIT // 2


def test_few_are_told_as_they_are() -> None:
    node = SimulatedNode(cpus=2)
    driver = node.driver()
    node.core.watched = True
    for _ in range(5):
        driver.submit(task_spec("f"))
    assert views.snapshot_tasks(node.core) == list(node.core.tasks.table.values())
    assert views.delta_tasks(node.core, 300) == list(node.core.changed_tasks.values())
