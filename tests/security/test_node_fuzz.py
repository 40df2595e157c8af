"""Noise on the sockets of a real runtime: nobody else notices, and nothing piles up."""

from __future__ import annotations

import os
import random
import socket
import time
import typing
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import codec
from fanlight.wire.framing import frame
from tests import longrun
from tests.faults.support import DEADLINE, poll
from tests.security.fuzzing import Maker
from tests.security.test_handshake import actor_with_a_door, hello, works

SHORT, LONG = 1.0, 120.0  # seconds of noise on each socket
GROWTH = 150 << 20  # bytes by which the receiver may grow


class Noise:
    """One sender of noise; ``token`` if it proves who it is first."""

    def __init__(self, path: str, seed: int, types: tuple[type, ...], token: str = "") -> None:
        self.path = path
        self.make = Maker(seed)
        self.types = types
        self.token = token
        self.connections = self.frames = 0

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(0.5)
                try:
                    self._one(sock)
                except (OSError, TimeoutError):
                    pass  # it was dropped, as it should

    def _one(self, sock: socket.socket) -> None:
        sock.connect(self.path)
        self.connections += 1
        if self.token:
            sock.sendall(codec.encode([hello(self.token, client=self._client())]))
            if not sock.recv(4096):
                return
        draw = self.make.random
        for _ in range(draw.randrange(1, 30)):
            sock.sendall(self._data(draw))
            self.frames += 1
        if draw.random() < 0.5:
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1 << 16)

    def _client(self) -> bytes:
        client = ids.new_client_id()
        for length, made in ((16, client), (24, client + bytes(8)), (28, client + bytes(12))):
            self.make.known.setdefault(length, []).append(made)
            del self.make.known[length][:-50]
        return client

    def _data(self, draw: random.Random) -> bytes:
        kind = draw.randrange(10)
        if kind == 0:
            return draw.randbytes(draw.randrange(200))
        if kind == 1:
            return frame(draw.randbytes(draw.randrange(100)))
        if kind == 2:
            return frame(
                draw.choice((b"\x91" * 3000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b""))
            )
        if kind == 3:
            return draw.randrange(1 << 32).to_bytes(4, "little")  # and what it promises never comes
        try:
            data = codec.encode(
                [self.make.message(self.types) for _ in range(draw.choice((1, 1, 3)))]
            )
        except (OverflowError, UnicodeEncodeError):
            return b""
        return self.make.damaged(data) if kind < 6 else data


# What a client with the token may order, and the node has to do: to end, and to have no CPUs.
ORDERS = (m.Shutdown, m.Scale)
FROM_CLIENT = tuple(t for t in typing.get_args(m.FromClient) if t not in ORDERS)
FROM_CALLER = typing.get_args(m.FromCaller)


def noise(rt: Any, seconds: float, seed: int) -> None:
    info: ConnectionInfo = rt.session.current().connection
    actor, door = actor_with_a_door(rt)
    works(rt)
    node = psutil.Process(info.pid)
    zygote = node.children()[0]
    worker = next(p for p in zygote.children() if _listens(p, door))
    before = {p: p.memory_info().rss for p in (node, worker)}
    descriptors = {p: p.num_fds() for p in (node, worker)}
    for path, types in ((info.socket, FROM_CLIENT), (door, FROM_CALLER)):
        for token in ("", info.token):
            sender = Noise(path, seed, types, token)
            sender.run(seconds)
            assert sender.connections >= 3, "no noise was made"
            works(rt)
            assert rt.get(actor.double.remote(21), timeout=DEADLINE) == 42, "the actor is the same"
    assert node.is_running()
    assert worker.is_running()
    for process, memory in before.items():
        assert process.memory_info().rss - memory < GROWTH
        most = descriptors[process] + 30  # workers that were started, logs
        assert poll(lambda p=process, n=most: p.num_fds() <= n), "connections stay open"


def _listens(process: psutil.Process, path: str) -> bool:
    return any(c.laddr == path for c in process.net_connections("unix"))


def test_noise_on_all_sockets(rt: Any) -> None:
    noise(rt, SHORT, seed=1)


@pytest.mark.long
def test_noise_on_all_sockets_for_long(rt: Any) -> None:
    noise(rt, LONG, seed=longrun.seed())


