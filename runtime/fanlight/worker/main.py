"""A worker process, from its fork to its end."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanlight import by_value, config, ids, refs, session
from fanlight import messages as m
from fanlight.client.channels import Channels
from fanlight.client.client import Client
from fanlight.client.connect import handshake
from fanlight.client.link import SocketLink
from fanlight.wire import peers
from fanlight.wire.failures import ConnectionLost
from fanlight.worker import imports, last_words, output, threads
from fanlight.worker.channels import Callers
from fanlight.worker.executor import Executor
from fanlight.worker.gpus import VisibleGpus
from fanlight.worker.logfile import LogFile

if TYPE_CHECKING:
    import mmap

    from fanlight.node.boot import BootConfig


def run(boot: BootConfig, number: int, worker_id: bytes, env: str, begun: mmap.mmap) -> None:
    """Connect to the node and run tasks until told to end; returns normally at a graceful end.

    ``begun``: see :class:`Executor`.
    """
    by_value.in_worker = True
    with contextlib.suppress(OSError):
        os.chdir(boot.cwd)
    sys.path[:] = boot.sys_path
    last_words.keep()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(os.path.join(boot.session_dir, "node.sock"))
    peers.check(sock)
    client_id = ids.new_client_id()
    hello = m.Hello(
        m.PROTOCOL_VERSION, boot.token, "worker", os.getpid(), client_id, {"number": str(number)}
    )
    _, early = handshake(sock, hello)
    client = Client(client_id, Path(boot.segment_dir), Path(boot.spill_dir))

    def on_idle() -> None:
        client.flush_drops()
        callers.report()

    client.link = link = SocketLink(sock, client.handle, _orphaned, on_idle, early)
    client.channels = Channels(client, hello)
    output.ours = outbox = output.Outbox(client)
    out = output.TaskStream(outbox, "stdout", sys.__stdout__)
    err = output.TaskStream(outbox, "stderr", sys.__stderr__)
    base = os.path.join(boot.session_dir, "logs", f"worker-{worker_id.hex()}-{os.getpid()}")
    outbox.logs = {"stdout": LogFile(base + ".out"), "stderr": LogFile(base + ".err")}
    sys.stdout, sys.stderr = out, err
    gpus = VisibleGpus(boot.gpu_tokens, boot.gpus_preset)
    executor = Executor(client, [out, err], gpus, begun)
    out.whose = err.whose = executor.owner
    threads.follow()
    imports.watch(notebook=bool(boot.driver_info.get("ipython")))
    executor.threads = 1 if boot.set_threads else 0
    path = config.channel_path(boot.session_dir, number)
    executor.callers = callers = Callers(client, executor.queue, boot.token, path)
    link.own_handler = executor.on_sigint
    signal.signal(signal.SIGINT, executor.on_sigint)
    session.attach_worker(client, boot, worker_id)
    os.register_at_fork(after_in_child=lambda: _forked(executor))
    link.start()
    try:
        if env:
            from fanlight.worker import environment

            environment.receive(executor, boot.session_dir)
        executor.serve()
    except ConnectionLost as e:
        _orphaned(str(e))
    with contextlib.suppress(ConnectionLost):
        outbox.close()
    atexit._run_exitfuncs()
    refs.attach(None)
    with contextlib.suppress(ConnectionLost):
        outbox.close()  # what atexit callbacks said
        link.send([])
        link.drain(0.8 * config.RETIRE_SECONDS)
    os._exit(0)


def _forked(executor: Executor) -> None:
    """A task forked (``multiprocessing``, say): its child has no connection to the node.

    A child that returns from the task ends there: only its parent's result counts.
    """
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for stream in executor.streams:  # somebody may hold them, a logging handler for one
        stream.forked = True
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def report(execute: Any, done: m.Done, main: bool) -> None:
        with contextlib.suppress(Exception):
            sys.stderr.write(done.traceback)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0 if done.ok else 1)

    executor._report = report  # type: ignore[method-assign]


def _orphaned(reason: str) -> None:
    """The node is gone: nobody wants the results. Or user code closed the socket, and is told."""
    last_words.say(f"The connection to the runtime's node ended: {reason}")
    os._exit(1)
