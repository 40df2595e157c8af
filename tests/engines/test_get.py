"""GET: get, put and await."""

from __future__ import annotations

import asyncio
import concurrent.futures

import pytest

from tests.engines.support import line, needs, raises_task_error


@line("GET.1")
def test_get_one_and_many(rt):
    f = rt.remote(lambda x: x)
    refs = [f.remote(i) for i in range(5)]
    assert rt.get(refs[0]) == 0
    assert rt.get(refs[::-1]) == [4, 3, 2, 1, 0]
    assert rt.get([refs[1], refs[1]]) == [1, 1]
    assert rt.get([]) == []


@line("GET.2")
def test_get_of_other_things(rt):
    ref = rt.put(1)
    handle = rt.remote(type("Actor", (), {})).remote()
    for wrong in ((ref,), {"a": ref}, 5, handle):
        with pytest.raises(ValueError):
            rt.get(wrong)
    for wrong in ([ref, 5], [[ref]], [None]):
        with pytest.raises(TypeError):
            rt.get(wrong)


@line("GET.3")
def test_timeout_is_keyword_only(rt):
    with pytest.raises(TypeError):
        rt.get(rt.put(1), 5)


@line("GET.3")
@needs("background")
def test_the_task_goes_on_after_a_timeout(rt, tmp_path, wait_for, note):
    go = str(tmp_path / "go")

    @rt.remote
    def f():
        wait_for(go)
        return "done"

    ref = f.remote()
    with pytest.raises(rt.exceptions.GetTimeoutError):
        rt.get(ref, timeout=0.05)
    note(go)
    assert rt.get(ref) == "done"


@line("GET.3", "GET.4", "GET.20")
def test_timeouts(rt, never):
    ref = never()
    for timeout in (0, 0.0, 0.05):
        with pytest.raises(rt.exceptions.GetTimeoutError):
            rt.get(ref, timeout=timeout)
        with pytest.raises(TimeoutError):
            rt.get([rt.put(1), ref], timeout=timeout)


@line("GET.4")
def test_a_timeout_of_zero_gives_what_is_there(rt):
    ref = rt.remote(lambda: 1).remote()
    rt.wait([ref])
    assert rt.get(ref, timeout=0) == 1
    assert rt.get(rt.put(2), timeout=0) == 2
    assert rt.get(rt.put(3), timeout=None) == 3


@line("GET.5")
def test_a_list_raises_at_its_first_failure(rt, never):
    @rt.remote
    def fail():
        raise ValueError("early")

    with raises_task_error(rt, ValueError, match="early"):
        rt.get([never(), fail.remote(), never()], timeout=60)


@line("GET.15")
def test_put_stores_a_snapshot(rt):
    value = [1]
    ref = rt.put(value)
    value.append(2)
    assert rt.get(ref) == [1]


@line("GET.15")
def test_put_stores_a_snapshot_of_an_array(rt):
    np = pytest.importorskip("numpy")
    for n in (10, 300_000):
        array = np.zeros(n)
        ref = rt.put(array)
        array[:] = 1
        assert rt.get(ref).sum() == 0


@line("GET.16")
def test_put_of_a_ref(rt):
    ref = rt.put(1)
    with pytest.raises(TypeError):
        rt.put(ref)
    (inner,) = rt.get(rt.put([ref]))
    assert inner == ref
    assert rt.get(inner) == 1


@line("GET.17")
def test_await(rt):
    f = rt.remote(lambda x: x + 1)

    @rt.remote
    def fail():
        raise KeyError("awaited")

    async def main():
        assert await f.remote(1) == 2
        assert await asyncio.gather(*[f.remote(i) for i in range(5)]) == [1, 2, 3, 4, 5]
        assert await rt.put(9) == 9
        with raises_task_error(rt, KeyError):
            await fail.remote()

    asyncio.run(main())


@line("GET.17")
def test_await_with_a_timeout(rt, never):
    async def main():
        async def waiting():
            return await never()

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting(), 0.05)
        return await rt.remote(lambda: 1).remote()

    assert asyncio.run(main()) == 1


@line("GET.17")
@needs("background")
def test_a_loop_goes_on_while_it_awaits(rt, tmp_path, wait_for, note):
    go = str(tmp_path / "go")

    @rt.remote
    def f():
        wait_for(go)
        return 1

    async def main():
        async def open_the_gate():
            note(go)

        result, _ = await asyncio.gather(asyncio.ensure_future(wrap(f.remote())), open_the_gate())
        return result

    async def wrap(ref):
        return await ref

    assert asyncio.run(main()) == 1


@line("GET.18")
def test_futures(rt, eventually):
    @rt.remote
    def fail():
        raise KeyError("in a future")

    good, bad = rt.remote(lambda: 1).remote().future(), fail.remote().future()
    assert isinstance(good, concurrent.futures.Future)
    eventually(lambda: good.done() and bad.done())
    assert good.result() == 1
    assert isinstance(bad.exception(), KeyError)
    assert rt.put(2).future().result(timeout=60) == 2


@line("GET.19")
def test_two_gets_give_two_objects(rt):
    ref = rt.put([1])
    assert rt.get(ref) is not rt.get(ref)
    rt.get([ref, ref])[0].append(2)
    assert rt.get(ref) == [1]
