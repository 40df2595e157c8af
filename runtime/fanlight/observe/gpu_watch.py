"""NVML beside the node's loop, which never waits for a driver.

Starting NVML may take seconds, and a call for a device that is falling off the bus may take as long
as the driver likes. So a thread asks, about once a second while somebody observes, and the loop takes
what there is. The thread ends with the last observer and does not exist where there is no NVIDIA
library.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fanlight.events import GpuView
from fanlight.observe import gpu

LOOKING = "Looking for GPUs …"
_SILENT_SECONDS = 5.0  # a driver that has not answered for so long gets a sentence
_END_SECONDS = 1.0  # for a driver that does not answer, at the end


class Sample(NamedTuple):
    """What the thread found. The loop may change the views: the next sample has its own."""

    time: float
    views: list[GpuView]
    status: str
    ancestors: dict[int, list[int]]  # of each process that uses a device


def _sampler() -> gpu.GpuSampler:
    return gpu.GpuSampler(interval=0.0)  # the thread keeps the pace


class GpuWatch:
    """Made by the hub, whose thread calls the methods. The arguments are for tests."""

    def __init__(
        self,
        interval: float = gpu.SAMPLE_INTERVAL,
        sampler: Callable[[], Any] = _sampler,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval
        self._make = sampler
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._asked: float | None = None  # the thread waits for the driver since then
        self._sample = Sample(0.0, [], LOOKING, {})

    def latest(self) -> Sample:
        """The newest sample, at once; from now on they are taken."""
        if self._stop.is_set() and self._thread is not None and not self._thread.is_alive():
            self._thread = None  # its end was asked for, and came
        if self._thread is None:
            if not gpu.library_present():  # a few look-ups of files
                return Sample(time.time(), [], gpu.NO_LIBRARY, {})
            self._sample = Sample(0.0, [], LOOKING, {})
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._work, args=(self._stop,), name="fanlight-gpu", daemon=True
            )
            self._thread.start()
        asked = self._asked
        silent = self._clock() - asked if asked is not None else 0.0
        if silent > _SILENT_SECONDS:
            status = f"The NVIDIA driver has not answered for {silent:.0f} s."
            return self._sample._replace(status=status)
        return self._sample

    def release(self) -> None:
        """Nobody observes any more: the thread is to end, which may take a driver's time."""
        self._stop.set()

    def close(self) -> None:
        """End the thread: this process ends, or is going to fork."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _work(self, stop: threading.Event) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the loop's
        sampler = self._make()
        try:
            while not stop.is_set():
                self._asked = self._clock()
                views, status = sampler.sample()
                pids = {process.pid for view in views for process in view.processes}
                found = Sample(time.time(), views, status, {p: gpu.ancestors(p) for p in pids})
                self._asked = None
                if not stop.is_set():
                    self._sample = found
                stop.wait(self._interval)
        finally:
            self._asked = None
            sampler.close()
