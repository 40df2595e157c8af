"""What a task prints: ``sys.stdout`` and ``sys.stderr`` of a worker send it to the driver."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from typing import TYPE_CHECKING, Any

from fanlight import context
from fanlight import messages as m
from fanlight.wire.failures import WireError

if TYPE_CHECKING:
    from fanlight.client.client import Client
    from fanlight.worker.logfile import LogFile

_LONGEST = 1 << 16  # characters without a newline before they are sent all the same


class TaskStream(io.TextIOBase):
    """A text stream that sends whole lines, labelled with the task that wrote them.

    Lines without an end are sent when the task ends, or on ``flush``.
    """

    def __init__(self, client: Client, name: str, fallback: Any) -> None:
        self._client = client
        self._name = name
        self._fallback = fallback
        self._lock = threading.RLock()  # a finalizer may print while its thread prints
        self._parts: dict[bytes, str] = {}
        self.label = ""  # for output outside tasks: the actor's name
        self.log: LogFile | None = None  # where it is kept, too

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return int(self._fallback.fileno())

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        task = context.current.get()
        key = task.task_id if task is not None else b""
        with self._lock:
            whole = self._parts.pop(key, "") + text
            cut = whole.rfind("\n") + 1
            if "\r" in whole[cut:] or len(whole) - cut > _LONGEST:
                cut = len(whole)  # progress bars rewrite their line and never end it
            if cut < len(whole):
                self._parts[key] = whole[cut:]
        if cut:
            self._send(task, whole[:cut])
        return len(text)

    def flush(self) -> None:
        task = context.current.get()
        self.end_of(task.task_id if task is not None else b"", task)

    def end_of(self, key: bytes, task: context.TaskContext | None) -> None:
        """Send the unfinished line of a task."""
        if not self._parts:
            return
        with self._lock:
            rest = self._parts.pop(key, "")
        if rest:
            self._send(task, rest)

    def _send(self, task: context.TaskContext | None, text: str) -> None:
        data = text.encode(errors="replace")
        if self.log is not None:
            self.log.write(task.task_id if task is not None else b"", data)
        send(self._client, self._name, data, task, self.label)


def send(
    client: Client, stream: str, data: bytes, task: context.TaskContext | None, label: str = ""
) -> None:
    """Send output of a task (or of none) to its driver."""
    if task is None:
        client.link.send([m.Output(b"", stream, data, label, os.getpid(), "")])
        return
    output = m.Output(
        task.task_id, stream, data, label or task.name, os.getpid(), task.origin, task.job
    )
    caller = task.caller
    if caller is not None and caller.driver and not caller.stream.lost:
        with contextlib.suppress(WireError):  # it left just now
            caller.stream.send([output])  # the way that the result takes, and before it
    else:
        client.link.send([output])


def send_display(client: Client, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Send a mimebundle; called by ``fanlight.session.publish_display``."""
    payload = json.dumps({"data": data, "metadata": metadata}, default=str).encode()
    send(client, "display", payload, context.current.get())
