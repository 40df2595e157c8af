"""Somebody was there first: directories of the names that a runtime wants, made by others."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fanlight
from fanlight import config, private
from fanlight.node import boot, spill_dirs
from tests import leaks
from tests.faults.support import poll
from tests.security.intruder import ROOT, STRANGER


@pytest.fixture
def tmp(base: Path, monkeypatch: pytest.MonkeyPatch, before: leaks.Snapshot) -> Iterator[Path]:
    """The temporary directory of this process and of what it starts."""
    fanlight.shutdown()
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    started.clear()
    yield base
    fanlight.shutdown()
    # Sessions of others who run now have their segments beside ours, and their sessions elsewhere.
    left = [x for x in leaks.left_since(before, seconds=0) if not x.startswith("file")]
    left += [str(path) for path in started if path.exists()]
    assert not left


def squat(path: Path, how: str, base: Path) -> None:
    """Take a name, as another user would."""
    if how == "symlink":
        (base / "elsewhere").mkdir(exist_ok=True)
        path.symlink_to(base / "elsewhere")
    elif how == "dangling":
        path.symlink_to(base / "nowhere")
    elif how == "file":
        path.touch()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    else:
        path.mkdir(mode=0o777)
        (path / "precious").mkdir()
        os.chown(path, STRANGER, STRANGER)


HOW = ["symlink", "dangling", "file", "pipe", "socket"] + ["foreign"] * ROOT


@pytest.mark.parametrize("how", HOW)
def test_a_name_that_is_taken_is_passed_over(tmp: Path, how: str) -> None:
    first = tmp / f"fanlight-{os.getuid()}"
    assert config.socket_dir() == first
    squat(first, how, tmp)
    assert config.socket_dir() == tmp / f"{first.name}.1"
    if how in ("symlink", "foreign"):
        session = start()
        assert Path(session).parent == tmp / f"{first.name}.1"
        fanlight.shutdown()
    if how == "foreign":
        assert (first / "precious").exists(), "somebody else's directory was swept"
        assert os.listdir(first) == ["precious"]
    if how == "symlink":
        assert os.listdir(tmp / "elsewhere") == []


def start() -> str:
    fanlight.init(num_cpus=1, log_to_driver=False)
    assert fanlight.get(fanlight.remote(abs_).remote(-1), timeout=60) == 1
    info = fanlight.session.current().info
    started.extend(Path(info[name]) for name in ("session_dir", "segment_dir"))
    folder: str = info["session_dir"]
    return folder


started: list[Path] = []  # directories of the runtimes of the test that runs


def abs_(x: int) -> int:
    return abs(x)


def test_shared_memory_has_other_names_too(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp / f"fanlight-{os.getuid()}"
    squat(first, "file", tmp)
    assert private.place(tmp) == tmp / f"{first.name}.1"
    (tmp / f"{first.name}.1").mkdir()
    assert private.place(tmp) == tmp / f"{first.name}.1"  # ours: it stays the place


def test_all_names_are_taken(tmp: Path) -> None:
    first = tmp / f"fanlight-{os.getuid()}"
    for number in range(10):
        squat(first.with_name(f"{first.name}.{number}") if number else first, "symlink", tmp)
    with pytest.raises(PermissionError, match=r"not a directory of yours.*TMPDIR"):
        start()
    assert os.listdir(tmp / "elsewhere") == []


def test_a_directory_of_ours_that_was_open_is_closed(tmp: Path) -> None:
    """What others had put there meanwhile is not used, and links in it are not followed."""
    place = config.socket_dir()
    place.mkdir()
    place.chmod(0o777)
    victim = tmp / "victim"
    (victim / "precious").mkdir(parents=True)
    (place / "link").symlink_to(victim)
    (place / "planted").mkdir()
    (place / "planted" / "lock").symlink_to(victim)
    os.mkfifo(place / "pipe")
    start()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert (victim / "precious").exists()


@pytest.fixture
def company(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are other users, as on most machines, and as in few containers."""
    monkeypatch.setattr(private, "_alone", lambda: False)


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    ("mode", "owner", "text"),
    [
        (0o777, 0, "no sticky bit"),
        (0o1777, 0, ""),
        (0o755, 0, ""),
        (0o1777, STRANGER, "another user"),
        (0o755, STRANGER, "another user"),
    ],
)
def test_a_temporary_directory_in_which_others_can_replace_ours(
    tmp: Path, mode: int, owner: int, text: str
) -> None:
    if owner and not ROOT:
        pytest.skip("only root can give a directory away")
    tmp.chmod(mode)
    if owner:
        os.chown(tmp, owner, owner)
    try:
        if text:
            with pytest.raises(PermissionError, match=text):
                start()
        else:
            private.make(config.socket_dir())
    finally:
        fanlight.shutdown()
        if owner:
            os.chown(tmp, 0, 0)


