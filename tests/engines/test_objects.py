"""OBJ and GC: objects, and how long they live."""

from __future__ import annotations

import gc
import os

import pytest

from tests.engines.support import line, needs

np = pytest.importorskip("numpy")

MB = 1 << 20


@line("OBJ.1", "ARG.13")
@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 110_000, 5 * MB])
def test_sizes(rt, size):
    data = os.urandom(min(size, 1000)) * max(1, size // 1000)
    length = rt.remote(lambda x: (len(x), x))
    ref = rt.put(data)
    assert rt.get(ref) == data
    for argument in (data, ref):
        count, back = rt.get(length.remote(argument))
        assert count == len(data) and back == data


@line("OBJ.1")
def test_large_values_between_tasks_and_actors(rt):
    make = rt.remote(lambda n: np.arange(n))
    add = rt.remote(lambda a, b: a + b)

    @rt.remote
    class Keeper:
        def keep(self, array):
            self.array = array

        def total(self):
            return int(self.array.sum())

    n = 200_000
    a, b = make.remote(n), make.remote(n)
    c = add.remote(a, b)
    keeper = Keeper.remote()
    keeper.keep.remote(c)
    del a, b, c
    gc.collect()
    assert rt.get(keeper.total.remote()) == n * (n - 1)


@line("GC.1")
@pytest.mark.runtime(num_cpus=1, object_store_memory=80 * MB)
def test_what_is_dropped_makes_room(rt):
    for i in range(25):
        ref = rt.put(np.full(2 * MB, i, dtype=np.uint64))  # 16 MB, 25 times
        assert rt.get(ref)[7] == i
        del ref


@line("GC.1", "GC.6")
@pytest.mark.runtime(num_cpus=1, object_store_memory=80 * MB)
def test_results_that_are_dropped_make_room(rt):
    make = rt.remote(lambda i: np.full(2 * MB, i, dtype=np.uint64))
    total = rt.remote(lambda a: int(a[0]))
    for i in range(12):
        ref = make.remote(i)
        assert rt.get(total.remote(ref)) == i
        unread = make.remote(i)
        del ref
        rt.wait([unread])
        del unread


@line("GC.2")
@pytest.mark.parametrize("size", [10, 200_000])
def test_an_object_holds_what_is_in_it(rt, size):
    inner = rt.put(np.arange(size))
    outer = rt.put({"inner": [inner]})
    del inner
    gc.collect()
    for _ in range(3):
        rt.put(np.zeros(size))
    assert rt.get(rt.get(outer)["inner"][0])[-1] == size - 1


@line("GC.2")
def test_a_chain_of_objects(rt):
    ref = rt.put("end")
    for _ in range(20):
        ref = rt.put([ref])
    gc.collect()
    for _ in range(20):
        (ref,) = rt.get(ref)
    assert rt.get(ref) == "end"


@line("GC.3")
def test_a_borrower_holds_an_object(rt):
    @rt.remote
    class Borrower:
        def keep(self, refs):
            self.ref = refs[0]

        def read(self):
            return int(rt.get(self.ref)[-1])

    for size in (10, 200_000):
        borrower = Borrower.remote()
        ref = rt.put(np.arange(size))
        rt.get(borrower.keep.remote([ref]))
        del ref
        gc.collect()
        rt.put(np.zeros(size))
        assert rt.get(borrower.read.remote()) == size - 1


@line("GC.4")
def test_refs_in_results_and_arguments(rt):
    @rt.remote
    def make(n):
        return [rt.put(np.arange(n))]

    @rt.remote
    def read(refs, gate):
        return int(rt.get(refs[0])[-1])

    for size in (10, 200_000):
        (inner,) = rt.get(make.remote(size))
        gc.collect()
        assert rt.get(inner)[-1] == size - 1
        pending = rt.remote(lambda: None).remote()
        ref = read.remote([inner], pending)
        del inner, pending
        gc.collect()
        assert rt.get(ref) == size - 1


@line("GC.4")
@needs("processes")
def test_arguments_are_held_through_retries(rt, tmp_path, note):
    path = str(tmp_path / "attempts")

    @rt.remote
    def read(refs, array):
        note(path)
        with open(path) as f:
            if len(f.readlines()) < 3:
                os._exit(1)
        return int(rt.get(refs[0])[-1] + array[-1])

    inner, direct = rt.put(np.arange(200_000)), rt.put(np.arange(200_000))
    ref = read.remote([inner], direct)
    del inner, direct
    gc.collect()
    assert rt.get(ref) == 2 * 199_999


@line("GC.5")
def test_dropping_the_ref_does_not_cancel(rt, tmp_path, note, eventually):
    path = str(tmp_path / "ran")

    @rt.remote
    def f():
        note(path)
        return bytes(200_000)

    ref = f.remote()
    del ref
    gc.collect()
    eventually(lambda: os.path.exists(path))


@line("GC.6")
def test_several_returns_are_held_one_by_one(rt):
    f = rt.remote(num_returns=3)(lambda: [np.full(50_000, i) for i in range(3)])
    first, middle, last = f.remote()
    del first, last
    gc.collect()
    assert rt.get(middle)[0] == 1


@line("GC.9")
def test_refs_put_by_a_task_stay_valid(rt):
    @rt.remote
    def make():
        return {"refs": [rt.put(i) for i in range(50)]}

    refs = rt.get(make.remote())["refs"]
    rt.get([rt.remote(lambda: 1).remote() for _ in range(5)])
    assert rt.get(refs) == list(range(50))


@line("OBJ.1")
def test_an_object_with_many_refs(rt):
    refs = [rt.put(i) for i in range(500)]
    outer = rt.put(refs)
    inner = rt.get(outer)
    del refs, outer
    gc.collect()
    assert rt.get(inner) == list(range(500))
