"""Records what a runtime does into a file: an observer like the panel, in a thread of its own.

The runtime is never held back: an observer that falls behind is dropped, and what a recorder asks for
comes in pages. What a recording may hold is bounded by :class:`Recorder`'s ``limit``: the fuller the
file, the coarser the steps; when it is full, the recording ends.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fanlight import messages as m
from fanlight import words
from fanlight._version import __version__
from fanlight.events import EVENTS_VERSION
from fanlight.observe.client import Observer
from fanlight.observe.details import OBJECTS, SECONDS, Details
from fanlight.observe.discover import ConnectionInfo
from fanlight.observe.fold import Fold, Record, joined
from fanlight.observe.recording import PART_LIMIT, Writer

LIMIT = 100_000_000  # bytes of a file
FLUSH_SECONDS = 2.0  # so much is lost at most when the recorder is killed
KEY_BYTES = 1 << 20  # of deltas (or as many as a keyframe has) until the next keyframe
KEY_DELTAS = 600
# Part of the limit that is used -> seconds that one step stands for.
_STEPS = ((0.125, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (1.0, 5.0))
_LAST_EVENTS = 5.0  # seconds that `stop` waits for them

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


_TIMELINE, _OBJECTS = 1, 2  # numbers of questions


class Feed(Protocol):
    """Where events and answers come from."""

    welcome: dict[str, Any]  # what the node said of itself; empty: only the timeline is asked

    def items(self) -> Iterator[bytes | m.Reply]:
        """Events and answers, in order, until the runtime ends or ``close``."""

    def ask(self, what: str, args: dict[str, Any]) -> None:
        """Have a question answered; the answer comes among the items, with the question's number:
        2 for ``panel_objects``, 1 for all others."""

    def settle(self) -> bool:
        """Called by ``stop``, in the caller's thread: whether all is among the items now, and they
        end with it; if not, it comes with time."""

    def close(self) -> None: ...


class SocketFeed:
    """Of a runtime that is found by its connection file."""

    def __init__(self, info: ConnectionInfo) -> None:
        """Raises OSError, or HandshakeRefused."""
        self._observer = Observer(info)
        self.welcome = self._observer.welcome

    def items(self) -> Iterator[bytes | m.Reply]:
        return self._observer.items()

    def ask(self, what: str, args: dict[str, Any]) -> None:
        number = _OBJECTS if what == "panel_objects" else _TIMELINE
        self._observer.send(m.Query(number, what, args))

    def settle(self) -> bool:
        return False

    def close(self) -> None:
        self._observer.close()


class EngineFeed:
    """Of a runtime in this process, which lives in the user's thread and is asked only there."""

    def __init__(self, engine: Any) -> None:
        self.welcome: dict[str, Any] = {}
        self._engine = engine
        self._queue: queue.SimpleQueue[bytes | m.Reply | None] = queue.SimpleQueue()
        self._subscription = engine.subscribe(lambda event: self._queue.put(_encode(event)))

    def items(self) -> Iterator[bytes | m.Reply]:
        while (item := self._queue.get()) is not None:
            yield item

    def ask(self, what: str, args: dict[str, Any]) -> None:
        """Answered by ``settle``."""

    def settle(self) -> bool:
        self._engine.node.publish(flush=True)
        after, more = 0, True
        while more:
            page = self._engine.query("timeline", after=after)
            self._queue.put(m.Reply(_TIMELINE, msgspec.msgpack.encode(page)))
            after, more = page["next"], page["more"]
        self._queue.put(None)
        return True

    def close(self) -> None:
        self._subscription.close()
        self._queue.put(None)


