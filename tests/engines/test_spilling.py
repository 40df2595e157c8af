"""OBJ: more objects than memory. They go to disk and come back, whoever uses them and however."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from pathlib import Path

import pytest

from tests.engines.support import line, needs, poll, runtime

np = pytest.importorskip("numpy")

MB = 1 << 20


def array(mb, fill):
    return np.full(mb * MB // 8, fill, dtype=np.int64)


def store(rt):
    return rt.session.current().engine.query("store")


def spill_dir(rt):
    return Path(rt.session.current().info["spill_dir"])


def check(value, fill):
    assert value[0] == value[-1] == fill


# --- the lines of the list -----------------------------------------------------------------------


@line("OBJ.1", "OBJ.6")
@runtime(num_cpus=1, object_store_memory=80 * MB)
def test_more_than_fits_is_put_and_read_back(rt):
    refs = [rt.put(array(20, i)) for i in range(10)]
    for i, ref in enumerate(refs):
        check(rt.get(ref), i)
    facts = store(rt)
    assert facts["used"] + facts["reserved"] <= facts["capacity"]
    if rt.session.current().engine.capabilities.shared_memory:
        assert facts["spilled"] + facts["used"] >= 200 * MB
        assert facts["spilled_total"] >= 120 * MB and facts["restored_total"] >= 100 * MB


@line("OBJ.1", "OBJ.6")
@runtime(num_cpus=2, object_store_memory=32 * MB)
def test_results_and_arguments_go_to_disk_and_back(rt):
    make = rt.remote(lambda i: array(4, i))
    add = rt.remote(lambda a, b: a + b)
    first = [make.remote(i) for i in range(16)]  # 64 MB
    second = [add.remote(a, b) for a, b in zip(first, reversed(first), strict=True)]
    del first
    for value in map(rt.get, second):
        check(value, 15)


@line("OBJ.2")
@needs("processes")
@runtime(num_cpus=1, object_store_memory=32 * MB)
def test_files_are_in_the_session_and_go_with_the_objects(rt, eventually):
    folder = spill_dir(rt)
    assert folder.parent == Path(rt.session.current().info["session_dir"])
    assert folder.stat().st_mode & 0o777 == 0o700
    refs = [rt.put(array(8, i)) for i in range(8)]
    files = list(folder.iterdir())
    assert len(files) >= 4
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in files)
    del refs
    gc.collect()
    eventually(lambda: not list(folder.iterdir()))
    eventually(lambda: store(rt)["spilled"] == 0)


@line("OBJ.2")
@needs("processes")
@pytest.mark.parametrize("exists", [True, False])
def test_a_directory_of_the_users_choice(fresh, tmp_path, exists):
    wanted = tmp_path / "big disk"
    if exists:
        wanted.mkdir()
        (wanted / "mine").write_text("not yours")
    fresh.init(num_cpus=1, object_store_memory=32 * MB, object_spilling_directory=wanted)
    rt = fresh.fanlight
    refs = [rt.put(array(8, i)) for i in range(8)]
    (folder,) = [f for f in wanted.iterdir() if f.is_dir()]
    assert folder.stat().st_mode & 0o777 == 0o700 and list(folder.iterdir())
    check(rt.get(refs[0]), 0)
    rt.shutdown()
    assert [f.name for f in wanted.iterdir()] == ["mine"] * exists


@line("OBJ.2")
def test_a_directory_that_cannot_be_used(fresh, engine, tmp_path):
    (tmp_path / "file").write_text("")
    bad = str(tmp_path / "file" / "inside")
    kind, text = (ValueError, "object_spilling_directory=.*cannot be made")
    if engine == "inproc":
        kind, text = (NotImplementedError, "engine='inproc'.*object_spilling_directory=")
    with pytest.raises(kind, match=text):
        fresh.init(num_cpus=1, object_spilling_directory=bad)


@line("OBJ.3")
@runtime(num_cpus=1, object_store_memory=16 * MB)
def test_one_object_larger_than_the_store(rt, eventually):
    make = rt.remote(lambda mb: array(mb, 7))
    total = rt.remote(lambda a: int(a.sum()))
    put, made = rt.put(array(24, 5)), make.remote(24)
    check(rt.get(put), 5)
    check(rt.get(made), 7)
    assert rt.get([total.remote(put), total.remote(made)]) == [24 * MB // 8 * 5, 24 * MB // 8 * 7]
    assert rt.get(total.remote(array(20, 1))) == 20 * MB // 8
    assert not rt.get(put).flags.writeable
    del put, made
    gc.collect()
    eventually(lambda: store(rt)["spilled"] == 0)


@line("OBJ.4")
@runtime(num_cpus=1, object_store_memory=24 * MB)
def test_views_beyond_the_capacity_stay_intact(rt, eventually):
    views = []
    for i in range(12):
        ref = rt.put(array(6, i))
        views.append(rt.get(ref)[10:-10])
        del ref
    refs = [rt.put(array(6, i)) for i in range(12)]
    views += rt.get(refs)
    for i, view in enumerate(views):
        check(view, i % 12)
    assert store(rt)["used"] <= 24 * MB
    del refs, views, view
    gc.collect()
    eventually(lambda: store(rt)["spilled"] == 0 == store(rt)["mapped"])


@line("OBJ.5")
@needs("processes")
def test_a_disk_that_is_too_full(fresh, monkeypatch):
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "0.0")
    fresh.init(num_cpus=1, object_store_memory=32 * MB)
    rt = fresh.fanlight
    made = rt.remote(lambda: array(12, 3))
    kept = [rt.put(array(8, 1)), made.remote()]
    rt.wait(kept, num_returns=2)
    with pytest.raises(rt.exceptions.OutOfDiskError) as info:
        rt.put(array(16, 2))
    text = str(info.value)
    assert "The object store is full: 16.8 MB are needed" in text
    assert "0 % full (FANLIGHT_local_fs_capacity_threshold)" in text
    assert "12.6 MB" in text and "<lambda>" in text and f"held by driver {os.getpid()}" in text
    with pytest.raises(rt.exceptions.RayTaskError) as failed:
        rt.get(rt.remote(lambda: array(64, 4)).remote())
    assert isinstance(failed.value.cause, rt.exceptions.OutOfDiskError)
    check(rt.get(kept[0]), 1)
    check(rt.get(kept[1]), 3)
    kept.clear()
    gc.collect()
    check(rt.get(rt.put(array(16, 2))), 2)


@line("OBJ.5")
@needs("processes")
def test_neither_memory_nor_disk(fresh):
    fresh.init(num_cpus=1, object_store_memory=16 * MB)
    rt = fresh.fanlight
    folder = spill_dir(rt)
    folder.rmdir()
    folder.write_text("")  # a file: nobody can write there, not even root
    kept = rt.put(array(8, 1))
    with pytest.raises(rt.exceptions.ObjectStoreFullError, match="cannot go to disk either"):
        rt.put(array(12, 2))
    check(rt.get(kept), 1)
    assert rt.get(rt.remote(lambda x: x + 1).remote(1)) == 2
    folder.unlink()
    folder.mkdir()
    check(rt.get(rt.put(array(12, 3))), 3)


# --- however they are used -----------------------------------------------------------------------


@line("OBJ.1")
@runtime(num_cpus=2, object_store_memory=32 * MB)
def test_every_way_to_read(rt):
    refs = [rt.put(array(8, i)) for i in range(8)]
    ready, rest = rt.wait(refs, num_returns=8, timeout=60)
    assert len(ready) == 8 and not rest
    for i, value in enumerate(rt.get(refs)):  # all at once: twice the capacity
        check(value, i)
    del value
    first = rt.remote(lambda a: int(a[0]))
    nested = rt.remote(lambda boxes: [int(rt.get(box)[0]) for box in boxes])
    many = rt.remote(lambda *arrays: [int(a[0]) for a in arrays])
    assert rt.get([first.remote(ref) for ref in refs]) == list(range(8))
    assert rt.get(nested.remote(refs)) == list(range(8))
    assert rt.get(many.remote(*refs)) == list(range(8))
    assert [int(ref.future().result(20)[0]) for ref in refs] == list(range(8))

    async def wait():
        return [int((await ref)[0]) for ref in refs]

    assert asyncio.run(wait()) == list(range(8))


@line("OBJ.1")
@runtime(num_cpus=2, object_store_memory=32 * MB)
def test_actors_and_generators(rt):
    @rt.remote
    class Keeper:
        def __init__(self):
            self.kept = []

        def make(self, i):
            return array(8, i)

        def keep(self, boxed):
            self.kept += boxed

        def firsts(self):
            return [int(rt.get(ref)[0]) for ref in self.kept]

    @rt.remote(num_returns="streaming")
    def stream(n):
        for i in range(n):
            yield array(8, i)

    keeper = Keeper.remote()
    made = [keeper.make.remote(i) for i in range(8)]
    for ref in made:
        rt.get(keeper.keep.remote([ref]))
    del made, ref
    items = list(stream.remote(8))
    assert [int(rt.get(item)[0]) for item in items] == list(range(8))
    assert rt.get(keeper.firsts.remote()) == list(range(8))


@line("OBJ.1")
@runtime(num_cpus=1, object_store_memory=32 * MB)
def test_values_without_arrays_and_with_refs_inside(rt):
    texts = [rt.put(os.urandom(1) * (8 * MB)) for _ in range(4)]
    boxes = [rt.put({"text": ref, "data": bytes(8 * MB)}) for ref in texts]
    del texts
    for box in boxes:
        value = rt.get(box)
        assert len(value["data"]) == len(rt.get(value["text"])) == 8 * MB


@line("OBJ.1", "OBJ.6")
@needs("processes")
@runtime(num_cpus=1, object_store_memory=32 * MB)
def test_what_is_looked_at_stays_where_it_is(rt):
    looked_at = rt.put(array(8, 5))
    view = rt.get(looked_at)
    address = view.ctypes.data
    others = [rt.put(array(8, i)) for i in range(6)]
    assert rt.get(looked_at).ctypes.data == address
    check(view, 5)
    rows = {r.object_id: r for r in rt.util.state.list_objects(detail=True)}
    assert rows[looked_at.hex()].place == "mapped"
    places = [rows[ref.hex()].place for ref in others]
    assert places.count("disk") >= 3 and all(rows[ref.hex()].stored for ref in others)
    assert rt.session.ref_state(others[0])["state"] == "READY"


@line("OBJ.1")
@needs("processes")
@runtime(num_cpus=1, object_store_memory=32 * MB)
def test_what_came_back_is_not_written_again(rt):
    before = store(rt)["spilled_total"]
    refs = [rt.put(array(8, i)) for i in range(8)]
    for _ in range(3):
        for i, ref in enumerate(refs):
            check(rt.get(ref), i)
    assert store(rt)["spilled_total"] - before <= 64 * MB + 8000
    assert store(rt)["restored_total"] >= 64 * MB


@line("OBJ.1")
@needs("processes")
@runtime(num_cpus=1, object_store_memory=32 * MB)
def test_observers_see_what_is_on_disk(rt):
    seen = []
    subscription = rt.session.subscribe(seen.append)
    refs = [rt.put(array(8, i)) for i in range(8)]

    def spilled():
        views = [e.store for e in list(seen) if e.store]
        rows = [v[-1] if isinstance(v, list) else v for v in views]
        return rows and rows[-1].spilled >= 32 * MB

    assert poll(spilled)
    subscription.close()
    del refs


# --- working sets of four times the capacity -----------------------------------------------------


@line("OBJ.1", "OBJ.6")
@runtime(num_cpus=2, object_store_memory=16 * MB)
def test_an_external_sort(rt):
    """64 MB of numbers in runs of 2 MB: sorted, split by their bounds, merged, checked."""
    runs, size = 32, 2 * MB // 8

    @rt.remote
    def make(seed):
        return np.random.default_rng(seed).integers(0, 1 << 40, size)

    @rt.remote(num_returns=8)
    def split(numbers):
        ordered = np.sort(numbers)
        bounds = np.searchsorted(ordered, [(i << 40) // 8 for i in range(1, 8)])
        return tuple(np.split(ordered, bounds))

    @rt.remote
    def merge(*parts):
        return np.sort(np.concatenate(parts))

    @rt.remote
    def facts(part):
        return bool((np.diff(part) >= 0).all()), int(part[0]), int(part[-1]), int(part.sum())

    numbers = [make.remote(i) for i in range(runs)]
    parts = [split.remote(ref) for ref in numbers]
    total = sum(rt.get([rt.remote(lambda a: int(a.sum())).remote(ref) for ref in numbers]))
    del numbers
    merged = [merge.remote(*(p[i] for p in parts)) for i in range(8)]
    del parts
    found = rt.get([facts.remote(ref) for ref in merged])
    assert all(ordered for ordered, *_ in found)
    assert all(a[2] <= b[1] for a, b in itertools.pairwise(found))
    assert sum(part[3] for part in found) == total
    assert store(rt)["used"] <= 16 * MB


@line("OBJ.1", "OBJ.6")
@runtime(num_cpus=2, object_store_memory=16 * MB)
def test_a_shuffle(rt):
    """64 MB in 16 blocks, each number sent to the block that it names."""
    blocks, size = 16, 4 * MB // 8

    @rt.remote(num_returns=blocks)
    def scatter(seed):
        numbers = np.random.default_rng(seed).integers(0, 1 << 30, size)
        order = np.argsort(numbers % blocks, kind="stable")
        counts = np.bincount(numbers % blocks, minlength=blocks)
        return tuple(np.split(numbers[order], np.cumsum(counts)[:-1]))

    @rt.remote
    def gather(block, *parts):
        whole = np.concatenate(parts)
        assert (whole % blocks == block).all()
        return len(whole), int(whole.sum())

    parts = [scatter.remote(seed) for seed in range(blocks)]
    found = rt.get([gather.remote(b, *(p[b] for p in parts)) for b in range(blocks)])
    expected = sum(
        int(np.random.default_rng(s).integers(0, 1 << 30, size).sum()) for s in range(blocks)
    )
    assert sum(n for n, _ in found) == blocks * size
    assert sum(total for _, total in found) == expected