def test_half_frames_and_floods(rt: Any) -> None:
    """Frames that never end, of drivers that have the token; and a flood of the smallest ones."""
    info: ConnectionInfo = rt.session.current().connection
    node = psutil.Process(info.pid)
    works(rt)
    memory = node.memory_info().rss
    socks = []
    for length in (1 << 30, 1 << 31, (1 << 31) + 1, (1 << 32) - 1):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        socks.append(sock)
        sock.settimeout(DEADLINE)
        sock.connect(info.socket)
        sock.sendall(codec.encode([hello(info.token)]))
        assert sock.recv(4096)
        sock.sendall(length.to_bytes(4, "little") + b"half")
    flood = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    socks.append(flood)
    flood.settimeout(DEADLINE)
    flood.connect(info.socket)
    flood.sendall(codec.encode([hello(info.token)]))
    assert flood.recv(4096)
    flood.sendall(codec.encode([]) * 200_000 + codec.encode([m.AddRefs([])]) * 50_000)
    works(rt)
    assert node.memory_info().rss - memory < GROWTH, "what was promised is not allocated"
    for sock in socks:
        sock.close()
    works(rt)


# --- what the runtime's processes have open -------------------------------------------------------


def test_nothing_listens_on_the_network(rt: Any) -> None:
    """No process of the runtime has a socket of the internet, nor one without a place in a directory."""
    info: ConnectionInfo = rt.session.current().connection
    actor, _ = actor_with_a_door(rt)
    node = psutil.Process(info.pid)
    processes = [node, *node.children(recursive=True)]
    assert len(processes) >= 3
    rows: dict[int, str] = {}  # sockets by inode
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        path = Path(f"/proc/net/{name}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            rows[int(line.split()[9])] = f"{name} {line.split()[1]}"
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[7].startswith("@"):
            rows[int(words[6])] = f"abstract {words[7]}"
    for process in processes:
        assert not process.net_connections("inet")
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            target = os.readlink(f"/proc/{process.pid}/fd/{fd}")
            if target.startswith("socket:["):
                assert int(target[8:-1]) not in rows, rows.get(int(target[8:-1]))
    del actor


def test_workers_hold_no_descriptor_of_the_zygotes(rt: Any) -> None:
    """Tasks cannot speak on the channel on which the node tells the zygote what to start and kill."""
    works(rt)
    info: ConnectionInfo = rt.session.current().connection
    node = psutil.Process(info.pid)
    zygote = node.children()[0]

    def sockets(pid: int) -> set[str]:
        folder = f"/proc/{pid}/fd"
        links = {os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
        return {link for link in links if link.startswith("socket:")}

    assert sockets(zygote.pid), "the zygote has its channel"
    for worker in zygote.children():
        assert not sockets(worker.pid) & (sockets(zygote.pid) | sockets(node.pid))


# --- the token ------------------------------------------------------------------------------------


def test_the_token_is_shown_nowhere(rt: Any, capfd: pytest.CaptureFixture[str]) -> None:
    import traceback

    from fanlight.node.boot import BootConfig
    from fanlight.util import state

    session = rt.session.current()
    info: ConnectionInfo = session.connection
    token = info.token
    assert len(token) >= 32
    context = rt.init(ignore_reinit_error=True)
    shown: list[str] = [repr(context), repr(vars(context)), repr(context.address_info)]
    shown += [repr(info), str(info), repr(hello(token)), f"{info}", repr([info])]
    boot = BootConfig(
        "r", "n", token, b"", "s", "g", {}, 1, 1, [], "/", 3, {}, b"",
    )  # fmt: skip
    shown.append(repr(boot))

    @rt.remote
    def environment() -> str:
        import sys

        print("a line for the log")
        return repr(dict(os.environ)) + repr(sys.argv) + Path("/proc/self/cmdline").read_text()

    shown.append(rt.get(environment.remote(), timeout=DEADLINE))
    listings = (state.list_tasks, state.list_actors, state.list_workers, state.list_nodes)
    shown += [repr(listing(detail=True)) for listing in listings]
    shown += [
        repr(rt.nodes()),
        repr(rt.timeline()),
        repr(session.info),
        repr(rt.get_runtime_context()),
    ]
    shown += [repr(session.engine.query(q)) for q in ("nodes", "resources", "store", "prometheus")]
    try:
        hello(token).nothing  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError:
        shown.append(traceback.format_exc())
    captured = capfd.readouterr()
    shown += [captured.out, captured.err]
    for text in shown:
        assert token not in text
    files = [p for p in Path(session.info["session_dir"]).rglob("*") if p.is_file()]
    assert files
    for path in files:
        assert token.encode() not in path.read_bytes(), path
