"""Placement groups: amounts of resources that are reserved together, before the work comes.

>>> import fanlight as ray
>>> from fanlight.util.scheduling_strategies import PlacementGroupSchedulingStrategy
>>> @ray.remote
... def where():
...     return ray.util.get_current_placement_group().bundle_count
>>> with ray.init(num_cpus=2, engine="inproc"):
...     group = ray.util.placement_group([{"CPU": 1}, {"CPU": 1}])
...     group.wait(10)
...     inside = PlacementGroupSchedulingStrategy(group)
...     ray.get(where.options(scheduling_strategy=inside).remote())
True
2
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fanlight import context
from fanlight.config import UNITS
from fanlight.refs import ObjectRef

if TYPE_CHECKING:
    from fanlight.reasons import Why

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroupID:
    __slots__ = ("_id",)

    def __init__(self, group_id: bytes) -> None:
        self._id = group_id

    def hex(self) -> str:
        return self._id.hex()

    def binary(self) -> bytes:
        return self._id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroupID) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"PlacementGroupID({self._id.hex()})"


class PlacementGroup:
    """One placement group; made by :func:`placement_group`. Can be passed to tasks and actors.

    Two of them are equal when they name the same group. The group does not end with these objects:
    see :func:`remove_placement_group`.
    """

    def __init__(self, group_id: bytes, bundles: list[dict[str, int]] | None = None) -> None:
        self._id = group_id
        self._bundles = bundles  # units of 1/10000; None until somebody asks

    @property
    def id(self) -> PlacementGroupID:
        return PlacementGroupID(self._id)

    @property
    def demands(self) -> list[dict[str, int]]:
        """What each bundle holds, in units of 1/10000; asks the runtime once."""
        if self._bundles is None:
            found = _require().query("placement_group", id=self._id.hex())
            rows = found["bundles"]
            self._bundles = [
                {name: round(amount * UNITS) for name, amount in rows[i].items()}
                for i in range(len(rows))
            ]
        return self._bundles

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle holds."""
        return [{name: amount / UNITS for name, amount in b.items()} for b in self.demands]

    @property
    def bundle_count(self) -> int:
        return len(self.demands)

    def why(self) -> Why:
        """Why it is not reserved yet, or that it is. See :func:`fanlight.why`."""
        from fanlight.reasons import why

        return why(self)

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A ref that resolves to this group as soon as everything is reserved.

        ``get`` of it raises TaskPlacementGroupRemoved when the group is removed before.
        """
        ref: ObjectRef[PlacementGroup] = _require().group_ready(self._id, self)
        return ref

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until everything is reserved; False after ``timeout_seconds``, or once the group
        is removed."""
        from fanlight import api, errors

        ready = self.ready()
        if not api.wait([ready], timeout=max(0.0, timeout_seconds))[0]:
            return False
        try:
            api.get(ready)
        except errors.TaskPlacementGroupRemoved:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> Any:
        return PlacementGroup, (self._id, self._bundles)

    def __repr__(self) -> str:
        return f"PlacementGroup({self._id.hex()})"


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
) -> PlacementGroup:
    """Reserve resources for work that belongs together. Returns at once.

    The bundles are reserved all together or not at all; until they fit, the group is pending
    (:meth:`PlacementGroup.ready`). They are gone from ``available_resources()`` until the group
    ends: with :func:`remove_placement_group`, or with the driver (or detached actor) that made it.

    Args:
        bundles: what to reserve, such as ``[{"CPU": 1, "GPU": 1}, {"CPU": 2}]``.
        strategy: "PACK", "SPREAD", "STRICT_PACK" or "STRICT_SPREAD". There is one node, so the
            first three mean the same; STRICT_SPREAD with several bundles stays pending.
        name: by which :func:`get_placement_group` finds it, in the same namespace.
        lifetime: "detached" lets it outlive its creator.

    Raises:
        ValueError: an argument has an impossible value, or the name is taken.

    >>> import fanlight as ray
    >>> with ray.init(num_cpus=4, engine="inproc"):
    ...     group = ray.util.placement_group([{"CPU": 3}])
    ...     before = ray.available_resources()["CPU"]
    ...     ray.util.remove_placement_group(group)
    ...     before, ray.available_resources()["CPU"]
    (1.0, 4.0)
    """
    demands = _demands(bundles)
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    if lifetime not in (None, "detached"):
        raise ValueError(f"lifetime must be None or 'detached', got {lifetime!r}.")
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {type(name).__name__}.")
    from fanlight import session as sessions

    session = sessions.ensure()
    group = PlacementGroup(os.urandom(16), demands)
    session.engine.create_group(
        group._id, demands, strategy, name or "", session.task_namespace, lifetime == "detached"
    )
    return group


