"""Files of spilled objects: written, checked, brought back; and the directories that they lie in."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fanlight.core.effects import Restore, Restored, Spill, Spilled
from fanlight.node import spill_dirs
from fanlight.node.spiller import Spiller
from fanlight.store import files

ID = "0123456789abcdef"
DATA = os.urandom(3 * files._CHUNK + 17)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "segment"
    path.write_bytes(DATA + b"what a larger object had left")
    return path


# --- files ---------------------------------------------------------------------------------------


def test_there_and_back(segment: Path, disk: Path, tmp_path: Path) -> None:
    files.spill(segment, disk, "@1", len(DATA))
    (file,) = disk.iterdir()
    assert file.read_bytes()[files.HEADER :] == DATA and file.stat().st_mode & 0o777 == 0o600
    files.restore(disk, "@1", tmp_path / "back", len(DATA))
    assert (tmp_path / "back").read_bytes() == DATA
    files.restore(disk, "@1", None, len(DATA))  # it is as it should be


def test_an_object_of_several_pieces(disk: Path) -> None:
    files.create(disk, "@2", len(DATA), [DATA[:5], memoryview(DATA)[5:]])
    files.restore(disk, "@2", None, len(DATA))
    with pytest.raises(files.Unreadable):
        files.restore(disk, "@2", None, len(DATA) - 1)


@pytest.mark.parametrize("at", [0, 3, 5, 9, 17, 20, 63, 64, files._CHUNK + 70, -1])
def test_every_byte_counts(segment: Path, disk: Path, tmp_path: Path, at: int) -> None:
    files.spill(segment, disk, "@1", len(DATA))
    content = bytearray((disk / "@1").read_bytes())
    content[at] ^= 1
    (disk / "@1").write_bytes(content)
    for target in (None, tmp_path / "back"):
        with pytest.raises(files.Unreadable, match="damaged"):
            files.restore(disk, "@1", target, len(DATA))
    assert not (tmp_path / "back").exists()


def test_what_is_cut_short_or_gone(segment: Path, disk: Path) -> None:
    with pytest.raises(files.Unreadable, match="shared memory was cut short"):
        files.spill(segment, disk, "@1", 10 * len(DATA))
    with pytest.raises(files.Unreadable, match="shared memory was deleted"):
        files.spill(disk / "none", disk, "@1", 5)
    assert not list(disk.iterdir())
    files.spill(segment, disk, "@1", len(DATA))
    os.truncate(disk / "@1", 1000)
    with pytest.raises(files.Unreadable, match="disk was cut short"):
        files.restore(disk, "@1", None, len(DATA))
    os.unlink(disk / "@1")
    with pytest.raises(files.Unreadable, match="disk was deleted"):
        files.restore(disk, "@1", None, len(DATA))


def test_links_are_not_followed(segment: Path, disk: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (disk / "@1.part").symlink_to(victim)
    (disk / "@2").symlink_to(victim)
    with pytest.raises(OSError):
        files.spill(segment, disk, "@1", len(DATA))
    with pytest.raises(OSError):
        files.create(disk, "@2", 4, [b"evil"])
    with pytest.raises(OSError):
        files.restore(disk, "@2", None, 4)
    assert victim.read_text() == "mine"


def test_stopped_half_way(segment: Path, disk: Path) -> None:
    going = iter([True, True, False])
    with pytest.raises(files.Stopped):
        files.spill(segment, disk, "@1", len(DATA), lambda: next(going))
    assert not list(disk.iterdir())


def test_a_disk_that_is_nearly_full(
    segment: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = SimpleNamespace(f_blocks=1000, f_bfree=200, f_bavail=100, f_frsize=1 << 20)
    monkeypatch.setattr(os, "statvfs", lambda path: facts)
    files.check_room(disk, 50 << 20)  # 800 of 900 are used, 855 is the limit
    with pytest.raises(OSError, match=r"88\.9 % full, and would be more than 95 % full") as info:
        files.spill(segment, disk, "@1", 60 << 20)
    assert info.value.errno == errno.ENOSPC and not list(disk.iterdir())
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "1.0")
    files.check_room(disk, 60 << 20)
    monkeypatch.setenv("FANLIGHT_local_fs_capacity_threshold", "0.5")
    with pytest.raises(OSError):
        files.check_room(disk, 1)


# --- the node's threads --------------------------------------------------------------------------


def answers(spiller: Spiller, count: int) -> list[object]:
    found: list[object] = []
    end = time.monotonic() + 20
    while len(found) < count and time.monotonic() < end:
        found += [stimulus for _, stimulus in spiller.take()]
        time.sleep(0.001)
    return sorted(found, key=lambda x: x.number)  # type: ignore[attr-defined]


def test_jobs_are_answered_also_after_a_pause(segment: Path, disk: Path, tmp_path: Path) -> None:
    spiller = Spiller(str(disk), str(tmp_path))
    try:
        for i in range(1, 9):
            spiller.start(Spill(i, "segment", f"@{i}", len(DATA)))
        spiller.pause()
        spiller.start(Spill(9, "segment", "@9", len(DATA)))
        spiller.resume()
        assert answers(spiller, 9) == [Spilled(i) for i in range(1, 10)]
        assert sorted(p.name for p in disk.iterdir()) == [f"@{i}" for i in range(1, 10)]
        spiller.start(Restore(10, "@1", "r1", len(DATA)))
        spiller.start(Restore(11, "@2", "", len(DATA)))
        assert answers(spiller, 2) == [Restored(10), Restored(11)]
        assert (tmp_path / "r1").read_bytes() == DATA
        spiller.delete("@1")
        spiller.start(Restore(12, "@none", "r2", len(DATA)))
        spiller.start(Restore(13, "@3", "no/r3", len(DATA)))
        spiller.start(Spill(14, "none", "@14", 5))
        spiller.start(Spill(15, "segment", "no/@15", 5))
        found = answers(spiller, 4)
        problems = [(x.number, x.problem) for x in found]  # type: ignore[attr-defined]
        assert problems == [(12, "lost"), (13, "no_room"), (14, "lost"), (15, "disk")]
        assert not (disk / "@1").exists()
    finally:
        spiller.close()


# --- directories ---------------------------------------------------------------------------------


def test_the_sessions_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tmp_path / ID
    session.mkdir()
    monkeypatch.setattr(spill_dirs, "in_memory", lambda path: False)
    chosen = spill_dirs.choose(ID, session, None)
    assert chosen == session / "spill"
    assert spill_dirs.make(chosen, session) == []
    assert chosen.stat().st_mode & 0o777 == 0o700


def test_not_on_a_disk_that_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many systems have /tmp in memory: what is spilled goes elsewhere, and goes with the session."""
    session, elsewhere = tmp_path / ID, tmp_path / "var"
    session.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(spill_dirs, "_ON_DISK", elsewhere)
    monkeypatch.setattr(spill_dirs, "in_memory", lambda path: path == tmp_path)
    chosen = spill_dirs.choose(ID, session, None)
    assert chosen == elsewhere / f"fanlight-{os.getuid()}" / f"fanlight-{ID}"
    (fd,) = spill_dirs.make(chosen, session)
    try:
        (chosen / "@1").write_text("")
        spill_dirs.remove(session)
        assert not chosen.exists()
    finally:
        os.close(fd)


