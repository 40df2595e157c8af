"""Calls that go straight to an actor's process: they behave like those that go by the node.

Each test warms a channel up first, and says with ``direct`` that it is used. On ``inproc`` there are
no channels, and the same programs must give the same results.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.engines.support import line, needs, poll, raises_task_error, runtime

own = runtime(num_cpus=2, resources={"own": 1})  # where what other tests hold does not count


@pytest.fixture
def Recorder(rt: Any) -> Any:
    @rt.remote
    class Recorder:
        def __init__(self):
            self.seen = []

        def note(self, x, *_):
            self.seen.append(x)
            return x

        def all(self):
            return self.seen

        def pid(self):
            return os.getpid()

        def wait_for(self, path):
            deadline = time.monotonic() + 20
            while not os.path.exists(path) and time.monotonic() < deadline:
                time.sleep(0.002)
            return path

        def until_cancelled(self):
            deadline = time.monotonic() + 20
            while not rt.get_runtime_context().is_canceled() and time.monotonic() < deadline:
                time.sleep(0.002)

        def fail(self, text):
            raise ValueError(text)

        def pair(self):
            return 1, 2

        def nothing(self):
            self.seen.append("nothing")

        def keep(self, refs):
            self.kept = refs

        def big(self, n):
            import numpy

            return numpy.ones(n)

        def make(self, x):
            return [rt.put(x)]

        def show(self, text):
            print(text)
            return text

    return Recorder


@pytest.fixture
def direct(rt: Any) -> Callable[[Any], bool]:
    """Call an actor until its channel is open; says whether it has one."""

    def warm(actor: Any) -> bool:
        from fanlight import session

        channels = session.require_client().channels
        if channels is None:
            return False

        def opened() -> bool:
            rt.get(actor.__ray_ready__.remote())
            return channels.lines[actor._id].direct

        assert poll(opened)
        return True

    return warm


def _lines(rt: Any, actor: Any) -> Any:
    from fanlight import session

    return session.require_client().channels.lines[actor._id]


@needs("processes")
def test_a_channel_is_used(rt, Recorder, direct):
    actor = Recorder.remote()
    assert direct(actor)
    before = _lines(rt, actor).sent
    assert rt.get([actor.note.remote(i) for i in range(50)]) == list(range(50))
    assert _lines(rt, actor).sent == before + 50
    assert poll(lambda: _lines(rt, actor).answered == before + 50)


@line("ACT.5", "ACT.6")
def test_order_over_both_ways(rt, Recorder, direct):
    """Calls with refs go by the node, the others straight: one order all the same."""
    actor = Recorder.remote()
    direct(actor)
    ref = rt.put("x")
    expected = []
    for i in range(300):
        if i % 7 in (3, 4):
            actor.note.remote(i, ref)
        elif i % 31 == 5:
            actor.note.remote(i, [ref])
        else:
            actor.note.remote(i)
        expected.append(i)
        if i % 60 == 59:  # the channel is used again once the node has none of the calls
            rt.get(actor.all.remote())
    assert rt.get(actor.all.remote()) == expected


@line("ACT.6")
@needs("background")
def test_a_pending_argument_holds_back_what_would_go_straight(rt, Recorder, direct, tmp_path):
    actor = Recorder.remote()
    direct(actor)
    gate = tmp_path / "gate"

    @rt.remote
    def slow():
        deadline = time.monotonic() + 20
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        return "late"

    first = actor.note.remote("first", slow.remote())
    second = actor.note.remote("second")
    ready, _ = rt.wait([second], timeout=0.2)
    assert not ready
    gate.touch()
    rt.get([first, second])
    assert rt.get(actor.all.remote()) == ["first", "second"]


def test_several_returns_and_none(rt, Recorder, direct):
    actor = Recorder.remote()
    direct(actor)
    a, b = actor.pair.options(num_returns=2).remote()
    assert rt.get([a, b]) == [1, 2]
    assert actor.nothing.options(num_returns=0).remote() is None
    assert rt.get(actor.all.remote()) == ["nothing"]
    wrong = actor.pair.options(num_returns=3).remote()
    for ref in wrong:
        with raises_task_error(rt, ValueError, match="num_returns=3"):
            rt.get(ref)


@line("ERR.1", "ERR.22")
def test_errors(rt, Recorder, direct):
    actor = Recorder.remote()
    direct(actor)
    refs = [actor.fail.remote(f"number {i}") for i in range(3)]
    for i, ref in enumerate(refs):
        with raises_task_error(rt, ValueError, match=f"number {i}"):
            rt.get(ref)
    assert rt.get(actor.note.remote("alive")) == "alive"


def test_refs_that_leave(rt, Recorder, direct):
    """A result that only this process knows can go anywhere, ready or not."""
    actor = Recorder.remote()
    direct(actor)

    @rt.remote
    def double(x):
        return 2 * x

    @rt.remote
    def fetch(refs):
        return rt.get(refs)

    ready = actor.note.remote(4)
    assert rt.get(ready) == 4
    assert rt.get(double.remote(ready)) == 8
    assert rt.get(fetch.remote([ready, actor.note.remote(5)])) == [4, 5]
    assert rt.get(double.remote(actor.note.remote(6))) == 12
    outer = rt.put([actor.note.remote(7)])
    (inner,) = rt.get(outer)
    assert rt.get(inner) == 7
    with raises_task_error(rt, ValueError, match="not this"):
        rt.get(double.remote(actor.fail.remote("not this")))


@needs("background")
def test_a_ref_that_left_before_its_value_and_was_dropped(rt, Recorder, direct, tmp_path):
    actor = Recorder.remote()
    direct(actor)

    @rt.remote
    def same(x):
        return x

    gate = tmp_path / "gate"
    pending = actor.wait_for.remote(str(gate))
    result = same.remote(pending)
    del pending
    rt.wait([result], timeout=0.05)
    gate.touch()
    assert rt.get(result) == str(gate)


def test_results_that_hold_refs(rt, Recorder, direct):
    actor = Recorder.remote()
    direct(actor)
    (inner,) = rt.get(actor.make.remote("deep"))
    assert rt.get(inner) == "deep"


@needs("processes")
def test_large_results_are_shared(rt, Recorder, direct):
    import numpy

    actor = Recorder.remote()
    direct(actor)
    ref = actor.big.remote(200_000)
    array = rt.get(ref)
    assert array.sum() == 200_000
    assert numpy.shares_memory(array, rt.get(ref))
    dropped = actor.big.remote(200_000)
    del dropped, array, ref
    rt.get(actor.note.remote(1))
    from fanlight import session

    query = session.current().engine.query
    assert poll(lambda: query("store")["used"] == query("store")["cached"])


@line("CAN.10", "CAN.11")
@needs("background")
def test_cancel(rt, Recorder, direct):
    actor = Recorder.remote()
    direct(actor)
    running = actor.until_cancelled.remote()
    queued = actor.note.remote("never")
    last = actor.note.remote("last")
    rt.cancel(queued)
    rt.cancel(running)
    for ref in (running, queued):
        with pytest.raises(rt.exceptions.TaskCancelledError):
            rt.get(ref)
    assert rt.get(last) == "last"
    assert rt.get(actor.all.remote()) == ["last"]
    with pytest.raises(ValueError, match="force"):
        rt.cancel(actor.until_cancelled.remote(), force=True)
    rt.kill(actor)


@line("LIF.10", "LIF.3")
@needs("processes")
def test_calls_on_the_way_when_the_process_dies(rt, Recorder, direct, tmp_path):
    actor = Recorder.remote()
    direct(actor)
    pid = rt.get(actor.pid.remote())
    refs = [actor.wait_for.remote(str(tmp_path / "never")), actor.note.remote(2)]

    @rt.remote
    def through(x):
        return x

    dependent = through.remote(refs[1])
    os.kill(pid, 9)
    for ref in refs:
        with pytest.raises(rt.exceptions.ActorDiedError, match="SIGKILL"):
            rt.get(ref)
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(dependent)
    with pytest.raises(rt.exceptions.ActorDiedError):
        rt.get(actor.note.remote(3))


@line("LIF.3")
@needs("processes")
def test_kill_says_so(rt, Recorder, direct, tmp_path):
    actor = Recorder.remote()
    direct(actor)
    ref = actor.wait_for.remote(str(tmp_path / "never"))
    rt.kill(actor)
    with pytest.raises(rt.exceptions.ActorDiedError, match="killed by"):
        rt.get(ref)


@line("LIF.11", "LIF.12")
@needs("processes")
def test_a_restart(rt, Recorder, direct, tmp_path):
    actor = Recorder.options(max_restarts=1).remote()
    direct(actor)
    pid = rt.get(actor.pid.remote())
    ref = actor.wait_for.remote(str(tmp_path / "never"))
    os.kill(pid, 9)
    with pytest.raises(rt.exceptions.ActorUnavailableError, match="SIGKILL"):
        rt.get(ref)
    assert rt.get(actor.note.remote("again")) == "again"
    direct(actor)
    assert rt.get(actor.all.remote()) == ["again"]


@line("LIF.1", "LIF.2")
@needs("background")
def test_the_last_handle_goes_while_calls_are_on_the_way(rt, Recorder, direct, tmp_path):
    actor = Recorder.remote()
    direct(actor)
    pid = rt.get(actor.pid.remote())
    gate = tmp_path / "gate"
    first, second = actor.wait_for.remote(str(gate)), actor.note.remote("second")
    del actor
    rt.wait([second], timeout=0.05)
    gate.touch()
    assert rt.get([first, second]) == [str(gate), "second"]

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    assert poll(gone)


@line("OBS.1")
@needs("ordered_output")
def test_output_comes_before_the_result(rt, Recorder, direct, capfd):
    actor = Recorder.remote()
    direct(actor)
    rt.get(actor.show.remote("spoken on a channel"))
    assert "spoken on a channel" in capfd.readouterr().out


@needs("processes")
def test_the_node_knows_what_was_called(rt, Recorder, direct, tmp_path):
    """Counts, errors and running calls reach the node, though the calls do not pass it."""
    from fanlight import session
    from fanlight.util.state import summarize_tasks

    query = session.current().engine.query
    actor = Recorder.remote()
    direct(actor)

    def count(name: str, state: str) -> int:
        summary = summarize_tasks()["cluster"]["summary"]
        return summary.get(name, {"state_counts": {}})["state_counts"].get(state, 0)

    @rt.remote
    class Counted:
        def note(self, x):
            return x

        def fail(self):
            raise ValueError("one")

    counted = Counted.remote()
    direct(counted)
    rt.get([counted.note.remote(i) for i in range(500)])
    with pytest.raises(ValueError, match="one"):
        rt.get(counted.fail.remote())
    assert poll(lambda: count("Counted.note", "FINISHED") == 500)
    assert poll(lambda: count("Counted.fail", "FAILED") == 1)
    gate = tmp_path / "gate"
    ref = actor.wait_for.remote(str(gate))
    waiting = actor.note.remote("behind it")
    assert poll(lambda: query("counts")["RUNNING"] == 1)
    assert query("task", id=ref.task_id().hex())["why"].startswith("It has ")
    assert poll(lambda: query("counts")["SUBMITTED"] == 1)
    why = query("task", id=waiting.task_id().hex())["why"]
    assert why.startswith("It waits for its turn on its actor `Recorder`: 1 call of it comes first")
    assert session.ref_state(ref)["state"] == "SUBMITTED"
    gate.touch()
    rt.get([ref, waiting])
    assert session.ref_state(ref)["state"] == "READY"
    assert poll(lambda: query("counts")["RUNNING"] == query("counts")["SUBMITTED"] == 0)


@needs("processes")
def test_calls_from_workers(rt, Recorder, direct):
    actor = Recorder.remote()

    @rt.remote
    def call_many(handle, n):
        from fanlight import session

        values = [rt.get(handle.note.remote(i)) for i in range(n)]
        line = session.require_client().channels.lines[handle._id]
        return values, line.sent

    values, sent = rt.get(call_many.remote(actor, 200))
    assert values == list(range(200))
    assert sent > 0


@needs("processes")
def test_many_threads_call_one_actor(rt, Recorder, direct):
    from concurrent.futures import ThreadPoolExecutor

    actor = Recorder.remote()
    direct(actor)
    ref = rt.put(0)

    def work(number: int) -> list[int]:
        made = [
            actor.note.remote((number, i), ref) if i % 9 == 4 else actor.note.remote((number, i))
            for i in range(100)
        ]
        return rt.get(made)

    with ThreadPoolExecutor(4) as pool:
        for number, values in enumerate(pool.map(work, range(4))):
            assert values == [(number, i) for i in range(100)]
    seen = rt.get(actor.all.remote())
    for number in range(4):  # each thread's calls in its order
        assert [i for n, i in seen if n == number] == list(range(100))


@own
@needs("processes")
def test_results_nobody_wants_leave_nothing(rt, Recorder, direct):
    from fanlight import session

    client = session.require_client()
    actor = Recorder.remote()
    direct(actor)
    for i in range(200):
        actor.note.remote(i)
        actor.make.remote(i)
    assert len(rt.get(actor.all.remote())) == 200
    query = session.current().engine.query

    def settled() -> bool:
        client.flush_drops()
        channels = client.channels
        sets = (
            channels._published, channels._promised, channels._unwanted, channels._early,
            channels.inflight,
        )  # fmt: skip
        return not any(sets) and query("store")["objects"] <= 2

    assert poll(settled), query("store")


@line("RET.8")
def test_a_generator_method_with_a_fixed_number_of_returns(rt, direct):
    @rt.remote
    class Short:
        def two(self):
            yield "first"
            yield "second"

    actor = Short.remote()
    direct(actor)
    first, second, third = actor.two.options(num_returns=3).remote()
    assert rt.get([first, second]) == ["first", "second"]
    with raises_task_error(rt, ValueError):
        rt.get(third)


@own
@pytest.mark.parametrize("passed_on", [True, False])
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_result_that_was_dropped_and_found_again(rt, Recorder, direct, size, passed_on):
    """The node knows it: it must be neither given to it a second time nor kept for ever."""
    from fanlight import session

    @rt.remote
    def length(x):
        return len(x)

    client, query = session.require_client(), session.current().engine.query
    actor = Recorder.remote()
    direct(actor)
    ref = actor.big.remote(size)
    rt.get(ref)
    box = rt.put([ref])
    del ref
    client.flush_drops()
    [found] = rt.get(box)
    assert len(rt.get(found)) == size
    assert not client.channels or found._id in client.channels._published
    if passed_on:
        assert rt.get(length.remote(found)) == size
    del box
    client.flush_drops()
    if passed_on:
        assert rt.get(length.remote(found)) == size
    assert query("store")["objects"] > 1
    del found
    rt.get(actor.note.remote(0))

    def settled() -> bool:
        client.flush_drops()
        return query("store")["objects"] <= 1  # the actor's handle

    assert poll(settled), query("store")


def test_results_outlive_all_handles_of_their_actor(rt, Recorder, direct):
    from fanlight import session

    @rt.remote
    def length(x):
        return len(x)

    client = session.require_client()
    actor = Recorder.remote()
    direct(actor)
    ref = actor.big.remote(10)
    rt.get(ref)
    del actor
    client.flush_drops()
    assert rt.get(length.remote(ref)) == 10
    assert len(rt.get(rt.get(rt.put([ref]))[0])) == 10


@needs("processes")
def test_methods_of_many_names_are_forgotten_at_both_ends(rt: Any, direct: Any) -> None:
    """Whoever calls ``options(name=...)`` in a loop for months fills no process."""

    @rt.remote
    class Actor:
        def say(self, x):
            return x

        def known(self):
            import gc

            from fanlight.worker.channels import Callers

            (callers,) = [x for x in gc.get_objects() if isinstance(x, Callers)]
            (caller,) = callers._known.values()
            return len(caller.specs), len(caller.quick)

    actor = Actor.remote()
    assert direct(actor)
    for start in range(0, 1_000, 50):
        calls = [actor.say.options(name=f"call {i}").remote(i) for i in range(start, start + 50)]
        assert rt.get(calls) == list(range(start, start + 50))
        del calls
        assert poll(lambda: len(_lines(rt, actor).specs) < 260)  # dropped uses are noticed in time
    assert max(rt.get(actor.known.remote())) < 300
    assert rt.get(actor.say.options(name="call 0").remote(5)) == 5, "and may be used again"


@needs("processes")
@pytest.mark.parametrize("kind", ["plain", "threads", "loop"])
def test_calls_of_a_weak_handle_are_answered_though_the_actor_ends(rt, kind, tmp_path, wait_for):
    """A handle of ``get_actor`` keeps no actor alive; what it had sent by then is run."""

    class Plain:
        def slow(self, x):
            time.sleep(0.4)
            return x

    class Loop:
        async def slow(self, x):
            import asyncio

            await asyncio.sleep(0.4)
            return x

    @rt.remote
    def caller(name, opened):
        actor = rt.get_actor(name)
        lines = rt.session.current().client.channels.lines
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            rt.get(actor.__ray_ready__.remote())
            if lines[actor._id].direct:
                break
        refs = [actor.slow.remote(i) for i in range(4)]
        sent = lines[actor._id].sent
        open(opened, "w").close()
        return sent, rt.get(refs)

    concurrency = {} if kind == "plain" else {"max_concurrency": 2}
    make = rt.remote(Loop if kind == "loop" else Plain).options(name=f"weak {kind}", **concurrency)
    actor = make.remote()
    rt.get(actor.__ray_ready__.remote())
    path = str(tmp_path / "opened")
    ref = caller.remote(f"weak {kind}", path)
    wait_for(path)
    del actor  # the last handle that counts
    sent, values = rt.get(ref, timeout=60)
    assert sent >= 4 and values == list(range(4))