def _demands(bundles: Any) -> list[dict[str, int]]:
    """Validated bundles in units of 1/10000. Raises ValueError."""
    if not isinstance(bundles, list) or not bundles:
        raise ValueError(f"bundles must be a list with at least one dict, got {bundles!r}.")
    demands = []
    for i, bundle in enumerate(bundles):
        if not isinstance(bundle, dict) or not any(bundle.values()):
            raise ValueError(f"Bundle {i} must be a dict that asks for something, got {bundle!r}.")
        demand = {}
        for name, amount in bundle.items():
            number = isinstance(amount, int | float) and not isinstance(amount, bool)
            if not isinstance(name, str) or not number or not 0 <= amount < 1e14:
                raise ValueError(f"Bundle {i}: {name!r}: {amount!r} is not a name and an amount.")
            if amount and round(amount * UNITS) < 1:
                raise ValueError(f"Bundle {i}: the smallest amount is {1 / UNITS:.4f}.")
            if name == "GPU" and amount > 1 and amount != int(amount):
                raise ValueError(f"Bundle {i}: GPU above 1 must be a whole number, got {amount}.")
            if amount:
                demand[name] = round(amount * UNITS)
        demands.append(demand)
    return demands


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """End a group; what it reserved is free again. Returns at once; removing twice is no error.

    What runs inside is killed: tasks raise WorkerCrashedError, actors ActorDiedError. What waits
    for a place inside raises TaskPlacementGroupRemoved or ActorPlacementGroupRemoved.
    """
    _check(placement_group)
    _require().remove_group(placement_group._id)


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this namespace. Raises ValueError if there is none."""
    if not placement_group_name:
        raise ValueError("A placement group's name cannot be empty.")
    from fanlight import session as sessions

    session = sessions.ensure()
    try:
        found = session.engine.query(
            "placement_group", name=placement_group_name, namespace=session.task_namespace
        )
    except LookupError as e:
        raise ValueError(f"Failed to look up a placement group: {e.args[0]}") from None
    return PlacementGroup(bytes.fromhex(found["placement_group_id"]))


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the calling task or actor runs in; None outside of any, and in a driver."""
    running = context.current.get()
    if running is None or running.where is None or not running.where.group:
        return None
    return PlacementGroup(running.where.group)


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """The state of one group, or of all groups by their ids.

    Each is a dict with ``placement_group_id``, ``name``, ``bundles`` (index to dict),
    ``bundles_to_node_id``, ``strategy``, ``state`` ("PENDING", "CREATED" or "REMOVED") and ``why``
    (what a pending group waits for).
    """
    if placement_group is None:
        rows = _require().query("placement_groups")
        return {row["placement_group_id"]: row for row in rows}
    _check(placement_group)
    try:
        found: dict[str, Any] = _require().query("placement_group", id=placement_group._id.hex())
    except LookupError:
        return {}
    return found


def _check(group: Any) -> None:
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"That takes a PlacementGroup, not a {type(group).__name__}.")


def _require() -> Any:
    from fanlight import session as sessions

    return sessions.ensure().engine


__all__ = [
    "PlacementGroup",
    "PlacementGroupID",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]