@pytest.mark.skipif(not ROOT, reason="only root can give a directory away")
def test_a_group_that_may_write(tmp: Path, company: None) -> None:
    os.chown(tmp, 0, STRANGER)
    tmp.chmod(0o770)
    with pytest.raises(PermissionError, match="group"):
        private.make(config.socket_dir())
    tmp.chmod(0o1770)
    private.make(config.socket_dir())


def test_spilled_objects_are_not_where_others_can_replace_them(tmp: Path, company: None) -> None:
    """They are unpickled when they come back."""
    folder = tmp / "spill"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ValueError, match="no sticky bit"):
        spill_dirs.choose("id", tmp, str(folder))
    folder.chmod(0o1777)
    assert spill_dirs.choose("id", tmp, str(folder)) == folder / "fanlight-id"
    old = os.umask(0)
    try:
        assert spill_dirs.choose("id", tmp, str(tmp / "a" / "b")) == tmp / "a" / "b" / "fanlight-id"
    finally:
        os.umask(old)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (tmp / "a", tmp / "a" / "b")] == [0o700, 0o700]


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_nobody_else_is_there(tmp: Path) -> None:
    """A directory for everybody is no danger in a container with one user."""
    tmp.chmod(0o777)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write)
            os.setuid(STRANGER)
            os.read(read, 1)
        finally:
            os._exit(0)
    os.close(read)
    uid = f"/proc/{pid}"
    assert poll(lambda: os.stat(uid).st_uid == STRANGER)
    try:
        assert not private._alone()
        assert private.replaceable(tmp)
    finally:
        os.close(write)
        os.waitpid(pid, 0)
    others = [p for p in os.listdir("/proc") if p.isdigit() and _uid(p) not in (0, None)]
    assert private._alone() == (not others)
    assert bool(private.replaceable(tmp)) == bool(others)


def _uid(pid: str) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


@pytest.mark.skipif(not ROOT, reason="only root can make directories of others")
def test_sweeping_leaves_alone_what_others_have_put_into_ours(tmp: Path) -> None:
    """A session that somebody planted says where its spilled objects are: that is not believed."""
    place = config.socket_dir()
    place.mkdir()
    victim = tmp / spill_dirs._name("planted")
    victim.mkdir()
    (place / "planted").mkdir()
    (place / "planted" / spill_dirs._NOTE).write_text(str(victim))
    os.chown(place / "planted", STRANGER, STRANGER)
    boot.sweep(place, tmp / "segments")
    assert victim.exists()
    os.chown(place / "planted", 0, 0)
    boot.sweep(place, tmp / "segments")
    assert not victim.exists(), "the same, of ours"


def test_a_directory_is_exchanged_while_it_is_checked(
    tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a name and its use: what is used is what was opened, never a link."""
    victim = tmp / "victim"
    victim.mkdir(mode=0o755)
    place = tmp / "place"

    def exchanged(path: Any, mode: int = 0o777, **more: Any) -> None:
        Path(path).symlink_to(victim)

    monkeypatch.setattr(Path, "mkdir", exchanged)
    with pytest.raises(PermissionError):
        private.make(place)
    monkeypatch.undo()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755
