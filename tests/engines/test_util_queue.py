"""UTL: Queue."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading

import pytest

from fanlight.util.queue import Empty, Full, Queue
from tests.engines.support import line, needs, poll


@line("UTL.4")
def test_first_in_first_out(rt):
    q = Queue()
    for item in (1, "two", None, [3], b"4"):
        q.put(item)
    assert q.qsize() == q.size() == len(q) == 5
    assert not q.empty() and not q.full() and bool(q)
    assert [q.get() for _ in range(5)] == [1, "two", None, [3], b"4"]
    assert q.empty()


@line("UTL.4")
def test_shared_by_tasks_and_actors(rt):
    @rt.remote
    def produce(q, n):
        for i in range(n):
            q.put(i)
        return q.maxsize

    @rt.remote
    class Consumer:
        def __init__(self, q):
            self.q = q

        def take(self, n):
            return [self.q.get() for _ in range(n)]

    q = Queue(maxsize=100)
    assert rt.get(produce.remote(q, 5)) == 100
    assert rt.get(Consumer.remote(q).take.remote(3)) == [0, 1, 2]
    assert [q.get(), q.get()] == [3, 4]


@line("UTL.4")
@needs("background")
def test_waiting_for_room_and_for_items(rt):
    @rt.remote
    def produce(q, n):
        for i in range(n):
            q.put(i)

    q = Queue(maxsize=2)
    ref = produce.remote(q, 20)
    assert [q.get(timeout=60) for _ in range(20)] == list(range(20))
    rt.get(ref)


@line("UTL.4")
@needs("background")
def test_many_waiters_are_served_in_turn(rt):
    q = Queue()
    found = []
    threads = [threading.Thread(target=lambda: found.append(q.get(timeout=60))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for i in range(8):
        q.put(i)
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(8))


@line("UTL.4")
def test_large_items_and_refs(rt):
    q = Queue()
    large = bytes(300_000)
    q.put(large)
    q.put([rt.put("nested")])
    q.put(rt.put("plain"))
    assert q.get() == large
    assert rt.get(q.get()[0]) == "nested"
    assert q.get() == "plain"  # as in the reference, where a ref is an argument like others


@line("UTL.4", "UTL.5")
def test_bounds_and_errors(rt):
    q = Queue(maxsize=1)
    for error in (Empty, queue.Empty):
        with pytest.raises(error):
            q.get_nowait()
        with pytest.raises(error):
            q.get(block=False)
        with pytest.raises(error):
            q.get(timeout=0.01)
    q.put(1)
    assert q.full()
    for error in (Full, queue.Full):
        with pytest.raises(error):
            q.put_nowait(2)
        with pytest.raises(error):
            q.put(2, block=False)
        with pytest.raises(error):
            q.put(2, timeout=0.01)
    with pytest.raises(ValueError):
        q.get(timeout=-1)
    with pytest.raises(ValueError):
        q.put(1, timeout=-0.1)
    assert q.get() == 1
    assert q.empty()


@line("UTL.4", "UTL.5")
def test_batches_are_all_or_nothing(rt):
    q = Queue(maxsize=3)
    q.put_nowait_batch([1, 2])
    with pytest.raises(Full):
        q.put_nowait_batch([3, 4])
    assert q.qsize() == 2
    with pytest.raises(Empty):
        q.get_nowait_batch(3)
    assert q.get_nowait_batch(2) == [1, 2]
    assert q.get_nowait_batch(0) == []
    with pytest.raises(TypeError):
        q.get_nowait_batch("2")
    with pytest.raises(TypeError):
        q.put_nowait_batch(3)


@line("UTL.4")
def test_with_asyncio(rt):
    async def use():
        q = Queue(maxsize=2)
        await q.put_async(1)
        await q.put_async(rt.put(2), block=False)
        with pytest.raises(Full):
            await q.put_async(3, timeout=0.01)
        assert [await q.get_async(), await q.get_async()] == [1, 2]
        with pytest.raises(Empty):
            await q.get_async(timeout=0.01)

    asyncio.run(use())


@line("UTL.4")
@needs("overlap")
def test_in_an_async_actor(rt):
    @rt.remote
    class Reader:
        async def read(self, q, n):
            return [await q.get_async() for _ in range(n)]

    q = Queue()
    ref = Reader.remote().read.remote(q, 3)
    for i in range(3):
        q.put(i)
    assert rt.get(ref) == [0, 1, 2]


@line("UTL.4")
@pytest.mark.parametrize("force", [False, True])
def test_shutdown(rt, force):
    q = Queue(actor_options={"name": "the queue"})
    same = rt.get_actor("the queue")
    q.put(1)
    q.shutdown(force=force)
    q.shutdown()
    with pytest.raises(rt.exceptions.RayActorError):
        q.put(2)
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(same.size.remote())


@needs("processes")
def test_an_item_is_not_lost_to_a_getter_that_was_interrupted(rt):
    q = Queue()
    assert q.qsize() == 0

    def interrupt():
        poll(lambda: running(rt) == 1)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        q.get()
    thread.join()
    q.put("kept")
    assert q.get(timeout=60) == "kept"


def running(rt):
    return rt.session.require().engine.query("counts")["RUNNING"]


@needs("processes")
def test_an_item_is_not_lost_to_a_getter_that_was_cancelled(rt):
    q = Queue()
    assert q.qsize() == 0

    @rt.remote
    def take(q):
        return q.get()

    ref = take.remote(q)
    assert poll(lambda: running(rt) == 2)
    rt.cancel(ref)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(ref)
    q.put("kept")
    assert q.get(timeout=60) == "kept"


def test_an_inproc_program_that_is_stuck_says_so(rt, engine):
    if engine != "inproc":
        pytest.skip("elsewhere it waits")
    with pytest.raises(rt.exceptions.RayError, match="Nothing can run any more"):
        Queue().get()
