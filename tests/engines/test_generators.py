"""GEN: streaming generators."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from pathlib import Path

import pytest

from tests.engines.support import line, needs, poll, raises_task_error, runtime


def values(rt, gen):
    return [rt.get(ref) for ref in gen]


@pytest.fixture
def count(rt):
    @rt.remote
    def count(n):
        yield from range(n)

    return count


# --- items ---------------------------------------------------------------------------------------


@line("RET.7", "GEN.1")
def test_a_generator_function_is_a_streaming_task(rt, count):
    gen = count.remote(3)
    assert isinstance(gen, rt.ObjectRefGenerator)
    refs = list(gen)
    assert all(type(ref) is rt.ObjectRef for ref in refs) and rt.get(refs) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(gen)
    assert values(rt, count.options(num_returns="streaming").remote(2)) == [0, 1]


@line("GEN.1")
def test_yield_from_a_plain_iterator(rt):
    """Better than the reference, where it fails."""
    f = rt.remote(num_returns="streaming")

    @f
    def items():
        yield from range(3)

    assert values(rt, items.remote()) == [0, 1, 2]


@line("GEN.1")
@needs("background")
def test_items_come_before_the_task_ends(rt, tmp_path, wait_for, note):
    gates = [str(tmp_path / str(i)) for i in range(3)]

    @rt.remote
    def gated():
        for i, gate in enumerate(gates):
            wait_for(gate)
            yield i

    gen = gated.remote()
    for i, gate in enumerate(gates):
        assert not gen.next_ready() and not gen.is_finished()
        note(gate)
        assert rt.get(next(gen)) == i
    assert next(gen, None) is None and gen.is_finished()


@line("GEN.1")
def test_many_items(rt, count):
    assert values(rt, count.remote(3000)) == list(range(3000))


@line("GEN.1")
def test_an_endless_generator(rt):
    @rt.remote
    def endless():
        i = 0
        while True:
            yield i
            i += 1

    gen = endless.remote()
    assert [rt.get(next(gen)) for _ in range(5)] == [0, 1, 2, 3, 4]
    rt.cancel(gen)
    with raises_task_error(rt, rt.exceptions.TaskCancelledError):
        for ref in gen:
            rt.get(ref)


@line("GEN.14")
def test_the_return_value_is_discarded(rt):
    @rt.remote
    def f(n):
        yield from range(n)
        return "lost"

    assert values(rt, f.remote(2)) == [0, 1]
    gen = f.remote(0)
    assert list(gen) == [] and rt.get(gen.completed()) is None


@line("GEN.17", "GEN.10")
def test_items_are_independent_objects(rt):
    @rt.remote
    def blocks():
        for i in range(4):
            yield bytes([i]) * (300_000 if i % 2 else 1)

    refs = list(blocks.remote())
    size = rt.remote(lambda x: len(x))
    assert rt.get([size.remote(r) for r in reversed(refs)]) == [300_000, 1, 300_000, 1]
    assert rt.wait(refs, num_returns=4)[0] == refs
    inside = rt.put(refs[:2])
    kept = refs[3]
    del refs
    assert rt.get(kept)[:1] == b"\3"
    assert [len(x) for x in rt.get(rt.get(inside))] == [1, 300_000]


@line("GEN.17")
def test_refs_inside_items(rt):
    @rt.remote
    def nested():
        for i in range(3):
            yield [rt.put(i)]

    gen = nested.remote()
    rt.get(gen.completed())
    assert [rt.get(rt.get(ref)[0]) for ref in gen] == [0, 1, 2]


# --- errors --------------------------------------------------------------------------------------


@line("GEN.2", "GEN.6")
def test_an_exception_is_the_last_item(rt):
    @rt.remote
    def fails():
        yield 0
        yield 1
        raise KeyError("missing")

    gen = fails.remote()
    assert rt.get([next(gen), next(gen)]) == [0, 1]
    bad = next(gen)
    with raises_task_error(rt, KeyError, match="missing"):
        rt.get(bad)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(gen)
    assert rt.get(gen.completed()) is None


@line("GEN.12")
def test_a_failed_argument_is_the_one_item(rt, count):
    @rt.remote
    def bad():
        raise ValueError("no number")

    [ref] = count.remote(bad.remote())
    with raises_task_error(rt, ValueError, match="no number"):
        rt.get(ref)


@line("GEN.13")
def test_an_item_that_cannot_be_pickled(rt, tmp_path, note):
    path = str(tmp_path / "closed")

    @rt.remote
    def locks():
        try:
            yield 1
            yield threading.Lock()
            yield 2
        finally:
            note(path)

    gen = locks.remote()
    good, bad = gen
    assert rt.get(good) == 1
    with raises_task_error(rt, TypeError, match="item 2"):
        rt.get(bad)
    assert os.path.exists(path), "the generator was closed"


@line("GEN.15")
def test_retried_exceptions(rt, tmp_path, note):
    path = str(tmp_path / "runs")

    @rt.remote(max_retries=2, retry_exceptions=True)
    def flaky():
        note(path)
        run = len(Path(path).read_text().split())
        for i in range(5):
            if i == 2 and run < 3:
                raise OSError("again")
            yield run, i

    got = values(rt, flaky.remote())
    assert [i for _, i in got] == [0, 1, 2, 3, 4], "each index once"
    assert [run for run, _ in got] == [1, 1, 3, 3, 3]


@line("GEN.15", "GEN.2")
def test_retries_that_are_used_up(rt):
    @rt.remote(max_retries=1, retry_exceptions=[OSError])
    def fails():
        yield 0
        raise OSError("again")

    good, bad = fails.remote()
    assert rt.get(good) == 0
    with raises_task_error(rt, OSError):
        rt.get(bad)


@line("GEN.16")
def test_a_rerun_with_fewer_items(rt, tmp_path, note):
    path = str(tmp_path / "runs")

    @rt.remote(max_retries=1, retry_exceptions=True)
    def shrinks():
        note(path)
        if len(Path(path).read_text().split()) > 1:
            yield 0
            return
        yield 0
        yield 1
        raise OSError("again")

    *good, bad = gen = shrinks.remote()
    assert rt.get(good) == [0, 1]
    error = rt.exceptions.StreamingGeneratorReplayInconsistentError
    with pytest.raises(error, match="only 1 item"):
        rt.get(bad)
    del gen


@line("GEN.2")
@needs("processes")
def test_errors_that_nobody_looks_at_are_told_once(script):
    done = script(
        """
        import os, sys

        @fanlight.remote(max_retries=0)
        def fails(how):
            yield 1
            if how == "raise":
                raise ValueError
            os._exit(3)

        def take(gen, look):
            for ref in gen:
                try:
                    if look:
                        fanlight.get(ref)
                except Exception:
                    pass

        take(fails.remote("raise"), True)
        take(fails.remote("exit"), True)
        fanlight.get(fanlight.put(1))
        take(fails.remote("raise"), False)
        fanlight.session.require().client.flush_drops()
        """
    )
    assert done.returncode == 0 and done.stderr.count("Unhandled error") == 1, done.stderr


# --- asyncio and threads -------------------------------------------------------------------------


@line("GEN.4")
def test_async_for(rt, count):
    async def consume():
        return [await ref async for ref in count.remote(20)]

    assert asyncio.run(consume()) == list(range(20))


@line("GEN.4")
def test_async_consumers_that_give_up(rt, count, never):
    @rt.remote
    def late(_):
        yield 1

    async def impatient():
        gen = late.remote(never())
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(gen), 0.02)
        assert gen._stream.callbacks == []
        return [await ref async for ref in count.remote(2)]

    assert asyncio.run(impatient()) == [0, 1]


@line("GEN.4")
@needs("background")
def test_async_for_beside_other_work(rt, tmp_path, wait_for, note):
    gates = [str(tmp_path / str(i)) for i in range(3)]

    @rt.remote
    def gated():
        for i, gate in enumerate(gates):
            wait_for(gate)
            yield i

    async def open_gates():
        for gate in gates:
            await asyncio.sleep(0.01)
            note(gate)

    async def consume():
        return [await ref async for ref in gated.remote()]

    async def both():
        got, _ = await asyncio.gather(consume(), open_gates())
        return got

    assert asyncio.run(both()) == [0, 1, 2]


@line("GEN.1")
@needs("background")
def test_several_threads_take_from_one_generator(rt):
    @rt.remote(_generator_backpressure_num_objects=8)
    def limited():
        yield from range(1000)

    gen = limited.remote()
    got: list[int] = []
    errors: list[BaseException] = []

    def take():
        try:
            got.extend(rt.get(ref) for ref in gen)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and sorted(got) == list(range(1000))


# --- looking without waiting ---------------------------------------------------------------------


@line("GEN.5", "GET.13")
def test_wait(rt, count, never):
    @rt.remote
    def late(_):
        yield 1

    pending, stuck, done = never(), late.remote(never()), rt.put(1)
    gen = count.remote(2)
    assert rt.wait([pending, stuck, gen]) == ([gen], [pending, stuck])
    assert rt.wait([stuck, done, gen], num_returns=2) == ([done, gen], [stuck])
    assert rt.wait([pending, stuck], timeout=0) == ([], [pending, stuck])
    assert rt.wait([pending, stuck], timeout=0.01) == ([], [pending, stuck])
    assert rt.wait([stuck, gen], num_returns=2, timeout=0.01) == ([gen], [stuck])
    list(gen)
    assert rt.wait([gen], timeout=0) == ([gen], []), "next() would not block at the end either"
    with pytest.raises(ValueError, match="unique"):
        rt.wait([gen, gen])
    with pytest.raises(TypeError):
        rt.wait(gen)
    rt.cancel(stuck)


@line("GEN.5")
@needs("background")
def test_wait_for_the_next_item(rt, tmp_path, wait_for, note):
    gates = [str(tmp_path / str(i)) for i in range(2)]

    @rt.remote
    def gated():
        for gate in gates:
            wait_for(gate)
            yield gate

    gen = gated.remote()
    for gate in gates:
        assert rt.wait([gen], timeout=0.05) == ([], [gen])
        note(gate)
        assert rt.wait([gen]) == ([gen], [])
        assert rt.get(next(gen)) == gate


@line("GEN.6")
def test_completed_and_ready(rt, count, never):
    @rt.remote
    def late(_):
        yield 1

    stuck = late.remote(never())
    assert not stuck.next_ready() and not stuck.is_finished()
    assert rt.wait([stuck.completed()], timeout=0)[0] == []
    gen = count.remote(2)
    assert rt.get(gen.completed()) is None
    assert poll(gen.next_ready) and not gen.is_finished()
    next(gen)
    assert gen.next_ready()
    next(gen)
    assert poll(gen.is_finished) and not gen.next_ready()
    rt.cancel(stuck)
    with raises_task_error(rt, rt.exceptions.TaskCancelledError):
        rt.get(stuck.completed())


@line("GEN.7", "GEN.8")
def test_what_a_generator_cannot_do(rt, count):
    gen = count.remote(2)
    for name in ("send", "throw", "close", "asend", "athrow", "aclose"):
        with pytest.raises(NotImplementedError):
            getattr(gen, name)(None)
    f = rt.remote(lambda x: x)
    for wrong in (
        lambda: f.remote(gen),
        lambda: f.remote([gen]),
        lambda: rt.put(gen),
        lambda: pickle.dumps(gen),
    ):
        with pytest.raises(TypeError):
            wrong()

    @rt.remote
    def inner():
        return count.remote(1)

    with raises_task_error(rt, TypeError):
        rt.get(inner.remote())
    with pytest.raises(ValueError):
        rt.get(gen)
    assert values(rt, gen) == [0, 1]


# --- back-pressure -------------------------------------------------------------------------------


@pytest.fixture
def produced(tmp_path, note):
    """``produced()``: how many items were made; ``produced.note`` is for the generator."""
    path = str(tmp_path / "produced")

    def produced():
        return len(Path(path).read_text().split()) if os.path.exists(path) else 0

    produced.note = lambda: note(path)
    return produced


@line("GEN.9")
@pytest.mark.parametrize("limit", [1, 3])
def test_backpressure(rt, produced, eventually, limit):
    mark = produced.note

    @rt.remote(_generator_backpressure_num_objects=limit)
    def items():
        for i in range(8):
            mark()
            yield i

    gen = items.remote()
    for i in range(8):
        eventually(lambda i=i: produced() == min(8, i + limit))
        assert rt.get(next(gen)) == i
        assert produced() <= i + limit + 1
    assert list(gen) == []


@line("GEN.9")
@runtime(num_cpus=1)
def test_a_paused_producer_gives_its_cpu_back(rt):
    """Better than the reference: the consumer's own tasks can run on the one CPU there is."""

    @rt.remote(_generator_backpressure_num_objects=1)
    def items():
        yield from range(4)

    double = rt.remote(lambda x: 2 * x)
    assert [rt.get(double.remote(ref)) for ref in items.remote()] == [0, 2, 4, 6]


