"""CAN: cancellation."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.engines.support import DEADLINE, line, needs, raises_task_error


@pytest.fixture
def cancelled(rt):
    """``cancelled(ref)``: its get raises TaskCancelledError."""

    def check(ref):
        with pytest.raises(rt.exceptions.TaskCancelledError):
            rt.get(ref)

    return check


@line("CAN.1")
def test_what_has_no_effect(rt):
    done, put = rt.remote(lambda: 1).remote(), rt.put(2)
    assert rt.get(done) == 1
    assert rt.cancel(done) is None
    assert rt.cancel(put) is None
    assert rt.get([done, put]) == [1, 2]
    for wrong in (5, "ref", [done]):
        with pytest.raises(TypeError):
            rt.cancel(wrong)


@line("CAN.2")
def test_a_task_that_waits_for_resources(rt, never, cancelled):
    ref = never()
    rt.cancel(ref)
    rt.cancel(ref)
    cancelled(ref)
    cancelled(ref)


@line("CAN.2", "CAN.8")
def test_a_task_that_waits_for_arguments(rt, never, cancelled, tmp_path, note):
    path = str(tmp_path / "ran")

    @rt.remote
    def use(x):
        note(path)

    pending = never()
    waiting, dependent = use.remote(pending), None
    dependent = use.remote(waiting)
    rt.cancel(waiting)
    cancelled(waiting)
    cancelled(dependent)
    other = use.remote(pending)
    rt.cancel(pending)
    cancelled(other)
    assert not os.path.exists(path)


@line("CAN.2")
@needs("background")
@pytest.mark.runtime(num_cpus=1)
def test_a_queued_task_never_runs(rt, cancelled, tmp_path, wait_for, note):
    go, path = str(tmp_path / "go"), str(tmp_path / "ran")

    @rt.remote
    def block():
        wait_for(go)
        return "blocked"

    @rt.remote
    def run():
        note(path)

    blocked = block.remote()
    queued = [run.remote() for _ in range(10)]
    for ref in queued:
        rt.cancel(ref)
    for ref in queued:
        cancelled(ref)
    note(go)
    assert rt.get(blocked) == "blocked"
    assert rt.get(rt.remote(lambda: 1).remote()) == 1
    assert not os.path.exists(path)


@line("CAN.3", "CAN.7")
@needs("background")
def test_a_running_task(rt, cancelled, tmp_path, wait_for, note):
    started, caught = str(tmp_path / "started"), str(tmp_path / "caught")

    @rt.remote(max_retries=3, retry_exceptions=True)
    def run():
        note(started)
        try:
            wait_for(caught + ".never")
        except KeyboardInterrupt:
            note(caught)
            raise

    ref = run.remote()
    wait_for(started)
    rt.cancel(ref)
    cancelled(ref)
    wait_for(caught)
    with open(started) as f:
        assert len(f.readlines()) == 1  # not retried
    assert rt.get(rt.remote(lambda: 1).remote()) == 1


@line("CAN.3")
@needs("processes", "background")
def test_a_task_whose_arguments_are_being_unpickled(rt, cancelled, tmp_path, wait_for, note):
    unpickling, ran = str(tmp_path / "unpickling"), str(tmp_path / "ran")

    class Argument:
        def __reduce__(self):
            return unpickle, ()

    def unpickle():
        """Take until the cancellation has arrived: its signal."""
        arrived = []
        worker = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *a: (arrived.append(a), worker(*a)))
        note(unpickling)
        end = time.monotonic() + DEADLINE
        while not arrived and time.monotonic() < end:
            time.sleep(0.004)
        signal.signal(signal.SIGINT, worker)

    @rt.remote
    def run(x):
        note(ran)

    ref = run.remote(Argument())
    wait_for(unpickling)
    rt.cancel(ref)
    cancelled(ref)
    assert rt.get(rt.remote(lambda: 1).remote()) == 1
    assert not os.path.exists(ran)


@line("CAN.3")
@needs("background")
def test_a_task_blocked_in_get(rt, cancelled, never, tmp_path, wait_for, note):
    started = str(tmp_path / "started")
    pending = [never()]

    @rt.remote
    def run():
        note(started)
        return rt.get(pending[0])

    ref = run.remote()
    wait_for(started)
    rt.cancel(ref)
    cancelled(ref)
    rt.cancel(pending[0])


@line("CAN.5")
@needs("background")
def test_a_body_that_catches_it(rt, tmp_path, wait_for, note):
    started = str(tmp_path / "started")

    @rt.remote
    def run():
        note(started)
        try:
            wait_for(started + ".never")
        except KeyboardInterrupt:
            return "caught"

    ref = run.remote()
    wait_for(started)
    rt.cancel(ref)
    assert rt.get(ref) == "caught"


@line("CAN.6", "CAN.7")
@needs("processes", "background")
def test_force(rt, tmp_path, wait_for, note, pid_gone):
    started, go = str(tmp_path / "started"), str(tmp_path / "go")

    @rt.remote
    def stubborn():
        note(started, str(os.getpid()))
        while True:
            try:
                wait_for(started + ".never")
            except KeyboardInterrupt:
                pass

    @rt.remote
    def other():
        wait_for(go)
        return "unhurt"

    refs = [stubborn.remote(), other.remote()]
    wait_for(started)
    rt.cancel(refs[0], force=True)
    with pytest.raises((rt.exceptions.TaskCancelledError, rt.exceptions.WorkerCrashedError)):
        rt.get(refs[0])
    note(go)
    assert rt.get(refs[1]) == "unhurt"
    with open(started) as f:
        (pid,) = f.read().split()
    assert pid_gone(int(pid))


@line("CAN.9")
@needs("background")
def test_children_are_cancelled_too(rt, cancelled, tmp_path, wait_for, note):
    started, stored = str(tmp_path / "started"), str(tmp_path / "stored")

    @rt.remote
    def child():
        note(started)
        wait_for(started + ".never")

    @rt.remote
    def parent(box):
        ref = child.remote()
        rt.get(box[0].put.remote([ref]))  # a child too, and to be over when the cancel comes
        note(stored)
        return rt.get(ref)

    @rt.remote
    class Box:
        def put(self, refs):
            self.refs = refs

        def take(self):
            return self.refs

    box = Box.remote()
    ref = parent.remote([box])
    wait_for(started)
    wait_for(stored)
    rt.cancel(ref)
    cancelled(ref)
    (inner,) = rt.get(box.take.remote())
    cancelled(inner)


@line("CAN.10")
def test_a_call_of_an_actor_that_is_not_alive(rt, cancelled):
    @rt.remote(resources={"never": 1})
    class Actor:
        def f(self):
            pass

    actor = Actor.remote()
    refs = [actor.f.remote() for _ in range(3)]
    rt.cancel(refs[1])
    cancelled(refs[1])
    assert rt.wait(refs, num_returns=3, timeout=0) == ([refs[1]], [refs[0], refs[2]])


@line("CAN.10")
@needs("background")
def test_a_queued_call_of_a_busy_actor(rt, cancelled, tmp_path, wait_for, note):
    go = str(tmp_path / "go")

    @rt.remote
    class Actor:
        def __init__(self):
            self.seen = []

        def block(self):
            wait_for(go)
            return "blocked"

        def call(self, i):
            self.seen.append(i)
            return list(self.seen)

    actor = Actor.remote()
    blocked = actor.block.remote()
    refs = [actor.call.remote(i) for i in range(3)]
    rt.cancel(refs[1])
    rt.available_resources()  # an answer of the node: it has passed the cancellation on
    note(go)
    assert rt.get(blocked) == "blocked"
    cancelled(refs[1])
    assert rt.get([refs[0], refs[2]]) == [[0], [0, 2]]


@line("CAN.15")
def test_any_holder_may_cancel(rt, never, cancelled):
    ref = never()

    @rt.remote
    def stop(refs):
        rt.cancel(refs[0])

    rt.get(stop.remote([ref]))
    cancelled(ref)


@line("CAN.4")
@needs("background")
def test_a_body_in_one_c_call_is_interrupted_at_once(rt, cancelled, tmp_path, wait_for, note):
    """Better than the reference, where it goes on until the call returns."""
    started = str(tmp_path / "started")

    @rt.remote
    def sleep():
        note(started)
        time.sleep(1000)

    ref = sleep.remote()
    wait_for(started)
    rt.cancel(ref)
    cancelled(ref)


@line("CAN.10")
def test_a_call_that_waits_for_an_argument(rt, never, cancelled):
    """In the reference the calls behind it stand still for a while, and then fail."""

    @rt.remote
    class Actor:
        def call(self, x):
            return x

    actor, pending = Actor.remote(), never()
    refs = [actor.call.remote(0), actor.call.remote(pending), actor.call.remote(2)]
    assert rt.get(refs[0]) == 0
    rt.cancel(refs[1])
    cancelled(refs[1])
    assert rt.get(refs[2]) == 2
    rt.cancel(pending)


@pytest.fixture(params=["async", "threaded"])
def Full(request, rt, wait_for, note):
    """An actor that runs one call at a time in another thread than the main one."""

    class Base:
        def __init__(self):
            self.calls = []

        def block(self, started, gate):
            note(started)
            wait_for(gate)
            return rt.get_runtime_context().get_task_id()

        def call(self, i):
            self.calls.append(i)
            return list(self.calls)

    if request.param == "threaded":
        return rt.remote(max_concurrency=1, concurrency_groups={"spare": 1})(Base)

    class Coroutines(Base):
        async def block(self, started, gate):
            note(started)
            while not os.path.exists(gate):
                await asyncio.sleep(0.004)

        async def call(self, i):
            return super().call(i)

    return rt.remote(max_concurrency=1, concurrency_groups={"spare": 1})(Coroutines)


@line("CAN.10")
@needs("overlap")
def test_a_queued_call_of_a_concurrent_actor(rt, Full, cancelled, tmp_path, wait_for, note):
    started, gate = str(tmp_path / "started"), str(tmp_path / "gate")
    actor = Full.remote()
    blocked = actor.block.remote(started, gate)
    refs = [actor.call.remote(i) for i in range(4)]
    wait_for(started)
    rt.cancel(refs[1])
    rt.cancel(refs[2])
    # It comes behind the cancellations, and does not wait for the others.
    rt.get(actor.__ray_ready__.options(concurrency_group="spare").remote())
    note(gate)
    rt.get(blocked)
    for ref in refs[1:3]:
        cancelled(ref)
    assert rt.get([refs[0], refs[3]]) == [[0], [0, 3]]


@line("CAN.11")
@needs("background")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_running_call_is_told_and_not_interrupted(
    rt, cancelled, tmp_path, wait_for, note, threads
):
    started, seen = str(tmp_path / "started"), str(tmp_path / "seen")

    @rt.remote(max_concurrency=threads)
    class Actor:
        def run(self):
            context = rt.get_runtime_context()
            before = context.is_canceled()
            note(started)
            end = time.monotonic() + DEADLINE
            while not context.is_canceled() and time.monotonic() < end:
                time.sleep(0.004)
            note(seen, f"{before} {context.is_canceled()}")
            return "completed"

        def ping(self):
            return rt.get_runtime_context().is_canceled()

    actor = Actor.remote()
    ref = actor.run.remote()
    wait_for(started)
    rt.cancel(ref)
    cancelled(ref)
    with open(seen) as f:
        assert f.read().split() == ["False", "True"]
    assert rt.get(actor.ping.remote()) is False


@needs("background")
@pytest.mark.parametrize("way", ["channel", "node"])
def test_a_running_call_of_an_interruptible_actor(rt, cancelled, tmp_path, wait_for, note, way):
    """Not in the reference: the call gets a KeyboardInterrupt, and the actor keeps its state."""

    @rt.remote
    class Keeper:
        __fanlight_interruptible__ = True

        def __init__(self):
            self.kept = []

        def run(self, started, _=None):
            self.kept.append("begun")
            note(started)
            try:
                time.sleep(1000)
            finally:
                self.kept.append("ended")

        def get(self):
            return self.kept

    keeper = Keeper.remote()
    # A call with a ref that is not made yet goes by the node.
    extra = [rt.remote(lambda: 1).remote()] if way == "node" else []
    for i in (1, 2):
        started = str(tmp_path / f"started-{i}")
        ref = keeper.run.remote(started, *extra)
        behind = keeper.get.remote()
        wait_for(started)
        rt.cancel(ref)
        cancelled(ref)
        assert rt.get(behind) == ["begun", "ended"] * i


@line("CAN.11")
def test_is_canceled_outside_of_sync_methods(rt):
    @rt.remote
    class Actor:
        async def ask(self):
            return rt.get_runtime_context().is_canceled()

    with pytest.raises(RuntimeError):
        rt.get_runtime_context().is_canceled()
    with pytest.raises(RuntimeError):
        rt.get(Actor.remote().ask.remote())


@line("CAN.12")
@needs("overlap")
@pytest.mark.parametrize("swallow", [False, True])
def test_a_running_async_call(rt, cancelled, tmp_path, wait_for, note, swallow):
    started, caught = str(tmp_path / "started"), str(tmp_path / "caught")

    @rt.remote
    class Actor:
        async def run(self):
            note(started)
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                note(caught)
                if not swallow:
                    raise
            return "completed"

        async def ping(self):
            return "pong"

    actor = Actor.remote()
    ref = actor.run.remote()
    wait_for(started)
    rt.cancel(ref)
    cancelled(ref)
    wait_for(caught)
    assert rt.get(actor.ping.remote()) == "pong"


@line("CAN.12", "ACC.4")
def test_a_cancelled_error_of_its_own_is_no_cancellation(rt):
    @rt.remote
    class Actor:
        async def run(self):
            other = asyncio.ensure_future(asyncio.sleep(1000))
            other.cancel()
            await other

    with pytest.raises(rt.exceptions.RayTaskError) as info:
        rt.get(Actor.remote().run.remote())
    assert not isinstance(info.value, rt.exceptions.TaskCancelledError)
    assert isinstance(info.value.cause, asyncio.CancelledError)


@line("CAN.13")
def test_force_is_for_tasks(rt):
    @rt.remote
    class Actor:
        def call(self):
            return 1

    actor = Actor.remote()
    ref = actor.call.remote()
    with pytest.raises(ValueError, match=r"force=True.*kill\(\)"):
        rt.cancel(ref, force=True)
    assert rt.get(ref) == 1

    @rt.remote
    def stop(refs):
        rt.cancel(refs[0], force=True)

    with pytest.raises(ValueError, match="force=True"):
        rt.get(stop.remote([ref]))


@line("CAN.8")
def test_dependents_of_a_cancelled_call(rt, never):
    @rt.remote
    class Actor:
        def call(self, x):
            return x

    actor, pending = Actor.remote(), never()
    ref = actor.call.remote(pending)
    use = rt.remote(lambda x: x)
    chain = [use.remote(ref), actor.call.remote(ref)]
    chain.append(use.remote(chain[0]))
    rt.cancel(ref)
    for dependent in chain:
        with raises_task_error(rt, rt.exceptions.TaskCancelledError):
            rt.get(dependent)
    rt.cancel(pending)


@line("CAN.1")
@needs("background")
def test_cancellations_that_come_too_late_hit_nobody(rt):
    """Of tasks that are over when the worker hears of it; the next ones are untouched."""
    quick = rt.remote(lambda x: x)
    for _ in range(5):
        refs = [quick.remote(i) for i in range(40)]
        for ref in refs:
            rt.cancel(ref)
        for i, ref in enumerate(refs):
            try:
                assert rt.get(ref) == i
            except rt.exceptions.TaskCancelledError:
                pass
    assert rt.get([quick.remote(i) for i in range(100)]) == list(range(100))
