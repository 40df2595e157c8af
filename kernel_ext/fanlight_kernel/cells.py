"""The cells of the notebook, and how output reaches the one it belongs to.

A cell is known by its ``origin``: IPython's cell id where the front end sends one. Its parent
header, saved when it was executed, lets any thread write under it later, while other cells run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanlight_kernel.output.outlet import PERIOD, Outlet
from fanlight_kernel.output.quota import Limits

TASKS_LIMIT = 20_000  # own tasks that a cell hands on when it is run again
LIMIT = 2000  # cells remembered; output of older ones goes to the cell that runs


@dataclass
class Cell:
    """One execution of one cell."""

    origin: str
    number: int = 0  # execution count
    raw: str = ""
    parent: dict[str, Any] = field(default_factory=dict)  # the message that executed it
    started: float = 0.0  # seconds since the epoch
    own_tasks: dict[str, str] = field(default_factory=dict)  # task id -> prefix of what it prints
    remote: bool = False  # it is a %%remote cell
    quiet: bool = False
    ended: bool = False
    outlet: Outlet | None = None  # what its work has put out


class Cells:
    """The cells by origin, and the one that is running."""

    def __init__(self) -> None:
        self._cells: OrderedDict[str, Cell] = OrderedDict()
        self._lock = threading.RLock()
        self.current: Cell | None = None

    def start(self, shell: Any, info: Any) -> Cell:
        """Called before each cell, with IPython's ExecutionInfo."""
        number = number_of(shell)
        origin = getattr(info, "cell_id", None) or f"In[{number}]-{os.getpid()}"
        cell = Cell(
            origin=origin,
            number=number,
            raw=getattr(info, "raw_cell", "") or "",
            parent=parent_of(shell),
            started=time.time(),
        )
        with self._lock:
            previous = self._cells.pop(origin, None)
            # What still runs of an earlier execution prints here from now on.
            if previous is not None and len(previous.own_tasks) < TASKS_LIMIT:
                cell.own_tasks.update(previous.own_tasks)
            self._cells[origin] = cell
            while len(self._cells) > LIMIT:
                self._cells.popitem(last=False)
            self.current = cell
        return cell

    def end(self) -> Cell | None:
        """Called after each cell."""
        with self._lock:
            cell, self.current = self.current, None
        if cell is not None:
            cell.ended = True
        return cell

    def get(self, origin: str) -> Cell | None:
        with self._lock:
            return self._cells.get(origin)

    def numbers(self) -> dict[str, int]:
        """Execution counts by origin, oldest first."""
        with self._lock:
            return {origin: cell.number for origin, cell in self._cells.items()}

    def submitting(self) -> contextlib.AbstractContextManager[Any]:
        """Hold back routing until the ids of the tasks just submitted are known."""
        # The lock itself: Ctrl-C may strike as a generator is entered, which would keep it for ever.
        return self._lock

    def newest(self) -> Cell | None:
        """The cell that runs, or that ran last."""
        with self._lock:
            return self.current or next(reversed(self._cells.values()), None)

    def clear(self) -> None:
        with self._lock:
            self._cells.clear()
            self.current = None


def number_of(shell: Any) -> int:
    """The prompt number of the running cell: the display hook knows it in every IPython."""
    number = getattr(getattr(shell, "displayhook", None), "prompt_count", 0)
    return number if isinstance(number, int) else 0


def parent_of(shell: Any) -> dict[str, Any]:
    """The message that the kernel is executing; empty in a terminal."""
    get_parent = getattr(shell, "get_parent", None)
    parent = get_parent() if get_parent is not None else None
    return parent if isinstance(parent, dict) else {}