@line("GEN.9")
def test_limits_that_are_none(rt, count):
    for limit in (0, -2):
        with pytest.raises(ValueError, match="_generator_backpressure"):
            count.options(_generator_backpressure_num_objects=limit)
    with pytest.raises(TypeError):
        count.options(_generator_backpressure_num_objects="3")
    assert values(rt, count.options(_generator_backpressure_num_objects=-1).remote(3)) == [0, 1, 2]


@line("GEN.10", "GEN.9")
@pytest.mark.parametrize("limit", [-1, 2])
def test_a_dropped_generator_runs_to_its_end(rt, produced, eventually, limit):
    mark = produced.note

    @rt.remote(_generator_backpressure_num_objects=limit)
    def items():
        for i in range(6):
            mark()
            yield bytes([i]) * 200_000

    objects = rt.session.require().engine.query
    gen = items.remote()
    kept = next(gen)
    del gen
    eventually(lambda: produced() == 6)
    eventually(lambda: objects("counts")["RUNNING"] == 0)
    eventually(lambda: objects("store")["objects"] <= 2)  # kept, and the step's own
    assert rt.get(kept) == b"\0" * 200_000


@line("GEN.9", "CAN.14")
def test_cancel_of_a_paused_producer(rt, produced, eventually):
    mark = produced.note

    @rt.remote(_generator_backpressure_num_objects=1)
    def items():
        while True:
            mark()
            yield 1

    gen = items.remote()
    eventually(lambda: produced() == 1)
    rt.cancel(gen)
    first, second = gen
    assert rt.get(first) == 1
    with raises_task_error(rt, rt.exceptions.TaskCancelledError):
        rt.get(second)


