"""Shared by the subjects: the conversation with the runner, and how rates are taken.

A subject is a script that the runner starts in a peer's own environment. It first measures its own
start-up, then answers one JSON line per request until its input ends. Only the standard library
is used here, and it is imported after the start-up has been measured.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = Callable[[dict[str, Any]], dict[str, Any]]


class Unsupported(Exception):
    """This peer has nothing to measure for a row; the message says why."""


def serve(startup: float, version: str, rows: dict[str, Row], close: Callable[[], None]) -> None:
    """Answer the runner's requests: ``{"row": name, ...settings}`` -> ``{"value": number, ...}``.

    ``startup``: seconds from the script's first line to the first task's result.
    """
    faulthandler.register(signal.SIGUSR1)  # the runner asks so where a row hangs
    fd = int(os.environ["BENCH_REPLY_FD"])
    os.set_inheritable(fd, False)
    replies = os.fdopen(fd, "w", buffering=1)
    replies.write(json.dumps({"startup": startup, "version": version}) + "\n")
    try:
        for line in sys.stdin:
            request = json.loads(line)
            replies.write(json.dumps(_answer(rows, request)) + "\n")
    finally:
        close()


def _answer(rows: dict[str, Row], request: dict[str, Any]) -> dict[str, Any]:
    row = rows.get(request["row"])
    if row is None:
        return {"skipped": "not measured"}
    try:
        return row(request)
    except Unsupported as e:
        return {"skipped": str(e)}
    except Exception as e:
        traceback.print_exc()
        return {"error": f"{type(e).__name__}: {e}"[:500]}


def rate_one_by_one(call: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """Calls per second, each waited for before the next, for about ``seconds``."""
    for _ in range(20):
        call()
    done, chunk = 0, 1
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        before = time.perf_counter()
        for _ in range(chunk):
            call()
        done += chunk
        if time.perf_counter() - before < seconds / 50:
            chunk *= 2
    return {"value": done / elapsed}


def rate_in_flight(
    burst: Callable[[int], Any], seconds: float, least: int = 100, most: int = 200_000
) -> dict[str, Any]:
    """Things per second when ``burst(n)`` has n of them in flight; n grows to fill ``seconds``."""
    n = least
    burst(n)
    while True:
        start = time.perf_counter()
        burst(n)
        elapsed = time.perf_counter() - start
        if elapsed > seconds / 3 or n >= most:
            break
        n = min(most, int(n * max(2.0, min(10.0, 0.6 * seconds / elapsed))))
    times = [elapsed]
    for _ in range(2):
        start = time.perf_counter()
        burst(n)
        times.append(time.perf_counter() - start)
    return {"value": n / median(times), "in_flight": n}


def copy_bandwidth(nbytes: int) -> Callable[[], float]:
    """A function that gives this machine's memcpy bandwidth, in GB/s, over warm pages."""
    import numpy as np

    source = np.ones(nbytes // 8)
    target = np.zeros(nbytes // 8)

    def measure() -> float:
        start = time.perf_counter()
        np.copyto(target, source)
        return nbytes / (time.perf_counter() - start) / 1e9

    measure()
    return measure


def put_bandwidth(put: Callable[[Any], Any], settings: dict[str, Any]) -> dict[str, Any]:
    """GB/s of ``put`` for one large array at a time, with memcpy measured between the puts.

    The first put, which has cold pages, is reported on its own.
    """
    import numpy as np

    nbytes = settings["large_mb"] * 1_000_000
    data = np.ones(nbytes // 8)
    memcpy = copy_bandwidth(nbytes)
    puts, copies = [], []
    deadline = time.perf_counter() + max(3 * settings["seconds"], 1.0)
    while len(puts) < 4 or (time.perf_counter() < deadline and len(puts) < 40):
        start = time.perf_counter()
        ref = put(data)
        puts.append(nbytes / (time.perf_counter() - start) / 1e9)
        del ref
        copies.append(memcpy())
    return {
        "value": median(puts[1:]),
        "memcpy": median(copies),
        "first": puts[0],
        "megabytes": settings["large_mb"],
    }


def median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def runtime_pids(extra: tuple[int, ...] = ()) -> list[int]:
    """This process and all that it started, whoever their parent is by now (Linux only).

    Processes are found by the mark that the runner left in the environment, then by descent, for
    those that have overwritten theirs.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        raise Unsupported("needs Linux: it reads /proc/*/smaps_rollup")
    mark = f"BENCH_MARK={os.environ['BENCH_MARK']}".encode()
    parents: dict[int, int] = {}
    mine = {os.getpid(), *extra}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                mine.add(int(entry.name))
        except OSError:
            continue
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in mine} - mine
        grew = bool(more)
        mine |= more
    return sorted(mine)


def pss_mb(pids: list[int]) -> float:
    """Proportional set size of these processes together, in MB; those that ended count nothing."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total / 1e6


def idle_memory(settle: float, extra: tuple[int, ...] = ()) -> dict[str, Any]:
    """PSS in MB of everything that runs, this process included, after ``settle`` quiet seconds."""
    time.sleep(settle)
    pids = runtime_pids(extra)
    everything = pss_mb(pids)
    return {
        "value": everything,
        "without_driver": everything - pss_mb([os.getpid()]),
        "processes": len(pids),
    }
