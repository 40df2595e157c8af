"""Which runtimes exist: a look at the directory of connection files once a second.

One watcher serves all sockets of the server. It runs only while somebody listens, and a look costs
one ``stat`` and one signal-less ``kill`` for each known runtime; files are only read after a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fanlight.observe import discover
from fanlight.observe.discover import ConnectionInfo

INTERVAL = 1.0  # seconds between two looks


def public(info: ConnectionInfo) -> dict[str, Any]:
    """What a browser may know of a runtime: neither its token nor where its socket is."""
    return {
        "runtime_id": info.runtime_id,
        "name": info.name,
        "engine": info.engine,
        "pid": info.pid,
        "kernel_ids": info.kernel_ids,
        "created": info.created,
    }


class RuntimeWatcher:
    """Keeps ``runtimes`` (newest first) true while it has listeners, and tells them of changes."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.runtimes: list[ConnectionInfo] = []
        self._interval = interval
        self._listeners: set[Callable[[], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._stamp: int | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def add(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change, from the event loop. The list is fresh on return."""
        self._listeners.add(listener)
        self.refresh()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def remove(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    def refresh(self) -> None:
        """Read the connection files now."""
        self._stamp = self._directory_stamp()
        found = discover.runtimes()
        if [public(i) for i in found] != [public(i) for i in self.runtimes]:
            self.runtimes = found
            for listener in list(self._listeners):
                listener()
        else:
            self.runtimes = found

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            if self._directory_stamp() != self._stamp or not all(i.alive() for i in self.runtimes):
                self.refresh()

    @staticmethod
    def _directory_stamp() -> int | None:
        try:
            return discover.connection_dir().stat().st_mtime_ns
        except OSError:
            return None
