"""No call waits for ever on something that is gone.

A table: every way to wait × everything that can go. Each wait is begun before the thing goes and
once more after it is gone, and ends with an error that says so.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import fanlight
from fanlight import errors, session
from fanlight.testing.losses import lose
from fanlight.util import ActorPool, as_completed
from fanlight.util.multiprocessing import Pool
from fanlight.util.placement_group import placement_group, remove_placement_group
from fanlight.util.queue import Queue
from fanlight.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tests.faults.support import poll

N = 200_000  # bytes: such a value goes to shared memory
SECONDS = 60.0  # a safety net; about one is usual


def long(value: Any) -> Any:
    """A row that only `make test-long` looks at."""
    return pytest.param(value, marks=pytest.mark.long)


@fanlight.remote(num_cpus=0, max_retries=0)
def identity(value: Any) -> Any:
    return value


@fanlight.remote(num_cpus=0, max_retries=0)
def get_inside(refs: list[Any]) -> Any:
    return fanlight.get(refs[0])


@fanlight.remote(num_cpus=0)
class Asks:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value

    def echo(self, value: Any) -> Any:
        return value

    def get_inside(self, refs: list[Any]) -> Any:
        return fanlight.get(refs[0])

    def block(self) -> None:
        time.sleep(600)

    def items(self) -> Any:
        yield 1
        time.sleep(600)

    def submit(self) -> list[Any]:
        self.made = [forever.remote()]
        return self.made

    def pid(self) -> int:
        return os.getpid()


@fanlight.remote(num_cpus=0)
class Awaits:
    async def get_inside(self, refs: list[Any]) -> Any:
        return await refs[0]

    async def echo(self, value: Any) -> Any:
        return value


@fanlight.remote(num_cpus=0, max_retries=0)
def forever() -> None:
    time.sleep(600)


@fanlight.remote(num_cpus=0, max_retries=0)
def endless() -> Any:
    yield 1
    time.sleep(600)


async def _await(ref: Any) -> Any:
    return await ref


async def _async_for(gen: Any) -> None:
    async for ref in gen:
        await ref


def _wait(ref: Any) -> Any:
    ready, _ = fanlight.wait([ref])
    return fanlight.get(ready[0], timeout=SECONDS)


def _pool_of_actors(ref: Any) -> Any:
    pool = ActorPool([Asks.remote()])
    pool.submit(lambda actor, value: actor.echo.remote(value), ref)
    return pool.get_next()


# How one may wait for an object.
WAITS: dict[str, Callable[[Any], Any]] = {
    "get": fanlight.get,
    "get of a list": lambda ref: fanlight.get([fanlight.put(1), ref]),
    "wait": _wait,
    "as_completed": lambda ref: list(as_completed([ref])),
    "await": lambda ref: asyncio.run(_await(ref)),
    "future": lambda ref: ref.future().result(),
    "argument of a task": lambda ref: fanlight.get(identity.remote(ref)),
    "argument of an argument": lambda ref: fanlight.get(identity.remote(identity.remote(ref))),
    "get in a task": lambda ref: fanlight.get(get_inside.remote([ref])),
    "argument of a call": lambda ref: fanlight.get(Asks.remote().echo.remote(ref)),
    "argument of an async call": lambda ref: fanlight.get(Awaits.remote().echo.remote(ref)),
    "get in an actor": lambda ref: fanlight.get(Asks.remote().get_inside.remote([ref])),
    "await in an actor": lambda ref: fanlight.get(Awaits.remote().get_inside.remote([ref])),
    "argument of a constructor": lambda ref: fanlight.get(Asks.remote(ref).get.remote()),
    "ActorPool": _pool_of_actors,
}


class Waiters:
    """Threads that wait, by name, and how each has ended."""

    def __init__(self) -> None:
        self.ended: dict[str, BaseException | None] = {}
        self.says = ""  # what each of the errors says
        self._threads: dict[str, threading.Thread] = {}

    def start(self, name: str, wait: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                wait()
                self.ended[name] = None
            except BaseException as e:
                self.ended[name] = e

        self._threads[name] = thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()

    def start_all(self, ref: Any, when: str) -> None:
        for name, wait in WAITS.items():
            self.start(f"{name}, {when}", lambda wait=wait: wait(ref))

    def check(self, *kinds: type[BaseException]) -> None:
        """All have ended, each with one of these errors."""
        end = time.monotonic() + SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, end - time.monotonic()))
        waiting = [name for name, thread in self._threads.items() if thread.is_alive()]
        assert not waiting, f"still waiting: {waiting}"
        other = {}
        for name, error in self.ended.items():
            made = name.startswith("argument of a constructor")  # the actor died of it, and says so
            right = (*kinds, fanlight.exceptions.ActorDiedError) if made else kinds
            if not (isinstance(error, right) and re.search(self.says, str(error))):
                other[name] = repr(error)
        assert not other, f"ended otherwise: {other}"


@pytest.fixture
def waiters() -> Waiters:
    return Waiters()


def test_a_lost_object(rt: Any, waiters: Waiters) -> None:
    ref = rt.put(bytes(N))
    lose(ref)
    waiters.says = "its file in shared memory was deleted"
    waiters.start_all(ref, "before")
    waiters.check(rt.exceptions.ObjectLostError)
    waiters.start_all(ref, "after")
    waiters.check(rt.exceptions.ObjectLostError)


def test_an_argument_lost_while_tasks_wait_for_another_one(rt: Any, waiters: Waiters) -> None:
    put, pending = rt.put(bytes(N)), forever.remote()

    @rt.remote(num_cpus=0, max_retries=0)
    def two(a: Any, b: Any) -> None:
        return None

    refs = [two.remote(put, pending), two.remote(pending, put)]
    for i, ref in enumerate(refs):
        waiters.start(str(i), lambda ref=ref: rt.get(ref))
    lose(put)
    with pytest.raises(rt.exceptions.ObjectLostError):
        rt.get(put)
    waiters.check(rt.exceptions.ObjectLostError)
    rt.cancel(pending, force=True)


def _pid(actor: Any) -> int:
    pid: int = fanlight.get(actor.pid.remote())
    return pid


def test_an_owner_that_died(rt: Any, waiters: Waiters) -> None:
    owner = Asks.remote()
    [ref] = rt.get(owner.submit.remote())
    waiters.says = "killed by SIGKILL"
    waiters.start_all(ref, "before")
    os.kill(_pid(owner), signal.SIGKILL)
    with pytest.raises(rt.exceptions.OwnerDiedError):
        rt.get(ref, timeout=SECONDS)
    waiters.start_all(ref, "after")
    waiters.check(rt.exceptions.OwnerDiedError)


@pytest.mark.parametrize("how", ["killed", long("crashed")])
def test_an_actor_that_died(rt: Any, waiters: Waiters, how: str) -> None:
    actor = Asks.remote()
    pid = _pid(actor)
    waiters.says = "killed by"
    ref, behind = actor.block.remote(), actor.get.remote()
    waiters.start_all(ref, "before")
    waiters.start("behind it", lambda: rt.get(behind))
    waiters.start("its items", lambda: [rt.get(x) for x in actor.items.remote()])
    if how == "killed":
        rt.kill(actor)
    else:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(ref, timeout=SECONDS)
    waiters.start_all(ref, "after")
    waiters.start("a new call", lambda: rt.get(actor.get.remote()))
    waiters.start("a new generator", lambda: [rt.get(x) for x in actor.items.remote()])
    waiters.check(rt.exceptions.ActorDiedError)


@pytest.mark.parametrize("force", [False, long(True)])
def test_a_cancelled_task(rt: Any, waiters: Waiters, force: bool) -> None:
    ref = forever.remote()
    waiters.says = "cancelled"
    waiters.start_all(ref, "before")
    rt.cancel(ref, force=force)
    with pytest.raises((rt.exceptions.TaskCancelledError, rt.exceptions.WorkerCrashedError)):
        rt.get(ref, timeout=SECONDS)
    waiters.start_all(ref, "after")
    waiters.check(rt.exceptions.TaskCancelledError, rt.exceptions.WorkerCrashedError)


@pytest.mark.parametrize("how", [long("cancelled"), "crashed"])
def test_a_generator(rt: Any, waiters: Waiters, how: str) -> None:
    @rt.remote(num_cpus=0, max_retries=0)
    def numbered() -> Any:
        yield os.getpid()
        time.sleep(600)

    gens = [numbered.remote() for _ in range(4)]
    pids = [rt.get(next(gen)) for gen in gens]
    waiters.start("next", lambda: [rt.get(ref) for ref in gens[0]])
    waiters.start("async for", lambda: asyncio.run(_async_for(gens[1])))
    waiters.start("completed", lambda: rt.get(gens[2].completed()))
    waiters.start("wait", lambda: rt.get(next(rt.wait([gens[3]])[0][0])))
    for gen, pid in zip(gens, pids, strict=True):
        if how == "cancelled":
            rt.cancel(gen)
        else:
            os.kill(pid, signal.SIGKILL)
    waiters.check(rt.exceptions.TaskCancelledError, rt.exceptions.WorkerCrashedError)


def test_a_placement_group_that_was_removed(rt: Any, waiters: Waiters) -> None:
    group = placement_group([{"CPU": 64}])
    ready = group.ready()
    strategy = PlacementGroupSchedulingStrategy(group)
    inside = identity.options(scheduling_strategy=strategy).remote(1)
    waiters.start("ready", lambda: rt.get(ready))
    waiters.start("a task in it", lambda: rt.get(inside))
    remove_placement_group(group)
    waiters.start("ready, after", lambda: rt.get(group.ready()))
    waiters.check(rt.exceptions.RayError)


def test_a_queue_whose_actor_died(rt: Any, waiters: Waiters) -> None:
    queue = Queue(maxsize=1)
    queue.put(1)
    waiters.start("put", lambda: queue.put(2))
    other = Queue()
    waiters.start("get", other.get)
    waiters.start("get, async", lambda: asyncio.run(other.get_async()))
    for one in (queue, other):
        rt.kill(one.actor)
    waiters.start("put, after", lambda: queue.put(3))
    waiters.start("get, after", other.get)
    waiters.check(rt.exceptions.ActorDiedError)


@pytest.mark.long
def test_a_pool_whose_process_died(rt: Any, waiters: Waiters) -> None:
    with Pool(2) as pool:
        results = [pool.apply_async(os.kill, (0, 0)) for _ in range(1)]
        results[0].wait(SECONDS)
        dies = pool.apply_async(_die)
        waiters.start("apply", dies.get)
        waiters.start("map", lambda: pool.map(_die_at_2, range(4)))
        waiters.start("imap", lambda: list(pool.imap(_die_at_2, range(4))))
        waiters.check(Exception)


def _die() -> None:
    os._exit(1)


def _die_at_2(i: int) -> int:
    if i == 2:
        os._exit(1)
    return i


def test_a_node_that_died(rt: Any, waiters: Waiters) -> None:
    actor = Asks.remote()
    rt.get(actor.get.remote())
    refs = {"task": forever.remote(), "actor": actor.block.remote()}
    for what, ref in refs.items():
        waiters.start_all(ref, what)
    gen = endless.remote()
    rt.get(next(gen))
    waiters.start("generator", lambda: [rt.get(x) for x in gen])
    group = placement_group([{"CPU": 64}])
    waiters.start("placement group", lambda: rt.get(group.ready()))
    queue = Queue()
    waiters.start("queue", queue.get)
    pool = Pool(1)
    waiters.start("pool", lambda: pool.apply(time.sleep, (600,)))
    stored = rt.put(bytes(N))
    assert not waiters.ended
    pid = session.require().node_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(errors.RuntimeLostError):
        rt.get(refs["task"], timeout=SECONDS)
    waiters.start_all(refs["task"], "after")
    waiters.start("put", lambda: rt.put(bytes(N)))
    waiters.start("lost", lambda: rt.get(lost_by_hand(stored)))
    waiters.check(errors.RuntimeLostError, rt.exceptions.ActorDiedError)


def lost_by_hand(ref: Any) -> Any:
    """The node's end has taken the segments along."""
    client = session.require_client()
    folder = client.values.folder
    assert folder is not None
    assert poll(lambda: not folder.exists())
    return ref
