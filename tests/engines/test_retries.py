"""FLT: retries and crashes."""

from __future__ import annotations

import os
import signal

import pytest

from tests.engines.support import line, needs, raises_task_error


@pytest.fixture
def attempts(tmp_path, note):
    """A function that counts its calls in a file, and one that reads the count."""
    path = str(tmp_path / "attempts")

    def attempt():
        note(path)
        with open(path) as f:
            return len(f.readlines())

    def count():
        with open(path) as f:
            return len(f.readlines())

    return attempt, count


@line("FLT.1")
@needs("processes")
@pytest.mark.parametrize(("options", "runs"), [({}, 4), ({"max_retries": 0}, 1)])
def test_a_worker_that_always_dies(rt, attempts, options, runs):
    attempt, count = attempts

    @rt.remote
    def die():
        attempt()
        os._exit(1)

    with pytest.raises(rt.exceptions.WorkerCrashedError) as info:
        rt.get(die.options(**options).remote())
    assert count() == runs
    assert "die" in str(info.value)
    assert rt.get(rt.remote(lambda: 1).remote()) == 1


@line("FLT.1", "FLT.4")
@needs("processes")
@pytest.mark.parametrize("how", ["exit", "signal"])
def test_a_worker_that_dies_once(rt, attempts, how):
    attempt, count = attempts

    @rt.remote
    def die_once():
        if attempt() == 1:
            if how == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.SIGKILL)
        return rt.get_runtime_context().get_task_id()

    ref = die_once.remote()
    assert rt.get(ref) == ref.task_id().hex()
    assert count() == 2


@line("FLT.1")
@needs("processes")
def test_unlimited_retries(rt, attempts):
    attempt, _ = attempts

    @rt.remote(max_retries=-1)
    def die_often():
        n = attempt()
        if n < 6:
            os._exit(1)
        return n

    assert rt.get(die_often.remote()) == 6


@line("FLT.2")
def test_exceptions_are_not_retried(rt, attempts):
    attempt, count = attempts

    @rt.remote
    def fail():
        attempt()
        raise ValueError("once")

    with raises_task_error(rt, ValueError):
        rt.get(fail.remote())
    assert count() == 1


@line("FLT.3", "FLT.4")
@pytest.mark.parametrize(
    ("retry", "runs"),
    [(True, 3), ([ValueError], 3), ([Exception], 3), ([OSError], 1), (False, 1)],
)
def test_exceptions_that_shall_be_retried(rt, attempts, retry, runs):
    attempt, count = attempts

    @rt.remote(max_retries=2, retry_exceptions=retry)
    def fail():
        attempt()
        raise ValueError("again")

    with raises_task_error(rt, ValueError, match="again"):
        rt.get(fail.remote())
    assert count() == runs


@line("FLT.3", "FLT.4")
def test_a_retry_that_works(rt, attempts):
    attempt, count = attempts

    @rt.remote(retry_exceptions=True)
    def second_time_lucky():
        if attempt() == 1:
            raise ValueError("first")
        return rt.get_runtime_context().get_task_id()

    ref = second_time_lucky.remote()
    assert rt.get(ref) == ref.task_id().hex()
    assert count() == 2


@line("FLT.9")
@needs("processes")
def test_results_outlive_the_worker_that_made_them(rt):
    @rt.remote(max_retries=0)
    def make(n):
        return os.getpid(), bytes(n)

    refs = [make.remote(10), make.remote(500_000)]
    for pid in {pid for pid, _ in rt.get(refs)}:
        os.kill(pid, signal.SIGKILL)
    assert rt.get(rt.remote(lambda: 1).remote()) == 1
    assert [len(data) for _, data in rt.get(refs)] == [10, 500_000]


@line("FLT.1")
@needs("processes")
def test_other_tasks_are_not_hurt(rt, attempts):
    attempt, _ = attempts

    @rt.remote(max_retries=0)
    def die():
        attempt()
        os._exit(1)

    double = rt.remote(lambda x: 2 * x)
    before = [double.remote(i) for i in range(50)]
    bad = die.remote()
    after = [double.remote(i) for i in range(50)]
    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(bad)
    assert rt.get(before) == rt.get(after) == [2 * i for i in range(50)]
