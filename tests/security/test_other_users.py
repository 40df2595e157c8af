"""Another user of the same machine: gets at nothing, and is believed nothing."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanlight import ids
from fanlight import messages as m
from fanlight.engines.local import LocalEngine
from fanlight.observe import discover
from fanlight.observe.client import Observer
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import codec
from fanlight.wire.failures import HandshakeRefused
from tests import leaks
from tests.faults.support import Driver, Runtime, assert_gone
from tests.security.intruder import ROOT, STRANGER, as_stranger, attempts, everything_below

as_root = pytest.mark.skipif(not ROOT, reason="only root can become another user")

# A runtime with all that there is of one, started with the umask that hides least.
_BUSY = """
    os.umask(0)

    @fanlight.remote
    class Counter:
        def add(self, x):
            print("a line for the logs")
            return x

    started(log_to_driver=True, object_store_memory=8_000_000)
    check()
    counter = Counter.remote()
    for i in range(50):  # from the second call on, over a channel
        assert fanlight.get(counter.add.remote(i)) == i
    kept = [fanlight.put(bytes(3_000_000)) for _ in range(6)]  # more than there is room for
    session = fanlight.session.current()
    import re
    while not any(re.fullmatch("a[0-9]+", n) for n in os.listdir(session.info["session_dir"])):
        fanlight.get(counter.add.remote(0))
    say("busy", session.connection.token)
    sys.stdin.readline()
    assert fanlight.get(counter.add.remote(1)) == 1
    check()
    fanlight.shutdown()
    say("done")
