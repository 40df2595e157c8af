"""UTL: multiprocessing.Pool."""

from __future__ import annotations

import functools
import gc
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time

import pytest

from fanlight.util.multiprocessing import Pool
from tests.engines.support import line, needs, poll


def square(x):
    return x * x


def odd_fails(x):
    if x % 2:
        raise KeyError(x)
    return x


def running(rt):
    return rt.session.require().engine.query("counts")["RUNNING"]


@pytest.fixture
def pool(rt):
    with Pool(2) as pool:
        yield pool


@line("UTL.6")
def test_map_and_starmap(rt, pool):
    assert pool.map(square, range(50)) == [x * x for x in range(50)]
    assert pool.map(square, (x for x in range(5)), chunksize=2) == [0, 1, 4, 9, 16]
    assert pool.map(square, []) == []
    assert pool.map(lambda x: x + 1, {1: 2}) == [2]
    assert pool.starmap(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)]
    assert pool.map_async(square, [3]).get() == [9]
    assert pool.starmap_async(pow, [(2, 3)]).get(timeout=60) == [8]
    assert pool.map(functools.partial(pow, 2), range(4)) == [1, 2, 4, 8]


@line("UTL.6")
def test_apply(rt, pool):
    assert pool.apply(square, (3,)) == 9
    assert pool.apply(int, ("11",), {"base": 2}) == 3
    results = [pool.apply_async(square, (i,)) for i in range(20)]
    assert [r.get() for r in results] == [i * i for i in range(20)]


@line("UTL.6")
@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_imap(rt, pool, chunksize):
    assert list(pool.imap(square, range(10), chunksize)) == [x * x for x in range(10)]
    lazy = (x for x in range(10))
    assert sorted(pool.imap_unordered(square, lazy, chunksize)) == [x * x for x in range(10)]
    assert list(pool.imap(square, [], chunksize)) == []
    assert list(pool.imap(square, iter(()), chunksize)) == []


@line("UTL.6")
def test_imap_of_an_endless_iterable(rt):
    with Pool(2) as pool:
        results = pool.imap(square, itertools.count())
        assert list(itertools.islice(results, 200)) == [x * x for x in range(200)]


@needs("background")
def test_imap_of_an_iterable_that_waits_for_results(rt, pool):
    """The stdlib's pool can do that, since it draws items in a thread."""
    got = threading.Semaphore(1)

    def feedback():
        for i in range(5):
            assert got.acquire(timeout=60)
            yield i

    found = []
    for value in pool.imap(square, feedback()):
        found.append(value)
        got.release()
    assert found == [0, 1, 4, 9, 16]


