"""RES: resources and scheduling."""

from __future__ import annotations

import itertools
import os
import time

import pytest

from tests.engines.support import line, needs


@pytest.fixture
def interval():
    """A body that returns when it ran; many of them tell how many ran at once."""

    def interval():
        start = time.monotonic()
        time.sleep(0.01)
        return start, time.monotonic()

    return interval


def overlap(intervals):
    """The most intervals that hold at one moment."""
    steps = sorted([(a, 1) for a, _ in intervals] + [(b, -1) for _, b in intervals])
    return max(itertools.accumulate(change for _, change in steps))


def meet_all(rt, tmp_path, wait_for, note, count, **options):
    """Run ``count`` tasks that end only if all of them run at once."""

    @rt.remote(**options)
    def meet(i):
        note(str(tmp_path / f"{i}"))
        for j in range(count):
            wait_for(str(tmp_path / f"{j}"))
        return i

    assert rt.get([meet.remote(i) for i in range(count)]) == list(range(count))


@line("RES.1")
@pytest.mark.parametrize(("cpus", "most"), [(1, 2), (2, 1), (1.5, 1)])
def test_cpus_limit_what_runs_at_once(rt, interval, cpus, most):
    f = rt.remote(num_cpus=cpus)(interval)
    assert overlap(rt.get([f.remote() for _ in range(8)])) <= most


@line("RES.2")
@needs("background")
@pytest.mark.runtime(num_cpus=1)
def test_fractions_overlap(rt, tmp_path, wait_for, note):
    meet_all(rt, tmp_path, wait_for, note, 4, num_cpus=0.25)


@line("RES.2")
@pytest.mark.runtime(num_cpus=1)
def test_fractions_are_exact(rt, eventually):
    actors = [
        rt.remote(num_cpus=0.1)(type("Tenth", (), {"ready": lambda self: 1})).remote()
        for _ in range(10)
    ]
    assert rt.get([a.ready.remote() for a in actors]) == [1] * 10
    eventually(lambda: "CPU" not in rt.available_resources())
    for actor in actors[:3]:
        rt.kill(actor)
    eventually(lambda: rt.available_resources().get("CPU") == 0.3)
    for actor in actors[3:]:
        rt.kill(actor)
    eventually(lambda: rt.available_resources().get("CPU") == 1.0)


@line("RES.3", "RES.1")
def test_tasks_without_cpus_run_regardless(rt, eventually):
    holder = rt.remote(num_cpus=2)(type("Holder", (), {"ready": lambda self: 1})).remote()
    assert rt.get(holder.ready.remote()) == 1
    f = rt.remote(lambda: "ran")
    waiting = f.remote()
    assert rt.get(f.options(num_cpus=0).remote()) == "ran"
    assert rt.wait([waiting], timeout=0.05) == ([], [waiting])
    rt.kill(holder)
    assert rt.get(waiting) == "ran"


@line("RES.4")
@pytest.mark.runtime(num_cpus=4, resources={"x": 2})
def test_custom_resources_limit_what_runs_at_once(rt, interval):
    f = rt.remote(num_cpus=0, resources={"x": 1})(interval)
    assert overlap(rt.get([f.remote() for _ in range(10)])) <= 2
    g = rt.remote(num_cpus=0, resources={"x": 1.5})(interval)
    assert overlap(rt.get([g.remote() for _ in range(5)])) <= 1


@line("RES.5", "GET.20")
@pytest.mark.parametrize("options", [{"num_cpus": 50}, {"num_gpus": 1}, {"resources": {"no": 1}}])
def test_what_cannot_run_waits(rt, options):
    ref = rt.remote(lambda: 1).options(**options).remote()
    assert rt.get(rt.remote(lambda: 2).remote()) == 2
    assert rt.wait([ref], timeout=0.05) == ([], [ref])
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(ref, timeout=0.05)
    rt.cancel(ref)


@line("RES.6")
@pytest.mark.runtime(num_cpus=1, resources={"x": 1})
def test_resources_come_back(rt, eventually):
    @rt.remote(resources={"x": 1})
    def fail():
        raise ValueError("x")

    @rt.remote(resources={"x": 1})
    class Broken:
        def __init__(self):
            raise ValueError("x")

        def f(self):
            pass

    for ref in [fail.remote() for _ in range(5)]:
        with pytest.raises(ValueError):
            rt.get(ref)
    broken = Broken.remote()
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(broken.f.remote())
    eventually(lambda: rt.available_resources().get("x") == 1.0)
    eventually(lambda: rt.available_resources().get("CPU") == 1.0)


@line("RES.6")
@needs("processes")
@pytest.mark.runtime(num_cpus=1, resources={"x": 1})
def test_resources_of_the_dead_come_back(rt, eventually):
    @rt.remote(resources={"x": 1}, max_retries=0)
    def die():
        os._exit(1)

    for _ in range(2):
        with pytest.raises(rt.exceptions.WorkerCrashedError):
            rt.get(die.remote())
    eventually(lambda: rt.available_resources().get("x") == 1.0)
    eventually(lambda: rt.available_resources().get("CPU") == 1.0)


