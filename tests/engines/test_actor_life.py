"""LIF: how actors end, and come back."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.engines.support import line, needs, poll, raises_task_error


@pytest.fixture
def Actor(rt, wait_for):
    @rt.remote
    class Actor:
        def __init__(self, start=0):
            self.n = start

        def inc(self):
            self.n += 1
            return self.n

        def pid(self):
            return os.getpid()

        def die(self):
            os._exit(1)

        def leave(self):
            rt.actor.exit_actor()

        def block(self, gate):
            wait_for(gate)
            return "finished"

    return Actor


def cpus(rt):
    return rt.available_resources().get("CPU", 0.0)


@line("LIF.1", "RES.6")
def test_an_actor_ends_with_its_last_handle(rt, Actor, eventually):
    actor = Actor.options(num_cpus=1).remote()
    ref = actor.inc.remote()
    assert rt.get(ref) == 1
    eventually(lambda: cpus(rt) == 1.0)
    second = rt.get(rt.put([actor]))[0]
    del actor
    gc.collect()
    assert rt.get(second.inc.remote()) == 2
    del second
    gc.collect()
    eventually(lambda: cpus(rt) == 2.0)
    assert rt.get(ref) == 1


@line("LIF.1")
def test_calls_already_submitted_are_finished(rt, Actor):
    actor = Actor.remote()
    refs = [actor.inc.remote() for _ in range(50)]
    del actor
    gc.collect()
    assert rt.get(refs) == list(range(1, 51))


@line("LIF.2")
def test_a_temporary_handle(rt, Actor):
    assert rt.get(Actor.remote(5).inc.remote()) == 6


@line("LIF.3")
def test_kill(rt, Actor, eventually):
    actor = Actor.options(num_cpus=1).remote()
    assert rt.get(actor.inc.remote()) == 1
    rt.kill(actor)
    rt.kill(actor)
    eventually(lambda: cpus(rt) == 2.0)
    for _ in range(2):
        with pytest.raises(rt.exceptions.ActorDiedError) as info:
            rt.get(actor.inc.remote())
        assert isinstance(info.value, rt.exceptions.RayActorError)
        assert "kill" in str(info.value)
    for wrong in (5, "actor", rt.put(1)):
        with pytest.raises(ValueError):
            rt.kill(wrong)


@line("LIF.3")
@needs("background")
def test_kill_ends_running_and_queued_calls(rt, Actor, tmp_path, pid_gone):
    actor = Actor.remote()
    pid = rt.get(actor.pid.remote())
    refs = [actor.block.remote(str(tmp_path / "never")), actor.inc.remote()]
    rt.kill(actor)
    for ref in refs:
        with pytest.raises(rt.exceptions.ActorDiedError):
            rt.get(ref)
    assert poll(lambda: pid_gone(pid))


@line("LIF.4")
def test_kill_before_it_was_created(rt, Actor):
    actor = Actor.options(resources={"never": 1}).remote()
    ref = actor.inc.remote()
    rt.kill(actor)
    for call in (ref, actor.inc.remote()):
        with pytest.raises(rt.exceptions.ActorDiedError):
            rt.get(call)


@line("LIF.5", "LIF.11")
@needs("processes")
def test_kill_with_restart(rt, Actor):
    actor = Actor.options(max_restarts=1).remote(10)
    first = rt.get(actor.pid.remote())
    assert rt.get(actor.inc.remote()) == 11
    rt.kill(actor, no_restart=False)

    def answer():
        try:
            return rt.get(actor.pid.remote())
        except rt.exceptions.RayActorError:
            return first

    assert poll(lambda: answer() != first)
    assert rt.get(actor.inc.remote()) == 11  # a new instance


@line("LIF.6")
def test_exit_actor(rt, Actor):
    actor = Actor.options(max_restarts=5).remote()
    assert rt.get(actor.inc.remote()) == 1
    leaving, queued = actor.leave.remote(), actor.inc.remote()
    for ref in (leaving, queued, actor.inc.remote()):
        with pytest.raises(rt.exceptions.ActorDiedError) as info:
            rt.get(ref)
        assert "exit_actor() is called" in str(info.value)


@line("LIF.6")
def test_exit_actor_outside_an_actor(rt):
    with pytest.raises(TypeError):
        rt.actor.exit_actor()
    with raises_task_error(rt, TypeError):
        rt.get(rt.remote(lambda: rt.actor.exit_actor()).remote())


@line("LIF.7")
def test_terminate(rt, Actor):
    actor = Actor.remote()
    refs = [actor.inc.remote(), actor.__ray_terminate__.remote(), actor.inc.remote()]
    assert rt.get(refs[0]) == 1
    for ref in refs[1:]:
        with pytest.raises(rt.exceptions.ActorDiedError):
            rt.get(ref)


@line("LIF.9")
@needs("processes")
@pytest.mark.parametrize("code", [0, 3])
def test_sys_exit_in_a_method(rt, code):
    @rt.remote
    class Leaver:
        def leave(self):
            sys.exit(code)

    leaver = Leaver.remote()
    for ref in (leaver.leave.remote(), leaver.leave.remote()):
        with pytest.raises(rt.exceptions.ActorDiedError):
            rt.get(ref)


@line("LIF.10")
@needs("processes")
@pytest.mark.parametrize("how", ["exit", "signal"])
def test_the_death_of_its_process(rt, Actor, how, eventually):
    actor = Actor.options(num_cpus=1).remote()
    pid = rt.get(actor.pid.remote())
    if how == "exit":
        refs = [actor.die.remote(), actor.inc.remote()]
    else:
        refs = []
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: cpus(rt) == 2.0)
    for ref in [*refs, actor.inc.remote()]:
        with pytest.raises(rt.exceptions.ActorDiedError) as info:
            rt.get(ref)
        assert "Actor" in str(info.value) and str(pid) in str(info.value)
        assert info.value.actor_id
    eventually(lambda: cpus(rt) == 2.0)


@line("LIF.11", "LIF.12")
@needs("processes")
def test_restarts(rt, Actor):
    actor = Actor.options(max_restarts=2).remote(10)
    for _ in range(2):
        assert rt.get(actor.inc.remote()) == 11
        assert rt.get(actor.inc.remote()) == 12
        with pytest.raises(rt.exceptions.RayActorError) as info:
            rt.get(actor.die.remote())
        assert type(info.value) is rt.exceptions.ActorUnavailableError
    assert rt.get(actor.inc.remote()) == 11
    for _ in range(2):
        with pytest.raises(rt.exceptions.ActorDiedError):
            rt.get(actor.die.remote())


@line("LIF.13")
@needs("processes")
def test_calls_are_sent_again(rt, tmp_path, note):
    path = str(tmp_path / "attempts")

    @rt.remote(max_restarts=-1, max_task_retries=2)
    class Fragile:
        def die_until(self, n):
            note(path)
            with open(path) as f:
                attempts = len(f.readlines())
            if attempts < n:
                os._exit(1)
            return attempts

    fragile = Fragile.remote()
    assert rt.get(fragile.die_until.remote(3)) == 3
    os.unlink(path)
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(fragile.die_until.remote(9))
    with open(path) as f:
        assert len(f.readlines()) == 3


@line("LIF.14")
def test_exceptions_of_calls_are_retried_only_when_asked(rt):
    @rt.remote(max_task_retries=3)
    class Flaky:
        def __init__(self):
            self.attempts = 0

        def fail(self):
            self.attempts += 1
            raise ValueError("flaky")

        @rt.method(retry_exceptions=[ValueError], max_task_retries=2)
        def retried(self):
            self.attempts += 1
            raise ValueError("flaky")

        def count(self):
            return self.attempts

    plain, retried = Flaky.remote(), Flaky.remote()
    with raises_task_error(rt, ValueError):
        rt.get(plain.fail.remote())
    assert rt.get(plain.count.remote()) == 1
    with raises_task_error(rt, ValueError):
        rt.get(retried.retried.remote())
    assert rt.get(retried.count.remote()) == 3


@line("LIF.21")
@needs("processes")  # an actor belongs to the process that made it
def test_a_child_actor_dies_with_its_parent(rt, Actor):
    @rt.remote
    class Parent:
        def __init__(self):
            self.child = Actor.remote()

        def get(self):
            return [self.child]

    parent = Parent.remote()
    (child,) = rt.get(parent.get.remote())
    assert rt.get(child.inc.remote()) == 1
    rt.kill(parent)

    def dead():
        try:
            rt.get(child.inc.remote())
        except rt.exceptions.RayActorError:
            return True
        return False

    assert poll(dead)


@line("LIF.22")
def test_an_actor_made_by_a_task_and_returned(rt, Actor):
    @rt.remote
    def make():
        return Actor.remote(3)

    actor = rt.get(make.remote())
    gc.collect()
    assert rt.get([actor.inc.remote() for _ in range(3)]) == [4, 5, 6]


@line("LIF.25")
def test_an_argument_keeps_an_actor_alive(rt, Actor):
    @rt.remote
    def use(handles, wait):
        return rt.get(handles[0].inc.remote())

    first = rt.remote(lambda: None).remote()
    ref = use.remote([Actor.remote(7)], first)
    gc.collect()
    assert rt.get(ref) == 8


@line("LIF.8")
@needs("processes")
@pytest.mark.parametrize("how", ["scope", "terminate", "exit"])
@pytest.mark.parametrize("kind", ["plain", "async", "threaded"])
def test_the_order_of_a_graceful_end(rt, tmp_path, note, eventually, how, kind):
    path = str(tmp_path / "end")

    class Base:
        def __init__(self):
            self.me = self  # a cycle: __del__ is called all the same
            atexit.register(note, path, "atexit")

        def __ray_shutdown__(self):
            note(path, "shutdown")

        def __del__(self):
            note(path, "del")

        def call(self):
            return 1

        def leave(self):
            rt.actor.exit_actor()

    class Coroutines(Base):
        async def __ray_shutdown__(self):
            await asyncio.sleep(0)
            note(path, "shutdown")

    cls, options = (Coroutines, {}) if kind == "async" else (Base, {})
    if kind == "threaded":
        options = {"max_concurrency": 2}
    actor = rt.remote(cls).options(num_cpus=1, **options).remote()
    assert rt.get(actor.call.remote()) == 1
    if how == "scope":
        del actor
        gc.collect()
    else:
        call = actor.leave if how == "exit" else actor.__ray_terminate__
        with pytest.raises(rt.exceptions.ActorDiedError):
            rt.get(call.remote())
    assert poll(lambda: os.path.exists(path) and "atexit" in Path(path).read_text())
    assert Path(path).read_text().split() == ["shutdown", "del", "atexit"]


@line("LIF.8")
def test_shutdown_then_del(rt, tmp_path, note, eventually):
    path = str(tmp_path / "end")

    @rt.remote
    class Actor:
        def __ray_shutdown__(self):
            note(path, "shutdown")
            raise ValueError("is printed, and changes nothing")

        def __del__(self):
            note(path, "del")

    actor = Actor.remote()
    assert rt.get(actor.__ray_ready__.remote()) is True
    del actor
    gc.collect()
    eventually(lambda: os.path.exists(path) and "del" in Path(path).read_text())
    assert Path(path).read_text().split() == ["shutdown", "del"]


@line("LIF.3", "LIF.8")
@needs("processes")
def test_kill_runs_nothing_of_the_actor(rt, tmp_path, note, pid_gone):
    path = str(tmp_path / "end")

    @rt.remote
    class Actor:
        def __init__(self):
            atexit.register(note, path, "atexit")

        def __ray_shutdown__(self):
            note(path, "shutdown")

        def __del__(self):
            note(path, "del")

        def pid(self):
            return os.getpid()

    actor = Actor.remote()
    pid = rt.get(actor.pid.remote())
    rt.kill(actor)
    assert poll(lambda: pid_gone(pid))
    assert not os.path.exists(path)


@line("LIF.9")
@needs("processes")
def test_sys_exit_and_restarts(rt):
    """0 is an intended exit, which is final; another code is a crash, which restarts."""

    @rt.remote(max_restarts=1)
    class Leaver:
        def leave(self, code):
            sys.exit(code)

        def ping(self):
            return "pong"

    crashed, left = Leaver.remote(), Leaver.remote()
    with pytest.raises(rt.exceptions.RayActorError, match="exit code 3"):
        rt.get(crashed.leave.remote(3))
    with pytest.raises(rt.exceptions.ActorDiedError, match=r"sys\.exit\(0\)"):
        rt.get(left.leave.remote(0))

    def answers():
        try:
            return rt.get(crashed.ping.remote()) == "pong"
        except rt.exceptions.ActorUnavailableError:
            return False

    assert poll(answers)
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(left.ping.remote())


@line("LIF.6")
def test_exit_in_the_constructor(rt):
    @rt.remote(max_restarts=3)
    class Actor:
        def __init__(self):
            rt.actor.exit_actor()

        def ping(self):
            pass

    actor = Actor.remote()
    for _ in range(2):
        with pytest.raises(rt.exceptions.ActorDiedError, match="exit_actor"):
            rt.get(actor.ping.remote())


@line("ACT.11")
def test_the_constructor_knows_its_actor(rt):
    @rt.remote
    class Actor:
        def __init__(self):
            context = rt.get_runtime_context()
            self.seen = context.get_actor_id(), context.current_actor == context.current_actor

        def look(self):
            return self.seen, rt.get_runtime_context().get_actor_id()

    (first, same), later = rt.get(Actor.remote().look.remote())
    assert first == later and same


@line("LIF.22")
@needs("processes")
def test_an_actor_outlives_the_task_that_made_it(rt, Actor):
    """Also when the worker that ran the task does other things meanwhile."""

    @rt.remote
    def make():
        return Actor.remote(3), os.getpid()

    actor, _ = rt.get(make.remote())
    gc.collect()
    for i in range(20):
        assert rt.get(rt.remote(lambda x: x).remote(i)) == i
    assert rt.get(actor.inc.remote()) == 4


@line("ERR.20")
def test_what_actor_errors_tell(rt):
    @rt.remote
    class Actor:
        def __init__(self, fails):
            if fails:
                raise ValueError("no")

        def ping(self):
            pass

    failed, killed = Actor.remote(True), Actor.remote(False)
    rt.kill(killed)
    for actor, init_failed in ((failed, True), (killed, False)):
        with pytest.raises(rt.exceptions.RayActorError) as info:
            rt.get(actor.ping.remote())
        error = info.value
        assert error.actor_id == actor._actor_id.hex()
        assert error.error_msg == str(error)
        assert error.actor_init_failed is init_failed
        assert error.preempted is False
    for name in ("ActorAlreadyExistsError", "ActorHandleNotFoundError"):
        assert issubclass(getattr(rt.exceptions, name), ValueError)


@line("ERR.16")
@needs("processes")
@pytest.mark.parametrize("code", [0, 3])
def test_sys_exit_in_a_task_is_a_death(rt, tmp_path, note, code):
    path = str(tmp_path / "attempts")

    @rt.remote
    def leave():
        note(path)
        sys.exit(code)

    with pytest.raises(rt.exceptions.WorkerCrashedError, match="Attempts: 4"):
        rt.get(leave.remote())
    assert len(Path(path).read_text().split()) == 4
