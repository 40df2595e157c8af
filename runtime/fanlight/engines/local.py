"""The default engine: a node process on this machine, started in a fraction of a second."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fanlight import errors, events, ids
from fanlight import messages as m
from fanlight.client.channels import Channels
from fanlight.client.client import Client
from fanlight.client.connect import handshake, read_welcome
from fanlight.client.link import SocketLink
from fanlight.engines.base import Capabilities
from fanlight.engines.launch import NodeProcess
from fanlight.engines.native import NativeEngine
from fanlight.node.boot import remove_dirs
from fanlight.observe import discover
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import peers
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
    def start(cls, node: NodeProcess) -> LocalEngine:
        """Wait for a node that was launched. Raises RuntimeLostError if it does not come."""
        try:
            node.sock.settimeout(_START_SECONDS)
            facts, early = read_welcome(node.sock)
        except (OSError, ConnectionLost) as e:
            tail = node.abandon()
            raise errors.RuntimeLostError(
                f"The runtime could not be started: {e}.\n{tail}"
            ) from None
        boot = node.boot
        hello = m.Hello(
            m.PROTOCOL_VERSION, boot.token, "driver", os.getpid(), boot.driver_client,
            boot.driver_info,
        )  # fmt: skip
        return cls._connected(node.sock, facts, early, hello, node.process, node.log)

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
            peers.check(sock)
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
        return discover.find(self.runtime_id)

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
