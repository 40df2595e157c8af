"""Displays that update themselves until nothing changes any more: reprs and ``progress()``.

One thread asks, at most ten times a second and less often the longer nothing changes, and only while
something on display may still change. What is shown is known by id: nothing is kept alive by being
shown. In the end the widget's display is replaced by plain HTML, which every saved notebook can show.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from fanlight_kernel.widgets import widget

FIRST, SLOWEST, GROWTH = 0.1, 5.0, 1.5  # seconds between two questions, and how they grow
LIVE = 20  # displays that update themselves at once; older ones stay as they are
KEPT = 20  # finished widgets that stay for pages that are loaded again


class Item(Protocol):
    """Something on display. All methods are called on the thread of :class:`Live`, but the first
    ``look``."""

    kind: str  # of widget: "card" or "monitor"
    steady: float  # seconds between two questions, at most

    def look(self) -> tuple[dict[str, Any], bool]:
        """The widget's state now, and whether it is final. Bounded in time."""

    def bundle(self) -> dict[str, Any]:
        """The same as of the last look, as HTML and text."""


class _Shown:
    """One item under one cell."""

    def __init__(self, item: Item, cell: Any, state: dict[str, Any]) -> None:
        self.item = item
        self.cell = cell
        self.state = state
        self.display_id = uuid.uuid4().hex
        self.view: Any = None
        self.pause = FIRST
        self.due = time.monotonic() + FIRST
        # Held while it is looked at and shown, so that nothing is shown after the last.
        self.lock = threading.RLock()
        self.settled = False


class Live:
    """The displays of one shell. All methods may be called from any thread."""

    def __init__(
        self, extension: Any, make_view: Callable[[str, str, dict[str, Any]], Any]
    ) -> None:
        self.extension = extension
        self._make_view = make_view
        self._shown: list[_Shown] = []
        self._over: deque[Any] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def show(self, item: Item, cell: Any, state: dict[str, Any], origin: str = "") -> None:
        """Display ``item``, whose first look gave ``state``, under ``cell`` from now on."""
        shown = _Shown(item, cell, state)
        shown.view = self._make_view(item.kind, origin, state)
        self.extension.router.display(
            cell, shown.view.bundle(state), widget.mark(), display_id=shown.display_id
        )
        with self._changed:
            self._shown.append(shown)
            surplus = self._shown[:-LIVE]
            del self._shown[:-LIVE]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="fanlight-live", daemon=True)
                self._thread.start()
            self._changed.notify()
        for old in surplus:
            self._settle(old)

    def poke(self, item: Item, *, final: bool = False) -> None:
        """Look at an item now; ``final``: for the last time, before this returns."""
        with self._changed:
            shown = next((s for s in self._shown if s.item is item), None)
            if shown is None:
                return
            shown.pause, shown.due = FIRST, 0.0
            if final:
                self._shown.remove(shown)
            self._changed.notify()
        if final:
            self._look(shown)
            self._settle(shown)

    def settle_all(self) -> None:
        """The kernel ends: leave what can be saved."""
        with self._changed:
            shown, self._shown = self._shown, []
        for each in shown:
            with contextlib.suppress(Exception):  # the front end may be gone already
                self._settle(each)

    def close(self) -> None:
        """Unloading: what is shown stays as it is."""
        with self._changed:
            self._closed = True
            shown, self._shown = self._shown, []
            self._changed.notify()
            thread = self._thread
        for each in shown:
            self._settle(each)
        while self._over:
            self._over.popleft().close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)

    # -- the thread ---------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                due = [s for s in self._shown if s.due <= now]
                if not due:
                    nearest = min((s.due for s in self._shown), default=now + 60.0)
                    self._changed.wait(nearest - now)
                    if not self._shown:
                        self._thread = None  # the next display starts another one
                        return
                    continue
            for shown in due:
                self._tend(shown)

    def _tend(self, shown: _Shown) -> None:
        try:
            final = self._look(shown)
        except Exception as error:  # a display must never harm the notebook
            self.extension.log(f"live display: {type(error).__name__}: {error}")
            final = True
        if not final:
            return
        with self._changed:
            if shown not in self._shown:
                return
            self._shown.remove(shown)
        self._settle(shown)

    def _look(self, shown: _Shown) -> bool:
        with shown.lock:
            return shown.settled or self._show(shown)

    def _show(self, shown: _Shown) -> bool:
        state, final = shown.item.look()
        if state != shown.state:
            shown.state = state
            shown.pause = FIRST
            bundle = shown.view.push(state)
            if bundle is not None:
                self._update(shown, bundle)
        else:
            shown.pause = min(shown.pause * GROWTH, shown.item.steady, SLOWEST)
        shown.due = time.monotonic() + shown.pause
        return final

    def _settle(self, shown: _Shown) -> None:
        """Replace the widget by what can be saved."""
        with shown.lock, contextlib.suppress(Exception):
            shown.settled = True
            self._update(shown, shown.item.bundle())
        self._over.append(shown.view)
        while len(self._over) > KEPT:
            self._over.popleft().close()

    def _update(self, shown: _Shown, bundle: dict[str, Any]) -> None:
        self.extension.router.display(shown.cell, bundle, display_id=shown.display_id, update=True)
