"""Metrics: how changes of many processes become series, and what Prometheus reads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fanlight import messages as m
from fanlight.core import metrics
from fanlight.testing.builders import task_spec
from fanlight.testing.simulation import SimulatedNode


def change(name: str, kind: int, value: float, **tags: str) -> m.MetricChange:
    return m.MetricChange(name, kind, f"the {name}", tags, value)


def observed(name: str, bounds: list[float], counts: list[int], total: float) -> m.MetricChange:
    return m.MetricChange(name, m.HISTOGRAM, "", {}, total, bounds, counts)


def text_of(node: SimulatedNode) -> list[str]:
    return node.core.metrics.text().splitlines()


def test_counters_of_all_processes_add_up() -> None:
    node = SimulatedNode(1)
    one, two = node.driver(), node.driver()
    one.send(m.Metrics([change("hits", m.COUNTER, 2.0, page="a")]))
    two.send(m.Metrics([change("hits", m.COUNTER, 3.0, page="a")]))
    two.send(m.Metrics([change("hits", m.COUNTER, 1.0, page='b"\n\\')]))
    lines = text_of(node)
    assert lines[:2] == ["# HELP ray_hits_total the hits", "# TYPE ray_hits_total counter"]
    assert 'ray_hits_total{page="a"} 5.0' in lines
    assert 'ray_hits_total{page="b\\"\\n\\\\"} 1.0' in lines


def test_a_name_that_ends_with_total_keeps_it() -> None:
    node = SimulatedNode(1)
    node.driver().send(m.Metrics([change("hits_total", m.COUNTER, 1.0)]))
    assert "ray_hits_total 1.0" in text_of(node)


def test_of_a_gauge_the_latest_value_counts() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    for value in (5.0, 2.5):
        driver.send(m.Metrics([change("depth", m.GAUGE, value)]))
    assert "ray_depth 2.5" in text_of(node)
    driver.send(m.Metrics([change("depth", m.GAUGE, float("inf"))]))
    assert "ray_depth +Inf" in text_of(node)


def test_histograms_are_cumulative() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    for counts, total in (([1, 0, 2], 21.0), ([0, 3, 0], 4.5)):
        driver.send(m.Metrics([observed("size", [1.0, 2.0], counts, total)]))
    assert [x for x in text_of(node) if x.startswith("ray_size")] == [
        'ray_size_bucket{le="1.0"} 1',
        'ray_size_bucket{le="2.0"} 4',
        'ray_size_bucket{le="+Inf"} 6',
        "ray_size_sum 25.5",
        "ray_size_count 6",
    ]


def test_what_does_not_fit_is_refused_once_with_a_notice() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.send(m.Metrics([change("hits", m.COUNTER, 1.0)]))
    for _ in range(3):
        driver.send(m.Metrics([change("hits", m.GAUGE, 7.0)]))
    driver.send(m.Metrics([observed("size", [1.0], [1, 0], 0.5)]))
    driver.send(m.Metrics([observed("size", [2.0], [1, 0], 0.5)]))
    assert len(driver.notices) == 2
    assert "'hits'" in driver.notices[0] and "counter already" in driver.notices[0]
    assert "boundaries are [1.0]" in driver.notices[1]
    lines = text_of(node)
    assert "ray_hits_total 1.0" in lines
    assert "fanlight_metric_changes_dropped_total 4" in lines


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_SERIES", 3)
    node = SimulatedNode(1, check=lambda core: None)
    driver = node.driver()
    for i in range(5):
        driver.send(m.Metrics([change("hits", m.COUNTER, 1.0, id=str(i))]))
    driver.send(m.Metrics([change("hits", m.COUNTER, 1.0, id="0")]))  # known: still counted
    driver.send(m.Metrics([change("other", m.COUNTER, 1.0)]))
    assert node.core.metrics.count == 3
    assert 'ray_hits_total{id="0"} 2.0' in text_of(node)
    assert len(driver.notices) == 2
    assert "a tag with many values" in driver.notices[0]


@pytest.mark.parametrize(
    "wrong",
    [
        m.MetricChange("a", 7, "", {}, 1.0),
        m.MetricChange("a", m.COUNTER, "", {}, 1.0, [], [1]),
        m.MetricChange("a", m.HISTOGRAM, "", {}, 1.0, [1.0], [1]),
    ],
)
def test_what_is_no_metric_ends_the_connection(wrong: m.MetricChange) -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.send(m.Metrics([wrong]))
    assert driver.peer not in node.clients


def test_the_notice_goes_to_the_driver_of_the_task() -> None:
    node = SimulatedNode(1)
    other, driver = node.driver(), node.driver()
    driver.submit(task_spec("f"))
    [worker] = node.busy()
    worker.send(m.Metrics([change("hits", m.COUNTER, 1.0), change("hits", m.GAUGE, 1.0)]))
    assert len(driver.notices) == 1 and not other.notices


def test_the_runtime_counts_itself() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    driver.submit(task_spec("done"))
    node.busy()[0].finish()
    driver.submit(task_spec("runs"))
    driver.submit(task_spec("waits", cpus=2))
    lines = text_of(node)
    for line in (
        'fanlight_tasks{state="FINISHED"} 1',
        'fanlight_tasks{state="RUNNING"} 1',
        'fanlight_tasks{state="PENDING_RESOURCES"} 1',
        'fanlight_workers{state="BUSY"} 1',
        'fanlight_resources{name="CPU",kind="total"} 2.0',
        'fanlight_resources{name="CPU",kind="free"} 1.0',
        "fanlight_objects 3",
    ):
        assert line in lines, line
    assert any(x.startswith('fanlight_store_bytes{kind="capacity"} ') for x in lines)


def test_it_can_be_asked_for() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.send(m.Query(5, "prometheus"))
    answer: Any = msgspec.msgpack.decode(driver.replies[5].data)
    assert answer == node.core.metrics.text()
