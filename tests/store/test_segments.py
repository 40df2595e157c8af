"""Segments: written, mapped, given back, written again, discarded; and a full tmpfs."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fanlight import serialization
from fanlight.errors import ObjectStoreFullError
from fanlight.store import segments
from fanlight.store.segments import SegmentReader, SegmentWriter, Unreadable


class Store:
    """A writer and a reader of one folder, and what the writer asked the node for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[int] = []
        self.writer = SegmentWriter(folder, "w", self.asked.append)
        self.reader = SegmentReader(folder)

    def write(self, value: object) -> str:
        return self.writer.write(serialization.dumps(value))

    def read(self, name: str) -> object:
        return serialization.loads(self.reader.view(name))

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def returned(self) -> Counter[str]:
        """Descriptors that went back since the last call."""
        gc.collect()
        self.reader.settle()
        names = Counter(self.reader.returned)
        self.reader.returned.clear()
        return names


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def array(mb: float, fill: float = 1.0) -> np.ndarray:
    return np.full(int(mb * 125_000), fill)


# --- writing and reading -------------------------------------------------------------------------


def test_what_is_written_is_read(store: Store) -> None:
    value = {"a": array(1), "b": b"x" * 200_000, "c": [1, "two", None]}
    name = store.write(value)
    back = store.read(name)
    assert isinstance(back, dict)
    assert np.array_equal(back["a"], value["a"])
    assert (back["b"], back["c"]) == (value["b"], value["c"])
    assert store.asked == [serialization.dumps(value).size]
    assert os.stat(store.folder / name).st_mode & 0o777 == 0o600


def test_empty_arrays_beside_large_ones(store: Store) -> None:
    back = store.read(store.write([array(1), np.empty(0), np.empty((0, 3))]))
    assert isinstance(back, list)
    assert [a.shape for a in back] == [(125_000,), (0,), (0, 3)]


def test_values_are_mapped_and_not_copied(store: Store) -> None:
    name = store.write(array(1))
    first, second = store.read(name), store.read(name)
    assert isinstance(first, np.ndarray) and isinstance(second, np.ndarray)
    assert np.shares_memory(first, second)
    assert not first.flags.writeable and first.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 5


def test_large_pieces_are_written_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_CHUNK", 10_000)
    value = np.arange(20_000.0)
    back = store.read(store.write(value))
    assert np.array_equal(back, value)


def test_segments_that_are_gone_are_forgotten(store: Store) -> None:
    kept = store.write(array(0.2))
    for _ in range(500):
        os.unlink(store.folder / store.write(array(0.11)))
    assert len(store.writer._sizes) <= 400
    store.writer.recycle([kept])
    assert store.write(array(0.2)) == kept


def test_names_are_never_used_twice(store: Store) -> None:
    names = [store.write(array(0.2)) for _ in range(5)]
    store.writer.recycle(names[:1])
    store.writer.discard(names[:1])
    assert len({*names, store.write(array(0.2))}) == 6


# --- warm segments -------------------------------------------------------------------------------


def test_a_segment_given_back_is_written_again(store: Store) -> None:
    name = store.write(array(1))
    store.writer.recycle([name])
    assert store.write(array(0.9, 2.0)) == name
    assert len(store.asked) == 1, "the room is there already"
    back = store.read(name)
    assert isinstance(back, np.ndarray)
    assert back.shape == (112_500,) and (back == 2.0).all()
    store.writer.recycle([name])
    assert store.write(b"y" * 950_000) == name, "a third time, by the mapping that it has"
    assert store.read(name) == b"y" * 950_000


@pytest.mark.parametrize(("mb", "fits"), [(1.0, True), (0.82, True), (0.7, False), (1.01, False)])
def test_only_a_segment_of_nearly_the_size_is_taken(store: Store, mb: float, fits: bool) -> None:
    name = store.write(array(1))
    store.writer.recycle([name])
    assert (store.write(array(mb)) == name) == fits


