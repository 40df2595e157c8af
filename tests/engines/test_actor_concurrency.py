"""ACC: async and threaded actors."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.engines.support import line, needs, raises_task_error


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
