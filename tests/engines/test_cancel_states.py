"""CAN: cancellation in every state that a task or a call can be in, with and without force.

One table: each state is a function that brings a ref there. What follows is the same for all.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fanlight import messages as m
from tests.engines.support import DEADLINE, line, needs, poll

STATES: dict[str, Callable[[Any], Any]] = {}
NEEDS: dict[str, tuple[str, ...]] = {}
NO_FORCE: set[str] = set()  # calls of actors: kill() is for those
ONLY_FORCE: set[str] = set()  # what nothing but the end of its process ends
BEHIND = "waits behind another call"
AHEAD = 60  # calls before a function is known to be quick


def state(
    name: str, *needed: str, no_force: bool = False, only_force: bool = False
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def add(bring: Callable[[Any], Any]) -> Callable[[Any], Any]:
        STATES[name], NEEDS[name] = bring, needed
        if no_force:
            NO_FORCE.add(name)
        if only_force:
            ONLY_FORCE.add(name)
        return bring

    return add


# Each function gets the runtime and helpers in `b`, and notes b.ran where a body goes on that must not.


@state("waits for an argument")
def _(b):
    return b.rt.remote(lambda x: b.note(b.ran)).remote(b.never())


@state("waits for resources")
def _(b):
    return b.rt.remote(resources={"never": 1})(lambda: b.note(b.ran)).remote()


@state("stands behind another one", "processes", "background")
def _(b):
    note, wait_for = b.note, b.wait_for

    @b.rt.remote(num_cpus=2)
    def task(i, started, gate, ran):
        if i == 1:
            note(started)
            wait_for(gate)
        elif i == 2:
            note(ran)

    b.rt.get([task.remote(0, "", "", "") for _ in range(AHEAD)])
    refs = [task.remote(i, b.started, b.gate, b.ran) for i in (1, 2)]
    wait_for(b.started)
    b.keep.append(refs)
    return refs[1]


@state("runs Python", "background")
def _(b):
    note = b.note

    @b.rt.remote
    def task(started, ran):
        note(started)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            pass
        note(ran)

    ref = task.remote(b.started, b.ran)
    b.wait_for(b.started)
    return ref


@state("runs C code that a signal interrupts", "background")
def _(b):
    note = b.note

    @b.rt.remote
    def task(started, ran):
        note(started)
        time.sleep(1000)
        note(ran)

    ref = task.remote(b.started, b.ran)
    b.wait_for(b.started)
    return ref


@state("runs C code that sees no signal", "processes", "background", only_force=True)
def _(b):
    note = b.note

    @b.rt.remote
    def task(started, ran):
        note(started)
        deque(iter(int, 1), maxlen=0)
        note(ran)

    ref = task.remote(b.started, b.ran)
    b.wait_for(b.started)
    return ref


def _blocked(b, how):
    rt, note, pending = b.rt, b.note, [b.never()]

    @rt.remote
    def task(started, ran):
        note(started)
        rt.get(pending[0]) if how == "get" else rt.wait(pending)
        note(ran)

    ref = task.remote(b.started, b.ran)
    b.wait_for(b.started)
    return ref


state("blocks in get", "background")(lambda b: _blocked(b, "get"))
state("blocks in wait", "background")(lambda b: _blocked(b, "wait"))


@state("runs again, after its worker died", "processes", "background")
def _(b):
    note, started = b.note, b.started

    @b.rt.remote(max_retries=5)
    def task(ran):
        note(started)
        with open(started) as f:
            if len(f.readlines()) < 2:
                os._exit(1)
        time.sleep(1000)
        note(ran)

    ref = task.remote(b.ran)
    assert poll(lambda: os.path.exists(started) and len(open(started).readlines()) == 2)  # noqa: SIM115
    return ref


@state("waits for its worker to enter the environment", "processes", "background")
def _(b):
    note, started = b.note, b.started

    def hook():
        note(started)
        time.sleep(1000)

    env = {"worker_process_setup_hook": hook}
    ref = b.rt.remote(lambda: b.note(b.ran)).options(runtime_env=env).remote()
    b.wait_for(started)
    return ref


# --- actors --------------------------------------------------------------------------------------


@state("its actor is not made yet", no_force=True)
def _(b):
    actor = b.rt.remote(resources={"never": 1})(_Actor).remote()
    b.keep.append(actor)
    return actor.call.remote(b.note, b.ran)


@state("its actor's constructor runs", "processes", "background", no_force=True)
def _(b):
    actor = b.rt.remote(_Slow).remote(b.note, b.started, b.wait_for, b.gate)
    b.keep.append(actor)
    b.wait_for(b.started)
    return actor.call.remote(b.note, b.ran)


@state("its actor restarts", "processes", "background", no_force=True)
def _(b):
    actor = b.rt.remote(max_restarts=1)(_Again).remote(b.note, b.started, b.wait_for, b.gate)
    b.keep.append(actor)
    os.kill(b.rt.get(actor.pid.remote()), signal.SIGKILL)
    assert poll(lambda: len(open(b.started).readlines()) == 2)  # noqa: SIM115
    return actor.call.remote(b.note, b.ran)


@state(BEHIND, "processes", "background", no_force=True)
def _(b):
    actor = b.rt.remote(_Actor).remote()
    b.keep += [actor, actor.block.remote(b.note, b.started, b.wait_for, b.gate)]
    b.wait_for(b.started)
    return actor.call.remote(b.note, b.ran)


@state("a coroutine that runs", "overlap", no_force=True)
def _(b):
    actor = b.rt.remote(_Coroutines).remote()
    b.keep.append(actor)
    ref = actor.call.remote(b.note, b.started, b.ran)
    b.wait_for(b.started)
    return ref


class _Actor:
    def call(self, note, ran):
        note(ran)

    def pid(self):
        return os.getpid()

    def block(self, note, started, wait_for, gate):
        note(started)
        wait_for(gate)


class _Slow(_Actor):
    def __init__(self, note, started, wait_for, gate):
        note(started)
        wait_for(gate)


class _Again(_Actor):
    def __init__(self, note, started, wait_for, gate):
        note(started)
        with open(started) as f:
            if len(f.readlines()) > 1:
                wait_for(gate)


class _Coroutines:
    async def call(self, note, started, ran):
        note(started)
        await asyncio.sleep(1000)
        note(ran)


# --- generators ----------------------------------------------------------------------------------


@state("a generator that waits for resources")
def _(b):
    def items():
        yield b.note(b.ran)

    return b.rt.remote(resources={"never": 1})(items).remote()


@state("a generator that makes items", "background")
def _(b):
    note = b.note

    @b.rt.remote
    def items(ran):
        yield 0
        time.sleep(1000)
        note(ran)

    gen = items.remote(b.ran)
    assert b.rt.get(next(gen)) == 0
    return gen


@state("a generator that is paused", "background")
def _(b):
    note = b.note

    @b.rt.remote(_generator_backpressure_num_objects=1)
    def items(started, ran):
        yield 0
        note(started)
        yield 1
        note(ran)
        yield 2

    gen = items.remote(b.started, b.ran)
    assert b.rt.get(next(gen)) == 0
    b.wait_for(b.started)
    return gen


CASES = [
    pytest.param(name, force, id=f"{name}{', force' if force else ''}", marks=needs(*NEEDS[name]))
    for name in STATES
    for force in (False, True)
    if not (force and name in NO_FORCE) and not (not force and name in ONLY_FORCE)
]


@line("CAN.2", "CAN.3", "CAN.6", "CAN.7", "CAN.8", "CAN.10")
@pytest.mark.parametrize(("name", "force"), CASES)
def test_state(rt, never, tmp_path, wait_for, note, name, force):
    """Its get raises, so does that of what depends on it, and no body goes on."""
    paths = {key: str(tmp_path / key) for key in ("started", "ran", "gate")}
    b = SimpleNamespace(rt=rt, never=never, wait_for=wait_for, note=note, keep=[], **paths)
    ref = STATES[name](b)
    target = ref.completed() if hasattr(ref, "completed") else ref
    dependent = rt.remote(lambda x: note(b.ran)).remote(target)
    assert rt.wait([target], timeout=0)[0] == []
    rt.cancel(ref, force=force)
    if name == BEHIND:  # its actor's process says so when the call before it is over
        rt.available_resources()  # an answer of the node: it has passed the cancellation on
        note(b.gate)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(target, timeout=DEADLINE)
    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(dependent, timeout=DEADLINE)
    rt.cancel(ref, force=force)  # a second one has no effect
    note(b.gate)
    assert rt.get(rt.remote(lambda: 1).remote(), timeout=DEADLINE) == 1
    for kept in b.keep:
        if isinstance(kept, list):
            rt.get(kept[0], timeout=DEADLINE)
    assert not os.path.exists(b.ran)


def test_a_call_that_stands_behind_some_on_a_channel():
    """Its cancellation is remembered until it is its turn, though the process has nothing to do."""
    from fanlight.client.client import Client
    from fanlight.worker.channels import Callers
    from fanlight.worker.executor import Executor
    from fanlight.worker.gpus import VisibleGpus

    executor = Executor(Client(b"c" * 16, None), [], VisibleGpus([], False))
    executor.callers = Callers(executor.client, executor.queue, "token", "path")
    waiting = m.Execute(b"waits", 1, b"", [], 0, b"", None, 0, 3)
    executor.callers._behind[b"caller"] = deque([waiting])
    executor.cancelled |= {b"waits", b"is over"}
    executor._forget_cancelled()
    assert executor.cancelled == {b"waits"}
