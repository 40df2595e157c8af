"""The actor's end of channels: calls that come straight to its process, and their answers.

See :mod:`fanlight.core.channels` for what a channel is, and :mod:`fanlight.client.channels` for the
caller's end. What was done here is told to the node at most fifty times a second.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from fanlight import config, ids
from fanlight import messages as m
from fanlight.wire import codec
from fanlight.wire.failures import HandshakeRefused, WireError
from fanlight.wire.framing import HANDSHAKE_LIMIT
from fanlight.wire.handshake import refusal
from fanlight.wire.peers import stranger

if TYPE_CHECKING:
    from fanlight.client.client import Client
    from fanlight.client.link import SocketLink
    from fanlight.client.socket_stream import SocketStream

_BATCH = 32  # answers sent at once at most
_PAUSE = 0.02  # seconds between two reports to the node
_RECORDS = 100  # calls that a report names one by one; the others are folded into sums
_QUEUED = 50  # calls that wait for their turn and are named in one report


class DirectCall:
    """A call that came on a channel; in all that the executor reads, like ``messages.Execute``."""

    __slots__ = ("args", "caller", "job", "known", "number", "parent", "since", "task")

    deps: tuple[m.Value, ...] = ()
    attempt = 0
    actor = b""
    gpus = None
    spec = 0

    def __init__(self, x: m.Call, caller: Caller) -> None:
        self.task = x.task
        self.args = x.args
        self.parent = x.parent
        self.job = x.job
        self.number = x.spec
        self.known = caller.specs[x.spec]
        self.caller = caller
        self.since = 0.0  # when it began


class Caller:
    """One process that has a channel to this actor."""

    __slots__ = ("answers", "client_id", "driver", "ended", "quick", "received", "specs", "stream")

    def __init__(self) -> None:
        self.client_id = b""  # until it proved the token
        self.driver = False
        self.stream: SocketStream
        self.specs: dict[int, m.TaskSpec] = {}
        self.quick: dict[int, bool] = {}  # by spec: whether its last call was
        self.received = 0
        self.answers: list[m.Value] = []  # held back for company
        self.ended: list[bytes] = []


class Callers:
    """All callers of this process; made for every worker, used once it is an actor."""

    def __init__(self, client: Client, queue: deque[Any], token: str, path: str) -> None:
        self._client = client
        self._queue = queue
        self._token = token
        self._path = path
        self._listener: socket.socket | None = None
        self._known: dict[bytes, Caller] = {}
        self._silent: dict[Caller, float] = {}  # since when they are connected and prove nothing
        # Calls that came by the node and stand behind some that are still to come on a channel.
        self._behind: dict[bytes, deque[m.Execute]] = {}
        self._held: dict[Caller, None] = {}
        self._lock = threading.RLock()
        self._running: dict[bytes, DirectCall] = {}
        self._told: set[bytes] = set()  # of the running ones: those that the node knows
        self._waits: set[bytes] = set()  # of those in the queue: the same
        self._records: list[m.CallRecord] = []
        self._sums: dict[tuple[bytes, int], list[float]] = {}
        self._noted = False  # a report is due
        client.handlers[m.Listen] = self._listen

    @property
    def _link(self) -> SocketLink:
        return self._client.link  # type: ignore[return-value]

    # --- callers -----------------------------------------------------------------------------

    def _listen(self, _: m.Listen) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self._path)
            os.chmod(self._path, 0o600)
            listener.listen(128)
        except OSError:  # too long a path, or no descriptors left: calls go on by the node
            listener.close()
            return
        listener.setblocking(False)
        self._listener = listener
        self._client.handlers[m.Execute] = self._in_order
        self._link.attach(listener, self._accept)
        self._link.send([m.Listening(self._path)])

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptors are left: others use the node's way
            self._link.detach(self._listener)
            self._listener = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            return
        if stranger(sock):
            sock.close()
            return
        sock.setblocking(False)
        caller = Caller()
        self._drop_silent(caller)

        def on_message(message: Any) -> None:
            kind = type(message)
            if kind is m.Call:
                self._called(caller, message)
            elif kind is m.DefineSpec:
                if message.spec.kind != m.ACTOR_CALL:
                    raise WireError("a channel is for an actor's methods")
                caller.specs[message.number] = message.spec
            elif kind is m.Forget:
                for number in message.specs:
                    caller.specs.pop(number, None)
                    caller.quick.pop(number, None)
            elif kind is m.CancelRunning:
                self._client.handlers[m.CancelRunning](message)
            else:
                self._greet(caller, message)

        caller.stream = self._link.stream(
            sock,
            codec.decode_handshake,
            on_message,
            lambda reason: self._left(caller),
            what="caller",
            patient=lambda: False,
            limit=HANDSHAKE_LIMIT,
        )

    def _drop_silent(self, newest: Caller) -> None:
        """Who connects, and does not prove the token in time, is dropped when the next one comes."""
        now = time.monotonic()
        late = [c for c, since in self._silent.items() if now - since > config.HANDSHAKE_SECONDS]
        for caller in late:
            caller.stream.lose("it did not say who it is")
        self._silent[newest] = now

    def _greet(self, caller: Caller, hello: Any) -> None:
        problem = "no Hello"
        if isinstance(hello, m.Hello) and not caller.client_id:
            problem = refusal(hello, self._token, ("driver", "worker"))
        if problem:
            with contextlib.suppress(WireError):
                caller.stream.send([m.Refused(problem)])
            raise HandshakeRefused(problem)
        self._silent.pop(caller, None)
        caller.client_id = hello.client_id
        caller.driver = hello.role == "driver"
        caller.stream.decode = codec.decode_from_caller
        caller.stream.trust()
        self._known[caller.client_id] = caller
        caller.stream.send([m.Welcome({})])

    def _left(self, caller: Caller) -> None:
        """A caller closed its channel, or died: what it sent is run, its answers go nowhere."""
        self._silent.pop(caller, None)
        self._link.detach(caller.stream.sock)
        if self._known.get(caller.client_id) is caller:
            del self._known[caller.client_id]
            self._queue.extend(self._behind.pop(caller.client_id, ()))

    def close(self) -> None:
        """The actor ends in good order."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    # --- calls -------------------------------------------------------------------------------

    def _called(self, caller: Caller, x: m.Call) -> None:
        if x.spec not in caller.specs:
            raise WireError("a call of a method that was not defined")
        self._queue.append(DirectCall(x, caller))
        caller.received += 1
        if self._running and not self._noted:  # it waits for one that runs
            self._noted = True
            self._link.wake()
        behind = self._behind.get(caller.client_id) if self._behind else None
        while behind and behind[0].after <= caller.received:
            self._queue.append(behind.popleft())
        if behind is not None and not behind:
            del self._behind[caller.client_id]

    def _in_order(self, x: m.Execute) -> None:
        """A call came by the node: those that its caller sent on a channel before come first."""
        client_id = x.task[: ids.CLIENT_LEN]
        behind = self._behind.get(client_id)
        if behind:
            behind.append(x)
            return
        caller = self._known.get(client_id)
        # A caller that is not known any more is gone, with what it had not sent.
        if caller is not None and x.after > caller.received:
            self._behind[client_id] = deque([x])
        else:
            self._queue.append(x)

    def behind(self) -> set[bytes]:
        """Calls that came by the node and wait for earlier ones on a channel."""
        return {x.task for line in list(self._behind.values()) for x in list(line)}

    def begins(self, call: DirectCall) -> None:
        call.since = time.time()
        self._running[call.task] = call
        if not self._noted:
            self._noted = True
            self._link.wake()

    def before(self, call: DirectCall) -> None:
        """A call is next in the main thread: answers wait only while quick calls follow."""
        if self._held and not call.caller.quick.get(call.number):
            self.flush()

    # --- answers -----------------------------------------------------------------------------

    def answer(self, call: DirectCall, done: m.Done, hold: bool) -> None:
        """A call ended. ``hold``: more calls wait, so that quick answers go out together."""
        caller, values = call.caller, done.values
        state = 1
        if not done.ok:
            if not values:
                return  # the actor ends; its callers will ask the node why
            error, *there = values  # those that have a value all the same come after it
            have = {value.oid for value in there}
            oids = [ids.object_id(call.task, i) for i in range(call.known.num_returns)]
            values = there + [
                m.Value(oid, error.kind, error.data, error.size, error.contained)
                for oid in oids
                if oid not in have
            ]
            state = 3 if done.error.startswith("TaskCancelledError") else 2
        if any(v.kind == m.STORED or v.contained for v in values):
            self._client.link.send([m.Deliver(call.number, values)])
            values = []
        quick = done.duration < _PAUSE / 40
        caller.quick[call.number] = quick
        with self._lock:
            if values:
                caller.answers += values
            else:
                caller.ended.append(call.task)
            self._note(call, done, state)
            if hold and quick and len(caller.answers) + len(caller.ended) < _BATCH:
                self._held[caller] = None
                return
            self._send(caller)

    def flush(self) -> None:
        """Send what was held back."""
        if self._held:
            with self._lock:
                for caller in list(self._held):
                    self._send(caller)

    def _send(self, caller: Caller) -> None:
        self._held.pop(caller, None)
        if not (caller.answers or caller.ended):
            return
        message = m.Answers(caller.answers, caller.ended)
        caller.answers, caller.ended = [], []
        with contextlib.suppress(WireError):  # it is gone: nobody wants them
            caller.stream.send([message])

    # --- reports -----------------------------------------------------------------------------

    def _note(self, call: DirectCall, done: m.Done, state: int) -> None:
        told = call.task in self._told or call.task in self._waits
        self._running.pop(call.task, None)
        self._told.discard(call.task)
        self._waits.discard(call.task)
        if state == 1 and not told and len(self._records) >= _RECORDS:
            key = (call.caller.client_id, call.number)
            total = self._sums.get(key)
            if total is None:
                total = self._sums[key] = [0, 0.0]
            total[0] += 1
            total[1] += done.duration
        else:
            self._records.append(
                m.CallRecord(
                    call.task, call.number, call.parent, state,
                    call.since or time.time() - done.duration, done.duration, done.error,
                    done.traceback,
                )
            )  # fmt: skip
        if not self._noted:
            self._noted = True
            self._link.wake()

    def report(self, pause: bool = True) -> None:
        """Tell the node; called by the background thread when it was woken, and at the end."""
        if pause and not self._noted:
            return
        if pause:
            time.sleep(_PAUSE)
        self.flush()  # the next call may last, and need somebody who waits for these
        with self._lock:
            self._noted = False
            records, self._records = self._records, []
            sums, self._sums = self._sums, {}
            now = time.time()
            for call in list(self._running.values()):
                if call.task in self._told:
                    continue
                if now - call.since >= _PAUSE / 2:
                    self._told.add(call.task)
                    records.append(m.CallRecord(call.task, call.number, call.parent, 0, call.since))
                else:
                    self._noted = True
            for call in list(itertools.islice(self._queue, _QUEUED)):
                if type(call) is DirectCall and call.task not in self._waits:
                    self._waits.add(call.task)
                    records.append(m.CallRecord(call.task, call.number, call.parent, 4, now))
            if records or sums:  # with the lock: who has it knows that all is sent
                folded = [m.CallSum(c, n, int(t[0]), t[1]) for (c, n), t in sums.items()]
                with contextlib.suppress(WireError):
                    self._client.link.send([m.Calls(records, folded)])
        if self._noted and pause:
            self._link.wake()
