"""Where a task or actor should run: objects for ``scheduling_strategy=``.

>>> import fanlight as ray
>>> from fanlight.util.scheduling_strategies import In, NodeLabelSchedulingStrategy
>>> @ray.remote
... def f():
...     return "ran"
>>> with ray.init(num_cpus=1, engine="inproc", labels={"zone": "a"}):
...     strategy = NodeLabelSchedulingStrategy(hard={"zone": In("a", "b")})
...     ray.get(f.options(scheduling_strategy=strategy).remote())
'ran'
"""

from __future__ import annotations

from typing import Any

from fanlight import ids, labels
from fanlight import messages as m
from fanlight.util.placement_group import PlacementGroup


class PlacementGroupSchedulingStrategy:
    """Run inside a placement group.

    Args:
        placement_group: the group.
        placement_group_bundle_index: take from this bundle only; -1 for any.
        placement_group_capture_child_tasks: whether what the task submits goes into the group, too.
            None means: as for the task that submits this one, else no.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        if not isinstance(placement_group, PlacementGroup):
            raise TypeError(
                f"placement_group must be a PlacementGroup, not {type(placement_group).__name__}."
            )
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def to_where(self, outer: m.Where | None) -> m.Where:
        """Called at submission; ``outer`` is the place of the task that submits."""
        capture = self.placement_group_capture_child_tasks
        if capture is None:
            capture = outer is not None and outer.capture
        return m.Where(self.placement_group._id, self.placement_group_bundle_index, capture)


class NodeAffinitySchedulingStrategy:
    """Run on one node: ``node_id`` as in ``nodes()``. Raises ValueError for a malformed id.

    If there is no such node, the work fails (TaskUnschedulableError, ActorUnschedulableError), or
    with ``soft=True`` runs elsewhere.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool = False,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        try:
            raw = bytes.fromhex(node_id) if isinstance(node_id, str) else node_id.binary()
        except (ValueError, AttributeError):
            raw = b""
        if len(raw) != ids.NODE_LEN or raw == b"\xff" * ids.NODE_LEN:
            raise ValueError(
                f"Invalid node_id {node_id!r}: it is {2 * ids.NODE_LEN} hexadecimal digits, as in "
                "nodes()[0]['NodeID']."
            )
        self.node_id = raw.hex()
        self.soft = soft

    def to_where(self, outer: m.Where | None) -> m.Where:
        return m.Where(node=self.node_id, soft=bool(self.soft))


class In:
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        self.values = _values(self, values)

    def rule(self) -> list[str]:
        return ["in", *self.values]


class NotIn:
    """The label has none of these values, or is absent."""

    def __init__(self, *values: str) -> None:
        self.values = _values(self, values)

    def rule(self) -> list[str]:
        return ["!in", *self.values]


class Exists:
    """The label is there, whatever its value."""

    def rule(self) -> list[str]:
        return ["exists"]


class DoesNotExist:
    """The label is absent."""

    def rule(self) -> list[str]:
        return ["!exists"]


def _values(operator: object, values: tuple[Any, ...]) -> list[str]:
    name = type(operator).__name__
    if not values:
        raise ValueError(f"{name} needs at least one value.")
    for value in values:
        labels.check_value(f"a value of {name}", value)
    return list(values)


class NodeLabelSchedulingStrategy:
    """Run on a node whose labels match: ``hard={"zone": In("a"), "spot": DoesNotExist()}``.

    Without such a node, the work waits. ``soft`` labels are preferences among nodes; with one node
    they change nothing.
    """

    def __init__(
        self, hard: dict[str, Any] | None = None, *, soft: dict[str, Any] | None = None
    ) -> None:
        for what, rules in (("hard", hard), ("soft", soft)):
            if rules is not None and not isinstance(rules, dict):
                raise ValueError(f"{what} must be a dict of operators by label, got {rules!r}.")
            for name, rule in (rules or {}).items():
                labels.check_name(name)
                if not isinstance(rule, In | NotIn | Exists | DoesNotExist):
                    raise ValueError(
                        f"{what}[{name!r}] must be In(…), NotIn(…), Exists() or DoesNotExist(), "
                        f"got {rule!r}."
                    )
        if not hard and not soft:
            raise ValueError("NodeLabelSchedulingStrategy needs hard= or soft= labels.")
        self.hard = dict(hard or {})
        self.soft = dict(soft or {})

    def to_where(self, outer: m.Where | None) -> m.Where:
        return m.Where(labels={name: rule.rule() for name, rule in self.hard.items()})


__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]
