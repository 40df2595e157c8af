"""The zygote: a small process, warm with everything a worker needs, that forks workers.

It is the workers' parent: it reports how each one ended, and when the node goes away, in whatever
way, it kills them all and removes the session's files.

Each worker shares a page with it, in which it notes the task that it begins: so the one that killed
its process is known, and a task can be killed without hitting the next one.

Node -> zygote: lines ``spawn NUMBER HEXID [ENVIRONMENT]``, ``kill NUMBER [TASK]``, ``stop``.
Zygote -> node: lines ``spawned NUMBER PID``, ``exited NUMBER STATUS [TASK]``, ``stopped NUMBER SIGNAL
TASK``, ``continued NUMBER 0 -``; ``-`` for no task.
Both: lines about the helpers that prepare runtime environments (:mod:`fanlight.node.environments`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from fanlight import config, ids
from fanlight.interrupts import slices

if TYPE_CHECKING:
    from fanlight.node.boot import BootConfig

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_END_SECONDS = 6.0  # for the zygote to end when it was told to
_STDERR = 2
_NO_MEMORY = b"MemoryError: the process could get no more memory, not even to report it\n"
_KILL_FIRST = "500"  # the kernel's killer takes a worker, not the driver, if it comes to that
_STOP_SECONDS = 0.2  # for a process to be seen stopped; it may sleep in the kernel


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(option, value)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """On Linux, have the kernel kill this process when ``parent`` dies, or has died."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """On Linux: orphans among this process's descendants become its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children_of(pid: int) -> list[int]:
    """The children of a process of one thread; empty where the system does not tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


def run(boot: BootConfig, channel: socket.socket) -> NoReturn:
    """The zygote's life; called in a fresh fork of the node."""
    gc.enable()  # off in a node that serves already; workers run users' code
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when the node does
    boot.set_threads = "OMP_NUM_THREADS" not in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    become_subreaper()  # so that end() finds what tasks left behind
    sys.path[:] = boot.sys_path
    import cloudpickle  # noqa: F401  what workers need, paid for once

    from fanlight.worker import main  # noqa: F401

    gc.collect()
    gc.freeze()  # workers share these pages as long as they do not touch them
    _Zygote(boot, channel).serve()


