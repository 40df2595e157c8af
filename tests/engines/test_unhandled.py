"""ERR.21: failures that nobody looked at are shown."""

from __future__ import annotations

import gc

import msgspec
import pytest

from fanlight import messages as m
from fanlight.client.unhandled import Unhandled
from tests.engines.support import line, needs

WORDS = "Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1')"


@pytest.fixture
def shown(rt, capfd, eventually):
    """``shown()``: what stands on stderr when the next task's result is there."""

    @rt.remote
    def fence():
        pass

    def shown(wanted=WORDS):
        gc.collect()
        seen = []
        if wanted:
            eventually(lambda: seen.append(capfd.readouterr().err) or wanted in "".join(seen))
        for _ in range(2):  # dropped refs are told with the next messages
            rt.get(fence.remote())
            rt.session.current().client.flush_drops()
        seen.append(capfd.readouterr().err)
        return "".join(seen)

    return shown


@pytest.fixture
def fails(rt):
    @rt.remote(max_retries=0)
    def fails(what="told"):
        raise ValueError(what)

    return fails


@line("ERR.21")
def test_a_ref_that_is_dropped_before_the_failure(rt, fails, shown):
    fails.remote("dropped at once")
    text = shown()
    assert text.count(WORDS) == 1
    assert "ValueError: dropped at once" in text and "fails" in text and "Traceback" in text


@line("ERR.21")
def test_a_ref_that_is_dropped_after_the_failure(rt, fails, shown):
    ref = fails.options(name="later").remote("dropped later")  # of one name, they are counted
    after = rt.remote(lambda: 1).remote()
    rt.get(after)
    while rt.session.current().client.entries.get(ref._id) is None:
        rt.get(rt.remote(lambda: 1).remote())
    assert WORDS not in shown("")
    del ref
    assert "ValueError: dropped later" in shown()


@line("ERR.21")
def test_what_was_seen_is_not_shown(rt, fails, shown):
    with pytest.raises(ValueError):
        rt.get(fails.remote())
    ready, _ = rt.wait([fails.remote(), fails.remote()], num_returns=2)
    del ready
    with pytest.raises(ValueError):
        rt.get([fails.remote(), fails.remote(), fails.remote()])
    with pytest.raises(ValueError):
        fails.remote().future().result()
    assert WORDS not in shown("")


@line("ERR.21")
def test_a_failure_that_goes_on_is_reported_where_it_ends(rt, fails, shown):
    @rt.remote
    def use(x):
        return x

    with pytest.raises(ValueError):
        rt.get(use.remote(fails.remote("handled")))
    assert WORDS not in shown("")
    use.remote(fails.remote("not handled"))
    text = shown()
    assert text.count(WORDS) == 1 and "not handled" in text and "use" in text


@line("ERR.21")
def test_a_failure_that_was_sent_before_its_task_was_heard_of(rt, fails, never, shown):
    """What it was passed to reports it, though the node could not know when it sent it."""
    client = rt.session.current().client
    failed = fails.remote()
    rt.wait([failed])
    failure = client.entries[failed._id]
    ref = never()
    used = rt.remote(lambda x: x).remote(ref)
    client._objects(m.Objects([m.Value(ref._id, failure.kind, failure.data)]))
    del ref
    assert WORDS not in shown("")
    rt.cancel(used)


@line("ERR.21")
def test_cancelled_and_killed_work_is_not_shown(rt, shown, never):
    ref = never()
    rt.cancel(ref)
    rt.get(rt.remote(lambda: 1).remote())
    del ref

    @rt.remote
    class Actor:
        def call(self):
            pass

    actor = Actor.remote()
    rt.get(actor.call.remote())
    rt.kill(actor)
    actor.call.remote()
    assert WORDS not in shown("")


@line("ERR.21")
@needs("processes")
def test_several_of_a_kind_are_counted(script, monkeypatch):
    monkeypatch.setenv("RAY_DEDUP_LOGS_AGG_WINDOW_S", "600")  # however slow the machine is
    done = script(
        """
        @fanlight.remote
        def fails(i):
            raise ValueError(f"number {i}")
        for i in range(20):
            fails.remote(i)
        import time
        query = fanlight.session.current().engine.query
        while query("counts")["FAILED"] < 20:
            time.sleep(0.002)
        fanlight.shutdown()
        """
    )
    assert done.stderr.count("Unhandled error") == 2, done.stderr
    assert "[repeated 19x across cluster]" in done.stderr


@line("ERR.21")
@pytest.mark.parametrize("name", ["RAY", "FANLIGHT"])
def test_it_can_be_suppressed(script, monkeypatch, name):
    monkeypatch.setenv(f"{name}_IGNORE_UNHANDLED_ERRORS", "1")
    done = script(
        """
        @fanlight.remote
        def fails():
            raise ValueError
        fails.remote()
        fanlight.wait([fanlight.remote(lambda: 1).remote()])
        """
    )
    assert done.returncode == 0 and done.stderr == ""


@line("ERR.21")
def test_a_ref_that_is_dropped_just_before_the_end(script):
    done = script(
        """
        @fanlight.remote
        def fails():
            raise ValueError("at the end")
        client = fanlight.session.current().client
        ref = fails.remote()
        fence = fanlight.remote(lambda: 1)
        while client.entries[ref._id] is None:
            fanlight.get(fence.remote())
        client.flush_drops = lambda: None  # nobody had the time
        del ref
        fanlight.shutdown()
        """
    )
    assert done.stderr.count("ValueError: at the end") == 1, done.stderr


@line("ERR.21")
def test_nothing_is_shown_of_refs_that_live_until_the_end(script):
    done = script(
        """
        @fanlight.remote
        def fails():
            raise ValueError
        refs = [fails.remote() for _ in range(3)]
        fence = fanlight.remote(lambda: 1)
        while fanlight.session.current().client.entries[refs[-1]._id] is None:
            fanlight.get(fence.remote())
        """
    )
    assert done.returncode == 0 and done.stderr == ""


def test_nothing_is_kept_of_what_is_seen():
    unhandled = Unhandled(b"me")
    told = []
    value = m.Value(b"me1", m.FAILURE, b"", 0)
    unhandled.arrived(value, True)
    assert not unhandled.waiting, "nobody to report to"
    unhandled.report = lambda text, pattern, origin: told.append(text)
    unhandled.arrived(value, True)
    unhandled.seen([b"other", b"me1"])
    unhandled.gone(value)
    unhandled.excuse([b"me2"])
    unhandled.arrived(m.Value(b"me2", m.FAILURE, b"", 0), True)
    unhandled.arrived(m.Value(b"you", m.FAILURE, b"", 0), False)
    assert not unhandled.waiting and not unhandled._dropped and not told


def test_what_comes_while_it_is_told_is_told_too():
    """Threads that drop refs do not wait for the one that reports."""

    class Data(bytes):
        """Another thread has its turn when this is looked up."""

        late = None

        def __hash__(self):
            late, self.late = self.late, None
            if late is not None:
                unhandled.arrived(late, False)
            return super().__hash__()

    def failure(oid, message):
        data = Data(msgspec.msgpack.encode(m.Failure("x", message, task_name="f")))
        return m.Value(oid, m.FAILURE, data, 0)

    unhandled = Unhandled(b"me")
    told = []
    unhandled.report = lambda text, pattern, origin: told.append(text)
    first = failure(b"me1", "one")
    first.data.late = failure(b"me2", "two")
    unhandled.arrived(first, False)
    unhandled.arrived(failure(b"me3", "three"), False)
    unhandled.tell()
    assert told == ["f: one", "f: three", "f: two"]
