"""Quantities of resources, and which GPUs are whose. Integers in units of 1/10000."""

from __future__ import annotations

from fanlight.config import UNITS


class Pool:
    """Totals and what is available of them. CPU may go below zero: a task that waited in ``get``
    takes its CPU back at once, and nothing new starts until the debt is paid.

    >>> pool = Pool({"CPU": 20000, "GPU": 10000})
    >>> pool.fits({"CPU": 10000, "GPU": 5000})
    True
    >>> pool.take({"GPU": 5000}), pool.take({"GPU": 5000})
    ([0], [0])
    >>> pool.fits({"GPU": 1})
    False
    """

    def __init__(self, total: dict[str, int]) -> None:
        self.total = dict(total)
        self.available = dict(total)
        # Free part of each device, whole devices first to fractional tasks already on them.
        self.devices = [UNITS] * (total.get("GPU", 0) // UNITS)
        self.owned: list[int] | None = None  # the devices of a part of another pool

    @classmethod
    def part(cls, demand: dict[str, int], gpus: list[int] | None, devices: int) -> Pool:
        """A pool of what was taken from another one, which has that many devices.

        >>> whole = Pool({"GPU": 30000})
        >>> part = Pool.part({"GPU": 20000}, whole.take({"GPU": 20000}), 3)
        >>> part.take({"GPU": 10000}), part.take({"GPU": 5000}), part.devices
        ([0], [1], [0, 5000, 0])
        """
        pool = cls(demand)
        pool.owned = gpus
        pool.devices = [0] * devices
        for i in gpus or ():
            pool.devices[i] = min(demand["GPU"], UNITS)
        return pool

    def merge(self, part: Pool) -> None:
        """Take back what is free of a part; what is held of it is held of this pool now."""
        for name, amount in part.available.items():
            self.available[name] += amount
        for i in part.owned or ():
            self.devices[i] += part.devices[i]

    def feasible(self, demand: dict[str, int]) -> bool:
        """Whether it could ever run."""
        return all(self.total.get(name, 0) >= amount for name, amount in demand.items())

    def fits(self, demand: dict[str, int]) -> bool:
        """Whether it can run now."""
        available = self.available
        for name, amount in demand.items():
            if available.get(name, 0) < amount:
                return False
        gpu = demand.get("GPU", 0)
        return not gpu or devices_for(self.devices, gpu) is not None

    def take(self, demand: dict[str, int]) -> list[int] | None:
        """Take what fits; returns the GPUs, None when none were asked for."""
        available = self.available
        for name, amount in demand.items():
            available[name] = available.get(name, 0) - amount
        gpu = demand.get("GPU", 0)
        if not gpu:
            return None
        devices = devices_for(self.devices, gpu) or []
        for i in devices:
            self.devices[i] -= min(gpu, UNITS)
        return devices

    def give(self, demand: dict[str, int], gpus: list[int] | None) -> None:
        """Give back what ``take`` took."""
        available = self.available
        for name, amount in demand.items():
            available[name] += amount
        for i in gpus or ():
            self.devices[i] += min(demand["GPU"], UNITS)

    def lacking(self, demand: dict[str, int]) -> str:
        """What of an infeasible demand there is not enough of. For people."""
        return ", ".join(
            f"{amount / UNITS:g} {name} (there are {self.total.get(name, 0) / UNITS:g})"
            for name, amount in demand.items()
            if self.total.get(name, 0) < amount
        )

    def missing(self, demand: dict[str, int]) -> dict[str, tuple[float, float]]:
        """For each resource that lacks: what is asked, what is free. For people."""
        return {
            name: (amount / UNITS, max(0, self.available.get(name, 0)) / UNITS)
            for name, amount in demand.items()
            if self.available.get(name, 0) < amount
        }


def devices_for(devices: list[int], gpu: int) -> list[int] | None:
    """Which devices to take ``gpu`` from, of which so much is free; None if there are none.

    >>> devices_for([5000, 5000], 10000), devices_for([10000, 5000], 5000)
    (None, [1])
    """
    if gpu >= UNITS:
        free = [i for i, part in enumerate(devices) if part == UNITS]
        count = gpu // UNITS
        return free[:count] if len(free) >= count else None
    # The fullest device that still has room, so that whole ones stay whole.
    best = min(((part, i) for i, part in enumerate(devices) if part >= gpu), default=None)
    return None if best is None else [best[1]]
