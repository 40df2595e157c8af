"""Paths and names that users give: what is written stays in the session, what is read is a log."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fanlight
from fanlight.client import snapshot
from fanlight.util import state
from tests.faults.support import DEADLINE


def archive(path: Path, *names: str, link: str = "") -> str:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, "content")
        if link:
            info = zipfile.ZipInfo("link")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(info, link)
    return str(path)


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.mark.parametrize("kind", ["working_dir", "module"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "a/b/../../../evil", "..", "//evil", "./../evil"]
)
def test_archives_that_lead_out_of_themselves(tmp_path: Path, kind: str, name: str) -> None:
    inside = tmp_path / "session" / "environments"
    inside.parent.mkdir()
    path = archive(tmp_path / "evil.zip", "good.py", "other/good.py", name)
    before = everything(tmp_path)
    make: Any = getattr(snapshot, kind)
    with pytest.raises(ValueError, match="leads out of it"):
        make(inside, path, [])
    assert everything(tmp_path) - before == {"session/environments"}
    assert list(inside.iterdir()) == []


def test_links_in_archives_are_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = archive(tmp_path / "evil.zip", "a", "b/c", link=str(tmp_path / "secret"))
    name = snapshot.working_dir(tmp_path / "made", path, [])
    copied = tmp_path / "made" / name / "link"
    assert not copied.is_symlink()
    assert copied.read_text() == str(tmp_path / "secret")
    for entry in (tmp_path / "made").rglob("*"):
        assert stat.S_IMODE(entry.stat().st_mode) & (stat.S_ISUID | stat.S_ISGID | 0o022) == 0


def test_an_archive_that_names_a_file_twice(tmp_path: Path) -> None:
    """Not even what it wrote itself is written over: no entry can change what another one is."""
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(tmp_path / "twice.zip", "a", "b", "a")
    with pytest.raises(OSError):
        snapshot.working_dir(tmp_path / "made", path, [])
    assert list((tmp_path / "made").iterdir()) == []


NAMES = (
    "../../evil",
    "/etc/evil",
    "a/b",
    "a\0b",
    ".",
    "..",
    "~",
    "$(id)",
    "\n",
    "\u202e",
    "x" * 5000,
)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    fanlight.shutdown()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    fanlight.init(
        num_cpus=2, log_to_driver=False, name="../../evil", namespace="../../evil",
        _plasma_directory=str(tmp_path / "chosen"),
    )  # fmt: skip
    yield Path(fanlight.session.current().info["session_dir"])
    fanlight.shutdown()
    assert everything(tmp_path) == {"home"}, "something was written outside of the session"


def test_names_are_no_paths(session: Path) -> None:
    """Of runtimes, namespaces, tasks, actors, groups and metrics: with slashes, zeros, of any length."""

    @fanlight.remote
    def task() -> str:
        print("printed")
        return "done"

    @fanlight.remote
    class Actor:
        def method(self) -> str:
            print("printed")
            return "done"

    kept = []
    for name in NAMES:
        refs = [task.options(name=name).remote()]
        actor = Actor.options(name=name, namespace=name).remote()
        kept.append(actor)
        refs += [actor.method.options(name=name).remote() for _ in range(3)]
        assert fanlight.get(refs, timeout=DEADLINE) == ["done"] * 4
        assert fanlight.get(fanlight.get_actor(name, namespace=name).method.remote()) == "done"
        fanlight.kill(actor)
    for entry in everything(session):
        assert "evil" not in entry
        assert entry.count("/") <= 2, entry
    assert state.list_tasks(limit=1000)


LOGS = (
    "../../etc/passwd", "../lock", "/etc/passwd", "..", ".", "", "../node.sock", "logs/../../lock",
    "worker\0.out", "x" * 5000,
)  # fmt: skip


def test_logs_are_files_of_the_logs_directory(session: Path) -> None:
    @fanlight.remote
    def task() -> None:
        print("printed")

    fanlight.get(task.remote(), timeout=DEADLINE)
    (name,) = state.list_logs()["worker_out"]
    assert "printed" in "".join(state.get_log(filename=name))
    for name in LOGS:
        with pytest.raises((state.exception.RayStateApiException, ValueError)):
            next(iter(state.get_log(filename=name)))
    for pid in ("*", "../x", "[0-9]*"):
        with pytest.raises((state.exception.RayStateApiException, ValueError)):
            next(iter(state.get_log(pid=pid)))  # type: ignore[arg-type]
    assert state.list_logs(glob_filter="../*") == {}
    assert state.list_logs(glob_filter="/etc/*") == {}
    assert (session / "logs").is_dir()
