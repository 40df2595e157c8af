"""UTL: ActorPool."""

from __future__ import annotations

import os

import pytest

from fanlight.util import ActorPool
from tests.engines.support import line, needs, raises_task_error


@pytest.fixture
def Worker(rt, wait_for, note):
    @rt.remote
    class Worker:
        def double(self, x):
            return 2 * x

        def wait(self, path):
            wait_for(path)
            return path

        def open_gate(self, path):
            note(path)
            return "opened"

        def fail(self, x):
            if x < 0:
                raise KeyError(x)
            return x

        def die(self, x):
            if x < 0:
                os._exit(1)
            return x

    return Worker


def double(actor, x):
    return actor.double.remote(x)


@line("UTL.1")
def test_map(rt, Worker):
    pool = ActorPool([Worker.remote(), Worker.remote()])
    assert list(pool.map(double, range(7))) == [2 * i for i in range(7)]
    assert sorted(pool.map_unordered(double, range(7))) == [2 * i for i in range(7)]
    assert list(pool.map(double, [])) == []


@line("UTL.1")
@needs("background")
def test_map_is_ordered_and_keeps_all_actors_busy(rt, Worker, tmp_path):
    """The actor that is done goes on with what waits, also while an earlier result is waited for;
    in the reference it would not before its own result was taken."""
    gate = str(tmp_path / "gate")
    work = ["wait", "double", "double", "double", "open_gate"]
    pool = ActorPool([Worker.remote(), Worker.remote()])
    results = pool.map(
        lambda a, name: getattr(a, name).remote(gate if name != "double" else 1), work
    )
    assert list(results) == [gate, 2, 2, 2, "opened"]


@line("UTL.1")
@needs("background")
def test_map_unordered_gives_what_is_ready(rt, Worker, tmp_path, note):
    gate = str(tmp_path / "gate")
    pool = ActorPool([Worker.remote(), Worker.remote()])
    results = pool.map_unordered(
        lambda a, x: a.wait.remote(gate) if x == 0 else a.double.remote(x), range(3)
    )
    assert {next(results), next(results)} == {2, 4}
    note(gate)
    assert list(results) == [gate]


@line("UTL.1")
def test_map_gives_up_earlier_submissions(rt, Worker):
    pool = ActorPool([Worker.remote()])
    for i in range(3):
        pool.submit(double, 100 + i)
    assert list(pool.map(double, [1, 2])) == [2, 4]
    assert not pool.has_next()


@line("UTL.2")
def test_submit_and_get_next(rt, Worker):
    pool = ActorPool([Worker.remote(), Worker.remote()])
    assert not pool.has_next()
    for i in range(5):
        pool.submit(double, i)
    assert pool.has_next()
    assert [pool.get_next() for _ in range(5)] == [0, 2, 4, 6, 8]
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


@line("UTL.2")
def test_ordered_and_unordered_may_be_mixed(rt, Worker):
    """The reference refuses get_next() after get_next_unordered()."""
    pool = ActorPool([Worker.remote(), Worker.remote()])
    for i in range(6):
        pool.submit(double, i)
    found = []
    while pool.has_next():
        found.append(pool.get_next_unordered())
        if pool.has_next():
            found.append(pool.get_next())
    assert sorted(found) == [0, 2, 4, 6, 8, 10]


@line("UTL.2")
def test_free_and_idle_actors(rt, Worker):
    first, second = Worker.remote(), Worker.remote()
    pool = ActorPool([first])
    assert pool.has_free()
    with pytest.raises(ValueError):
        pool.push(first)
    pool.submit(double, 1)
    assert not pool.has_free() and pool.pop_idle() is None
    with pytest.raises(ValueError):
        pool.push(first)
    pool.push(second)
    assert pool.has_free()
    assert pool.pop_idle() == second
    assert pool.pop_idle() is None
    assert pool.get_next() == 2
    assert pool.pop_idle() == first


@line("UTL.2")
@needs("background")
def test_timeouts(rt, Worker, tmp_path, note):
    gate = str(tmp_path / "gate")
    pool = ActorPool([Worker.remote()])
    pool.submit(lambda a, v: a.wait.remote(v), gate)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.01)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0)
    assert pool.has_next()
    pool.submit(double, 1)
    with pytest.raises(TimeoutError, match="given up"):
        pool.get_next(timeout=0, ignore_if_timedout=True)
    note(gate)
    assert pool.get_next() == 2
    assert not pool.has_next()
    pool.submit(double, 2)
    assert pool.get_next_unordered(timeout=60) == 4


@line("UTL.3")
def test_an_error_gives_the_actor_back(rt, Worker):
    pool = ActorPool([Worker.remote()])
    for x in (1, -1, 2):
        pool.submit(lambda a, v: a.fail.remote(v), x)
    assert pool.get_next() == 1
    with raises_task_error(rt, KeyError):
        pool.get_next()
    assert pool.get_next() == 2
    assert pool.has_free()


@line("UTL.3")
@needs("processes")
def test_a_dead_actor_is_not_given_back(rt, Worker):
    pool = ActorPool([Worker.remote(), Worker.remote()])
    outcomes = []
    for x in (-1, 1, 2, 3):
        pool.submit(lambda a, v: a.die.remote(v), x)
    while pool.has_next():
        try:
            outcomes.append(pool.get_next())
        except rt.exceptions.RayActorError:
            outcomes.append("dead")
    assert outcomes == ["dead", 1, 2, 3]
    assert pool.pop_idle() is not None and pool.pop_idle() is None


@line("UTL.3")
@needs("processes")
def test_without_actors_left_work_fails_instead_of_hanging(rt, Worker):
    pool = ActorPool([Worker.remote()])
    for x in (-1, 1, 2):
        pool.submit(lambda a, v: a.die.remote(v), x)
    for _ in range(2):
        with pytest.raises(rt.exceptions.RayActorError):
            pool.get_next()
    pool.push(Worker.remote())
    assert pool.get_next() == 2


def test_a_function_that_returns_no_ref(rt, Worker):
    pool = ActorPool([Worker.remote()])
    with pytest.raises(TypeError, match="ref of a call"):
        pool.submit(lambda a, v: v, 1)
    assert not pool.has_next() and pool.has_free()


@line("UTL.1")
def test_a_pool_inside_an_actor(rt, Worker):
    @rt.remote
    class Boss:
        def __init__(self, pool):
            self.pool = pool

        def work(self, values):
            return list(self.pool.map(lambda a, v: a.double.remote(v), values))

    boss = Boss.remote(ActorPool([Worker.remote(), Worker.remote()]))
    assert rt.get(boss.work.remote([1, 2, 3])) == [2, 4, 6]
    assert rt.get(boss.work.remote([4])) == [8]
