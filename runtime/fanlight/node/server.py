"""The node process: a thin shell of sockets and processes around the core.

One thread, one loop: read what there is, give it to the core in one step, do what the core says.
Everything that is written to one receiver in a step goes out as one frame.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from fanlight import config
from fanlight import messages as m
from fanlight._version import __version__
from fanlight.core import effects as fx
from fanlight.core.machine import Core, CoreConfig
from fanlight.node import admission, children, zygote
from fanlight.node.boot import BootConfig, remove_dirs, restore_segments
from fanlight.node.clock import Clock
from fanlight.node.connections import IN, OUT, Connection, Poller, raise_fd_limit
from fanlight.node.environments import Preparations
from fanlight.node.hub import Hub
from fanlight.node.logs import WorkerLogs
from fanlight.node.memory_monitor import MemoryMonitor
from fanlight.node.spiller import Spiller
from fanlight.observe import discover
from fanlight.store.files import DISK
from fanlight.wire import codec
from fanlight.wire.failures import WireError
from fanlight.wire.framing import FrameReader
from fanlight.wire.peers import stranger

_READ = 1 << 16
_FROM_OBSERVER = (m.Cancel, m.CancelGroups, m.KillActor, m.Query, m.Scale, m.Shutdown)
_ZYGOTE_TRIES = 5
_COLLECT_SECONDS = 60.0
_FEW_RECORDS = 20_000
_SPARE_FDS = 10  # of the node's descriptors: for logs, the zygote, the connection file


class Node:
    def __init__(self, boot: BootConfig, forked: tuple[socket.socket, int]) -> None:
        """``forked`` is the zygote: its channel and pid."""
        self.boot = boot
        self.core = Core(
            CoreConfig(
                node_id=boot.node_id,
                resources=boot.resources,
                capacity=boot.capacity,
                pool_size=boot.pool_size,
                hostname=socket.gethostname(),
                persistent=boot.persistent,
                labels=boot.labels,
                lineage_bytes=boot.lineage_bytes,
                channels=True,
                forgiving=True,
                oom_retries=boot.oom_retries,
                max_processes=boot.max_processes,
                spill=True,
            ),
            time.time(),
        )
        self.poller = Poller()
        self.connections: dict[int, Connection] = {}  # by descriptor
        self.peers: dict[int, Connection] = {}
        self.next_peer = 1
        self.worker_peers: dict[int, Connection] = {}  # by worker number
        self.logs = WorkerLogs(boot.session_dir)
        self.memory = MemoryMonitor(boot.memory_limit, boot.memory_threshold, boot.memory_refresh)
        self.stop_reason = ""
        self.clock = Clock()
        self.started = self.clock.now
        self.info = discover.ConnectionInfo(
            version=m.PROTOCOL_VERSION,
            runtime_id=boot.runtime_id,
            name=boot.name,
            engine="local",
            pid=os.getpid(),
            socket=os.path.join(boot.session_dir, "node.sock"),
            token=boot.token,
            session_dir=boot.session_dir,
            created=self.started,
            host=socket.gethostname(),
        )
        self.hub = Hub(self.core, self.info, __version__, boot.gpu_tokens)
        self.collected = self.started  # garbage
        self.told = 0.0  # when observers were last told something
        self.most_fds = raise_fd_limit() - _SPARE_FDS
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.info.socket)
        os.chmod(self.info.socket, 0o600)
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.poller.register(self.listener.fileno(), IN)
        self.zygote_failures = 0  # in a row, of zygotes that never said a word
        self.preparations = Preparations(boot.session_dir, self.tell_zygote)
        self.spiller = Spiller(boot.spill_dir, boot.segment_dir)
        self.poller.register(self.spiller.wake_fd, IN)
        self.adopt_zygote(*forked)

    # --- the zygote --------------------------------------------------------------------------

    def adopt_zygote(self, channel: socket.socket, pid: int) -> None:
        self.zygote = channel
        self.zygote_pid = pid
        self.zygote_pending = b""
        self.poller.register(channel.fileno(), IN)

    def tell_zygote(self, line: str) -> None:
        try:
            children.proceed(self.zygote_pid)  # else it may never read
            self.zygote.setblocking(True)
            self.zygote.sendall(line.encode() + b"\n")
            self.zygote.setblocking(False)
        except OSError:
            pass  # its end is noticed by the loop

    def read_zygote(self) -> None:
        try:
            data = self.zygote.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.zygote_died()
            return
        self.zygote_failures = 0
        self.zygote_pending += data
        *lines, self.zygote_pending = self.zygote_pending.split(b"\n")
        words = [line.decode().split() for line in lines]
        self.step([(0, stimulus) for stimulus in children.stops(words)])
        self.workers_exited(
            [
                (int(w[1]), zygote.describe_status(w[2]), zygote.begun_task(w))
                for w in words
                if w[0] == "exited"
            ]
        )
        heard = [self.preparations.heard(w) for w in words if w[0].startswith("prepar")]
        if any(heard):
            self.step([(0, stimulus) for stimulus in heard if stimulus is not None])

    def zygote_died(self) -> None:
        """Workers die with it; a new one is forked, which this single-threaded process may do."""
        self.poller.unregister(self.zygote.fileno())
        self.zygote.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.zygote_pid, 0)
        self.zygote_failures += 1
        if self.zygote_failures == _ZYGOTE_TRIES:
            self.stop_reason = self.stop_reason or "no worker process can be started"
            print(self.stop_reason, file=sys.stderr, flush=True)
        if self.stop_reason:
            return
        self.spiller.pause()
        self.hub.close()
        self.adopt_zygote(*zygote.fork(self.boot))
        self.spiller.resume()
        lost: list[tuple[int, str, bytes | None]] = []
        for worker in self.core.workers.values():
            if not worker.pid:  # it was to be started, or had just been
                self.tell_zygote(f"spawn {worker.number} {worker.id.hex()} {worker.env}")
                continue
            lost.append((worker.number, "its parent process (the zygote) died", None))
            for kill in (os.killpg, os.kill):  # it is dead on Linux; what it started is not
                with contextlib.suppress(OSError):
                    kill(worker.pid, signal.SIGKILL)
        self.workers_exited(lost)
        self.preparations.zygote_died()

    def workers_exited(self, dead: list[tuple[int, str, bytes | None]]) -> None:
        """Handle what workers still sent, then their ends: all in one step, so that the work of
        one dead worker is not given to another."""
        connections = [self.worker_peers.pop(number, None) for number, _, _ in dead]
        stimuli: list[tuple[int, Any]] = []
        for connection in connections:
            while connection is not None and connection.peer in self.peers:
                got = self.read(connection)
                if not got:
                    break
                stimuli += got
        low = self.memory.why_killed(how for _, how, _ in dead)
        if low:
            stimuli += self.memory.measure(self.core, (os.getpid(), self.zygote_pid), now=True)
        stimuli += [
            (
                0,
                fx.WorkerExited(
                    n, how, self.logs.tail(n, self.core.workers.get(n), task), task, low
                ),
            )
            for n, how, task in dead
        ]
        self.step(stimuli)
        for number, *_ in dead:
            with contextlib.suppress(OSError):  # where an actor accepted channels
                os.unlink(config.channel_path(self.boot.session_dir, number))
        for connection in connections:
            if connection is not None:
                self.disconnect(connection)

    # --- connections -------------------------------------------------------------------------

    def adopt(self, sock: socket.socket) -> Connection:
        sock.setblocking(False)
        deadline = self.clock.awake + config.HANDSHAKE_SECONDS
        connection = Connection(sock, self.next_peer, deadline, self.poller)
        self.next_peer += 1
        self.connections[sock.fileno()] = connection
        self.peers[connection.peer] = connection
        self.poller.register(sock.fileno(), IN)
        return connection

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as e:
                print(f"accept failed: {e}", file=sys.stderr, flush=True)
                return
            if problem := stranger(sock):
                print(f"a stranger was dropped: {problem}", file=sys.stderr, flush=True)
                sock.close()
                continue
            connection = self.adopt(sock)
            if sock.fileno() >= self.most_fds:
                # Whoever connects is told, and does not wait for what cannot come.
                connection.send(
                    [
                        m.Refused(
                            f"the node may not have more than "
                            f"{self.most_fds + _SPARE_FDS} open files (ulimit -n, or the hard limit of it)"
                        )
                    ],
                )
                self.disconnect(connection)

    def welcome(self, connection: Connection, role: str, client_id: bytes) -> None:
        connection.role = role
        connection.client_id = client_id
        connection.frames.limit = FrameReader().limit
        connection.send(
            [
                m.Welcome(
                    {
                        "runtime_id": self.boot.runtime_id,
                        "name": self.boot.name,
                        "node_id": self.boot.node_id.hex(),
                        "pid": os.getpid(),
                        "session_dir": self.boot.session_dir,
                        "segment_dir": self.boot.segment_dir,
                        "spill_dir": self.boot.spill_dir,
                        "version": __version__,
                    }
                )
            ],
        )

    def handshake(self, connection: Connection, frame: bytes) -> list[tuple[int, Any]]:
        """Check who connects, before anything else is read. Raises WireError."""
        messages = codec.decode_handshake(frame)
        hello = messages[0] if len(messages) == 1 else None
        if not isinstance(hello, m.Hello):
            raise WireError("no Hello")
        problem = admission.problem(hello, self.boot.token, self.connections.values())
        if problem:
            connection.send([m.Refused(problem)])
            raise WireError(problem)
        number = 0
        if hello.role == "worker":
            number = admission.worker_number(hello, connection, self.core, self.zygote_pid)
            if number in self.worker_peers:
                raise WireError(f"worker {number} is there already")
            connection.worker = number
            self.worker_peers[number] = connection
        self.welcome(connection, hello.role, hello.client_id)
        if hello.role == "observer":
            self.hub.attach(connection.peer)
        connected = fx.Connected(hello.role, hello.client_id, hello.pid, hello.info, number)
        return [(connection.peer, connected)]

    def read(self, connection: Connection) -> list[tuple[int, Any]] | None:
        """Stimuli from one socket; None when it ended."""
        try:
            data = connection.sock.recv(_READ)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        try:
            stimuli: list[tuple[int, Any]] = []
            peer = connection.peer
            for frame in connection.frames.feed(data):
                if not connection.role:
                    stimuli += self.handshake(connection, frame)
                else:
                    for message in codec.decode_from_client(frame):
                        if connection.role == "observer" and type(message) not in _FROM_OBSERVER:
                            raise WireError(f"an observer may not send {type(message).__name__}")
                        stimuli.append((peer, message))
            return stimuli
        except (WireError, ValueError) as e:
            print(
                f"a {connection.role or 'stranger'} was dropped: {e}", file=sys.stderr, flush=True
            )
            return None

    def disconnect(self, connection: Connection) -> None:
        if self.peers.pop(connection.peer, None) is None:
            return
        fd = connection.sock.fileno()
        self.connections.pop(fd, None)
        with contextlib.suppress(OSError, ValueError):
            self.poller.unregister(fd)
        connection.sock.close()
        self.hub.detach(connection.peer)
        if connection.role:
            self.step([(connection.peer, fx.Disconnected())])
        if connection.role in ("driver", "worker"):
            self.delete_unfinished(connection.client_id)

    def delete_unfinished(self, client_id: bytes) -> None:
        """Delete the segments that a process was writing when it died."""
        prefix = client_id.hex()[:16] + "-"  # as SegmentWriter names them
        known = self.core.objects.segments
        for folder, begin in ((self.boot.segment_dir, ""), (self.boot.spill_dir, DISK)):
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    if name.startswith(begin + prefix) and name not in known:
                        os.unlink(os.path.join(folder, name))

    # --- writing -----------------------------------------------------------------------------

    def send_all(self, items: Iterable[tuple[int, list[Any]]]) -> None:
        """Send each peer its messages; those that are gone meanwhile are left out."""
        last: list[Any] | None = None
        data = b""
        for peer, messages in items:
            connection = self.peers.get(peer)
            if connection is not None:
                if messages is not last:  # several observers get the same
                    last, data = messages, codec.encode(messages)
                connection.write(data)

    # --- steps -------------------------------------------------------------------------------

    def step(self, stimuli: list[tuple[int, Any]]) -> None:
        slept = self.clock.turn()
        if slept:  # the machine did, or its clock was set
            stimuli = [(0, fx.Slept(slept)), *stimuli]
            self.hub.slept(slept)
        self.perform(self.core.handle(stimuli, self.clock.now))

    def perform(self, effects: fx.Effects) -> None:
        # Files first: who is told to discard a segment looks whether its file is gone.
        for action in effects.actions:
            if isinstance(action, fx.DeleteSegment):
                if action.name.startswith(DISK):
                    self.spiller.delete(action.name)
                    continue
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.boot.segment_dir, action.name))
        self.send_all(effects.out.items())
        for action in effects.actions:
            if isinstance(action, fx.SpawnWorker):
                self.tell_zygote(f"spawn {action.number} {action.worker_id.hex()} {action.env}")
            elif isinstance(action, fx.KillWorker):
                self.tell_zygote(f"kill {action.number} {action.task.hex()}")
            elif isinstance(action, fx.Spill | fx.Restore):
                self.spiller.start(action)
            elif isinstance(action, fx.PrepareEnvironment):
                answer = self.preparations.start(action)
                if answer is not None:
                    self.step([(0, answer)])
            elif isinstance(action, fx.CancelPreparation):
                self.preparations.cancel(action.number)
            elif isinstance(action, fx.DriversChanged):
                self.info.kernel_ids = action.kernel_ids
                with contextlib.suppress(OSError):
                    discover.write(self.info)
            elif isinstance(action, fx.DropClient):
                connection = self.peers.get(action.peer)
                if connection is not None:
                    print(f"a client was dropped: {action.reason}", file=sys.stderr, flush=True)
                    self.disconnect(connection)
            elif isinstance(action, fx.RestoreFolder):
                with contextlib.suppress(OSError):  # who wants to write there says so
                    restore_segments(self.boot)
            elif isinstance(action, fx.Stop):
                self.stop_reason = self.stop_reason or action.reason

    def run(self) -> None:
        """Serve until told to stop, or until the last driver is gone."""
        # The core's records form no rings that are left behind, and there may be millions of them:
        # looking through all of them again and again would be half of the work. See `tick`.
        gc.collect()
        gc.freeze()
        gc.disable()
        driver = self.adopt(socket.socket(fileno=self.boot.driver_fd))
        self.perform(self.core.start())
        info, client_id = self.boot.driver_info, self.boot.driver_client
        pid = int(info.get("pid", "0"))
        # First the connection file: who has its welcome may look for it.
        self.step([(driver.peer, fx.Connected("driver", client_id, pid, info))])
        self.welcome(driver, "driver", client_id)
        clock = time.monotonic  # the time of day may be set back
        next_tick = clock()
        while not self.stop_reason:
            ready = self.poller.wait(max(0.0, next_tick - clock()))
            stimuli: list[tuple[int, Any]] = []
            ended: list[Connection] = []
            zygote_spoke = False
            for fd, mask in ready:
                connection = self.connections.get(fd)
                if connection is None:
                    if fd == self.listener.fileno():
                        self.accept()
                    elif fd == self.spiller.wake_fd:
                        stimuli += self.spiller.take()
                    else:
                        zygote_spoke = True
                    continue
                if mask & OUT:
                    connection.write_more()
                if mask & ~OUT:
                    got = self.read(connection)
                    if got is None:
                        ended.append(connection)
                    else:
                        stimuli += got
            if stimuli:
                self.step(stimuli)
                if self.core.scheduler.handed_ahead:
                    next_tick = min(next_tick, clock() + config.RECLAIM_SECONDS)
            for connection in ended:
                self.disconnect(connection)
            if zygote_spoke:
                self.read_zygote()
            now = clock()
            if now >= next_tick:
                self.tick()
                pause = config.OBSERVE_SECONDS if self.hub.observers else 0.5
                next_tick = min(now + pause, self.memory.next_look)
                if self.core.scheduler.handed_ahead:
                    next_tick = min(next_tick, now + config.RECLAIM_SECONDS)
            elif self.hub.observers:
                next_tick = min(next_tick, now + config.OBSERVE_SECONDS)
        self.shutdown()

    def tick(self) -> None:
        children.proceed(self.zygote_pid)
        children.end_orphans(self.zygote_pid)
        sample = self.memory.measure(self.core, (os.getpid(), self.zygote_pid))
        self.step([(0, fx.Tick()), *sample])
        now = self.clock.now
        records = len(self.core.tasks.table) + len(self.core.objects.table)
        if records < _FEW_RECORDS and not 0 <= now - self.collected < _COLLECT_SECONDS:
            self.collected = now
            gc.collect()  # exceptions leave rings; a few milliseconds
        for connection in list(self.peers.values()):
            if not connection.role and self.clock.awake > connection.deadline:
                self.disconnect(connection)
        if now - self.told >= config.OBSERVE_SECONDS * 0.9 or now < self.told:
            self.told = now
            self.send_all(self.hub.tick(now))

    def shutdown(self) -> None:
        """Tell observers, end all processes, remove all files."""
        discover.remove(self.boot.runtime_id)
        self.send_all(self.hub.ended(self.stop_reason))
        drivers = [peer for peer, c in self.peers.items() if c.role == "driver"]
        self.send_all((peer, [m.Ending(self.stop_reason)]) for peer in drivers)
        self.listener.close()
        self.tell_zygote("stop")
        self.zygote.close()
        zygote.see_off(self.zygote_pid, [w.pid for w in self.core.workers.values() if w.pid])
        self.spiller.close()
        self.hub.close()
        remove_dirs(self.boot.session_dir, self.boot.segment_dir)
        for connection in self.peers.values():
            connection.sock.close()