# --- cancellation --------------------------------------------------------------------------------


@line("CAN.14")
def test_cancel_before_it_starts(rt, never):
    @rt.remote
    def late(_):
        yield 1

    gen = late.remote(never())
    rt.cancel(gen)
    [ref] = gen
    with raises_task_error(rt, rt.exceptions.TaskCancelledError):
        rt.get(ref)


@line("CAN.14")
@needs("processes")
@pytest.mark.parametrize("force", [False, True])
def test_cancel_of_a_running_generator(rt, tmp_path, wait_for, force):
    never_there = str(tmp_path / "never")

    @rt.remote
    def items():
        yield 1
        wait_for(never_there)
        yield 2

    gen = items.remote()
    assert rt.get(next(gen)) == 1
    rt.cancel(gen, force=force)
    [bad] = gen
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(bad)


# --- actors --------------------------------------------------------------------------------------


@pytest.fixture
def actors(rt):
    @rt.remote
    class Plain:
        def items(self, n):
            yield from range(n)

        @rt.method(num_returns="streaming")
        def marked(self, n):
            return (i for i in range(n))

        def fails(self):
            yield 0
            raise ValueError("no")

        def plain(self):
            return "plain"

    @rt.remote
    class Async:
        def items(self, n):
            yield from range(n)

        @rt.method(num_returns="streaming")
        def marked(self, n):
            return (i for i in range(n))

        async def fails(self):
            yield 0
            raise ValueError("no")

        async def plain(self):
            return "plain"

    @rt.remote
    class AsyncItems:
        async def items(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

        @rt.method(num_returns="streaming")
        def marked(self, n):
            return self.items(n)

        async def fails(self):
            yield 0
            raise ValueError("no")

        def plain(self):
            return "plain"

    return {
        "plain": Plain,
        "threaded": Plain.options(max_concurrency=3),
        "async": Async,
        "async items": AsyncItems,
    }


KINDS = ["plain", "threaded", "async", "async items"]


@line("GEN.11")
@pytest.mark.parametrize("kind", KINDS)
def test_methods(rt, actors, kind):
    actor = actors[kind].remote()
    gens = [actor.items.remote(5), actor.marked.remote(2), actor.items.remote(3)]
    assert isinstance(gens[0], rt.ObjectRefGenerator)
    assert [values(rt, gen) for gen in gens] == [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2]]
    good, bad = actor.fails.remote()
    assert rt.get(good) == 0
    with raises_task_error(rt, ValueError, match="no"):
        rt.get(bad)
    assert rt.get(actor.plain.remote()) == "plain"
    limited = actor.items.options(_generator_backpressure_num_objects=1)
    assert values(rt, limited.remote(5)) == [0, 1, 2, 3, 4]


