"""Starting a node process, as early as can be: while it comes up, the driver imports the rest.

So this module imports little; :mod:`fanlight.engines.local` goes on from here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from fanlight import config, ids
from fanlight.limits import Limits
from fanlight.node import spill_dirs
from fanlight.node.boot import BootConfig, choose_dirs, remove_dirs


class NodeProcess:
    """A node that comes up: its process, this end of its socket, and what it was told."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        sock: socket.socket,
        boot: BootConfig,
        log: Any,
    ) -> None:
        self.process = process
        self.sock = sock
        self.boot = boot
        self.log = log

    def abandon(self) -> str:
        """End it and remove its files; returns the last of what it wrote."""
        self.sock.close()
        self.process.kill()
        self.process.wait()
        _remove(self.boot)
        with self.log as log:
            log.seek(0)
            return str(log.read().decode(errors="replace").strip()[-2000:])


def _remove(boot: BootConfig) -> None:
    from fanlight.observe import discover

    remove_dirs(boot.session_dir, boot.segment_dir)
    discover.remove(boot.runtime_id)


def launch(
    *,
    resources: dict[str, int],
    labels: dict[str, str],
    capacity: int | None,
    name: str,
    info: dict[str, str],
    gpu_tokens: list[str],
    gpus_preset: bool,
    bounds: Limits,
    temp_dir: str = "",
    spill_dir: str | None = None,
) -> NodeProcess:
    """Start a node process; does not wait for it. Raises OSError, PermissionError."""
    runtime_id = secrets.token_hex(8)
    session_dir, segment_dir = choose_dirs(runtime_id, temp_dir)
    spill_path = spill_dirs.choose(runtime_id, session_dir, spill_dir)
    ours, theirs = map(_above_standard, socket.socketpair())
    cpus = resources.get("CPU", 0) // config.UNITS
    boot = BootConfig(
        runtime_id=runtime_id,
        name=name or f"fanlight-{runtime_id[:4]}",
        token=secrets.token_urlsafe(32),
        node_id=ids.new_node_id(),
        session_dir=str(session_dir),
        segment_dir=str(segment_dir),
        resources=resources,
        capacity=capacity or config.store_capacity(config.segment_root()),
        pool_size=max(1, min(cpus, 4 * config.cpu_count())),
        sys_path=_search_path(),
        cwd=os.getcwd(),
        driver_fd=theirs.fileno(),
        driver_info=info,
        driver_client=ids.new_client_id(),
        gpu_tokens=gpu_tokens,
        gpus_preset=gpus_preset,
        labels=labels,
        memory_limit=bounds.memory,
        memory_threshold=bounds.threshold,
        memory_refresh=bounds.refresh,
        oom_retries=bounds.oom_retries,
        max_processes=bounds.processes,
        spill_dir=str(spill_path),
        lineage_bytes=config.lineage_bytes(),
    )
    log = _log_file()
    package_root = str(Path(__file__).resolve().parents[2])
    code = (
        f"import sys; sys.path.insert(0, {package_root!r}); "
        "from fanlight.node.main import main; main()"
    )
    process = None
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C and a kernel's end are ours to translate
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: who waits for its welcome says why
            process.stdin.write(msgspec.msgpack.encode(boot))
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        theirs.close()
        return NodeProcess(process, ours, boot, log)
    except BaseException:  # Ctrl-C, too
        ours.close()
        theirs.close()
        if process is not None:
            process.kill()
            process.wait()
        log.close()
        _remove(boot)
        raise


def _above_standard(sock: socket.socket) -> socket.socket:
    """The same socket; not under one of the numbers 0 to 2, should the driver have closed those."""
    if sock.fileno() > 2:
        return sock
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _log_file() -> Any:
    """What the node writes goes there; in memory where that can be, since disks may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("fanlight-node"), "w+b")
    return tempfile.TemporaryFile()


def _search_path() -> list[str]:
    """``sys.path`` for workers: the driver's, with its working directory spelled out."""
    cwd = os.getcwd()
    return [p or cwd for p in sys.path]
