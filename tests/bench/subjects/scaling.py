"""Curves: rate against the number of tasks, the size of a value, and the number of workers.

Each answer's ``points`` are ``[x, y]`` pairs. The measuring functions are shared by all peers.
"""

from __future__ import annotations

import time

import common
import runtime
import work

NAP = 0.005


def tasks_curve(burst, settings):
    """Tasks per second when n are submitted at once; ``burst(n)`` waits for all of them."""
    points = []
    burst(10)
    n = 1
    while n <= settings["curve_tasks"]:
        times = []
        deadline = time.perf_counter() + settings["seconds"] / 2
        while len(times) < 3 or (time.perf_counter() < deadline and len(times) < 50):
            start = time.perf_counter()
            burst(n)
            times.append(time.perf_counter() - start)
            if times[-1] > 10 * settings["seconds"]:
                break
        points.append([n, n / common.median(times)])
        if times[-1] > 10 * settings["seconds"]:
            break
        n *= 10
    return {"value": points[-1][1], "points": points}


def size_curve(round_trip, settings):
    """GB/s of a value that goes to a task and comes back; ``round_trip(array)`` gives it."""
    import numpy as np

    points = []
    nbytes = 1024
    while nbytes <= settings["curve_mb"] << 20:
        data = np.ones(nbytes // 8)
        assert round_trip(data).nbytes == nbytes
        times = []
        deadline = time.perf_counter() + settings["seconds"] / 3
        while len(times) < 3 or (time.perf_counter() < deadline and len(times) < 200):
            start = time.perf_counter()
            back = round_trip(data)
            times.append(time.perf_counter() - start)
            del back
            if times[-1] > 10 * settings["seconds"]:
                break
        points.append([nbytes, nbytes / common.median(times) / 1e9])
        nbytes *= 8
    return {"value": points[-1][1], "points": points}


def workers_curve(with_workers, settings):
    """Tasks per second that sleep for 5 ms, on 1 to 8 workers.

    ``with_workers(k)`` is a context manager that gives ``naps(n)``, which waits for n of them.
    """
    points = []
    for k in (1, 2, 4, 8):
        with with_workers(k) as naps:
            naps(4 * k)
            times = []
            n = max(4, int(settings["seconds"] / 4 / NAP)) * k
            for _ in range(3):
                start = time.perf_counter()
                naps(n)
                times.append(time.perf_counter() - start)
            points.append([k, n / common.median(times)])
    return {"value": points[-1][1], "points": points, "ideal": [[k, k / NAP] for k in (1, 2, 4, 8)]}


def scale_tasks(settings):
    ray = runtime.ray
    tiny = ray.remote(work.echo)

    def burst(n):
        assert ray.get([tiny.remote(1) for _ in range(n)]) == [1] * n

    return tasks_curve(burst, settings)


def scale_size(settings):
    ray = runtime.ray
    echo = ray.remote(work.echo)
    return size_curve(lambda data: ray.get(echo.remote(data)), settings)


def scale_workers(settings):
    import contextlib

    ray = runtime.ray
    nap = ray.remote(work.nap)

    @contextlib.contextmanager
    def with_workers(k):
        with runtime.restarted(num_cpus=k):
            yield lambda n: ray.get([nap.remote(NAP) for _ in range(n)])

    return workers_curve(with_workers, settings)


ROWS = {f.__name__: f for f in (scale_tasks, scale_size, scale_workers)}
