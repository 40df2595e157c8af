"""GET: wait."""

from __future__ import annotations

import time

import pytest

from tests.engines.support import line, needs


@line("GET.6", "GET.8")
def test_ready_and_not_ready(rt, never):
    done, pending = rt.put(1), never()
    assert rt.wait([pending, done]) == ([done], [pending])
    assert rt.wait([pending, done], num_returns=1, timeout=None, fetch_local=True) == (
        [done],
        [pending],
    )
    with pytest.raises(TypeError):
        rt.wait([done], 1)


@line("GET.7", "GET.8")
def test_never_more_than_asked_for(rt):
    refs = [rt.remote(lambda i=i: i).remote() for i in range(6)]
    rt.get(refs)
    ready, rest = rt.wait(refs, num_returns=4)
    assert len(ready) == 4 and len(rest) == 2
    order = {ref: i for i, ref in enumerate(refs)}
    for part in (ready, rest):
        assert [order[r] for r in part] == sorted(order[r] for r in part)
    assert set(ready) | set(rest) == set(refs)
    assert rt.wait(refs, num_returns=6) == (refs, [])


@line("GET.9")
def test_timeouts(rt, never):
    done, pending = rt.put(1), [never(), never()]
    for timeout in (0, 0.05):
        assert rt.wait(pending, timeout=timeout) == ([], pending)
        assert rt.wait([pending[0], done, pending[1]], num_returns=2, timeout=timeout) == (
            [done],
            pending,
        )


@line("GET.9")
@needs("background")
def test_wait_returns_when_enough_are_ready(rt, tmp_path, wait_for, note):
    gates = [str(tmp_path / str(i)) for i in range(3)]

    @rt.remote(num_cpus=0)
    def f(gate):
        wait_for(gate)

    refs = [f.remote(g) for g in gates]
    note(gates[1])
    assert rt.wait(refs) == ([refs[1]], [refs[0], refs[2]])
    note(gates[2])
    assert rt.wait(refs, num_returns=2) == ([refs[1], refs[2]], [refs[0]])
    note(gates[0])
    assert rt.wait(refs, num_returns=3) == (refs, [])


@line("GET.10")
def test_a_failed_task_is_ready(rt, never):
    @rt.remote
    def fail():
        raise ValueError("x")

    failed, pending = fail.remote(), never()
    assert rt.wait([pending, failed]) == ([failed], [pending])


@line("GET.11")
def test_wrong_arguments(rt, never):
    ref = rt.put(1)
    assert rt.wait([]) == ([], [])
    with pytest.raises(ValueError, match="unique"):
        rt.wait([ref, ref])
    for count in (0, -1, 2):
        with pytest.raises(ValueError):
            rt.wait([ref], num_returns=count)
    with pytest.raises(ValueError):
        rt.wait([never()], timeout=-1)
    for wrong in (ref, (ref,), [ref, 5], [[ref]]):
        with pytest.raises(TypeError):
            rt.wait(wrong)


@line("GET.12")
def test_the_very_objects_come_back(rt, never):
    a, b = rt.put(1), never()
    ready, rest = rt.wait([a, b])
    assert ready[0] is a and rest[0] is b


@line("GET.14")
def test_fetch_local_false(rt, never):
    ref, pending = rt.remote(lambda: bytes(300_000)).remote(), never()
    assert rt.wait([ref, pending], fetch_local=False) == ([ref], [pending])
    assert len(rt.get(ref)) == 300_000


@line("GET.6")
def test_the_loop_of_the_courses(rt):
    square = rt.remote(lambda x: x * x)
    left = [square.remote(i) for i in range(40)]
    total = 0
    while left:
        done, left = rt.wait(left, num_returns=min(3, len(left)))
        total += sum(rt.get(done))
    assert total == sum(i * i for i in range(40))


@line("GET.11", "GET.12")
def test_lists_that_wait_gave_back_are_checked_like_others(rt, never):
    done, pending = [rt.put(i) for i in range(4)], [never(), never()]

    def left():
        ready, rest = rt.wait(pending + done)
        assert ready == done[:1]
        return rest

    for change, error in (
        (lambda rest: rest.append(5), TypeError),
        (lambda rest: rest.__setitem__(0, "ref"), TypeError),
        (lambda rest: rest.append(rest[-1]), ValueError),
        (lambda rest: rest.__setitem__(0, rest[-1]), ValueError),
    ):
        rest = left()
        change(rest)
        with pytest.raises(error):
            rt.wait(rest)
    rest = left()
    for count in (0, len(rest) + 1):
        with pytest.raises(ValueError):
            rt.wait(rest, num_returns=count)
    with pytest.raises(ValueError):
        rt.wait(left(), timeout=-1)


@line("GET.8", "GET.12")
def test_lists_that_wait_gave_back_may_be_changed(rt, never):
    done, pending = [rt.put(i) for i in range(8)], never()
    _, rest = rt.wait([pending, *done])
    rest.reverse()
    ready, rest = rt.wait(rest, num_returns=2)
    assert [id(r) for r in ready] == [id(done[7]), id(done[6])]
    assert [id(r) for r in rest] == [id(r) for r in (*done[5:0:-1], pending)]
    new = rt.put("new")
    rest.insert(1, new)
    kept = rest.copy()
    ready, last = rt.wait(rest, num_returns=7, timeout=0.01)
    assert ready == [done[5], new, *done[4:0:-1]] and last == [pending]
    assert rest == kept, "the list that came in is the caller's"
    assert rt.wait(last, timeout=0) == ([], [pending])


@line("GC.1", "GET.6")
@pytest.mark.runtime(num_cpus=1, object_store_memory=80 << 20)
def test_what_wait_gave_back_is_not_kept(rt, eventually):
    def in_store():
        store = rt.session.current().engine.query("store")
        return store["used"] - store["cached"]

    eventually(lambda: in_store() == 0)
    refs = [rt.put(bytes(1 << 20)) for _ in range(3)]
    ready, rest = rt.wait(refs)
    assert len(ready) == 1 and len(rest) == 2
    del refs, ready, rest
    eventually(lambda: in_store() == 0)


@line("GET.6", "RES.11")
def test_wait_inside_a_task(rt):
    @rt.remote
    def child(i):
        return i

    @rt.remote
    def parent():
        refs = [child.remote(i) for i in range(3)]
        ready, rest = rt.wait(refs, num_returns=3)
        return sorted(rt.get(ready)), len(rest)

    assert rt.get(parent.remote()) == ([0, 1, 2], 0)


@line("GET.9")
def test_polling_lets_work_go_on(rt):
    ref = rt.remote(lambda: 1).remote()
    end = time.monotonic() + 20
    while not rt.wait([ref], timeout=0.01)[0]:
        assert time.monotonic() < end
    assert rt.get(ref) == 1
