"""What tasks write, on its way to who shows it: a notebook's cells, or else the driver's log."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from fanlight import messages as m

_listeners: list[Callable[[TaskOutput], bool | None]] = []


class TaskOutput(NamedTuple):
    """Something that a task wrote."""

    task_id: str  # hex
    origin: str  # the notebook cell that its work belongs to, "" if none
    stream: str  # "stdout" | "stderr" | "display"; "left_out": of a flood, counts are in `data`
    text: str
    data: dict[str, Any] | None  # mimebundle of stream "display"
    metadata: dict[str, Any] | None
    name: str
    pid: int
    transient: dict[str, Any] | None = None  # of stream "display": {"display_id", "update"} or so


def of(output: m.Output) -> TaskOutput:
    """What the message says."""
    data: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    transient: dict[str, Any] | None = None
    text = ""
    if output.stream == "display":
        bundle = json.loads(output.data)
        data, metadata = bundle["data"], bundle["metadata"]
        transient = bundle.get("transient")
    elif output.stream == "left_out":
        data = json.loads(output.data)
    else:
        text = output.data.decode(errors="replace")
    return TaskOutput(
        output.task.hex(), output.origin, output.stream, text, data, metadata,
        output.name, output.pid, transient,
    )  # fmt: skip


def show(item: TaskOutput) -> bool:
    """Offer it to the listeners; whether one has shown it. Called by whichever thread reads."""
    for listener in (*_listeners,):
        try:
            if listener(item):
                return True
        except Exception:  # its own fault, and nothing that get() should raise
            traceback.print_exc()
    return False


def add_listener(
    callback: Callable[[TaskOutput], bool | None],
) -> Callable[[], None]:
    """Have ``callback`` called with what tasks write; it returns True for what it has shown.

    Returns a function that removes it. All that a task wrote arrives before its result does.
    """
    _listeners.append(callback)

    def remove() -> None:
        with contextlib.suppress(ValueError):
            _listeners.remove(callback)

    return remove