def fork(boot: BootConfig) -> tuple[socket.socket, int]:
    """Fork a zygote off a single-threaded node; returns the channel to it and its pid."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            keep = {theirs.fileno(), *boot.lock_fds, 0, 1, 2}
            for fd in os.listdir("/dev/fd"):
                if int(fd) not in keep:
                    with contextlib.suppress(OSError):
                        os.close(int(fd))
            run(boot, theirs)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    theirs.close()
    ours.setblocking(False)
    return ours, pid


def see_off(pid: int, workers: list[int]) -> None:
    """Wait until a zygote that was told to end has ended its workers and itself.

    One that does not (it is stopped, say) is killed, and the groups of ``workers`` with it.
    """
    from fanlight.node.boot import stopped

    for turn, pause in enumerate(slices(_END_SECONDS, 0.002)):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                time.sleep(pause)
                if turn % 250 == 249 and stopped(pid):
                    break
                continue
        return
    os.kill(pid, signal.SIGKILL)
    for worker in workers:
        _kill_group(worker)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


class _Zygote:
    def __init__(self, boot: BootConfig, channel: socket.socket) -> None:
        self.boot = boot
        self.channel = channel
        self.pid = os.getpid()
        self.memory_floor = max(config.WORKER_MEMORY, config.memory_bytes() // 100)
        self.children: dict[int, int] = {}  # pid -> number
        self.helpers: dict[int, int] = {}  # pid -> number of the preparation
        self.pages: dict[int, mmap.mmap] = {}  # by pid
        self.stopped: set[int] = set()  # pids of workers that somebody stopped
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        self.wake_w = wake_w
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> NoReturn:
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.wake_r, select.POLLIN)
        pending = b""
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.wake_r in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake_r, 4096)
            self.look_for_stops()
            self.reap()
            if self.channel.fileno() not in ready:
                continue
            try:
                data = self.channel.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                self.end()
            pending += data
            *lines, pending = pending.split(b"\n")
            for line in lines:
                self.command(line.decode().split())

    def command(self, words: list[str]) -> None:
        if words[0] == "spawn":
            self.spawn(int(words[1]), words[2], words[3] if len(words) > 3 else "")
        elif words[0] == "kill":
            for pid, number in self.children.items():
                if number == int(words[1]) and self.may_kill(pid, words[2:]):
                    _kill_group(pid)
        elif words[0] == "prepare":
            self.prepare(int(words[1]))
        elif words[0] == "cancel":
            for pid, number in self.helpers.items():
                if number == int(words[1]):
                    _kill_group(pid)
        elif words[0] == "stop":
            self.end()

    def prepare(self, number: int) -> None:
        """Start the process that installs what a runtime environment needs."""
        try:
            pid = os.fork()
        except OSError as e:
            self.tell(f"prepared {number} fork:{e.errno}")
            return
        if pid:
            self.helpers[pid] = number
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            self.tell(f"preparing {number} {pid}")
            return
        try:
            self.become_helper(number)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)

    def become_helper(self, number: int) -> NoReturn:
        """An interpreter of its own: what is imported here is not for the packages' builds."""
        self.leave(log_path(self.boot.session_dir, number))
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        request = request_path(self.boot.session_dir, number)
        code = (
            f"import sys; sys.path.append({root!r}); from fanlight.node.install import main; "
            f"sys.exit(main({request!r}, {self.boot.sys_path!r}, {self.pid}))"
        )
        with contextlib.suppress(OSError):
            os.chdir(self.boot.cwd)
        os.execv(sys.executable, [sys.executable, "-c", code])

    def may_kill(self, pid: int, task: list[str]) -> bool:
        """Whether the task, if one is named, is the last one that the process has begun.

        Looked at while the process is stopped, so that no other task can begin meanwhile; when it
        is not to be killed, it goes on.
        """
        if not task or self.begun(pid) != task[0]:
            return not task
        if pid in self.stopped:
            return True  # nothing can begin
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
            deadline = time.monotonic() + _STOP_SECONDS
            while hasattr(os, "waitid") and time.monotonic() < deadline:
                # The stop is taken note of here, the end of a process is not.
                if os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) or os.waitid(
                    os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
                ):
                    break
                time.sleep(0.0005)
        if self.begun(pid) == task[0]:
            return True
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)
        return False

    def begun(self, pid: int) -> str:
        """The last task that a worker has begun; "" for none."""
        task = self.pages[pid][: ids.TASK_LEN]
        return task.hex() if any(task) else ""

    def spawn(self, number: int, worker_id: str, env: str) -> None:
        free = config.memory_available()
        if 0 <= free < self.memory_floor:  # better no process than the kernel killing some
            self.tell(f"exited {number} memory:{free}")
            return
        page = mmap.mmap(-1, ids.TASK_LEN)
        try:
            pid = os.fork()
        except OSError as e:
            page.close()
            self.tell(f"exited {number} fork:{e.errno}")
            return
        if pid:
            self.children[pid] = number
            self.pages[pid] = page
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            self.tell(f"spawned {number} {pid}")
            return
        code = 1
        try:
            self.become_worker(number, worker_id, env, page)
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except MemoryError:
            with contextlib.suppress(OSError):
                os.write(_STDERR, _NO_MEMORY)  # made long ago: nothing can be made now
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(code)

    def become_worker(self, number: int, worker_id: str, env: str, page: mmap.mmap) -> None:
        self.leave(os.path.join(self.boot.session_dir, "logs", f"worker-{number}.log"))
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(_KILL_FIRST)
        from fanlight.worker import main

        main.run(self.boot, number, bytes.fromhex(worker_id), env, page)

    def leave(self, log: str) -> None:
        """In a fresh fork: nothing of the zygote's stays but its warmth; output goes to ``log``."""
        die_with_parent(self.pid)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # what the process starts is killed with it
        signal.set_wakeup_fd(-1)
        for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number_, signal.SIG_DFL)
        for fd in (self.channel.fileno(), self.wake_r, self.wake_w, *self.boot.lock_fds):
            os.close(fd)
        fd = os.open(log, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)

    def reap(self) -> None:
        while True:
            try:
                pid, status = self.reap_one()
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.children.pop(pid, None)
            self.stopped.discard(pid)
            if number is not None:
                self.tell(f"exited {number} {status} {self.begun(pid) or '-'}")
                self.pages.pop(pid).close()
                continue
            number = self.helpers.pop(pid, None)
            if number is not None:
                self.tell(f"prepared {number} {status}")

    def look_for_stops(self) -> None:
        """Tell of workers that were stopped or continued, in whatever way."""
        with contextlib.suppress(ChildProcessError):
            while hasattr(os, "waitid"):
                seen = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
                if seen is None:
                    return
                number = self.children.get(seen.si_pid)
                if number is None:
                    continue
                if seen.si_code != os.CLD_CONTINUED:
                    self.stopped.add(seen.si_pid)
                    begun = self.begun(seen.si_pid) or "-"
                    self.tell(f"stopped {number} {seen.si_status} {begun}")
                elif seen.si_pid in self.stopped:
                    self.stopped.discard(seen.si_pid)
                    self.tell(f"continued {number} 0 -")

    def reap_one(self) -> tuple[int, int]:
        """(pid, status) of a child that has ended, (0, 0) if there is none; kills what it started.

        First the group and then the zombie, where the system can do it in this order: once the
        zombie is gone, its number may belong to somebody else.
        """
        if not hasattr(os, "waitid"):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in self.children or pid in self.helpers:
                _kill_group(pid)
            return pid, status
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return 0, 0
        if ended.si_pid in self.children or ended.si_pid in self.helpers:
            _kill_group(ended.si_pid)
        return os.waitpid(ended.si_pid, 0)

    def tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self.channel.sendall(line.encode() + b"\n")

    def end(self) -> NoReturn:
        """The node stops or is dead: end the workers, remove the files."""
        from fanlight.node.boot import remove_dirs
        from fanlight.observe import discover

        for pid in (*self.children, *self.helpers):
            _kill_group(pid)
        deadline = time.monotonic() + 5.0
        while (self.children or self.helpers) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.005)
        while self.kill_adopted() and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.005)
        discover.remove(self.boot.runtime_id)
        remove_dirs(self.boot.session_dir, self.boot.segment_dir)
        os._exit(0)

    def kill_adopted(self) -> bool:
        """Kill what tasks started in sessions of its own; True while there was something."""
        pids = children_of(self.pid)
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(pid, signal.SIGKILL)