def test_what_dead_runtimes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead, alive = tmp_path / f"fanlight-{ID}", f"{ID[::-1]}"
    (dead / "sub").mkdir(parents=True)
    session = tmp_path / alive
    session.mkdir()
    (fd,) = spill_dirs.make(spill_dirs.choose(alive, session, str(tmp_path)), session)
    for name in ("fanlight-mine", "fanlight-0123456789abcde"):
        (tmp_path / name).mkdir()
    (tmp_path / f"fanlight-{ID[:-1]}0").symlink_to(session)
    try:
        left = {p.name for p in tmp_path.iterdir()}
        spill_dirs.choose("f" * 16, session, str(tmp_path))
        assert {p.name for p in tmp_path.iterdir()} == left - {dead.name}
    finally:
        os.close(fd)
    spill_dirs.choose("f" * 16, session, str(tmp_path))
    assert not (tmp_path / f"fanlight-{alive}").exists()


@pytest.mark.parametrize(
    ("path", "expected"), [("/tmp/x", True), ("/tmp/disk/y", False), ("/", False), ("/tmpx", False)]
)
def test_what_is_in_memory(tmp_path: Path, path: str, expected: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/root rw\n"
        "30 22 0:25 / /tmp rw,nosuid shared:4 - tmpfs tmpfs rw\n"
        "31 30 8:2 / /tmp/disk rw - xfs /dev/sdb rw\n"
    )
    assert spill_dirs.in_memory(Path(path), mounts) == expected
