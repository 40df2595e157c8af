"""The default bound of the object store: memory, limits of control groups, the size of tmpfs."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from fanlight import cgroups, config

GB = 1 << 30
NO_LIMIT_1 = "9223372036854771712"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


class Machine:
    """Control groups as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.membership = folder / "cgroup"
        self.mounts = folder / "mountinfo"

    def version2(self, path: str, root: str = "/") -> Path:
        point = self.folder / "fs"
        self.membership.write_text(f"0::{path}\n")
        self.mounts.write_text(
            "22 1 8:1 / / rw - ext4 /dev/root rw\n"
            f"41 31 0:38 {root} {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        return point

    def version1(self, path: str, root: str = "/") -> Path:
        point = self.folder / "memory"
        self.membership.write_text(f"9:name=systemd:/\n4:cpu,memory:{path}\n0::/\n")
        self.mounts.write_text(
            f"35 31 0:32 {root} {point} rw,relatime - cgroup cgroup rw,cpu,memory\n"
            f"37 31 0:37 / {self.folder}/systemd rw - cgroup cgroup rw,name=systemd\n"
        )
        return point

    @property
    def groups(self) -> list:
        return cgroups.groups(self.membership, self.mounts)

    @property
    def limit(self) -> int | None:
        return cgroups.memory_limit(self.groups)

    @property
    def left(self) -> int | None:
        return cgroups.memory_left(self.groups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_control_groups(machine: Machine) -> None:
    assert (machine.limit, machine.left) == (None, None)
    machine.membership.write_text("nonsense\n")
    machine.mounts.write_text("")
    assert (machine.limit, machine.left) == (None, None)


def test_version_2(machine: Machine) -> None:
    point = machine.version2("/user/job")
    write(point, cgroup__procs="")
    write(point / "user", memory__max="max", memory__current="5")
    assert (machine.limit, machine.left) == (None, None)
    job = point / "user" / "job"
    write(job, memory__max=str(2 * GB), memory__current=str(GB), memory__stat="inactive_file 0")
    assert (machine.limit, machine.left) == (2 * GB, GB)
    write(job, memory__stat=f"anon 7\ninactive_file {GB // 2}")
    assert machine.left == GB + GB // 2, "cache can be dropped"


def test_the_smallest_limit_of_all_ancestors_counts(machine: Machine) -> None:
    point = machine.version2("/a/b/c")
    write(point / "a", memory__max=str(GB), memory__current=str(GB // 4), memory__stat="")
    write(point / "a/b", memory__max=str(3 * GB), memory__current="0", memory__stat="")
    write(point / "a/b/c", memory__max="max", memory__current="0", memory__stat="")
    write(point / "other", memory__max="5", memory__current="0", memory__stat="")
    assert (machine.limit, machine.left) == (GB, GB - GB // 4)
    write(point / "a/b", memory__current=str(3 * GB + 5))
    assert machine.left == 0


def test_version_1(machine: Machine) -> None:
    point = machine.version1("/docker/abc")
    write(point, memory__limit_in_bytes=NO_LIMIT_1, memory__usage_in_bytes="9", memory__stat="")
    assert (machine.limit, machine.left) == (None, None)
    write(
        point / "docker/abc",
        memory__limit_in_bytes=str(GB),
        memory__usage_in_bytes=str(GB // 2),
        memory__stat=f"inactive_file 1\ntotal_inactive_file {GB // 4}",
    )
    assert (machine.limit, machine.left) == (GB, GB - GB // 4)


def test_a_container_sees_its_own_group_as_the_root(machine: Machine) -> None:
    """Its mount begins at its group; its membership is named from the host's root."""
    point = machine.version1("/docker/abc", root="/docker/abc")
    write(point, memory__limit_in_bytes=str(GB), memory__usage_in_bytes="0", memory__stat="x 1")
    assert machine.limit == GB
    point = machine.version2("/../other", root="/")
    write(point, memory__max=str(2 * GB), memory__current="0", memory__stat="")
    assert machine.limit == 2 * GB


def test_memory_is_what_the_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(cgroups, "memory_limit", lambda: 5 << 20)
    monkeypatch.setattr(cgroups, "memory_left", lambda: 1 << 20)
    assert (config.memory_bytes(), config.memory_available()) == (5 << 20, 1 << 20)
    monkeypatch.setattr(cgroups, "memory_limit", lambda: None)
    assert config.memory_bytes() == total


def test_the_store_takes_its_part_of_memory_and_of_tmpfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "memory_bytes", lambda: 10 * GB)
    free = 100 * GB

    def statvfs(path: Path) -> SimpleNamespace:
        assert path == tmp_path
        return SimpleNamespace(f_bavail=free // 4096, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert config.store_capacity(tmp_path) == 3 * GB
    free = GB
    assert config.store_capacity(tmp_path / "not" / "made yet") == int(0.9 * GB)
    free = 0
    assert config.store_capacity(tmp_path) == 1 << 20
