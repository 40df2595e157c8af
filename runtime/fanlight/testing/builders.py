"""Short ways to make the records that tests of the core need."""

from __future__ import annotations

from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core.machine import Core, CoreConfig

INLINE_LIMIT = 100  # bytes: larger values go to segments
NODE_ID = b"node".ljust(28, b"\0")


def units(cpus: float = 0, gpus: float = 0, **others: float) -> dict[str, int]:
    """A demand or a total, in the core's integers.

    >>> units(1, custom=0.5)
    {'CPU': 10000, 'custom': 5000}
    """
    amounts = {"CPU": cpus, "GPU": gpus, **others}
    return {name: round(amount * UNITS) for name, amount in amounts.items() if amount}


def make_core(
    cpus: float = 2,
    gpus: float = 0,
    *,
    pool_size: int = 2,
    capacity: int = 1 << 20,
    persistent: bool = True,
    now: float = 0.0,
    labels: dict[str, str] | None = None,
    channels: bool = False,
    forgiving: bool = False,
    lineage_bytes: int = 64 << 20,
    max_processes: int = 0,
    spill: bool = False,
    **others: float,
) -> Core:
    """A core that waits for its first stimulus. ``others`` are custom resources."""
    return Core(
        CoreConfig(
            node_id=NODE_ID,
            resources=units(cpus, gpus, **others),
            capacity=capacity,
            pool_size=pool_size,
            persistent=persistent,
            labels=labels or {},
            channels=channels,
            forgiving=forgiving,
            large=INLINE_LIMIT,
            lineage_bytes=lineage_bytes,
            max_processes=max_processes,
            spill=spill,
        ),
        now,
    )


def task_spec(
    name: str = "f",
    cpus: float = 1,
    gpus: float = 0,
    *,
    returns: int = 1,
    retries: int = 0,
    retry_exceptions: bool = False,
    origin: str = "",
    env: str = "",
    calls: int = 0,
    where: m.Where | None = None,
    backpressure: int = 0,
    **others: float,
) -> m.TaskSpec:
    return m.TaskSpec(
        m.TASK,
        name.encode(),
        name,
        units(cpus, gpus, **others),
        num_returns=returns,
        max_retries=retries,
        retry_exceptions=retry_exceptions,
        origin=origin,
        env=env,
        max_calls=calls,
        where=where,
        backpressure=backpressure,
    )


def actor_spec(
    name: str = "Actor",
    cpus: float = 0,
    gpus: float = 0,
    *,
    concurrency: int = 1,
    groups: dict[str, int] | None = None,
    unordered: bool = False,
    env: str = "",
    where: m.Where | None = None,
    **others: float,
) -> m.TaskSpec:
    return m.TaskSpec(
        m.ACTOR_CREATE,
        name.encode(),
        name,
        units(cpus, gpus, **others),
        num_returns=0,
        max_retries=0,
        max_concurrency=concurrency,
        groups=groups or {},
        unordered=unordered,
        placement_cpu=0 if cpus else UNITS,
        env=env,
        where=where,
    )


def method_spec(
    name: str = "Actor.method",
    *,
    returns: int = 1,
    retries: int = 0,
    retry_exceptions: bool = False,
    group: str = "",
) -> m.TaskSpec:
    return m.TaskSpec(
        m.ACTOR_CALL,
        b"",
        name,
        {},
        num_returns=returns,
        max_retries=retries,
        retry_exceptions=retry_exceptions,
        method=name.rpartition(".")[2],
        group=group,
    )
