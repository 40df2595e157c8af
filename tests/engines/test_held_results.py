"""Results of quick tasks travel together. None may wait for slow work, and nothing gets lost.

A worker holds the results of quick functions back while more quick work stands behind them. Each
test first lets the function run often enough to count as quick.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.engines.support import DEADLINE, needs

QUICK_CALLS = 100


@pytest.fixture
def in_store(rt):
    """``in_store()``: bytes of shared memory that objects or mappings hold, warm segments aside."""

    def in_store():
        store = rt.session.current().engine.query("store")
        return store["used"] - store["cached"]

    return in_store


@needs("processes", "background")
@pytest.mark.runtime(num_cpus=1)
def test_quick_results_do_not_wait_for_the_slow_task_behind_them(rt, tmp_path, wait_for, note):
    go = str(tmp_path / "go")

    @rt.remote
    def f(gate):
        if gate:
            wait_for(gate)
        return gate

    rt.get([f.remote("") for _ in range(QUICK_CALLS)])
    quick, slow = [f.remote("") for _ in range(6)], f.remote(go)
    assert rt.get(quick, timeout=DEADLINE / 2) == [""] * 6
    note(go)
    assert rt.get(slow) == go


@needs("processes", "background")
@pytest.mark.runtime(num_cpus=1)
def test_refs_in_a_result_live_until_the_result_has_arrived(rt, tmp_path, wait_for, note):
    go = str(tmp_path / "go")

    @rt.remote
    def f(gate):
        if gate:
            wait_for(gate)
        return [rt.put(1)]  # only the worker holds it, until the driver hears of it

    rt.get([f.remote("") for _ in range(QUICK_CALLS)])
    quick, slow = [f.remote("") for _ in range(6)], f.remote(go)
    for ref in quick:
        (inner,) = rt.get(ref, timeout=DEADLINE / 2)
        assert rt.get(inner, timeout=DEADLINE / 2) == 1
    note(go)
    rt.get(slow)


@needs("processes")
@pytest.mark.runtime(num_cpus=1)
def test_what_a_task_without_retries_returned_survives_its_worker(rt):
    @rt.remote(max_retries=0)
    def f(die):
        if die:
            os._exit(1)
        return "returned"

    rt.get([f.remote(False) for _ in range(QUICK_CALLS)])
    quick, last = [f.remote(False) for _ in range(3)], f.remote(True)
    assert rt.get(quick) == ["returned"] * 3
    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(last)


@needs("processes")
@pytest.mark.runtime(num_cpus=1)
def test_the_room_of_quick_results_is_given_back(rt, in_store, eventually):
    @rt.remote
    def f():
        return np.zeros(14_000)  # just large enough for shared memory

    for _ in range(2):
        assert len(rt.get([f.remote() for _ in range(QUICK_CALLS)])) == QUICK_CALLS
    eventually(lambda: in_store() == 0)


@needs("processes", "overlap")
def test_the_room_of_a_threaded_actors_results_is_given_back(rt, in_store, eventually):
    @rt.remote(max_concurrency=3)
    class Actor:
        def make(self):
            return np.ones(200_000)

    actor = Actor.remote()
    for _ in range(10):
        assert rt.get(actor.make.remote()).sum() == 200_000
    eventually(lambda: in_store() == 0)


@needs("processes", "background")
def test_arguments_of_tasks_that_go_back_unstarted_are_given_back(
    rt, in_store, eventually, tmp_path, wait_for, note
):
    go = str(tmp_path / "go")

    @rt.remote
    def f(array, gate):
        if gate:
            wait_for(gate)
        return array.size

    array = rt.put(np.ones(200_000))
    rt.get([f.remote(array, "") for _ in range(QUICK_CALLS)])
    first = [f.remote(array, "") for _ in range(5)]
    slow = f.remote(array, go)
    behind = [f.remote(array, "") for _ in range(40)]
    # Those that were handed to the worker of the slow one go back, and run on the other CPU.
    assert rt.get(first + behind, timeout=DEADLINE / 2) == [200_000] * 45
    note(go)
    assert rt.get(slow) == 200_000
    del array, first, slow, behind
    eventually(lambda: in_store() == 0)
