"""The client's end of the connection, with a node that the test plays: a socket pair."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanlight import messages as m
from fanlight.client.connect import handshake
from fanlight.client.link import SocketLink
from fanlight.errors import FanlightError
from fanlight.wire import codec
from fanlight.wire.failures import ConnectionLost, HandshakeRefused
from fanlight.wire.framing import FrameReader

# Seconds; a safety net, never waited for when all is well.
DEADLINE = 60.0

pytestmark = pytest.mark.timeout(4 * DEADLINE)


class ClientSocket(socket.socket):
    """Lets a test act in the midst of ``send``, where a finalizer may run, and sends in pieces."""

    within: Callable[[], None] | None = None
    at_most = 1 << 20

    def send(self, data: Any, flags: int = 0) -> int:  # type: ignore[override]
        within, self.within = self.within, None
        if within is not None:
            within()
        return super().send(memoryview(data)[: self.at_most], flags)


class Pair:
    """A link, and the node's end of its socket. The link has no background thread."""

    def __init__(self) -> None:
        ours, self.node = socket.socketpair()
        self.node.settimeout(DEADLINE)
        self.socket = ClientSocket(fileno=ours.detach())
        self.got: list[str] = []
        self.on_message: Callable[[str], None] = lambda text: None
        self.link = SocketLink(self.socket, self._take, lambda reason: None, lambda: None)
        self._frames = FrameReader()

    def _take(self, message: Any) -> None:
        self.got.append(message.text)
        self.on_message(message.text)

    def say(self, *texts: str) -> None:
        """The node sends."""
        self.node.sendall(codec.encode([m.Notice(text) for text in texts]))

    def heard(self, count: int) -> list[int]:
        """The first ``count`` numbers that the node got."""
        numbers: list[int] = []
        while len(numbers) < count:
            data = self.node.recv(65536)
            assert data, "the link has ended"
            for frame in self._frames.feed(data):
                numbers += [message.size for message in codec.decode_from_client(frame)]
        return numbers


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.link.close()
    pair.node.close()


