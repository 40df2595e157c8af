"""ACT: actors, basics and order."""

from __future__ import annotations

import os
import threading

import pytest

from tests.engines.support import line, needs, raises_task_error


@pytest.fixture
def Counter(rt):
    @rt.remote
    class Counter:
        """Counts, and remembers the order of its calls."""

        def __init__(self, start=0):
            self.n = start
            self.seen = []

        def inc(self, by=1):
            self.n += by
            self.seen.append(by)
            return self.n

        def order(self):
            return self.seen

        def fail(self):
            raise ValueError("failed")

        def _hidden(self):
            return "hidden"

        @property
        def prop(self):
            return 1

        @staticmethod
        def static(x):
            return x

        @classmethod
        def named(cls):
            return cls.__name__

    return Counter


@line("ACT.1", "ACT.4")
def test_state_persists(rt, Counter):
    counter = Counter.remote(5)
    assert type(counter).__name__ == "ActorHandle"
    assert [rt.get(counter.inc.remote()) for _ in range(3)] == [6, 7, 8]
    assert rt.get(Counter.remote().inc.remote()) == 1


@line("ACT.1", "ACT.2")
def test_direct_calls_are_refused(rt, Counter):
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        Counter()
    counter = Counter.remote()
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        counter.inc()
    for name in ("nothing", "n", "prop"):
        with pytest.raises(AttributeError, match=name):
            getattr(counter, name).remote()


@line("ACT.1")
@needs("processes")
def test_an_actor_has_a_process_of_its_own(rt):
    @rt.remote
    class Actor:
        def pid(self):
            return os.getpid()

    pids = rt.get([a.pid.remote() for a in [Actor.remote() for _ in range(3)]])
    assert len({*pids, os.getpid()}) == 4


@line("ACT.3")
def test_signatures_are_checked_by_the_caller(rt, Counter):
    with pytest.raises(TypeError, match="too many positional arguments"):
        Counter.remote(1, 2)
    counter = Counter.remote()
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'z'"):
        counter.inc.remote(z=1)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        counter.static.remote()
    assert rt.get(counter.order.remote()) == []


@line("ACT.5")
def test_calls_run_in_order(rt, Counter):
    counter = Counter.remote()
    refs = [counter.inc.remote(i) for i in range(200)]
    assert rt.get(counter.order.remote()) == list(range(200))
    assert rt.get(refs[-1]) == sum(range(200))


@line("ACT.6", "CAN.8")
def test_a_pending_argument_holds_later_calls_back(rt, Counter, never):
    counter = Counter.remote()
    assert rt.get(counter.inc.remote(1)) == 1
    pending = never()
    blocked = counter.inc.remote(pending)
    later = [counter.inc.remote(i) for i in (2, 3)]
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(later[-1], timeout=0.2)
    rt.cancel(pending)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(blocked)
    assert rt.get(later) == [3, 6]
    assert rt.get(counter.order.remote()) == [1, 2, 3]


@line("ACT.6")
def test_a_failed_argument_skips_only_its_call(rt, Counter):
    @rt.remote
    def fail():
        raise KeyError("argument")

    counter = Counter.remote()
    refs = [counter.inc.remote(1), counter.inc.remote(fail.remote()), counter.inc.remote(2)]
    assert rt.get(refs[2]) == 3
    with raises_task_error(rt, KeyError):
        rt.get(refs[1])
    assert rt.get(counter.order.remote()) == [1, 2]


@line("ACT.5", "ACT.6")
def test_ready_arguments_keep_the_order(rt, Counter):
    one = rt.remote(lambda x: x)
    counter = Counter.remote()
    for i in range(20):
        counter.inc.remote(one.remote(i) if i % 2 else i)
    assert rt.get(counter.order.remote()) == list(range(20))


@line("ACT.8")
@needs("background")
def test_calls_before_it_is_alive_are_queued(rt, tmp_path, wait_for, note):
    go = str(tmp_path / "go")

    @rt.remote
    class Slow:
        def __init__(self):
            wait_for(go)
            self.ready = True

        def look(self):
            return self.ready

    slow = Slow.remote()
    ref = slow.look.remote()
    assert rt.wait([ref], timeout=0.05) == ([], [ref])
    note(go)
    assert rt.get(ref) is True


