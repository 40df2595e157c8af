"""Tables of namespaces and of their variables, as HTML and as plain text."""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fanlight import look
from fanlight_kernel.namespaces.inspection import Variable
from fanlight_kernel.widgets import render

_MEASURE = 0.1  # seconds over which CPU use is measured


@dataclass
class Info:
    """One namespace at one moment."""

    name: str
    state: str
    takes: str  # options that it was made with
    pid: int = 0
    gpus: tuple[str, ...] = ()
    cpu_percent: float | None = None  # of one core
    memory: int | None = None  # bytes that its process uses
    variables: int = 0
    age: float = 0.0  # seconds
    last: str = ""  # the cell that ran last


def info(space: Any, state: str) -> Info:
    """The facts that need no measuring; see :func:`infos`."""
    from fanlight_kernel.namespaces.registry import spelled

    known = space.known
    gone = state.startswith("gone")
    return Info(
        name=space.name,
        state=state,
        takes=" ".join(spelled(key, value) for key, value in space.spec.items()),
        pid=known.pid if known is not None and not gone else 0,
        gpus=tuple(str(gpu) for gpu in known.gpus) if known is not None else (),
        variables=len(known.variables) if known is not None and not gone else 0,
        age=max(0.0, time.time() - space.made),
        last=space.last,
    )


def infos(spaces: Sequence[Any]) -> list[Info]:
    """One Info for each, with the processes measured together."""
    import psutil

    found = [space.info() for space in spaces]
    processes: dict[int, Any] = {}
    for row in found:
        if row.pid:
            with contextlib.suppress(psutil.Error):
                processes[row.pid] = psutil.Process(row.pid)
                processes[row.pid].cpu_percent(None)
    if processes:
        time.sleep(_MEASURE)
    for row in found:
        process = processes.get(row.pid)
        if process is not None:
            with contextlib.suppress(psutil.Error):
                row.cpu_percent = process.cpu_percent(None)
                row.memory = process.memory_info().rss
    return found


class Listing(list[Info]):
    """Rows of :class:`Info`; a table where it is displayed."""

    _HEAD = ("namespace", "state", "pid", "GPU", "CPU", "memory", "variables", "age", "last cell")
    _RIGHT = (2, 4, 5, 6, 7)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                row.name,
                row.state,
                str(row.pid or ""),
                ", ".join(row.gpus),
                f"{row.cpu_percent:.0f} %" if row.cpu_percent is not None else "",
                look.size(row.memory) if row.memory is not None else "",
                str(row.variables),
                age(row.age),
                row.last,
            )
            for row in self
        ]

    def __repr__(self) -> str:
        if not self:
            return _NONE
        return look.text_table([self._HEAD, *self._rows()])

    def _repr_html_(self) -> str:
        if not self:
            return muted(_NONE)
        return table(self._HEAD, self._rows(), self._RIGHT)


_NONE = "There are no namespaces. The first cell with %%remote --on NAME makes one."


class Variables(list[Variable]):
    """The variables of a namespace; a table where it is displayed. ``note``: why it may be old."""

    _HEAD = ("variable", "type", "size", "shape", "value")
    _RIGHT = (2,)

    def __init__(self, name: str, found: Iterable[Variable], note: str = "") -> None:
        super().__init__(found)
        self.name = name
        self.note = note

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (v.name, v.type, look.size(v.size) if v.size is not None else "", v.shape, v.text)
            for v in self
        ]

    def _head(self) -> str:
        count = f"{len(self)} variable{'' if len(self) == 1 else 's'} in {self.name}"
        return (
            f"{count if self else f'No variables in {self.name}'}{' – ' if self.note else ''}"
            + (self.note)
        )

    def __repr__(self) -> str:
        rows = self._rows()
        return "\n".join(
            [self._head(), *([look.text_table([self._HEAD, *rows], "  ")] if rows else [])]
        )

    def _repr_html_(self) -> str:
        rows = self._rows()
        return muted(self._head()) + (table(self._HEAD, rows, self._RIGHT) if rows else "")


def age(seconds: float) -> str:
    """A duration for people.

    >>> age(5.2), age(150), age(7500), age(200_000)
    ('5 s', '2 min', '2 h 5 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def muted(text: str) -> str:
    return f'<div style="{render.FONT};color:{render.MUTED}">{html.escape(text)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of the reports' kind, which scrolls if it is wide."""
    return f'<div style="overflow-x:auto">{look.table(head, rows, right=right)}</div>'
