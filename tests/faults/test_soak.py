"""A course's day in minutes: memory, descriptors, threads, segments, files and tables stay flat.

`FANLIGHT_SOAK_SECONDS=60` says how long (default 600 s); a table of the figures is printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest

from fanlight.observe import discover
from tests import longrun
from tests.faults import chaos, soak


def cell(n: int) -> Callable[[], int]:
    """A function that is new each time, as a cell that is run again."""
    space: dict[str, Any] = {"n": n}
    exec(f"def cell_{n}():\n    print('cell', n)\n    return n + 1", space)
    return space[f"cell_{n}"]


class Day:
    """One runtime and its user."""

    def __init__(self, rt: Any, seed: int, folder: Path, watch: Path) -> None:
        self.rt = rt
        session = rt.session.current()
        self.info = next(i for i in discover.runtimes() if i.runtime_id == session.runtime_id)
        self.load = chaos.Load(rt, seed, folder, actors=0)
        self.load.work.gentle = True
        self.random = self.load.random
        self.sampler = soak.Sampler(session.node_pid, self.info, watch)
        self.count = 0
        self.bursts = (30, 100, 400)  # tasks
        sizes = soak.sizes

        @rt.remote(num_cpus=0)
        class Keeper:
            """An actor that lives as long as the runtime, and is called in all ways."""

            def __init__(self) -> None:
                self.kept = 0

            def add(self, x: Any, **_: Any) -> int:
                self.kept += 1
                return self.kept

            def large(self) -> Any:
                return numpy.zeros(40_000)

            def items(self, n: int) -> Any:
                yield from range(n)

            def fail(self) -> None:
                raise ValueError("as it should")

            def pid(self) -> int:
                import os

                return os.getpid()

            def sizes(self) -> dict[str, int]:
                import gc

                from fanlight.worker.executor import Executor

                gc.collect()
                executor = next(x for x in gc.get_objects() if isinstance(x, Executor))
                return sizes(executor, "executor")

        @rt.remote(num_cpus=0)
        class Helper:
            def __init__(self, keeper: Any) -> None:
                self.keeper = keeper

            def work(self, x: Any) -> int:
                print("it helps")  # so that there is a log of it, which is kept for a while
                return sum(rt.get([self.keeper.add.remote(i) for i in range(10)])) + len(x)

        self.Keeper, self.Helper = Keeper, Helper
        self.keeper = Keeper.remote()
        self.sampler.named[rt.get(self.keeper.pid.remote())] = "keeper"

    def warm_up(self, tasks: int, processes: int) -> None:
        """Fill what is remembered of things that are over up to its bounds."""
        rt, square = self.rt, self.load.work.square
        for start in range(0, tasks, 5_000):
            rt.get([square.remote(i) for i in range(start, min(start + 5_000, tasks))])
        for start in range(0, 2_000, 100):  # names
            rt.get([square.options(name=f"name {start + i}").remote(i) for i in range(100)])
        for _i in range(250):
            self.load.submit("raising")
        self.load.run(1)
        for _ in range(0, processes, 10):
            rt.get([self.Helper.remote(self.keeper).work.remote([]) for _ in range(10)])
        longrun.progress("warm")

    def hour(self) -> None:
        rt, random = self.rt, self.random
        self.load.run(random.choice(self.bursts))
        self.cells()
        helpers = [self.Helper.remote(self.keeper) for _ in range(random.randrange(4))]
        refs = [helper.work.remote([1]) for helper in helpers for _ in range(5)]
        big = rt.put(numpy.ones(random.choice((200_000, 2_000_000))))
        refs += [self.keeper.add.remote(big), self.keeper.add.remote(1)]
        refs += [self.keeper.add.options(name=f"call {self.count}").remote(i) for i in range(3)]
        assert len(rt.get(refs)) == len(refs)
        assert rt.get(self.load.work.total.remote(big)) == len(rt.get(big))
        assert len(rt.get(self.keeper.large.remote())) == 40_000
        got = [rt.get(x) for x in self.keeper.items.options(num_returns="streaming").remote(5)]
        assert got == list(range(5))
        with pytest.raises(ValueError, match="as it should"):
            rt.get(self.keeper.fail.remote())
        if random.random() < 0.3:
            time.sleep(0.5 * random.random())  # somebody explains something

    def cells(self) -> None:
        for _ in range(3):
            self.count += 1
            task = self.rt.remote(cell(self.count))
            assert self.rt.get(task.remote()) == self.count + 1


def soaked(rt: Any, tmp_path: Path, watch: Path, seconds: float, warm: tuple[int, int]) -> None:
    seed = longrun.seed()
    print(f"FANLIGHT_SEED={seed}", flush=True)
    day = Day(rt, seed, tmp_path, watch)
    if seconds < 120:
        day.bursts = (10, 30, 60)
    flapper = chaos.Flapper(seed, day.info, pause=0.3)
    flapper.start()
    try:
        day.warm_up(*warm)
        begin = shown = time.monotonic()
        step = seconds / 100
        samples = 0
        while time.monotonic() - begin < seconds or samples < 24:  # on a slow machine it is longer
            samples += 1
            end = time.monotonic() + step
            while time.monotonic() < end:
                day.hour()
            rt.get(day.load.work.small_one())
            time.sleep(0.3)  # drops are told, deltas are sent
            day.sampler.sample(rt, day.keeper)
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                node = psutil.Process(rt.session.current().node_pid)
                used = f"node {node.memory_info().rss / 1e6:.0f} MB"
                longrun.progress(f"{sum(day.load.done.values())} tasks, {used}")
    finally:
        flapper.end()
    found = day.sampler.growths()
    longrun.progress(f"{sum(day.load.done.values())} tasks checked; {dict(flapper.count)}")
    for g in found:
        if "table" not in g.name or g.grown > g.allowed / 2:
            print(
                f"  {g.name:40} {g.first:9.1f} → {g.last:9.1f}  slope {g.grown:+7.2f} (≤ {g.allowed:.1f})"
            )
    grown = [g for g in found if g.grown > g.allowed]
    assert not grown, f"seed {seed}: " + "\n".join(map(str, grown))
    assert len([g for g in found if "PSS" in g.name]) >= 4, "too few processes were watched"


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_soak(start: Callable[..., Any], tmp_path: Path, watched: Path) -> None:
    seconds = longrun.soak_seconds(600)
    warm = (100_000, 110) if seconds >= 120 else (2_000, 110)
    soaked(start(num_cpus=2), tmp_path, watched, seconds, warm)
