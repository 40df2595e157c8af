"""A runtime that only pretends: it speaks the observer protocol and plays a simulated run.

For tests of the server extension and for looking at the panel without a real runtime:
``python -m tests.labextension.fake_node --kernel-id ID [--speed 1] [--gpus 1]``.

:class:`Simulation` is deterministic: it holds a virtual clock, and ``step`` returns the delta of
what happened. :class:`FakeNode` serves it on a unix socket, with a connection file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import math
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fanlight import events as ev
from fanlight import messages as m
from fanlight.observe import discover
from fanlight.wire import codec
from fanlight.wire.failures import WireError
from fanlight.wire.framing import FrameReader

START = 1_800_000_000.0  # seconds since the epoch, for tests; the command line uses the clock
MB = 1_000_000

TRACEBACK = """\
Traceback (most recent call last):
  File "<cell 4>", line 3, in flaky
    raise ValueError(f"bad input {n}: <b>not bold</b>")
ValueError: bad input 3: <b>not bold</b>
"""


@dataclass
class _Job:
    view: ev.TaskView
    seconds: float
    fails: bool = False
    result: int = 0  # bytes that it leaves in the store
    actor: str = ""


@dataclass
class Simulation:
    """Eight prime sums, a tree of array additions, an actor, failures and a growing store."""

    start: float = START
    cpus: int = 2
    gpus: int = 0
    scale: float = 1.0  # seconds of the work, multiplied
    kernel_id: str = ""
    runtime_id: str = "simulated"

    now: float = 0.0
    seq: int = 0
    groups: dict[int, ev.GroupView] = field(default_factory=dict)
    edges: dict[tuple[int, int, str], ev.EdgeView] = field(default_factory=dict)
    jobs: dict[str, _Job] = field(default_factory=dict)
    actors: dict[str, ev.ActorView] = field(default_factory=dict)
    errors: list[ev.ErrorView] = field(default_factory=list)
    objects: list[ev.ObjectView] = field(default_factory=list)
    history: list[ev.StoreView] = field(default_factory=list)
    used: int = 0

    def __post_init__(self) -> None:
        self.now = self.start
        self._changed: set[str] = set()
        self._script = sorted(self._plan(), key=lambda item: item[0])
        self._next_store = self.start
        self.history.append(self._store())

    # What is submitted, and when ------------------------------------------------------------------
    def _plan(self) -> list[tuple[float, str]]:
        return [(0.2, "primes"), (6.0, "arrays"), (9.0, "counter"), (13.0, "flaky"), (17.0, "sort")]

    def _submit_wave(self, wave: str) -> None:
        if wave == "primes":
            for _ in range(8):
                self._task("sum_of_primes", "cell-1", 1.1)
        elif wave == "arrays":
            reads = [self._task("read_array", "cell-2", 0.35, result=8 * MB) for _ in range(16)]
            level = reads
            while len(level) > 1:
                level = [
                    self._task("add", "cell-2", 0.25, deps=pair, result=8 * MB)
                    for pair in zip(level[::2], level[1::2], strict=True)
                ]
            self._task("mean", "cell-2", 0.1, deps=level)
        elif wave == "counter":
            actor = "c0" * 16
            self.actors[actor] = ev.ActorView(
                id=actor,
                class_name="Counter",
                name="",
                namespace="",
                state="PENDING_CREATION",
                worker="",
                pid=0,
                queued=0,
                finished=0,
                restarts=0,
                death_cause="",
            )
            made = self._task("Counter", "cell-3", 0.1, kind="actor", actor=actor)
            for _ in range(20):
                self._task("Counter.add", "cell-3", 0.05, kind="method", actor=actor, deps=[made])
        elif wave == "flaky":
            for index in range(10):
                self._task("flaky", "cell-4", 0.2, fails=index % 4 == 3)
        elif wave == "sort":
            top = self._task("quicksort", "cell-5", 1.2)
            for _ in range(6):
                self._task("quicksort", "cell-5", 0.4, parent=top)
            for _ in range(64):
                self._task("sample_pi", "cell-6", 0.12)

    def _task(
        self,
        name: str,
        origin: str,
        seconds: float,
        *,
        kind: ev.GroupKind = "task",
        deps: Iterable[str] = (),
        parent: str = "",
        actor: str = "",
        fails: bool = False,
        result: int = 0,
    ) -> str:
        deps = list(deps)
        group = next((g for g in self.groups.values() if g.name == name), None)
        if group is None:
            number = len(self.groups) + 1
            group = ev.GroupView(number, name, kind, origin, {}, 0.0, self.now, self.now)
            self.groups[number] = group
        task_id = f"{len(self.jobs) + 1:048x}"
        view = ev.TaskView(
            id=task_id,
            group=group.id,
            name=name,
            state="PENDING_RESOURCES",
            deps=deps,
            parent=parent,
            actor=actor,
            worker="",
            submitted=self.now,
            started=0.0,
            finished=0.0,
            attempt=0,
            error="",
        )
        self.jobs[task_id] = _Job(view, seconds * self.scale, fails, result, actor)
        self._count(view, None)
        for other, edge in [(d, "data") for d in deps] + ([(parent, "spawn")] if parent else []):
            key = (self.jobs[other].view.group, group.id, edge)
            if key not in self.edges:
                self.edges[key] = ev.EdgeView(key[0], key[1], 0, edge)  # type: ignore[arg-type]
            self.edges[key].count += 1
        return task_id

    def _count(self, view: ev.TaskView, old: ev.TaskState | None) -> None:
        group = self.groups[view.group]
        if old is not None:
            group.counts[old] -= 1
        group.counts[view.state] = group.counts.get(view.state, 0) + 1
        group.last = self.now
        self._changed.add(view.id)

    def _move(self, view: ev.TaskView, state: ev.TaskState) -> None:
        old = view.state
        if old != state:
            view.state = state
            self._count(view, old)

    # What happens ---------------------------------------------------------------------------------
    def step(self, seconds: float = 0.1) -> ev.Delta:
        """Let time pass."""
        self.now += seconds
        edges_before = {key: edge.count for key, edge in self.edges.items()}
        errors_before = len(self.errors)
        while self._script and self.start + self._script[0][0] * self.scale <= self.now:
            self._submit_wave(self._script.pop(0)[1])
        for job in self.jobs.values():
            view = job.view
            if view.state == "RUNNING" and self.now >= view.started + job.seconds:
                self._finish(job)
        self._dispatch()
        self.seq += 1
        sampled = self.now >= self._next_store
        if sampled:
            self._next_store = self.now + 0.5
            self.history.append(self._store())
        changed, self._changed = self._changed, set()
        return ev.Delta(
            seq=self.seq,
            time=self.now,
            runtime=self.runtime(),
            groups=[
                g
                for g in self.groups.values()
                if any(self.jobs[i].view.group == g.id for i in changed)
            ],
            edges=[e for k, e in self.edges.items() if edges_before.get(k) != e.count],
            tasks=[self.jobs[i].view for i in sorted(changed)],
            workers=self.workers(),
            actors=list(self.actors.values()) if changed else [],
            gpus=self.gpu_views() if sampled and self.gpus else None,
            store=self.history[-1] if sampled else None,
            objects=list(self.objects) if sampled else None,
            errors=self.errors[errors_before:],
        )

    def _finish(self, job: _Job) -> None:
        view = job.view
        view.finished = self.now
        self.groups[view.group].duration += view.finished - view.started
        if job.fails:
            view.error = "ValueError: bad input 3: <b>not bold</b>"
            self._move(view, "FAILED")
            self.errors.append(
                ev.ErrorView(
                    task_id=view.id,
                    group=view.group,
                    name=view.name,
                    origin=self.groups[view.group].origin,
                    time=self.now,
                    message=view.error,
                    traceback=TRACEBACK,
                )
            )
            return
        self._move(view, "FINISHED")
        if job.result:
            self.used += job.result
            name = view.name
            self.objects.insert(0, ev.ObjectView(view.id + "0" * 8, job.result, True, name, "", 1))
            del self.objects[8:]
        actor = self.actors.get(job.actor)
        if actor is not None:
            if actor.state == "PENDING_CREATION":
                actor.state, actor.pid, actor.worker = "ALIVE", 4200, "a0" * 28
            else:
                actor.finished += 1

    def _dispatch(self) -> None:
        running = [j for j in self.jobs.values() if j.view.state == "RUNNING"]
        free = self.cpus - sum(1 for j in running if not j.actor)
        busy_actors = {j.actor for j in running if j.actor}
        for job in self.jobs.values():
            view = job.view
            if view.state not in ("PENDING_RESOURCES", "PENDING_ARGS"):
                continue
            if any(self.jobs[d].view.state != "FINISHED" for d in view.deps):
                self._move(view, "PENDING_ARGS")
            elif job.actor:
                if job.actor not in busy_actors:
                    busy_actors.add(job.actor)
                    self._run(view, "a0" * 28)
            elif free > 0:
                taken = {j.view.worker for j in self.jobs.values() if j.view.state == "RUNNING"}
                worker = next(w for w in self._worker_ids() if w not in taken)
                free -= 1
                self._run(view, worker)
            else:
                self._move(view, "PENDING_RESOURCES")
        for key, actor in self.actors.items():
            actor.queued = sum(
                1 for j in self.jobs.values() if j.actor == key and j.view.state.startswith("PEND")
            )

    def _run(self, view: ev.TaskView, worker: str) -> None:
        view.started, view.worker = self.now, worker
        self._move(view, "RUNNING")

    def cancel(self, task_id: str) -> bool:
        job = self.jobs.get(task_id)
        if job is None or job.view.state in ("FINISHED", "FAILED", "CANCELLED"):
            return False
        job.view.finished = self.now
        self._move(job.view, "CANCELLED")
        return True

    @property
    def done(self) -> bool:
        over = ("FINISHED", "FAILED", "CANCELLED")
        return not self._script and all(j.view.state in over for j in self.jobs.values())

    # What is seen ---------------------------------------------------------------------------------
    def _worker_ids(self) -> list[str]:
        return [f"{i + 1:056x}" for i in range(self.cpus)]

    def _store(self) -> ev.StoreView:
        pinned = min(self.used, 24 * MB)
        return ev.StoreView(
            time=self.now,
            capacity=400 * MB,
            used=self.used,
            pinned=pinned,
            cached=0,
            inline=60_000,
            spilled=max(0, self.used - 180 * MB),
            objects=self.used // (8 * MB) + 12,
        )

    def runtime(self) -> ev.RuntimeView:
        running = sum(1 for j in self.jobs.values() if j.view.state == "RUNNING" and not j.actor)
        return ev.RuntimeView(
            id=self.runtime_id,
            name="lesson",
            engine="local",
            version="0.1.0",
            python="3.11",
            pid=os.getpid(),
            started=self.start,
            total={"CPU": float(self.cpus), "GPU": float(self.gpus)},
            available={"CPU": float(self.cpus - running), "GPU": float(self.gpus)},
            drivers=[ev.DriverView("d0" * 16, os.getppid(), self.kernel_id, 1)],
        )

    def workers(self) -> list[ev.WorkerView]:
        busy = {j.view.worker: j.view for j in self.jobs.values() if j.view.state == "RUNNING"}
        ids = self._worker_ids()
        if any(a.state == "ALIVE" for a in self.actors.values()):
            ids.append("a0" * 28)
        views = []
        for index, worker in enumerate(ids):
            task = busy.get(worker)
            actor = worker.startswith("a0")
            views.append(
                ev.WorkerView(
                    id=worker,
                    pid=4200 if actor else 4101 + index,
                    state="ACTOR" if actor else "BUSY" if task else "IDLE",
                    cpu_percent=97.0 + 2 * math.sin(self.now + index) if task else 0.4,
                    rss=92 * MB + index * 7 * MB + (40 * MB if task else 0),
                    task=task.name if task else "",
                    task_id=task.id if task else "",
                    actor="Counter" if actor else "",
                    finished=sum(
                        1 for j in self.jobs.values() if j.view.worker == worker and j.view.finished
                    ),
                    gpus=[],
                )
            )
        return views

    def gpu_views(self) -> list[ev.GpuView]:
        return [
            ev.GpuView(
                index=index,
                uuid=f"GPU-{index}",
                name="NVIDIA H200",
                share=0.5,
                utilization_percent=50 + 40 * math.sin(self.now / 3 + index),
                memory_used=38_000 * MB,
                memory_total=150_000 * MB,
                temperature=41 + 4 * math.sin(self.now / 5),
                power=310.0,
                power_limit=700.0,
                processes=[ev.GpuProcessView(4101, 37_000 * MB, "train")],
                error="",
            )
            for index in range(self.gpus)
        ]

    def snapshot(self) -> ev.Snapshot:
        return ev.Snapshot(
            version=ev.EVENTS_VERSION,
            seq=self.seq,
            time=self.now,
            runtime=self.runtime(),
            groups=list(self.groups.values()),
            edges=list(self.edges.values()),
            tasks=[j.view for j in self.jobs.values()],
            workers=self.workers(),
            actors=list(self.actors.values()),
            gpus=self.gpu_views(),
            gpu_status="" if self.gpus else "No NVIDIA driver was found on this machine.",
            store=list(self.history),
            objects=list(self.objects),
            errors=list(self.errors),
        )


class FakeNode:
    """Serves a simulation to observers. Use as an async context manager."""

    def __init__(
        self, simulation: Simulation, *, kernel_ids: Iterable[str] = (), token: str = "secret"
    ) -> None:
        self.simulation = simulation
        self.token = token
        self.received: list[object] = []  # messages of observers, for tests
        self.silent: set[str] = set()  # questions that it does not answer
        self.attached = 0  # how many observers ever attached
        self._kernel_ids = list(kernel_ids)
        self._writers: set[asyncio.StreamWriter] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="fanlight-fake-")
        self._server: asyncio.Server | None = None
        self.info = discover.ConnectionInfo(
            version=1,
            runtime_id=simulation.runtime_id,
            name="lesson",
            engine="local",
            pid=os.getpid(),
            socket=str(Path(self._folder.name) / "node.sock"),
            token=token,
            session_dir=self._folder.name,
            created=simulation.start,
            kernel_ids=self._kernel_ids,
        )

    async def __aenter__(self) -> FakeNode:
        self._server = await asyncio.start_unix_server(self._serve, self.info.socket)
        discover.write(self.info)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end("the driver has gone")
        self._folder.cleanup()

    @property
    def observers(self) -> int:
        return len(self._writers)

    async def end(self, reason: str) -> None:
        """End as a runtime does: file gone, a last event, connections closed."""
        if self._server is None:
            return
        discover.remove(self.info.runtime_id)
        await self.broadcast(ev.Ended(reason))
        await self.vanish()

    async def vanish(self) -> None:
        """Die without a word; the connection file and the session directory stay."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for writer in list(self._writers):
            writer.close()
        self._writers.clear()
        await server.wait_closed()

    async def step(self, seconds: float = 0.1) -> ev.Delta:
        delta = self.simulation.step(seconds)
        await self.broadcast(delta)
        return delta

    async def broadcast(self, event: ev.Snapshot | ev.Delta | ev.Ended) -> None:
        frame = _event(event)
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                writer.write(frame)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        greeted = False
        try:
            while data := await reader.read(1 << 16):
                for payload in frames.feed(data):
                    if greeted:
                        for message in codec.decode_from_client(payload):
                            self._answer(message, writer)
                        continue
                    (hello,) = codec.decode_handshake(payload)
                    if not isinstance(hello, m.Hello) or not hmac.compare_digest(
                        hello.token, self.token
                    ):
                        writer.write(codec.encode([m.Refused("wrong token")]))
                        return
                    greeted = True
                    self.attached += 1
                    writer.write(codec.encode([m.Welcome({"version": m.PROTOCOL_VERSION})]))
                    writer.write(_event(self.simulation.snapshot()))
                    self._writers.add(writer)
        except (OSError, WireError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, message: object, writer: asyncio.StreamWriter) -> None:
        self.received.append(message)
        simulation = self.simulation
        if isinstance(message, m.Cancel):
            simulation.cancel(message.task.hex())
        elif isinstance(message, m.KillActor):
            actor = simulation.actors.get(message.actor.hex())
            if actor is not None:
                actor.state, actor.death_cause = "DEAD", "killed"
        elif isinstance(message, m.Scale):
            why = "" if message.cpus <= simulation.cpus else "there are not so many CPUs"
            writer.write(codec.encode([m.Reply(message.request, b"\xc3", why)]))
        elif isinstance(message, m.Query) and message.what not in self.silent:
            writer.write(codec.encode([self._reply(message)]))

    def _reply(self, query: m.Query) -> m.Reply:
        jobs = self.simulation.jobs
        if query.what == "group_tasks":
            views = [j.view for j in jobs.values() if j.view.group == query.args["group"]]
            limit = query.args["limit"]
            return m.Reply(query.request, msgspec.msgpack.encode({"tasks": views[-limit:]}))
        if query.what == "why":
            lines = [{"depth": 0, "label": "`Model`", "text": "waits for 1 GPU", "task": ""}]
            answer = {"sentence": "`Model` waits for 1 GPU.", "lines": lines}
            return m.Reply(query.request, msgspec.msgpack.encode(answer))
        job = jobs.get(query.args.get("id", ""))
        if query.what != "task" or job is None:
            return m.Reply(query.request, b"", "there is no such task")
        view = job.view
        why = ""
        if view.state == "PENDING_ARGS":
            why = "It needs the result of a task that is still running."
        elif view.state == "PENDING_RESOURCES":
            why = f"It needs 1 CPU; all {self.simulation.cpus} are held by other tasks."
        line = {"depth": 0, "label": f"`{view.name}`", "text": why, "task": view.id}
        answer = {
            "task": view,
            "why": why,
            "lines": [line, {"depth": 1, "label": "CPU", "text": "asks for 1", "task": ""}],
            "traceback": TRACEBACK if view.state == "FAILED" else "",
            "deps": view.deps,
        }
        return m.Reply(query.request, msgspec.msgpack.encode(answer))


def _event(event: ev.Snapshot | ev.Delta | ev.Ended) -> bytes:
    return codec.encode([m.Events(msgspec.json.encode(event))])


async def _main(options: argparse.Namespace) -> None:
    simulation = Simulation(
        start=time.time(), gpus=options.gpus, kernel_id=options.kernel_id, scale=options.scale
    )
    node = FakeNode(simulation, kernel_ids=[options.kernel_id] if options.kernel_id else [])
    async with node:
        print(node.info.runtime_id, flush=True)
        while True:
            await asyncio.sleep(0.1)
            await node.step(time.time() - simulation.now)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel-id", default="")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args()))