@line("UTL.6")
def test_an_iterable_that_fails(rt, pool):
    def items():
        yield 1
        yield 2
        raise RuntimeError("no more")

    results = pool.imap(square, items())
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(RuntimeError, match="no more"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(RuntimeError, match="no more"):
        pool.map(square, items())


@line("UTL.7")
def test_errors_are_the_original_ones(rt, pool):
    with pytest.raises(KeyError) as info:
        pool.map(odd_fails, [0, 2, 3, 5], chunksize=1)
    assert type(info.value) is KeyError and info.value.args == (3,)
    assert "odd_fails" in str(info.value.__cause__)  # the traceback of the process
    with pytest.raises(KeyError):
        pool.apply(odd_fails, (1,))
    result = pool.apply_async(odd_fails, (1,))
    result.wait(20)
    assert result.ready() and not result.successful()
    with pytest.raises(KeyError):
        result.get()


@line("UTL.7")
def test_errors_in_imap_do_not_end_it(rt, pool):
    """In the stdlib an error in a chunk takes the rest of the chunk with it."""
    for chunksize in (1, 2, 5):
        results = pool.imap(odd_fails, range(5), chunksize)
        found = []
        while True:
            try:
                found.append(next(results))
            except StopIteration:
                break
            except KeyError as e:
                found.append(-e.args[0])
        assert found == [0, -1, 2, -3, 4]


@line("UTL.7")
@needs("background")
def test_timeouts_and_states(rt, pool, tmp_path, wait_for, note):
    gate = str(tmp_path / "gate")
    result = pool.apply_async(wait_for, (gate,))
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    results = pool.imap(wait_for, [gate])
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(timeout=0.01)
    note(gate)
    assert result.get(timeout=60) is None
    assert result.ready() and result.successful()
    assert results.next(timeout=60) is None


@line("UTL.6")
def test_callbacks(rt, pool):
    found, failed = [], []
    one = pool.apply_async(square, (3,), callback=found.append, error_callback=failed.append)
    one.wait(20)
    many = pool.map_async(square, [1, 2], callback=found.append)
    many.wait(20)
    bad = pool.starmap_async(divmod, [(1, 0)], callback=found.append, error_callback=failed.append)
    bad.wait(20)
    assert found == [9, [1, 4]]
    assert [type(e) for e in failed] == [ZeroDivisionError]


@line("UTL.6")
@needs("background")
def test_callbacks_come_without_waiting(rt, pool):
    called = threading.Event()
    pool.apply_async(square, (3,), callback=lambda value: called.set())
    assert called.wait(20)


@line("UTL.6")
@needs("background")
def test_a_callback_that_fails_or_submits(rt, pool, capsys):
    again = []

    def fails(value):
        again.append(pool.apply_async(square, (value,)))
        raise RuntimeError("in the callback")

    assert pool.apply_async(square, (3,), callback=fails).get(20) == 9
    assert again[0].get(20) == 81
    assert "in the callback" in capsys.readouterr().err


state = None


def set_state(value):
    global state
    state = value


def get_state(_):
    return state, os.getpid()


@line("UTL.6")
@needs("processes")
def test_initializer_of_a_module(rt):
    with Pool(2, initializer=set_state, initargs=("ready",)) as pool:
        assert {s for s, _ in pool.map(get_state, range(8), chunksize=1)} == {"ready"}
    assert state is None


@line("UTL.6")
@needs("processes")
def test_initializer_of_a_notebook(script):
    """Functions of __main__ are pickled by value; still they see what the initializer set."""
    done = script("""
        from fanlight.util.multiprocessing import Pool
        connection = None
        def connect(name, port):
            global connection, count
            connection, count = (name, port), 0
        def helper():
            return connection
        def use(x):
            global count
            count += 1
            return x, helper()
        def other(x):
            return connection[1] + x
        with Pool(2, connect, ("db", 80)) as pool:
            print(pool.map(use, range(3)))
            print(pool.map(other, range(2)))
            print(pool.apply(lambda: connection))
        print(connection)
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[(0, ('db', 80)), (1, ('db', 80)), (2, ('db', 80))]",
        "[80, 81]",
        "('db', 80)",
        "None",
    ]


def bad_initializer():
    raise OSError("no database")


@line("UTL.6")
def test_an_initializer_that_fails(rt):
    """The stdlib's pool starts processes over and over, and waits for ever."""
    with Pool(2, initializer=bad_initializer) as pool:
        with pytest.raises((OSError, rt.exceptions.RayActorError), match="no database"):
            pool.map(square, [1])
        with pytest.raises((OSError, rt.exceptions.RayActorError), match="no database"):
            pool.apply(square, (1,))


@line("UTL.6")
@needs("processes")
def test_maxtasksperchild(rt):
    pid = lambda _: os.getpid()  # noqa: E731
    with Pool(1, maxtasksperchild=2) as pool:
        pids = pool.map(pid, range(6), chunksize=1)
    assert pids[0] == pids[1] and pids[2] == pids[3] and pids[4] == pids[5]
    assert len(set(pids)) == 3
    with Pool(2) as pool:
        assert len(set(pool.map(pid, range(20), chunksize=1))) <= 2


@line("UTL.6")
def test_its_end(rt):
    pool = Pool(2)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    result = pool.map_async(square, range(4))
    pool.close()
    for call in (pool.map, pool.imap, pool.apply_async, pool.starmap):
        with pytest.raises(ValueError, match="Pool not running"):
            call(square, [])
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass
    pool.join()
    assert result.get(20) == [0, 1, 4, 9]
    pool.join()
    pool.terminate()


@line("UTL.6")
@needs("processes")
def test_processes_end_with_the_pool(rt, pid_gone):
    pid = lambda _: os.getpid()  # noqa: E731
    for end in ("join", "terminate", "forget"):
        pool = Pool(2)
        pids = set(pool.map(pid, range(10), chunksize=1))
        if end == "join":
            pool.close()
            pool.join()
        elif end == "terminate":
            pool.terminate()
        del pool
        gc.collect()
        assert poll(lambda pids=pids: all(map(pid_gone, pids))), end


@line("UTL.6")
@needs("background")
def test_terminate_fails_what_is_not_done(rt, tmp_path, wait_for):
    pool = Pool(1)
    results = [pool.apply_async(wait_for, (str(tmp_path / "never"),)) for _ in range(3)]
    stream = pool.imap(wait_for, itertools.repeat(str(tmp_path / "never")))
    assert poll(lambda: running(rt) == 1)
    pool.terminate()
    for result in results:
        with pytest.raises(rt.exceptions.TaskCancelledError):
            result.get(20)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        next(stream)
    pool.join()


@line("UTL.8")
def test_number_of_processes(rt):
    with pytest.raises(ValueError, match="2 CPUs"):
        Pool(3)
    for wrong in (0, -1):
        with pytest.raises(ValueError):
            Pool(wrong)
    with pytest.raises(TypeError):
        Pool(1, initializer=3)
    with pytest.raises(ValueError):
        Pool(1, maxtasksperchild=0)
    with Pool() as pool:
        assert "2 processes" in repr(pool)
        assert pool.map(square, [2]) == [4]
        assert rt.available_resources()["CPU"] == 2.0
        with pytest.raises(ValueError):
            pool.map(square, [1], chunksize=0)


@line("UTL.8")
@needs("processes")
def test_pool_beside_busy_cpus(rt, tmp_path, wait_for, note):
    gate = str(tmp_path / "gate")
    busy = [rt.remote(wait_for).remote(gate) for _ in range(2)]
    with Pool(2) as pool:
        assert pool.map(square, [1, 2]) == [1, 4]
    note(gate)
    rt.get(busy)


@line("UTL.8")
@needs("processes")
def test_ray_remote_args(rt):
    with Pool(2, ray_remote_args={"num_cpus": 1}) as pool:
        assert pool.map(square, [1, 2]) == [1, 4]
        assert rt.available_resources().get("CPU", 0) == 0
    with pytest.raises(ValueError):
        Pool(1, ray_remote_args={"no_such_option": 1})


@line("UTL.8")
@needs("default")
def test_auto_init(fresh):
    with Pool(1) as pool:
        assert pool.apply(square, (2,)) == 4
    assert fresh.fanlight.is_initialized()
    fresh.stop()
    with pytest.raises(ConnectionError):
        Pool(1, ray_address="no-such-runtime")
    with Pool(1, ray_address="local") as pool:
        assert pool.apply(square, (3,)) == 9


@needs("processes")
def test_a_process_that_dies_fails_its_call_only(rt):
    """In the stdlib the program would wait for ever."""

    def die(x):
        if x < 0:
            os._exit(3)
        time.sleep(0.03)  # long enough to have a call of its own
        return x

    with Pool(2) as pool:
        results = [pool.apply_async(die, (x,)) for x in (1, -1, 2, 3, 4, 5)]
        outcomes = []
        for result in results:
            try:
                outcomes.append(result.get(20))
            except rt.exceptions.RayActorError:
                outcomes.append("died")
        assert outcomes == [1, "died", 2, 3, 4, 5]
        assert pool.map(square, [1, 2]) == [1, 4]


@needs("processes")
def test_what_stands_behind_a_call_that_dies_is_done_elsewhere(rt):
    def die_first(x):
        if x == 0:
            time.sleep(0.3)  # the others come to stand behind it
            os._exit(3)
        return x

    with Pool(1) as pool:
        pool.map(square, range(200), chunksize=1)  # quick: from now on two calls are given ahead
        results = [pool.apply_async(die_first, (x,)) for x in range(6)]
        with pytest.raises(rt.exceptions.RayActorError):
            results[0].get(20)
        assert [r.get(20) for r in results[1:]] == [1, 2, 3, 4, 5]


def test_what_cannot_be_pickled(rt, pool):
    with pytest.raises(TypeError):
        pool.apply(lambda lock: None, (threading.Lock(),))
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        pool.map(lambda x: lock, [1])
    with pytest.raises(TypeError):
        pool.map(lambda x: threading.Lock(), [1])
    with pytest.raises(NotImplementedError):
        pickle.dumps(pool)
    assert pool.map(square, [3]) == [9]


def test_refs_and_large_values(rt, pool):
    ref = rt.put("nested")
    assert pool.map(lambda r: rt.get(r), [ref, ref]) == ["nested"] * 2
    assert pool.apply(lambda: rt.get(ref)) == "nested"
    assert pool.map(len, [bytes(300_000)] * 3) == [300_000] * 3
    assert [len(x) for x in pool.map(bytes, [300_000] * 3)] == [300_000] * 3
    large = list(range(100_000))
    assert pool.map(lambda i: large[i], [0, -1]) == [0, 99_999]


def test_inside_a_task(rt):
    @rt.remote(num_cpus=2)
    def outer(n):
        with Pool(2) as pool:
            return sum(pool.map(square, range(n)))

    assert rt.get(outer.remote(10)) == 285


@needs("background")
def test_from_several_threads(rt, pool):
    found = {}

    def use(i):
        found[i] = [pool.map(square, range(i * 10, i * 10 + 10)) for _ in range(5)]

    threads = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [[x * x for x in range(i * 10, i * 10 + 10)]] * 5 for i in range(4)}


@needs("processes")
def test_ctrl_c_while_waiting(rt, tmp_path, wait_for, note):
    gate = str(tmp_path / "gate")
    with Pool(1) as pool:
        pool.apply(time.sleep, (0.03,))  # no quick one: the next call comes when it is done

        def interrupt():
            poll(lambda: running(rt) == 1)
            signal.raise_signal(signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            pool.map(wait_for, [gate])
        thread.join()
        called = threading.Event()
        pool.apply_async(square, (3,), callback=lambda value: called.set())
        note(gate)
        assert called.wait(20)  # what was under way is seen to, though nobody waits for it
        assert pool.map(square, [2, 3]) == [4, 9]


def test_after_shutdown(fresh):
    fresh.init(num_cpus=1)
    pool = Pool(1)
    assert pool.map(square, [1]) == [1]
    result = pool.map_async(square, [2])
    fresh.stop()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.map(square, [1])
    try:
        assert result.get(20) == [4]
    except fresh.fanlight.exceptions.RayError:
        pass  # it was not done in time: the error says so, and nothing hangs
    pool.terminate()
    pool.join()
    assert not fresh.fanlight.is_initialized()
