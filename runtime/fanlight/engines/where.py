"""Where calls go: options and the task that submits, turned into a ``messages.Where``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanlight import context, labels
from fanlight import messages as m
from fanlight.config import UNITS


def outer() -> m.Where | None:
    """The place of the task that runs just now, if what it submits goes there, too."""
    running = context.current.get()
    if running is None or running.where is None or not running.where.capture:
        return None
    where: m.Where = running.where
    return where


def depends_on_outer(options: dict[str, Any]) -> bool:
    """Whether calls with these options go where the submitting task is."""
    capture = "placement_group_capture_child_tasks"
    if "placement_group" in options:
        return capture not in options
    strategy = options.get("scheduling_strategy")
    return strategy is None or getattr(strategy, capture, False) is None


def of(
    options: dict[str, Any],
    demand: dict[str, int],
    cpu: int,
    name: str,
    around: m.Where | None,
    bundles_of: Callable[[bytes], list[dict[str, int]]],
) -> m.Where | None:
    """Where a call of ``name`` with these (validated) options may run; None for anywhere.

    ``demand`` is what it holds and ``cpu`` what must exist besides, in units of 1/10000.
    ``around`` is what :func:`outer` says at the call, and ``bundles_of`` asks the runtime for a group's bundles. Raises ValueError for options that
    contradict each other, and for work that no bundle can hold.
    """
    strategy, legacy = options.get("scheduling_strategy"), options.get("placement_group")
    where: m.Where | None = None
    bundles: list[dict[str, int]] | None = None
    if legacy is None:
        if "placement_group_bundle_index" in options:
            raise ValueError("placement_group_bundle_index needs placement_group=.")
    elif strategy is not None:
        raise ValueError(
            "placement_group= and scheduling_strategy= cannot be combined; use "
            "scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=…)."
        )
    if legacy is not None:
        capture = options.get("placement_group_capture_child_tasks")
        if capture is None:
            capture = around is not None
        where = m.Where(legacy._id, options.get("placement_group_bundle_index", -1), capture)
        bundles = legacy.demands
    elif strategy is not None and hasattr(strategy, "to_where"):
        where = strategy.to_where(around)
        if where.group:
            bundles = strategy.placement_group.demands
    elif strategy is None and around is not None:
        where = m.Where(around.group, -1, True)
        bundles = bundles_of(around.group)
    if bundles is not None and where is not None:
        _check_fits(where.bundle, bundles, demand, cpu, name)
    if "label_selector" in options:
        where = where or m.Where()
        where.labels = {**where.labels, **labels.selector_rules(options["label_selector"])}
        if not where.labels and where == m.Where():
            return None
    return where


def _check_fits(
    index: int, bundles: list[dict[str, int]], demand: dict[str, int], cpu: int, name: str
) -> None:
    if not -1 <= index < len(bundles):
        raise ValueError(
            f"placement_group_bundle_index is {index}; the placement group has {len(bundles)} "
            f"bundle(s), so it must be between -1 (any) and {len(bundles) - 1}."
        )
    least = {**demand, "CPU": max(cpu, demand.get("CPU", 0))} if cpu else demand
    candidates = bundles if index < 0 else [bundles[index]]
    for bundle in candidates:
        if all(bundle.get(key, 0) >= amount for key, amount in least.items()):
            return
    wants = ", ".join(f"{amount / UNITS:g} {key}" for key, amount in least.items())
    there = "; ".join(
        ", ".join(f"{amount / UNITS:g} {key}" for key, amount in bundle.items())
        for bundle in candidates[:5]
    )
    place = "any bundles of its placement group" if index < 0 else f"bundle {index}"
    raise ValueError(
        f"{name} asks for {wants} and cannot fit into {place} ({there}). "
        "(In Ray's words: it cannot fit into any bundles for the placement group.)"
    )
