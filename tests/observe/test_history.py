"""Histories that thin themselves."""

from __future__ import annotations

import itertools
import random

import pytest

from fanlight import events as e
from fanlight.observe.history import GpuHistories, groups, one_store_row, thinned


def row(time: float, used: int = 0, spilled: int = 0) -> e.StoreView:
    return e.StoreView(time, 100, used, 0, 0, 0, spilled, 0)


@pytest.mark.parametrize("pace", [0.1, 1.0])
def test_hours_fit_and_the_newest_stays(pace):
    rows: list[e.StoreView] = []
    last = 15_000
    for i in range(last):
        rows.append(row(1.7e9 + i * pace, used=i))
        thinned(rows, 600, lambda r: r.time, one_store_row)
        assert len(rows) <= 600
    times = [r.time for r in rows]
    assert times == sorted(times)
    newest = times[-1]
    recent = [t for t in times if t > newest - 16 * pace]
    assert len(recent) >= 15  # as they were measured
    for before, after in itertools.pairwise(times):
        assert after - before <= max(2.5 * pace, (newest - before) / 6), (before, after)
    assert newest - times[0] >= 0.8 * last * pace  # and the beginning is still there


def test_peaks_stay():
    rows = [row(float(i)) for i in range(20_000)]
    rows[137] = row(137.0, used=99, spilled=55)
    thinned(rows, 600, lambda r: r.time, one_store_row)
    assert max(r.used for r in rows) == 99
    assert max(r.spilled for r in rows) == 55


@pytest.mark.parametrize("seed", range(20))
def test_always_within_the_limit(seed):
    """Whatever the times are: bursts, gaps of days, the same moment many times."""
    random_ = random.Random(seed)
    time, times = 1.7e9, []
    for _ in range(3_000):
        time += random_.choice([0.0, 0.1, 1.0, random_.expovariate(1 / 3_600)])
        times.append(time)
    limit = random_.choice([60, 600])
    starts = groups(times, limit)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert len(starts) <= limit * 0.9


def gpu_view(uuid: str, util: float | None, memory: int | None = 0) -> e.GpuView:
    return e.GpuView(0, uuid, "x", 0.0, util, memory, None, None, None, None, [], "")


def test_gpu_figures_are_averaged_and_memory_peaks_stay():
    histories = GpuHistories(60)
    for i in range(3_000):
        histories.add(float(i), [gpu_view("GPU-a", 100.0 * (i % 2), 7 if i == 44 else 1)])
    (series,) = histories.views()
    assert len(series.time) == len(series.utilization) == len(series.power) <= 60
    assert max(v for v in series.memory if v is not None) == 7
    assert series.temperature == [None] * len(series.time)
    old = [v for v in series.utilization[: len(series.time) // 3] if v is not None]
    assert all(35 < v < 65 for v in old)


def test_a_figure_that_is_missing_is_no_zero():
    histories = GpuHistories(60)
    for i in range(500):
        histories.add(float(i), [gpu_view("GPU-a", None if i < 400 else 50.0, None)])
    (series,) = histories.views()
    assert series.utilization[0] is None
    assert {v for v in series.utilization if v is not None} == {50.0}
    assert {*series.memory} == {None}


def test_many_devices_are_bounded():
    histories = GpuHistories(600)
    for i in range(700):
        histories.add(float(i), [gpu_view(f"MIG-{n}", 1.0) for n in range(56)])
    assert sum(len(s.time) for s in histories.views()) <= 8 * 600
    for i in range(200):  # slices that are made anew have other names
        histories.add(1000.0 + i, [gpu_view(f"MIG-new{i}", 1.0)])
    assert len(histories.views()) <= 64
    assert histories.views()[-1].device == "MIG-new199"
