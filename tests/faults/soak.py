"""What the processes of a runtime use while it works, and whether that is flat."""

from __future__ import annotations

import gc
import json
import os
import time
from collections import defaultdict
from collections.abc import Sized
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from fanlight.observe import discover

# What may come on top within the second half of a run: the larger of an amount and a share of the
# median. A queue, a pool or a cache is not always seen in the same state; a leak grows with time.
TOLERANCE = {
    "PSS": (4.0, 0.05),  # MB
    "RSS": (4.0, 0.05),
    "descriptors": (3, 0.0),
    "threads": (2, 0.0),
    "segments": (20, 0.2),
    "segment MB of objects": (1, 0),
    "segment MB": (60, 0.1),
    "session files": (12, 0.05),
    "session MB": (8, 0.1),
    "table": (80, 0.1),  # a client forgets its idle specs 64 at a time: client/definitions.py
}


class Growth(NamedTuple):
    name: str
    first: float  # median of the first tenth of the second half
    last: float
    grown: float  # by the median slope, over the second half
    allowed: float


class Sampler:
    """Series of figures, each a list of (time, value)."""

    def __init__(self, node_pid: int, info: discover.ConnectionInfo, watch: Path) -> None:
        self.node = psutil.Process(node_pid)
        self.session = Path(info.session_dir)
        self.tables = watch / "tables.json"
        self.series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.named: dict[int, str] = {}  # processes that the test knows

    def sample(self, rt: Any, keeper: Any) -> None:
        """Called when nothing runs, so that samples can be compared."""
        gc.collect()
        now = time.monotonic()

        def note(name: str, value: float) -> None:
            self.series[name].append((now, value))

        (zygote,) = self.node.children()
        self.named |= {os.getpid(): "driver", self.node.pid: "node", zygote.pid: "zygote"}
        for process in (psutil.Process(), self.node, zygote, *zygote.children()):
            name = self.named.get(process.pid, f"worker {process.pid}")
            try:
                memory = process.memory_full_info()
                note(f"{name}: PSS", memory.pss / 1e6)
                note(f"{name}: RSS", memory.rss / 1e6)
                note(f"{name}: descriptors", len(os.listdir(f"/proc/{process.pid}/fd")))
                note(f"{name}: threads", process.num_threads())
            except (psutil.Error, OSError):
                continue  # it has just ended
        store = rt.session.current().client.query("store")
        note("segments", store["segments"])  # kept warm ones are among them
        note("segment MB of objects", (store["used"] - store["cached"]) / 1e6)
        note("segment MB", store["used"] / 1e6)
        files = [p for p in self.session.rglob("*") if p.is_file()]
        note("session files", len(files))
        note("session MB", sum(_size(p) for p in files) / 1e6)
        for owner, found in (
            ("node", json.loads(self.tables.read_text())),
            ("driver", sizes(rt.session.current().client, "client")),
            ("keeper", rt.get(keeper.sizes.remote(), timeout=60)),
        ):
            for name, length in found.items():
                note(f"{owner}: table {name}", length)

    def growths(self) -> list[Growth]:
        """Of each series that covers the second half; what grew most, in terms of what it may, first."""
        begin = min(points[0][0] for points in self.series.values())
        end = max(points[-1][0] for points in self.series.values())
        half = (begin + end) / 2
        most = max(len([t for t, _ in points if t >= half]) for points in self.series.values())
        found = []
        for name, points in self.series.items():
            late = [(t, v) for t, v in points if t >= half]
            if len(late) < max(4, 0.9 * most):
                continue  # a process that came or went
            values = [v for _, v in late]
            kind = next(k for k in (*TOLERANCE, "") if k in name)
            amount, share = TOLERANCE[kind]
            tenth = max(1, len(values) // 10)
            found.append(
                Growth(
                    name,
                    median(values[:tenth]),
                    median(values[-tenth:]),
                    slope(late) * (late[-1][0] - late[0][0]),
                    max(amount, share * median(values)),
                )
            )
        return sorted(found, key=lambda g: g.allowed - g.grown if g.allowed else 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def slope(points: list[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points: single outliers change nothing.

    >>> slope([(0, 1.0), (1, 2.0), (2, 90.0), (3, 4.0)])
    1.0
    """
    pairs = [
        (v2 - v1) / (t2 - t1)
        for i, (t1, v1) in enumerate(points)
        for t2, v2 in points[i + 1 :]
        if t2 > t1
    ]
    return median(pairs) if pairs else 0.0


def sizes(thing: Any, name: str, depth: int = 3) -> dict[str, int]:
    """The lengths of all containers of a client, an executor and their parts."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def look(thing: Any, path: str, depth: int) -> None:
        slots = [s for c in type(thing).__mro__ for s in getattr(c, "__slots__", ())]
        names = [*getattr(thing, "__dict__", ()), *slots]
        for attribute in names:
            value = getattr(thing, attribute, None)
            if value is None or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Sized) and not isinstance(value, str | bytes):
                found[f"{path}.{attribute}"] = len(value)
            if depth and type(value).__module__.startswith("fanlight"):
                look(value, f"{path}.{attribute}", depth - 1)
            elif depth and isinstance(value, dict) and not type(thing).__module__.startswith("_"):
                for inner in list(value.values())[:3]:  # the tables of each caller, say
                    if type(inner).__module__.startswith("fanlight.worker"):
                        look(inner, f"{path}.{attribute}[]", depth - 1)

    look(thing, name, depth)
    return found
