"""ACC.6, ACC.7: concurrency groups; ACT.19: the limit of a handle's outstanding calls."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.engines.support import line, needs

GROUPS = {"io": 2, "compute": 1}


@pytest.fixture
def Sync(rt, wait_for):
    @rt.remote(concurrency_groups=GROUPS)
    class Sync:
        def __init__(self):
            self.lock = threading.Lock()
            self.now = {"io": 0, "compute": 0, "": 0}
            self.most = dict(self.now)

        def _in(self, group, gate):
            with self.lock:
                self.now[group] += 1
                self.most[group] = max(self.most[group], self.now[group])
            if gate:
                wait_for(gate)
            with self.lock:
                self.now[group] -= 1
            return threading.current_thread() is threading.main_thread()

        @rt.method(concurrency_group="io")
        def io(self, gate=""):
            return self._in("io", gate)

        @rt.method(concurrency_group="compute")
        def compute(self, gate=""):
            return self._in("compute", gate)

        def plain(self, gate=""):
            return self._in("", gate)

        def seen(self):
            return dict(self.now), dict(self.most)

    return Sync


@line("ACC.6")
@needs("overlap")
def test_each_group_has_its_own_limit(rt, Sync, tmp_path, note, eventually):
    actor, gate = Sync.remote(), str(tmp_path / "gate")
    refs = [actor.io.remote(gate) for _ in range(5)]
    refs += [actor.compute.remote(gate) for _ in range(3)]
    eventually(lambda: rt.get(actor.seen.remote())[0] == {"io": 2, "compute": 1, "": 0})
    note(gate)
    rt.get(refs)
    assert rt.get(actor.seen.remote())[1] == {"io": 2, "compute": 1, "": 0}


@line("ACC.6")
def test_groups_are_accepted_by_every_engine(rt, Sync):
    actor = Sync.remote()
    calls = [actor.io, actor.compute, actor.plain, actor.plain.options(concurrency_group="io")]
    rt.get([call.remote() for call in calls * 5])
    now, most = rt.get(actor.seen.remote())
    assert now == {"io": 0, "compute": 0, "": 0}
    assert most["compute"] == 1


@line("ACC.6")
@needs("overlap")
def test_a_full_group_does_not_block_others(rt, Sync, tmp_path, note):
    actor, gate = Sync.remote(), str(tmp_path / "gate")
    # More than are sent to an actor's process ahead of time.
    blocked = [actor.compute.remote(gate) for _ in range(400)]
    assert rt.get([actor.io.remote(), actor.plain.remote()]) == [False, False]
    assert rt.wait(blocked, timeout=0)[0] == []
    note(gate)
    rt.get(blocked)


@line("ACC.6")
@needs("overlap")
def test_a_group_of_one_keeps_its_order(rt):
    @rt.remote(concurrency_groups={"one": 1, "two": 2})
    class Actor:
        def __init__(self):
            self.calls = []

        @rt.method(concurrency_group="one")
        def call(self, i):
            self.calls.append(i)

        def look(self):
            return self.calls

    actor = Actor.remote()
    rt.get([actor.call.remote(rt.put(i) if i % 3 else i) for i in range(60)])
    assert rt.get(actor.look.remote()) == list(range(60))


@line("ACC.7")
@needs("overlap")
def test_a_call_may_name_another_group(rt, Sync, tmp_path, note):
    actor, gate = Sync.remote(), str(tmp_path / "gate")
    blocked = [actor.compute.remote(gate), actor.compute.remote()]
    assert rt.get(actor.compute.options(concurrency_group="io").remote()) is False
    assert rt.wait(blocked, timeout=0)[0] == []
    note(gate)
    rt.get(blocked)


@line("ACC.6", "ACC.7")
def test_unknown_groups_are_named(rt, Sync):
    actor = Sync.remote()
    with pytest.raises(ValueError, match=r"'oi'.*'io', 'compute'"):
        actor.plain.options(concurrency_group="oi").remote()

    @rt.remote
    class NoGroups:
        @rt.method(concurrency_group="io")
        def f(self):
            pass

        def g(self):
            return 1

    with pytest.raises(ValueError, match=r"NoGroups\.f.*'io'.*none"):
        NoGroups.remote()
    assert rt.get(actor.plain.remote()) in (True, False)


@line("ACC.6")
@pytest.mark.parametrize(
    ("groups", "error"),
    [
        ({"io": 0}, ValueError),
        ({"io": 1.5}, TypeError),
        ({"io": True}, TypeError),
        ({"": 1}, ValueError),
        ({1: 1}, ValueError),
        ([{"name": "io"}], ValueError),
        (["io"], ValueError),
        ("io", TypeError),
    ],
)
def test_bad_groups_are_refused(rt, groups, error):
    with pytest.raises(error, match="concurrency_groups"):
        rt.remote(concurrency_groups=groups)(type("A", (), {}))


@line("ACC.6")
@needs("overlap")
def test_groups_as_a_list(rt):
    @rt.remote(concurrency_groups=[{"name": "io", "max_concurrency": 2}])
    class Actor:
        def __init__(self):
            self.barrier = threading.Barrier(2)

        @rt.method(concurrency_group="io")
        def meet(self):
            return self.barrier.wait(20) in (0, 1)

    actor = Actor.remote()
    assert rt.get([actor.meet.remote() for _ in range(2)]) == [True, True]


@pytest.fixture
def Async(rt, wait_for):
    @rt.remote(concurrency_groups={"io": 2, "slow": 1})
    class Async:
        def __init__(self):
            self.io_now = self.io_most = 0

        @rt.method(concurrency_group="io")
        async def io(self):
            self.io_now += 1
            self.io_most = max(self.io_most, self.io_now)
            for _ in range(5):
                await asyncio.sleep(0.001)
            self.io_now -= 1
            return threading.get_ident()

        @rt.method(concurrency_group="slow")
        def slow(self, gate):
            wait_for(gate)
            return threading.get_ident()

        async def default(self):
            return threading.get_ident(), self.io_most

    return Async


@line("ACC.6", "ACC.7")
@needs("overlap")
def test_async_groups_have_loops_of_their_own(rt, Async, tmp_path, note):
    actor, gate = Async.remote(), str(tmp_path / "gate")
    blocked = [actor.slow.remote(gate) for _ in range(2)]  # blocks its whole loop
    io = set(rt.get([actor.io.remote() for _ in range(8)]))
    default, most = rt.get(actor.default.remote())
    assert rt.wait(blocked, timeout=0)[0] == []
    note(gate)
    slow = set(rt.get(blocked))
    assert len(io) == len(slow) == 1
    assert len({*io, *slow, default}) == 3
    assert most == 2


@line("OPT.10")
def test_groups_belong_to_the_class(rt, Sync):
    with pytest.raises(ValueError, match="concurrency_groups"):
        Sync.options(concurrency_groups={"io": 3})


@line("ACC.6", "LIF.17")
def test_handles_that_travel_know_the_groups(rt, Sync):
    @rt.remote
    def use(handle):
        try:
            handle.plain.options(concurrency_group="no").remote()
        except ValueError:
            return rt.get(handle.io.remote()) in (True, False)

    actor = Sync.options(name="grouped").remote()
    assert rt.get(use.remote(actor)) is True
    found = rt.get_actor("grouped")
    with pytest.raises(ValueError, match="'io', 'compute'"):
        found.plain.options(concurrency_group="no").remote()


# --- max_pending_calls ---------------------------------------------------------------------------


@pytest.fixture
def Limited(rt):
    @rt.remote(max_pending_calls=3)
    class Limited:
        def call(self, x=None):
            return x

    return Limited


@line("ACT.19", "ERR.17")
def test_a_handle_refuses_too_many_calls(rt, Limited, never):
    actor, pending = Limited.remote(), never()
    refs = [actor.call.remote(pending) for _ in range(3)]
    for _ in range(2):
        with pytest.raises(rt.exceptions.PendingCallsLimitExceeded, match=r"call.*3"):
            actor.call.remote(1)
    rt.cancel(pending)
    assert len(rt.wait(refs, num_returns=3)[0]) == 3
    assert rt.get([actor.call.remote(i) for i in range(3)]) == [0, 1, 2]


@line("ACT.19")
def test_calls_whose_refs_were_dropped_count(rt, Limited, never):
    actor, pending = Limited.remote(), never()
    for _ in range(3):
        actor.call.remote(pending)
    with pytest.raises(rt.exceptions.PendingCallsLimitExceeded):
        actor.call.remote()
    rt.cancel(pending)


@line("ACT.19")
def test_the_limit_is_of_one_handle(rt, Limited, never):
    actor, pending = Limited.remote(), never()
    refs = [actor.call.remote(pending) for _ in range(3)]

    @rt.remote
    def use(handles):
        return len([handles[0].call.remote(refs[0]) for _ in range(3)])

    assert rt.get(use.remote([actor])) == 3
    rt.cancel(pending)


@line("ACT.19")
@pytest.mark.parametrize("limit", [0, -2])
def test_a_bad_limit(rt, limit):
    with pytest.raises(ValueError, match="max_pending_calls"):
        rt.remote(max_pending_calls=limit)(type("A", (), {}))


@line("ACT.20")
def test_options_of_a_method(rt):
    @rt.remote(concurrency_groups={"io": 2})
    class Actor:
        def __init__(self):
            self.attempts = 0

        def pair(self):
            self.attempts += 1
            if self.attempts < 3:
                raise ValueError("not yet")
            return 1, rt.get_runtime_context().get_task_name()

    actor = Actor.remote()
    method = actor.pair.options(
        name="twins", num_returns=2, concurrency_group="io", max_task_retries=2,
        retry_exceptions=True,
    )  # fmt: skip
    assert rt.get(method.remote()) == [1, "twins"]
    with pytest.raises(ValueError, match="num_cpus"):
        actor.pair.options(num_cpus=1)


@pytest.mark.parametrize("kind", ["thread", "loop", "generator"])
def test_the_next_attempt_comes_before_the_last_one_has_quite_ended(rt, kind):
    """An attempt is reported before its thread has tidied up, and may be sent here again."""

    class Base:
        attempts = 0

        def attempt(self):
            self.attempts += 1
            if self.attempts < 200:
                raise ValueError("not yet")
            return self.attempts

    class Actor(Base):
        def thread(self):
            return self.attempt()

        def generator(self):
            yield self.attempt()

    class Coroutines(Base):
        async def loop(self):
            return self.attempt()

    cls = rt.remote(max_concurrency=2)(Coroutines if kind == "loop" else Actor)
    method = getattr(cls.remote(), kind).options(max_task_retries=-1, retry_exceptions=True)
    result = method.remote()
    ref = next(result) if kind == "generator" else result
    assert rt.get(ref) == 200


@line("OPT.11")
def test_out_of_order_execution(rt, never):
    class Base:
        def call(self, x=None):
            return x

    class Coroutines(Base):
        async def wait(self):
            pass

    for cls, options in ((Coroutines, {}), (Base, {"max_concurrency": 2})):
        actor = rt.remote(allow_out_of_order_execution=False, **options)(cls)
        with pytest.raises(ValueError, match="allow_out_of_order_execution"):
            actor.remote()
    pending = never()
    ordered = rt.remote(allow_out_of_order_execution=False)(Base).remote()
    free = rt.remote(allow_out_of_order_execution=True)(Base).remote()
    held = [actor.call.remote(pending) for actor in (ordered, free)]
    assert rt.get(free.call.remote(1)) == 1
    last = ordered.call.remote(2)
    assert rt.wait([last], timeout=0.05) == ([], [last])
    rt.cancel(pending)
    assert rt.get(last) == 2
    assert len(rt.wait(held, num_returns=2)[0]) == 2
