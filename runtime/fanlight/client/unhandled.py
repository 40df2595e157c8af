"""Failures that nobody looked at: their refs were dropped, and neither get nor wait saw them.

A failure that was an argument of a task, or inside another object, when it happened is that one's to
report. Cancelled tasks are no failures, and calls of an actor that died are told of its death.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

import msgspec

from fanlight import messages as m

_EXCUSED = 10_000  # objects, the newest
_NOTHING = ("", "", "")
_CANCELLED = ("TaskCancelledError", "KeyboardInterrupt")


class Unhandled:
    """Of one client. Whoever reads or drops refs calls it; failures are rare, so it may take time.

    ``waiting`` is public so that callers can see at a glance that there is nothing to do.
    """

    def __init__(self, client_id: bytes) -> None:
        self.waiting: dict[bytes, m.Value] = {}  # failed, here, and not seen yet
        # Takes a text, its pattern, and the origin of the task.
        self.report: Callable[[str, str, str], None] | None = None
        self._client_id = client_id
        # Asked for together with one that failed, or arguments of a task that fails with them.
        self._excused: OrderedDict[bytes, None] = OrderedDict()
        self._dropped: deque[m.Value] = deque()
        self._lock = threading.RLock()  # a finalizer may tell within

    def arrived(self, value: m.Value, wanted: bool) -> None:
        """A failure came; ``wanted``: there is a ref to it."""
        if self.report is None or value.contained is not None or value.oid in self._excused:
            return
        if wanted:
            self.waiting[value.oid] = value
        elif value.oid.startswith(self._client_id):
            self._dropped.append(value)

    def seen(self, oids: Iterable[bytes]) -> None:
        """Somebody gets, waits for or passes on these objects."""
        if self.waiting:
            for oid in oids:
                self.waiting.pop(oid, None)

    def excuse(self, oids: Iterable[bytes]) -> None:
        """One of these failed and is raised; the others may fail, too, without a word."""
        if self.report is not None:
            oids = list(oids)
            self.seen(oids)
            self.passed(oids)

    def passed(self, oids: list[bytes]) -> None:
        """These are arguments of a task, and not here yet: it is the one to report their failures.

        A failure that the node sent before it heard of the task does not say so itself.
        """
        excused = self._excused
        for oid in oids:
            excused[oid] = None
        with contextlib.suppress(KeyError):  # threads submit at once
            while len(excused) > _EXCUSED:
                excused.popitem(last=False)

    def gone(self, value: m.Value) -> None:
        """The last ref to a failure is dropped; told by the next ``tell``, since locks are held."""
        if self.waiting.pop(value.oid, None) is not None:
            self._dropped.append(value)

    def tell(self) -> None:
        """Report what was dropped; called without locks."""
        while self._dropped and self.report is not None:
            batch: dict[bytes, m.Value] = {}  # one for all results of a task
            with self._lock, contextlib.suppress(IndexError):
                while True:  # others add to it meanwhile, without the lock
                    value = self._dropped.popleft()
                    batch[value.data] = value
            for value in batch.values():
                text, pattern, origin = _describe(value)
                if text:
                    self.report(text, pattern, origin)


def _describe(value: m.Value) -> tuple[str, str, str]:
    """The traceback of a failure, the line that is the same for others like it, and whose it is.

    Empty for what is not to be reported. Does not rebuild the user's exception.
    """
    if value.kind == m.ERROR:
        _, text, name, type_name, _, origin, _ = pickle.loads(value.data)
        if type_name in _CANCELLED:
            return _NOTHING
        return text, f"{name} {type_name}", origin
    failure = msgspec.msgpack.decode(value.data, type=m.Failure)
    if failure.code == "cancelled":
        return _NOTHING
    if failure.code in ("actor_died", "actor_unavailable") and not failure.detail.get(
        "init_failed"
    ):
        return _NOTHING
    text = failure.message
    if "data" in failure.detail:
        detail = failure.detail
        inner, *_ = _describe(m.Value(b"", detail["kind"], detail["data"]))
        if not inner:
            return _NOTHING
        text = f"{text}\n{inner}"
    origin = str(failure.detail.get("origin", ""))
    return f"{failure.task_name}: {text}", f"{failure.task_name} {failure.code}", origin