@line("GEN.11")
@pytest.mark.parametrize("kind", ["threaded", "async", "async items"])
def test_paused_methods_let_others_run(rt, actors, kind):
    actor = actors[kind].remote()
    limited = actor.items.options(_generator_backpressure_num_objects=1)
    first, second = limited.remote(4), limited.remote(4)
    assert rt.get(actor.plain.remote()) == "plain"
    pairs = [(rt.get(a), rt.get(b)) for a, b in zip(second, first, strict=True)]
    assert pairs == [(i, i) for i in range(4)]


@line("GEN.11", "CAN.14")
@pytest.mark.parametrize("kind", KINDS)
def test_cancel_of_a_method(rt, actors, kind):
    actor = actors[kind].remote()
    gen = actor.items.options(_generator_backpressure_num_objects=2).remote(1 << 40)
    assert rt.get(next(gen)) == 0
    rt.cancel(gen)
    with raises_task_error(rt, rt.exceptions.TaskCancelledError):
        for ref in gen:
            rt.get(ref)
    assert rt.get(actor.plain.remote()) == "plain"


@line("GEN.11")
def test_killed_actors(rt, actors):
    actor = actors["plain"].remote()
    gen = actor.items.options(_generator_backpressure_num_objects=2).remote(1 << 40)
    assert rt.get(next(gen)) == 0
    rt.kill(actor)
    with pytest.raises(rt.exceptions.RayActorError):
        for ref in gen:
            rt.get(ref)
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(gen.completed())


