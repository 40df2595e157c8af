"""Showing values that were made elsewhere as the cell's own result."""

from __future__ import annotations

import contextlib
from typing import Any


class Shown:
    """Stands for a value that was too large to bring back just to be shown."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __repr__(self) -> str:
        return str(self._data.get("text/plain", "<a value in the worker>"))


def show_result(
    shell: Any,
    value: Any,
    data: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Show ``value`` as ``Out[n]``, with a ready-made MIME bundle where there is one."""
    hook = shell.displayhook
    if data is None:
        data, metadata = shell.display_formatter.format(value)
    with contextlib.suppress(AttributeError):
        hook.check_for_underscore()
    hook.start_displayhook()
    hook.write_output_prompt()
    hook.update_user_ns(value)
    hook.fill_exec_result(value)
    hook.write_format_data(data, metadata or {})
    hook.log_output(data)
    hook.finish_displayhook()


def short(value: Any, limit: int = 40) -> str:
    """A short repr, for prefixes and messages."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
