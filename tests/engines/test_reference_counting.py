"""GC: how long objects live, as the node knows it: what is needed stays, what is not goes."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading

import pytest

from tests.engines.support import line, needs, poll

np = pytest.importorskip("numpy")

SMALL, LARGE = 10, 200_000  # elements: inside messages, and in shared memory
sizes = pytest.mark.parametrize("size", [SMALL, LARGE])


@pytest.fixture
def facts(rt):
    """``facts(oid)``: what the node knows of an object; its state is GONE when it is freed."""
    return lambda oid: rt.session.current().engine.query("object", id=oid)


@pytest.fixture
def gone(facts, eventually):
    """``gone(oid, ...)``: these objects are freed, soon."""

    def gone(*oids):
        eventually(lambda: [facts(oid)["state"] for oid in oids] == ["GONE"] * len(oids))

    return gone


@pytest.fixture
def kept(rt, facts):
    """``kept(oid, ...)``: these objects are there, also after all that was dropped is known."""
    nothing = rt.remote(lambda: None)

    def kept(*oids):
        gc.collect()
        rt.session.require_client().flush_drops()
        rt.get([nothing.remote() for _ in range(4)])
        assert "GONE" not in [facts(oid)["state"] for oid in oids]

    return kept


# --- what keeps an object ------------------------------------------------------------------------


@line("GC.1")
@sizes
def test_a_ref_keeps_and_the_last_one_frees(rt, kept, gone, size):
    ref = rt.put(np.arange(size))
    again, oid = ref, ref.hex()
    del ref
    kept(oid)
    assert rt.get(again)[-1] == size - 1
    del again
    gone(oid)


@line("GC.1", "GC.4")
@sizes
def test_a_pending_task_keeps_its_arguments(rt, kept, gone, never, size):
    top, nested = rt.put(np.arange(size)), rt.put(np.arange(size))
    oids = [top.hex(), nested.hex()]
    gate = never()
    pending = rt.remote(lambda gate, top, nested: 0).remote(gate, top, {"in": [nested]})
    del top, nested
    kept(*oids)
    rt.cancel(gate)
    with pytest.raises(rt.exceptions.RayError):
        rt.get(pending)
    gone(*oids)


@line("GC.1", "GC.2")
@sizes
def test_an_object_keeps_what_is_inside_to_any_depth(rt, kept, gone, size):
    refs = [rt.put(np.arange(size))]
    for _ in range(5):
        refs.append(rt.put({"deeper": [refs[-1]]}))
    oids = [ref.hex() for ref in refs]
    outermost = refs.pop()
    refs.clear()
    kept(*oids)
    found = outermost
    for _ in range(5):
        (found,) = rt.get(found)["deeper"]
    del outermost
    gone(*oids[1:])
    kept(oids[0])
    assert rt.get(found)[-1] == size - 1
    del found
    gone(oids[0])


@line("GC.2")
def test_refs_taken_out_of_an_object_outlive_it(rt, kept, gone):
    outer = rt.put([rt.put(i) for i in range(200)])
    first, second = rt.get(outer), rt.get(outer)
    oids = [ref.hex() for ref in first]
    assert first == second and first[0] is not second[0]
    del first[100:], second[:50]
    del outer
    kept(*oids)
    assert rt.get(first + second[50:]) == list(range(200))
    del first
    kept(*oids[50:])
    gone(*oids[:50])
    del second
    gone(*oids)


@line("GC.2", "ARG.16")
def test_one_ref_many_times_in_one_value(rt, kept, gone):
    ref = rt.put("x")
    oid = ref.hex()
    outer = rt.put([ref, ref, {"again": [ref] * 10}])
    del ref
    value = rt.get(outer)
    assert value[0] == value[1] == value[2]["again"][9]
    kept_one = value[2]["again"].pop()
    del outer, value
    kept(oid)
    assert rt.get(kept_one) == "x"
    del kept_one
    gone(oid)


@line("GC.2", "GC.6")
def test_a_value_that_cannot_be_rebuilt_keeps_nothing(rt, kept, gone):
    class Breaks:
        def __reduce__(self):
            return _break, ()

    ref = rt.put("x")
    oid, outer = ref.hex(), rt.put([ref, Breaks()])
    del ref
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            rt.get(outer)
    kept(oid)
    del outer
    gone(oid)


def _break():
    raise ZeroDivisionError


# --- other processes -----------------------------------------------------------------------------


@line("GC.3")
@sizes
def test_a_borrower_keeps_what_it_found_and_frees_it(rt, kept, gone, size):
    @rt.remote
    class Borrower:
        def keep(self, refs):
            self.refs = refs

        def open(self):
            """What is inside what it has: the objects around it are let go."""
            self.refs = rt.get(self.refs[0])

        def read(self):
            return int(rt.get(self.refs[0])[-1])

        def drop(self):
            del self.refs

    inner = rt.put(np.arange(size))
    outer = rt.put([inner])
    oids = [inner.hex(), outer.hex()]
    borrower = Borrower.remote()
    rt.get(borrower.keep.remote([outer]))
    del inner, outer
    kept(*oids)
    rt.get(borrower.open.remote())
    gone(oids[1])
    kept(oids[0])
    assert rt.get(borrower.read.remote()) == size - 1
    rt.get(borrower.drop.remote())
    gone(oids[0])


@line("GC.3")
@needs("processes")
def test_a_borrower_that_dies_keeps_nothing(rt, kept, gone):
    @rt.remote
    class Borrower:
        def keep(self, refs):
            self.refs = rt.get(refs[0]) + refs
            return os.getpid()

    inner = rt.put(np.arange(LARGE))
    outer = rt.put([inner])
    oids = [inner.hex(), outer.hex()]
    borrower = Borrower.remote()
    pid = rt.get(borrower.keep.remote([outer]))
    del inner, outer
    kept(*oids)
    os.kill(pid, signal.SIGKILL)
    gone(*oids)


@line("GC.4")
@sizes
def test_refs_in_a_result_are_the_callers(rt, kept, gone, size):
    @rt.remote
    def passes(refs):
        return {"given": refs, "made": [rt.put(np.arange(size)) for _ in range(2)]}

    given = rt.put(np.arange(size))
    oids = [given.hex()]
    result = passes.remote([given])
    del given
    value = rt.get(result)
    oids += [ref.hex() for ref in value["made"]]
    del result
    kept(*oids)
    assert [rt.get(ref)[-1] for ref in value["given"] + value["made"]] == [size - 1] * 3
    value["made"].pop()
    gone(oids[2])
    kept(*oids[:2])
    del value
    gone(*oids)


@line("GC.4")
def test_refs_in_an_error_are_kept_with_it(rt, kept, gone):
    class Problem(Exception):
        pass

    @rt.remote
    def fails(refs):
        raise Problem(refs[0])

    inner = rt.put("evidence")
    oid, failed = inner.hex(), fails.remote([inner])
    del inner
    with pytest.raises(Problem) as info:
        rt.get(failed)
    kept(oid)
    assert rt.get(info.value.cause.args[0]) == "evidence"
    del failed, info
    gone(oid)


@line("GC.6")
def test_results_that_nobody_fetched_are_freed(rt, kept, gone):
    refs = rt.remote(num_returns=3)(lambda: [np.arange(LARGE)] * 3).remote()
    rt.wait(refs, num_returns=3)
    oids = [ref.hex() for ref in refs]
    del refs[1]
    gone(oids[1])
    kept(oids[0], oids[2])
    refs.clear()
    gone(*oids)


@line("GC.7")
@needs("processes")
def test_what_a_dead_worker_made_is_still_there(rt):
    """The reference makes it anew from its lineage; here shared memory outlives its writer."""

    @rt.remote
    def make():
        return os.getpid(), np.arange(LARGE)

    @rt.remote(num_returns=2)
    def apart(pair):
        return pair[0], pair[1]

    made = make.remote()
    pid, array = apart.remote(made)
    os.kill(rt.get(made)[0], signal.SIGKILL)
    assert rt.get(pid) == rt.get(made)[0]
    assert rt.get(array)[-1] == rt.get(made)[1][-1] == LARGE - 1


@line("GC.8")
def test_cycles_wait_for_the_garbage_collector(rt, kept, gone):
    gc.disable()
    try:
        cycle = [rt.put("x")]
        oid = cycle[0].hex()
        cycle.append(cycle)
        del cycle
        rt.session.require_client().flush_drops()
        assert rt.session.current().engine.query("object", id=oid)["state"] != "GONE"
        gc.collect()
        gone(oid)
    finally:
        gc.enable()


@line("GC.9")
@needs("processes")
def test_refs_put_by_a_task_outlive_its_worker(rt, kept):
    """Better than the reference, where they go with the worker that put them."""

    @rt.remote
    def make():
        return os.getpid(), [rt.put(np.arange(n)) for n in (SMALL, LARGE)]

    pid, refs = rt.get(make.remote())
    os.kill(pid, signal.SIGKILL)
    kept(*[ref.hex() for ref in refs])
    assert [rt.get(ref)[-1] for ref in refs] == [SMALL - 1, LARGE - 1]


# --- refs that travel by other ways --------------------------------------------------------------


@line("ARG.14", "ARG.15")
def test_refs_in_closures_and_foreign_pickles_stay(rt, kept):
    captured, second = [rt.put("captured")], rt.put("pickled")
    oids = [captured[0].hex(), second.hex()]

    @rt.remote
    def look():
        return rt.get(captured[0])

    assert rt.get(look.remote()) == "captured"
    data = pickle.dumps([second])
    captured.clear()
    del second, look
    kept(*oids)
    (again,) = pickle.loads(data)
    assert rt.get(again) == "pickled"
    del again
    kept(oids[1])


@line("ARG.14")
def test_refs_outside_of_values_can_be_forbidden(rt, monkeypatch):
    monkeypatch.setenv("RAY_allow_out_of_band_object_ref_serialization", "0")
    ref = rt.put(1)
    error = rt.exceptions.OufOfBandObjectRefSerializationException
    with pytest.raises(error, match="outside of a value"):
        pickle.dumps(ref)
    with pytest.raises(error):
        rt.remote(lambda: ref).remote()
    inside = rt.remote(lambda refs: rt.get(refs[0]))
    assert rt.get(inside.remote([ref])) == 1
    assert rt.get(rt.get(rt.put([ref]))[0]) == 1


# --- under load ----------------------------------------------------------------------------------


@line("GC.1", "GC.2")
@needs("background")
@pytest.mark.long
def test_threads_that_put_get_pass_and_drop(rt, gone):
    """In the end nothing is left, and nothing went too early."""
    swap = rt.remote(lambda refs: [rt.put(sum(rt.get(refs))), *refs])
    problems, oids = [], []
    lock = threading.Lock()

    def work(seed):
        try:
            for i in range(8):
                refs = [rt.put(seed + j) for j in range(20)]
                outer = rt.put(refs)
                found = rt.get(outer)
                with lock:
                    oids.extend(ref.hex() for ref in (*refs, outer))
                del refs, outer
                total, *others = rt.get(swap.remote(found))
                assert rt.get(total) == sum(rt.get(others)) == 20 * seed + 190
                if i % 3 == 0:
                    gc.collect()
        except BaseException as e:
            problems.append(e)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems
    gone(*oids)


@line("GC.1", "OBJ.6")
@needs("processes")
@pytest.mark.runtime(num_cpus=2, object_store_memory=64 << 20)
def test_objects_that_somebody_needs_are_never_evicted(rt):
    keep = [rt.put(np.full(LARGE, i)) for i in range(10)]  # 16 MB
    inside = rt.put([rt.put(np.full(LARGE, i)) for i in range(5)])  # 8 MB
    make = rt.remote(lambda i: np.full(4 * LARGE, i))
    for i in range(20):  # 128 MB pass through what is left
        assert rt.get(make.remote(i))[-1] == i
    assert [int(rt.get(ref)[0]) for ref in keep] == list(range(10))
    assert [int(rt.get(ref)[0]) for ref in rt.get(inside)] == list(range(5))


@line("GC.1")
@needs("processes")
def test_a_fork_of_the_driver_drops_nothing(rt, kept):
    refs = [rt.put(i) for i in range(50)]
    outer = rt.put(refs)
    inner = rt.get(outer)
    pid = os.fork()
    if pid == 0:
        refs.clear()
        inner.clear()
        os._exit(0)
    assert poll(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    kept(*[ref.hex() for ref in refs])
    assert rt.get(inner) == list(range(50))
