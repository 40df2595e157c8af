"""What strangers and bad observers do on the node's socket, and that nobody else notices."""

from __future__ import annotations

import os
import pickle
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanlight import config, ids
from fanlight import messages as m
from fanlight.observe.client import Observer
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import codec
from fanlight.wire.framing import FrameReader, frame
from tests import leaks
from tests.faults.support import DEADLINE, assert_gone, poll, poll_empty


@pytest.fixture(scope="module")
def rt() -> Iterator[Any]:
    """The one runtime of all these tests: none of them harms it."""
    import fanlight

    before = leaks.snapshot()
    fanlight.shutdown()
    fanlight.init(num_cpus=2, log_to_driver=False)
    yield fanlight
    fanlight.shutdown()
    assert_gone(before)


@pytest.fixture
def info(rt: Any) -> Iterator[ConnectionInfo]:
    """How to reach it; after a test it has no more connections than before."""
    connection: ConnectionInfo = rt.session.current().connection
    node = psutil.Process(connection.pid)
    still_works(rt)
    before = len(node.net_connections("unix"))
    yield connection
    left = poll_empty(lambda: node.net_connections("unix")[before:], DEADLINE)
    assert not left, left


@pytest.fixture
def connect(info: ConnectionInfo) -> Iterator[Any]:
    made: list[socket.socket] = []

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.append(sock)
        sock.settimeout(DEADLINE)
        sock.connect(info.socket)
        return sock

    yield connect
    for sock in made:
        sock.close()


def hello(token: str, role: str = "driver", version: int = m.PROTOCOL_VERSION, **info: str) -> Any:
    return m.Hello(version, token, role, os.getpid(), ids.new_client_id(), info)


