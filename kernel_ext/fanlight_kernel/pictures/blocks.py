"""Spans as the blocks that a picture can hold: what is too short to be seen is merged.

100,000 tasks become a few thousand blocks: in a lane, neighbours shorter than a pixel are one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

ROWS = 6  # calls of one process beside each other that have a row of their own
LANES = 60  # processes that are drawn
_PIXELS = 1_200
DRIVER = "your program waits"


@dataclass
class Block:
    """Something to draw: one span, or many short ones."""

    lane: int
    row: int
    begin: float  # seconds since the epoch
    end: float
    span: Any  # the longest of them
    count: int = 1
    failed: int = 0
    busy: float = 0.0
    names: set[str] = field(default_factory=set)


@dataclass
class Scene:
    """All blocks of a picture."""

    lanes: list[Any]
    rows: list[int]  # how many rows each lane has
    blocks: list[Block]
    begin: float
    end: float
    note: str  # what was merged or left out, "" for nothing


def scene(spans: Any, limit: int) -> Scene:
    """At most about ``limit`` blocks of a ``fanlight.spans.Spans``."""
    lanes = spans.lanes
    notes = []
    if len(lanes) > LANES:
        notes.append(f"{len(lanes) - LANES} more workers are not drawn")
        busiest = sorted(lanes, key=lambda lane: -len(lane.spans))[:LANES]
        lanes = [lane for lane in lanes if any(lane is one for one in busiest)]
    placed = [_rows(lane.spans) for lane in lanes]
    count = sum(len(row) for rows in placed for row in rows)
    pixel = 0.0 if count <= limit else max(spans.extent / _PIXELS, 1e-9)
    blocks = _blocks(placed, pixel)
    while len(blocks) > limit:
        pixel *= 2
        blocks = _blocks(placed, pixel)
    if pixel:
        notes.append(
            f"{count:,} tasks are drawn as {len(blocks):,} blocks: in each lane, neighbours shorter "
            f"than {_short(pixel)} are one; timeline(last=seconds) shows more of less"
        )
    return Scene(
        lanes, [len(rows) for rows in placed], blocks, spans.begin, spans.end, "; ".join(notes)
    )


def merged_waits(spans: Any, limit: int) -> list[tuple[float, float, str]]:
    """Where the program waited, within what is drawn: neighbours less than a pixel apart are one."""
    least = spans.extent / limit
    found: list[tuple[float, float, str]] = []
    count = 1
    for start, end, what in spans.waits:
        begin, end = max(start, spans.begin), min(end, spans.end)
        if found and begin - found[-1][1] < least and end - found[-1][0] < 8 * least:
            count += 1
            found[-1] = (found[-1][0], max(end, found[-1][1]), f"{count} times")
        else:
            count = 1
            found.append((begin, end, what))
    return found


def _short(value: float) -> str:
    from fanlight.words import seconds

    return seconds(value)


def _rows(spans: list[Any]) -> list[list[Any]]:
    """Spans of one process in rows in which none overlaps, as far as there are rows."""
    rows: list[list[Any]] = []
    ends: list[tuple[float, int]] = []
    for span in spans:
        if ends and (ends[0][0] <= span.start or len(rows) == ROWS):
            end, row = heapq.heappop(ends)
        else:
            end, row = 0.0, len(rows)
            rows.append([])
        rows[row].append(span)
        heapq.heappush(ends, (max(end, span.end), row))
    return rows


def _blocks(placed: list[list[list[Any]]], pixel: float) -> list[Block]:
    found: list[Block] = []
    for lane, rows in enumerate(placed):
        for row, line in enumerate(rows):
            found += _merged(line, lane, row, pixel)
    return found


def _merged(line: Iterable[Any], lane: int, row: int, pixel: float) -> list[Block]:
    found: list[Block] = []
    small = False  # the last block is made of short spans
    for span in line:
        start, took = span.start, span.duration
        end, failed = start + took, span.state == "failed"
        if small and took < pixel:
            block = found[-1]
            if start - block.end < pixel and block.end - block.begin < 8 * pixel:
                block.end = max(block.end, end)
                block.count += 1
                block.failed += failed
                block.busy += took
                block.names.add(span.name)
                if took > block.span.duration:
                    block.span = span
                continue
        found.append(Block(lane, row, start, end, span, 1, int(failed), took, {span.name}))
        small = took < pixel
    return found
