"""FLT.10 to FLT.12, OBJ.6: lost results are computed again, or everybody hears why not.

On `inproc`, whose values are in no shared memory, a hook loses them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import pytest

from fanlight import session
from fanlight.testing.losses import WAYS, lose
from fanlight.testing.losses import segment as segment_of
from tests.engines.support import line, needs, poll, raises_task_error

N = 200_000  # bytes: such a result goes to shared memory


@pytest.fixture(autouse=True)
def nothing_left(request):
    """What was lost and made again is freed like anything else."""
    yield
    if "rt" in request.fixturenames:
        gc.collect()
        client = session.require_client()
        assert poll(lambda: client.query("store")["objects"] == 0), client.query("store")


@pytest.fixture
def counted(tmp_path, note):
    """``count(name)`` notes a call, and returns how many there were."""

    def count(name="x"):
        path = str(tmp_path / name)
        note(path)
        with open(path) as file:
            return len(file.readlines())

    return count


def runs(counted, name="x"):
    return counted(name) - 1


@pytest.fixture
def make(rt, counted):
    """A task with a large result, whose first byte is the number of the run."""

    @rt.remote
    def make(*args, name="x"):
        return bytes([counted(name)]) + bytes(N)

    return make


def ready(rt, *refs):
    rt.wait([*refs], num_returns=len(refs))
    return refs[0] if len(refs) == 1 else refs


def gone(object_id):
    """Whether the runtime has forgotten an object."""
    return session.require_client().query("object", id=object_id)["state"] == "GONE"


@line("FLT.10")
@pytest.mark.parametrize("way", WAYS)
def test_a_lost_result_is_computed_again(rt, make, counted, way):
    ref = ready(rt, make.remote())
    lose(ref, way)
    value = rt.get(ref)
    assert value[0] == 2 and len(value) == N + 1
    assert rt.get(ref)[0] == 2, "it stays"
    assert runs(counted) == 2


@line("FLT.10")
def test_within_max_retries(rt, make, counted):
    ref = ready(rt, make.options(max_retries=1).remote())
    lose(ref)
    assert rt.get(ref)[0] == 2
    lose(ref)
    with pytest.raises(rt.exceptions.ObjectReconstructionFailedError) as info:
        rt.get(ref)
    assert "MAX_ATTEMPTS_EXCEEDED" in str(info.value) and "max_retries" in str(info.value)
    assert info.value.object_ref_hex == ref.hex()
    assert runs(counted) == 2


@line("FLT.10")
@pytest.mark.parametrize("held", [True, False])
def test_a_chain_of_lost_results(rt, make, counted, held):
    refs = [make.remote(name="0")]
    for i in range(1, 50):
        refs.append(make.remote(refs[-1], name=str(i)))
    ready(rt, *refs)
    last = refs[-1]
    if held:
        for i in range(50):
            lose(refs[i])
    else:  # the arguments are gone, too, since nobody holds them any more
        first = refs[0].hex()
        refs.clear()
        assert poll(lambda: gone(first))
        lose(last)
    assert rt.get(last)[0] == 2
    assert [runs(counted, str(i)) for i in range(50)] == [2] * 50


@line("FLT.10")
def test_many_lost_results_at_once(rt, make, counted):
    refs = [make.remote(name=str(i)) for i in range(10)]
    ready(rt, *refs)
    for i in range(0, 10, 2):
        lose(refs[i])
    assert [value[0] for value in rt.get(refs)] == [2, 1] * 5


@line("FLT.10")
def test_small_arguments_are_remembered(rt, counted):
    @rt.remote
    def repeat(small, inside, *, times):
        counted()
        return (small + rt.get(inside[0])) * times

    small, inside = rt.put(b"a"), rt.put(b"b")
    ref = ready(rt, repeat.remote(small, [inside], times=N))
    del small, inside
    lose(ref)
    assert rt.get(ref) == b"ab" * N
    assert runs(counted) == 2


@line("FLT.10")
def test_arguments_of_tasks_are_waited_for(rt, make):
    first = rt.remote(max_retries=0)(lambda x: x[0])  # it has not begun, and may yet
    ref = ready(rt, make.remote())
    lose(ref)
    assert rt.get(first.remote(ref)) == 2
    assert rt.get(rt.remote(lambda refs: rt.get(refs[0])[0]).remote([ref])) == 2


@line("FLT.10")
@pytest.mark.parametrize("kind", ["plain", "async", "threaded"])
def test_arguments_of_actors_are_waited_for(rt, make, kind):
    class Plain:
        def __init__(self, value):
            self.value = value[0]

        def add(self, value):
            return self.value + value[0]

    class Async(Plain):
        async def add(self, value):
            return self.value + value[0]

    refs = [make.remote(name="a"), make.remote(name="b")]
    ready(rt, *refs)
    lose(refs[0])
    cls = rt.remote(Async if kind == "async" else Plain)
    actor = cls.options(max_concurrency=2 if kind == "threaded" else None).remote(refs[0])
    assert rt.get(actor.add.remote(b"\1")) == 3
    lose(refs[1])
    assert rt.get([actor.add.remote(refs[1]), actor.add.remote(b"\2")]) == [4, 4]


@line("FLT.10")
@needs("processes")
@pytest.mark.runtime(num_cpus=1, num_gpus=1)
def test_what_is_waited_for_may_need_what_the_waiting_one_has(rt, make):
    """A task holds nothing while its argument is computed again; nor does an actor to be."""

    @rt.remote(num_gpus=1)
    class Holder:
        def __init__(self, value):
            self.value = value[0]

        def get(self):
            return self.value

    make = make.options(num_gpus=1)
    ref = ready(rt, make.remote())
    lose(ref)
    assert rt.get(rt.remote(num_gpus=1)(lambda x: x[0]).remote(ref)) == 2
    lose(ref)
    holder = Holder.remote(ref)
    assert rt.get(holder.get.remote()) == 3
    rt.kill(holder)


@line("FLT.10")
def test_however_it_is_asked_for(rt, make):
    ref = ready(rt, make.remote())
    lose(ref)
    assert ref.future().result(timeout=60)[0] == 2
    lose(ref)

    async def ask():
        return await ref

    assert asyncio.run(ask())[0] == 3
    lose(ref)
    assert rt.wait([ref], timeout=60) == ([ref], [])
    assert rt.get([ref, ref])[0][0] == 4


@line("FLT.10")
def test_results_of_one_task_are_one_run(rt, counted):
    @rt.remote(num_returns=3)
    def three():
        count = counted()
        return [bytes([count]) + bytes(N) for _ in range(3)]

    refs = three.remote()
    ready(rt, *refs)
    lose(refs[0])
    lose(refs[1])
    assert [value[0] for value in rt.get(refs)] == [2, 2, 1], "the third was not lost"
    assert runs(counted) == 2


@line("FLT.10")
def test_an_item_of_a_generator(rt, counted):
    @rt.remote
    def items(n):
        count = counted()
        for i in range(n):
            yield bytes([count, i]) + bytes(N)

    refs = list(items.remote(4))
    ready(rt, *refs)
    lose(refs[1])
    lose(refs[3])
    assert [tuple(value[:2]) for value in rt.get(refs)] == [(1, 0), (2, 1), (1, 2), (2, 3)]
    assert runs(counted) == 2


@line("FLT.10")
def test_a_generator_that_yields_less_the_second_time(rt, counted):
    @rt.remote
    def items():
        for _ in range(4 - counted()):
            yield bytes(N)

    refs = list(items.remote())
    ready(rt, *refs)
    lose(refs[0])
    lose(refs[2])
    with pytest.raises(rt.exceptions.RayError, match="yielded only 2"):
        rt.get(refs[2])
    assert len(rt.get(refs[0])) == N


@line("FLT.10")
def test_the_second_run_raises(rt, counted):
    @rt.remote
    def flaky():
        if counted() == 2:
            raise ValueError("not twice")
        return bytes(N)

    ref = ready(rt, flaky.remote())
    lose(ref)
    with raises_task_error(rt, ValueError, match="not twice"):
        rt.get(ref)


@line("FLT.10")
@needs("background")
def test_meanwhile(rt, counted, tmp_path, wait_for, note):
    """What is seen while it is computed again; a timeout ends the waiting only."""
    gate = str(tmp_path / "gate")

    @rt.remote
    def slow():
        count = counted()
        if count > 1:
            wait_for(gate)
        return bytes([count]) + bytes(N)

    ref = ready(rt, slow.remote())
    lose(ref)
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(ref, timeout=0.2)
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get([ref], timeout=0.05)
    answer = session.require_client().query("task", id=ref.task_id().hex())
    assert "being computed again, because its result was lost: its file" in answer["why"]
    assert rt.wait([ref], timeout=0)[0] == []
    note(gate)
    assert rt.get(ref)[0] == 2


@line("FLT.10")
@needs("background")
def test_cancelled_meanwhile(rt, counted):
    @rt.remote
    def slow():
        if counted() > 1:
            time.sleep(60)
        return bytes(N)

    ref = ready(rt, slow.remote())
    lose(ref)
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(ref, timeout=0.2)
    rt.cancel(ref)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(ref)


@line("FLT.10")
@needs("background")
def test_shutdown_meanwhile(fresh, counted):
    fresh.init(num_cpus=1)
    rt = fresh.fanlight

    @rt.remote
    def slow():
        if counted() > 1:
            time.sleep(60)
        return bytes(N)

    ref = ready(rt, slow.remote())
    lose(ref)
    errors = []

    def get():
        try:
            rt.get(ref)
        except Exception as e:
            errors.append(e)

    thread = threading.Thread(target=get)
    thread.start()
    assert poll(lambda: runs(counted) >= 2)
    rt.shutdown()
    thread.join(20)
    assert not thread.is_alive() and len(errors) == 1


@line("FLT.10")
@needs("processes")
def test_a_worker_dies_while_it_computes_it_again(rt, counted):
    @rt.remote
    def mortal():
        if counted() == 2:
            os._exit(1)
        return bytes(N)

    ref = ready(rt, mortal.remote())
    lose(ref)
    assert len(rt.get(ref)) == N
    assert runs(counted) == 3


@line("FLT.10", "FLT.11")
def test_calls_of_an_actor(rt, counted):
    @rt.remote
    class Maker:
        def make(self):
            return bytes([counted()]) + bytes(N)

    again = Maker.options(max_task_retries=1).remote()
    ref = ready(rt, again.make.remote())
    lose(ref)
    assert rt.get(ref)[0] == 2
    other = ready(rt, again.make.remote())
    rt.kill(again)
    lose(other)
    with pytest.raises(rt.exceptions.ObjectReconstructionFailedError, match="ACTOR_DIED"):
        rt.get(other)
    once = Maker.remote()
    refs = [once.make.remote() for _ in range(3)]  # by the node, and on a channel
    ready(rt, *refs)
    for i in range(3):
        lose(refs[i])
        with pytest.raises(rt.exceptions.ObjectReconstructionFailedError) as info:
            rt.get(refs[i])
        assert "RETRIES_DISABLED" in str(info.value) and "max_task_retries" in str(info.value)


@line("FLT.11")
def test_results_of_tasks_that_may_not_run_twice(rt, make, counted):
    ref = ready(rt, make.options(max_retries=0).remote())
    lose(ref)
    with pytest.raises(rt.exceptions.ObjectReconstructionFailedError) as info:
        rt.get(ref)
    assert "RETRIES_DISABLED" in str(info.value) and "max_retries=0" in str(info.value)
    assert runs(counted) == 1


@line("FLT.12", "OBJ.6")
def test_what_was_put(rt, make):
    ref = rt.put(bytes(N))
    lose(ref)
    failed = rt.exceptions.ObjectReconstructionFailedError
    for ask in (lambda: rt.get(ref), lambda: rt.get([ref]), lambda: rt.get(make.remote(ref))):
        with pytest.raises(failed, match=r"(?s)put.*PUT"):
            ask()
    assert rt.wait([ref], timeout=60) == ([ref], [])
    assert rt.get(rt.put(1)) == 1, "nothing else is lost"


@line("FLT.10")
def test_refs_that_came_in_a_lost_value_stay_good(rt):
    @rt.remote
    def outer():
        return rt.put(b"inner"), bytes(N)

    ref = outer.remote()
    inner = rt.get(ref)[0]
    lose(ref)
    again = rt.get(ref)[0]
    assert rt.get([inner, again]) == [b"inner", b"inner"]


@line("FLT.12", "OBJ.6")
@needs("processes")
def test_what_is_also_on_disk_is_not_lost(fresh):
    fresh.init(num_cpus=1, object_store_memory=8_000_000)
    rt = fresh.fanlight
    refs = [rt.put(bytes([i]) * 3_000_000) for i in range(4)]
    query = session.require_client().query
    assert poll(lambda: query("store")["used"] <= 8_000_000)
    for _ in range(3):
        for i in range(4):
            assert rt.get(refs[i]) == bytes([i]) * 3_000_000
        # The last ones came back just now, and their files are still there.
        assert segment_of(refs[3]).name[0] == "r"
        lose(refs[3])


@line("FLT.12")
def test_an_argument_that_was_put_and_dropped(rt, make):
    put = rt.put(bytes(N))
    ref = ready(rt, make.remote(put))
    hexadecimal = put.hex()
    del put
    assert poll(lambda: gone(hexadecimal))
    lose(ref)
    with pytest.raises(
        rt.exceptions.ObjectReconstructionFailedError, match="argument of it is gone"
    ):
        rt.get(ref)


def test_what_is_remembered_is_bounded(fresh, monkeypatch, counted):
    monkeypatch.setenv("RAY_max_lineage_bytes", "3000")
    fresh.init(num_cpus=1)
    rt = fresh.fanlight

    @rt.remote
    def large(i):
        return bytes([counted(str(i))]) + bytes(N)

    refs = [large.remote(i) for i in range(5)]
    ready(rt, *refs)
    for i in range(5):
        lose(refs[i])
    with pytest.raises(rt.exceptions.ObjectReconstructionFailedError, match="LINEAGE_EVICTED"):
        rt.get(refs[0])
    assert rt.get(refs[4])[0] == 2


@needs("output")
def test_the_driver_is_told(fresh, capsys, counted):
    fresh.init(num_cpus=1)
    rt = fresh.fanlight

    @rt.remote
    def large():
        return bytes([counted()]) + bytes(N)

    ref = ready(rt, large.remote())
    lose(ref, "cut")
    assert rt.get(ref)[0] == 2
    rt.shutdown()
    shown = "".join(capsys.readouterr())
    assert "large is run again, since a result was lost: its file in shared memory has" in shown
    assert "There are 2 retries remaining" in shown
