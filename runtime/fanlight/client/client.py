"""One process's view of the runtime: its references, the values it has, and what it asks for.

Drivers and workers use the same class. It speaks to the node through a *link*: a socket
(:mod:`fanlight.client.link`) or, for ``engine="inproc"``, the node itself in the same process.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fanlight import context, errors, ids, refs
from fanlight import messages as m
from fanlight.client import call_sites, failures, waiting
from fanlight.client.arguments import Arguments
from fanlight.client.counts import Counts
from fanlight.client.definitions import Definitions
from fanlight.client.streams import Streams
from fanlight.client.unhandled import Unhandled
from fanlight.client.values import Values
from fanlight.refs import ObjectRef
from fanlight.store.segments import Unreadable

if TYPE_CHECKING:
    from fanlight.client.channels import Channels

_unpack = msgspec.msgpack.decode
_running = context.current.get


class Link(Protocol):
    """How a client and its node exchange messages."""

    lost: str

    def send(self, messages: Sequence[Any]) -> None: ...
    def send_soon(self, message: Any) -> None: ...
    def wait(self, done: Callable[[], Any], timeout: float | None = None) -> bool: ...
    def wake(self) -> None: ...
    def ended(self) -> bool: ...
    def why(self) -> str: ...
    def prompt(self, on: bool) -> None: ...
    def settle(self, done: Callable[[], Any]) -> None: ...
    def close(self) -> None: ...


class Client:
    """``lock``: the node's, where that is in this process and takes messages as they are sent."""

    def __init__(
        self,
        client_id: bytes,
        folder: Path | None,
        disk: Path | None = None,
        lock: threading.RLock | None = None,
    ) -> None:
        self.id = client_id
        self.link: Link
        self.next_task_id = ids.task_id_factory(client_id)
        self.next_call_id = ids.call_id_factory(client_id)
        # What this process knows of objects it holds refs to: None while pending.
        self.entries: dict[bytes, m.Value | None] = {}
        self._counts = Counts()  # refs in this process
        self._lock = lock or threading.RLock()  # guards _counts and what follows from it
        self._callbacks: dict[bytes, list[Callable[[], None]]] = {}
        self._replies: dict[int, m.Reply | None] = {}
        # Requests whose answers nobody waits for; called with None when none can come any more.
        self.answers: dict[int, Callable[[m.Reply | None], None]] = {}
        self.next_request = itertools.count(1).__next__
        self.environments: set[str] = set()  # keys of runtime environments that the node knows
        self.definitions = Definitions(lambda messages: self.link.send(messages), lock)
        self.channels: Channels | None = None  # straight to actors, where processes can have them
        self._failed = 0  # failed objects that arrived so far
        self._records_sites = call_sites.enabled()
        self.unhandled = Unhandled(client_id)
        self._rests: deque[waiting.Rest] = deque(maxlen=1)  # what the last `wait` left
        # Their methods are this one's too, without one more call.
        self.values = values = Values(self, folder, disk)
        self.reader, self.writer = values.reader, values.writer
        self.put, self.store, self.decode = values.put, values.store, values.decode
        self.read = values.read
        self.take, self.release, self.abandon = values.take, values.release, values.abandon
        self.arguments = arguments = Arguments(self)
        self.encode_args, self.sent = arguments.encode, arguments.sent
        self.on_output: Callable[[m.Output], None] = lambda output: None
        self.on_notice: Callable[[str], None] = lambda text: None
        # Called before a task's end is reported, so that what it recorded is known by then.
        self.before_report: Callable[[], None] | None = None
        self.ending = ""  # why the node ends, if it said so
        self.before_block: Callable[[], Callable[[], None] | None] = lambda: None
        self.handlers: dict[type, Callable[[Any], None]] = {
            m.Objects: self._objects,
            m.Reply: self._reply,
            m.Output: lambda x: self.on_output(x),
            m.Notice: lambda x: self.on_notice(x.text),
            m.TellRefs: self._tell_refs,
            m.Ending: self._ending,
            m.Recycle: self._recycle,
            m.Discard: self._discard,
            m.GiveUp: values.give_up,
        }
        self.streams = Streams(self)

    def handle(self, message: Any) -> None:
        """Take one message of the node; called by the link."""
        self.handlers[type(message)](message)

    def _tell_refs(self, message: m.TellRefs) -> None:
        from fanlight.client import ref_facts

        ref_facts.answer(message.oids, self.link.send)

    def wake(self) -> None:
        self.link.wake()

    # --- arriving ----------------------------------------------------------------------------

    def _objects(self, message: m.Objects) -> None:
        entries = self.entries
        for value in message.values:
            if value.kind == m.STORED:
                self._arrived_stored(value)
                continue
            oid = value.oid
            if self.channels is not None and self.channels.used:
                self.channels.from_node(oid, oid in entries)
            if oid in entries:
                self.arrived(oid, value)
            elif self.streams.open and self.streams.arrived(value):
                pass
            elif value.kind >= m.ERROR:
                self.unhandled.arrived(value, False)
                self.unhandled.tell()

    def arrived(self, oid: bytes, value: m.Value) -> None:
        """A small value, or an error, that a ref here waits for."""
        self.entries[oid] = value
        if value.kind >= m.ERROR:
            self._failed += 1
            self.unhandled.arrived(value, True)
        if self._callbacks:
            self._call_back(oid)

    def _arrived_stored(self, value: m.Value) -> None:
        name = value.data.decode()
        assert self.reader is not None
        if self.channels is not None and self.channels.used:
            self.channels.from_node(value.oid, value.oid in self.entries)
        with self._lock:
            self.reader.got(name)
            if value.oid not in self.entries and self.streams.arrived(value):
                return
            known = self.entries.get(value.oid)
            if value.oid not in self.entries or (known is not None and known.kind != m.AWAY):
                self.reader.done(name)  # dropped meanwhile, or known already
                self.link.wake()
                return
            self.entries[value.oid] = value
        if self._callbacks:
            self._call_back(value.oid)

    def _call_back(self, oid: bytes) -> None:
        with self._lock:
            callbacks = self._callbacks.pop(oid, ())
        for callback in callbacks:
            self.link.prompt(False)
            try:
                callback()
            except Exception:  # its own fault: other values come with the same message
                traceback.print_exc()

    def _reply(self, message: m.Reply) -> None:
        if message.request in self._replies:
            self._replies[message.request] = message
        elif message.request in self.answers:
            self.answers.pop(message.request)(message)

    def _ending(self, message: m.Ending) -> None:
        self.ending = message.reason

    def _recycle(self, message: m.Recycle) -> None:
        if self.writer is not None:
            self.writer.recycle(message.segments)

    def _discard(self, message: m.Discard) -> None:
        if self.writer is not None:
            dropped = self.writer.discard(message.segments)
            if dropped:
                self.link.send([m.Unmapped(dropped)])

    def connection_lost(self, reason: str) -> None:
        """Everything that waits is told; called by the link."""
        for oid in list(self._callbacks):
            self._call_back(oid)
        while self.answers:
            self.answers.popitem()[1](None)
        self.streams.connection_lost()

    # --- references --------------------------------------------------------------------------

    def publish(self, *oids: bytes) -> None:
        """Refs are about to leave this process; called before the message that takes them along."""
        if self.channels is not None and self.channels.used:
            self.channels.publish(oids)

    def new_ref(self, oid: bytes) -> ObjectRef[Any]:
        """A ref to an object that this client just caused; its value will be pushed to us."""
        self.entries[oid] = None
        self._counts[oid] = 1
        return ObjectRef(oid)

    def adopt(self, oid: bytes) -> None:
        """One more ref, which travelled by itself, exists in this process."""
        with self._lock:
            if self.channels is not None and self.channels.used:
                self.channels.returned((oid,))
            if self._counts.add(oid):
                self.link.send([m.AddRefs([oid])])

    def adopt_inside(self, oids: list[bytes], outer: bytes) -> None:
        """One more ref to each of ``oids``, all different, is about to be made: they were found in
        the value of the object ``outer`` (b"": in something that is no object)."""
        with self._lock:
            self._count_drops()
            if self.channels is not None and self.channels.used:
                self.channels.returned(oids)
            news = self._counts.add_inside(oids, outer)
            if news:
                self.link.send([m.AddRefs(news)])

    def flush_drops(self) -> None:
        """Tell the node of refs that are gone; called when idle, and before asking for room."""
        self._rests.clear()  # they hold refs
        refs.arm()
        try:
            with self._lock:
                messages: list[Any] = []
                self.streams.flush(messages)
                self._count_drops()
                messages += self._counts.news()
                if self.reader is not None and self.reader.pending:
                    self.reader.settle()
                    returned = self.reader.returned
                    names = [returned.popleft() for _ in range(len(returned))]
                    if names:
                        messages.append(m.Unmapped(names))
                if messages:
                    self.link.send(messages)
        finally:  # also when the node has gone
            self.unhandled.tell()
        if self.definitions.dropped:
            self.definitions.settle()

    def tell_failures(self) -> None:
        """At the end, without the node: report the failures whose refs are dropped by now."""
        if self._lock.acquire(timeout=1.0):  # a thread that holds it may be stuck in sending
            try:
                self._count_drops()
            finally:
                self._lock.release()
        self.unhandled.tell()

    @property
    def owes_drops(self) -> bool:
        """Whether ``flush_drops`` has anything to do."""
        return bool(refs.dropped) or self._counts.owes or self.streams.owes

    def _count_drops(self) -> None:
        """Take notice of refs that are gone. With the lock."""
        dropped = refs.dropped
        if not dropped:
            return
        batch = [dropped.popleft() for _ in range(len(dropped))]
        gone = self._counts.drop(batch)
        if self.channels is not None and (self.channels.used or self.channels.lines):
            gone = self.channels.dropped(gone, self._counts)
        for value in filter(None, map(self.entries.pop, gone, itertools.repeat(None))):
            if value.kind == m.STORED and self.reader is not None:
                self.reader.done(value.data.decode())
            elif value.kind >= m.ERROR:
                self.unhandled.gone(value)

    # --- submitting --------------------------------------------------------------------------

    def submit(
        self,
        spec: int,
        num_returns: int,
        encoded: tuple[bytes, list[bytes], list[bytes]],
        actor: bytes = b"",
        after: int = 0,
        incarnation: int = 0,
    ) -> list[ObjectRef[Any]]:
        """Send one call to the node; returns its refs."""
        task_id = self.next_call_id() if actor else self.next_task_id()
        if num_returns == 1:
            out = [self.new_ref(task_id + ids.FIRST)]
        else:
            out = [self.new_ref(ids.object_id(task_id, i)) for i in range(num_returns)]
        running = _running()
        parent = running.task_id if running is not None else b""
        args, deps, pins = encoded
        self.link.send_soon(
            m.Submit(task_id, spec, args, deps, pins, parent, actor, after, incarnation)
        )
        if deps:
            self.sent()
            if self.unhandled.report is not None:
                self.unhandled.passed([oid for oid in deps if self.entries.get(oid) is None])
        if self.unhandled.waiting:
            self.unhandled.seen(deps + pins)
        if self._records_sites:
            self.link.send([m.CallSite([ref._id for ref in out], call_sites.here("task call"))])
        return out

    # --- waiting -----------------------------------------------------------------------------

    def _want(self, oids: Sequence[bytes]) -> None:
        """Ask for the objects whose values are not on their way to us."""
        entries = self.entries
        if not all(map(entries.__contains__, oids)):
            unknown = [oid for oid in dict.fromkeys(oids) if oid not in entries]
            for oid in unknown:
                entries[oid] = None
            try:
                self.link.send([m.Subscribe(unknown)])
            except BaseException:
                for oid in unknown:  # interrupted: the next call asks again
                    if entries.get(oid) is None:
                        entries.pop(oid, None)
                raise

    def get(self, oid: bytes, timeout: float | None) -> Any:
        """The value of one object. Raises its error, or GetTimeoutError."""
        entries = self.entries
        value = entries.get(oid)
        deadline = None if timeout is None else time.monotonic() + timeout
        if value is None:
            self._want((oid,))
            self._block(lambda: entries.get(oid) is not None, timeout, 1)
            value = entries[oid]
            assert value is not None
        return self.decode(value, deadline)

    def get_many(self, oids: list[bytes], timeout: float | None) -> list[Any]:
        """The values of several objects; raises as soon as one of them has failed."""
        entries = self.entries
        deadline = None if timeout is None else time.monotonic() + timeout
        self._want(oids)
        count = len(oids)
        complete = waiting.enough(entries.get, oids, count)
        failed = -1

        def done() -> bool:
            nonlocal failed
            if failed != self._failed:
                failed = self._failed
                if any((v := entries.get(oid)) and v.kind >= m.ERROR for oid in oids):
                    return True
            return complete()

        self._block(done, timeout, count)
        if not complete():  # one has failed: raise that one
            for oid in oids:
                value = entries.get(oid)
                if value is not None and value.kind >= m.ERROR:
                    self.unhandled.excuse(oids)
                    return [self.decode(value)]
        if self.unhandled.waiting:
            self.unhandled.seen(oids)
        values: list[Any] = [entries[oid] for oid in oids]
        try:
            return self.values.read_all(values)
        except Unreadable as e:
            from fanlight.client import lost

            return lost.decode_all(self, e, oids, deadline)

    def wait(self, oids: list[bytes], num_returns: int, timeout: float | None) -> list[int]:
        """Positions of the objects that are ready, at most ``num_returns``, in order."""
        self._want(oids)
        return self.await_some(oids, num_returns, timeout)

    def await_some(self, oids: list[bytes], number: int, timeout: float | None) -> list[int]:
        """``wait`` for objects whose values are on their way, or here, already."""
        get = self.entries.get
        ready = waiting.ready(get, oids, number)
        if len(ready) < number or timeout == 0:
            done = waiting.enough(get, oids, number)
            if timeout == 0:
                self._poll(done)
            else:
                self._block(done, timeout, len(oids), raises=False)
            ready = waiting.ready(get, oids, number)
        if self.unhandled.waiting:
            self.unhandled.seen(oids[i] for i in ready)
        return ready

    def known_rest(self, refs: list[ObjectRef[Any]]) -> waiting.Rest | None:
        """What is known of a list that ``wait`` gave back last; it is the caller's to keep."""
        if self._rests:
            with contextlib.suppress(IndexError):  # another thread took it
                rest = self._rests.pop()
                if rest.known(refs):
                    return rest
        return None

    def remember(self, rest: waiting.Rest) -> None:
        """Expect the list of ``rest`` in the next ``wait``, for a moment."""
        if self.writer is not None:  # else nothing happens by itself, and it would stay for long
            self._rests.append(rest)
            self.link.wake()

    def _poll(self, done: Callable[[], bool]) -> None:
        self._lost_check()
        self.link.wait(done, 0)

    def _lost_check(self) -> None:
        if self.link.lost:
            raise self._lost_error()

    def _lost_error(self) -> errors.RuntimeLostError:
        """What every call raises when the runtime is gone: what happened to it."""
        return errors.RuntimeLostError(errors.lost_text(self.link.why()))

    def _block(
        self, done: Callable[[], Any], timeout: float | None, count: int, raises: bool = True
    ) -> None:
        if done():
            return
        unblock = self.before_block() if timeout != 0 else None
        try:
            ok = self.link.wait(done, timeout)
        except failures.ConnectionLost:
            raise self._lost_error() from None
        except KeyboardInterrupt as e:
            raise e.with_traceback(None) from None  # how we waited is of no interest
        finally:
            if unblock is not None:
                unblock()
        if not ok and raises:
            what = "the object is not" if count == 1 else f"not all {count} objects are"
            raise errors.GetTimeoutError(f"Get timed out: {what} ready after {timeout} s.")

    def on_ready(self, oid: bytes, callback: Callable[[], None]) -> None:
        """Call back once when the object has a value or an error (or the runtime is lost)."""
        self._want((oid,))
        self.link.prompt(True)
        with self._lock:  # else it could be added to a list that was taken out meanwhile
            self._callbacks.setdefault(oid, []).append(callback)
        self.link.settle(lambda: self.entries.get(oid) is not None)
        if self.entries.get(oid) is not None or self.link.lost:
            self._call_back(oid)  # it was there before anyone could call back

    # --- questions ---------------------------------------------------------------------------

    def ask(self, request: int, message: Any, seconds: float | None = None) -> m.Reply:
        """Send a message that has the number ``request``, and wait for its answer.

        Raises RuntimeLostError, GetTimeoutError.
        """
        self._replies[request] = None
        try:
            self.link.send([message])
            self.link.wait(lambda: self._replies[request] is not None, seconds)
            reply = self._replies[request]
        except failures.ConnectionLost:
            raise self._lost_error() from None
        finally:
            del self._replies[request]
        if reply is None:
            raise errors.GetTimeoutError(f"The runtime did not answer within {seconds} s.")
        return reply

    def query(self, what: str, _seconds: float | None = None, /, **args: Any) -> Any:
        """Ask the node. Raises LookupError with the node's sentence when it has no answer."""
        request = self.next_request()
        reply = self.ask(request, m.Query(request, what, args), _seconds)
        if reply.error:
            raise LookupError(reply.error)
        return _unpack(reply.data)

    def request(self, make: Callable[[int], Any]) -> Any:
        """Send ``make(request number)`` and return the answer. Raises LookupError."""
        number = self.next_request()
        reply = self.ask(number, make(number))
        if reply.error:
            raise LookupError(reply.error)
        return _unpack(reply.data)

    def close(self) -> None:
        self.link.close()
        self.connection_lost("it was closed")
        if self.writer is not None:
            self.writer.close()


__all__ = ["Client", "Link"]