@line("GEN.11")
def test_an_actor_that_leaves_in_a_generator(rt):
    @rt.remote
    class Leaver:
        def items(self):
            yield 1
            rt.actor.exit_actor()

    good, bad = Leaver.remote().items.remote()
    assert rt.get(good) == 1
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(bad)


@line("GEN.11")
def test_context_and_state_between_items(rt):
    @rt.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def up(self, times):
            for _ in range(times):
                self.n += 1
                yield self.n, rt.get_runtime_context().get_task_id()

        def get(self):
            return self.n

    counter = Counter.remote()
    gen = counter.up.remote(3)
    assert rt.get(counter.get.remote()) == 3, "calls of one caller keep their order"
    ids = {task for _, task in values(rt, gen)}
    assert ids == {gen.task_id().hex()}
    assert rt.get_runtime_context().get_actor_id() is None


# --- tasks within --------------------------------------------------------------------------------


@line("GEN.1", "GEN.9")
@runtime(num_cpus=1)
def test_generators_consumed_and_fed_by_tasks(rt):
    square = rt.remote(lambda x: x * x)

    @rt.remote(_generator_backpressure_num_objects=2)
    def squares(n):
        for i in range(n):
            yield rt.get(square.remote(i))

    @rt.remote
    def total(n):
        return sum(rt.get(ref) for ref in squares.remote(n))

    assert rt.get(total.remote(5)) == 30


