"""The standard library's two process pools.

``python pools.py futures|pool [CPUS]``
"""

import time

STARTED = time.perf_counter()

import sys  # noqa: E402

KIND = sys.argv[1]
CPUS = int(sys.argv[2]) if len(sys.argv) > 2 else 2


def echo(x):
    return x


def start():
    global pool
    if KIND == "futures":
        from concurrent.futures import ProcessPoolExecutor

        pool = ProcessPoolExecutor(CPUS)
    else:
        from multiprocessing import Pool

        pool = Pool(CPUS)
    assert one_task(41) == 41
    return time.perf_counter() - STARTED


def close():
    if KIND == "futures":
        pool.shutdown()
    else:
        pool.close()
        pool.join()


def one_task(x):
    return pool.submit(echo, x).result() if KIND == "futures" else pool.apply(echo, (x,))


def memory(settings):
    list(pool.map(echo, range(100), chunksize=1))
    return common.idle_memory(settings["settle"])


def task_sync(settings):
    return common.rate_one_by_one(lambda: one_task(1), settings["seconds"])


def task_burst(settings):
    def burst(n):
        assert list(pool.map(echo, range(n), chunksize=1)) == list(range(n))

    return common.rate_in_flight(burst, settings["seconds"])


ROWS = {f.__name__: f for f in (memory, task_sync, task_burst)}

if __name__ == "__main__":
    startup = start()
    import common

    common.serve(startup, sys.version.split()[0], ROWS, close)
