"""The extension as one object: what it hooks into, and how it lets go again.

``%load_ext fanlight`` makes one :class:`Extension` for the shell; ``%unload_ext`` closes it.
Before each cell the cell's origin becomes the default of everything it submits; what tasks print is
routed by that origin.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from fanlight_kernel import completion, interrupting, tracebacks
from fanlight_kernel.capture.carry import Home
from fanlight_kernel.capture.putcache import PutCache
from fanlight_kernel.cells import Cell, Cells, Router
from fanlight_kernel.coach import Coach
from fanlight_kernel.magics import FanlightMagics
from fanlight_kernel.namespaces.registry import Namespaces
from fanlight_kernel.widgets import progress_view, reprs, widget
from fanlight_kernel.widgets.live import Live
from fanlight_kernel.widgets.monitor import Hub

_ATTRIBUTE = "_fanlight_extension"


class Extension:
    """Everything the extension holds for one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.cells = Cells()
        self.router = Router(shell, self.cells)
        self.home = Home(shell.user_ns)
        self.puts = PutCache()
        self.namespaces = Namespaces()
        self.hub = Hub(self)
        self.live = Live(self, self._view)
        self.cancels: dict[str, Callable[[], object]] = {}  # what other cancel buttons do
        self.magics = FanlightMagics(shell, self)
        self.rich = getattr(shell, "kernel", None) is not None
        self.coach = Coach(self)
        self.closed = threading.Event()
        self._undo: list[Callable[[], None]] = []

    # -- settings -----------------------------------------------------------------------------
    @property
    def monitor_on(self) -> bool:
        return bool(self.magics.monitor)

    # -- loading ------------------------------------------------------------------------------
    def open(self) -> None:
        from fanlight import driver_log, session, task_output

        shell = self.shell
        Home.here = self.home
        self._undo.append(self._leave_home)
        for event, callback in (
            ("pre_run_cell", self._before),
            ("post_run_cell", self._after),
        ):
            shell.events.register(event, callback)
            self._undo.append(functools.partial(shell.events.unregister, event, callback))
        self._undo.append(self._register_magics())
        self._undo.append(self._register_completion())
        self._undo.append(self.live.close)
        self._undo.append(reprs.register(shell, self))
        self._undo.append(progress_view.register(self))
        self._undo.append(tracebacks.teach_errors(shell))
        self._undo.append(task_output.add_listener(self.router.on_output))
        driver_log.places, before = self.router.place, driver_log.places
        self._undo.append(lambda: setattr(driver_log, "places", before))
        self._undo.append(self.router.close)
        self._undo.append(lambda: session.set_default_origin(""))
        session.set_cell_numbers(self.cells.numbers)
        self._undo.append(lambda: session.set_cell_numbers(None))
        self._undo.append(self.coach.close)
        self.coach.open()
        self._undo.append(widget.register_uplink(shell, self.cancel_pressed))
        self._undo.append(self.puts.clear)
        self._undo.append(self.namespaces.clear)
        self._undo.append(self.hub.close)
        atexit.register(self._farewell)
        self._undo.append(lambda: atexit.unregister(self._farewell))
        current = getattr(shell, "execution_count", None)
        if current is not None:
            # The cell that loads the extension is running already: it counts too.
            self.cells.start(shell, _Info())

    def close(self) -> None:
        """Undo everything, newest first; one failure keeps none of the others back."""
        self.closed.set()
        while self._undo:
            undo = self._undo.pop()
            try:
                undo()
            except Exception as error:
                self.log(f"unloading: {type(error).__name__}: {error}")
        self.cells.clear()

    def _leave_home(self) -> None:
        if Home.here is self.home:
            Home.here = None

    def _register_magics(self) -> Callable[[], None]:
        shell = self.shell
        manager = shell.magics_manager
        names = [("cell", "remote"), ("line", "remote"), ("line", "fanlight")]
        before = {key: manager.magics[key[0]].get(key[1]) for key in names}
        shell.register_magics(self.magics)

        def restore() -> None:
            for (kind, name), previous in before.items():
                if previous is None:
                    manager.magics[kind].pop(name, None)
                else:
                    manager.magics[kind][name] = previous
            manager.registry.pop(type(self.magics).__name__, None)
            if self.magics in shell.configurables:
                shell.configurables.remove(self.magics)

        return restore

    def _register_completion(self) -> Callable[[], None]:
        """Complete the lines of our magics; nothing else has anything to say about them."""
        from IPython.core.completer import SimpleCompletion, context_matcher

        sources = {
            "variables": self._names,
            "namespaces": self.namespaces.names,
            "settings": lambda: [f"{name}=" for name in self.magics.traits(config=True)],
        }

        @context_matcher(identifier="fanlight")
        def match(context: Any) -> Any:
            line = context.text_until_cursor
            found = completion.complete(line, sources)
            return {
                "completions": [SimpleCompletion(text, type="magic") for text in found],
                "suppress": bool(found) or not completion.takes_python(line),
                "ordered": True,
            }

        matchers = self.shell.Completer.custom_matchers
        matchers.append(match)

        def remove() -> None:
            if match in matchers:
                matchers.remove(match)

        return remove

    def _names(self) -> list[str]:
        hidden = self.shell.user_ns_hidden
        return [n for n in self.shell.user_ns if not n.startswith("_") and n not in hidden]

    # -- around each cell ---------------------------------------------------------------------
    def _before(self, info: Any) -> None:
        from fanlight import session

        cell = self.cells.start(self.shell, info)
        session.set_default_origin(cell.origin)
        self.hub.watch(cell, float(self.magics.monitor_delay))
        self.coach.before(cell)

    def _after(self, result: Any) -> None:
        cell = self.cells.current
        if cell is None:
            return
        # IPython calls it "before" when Ctrl-C strikes between two statements of the cell.
        error = result.error_in_exec or result.error_before_exec
        try:
            if isinstance(error, KeyboardInterrupt) and not cell.remote:
                self._interrupted(cell)
            self.router.settle(cell)
            self.coach.after(cell, interrupted=isinstance(error, KeyboardInterrupt))
            self.hub.cell_ended(cell)
        finally:
            self.cells.end()

    def _interrupted(self, cell: Cell) -> None:
        """A plain cell was interrupted: what it started must not run on unseen."""
        if not self.magics.cancel_on_interrupt:
            return
        tasks = interrupting.cancel(self, cell, [])
        if tasks:
            count = len(tasks)
            self.router.write(
                cell, "stderr", f"Cancelled {count} task{'' if count == 1 else 's'} of this cell.\n"
            )
        interrupting.insist(self, cell, tasks)

    # -- services to the other modules -------------------------------------------------------
    def cancel_origin(self, cell: Cell, refs: list[Any] | None, *, force: bool = False) -> int:
        """Cancel ``refs`` and all other unfinished work of the cell; return how many tasks."""
        tasks = interrupting.cancel(self, cell, refs or [], force)
        return max(len(tasks), len(refs or ()))

    def make_view(self, cell: Cell, state: dict[str, Any]) -> Any:
        return self._view("monitor", cell.origin, state)

    def _view(self, kind: str, origin: str, state: dict[str, Any]) -> Any:
        return widget.make_view(kind, origin, state, self.cancel_pressed)

    def cancel_pressed(self, origin: str) -> None:
        """A cancel button: on whatever thread the front end's message arrived."""
        cancel = self.cancels.get(origin)
        if cancel is not None:
            cancel()
        else:
            self.hub.cancel(origin)

    def where(self, origin: str) -> str:
        """A cell as people know it: "In[3]", or "" if it is none of this notebook's."""
        cell = self.cells.get(origin)
        return f"In[{cell.number}]" if cell is not None and cell.number else ""

    def _farewell(self) -> None:
        """The kernel ends: leave in the notebook what can be saved."""
        self.hub.farewell()
        self.live.settle_all()

    def log(self, text: str) -> None:
        """For what went wrong in the extension itself: the kernel's log, not the notebook."""
        log = getattr(self.shell, "log", None)
        if log is not None:
            log.warning("fanlight: %s", text)
        else:
            print(f"fanlight: {text}", file=sys.__stderr__)


class _Info:
    """Stands for the ExecutionInfo of the cell that loads the extension."""

    raw_cell = ""
    cell_id = None


def load(shell: Any) -> None:
    """Called by ``%load_ext``; loading twice is loading once."""
    if getattr(shell, _ATTRIBUTE, None) is not None:
        return
    extension = Extension(shell)
    extension.open()
    setattr(shell, _ATTRIBUTE, extension)


def unload(shell: Any) -> None:
    """Called by ``%unload_ext``."""
    extension = getattr(shell, _ATTRIBUTE, None)
    if extension is not None:
        extension.close()
        delattr(shell, _ATTRIBUTE)