def test_the_smallest_segment_that_fits_is_taken(store: Store) -> None:
    names = [store.write(array(mb)) for mb in (1.2, 1.0, 1.1)]
    store.writer.recycle(names)
    assert [store.write(array(1.0)) for _ in range(3)] == [names[1], names[2], names[0]]


def test_a_segment_is_taken_once(store: Store) -> None:
    name = store.write(array(1))
    store.writer.recycle([name])
    assert store.write(array(1)) == name
    assert store.write(array(1)) != name


def test_discard_gives_up_what_lies_ready_and_nothing_else(store: Store) -> None:
    ready, used = store.write(array(1)), store.write(array(0.2))
    store.writer.recycle([ready])
    assert store.writer.discard([ready, used, "unknown"]) == [ready]
    assert store.writer.discard([ready]) == [], "it was given up already"
    assert store.write(array(1)) not in (ready, used)
    store.writer.recycle([used])
    assert store.write(array(0.2)) == used, "it was in use, and is still its maker's"


def test_discard_all(store: Store) -> None:
    names = [store.write(array(0.2)) for _ in range(3)]
    store.writer.recycle(names[:2])
    assert sorted(store.writer.discard_all()) == sorted(names[:2])
    assert store.writer.discard_all() == []


def test_segments_of_others_are_not_taken(store: Store) -> None:
    store.writer.recycle(["another-1"])
    assert store.write(array(1)) == "w-1"


def test_a_segment_whose_file_is_gone_is_not_used(store: Store) -> None:
    name = store.write(array(1))
    store.writer.recycle([name])
    os.unlink(store.folder / name)
    assert store.write(array(1)) != name


