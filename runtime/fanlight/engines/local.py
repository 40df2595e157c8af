"""The default engine: a node process on this machine, started in a fraction of a second."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fanlight import errors, events, ids, interrupts
from fanlight import messages as m
from fanlight.client.channels import Channels
from fanlight.client.client import Client
from fanlight.client.connect import handshake, read_welcome
from fanlight.client.link import SocketLink
from fanlight.engines.base import Capabilities
from fanlight.engines.launch import NodeProcess
from fanlight.engines.native import NativeEngine
from fanlight.engines.silence import NodeWatch, proceed
from fanlight.node.boot import remove_dirs, stopped
from fanlight.observe import discover
from fanlight.observe.discover import ConnectionInfo
from fanlight.wire import peers
from fanlight.wire.failures import ConnectionLost, HandshakeRefused, WireError

_START_SECONDS = 30.0
_ASK_SECONDS = 3.0  # for the node to answer a driver that leaves
_END_SECONDS = 10.0  # for the node to end


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
            with interrupts.let_through():
                facts, early = read_welcome(node.sock, _START_SECONDS)
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
            with interrupts.let_through():
                sock.settimeout(_START_SECONDS)
                sock.connect(connection.socket)
                peers.check(sock)
                facts, early = handshake(sock, hello, _START_SECONDS)
        except (OSError, ConnectionLost, HandshakeRefused) as e:
            sock.close()
            raise ConnectionError(
                f"The runtime {connection.name} ({connection.socket}) does not answer: {e}"
            ) from None
        except BaseException:  # Ctrl-C
            sock.close()
            raise
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
        client = Client(hello.client_id, Path(facts["segment_dir"]), Path(facts["spill_dir"]))
        engine = cls(client, facts, process, log)
        client.link = link = SocketLink(
            sock, client.handle, engine._lost, client.flush_drops, early
        )
        client.channels = Channels(client, hello)
        link.on_silence = NodeWatch(engine.node_pid, lambda text: client.on_notice(text)).look
        link.start()
        return engine

    def _lost(self, reason: str) -> None:
        """The node is gone without having been asked; called by whichever thread reads."""
        link: Any = self.client.link
        ended = f"the runtime's node process (pid {self.node_pid}) has ended"
        text = reason if "protocol" in reason else ended
        if self.client.ending:
            text = f"{ended}, since it was told to: {self.client.ending}"
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                how = describe_exit(self.process.wait(timeout=1.0))
                text = text if self.client.ending else f"{ended}: {how}"
            with contextlib.suppress(ValueError, OSError):  # close() has closed the log
                self._log.seek(0)
                tail = self._log.read().decode(errors="replace").strip()[-1500:]
                if tail:
                    text += f"; its last output:\n{tail}"
        link.explain(text)
        self.client.connection_lost(text)

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
        """Disconnect. The last driver ends the node; if it started it, it waits until it is gone.

        A node that does not answer (it is stopped, say) is killed. With a second Ctrl-C, too.
        """
        client, process = self.client, self.process
        last: bool | None = True
        if process is not None:
            proceed(process.pid)  # somebody may have stopped it
        try:
            if process is not None and not client.link.lost:
                last = self._is_last()
                if last:
                    with contextlib.suppress(WireError):
                        client.link.send([m.Shutdown("shutdown")])
        finally:
            client.close()
            if process is not None and last is not False:
                self._see_off(process, sure=bool(last))
            if self._log is not None:
                self._log.close()

    def _is_last(self) -> bool | None:
        """Whether no other driver is attached; None if the node does not say.

        It hears the end of our connection in any case, and ends if it was the last one's.
        """
        client: Any = self.client
        if not client.link.may_wait():
            return None  # in a callback, or in the handler of a signal
        request = client.next_request()
        try:
            reply = client.ask(request, m.Query(request, "drivers", {}), _ASK_SECONDS)
        except errors.GetTimeoutError:
            return None
        except (WireError, errors.RuntimeLostError):
            return True
        return bool(msgspec.msgpack.decode(reply.data) <= 1)

    def _see_off(self, process: subprocess.Popen[bytes], sure: bool) -> None:
        """Wait until the node has ended. One that does not end is killed, if it is ``sure`` that
        nobody else needs it, or if it is stopped."""
        for seconds in interrupts.slices(_END_SECONDS if sure else 2.0):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=seconds)
                break
            if (sure and interrupts.noted() > 1) or stopped(process.pid):
                sure = True
                break
        if process.returncode is None:
            if not sure:
                return  # others go on, it seems; it ends with the last of them
            process.kill()
            process.wait()
            proceed(process.pid)  # the zygote, which ends the rest
        # Normally all gone by now; not if the node and its zygote were both killed.
        remove_dirs(self.info["session_dir"], self.info["segment_dir"])
        discover.remove(self.runtime_id)


def describe_exit(code: int) -> str:
    """What ``Popen.returncode`` says, in words.

    >>> describe_exit(-9), describe_exit(1)
    ('killed by SIGKILL', 'exit code 1')
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


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
        event: events.Event | None = None
        for payload in self._observer.payloads():
            if self._closed:
                return
            event = decode(payload)
            self._tell(event)
        if not self._closed and not isinstance(event, events.Ended):  # the node was killed
            self._tell(events.Ended("The runtime's node process died."))

    def _tell(self, event: events.Event) -> None:
        try:
            self._callback(event)
        except Exception:  # its own fault: the next event may go better
            traceback.print_exc()

    def close(self) -> None:
        self._closed = True
        self._observer.close()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
