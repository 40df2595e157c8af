"""TSK.19, FLT.6 to FLT.9, LIF.21: what becomes of the work and the values of a process that died.

Fanlight keeps values outside of the processes that made or asked for them, so two lines are kept
better than their words: a value that exists outlives its owner (FLT.7), and what an idle worker had
submitted goes on when that worker is retired in good order (TSK.19).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fanlight import session
from tests.engines.support import line, needs, poll, raises_task_error


@pytest.fixture
def Owner(rt, wait_for, note):
    """An actor that owns things; ``start`` returns when its child runs."""

    @rt.remote
    class Owner:
        def pid(self):
            return os.getpid()

        def put(self, n):
            return [rt.put(bytes(n))]

        def start(self, started, gate):
            self.child = child.remote(started, gate)
            wait_for(started)
            return [self.child]

        def chain(self, pending):
            return [double.remote(pending[0])]

        def make(self, cls):
            self.made = cls.remote()
            return [self.made]

        def leave(self):
            rt.actor.exit_actor()

    @rt.remote
    def child(started, gate):
        note(started, str(os.getpid()))
        try:
            wait_for(gate)
        except KeyboardInterrupt:
            note(started, "interrupted")
            raise
        return "made"

    @rt.remote
    def double(x):
        return 2 * x

    return Owner


def die(rt, owner, pid_gone):
    pid = rt.get(owner.pid.remote())
    os.kill(pid, signal.SIGKILL)
    assert poll(lambda: pid_gone(pid))
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(owner.pid.remote())


@line("TSK.19", "FLT.6", "FLT.7")
@needs("processes", "background")
def test_running_children_of_a_dead_process_are_cancelled(rt, Owner, tmp_path, pid_gone):
    owner, started = Owner.remote(), str(tmp_path / "started")
    (ref,) = rt.get(owner.start.remote(started, str(tmp_path / "never")))
    die(rt, owner, pid_gone)
    with pytest.raises(rt.exceptions.OwnerDiedError, match=r"child.*SIGKILL") as info:
        rt.get(ref)
    assert info.value.object_ref_hex == ref.hex()
    assert poll(lambda: "interrupted" in Path(started).read_text())


@line("TSK.19", "FLT.7")
@needs("processes", "background")
def test_killing_an_actor_cancels_what_it_had_submitted(rt, Owner, never):
    owner = Owner.remote()
    (ref,) = rt.get(owner.chain.remote([never()]))
    assert rt.wait([ref], timeout=0) == ([], [ref])
    rt.kill(owner)
    with pytest.raises(rt.exceptions.OwnerDiedError):
        rt.get(ref)


@line("TSK.19")
@needs("processes", "background")
@pytest.mark.runtime(num_cpus=1)
def test_children_of_a_worker_that_died(rt, never, tmp_path, wait_for, note):
    started = str(tmp_path / "started")

    @rt.remote(max_retries=0)
    def parent(box, pending):
        rt.get(box[0].put.remote([double.remote(pending[0])]))
        note(started)
        os._exit(1)

    @rt.remote
    def double(x):
        return 2 * x

    @rt.remote
    class Box:
        def put(self, refs):
            self.refs = refs

        def take(self):
            return self.refs

    box = Box.remote()
    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(parent.remote([box], [never()]))
    (ref,) = rt.get(box.take.remote())
    with pytest.raises(rt.exceptions.OwnerDiedError):
        rt.get(ref)


@line("TSK.18", "TSK.19")
@needs("processes", "background")
def test_a_retried_parent_submits_again(rt, tmp_path, note):
    path = str(tmp_path / "attempts")

    @rt.remote(max_retries=1)
    def parent():
        ref = child.remote()
        note(path)
        if len(Path(path).read_text().split()) == 1:
            os._exit(1)
        return rt.get(ref)

    @rt.remote
    def child():
        return "made"

    assert rt.get(parent.remote()) == "made"


@line("FLT.8")
@needs("processes", "background")
def test_a_ref_of_a_dead_owner_as_argument(rt, Owner, never, pid_gone):
    owner = Owner.remote()
    (ref,) = rt.get(owner.chain.remote([never()]))
    use = rt.remote(lambda x: x)
    before = use.remote(ref)
    die(rt, owner, pid_gone)
    for consumer in (before, use.remote(ref)):
        with raises_task_error(rt, rt.exceptions.OwnerDiedError):
            rt.get(consumer)


@line("FLT.7", "FLT.9")
@needs("processes")
@pytest.mark.parametrize("size", [10, 500_000])
def test_values_that_exist_outlive_their_owner(rt, Owner, pid_gone, size):
    """In the reference the put one raises OwnerDiedError; here its data exists, so it is given."""
    owner = Owner.remote()
    (put,) = rt.get(owner.put.remote(size))
    direct = owner.put.remote(size)
    rt.wait([direct])
    die(rt, owner, pid_gone)
    assert len(rt.get(put)) == size
    assert len(rt.get(rt.get(direct)[0])) == size


@line("LIF.21")
@needs("processes", "background")
def test_actors_of_a_worker_that_died(rt, tmp_path, note, wait_for):
    """A restart of the task makes them anew: with the old ones there would be two."""

    @rt.remote
    class Child:
        def ping(self):
            return "pong"

    @rt.remote(max_retries=0)
    def parent(box):
        child = Child.remote()
        rt.get([child.ping.remote(), box[0].put.remote([child])])
        os._exit(1)

    @rt.remote
    class Box:
        def put(self, items):
            self.items = items

        def take(self):
            return self.items

    box = Box.remote()
    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(parent.remote([box]))
    (child,) = rt.get(box.take.remote())
    with pytest.raises(rt.exceptions.ActorDiedError, match="created"):
        rt.get(child.ping.remote())


@line("LIF.21", "LIF.20")
@needs("processes", "background")
def test_a_detached_actor_outlives_its_creator(rt):
    @rt.remote
    class Child:
        def ping(self):
            return "pong"

    @rt.remote(max_retries=0)
    def parent():
        child = Child.options(name="kept", namespace="here", lifetime="detached").remote()
        rt.get(child.ping.remote())
        os._exit(1)

    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(parent.remote())
    kept = rt.get_actor("kept", namespace="here")
    assert rt.get(kept.ping.remote()) == "pong"
    rt.kill(kept)


@line("TSK.19")
@needs("background")
def test_an_actor_that_leaves_takes_nothing_along(rt, Owner, tmp_path, note):
    """Good order is no death: what was submitted goes on, for whoever holds its refs."""
    owner, gate = Owner.remote(), str(tmp_path / "gate")
    (ref,) = rt.get(owner.start.remote(str(tmp_path / "started"), gate))
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(owner.leave.remote())
    note(gate)
    assert rt.get(ref) == "made"


@line("FLT.16")
@needs("processes")
def test_a_retried_task_runs_more_than_once(rt, tmp_path, note):
    path = str(tmp_path / "runs")

    @rt.remote(max_retries=2)
    def task():
        note(path)
        if len(Path(path).read_text().split()) < 3:
            os._exit(1)
        return "done"

    assert rt.get(task.remote()) == "done"
    assert len(Path(path).read_text().split()) == 3


@line("FLT.13", "FLT.14")
@needs("processes", "background")
@pytest.mark.parametrize("what", ["task", "actor"])
def test_the_death_of_the_node_process(fresh, tmp_path, wait_for, what):
    """There is one node: with it the runtime is gone, and what was pending says so."""
    rt, never = fresh.fanlight, str(tmp_path / "never")
    fresh.init(num_cpus=2)

    @rt.remote
    class Actor:
        def block(self):
            wait_for(never)

    ref = rt.remote(wait_for).remote(never) if what == "task" else Actor.remote().block.remote()
    assert rt.wait([ref], timeout=0.05)[0] == []
    os.kill(session.require().engine.node_pid, signal.SIGKILL)
    with pytest.raises(rt.errors.RuntimeLostError, match="node process"):
        rt.get(ref)


# --- who is to blame for a crash -----------------------------------------------------------------


@line("FLT.1", "ERR.16")
@needs("processes")
@pytest.mark.runtime(num_cpus=1)
def test_only_the_task_that_killed_its_worker_is_blamed(rt, tmp_path, note):
    """Quick tasks are sent several at a time and reported likewise; the one that ran is known."""
    path = str(tmp_path / "runs")

    @rt.remote(max_retries=0)
    def quick(i):
        note(path, str(i))
        if i == 25:
            os._exit(1)
        return i

    rt.get([quick.remote(-1) for _ in range(20)])  # known to be quick now
    refs = [quick.remote(i) for i in range(50)]
    for i, ref in enumerate(refs):
        if i == 25:
            with pytest.raises(rt.exceptions.WorkerCrashedError):
                rt.get(ref)
        else:
            assert rt.get(ref) == i
    runs = [int(x) for x in Path(path).read_text().split() if x != "-1"]
    assert sorted(runs) == list(range(50)), "each ran exactly once"


@line("CAN.6", "FLT.1")
@needs("processes", "background")
@pytest.mark.runtime(num_cpus=1)
def test_a_forced_cancel_costs_no_other_task_an_attempt(rt, tmp_path, note, wait_for):
    path = str(tmp_path / "runs")

    @rt.remote(max_retries=0)
    def quick(i, blocks=False):
        note(path, str(i))
        while blocks:
            try:
                wait_for(path + ".never")
            except KeyboardInterrupt:
                pass
        return i

    rt.get([quick.remote(-1) for _ in range(20)])
    for first in range(0, 50, 10):
        refs = [quick.remote(first + i, blocks=i == 3) for i in range(10)]
        assert poll(lambda blocked=str(first + 3): blocked in Path(path).read_text().split())
        rt.cancel(refs[3], force=True)
        for i, ref in enumerate(refs):
            if i == 3:
                with pytest.raises(rt.exceptions.TaskCancelledError):
                    rt.get(ref)
            else:
                assert rt.get(ref) == first + i
    runs = [int(x) for x in Path(path).read_text().split() if x != "-1"]
    assert sorted(runs) == list(range(50)), "each ran exactly once"
