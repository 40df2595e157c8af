"""Figures that user code keeps, and the runtime's own, as Prometheus reads them.

Each process adds up what its code recorded and sends the changes; here they become one series for
each name and set of tags, whichever process they came from. Counters and histograms add up; of a
gauge the value that arrived last counts. The number of series is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core.model import ACTOR_STATES, TASK_STATES, WORKER_STATES, ProtocolViolation

if TYPE_CHECKING:
    from fanlight.core.machine import Core

MOST_SERIES = 2000
Tags = tuple[tuple[str, str], ...]
_KINDS = ("counter", "gauge", "histogram")


class Series:
    __slots__ = ("counts", "value")

    def __init__(self, buckets: int) -> None:
        self.value = 0.0  # of a histogram: the sum of what was observed
        self.counts = [0] * buckets  # of a histogram: by bucket, the last one has no bound


class Metric:
    """All series of one name."""

    def __init__(self, change: m.MetricChange) -> None:
        self.kind = change.kind
        self.text = change.text
        self.boundaries = change.boundaries
        self.series: dict[Tags, Series] = {}


class Metrics:
    """Called by the core with ``Metrics`` messages, and by the query "prometheus"."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.table: dict[str, Metric] = {}
        self.count = 0  # series
        self.dropped = 0  # changes that were not taken
        self._told: set[str] = set()  # names whose user knows that changes were not taken

    def record(self, peer: int, message: m.Metrics) -> None:
        for change in message.changes:
            problem = self._fold(change)
            if problem:
                self._refuse(peer, change.name, problem)

    def _fold(self, change: m.MetricChange) -> str:
        """Take one change in; returns why it cannot be."""
        buckets = len(change.boundaries) + 1 if change.kind == m.HISTOGRAM else 0
        if change.kind not in (m.COUNTER, m.GAUGE, m.HISTOGRAM) or len(change.counts) != buckets:
            raise ProtocolViolation("a change of a metric that is none")
        metric = self.table.get(change.name)
        if metric is None:
            if self.count >= MOST_SERIES:
                return _too_many()
            metric = self.table[change.name] = Metric(change)
        if metric.kind != change.kind:
            was, now = _KINDS[metric.kind], _KINDS[change.kind]
            return f"it is a {was} already, and cannot be a {now} too"
        if metric.boundaries != change.boundaries:
            return f"its boundaries are {metric.boundaries} already, not {change.boundaries}"
        tags = tuple(sorted(change.tags.items()))
        series = metric.series.get(tags)
        if series is None:
            if self.count >= MOST_SERIES:
                return _too_many()
            series = metric.series[tags] = Series(buckets)
            self.count += 1
        if change.kind == m.GAUGE:
            series.value = change.value
            return ""
        series.value += change.value
        for i, count in enumerate(change.counts):
            series.counts[i] += count
        return ""

    def _refuse(self, peer: int, name: str, problem: str) -> None:
        self.dropped += 1
        if name in self._told or len(self._told) >= MOST_SERIES:
            return
        self._told.add(name)
        client = self._core.clients[peer]
        job = client.worker.job if client.worker is not None else client.job
        self._core.notice(job, f"Values of the metric {name!r} are not taken: {problem}.")

    # --- for Prometheus ----------------------------------------------------------------------

    def text(self) -> str:
        """All figures in Prometheus' text format, one metric after the other."""
        lines: list[str] = []
        for name in sorted(self.table):
            metric = self.table[name]
            lines += _lines(_public_name(name, metric.kind), metric)
        lines += _own_lines(self._core, self.dropped)
        return "\n".join(lines) + "\n"


def _too_many() -> str:
    return (
        f"there are {MOST_SERIES} series of values already, and there cannot be more. A series is "
        "made for each combination of tags: a tag with many values, such as an id, makes many"
    )


def _public_name(name: str, kind: int) -> str:
    total = kind == m.COUNTER and not name.endswith("_total")
    return f"ray_{name}_total" if total else f"ray_{name}"


def _lines(name: str, metric: Metric) -> Iterator[str]:
    yield from _head(name, _KINDS[metric.kind], metric.text)
    for tags, series in sorted(metric.series.items()):
        if metric.kind != m.HISTOGRAM:
            yield f"{name}{_tags(tags)} {_number(series.value)}"
            continue
        below = 0
        for bound, count in zip((*metric.boundaries, math.inf), series.counts, strict=True):
            below += count
            yield f"{name}_bucket{_tags((*tags, ('le', _number(bound))))} {below}"
        yield f"{name}_sum{_tags(tags)} {_number(series.value)}"
        yield f"{name}_count{_tags(tags)} {below}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    if text:
        escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
        yield f"# HELP {name} {escaped}"
    yield f"# TYPE {name} {kind}"


def _tags(tags: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in tags)
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _own_lines(core: Core, dropped: int) -> Iterator[str]:
    """The runtime's own figures; their prefix keeps them apart from the user's."""
    tasks = [0] * len(TASK_STATES)
    for group in core.groups.values():
        for state, count in enumerate(group.counts):
            tasks[state] += count
    actors = _count(len(ACTOR_STATES), (a.state for a in core.actors.table.values()))
    workers = _count(len(WORKER_STATES), (w.state for w in core.workers.values()))
    for what, states, counts in (
        ("tasks", TASK_STATES, tasks),
        ("actors", ACTOR_STATES, actors),
        ("workers", WORKER_STATES, workers),
    ):
        yield from _head(f"fanlight_{what}", "gauge", f"{what.capitalize()} by state")
        for name, count in zip(states, counts, strict=True):
            yield f'fanlight_{what}{{state="{name}"}} {count}'
    objects = core.objects
    yield from _head("fanlight_objects", "gauge", "Objects that somebody holds")
    yield f"fanlight_objects {len(objects.table)}"
    yield from _head("fanlight_store_bytes", "gauge", "Bytes of the object store")
    for name in ("capacity", "used", "cached", "inline"):
        yield f'fanlight_store_bytes{{kind="{name}"}} {getattr(objects, name)}'
    yield from _head("fanlight_resources", "gauge", "Resources of the node")
    total, free = core.resources(core.pool.total), core.resources(core.pool.available)
    for name in sorted(total):
        label = _escaped(name)
        yield f'fanlight_resources{{name="{label}",kind="total"}} {_number(total[name])}'
        yield f'fanlight_resources{{name="{label}",kind="free"}} {_number(free.get(name, 0.0))}'
    yield from _head(
        "fanlight_metric_changes_dropped_total", "counter", "Changes of metrics that were not taken"
    )
    yield f"fanlight_metric_changes_dropped_total {dropped}"


def _count(length: int, states: Iterable[int]) -> list[int]:
    counts = [0] * length
    for state in states:
        if state >= 0:
            counts[state] += 1
    return counts
