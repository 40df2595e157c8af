"""Everything at once while workers are killed twice a second: all results are right, nothing is left.

`FANLIGHT_SEED=7` repeats the decisions of a run; a failing test prints its seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanlight.observe import discover
from tests import longrun
from tests.faults import chaos
from tests.faults.support import Driver, poll

ROOT = Path(__file__).resolve().parents[2]
LARGE = {"small": 5.0, "stored": 20.0, "chain": 8.0, "nested": 6.0, "stream": 4.0}
ANOTHER = """
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.faults import chaos

fanlight.init("auto", log_to_driver=False)
load = chaos.Load(fanlight, {seed}, Path(FOLDER), actors={actors}, more={{"group": 0}})
say("works")
load.run({tasks})
load.finish()
say("done")
"""


class Leavers(chaos.Trouble):
    """Drivers that attach, work and are killed."""

    def __init__(self, seed: int, start: Callable[[], Driver]) -> None:
        super().__init__(f"leavers {seed}", 4.0)
        self.start_one = start

    def strike(self) -> None:
        one = self.start_one()
        one.hear("works", 60)
        time.sleep(2 * self.random.random())
        one.kill()
        one.wait()
        self.count["left"] += 1


class Chaos:
    """One run: the work, the trouble, and the count of what is left."""

    def __init__(self, rt: Any, seed: int, folder: Path) -> None:
        self.rt = rt
        self.seed = seed
        self.folder = folder
        session = rt.session.current()
        self.node = psutil.Process(session.node_pid)
        self.info = next(i for i in discover.runtimes() if i.runtime_id == session.runtime_id)
        self.segments = Path(session.info["segment_dir"])

    def run(
        self, tasks: int, actors: int, *, observers: bool = False, zygotes: float = 0.0,
        pause: float = 0.0, kill: float = 0.5, most_rss: float = 400e6,
        more: dict[str, float] | None = None, others: Iterable[chaos.Trouble] = (),
    ) -> None:  # fmt: skip
        rt = self.rt
        print(f"FANLIGHT_SEED={self.seed}", flush=True)
        rt.get(rt.remote(lambda: 1).remote())  # what a first task opens is not a leak
        before = chaos.descriptors(os.getpid())
        troubles: list[chaos.Trouble]
        with ExitStack() as stack:
            load = chaos.Load(rt, self.seed, self.folder, actors=actors, pause=pause, more=more)
            done = load.done.total
            troubles = [chaos.Killer(self.seed, self.node.pid, kill, zygotes, done), *others]
            if observers:
                troubles.append(chaos.Flapper(self.seed, self.info))
            for trouble in troubles:
                trouble.start()
                stack.callback(trouble.end)
            load.run(tasks)
        for trouble in troubles:
            longrun.progress(f"{type(trouble).__name__}: {dict(trouble.count)}")
        longrun.progress(f"done: {dict(load.done)}")
        load.finish()
        del load
        drivers = sum(trouble.count["left"] for trouble in troubles)
        self.nothing_is_held(before + 3 * drivers, most_rss)  # their pipes and logs are kept

    def nothing_is_held(self, before: int, most_rss: float) -> None:
        left = chaos.settle(self.rt, poll, self.segments, self.node)
        assert not left, f"seed {self.seed}: still held: {left}"
        # One connection for each worker of the pool, and those of the node itself.
        most = len(self.node.children(recursive=True)) + 16
        assert poll(lambda: chaos.descriptors(self.node.pid) <= most), "descriptors of the node"
        assert poll(lambda: chaos.descriptors(os.getpid()) <= before + 2), "of the driver"
        rss = chaos.rss(self.node.pid)
        longrun.progress(f"node: {rss / 1e6:.0f} MB, driver {chaos.rss(os.getpid()) / 1e6:.0f} MB")
        assert rss < most_rss


def test_chaos(start: Callable[..., Any], tmp_path: Path) -> None:
    seed = longrun.seed()
    Chaos(start(), seed, tmp_path).run(1_000, 8, observers=True, zygotes=0.05, kill=0.3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_much_chaos(start: Callable[..., Any], tmp_path: Path) -> None:
    Chaos(start(), longrun.seed(), tmp_path).run(20_000, 50)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_much_chaos_with_observers_and_zygotes(start: Callable[..., Any], tmp_path: Path) -> None:
    chaos_ = Chaos(start(), longrun.seed(), tmp_path)
    chaos_.run(20_000, 50, observers=True, zygotes=0.05, pause=0.05)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_chaos_while_objects_go_to_disk(start: Callable[..., Any], tmp_path: Path) -> None:
    rt = start(object_store_memory=12_000_000)
    Chaos(rt, longrun.seed(), tmp_path).run(5_000, 8, zygotes=0.05, more=LARGE)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_chaos_of_several_drivers(
    start: Callable[..., Any], driver: Callable[..., Driver], tmp_path: Path
) -> None:
    """Two that work to the end, and others that attach and are killed."""
    seed = longrun.seed()
    run = Chaos(start(), seed, tmp_path)

    def another(seed: int, tasks: int) -> Driver:
        return driver(ANOTHER.format(root=str(ROOT), seed=seed, actors=5, tasks=tasks))

    two = another(seed + 1, 3_000)
    two.hear("works", 60)
    leavers = Leavers(seed, lambda: another(seed + 2, 10**9))
    run.run(5_000, 8, zygotes=0.03, others=[leavers], more={"group": 0})
    two.hear("done", 300)
    assert two.wait(60) == 0, two.output()
