"""What a picture says about one block when it is pointed at: the same in Bokeh and in plain HTML."""

from __future__ import annotations

import time

from fanlight import session
from fanlight.words import seconds, size
from fanlight_kernel.pictures.blocks import Block

LABELS = ("function", "state", "cell", "started", "took", "waited before", "transfer", "results")


def cell_names() -> dict[str, str]:
    """What people call the cells: "In [5]" by id."""
    return {origin: f"In [{number}]" for origin, number in session.cell_numbers().items()}


def cell_name(cell: str, names: dict[str, str]) -> str:
    return names.get(cell, cell[:40]) or "–"


def clock(moment: float) -> str:
    """Local time with milliseconds."""
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03d}"


def of_block(block: Block, names: dict[str, str]) -> tuple[str, ...]:
    """A text for each of :data:`LABELS`."""
    span = block.span
    name, state, took = span.name, span.state, seconds(span.duration)
    if block.count > 1:
        others = len(block.names) - 1
        name += f" and {others} other{'s' if others > 1 else ''}" if others else ""
        state = f"{block.count:,} short tasks" + (
            f", {block.failed} failed" if block.failed else ""
        )
        took = f"{seconds(block.busy)} in all"
    elif span.attempt:
        state += f" (attempt {span.attempt + 1})"
    moved = span.reading + span.storing
    return (
        name,
        state,
        cell_name(span.cell, names),
        clock(block.begin),
        took,
        seconds(span.waited) if span.waited >= 0 else "–",
        f"{seconds(span.reading)} in, {seconds(span.storing)} out" if moved > 1e-6 else "–",
        size(span.size) if span.size and block.count == 1 else "–",
    )
