"""What is said of a cell's progress: the summary line, the estimate, the widget's state. Pure."""

from __future__ import annotations

from typing import Any

from fanlight.look import size
from fanlight.progress_bar import roughly, seconds
from fanlight_kernel.widgets.progress import Progress, Row, shown_rows

ROWS_SHOWN = 8  # functions; the others are added up in one row
FAILURES_SHOWN = 5
LITTLE = 64 << 20  # bytes of memory that are not worth a word
EARLY = 2.0  # seconds in which an estimate would only be a guess


def number(count: int) -> str:
    """``12345`` → "12 345", with a narrow space."""
    return f"{count:,}".replace(",", "\u202f")


def _tasks(count: int) -> str:
    return f"{number(count)} task{'' if count == 1 else 's'}"


def summary(progress: Progress) -> str:
    """One line: "64 tasks, 3.1 s, 1.9× on 2 CPUs (94 %)"."""
    if progress.unfinished:  # there will be no news
        ended = progress.total - progress.unfinished
        parts = [f"{number(ended)} of {_tasks(progress.total)}"]
    else:
        parts = [_tasks(progress.total)]
    for count, word in ((progress.failed, "failed"), (progress.cancelled, "cancelled")):
        if count and progress.total == 1:
            parts = [f"{parts[0]} {word}"]
        elif count:
            parts.append(f"{number(count)} {word}")
    parts.append(seconds(progress.elapsed))
    gain = speed_up(progress)
    if gain is not None:
        factor, cpus, percent = gain
        parts.append(f"{factor:.1f}× on {cpus:g} CPU{'' if cpus == 1 else 's'} ({percent:.0f} %)")
    elif progress.engine == "inproc" and progress.total > 1:
        parts.append("one after the other (inproc)")
    if progress.ended:
        parts.append(progress.ended)
    return ", ".join(parts)


def speed_up(progress: Progress) -> tuple[float, float, float] | None:
    """Work done per second of waiting, CPUs, and percent of them; ``None`` where it says nothing.

    Nothing is said of a single task, of tasks that waited inside others, or when the sum cannot be
    work (more than the CPUs can do: tasks that sleep, or that hold no CPU).
    """
    if progress.busy is None or progress.elapsed <= 0 or not progress.cpus or progress.engine:
        return None
    if progress.unfinished or progress.cancelled or progress.ended:
        return None
    factor = progress.busy / progress.elapsed
    percent = 100 * factor / progress.cpus
    if percent > 102 or factor < 0.05:
        return None
    return factor, progress.cpus, min(percent, 100.0)


def notes(progress: Progress) -> list[str]:
    """What else is worth a word: "2 retried", "0.4 GB on disk", "peak 1.2 GB"."""
    found = []
    if progress.retried:
        found.append(f"{number(progress.retried)} retried")
    if progress.spilled:
        found.append(f"{size(progress.spilled)} on disk")
    if progress.memory > LITTLE:
        found.append(f"peak {size(progress.memory)}")
    return found


def table(progress: Progress) -> list[Row]:
    """The rows that are shown: the largest, and the rest as one."""
    rows, rest = shown_rows(progress.rows, ROWS_SHOWN)
    return rows if rest is None else [*rows, rest]


def failures(progress: Progress) -> list[tuple[str, str, int]]:
    """Function, message and count of what failed; the rest as one line."""
    found = progress.failures[:FAILURES_SHOWN]
    lines = [(failure.name, failure.message, failure.count) for failure in found]
    rest = len(progress.failures) - len(found)
    if rest > 0:
        plural = "" if rest == 1 else "s"
        lines.append((f"and {rest} other message{plural}", "", 0))
    return lines


def as_state(
    progress: Progress,
    *,
    title: str,
    cancelling: bool = False,
    growing: bool = False,
    why: str = "",
    over: bool = False,
    label: str = "task",
) -> dict[str, Any]:
    """The monitor widget's state; plain JSON.

    ``growing``: the cell still submits tasks; ``over``: nothing will change any more.
    """
    remaining = None
    if progress.elapsed >= EARLY and not growing and not progress.ended and not cancelling:
        remaining = progress.remaining()
    return {
        "title": title,
        "label": label,
        "rows": [
            {
                "name": row.name,
                "pending": row.pending,
                "running": row.running,
                "done": row.done,
                "failed": row.failed,
                "cancelled": row.cancelled,
                "total": row.total,
            }
            for row in table(progress)
        ],
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "running": progress.running,
        "cancelled": progress.cancelled,
        "unfinished": progress.unfinished,
        "elapsed": seconds(progress.elapsed),
        "remaining": f"about {roughly(remaining)} left" if remaining is not None else "",
        "notes": notes(progress),
        "why": why,
        "failures": [list(failure) for failure in failures(progress)],
        "ended": progress.ended,
        "summary": summary(progress),
        "cancelling": cancelling,
        "over": over,
    }
