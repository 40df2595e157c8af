"""What a task prints: ``sys.stdout`` and ``sys.stderr`` of a worker send it to the driver.

Both streams of a process share an :class:`Outbox`, so that what a task wrote stays in order. A line
is sent when it is whole. Who prints much has its lines sent some at a time, twenty times a second;
and of a flood that a notebook's cell would not show anyway, only the counts and the last lines are
sent (:mod:`fanlight.worker.flood`). The worker's log file has everything.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import sys
import threading
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fanlight import context
from fanlight import messages as m
from fanlight.wire.failures import WireError
from fanlight.worker.flood import Flood, last_states

if TYPE_CHECKING:
    from fanlight.client.client import Client
    from fanlight.worker.logfile import LogFile

_LONGEST = 1 << 16  # characters without a newline before they are sent all the same
_PERIOD = 0.05  # seconds between two sendings of who prints much
_BURST = 20  # sendings in two periods that need not wait
_HELD = 1 << 20  # characters that may wait
_LARGE = 1 << 14  # characters that are much at once


ours: Outbox | None = None  # of this process, if it is a worker


class _Pending:
    """What one task wrote and is not sent yet."""

    __slots__ = ("flood", "flushed", "open", "runs", "size", "task")

    def __init__(self, task: context.TaskContext | None) -> None:
        self.task = task
        self.runs: list[tuple[str, list[str]]] = []  # by stream, in the order of writing
        self.size = 0  # characters in `runs`
        self.open: dict[str, str] = {}  # lines without an end, by stream; before `runs`
        self.flushed = False  # they are to be sent, too
        self.flood: Flood | None = None


class Outbox:
    """What the tasks of a process have written and is not sent yet, by task.

    Nothing here waits for another thread but to send: a finalizer may print at any moment.
    """

    def __init__(self, client: Client, *, threaded: bool = True) -> None:
        self.parts: dict[bytes, _Pending] = {}
        self.label = ""  # in front of what is written: the actor's name
        self.logs: dict[str, LogFile] = {}  # where it is kept, too, by stream
        self._client = client
        self._threaded = threaded  # whether a thread may send what waits
        self._lock = threading.RLock()  # a finalizer may print while its thread prints
        self._since = 0.0
        self._sent = 0
        self._armed = False  # somebody will send soon
        self._started = False
        self._wake = allocate_lock()

    def add(self, stream: str, task: context.TaskContext | None, text: str) -> None:
        """Take text of a task; what is whole is sent, now or soon."""
        key = task.task_id if task is not None else b""
        with self._lock:
            pending = self.parts.get(key)
            if pending is None:
                pending = self.parts[key] = _Pending(task)
            runs = pending.runs
            if runs and runs[-1][0] == stream:
                runs[-1][1].append(text)
            else:
                runs.append((stream, [text]))
            pending.size += len(text)
            whole = not self._armed and ("\n" in text or "\r" in text or pending.size > _LONGEST)
            if pending.size > _HELD or (whole and self._at_once()):
                self._send(key, pending)

    def _at_once(self) -> bool:
        """Whether to send now; else the thread will."""
        if not self._threaded:
            return True
        if self._armed:
            return False
        now = time.monotonic()
        if now - self._since > 2 * _PERIOD:
            self._since, self._sent = now, 0
        self._sent += 1
        if self._sent <= _BURST:
            return True
        self._armed = True
        if self._started:
            self._wake.release()
        else:
            self._started = True
            self._wake.acquire()
            start_new_thread(self._run, ())  # threading's way takes locks that we may hold
        return False

    def _run(self) -> None:
        """The thread that sends what waits."""
        while True:
            time.sleep(_PERIOD)
            with contextlib.suppress(WireError), self._lock:
                now = time.monotonic()
                for key, pending in list(self.parts.items()):
                    if (
                        pending.runs
                        or pending.flushed
                        or (pending.flood is not None and pending.flood.due(now))
                    ):
                        self._send(key, pending)
                if any(p.flood is not None and p.flood.holds for p in self.parts.values()):
                    continue
                self._armed, self._since, self._sent = False, now, _BURST // 2
            self._wake.acquire()

    def flush(self, key: bytes) -> None:
        """Send the unfinished lines of a task, too: now, or with all else that waits."""
        with self._lock:
            pending = self.parts.get(key)
            if pending is not None and (pending.open or pending.runs):
                pending.flushed = True
                if self._at_once():
                    self._send(key, pending)

    def end_of(self, key: bytes) -> None:
        """Send all that a task wrote, its unfinished lines too: it ends, or shows something."""
        with self._lock:
            pending = self.parts.get(key)
            if pending is not None:
                self._send(key, pending, last=True)

    def close(self) -> None:
        """Send everything: the process ends."""
        for key in list(self.parts):
            self.end_of(key)

    def _send(self, key: bytes, pending: _Pending, last: bool = False) -> None:
        runs, pending.runs, pending.size = pending.runs, [], 0
        lines = pending.open
        for stream, texts in runs:
            text = lines.pop(stream, "") + "".join(texts)
            cut = text.rfind("\n") + 1
            if text.find("\r", cut) >= 0 or len(text) - cut > _LONGEST:
                cut = len(text)  # progress bars rewrite their line and never end it
            if cut < len(text):
                lines[stream] = text[cut:]
            if cut:
                self._say(key, pending, stream, text[:cut])
        if last or pending.flushed:
            pending.flushed, pending.open = False, {}
            for stream, text in lines.items():
                self._say(key, pending, stream, text)
        flood = pending.flood
        if flood is not None and flood.holds and (last or flood.due(time.monotonic())):
            for kind, what in flood.rest():
                self.deliver(pending.task, kind, what)
        if not pending.open and (last or flood is None):
            self.parts.pop(key, None)

    def _say(self, key: bytes, pending: _Pending, stream: str, text: str) -> None:
        log = self.logs.get(stream)
        if log is not None:
            log.write(key, text.encode(errors="replace"))
        task, flood = pending.task, pending.flood
        if self._threaded and task is not None and task.origin:
            text = last_states(text)
            if flood is None and (self._armed or len(text) > _LARGE):
                flood = pending.flood = Flood(time.monotonic())
            if flood is not None:
                for kind, what in flood.pass_on(stream, text, time.monotonic()):
                    self.deliver(task, kind, what)
                return
        self.deliver(task, stream, text)

    def deliver(self, task: context.TaskContext | None, kind: str, what: Any) -> None:
        """Send text of a stream; or ``what`` else there is to say, as JSON."""
        text = what if isinstance(what, str) else json.dumps(what, default=str)
        send(self._client, kind, text.encode(errors="replace"), task, self.label)


class TaskStream(io.TextIOBase):
    """A text stream whose lines go to the driver, labelled with the task that wrote them.

    Lines without an end are sent when the task ends, or on ``flush``.
    """

    def __init__(self, outbox: Outbox, name: str, fallback: Any) -> None:
        self.outbox = outbox
        self._name = name
        self._fallback = fallback
        self._bytes: _Bytes | None = None
        # Of threads that belong to no task: whose output that is.
        self.whose: Callable[[], context.TaskContext | None] = context.started_by.get
        self.forked = False  # in a child of the worker, which has no connection

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    @property
    def buffer(self) -> _Bytes:
        """Where bytes can be written."""
        if self._bytes is None:
            self._bytes = _Bytes(self)
        return self._bytes

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        """No; but to ``rich`` in the work of a notebook, whose cells follow what its bars do."""
        if sys._getframe(1).f_globals.get("__name__") != "rich.console":
            return False
        task = self.task()
        return task is not None and bool(task.origin)

    def reconfigure(self, **_: Any) -> None:
        """There is nothing to choose: lines are sent when they are whole, as UTF-8."""

    def fileno(self) -> int:
        return int(self._fallback.fileno())

    def task(self) -> context.TaskContext | None:
        """Whose output it is that this thread writes."""
        task = context.current.get()
        return task if task is not None else self.whose()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.forked:
            return int(self._fallback.write(text))
        if text:
            task = context.current.get()
            self.outbox.add(self._name, task if task is not None else self.whose(), text)
        return len(text)

    def flush(self) -> None:
        if self.forked:
            self._fallback.flush()
            return
        task = self.task()
        self.outbox.flush(task.task_id if task is not None else b"")


class _Bytes(io.BufferedIOBase):
    """``sys.stdout.buffer``: bytes that are UTF-8 text, or what can be shown of them."""

    def __init__(self, stream: TaskStream) -> None:
        self._stream = stream
        self._threads = threading.local()  # characters may be cut anywhere

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        decoder = getattr(self._threads, "decoder", None)
        if decoder is None:
            made = codecs.getincrementaldecoder("utf-8")(errors="replace")
            decoder = self._threads.decoder = made
        data = bytes(data)
        self._stream.write(decoder.decode(data))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


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


def send_display(
    client: Client, data: dict[str, Any], metadata: dict[str, Any], transient: dict[str, Any]
) -> None:
    """Send a mimebundle; called by ``fanlight.session.publish_display``."""
    bundle = {"data": data, "metadata": metadata, "transient": transient}
    payload = json.dumps(bundle, default=str).encode()
    task = context.current.get() or context.started_by.get()
    if ours is not None:  # what was printed before comes before it
        ours.end_of(task.task_id if task is not None else b"")
    send(client, "display", payload, task)
