"""Rows about who shares the machine with whom: nested submitters, drivers, a driver that computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import common
import runtime
import work


def nested(settings):
    """The rate at which a task submits and gets tiny tasks, as a share of the driver's own."""
    ray, n = runtime.ray, settings["nested"]
    inside = ray.remote(work.submit_and_get)
    ray.get(inside.remote(runtime.API, n // 10))  # the process that stands in for the parent
    own, theirs = [], []
    for _ in range(3):
        own.append(work.submit_and_get(runtime.API, n))
        theirs.append(ray.get(inside.remote(runtime.API, n)))
    return {
        "value": common.median(theirs) / common.median(own),
        "n": n,
        "driver": own,
        "nested": theirs,
    }


def two_drivers(settings):
    """The smaller share of two drivers that keep tasks in flight at the same time."""
    ray = runtime.ray
    gate = os.path.join(os.environ["BENCH_TEMP"], "two")
    loops = work.loops_for(0.001)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "second_driver.py")
    command = [sys.executable, script, runtime.API, runtime.address(), gate]
    seconds = max(1.0, 2 * settings["seconds"])
    other = subprocess.Popen(
        [*command, str(loops), str(seconds)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    try:
        lines = iter(other.stdout.readline, b"")
        for line in lines:  # Ray also prints there
            if line.strip() == b"attached":
                break
        keep_busy(ray, loops, 0.2)
        begin = time.time() + 0.5
        with open(gate + ".new", "w") as f:
            f.write(str(begin))
        os.rename(gate + ".new", gate)
        mine = keep_busy(ray, loops, seconds, begin)
        out, _ = other.communicate(timeout=60)
        theirs = json.loads(out.strip().splitlines()[-1])
    finally:
        other.kill()
        other.wait()
        if os.path.exists(gate):
            os.unlink(gate)
    share = mine / (mine + theirs)
    return {
        "value": min(share, 1 - share),
        "first": mine,
        "second": theirs,
        "rate": (mine + theirs) / seconds,
    }


def keep_busy(ray, loops, seconds, begin=0.0, depth=100):
    """How many tasks end within ``seconds`` from ``begin``, with ``depth`` in flight."""
    spin = ray.remote(work.spin)
    begin = begin or time.time()
    time.sleep(max(0.0, begin - time.time()))
    end = begin + seconds
    refs = [spin.remote(loops) for _ in range(depth)]
    ends = []
    at = 0
    while time.time() < end:
        ends.append(ray.get(refs[at]))
        refs[at] = spin.remote(loops)
        at = (at + 1) % depth
    ends += ray.get(refs)
    return sum(begin <= moment <= end for moment in ends)


def busy_driver(settings):
    """The rate of CPU-bound tasks while the driver computes, as a share of the rate while another
    process computes instead: what the driver's GIL costs its tasks, whatever the cores share."""
    ray = runtime.ray
    cores = len(os.sched_getaffinity(0))
    with runtime.restarted(num_cpus=max(1, cores - 1)):
        spin = ray.remote(work.spin)
        return measure_busy(
            lambda loops, n: [spin.remote(loops) for _ in range(n)], ray.get, cores, settings
        )


def measure_busy(submit, gather, cores, settings):
    """Shared by all peers. ``submit(loops, n)`` starts n tasks of ``work.spin``."""
    workers = max(1, cores - 1)
    loops = work.loops_for(0.01)
    gather(submit(loops, 4 * workers))
    n = max(20, int(settings["seconds"] / 0.01)) * workers
    start = time.time()
    expected = max(gather(submit(loops, n))) - start
    own = work.loops_for(1.0)  # of this process, a second

    def timed(meanwhile):
        begin = time.time()
        futures = submit(loops, n)
        meanwhile(1.3 * expected)
        return n / (max(gather(futures)) - begin)

    def compute(seconds):
        """In pure Python: the GIL changes hands every 5 ms, if somebody asks for it."""
        work.spin(int(own * seconds))

    def hold(seconds):
        """In one call in C: nobody else gets the GIL."""
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            sum(range(int(own * seconds / 2)))

    def stand_by(seconds):
        """Another process computes."""
        code = f"for _ in range({int(own * seconds)}): pass"
        other = subprocess.Popen([sys.executable, "-S", "-c", f"def f():\n {code}\nf()"])
        try:
            time.sleep(seconds)
        finally:
            other.kill()
            other.wait()

    rates = {"idle": [], "other": [], "python": [], "c": []}
    ways = {"idle": time.sleep, "other": stand_by, "python": compute, "c": hold}
    for turn in range(4):
        for name in [*ways][turn:] + [*ways][:turn]:
            rates[name].append(timed(ways[name]))

    def share(way, of):  # turn by turn, so that other load meets both
        return common.median([a / b for a, b in zip(rates[way], rates[of], strict=True)])

    return {
        "value": min(share("python", "other"), share("c", "other")),
        "python": share("python", "other"),
        "c": share("c", "other"),
        "of_idle": min(share("python", "idle"), share("c", "idle")),
        "rates": rates,
        "n": n,
        "workers": workers,
    }


ROWS = {f.__name__: f for f in (nested, two_drivers, busy_driver)}