# --- no room -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.ENOMEM])
def test_a_full_file_system(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    written = 0

    def pwrite(fd: int, data: memoryview, position: int, write=os.pwrite) -> int:
        nonlocal written
        if written >= 500_000:
            raise OSError(code, os.strerror(code))
        count: int = write(fd, data[:250_000], position)
        written += count
        return count

    kept = store.write(array(0.2))
    monkeypatch.setattr(segments.os, "pwrite", pwrite)
    with pytest.raises(ObjectStoreFullError, match=r"1\.0 MB do not fit into shared memory"):
        store.write(array(1))
    assert store.files() == {kept}, "nothing half-written is left"
    assert sum(store.asked) == serialization.dumps(array(0.2)).size, "the promise is given back"
    monkeypatch.undo()
    assert np.array_equal(store.read(store.write(array(1))), array(1))


def test_a_full_file_system_is_tried_again_when_room_could_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True

    def pwrite(fd: int, data: memoryview, position: int, write=os.pwrite) -> int:
        if full:
            raise OSError(errno.ENOSPC, "full")
        return int(write(fd, data, position))

    def make_room(size: int) -> bool:
        nonlocal full
        full = False
        return size > 1_000_000

    asked: list[int] = []
    monkeypatch.setattr(segments.os, "pwrite", pwrite)
    writer = SegmentWriter(tmp_path, "w", asked.append, make_room)
    name = writer.write(serialization.dumps(array(1)))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(asked) == 1, "the promise is used"
    full = True
    with pytest.raises(ObjectStoreFullError):
        writer.write(serialization.dumps(array(0.5)))  # no room could be made
    assert sum(asked) == asked[0]
    writer.close()


def test_other_errors_stay_what_they_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(fd: int, data: memoryview, position: int) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(segments.os, "pwrite", pwrite)
    with pytest.raises(OSError, match="broken"):
        store.write(array(1))
    assert not store.files() and sum(store.asked) == 0


def test_an_interrupted_write_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(fd: int, data: memoryview, position: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(segments.os, "pwrite", pwrite)
    with pytest.raises(KeyboardInterrupt):
        store.write(array(1))
    assert not store.files() and sum(store.asked) == 0


def test_the_node_refuses(tmp_path: Path) -> None:
    def refuse(size: int) -> None:
        raise ObjectStoreFullError("full")

    writer = SegmentWriter(tmp_path, "w", refuse)
    with pytest.raises(ObjectStoreFullError):
        writer.write(serialization.dumps(array(1)))
    assert not list(tmp_path.iterdir())


# --- descriptors ---------------------------------------------------------------------------------


def test_a_descriptor_goes_back_when_nobody_needs_it(store: Store) -> None:
    name = store.write(array(1))
    store.reader.got(name)
    assert not store.returned()
    store.reader.done(name)
    assert store.returned() == {name: 1}
    assert not store.returned()


def test_as_many_descriptors_go_back_as_came(store: Store) -> None:
    name = store.write(array(1))
    for _ in range(3):
        store.reader.got(name)
    store.reader.done(name)
    store.reader.done(name)
    assert not store.returned(), "one is still needed"
    store.reader.done(name)
    assert store.returned() == {name: 3}


def test_a_view_keeps_the_descriptor(store: Store) -> None:
    name = store.write([array(1), array(0.1)])
    store.reader.got(name)
    value = store.read(name)
    assert isinstance(value, list)
    part = value[0][10:20]
    store.reader.done(name)
    del value
    assert not store.returned(), "a slice of an array is alive"
    os.unlink(store.folder / name)
    assert (part == 1.0).all(), "and readable even without the file"
    del part
    assert store.returned() == {name: 1}


def test_a_descriptor_that_comes_while_a_view_is_alive(store: Store) -> None:
    name = store.write(array(1))
    store.reader.got(name)
    first = store.read(name)
    store.reader.done(name)
    store.reader.got(name)
    del first
    assert not store.returned(), "the second descriptor is needed"
    second = store.read(name)
    store.reader.done(name)
    assert not store.returned()
    del second
    assert store.returned() == {name: 2}


def test_a_mapping_that_dies_before_its_descriptor_is_done(store: Store) -> None:
    name = store.write(array(1))
    store.reader.got(name)
    store.read(name)
    assert not store.returned()
    store.reader.done(name)
    assert store.returned() == {name: 1}


def test_bytes_of_a_plain_pickle_are_copied_out(store: Store) -> None:
    name = store.write(b"z" * 300_000)
    store.reader.got(name)
    value = store.read(name)
    store.reader.done(name)
    assert store.returned() == {name: 1}
    assert value == b"z" * 300_000


def test_readers_and_the_maker_may_differ(store: Store, tmp_path: Path) -> None:
    name = store.write(array(1, 3.0))
    other = SegmentReader(tmp_path)
    other.got(name)
    value = serialization.loads(other.view(name))
    store.reader.got(name)
    store.reader.done(name)
    assert store.returned() == {name: 1}
    assert (value == 3.0).all()


def test_two_threads_that_map_at_once_share_one_mapping(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two mappings only one is watched: the segment goes back while the other is in use."""
    name = store.write(array(1))
    store.reader.got(name)
    start = threading.Barrier(2)
    mapped = threading.Event()
    opened: list[str] = []
    views: list[object] = []

    def slow_open(path: os.PathLike[str], real_open=segments.FileIO) -> object:
        opened.append(os.path.basename(path))
        mapped.wait(0.2)  # time for the other thread, which must not come so far
        return real_open(path)

    def view() -> None:
        start.wait()
        views.append(store.read(name))
        mapped.set()

    monkeypatch.setattr(segments, "FileIO", slow_open)
    threads = [threading.Thread(target=view) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert opened == [name]
    first, second = views
    assert isinstance(first, np.ndarray) and isinstance(second, np.ndarray)
    assert np.shares_memory(first, second)
    store.reader.done(name)
    views.clear()
    del first
    assert not store.returned(), "the other thread still uses it"
    del second
    assert store.returned() == {name: 1}


def test_an_interrupted_write_into_a_warm_segment_keeps_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = store.write(array(1))
    store.writer.recycle([name])

    def interrupted(self: serialization.Serialized, target: memoryview) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serialization.Serialized, "write_into", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(array(1))
    monkeypatch.undo()
    assert store.write(array(1, 2.0)) == name, "its room was promised once, and is not lost"


def test_a_segment_that_is_gone_cannot_be_mapped(store: Store) -> None:
    with pytest.raises(Unreadable, match="was deleted"):
        store.reader.view("w-9")


@pytest.mark.parametrize("left", [0, 100, 1_000_000])
def test_a_segment_that_was_cut_is_not_mapped(store: Store, left: int) -> None:
    name = store.write(array(1))
    size = (store.folder / name).stat().st_size
    os.truncate(store.folder / name, left)
    with pytest.raises(Unreadable, match=f"has {left} of {size} bytes"):
        store.reader.view(name, size)


@pytest.mark.parametrize("left", [None, 0, 100])
def test_a_warm_segment_that_was_damaged_is_not_written(store: Store, left: int | None) -> None:
    """It would kill the writer, or nobody could read it."""
    name = store.write(array(1))
    store.writer.recycle([name])
    assert store.write(array(1)) == name  # through a mapping from now on
    store.writer.recycle([name])
    if left is None:
        os.unlink(store.folder / name)
    else:
        os.truncate(store.folder / name, left)
    again = store.write(array(1))
    assert again != name and [*store.writer.damaged] == [name]
    assert np.array_equal(store.read(again), array(1))  # type: ignore[arg-type]


def test_a_folder_that_was_deleted_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "segments"

    def restore() -> bool:
        folder.mkdir()
        return True

    packed = serialization.dumps(array(1))
    SegmentWriter(folder, "w", lambda size: None, restore=restore).write(packed)
    folder.rename(tmp_path / "gone")
    promised: list[int] = []
    with pytest.raises(ObjectStoreFullError, match="was deleted"):
        SegmentWriter(folder, "w", promised.append).write(packed)
    assert sum(promised) == 0


def test_no_descriptor_of_the_process_is_kept(store: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    values = [store.read(store.write(array(0.2))) for _ in range(20)]
    # Python keeps one descriptor for each mapping that is alive, and no more.
    assert len(os.listdir("/proc/self/fd")) - before <= len(values)
    del values
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# --- pages of one's own --------------------------------------------------------------------------


class Writable:
    """Wants to be written to by whoever reads it, as a tensor does."""

    def __init__(self, data: object) -> None:
        self.data = data

    def __reduce__(self) -> object:
        return Writable, (serialization.own_pages(pickle.PickleBuffer(self.data)),)  # type: ignore[arg-type]

    @property
    def view(self) -> memoryview:
        return memoryview(self.data)  # type: ignore[arg-type]


def test_what_wants_pages_of_its_own_gets_them(store: Store) -> None:
    name = store.write([Writable(bytearray(200_000)), array(1)])
    shared = store.reader.view(name)
    assert serialization.wants_own_pages(shared)
    assert not serialization.wants_own_pages(memoryview(serialization.dumps(array(1)).to_bytes()))
    (one, plain), (other, _) = (serialization.loads(store.reader.own_view(name)) for _ in range(2))
    one.view[5] = 7
    assert one.view[5] == 7 and other.view[5] == 0
    assert not plain.flags.writeable and plain[0] == 1.0
    third = serialization.loads(shared)[0]  # from memory that is read-only: a copy
    third.view[6] = 8
    assert (third.view[5], other.view[6], shared.readonly) == (0, 0, True)
    assert np.shares_memory(np.frombuffer(shared, "u1"), serialization.loads(shared)[1])


def test_a_private_mapping_keeps_the_descriptor(store: Store) -> None:
    name = store.write(Writable(bytearray(200_000)))
    for _ in range(3):
        store.reader.got(name)
        value = serialization.loads(store.reader.own_view(name))
        second = serialization.loads(store.reader.own_view(name))
        store.reader.done(name)
        assert not store.returned()
        del value
        assert not store.returned()
        kept, second = second.view[10:20], None
        assert not store.returned()
        assert store.reader._own
        del kept
        assert store.returned() == {name: 1}
        assert not store.reader._own
