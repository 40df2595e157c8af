"""``init(logging_config=LoggingConfig(...))``: how ``logging`` looks in the driver and in workers.

Without it, workers show warnings and what is worse, as Python does by itself.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fanlight import context

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LoggingConfig:
    """The root logger of the driver and of all workers.

    Args:
        encoding: "TEXT", or "JSON" for one object a line; both say which job, worker, task and
            actor wrote a line.
        log_level: the least level that is shown, a name or a number of ``logging``.
        additional_log_standard_attrs: attributes of ``logging.LogRecord`` to show as well.

    >>> LoggingConfig(encoding="JSON", log_level="DEBUG")
    LoggingConfig(encoding='JSON', log_level='DEBUG', additional_log_standard_attrs=[])
    """

    def __init__(
        self,
        encoding: str = "TEXT",
        log_level: str | int = "INFO",
        additional_log_standard_attrs: Sequence[str] = (),
    ) -> None:
        if encoding not in ("TEXT", "JSON"):
            raise ValueError(f"encoding must be 'TEXT' or 'JSON', got {encoding!r}.")
        known = isinstance(log_level, int) or log_level in logging.getLevelNamesMapping()
        if isinstance(log_level, bool) or not known:
            raise ValueError(f"log_level must be a level of logging, got {log_level!r}.")
        unknown = set(additional_log_standard_attrs) - _STANDARD
        if unknown:
            raise ValueError(
                f"additional_log_standard_attrs: logging.LogRecord has no {', '.join(unknown)}."
            )
        self.encoding = encoding
        self.log_level = log_level
        self.additional_log_standard_attrs = list(additional_log_standard_attrs)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"LoggingConfig({fields})"


class _Formatter(logging.Formatter):
    def __init__(self, config: LoggingConfig, facts: Callable[[], dict[str, str]]) -> None:
        super().__init__("%(asctime)s\t%(levelname)s %(filename)s:%(lineno)d -- %(message)s")
        self._json = config.encoding == "JSON"
        self._more = config.additional_log_standard_attrs
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        extra = {k: v for k, v in vars(record).items() if k not in _STANDARD}
        more = {name: getattr(record, name, None) for name in self._more}
        facts = {**self._facts(), **_task_facts(), **more, **extra}
        if not self._json:
            tail = "".join(f" {name}={value}" for name, value in facts.items())
            first, newline, rest = super().format(record).partition("\n")
            return f"{first}{tail}{newline}{rest}"
        shown: dict[str, Any] = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename,
            "lineno": record.lineno,
            **facts,
        }
        if record.exc_info:
            shown["exc_text"] = self.formatException(record.exc_info)
        return json.dumps(shown, default=str)


def _task_facts() -> dict[str, str]:
    task = context.current.get()
    if task is None:
        return {}
    facts = {"task_id": task.task_id.hex(), "task_name": task.name}
    if task.actor_id:
        facts |= {"actor_id": task.actor_id.hex(), "actor_name": task.actor_name}
    return facts


class _Handler(logging.Handler):
    """Writes to the ``sys.stderr`` of the moment, which is the running task's."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def apply(config: LoggingConfig, facts: Callable[[], dict[str, str]]) -> Callable[[], None]:
    """Set the root logger of this process; returns what sets it back.

    Called by ``init`` and at the start of each worker. ``facts`` are told with each line.
    """
    root = logging.getLogger()
    level = root.level
    handler = _Handler()
    handler.setFormatter(_Formatter(config, facts))
    root.addHandler(handler)
    root.setLevel(config.log_level)

    def undo() -> None:
        root.removeHandler(handler)
        root.setLevel(level)

    return undo


def pack(config: LoggingConfig | None) -> dict[str, Any]:
    """For the boot configuration; {} for none."""
    return vars(config) if config is not None else {}
