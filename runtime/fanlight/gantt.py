"""A timeline as text: a line for each worker, a letter for each function, and what stands out."""

from __future__ import annotations

import shutil
from functools import lru_cache
from typing import Any

from fanlight.spans import Lane, Span, Spans
from fanlight.words import seconds

_LETTERS = "abcdefghijklmnopqrstuvwxy"
_OTHER, _IDLE, _FAILED, _WAIT = "z", "·", "!", "░"
_DRIVER = "your program"
_LANES = 24  # lines at most
_NAMES = 8  # functions named below
_LABEL = 32  # characters of a lane's name


@lru_cache(maxsize=2)
def summary(spans: Spans) -> dict[str, Any]:
    """Figures of a run, in seconds: what ``Timeline.summary()`` returns."""
    lanes = spans.lanes
    waits = sorted(s.waited for s in spans.all if s.waited >= 0)
    extent = spans.extent
    busy = sum(lane.busy for lane in lanes)
    longest = max(spans.all, key=lambda s: s.duration, default=None)
    return {
        "tasks": len(spans),
        "failed": sum(s.state == "failed" for s in spans.all),
        "running": sum(s.state == "running" for s in spans.all),
        "seconds": extent,
        "workers": len(lanes),
        "busy": busy,
        "utilization": busy / (extent * len(lanes)) if extent and lanes else 0.0,
        "transfer": sum(s.reading + s.storing for s in spans.all),
        "wait_median": waits[len(waits) // 2] if waits else 0.0,
        "wait_longest": waits[-1] if waits else 0.0,
        "longest": (longest.name, longest.duration) if longest is not None else None,
        "functions": {
            name: {"count": n, "failed": bad, "seconds": total, "longest": top}
            for name, n, bad, total, top in spans.functions
        },
    }


def headline(spans: Spans) -> str:
    """One line: how many tasks, how long, how busy."""
    facts = summary(spans)
    actors = sum(bool(lane.actor) for lane in spans.lanes)
    where = [
        f"{count} {what}{'s' if count != 1 else ''}"
        for what, count in (("worker", facts["workers"] - actors), ("actor", actors))
        if count
    ]
    tasks = facts["tasks"]
    text = (
        f"{tasks:,} task{'s' if tasks != 1 else ''} in {seconds(facts['seconds'])} on "
        f"{' and '.join(where)}, {facts['utilization']:.0%} busy"
    )
    for what in ("failed", "running"):
        if facts[what]:
            text += f", {facts[what]:,} {what}"
    return text


def remarks(spans: Spans) -> list[str]:
    """What stands out, as sentences."""
    facts = summary(spans)
    if not facts["tasks"]:
        return []
    found = []
    name, longest = facts["longest"]
    found.append(f"The longest task was {name}: {seconds(longest)}.")
    if facts["wait_longest"] > 0.01:
        found.append(
            f"From submission to start a task waited {seconds(facts['wait_median'])} (median), "
            f"{seconds(facts['wait_longest'])} at most."
        )
    ran = sum(row["seconds"] for row in facts["functions"].values())
    if facts["transfer"] > 0.1 * ran:
        found.append(
            f"Reading arguments and storing results took {seconds(facts['transfer'])}, "
            f"{facts['transfer'] / ran:.0%} of the time in tasks."
        )
    lanes = spans.lanes
    if len(lanes) > 1:
        ends = sorted(lane.spans[-1].end for lane in lanes)
        alone = ends[-1] - ends[-2]
        if alone > 0.2 * facts["seconds"] and alone > 0.1:
            last = max(lanes, key=lambda lane: lane.spans[-1].end)
            found.append(
                f"For the last {seconds(alone)} only {last.label} worked, on {last.spans[-1].name}."
            )
    if spans.cut:
        found.append("Older tasks are not in it: the runtime keeps the newest 100,000.")
    return found


def text(spans: Spans, width: int = 0) -> str:
    """The picture as text, ``width`` characters wide (as the terminal, by default)."""
    if not spans.all:
        return "Timeline: no task has ended yet."
    width = width or min(shutil.get_terminal_size((100, 24)).columns, 120)
    lanes = spans.lanes
    functions = spans.functions
    letters = {row[0]: letter for row, letter in zip(functions, _LETTERS, strict=False)}
    labels = [_short(lane.label) for lane in lanes[:_LANES]]
    pad = max(map(len, [*labels, _DRIVER] if spans.waits else labels))
    columns = max(width - pad - 9, 20)
    lines = [f"Timeline: {headline(spans)}"]
    for lane, label in zip(lanes, labels, strict=False):
        busy = lane.busy / spans.extent if spans.extent else 1.0
        lines.append(f"{label:<{pad}} │{_cells(lane, spans, letters, columns)}│ {busy:>4.0%}")
    if spans.waits:
        share = spans.waited / spans.extent if spans.extent else 0.0
        lines.append(f"{_DRIVER:<{pad}} │{_waits(spans, columns)}│ {share:>4.0%}")
    if len(lanes) > _LANES:
        lines.append(f"… and {len(lanes) - _LANES} more workers")
    scale = seconds(spans.extent)
    lines.append(f"{'':<{pad}}  0 s{scale:>{columns - 3}}")
    for name, count, failed, total, _ in functions[:_NAMES]:
        letter = letters.get(name, _OTHER)
        bad = f", {failed} failed" if failed else ""
        lines.append(f"  {letter} {name}: {count:,} ×, {seconds(total)}{bad}")
    if len(functions) > _NAMES:
        lines.append(f"  … and {len(functions) - _NAMES} more functions")
    marks = f"  {_IDLE} idle"
    if spans.waits:
        marks += f"   {_WAIT} your program waits for results"
    if any(s.state == "failed" for s in spans.all):
        marks += f"   {_FAILED} failed"
    return "\n".join([*lines, marks, *remarks(spans)])


def _waits(spans: Spans, columns: int) -> str:
    """The line of what waited: the program itself."""
    step = (spans.extent or 1.0) / columns
    cells = [_IDLE] * columns
    for begin, end, _ in spans.waits:
        first = max(int((begin - spans.begin) / step), 0)
        for i in range(first, min(int((end - spans.begin) / step) + 1, columns)):
            cells[i] = _WAIT
    return "".join(cells)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"


def _cells(lane: Lane, spans: Spans, letters: dict[str, str], columns: int) -> str:
    """One character for each part of the time: the function that took most of it."""
    step = (spans.extent or 1.0) / columns
    parts: list[dict[str, float]] = [{} for _ in range(columns)]
    for span in lane.spans:
        mark = _FAILED if span.state == "failed" else letters.get(span.name, _OTHER)
        _spread(span, spans.begin, step, parts, mark)
    return "".join(max(part, key=part.__getitem__) if part else _IDLE for part in parts)


def _spread(
    span: Span, begin: float, step: float, parts: list[dict[str, float]], mark: str
) -> None:
    last = len(parts) - 1
    first = min(int((span.start - begin) / step), last)
    for i in range(first, min(int((span.end - begin) / step), last) + 1):
        overlap = min(span.end, begin + (i + 1) * step) - max(span.start, begin + i * step)
        if overlap > 0 or i == first:
            # A failure shows however short it was; a moment of work does not hide what is idle.
            weight = step if mark == _FAILED else max(overlap, 0.0)
            if weight >= step * 0.02 or first == i:
                parts[i][mark] = parts[i].get(mark, 0.0) + weight
