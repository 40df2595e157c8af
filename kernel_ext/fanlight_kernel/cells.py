"""The cells of the notebook, and how output reaches the one it belongs to.

A cell is known by its ``origin``: IPython's cell id where the front end sends one. Its parent
header, saved when it was executed, lets any thread write under it later, while other cells run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

TASKS_LIMIT = 20_000  # own tasks that a cell hands on when it is run again
LIMIT = 500  # cells remembered; output of older ones goes to the default


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

    @contextlib.contextmanager
    def submitting(self) -> Iterator[None]:
        """Hold back routing until the ids of the tasks just submitted are known."""
        with self._lock:
            yield

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
        self._middle: set[tuple[str, str]] = set()  # (task, stream) that stand within a line
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
        if output.stream == "display":
            self.display(cell, output.data or {}, output.metadata or {})
            return True
        prefix = own if own is not None else f"({output.name} pid={output.pid}) "
        text = self._prefixed(output.text, prefix, (output.task_id, output.stream))
        self.write(cell, output.stream, text)
        return True

    def _prefixed(self, text: str, prefix: str, key: tuple[str, str]) -> str:
        middle = key in self._middle
        if text.endswith("\n"):
            self._middle.discard(key)
        elif text:
            if len(self._middle) > LIMIT:
                self._middle.clear()  # tasks that ended within a line
            self._middle.add(key)
        if not prefix:
            return text
        lines = text.splitlines(keepends=True)
        start = 1 if middle else 0
        return "".join(lines[:start] + [prefix + line for line in lines[start:]])

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
