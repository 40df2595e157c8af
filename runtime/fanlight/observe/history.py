"""Histories that never end and never grow: what is new in full, what is old more coarsely.

The node keeps the use of the object store and the figures of GPUs this way, and the panel goes on
with what it was given (``labextension/src/model/history.ts`` has the same rule). Pure: no clock.

A row of age *a* may be merged with its neighbours into steps of *a* / 128 seconds, rounded down to a
power of two; of *a* / 64, *a* / 32, … where that leaves too many. So the last seconds are as they were
measured, and what is older is as fine as a picture of the whole can show; a week fits into 600 rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from fanlight import events as e

T = TypeVar("T")
_FINENESS = 128  # steps in the age of a row, at most


def groups(times: Sequence[float], limit: int) -> list[int]:
    """Where each group of rows that become one begins, so that at most 0.9 ``limit`` are left.

    ``times`` is in ascending order; ages count from the last.

    >>> groups([0, 1, 2, 3, 998, 999, 1000], 5)
    [0, 4, 5, 6]
    >>> groups([1.0, 2.0], 5)
    [0, 1]
    """
    now = times[-1] if times else 0.0
    fineness = float(_FINENESS)
    while True:
        starts: list[int] = []
        last: tuple[float, int] | None = None
        for i, time in enumerate(times):
            age = (now - time) / fineness
            if age > 0:
                step = 2.0 ** math.floor(math.log2(age))
                key = (step, math.floor(time / step))
                if key != last:
                    starts.append(i)
                last = key
            else:
                starts.append(i)
                last = None
        if len(starts) <= limit * 0.9 or fineness < 1 / 64:
            return starts
        fineness /= 2


def thinned(rows: list[T], limit: int, time: Callable[[T], float], merge: Callable[..., T]) -> None:
    """Make ``rows`` shorter, in place, when there are more than ``limit``. ``merge(rows)`` makes
    one row of several neighbours."""
    if len(rows) <= limit:
        return
    starts = groups([time(row) for row in rows], limit)
    rows[:] = [
        rows[a] if b - a == 1 else merge(rows[a:b]) for a, b in pairwise([*starts, len(rows)])
    ]


def one_store_row(rows: Sequence[e.StoreView]) -> e.StoreView:
    """Several neighbours as one: the peaks, and the last of what is counted."""
    last = rows[-1]
    return e.StoreView(
        **{
            field: getattr(last, field) if field in _LAST else max(getattr(r, field) for r in rows)
            for field in e.StoreView.__struct_fields__
        }
    )


_LAST = frozenset({"time", "capacity"})


class GpuHistories:
    """The figures of each device over time, in columns, as a snapshot has them."""

    def __init__(self, limit: int = e.HISTORY_LIMIT) -> None:
        self._limit = limit
        self._devices: dict[str, e.GpuHistory] = {}

    def add(self, time: float, views: Sequence[e.GpuView]) -> None:
        """A sample that was taken at ``time``. Devices that are gone for good are forgotten once
        there are many."""
        for view in views:
            key = device_key(view)
            series = self._devices.pop(key, None) or e.GpuHistory(key, [], [], [], [], [])
            self._devices[key] = series  # the last is the one that was seen last
            row = (
                time, view.utilization_percent, view.memory_used, view.temperature, view.power
            )  # fmt: skip
            for column, value in zip(_columns(series), row, strict=True):
                column.append(value)
        # All of them together may have as many rows as eight devices.
        limit = max(60, min(self._limit, 8 * self._limit // max(1, len(self._devices))))
        for series in self._devices.values():
            _thin(series, limit)
        while len(self._devices) > max(_DEVICES, len(views)):
            del self._devices[next(iter(self._devices))]

    def views(self) -> list[e.GpuHistory]:
        return list(self._devices.values())


_DEVICES = 64


def device_key(view: e.GpuView) -> str:
    """What a device is known by as long as the runtime lives."""
    return view.uuid or f"{view.node}#{view.index}"


def _columns(series: e.GpuHistory) -> tuple[list[float | int | None], ...]:
    return (
        series.time, series.utilization, series.memory, series.temperature, series.power
    )  # type: ignore[return-value]  # fmt: skip


def _thin(series: e.GpuHistory, limit: int) -> None:
    times = list(series.time)
    if len(times) <= limit:
        return
    spans = list(pairwise([*groups(times, limit), len(times)]))
    for column in _columns(series):
        if column is series.time:
            column[:] = [times[b - 1] for _, b in spans]
        elif column is series.memory:
            column[:] = [
                max((v for v in column[a:b] if v is not None), default=None) for a, b in spans
            ]
        else:
            column[:] = [_mean(column, times, a, b) for a, b in spans]


def _mean(
    column: Sequence[float | None], times: Sequence[float], first: int, end: int
) -> float | None:
    """Each row counts for the time since the one before it, so that merged rows weigh more."""
    if end - first == 1:
        return column[first]
    sums = weights = 0.0
    for i in range(first, end):
        value = column[i]
        if value is not None:
            before = times[i - 1] if i else times[0] - (times[1] - times[0])
            weight = max(1e-3, min(times[i] - before, times[end - 1] - times[first] + 1.0))
            sums += value * weight
            weights += weight
    return round(sums / weights, 2) if weights else None