class Recorder:
    """Writes one recording, from when it is made until ``stop`` or the runtime's end.

    ``on_end`` is called once, in the recorder's thread, when it ends by itself: the runtime ended,
    the file is full, or cannot be written.
    """

    def __init__(
        self,
        feed: Feed,
        path: str | Path,
        *,
        limit: int = LIMIT,
        replace: bool = True,
        title: str = "",
        on_end: Callable[[Recorder], None] | None = None,
    ) -> None:
        """Create the file and begin. Raises OSError; the feed is closed then."""
        self._feed = feed
        try:
            self._writer = Writer(path, replace)
        except BaseException:
            feed.close()
            raise
        self.path = self._writer.path
        self.started = time.time()
        self.reason = ""  # why it ended; "" while it runs
        self.error: OSError | None = None
        self._limit = limit
        self._title = title
        self._on_end = on_end
        self._fold: Fold | None = None
        self._seq = 0
        self._steps: list[Record] = []
        self._flushed = time.monotonic()
        self._since_key = [0, 0, 0]  # bytes and deltas since the last keyframe; bytes of that one
        self._cursor = 0  # of the timeline
        self._lanes: Any = None
        self._asked = False
        self._stop_at = 0.0  # when `stop` was called
        self._asked_last = False
        self._details = Details(feed.welcome) if feed.welcome else None
        self._looked = time.monotonic()
        self._begun = threading.Event()
        self._over = threading.Event()  # the file is closed
        self._thread = threading.Thread(target=self._run, name="fanlight-recorder", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        """Bytes in the file so far."""
        return self._writer.size

    @property
    def active(self) -> bool:
        return self._thread.is_alive() and not self._over.is_set()

    def wait_begun(self, timeout: float = 5.0) -> bool:
        """Wait until the first state is in the file; whether it is."""
        return self._begun.wait(timeout)

    def stop(self, reason: str = "stopped") -> None:
        """Take in what has happened until now, and close the file.

        Raises OSError where the file could not be written: with what is in it, and why.
        """
        if self.active and self._thread is not threading.current_thread():
            self._stop_at = self._stop_at or time.time()
            if self._feed.settle():
                self.reason = self.reason or reason
            self._thread.join(_LAST_EVENTS)
            if self.active:  # a runtime that says nothing more
                self.reason = self.reason or reason
                self._feed.close()
                self._thread.join()
        if self.error is not None:
            raise type(self.error)(self.error.errno, self.reason)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self.stop()
        except OSError:
            if kind is None:  # else what the block raised matters more
                raise

    def __repr__(self) -> str:
        state = "recording" if self.active else "ended"
        return f"<{state}: {self.path}, {words.size(self.size)}>"

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        reason = ""
        try:
            for item in self._feed.items():
                reason = self._event(item) if isinstance(item, bytes) else self._answer(item)
                if not reason:
                    reason = self._continue()
                if reason:
                    break
            self._finish(self.reason or reason or "The connection to the runtime was lost.")
        except OSError as error:
            self._failed(error)
        except Exception as error:  # an event that is not understood, say
            with contextlib.suppress(OSError):
                self._finish(f"The recording failed: {type(error).__name__}: {error}")
        finally:
            self._begun.set()
            self._feed.close()
            self._writer.close()
            self._over.set()  # whoever `on_end` tells finds it ended
            if self._on_end is not None and not self._stop_at:
                self._on_end(self)

    def _event(self, payload: bytes) -> str:
        event = _decode(payload)
        kind = event.get("type")
        if kind == "snapshot":
            self._flush()
            if self._fold is None:
                self._head(event)
            self._fold = Fold(event)
            self._key(again=False)
            self._begun.set()
        elif kind == "delta" and self._fold is not None:
            self._fold.delta(event)
            self._steps.append(event)
        elif kind == "ended":
            return str(event.get("reason") or "The runtime ended.")
        return ""

    def _answer(self, reply: m.Reply) -> str:
        """A page of the timeline, or what the largest objects are."""
        if reply.request == _OBJECTS:
            self._objects(reply)
            return ""
        self._asked = False
        if reply.error:
            return "stopped" if self._asked_last else ""
        page = msgspec.msgpack.decode(reply.data, strict=False)
        records = page.pop("records")
        for name in ("running", "node", "address", "now"):
            page.pop(name, None)
        lanes = page.get("lanes") or self._lanes
        if records or lanes != self._lanes:
            first, page["from"] = self._cursor, max(self._cursor, page.get("forgotten", 0))
            now = self._fold.time if self._fold is not None else 0.0
            body = _encode(_text_keys(page), enc_hook=_plain) + b"\n" + records
            self._writer.part("spans", body, now, now, first=first, next=page["next"])
            self._lanes = lanes
        self._cursor = page["next"]
        if page["more"]:
            self._ask()
        elif self._asked_last:
            return "stopped"
        return ""

    def _continue(self) -> str:
        """What is due after an item; a reason to end, or ""."""
        fold = self._fold
        if fold is None:
            return ""
        due = time.monotonic() - self._flushed >= FLUSH_SECONDS
        if due:
            self._flush()
        if not self._asked and (due or self._stop_at) and not self._asked_last:
            # Deltas come once a second at least, so what happened until `stop` is in this one.
            self._asked_last = bool(self._stop_at) and fold.time >= self._stop_at
            if self._asked_last or time.monotonic() - self._looked >= SECONDS:
                self._look(fold)
            self._ask()
        if self._writer.size >= self._limit:
            return f"The recording reached its limit of {words.size(self._limit)}."
        return ""

    def _ask(self) -> None:
        self._asked = True
        self._feed.ask("timeline", {"after": self._cursor})

    def _look(self, fold: Fold) -> None:
        """Ask beside the events. What goes wrong here costs the recording nothing else."""
        self._looked = time.monotonic()
        if self._details is None:
            return
        try:
            row = self._details.printed(fold)
        except Exception:
            self._details = None
            return
        self._row(row)
        self._feed.ask("panel_objects", {"limit": OBJECTS})

    def _objects(self, reply: m.Reply) -> None:
        if self._details is None or self._fold is None or reply.error:
            return
        try:
            row = self._details.objects(self._fold, reply.data)
        except Exception:
            self._details = None
            return
        self._row(row)

    def _row(self, row: Record | None) -> None:
        if row is not None:
            self._writer.part("answers", _encode(row), row["time"], row["time"])

    def _head(self, snapshot: Record) -> None:
        head = {
            "fanlight": __version__,
            "events": EVENTS_VERSION,
            "began": snapshot["time"],
            "title": self._title,
            "runtime": snapshot["runtime"]["name"],
            "engine": snapshot["runtime"]["engine"],
        }
        self._writer.part("head", _encode(head), snapshot["time"], snapshot["time"])

    def _key(self, again: bool) -> None:
        """A keyframe: all that is known now; ``again``: the deltas before it have said it."""
        assert self._fold is not None
        fold = self._fold
        body = _encode({**fold.snapshot(), "type": "snapshot", "seq": self._seq})
        self._writer.part("key", body, fold.time, fold.time, counts=fold.counts(), again=again)
        self._since_key = [0, 0, len(body)]

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        steps, self._steps = self._steps, []
        if not steps or self._fold is None:
            return
        lines: list[bytes] = []
        for delta in merged(steps, self._step()):
            self._seq += 1
            lines.append(_encode({**delta, "seq": self._seq}))
        for body in _bodies(lines):
            self._writer.part(
                "delta", body, steps[0]["time"], steps[-1]["time"], counts=self._fold.counts()
            )
            self._since_key[0] += len(body)
        self._since_key[1] += len(lines)
        written, deltas, key = self._since_key
        if written >= max(KEY_BYTES, key) or deltas >= KEY_DELTAS:
            self._key(again=True)

    def _step(self) -> float:
        used = self._writer.size / self._limit
        return next((step for part, step in _STEPS if used < part), _STEPS[-1][1])

    def _finish(self, reason: str) -> None:
        self._flush()
        self.reason = reason
        now = self._fold.time if self._fold is not None else self.started
        self._writer.part("end", _encode({"time": now, "reason": reason}), now, now)

    def _failed(self, error: OSError) -> None:
        self.error = error
        why = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else error.strerror or str(error)
        )
        self.reason = (
            f"The recording ended early, since {why}. "
            f"What was recorded until then is in {self.path}."
        )


