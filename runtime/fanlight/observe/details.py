"""What a recorder asks beside the events: what tasks print, and what the largest objects are.

Used by :class:`fanlight.observe.recorder.Recorder` in its thread, every few seconds. Answers that say
the same again are left out; lines are bounded by :data:`LOG_BYTES`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from fanlight.observe import questions as q
from fanlight.observe.fold import Fold, Record

SECONDS = 5.0  # between two looks
OBJECTS = 100  # of the largest
LOG_BYTES = 16 << 20  # of lines in one recording
_LINES = 2_000  # in one look; of more, the newest


class Details:
    """``welcome`` is what the node said of itself: its folders."""

    def __init__(self, welcome: dict[str, Any]) -> None:
        from fanlight.observe.logs import Logs
        from fanlight.observe.objects import ObjectFacts

        self._logs = Logs(welcome)
        self._objects = ObjectFacts(welcome)
        self._cursor = 0
        self._left = LOG_BYTES
        self._last: Any = None

    def printed(self, fold: Fold) -> Record | None:
        """What was printed since the last look; None for nothing."""
        if self._left <= 0:
            return None
        query = q.QueryLogs(after=self._cursor, limit=_LINES)
        found = asyncio.run(self._logs.answer(query, _nobody))
        self._cursor = found["cursor"]
        lines = found["lines"]
        if not lines:
            return None
        for line in lines:
            line["name"], line["origin"] = fold.whose(line["task"])
            self._left -= len(line["text"]) + 100
        return _row(fold.time, "logs", {"lines": lines})

    def objects(self, fold: Fold, reply: bytes) -> Record | None:
        """The answer to ``panel_objects``; None where nothing has changed."""
        raw = msgspec.msgpack.decode(reply, strict=False)
        found = self._objects.answer(raw, q.QueryObjects(limit=OBJECTS))
        same = {k: v for k, v in found.items() if k not in ("now", "store")}
        if same == self._last:
            return None
        self._last = same
        return _row(fold.time, "objects", found)


async def _nobody(what: str, args: dict[str, Any]) -> Any:
    """The recorder knows the names of tasks itself."""
    return {}


def _row(time: float, what: str, data: Any) -> Record:
    return {"time": time, "query": {"what": what}, "data": data}
