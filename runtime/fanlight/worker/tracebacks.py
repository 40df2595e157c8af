"""Tracebacks of tasks as their users should see them: their own frames, nothing of the runtime."""

from __future__ import annotations

import traceback
from types import TracebackType

from fanlight import traces


def _is_ours(tb: TracebackType) -> bool:
    return tb.tb_frame.f_code.co_filename.startswith(traces.our_folders())


def trim(error: BaseException) -> TracebackType | None:
    """The error's traceback from the first frame that is not the runtime's."""
    tb = error.__traceback__
    while tb is not None and _is_ours(tb):
        tb = tb.tb_next
    return tb


def text_of(error: BaseException, header: str) -> str:
    """Header and traceback, causes included, without the runtime's own frames."""
    summary = traceback.TracebackException(
        type(error), error, trim(error), compact=True, capture_locals=False
    )
    _without_ours(summary, set())
    return f"{header}\n{''.join(summary.format()).rstrip()}"


def _without_ours(summary: traceback.TracebackException | None, seen: set[int]) -> None:
    if summary is None or id(summary) in seen:
        return
    seen.add(id(summary))
    stack, ours = summary.stack, traces.our_folders()
    stack[:] = [frame for frame in stack if not frame.filename.startswith(ours)]
    _without_ours(summary.__cause__, seen)
    _without_ours(summary.__context__, seen)


def last_line(error: BaseException) -> str:
    """``ValueError: message``, one line, for tables."""
    lines = traceback.format_exception_only(type(error), error)
    text = (lines[-1] if lines else type(error).__name__).strip()
    return text if len(text) <= 300 else text[:297] + "..."