@pytest.fixture
def on_signal() -> Iterator[Callable[[int, Any], None]]:
    """``on_signal(number, handler)`` for this test."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGUSR1)}
    yield lambda number, handler: signal.signal(number, handler)
    for n, handler in before.items():
        signal.signal(n, handler)


def until(predicate: Callable[[], Any]) -> bool:
    """Whether the predicate comes true before the deadline."""
    end = time.monotonic() + DEADLINE / 2
    while not predicate():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def number(n: int) -> m.Reserve:
    return m.Reserve(n, n)


# --- a send within a send: what a finalizer does -------------------------------------------------


@pytest.mark.parametrize("at_most", [1 << 20, 3], ids=["whole", "in pieces"])
@pytest.mark.parametrize("soon", [False, True], ids=["send", "send_soon"])
def test_a_send_within_a_send_follows_it(pair: Pair, soon: bool, at_most: int) -> None:
    def send(n: int) -> None:
        if soon:
            pair.link.send_soon(number(n))
        else:
            pair.link.send([number(n)])

    def twice() -> None:
        send(2)
        send(3)

    pair.socket.at_most = at_most
    pair.socket.within = twice
    send(1)
    assert pair.heard(3) == [1, 2, 3]
    send(4)
    assert pair.heard(1) == [4], "nothing is sent twice"


def test_a_send_within_a_send_that_follows_a_send(pair: Pair) -> None:
    def inner() -> None:
        pair.socket.within = lambda: pair.link.send([number(3)])
        pair.link.send([number(2)])

    pair.socket.within = inner
    pair.link.send([number(1)])
    assert pair.heard(3) == [1, 2, 3]


# --- what the background thread is woken for -----------------------------------------------------


def test_an_interrupted_wake_is_made_up_for(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it counted as done: refs that are dropped later, and calls that are held back, would wait
    for whatever the node says next."""
    write = os.write

    def strike(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", strike)
    with pytest.raises(KeyboardInterrupt):
        pair.link.wake()
    pair.link.wake()
    assert os.read(pair.link._wake_r, 8) == b"x"
    pair.link.wake()
    with pytest.raises(BlockingIOError):  # it is told once
        os.read(pair.link._wake_r, 8)


def test_others_send_while_it_looks_who_is_stuck(pair: Pair) -> None:
    """The background thread would end, and nothing that is held back would be sent any more."""
    unsent: dict[Any, None] = pair.link._unsent  # type: ignore[assignment]

    class Stream:
        sock = pair.socket

        @property
        def stuck(self) -> bool:
            unsent.clear()  # another thread has its turn here
            unsent.update({object(): None, object(): None})
            return False

    unsent[Stream()] = None
    pair.link._watch_stuck()
    assert pair.link._stuck == []
    unsent.clear()


# --- callbacks that raise, or wait ---------------------------------------------------------------


def test_a_callback_that_raises_costs_no_other_message(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_message(text: str) -> None:
        if text == "bad":
            raise ValueError("from a callback")

    pair.on_message = on_message
    pair.say("bad", "two")
    pair.say("three")
    assert pair.link.wait(lambda: len(pair.got) == 3, DEADLINE)
    assert pair.got == ["bad", "two", "three"]
    assert not pair.link.lost
    assert "ValueError: from a callback" in capsys.readouterr().err


def test_waiting_in_a_callback_is_an_error_and_not_for_ever(pair: Pair) -> None:
    def on_message(text: str) -> None:
        with pytest.raises(RuntimeError, match="callback of the thread that reads"):
            pair.link.wait(lambda: False, DEADLINE)
        told.append(text)

    told: list[str] = []
    pair.on_message = on_message
    pair.say("one")
    assert pair.link.wait(lambda: pair.got, DEADLINE)
    assert told == ["one"]


def test_a_callback_may_wait_for_what_has_happened(pair: Pair) -> None:
    waited: list[bool] = []
    pair.on_message = lambda text: waited.append(pair.link.wait(lambda: pair.got))
    pair.say("one")
    assert pair.link.wait(lambda: pair.got, DEADLINE)
    assert waited == [True]


# --- SIGINT handlers that do not raise -----------------------------------------------------------


def test_a_handler_that_does_not_raise_at_first(
    pair: Pair, on_signal: Callable[[int, Any], None]
) -> None:
    """The handler of ``asyncio.run`` raises only when the second Ctrl-C comes."""
    main = threading.get_ident()
    calls = 0
    at_once: list[bool] = []

    def handler(signum: int, frame: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt

    def handled(count: int) -> bool:
        # Python may miss a signal right before a system call until the next one interrupts it.
        signal.pthread_kill(main, signal.SIGUSR1)
        return calls == count

    def press() -> None:
        for count in (1, 2):
            until(lambda: pair.link.polling)
            signal.pthread_kill(main, signal.SIGINT)
            at_once.append(until(lambda count=count: handled(count)))

    on_signal(signal.SIGUSR1, lambda signum, frame: None)
    on_signal(signal.SIGINT, handler)
    user = threading.Thread(target=press)
    user.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            pair.link.wait(lambda: False, 2 * DEADLINE)
    finally:
        user.join()
    assert at_once == [True, True] and calls == 2
    assert signal.getsignal(signal.SIGINT) is handler
    pair.say("after")
    assert pair.link.wait(lambda: pair.got, DEADLINE), "the link is as good as before"


def test_a_signal_while_messages_are_handled_does_not_end_the_wait(
    pair: Pair, on_signal: Callable[[int, Any], None]
) -> None:
    during: list[bool] = []

    def handler(signum: int, frame: Any) -> None:
        during.append(handling)
        pair.say("two")  # what the wait is for comes after the handler ran

    def on_message(text: str) -> None:
        nonlocal handling
        handling = True
        if text == "one":
            signal.raise_signal(signal.SIGINT)
        handling = False

    handling = False
    on_signal(signal.SIGINT, handler)
    pair.on_message = on_message
    pair.say("one")
    assert pair.link.wait(lambda: len(pair.got) == 2, DEADLINE)
    assert pair.got == ["one", "two"]
    assert during == [False], "once, and not in the midst of a message"


# --- the end of the connection -------------------------------------------------------------------


def test_a_look_without_waiting_notices_the_end(pair: Pair) -> None:
    assert pair.link.wait(lambda: False, 0) is False
    pair.node.close()
    with pytest.raises(FanlightError, match="node process has ended"):
        pair.link.wait(lambda: False, 0)
    with pytest.raises(FanlightError, match="node process has ended"):
        pair.link.send([number(1)])


def test_messages_before_the_end_are_handled(pair: Pair) -> None:
    pair.say("one", "two")
    pair.node.close()
    assert pair.link.wait(lambda: len(pair.got) == 2, DEADLINE)
    with pytest.raises(FanlightError):
        pair.link.wait(lambda: len(pair.got) == 3, DEADLINE)


def test_whether_the_connection_has_ended(pair: Pair) -> None:
    assert not pair.link.ended()
    pair.say("one")
    assert not pair.link.ended(), "a message waits to be read"
    assert pair.link.wait(lambda: pair.got, DEADLINE), "and looking did not take it"
    pair.node.close()
    assert pair.link.ended()
    assert pair.link.lost


def test_a_refusal_is_heard_though_the_peer_has_closed() -> None:
    ours, node = socket.socketpair()
    with ours:
        node.sendall(codec.encode([m.Refused("no room")]))
        node.close()
        hello = m.Hello(m.PROTOCOL_VERSION, "token", "worker", 1, b"c" * 16)
        with pytest.raises(HandshakeRefused, match="no room"):
            handshake(ours, hello)


def test_a_peer_that_closed_without_a_word() -> None:
    ours, node = socket.socketpair()
    with ours:
        node.close()
        hello = m.Hello(m.PROTOCOL_VERSION, "token", "worker", 1, b"c" * 16)
        with pytest.raises(ConnectionLost, match="closed the connection"):
            handshake(ours, hello)
