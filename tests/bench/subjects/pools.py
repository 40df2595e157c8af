"""The standard library's two process pools.

``python pools.py futures|pool [CPUS]``
"""

import time

STARTED = time.perf_counter()

import contextlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

KIND = sys.argv[1]
FUTURES = KIND == "futures"
CPUS = int(sys.argv[2]) if len(sys.argv) > 2 else 2


def echo(x):
    return x


def start():
    open_pool(CPUS)
    assert one_task(41) == 41
    return time.perf_counter() - STARTED


def open_pool(workers):
    global pool
    if FUTURES:
        from concurrent.futures import ProcessPoolExecutor

        pool = ProcessPoolExecutor(workers)
    else:
        from multiprocessing import Pool

        pool = Pool(workers)


def close():
    if FUTURES:
        pool.shutdown()
    else:
        pool.close()
        pool.join()


def one_task(x, function=echo):
    return pool.submit(function, x).result() if FUTURES else pool.apply(function, (x,))


def memory(settings):
    list(pool.map(echo, range(100), chunksize=1))
    return common.idle_memory(settings["settle"])


def task_sync(settings):
    return common.rate_one_by_one(lambda: one_task(1), settings["seconds"])


def task_burst(settings):
    def burst(n):
        assert list(pool.map(echo, range(n), chunksize=1)) == list(range(n))

    return common.rate_in_flight(burst, settings["seconds"])


def together(function, arguments):
    """One task for each item, all in flight; the results in order."""
    return list(pool.map(function, arguments, chunksize=1))


def chain(settings):
    """These pools know no dependencies: each result goes through the driver."""
    n = settings["chain"]

    def once():
        value = 0
        for _ in range(n):
            value = one_task(value, work.inc)
        assert value == n

    return graphs.repeated(once, n, settings)


def fan_in(settings):
    """Level by level, through the driver."""
    tops = max(1, settings["graph"] // 111)

    def once():
        level = together(work.inc, [0] * tops * 100)
        for _ in range(2):
            level = together(sum, [level[i : i + 10] for i in range(0, len(level), 10)])
        assert level == [100] * tops

    return graphs.repeated(once, tops * 111, settings)


def tree(settings):
    n = settings["tree"]

    def once():
        level = list(range(n))
        while len(level) > 1:
            level = together(sum, [level[i : i + 2] for i in range(0, len(level), 2)])
        assert level[0] == n * (n - 1) // 2

    return graphs.repeated(once, n - 1, settings) | {"n": n}


@contextlib.contextmanager
def reopened(workers):
    close()
    try:
        open_pool(workers)
        yield
    finally:
        close()
        open_pool(CPUS)


def busy_driver(settings):
    cores = len(os.sched_getaffinity(0))

    def submit(loops, n):
        if FUTURES:
            return [pool.submit(work.spin, loops) for _ in range(n)]
        return [pool.apply_async(work.spin, (loops,)) for _ in range(n)]

    def gather(futures):
        return [f.result() if FUTURES else f.get() for f in futures]

    with reopened(max(1, cores - 1)):
        return sharing.measure_busy(submit, gather, cores, settings)


def scale_tasks(settings):
    return scaling.tasks_curve(lambda n: together(echo, range(n)), settings)


def scale_size(settings):
    return scaling.size_curve(one_task, settings)


def scale_workers(settings):
    @contextlib.contextmanager
    def with_workers(k):
        with reopened(k):
            yield lambda n: together(work.nap, [scaling.NAP] * n)

    return scaling.workers_curve(with_workers, settings)


ROWS = {
    f.__name__: f
    for f in (
        memory,
        task_sync,
        task_burst,
        chain,
        fan_in,
        tree,
        busy_driver,
        scale_tasks,
        scale_size,
        scale_workers,
    )
}

if __name__ == "__main__":
    startup = start()
    import common
    import graphs
    import scaling
    import sharing
    import work

    common.serve(startup, sys.version.split()[0], ROWS, close)