@line("ACT.9", "RES.14")
def test_a_default_actor_holds_no_cpu(rt, eventually):
    @rt.remote
    class Actor:
        def held(self):
            return rt.get_runtime_context().get_assigned_resources()

    actors = [Actor.remote() for _ in range(6)]
    assert rt.get([a.held.remote() for a in actors]) == [{}] * 6
    eventually(lambda: rt.available_resources().get("CPU") == 2.0)


@line("ACT.9")
@pytest.mark.runtime(num_cpus=0)
def test_a_default_actor_needs_a_cpu_to_be_placed(rt, Counter):
    pending = Counter.remote().inc.remote()
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(pending, timeout=0.2)
    assert rt.get(Counter.options(num_cpus=0).remote().inc.remote()) == 1


@line("ACT.10")
@pytest.mark.runtime(num_cpus=2, num_gpus=2, resources={"x": 1})
@pytest.mark.parametrize(
    ("options", "cpus"),
    [
        ({"num_gpus": 1}, 1.0),
        ({"resources": {"x": 1}}, 1.0),
        ({"num_cpus": 2}, 0.0),
        ({"num_cpus": 0, "num_gpus": 1}, 2.0),
        ({"num_cpus": 0.5}, 1.5),
    ],
)
def test_what_an_actor_holds_for_life(rt, Counter, eventually, options, cpus):
    counter = Counter.options(**options).remote()
    assert rt.get(counter.inc.remote()) == 1
    eventually(lambda: rt.available_resources().get("CPU", 0.0) == cpus)
    rt.kill(counter)
    eventually(lambda: rt.available_resources().get("CPU", 0.0) == 2.0)


@line("ACT.11")
def test_handles_travel(rt, Counter):
    counter = Counter.remote()

    @rt.remote
    def use(c):
        return rt.get(c.inc.remote()), c

    @rt.remote
    class Holder:
        def __init__(self, c):
            self.c = c

        def use(self):
            return rt.get(self.c.inc.remote())

    number, same = rt.get(use.remote(counter))
    assert number == 1
    assert same == counter and hash(same) == hash(counter)
    assert rt.get(Holder.remote([counter, same][0]).use.remote()) == 2
    stored = rt.get(rt.put({"c": counter}))["c"]
    assert rt.get(stored.inc.remote()) == 3
    assert Counter.remote() != counter


@line("ACT.11")
def test_the_name_of_a_handle(rt, Counter):
    text = repr(Counter.remote())
    assert text.startswith("Actor(") and "Counter, " in text
    assert len(text.rpartition(", ")[2]) == 33  # 32 hex digits and the bracket


@line("ACT.11")
def test_an_actor_knows_itself(rt):
    @rt.remote
    class Actor:
        def me(self):
            return rt.get_runtime_context().current_actor

    actor = Actor.remote()
    assert rt.get(actor.me.remote()) == actor


@line("ACT.12")
def test_kinds_of_methods(rt, Counter):
    counter = Counter.remote()
    assert rt.get(counter.static.remote(3)) == 3
    assert rt.get(counter.named.remote()) == "Counter"
    assert rt.get(counter._hidden.remote()) == "hidden"


@line("ACT.12")
def test_inheritance(rt):
    class Base:
        def __init__(self, x):
            self.x = x

        def base(self):
            return self.x

        def both(self):
            return ["base"]

    @rt.remote
    class Leaf(Base):
        def __init__(self):
            super().__init__(4)

        def both(self):
            return [*super().both(), "leaf"]

    leaf = Leaf.remote()
    assert rt.get([leaf.base.remote(), leaf.both.remote()]) == [4, ["base", "leaf"]]


@line("ACT.12")
def test_an_attribute_may_have_the_name_of_a_method(rt):
    @rt.remote
    class Shadow:
        def __init__(self):
            self.value = 1

        def set(self, value):
            self.value = value
            return self.value

    assert rt.get(Shadow.remote().set.remote(5)) == 5


@line("ACT.13")
def test_an_actor_class_cannot_be_a_base(rt, Counter):
    with pytest.raises(TypeError):

        class Sub(Counter):
            pass


