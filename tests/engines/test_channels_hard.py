"""Channels in the cases that are easily forgotten: full buffers, results that outlive their actor,
refs that come back, answers in company, ends."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.engines.support import line, needs, poll, raises_task_error

SIZE = 90_000  # bytes of an argument: just below what is stored


@pytest.fixture
def Peer(rt: Any) -> Any:
    @rt.remote(num_cpus=0)
    class Peer:
        def note(self, x=None, *_):
            return x

        def size(self, data):
            self.sized = getattr(self, "sized", 0) + 1
            return len(data)

        def count(self):
            return getattr(self, "sized", 0)

        def wait_for(self, path):
            deadline = time.monotonic() + 20
            while path and not os.path.exists(path) and time.monotonic() < deadline:
                time.sleep(0.002)
            return path

        def meet(self, other, tries=2000):
            """Call another actor until the channel to it is open; itself, only a few times."""
            from fanlight import session

            self.other = other
            channels = session.require_client().channels
            for _ in range(tries):
                self.first = other.note.remote()  # it may be this one, so it is not waited for
                if channels.lines[other._id].direct:
                    return True
                time.sleep(0.01)
            return False

        def fire(self, n):
            self.refs = [self.other.size.remote(b"x" * SIZE) for _ in range(n)]
            return n

        def collect(self):
            return set(rt.get(self.refs))

        def big(self, n):
            import numpy

            return numpy.full(n, 7.0)

        def some(self, n, large):
            import numpy

            for i in range(n):
                yield numpy.full(200_000, float(i)) if large else i
            raise ValueError("no more")

        def pid(self):
            return os.getpid()

    return Peer


@pytest.fixture
def direct(rt: Any) -> Callable[[Any], Any]:
    """Call an actor until its channel is open, where there are channels."""
    from fanlight import session

    def warm(actor: Any) -> Any:
        channels = session.require_client().channels

        def opened() -> bool:
            rt.get(actor.__ray_ready__.remote())
            return channels is None or channels.lines[actor._id].direct

        assert poll(opened)
        return actor

    return warm


def _client() -> Any:
    from fanlight import session

    return session.require_client()


def _query(*args: Any) -> Any:
    from fanlight import session

    return session.current().engine.query(*args)


@line("ACT.5")
@needs("processes")
def test_two_actors_fill_each_others_buffers(rt, Peer):
    """Both send, and neither waits for the other before it reads."""
    one, two = Peer.remote(), Peer.remote()
    assert rt.get(one.meet.remote(two))
    assert rt.get(two.meet.remote(one))
    assert rt.get([one.fire.remote(100), two.fire.remote(100)]) == [100, 100]
    assert rt.get([one.collect.remote()]) == [{SIZE}]
    assert rt.get([two.collect.remote()]) == [{SIZE}]


@needs("processes")
def test_an_actor_fills_its_own_buffer(rt, Peer):
    actor = Peer.remote()
    # What it called itself with runs between these.
    assert poll(lambda: rt.get(actor.meet.remote(actor, tries=2)))
    assert rt.get(actor.fire.remote(100)) == 100
    # An actor that waits for its own later calls waits for ever: they are to be over before.
    assert poll(lambda: rt.get(actor.count.remote()) == 100)
    assert rt.get(actor.collect.remote()) == {SIZE}


@needs("processes")
def test_a_stopped_actor_holds_up_no_other(rt, Peer, direct):
    """One thread waits for a process that does not read; others get their results."""
    import signal
    import threading

    stuck, other = direct(Peer.remote()), direct(Peer.remote())
    pid = rt.get(stuck.pid.remote())
    sizes: list[int] = []

    def fill() -> None:
        sizes.extend(rt.get([stuck.size.remote(b"x" * SIZE) for _ in range(50)]))

    os.kill(pid, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=fill)
        thread.start()
        assert poll(lambda: _client().channels.lines[stuck._id].channel.stuck)
        for i in range(20):
            assert rt.get(other.note.remote(i), timeout=60) == i
    finally:
        os.kill(pid, signal.SIGCONT)
        thread.join()
    assert sizes == [SIZE] * 50


@needs("background")
def test_answers_do_not_wait_for_a_call_that_lasts(rt, Peer, direct, tmp_path):
    """The method was quick so far, so its answers are sent in company; this call is not quick."""
    actor = direct(Peer.remote())
    gate = tmp_path / "gate"
    for _ in range(3):
        rt.get(actor.wait_for.remote(""))
        actor.size.remote(b"x" * SIZE)
        quick = [actor.wait_for.remote("") for _ in range(20)]
        last = actor.wait_for.remote(str(gate))
        assert rt.get(quick, timeout=60) == [""] * 20
        gate.touch()
        assert rt.get(last) == str(gate)
        gate.unlink()


@line("LIF.1")
def test_a_result_leaves_after_its_actor_was_forgotten(rt, Peer, direct):
    actor = direct(Peer.remote())
    ref = actor.note.remote(5)
    assert rt.get(ref) == 5
    del actor
    gc.collect()
    assert poll(lambda: _client().channels is None or not _client().channels.lines)

    @rt.remote
    def fetch(refs):
        return rt.get(refs)

    assert rt.get(fetch.remote([ref])) == [5]


@needs("processes")
@pytest.mark.parametrize("large", [False, True])
def test_a_ref_that_comes_back_is_dropped_like_any_other(rt, Peer, direct, large):
    actor = direct(Peer.remote())
    client = _client()
    client.flush_drops()
    objects = _query("store")["objects"]
    ref = actor.big.remote(200_000 if large else 3)
    rt.get(ref)
    outer = rt.put([ref])
    del ref
    gc.collect()
    client.flush_drops()
    (back,) = rt.get(outer)
    del outer
    gc.collect()
    client.flush_drops()
    assert rt.get(back)[0] == 7

    @rt.remote
    def first(refs):
        return rt.get(refs[0])[0]

    assert rt.get(first.remote([back])) == 7
    del back
    gc.collect()

    def gone() -> bool:
        client.flush_drops()
        store = _query("store")
        return store["objects"] <= objects and store["used"] == store["cached"]

    assert poll(gone), (_query("store"), objects)
    assert not client.channels._promised


@line("GEN.1")
@pytest.mark.parametrize("large", [False, True])
def test_what_a_generator_yielded_before_it_failed(rt, Peer, direct, large):
    """The same on a channel as by the node: the first results have values."""
    actor = direct(Peer.remote())
    refs = actor.some.options(num_returns=3).remote(2, large)
    values = rt.get(refs[:2])
    assert [v[0] if large else v for v in values] == [0, 1]
    with raises_task_error(rt, ValueError, match="no more"):
        rt.get(refs[2])


@needs("processes")
def test_the_last_report_of_an_actor_counts(rt, direct, pid_gone):
    """It goes out of scope at once after its calls: the node hears of them all."""
    from fanlight.util.state import summarize_tasks

    @rt.remote
    class Reported:
        def note(self, i):
            return i

        def pid(self):
            return os.getpid()

    def notes() -> int:
        kinds = summarize_tasks()["cluster"]["summary"]
        return sum(
            kind["state_counts"].get("FINISHED", 0)
            for name, kind in kinds.items()
            if name.endswith("Reported.note")
        )

    for already in range(0, 400, 100):
        actor = direct(Reported.remote())
        pid = rt.get(actor.pid.remote())
        rt.get([actor.note.remote(i) for i in range(100)])
        del actor
        gc.collect()
        _client().flush_drops()
        assert poll(lambda pid=pid: pid_gone(pid))
        assert poll(lambda n=already: notes() >= n + 100)
        assert notes() == already + 100


@line("CAN.10")
@needs("background")
def test_a_task_cancels_a_call_whose_ref_its_caller_dropped(rt, Peer, direct, tmp_path):
    actor = direct(Peer.remote())
    gate = tmp_path / "gate"

    @rt.remote(num_cpus=0)
    def cancel(refs, path):
        deadline = time.monotonic() + 20
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.002)
        rt.cancel(refs[0])
        try:
            rt.get(refs[0])
        except rt.exceptions.TaskCancelledError:
            return "cancelled"

    running = actor.wait_for.remote(str(gate))
    queued = actor.note.remote("never")
    dropped = tmp_path / "dropped"
    told = cancel.remote([queued], str(dropped))
    del queued
    gc.collect()
    _client().flush_drops()
    dropped.touch()
    rt.wait([told], timeout=0.5)
    gate.touch()
    assert rt.get(told) == "cancelled"
    rt.get(running)


@needs("processes")
def test_interrupts_within_calls(rt, Peer, direct):
    """Wherever Ctrl-C strikes, a call is sent whole or not at all, and later ones are answered."""
    import random
    import signal

    actor = direct(Peer.remote())
    held = rt.put(1)
    chance = random.Random(1)
    armed = False

    def interrupt(*_: Any) -> None:
        if armed:
            signal.raise_signal(signal.SIGINT)

    old = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # it calls others' callbacks, in which Ctrl-C is lost
    try:
        for _ in range(60):
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.004))
                for _ in range(2000):
                    actor.note.remote(1)
                    if chance.random() < 0.02:
                        actor.note.remote(2, held)
                armed = False
            except KeyboardInterrupt:
                armed = False
            assert rt.get(actor.note.remote(3, held), timeout=60) == 3  # behind all of the others
            direct(actor)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        gc.enable()
    line = _client().channels.lines[actor._id]
    assert poll(lambda: line.sent == line.answered)
    assert not _client().channels.inflight