def merged(deltas: list[Record], seconds: float) -> Iterator[Record]:
    """Deltas with those joined that are within so many seconds: the last word on each record.

    >>> one = {"time": 1.0, "tasks": [{"id": "a", "state": "RUNNING"}], "gpus": [1]}
    >>> two = {"time": 1.1, "tasks": [{"id": "a", "state": "FINISHED"}], "gpus": None}
    >>> list(merged([one, two], 0.5))
    [{'time': 1.1, 'tasks': [{'id': 'a', 'state': 'FINISHED'}], 'gpus': [1]}]
    >>> len(list(merged([one, two], 0.0)))
    2
    """
    batch: Record | None = None
    first = 0.0
    for delta in deltas:
        if batch is not None and delta["time"] - first < seconds:
            batch = joined(batch, delta)
            continue
        if batch is not None:
            yield batch
        first, batch = delta["time"], delta
    if batch is not None:
        yield batch


def _bodies(lines: list[bytes]) -> Iterator[bytes]:
    """Lines together, but not more than a part may hold."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > PART_LIMIT // 2:
            yield b"\n".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield b"\n".join(batch)


def _text_keys(value: Any) -> Any:
    """As JSON has it: keys that are numbers become text."""
    if isinstance(value, dict):
        return {str(k): _text_keys(v) for k, v in value.items()}
    return value


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, (bytes, memoryview)) else str(value)
