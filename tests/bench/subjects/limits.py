"""Rows about how far it goes: a huge object, many actors, very many finished tasks.

Each stops well before the machine's memory ends, and says in its answer how far it came.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import common
import runtime
import work


def available():
    """Bytes of memory that can be used without swapping (Linux)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise common.Unsupported("needs Linux: it reads /proc/meminfo")


def huge_size(settings):
    """Bytes of the huge object: as asked for, or what memory and /dev/shm allow."""
    shm = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    room = min(available(), shm.f_bavail * shm.f_frsize if shm else 0)
    nbytes = min(int(settings["huge_gb"] * 1e9), int(0.6 * room)) // 8 * 8
    if nbytes < 1e9:
        raise common.Unsupported(f"only {room / 1e9:.1f} GB of memory and /dev/shm are free")
    return nbytes


def fill_shared_memory(nbytes):
    """Write zeros into a file of /dev/shm and remove it; GB/s.

    Memory that no process of this machine has touched yet comes slowly from a virtual machine's
    host: whoever were first would pay for all.
    """
    import numpy as np

    data = memoryview(np.zeros(nbytes // 8)).cast("B")
    path = f"/dev/shm/fanlight-bench-{os.getpid()}"
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.unlink(path)
        begin = time.perf_counter()
        at = 0
        while at < nbytes:
            at += os.pwrite(fd, data[at : at + (1 << 30)], at)
        return nbytes / (time.perf_counter() - begin) / 1e9
    finally:
        os.close(fd)


def huge_object(settings):
    """GB/s of ``put`` of one object of (about) 8 GB; another process then sees all of it.

    The array is made of zero pages, which cost no memory, so the object itself is all there is.
    """
    import numpy as np

    ray = runtime.ray
    nbytes = huge_size(settings)
    raw = fill_shared_memory(nbytes)
    with runtime.restarted(object_store_memory=int(nbytes * 1.15)):
        ends_of = ray.remote(work.ends_of)
        ray.get(ends_of.remote(np.ones(3)))
        data = np.zeros(nbytes // 8)
        middle = len(data) // 2
        data[0], data[middle], data[-1] = 1.0, 2.0, 3.0
        start = time.perf_counter()
        ref = ray.put(data)
        put = time.perf_counter() - start
        start = time.perf_counter()
        assert ray.get(ends_of.remote(ref)) == (1.0, 2.0, 3.0, nbytes)
        task = time.perf_counter() - start
        start = time.perf_counter()
        value = ray.get(ref)
        got = time.perf_counter() - start
        assert (value[0], value[middle], value[-1]) == (1.0, 2.0, 3.0)
        del value, ref
    return {
        "value": nbytes / put / 1e9,
        "n": round(nbytes / 1e9, 1),
        "raw": raw,
        "put_seconds": put,
        "task_seconds": task,
        "get_seconds": got,
    }


def many_actors(settings):
    """How many actors live at once: 1,000, or as many as memory and time allow."""
    ray = runtime.ray
    Cell = ray.remote(work.Cell).options(num_cpus=0)
    wanted = settings["actors"]
    deadline = time.perf_counter() + settings["actors_seconds"]
    before, floor = available(), 0.25 * available()
    pss = common.pss_mb(common.runtime_pids(runtime.node_pids()))
    actors = []
    steps = []
    start = time.perf_counter()
    why = ""
    batch = 20
    while len(actors) < wanted and not why:
        more = [Cell.remote() for _ in range(min(batch, wanted - len(actors)))]
        try:
            left = max(10.0, deadline - time.perf_counter())
            ray.get([cell.add.remote() for cell in more], timeout=left)
        except Exception as e:  # so many, and no more: what it says is part of the answer
            why = f"{type(e).__name__}: {e}"[:200]
            for cell in more:
                ray.kill(cell)
            break
        actors += more
        each = max(1.0, (before - available()) / len(actors))
        steps.append([len(actors), time.perf_counter() - start])
        batch = 100 if runtime.API == "fanlight" else 20
        if available() - batch * each < floor:
            why = f"memory: {each / 1e6:.0f} MB each"
        elif time.perf_counter() > deadline:
            why = f"time: {settings['actors_seconds']} s"
    took = steps[-1][1] if steps else 1.0
    assert actors, why
    assert ray.get([cell.add.remote() for cell in actors]) == [2] * len(actors)
    used = common.pss_mb(common.runtime_pids(runtime.node_pids())) - pss
    begin = time.perf_counter()
    calls = 2 * len(actors)
    ray.get([cell.add.remote() for cell in actors for _ in range(2)])
    call_rate = calls / (time.perf_counter() - begin)
    for cell in actors:
        ray.kill(cell)
    return {
        "value": len(actors),
        "rate": len(actors) / took,
        "mb_each": used / len(actors),
        "stopped_by": why,
        "steps": steps,
        "call_rate": call_rate,
    }


def rss_mb(pids):
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total / 1e6


def finished_memory(settings):
    """How much the node's memory grows over many finished tasks, from a tenth of them to all."""
    ray, wanted = runtime.ray, settings["finished"]
    tiny = ray.remote(work.echo)
    pids = runtime.control_pids()
    limit = settings["finished_seconds"] if runtime.API == "fanlight" else 120.0
    batch = 2_000
    done = 0
    points = []  # tasks finished, MB of the node, MB of the driver, seconds
    start = time.perf_counter()
    while done < wanted and time.perf_counter() - start < limit:
        assert len(ray.get([tiny.remote(1) for _ in range(batch)])) == batch
        done += batch
        if not points or done >= points[-1][0] * 1.25 or done >= wanted:
            took = time.perf_counter() - start
            points.append([done, rss_mb(pids), rss_mb([os.getpid()]), round(took, 2)])
    tenth = next(point for point in points if point[0] >= done / 10)
    return {
        "value": max(0.01, points[-1][1] - tenth[1]),  # it may shrink
        "driver": points[-1][2] - tenth[2],
        "bytes_each": (points[-1][1] - tenth[1]) * 1e6 / max(1, done - tenth[0]),
        "n": done,
        "points": points,
    }


ROWS = {f.__name__: f for f in (huge_object, many_actors, finished_memory)}