# --- processes that end --------------------------------------------------------------------------


@line("GEN.3")
@needs("processes")
def test_a_crash_without_retries_is_one_more_item(rt):
    @rt.remote(max_retries=0)
    def dies():
        yield 0
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    gen = dies.remote()
    assert rt.get([next(gen), next(gen)]) == [0, 1]
    bad = next(gen)
    with pytest.raises(rt.exceptions.WorkerCrashedError, match="SIGKILL"):
        rt.get(bad)
    assert list(gen) == []
    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(gen.completed())


@line("GEN.3", "FLT.17")
@needs("processes")
@pytest.mark.parametrize("limit", [-1, 2])
def test_a_crash_with_retries_is_not_seen(rt, tmp_path, note, limit):
    path = str(tmp_path / "runs")

    @rt.remote(max_retries=2, _generator_backpressure_num_objects=limit)
    def dies():
        note(path)
        run = len(Path(path).read_text().split())
        for i in range(10):
            if i == 3 * run < 9:
                os.kill(os.getpid(), signal.SIGKILL)
            yield i, b"x" * (200_000 if i % 2 else 1)

    gen = dies.remote()
    assert [rt.get(ref)[0] for ref in gen] == list(range(10))
    assert len(Path(path).read_text().split()) == 3
    assert rt.get(gen.completed()) is None


@line("GEN.10")
@needs("processes")
def test_the_consumers_process_dies(rt, eventually):
    @rt.remote(num_cpus=0, _generator_backpressure_num_objects=1)
    def items():
        while True:
            yield b"x" * 200_000

    @rt.remote(max_retries=0)
    def consumer():
        next(items.remote())
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(consumer.remote())
    objects = rt.session.require().engine.query
    eventually(lambda: objects("counts")["RUNNING"] == 0)
    eventually(lambda: objects("store")["objects"] <= 1)


@line("GEN.10")
@pytest.mark.usefixtures("no_leaks")
def test_the_driver_ends_in_the_middle(script):
    done = script(
        """
        @fanlight.remote(_generator_backpressure_num_objects=2)
        def limited():
            while True:
                yield b"x" * 200_000

        @fanlight.remote
        def endless():
            import time
            while True:
                time.sleep(0.001)
                yield 1

        gens = [limited.remote(), endless.remote()]
        print([len(fanlight.get(next(g)) if g is gens[0] else "1") for g in gens])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[200000, 1]" and not done.stderr


@line("GEN.1")
def test_shutdown_with_a_generator_at_hand(fresh):
    fresh.init(num_cpus=2)
    rt = fresh.fanlight

    @rt.remote
    def endless():
        while True:
            yield 1

    gen = endless.options(_generator_backpressure_num_objects=2).remote()
    next(gen)
    rt.shutdown()
    fresh.init(num_cpus=2)
    with pytest.raises(rt.exceptions.RayError, match="shut down"):
        for _ in range(5):
            next(gen)
    del gen
    assert rt.get(rt.put(1)) == 1
