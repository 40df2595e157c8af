"""Observers: many, slow, stopped, killed and mad ones; none of them costs the runtime anything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import psutil
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.observe.client import Observer
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import codec
from tests.faults.support import DEADLINE, poll


@pytest.fixture
def info(rt: Any) -> ConnectionInfo:
    connection: ConnectionInfo = rt.session.current().connection
    return connection


def _square(x: int) -> int:
    return x * x


def work(rt: Any) -> None:
    square = rt.remote(_square)
    refs = [square.remote(i) for i in range(300)]
    assert rt.get(refs, timeout=DEADLINE) == [i * i for i in range(300)]


def node_of(info: ConnectionInfo) -> psutil.Process:
    return psutil.Process(info.pid)


def test_fifty_observers(rt: Any, info: ConnectionInfo) -> None:
    """All see everything; when they are gone, so are their descriptors."""
    work(rt)
    node = node_of(info)
    descriptors = node.num_fds()
    observers = [Observer(info, timeout=DEADLINE) for _ in range(50)]
    seen = [0] * len(observers)

    def read(i: int) -> None:
        for payload in observers[i].payloads():
            seen[i] += b'"_square"' in payload

    threads = [threading.Thread(target=read, args=[i]) for i in range(len(observers))]
    for thread in threads:
        thread.start()
    work(rt)
    assert poll(lambda: all(seen)), seen
    for observer in observers[:25]:
        observer.close()
    work(rt)
    for observer in observers[25:]:
        observer.close()
    for thread in threads:
        thread.join(DEADLINE)
    assert poll(lambda: node.num_fds() <= descriptors), (descriptors, node.num_fds())


SCRIPT = """
import sys
from fanlight.observe import discover
from fanlight.observe.client import Observer
(info,) = [r for r in discover.runtimes() if r.runtime_id == sys.argv[1]]
observers = [Observer(info) for _ in range(5)]
print("attached", flush=True)
for payload in observers[0].payloads():
    pass
"""


@pytest.mark.parametrize("fault", ["SIGSTOP", "SIGKILL"])
def test_a_process_of_observers(rt: Any, info: ConnectionInfo, fault: str) -> None:
    """A Jupyter server, say, that is stopped or killed while work goes on."""
    work(rt)
    node = node_of(info)
    descriptors, memory = node.num_fds(), node.memory_info().rss
    command = [sys.executable, "-c", SCRIPT, info.runtime_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"attached\n"
        work(rt)
        process.send_signal(getattr(signal, fault))
        for _ in range(5):
            work(rt)
        if fault == "SIGSTOP":
            assert node.memory_info().rss - memory < 60 << 20
            process.send_signal(signal.SIGCONT)
            work(rt)
        process.kill()
    assert poll(lambda: node.num_fds() <= descriptors), (descriptors, node.num_fds())
    work(rt)


def test_observers_that_talk_nonsense_or_say_goodbye_badly(rt: Any, info: ConnectionInfo) -> None:
    """After a right handshake: garbage, half a frame, what observers may not send, a reset."""
    work(rt)
    node = node_of(info)
    descriptors = node.num_fds()
    hello = m.Hello(m.PROTOCOL_VERSION, info.token, "observer", os.getpid(), ids.new_client_id())
    for data in (
        b"\xff" * 5000,
        codec.encode([m.Cancel(b"x", True)]),
        codec.encode([m.KillActor(b"")]),
        codec.encode([m.Query(1, "no such thing", {"a": 1})]),
        codec.encode([m.Query(1, "task", {"id": 7})]),
        codec.encode([m.Query(1, "task", {"id": "../../etc"})]),
        codec.encode([m.Put(m.Value(bytes(28), m.INLINE, b""))]),
        codec.encode([hello]),
        codec.encode([m.Query(1, "tasks", {})])[:-3],
    ):
        hello.client_id = ids.new_client_id()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(info.socket)
            sock.sendall(codec.encode([hello]))
            assert sock.recv(1 << 16)
            sock.sendall(data)
        work(rt)
    assert poll(lambda: node.num_fds() <= descriptors), (descriptors, node.num_fds())


def test_observers_may_come_in_the_last_moment(rt: Any, info: ConnectionInfo) -> None:
    """While the runtime ends: they hear why, or that nobody is there; nothing hangs."""
    ended: list[bytes] = []
    stop = threading.Event()

    def come() -> None:
        while not stop.is_set():
            try:
                observer = Observer(info, timeout=DEADLINE)
            except (OSError, ValueError, RuntimeError):
                return
            ended.extend(p for p in observer.payloads() if b'"ended"' in p)
            observer.close()

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    work(rt)
    rt.shutdown()
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert ended
