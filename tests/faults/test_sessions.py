"""The places where sessions live: what dead runtimes left, and what must not be trusted."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fanlight
from fanlight import config
from fanlight.node import boot
from fanlight.observe import discover
from tests import leaks
from tests.faults.support import Driver, assert_gone


@pytest.fixture
def folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> Iterator[tuple[Path, Path]]:
    """Sessions and segments of this process are kept under private directories."""
    fanlight.shutdown()
    home = Path("/tmp") / f"flt{os.getpid()}"  # short: a socket's path is bounded
    home.mkdir()
    monkeypatch.setattr(config, "socket_dir", lambda: home / "s")
    monkeypatch.setattr(config, "segment_root", lambda: tmp_path / "segments")
    yield home / "s", tmp_path / "segments"
    fanlight.shutdown()
    subprocess.run(["rm", "-rf", str(home)], check=True)


def works() -> None:
    fanlight.init(num_cpus=1, log_to_driver=False)
    assert fanlight.get(fanlight.remote(abs_).remote(-1)) == 1
    fanlight.shutdown()


def abs_(x: int) -> int:
    return abs(x)


def _stale(sessions: Path, segments: Path, name: str) -> discover.ConnectionInfo:
    """What a runtime leaves when the machine loses power."""
    session = sessions / name
    (session / "logs").mkdir(parents=True)
    (session / "lock").touch(0o600)
    (session / "node.sock").touch()
    (session / "logs" / "worker-1.log").write_text("x")
    (segments / name).mkdir(parents=True)
    (segments / name / "0123456789abcdef-1").write_bytes(bytes(10_000))
    info = discover.ConnectionInfo(
        version=1, runtime_id=name, name="stale", engine="local", pid=os.getpid(),
        socket=str(session / "node.sock"), token="x", session_dir=str(session), created=1.0,
    )  # fmt: skip
    discover.write(info)
    return info


def test_stale_sessions_are_swept(folders: tuple[Path, Path], before: leaks.Snapshot) -> None:
    sessions, segments = folders
    for name in ("dead1", "dead2"):
        _stale(sessions, segments, name)
    (sessions / "nolock").mkdir()  # died before it made its lock
    (segments / "orphan").mkdir()  # its session is gone
    (segments / "orphan" / "segment").touch()
    works()
    assert not list(sessions.iterdir())
    assert not list(segments.iterdir())
    assert_gone(before)


def test_files_cut_short_by_a_power_cut_are_swept(
    folders: tuple[Path, Path], before: leaks.Snapshot
) -> None:
    """Half a connection file, and one that was never renamed. But not what another version wrote,
    nor what somebody is writing just now."""
    sessions, segments = folders
    info = _stale(sessions, segments, "dead")
    whole = msgspec.json.encode(info)
    place = discover.connection_dir()
    old = {
        "half.json": whole[: len(whole) // 2],
        "empty.json": b"",
        ".gone.json.tmp": whole[:20],
        "future.json": b'{"version": 99}',
        "notes.txt": b"mine",
    }
    for name, data in old.items():
        (place / name).write_bytes(data)
        os.utime(place / name, (1e9, 1e9))
    (place / ".fresh.json.tmp").write_bytes(b"{")
    (place / "link.json").symlink_to(place / "notes.txt")
    try:
        works()
        left = {p.name for p in place.iterdir()}
        assert left == {"future.json", "notes.txt", ".fresh.json.tmp", "link.json"}
    finally:
        for name in [*old, ".fresh.json.tmp", "link.json"]:
            (place / name).unlink(missing_ok=True)
    assert_gone(before)


def test_a_reused_pid_makes_no_runtime_of_a_dead_one(folders: tuple[Path, Path]) -> None:
    """The panel does not list it, and ``init("auto")`` does not try it; its pid is this process's."""
    _stale(*folders, "dead")
    assert not discover.runtimes()
    with pytest.raises(ConnectionError, match="No runtime answers"):
        fanlight.init("auto")
    works()
    assert not list(folders[0].iterdir())


