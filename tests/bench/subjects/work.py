"""What workers do for the rows: plain functions, which need nothing but the standard library."""

from __future__ import annotations

import importlib
import time


def inc(x):
    return x + 1


def total(*values):
    return sum(values)


def count(*values):
    return len(values)


def numbers(n):
    return tuple(range(n))


def echo(x):
    return x


def nap(seconds):
    time.sleep(seconds)


def spin(loops):
    """CPU time in pure Python; gives the moment of its end."""
    for _ in range(loops):
        pass
    return time.time()


def submit_and_get(api, n):
    """A task that submits n tiny tasks and gets their results: the rate it had."""
    ray = importlib.import_module(api)
    tiny = ray.remote(echo)
    ray.get([tiny.remote(1) for _ in range(max(10, n // 10))])
    start = time.perf_counter()
    values = ray.get([tiny.remote(1) for _ in range(n)])
    rate = n / (time.perf_counter() - start)
    assert values == [1] * n
    return rate


def ends_of(array):
    """What a reader needs to show that it sees the whole of an array, and did not copy it."""
    middle = len(array) // 2
    return float(array[0]), float(array[middle]), float(array[-1]), int(array.nbytes)


def array_of(nbytes):
    import numpy

    return numpy.ones(max(1, nbytes // 8))


def loops_for(seconds):
    """How many turns of ``spin`` take about so long on this machine, now."""
    loops = 20_000
    while True:
        start = time.perf_counter()
        spin(loops)
        took = time.perf_counter() - start
        if took > 0.05:
            return max(1, int(loops * seconds / took))
        loops *= 4


class Cell:
    """As small an actor as there can be."""

    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n
