"""The faults of the crash matrix, to be run inside tasks and methods: each does harm, or returns."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

STORE = 20_000_000  # bytes that the matrix's runtime has


def _raise() -> None:
    raise ValueError("it went wrong")


def _sys_exit() -> None:
    raise SystemExit(5)


def _exit() -> None:
    os._exit(7)


def _segfault() -> None:
    ctypes.string_at(0)


def _sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _no_memory() -> None:
    """Use up all that RLIMIT_AS allows."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), hard))
    kept: list[bytearray] = []
    try:
        while True:
            kept.append(bytearray(1 << 20))
    finally:
        kept.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _unpicklable() -> Any:
    return {"lock": threading.Lock()}


def _too_large() -> bytes:
    return b"survived" + bytes(STORE)


class Unpicklable(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unbuildable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("made of two numbers")


def _raise_unpicklable() -> None:
    raise Unpicklable("with a lock")


def _raise_unbuildable() -> None:
    raise Unbuildable(1, 2)


def _recurse() -> None:
    _recurse()


class _Deep:
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name)  # each level takes a piece of the C stack


def _recurse_in_c() -> None:
    sys.setrecursionlimit(10**9)
    _Deep().x  # noqa: B018


def _child(do: Callable[[], Any]) -> None:
    """Fork; the child does something, and this process waits until it has ended."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    else:
        do()
        os._exit(0)


def _fork() -> str:
    _child(lambda: print("from the child"))
    return "survived"


def _fork_and_exec() -> str:
    subprocess.run(["true"], check=True)
    return "survived"


def _multiprocessing() -> str:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    return "survived"


def _child_raises() -> str:
    pid = os.fork()
    if not pid:
        raise ValueError("in the child")
    os.waitpid(pid, 0)
    return "survived"


def _child_returns() -> str:
    pid = os.fork()
    if not pid:
        return "child"
    os.waitpid(pid, 0)
    return "survived"


def _child_uses_it() -> str:
    """The child may not use its parent's connection: it learns why, and the parent goes on."""
    import fanlight

    ref = fanlight.put(1)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, repr(fanlight.get(ref)).encode())
        except BaseException as e:
            os.write(write, repr(e).encode())
        os._exit(0)
    os.close(write)
    with open(read) as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert "RuntimeNotStartedError" in said and "fork" in said, said
    assert fanlight.get(ref) == 1
    return "survived"


def _close_descriptors() -> str:
    os.close(1)
    os.close(2)
    print("to nobody")
    return "survived"


def _close_stdout() -> str:
    sys.stdout.close()
    sys.stderr.close()
    with contextlib.suppress(ValueError):
        print("to nobody")
    return "survived"


def _no_stdout() -> str:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    print("to nobody")
    return "survived"


def _left_thread(do: Callable[[], Any]) -> Callable[[], str]:
    """What a thread does that a task left behind, a moment after the task's end."""

    def task() -> str:
        def later() -> None:
            time.sleep(0.05)
            do()

        threading.Thread(target=later, daemon=True).start()
        return "survived"

    return task


FAULTS: dict[str, Callable[[], Any]] = {
    "exception": _raise,
    "sys.exit": _sys_exit,
    "os._exit": _exit,
    "segfault": _segfault,
    "abort": os.abort,
    "SIGKILL": _sigkill,
    "MemoryError": _no_memory,
    "unpicklable result": _unpicklable,
    "result larger than the store": _too_large,
    "exception that cannot be pickled": _raise_unpicklable,
    "exception that cannot be rebuilt": _raise_unbuildable,
    "RecursionError": _recurse,
    "recursion in C": _recurse_in_c,
    "fork": _fork,
    "fork and exec": _fork_and_exec,
    "multiprocessing": _multiprocessing,
    "fork, the child raises": _child_raises,
    "fork, the child returns": _child_returns,
    "fork, the child uses fanlight": _child_uses_it,
    "os.close(1)": _close_descriptors,
    "sys.stdout.close()": _close_stdout,
    "sys.stdout = None": _no_stdout,
    "a thread left behind raises": _left_thread(_raise),
    "a thread left behind calls os._exit": _left_thread(_exit),
}
