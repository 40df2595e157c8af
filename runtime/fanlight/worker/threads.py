"""Threads that a task starts print, and submit, in its name."""

from __future__ import annotations

import threading
from typing import Any

from fanlight import context


def follow() -> None:
    """From now on every thread of this process knows the task that started it.

    Called once in a worker. Context variables do not go to new threads by themselves before
    Python 3.14, and there only if asked.
    """
    begin = threading.Thread.start

    def start(self: threading.Thread) -> None:
        task = context.current.get() or context.started_by.get()
        if task is not None:
            run = self.run

            def run_for_task(*args: Any) -> None:
                self.__dict__.pop("run", None)  # it refers to the thread
                context.started_by.set(task)
                run(*args)

            self.run = run_for_task  # type: ignore[method-assign]
        begin(self)

    threading.Thread.start = start  # type: ignore[method-assign]
