"""Where and when this process put its large objects; for :func:`fanlight.memory`, and forgotten with
the oldest ones."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import NamedTuple

from fanlight import context
from fanlight.client.call_sites import PACKAGE

_KEPT = 2_000


class Note(NamedTuple):
    """One ``put`` of a large value."""

    time: float  # seconds since the epoch
    origin: str  # the notebook cell, "" if none
    file: str
    line: int
    what: str = ""  # the name of what was put, where no line of the user's did


notes: dict[bytes, Note] = {}  # by object
what = ""  # of those that are being put


def note(oid: bytes) -> None:
    """Called by ``put`` once the value is stored."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    place = ("", 0) if what else (frame.f_code.co_filename, frame.f_lineno)
    notes[oid] = Note(time.time(), context.origin(), *place, what)
    if len(notes) > _KEPT:
        with contextlib.suppress(
            RuntimeError, StopIteration
        ):  # another thread puts: it is its turn
            notes.pop(next(iter(notes)), None)
