"""Patience: what asks for much is not starved by what asks for little.

Small tasks fit into gaps that are too small for a large one, so they overtake it again and again.
Whoever waits while others are given what it lacks counts how often that happens. After
``OVERTAKEN`` times, what it asks for is *kept* for it: others may take only what is left over.

Keeping costs: resources stand idle until enough of them are free. So

* nothing is kept unless it can come together by itself, from what is free and from tasks that run
  (not from actors, other placement groups, or tasks that wait themselves);
* it is kept for a second at first. If that was too short, others have their turn for as long, and
  next time it is kept twice as long. Whatever the lengths of tasks, at most about half of the time
  is lost, the one that waits gets its turn within a few times the longest task, and programs whose
  tasks need each other to run at the same time go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fanlight.config import UNITS
from fanlight.core.model import W_BUSY, W_DEAD
from fanlight.core.placement import PlacementGroup
from fanlight.core.resources import devices_for

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.core.model import Task
    from fanlight.core.resources import Pool

    # A shape of tasks (whichever of its queues is next), an actor's constructor, or a group.
    Waiter: TypeAlias = tuple[object, ...] | Task | PlacementGroup

OVERTAKEN = 4  # times, until something is kept
KEPT_SECONDS = 1.0  # at first


class Wait:
    """One waiter that did not fit when it was its turn."""

    __slots__ = ("demand", "overtaken", "pool", "rests_until", "seconds", "who")

    def __init__(self, who: Waiter, pool: Pool, demand: dict[str, int]) -> None:
        self.who = who
        self.pool = pool
        self.demand = demand
        self.overtaken = 0
        self.seconds = KEPT_SECONDS
        self.rests_until = 0.0


class Patience:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.waits: dict[Waiter, Wait] = {}  # oldest first
        self.kept: Wait | None = None
        self._until = 0.0
        self._seen: dict[Waiter, tuple[Pool, dict[str, int]]] = {}  # in this step

    def refused(self, who: Waiter, pool: Pool, demand: dict[str, int]) -> None:
        """It was its turn, and ``pool`` has too little."""
        self._seen[who] = (pool, demand)

    def delayed(self, who: Waiter) -> None:
        """It only lacks a process: what is kept for it stays so."""
        kept = self.kept
        if kept is not None and kept.who == who:
            self._seen[who] = (kept.pool, kept.demand)

    def granted(self, who: Waiter, pool: Pool, demand: dict[str, int]) -> None:
        """It took from ``pool``."""
        if self._seen:
            self._seen.pop(who, None)
        if not self.waits:
            return  # nothing is kept, either
        self.waits.pop(who, None)
        free = pool.available
        for wait in self.waits.values():
            if wait.pool is pool and any(
                demand.get(name) and free.get(name, 0) < amount
                for name, amount in wait.demand.items()
            ):
                wait.overtaken += 1
        if self.kept is not None and self.kept.who == who:
            self.kept = None

    def forget(self) -> bool:
        """Drop what is kept for one that was not there at its turn (it was cancelled). True if so."""
        if self.kept is None or self.kept.who in self._seen:
            return False
        self.kept = None
        return True

    def lets(self, who: Waiter, pool: Pool, demand: dict[str, int]) -> bool:
        """Whether it may take from ``pool`` without touching what is kept for another."""
        kept = self.kept
        if kept is None or kept.who == who or kept.pool is not pool:
            return True
        free = pool.available
        for name, amount in kept.demand.items():
            wanted = demand.get(name, 0)
            if wanted and free.get(name, 0) - wanted < amount:
                return False
        return True

    def end_of_step(self) -> None:
        """Who was not refused in this step waits no longer."""
        if not self._seen:
            if self.waits:
                self.waits.clear()
            return
        seen, self._seen = self._seen, {}
        waits = {who: wait for who, wait in self.waits.items() if who in seen}
        for who, (pool, demand) in seen.items():
            wait = waits.get(who)
            if wait is None or wait.pool is not pool:
                waits[who] = Wait(who, pool, demand)
        self.waits = waits

    def review(self) -> None:
        """Decide for whom something is kept; called at the beginning of each handing out."""
        now, kept = self.core.now, self.kept
        if kept is not None:
            if self.waits.get(kept.who) is not kept or not self._comes_together(kept):
                self.kept = None
            elif now >= self._until:
                kept.rests_until = now + kept.seconds
                kept.seconds *= 2
                kept.overtaken = 0
                self.kept = None
        if self.kept is None:
            limit = max(OVERTAKEN, 2 * len(self.waits))
            for wait in self.waits.values():
                if (
                    wait.overtaken >= limit
                    and now >= wait.rests_until
                    and self._comes_together(wait)
                ):
                    self.kept = wait
                    self._until = now + wait.seconds
                    return

    def slept(self, seconds: float) -> None:
        """That time does not count."""
        self._until += seconds
        for wait in self.waits.values():
            wait.rests_until += seconds

    def _comes_together(self, wait: Wait) -> bool:
        """Whether it would fit if all tasks that run, and do not wait themselves, ended."""
        free, devices = dict(wait.pool.available), list(wait.pool.devices)
        for worker in self.core.workers.values():
            if worker.pool is wait.pool and worker.state in (W_BUSY, W_DEAD):
                for name, amount in worker.held.items():
                    free[name] += amount
                for i in worker.gpus or ():
                    devices[i] += min(worker.held["GPU"], UNITS)
        gpu = wait.demand.get("GPU", 0)
        if gpu and not isinstance(wait.who, PlacementGroup) and devices_for(devices, gpu) is None:
            return False  # halves of two are no whole one
        return all(free.get(name, 0) >= amount for name, amount in wait.demand.items())
