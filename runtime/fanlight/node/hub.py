"""Folds what happens in the core into events for observers, about ten times a second.

An observer can never hold the runtime back: what it is told is bounded by these limits whatever the
core does, it is told nothing while it is behind, and without observers nothing is sampled at all
but the use of the object store (one row a second). The more records an event has, the longer the next
one waits, so that the share of the node's time that events take has a bound, too.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import msgspec

from fanlight import events as e
from fanlight import messages as m
from fanlight.core import views
from fanlight.core.machine import Core
from fanlight.core.model import Worker
from fanlight.observe.discover import ConnectionInfo
from fanlight.observe.gpu import token
from fanlight.observe.gpu_watch import LOOKING, GpuWatch, Sample
from fanlight.observe.history import GpuHistories, one_store_row, thinned

_encode = msgspec.json.encode
TASKS_PER_DELTA = 300
_MIB = (1 << 20) - 1
_SAMPLE_SECONDS = 1.0  # processes, GPUs
_SAMPLES_A_SECOND = 50  # processes; of more, each is looked at less often
_RECORDS_A_SECOND = 5_000  # in events; one costs about 4 µs
_SCANS_A_SECOND = 20_000  # objects that are looked through for the largest ones


class Hub:
    def __init__(
        self, core: Core, info: ConnectionInfo, version: str, gpu_tokens: Sequence[str] = ()
    ) -> None:
        """``gpu_tokens`` is what CUDA_VISIBLE_DEVICES calls each GPU, by the runtime's number."""
        self.core = core
        self.info = info
        self.version = version
        self.observers: dict[int, bool] = {}  # peer -> has had its snapshot
        self.seq = 0
        self.history: list[e.StoreView] = []
        self.gpu_history = GpuHistories()
        self._gpu_numbers = {token: number for number, token in enumerate(gpu_tokens)}
        self._last_store = 0.0
        self._last_sample = 0.0
        self._usage: dict[int, tuple[float, int]] = {}
        self._processes: Any = None
        self._gpus = GpuWatch()
        self._gpu_sample = Sample(0.0, [], LOOKING, {})
        self._sent_runtime: e.RuntimeView | None = None
        self._sent_workers: list[e.WorkerView] | None = None
        self._sent_objects: list[e.ObjectView] | None = None
        self._sent_gpus = self._gpu_sample
        self._next_delta = 0.0  # not before then
        self._next_objects = 0.0
        self._store: e.StoreView | None = None  # not told yet

    # --- observers ---------------------------------------------------------------------------

    def attach(self, peer: int) -> None:
        self.observers[peer] = False
        self.core.watched = True

    def detach(self, peer: int) -> None:
        self.observers.pop(peer, None)
        if not self.observers:
            self.core.watched = False
            self.core.changed_tasks.clear()
            self._gpus.release()
            self.core.rolls.clear()

    def slept(self, seconds: float) -> None:
        """That time does not count: samples are taken as much later (or earlier)."""
        self._last_store += seconds
        self._last_sample += seconds
        self._next_delta += seconds
        self._next_objects += seconds

    def tick(self, now: float, flush: bool = False) -> list[tuple[int, list[Any]]]:
        """What to send to whom; also takes the samples that are due. ``flush``: whatever there is."""
        if self.core.regrouped:
            self.core.regrouped = False
            self.observers = dict.fromkeys(self.observers, False)
        store = None
        if now - self._last_store >= 1.0 or self.observers:
            store = self._sample_store(now)
        if not self.observers:
            self._forget_changes()
            return []
        if store is not None and self._store is not None:  # no peak is lost
            store = msgspec.structs.replace(store, used=max(store.used, self._store.used))
        self._store = store or self._store
        new = [peer for peer, ready in self.observers.items() if not ready]
        if now < self._next_delta and not (new or flush):
            return []
        pause = max(_SAMPLE_SECONDS, len(self.core.workers) / _SAMPLES_A_SECOND)
        sampled = now - self._last_sample >= pause
        if sampled:
            self._last_sample = now
            self._sample()
        old = [peer for peer, ready in self.observers.items() if ready]
        out: list[tuple[int, list[Any]]] = []
        delta = self._delta(now, self._store, sampled)
        if delta is not None:
            self._store = None
            self.seq += 1
            delta.seq = self.seq
            if old:
                event = [m.Events(_encode(delta))]  # one for all of them: it is encoded once
                out += [(peer, event) for peer in old]
        if new:
            event = [m.Events(_encode(self.snapshot(now)))]
            for peer in new:
                self.observers[peer] = True
                out.append((peer, event))
        return out

    def close(self) -> None:
        """This process ends, or is going to fork: no thread may be left."""
        self._gpus.close()

    def ended(self, reason: str) -> list[tuple[int, list[Any]]]:
        payload = _encode(e.Ended(reason))
        return [(peer, [m.Events(payload)]) for peer in self.observers]

    # --- samples -----------------------------------------------------------------------------

    def _sample(self) -> None:
        if self._processes is None:
            from fanlight.observe.sampler import ProcessSampler

            self._processes = ProcessSampler()
        pids = {w.pid: w for w in self.core.workers.values() if w.pid}
        self._usage = self._processes.sample(pids)
        self._sample_gpus(pids)

    def _sample_gpus(self, pids: dict[int, Worker]) -> None:
        """Take what the thread found, and add what only the core knows: who holds the devices."""
        sample = self._gpus.latest()
        new = sample.time > self._gpu_sample.time
        self._gpu_sample = sample
        devices = self.core.pool.devices
        for place, gpu in enumerate(sample.views):
            number = self._gpu_numbers.get(token(gpu), -1) if self._gpu_numbers else place
            gpu.number = number if number < len(devices) else -1
            gpu.share = 1.0 - devices[gpu.number] / 10_000 if gpu.number >= 0 else 0.0
            for process in gpu.processes:
                family = sample.ancestors.get(process.pid, ())
                worker = next((pids[pid] for pid in family if pid in pids), None)
                if worker is not None:
                    view = views.worker_view(worker, 0.0, 0)
                    process.worker, process.actor = view.id, view.actor
                    process.task, process.task_id = view.task, view.task_id
        if new:
            self.gpu_history.add(sample.time, sample.views)

    def _sample_store(self, now: float) -> e.StoreView | None:
        store = views.store_view(self.core)
        self.core.objects.peak = 0  # short peaks count in the sample in which they were
        store.time = now
        last = self.history[-1] if self.history else None
        same = last is not None and msgspec.structs.replace(last, time=now) == store
        if same and now - self._last_store < 1.0:
            return None
        self._last_store = now
        self.history.append(store)
        thinned(self.history, e.HISTORY_LIMIT, lambda row: row.time, one_store_row)
        return store

    # --- events ------------------------------------------------------------------------------

    def runtime_view(self) -> e.RuntimeView:
        core = self.core
        sample = core.memory.sample
        drivers = [
            e.DriverView(id=c.id.hex(), pid=c.pid, kernel_id=c.info.get("kernel_id", ""), job=c.job)
            for c in core.clients.values()
            if c.role == "driver"
        ]
        return e.RuntimeView(
            id=self.info.runtime_id,
            name=self.info.name,
            engine=self.info.engine,
            version=self.version,
            python=platform.python_version(),
            pid=self.info.pid,
            started=self.info.created,
            total=core.resources(core.pool.total),
            available=core.resources(core.pool.available),
            drivers=drivers,
            memory_used=sample.used & ~_MIB if sample else 0,  # so that it seldom changes
            memory_limit=sample.limit if sample else 0,
            memory_scope=sample.scope if sample else "",
        )

    def _workers(self) -> list[e.WorkerView]:
        return [
            views.worker_view(w, *self._usage.get(w.pid, (0.0, 0)))
            for w in self.core.workers.values()
        ]

    def snapshot(self, now: float) -> e.Snapshot:
        """All that is known, bounded."""
        core = self.core
        return e.Snapshot(
            version=e.EVENTS_VERSION,
            seq=self.seq,
            time=now,
            runtime=self.runtime_view(),
            groups=[views.group_view(g) for g in core.groups.values()],
            edges=views.edge_views(core),
            tasks=[views.task_view(t) for t in views.snapshot_tasks(core)],
            workers=self._workers(),
            actors=[views.actor_view(a) for a in core.actors.table.values()],
            gpus=self._gpu_sample.views,
            gpu_status=self._gpu_sample.status,
            store=self.history,
            objects=views.object_views(core),
            errors=[views.error_view(r) for r in core.errors],
            gpu_history=self.gpu_history.views(),
        )

    def _delta(self, now: float, store: e.StoreView | None, sampled: bool) -> e.Delta | None:
        core = self.core
        busy = bool(core.changed_groups or core.changed_actors or core.new_errors)
        if not (busy or store or sampled):
            return None
        runtime = self.runtime_view()
        workers = self._workers()
        objects = self._sent_objects
        if store is not None and now >= self._next_objects:
            objects = views.object_views(core)
            scanned = min(len(core.objects.table), views.OBJECTS_SCANNED)
            self._next_objects = now + max(1.0, scanned / _SCANS_A_SECOND)
        gpus, sent = self._gpu_sample, self._sent_gpus
        delta = e.Delta(
            seq=0,
            time=now,
            runtime=runtime if runtime != self._sent_runtime else None,
            groups=[views.group_view(core.groups[n]) for n in sorted(core.changed_groups)],
            edges=views.edge_views(core, core.changed_edges),
            tasks=[views.task_view(t) for t in views.delta_tasks(core, TASKS_PER_DELTA)],
            workers=workers if workers != self._sent_workers else None,
            actors=[views.actor_view(a) for a in core.changed_actors.values()],
            gpus=gpus.views if gpus.views != sent.views or gpus.time > sent.time else None,
            store=store,
            objects=objects if objects != self._sent_objects else None,
            errors=[views.error_view(r) for r in core.new_errors],
            gpu_status=gpus.status if gpus.status != sent.status else None,
        )
        records = len(delta.groups) + len(delta.edges) + len(delta.tasks) + len(workers)
        records += len(delta.actors) + len(delta.errors)
        self._next_delta = now + records / _RECORDS_A_SECOND
        self._sent_gpus = gpus
        self._sent_runtime, self._sent_workers, self._sent_objects = runtime, workers, objects
        self._forget_changes()
        return delta

    def _forget_changes(self) -> None:
        core = self.core
        core.rolls.note(core.changed_tasks.values())
        core.changed_groups.clear()
        core.changed_edges.clear()
        core.changed_tasks.clear()
        core.changed_actors.clear()
        core.new_errors.clear()
