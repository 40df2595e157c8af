"""A laptop sleeps: all processes stand still and go on, in any order; the clock jumps."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fanlight import config, ids
from fanlight import messages as m
from fanlight.observe import discover
from fanlight.wire import codec
from tests import leaks
from tests.faults.support import Driver, Runtime, assert_gone, poll

# Work of all kinds without end; each round is checked, and said.
WORK = """
    import threading

    @fanlight.remote(max_retries=0)
    def tree(depth):
        return 1 if not depth else 1 + sum(fanlight.get([tree.remote(depth - 1)] * 2))

    @fanlight.remote(max_retries=0)
    def items(n):
        yield from range(n)

    @fanlight.remote
    class Counter:
        def __init__(self):
            self.n = 0
        def inc(self):
            self.n += 1
            return self.n

    started()
    counter, other = Counter.remote(), Counter.remote()
    calls = 0

    def work():
        global calls
        refs = [counter.inc.remote() for _ in range(20)]
        assert fanlight.get([add.remote(i, i) for i in range(100)]) == [2 * i for i in range(100)]
        assert fanlight.get(tree.remote(3)) == 15
        assert [fanlight.get(x) for x in items.remote(5)] == list(range(5))
        large = fanlight.put(bytes(500_000))
        assert len(fanlight.get(add.remote(large, b"1"))) == 500_001
        assert fanlight.get(refs) == list(range(calls + 1, calls + 21))
        calls += 20
    """


def processes(one: Driver, runtime: Runtime) -> list[psutil.Process]:
    return [psutil.Process(one.process.pid), *_ours(runtime)]


def _ours(runtime: Runtime) -> list[psutil.Process]:
    return [runtime.node, *runtime.node.children(recursive=True)]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 12))]
)
def test_everything_stands_still_for_a_while(
    driver: Callable[..., Driver], before: leaks.Snapshot, seed: int
) -> None:
    """In the middle of any work, in any order, and wakes up in another."""
    one = driver(
        WORK
        + """
    for round in range(3):
        say("round")
        line = sys.stdin.readline()
        while True:
            work()
            if os.path.exists(os.path.join(FOLDER, f"woke{round}")):
                break
        work()
        say("right")
    """
    )
    runtime = one.up()
    chance = random.Random(seed)
    for number in range(3):
        one.hear("round")
        one.tell()
        poll(lambda: False, chance.random() * 0.15)  # the moment, not a wait
        stopped = processes(one, runtime)
        chance.shuffle(stopped)
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):  # one may just have been retired
                process.suspend()
        poll(lambda: False, 0.2)  # that long it sleeps
        chance.shuffle(stopped)
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
            if chance.random() < 0.3:
                poll(lambda: False, 0.05)
        (one.folder / f"woke{number}").touch()
        one.hear("right")
    assert one.wait() == 0, one.output()
    assert "died" not in one.output() and "retr" not in one.output(), one.output()
    assert_gone(before, runtime)


@pytest.mark.long
def test_the_driver_is_gone_when_all_wake_up(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """It was killed while everything stood still."""
    one = driver(WORK + "\n    while True:\n        work()\n        note('works')\n")
    runtime = one.up()
    one.has("works")
    runtime.look()
    stopped = _ours(runtime)
    for process in stopped:
        process.suspend()
    one.kill()
    one.wait()
    for process in reversed(stopped):
        process.resume()
    assert_gone(before, runtime)


@pytest.mark.parametrize("who", ["node", "zygote"])
def test_shutdown_does_not_wait_for_what_is_stopped(
    driver: Callable[..., Driver], before: leaks.Snapshot, who: str
) -> None:
    one = driver("""
        @fanlight.remote
        def sleeper():
            note("running")
            time.sleep(600)

        started()
        ref = sleeper.remote()
        sys.stdin.readline()
        fanlight.shutdown()
        say("shut")
        started()
        check()
        say("works")
        """)
    runtime = one.up()
    one.has("running")
    runtime.look()
    (runtime.node if who == "node" else runtime.zygote()).suspend()
    one.tell()
    one.hear("shut")
    again = one.up()
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime, again)


CLOCK = """
import time as _time

_real, _file = _time.time, {file!r}

def time():
    try:
        with open(_file) as f:
            return _real() + float(f.read() or 0)
    except OSError:
        return _real()

_time.time = time
"""


def test_the_clock_jumps(
    driver: Callable[..., Driver], before: leaks.Snapshot, tmp_path: Path
) -> None:
    """Two hours forward, three back: nobody is late for anything."""
    jump = tmp_path / "jump"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK.format(file=str(jump)))

    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    one = driver(
        WORK
        + """
    work()
    say("ready")
    for _ in range(3):
        line = sys.stdin.readline()
        work()
        say("works")
    """,
        PYTHONPATH=path,
    )
    runtime = one.up()
    one.hear("ready")
    (info,) = (r for r in discover.runtimes() if r.runtime_id == runtime.id)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(20.0)
    sock.connect(info.socket)  # it has five seconds to say who it is
    for offset in (7200.0, -3600.0, 86400.0):
        new = jump.with_suffix(".new")
        new.write_text(str(offset))
        new.rename(jump)
        one.tell()
        one.hear("works")
    hello = m.Hello(m.PROTOCOL_VERSION, info.token, "observer", os.getpid(), ids.new_client_id())
    sock.sendall(codec.encode([hello]))
    assert sock.recv(4096), "it was dropped, though hardly any time had passed"
    sock.close()
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.long
def test_a_stranger_is_not_dropped_for_the_time_the_node_slept(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    one = driver("""
        started()
        check()
        say("ready")
        sys.stdin.readline()
        check()
        """)
    runtime = one.up()
    one.hear("ready")
    (info,) = (r for r in discover.runtimes() if r.runtime_id == runtime.id)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(20.0)
    sock.connect(info.socket)
    runtime.node.send_signal(signal.SIGSTOP)
    poll(lambda: False, config.HANDSHAKE_SECONDS + 3)
    runtime.node.send_signal(signal.SIGCONT)
    poll(lambda: False, 1.0)

    hello = m.Hello(m.PROTOCOL_VERSION, info.token, "observer", os.getpid(), ids.new_client_id())
    sock.sendall(codec.encode([hello]))
    assert sock.recv(4096)
    sock.close()
    one.tell()
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)
