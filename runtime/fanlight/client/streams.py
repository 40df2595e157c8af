"""Items of generators, as they arrive in the process that consumes them.

An item becomes an ObjectRef where its message is handled, and waits in its stream until the
generator's ``next`` takes it out. So an item is counted like any other object from its arrival on:
whoever drops the generator drops the refs in it.
"""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fanlight import context, ids, interrupts
from fanlight import messages as m
from fanlight.client import call_sites
from fanlight.refs import ObjectRef
from fanlight.wire.failures import ConnectionLost

if TYPE_CHECKING:
    from fanlight.client.client import Client


_popleft = deque.popleft


class Stream:
    """One generator that runs somewhere: what came of it and was not taken."""

    __slots__ = (
        "_taken", "callbacks", "client", "closed", "completion", "count", "limited", "ready",
        "received", "task",
    )  # fmt: skip

    def __init__(self, client: Client, task: bytes, limited: bool) -> None:
        self.client = client
        self.task = task
        self.limited = limited  # the producer waits for us
        self.ready: deque[ObjectRef[Any]] = deque()
        self.received = 0
        self.count: int | None = None  # number of items, once the generator has ended
        self.closed = False
        self.completion: ObjectRef[None]
        self.callbacks: list[Callable[[], None]] = []
        self._taken = itertools.count(1).__next__

    def available(self) -> bool:
        """Whether ``take`` would return at once."""
        return bool(self.ready) or self.count is not None

    def finished(self) -> bool:
        """Whether it has ended and all its items were taken."""
        return self.count is not None and not self.ready

    def poll(self) -> None:
        """Handle what has come, without waiting."""
        if not self.available():
            self.client._poll(self.available)

    def pop(self) -> ObjectRef[Any] | None:
        """The next item if there is one; several threads may ask."""
        taken: list[ObjectRef[Any]] = []
        try:
            # In one C call: Ctrl-C comes before it or after.
            taken.extend(map(_popleft, (self.ready,)))
            if self.limited and self.count is None:
                with contextlib.suppress(ConnectionLost):  # the item is here all the same
                    self.client.link.send([m.Consumed(self.task, self._taken())])
            return taken[0]
        except IndexError:
            return None
        except KeyboardInterrupt:
            self.ready.extendleft(taken)  # the next call has it
            raise

    def take(self) -> ObjectRef[Any] | None:
        """The next item, waiting for it; None at the end. Raises RuntimeLostError."""
        while True:
            ended = self.count is not None  # asked first: the end comes after the last item
            ref = self.pop()
            if ref is not None or ended:
                return ref
            self.client._lost_check()
            self.client._block(self.available, None, 1)

    # --- for asyncio -------------------------------------------------------------------------

    def on_progress(self, callback: Callable[[], None]) -> None:
        """Call back once, from any thread, when something has come or can come no more."""
        link = self.client.link
        link.prompt(True)
        with self.client._lock:
            self.callbacks.append(callback)
        link.settle(self.available)
        if self.available() or link.lost:
            self.tell()

    def forget(self, callback: Callable[[], None]) -> None:
        """The caller of ``on_progress`` does not wait any more."""
        with self.client._lock:
            if callback not in self.callbacks:
                return
            self.callbacks.remove(callback)
        self.client.link.prompt(False)

    def tell(self) -> None:
        with self.client._lock:
            callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            self.client.link.prompt(False)
            try:
                callback()
            except Exception:  # its own fault (its event loop is closed, say)
                traceback.print_exc()


class Streams:
    """All generators that a client consumes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Those that have not ended; dropped ones too, since their items may be on the way.
        self.open: dict[bytes, Stream] = {}
        self.dropped: deque[Stream] = deque()  # generators that nobody has; by finalizers
        client.handlers[m.StreamEnd] = self._ended

    def submit(
        self,
        spec: int,
        encoded: tuple[bytes, list[bytes], list[bytes]],
        actor: bytes,
        limited: bool,
        wrap: Callable[[Stream], Any],
        after: int = 0,
        incarnation: int = 0,
    ) -> Any:
        """Send one call of a generator; returns what ``wrap`` makes of its stream."""
        with interrupts.held():  # else one that nobody has could wait for its items for ever
            return self._submit(spec, encoded, actor, limited, wrap, after, incarnation)

    def _submit(
        self,
        spec: int,
        encoded: tuple[bytes, list[bytes], list[bytes]],
        actor: bytes,
        limited: bool,
        wrap: Callable[[Stream], Any],
        after: int,
        incarnation: int,
    ) -> Any:
        client = self._client
        stream = Stream(client, client.next_task_id(), limited)
        made = wrap(stream)  # before anything else: an interrupt from here on drops it
        stream.completion = client.new_ref(ids.object_id(stream.task, 0))
        self.open[stream.task] = stream
        running = context.current.get()
        parent = running.task_id if running is not None else b""
        client.link.send_soon(
            m.Submit(stream.task, spec, *encoded, parent, actor, after, incarnation)
        )
        if encoded[1]:
            client.sent()
        if client._records_sites:
            site = call_sites.here("task call")
            client.link.send([m.CallSite([stream.completion._id], site)])
        return made

    # --- what comes --------------------------------------------------------------------------

    def arrived(self, value: m.Value) -> bool:
        """A value of no object known here came: whether it is a generator's next item."""
        oid = value.oid
        stream = self.open.get(ids.task_of(oid))
        if stream is None or ids.index_of(oid) != stream.received + 1:
            return False
        client = self._client
        stream.received += 1
        client.entries[oid] = value
        client._counts[oid] = 1
        if value.kind >= m.ERROR:
            client._failed += 1
            client.unhandled.arrived(value, True)
        stream.ready.append(ObjectRef(oid))
        if stream.closed:
            stream.ready.clear()
        if stream.callbacks:
            stream.tell()
        return True

    def _ended(self, message: m.StreamEnd) -> None:
        stream = self.open.pop(message.task, None)
        if stream is not None:
            stream.count = message.count
            self._client.unhandled.seen((stream.completion._id,))  # its last item is that failure
            if stream.callbacks:
                stream.tell()

    def connection_lost(self) -> None:
        for stream in list(self.open.values()):
            stream.tell()

    # --- what goes ---------------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether ``flush`` has anything to do."""
        return bool(self.dropped)

    def flush(self, messages: list[Any]) -> None:
        """Add what the node is to know of dropped generators; called with dropped refs."""
        while self.dropped:
            stream = self.dropped.popleft()
            stream.closed = True
            stream.ready.clear()
            if stream.task in self.open:
                messages.append(m.Consumed(stream.task, 0, True))

    def wait(
        self, things: Sequence[bytes | Stream], num_returns: int, timeout: float | None
    ) -> list[int]:
        """``Client.wait`` for object ids mixed with streams: a stream is ready when ``take`` would
        return at once."""
        client = self._client
        entries = client.entries
        client._want([thing for thing in things if type(thing) is bytes])
        ready: list[int] = []

        def done() -> bool:
            ready.clear()
            for i, thing in enumerate(things):
                if thing.available() if type(thing) is Stream else entries.get(thing) is not None:  # type: ignore[arg-type]
                    ready.append(i)
                    if len(ready) == num_returns:
                        return True
            return False

        if timeout == 0:
            client._poll(done)
        elif not done():
            client._block(done, timeout, len(things), raises=False)
        return ready
