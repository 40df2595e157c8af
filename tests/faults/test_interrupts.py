"""Ctrl-C: prompt, and nothing is lost, mixed up or broken by it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest

from tests import leaks
from tests.faults.support import PATIENCE, Driver, assert_gone, poll

BLOCKED = {
    "get": "fanlight.get(ref)",
    "get with timeout": "fanlight.get(ref, timeout=600)",
    "get of a list": "fanlight.get([add.remote(1, 2), ref])",
    "wait": "fanlight.wait([ref])",
    "get while another thread waits": "thread(); fanlight.get(ref)",
    "future": "ref.future().result()",
}
SHORT = ("get", "get while another thread waits", "future")


@pytest.mark.line("GET.21")
@pytest.mark.parametrize(
    "call", [pytest.param(x, marks=() if x in SHORT else pytest.mark.long) for x in BLOCKED]
)
def test_a_blocked_call_is_interrupted(
    driver: Callable[..., Driver], before: leaks.Snapshot, call: str
) -> None:
    one = driver(f"""
        import threading

        @fanlight.remote(num_cpus=0)
        def until(name):
            note("running")
            while not os.path.exists(os.path.join(FOLDER, name)):
                time.sleep(0.005)
            return name

        def thread():
            threading.Thread(target=lambda: fanlight.get(other), daemon=True).start()

        started()
        ref, other = until.remote("go"), until.remote("go")
        for _ in range(5):
            try:
                say("blocks")
                {BLOCKED[call]}
            except KeyboardInterrupt:
                say("interrupted")
        check()
        note("go")
        assert fanlight.get([ref, other]) == ["go", "go"]
        say("works")
        """)
    runtime = one.up()
    for i in range(5):
        one.hear("blocks")
        if i == 0:
            one.has("running")
        if i % 2:  # right away; else when it sleeps
            pass
        else:
            poll(lambda: _sleeps(one.process.pid))
        one.kill(signal.SIGINT)
        one.hear("interrupted", PATIENCE)
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


def _sleeps(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]
)
def test_a_submit_loop_interrupted_many_times(
    driver: Callable[..., Driver], before: leaks.Snapshot, seed: int
) -> None:
    """Interrupts at random moments of submit, put, get and wait; then a thousand right results."""
    one = driver(f"""
        import random

        @fanlight.remote
        class Counter:
            def __init__(self):
                self.n = 0
            def inc(self):
                self.n += 1
                return self.n

        random_ = random.Random({seed})
        started()
        check()
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        counter = Counter.remote()
        last = fanlight.get(counter.inc.remote())
        kept, caught = [], 0

        def work():
            for i in range(1_000_000):
                kept.append((i, add.remote(i, 1)))
                if i % 7 == 0:
                    kept.append((i - 1, fanlight.put(i)))
                if i % 50 == 49:
                    some = kept[-20:]
                    assert fanlight.get([r for _, r in some]) == [x + 1 for x, _ in some]
                    fanlight.wait([r for _, r in some], num_returns=3, timeout=60)
                    del kept[:-30]

        for round in range(150):
            # As Ctrl-C would, the timer's signal strikes at any byte code of the main thread.
            try:
                # Python itself ignores one that strikes in a __del__, so it comes again.
                signal.setitimer(signal.ITIMER_REAL, random_.uniform(1e-4, 0.004), 1.0)
                work()
                raise AssertionError("it was not interrupted")
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                caught += 1
            if round % 10 == 0:
                new = fanlight.get(counter.inc.remote(), timeout=60)
                assert new == last + 1, (new, last)
                last = new
        assert fanlight.get([r for _, r in kept], timeout=60) == [x + 1 for x, _ in kept]
        refs = [add.remote(i, -i) for i in range(500)] + [add.remote(i, i) for i in range(500)]
        assert fanlight.get(refs, timeout=60) == [0] * 500 + [2 * i for i in range(500)]
        say("right", caught)
        """)
    runtime = one.up()
    assert one.hear("right") == ["150"]
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.parametrize("seed", [0, 3])
def test_init_interrupted(driver: Callable[..., Driver], before: leaks.Snapshot, seed: int) -> None:
    """A Ctrl-C during ``init`` leaves no half-made runtime."""
    delay = random.Random(seed).random() * 0.08 * seed
    one = driver(f"""
        import threading
        timer = threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            fanlight.init(num_cpus=2, log_to_driver=False)
            timer.join()
            time.sleep(1)
        except KeyboardInterrupt:
            say("interrupted")
        timer.join()
        fanlight.shutdown()
        sys.stdin.readline()
        started()
        check()
        say("works")
        """)
    one.hear("interrupted")
    assert_gone_but(one, before)
    one.tell()
    runtime = one.up()
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


def assert_gone_but(one: Driver, before: leaks.Snapshot) -> None:
    """Nothing is there but the driver itself."""
    mine = f"process {one.process.pid}:"

    def left() -> list[str]:
        found = leaks.left_since(before, seconds=0)
        return [x for x in found if "descriptor" not in x and not x.startswith(mine)]

    assert poll(lambda: not left(), PATIENCE), left()


def test_ctrl_c_in_a_terminal_does_not_reach_the_workers(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """The tasks of an interrupted ``get`` go on, as in Ray; their results are still to be had."""
    one = driver("""
        @fanlight.remote
        def long():
            note("running")
            while not os.path.exists(os.path.join(FOLDER, "go")):
                time.sleep(0.005)
            return "finished"

        started()
        ref = long.remote()
        try:
            say("blocks")
            fanlight.get(ref)
        except KeyboardInterrupt:
            say("interrupted")
        note("go")
        assert fanlight.get(ref, timeout=60) == "finished"
        say("works")
        """)
    runtime = one.up()
    one.hear("blocks")
    one.has("running")
    for process in [*runtime.workers(), runtime.zygote(), runtime.node]:
        process.send_signal(signal.SIGINT)  # as the terminal would, if they were in its group
    one.kill(signal.SIGINT)
    one.hear("interrupted")
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.parametrize("what", ["ref", "handle"])
def test_an_interrupt_in_a_finalizer_is_not_lost(
    driver: Callable[..., Driver], before: leaks.Snapshot, what: str
) -> None:
    """Python would print it and go on; and the reference would be counted for ever."""
    one = driver(f"""
        import ctypes, itertools, signal
        from collections import deque

        class Actor:
            pass

        started()
        held = [fanlight.remote(Actor).remote() if {what == "handle"} else fanlight.put(1)]
        oid = fanlight.ids.handle_oid(held[0]._id) if {what == "handle"} else held[0]._id
        counts = fanlight.session.require().client._counts
        assert oid in counts
        strike = ctypes.CDLL(None)["raise"]  # nothing looks at the signal before __del__ begins
        steps = itertools.chain(map(strike, [signal.SIGINT]), map(list.pop, [held]))
        try:
            deque(steps, 0)
            time.sleep(30)
            say("lost")
        except KeyboardInterrupt:
            say("interrupted")
        end = time.monotonic() + 60
        while oid in counts and time.monotonic() < end:
            time.sleep(0.01)
        say("held" if oid in counts else "dropped")
        """)
    runtime = one.up()
    one.hear("interrupted")
    one.hear("dropped")
    assert one.wait() == 0, one.output()
    assert "KeyboardInterrupt" not in one.output()
    assert_gone(before, runtime)


# Calls of all kinds; each is interrupted at every n-th moment at which Python looks for signals.
STORM = """
    import gc

    @fanlight.remote(num_cpus=0)
    def items(n):
        yield from range(n)

    @fanlight.remote(num_cpus=0)
    class Actor:
        def echo(self, x):
            return x

    LARGE = bytes(300_000)

    def submits():
        ref = add.remote(1, 2)
        add.remote(ref, y=3)

    def gets():
        assert fanlight.get([add.remote(i, 2) for i in range(3)]) == [2, 3, 4]

    def waits():
        fanlight.wait([add.remote(1, 2) for _ in range(3)], num_returns=2)

    def puts():
        assert fanlight.get([fanlight.put(5), fanlight.put(LARGE)]) == [5, LARGE]

    def passes_much():
        assert len(fanlight.get(add.remote(LARGE, b"1"))) == 300_001

    def makes_an_actor():
        actor = Actor.remote()
        assert fanlight.get([actor.echo.remote(i) for i in range(3)]) == [0, 1, 2]
        fanlight.get(actor.echo.remote(1))
        fanlight.kill(actor)

    def makes_a_named_actor():
        actor = Actor.options(name=str(time.monotonic_ns())).remote()
        assert fanlight.get(actor.echo.remote(3)) == 3

    def iterates():
        assert [fanlight.get(x) for x in items.remote(3)] == [0, 1, 2]

    def asks():
        fanlight.available_resources()
        fanlight.cancel(add.remote(1, 2))
        assert add.remote(1, 2).future().result(10) == 3

    class Strike:
        \"\"\"Ctrl-C, as it strikes: when a function begins, or a call of C code ends.

        ``at`` is the number of that moment, or what it is (the first of them ``when`` that is so).
        \"\"\"

        def __init__(self, at, when=None):
            self.at, self.when, self.seen, self.where = at, when, 0, ""

        def __call__(self, frame, event, arg):
            if event in ("call", "c_return") and "/fanlight/" in frame.f_code.co_filename:
                self.seen += 1
                step = f"{frame.f_code.co_name} {event}"
                if self.at in (self.seen, step) and (self.when is None or self.when()):
                    sys.setprofile(None)
                    file = frame.f_code.co_filename.rpartition("/fanlight/")[2]
                    self.where = f"{file}:{frame.f_lineno} {step}"
                    signal.getsignal(signal.SIGINT)(signal.SIGINT, frame)

        def within(self, call):
            \"\"\"Whether ``call`` was interrupted.\"\"\"
            try:
                sys.setprofile(self)
                call()
                sys.setprofile(None)
                time.sleep(60 if self.where else 0)  # in a finalizer: it comes again
            except KeyboardInterrupt:
                return True
            finally:
                sys.setprofile(None)
            return False

    def moments(call):
        strike = Strike(0)
        strike.within(call)
        return strike.seen
    """


@pytest.mark.parametrize(
    ("seed", "step"), [(0, 17), *(pytest.param(i, 7, marks=pytest.mark.long) for i in range(7))]
)
def test_a_call_interrupted_at_any_moment(
    driver: Callable[..., Driver], before: leaks.Snapshot, seed: int, step: int
) -> None:
    """The interrupt is heard, the next call works, and nothing is kept: no value, no count, no
    object of the node's, no descriptor."""
    one = driver(
        STORM
        + f"""
    started()
    session = fanlight.session.require()
    client = session.client
    calls = [submits, gets, waits, puts, passes_much, makes_an_actor, makes_a_named_actor,
             iterates, asks]
    for call in calls * 2:  # with all that is made once
        call()

    def kept():
        gc.collect()
        client.encode_args((), {{"x": 0}}, "")
        client.sent()
        client.flush_drops()
        objects = session.engine.query("store")["objects"]
        return len(client.entries), len(client._counts), objects, len(os.listdir("/proc/self/fd"))

    def settled():
        end = time.monotonic() + 60
        while kept()[:3] != (0, 0, 0) and time.monotonic() < end:
            time.sleep(0.01)
        return kept()

    base = settled()
    for call in calls:
        for at in range(1 + {seed}, moments(call) + 2, {step}):
            strike = Strike(at)
            heard = strike.within(call)
            if strike.where and not heard:
                say(call.__name__, "at", strike.where, "did not hear it")
            assert fanlight.get(add.remote(1, 2), timeout=60) == 3, (call, strike.where)
        check()
        if settled()[:3] != base[:3] or settled()[3] > base[3] + 1:
            say(call.__name__, "left", settled(), "instead of", base)
    say("right")
    """
    )
    runtime = one.up()
    one.hear("right", 120)
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.parametrize(
    ("seed", "rounds"), [(0, 4), *(pytest.param(i, 25, marks=pytest.mark.long) for i in (1, 2))]
)
def test_init_and_shutdown_interrupted_at_any_moment(
    driver: Callable[..., Driver], before: leaks.Snapshot, seed: int, rounds: int
) -> None:
    """An interrupted ``init`` leaves nothing; an interrupted ``shutdown`` is complete."""
    one = driver(
        STORM
        + f"""
    import random
    import psutil

    def init():
        fanlight.init(num_cpus=2, log_to_driver=False)

    def left():
        children = psutil.Process().children(recursive=True)
        alive = [c.pid for c in children if c.status() != psutil.STATUS_ZOMBIE]
        return alive, len(os.listdir("/proc/self/fd"))

    init()
    check()
    fanlight.shutdown()
    chance = random.Random({seed})
    many, few = moments(init), moments(fanlight.shutdown)
    nothing = left()
    there = lambda: fanlight.session._current is not None
    after_all = Strike("start c_return", there)  # all is done, and nothing has been given back
    for strike in [after_all, *(Strike(chance.randrange(1, many)) for _ in range({rounds}))]:
        heard = strike.within(init)
        assert heard and not fanlight.is_initialized() or not strike.where, strike.where
        fanlight.shutdown()
        assert left() == nothing, (strike.where, left(), nothing)
        init()
        check()
        strike = Strike(chance.randrange(1, few))
        heard = strike.within(fanlight.shutdown)
        assert heard or not strike.where, strike.where
        fanlight.shutdown()  # it may have been struck before it had begun
        assert left() == nothing, (strike.where, left(), nothing)
    say("right")
    """
    )
    one.hear("right", 160)
    assert one.wait() == 0, one.output()
    assert_gone(before)
