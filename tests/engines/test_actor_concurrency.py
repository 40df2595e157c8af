"""ACC: async and threaded actors."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time

import pytest

from tests.engines.support import line, needs, poll, raises_task_error


@line("ACC.1")
def test_async_methods(rt):
    @rt.remote
    class Actor:
        def __init__(self):
            self.n = 0

        async def inc(self):
            await asyncio.sleep(0)
            self.n += 1
            return self.n

        async def fail(self):
            await asyncio.sleep(0)
            raise KeyError("in a coroutine")

        def plain(self):
            return self.n

    actor = Actor.remote()
    assert sorted(rt.get([actor.inc.remote() for _ in range(10)])) == list(range(1, 11))
    with raises_task_error(rt, KeyError):
        rt.get(actor.fail.remote())
    assert rt.get(actor.plain.remote()) == 10


@line("ACC.1")
@needs("overlap")
def test_an_async_actor_has_one_loop_thread(rt):
    @rt.remote
    class Actor:
        async def a(self):
            asyncio.get_running_loop()
            return threading.get_ident(), threading.current_thread() is threading.main_thread()

        def b(self):
            return threading.get_ident(), threading.current_thread() is threading.main_thread()

    actor = Actor.remote()
    a, b = rt.get([actor.a.remote(), actor.b.remote()])
    assert a == b
    assert a[1] is False


@line("ACC.2", "ACC.9")
@needs("overlap")
def test_async_calls_interleave(rt):
    @rt.remote
    class Actor:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()
            return "opened"

        async def open(self):
            self.event.set()

    actor = Actor.remote()
    waiting = [actor.wait.remote() for _ in range(5)]
    rt.get(actor.open.remote())
    assert rt.get(waiting) == ["opened"] * 5


@line("ACC.2")
@needs("overlap")
@pytest.mark.parametrize("limit", [1, 3])
def test_the_limit_of_async_calls(rt, limit):
    @rt.remote(max_concurrency=limit)
    class Actor:
        def __init__(self):
            self.now = self.most = 0

        async def call(self):
            self.now += 1
            self.most = max(self.most, self.now)
            for _ in range(20):
                await asyncio.sleep(0.0005)
            self.now -= 1
            return self.most

    actor = Actor.remote()
    most = max(rt.get([actor.call.remote() for _ in range(12)]))
    assert most <= limit
    assert most == limit or limit > 1


@line("ACC.4")
@needs("overlap")
def test_await_a_ref_in_an_actor(rt):
    add = rt.remote(lambda x: x + 1)

    @rt.remote
    class Actor:
        async def call(self, x):
            return await add.remote(x) + sum(await asyncio.gather(*[add.remote(i) for i in (1, 2)]))

    actor = Actor.remote()
    assert rt.get([actor.call.remote(i) for i in range(4)]) == [6, 7, 8, 9]


@line("ACC.5")
@needs("overlap")
def test_threaded_actors_overlap(rt):
    @rt.remote(max_concurrency=3)
    class Actor:
        def __init__(self):
            self.barrier = threading.Barrier(3)

        def meet(self):
            self.barrier.wait(20)
            return threading.current_thread() is threading.main_thread()

    actor = Actor.remote()
    assert rt.get([actor.meet.remote() for _ in range(6)]) == [False] * 6


@line("ACC.5")
@needs("overlap")
def test_threaded_actors_share_self(rt):
    @rt.remote(max_concurrency=2)
    class Actor:
        def __init__(self):
            self.event = threading.Event()

        def wait(self):
            return self.event.wait(20)

        def open(self):
            self.event.set()

    actor = Actor.remote()
    waiting = actor.wait.remote()
    rt.get(actor.open.remote())
    assert rt.get(waiting) is True


@line("ACC.8")
@needs("overlap")
def test_each_call_has_its_own_context(rt):
    @rt.remote
    class Actor:
        async def me(self):
            first = rt.get_runtime_context().get_task_id()
            await asyncio.sleep(0.001)
            return first, rt.get_runtime_context().get_task_id()

    actor = Actor.remote()
    refs = [actor.me.remote() for _ in range(5)]
    for ref, (before, after) in zip(refs, rt.get(refs), strict=True):
        assert before == after == ref.task_id().hex()


@line("ACC.1", "ACC.9")
@needs("overlap")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_constructor_runs_on_the_loop(rt, kind):
    class Base:
        async def same(self):
            await asyncio.wait_for(self.queue.put(1), 20)
            async with self.lock:
                return asyncio.get_running_loop() is self.loop, await self.queue.get()

        def set_up(self):
            self.loop = asyncio.get_running_loop()
            self.queue, self.lock = asyncio.Queue(), asyncio.Lock()

    class Sync(Base):
        def __init__(self):
            self.set_up()

    class Async(Base):
        async def __init__(self):
            await asyncio.sleep(0)
            self.set_up()

    actor = rt.remote(Sync if kind == "sync" else Async).remote()
    assert rt.get(actor.same.remote()) == (True, 1)


@line("ACC.2")
@needs("overlap")
@pytest.mark.parametrize("count", [900, 3000])
def test_thousands_of_calls_wait_at_once(rt, count):
    @rt.remote(max_concurrency=5000)
    class Actor:
        def __init__(self):
            self.event = asyncio.Event()
            self.waiting = 0

        async def wait(self, i):
            self.waiting += 1
            await self.event.wait()
            return i

        async def open(self, count):
            while self.waiting < count:
                await asyncio.sleep(0.002)
            self.event.set()

    actor = Actor.remote()
    refs = [actor.wait.remote(i) for i in range(count)]
    opened = actor.open.remote(count)
    assert rt.get(refs) == list(range(count))
    rt.get(opened)


@line("ACC.3")
def test_each_call_runs_exactly_once(rt, tmp_path):
    """Whether they were submitted before the actor was alive or later."""

    @rt.remote
    class Actor:
        def __init__(self):
            self.calls = []

        async def call(self, i):
            await asyncio.sleep(0)
            self.calls.append(i)

        async def look(self):
            return self.calls

    actor = Actor.remote()
    rt.get([actor.call.remote(i) for i in range(200)])
    rt.get([actor.call.remote(i) for i in range(200, 400)])
    assert sorted(rt.get(actor.look.remote())) == list(range(400))


@line("ACC.4")
@needs("overlap", "output")
def test_a_blocking_get_works_and_warns(rt, capsys, tmp_path, note, wait_for):
    gate = str(tmp_path / "gate")
    one = rt.remote(lambda: wait_for(gate) or 1)

    @rt.remote
    class Actor:
        async def call(self):
            return rt.get(one.remote()) + rt.get(one.remote())

        async def ping(self):
            return "pong"

    actor = Actor.remote()
    called = actor.call.remote()
    text = ""

    def warned():
        nonlocal text
        text += "".join(capsys.readouterr())
        return "await ref" in text

    assert poll(warned)
    note(gate)
    assert rt.get(called) == 2
    assert rt.get(actor.ping.remote()) == "pong"
    warned()
    assert text.count("await ref") == 1


@line("ACC.5", "ACC.10")
@pytest.mark.parametrize("kind", ["async", "threaded"])
def test_a_pending_argument_holds_nobody_back(rt, never, kind):
    class Base:
        def call(self, x):
            return x

    class Coroutines(Base):
        async def other(self):
            pass

    cls = Coroutines if kind == "async" else Base
    actor = rt.remote(max_concurrency=2)(cls).remote()
    pending = never()
    held = [actor.call.remote(pending) for _ in range(5)]
    assert rt.get([actor.call.remote(i) for i in range(5)]) == list(range(5))
    assert rt.wait(held, timeout=0)[0] == []
    rt.cancel(pending)


@line("ACC.1")
@needs("overlap", "processes")
@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_a_loop_does_not_die_silently(rt, how):
    """A task that the user made ends the loop: the actor is dead then, not dumb."""
    error = SystemExit(3) if how == "exit" else KeyboardInterrupt()

    @rt.remote
    class Actor:
        async def start(self):
            async def end():
                raise error

            self.task = asyncio.ensure_future(end())
            return "started"

        async def wait(self):
            await asyncio.sleep(1000)

    actor = Actor.remote()
    refs = [actor.wait.remote(), actor.start.remote()]
    for ref in [refs[0], actor.wait.remote()]:
        with pytest.raises(rt.exceptions.ActorDiedError, match="Actor"):
            rt.get(ref)


@line("ACC.1")
@needs("overlap")
def test_a_stopped_loop_goes_on(rt):
    @rt.remote
    class Actor:
        async def stop(self):
            asyncio.get_running_loop().stop()

        async def ping(self):
            return "pong"

    actor = Actor.remote()
    rt.get(actor.stop.remote())
    assert rt.get(actor.ping.remote()) == "pong"


@line("LIF.6", "LIF.9")
@needs("overlap")
@pytest.mark.parametrize("kind", ["async", "threaded"])
@pytest.mark.parametrize("how", ["exit_actor", "sys.exit", "terminate"])
def test_calls_that_run_finish_when_the_actor_leaves(rt, tmp_path, note, wait_for, kind, how):
    started, gate = str(tmp_path / "started"), str(tmp_path / "gate")

    def leaves():
        """Whether the process knows that it is to end: from then on no call begins."""
        from fanlight.worker.actor_host import ActorHost

        return any(o.leaving for o in gc.get_objects() if isinstance(o, ActorHost))

    class Base:
        def work(self):
            note(started)
            wait_for(gate)
            while not leaves():
                time.sleep(0.004)
            return "finished"

        def leave(self):
            if how == "exit_actor":
                rt.actor.exit_actor()
            sys.exit(0)

    class Coroutines(Base):
        async def work(self):
            note(started)
            while not (os.path.exists(gate) and leaves()):
                await asyncio.sleep(0.004)
            return "finished"

    cls = Coroutines if kind == "async" else Base
    actor = rt.remote(max_concurrency=2)(cls).remote()
    working = actor.work.remote()
    wait_for(started)
    leaving = (actor.__ray_terminate__ if how == "terminate" else actor.leave).remote()
    late = [actor.work.remote() for _ in range(3)]
    note(gate)
    assert rt.get(working) == "finished"
    text = "exit_actor|sys.exit"
    for ref in [leaving, *late]:
        with pytest.raises(rt.exceptions.RayActorError, match=text):
            rt.get(ref)