def request_path(session_dir: str, number: int) -> str:
    """Where the node says what a helper is to prepare."""
    return os.path.join(session_dir, "environments", f"request-{number}.json")


def log_path(session_dir: str, number: int) -> str:
    """What a helper writes."""
    return os.path.join(session_dir, "logs", f"environment-{number}.log")


def begun_task(words: list[str]) -> bytes | None:
    """The task in a line ``exited …``; None where it names none.

    >>> begun_task("exited 3 9 -".split()), begun_task("exited 3 fork:12".split())
    (b'', None)
    """
    if len(words) < 4:
        return None
    return b"" if words[3] == "-" else bytes.fromhex(words[3])


def signal_name(number: int) -> str:
    """
    >>> signal_name(19), signal_name(63)
    ('SIGSTOP', 'signal 63')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_status(status: str) -> str:
    """What ``exited`` says, in words.

    >>> describe_status("9"), describe_status("256"), describe_status("memory:12000000")
    ('killed by SIGKILL', 'exit code 1', 'only 12 MB of memory are free')
    """
    if status.startswith("fork:"):
        number = int(status[5:])
        hint = (
            " (ulimit -u, or the container's limit of processes)" if number == errno.EAGAIN else ""
        )
        return f"no new process could be made: {os.strerror(number)}{hint}"
    if status.startswith("memory:"):
        return f"only {int(status[7:]) / 1e6:.0f} MB of memory are free"
    code = int(status)
    if os.WIFSIGNALED(code):
        return f"killed by {signal_name(os.WTERMSIG(code))}"
    return f"exit code {os.WEXITSTATUS(code)}"
