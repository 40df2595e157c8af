"""What a program calls is recorded for who watches, with its place; and nothing when nobody does."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fanlight import calls, session
from fanlight.config import INLINE_LIMIT
from fanlight.worker.idleness import Idleness, _delayed


@pytest.fixture
def log(rt: Any) -> Iterator[calls.Log]:
    """Watches the current session, until the test is over."""
    made = calls.Log(lambda args, kwargs: tuple((type(a).__name__,) for a in args))
    calls.watch(made, session.require().engine)
    yield made
    calls.watch(None)


class Work:
    """Remote functions of the test's own, so that they are pickled by value."""

    def __init__(self, rt: Any) -> None:
        @rt.remote
        def double(x: Any) -> Any:
            return 2 * x

        @rt.remote
        def nests() -> Any:
            return rt.get(double.remote(3))

        @rt.remote
        class Counter:
            def add(self, x: int) -> int:
                return x

        @rt.remote
        def waits() -> None:
            time.sleep(0.2)

        @rt.remote
        def works() -> None:
            end = time.process_time() + 0.15
            while time.process_time() < end:
                pass

        @rt.remote
        def waits_for_others() -> None:
            rt.get(waits.remote())

        self.double, self.nests, self.Counter = double, nests, Counter
        self.waits, self.works, self.waits_for_others = waits, works, waits_for_others


@pytest.fixture
def work(rt: Any) -> Work:
    return Work(rt)


