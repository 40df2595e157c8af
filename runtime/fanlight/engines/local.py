"""The default engine: a node process on this machine, started in a fraction of a second."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fanlight import config, errors, events, ids
from fanlight import messages as m
from fanlight.client.channels import Channels
from fanlight.client.client import Client
from fanlight.client.connect import handshake, read_welcome
from fanlight.client.link import SocketLink
from fanlight.engines.base import Capabilities
from fanlight.engines.native import NativeEngine
from fanlight.node.boot import BootConfig, choose_dirs, remove_dirs
from fanlight.observe import discover
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire.failures import ConnectionLost, HandshakeRefused, WireError

_START_SECONDS = 30.0


class LocalEngine(NativeEngine):
    name = "local"
    capabilities = Capabilities(processes=True, shared_memory=True, interrupt=True, detached=True)

    def __init__(
        self,
        client: Client,
        info: dict[str, Any],
        process: subprocess.Popen[bytes] | None,
        log: Any,
    ) -> None:
        super().__init__(client)
        self.info = info
        self.process = process  # the node, if this driver started it
        self._log = log
        self.runtime_id: str = info["runtime_id"]
        self.node_pid: int = info["pid"]

    # --- starting ----------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        *,
        resources: dict[str, int],
        labels: dict[str, str],
        capacity: int | None,
        name: str,
        info: dict[str, str],
        gpu_tokens: list[str],
        gpus_preset: bool,
    ) -> LocalEngine:
        """Start a node process and connect to it. Raises RuntimeLostError if it does not come."""
        runtime_id = secrets.token_hex(8)
        session_dir, segment_dir = choose_dirs(runtime_id)
        ours, theirs = socket.socketpair()
        client_id = ids.new_client_id()
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
            driver_client=client_id,
            gpu_tokens=gpu_tokens,
            gpus_preset=gpus_preset,
            labels=labels,
        )
        log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the engine
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
            process.stdin.write(msgspec.msgpack.encode(boot))
            process.stdin.close()
            theirs.close()
            ours.settimeout(_START_SECONDS)
            facts, early = read_welcome(ours)
        except BaseException as e:  # Ctrl-C, too
            ours.close()
            theirs.close()
            if process is not None:
                process.kill()
                process.wait()
            remove_dirs(session_dir, segment_dir)
            discover.remove(runtime_id)
            with log:
                log.seek(0)
                tail = log.read().decode(errors="replace").strip()
            if not isinstance(e, OSError | ConnectionLost):
                raise
            raise errors.RuntimeLostError(
                f"The runtime could not be started: {e}.\n{tail[-2000:]}"
            ) from None
        hello = m.Hello(m.PROTOCOL_VERSION, boot.token, "driver", os.getpid(), client_id, info)
        return cls._connected(ours, facts, early, hello, process, log)

    @classmethod
    def attach(cls, connection: ConnectionInfo, info: dict[str, str]) -> LocalEngine:
        """Connect to a runtime that another driver started. Raises ConnectionError."""
        client_id = ids.new_client_id()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        hello = m.Hello(
            m.PROTOCOL_VERSION, connection.token, "driver", os.getpid(), client_id, info
        )
        try:
            sock.settimeout(_START_SECONDS)
            sock.connect(connection.socket)
            facts, early = handshake(sock, hello)
        except (OSError, ConnectionLost, HandshakeRefused) as e:
            sock.close()
            raise ConnectionError(
                f"The runtime {connection.name} ({connection.socket}) does not answer: {e}"
            ) from None
        return cls._connected(sock, facts, early, hello, None, None)

    @classmethod
    def _connected(
        cls,
        sock: socket.socket,
        facts: dict[str, Any],
        early: bytes,
        hello: m.Hello,
        process: subprocess.Popen[bytes] | None,
        log: Any,
    ) -> LocalEngine:
        sock.settimeout(None)
        client = Client(hello.client_id, Path(facts["segment_dir"]))
        engine = cls(client, facts, process, log)
        client.link = link = SocketLink(
            sock, client.handle, engine._lost, client.flush_drops, early
        )
        client.channels = Channels(client, hello)
        link.start()
        return engine

    def _lost(self, reason: str) -> None:
        """The node is gone without having been asked; called by whichever thread reads."""
        link: Any = self.client.link
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(timeout=1.0)
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                link.lost = f"{reason} ({how})"
            with contextlib.suppress(ValueError, OSError):  # close() has closed the log
                self._log.seek(0)
                tail = self._log.read().decode(errors="replace").strip()[-1500:]
                if tail:
                    link.lost += f"; its last output:\n{tail}"
        self.client.connection_lost(link.lost)

    # --- watching ----------------------------------------------------------------------------

    @property
    def connection(self) -> ConnectionInfo | None:
        """How observers reach this runtime."""
        path = discover.connection_dir() / f"{self.runtime_id}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=ConnectionInfo)
        except (OSError, msgspec.DecodeError):
            return None

    def subscribe(self, callback: Callable[[events.Event], None]) -> _Watcher:
        """Call back with each event, from a thread of its own, until closed."""
        connection = self.connection
        if connection is None:
            raise errors.RuntimeLostError("The runtime has no connection file.")
        return _Watcher(connection, callback)

    # --- ending ------------------------------------------------------------------------------

    def close(self) -> None:
        """Disconnect. The last driver ends the node; if it started it, it waits until it is gone."""
        client, process = self.client, self.process
        if process is not None and not client.link.lost:
            with contextlib.suppress(WireError, errors.RuntimeLostError):
                if client.query("drivers") > 1:
                    process = None  # others go on; the node ends with the last of them
                else:
                    client.link.send([m.Shutdown("shutdown")])
        client.close()
        if process is not None:
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # Normally all gone by now; not if the node and its zygote were both killed.
            remove_dirs(self.info["session_dir"], self.info["segment_dir"])
            discover.remove(self.runtime_id)
        if self._log is not None:
            self._log.close()


class _Watcher:
    """A thread that reads events for one callback."""

    def __init__(
        self, connection: ConnectionInfo, callback: Callable[[events.Event], None]
    ) -> None:
        from fanlight.observe.client import Observer

        self._observer = Observer(connection)
        self._callback = callback
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fanlight-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        decode = msgspec.json.Decoder(events.Event).decode
        for payload in self._observer.payloads():
            if self._closed:
                return
            try:
                self._callback(decode(payload))
            except Exception:  # its own fault: the next event may go better
                traceback.print_exc()

    def close(self) -> None:
        self._closed = True
        self._observer.close()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)


def _search_path() -> list[str]:
    """``sys.path`` for workers: the driver's, with its working directory spelled out."""
    cwd = os.getcwd()
    return [p or cwd for p in sys.path]
