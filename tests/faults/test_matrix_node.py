"""The crash matrix (matrix.py): cells that end the runtime."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.faults import matrix
from tests.faults.support import DEADLINE, Runtime, assert_gone, poll

CELLS = matrix.cells("faults/test_matrix_node.py::test_node")


@pytest.mark.parametrize("cell", CELLS, ids=[cell.fault for cell in CELLS])
def test_node(rt: Any, before: leaks.Snapshot, tmp_path: Path, cell: matrix.Cell) -> None:
    """Whoever waits learns how it ended; nothing is left, and a new runtime starts."""
    session = rt.session.current()
    runtime = Runtime(session.runtime_id, session.node_pid)
    started = tmp_path / "started"

    @rt.remote
    def block() -> None:
        import subprocess

        subprocess.Popen(["sleep", "600"])
        started.touch()
        signal.pause()

    ref = block.remote()
    assert poll(started.exists)
    runtime.look()
    if cell.fault == "no memory":
        used = runtime.node.memory_info().vms
        resource.prlimit(runtime.node.pid, resource.RLIMIT_AS, (used + (4 << 20),) * 2)
        with pytest.raises(rt.errors.RuntimeLostError) as info:
            held = []
            while True:
                held += [rt.put(bytes(90_000)) for _ in range(100)]
                rt.cluster_resources()  # an answer
    else:
        threading.Timer(0.1, runtime.node.send_signal, [getattr(signal, cell.fault)]).start()
        with pytest.raises(rt.errors.RuntimeLostError) as info:
            rt.get(ref, timeout=DEADLINE)
    for words in cell.says:
        assert words in str(info.value)
    assert poll(lambda: not runtime.left()), runtime.left()
    rt.shutdown()
    rt.init(num_cpus=1, log_to_driver=False)
    assert rt.get(rt.remote(lambda: 1).remote(), timeout=DEADLINE) == 1


@pytest.mark.parametrize("everything", [False, True])
def test_a_stopped_node(rt: Any, before: leaks.Snapshot, everything: bool) -> None:
    """Who waits is told, may be interrupted, and goes on; shutdown ends what is stopped."""
    session = rt.session.current()
    runtime = Runtime(session.runtime_id, session.node_pid)
    task = rt.remote(lambda: 1)
    assert rt.get(task.remote()) == 1
    runtime.workers()
    runtime.look()
    processes = [runtime.node, *runtime.node.children(recursive=True)]
    stopped = processes if everything else processes[:1]
    notices: list[str] = []
    session.client.on_notice = notices.append
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker too many has just ended
            process.suspend()
    ref = task.remote()
    main = threading.main_thread().ident or 0

    def interrupt() -> None:
        poll(lambda: notices)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        rt.get(ref)
    (text,) = notices
    for words in (f"pid {runtime.node.pid}", "is stopped", "kill -CONT", "shutdown()"):
        assert words in text
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    assert rt.get(ref, timeout=DEADLINE) == 1
    for process in stopped:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    rt.shutdown()
    assert_gone(before, runtime)
