"""Fanlight and Ray: one script measures both, since their names and semantics are the same.

``python ray_api.py fanlight|ray [CPUS]``

Ray is measured without its dashboard, which favours it: it starts sooner and takes less memory so.
"""

import time

STARTED = time.perf_counter()

import sys  # noqa: E402

API = sys.argv[1]
CPUS = int(sys.argv[2]) if len(sys.argv) > 2 else 2
if API == "ray":
    import ray
else:
    import fanlight as ray


@ray.remote
def echo(x):
    return x


@ray.remote
def hold(path):
    """Keep a CPU until the file is there."""
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.02)


@ray.remote
def make_array(nbytes):
    import numpy as np

    return np.ones(nbytes // 8)


@ray.remote
def make_refs(n):
    return [ray.put(i) for i in range(n)]


@ray.remote
def pid_after(seconds):
    import os
    import time

    time.sleep(seconds)
    return os.getpid()


@ray.remote
class Counter:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n


def start():
    """Start the runtime and get the first task's result; gives the seconds since the first line."""
    import runtime

    runtime.use(ray, API, CPUS)
    runtime.start()
    assert ray.get(echo.remote(41)) == 41
    return time.perf_counter() - STARTED


def memory(settings):
    """Every worker has run a task before memory is counted."""
    pids: set[int] = set()
    deadline = time.monotonic() + 20
    while len(pids) < CPUS and time.monotonic() < deadline:
        pids.update(ray.get([pid_after.remote(0.1) for _ in range(CPUS)]))
    assert len(pids) >= CPUS, f"{len(pids)} workers ran tasks, not {CPUS}"
    return common.idle_memory(settings["settle"], runtime.node_pids())


def task_sync(settings):
    return common.rate_one_by_one(lambda: ray.get(echo.remote(1)), settings["seconds"])


def tasks_in_flight(n):
    refs = [echo.remote(1) for _ in range(n)]
    assert ray.get(refs) == [1] * n


def task_burst(settings):
    return common.rate_in_flight(tasks_in_flight, settings["seconds"])


def actor_sync(settings):
    counter = Counter.remote()
    try:
        ray.get(counter.add.remote())
        return common.rate_one_by_one(lambda: ray.get(counter.add.remote()), settings["seconds"])
    finally:
        ray.kill(counter)


def actor_burst(settings):
    counter = Counter.remote()

    def burst(n):
        values = ray.get([counter.add.remote() for _ in range(n)])
        assert values == list(range(values[0], values[0] + n))

    try:
        return common.rate_in_flight(burst, settings["seconds"])
    finally:
        ray.kill(counter)


def put_small(settings):
    def burst(n):
        refs = [ray.put(i) for i in range(n)]
        assert ray.get(refs[-1]) == n - 1

    return common.rate_in_flight(burst, settings["seconds"], most=100_000)


def put_large(settings):
    return common.put_bandwidth(ray.put, settings)


def get_small(settings):
    ref = ray.put(b"x" * 100)
    return common.rate_one_by_one(lambda: ray.get(ref), settings["seconds"])


def get_large(settings):
    """Milliseconds for an array that another process made; a copy would show in the seconds."""
    import numpy as np

    times = []
    copies = False
    for _ in range(3):
        ref = make_array.remote(settings["get_mb"] * 1_000_000)
        ray.wait([ref])
        begin = time.perf_counter()
        value = ray.get(ref)
        times.append(time.perf_counter() - begin)
        again = ray.get(ref)
        assert value[0] == value[-1] == 1.0 and value.nbytes == settings["get_mb"] * 1_000_000
        copies = copies or not np.shares_memory(value, again)
        del ref, value, again
    return {
        "value": common.median(times) * 1e3,
        "first": times[0] * 1e3,
        "copies": copies,
        "megabytes": settings["get_mb"],
    }


def wait_many(settings):
    """Rounds per second: 1,000 tasks, ``wait`` called until none is left."""

    def one_round():
        left = [echo.remote(i) for i in range(1000)]
        while left:
            _, left = ray.wait(left)

    one_round()
    begin = time.perf_counter()
    rounds = 0
    while rounds == 0 or time.perf_counter() - begin < settings["seconds"]:
        one_round()
        rounds += 1
    return {"value": rounds / (time.perf_counter() - begin), "rounds": rounds}


def get_many_refs(settings):
    ref = make_refs.remote(10_000)
    assert len(ray.get(ref)) == 10_000
    begin = time.perf_counter()
    rounds = 0
    while rounds < 2 or time.perf_counter() - begin < settings["seconds"]:
        ray.get(ref)
        rounds += 1
    return {"value": rounds / (time.perf_counter() - begin), "rounds": rounds}


def queue_million(settings):
    """Queue tasks while all CPUs are held, then let them run: memory each, and whether rates fall."""
    import itertools
    import os

    n = settings["queued"]
    tenth = n // 10
    gate = os.path.join(os.environ["BENCH_TEMP"], "gate")
    tasks_in_flight(1000)
    before = common.pss_mb(common.runtime_pids(runtime.node_pids()))
    node_before = common.pss_mb(list(runtime.node_pids()))
    held = [hold.remote(gate) for _ in range(CPUS)]
    refs = []
    marks = [time.perf_counter()]
    for _ in range(10):
        refs.extend([echo.remote(1) for _ in range(tenth)])
        marks.append(time.perf_counter())
    ray.wait([refs[-1]], timeout=settings["settle"])  # what is in buffers gets sent
    used = common.pss_mb(common.runtime_pids(runtime.node_pids())) - before
    node_used = common.pss_mb(list(runtime.node_pids())) - node_before
    opened = time.perf_counter()
    with open(gate, "w"):
        pass
    drained = [opened]
    for i in range(10):
        assert ray.get(refs[i * tenth : (i + 1) * tenth]) == [1] * tenth
        drained.append(time.perf_counter())
    ray.get(held)
    os.unlink(gate)

    def rates(times):
        return [tenth / (b - a) for a, b in itertools.pairwise(times)]

    submit, run = rates(marks), rates(drained)
    # Several tenths at each end, so that one hiccup is not taken for a trend.
    ends = {
        "submit_start": common.median(submit[:3]),
        "submit_end": common.median(submit[-3:]),
        "run_start": common.median(run[:3]),
        "run_end": common.median(run[-3:]),
    }
    return {
        "value": used * 1e6 / n,
        "node_bytes": node_used * 1e6 / n,
        "n": n,
        "overall": n / (drained[-1] - opened),
        "steady": min(
            ends["submit_end"] / ends["submit_start"], ends["run_end"] / ends["run_start"]
        ),
        **ends,
    }


def observed(settings):
    """Tasks in flight with three observers attached, as a share of the rate without; in turns."""
    if API == "ray":
        raise common.Unsupported("Fanlight's own event stream")
    import os
    import subprocess

    size = int(task_burst({"seconds": settings["seconds"]})["in_flight"])
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "observer.py")

    def timed():
        begin = time.perf_counter()
        tasks_in_flight(size)
        return size / (time.perf_counter() - begin)

    rates = {True: [], False: []}
    for turn in range(8):
        for watching in (True, False) if turn % 2 else (False, True):
            watcher = None
            if watching:
                watcher = subprocess.Popen(
                    [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                assert watcher.stdout.readline().strip() == b"attached"
            try:
                rates[watching].append(timed())
            finally:
                if watcher is not None:
                    watcher.communicate(timeout=20)
                    assert watcher.returncode == 0
    with_observer, without = common.median(rates[True]), common.median(rates[False])
    return {"value": with_observer / without, "with": rates[True], "without": rates[False]}


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
        wait_many,
        get_many_refs,
        queue_million,
        observed,
    )
}

if __name__ == "__main__":
    startup = start()
    import common
    import graphs
    import limits
    import runtime
    import scaling
    import sharing

    for module in (graphs, limits, scaling, sharing):
        ROWS.update(module.ROWS)

    version = "checkout"
    if API == "ray":
        version = ray.__version__
    common.serve(startup, version, ROWS, ray.shutdown)