@pytest.mark.line("OBS.5")
def test_the_latest_session_has_a_link(folders: tuple[Path, Path], before: leaks.Snapshot) -> None:
    link = folders[0] / "session_latest"
    link.parent.mkdir(mode=0o700)
    link.symlink_to("gone")
    fanlight.init(num_cpus=1, log_to_driver=False)
    first = fanlight.session.require().info["session_dir"]
    assert os.path.realpath(link) == first
    code = (
        "import sys; from pathlib import Path; from fanlight import config; import fanlight\n"
        f"config.socket_dir = lambda: Path({str(folders[0])!r})\n"
        "fanlight.init(num_cpus=1)\n"
        "print(fanlight.session.require().info['session_dir'])\n"
        "sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        second = other.stdout.readline().decode().strip()
        assert os.path.realpath(link) == second != first
        fanlight.shutdown()
        assert link.exists(), "it is not ours any more"
        other.communicate()
    assert not link.is_symlink()
    assert_gone(before)


def test_temp_dir_is_honoured(
    folders: tuple[Path, Path], tmp_path: Path, before: leaks.Snapshot
) -> None:
    place = Path("/tmp") / f"flt{os.getpid()}" / "other"
    fanlight.init(num_cpus=1, log_to_driver=False, _temp_dir=str(place))
    assert fanlight.get(fanlight.remote(abs_).remote(-1)) == 1
    session = Path(fanlight.session.require().info["session_dir"])
    assert session.parent.parent == place and (session / "logs").is_dir()
    assert place.stat().st_mode & 0o077 == 0
    assert [r.session_dir for r in discover.runtimes()] == [str(session)]
    fanlight.shutdown()
    stale = session.parent / "dead"  # what is left there is swept by the next one that goes there
    stale.mkdir()
    fanlight.init(num_cpus=1, log_to_driver=False, _temp_dir=place)
    assert not stale.exists()
    with pytest.raises(ValueError, match="_temp_dir must not be provided"):
        fanlight.shutdown()
        fanlight.init("auto", _temp_dir=str(place))
    with pytest.raises(fanlight.errors.UnsupportedError, match=r"engine='inproc'.*_temp_dir"):
        fanlight.init(engine="inproc", _temp_dir=str(place))
    with pytest.raises(TypeError, match="_temp_dir"):
        fanlight.init(_temp_dir=1)
    with pytest.raises(OSError, match="_temp_dir"):
        fanlight.init(_temp_dir=str(tmp_path / ("x" * 90)))
    assert_gone(before)


def test_live_sessions_are_not_swept(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those of this temporary directory nor those of another, with shared segments."""
    sessions, _ = folders
    fanlight.init(num_cpus=1, log_to_driver=False)
    ref = fanlight.put(bytes(1_000_000))
    boot.choose_dirs("another")
    monkeypatch.setattr(config, "socket_dir", lambda: sessions.parent / "t")
    boot.choose_dirs("another")
    monkeypatch.setattr(config, "socket_dir", lambda: sessions)
    assert fanlight.get(ref) == bytes(1_000_000)
    assert fanlight.get(fanlight.remote(abs_).remote(-1)) == 1
    assert fanlight.session.current().connection is not None


@pytest.mark.long
def test_sessions_that_start_at_once(folders: tuple[Path, Path], before: leaks.Snapshot) -> None:
    """One's sweep does not take the other's fresh directories for stale ones."""
    _, segments = folders
    script = (
        "import sys; from pathlib import Path; from fanlight import config; import fanlight\n"
        f"config.socket_dir = lambda: Path({str(folders[0])!r})\n"
        f"config.segment_root = lambda: Path({str(segments)!r})\n"
        "for _ in range(4):\n"
        "    fanlight.init(num_cpus=1)\n"
        "    assert fanlight.get(fanlight.put(bytes(300_000))) == bytes(300_000)\n"
        "    fanlight.shutdown()\n"
    )
    many = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(4)]
    assert [p.wait(50) for p in many] == [0] * 4
    assert_gone(before)


@pytest.mark.parametrize("which", [0, 1], ids=["sessions", "segments"])
@pytest.mark.parametrize("how", ["symlink", "file", "foreign"])
def test_a_directory_of_somebody_else_is_refused(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    before: leaks.Snapshot, how: str, which: int
) -> None:  # fmt: skip
    victim = tmp_path / "victim"
    (victim / "precious").mkdir(parents=True)
    folder = folders[which]
    if how == "symlink":
        folder.symlink_to(victim)
    elif how == "file":
        folder.touch()
    else:
        folder.mkdir()
        (folder / "precious").mkdir()
        uid = os.getuid()
        monkeypatch.setattr(boot.os, "getuid", lambda: uid + 1)
    with pytest.raises(PermissionError, match="not a directory of yours"):
        fanlight.init(num_cpus=1)
    monkeypatch.undo()
    assert (victim / "precious").exists(), "what a link points to was swept"
    if how == "foreign":
        assert (folder / "precious").exists()
    assert not fanlight.is_initialized()
    assert_gone(before)


def test_a_directory_that_others_can_enter_is_closed(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    works()
    assert [f.stat().st_mode & 0o777 for f in folders] == [0o700, 0o700]


def test_a_path_too_long_for_a_socket(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    before: leaks.Snapshot,
) -> None:  # fmt: skip
    long = tmp_path / ("x" * 90)
    monkeypatch.setattr(config, "socket_dir", lambda: long)
    with pytest.raises(OSError, match="TMPDIR") as info:
        fanlight.init(num_cpus=1)
    assert info.value.errno == errno.ENAMETOOLONG
    assert_gone(before)
    monkeypatch.undo()
    works()


def test_without_shared_memory_segments_live_in_the_session(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, before: leaks.Snapshot
) -> None:
    monkeypatch.setattr(config, "segment_root", config.socket_dir)
    fanlight.init(num_cpus=1, log_to_driver=False)
    assert fanlight.get(fanlight.put(bytes(1_000_000))) == bytes(1_000_000)
    boot.choose_dirs("another")  # sweeps
    assert fanlight.get(fanlight.put(bytes(1_000_000))) == bytes(1_000_000)
    fanlight.shutdown()
    assert not list(folders[0].iterdir())
    assert_gone(before)


def test_a_node_that_cannot_start_says_why(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, before: leaks.Snapshot
) -> None:
    encode = msgspec.msgpack.encode
    monkeypatch.setattr(
        "fanlight.engines.launch.msgspec.msgpack.encode", lambda x: encode({"bad": 1})
    )
    with pytest.raises(fanlight.errors.RuntimeLostError, match="could not be started"):
        fanlight.init(num_cpus=1)
    monkeypatch.undo()
    assert_gone(before)


def test_files_are_private(folders: tuple[Path, Path]) -> None:
    """Nobody else can read the token, reach the socket or see the segments."""
    fanlight.init(num_cpus=1, log_to_driver=False)
    kept: Any = fanlight.put(bytes(1_000_000))
    session: Any = fanlight.session.current()
    connection = session.connection
    assert connection is not None
    path = discover.connection_dir() / f"{session.runtime_id}.json"
    assert path.stat().st_mode & 0o077 == 0
    for folder in (session.info["session_dir"], session.info["segment_dir"]):
        assert os.stat(folder).st_mode & 0o077 == 0
        for entry in Path(folder).rglob("*"):
            assert entry.stat().st_mode & 0o077 == 0, entry
    for process in (session.node_pid, os.getpid()):
        cmdline = Path(f"/proc/{process}/cmdline").read_bytes()
        assert connection.token.encode() not in cmdline
    del kept


def test_driver_with_a_long_tmpdir(driver: Any, before: leaks.Snapshot, tmp_path: Path) -> None:
    long = tmp_path / ("y" * 100)
    long.mkdir()
    one: Driver = driver(
        """
        try:
            started()
        except OSError as e:
            assert "TMPDIR" in str(e), e
            say("refused")
        """,
        TMPDIR=str(long),
    )
    one.hear("refused")
    assert one.wait() == 0, one.output()
    assert_gone(before)
