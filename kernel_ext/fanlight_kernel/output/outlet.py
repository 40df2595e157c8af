"""What the work of one cell prints and displays, on its way to the notebook.

An :class:`Outlet` keeps the lines of many tasks apart, shows progress bars in one place that is
updated, and leaves out what is more than anybody reads, saying how much and where it is. It is
called with the router's lock held; ``tick`` is called ten times a second while it asks for that.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fanlight.driver_log import left_out
from fanlight_kernel.output import blocks, screen
from fanlight_kernel.output.quota import Bucket, Limits, Quota, Skipped

if TYPE_CHECKING:
    from fanlight.task_output import TaskOutput
    from fanlight_kernel.cells import Cell, Router

PERIOD = 0.1  # seconds between two updates of one thing
PAUSE = 1.0  # seconds until more of a flood is shown
QUIET = 0.3  # seconds without output, after which the last lines are shown
TASKS = 5000  # of one cell that are remembered
_COLOURS = re.compile(r"\x1b\[([0-9;]*)m")
_MOVES = re.compile(r"\x1b(?!\[[0-9;]*m)")
_LAST_MOVE = re.compile(r"[\r\b](?!.*[\r\b])", re.DOTALL)


class Task:
    """One task that prints under the cell."""

    def __init__(self, prefix: str, quota: Quota) -> None:
        self.prefix = prefix
        self.quota = quota
        self.skipping: set[str] = set()  # streams of which something is left out just now
        self.colours: dict[str, str] = {}  # that its last line left on, by stream
        self.bars: dict[str, blocks.Bar] = {}  # lines that it rewrites, by stream
        self.board: blocks.Board | None = None  # what clear_output takes back
        self.displays: list[str] = []  # ids of its first ones, which it takes back too


class Outlet:
    """For one execution of a cell."""

    def __init__(self, router: Router, cell: Cell, limits: Limits) -> None:
        self.router = router
        self.cell = cell
        self._limits = limits
        self._quota = Quota(limits)
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._open: dict[str, Task] = {}  # who stands within a line, by stream
        self._last: dict[str, Task] = {}  # who wrote last
        self._skipped: dict[str, Skipped] = {}
        self._pids: dict[str, dict[int, None]] = {}  # whose logs have what was skipped
        self._tails: dict[str, str] = {}  # display ids of what stands for an endless flood
        self._since = 0.0  # when the first was skipped
        self._latest = 0.0  # when the last was
        self._told = 0.0  # when it was said
        self._displays = Bucket(limits.displays)
        self._held: tuple[int, dict[str, Any], dict[str, Any], str] | None = None
        self._bars = blocks.Bars(self)
        self._updates: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._updated: dict[str, float] = {}

    # -- what comes in ------------------------------------------------------------------------
    def take(self, output: TaskOutput, prefix: str) -> None:
        """Show what a task wrote; ``prefix`` stands in front of its lines."""
        now = time.monotonic()
        task = self._task(output.task_id, prefix)
        if output.stream == "left_out":
            counts = output.data or {}
            skipped = self._skip(counts["stream"], output.pid, now)
            skipped.lines += counts["lines"]
            skipped.size += counts["bytes"]
            task.skipping.add(counts["stream"])
        elif output.stream == "display":
            self._display(task, output, now)
        else:
            self._text(task, output, now)

    def _task(self, task_id: str, prefix: str) -> Task:
        task = self._tasks.get(task_id)
        if task is None:
            task = self._tasks[task_id] = Task(prefix, Quota(self._limits, 0.5))
            if len(self._tasks) > TASKS:
                self._tasks.popitem(last=False)
        task.prefix = prefix
        return task

    # -- text ---------------------------------------------------------------------------------
    def _text(self, task: Task, output: TaskOutput, now: float) -> None:
        stream, text = output.stream, output.text.replace("\r\n", "\n")
        bar = task.bars.get(stream)
        if bar is None and not screen.has_controls(text):
            self._plain(task, stream, text, output.pid, now)
            return
        while text:
            if bar is None or bar.screen.below:
                control = screen.first_control(text)
                end = text.rfind("\n", 0, control) + 1
                if control == len(text) and bar is None:
                    end = control
                if end:
                    if bar is not None:
                        bar = None
                        self._bars.settle(task.bars.pop(stream))
                    self._plain(task, stream, text[:end], output.pid, now)
                    text = text[end:]
                    continue
            if bar is None:
                bar = task.bars[stream] = self._bars.start(task.prefix, stream)
            end = len(text)
            if not _MOVES.search(text):  # what follows the last line that is rewritten is plain
                move = _LAST_MOVE.search(text)
                end = text.find("\n", move.start() if move else 0) + 1 or end
            bar.screen.feed(text[:end])
            text = text[end:]
            self._bars.changed(now)

    def _plain(self, task: Task, stream: str, text: str, pid: int, now: float) -> None:
        if task.board is not None and task.board.used:
            task.board.write(text, now)
            return
        if stream not in task.skipping:
            end = task.quota.fits(text, now)
            shown = self._quota.fits(text[:end], now)
            task.quota.give_back(text[shown:end])
            if shown:
                self.write(task, stream, text[:shown])
            text = text[shown:]
            if not text:
                return
            task.skipping.add(stream)
        self._skip(stream, pid, now).add(text, task.prefix)

    def _skip(self, stream: str, pid: int, now: float) -> Skipped:
        found = self._skipped.get(stream)
        if found is None:
            found = self._skipped[stream] = Skipped()
            self._since = now
        self.router.tend(self)
        pids = self._pids.setdefault(stream, {})
        if pid and len(pids) < 1000:
            pids[pid] = None
        self._latest = now
        return found

    def write(self, task: Task, stream: str, text: str) -> None:
        """Write text of a task so that the lines of others stay whole and keep their colours."""
        parts = []
        within = self._open.get(stream)
        last = self._last.get(stream)
        if within is not None and within is not task:
            parts.append("\n")
        if last is not None and last is not task and last.colours.get(stream):
            parts.append("\x1b[0m")
        if last is not task and task.colours.get(stream):
            parts.append(task.colours[stream])
        text = screen.printable(text)
        if task.prefix:
            lines = text.splitlines(keepends=True)
            start = 1 if within is task else 0
            text = "".join(lines[:start] + [task.prefix + line for line in lines[start:]])
        parts.append(text)
        if "\x1b[" in text:
            codes = _COLOURS.findall(text)
            if codes:
                on = codes[-1] not in ("", "0")
                task.colours[stream] = f"\x1b[{codes[-1]}m" if on else ""
        self._last[stream] = task
        if text.endswith("\n"):
            self._open.pop(stream, None)
        else:
            self._open[stream] = task
        self.router.write(self.cell, stream, "".join(parts))

    # -- what is displayed --------------------------------------------------------------------
    def _display(self, task: Task, output: TaskOutput, now: float) -> None:
        data, metadata = output.data or {}, output.metadata or {}
        transient = output.transient or {}
        if "clear" in transient:
            if task.board is None:
                task.board = blocks.Board(self, task.displays)
            task.board.clear(wait=transient["clear"] == "wait", now=now)
            return
        display_id = transient.get("display_id") or ""
        if transient.get("update"):
            self.update(display_id, data, metadata, now)
        elif task.board is not None and not display_id:
            task.board.show(data, metadata, now)
        elif self._held is None and self._displays.room(now) >= 1:
            self._displays.take(1)
            if not display_id and self.router.rich and len(task.displays) < blocks.PLACES:
                display_id = uuid.uuid4().hex
                task.displays.append(display_id)
            self.show(display_id, data, metadata)
        else:
            self._held = (self._held[0] + 1 if self._held else 0, data, metadata, display_id)
            if not self._skipped:
                self._since = now
            self._latest = now
            self.router.tend(self)

    def show(self, display_id: str, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        for stream in self._open:
            self.router.write(self.cell, stream, "\n")
        self._open.clear()
        self.router.display(self.cell, data, metadata, display_id=display_id or None)

    def update(
        self, display_id: str, data: dict[str, Any], metadata: dict[str, Any], now: float
    ) -> None:
        """Replace a display: now, or soon with the newest of what comes until then."""
        self._updates[display_id] = data, metadata
        if now - self._updated.get(display_id, 0.0) >= PERIOD:
            self._send_update(display_id, now)
        else:
            self.router.tend(self)

    def _send_update(self, display_id: str, now: float) -> None:
        data, metadata = self._updates.pop(display_id)
        if len(self._updated) > TASKS:
            self._updated.clear()
        self._updated[display_id] = now
        self.router.display(self.cell, data, metadata, display_id=display_id, update=True)

    # -- later --------------------------------------------------------------------------------
    def tick(self, now: float) -> bool:
        """Show what has waited; whether something waits still."""
        for display_id in list(self._updates):
            if now - self._updated.get(display_id, 0.0) >= PERIOD:
                self._send_update(display_id, now)
        self._bars.tick(now)
        waits = self._untold
        if waits and (now - self._since >= PAUSE or now - self._latest >= QUIET):
            self._release(now)
            waits = self._untold
        return bool(self._updates or self._bars.waiting or waits)

    @property
    def _untold(self) -> bool:
        """Whether something was left out that nothing shown says."""
        return self._held is not None or (bool(self._skipped) and self._latest > self._told)

    def settle(self) -> None:
        """The cell ends: show everything that has waited. Its tasks may go on."""
        now = time.monotonic()
        for display_id in list(self._updates):
            self._send_update(display_id, now)
        self._bars.draw(now, final=True)
        if self._untold:
            self._release(now, final=True)

    def _release(self, now: float, final: bool = False) -> None:
        """Say what was left out, show the last lines, and show more if there is room."""
        self._told = now
        spent = self._quota.spent
        for stream, skipped in list(self._skipped.items()):
            lines, size = skipped.hidden
            notice = left_out(lines, size, self._where(stream)) if lines or size else ""
            tail = "".join(skipped.tail)
            if spent and self.router.rich:
                self._show_tail(stream, f"{notice}\n{tail}" if notice else tail)
                self._since = now
                continue  # it counts on
            if spent and not final and now - self._latest < QUIET:
                continue
            del self._skipped[stream]
            self._quota.fits(tail, now)
            self._write_whole(stream, f"{notice}\n{tail}" if notice else tail)
        if self._held:
            count, data, metadata, display_id = self._held
            self._held = None
            if count:
                self._write_whole("stdout", f"… {count:,} displays left out …\n")
            self._displays.take(1)
            self.show(display_id, data, metadata)
        if not self._skipped:
            for task in self._tasks.values():
                task.skipping.clear()

    def _write_whole(self, stream: str, text: str) -> None:
        if self._open.pop(stream, None) is not None:
            text = "\n" + text
        self.router.write(self.cell, stream, text if text.endswith("\n") else text + "\n")

    def _show_tail(self, stream: str, text: str) -> None:
        """The end of a flood that is not shown any more, in a place that is updated."""
        data = {"text/plain": text.rstrip("\n")}
        display_id = self._tails.get(stream)
        if display_id is None:
            display_id = self._tails[stream] = uuid.uuid4().hex
            self.show(display_id, data, {})
        else:
            self.router.display(self.cell, data, {}, display_id=display_id, update=True)

    def _where(self, stream: str) -> str:
        paths = self.router.logs_of(self._pids.get(stream, {}), stream)
        if not paths:
            return ""
        more = f" and {len(paths) - 1} more beside it" if len(paths) > 1 else ""
        return f"the whole is in {paths[0]}{more} while the runtime runs"
