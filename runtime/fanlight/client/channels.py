"""Calls of actors' methods: by the node, or straight to the actor's process over a channel.

A channel is asked for at the second call of an actor, and used as long as arguments hold no refs;
:mod:`fanlight.core.channels` says how the order of calls is kept. The results of such calls are this
process's own: the node hears of them only when their refs leave it (``publish``). Their ids are told
from others by their first counter byte, :data:`fanlight.ids.OWN`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fanlight import context, ids, refs
from fanlight import messages as m
from fanlight.ids import handle_oid
from fanlight.refs import ObjectRef
from fanlight.wire import codec, peers
from fanlight.wire.failures import WireError

if TYPE_CHECKING:
    from fanlight.client.client import Client
    from fanlight.client.counts import Counts
    from fanlight.client.definitions import Use
    from fanlight.client.link import SocketLink
    from fanlight.client.socket_stream import SocketStream

_MOST = 128  # channels of one process; each is a file descriptor at both ends
_TRIES = 3  # failures to connect to an actor, after which its calls go by the node
_FIRST = b"\0" * 4  # the index of a call's first result

T = TypeVar("T")
Encoded = tuple[bytes, list[bytes], list[bytes]]


class ActorLine:
    """What this process has sent to one actor, and on which way."""

    __slots__ = (
        "actor", "answered", "asked", "channel", "direct", "drop", "failures", "idle_at",
        "incarnation", "job", "lock", "opened", "sent", "specs", "via_node",
    )  # fmt: skip

    def __init__(self, actor: bytes) -> None:
        self.actor = actor
        self.lock = threading.RLock()  # a finalizer may call the same actor
        self.via_node = 0  # calls that went by the node
        self.idle_at = -1  # their number when the node last had none of them any more
        self.asked = False
        self.failures = 0  # to connect
        self.channel: SocketStream | None = None
        self.opened = False  # the actor's process accepted it
        self.direct = False  # the channel is open, and the node has none of our calls
        self.incarnation = 0
        self.job = 0
        self.sent = 0  # calls on the channel
        self.answered = 0
        self.specs: set[int] = set()  # that the actor's process knows
        self.drop = False  # the last handle is gone: tell the node once all is answered

    def settle(self) -> None:
        """Use the channel if order allows it; with the lock."""
        self.direct = self.opened and self.idle_at == self.via_node


class Flight(NamedTuple):
    """A call that is not answered."""

    line: ActorLine
    use: Use
    spec: m.TaskSpec
    parent: bytes  # the task that sent it


class Channels:
    """All lines of one client."""

    def __init__(self, client: Client, hello: m.Hello) -> None:
        self._client = client
        self._hello = hello
        self._link: SocketLink = client.link  # type: ignore[assignment]
        self._next_id = ids.own_task_id_factory(client.id)
        self._mark = client.id + ids.OWN
        self.lines: dict[bytes, ActorLine] = {}
        self.inflight: dict[bytes, Flight] = {}  # calls on channels that are not answered
        self.used = False  # there was a channel, so there may be objects of our own
        # Of those: the ones that the node knows; that we promised it the value of; that it will
        # send, but may not have heard of; that it will send though nobody here wants them any
        # more; and that it sent before the call was answered, and whether anybody wanted them.
        self._published: set[bytes] = set()
        self._promised: set[bytes] = set()
        self._coming: set[bytes] = set()
        self._unwanted: set[bytes] = set()
        self._early: dict[bytes, bool] = {}
        self._open = 0
        self._most = _limit()
        client.definitions.on_forget = self._forget_specs
        client.handlers.update(
            {
                m.Reach: self._reach,
                m.Idle: self._idle,
                m.CancelRunning: self.cancel_running,
                m.CancelCalls: self._cancel_calls,
            }
        )

    # --- calling -----------------------------------------------------------------------------

    def line(self, actor: bytes) -> ActorLine:
        line = self.lines.get(actor)
        if line is None:
            line = self.lines.setdefault(actor, ActorLine(actor))
        return line

    def call(
        self, line: ActorLine, use: Use, spec: m.TaskSpec, encoded: Encoded, once: bool
    ) -> list[ObjectRef[Any]]:
        """Send one call; ``once``: it is not to be sent again if it is lost."""
        if line.direct and once and not encoded[1] and not encoded[2]:
            refs_ = self._call_direct(line, use, spec, encoded[0])
            if refs_ is not None:
                return refs_
        return self.by_node(
            line,
            lambda after, incarnation: self._client.submit(
                use.number, spec.num_returns, encoded, line.actor, after, incarnation
            ),
        )

    def by_node(self, line: ActorLine, send: Callable[[int, int], T]) -> T:
        """Have ``send(after, incarnation)`` send one call to the node, in order."""
        with line.lock:
            try:
                after = line.sent if line.sent != line.answered else 0
                line.direct = False
                line.via_node += 1
                if not line.asked and line.via_node > 1:
                    line.asked = True
                    self._link.send([m.Connect(line.actor, line.via_node - 1)])
                if after:
                    self._link.wake()  # an interrupted call may not have been sent yet
                return send(after, line.incarnation)
            except BaseException:  # perhaps it was not sent: the next one says how many were
                line.asked = False
                raise

    def _call_direct(
        self, line: ActorLine, use: Use, spec: m.TaskSpec, args: bytes
    ) -> list[ObjectRef[Any]] | None:
        client, number, count = self._client, use.number, spec.num_returns
        running = context.current.get()
        parent, job = (b"", line.job) if running is None else (running.task_id, running.job)
        task = self._next_id()
        flight = Flight(line, use, spec, parent)
        data = codec.encode((m.Call(task, number, args, parent, job),))
        with line.lock:
            channel = line.channel
            if not line.direct or channel is None:
                return None
            if count == 1:
                out = [client.new_ref(task + _FIRST)]
            else:
                out = [client.new_ref(ids.object_id(task, i)) for i in range(count)]
            late = channel.late
            if number not in line.specs:
                late.append(codec.encode((m.DefineSpec(number, spec),)))
                line.specs.add(number)
            unsent, inflight = channel.unsent, self.inflight
            # All or nothing: no interrupt comes between these four.
            unsent[channel] = None
            inflight[task] = flight
            line.sent += 1
            late.append(data)
        # Without the lock: this may wait for the actor's process to read.
        try:
            channel.push_soon()
        except WireError:
            self._lost(line, channel)  # the call fails with the others
        return out

    def _forget_specs(self, numbers: list[int]) -> None:
        """Specs will not be used any more: actors' processes need not know them either."""
        for line in list(self.lines.values()):
            with line.lock:
                known = line.specs.intersection(numbers)
                if known and line.channel is not None:  # told with whatever is sent next
                    line.specs -= known
                    line.channel.late.append(codec.encode((m.Forget(sorted(known), []),)))

    # --- results -----------------------------------------------------------------------------

    def answers(self, line: ActorLine, x: m.Answers) -> None:
        """Results came on a channel; called by whichever thread reads."""
        client, inflight = self._client, self.inflight
        entries, promised = client.entries, self._promised
        answered = 0
        for value in x.values:
            oid = value.oid
            if inflight.pop(oid[: ids.TASK_LEN], None) is not None:
                answered += 1
            if oid in entries:
                client.arrived(oid, value)
            elif value.kind >= m.ERROR:
                client.unhandled.arrived(value, False)
                client.unhandled.tell()
            if promised and oid in promised:
                promised.discard(oid)
                self._link.send([m.Put(value)])
        for task in x.ended:
            call = inflight.pop(task, None)
            if call is None:
                continue
            answered += 1
            for i in range(call.spec.num_returns):  # they come from the node
                oid = ids.object_id(task, i)
                declared = oid in promised  # and if it was dropped, the node was told
                promised.discard(oid)
                wanted = self._early.pop(oid, None)
                if wanted is None and oid in entries:
                    if not declared:
                        self._coming.add(oid)
                    self._published.add(oid)
                elif wanted is None and not declared:
                    self._unwanted.add(oid)
                elif wanted is False and not declared:
                    self._link.send([m.DropRefs([oid])])
        line.answered += answered
        if line.drop:
            self._drop_if_idle(line)

    def from_node(self, oid: bytes, wanted: bool) -> None:
        """The node sent a value; if it is our own, it counts us as a holder from now on.

        It may overtake the answer on the channel, or come after the last ref here is gone.
        """
        if not oid.startswith(self._mark):
            return
        self._coming.discard(oid)
        if ids.task_of(oid) in self.inflight:
            self._early[oid] = wanted
            if wanted:
                self._published.add(oid)
        elif oid in self._unwanted:
            self._unwanted.discard(oid)
            self._link.send([m.DropRefs([oid])])
        elif not wanted:  # its process died before it answered, say
            with self._client._lock:
                if oid not in self._client._counts:
                    self._link.send([m.DropRefs([oid])])

    def returned(self, oids: Iterable[bytes]) -> None:
        """Refs came to this process; if they are to our own objects, the node knows those."""
        self._published.update(oid for oid in oids if oid.startswith(self._mark))

    def publish(self, oids: Iterable[bytes]) -> None:
        """Refs are about to leave this process: of our own results the node must know them."""
        for oid in oids:
            if oid.startswith(self._mark):
                if oid not in self._published:
                    self._publish(oid)
                elif oid in self._coming:  # what follows may overtake what the actor sent
                    self._coming.discard(oid)
                    self._link.send([m.Declare([oid])])

    def _publish(self, oid: bytes) -> None:
        self._published.add(oid)
        self._promised.add(oid)  # first: else its answer could come in between
        value = self._client.entries.get(oid)
        if value is None:
            self._link.send([m.Declare([oid])])
        elif oid in self._promised:
            self._promised.discard(oid)
            self._link.send([m.Put(value)])

    def dropped(self, gone: list[bytes], counts: Counts) -> list[bytes]:
        """The last refs here to these objects are gone; returns those that may be forgotten.

        The node is not to hear of results that it does not know. A handle is kept while calls to
        its actor are not answered; ``answers`` drops it then.
        """
        for oid in [oid for oid in gone if oid.startswith(self._mark)]:
            if oid in self._coming:  # too early to drop it: `from_node` does
                self._coming.discard(oid)
                self._published.discard(oid)
                self._unwanted.add(oid)
                counts.gone.pop(oid, None)
            elif oid in self._published:
                self._published.discard(oid)
            else:
                counts.gone.pop(oid, None)
        kept = [oid for oid in gone if oid.endswith(ids.ACTOR_SUFFIX) and self._keeps(oid)]
        for oid in kept:
            counts.gone.pop(oid, None)
            counts[oid] = 1
        return [oid for oid in gone if oid not in kept] if kept else gone

    # --- handles -----------------------------------------------------------------------------

    def _keeps(self, oid: bytes) -> bool:
        """Whether a handle must not be dropped yet."""
        line = self.lines.get(oid[: ids.ACTOR_LEN])
        if line is None:
            return False
        with line.lock:
            if line.sent == line.answered:
                self._forget_line(line)
                return False
            line.drop = True
            return True

    def _drop_if_idle(self, line: ActorLine) -> None:
        with line.lock:
            if not line.drop or line.sent != line.answered:
                return
            line.drop = False
        refs.dropped.append(handle_oid(line.actor))
        self._link.wake()

    def _forget_line(self, line: ActorLine) -> None:
        """No handle is left here: the channel is closed."""
        if line.channel is not None:
            self._close(line, line.channel)
        self.lines.pop(line.actor, None)

    # --- opening and closing -----------------------------------------------------------------

    def _reach(self, x: m.Reach) -> None:
        line = self.lines.get(x.actor)
        if line is None or line.channel is not None or self._open >= self._most:
            return
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect(x.path)
            peers.check(sock)
        except (OSError, WireError):  # it has ended, or has too many callers: use the node's way
            if sock is not None:
                sock.close()
            line.failures += 1
            line.asked = line.failures > _TRIES
            return
        self.used = True
        with line.lock:
            if self.lines.get(x.actor) is not line:  # its last handle was dropped meanwhile
                sock.close()
                return
            line.incarnation, line.job = x.incarnation, x.job
            line.idle_at = x.accepted if x.idle else -1
            line.sent = line.answered = 0
            line.specs = set()
            channel: SocketStream

            def on_message(message: Any) -> None:
                kind = type(message)
                if kind is m.Answers:
                    self.answers(line, message)
                elif kind is m.Output:
                    self._client.on_output(message)
                elif kind is m.Welcome:
                    channel.trust()
                    with line.lock:
                        line.opened = True
                        line.failures = 0
                        line.settle()

            channel = self._link.stream(
                sock,
                codec.decode_from_actor,
                on_message,
                lambda reason: self._lost(line, channel),
                what="actor's process",
            )
            line.channel = channel
            self._open += 1
        with contextlib.suppress(WireError):
            channel.send([self._hello])

    def _idle(self, x: m.Idle) -> None:
        line = self.lines.get(x.actor)
        if line is not None:
            with line.lock:
                line.idle_at = x.accepted
                line.settle()

    def _close(self, line: ActorLine, channel: SocketStream) -> None:
        with line.lock:
            if line.channel is not channel:
                return
            line.channel = None
            if not line.opened:
                line.failures += 1
            line.direct = line.opened = False
            line.asked = line.failures > _TRIES
            self._open -= 1
        channel.lost = channel.lost or "closed"
        self._link.detach(channel.sock)

    def _lost(self, line: ActorLine, channel: SocketStream) -> None:
        """The actor's process has ended: the node knows why."""
        with line.lock:
            if line.channel is not channel:
                return
            self._close(line, channel)
            # A copy: other threads call other actors meanwhile.
            lost = [(task, c) for task, c in self.inflight.copy().items() if c.line is line]
            messages: list[Any] = []
            for task, call in lost:
                del self.inflight[task]
                oids = [ids.object_id(task, i) for i in range(call.spec.num_returns)]
                for oid in oids:
                    if self._early.pop(oid, None) is False:
                        messages.append(m.DropRefs([oid]))
                    if oid in self._client.entries:
                        self._published.add(oid)
                        self._promised.discard(oid)
                held = [o for o in oids if o in self._published or o in self._promised]
                self._promised.difference_update(oids)
                messages.append(
                    m.LostCall(task, call.use.number, line.actor, line.incarnation, held)
                )
            count = len(lost)
            line.answered += count  # others may be counted by `answers` at this moment
        if messages:
            with contextlib.suppress(WireError):
                self._link.send(messages)
        if line.drop:
            self._drop_if_idle(line)

    # --- questions ---------------------------------------------------------------------------

    def facts(self, oid: bytes) -> dict[str, Any] | None:
        """What ``session.ref_state`` says of an object that the node does not know."""
        if not oid.startswith(self._mark) or oid in self._published:
            return None
        value = self._client.entries.get(oid)
        call = self.inflight.get(ids.task_of(oid))
        state = "GONE"
        if value is not None:
            state = "FAILED" if value.kind >= m.ERROR else "READY"
        elif call is not None:
            state = "SUBMITTED"
        spec = call.spec if call is not None else None
        return {
            "state": state,
            "size": value.size if value is not None else 0,
            "stored": False,
            "creator": spec.name if spec is not None else "",
            "origin": spec.origin if spec is not None else "",
            "holders": 1,
            "why": "Its actor was called and has not answered yet." if call is not None else "",
        }

    def of_origin(self, origin: str) -> list[bytes]:
        """Calls of one cell that are not answered."""
        calls = self.inflight.copy()
        return [task for task, call in calls.items() if call.spec.origin == origin]

    # --- cancelling --------------------------------------------------------------------------

    def cancel(self, task: bytes, force: bool) -> bool:
        """Cancel a call that is under way on a channel; False if it is none."""
        call = self.inflight.get(task)
        if call is None:
            return False
        if force:
            raise ValueError("force=True is not for calls of actors: it would end the actor.")
        channel = call.line.channel
        if channel is not None:
            with contextlib.suppress(WireError):
                channel.send([m.CancelRunning(task, True)])
        return True

    def cancel_running(self, x: m.CancelRunning) -> None:
        """The node passes on that somebody else cancels a call of ours."""
        self.cancel(x.task, False)

    def _cancel_calls(self, x: m.CancelCalls) -> None:
        """Somebody cancels all calls of some methods. Of one channel they go out together."""
        specs = set(x.specs)
        calls: dict[SocketStream, list[m.CancelRunning]] = {}
        for task, call in self.inflight.copy().items():
            if call.use.number in specs and call.line.channel is not None:
                calls.setdefault(call.line.channel, []).append(m.CancelRunning(task, True))
        for channel, messages in calls.items():
            with contextlib.suppress(WireError):
                channel.send(messages)

    def cancel_children(self, parent: bytes) -> None:
        """Cancel the calls that a task sent."""
        for task in [t for t, call in self.inflight.copy().items() if call.parent == parent]:
            self.cancel(task, False)


def _limit() -> int:
    """How many channels this process may have, so that descriptors are left for users."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(4, min(_MOST, soft // 8))
    except (ImportError, OSError, ValueError):
        return 32
