"""Dask's LocalCluster: processes of one thread each, as Fanlight's and Ray's workers are.

``python dask_api.py [CPUS]``
"""

import time

STARTED = time.perf_counter()

import sys  # noqa: E402

CPUS = int(sys.argv[1]) if len(sys.argv) > 1 else 2


def echo(x):
    return x


def make_array(nbytes):
    import numpy as np

    return np.ones(nbytes // 8)


class Counter:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n


def start():
    open_cluster(CPUS)
    assert client.submit(echo, 41).result() == 41
    return time.perf_counter() - STARTED


def open_cluster(workers):
    global client, cluster
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    )
    client = Client(cluster)


def close():
    client.close()
    cluster.close()


class Function:
    def __init__(self, function):
        self.function = function

    def remote(self, *args):
        return client.submit(self.function, *args, pure=False)


class LikeRay:
    """Just enough of Ray's names for the rows that are written for them."""

    remote = staticmethod(Function)
    shutdown = staticmethod(close)

    def init(self, num_cpus):
        open_cluster(num_cpus)

    def get(self, futures):
        return client.gather(futures)

    def put(self, value):
        return client.scatter(value, hash=False)


def memory(settings):
    client.run(echo, 1)
    return common.idle_memory(settings["settle"])


def task_sync(settings):
    return common.rate_one_by_one(
        lambda: client.submit(echo, 1, pure=False).result(), settings["seconds"]
    )


def task_burst(settings):
    def burst(n):
        assert client.gather(client.map(echo, range(n), pure=False)) == list(range(n))

    return common.rate_in_flight(burst, settings["seconds"])


def actor_sync(settings):
    future = client.submit(Counter, actor=True)
    counter = future.result()
    return common.rate_one_by_one(lambda: counter.add().result(), settings["seconds"])


def actor_burst(settings):
    future = client.submit(Counter, actor=True)
    counter = future.result()

    def burst(n):
        values = [call.result() for call in [counter.add() for _ in range(n)]]
        assert len(set(values)) == n

    return common.rate_in_flight(burst, settings["seconds"])


def put_small(settings):
    def burst(n):
        futures = [client.scatter(i, hash=False) for i in range(n)]
        assert len(futures) == n

    return common.rate_in_flight(burst, settings["seconds"], least=20)


def put_large(settings):
    return common.put_bandwidth(lambda data: client.scatter(data, hash=False), settings)


def get_small(settings):
    future = client.scatter(b"x" * 100, hash=False)
    return common.rate_one_by_one(lambda: client.gather(future), settings["seconds"])


def get_large(settings):
    from distributed import wait

    times = []
    for _ in range(2):
        future = client.submit(make_array, settings["get_mb"] * 1_000_000, pure=False)
        wait(future)
        begin = time.perf_counter()
        value = future.result()
        times.append(time.perf_counter() - begin)
        assert value.nbytes == settings["get_mb"] * 1_000_000
        del value, future
    return {
        "value": common.median(times) * 1e3,
        "first": times[0] * 1e3,
        "copies": True,
        "megabytes": settings["get_mb"],
    }


ROWS = {
    f.__name__: f
    for f in (
        memory,
        task_sync,
        task_burst,
        actor_sync,
        actor_burst,
        put_small,
        put_large,
        get_small,
        get_large,
    )
}

if __name__ == "__main__":
    startup = start()
    import common
    import distributed
    import graphs
    import runtime
    import scaling
    import sharing

    runtime.use(LikeRay(), "dask", CPUS)
    for row in (graphs.chain, graphs.fan_in, graphs.tree, graphs.many_args, sharing.busy_driver):
        ROWS[row.__name__] = row
    ROWS.update(scaling.ROWS)

    common.serve(startup, distributed.__version__, ROWS, close)
