"""Who is let in, as what, and what is done with what they send before that is clear: nothing."""

from __future__ import annotations

import ast
import hmac
import inspect
import os
import pickle
import socket
import time
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fanlight import config, ids
from fanlight import messages as m
from fanlight.core.model import W_IDLE, W_STARTING
from fanlight.node import admission, server
from fanlight.observe.client import Observer
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import codec, handshake
from fanlight.wire.failures import BadMessage
from fanlight.wire.framing import HANDSHAKE_LIMIT, FrameReader, frame
from tests.faults.support import DEADLINE, Driver, poll
from tests.security.fuzzing import Maker

ALLOWED = (m.Cancel, m.CancelGroups, m.KillActor, m.Query, m.Scale, m.Shutdown)


class _Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.fixture
def info(rt: Any) -> ConnectionInfo:
    connection: ConnectionInfo = rt.session.current().connection
    return connection


@pytest.fixture
def connect() -> Iterator[Callable[[str], socket.socket]]:
    made: list[socket.socket] = []

    def connect(path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.append(sock)
        sock.settimeout(DEADLINE)
        sock.connect(path)
        return sock

    yield connect
    for sock in made:
        sock.close()


def hello(token: str, role: str = "driver", client: bytes = b"", **info: str) -> m.Hello:
    return m.Hello(
        m.PROTOCOL_VERSION, token, role, os.getpid(), client or ids.new_client_id(), info
    )


def answer(sock: socket.socket, *messages: Any) -> list[Any]:
    """What is answered before the other side closes; a Welcome ends the waiting, too."""
    try:
        sock.sendall(b"".join(codec.encode([x]) for x in messages))
    except ConnectionError:
        pass
    found: list[Any] = []
    reader = FrameReader()
    while not any(isinstance(x, m.Welcome) for x in found):
        try:
            data = sock.recv(65536)
        except ConnectionError:
            return found
        if not data:
            return found
        found += [x for f in reader.feed(data) for x in codec.decode_handshake(f)]
    return found


def works(rt: Any) -> None:
    double = rt.remote(_double)
    assert rt.get([double.remote(i) for i in range(8)], timeout=DEADLINE) == [*range(0, 16, 2)]


def _double(x: int) -> int:
    return 2 * x


# --- roles ---------------------------------------------------------------------------------------


def test_observers_may_send_six_messages_and_nothing_else(rt: Any, info: ConnectionInfo) -> None:
    """All others, also those that are added one day, end the connection and do nothing."""
    make = Maker(1)
    assert server._FROM_OBSERVER == ALLOWED
    for cls in typing.get_args(m.FromClient):
        if cls in ALLOWED:
            continue
        observer = Observer(info, timeout=DEADLINE)
        while True:  # one whose fields the decoder takes
            data = codec.encode([make.struct(cls)])
            try:
                codec.decode_from_client(data[4:])
                break
            except Exception:
                continue
        observer._socket.sendall(data + codec.encode([m.Shutdown("evil")]))
        list(observer.payloads())  # it ends: the observer was dropped
        observer.close()
    works(rt)


def test_nobody_takes_the_place_of_another(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    """Neither with the id of a client that is there, nor with the number of a worker."""
    works(rt)
    mine = rt.session.current().client.id
    (refused,) = answer(connect(info.socket), hello(info.token, client=mine))
    assert refused == m.Refused("another process has this client id")
    for bad in (b"x", b"x" * 17):
        (refused,) = answer(connect(info.socket), hello(info.token, client=bad))
        assert isinstance(refused, m.Refused)
    for number in ("0", "1", "2", "3", "99", "-1", "x", "", "1e3", "9" * 3000):
        assert answer(connect(info.socket), hello(info.token, "worker", number=number)) == []
    assert answer(connect(info.socket), hello(info.token, "worker")) == []
    works(rt)
    rt.get(rt.put(bytes(1_000_000)))  # what this driver writes was not taken for a dead one's


def test_only_a_child_of_the_zygote_is_a_worker() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        expected = SimpleNamespace(state=W_STARTING, peer=0)
        core: Any = SimpleNamespace(workers={1: expected})
        connection: Any = SimpleNamespace(sock=ours)
        right = hello("t", "worker", number="1")
        assert admission.worker_number(right, connection, core, os.getppid()) == 1
        with pytest.raises(ValueError, match="no worker of this runtime"):
            admission.worker_number(right, connection, core, os.getpid())  # not our child
        with pytest.raises(ValueError, match="no worker of this runtime"):
            right.pid += 1  # it says that it is somebody else
            admission.worker_number(right, connection, core, os.getppid())
        for state, peer in ((W_IDLE, 0), (W_STARTING, 7)):
            expected.state, expected.peer = state, peer
            with pytest.raises(ValueError, match="is expected"):
                admission.worker_number(right, connection, core, os.getppid())


# --- before the token ----------------------------------------------------------------------------


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", spy)
    for token, refused in (("right", False), ("wrong", True), ("", True)):
        problem = handshake.refusal(hello(token), "right", ("driver",))
        assert problem == ("wrong token" if refused else "")
    # Role and version are not looked at before: nobody learns from them.
    assert handshake.refusal(hello("wrong", "nobody"), "right", ("driver",)) == "wrong token"
    assert compared == [(t, b"right") for t in (b"right", b"wrong", b"", b"wrong")]
    for node in ast.walk(ast.parse(inspect.getsource(handshake))):
        if isinstance(node, ast.Compare):
            assert "token" not in ast.unparse(node), "compared in another way"


def test_a_hello_that_is_too_long_or_too_slow(rt: Any, info: ConnectionInfo, connect: Any) -> None:
    """The first is dropped at its header, the second when its time is up, however busy it seems."""
    assert HANDSHAKE_LIMIT <= 4096
    assert config.HANDSHAKE_SECONDS <= 5.0
    long = connect(info.socket)
    long.sendall((HANDSHAKE_LIMIT + 1).to_bytes(4, "little"))
    assert long.recv(1) == b""
    slow = connect(info.socket)
    data = codec.encode([hello(info.token, padding="x" * 2000)])
    started = time.monotonic()
    dropped = False
    for i in range(len(data) - 1):
        try:
            slow.sendall(data[i : i + 1])
        except ConnectionError:
            dropped = True
            break
        time.sleep(0.02)
    assert dropped
    assert time.monotonic() - started >= config.HANDSHAKE_SECONDS * 0.9
    works(rt)


@pytest.mark.parametrize("key", ["a b", "x\nstop", "x\nkill 1", "", "../x", "é", "k\n", "x" * 65])
def test_what_clients_name_is_no_line_of_the_zygotes(key: str) -> None:
    """The node tells the zygote in lines of words what to start and to kill; names of environments
    are words in them."""
    define = m.DefineEnvironment("e" * 24, b"{}")
    assert codec.decode_from_client(codec.encode([define])[4:]) == [define]
    define.key = key
    with pytest.raises(BadMessage):
        codec.decode_from_client(codec.encode([define])[4:])


# --- an actor's own door -------------------------------------------------------------------------


class Doubler:
    def double(self, x: int) -> int:
        return 2 * x


def actor_with_a_door(rt: Any) -> tuple[Any, str]:
    """An actor that accepts channels, and where."""
    actor = rt.remote(Doubler).remote()
    folder = Path(rt.session.current().info["session_dir"])

    def door() -> Path | None:
        rt.get([actor.double.remote(i) for i in range(4)], timeout=DEADLINE)
        return next((p for p in folder.glob("a[0-9]*") if p.is_socket()), None)

    found = poll(door)
    assert found
    return actor, str(found)


def test_an_actors_door(rt: Any, info: ConnectionInfo, connect: Any, tmp_path: Path) -> None:
    """The same there: no token, no word; and nothing is unpickled for who has not proved it."""
    actor, door = actor_with_a_door(rt)
    bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
    task = ids.new_client_id() + bytes(8)
    work = [
        m.DefineSpec(1, m.TaskSpec(m.ACTOR_CALL, b"", "d", {}, method="double")),
        m.Call(task, 1, bomb),
    ]
    for first in (
        [hello("")], [hello(info.token[:-1])], [hello(info.token + "x")], [hello(info.token, "observer")],
        [hello(info.token, "worker ")], [m.Welcome({})], [],
    ):  # fmt: skip
        sock = connect(door)
        found = answer(sock, *first, *work)
        assert not any(isinstance(x, m.Welcome) for x in found), first
    both = connect(door)
    both.sendall(codec.encode([hello(info.token), hello(info.token)]))
    assert not any(isinstance(x, m.Call) for x in answer(both))
    for data in (
        (HANDSHAKE_LIMIT + 1).to_bytes(4, "little"), frame(b"\xc1"), frame(b"\x91" * 4000), b"\xff" * 64,
    ):  # fmt: skip
        sock = connect(door)
        sock.sendall(data)
        assert b"".join(iter(lambda sock=sock: sock.recv(4096), b"")) == b"" or True
    # A caller that has the token, and calls what it has not defined, is dropped.
    sock = connect(door)
    assert isinstance(answer(sock, hello(info.token))[0], m.Welcome)
    assert answer(sock, work[1]) == []
    assert rt.get(actor.double.remote(4), timeout=DEADLINE) == 8
    assert not (tmp_path / "exploded").exists()


# --- nothing is unpickled ------------------------------------------------------------------------

_HOOK = """
import os, sys
_log = os.environ["FANLIGHT_TEST_PICKLES"]

def _hook(event, args):
    if event == "pickle.find_class":
        fd = os.open(_log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(fd, f"{os.getpid()} {args[0]}.{args[1]}\\n".encode())
        os.close(fd)

sys.addaudithook(_hook)
"""


def test_neither_node_nor_zygote_ever_unpickle(
    driver: Callable[..., Driver], tmp_path: Path, connect: Any
) -> None:
    """Python itself says which processes load a class from a pickle: all but these two."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(_HOOK)
    log = tmp_path / "pickles"
    one = driver(
        """
        import decimal
        from fanlight import ids, messages as m
        started(runtime_env={"env_vars": {"A": "1"}})
        info = fanlight.session.current().connection

        class Odd(Exception):
            pass

        @fanlight.remote(retry_exceptions=[Odd], max_retries=1)
        def task(x):
            if x == 3:
                raise Odd(decimal.Decimal(3))
            return decimal.Decimal(x)

        @fanlight.remote
        def items():
            yield decimal.Decimal(1)

        @fanlight.remote
        class Actor:
            def method(self, x):
                return decimal.Decimal(x)

        assert fanlight.get([task.remote(decimal.Decimal(i)) for i in range(3)]) == [0, 1, 2]
        try:
            fanlight.get(task.remote(3))
        except Odd:
            pass
        actor = Actor.options(name="named").remote()
        assert fanlight.get([actor.method.remote(decimal.Decimal(i)) for i in range(9)])[8] == 8
        assert fanlight.get(fanlight.get_actor("named").method.remote(1)) == 1
        assert [fanlight.get(ref) for ref in items.remote()] == [1]
        ref = fanlight.put([decimal.Decimal(5)] * 100_000)
        assert fanlight.get(task.remote(1), timeout=60) == 1
        say("door", info.socket, info.token)
        sys.stdin.readline()
        check()
        fanlight.shutdown()
        say("done")
        """,
        PYTHONPATH=os.pathsep.join([str(tmp_path / "hook"), os.environ.get("PYTHONPATH", "")]),
        FANLIGHT_TEST_PICKLES=str(log),
    )
    runtime = one.up()
    node, zygote = runtime.node.pid, runtime.zygote().pid
    workers = {p.pid for p in runtime.zygote().children()}
    path, token = one.hear("door")
    # A client that puts a bomb into every place that takes bytes.
    bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
    make = Maker(2)
    make.bytes = [bomb]
    make.words = ["x", bomb.decode("latin1")]
    for cls in typing.get_args(m.FromClient):
        if cls in (m.Shutdown, m.Submit, m.CreateActor):
            continue  # the one ends the node; of the others workers would unpickle what was sent
        sock = connect(path)
        assert isinstance(answer(sock, hello(token))[0], m.Welcome)
        sock.sendall(b"".join(codec.encode([make.struct(cls)]) for _ in range(5)))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    one.tell()
    one.hear("done")
    assert one.wait() == 0, one.output()
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    pids = {int(pid) for pid, _ in lines}
    assert one.process.pid in pids, "the hook works in the driver"
    assert pids & workers or pids - {one.process.pid}, "and in workers"
    assert not pids & {node, zygote}, [line for line in lines if int(line[0]) in (node, zygote)]
    assert not (tmp_path / "exploded").exists()
