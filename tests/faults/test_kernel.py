"""The driver (a kernel is one): what it sees when the runtime ends, and ends of the runtime at odd
moments and from odd places."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from tests import leaks
from tests.faults.support import PATIENCE, Driver, alive, assert_gone, poll

# Each of them, after the node's death. They raise what happened; none waits, none starts a runtime.
CALLS = {
    "remote": "add.remote(1, 2)",
    "a new function": "fanlight.remote(lambda: 1).remote()",
    "a method": "actor.get.remote()",
    "a new actor": "Holder.remote()",
    "put": "fanlight.put(1)",
    "put of much": "fanlight.put(bytes(1_000_000))",
    "get": "fanlight.get(pending)",
    "get of several": "fanlight.get([done, pending])",
    "get with timeout": "fanlight.get(pending, timeout=0)",
    "wait": "fanlight.wait([pending])",
    "cancel": "fanlight.cancel(pending)",
    "kill": "fanlight.kill(actor)",
    "get_actor": "fanlight.get_actor('name')",
    "nodes": "fanlight.nodes()",
    "resources": "fanlight.available_resources()",
    "context": "fanlight.get_runtime_context()",
    "future": "pending.future().result(5)",
    "generator": "next(items)",
}


@pytest.mark.parametrize("idle", [True, False], ids=["heard before", "heard in a call"])
def test_every_call_says_how_the_runtime_died(
    driver: Callable[..., Driver], before: leaks.Snapshot, idle: bool
) -> None:
    one = driver(f"""
        @fanlight.remote(num_cpus=0)
        def sleeper():
            time.sleep(600)

        @fanlight.remote(num_cpus=0)
        def endless():
            yield 1
            time.sleep(600)

        @fanlight.remote
        class Holder:
            def get(self):
                return 1

        started()
        actor, pending, items = Holder.remote(), sleeper.remote(), endless.remote()
        done, large = add.remote(1, 2), fanlight.put(bytes(1_000_000))
        assert fanlight.get([done, actor.get.remote(), next(items)]) == [3, 1, 1]
        say("ready")
        sys.stdin.readline()
        while {idle} and fanlight.is_initialized():
            time.sleep(0.002)
        pid = fanlight.session._current.node_pid
        texts = set()
        for name, call in {CALLS!r}.items():
            try:
                eval(call)
                say("no error:", name)
            except fanlight.errors.RuntimeLostError as e:
                text = str(e)
                for word in (f"pid {{pid}}", "SIGKILL", "init() starts", "the node's last words"):
                    if word not in text:
                        say("no", word, "for", name, repr(text))
            except Exception as e:
                say("another error:", name, repr(e))
        assert not fanlight.is_initialized()
        assert fanlight.get(done) == 3  # it was here
        say("heard")
        started()
        check()
        for ref in (done, pending, large):
            try:
                fanlight.get(ref)
            except ValueError as e:
                assert "SIGKILL" in str(e), e
                say("old")
        fanlight.shutdown()
        assert not fanlight.is_initialized()
        say("over")
        """)
    runtime = one.up()
    one.hear("ready")
    runtime.look()
    # Its error output is a file that the driver reads when it is gone.
    with open(f"/proc/{runtime.node.pid}/fd/2", "ab") as log:
        log.write(b"the node's last words\n")
    runtime.node.kill()
    assert poll(lambda: not alive(runtime.node))
    one.tell()
    one.hear("heard", PATIENCE)
    again = one.up()
    for word in ("old", "old", "old", "over"):
        one.hear(word)
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime, again)


def test_a_runtime_that_was_told_to_end_says_so(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """By the panel, say; every driver learns it."""
    body = """
        say("ready")
        try:
            fanlight.get(sleeper.remote())
        except fanlight.errors.RuntimeLostError as e:
            assert "told to: ended from the panel" in str(e), e
            say("lost")
        try:
            add.remote(1, 2)
        except fanlight.errors.RuntimeLostError as e:
            assert "told to: ended from the panel" in str(e), e
            say("lost")
        fanlight.shutdown()
        """
    sleeper = """
        @fanlight.remote(num_cpus=0)
        def sleeper():
            time.sleep(600)
        """
    one = driver(sleeper + "\n        started()" + body)
    runtime = one.up()
    one.hear("ready")
    two = driver(sleeper + "\n        fanlight.init('auto', log_to_driver=False)" + body)
    two.hear("ready")
    three = driver("""
        from fanlight.observe import Shutdown, discover
        from fanlight.observe.client import Observer
        observer = Observer(discover.runtimes()[0])
        observer.send(Shutdown("ended from the panel"))
        list(observer.payloads())
        """)
    for one_of_them in (one, two):
        one_of_them.hear("lost")
        one_of_them.hear("lost")
        assert one_of_them.wait() == 0, one_of_them.output()
    assert three.wait() == 0, three.output()
    assert_gone(before, runtime)


ELSEWHERE = {
    "another thread": """
        threading.Thread(target=lambda: (sleeping(), fanlight.shutdown())).start()
        blocked()
        """,
    "two threads at once": """
        start = threading.Barrier(3)
        def end():
            start.wait()
            fanlight.shutdown()
            assert not fanlight.is_initialized()
        threads = [threading.Thread(target=end) for _ in range(2)]
        for thread in threads:
            thread.start()
        start.wait()
        fanlight.shutdown()
        for thread in threads:
            thread.join()
        """,
    "a future's callback": """
        future = add.remote(1, 2).future()
        over = threading.Event()
        future.add_done_callback(lambda f: (fanlight.shutdown(), over.set()))
        assert over.wait(25)
        """,
    "a future's callback in get": """
        add.options(num_cpus=2).remote(1, 2).future().add_done_callback(lambda f: fanlight.shutdown())
        blocked()
        """,
    "an output listener": """
        fanlight.task_output.add_listener(lambda item: fanlight.shutdown())
        ref = talker.remote()
        blocked()
        """,
    "a signal handler in get": """
        signal.signal(signal.SIGALRM, lambda *_: fanlight.shutdown())
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        blocked()
        """,
    "a signal handler in put": """
        over = []
        def end(*_):
            signal.setitimer(signal.ITIMER_REAL, 0)
            fanlight.shutdown()
            over.append(True)
        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        kept = []
        try:
            while not over:
                kept.append(fanlight.put(bytes(3_000_000)))
                del kept[:-5]
        except fanlight.errors.RuntimeLostError:
            pass
        fanlight.shutdown()  # it struck between two calls: the second one started a runtime
        """,
    "a signal handler in shutdown": """
        signal.signal(signal.SIGALRM, lambda *_: fanlight.shutdown())
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.002)
        fanlight.shutdown()
        signal.setitimer(signal.ITIMER_REAL, 0)
        """,
    "a with block that is left by an error": """
        try:
            with fanlight.session.current() and fanlight.api.Context(fanlight.session.current()):
                ref = sleeper.remote()
                raise KeyError
        except KeyError:
            pass
        """,
    "an asyncio callback": """
        import asyncio
        async def main():
            asyncio.get_running_loop().call_later(0.2, fanlight.shutdown)
            try:
                await sleeper.remote()
            except fanlight.errors.RuntimeLostError:
                say("woken")
        asyncio.run(main())
        """,
    "a finalizer": """
        class Owner:
            def __del__(self):
                fanlight.shutdown()
        owner = Owner()
        owner.itself = owner
        del owner
        import gc
        gc.collect()
        """,
    "a thread while init runs": """
        fanlight.shutdown()
        thread = threading.Thread(target=lambda: started())
        thread.start()
        while not fanlight.session._lock._is_owned() and thread.is_alive() and not busy():
            pass
        fanlight.shutdown()
        thread.join()
        fanlight.shutdown()
        """,
}


@pytest.fixture
def shutdowns(driver: Callable[..., Driver]) -> Driver:
    """A driver that ends one runtime after the other, each from another place."""
    places = "".join(
        f"def place{i}():\n{textwrap.dedent(body)}".replace("\n", "\n    ").rstrip() + "\n"
        for i, body in enumerate(ELSEWHERE.values())
    )
    return driver(
        """
