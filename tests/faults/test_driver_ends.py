"""The driver ends in other ways than by ``kill -9``, or ends its runtime at odd moments."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.faults.support import Driver, Runtime, assert_gone, poll

ENDS = {
    "returns": ("pass", 0),
    "raises": ("raise ValueError('its own')", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "os._exit": ("os._exit(4)", 4),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP)", -signal.SIGHUP),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
    "abort": ("os.abort()", -signal.SIGABRT),
    "segfault": ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    "recursion": ("def deep(): deep()\n        deep()", 1),
    "out of memory": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30,) * 2); bytearray(1 << 33)",
        1,
    ),
    "exec": ("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(5)'])", 5),
}


# To the runtime these are like another one: code runs at the exit, or none does.
ALIKE = ("sys.exit", "recursion", "SIGHUP", "abort")


@pytest.mark.parametrize(
    "way", [pytest.param(x, marks=pytest.mark.long if x in ALIKE else ()) for x in ENDS]
)
def test_driver_ends(driver: Callable[..., Driver], before: leaks.Snapshot, way: str) -> None:
    statement, code = ENDS[way]
    one = driver(f"""
        @fanlight.remote
        def sleeper():
            note("running")
            time.sleep(600)

        started()
        refs = [sleeper.remote() for _ in range(8)]
        kept = fanlight.put(bytes(1_000_000))
        sys.stdin.readline()
        {statement}
        """)
    runtime = one.up()
    one.has("running")
    runtime.look()
    one.tell()
    assert one.wait() == code, one.output()
    assert_gone(before, runtime)


def test_driver_leaves_a_fork_behind(driver: Callable[..., Driver], before: leaks.Snapshot) -> None:
    """A child that the driver forked does not keep the runtime alive."""
    one = driver("""
        started()
        check()
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            assert not fanlight.is_initialized()
            os.close(theirs)
            say("forked", os.getpid())
            os.read(ours, 1)  # until the test lets it go
            os._exit(0)
        sys.stdin.readline()
        """)
    runtime = one.up()
    (child,) = one.hear("forked")
    fork = psutil.Process(int(child))
    runtime.look()
    fork.suspend()  # it must not see the end of its pipe before we have looked
    one.kill()
    one.wait()
    assert poll(lambda: not runtime.left(), 10.0), runtime.left()
    fork.kill()
    assert_gone(before, runtime)


def test_fork_of_a_driver_can_have_a_runtime_of_its_own(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    one = driver("""
        started()
        check()
        child = os.fork()
        if not child:
            fanlight.init(num_cpus=1, log_to_driver=False)
            check()
            fanlight.shutdown()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        check()
        """)
    runtime = one.up()
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


def test_shutdown_in_the_middle(driver: Callable[..., Driver], before: leaks.Snapshot) -> None:
    one = driver("""
        @fanlight.remote
        def sleeper():
            note("running")
            time.sleep(600)

        started()
        refs = [sleeper.remote() for _ in range(20)]
        sys.stdin.readline()
        fanlight.shutdown()
        fanlight.shutdown()
        say("shut")
        sys.stdin.readline()
        started()
        check()
        say("works")
        """)
    runtime = one.up()
    one.has("running")
    runtime.look()
    one.tell()
    one.hear("shut")
    assert not runtime.left(), "shutdown returned before everything was gone"
    one.tell()
    again = one.up()
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime, again)


def test_shutdown_without_init_and_twice(before: leaks.Snapshot, no_leaks: None) -> None:
    import fanlight

    fanlight.shutdown()
    fanlight.init(num_cpus=1)
    fanlight.shutdown()
    fanlight.shutdown()
    assert not fanlight.is_initialized()
    assert_gone(before)


@pytest.mark.long
def test_many_runtimes_one_after_the_other(before: leaks.Snapshot, no_leaks: None) -> None:
    """Descriptors, threads and processes are as many after ten runtimes as after one."""
    import fanlight

    def once(i: int) -> None:
        fanlight.init(num_cpus=1, log_to_driver=False)
        assert fanlight.get(fanlight.remote(_double).remote(i)) == 2 * i
        fanlight.shutdown()

    me = psutil.Process()

    def use() -> Counter[str]:
        gc.collect()  # what earlier tests of this process left to the collector is not ours
        return Counter(
            descriptors=len(os.listdir("/proc/self/fd")),
            threads=me.num_threads(),
            children=len(me.children()),
        )

    once(0)
    first = use()
    for i in range(9):
        once(i)
    grown = use() - first
    assert not grown, grown
    assert_gone(before)


def _double(x: Any) -> Any:
    return 2 * x


@pytest.mark.line("INI.23", "INI.27")
def test_two_drivers_are_two_jobs(driver: Callable[..., Driver], before: leaks.Snapshot) -> None:
    """Job ids, namespaces, definitions and output are each driver's own."""
    script = """
        import io

        @fanlight.remote
        def which():
            print("printed by {name}")
            return "{name}"

        @fanlight.remote
        class Named:
            def whose(self):
                return "{name}"

        {init}
        context = fanlight.get_runtime_context()
        actor = Named.options(name="the same").remote()
        stdout, sys.stdout = sys.stdout, io.StringIO()
        results = fanlight.get([which.remote() for _ in range(5)])
        assert results == ["{name}"] * 5, results
        assert fanlight.get(fanlight.get_actor("the same").whose.remote()) == "{name}"
        written, sys.stdout = sys.stdout.getvalue(), stdout
        assert "printed by {name}" in written and "{other}" not in written, written
        say("ready", context.get_job_id(), context.namespace)
        sys.stdin.readline()
        """
    one = driver(script.format(name="one", other="by two", init="started(log_to_driver=True)"))
    runtime = one.up()
    first = one.hear("ready")
    attach = 'fanlight.init("auto", log_to_driver=True)'
    two = driver(script.format(name="two", other="by one", init=attach))
    second = two.hear("ready")
    assert (first[0], second[0]) == ("01000000", "02000000")
    assert first[1] != second[1]
    runtime.look()
    for process in (two, one):
        process.tell()
        assert process.wait() == 0, process.output()
    assert_gone(before, runtime)


def test_a_second_driver_detaches(driver: Callable[..., Driver], before: leaks.Snapshot) -> None:
    """The end of an attached driver takes its work along, and nothing of the first one's."""
    first = driver("""
        started()
        say("ready")
        sys.stdin.readline()
        check()
        say("works")
        """)
    runtime = first.up()
    first.hear("ready")
    second = driver("""
        @fanlight.remote
        def sleeper():
            note("running")
            time.sleep(600)

        fanlight.init("auto", log_to_driver=False)
        refs = [sleeper.remote() for _ in range(8)]
        kept = fanlight.put(bytes(5_000_000))
        say("ready")
        sys.stdin.readline()
        """)
    second.hear("ready")
    second.has("running")
    assert any(runtime.segments.iterdir())
    runtime.look()
    second.tell()
    assert second.wait() == 0, second.output()
    assert poll(lambda: not any(runtime.segments.iterdir())), "its objects are still there"
    first.tell()
    first.hear("works")
    assert first.wait() == 0, first.output()
    assert_gone(before, runtime)


def test_sigterm_to_the_node_is_an_orderly_end(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    one = driver("""
        started()
        check()
        say("ready")
        while fanlight.is_initialized():
            time.sleep(0.002)
        say("over")
        """)
    runtime: Runtime = one.up()
    one.hear("ready")
    runtime.look()
    runtime.node.terminate()
    one.hear("over")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)
