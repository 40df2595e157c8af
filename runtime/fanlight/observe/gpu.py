"""GPU figures, read from the NVIDIA driver through NVML.

Called by the node: :func:`detect_gpus` once at start, to know how many GPUs there are, and
:meth:`GpuSampler.sample` about once a second by the thread of :mod:`fanlight.observe.gpu_watch`.
Neither ever raises: a machine without a driver, with a broken one or with a GPU that died gives a
plain sentence instead.

Rules:

* Nothing is imported or loaded where there is no NVIDIA library (a few file look-ups decide).
* A figure that a device does not report is None, and never a made-up zero.
* ``CUDA_VISIBLE_DEVICES`` is obeyed as CUDA does: numbers or (abbreviated) UUIDs, in its order, up
  to the first entry that names nothing. Numbers count in NVML's order, which is CUDA's with
  ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` and on machines whose GPUs are all alike.
* A GPU in MIG mode is replaced by its slices, because programs can only use those. A slice has the
  ``index`` of its GPU and a UUID of its own. NVML tells its memory and processes; temperature and
  power are those of the GPU that it is a part of, and nobody tells how busy it is.
* ``index`` is nvidia-smi's number; :func:`token` says what CUDA_VISIBLE_DEVICES calls a device, from
  which the node finds the runtime's own number for it.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fanlight.events import GpuProcessView, GpuView

LIBRARY = "libnvidia-ml.so.1"
NO_LIBRARY = f"No NVIDIA driver found on this machine ({LIBRARY} is not there)."
NO_BINDINGS = (
    "There is an NVIDIA driver, but not the Python package nvidia-ml-py that reads its figures."
)
LOST = "The GPU fell off the bus: the driver lost it, and only a restart brings it back."
_PARENTS = 8  # generations of a process that are looked through for a worker
SAMPLE_INTERVAL = 1.0  # seconds; asking NVML more often costs and tells nothing new
RELIST_INTERVAL = 30.0  # seconds between looks for new devices, MIG changes or a repaired driver

_DEFAULT_DIRS = (
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
)


class Gpu(msgspec.Struct, frozen=True):
    """One device that work can be given to."""

    index: int  # as nvidia-smi counts; the slices of one GPU share it
    uuid: str  # "GPU-..." or "MIG-...": what to write into CUDA_VISIBLE_DEVICES; "" if unknown
    name: str
    handle: Any = None  # NVML's; None when the device does not answer
    error: str = ""
    mig: str = ""  # of a slice: its profile
    whole: Any = None  # of a slice: the handle of its GPU


class _Unavailable(Exception):
    """No figures at all; the text says why, for people."""


def library_present() -> bool:
    """Whether the loader would find the NVML library, without loading anything."""
    if sys.platform != "linux":
        return False
    folders = [d for d in os.environ.get("LD_LIBRARY_PATH", "").split(":") if d]
    if any(os.path.exists(os.path.join(d, LIBRARY)) for d in (*folders, *_DEFAULT_DIRS)):
        return True
    try:
        with open("/etc/ld.so.cache", "rb") as cache:
            return LIBRARY.encode() + b"\0" in cache.read()
    except OSError:
        return False


def detect_gpus() -> list[Gpu]:
    """The GPUs that this process may use, in the runtime's order; ``[]`` where there are none.

    Costs well under a millisecond without an NVIDIA library.
    """
    if _hidden() or not library_present():
        return []
    sampler = GpuSampler()
    try:
        return [
            msgspec.structs.replace(gpu, handle=None, whole=None)
            for gpu in sampler.devices()
            if not gpu.error
        ]
    finally:
        sampler.close()


def token(gpu: Gpu | GpuView) -> str:
    """What CUDA_VISIBLE_DEVICES calls a device."""
    return gpu.uuid if gpu.uuid.startswith("MIG-") else str(gpu.index)


def accelerator_type(name: str) -> str:
    """What ``accelerator_type=`` calls a GPU of this name; "" if that cannot be told.

    >>> [accelerator_type(name) for name in ("NVIDIA A100-SXM4-80GB", "Tesla V100-SXM2-16GB")]
    ['A100', 'V100']
    >>> [accelerator_type(name) for name in ("NVIDIA H200 MIG 1g.18gb", "NVIDIA L40S")]
    ['H200', 'L40S']
    >>> accelerator_type("NVIDIA GeForce RTX 4090"), accelerator_type("NVIDIA RTX A6000")
    ('RTX-4090', 'A6000')
    """
    words = [w for w in name.replace("-", " ").split() if w not in ("NVIDIA", "Tesla", "GeForce")]
    for i, word in enumerate(words):
        if word.isdecimal() and i:
            return f"{words[i - 1]}-{word}"
        if word[0].isalpha() and any(c.isdecimal() for c in word):
            return word
    return ""


def _hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES says: none."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles")


def visible(gpus: Iterable[Gpu], setting: str | None) -> list[Gpu]:
    """Choose and order ``gpus`` as CUDA does for this value of CUDA_VISIBLE_DEVICES."""
    gpus = list(gpus)
    if setting is None:
        return gpus
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdecimal():
            found = [g for g in gpus if g.index == int(entry)]
        elif entry.startswith(("GPU-", "MIG-")):
            found = [g for g in gpus if g.uuid.startswith(entry)]
            if len(found) != 1:
                found = []
        else:
            found = []
        if not found or any(g in chosen for g in found):
            break  # CUDA ignores what follows an entry that it does not know
        chosen += found
    return chosen


class GpuSampler:
    """Reads all GPUs, at most once per ``interval`` seconds. Not thread-safe: one thread uses it.

    ``clock`` is for tests; it returns seconds and never goes back.
    """

    def __init__(
        self, interval: float = SAMPLE_INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._nvml: Any = None
        self._gpus: list[Gpu] = []
        self._status = ""
        self._views: list[GpuView] = []
        self._whole: dict[int, tuple[float | None, ...]] = {}
        self._next_list = self._next_sample = float("-inf")

    def sample(self) -> tuple[list[GpuView], str]:
        """All visible GPUs, and a status: why there are none, or not all; "" otherwise.

        ``share``, ``number`` and whose the processes are is left out: only the node knows it.
        Within ``interval`` the previous figures are given again.
        """
        now = self._clock()
        if now >= self._next_sample:
            self._next_sample = now + self._interval
            try:
                self._whole = {}
                self._views = [self._view(gpu) for gpu in self.devices()]
            except Exception as e:  # an observer must not hurt the runtime, whatever NVML does
                self._views = []
                self._status = f"Reading the GPUs failed: {type(e).__name__}: {e}"
        return self._views, self._status

    def devices(self) -> list[Gpu]:
        """The visible devices, listed anew now and then; never raises."""
        now = self._clock()
        if now < self._next_list:
            return self._gpus
        self._next_list = now + RELIST_INTERVAL
        self._gpus = []
        try:
            if self._nvml is None:
                self._nvml = self._open()
            everything = self._list()
            setting = os.environ.get("CUDA_VISIBLE_DEVICES")
            self._gpus = visible(everything, setting)
            hidden = len(everything) - len(self._gpus)
            if not everything:
                self._status = "The NVIDIA driver works, but it sees no GPU."
            elif hidden:
                count = f"{hidden} of {len(everything)}" if self._gpus else f"all {hidden}"
                self._status = f"CUDA_VISIBLE_DEVICES={setting!r} hides {count} GPUs."
            else:
                self._status = ""
        except _Unavailable as e:
            self._status = str(e)
        except Exception as e:
            self._status = self._explain(e)
            self.close()  # a driver that was reloaded needs a new start
        return self._gpus

    def close(self) -> None:
        """Let go of the driver. The sampler stays usable: it opens it again."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except Exception:
                pass

    def _open(self) -> Any:
        if not library_present():
            raise _Unavailable(NO_LIBRARY)
        try:
            import pynvml
        except ImportError:
            raise _Unavailable(NO_BINDINGS) from None
        try:
            pynvml.nvmlInit()
        except Exception as e:
            raise _Unavailable(self._explain(e, pynvml)) from None
        return pynvml

    def _explain(self, error: Exception, nvml: Any = None) -> str:
        """A sentence for a person, for an error that concerns the driver or one device."""
        nvml = nvml or self._nvml
        code = getattr(error, "value", None)
        if nvml is None or not isinstance(error, nvml.NVMLError):
            return f"Reading the GPUs failed: {type(error).__name__}: {error}"
        return {
            nvml.NVML_ERROR_LIBRARY_NOT_FOUND: NO_LIBRARY,
            nvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is installed but not loaded.",
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
                "The NVIDIA driver and its library have different versions, as after an upgrade "
                "without a restart. Restart the machine."
            ),
            nvml.NVML_ERROR_NO_PERMISSION: "This user may not read the GPUs.",
            nvml.NVML_ERROR_GPU_IS_LOST: LOST,
            nvml.NVML_ERROR_RESET_REQUIRED: "The GPU must be reset before it can be used.",
        }.get(code, f"The NVIDIA driver says: {error}.")

    def _list(self) -> list[Gpu]:
        """Every device of the machine; a GPU in MIG mode gives its slices."""
        nvml = self._nvml
        found: list[Gpu] = []
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            except nvml.NVMLError as e:
                found.append(Gpu(index, "", "", error=self._explain(e)))
                continue
            name = _text(self._ask(nvml.nvmlDeviceGetName, handle) or "GPU")
            mode = self._ask(nvml.nvmlDeviceGetMigMode, handle)
            if mode is not None and mode[0]:
                found += self._slices(index, handle, name)
            else:
                found.append(Gpu(index, uuid, name, handle))
        return found

    def _slices(self, index: int, parent: Any, name: str) -> list[Gpu]:
        nvml = self._nvml
        found = []
        for number in range(self._ask(nvml.nvmlDeviceGetMaxMigDeviceCount, parent) or 0):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, number)
                uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            except nvml.NVMLError:
                continue  # numbers without a slice are usual
            own = _text(self._ask(nvml.nvmlDeviceGetName, handle) or f"{name} MIG")
            profile = re.search(r"\bMIG (\S+)$", own)  # "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
            mig = profile[1] if profile else "slice"
            found.append(Gpu(index, uuid, own, handle, mig=mig, whole=parent))
        if not found:
            error = "The GPU is in MIG mode, but it has no slices yet: `nvidia-smi mig` makes them."
            found.append(Gpu(index, "", name, error=error))
        return found

    def _ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """The answer, or None if the device does not report this. Raises if the device is lost."""
        nvml = self._nvml
        try:
            return function(*args)
        except nvml.NVMLError as e:
            if e.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNINITIALIZED):
                raise
            return None
        except UnicodeDecodeError:
            return None

    def _view(self, gpu: Gpu) -> GpuView:
        view = GpuView(
            gpu.index, gpu.uuid, gpu.name, 0.0, None, None, None, None, None, None, [], gpu.error
        )
        view.mig = gpu.mig
        if gpu.handle is None:
            return view
        nvml, handle, ask = self._nvml, gpu.handle, self._ask
        try:
            if (rates := ask(nvml.nvmlDeviceGetUtilizationRates, handle)) is not None:
                view.utilization_percent = float(rates.gpu)
            if (memory := ask(nvml.nvmlDeviceGetMemoryInfo, handle)) is not None:
                view.memory_used, view.memory_total = int(memory.used), int(memory.total)
            view.temperature, view.power, view.power_limit = self._body(gpu)
            view.processes = self._processes(handle)
        except nvml.NVMLError as e:
            view.error = self._explain(e)
        return view

    def _body(self, gpu: Gpu) -> tuple[float | None, ...]:
        """Temperature, power and its limit: asked once for all slices of a GPU."""
        if gpu.whole is not None and gpu.index in self._whole:
            return self._whole[gpu.index]
        nvml, ask, handle = self._nvml, self._ask, gpu.whole or gpu.handle
        celsius = ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
        found = (
            None if celsius is None else float(celsius),
            _watts(ask(nvml.nvmlDeviceGetPowerUsage, handle)),
            _watts(ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        )
        self._whole[gpu.index] = found
        return found

    def _processes(self, handle: Any) -> list[GpuProcessView]:
        """Processes that compute on the device, largest first."""
        nvml = self._nvml
        found = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses_v3, handle)
        if found is None:  # drivers before 510 know only this one
            found = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses_v2, handle) or []
        memory: dict[int, int | None] = {}
        for process in found:  # the same one may stand there for several contexts
            known, more = memory.get(process.pid), process.usedGpuMemory
            memory[process.pid] = known if more is None else (known or 0) + more
        views = [GpuProcessView(pid, used, "", name=comm(pid)) for pid, used in memory.items()]
        return sorted(views, key=lambda view: -(view.memory or 0))


def comm(pid: int) -> str:
    """What the system calls a process; "" where that cannot be told."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def ancestors(pid: int) -> list[int]:
    """A process, its parent and so on, as far as they can be told."""
    found = [pid]
    try:
        while len(found) < _PARENTS:
            with open(f"/proc/{found[-1]}/stat", errors="replace") as file:
                parent = int(file.read(512).rpartition(")")[2].split()[1])
            if parent <= 1:
                break
            found.append(parent)
    except (OSError, ValueError, IndexError):
        pass
    return found


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
