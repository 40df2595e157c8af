"""Colours that people with any colour vision tell apart, and that stand out on white and on black.

They are those of Okabe and Ito, without black and yellow; vermilion is kept for failures. Nothing is
said by colour alone: failures have a mark, functions their names.
"""

from __future__ import annotations

from collections.abc import Sequence

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8F7F00", "#8C6BB1", "#A6761D")
OTHER = "#8A8A8A"
FAILED = "#D55E00"
TEXT = "#808080"  # where no theme says better: legible on white and on black
FAINT = "#80808033"

STATES = {  # of tasks in the graph
    "PENDING_ARGS": "#8A8A8A",
    "PENDING_RESOURCES": "#8A8A8A",
    "PENDING": "#8A8A8A",
    "SUBMITTED": "#56B4E9",
    "RUNNING": "#0072B2",
    "FINISHED": "#009E73",
    "FAILED": FAILED,
    "CANCELLED": "#CC79A7",
    "VALUE": "#8F7F00",
    "GONE": "#8A8A8A",
}
WORDS = {
    "PENDING_ARGS": "waits for arguments",
    "PENDING_RESOURCES": "waits for its turn",
    "PENDING": "not ready",
    "SUBMITTED": "about to run",
    "RUNNING": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "VALUE": "value",
    "GONE": "forgotten",
}


def of_functions(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, the first ones different.

    >>> of_functions(["f", "g"])
    {'f': '#0072B2', 'g': '#E69F00'}
    """
    return {n: COLOURS[i] if i < len(COLOURS) else OTHER for i, n in enumerate(names)}
