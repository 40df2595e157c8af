"""Work whose results can be checked, and what gets in its way: dying workers, flapping observers.

Everything that is decided here comes from generators with a seed, so a failure can be looked for
again; which process is hit at which point of its work, only the machine knows.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from fanlight.observe import discover
from fanlight.observe.client import Observer
from fanlight.wire.failures import WireError
from tests.faults.chaos_work import Work
from tests.longrun import progress


class Hung(AssertionError):
    """A result did not come."""


# --- what gets in the way ----------------------------------------------------------------------------


class Trouble(threading.Thread):
    """Calls ``strike`` again and again until told to stop; what it raises is raised by ``end``."""

    def __init__(self, seed: str, pause: float) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.pause = pause  # seconds on average
        self.count: Counter[str] = Counter()
        self._over = threading.Event()
        self._error: BaseException | None = None

    def strike(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        try:
            while not self._over.wait(self.pause * self.random.uniform(0.5, 1.5)):
                self.strike()
        except BaseException as e:
            self._error = e

    def end(self) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive(), f"{type(self).__name__} hangs"
        if self._error is not None:
            raise self._error


class Killer(Trouble):
    """Kills workers: at once, or after they stood still for a while; now and then the zygote.

    ``done`` says how much has been done: what is killed again and again gets nothing done on a slow
    machine, so the killer waits for something after so many strikes.
    """

    MOST = 5

    def __init__(
        self,
        seed: int,
        node: int,
        pause: float = 0.5,
        zygotes: float = 0.0,
        done: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(f"killer {seed}", pause)
        self.node = psutil.Process(node)
        self.zygotes = zygotes
        self.done = done
        self._last, self._fruitless = 0, 0

    def strike(self) -> None:
        if self.done is not None:
            last, self._last = self._last, self.done()
            self._fruitless = self._fruitless + 1 if self._last == last else 0
            if self._fruitless > self.MOST:
                self.count["waited"] += 1
                return
        chance, place, way, rest = (self.random.random() for _ in range(4))
        with contextlib.suppress(psutil.Error):
            zygotes = self.node.children()
            if not zygotes:  # the next one is being forked
                return
            zygote = zygotes[0]
            if chance < self.zygotes:
                zygote.kill()
                self.count["zygote"] += 1
                return
            workers = sorted(zygote.children(), key=lambda process: process.pid)
            if not workers:
                return
            victim = workers[int(place * len(workers))]
            if way < 0.3:
                victim.suspend()
                time.sleep(0.2 * rest)
                self.count["stopped"] += 1
            victim.kill()
            self.count["killed"] += 1


class Flapper(Trouble):
    """Observers that come, read or do not, ask, and vanish in the middle."""

    def __init__(self, seed: int, info: discover.ConnectionInfo, pause: float = 0.05) -> None:
        super().__init__(f"flapper {seed}", pause)
        self.info = info
        self.deaf: deque[Observer] = deque()

    def strike(self) -> None:
        way, rest = self.random.random(), self.random.random()
        try:
            observer = Observer(self.info, timeout=60)
        except (OSError, WireError):
            self.count["refused"] += 1
            return
        self.count["attached"] += 1
        with contextlib.suppress(OSError, WireError):
            if way < 0.2:  # it stops reading, and stays
                self.deaf.append(observer)
                if len(self.deaf) > 3:
                    self.deaf.popleft().close()
                return
            if way < 0.6:
                end = time.monotonic() + 0.3 * rest
                for _ in observer.payloads():
                    if time.monotonic() > end:
                        break
            elif way < 0.8:
                observer.query("state", {"kind": "tasks", "limit": 200, "detail": True})
                observer.query("state_summary", {"kind": "tasks"})
        observer.close()

    def end(self) -> None:
        super().end()
        while self.deaf:
            self.deaf.popleft().close()


# --- the work ----------------------------------------------------------------------------------------


class Job(NamedTuple):
    kind: str
    number: int
    tasks: int  # how many tasks it stands for
    check: Callable[[], None]  # waits for its results and looks at them


class Load:
    """Submits jobs of all kinds, so many at a time, and checks each when it is the oldest."""

    def __init__(
        self,
        rt: Any,
        seed: int,
        folder: Path,
        *,
        actors: int,
        window: int = 200,
        pause: float = 0,
        more: dict[str, float] | None = None,
    ) -> None:
        """``more``: other weights of some kinds of work."""
        self.rt = rt
        self.random = random.Random(f"load {seed}")
        self.work = Work(rt, folder)
        self.window = window
        self.pause = pause  # the longest that the driver does something else, seconds
        self.done: Counter[str] = Counter()
        self.actors = [self.work.ledger(i, resend=i % 2 == 0) for i in range(actors)]
        self._waiting: deque[Job] = deque()
        self._made = 0
        self._kinds: dict[str, tuple[float, Callable[[int], tuple[int, Iterator[Any]]]]] = {
            name: (weight, getattr(self.work, name))
            for name, weight in {**self.work.WEIGHTS, **(more or {})}.items()
        }

    def run(self, tasks: int = 0, until: Callable[[], bool] = lambda: False) -> None:
        """Until so many tasks were submitted (or ``until`` says so), and all are done."""
        submitted, shown = 0, 0
        names = list(self._kinds)
        weights = [self._kinds[name][0] for name in names]
        while submitted < tasks if tasks else not until():
            (kind,) = self.random.choices(names, weights)
            submitted += self.submit(kind)
            if self.actors:
                submitted += self.call()
            if self.pause and self.random.random() < 0.05:
                time.sleep(self.pause * self.random.random())
            if submitted - shown >= 2_000:
                shown = submitted
                progress(f"{submitted} tasks submitted")
        while self._waiting:
            self._check()

    def submit(self, kind: str) -> int:
        """Begin with one job; returns for how many tasks it stands."""
        number = self._made = self._made + 1
        tasks, steps = self._kinds[kind][1](self.random.randrange(1 << 30))
        next(steps)  # up to where it begins to wait
        self._add(Job(kind, number, tasks, lambda: deque(steps, maxlen=0)))  # type: ignore[arg-type]
        return tasks

    def call(self) -> int:
        """One more call of one of the actors."""
        actor = self.random.choice(self.actors)
        check = actor.call()
        self._add(Job(f"call {actor.kind}", self._made, 1, check))
        return 1

    def _add(self, job: Job) -> None:
        self._waiting.append(job)
        if len(self._waiting) > self.window:
            self._check()

    def _check(self) -> None:
        job = self._waiting.popleft()
        try:
            job.check()
        except self.rt.errors.GetTimeoutError as e:
            raise Hung(f"{job.kind} (job {job.number}) hangs:\n{self.report()}") from e
        except Exception as e:
            e.add_note(f"in {job.kind} (job {job.number})")
            raise
        self.done[job.kind] += job.tasks

    def report(self) -> str:
        """What the node says of everything unfinished."""
        ask = self.rt.session.current().client.query
        lines = []
        rows = ask("state", kind="tasks", limit=2_000)["rows"]
        rows = [row for row in rows if row["state"] not in ("FINISHED", "FAILED")]
        for row in rows[:30]:
            with contextlib.suppress(LookupError):  # it has ended meanwhile
                why = ask("task", id=row["task_id"])["why"]
                state, pid, attempt = row["state"], row["worker_pid"], row["attempt_number"]
                lines.append(f"{row['name']} {state} pid {pid} attempt {attempt}: {why}")
        lines.append(f"{len(rows)} unfinished; free: {self.rt.available_resources()}")
        rows = ask("state", kind="workers", limit=300)["rows"]
        alive = [(row["worker_type"], row["pid"]) for row in rows if row["is_alive"]]
        lines += [f"{kind} {pid} {status(pid)}" for kind, pid in alive]
        return "\n".join(lines)

    def finish(self) -> None:
        """Look at what the actors have been told, and let go of everything."""
        for actor in self.actors:
            actor.check()
        self.actors.clear()
        self.work.close()


def settle(rt: Any, poll: Callable[..., Any], segments: Path, node: psutil.Process) -> list[str]:
    """What is still held of a runtime whose work is over, [] for nothing; waits for its end."""
    import gc

    def left() -> list[str]:
        gc.collect()
        found = []
        total, free = rt.cluster_resources(), rt.available_resources()
        del total["object_store_memory"]  # segments that are kept warm count
        found += [f"{k}: {free.get(k)} of {v} free" for k, v in total.items() if free.get(k) != v]
        client = rt.session.current().client
        store = client.query("store")
        files = len(list(segments.iterdir()))
        found += [f"{files} files of {store['segments']} segments"] * (files != store["segments"])
        found += [f"{store['objects']} objects"] if store["objects"] else []
        found += (
            [f"{store['used'] - store['cached']} bytes"] if store["used"] > store["cached"] else []
        )
        found += [f"{len(client.entries)} entries"] if client.entries else []
        counts = client.query("counts")
        names = ("PENDING_ARGS", "PENDING_RESOURCES", "SUBMITTED", "RUNNING")
        found += [f"{counts[n]} {n}" for n in names if counts[n]]
        return found

    last: list[str] = []

    def clean() -> bool:
        last[:] = left()
        return not last

    poll(clean, 30.0)
    return last


def status(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.Error as e:
        return type(e).__name__


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss
