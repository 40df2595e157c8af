"""``fanlight.timeline()``: when each task ran and where, as Chrome trace events.

The node is asked page by page, so that it never stands still for it; a file is written as the pages
come. Chrome's ``about:tracing`` and Perfetto (ui.perfetto.dev) show such a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fanlight import session as sessions
from fanlight.core.timeline import FAILED, unpack

Event = dict[str, Any]
_COLOURS = {"task": "generic_work", "failed": "terrible", "read": "rail_load", "store": "rail_idle"}


def timeline(filename: str | os.PathLike[str] | None = None) -> list[Event] | None:
    """When the newest 100,000 finished tasks ran, as a list of Chrome trace events.

    Every attempt is an event of category ``task::NAME`` in its worker's lane, and one of category
    ``task:execute`` inside it; where reading the arguments or storing the results took time, that
    shows as ``task:deserialize_arguments`` and ``task:store_outputs``. ``ts`` and ``dur`` are
    microseconds.

    Args:
        filename: write JSON there instead, and return None.

    Raises:
        RuntimeNotStartedError: before ``init``.

    >>> import fanlight
    >>> @fanlight.remote
    ... def nap():
    ...     pass
    >>> with fanlight.init(engine="inproc", num_cpus=1):
    ...     fanlight.get(nap.remote())
    ...     events = fanlight.timeline()
    >>> [e["cat"] for e in events if e["ph"] == "X"]
    ['task::nap', 'task:execute']
    """
    session = sessions.require()
    found = events(lambda after: session.engine.query("timeline", after=after))
    if filename is None:
        return list(found)
    path = Path(filename)
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w") as f:
            f.write("[")
            for i, event in enumerate(found):
                f.write(",\n" if i else "\n")
                f.write(json.dumps(event))
            f.write("\n]\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return None


def events(ask: Callable[[int], Any]) -> Iterator[Event]:
    """Events from pages of the node: ``ask(after)`` gives what core.timeline.query answers."""
    lanes: set[tuple[int, int]] = set()
    after, more = 0, True
    while more:
        page = ask(after)
        after, more = page["next"], page["more"]
        names: dict[int, tuple[str, str]] = page["names"]
        host = page["address"]
        for row in unpack(page["records"]):
            task, group, worker, pid, attempt, flags, start, duration, reading, storing = row
            if (worker, pid) not in lanes:
                if not lanes:
                    yield _named("process_name", host, host, "")
                lanes.add((worker, pid))
                yield _named("thread_name", host, f"worker:{worker}", f"worker {worker} pid={pid}")
            name, kind = names.get(group, ("others", "task"))
            if kind == "actor":
                name += ".__init__"
            base: Event = {
                "pid": host,
                "tid": f"worker:{worker}",
                "ph": "X",
                "args": {
                    "task_id": task.hex(),
                    "attempt_number": attempt,
                    "name": name,
                    "pid": pid,
                    "ok": not flags & FAILED,
                },
            }
            colour = _COLOURS["failed" if flags & FAILED else "task"]

            def span(cat: str, begin: float, seconds: float, colour: str) -> Event:
                return base | {  # noqa: B023  called at once
                    "cat": cat,
                    "name": cat,
                    "ts": begin * 1e6,
                    "dur": max(seconds, 0.0) * 1e6,
                    "cname": colour,
                }

            yield span(f"task::{name}", start, duration, colour)
            if reading:
                yield span("task:deserialize_arguments", start, reading, _COLOURS["read"])
            execute = duration - reading - storing
            yield span("task:execute", start + reading, execute, colour)
            if storing:
                yield span(
                    "task:store_outputs", start + duration - storing, storing, _COLOURS["store"]
                )


def _named(what: str, pid: str, tid: str, label: str) -> Event:
    """What a viewer calls a process or a lane."""
    return {
        "cat": "__metadata",
        "name": what,
        "ph": "M",
        "ts": 0,
        "dur": 0,
        "pid": pid,
        "tid": tid,
        "args": {"name": label or pid},
        "cname": "",
    }
