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
