"""The engine that ``init`` asks for: made, started or found. Called by :mod:`fanlight.session`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fanlight import config, errors, limits

if TYPE_CHECKING:
    from fanlight.observe.discover import ConnectionInfo
    from fanlight.observe.gpu import Gpu

_ADDRESS_VARIABLES = ("FANLIGHT_ADDRESS", "RAY_ADDRESS")


def default_address() -> str | None:
    """The address for who names none: of the environment, or None for a new runtime.

    A runtime of another notebook is not joined unless somebody says so.
    """
    return next((os.environ[v] for v in _ADDRESS_VARIABLES if os.environ.get(v)), None)


def why_address(address: str) -> str:
    """A sentence for errors about an address that the user may not have typed."""
    variable = next((v for v in _ADDRESS_VARIABLES if os.environ.get(v)), None)
    if variable is None or os.environ[variable] != address:
        return ""
    return (
        f" The environment variable {variable} says so; init(address='local') starts a runtime of "
        "its own."
    )


def totals(
    num_cpus: float | None,
    num_gpus: float | None,
    resources: dict[str, float] | None,
    memory: int | None,
) -> dict[str, int]:
    """Resources of a new node, in units of 1/10000."""
    from fanlight.observe.gpu import accelerator_type

    devices = _gpus() if num_gpus is None or num_gpus > 0 else []
    names = _gpu_tokens(devices)
    if num_gpus is None:
        num_gpus = len(devices)
    elif num_gpus > len(names) and _gpus_preset():
        raise ValueError(
            f"num_gpus={num_gpus:g}, but CUDA_VISIBLE_DEVICES names only {len(names)}: "
            f"{os.environ['CUDA_VISIBLE_DEVICES']!r}."
        )
    amounts: dict[str, float] = {
        "CPU": config.cpu_count() if num_cpus is None else num_cpus,
        "memory": float(int(config.memory_bytes() * 0.7) if memory is None else memory),
        "node:127.0.0.1": 1.0,
        "node:__internal_head__": 1.0,
    }
    if num_gpus:
        amounts["GPU"] = num_gpus
        kinds = {accelerator_type(g.name) for g in devices} - {""}
        amounts |= {f"accelerator_type:{kind}": 1.0 for kind in sorted(kinds)}
    amounts.update(resources or {})
    return {key: round(value * config.UNITS) for key, value in amounts.items() if value}


def _gpus() -> list[Gpu]:
    from fanlight.observe.gpu import detect_gpus

    return detect_gpus()


def _gpus_preset() -> bool:
    """Whether the environment chose the GPUs that we may use."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").strip() not in ("", "-1", "NoDevFiles")


def _gpu_tokens(devices: list[Gpu]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that this process may use."""
    if not devices and _gpus_preset():  # GPUs that NVML cannot see, or that are made up
        return [part.strip() for part in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
    return [g.uuid if g.uuid.startswith("MIG-") else str(g.index) for g in devices]


def make(
    address: str | None,
    engine: str | None,
    totals: dict[str, int],
    labels: dict[str, str],
    capacity: int | None,
    name: str,
    info: dict[str, str],
    bounds: limits.Limits,
    temp_dir: str,
    spill_dir: str | None,
) -> Any:
    """``info`` is what the node is told of this driver; ``totals`` are in units of 1/10000."""
    tokens = _gpu_tokens(_gpus()) if "GPU" in totals else []
    if engine == "inproc":
        from fanlight.engines.inproc import InprocEngine

        return InprocEngine(
            resources=totals,
            labels=labels,
            capacity=capacity,
            info=info,
            gpu_tokens=tokens,
            gpus_preset=_gpus_preset(),
        )
    if address in (None, "local"):
        from fanlight.engines.launch import launch

        node = launch(
            resources=totals,
            labels=labels,
            capacity=capacity,
            name=name,
            info=info,
            gpu_tokens=tokens,
            gpus_preset=_gpus_preset(),
            bounds=bounds,
            temp_dir=temp_dir,
            spill_dir=spill_dir,
        )
        try:
            from fanlight.engines.local import LocalEngine  # while the node comes up

            return LocalEngine.start(node)
        except errors.RuntimeLostError:
            raise
        except BaseException:  # Ctrl-C, too
            node.abandon()
            raise
    from fanlight.engines.local import LocalEngine

    return LocalEngine.attach(find(address), info)


def find(address: str) -> ConnectionInfo:
    """The runtime of this user with that name or id; the newest for "auto". Raises ConnectionError."""
    from fanlight.observe import discover

    found = discover.runtimes()
    if address != "auto":
        found = [r for r in found if address in (r.runtime_id, r.name, r.socket)]
    if not found:
        running = ", ".join(r.name for r in discover.runtimes()) or "none"
        raise ConnectionError(
            f"No runtime answers to address={address!r}. Runtimes of this user: {running}."
            + why_address(address)
        )
    return found[0]