class Router:
    """Writes and displays under a given cell, from any thread.

    ipykernel's streams and publishers take a parent header for the calling thread only; older ones
    do not, and get ready-made messages instead. A cell that is running right now writes to
    ``sys.stdout`` as the cell itself would, so that capturing works.
    """

    def __init__(self, shell: Any, cells: Cells) -> None:
        self.shell = shell
        self.cells = cells
        self.limits = Limits()
        self.rich = getattr(shell, "kernel", None) is not None  # displays can be updated
        self._lock = threading.RLock()  # of all outlets
        self._due: dict[int, Outlet] = {}  # that wait for their tick
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        self.publisher = getattr(shell, "display_pub", None)

    # -- from the runtime ---------------------------------------------------------------------
    def on_output(self, output: Any) -> bool:
        """The session's output listener: route a :class:`TaskOutput`. Any thread."""
        with self.cells.submitting():
            cell = self.cells.get(output.origin)
            if cell is None:
                return False
            own = cell.own_tasks.get(output.task_id)
        prefix = own if own is not None else f"({output.name} pid={output.pid}) "
        with self._lock:
            if cell.outlet is None:
                cell.outlet = Outlet(self, cell, self.limits)
            cell.outlet.take(output, prefix)
        return True

    def place(self, origin: str) -> Callable[[str, str], None] | None:
        """Where notices of a cell go, "" being the one that runs: see ``fanlight.driver_log``."""
        cell = self.cells.get(origin) if origin else self.cells.newest()
        return None if cell is None else functools.partial(self.write, cell)

    def settle(self, cell: Cell) -> None:
        """The cell ends: show what its work has put out so far. The main thread."""
        with self._lock:
            if cell.outlet is not None:
                cell.outlet.settle()

    def tend(self, outlet: Outlet) -> None:
        """Have the outlet's ``tick`` called until it says that nothing waits."""
        with self._changed:
            self._due[id(outlet)] = outlet
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="fanlight-output", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._changed.wait(PERIOD / 2)
                due = list(self._due.items())
            with self._lock:
                for key, outlet in due:
                    try:
                        waits = outlet.tick(time.monotonic())
                    except Exception:  # a closed stream: never the end of this thread
                        waits = False
                    if not waits:
                        self._due.pop(key, None)

    def close(self) -> None:
        """Show what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for outlet in list(self._due.values()):
            with self._lock, contextlib.suppress(Exception):
                outlet.settle()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def logs_of(self, pids: Iterable[int], stream: str) -> list[str]:
        """The files that have what these workers printed."""
        from fanlight import session

        current = session.current()
        folder = current.info.get("session_dir") if current is not None else ""
        if not folder:
            return []
        suffix = "err" if stream == "stderr" else "out"
        logs = Path(folder, "logs")
        return [str(path) for pid in pids for path in logs.glob(f"worker-*-{pid}.{suffix}")]

    # -- under a cell -------------------------------------------------------------------------
    def write(self, cell: Cell, stream: str, text: str) -> None:
        """Write text to a cell's stdout or stderr."""
        current = self.cells.current is cell
        target = getattr(sys, stream) if current else self.streams[stream]
        if not hasattr(target, "set_thread_parent"):
            if not current and cell.parent and self._send_stream(cell, stream, text):
                return
            target.write(text)
            return
        with under(cell, target):
            target.write(text)

    def display(
        self,
        cell: Cell,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        display_id: str | None = None,
        update: bool = False,
    ) -> None:
        """Publish a MIME bundle under a cell."""
        transient = {"display_id": display_id} if display_id else {}
        current = self.cells.current is cell
        publisher = getattr(self.shell, "display_pub", None) if current else self.publisher
        if publisher is None:
            return
        if hasattr(publisher, "set_thread_parent"):
            with under(cell, publisher):
                publisher.publish(data, metadata or {}, transient=transient, update=update)
            return
        if (
            not current
            and cell.parent
            and self._send_display(cell, data, metadata or {}, transient, update)
        ):
            return
        publisher.publish(data, metadata or {}, transient=transient, update=update)

    # -- kernels whose streams know no thread's parent ---------------------------------------
    def _send_stream(self, cell: Cell, stream: str, text: str) -> bool:
        return self._send(cell, "stream", {"name": stream, "text": text}, f"stream.{stream}")

    def _send_display(
        self,
        cell: Cell,
        data: dict[str, Any],
        metadata: dict[str, Any],
        transient: dict[str, Any],
        update: bool,
    ) -> bool:
        content = {"data": data, "metadata": metadata, "transient": transient}
        kind = "update_display_data" if update else "display_data"
        return self._send(cell, kind, content, "display_data")

    def _send(self, cell: Cell, kind: str, content: dict[str, Any], topic: str) -> bool:
        kernel = getattr(self.shell, "kernel", None)
        session = getattr(kernel, "session", None)
        socket = getattr(kernel, "iopub_socket", None)
        if session is None or socket is None:
            return False
        message = session.msg(kind, content, parent=cell.parent)
        session.send(socket, message, ident=topic.encode())
        return True


@contextlib.contextmanager
def under(cell: Cell, target: Any) -> Iterator[None]:
    """Give ``target`` (an OutStream or a publisher) the cell's parent header, in this thread."""
    if not cell.parent:
        yield
        return
    token = target.set_thread_parent(cell.parent)
    try:
        yield
    finally:
        target.reset_thread_parent(token)