def all_of(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    while True:
        try:
            more = sock.recv(65536)
        except ConnectionError:
            return data
        if not more:
            return data
        data += more


def answers(data: bytes) -> list[Any]:
    return [x for f in FrameReader().feed(data) for x in codec.decode_handshake(f)]


def still_works(rt: Any) -> None:
    square = rt.remote(_square)
    assert rt.get([square.remote(i) for i in range(20)], timeout=DEADLINE) == [
        i * i for i in range(20)
    ]


def _square(x: int) -> int:
    return x * x


class _Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


BAD_TOKENS = {
    "empty": lambda right: "",
    "prefix": lambda right: right[:-1],
    "longer": lambda right: right + "x",
    "other": lambda right: right[::-1],
    "not ASCII": lambda right: "é" * len(right),
}


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_wrong_token_is_refused(
    rt: Any, info: ConnectionInfo, connect: Any, tmp_path: Path, token: str
) -> None:
    bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
    for role in ("driver", "worker", "observer"):
        sock = connect()
        # Work that would run if anything of it were read.
        spec = m.TaskSpec(m.TASK, b"key", "f", {})
        sock.sendall(
            codec.encode([hello(BAD_TOKENS[token](info.token), role, number="1")])
            + codec.encode([m.DefineFunction(b"key", bomb), m.DefineSpec(1, spec)])
            + codec.encode([m.Submit(ids.new_client_id() + bytes(8), 1, bomb, [], [])])
            + codec.encode([m.Shutdown("evil")])
        )
        assert answers(all_of(sock)) == [m.Refused("wrong token")]
    still_works(rt)
    assert not (tmp_path / "exploded").exists()


def test_a_wrong_version_or_role_is_refused(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    for bad, reason in (
        (hello(info.token, version=99), "protocol version 99"),
        (hello(info.token, role="root"), "unknown role"),
    ):
        sock = connect()
        sock.sendall(codec.encode([bad]))
        (answer,) = answers(all_of(sock))
        assert isinstance(answer, m.Refused)
        assert reason in answer.reason
    still_works(rt)


def test_a_worker_that_nobody_asked_for(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    still_works(rt)  # its own workers are there
    for number in ("1", "999", "-1", "x"):
        sock = connect()
        sock.sendall(codec.encode([hello(info.token, "worker", number=number)]))
        all_of(sock)  # it is dropped
    still_works(rt)


def test_an_observer_may_not_act_as_a_driver(rt: Any, info: ConnectionInfo) -> None:
    observer = Observer(info, timeout=DEADLINE)
    observer.send(m.DefineFunction(b"key", b"blob"))
    list(observer.payloads())  # ends: it was dropped
    observer.close()
    still_works(rt)


def test_garbage_does_not_disturb(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    noise = random.Random(1)
    good = codec.encode([hello(info.token)])
    junk = [
        b"\0" * 64,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 4096,  # a length that no one would send
        (1 << 30).to_bytes(4, "little"),
        frame(b""),
        frame(b"\xc1" * 30),
        frame(b"\x91" * 4000),  # deeply nested
        codec.encode([]),
        codec.encode([hello(info.token), hello(info.token)]),
        codec.encode([m.Welcome({})]),
        *(frame(noise.randbytes(noise.randrange(1, 400))) for _ in range(60)),
        *(good[:n] + noise.randbytes(40) for n in (2, 5, 9, len(good) - 1)),
    ]
    square = rt.remote(_square)
    refs = [square.remote(i) for i in range(2000)]
    for data in junk:
        sock = connect()
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert not [x for x in answers(all_of(sock)) if isinstance(x, m.Welcome)], data
    assert rt.get(refs, timeout=DEADLINE) == [i * i for i in range(2000)]


def test_garbage_after_a_right_handshake(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    """A driver that breaks the protocol is dropped; its work goes, nobody else's."""
    violations = [
        frame(b"\xc1"),
        codec.encode([m.Submit(bytes(24), 77, b"", [], [])]),
        codec.encode([m.DefineSpec(1, m.TaskSpec(m.TASK, b"unknown", "f", {}))]),
        codec.encode([m.Done(bytes(24), True, [], 0.0)]),
        codec.encode([m.Query(1, "no such question", {})]) + frame(b"\x90\x90"),
    ]
    for data in violations:
        sock = connect()
        sock.sendall(codec.encode([hello(info.token)]))
        first = sock.recv(65536)
        assert isinstance(answers(first)[0], m.Welcome)
        sock.sendall(data)
        all_of(sock)
    still_works(rt)


def test_half_a_handshake_byte_by_byte(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    data = codec.encode([hello(info.token, "observer")])
    sock = connect()
    for i in range(len(data)):
        sock.sendall(data[i : i + 1])
    assert isinstance(answers(sock.recv(4096))[0], m.Welcome)
    still_works(rt)


def test_the_silent_are_dropped(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    """Who does not prove the token in time is disconnected; a hundred of them do no harm."""
    silent = [connect() for _ in range(100)]
    silent[0].sendall(codec.encode([hello(info.token)])[:-1])
    still_works(rt)
    silent[1].settimeout(config.HANDSHAKE_SECONDS + DEADLINE)
    for sock in silent:
        assert all_of(sock) == b""
    still_works(rt)


def test_an_observer_that_never_reads_is_dropped(rt: Any, info: ConnectionInfo) -> None:
    """It costs the node a bounded amount of memory, and nobody's time."""
    node = psutil.Process(info.pid)
    observer = Observer(info, timeout=DEADLINE)
    task = rt.remote(_fail).options(max_retries=0)
    square = rt.remote(_square)
    rt.get([square.remote(i) for i in range(100)])
    memory = node.memory_info().rss
    connections = len(node.net_connections("unix"))
    done = 0

    def dropped() -> bool:
        return len(node.net_connections("unix")) < connections

    end = time.monotonic() + DEADLINE
    while not dropped() or done < 50_000:
        assert time.monotonic() < end, f"{done} tasks, and it is still there"
        refs = [task.remote("x" * 90_000) for _ in range(10)]  # errors make the largest events
        rt.wait(refs, num_returns=10)
        refs = [square.remote(i) for i in range(9_990)]
        assert rt.get(refs, timeout=DEADLINE)[-1] == 9_989**2
        done += 10_000
    assert node.memory_info().rss - memory < 100 << 20
    observer.close()
    again = Observer(info, timeout=DEADLINE)  # it may come again
    assert next(again.payloads())
    again.close()


def _fail(text: str) -> None:
    raise ValueError(text)


def test_observers_that_come_and_go(rt: Any, info: ConnectionInfo) -> None:
    node = psutil.Process(info.pid)
    still_works(rt)
    descriptors = node.num_fds()
    for i in range(60):
        observer = Observer(info, timeout=DEADLINE)
        if i % 6 == 0:
            next(observer.payloads())
        observer.close()
    still_works(rt)
    assert poll(lambda: node.num_fds() <= descriptors), (descriptors, node.num_fds())
