"""``fanlight.timeline()``: when each task ran and where, as Chrome trace events and as a picture.

The node is asked page by page, so that it never stands still for it. Chrome's ``about:tracing`` and
Perfetto (ui.perfetto.dev) show the file that it writes.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fanlight import calls, context, gantt
from fanlight import session as sessions
from fanlight.core.timeline import FAILED, unpack
from fanlight.spans import OTHERS, Span, Spans, decode, shown_name

Event = dict[str, Any]
_COLOURS = {"task": "generic_work", "failed": "terrible", "read": "rail_load", "store": "rail_idle"}


class Timeline(list[Event]):
    """Chrome trace events, as Ray's ``timeline()`` returns; in a notebook, a picture.

    It is a list, and stays what it is after the runtime has ended.
    """

    def __init__(self, events: Iterable[Event] = (), spans: Spans | None = None) -> None:
        super().__init__(events)
        self.spans = spans if spans is not None else Spans(())

    def summary(self) -> dict[str, Any]:
        """Figures: tasks, failures, seconds, how busy the workers were, waits, and each function."""
        return copy.deepcopy(gantt.summary(self.spans))

    def headline(self) -> str:
        """One line: "64 tasks in 3.1 s on 2 workers, 94% busy"."""
        return gantt.headline(self.spans)

    def remarks(self) -> list[str]:
        """What stands out, as sentences."""
        return gantt.remarks(self.spans)

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Write the events as JSON, for Chrome's about:tracing and ui.perfetto.dev."""
        _write(filename, iter(self))

    def figure(self, **options: Any) -> Any:
        """A Bokeh figure, to be changed or combined with others: ``bokeh.plotting.show`` shows it.

        Args:
            options: anything that ``bokeh.plotting.figure`` takes.
        """
        return pictures("figure").timeline_figure(self, **options)

    def to_html(self, filename: str | os.PathLike[str]) -> None:
        """Write a page with the interactive picture, which needs neither network nor kernel."""
        pictures("to_html").write_page(self, filename)

    def __repr__(self) -> str:
        return gantt.text(self.spans)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(self)


def pictures(what: str) -> Any:
    """The module that draws. Raises ImportError that says what to install."""
    try:
        return import_module("fanlight_kernel.pictures")
    except ImportError as e:
        raise ImportError(f"{what} needs Bokeh ({e}): pip install bokeh.") from e


def bundle(shown: Any) -> dict[str, Any]:
    """MIME bundle of a picture: text only in a terminal, and where there is nothing that draws."""
    plain = {"text/plain": repr(shown)}
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and getattr(shell, "kernel", None) is None:
        return plain
    try:
        module = pictures("the picture")
    except ImportError:
        return plain
    rich: dict[str, Any] = module.bundle(shown)
    return plain | rich


def timeline(
    filename: str | os.PathLike[str] | None = None,
    *,
    cell: str | int | None = None,
    last: float | None = None,
    function: str | None = None,
) -> Timeline | None:
    """When the newest 100,000 finished tasks ran: a list of Chrome trace events, and a picture.

    Every attempt is an event of category ``task::NAME`` in its worker's lane, and one of category
    ``task:execute`` inside it; where reading the arguments or storing the results took time, that
    shows as ``task:deserialize_arguments`` and ``task:store_outputs``. ``ts`` and ``dur`` are
    microseconds. In a notebook the list shows itself as a picture that can be zoomed, printed as a
    chart of text; what runs just now is in both.

    Args:
        filename: write JSON there instead, and return None.
        cell: only tasks of this cell of the notebook: ``"this"``, a cell's number as in ``In [5]``,
            or its id.
        last: only what ran in the last so many seconds.
        function: only tasks of this name: ``"f"``, ``"Counter.add"``.

    Raises:
        RuntimeNotStartedError: before ``init``, and after ``shutdown``.
        ValueError: for a cell that is not known.

    >>> import fanlight
    >>> @fanlight.remote
    ... def nap():
    ...     pass
    >>> with fanlight.init(engine="inproc", num_cpus=1):
    ...     fanlight.get(nap.remote())
    ...     events = fanlight.timeline()
    >>> [e["cat"] for e in events if e["ph"] == "X"]
    ['task::nap', 'task:execute']
    >>> events.summary()["functions"]["nap"]["count"]
    1
    """
    session = sessions.require()
    keep = _filter(cell, last, function)

    def ask(after: int) -> Any:
        return session.engine.query("timeline", after=after)

    if filename is not None:
        _write(filename, events(ask, keep))
        return None
    found: list[Span] = []
    live: dict[int, Any] = {}
    cut = False

    def note(page: Any) -> None:
        nonlocal cut
        cut = bool(page["forgotten"])
        found.extend(decode(page["records"], page["names"], page["running"], time.time()))
        live.update(page["lanes"])

    made = Timeline(events(ask, keep, note))
    waits = calls.waits() if session.role == "driver" else []
    made.spans = Spans(found if keep is None else filter(keep, found), live, cut, waits)
    return made


def cell_id(cell: str | int) -> str:
    """The id of a cell that the user names: "this", its number, or the id itself.

    Raises ValueError where there is none.
    """
    if cell == "this":
        origin = context.origin()
        if not origin:
            raise ValueError(
                "cell='this' is for notebooks: load the extension first (%load_ext fanlight)."
            )
        return origin
    if isinstance(cell, int):
        numbers = sessions.cell_numbers()
        origins = [origin for origin, number in numbers.items() if number == cell]
        if not origins:
            raise ValueError(
                f"No cell In [{cell}] is known. Cells are known from %load_ext fanlight on, by the "
                "number of their last run."
            )
        return origins[-1]
    return cell


def _filter(
    cell: str | int | None, last: float | None, function: str | None
) -> Callable[[Span], bool] | None:
    if cell is None and last is None and function is None:
        return None
    origin = cell_id(cell) if cell is not None else None
    since = time.time() - float(last) if last is not None else 0.0

    def keep(span: Span) -> bool:
        return (
            (origin is None or span.cell == origin)
            and span.end >= since
            and (function is None or span.name == function)
        )

    return keep


def _write(filename: str | os.PathLike[str], found: Iterator[Event]) -> None:
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


def events(
    ask: Callable[[int], Any],
    keep: Callable[[Span], bool] | None = None,
    note: Callable[[Any], None] | None = None,
) -> Iterator[Event]:
    """Events from pages of the node: ``ask(after)`` gives what core.timeline.query answers.

    ``note`` sees each page; ``keep`` chooses.
    """
    lanes: set[tuple[int, int]] = set()
    after, more = 0, True
    while more:
        page = ask(after)
        if note is not None:
            note(page)
        after, more = page["next"], page["more"]
        names: dict[int, list[str]] = page["names"]
        host = page["address"]
        chosen = decode(page["records"], names, (), 0.0) if keep is not None else ()
        for i, row in enumerate(unpack(page["records"])):
            if keep is not None and not keep(chosen[i]):
                continue
            task, group, worker, pid, attempt, flags, start, duration, reading, storing, *_ = row
            if (worker, pid) not in lanes:
                if not lanes:
                    yield _named("process_name", host, host, "")
                lanes.add((worker, pid))
                yield _named("thread_name", host, f"worker:{worker}", f"worker {worker} pid={pid}")
            name, kind, _ = names.get(group, (OTHERS, "task", ""))
            name = shown_name(name, kind)
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
