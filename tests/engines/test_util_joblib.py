"""UTL: the joblib backend."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_backend, parallel_config

from fanlight.util.joblib import register_fanlight, register_ray
from tests.engines.support import line, needs, poll

register_fanlight()
register_ray()


def square(x):
    return x * x


def fails(x):
    if x == 3:
        raise KeyError(x)
    return x


def pid(_):
    return os.getpid()


@line("UTL.9")
@pytest.mark.parametrize("name", ["ray", "fanlight"])
def test_parallel(rt, name):
    with parallel_backend(name):
        assert Parallel()(delayed(square)(i) for i in range(100)) == [i * i for i in range(100)]
        assert Parallel(n_jobs=-1)(delayed(divmod)(7, b=2) for _ in range(0)) == []
    with parallel_config(backend=name, n_jobs=2), Parallel() as parallel:
        for _ in range(3):
            assert parallel(delayed(square)(i) for i in range(5)) == [0, 1, 4, 9, 16]


@line("UTL.9")
@needs("processes")
def test_it_runs_as_tasks(rt):
    with parallel_backend("ray"):
        pids = set(Parallel()(delayed(pid)(i) for i in range(8)))
    assert os.getpid() not in pids
    counts = rt.session.require().engine.query("counts")
    assert counts["FINISHED"] >= 1


@line("UTL.9")
def test_number_of_jobs(rt):
    with parallel_backend("ray", n_jobs=-1):
        assert joblib.effective_n_jobs() == 2
        assert joblib.effective_n_jobs(-2) == 1
    with parallel_backend("ray", n_jobs=-2):
        assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]
    with parallel_backend("ray", n_jobs=4):
        assert Parallel()(delayed(square)(i) for i in range(9)) == [i * i for i in range(9)]
    with pytest.raises(ValueError), parallel_backend("ray", n_jobs=0):
        Parallel()(delayed(square)(i) for i in range(3))


@line("UTL.9")
@needs("processes")
@pytest.mark.runtime(num_cpus=4)
def test_no_more_than_n_jobs_run_at_once(rt, tmp_path):
    @rt.remote(num_cpus=0)
    class Meter:
        def __init__(self):
            self.now = self.most = 0

        def enter(self):
            self.now += 1
            self.most = max(self.most, self.now)

        def leave(self):
            self.now -= 1
            return self.most

    meter = Meter.remote()

    def measured():
        rt.get(meter.enter.remote())
        return rt.get(meter.leave.remote())

    with parallel_backend("ray", n_jobs=2):
        assert max(Parallel(batch_size=1)(delayed(measured)() for _ in range(20))) <= 2


@line("UTL.9")
@needs("processes")
def test_ray_remote_args(rt):
    def resources():
        return rt.get_runtime_context().get_assigned_resources()

    with parallel_backend("ray", ray_remote_args={"num_cpus": 2}):
        assert Parallel()(delayed(resources)() for _ in range(2)) == [{"CPU": 2.0}] * 2


@line("UTL.9")
def test_errors_have_their_own_type(rt):
    with parallel_backend("ray"):
        with pytest.raises(KeyError) as info:
            Parallel()(delayed(fails)(i) for i in range(10))
        assert type(info.value) is KeyError and info.value.args == (3,)
        assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


@line("UTL.9")
@needs("processes")
def test_a_process_that_dies(rt):
    with parallel_backend("ray"), pytest.raises(rt.exceptions.WorkerCrashedError):
        Parallel()(delayed(os._exit)(i) for i in (1, 2))


@line("UTL.9")
@needs("processes")
def test_what_cannot_be_pickled(rt):
    with parallel_backend("ray"), pytest.raises(TypeError):
        Parallel()(delayed(id)(threading.Lock()) for _ in range(3))


@line("UTL.9")
@needs("processes")
def test_a_large_array_is_stored_once(rt):
    array = np.arange(400_000.0)

    def look(x, i, y=None):
        return x[i], y[i], x.flags.writeable

    def used_now():
        facts = rt.session.require().engine.query("store")
        return facts["used"] - facts["cached"]

    before = used_now()
    used = []

    def calls():
        for i in range(12):
            used.append(used_now() - before)
            yield delayed(look)(array, i, y=array)

    with parallel_backend("ray"):
        found = Parallel(batch_size=1)(calls())
    assert found == [(float(i), float(i), False) for i in range(12)]
    assert max(used) < 2 * array.nbytes
    assert poll(lambda: used_now() <= before)
    array[:] = 7  # the next call sees it
    with parallel_backend("ray"):
        assert Parallel()(delayed(look)(array, 0, y=array) for _ in range(2))[0][0] == 7.0


@line("UTL.9")
@needs("processes")
def test_inside_a_task_and_nested(rt):
    def inner(i):
        return sum(Parallel(n_jobs=2)(delayed(square)(j) for j in range(i)))

    @rt.remote(num_cpus=2)
    def outer():
        register_ray()
        with parallel_backend("ray"):
            return Parallel()(delayed(inner)(i) for i in range(4))

    assert rt.get(outer.remote(), timeout=60) == [0, 0, 1, 5]


@line("UTL.9")
def test_generators_and_timeouts(rt, engine):
    with parallel_backend("ray"):
        results = Parallel(return_as="generator")(delayed(square)(i) for i in range(5))
        assert list(results) == [0, 1, 4, 9, 16]
        if engine == "inproc":
            return  # there joblib does the work in place, where it knows no timeouts
        with pytest.raises(multiprocessing.TimeoutError):
            Parallel(timeout=0.1)(delayed(time.sleep)(5) for _ in range(2))


def test_the_backend_can_be_pickled():
    from fanlight.util.joblib_backend import FanlightBackend

    backend = FanlightBackend(ray_remote_args={"num_cpus": 2}, nesting_level=1)
    again = pickle.loads(pickle.dumps(backend))
    assert (again._options["num_cpus"], again.nesting_level) == (2, 1)
