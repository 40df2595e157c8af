"""Rows about tasks that depend on each other: chains, fans, trees, many arguments, many returns."""

from __future__ import annotations

import time

import common
import runtime
import work


def repeated(once, n, settings):
    """Things per second of ``once()``, which does n of them; the median of a few rounds."""
    once()
    times = []
    deadline = time.perf_counter() + settings["seconds"]
    while not times or (time.perf_counter() < deadline and len(times) < 20):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return {"value": n / common.median(times), "n": n, "rounds": len(times)}


def chain(settings):
    """Each task takes the one before as its argument."""
    ray, n = runtime.ray, settings["chain"]
    inc = ray.remote(work.inc)

    def once():
        ref = inc.remote(0)
        for _ in range(n - 1):
            ref = inc.remote(ref)
        assert ray.get(ref) == n

    return repeated(once, n, settings)


def fan_in(settings):
    """Leaves, sums of ten leaves, sums of ten sums: all submitted at once."""
    ray, n = runtime.ray, settings["graph"]
    tops = max(1, n // 111)
    inc, total = ray.remote(work.inc), ray.remote(work.total)

    def once(tops):
        leaves = [inc.remote(0) for _ in range(tops * 100)]
        middle = [total.remote(*leaves[i : i + 10]) for i in range(0, len(leaves), 10)]
        top = [total.remote(*middle[i : i + 10]) for i in range(0, len(middle), 10)]
        assert ray.get(top) == [100] * tops

    once(1)
    start = time.perf_counter()
    once(tops)
    took = time.perf_counter() - start
    return {"value": tops * 111 / took, "n": tops * 111, "took_row": took}


def tree(settings):
    """A binary tree of sums over n leaves that exist already."""
    ray, n = runtime.ray, settings["tree"]
    total = ray.remote(work.total)
    leaves = [ray.put(i) for i in range(n)]

    def once():
        level = leaves
        while len(level) > 1:
            level = [total.remote(*level[i : i + 2]) for i in range(0, len(level), 2)]
        assert ray.get(level[0]) == n * (n - 1) // 2

    answer = repeated(once, n - 1, settings)
    answer["n"] = n
    return answer


def many_args(settings):
    """Milliseconds of a call whose arguments are n refs, the objects being there."""
    ray, n = runtime.ray, settings["args"]
    count = ray.remote(work.count)
    refs = [ray.put(i) for i in range(n)]

    def once():
        assert ray.get(count.remote(*refs)) == n

    rate = repeated(once, 1, settings)
    return {"value": 1e3 / rate["value"], "n": n}


def many_returns(settings):
    """Milliseconds of a call with n returns, until all are there."""
    ray, n = runtime.ray, settings["returns"]
    numbers = ray.remote(work.numbers).options(num_returns=n)

    def once():
        assert ray.get(numbers.remote(n)) == list(range(n))

    rate = repeated(once, 1, settings)
    return {"value": 1e3 / rate["value"], "n": n}


ROWS = {f.__name__: f for f in (chain, fan_in, tree, many_args, many_returns)}