"""


def busy(driver: Callable[..., Driver], base: Path) -> tuple[Driver, Runtime, ConnectionInfo]:
    """The runtime, in a temporary directory that everybody can look into."""
    jupyter = base / "jupyter"
    one = driver(_BUSY, TMPDIR=str(base), JUPYTER_RUNTIME_DIR=str(jupyter))
    runtime = one.up()
    runtime.session = base / f"fanlight-{os.getuid()}" / runtime.id
    runtime.connection = jupyter / "fanlight" / f"{runtime.id}.json"
    (token,) = one.hear("busy")
    runtime.look()
    jupyter.chmod(0o755)  # else nobody would even get near
    info = ConnectionInfo(
        m.PROTOCOL_VERSION, runtime.id, "busy", "local", runtime.node.pid,
        str(runtime.session / "node.sock"), token, str(runtime.session), 1.0,
    )  # fmt: skip
    return one, runtime, info


def end(one: Driver, runtime: Runtime, before: leaks.Snapshot) -> None:
    one.tell()
    one.hear("done")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


def test_nothing_is_open_to_others(
    driver: Callable[..., Driver], base: Path, before: leaks.Snapshot
) -> None:
    one, runtime, info = busy(driver, base)
    folders = (runtime.session, runtime.segments, runtime.connection.parent)
    places = [*(str(f.parent) for f in folders[:2]), *everything_below(*folders)]
    assert sum(Path(path).is_socket() for path in places) >= 2, "no actor's socket"
    assert str(runtime.connection) in places
    for folder in (runtime.segments, runtime.session / "spill"):
        assert any(folder in Path(path).parents for path in places), f"nothing in {folder}"
    assert any(path.endswith(".out") for path in places), "no log"
    for path in places:
        facts = os.lstat(path)
        assert facts.st_uid == os.getuid(), path
        assert stat.S_IMODE(facts.st_mode) & 0o077 == 0, path
    processes = [
        runtime.node,
        *runtime.node.children(recursive=True),
        psutil.Process(one.process.pid),
    ]
    assert len(processes) >= 4
    for process in processes:
        assert info.token not in " ".join(process.cmdline())
        if process.pid != one.process.pid:
            assert info.token not in str(process.environ())
    if ROOT:
        pids = [p.pid for p in processes]
        # Parents that everybody may enter are no protection: what is in them must be closed itself.
        assert as_stranger(lambda: os.listdir(base)), "the stranger can do nothing at all"
        assert as_stranger(lambda: attempts(places, pids)) == []
        seen = as_stranger(lambda: [Path(f"/proc/{p}/cmdline").read_bytes().hex() for p in pids])
        assert info.token.encode().hex() not in "".join(seen)
    end(one, runtime, before)


@as_root
def test_the_system_is_asked_who_connects(
    driver: Callable[..., Driver], base: Path, before: leaks.Snapshot
) -> None:
    """Even with all modes wide open, and with the right token, a stranger is not let in."""
    one, runtime, info = busy(driver, base)
    doors = [p for p in runtime.session.iterdir() if stat.S_ISSOCK(p.lstat().st_mode)]
    assert len(doors) >= 2, "the node's, and an actor's"
    runtime.session.parent.chmod(0o755)
    runtime.session.chmod(0o755)
    for door in doors:
        door.chmod(0o666)
    hello = codec.encode(
        [m.Hello(m.PROTOCOL_VERSION, info.token, "driver", 1, ids.new_client_id())]
    )

    def knock() -> list[Any]:
        heard = []
        for door in doors:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(30)
                sock.connect(str(door))
                data = b""
                try:
                    sock.sendall(hello + codec.encode([m.Shutdown("evil")]))
                    while more := sock.recv(4096):
                        data += more
                except ConnectionError:
                    pass
                heard.append(data.hex())
        return heard

    assert as_stranger(knock) == [""] * len(doors)
    end(one, runtime, before)


class _Trap:
    """A socket of another user that takes what it is sent."""

    def __init__(self, path: Path) -> None:
        self.received = b""
        self._read, write = os.pipe()
        ready, said = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setgroups([])
                os.setgid(STRANGER)
                os.setuid(STRANGER)
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listener.bind(str(path))
                os.chmod(path, 0o666)
                listener.listen()
                os.write(said, b"x")
                while True:
                    sock, _ = listener.accept()
                    while data := sock.recv(4096):
                        os.write(write, data)
            finally:
                os._exit(0)
        os.close(write)
        os.close(said)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while data := os.read(self._read, 4096):
            self.received += data

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        self._thread.join()
        os.close(self._read)


@as_root
def test_a_strangers_socket_gets_no_token(base: Path) -> None:
    trap = _Trap(base / "trap.sock")
    info = ConnectionInfo(
        m.PROTOCOL_VERSION, "trap", "trap", "local", trap.pid, str(base / "trap.sock"), "secret",
        str(base), 1.0,
    )  # fmt: skip
    try:
        with pytest.raises(HandshakeRefused, match="another user"):
            Observer(info)
        with pytest.raises(ConnectionError, match="another user"):
            LocalEngine.attach(info, {})
    finally:
        trap.close()
    assert trap.received == b""


@pytest.fixture
def connection_dir(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(base / "jupyter"))
    return discover.connection_dir()


def _info(base: Path, **changes: Any) -> dict[str, Any]:
    return {
        "version": 1, "runtime_id": "planted", "name": "planted", "engine": "local",
        "pid": os.getpid(), "socket": str(base / "s"), "token": "t", "session_dir": str(base),
        "created": 1.0,
    } | changes  # fmt: skip


PLANTED: dict[str, dict[str, Any]] = {
    "another name": {"runtime_id": "other"},
    "slashes": {"runtime_id": "../../victim"},
    "a relative socket": {"socket": "s"},
    "a socket elsewhere": {"socket": "/tmp/x/../../etc/s"},
    "a relative session": {"session_dir": "."},
    "no process": {"pid": 0},
    "all processes": {"pid": -1},
    "a path with a zero byte": {"socket": "/tmp/a\0b"},
    "a wrong type": {"token": 3},
    "deep": {"kernel_ids": 1},
}


@pytest.mark.parametrize("how", PLANTED)
def test_connection_files_that_no_node_wrote(base: Path, connection_dir: Path, how: str) -> None:
    """They are neither believed nor acted upon: what they name is not removed, nor signalled."""
    import json

    connection_dir.mkdir(parents=True, mode=0o700)
    victim = base / "victim.json"
    victim.write_text("precious")
    right = connection_dir / "planted.json"
    right.write_text(json.dumps(_info(base)))
    assert [i.runtime_id for i in discover.runtimes()] == ["planted"], "the file is right otherwise"
    right.write_text(json.dumps(_info(base, **PLANTED[how])))
    assert discover.runtimes() == []
    assert discover.find("planted") is None
    discover.sweep()
    assert victim.read_text() == "precious"
    assert right.exists()


def test_connection_files_that_are_none(base: Path, connection_dir: Path) -> None:
    """A link, a pipe that nobody writes to, a directory, a huge file, somebody else's file."""
    import json

    connection_dir.mkdir(parents=True, mode=0o700)
    text = json.dumps(_info(base))
    (base / "elsewhere").write_text(text)
    (connection_dir / "planted.json").symlink_to(base / "elsewhere")
    assert discover.runtimes() == []
    os.mkfifo(connection_dir / "pipe.json")
    (connection_dir / "folder.json").mkdir()
    (connection_dir / "huge.json").write_text(
        json.dumps(_info(base, runtime_id="huge", name="x" * 70_000))
    )
    (connection_dir / "nested.json").write_text("[" * 50_000)
    assert discover.runtimes() == []
    (connection_dir / "planted.json").unlink()
    (connection_dir / "planted.json").write_text(text)
    assert len(discover.runtimes()) == 1
    if ROOT:
        os.chown(connection_dir / "planted.json", STRANGER, STRANGER)
        assert discover.runtimes() == []
        os.chown(connection_dir / "planted.json", 0, 0)
        os.chown(connection_dir, STRANGER, STRANGER)  # and a directory that is another user's
        assert discover.runtimes() == []
        with pytest.raises(PermissionError):
            discover.write(ConnectionInfo(**_info(base)))


def test_a_connection_file_is_not_written_through_a_link(base: Path, connection_dir: Path) -> None:
    connection_dir.mkdir(parents=True, mode=0o700)
    victim = base / "victim"
    victim.write_text("precious")
    (connection_dir / ".planted.json.tmp").symlink_to(victim)
    with pytest.raises(OSError):
        discover.write(ConnectionInfo(**_info(base)))
    assert victim.read_text() == "precious"


def test_directories_are_made_closed_whatever_the_umask_is(
    base: Path, connection_dir: Path
) -> None:
    old = os.umask(0)
    try:
        path = discover.write(ConnectionInfo(**_info(base)))
    finally:
        os.umask(old)
    for place in (path, path.parent, path.parent.parent):
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0, place