import threading

@fanlight.remote(num_cpus=0)
def sleeper():
    note("sleeps")
    time.sleep(600)

@fanlight.remote(num_cpus=0)
def talker():
    print("said")
    time.sleep(600)

def sleeping():
    while not os.path.exists(os.path.join(FOLDER, "sleeps")):
        time.sleep(0.005)

def blocked():
    try:
        fanlight.get(sleeper.remote())
    except fanlight.errors.RuntimeLostError as e:
        assert "was shut down" in str(e), e
        say("woken")

def busy():  # another thread starts a runtime
    if fanlight.session._lock.acquire(blocking=False):
        fanlight.session._lock.release()
        return False
    return True

"""
        + places
        + """
fds = 0
for line in sys.stdin:
    started(log_to_driver=True)
    check()
    fds = fds or len(os.listdir("/proc/self/fd"))
    more = len(os.listdir("/proc/self/fd")) - fds
    globals()[f"place{line.strip()}"]()
    assert not fanlight.is_initialized()
    fanlight.task_output._listeners.clear()
    say("over", more)
"""
    )


@pytest.mark.long
def test_shutdown_from_anywhere(shutdowns: Driver, before: leaks.Snapshot) -> None:
    """Nothing of the runtime is there afterwards, though the driver lives, and the next one works."""
    one = shutdowns
    for number, (place, body) in enumerate(ELSEWHERE.items()):
        (one.folder / "sleeps").unlink(missing_ok=True)
        one.tell(str(number))
        runtimes = [one.up()]
        if "while init runs" in place:
            runtimes.append(one.up())
        if any(x in body for x in ("blocked()", '"woken"')):
            one.hear("woken", PATIENCE)
        (more,) = one.hear("over")
        assert int(more) <= 0, f"{more} more descriptors before: {place}"
        left = [x for r in runtimes for x in r.left()]
        assert poll(lambda r=runtimes: not any(x.left() for x in r), PATIENCE), (place, left)
    assert one.process.stdin is not None
    one.process.stdin.close()
    assert one.wait() == 0, one.output()
    assert "Traceback" not in one.output(), one.output()
    assert_gone(before)


FORKED = [
    "add.remote(1, 2)", "fanlight.get(ref)", "fanlight.wait([ref])", "fanlight.put(1)",
    "actor.get.remote()", "fanlight.kill(actor)", "fanlight.cancel(ref)", "ref.future()",
    "Holder.remote()", "fanlight.get_actor('name')", "fanlight.nodes()",
]  # fmt: skip


def test_a_fork_of_the_driver_does_not_touch_its_runtime(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """Neither by calls, which say so, nor by its finalizers and exit handlers; and one that was
    forked while another thread starts or ends a runtime does not wait for that thread."""
    one = driver(f"""
        import multiprocessing, threading
        from concurrent.futures import ProcessPoolExecutor

        @fanlight.remote
        class Holder:
            def get(self):
                return 1

        started()
        actor, ref, large = Holder.remote(), add.remote(1, 2), fanlight.put(bytes(1_000_000))
        view = fanlight.get(large)
        assert fanlight.get([ref, actor.get.remote()]) == [3, 1]
        child = os.fork()
        if not child:
            assert not fanlight.is_initialized() and len(view) == 1_000_000
            for call in {FORKED!r}:
                try:
                    eval(call)
                    os._exit(1)
                except fanlight.errors.RuntimeNotStartedError as e:
                    assert "fork" in str(e) and "init()" in str(e), e
            fanlight.shutdown()
            del actor, ref, large
            sys.exit(0)  # with all that a normal end does
        assert os.waitpid(child, 0)[1] == 0
        check()
        assert fanlight.get([ref, actor.get.remote()]) == [3, 1]
        assert fanlight.get(large) == bytes(1_000_000)

        def in_pool(x):
            try:
                return fanlight.get(ref)
            except fanlight.errors.RuntimeNotStartedError:
                return x

        fork = multiprocessing.get_context("fork")
        with fork.Pool(2) as pool:
            assert pool.map(in_pool, [1, 2, 3]) == [1, 2, 3]
        with ProcessPoolExecutor(2, mp_context=fork) as pool:
            assert list(pool.map(in_pool, [1, 2, 3])) == [1, 2, 3]

        held = threading.Event()
        def hold():
            with fanlight.session._lock:
                held.set()
                time.sleep(0.5)
        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        if not child:
            fanlight.init("auto", log_to_driver=False)
            check()
            fanlight.shutdown()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        check()
        say("right")
        """)
    runtime = one.up()
    one.hear("right")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.long
def test_a_driver_that_becomes_a_daemon(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    """The runtime ends with the process that started it; the daemon has one of its own."""
    one = driver("""
        started()
        check()
        sys.stdin.readline()
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        started()
        check()
        say("daemon")
        """)
    runtime = one.up()
    runtime.look()
    one.tell()
    assert one.wait() == 0, one.output()
    again = one.up()
    one.hear("daemon")
    assert_gone(before, runtime, again)


@pytest.mark.parametrize("closed", ["2", "0 1 2"])
def test_a_driver_without_standard_streams(
    driver: Callable[..., Driver], before: leaks.Snapshot, closed: str
) -> None:
    """As in a service, or started by a program that closes them: other files get their numbers."""
    one = driver(f"""
        import subprocess
        if "closed" not in sys.argv:
            pipe = [int(x) for x in os.listdir("/proc/self/fd") if int(x) > 2]
            for fd in {closed.split()!r}:
                os.close(int(fd))
            for fd in pipe:
                try:
                    os.set_inheritable(fd, True)
                except OSError:
                    pass
            os.execv(sys.executable, [sys.executable, sys.argv[0], "closed"])

        @fanlight.remote
        def talk():
            print("said")
            print("said", file=sys.stderr)
            return subprocess.run(["echo", "hi"], capture_output=True).stdout

        started(log_to_driver=True)
        assert fanlight.get(talk.remote(), timeout=60) == b"hi\\n"
        check()
        assert fanlight.get(fanlight.put(bytes(1_000_000))) == bytes(1_000_000)
        fanlight.shutdown()
        say("works")
        """)
    runtime = one.up()
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


def test_a_user_without_a_home(driver: Callable[..., Driver], before: leaks.Snapshot) -> None:
    one = driver("""
        import pwd
        def unknown(uid):
            raise KeyError(uid)
        pwd.getpwuid = unknown
        for name in ("HOME", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
            os.environ.pop(name, None)
        try:
            started()
        except FileNotFoundError as e:
            assert "JUPYTER_RUNTIME_DIR" in str(e) and "HOME" in str(e), e
            say("refused")
        os.environ["HOME"] = "/proc/cannot/be/written/to"
        started(log_to_driver=True)
        check()
        fanlight.shutdown()
        say("works")
        """)
    one.hear("refused")
    runtime = one.up()
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert "do not find this runtime" in one.output()
    assert_gone(before, runtime)