@line("ACT.14")
def test_methods_that_every_actor_has(rt, Counter):
    counter = Counter.remote(3)
    assert rt.get(counter.__ray_ready__.remote()) is True
    assert rt.get(counter.__ray_call__.remote(lambda self, x: self.n + x, 4)) == 7


@line("ACT.15")
def test_constructor_arguments_that_are_refs(rt, Counter, never):
    start = rt.remote(lambda: 10).remote()
    assert rt.get(Counter.remote(start).inc.remote()) == 11
    waiting = Counter.remote(never()).inc.remote()
    assert rt.wait([waiting], timeout=0) == ([], [waiting])


@line("ACT.15")
def test_a_failed_constructor_argument(rt, Counter):
    @rt.remote
    def fail():
        raise KeyError("start value")

    with pytest.raises(rt.exceptions.ActorDiedError) as info:
        rt.get(Counter.remote(fail.remote()).inc.remote())
    assert "start value" in str(info.value)


@line("ACT.16")
def test_a_constructor_that_raises(rt):
    @rt.remote(max_restarts=3)
    class Broken:
        def __init__(self):
            raise RuntimeError("no way to start")

        def f(self):
            pass

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(rt.exceptions.ActorDiedError) as info:
            rt.get(broken.f.remote())
        assert not isinstance(info.value, RuntimeError)
        assert info.value.actor_init_failed
        assert "error raised in its creation task" in str(info.value)
        assert "no way to start" in str(info.value)


@line("ACT.17")
def test_an_actor_that_waits_for_itself(rt):
    @rt.remote
    class Selfish:
        def set(self, me):
            self.me = me

        def inner(self):
            return 1

        def outer(self):
            return rt.get(self.me[0].inner.remote(), timeout=0.1)

    selfish = Selfish.remote()
    rt.get(selfish.set.remote([selfish]))
    with raises_task_error(rt, rt.exceptions.GetTimeoutError):
        rt.get(selfish.outer.remote())
    assert rt.get(selfish.inner.remote()) == 1


@line("ACT.11", "ACT.17")
def test_actors_that_call_each_other(rt):
    @rt.remote
    class Ping:
        def __init__(self, other=None):
            self.other = other

        def hit(self, n):
            return n if self.other is None else rt.get(self.other.hit.remote(n + 1))

    last = Ping.remote()
    for _ in range(4):
        last = Ping.remote(last)
    assert rt.get(last.hit.remote(0)) == 4


@line("ACT.7")
@needs("processes")
def test_another_caller_may_overtake(rt, Counter, never):
    """One whose call waits for its argument holds only its own later calls back."""

    @rt.remote
    def call(handles):
        return rt.get(handles[0].inc.remote(5))

    counter, pending = Counter.remote(), never()
    blocked = [counter.inc.remote(pending), counter.inc.remote(1)]
    assert rt.get(call.remote([counter])) == 5
    assert rt.wait(blocked, timeout=0)[0] == []
    rt.cancel(pending)
    assert rt.get(blocked[1]) == 6


@line("ACT.18")
@needs("processes")
def test_methods_run_in_the_main_thread(rt):
    @rt.remote
    class Actor:
        def __init__(self):
            self.made = threading.get_ident()

        def look(self):
            main = threading.main_thread().ident
            return self.made == main, threading.get_ident() == main

    assert rt.get(Actor.remote().look.remote()) == (True, True)


@line("ACT.21")
def test_a_retried_call_may_run_after_later_ones(rt):
    """Each runs as often as it is to; nothing is lost, whatever the order."""

    @rt.remote
    class Actor:
        def __init__(self):
            self.failures = 0
            self.calls = []

        @rt.method(max_task_retries=2, retry_exceptions=True)
        def flaky(self):
            self.calls.append("flaky")
            if self.calls.count("flaky") < 3:
                raise ValueError("not yet")
            return "done"

        def call(self, i):
            self.calls.append(i)

        def look(self):
            return self.calls

    actor = Actor.remote()
    first = actor.flaky.remote()
    rt.get([actor.call.remote(i) for i in range(5)])
    assert rt.get(first) == "done"
    calls = rt.get(actor.look.remote())
    assert calls.count("flaky") == 3
    assert [c for c in calls if c != "flaky"] == list(range(5))
