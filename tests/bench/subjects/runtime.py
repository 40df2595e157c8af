"""The runtime under measurement, for the modules of rows that Fanlight and Ray share.

``ray_api.py`` calls ``use`` once; everything else reads the module's names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ray: Any = None
API = ""  # "fanlight" | "ray"
CPUS = 2


def use(module: Any, api: str, cpus: int) -> None:
    global ray, API, CPUS
    ray, API, CPUS = module, api, cpus


def start(**options: Any) -> None:
    """Start the runtime as every row expects it, but for ``options`` of init."""
    if API == "ray":
        options = {
            "include_dashboard": False,
            "_temp_dir": os.environ["BENCH_TEMP"],
            **options,
        }
    ray.init(**{"num_cpus": CPUS, **options})


@contextlib.contextmanager
def restarted(**options: Any) -> Iterator[None]:
    """A fresh runtime with other options; afterwards another one with the usual ones."""
    ray.shutdown()
    try:
        start(**options)
        yield
    finally:
        ray.shutdown()
        start()


def node_pids() -> tuple[int, ...]:
    """Processes of the runtime that are not found by the runner's mark or by descent."""
    if API == "ray":
        return ()
    session = ray.session.current()
    return (session.node_pid,) if session is not None and session.node_pid else ()


def control_pids() -> list[int]:
    """The processes that schedule: Fanlight's node; Ray's raylet and GCS server."""
    if API != "ray":
        return list(node_pids())
    import common

    found = []
    for pid in common.runtime_pids():
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            if os.path.basename(name) in (b"raylet", b"gcs_server"):
                found.append(pid)
    return found


def address() -> str:
    """What a second driver passes to ``init`` to attach to this runtime."""
    if API == "ray":
        return str(ray.get_runtime_context().gcs_address)
    return str(ray.session.current().runtime_id)
