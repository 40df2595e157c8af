"""All rules over the facts of one cell. Pure: the same facts give the same hints."""

from __future__ import annotations

from collections.abc import Iterator

from fanlight_kernel.coach import gets, sizes, work
from fanlight_kernel.coach.facts import Facts, Hint, Limits

FAMILIES = (gets.find, sizes.find, work.find)


def hints(facts: Facts, limits: Limits | None = None) -> Iterator[Hint]:
    """What happened in this cell that a hint would help with; of each rule the first.

    >>> [*hints(Facts())]
    []
    """
    limits = limits or Limits()
    told: set[str] = set()
    for family in FAMILIES:
        for hint in family(facts, limits):
            if hint.rule not in told:
                told.add(hint.rule)
                yield hint