def lines_of(records: list[Any]) -> list[str]:
    """The source of the line of each record."""
    import linecache

    found = []
    for record in records:
        line = [*record.code.co_positions()][record.at // 2][0]
        found.append(linecache.getline(record.code.co_filename, line).strip())
    return found


def test_calls_with_their_places(rt: Any, work: Work, log: calls.Log) -> None:
    one = work.double.remote(1)
    assert rt.get(one) == 2
    counter = work.Counter.remote()
    several = [one, counter.add.remote(5)]
    assert rt.get(several) == [2, 5]
    assert rt.wait([one], timeout=0)[0] == [one]
    ref = rt.put(3)
    assert rt.get(work.nests.remote()) == 6, "a task's own calls are not the driver's"
    records, beyond = log.take()
    assert beyond == 0
    shown = [r for r in records if not isinstance(r, calls.Defined)]
    assert [type(r).__name__ for r in shown] == [
        *("Submitted", "Got", "Submitted", "Got", "Waited", "Submitted", "Got"),
    ]
    assert lines_of(shown)[:4] == [
        "one = work.double.remote(1)",
        "assert rt.get(one) == 2",
        "several = [one, counter.add.remote(5)]",
        "assert rt.get(several) == [2, 5]",
    ]
    assert [r.function.name for r in shown if isinstance(r, calls.Submitted)] == [
        *("double", "Counter.add", "nests"),
    ]
    assert shown[1].oids == (one.binary(),) and shown[1].single and not shown[3].single
    assert all(a.end <= b.end for a, b in itertools.pairwise(shown))
    assert [(r.given, r.found) for r in shown if isinstance(r, calls.Waited)] == [(1, 1)]
    assert {r.name for r in records if isinstance(r, calls.Defined)} == {
        *("double", "nests", "Counter"),
    }
    assert log.take() == ([], 0)
    del ref


@pytest.mark.needs("processes")
def test_large_arguments(rt: Any, work: Work, log: calls.Log) -> None:
    value = b"x" * (2 * INLINE_LIMIT)
    refs = [work.double.remote(value) for _ in range(3)]
    refs.append(work.double.remote(rt.put(value)))  # put once, by hand
    assert rt.get(refs[0]) == 2 * value
    sent = [r for r in log.take()[0] if isinstance(r, calls.Sent)]
    assert [r.oid for r in sent] == [r.binary() for r in refs[:3]]
    assert all(r.size > 2 * INLINE_LIMIT and r.seconds > 0 for r in sent)
    assert sent[0].values == (("bytes",),)


def test_other_threads_and_other_times_are_left_out(rt: Any, work: Work, log: calls.Log) -> None:
    thread = threading.Thread(target=lambda: rt.get(work.double.remote(1)))
    thread.start()
    thread.join()
    assert not any(isinstance(r, calls.Got | calls.Submitted) for r in log.take()[0])
    log.on = False
    assert rt.get(work.double.remote(1)) == 2
    assert rt.get([work.double.remote(1)]) == [2]
    assert log.take() == ([], 0)


def test_nothing_is_left_when_nobody_watches(rt: Any, work: Work) -> None:
    current = session.require()
    owners = (current.engine, current.client, current.client.values)
    before = [dict(vars(owner)) for owner in owners]
    log = calls.Log(lambda args, kwargs: ())
    calls.watch(log, current.engine)
    assert [dict(vars(owner)) for owner in owners] != before
    calls.watch(None)
    assert [dict(vars(owner)) for owner in owners] == before


def test_a_later_session_is_watched_too(fresh: Any) -> None:
    rt = fresh.fanlight
    made = calls.Log(lambda args, kwargs: ())
    calls.watch(made, None)
    try:
        fresh.init(num_cpus=1)
        assert rt.get(Work(rt).double.remote(1)) == 2
    finally:
        calls.watch(None)
    assert [type(r).__name__ for r in made.take()[0]] == ["Defined", "Submitted", "Got"]


def test_the_log_is_bounded(
    monkeypatch: pytest.MonkeyPatch, rt: Any, work: Work, log: calls.Log
) -> None:
    monkeypatch.setattr(calls, "END", 10 * calls.FIELDS)
    rt.get([work.double.remote(i) for i in range(25)])
    records, beyond = log.take()
    assert sum(isinstance(r, calls.Submitted) for r in records) == 10
    assert beyond == 15


def test_runs_that_have_ended(rt: Any, work: Work) -> None:
    client = session.require().client
    _, before = calls.ended_runs(client)
    refs = [work.double.remote(i) for i in range(3)]
    rt.get(refs)
    rows, after = calls.ended_runs(client, before)
    assert {row[0] for row in rows} == {ref.task_id().binary() for ref in refs}
    assert {row[1] for row in rows} == {"double"}
    assert calls.ended_runs(client, after) == ([], after)


# --- tasks that hold a CPU and do not use it --------------------------------------------------------


@pytest.mark.needs("processes")
@pytest.mark.skipif(_delayed() < 0, reason="this kernel does not tell how long a thread waited")
@pytest.mark.long
def test_who_waits_is_told_from_who_works(rt: Any, work: Work) -> None:
    client = session.require().client
    for name in ("waits", "waits", "works", "works", "waits_for_others", "waits_for_others"):
        rt.get([getattr(work, name).remote() for _ in range(4)])
    flags: dict[str, list[int]] = {}
    for _, name, _, flag, _, _ in calls.ended_runs(client)[0]:
        flags.setdefault(name, []).append(flag & 2)
    assert not any(flags["works"])
    assert not any(flags["waits_for_others"]), "waiting in get gives the CPU back"
    assert any(flags["waits"])


def test_without_a_look_at_the_scheduler_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from fanlight.worker import idleness

    monkeypatch.setattr(idleness, "_delayed", lambda: -1.0)
    assert Idleness().of(1000.0) == 0.0
    monkeypatch.setattr(idleness, "_delayed", lambda: 0.0)
    monkeypatch.setattr(idleness, "_has_children", lambda: False)
    assert Idleness().of(1e6) > 9e5
    monkeypatch.setattr(idleness, "_has_children", lambda: True)
    assert Idleness().of(1e6) == 0.0


def test_waits_are_kept_for_the_timeline(log: calls.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not looked at yet, and those that were; and no calls of an instant."""
    monkeypatch.setattr(calls, "_kept", type(calls._kept)())
    code = test_waits_are_kept_for_the_timeline.__code__
    log.gets += [1e9, 1e9 + 2, code, 0, b"one", False]  # no time of day: nothing else was then
    log.gets += [1e9 + 3, 1e9 + 3.0001, code, 0, b"two", False]
    log.records.append(calls.Got(1e9 + 4, 1e9 + 5, code, 0, (b"a", b"b"), False, False))
    log.records.append(calls.Waited(1e9 + 6, 1e9 + 7, code, 0, 5, 3, None))
    since = 1e9 + log.offset
    expected = [
        (0, 2, "get of 1 object"), (4, 5, "get of 2 objects"), (6, 7, "wait: 3 of 5 ready"),
    ]  # fmt: skip
    for _ in range(2):
        found = [w for w in calls.waits() if since <= w[0] <= since + 100]
        assert [(round(a - since), round(b - since), what) for a, b, what in found] == expected
        log.take()