@line("RES.7")
@pytest.mark.runtime(num_cpus=4, num_gpus=4)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_gpu_ids(rt, count):
    @rt.remote(num_gpus=count)
    def view():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return visible, rt.get_gpu_ids(), rt.get_runtime_context().get_accelerator_ids()["GPU"]

    visible, ids, strings = rt.get(view.remote())
    assert len(set(ids)) == count and set(ids) <= {0, 1, 2, 3}
    assert strings == [str(i) for i in ids]
    assert visible == ",".join(strings)


@line("RES.7", "RES.9")
@pytest.mark.runtime(num_cpus=4, num_gpus=4)
def test_the_environment_of_gpus_stays_with_its_task(rt):
    """Neither the driver nor a later task without GPUs sees what a GPU task was given."""
    read = rt.remote(lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
    mine = os.environ.get("CUDA_VISIBLE_DEVICES")
    for _ in range(3):
        assert rt.get(read.options(num_gpus=1).remote()) in ("0", "1", "2", "3")
        assert rt.get([read.remote() for _ in range(6)]) == [mine] * 6
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == mine


@line("RES.9")
def test_no_gpu_ids(rt):
    assert rt.get(rt.remote(lambda: rt.get_gpu_ids()).remote()) == []
    assert rt.get_gpu_ids() == []


@pytest.fixture
def Gpu(rt):
    @rt.remote
    class Gpu:
        def ids(self):
            return rt.get_gpu_ids()

    return Gpu


@line("RES.8")
@pytest.mark.runtime(num_cpus=8, num_gpus=4)
def test_whole_gpus_are_disjoint(rt, Gpu):
    actors = [Gpu.options(num_gpus=n).remote() for n in (1, 2, 1)]
    ids = rt.get([a.ids.remote() for a in actors])
    assert [len(i) for i in ids] == [1, 2, 1]
    assert sorted(itertools.chain(*ids)) == [0, 1, 2, 3]


@line("RES.8")
@pytest.mark.runtime(num_cpus=8, num_gpus=2)
def test_fractions_of_gpus_are_packed(rt, Gpu):
    actors = []
    seen = []
    for _ in range(4):
        actors.append(Gpu.options(num_gpus=0.5).remote())
        seen += rt.get(actors[-1].ids.remote())
    assert seen[0] == seen[1] != seen[2] == seen[3]


@line("RES.8", "RES.6")
@pytest.mark.runtime(num_cpus=8, num_gpus=1)
def test_a_gpu_comes_back(rt, Gpu):
    for _ in range(3):
        actor = Gpu.options(num_gpus=1).remote()
        assert rt.get(actor.ids.remote()) == [0]
        rt.kill(actor)


@line("RES.11")
@pytest.mark.runtime(num_cpus=1)
def test_blocked_parents_release_their_cpu(rt):
    @rt.remote
    def fib(n):
        return n if n < 2 else sum(rt.get([fib.remote(n - 1), fib.remote(n - 2)]))

    assert rt.get(fib.remote(6)) == 8


@line("RES.11")
@pytest.mark.runtime(num_cpus=1)
def test_a_deep_chain_on_one_cpu(rt):
    @rt.remote
    def chain(n):
        return 0 if n == 0 else 1 + rt.get(chain.remote(n - 1))

    assert rt.get(chain.remote(12)) == 12


@line("RES.12")
@pytest.mark.runtime(num_cpus=2, resources={"r": 1})
def test_only_cpus_are_released(rt):
    @rt.remote(resources={"r": 1})
    def child():
        return 1

    @rt.remote(resources={"r": 1})
    def parent():
        ref = child.remote()
        try:
            return rt.get(ref, timeout=0.2)
        except rt.exceptions.GetTimeoutError:
            return "held"

    assert rt.get(parent.remote()) == "held"


@line("RES.13")
@pytest.mark.runtime(num_cpus=1)
def test_actors_keep_their_cpu(rt):
    child = rt.remote(lambda: 1)

    @rt.remote(num_cpus=1)
    class Actor:
        def wait(self):
            try:
                return rt.get(child.remote(), timeout=0.2)
            except rt.exceptions.GetTimeoutError:
                return "held"

    actor = Actor.remote()
    assert rt.get(actor.wait.remote()) == "held"


@line("RES.14")
@pytest.mark.runtime(num_cpus=2, resources={"x": 2})
@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({}, {"CPU": 1.0}),
        ({"num_cpus": 0}, {}),
        ({"num_cpus": 0.5, "resources": {"x": 1}}, {"CPU": 0.5, "x": 1.0}),
    ],
)
def test_assigned_resources(rt, options, held):
    f = rt.remote(lambda: rt.get_runtime_context().get_assigned_resources())
    assert rt.get(f.options(**options).remote()) == held


@line("RES.21")
@pytest.mark.runtime(num_cpus=0)
def test_no_cpus_at_all(rt):
    assert "CPU" not in rt.cluster_resources()
    f = rt.remote(lambda: 1)
    pending = f.remote()
    assert rt.get(rt.put(5)) == 5
    assert rt.get(f.options(num_cpus=0).remote()) == 1
    assert rt.wait([pending], timeout=0.05) == ([], [pending])


@line("RES.1")
@pytest.mark.runtime(num_cpus=8)
@needs("background")
def test_more_logical_cpus_than_real_ones(rt, tmp_path, wait_for, note):
    meet_all(rt, tmp_path, wait_for, note, 8, num_cpus=1)
