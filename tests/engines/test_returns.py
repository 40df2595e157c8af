"""RET: number of returns."""

from __future__ import annotations

import os

import pytest

from tests.engines.support import line, raises_task_error


@line("RET.1")
def test_several_returns(rt):
    @rt.remote(num_returns=3)
    def f(kind):
        return {
            "tuple": (1, 2, 3),
            "list": [1, 2, 3],
            "str": "123",
            "keys": {1: 0, 2: 0, 3: 0}.keys(),
        }[kind]

    for kind in ("tuple", "list", "keys"):
        refs = f.remote(kind)
        assert type(refs) is list and len(refs) == 3
        assert rt.get(refs) == [1, 2, 3]
    assert rt.get(f.remote("str")) == ["1", "2", "3"]
    assert len(set(refs)) == 3


@line("RET.1")
def test_an_array_as_several_returns(rt):
    np = pytest.importorskip("numpy")
    f = rt.remote(num_returns=2)(lambda: np.arange(4).reshape(2, 2))
    first, second = rt.get(f.remote())
    assert first.tolist() == [0, 1] and second.tolist() == [2, 3]


@line("RET.2")
def test_a_wrong_number_of_returns(rt):
    f = rt.remote(num_returns=2)(lambda value: value)
    for ref in f.remote((1, 2, 3)):
        with raises_task_error(rt, ValueError, match=r"returned 3 objects, but num_returns=2"):
            rt.get(ref)
    for ref in f.remote([1]):
        with raises_task_error(rt, ValueError):
            rt.get(ref)
    for ref in f.remote(5):
        with raises_task_error(rt, TypeError):
            rt.get(ref)


@line("RET.3")
def test_no_returns(rt, tmp_path, note, eventually):
    path = str(tmp_path / "ran")
    f = rt.remote(num_returns=0)(lambda: note(path))
    assert f.remote() is None
    eventually(lambda: os.path.exists(path))


@line("RET.4", "RET.5")
def test_one_return(rt):
    assert rt.get(rt.remote(lambda: (1, 2)).remote()) == (1, 2)
    assert rt.get(rt.remote(lambda: [1]).remote()) == [1]

    @rt.remote
    def nothing():
        pass

    assert rt.get(nothing.remote()) is None


@line("RET.6")
def test_each_return_of_a_failed_task_raises(rt):
    @rt.remote(num_returns=3)
    def f():
        raise OSError("no luck")

    for ref in f.remote():
        with raises_task_error(rt, OSError, match="no luck"):
            rt.get(ref)


@line("RET.10")
def test_counts_that_are_none(rt):
    for count, error in ((-1, ValueError), ("many", TypeError)):
        with pytest.raises(error):
            rt.remote(num_returns=count)(lambda: 1)
        with pytest.raises(error):
            rt.remote(lambda: 1).options(num_returns=count)


@line("RET.8")
def test_a_generator_with_a_number_of_returns(rt, tmp_path, note, eventually):
    @rt.remote
    def items(n, fail=False):
        yield from [f"item {i}" for i in range(n)]
        if fail:
            raise OSError("no luck")

    @rt.remote
    class Actor:
        def items(self, n):
            yield from [f"item {i}" for i in range(n)]

    @rt.remote
    class AsyncActor:
        async def items(self, n):
            for i in range(n):
                yield f"item {i}"

    for f in (items, Actor.remote().items, AsyncActor.remote().items):
        assert rt.get(f.options(num_returns=3).remote(3)) == ["item 0", "item 1", "item 2"]
        assert rt.get(f.options(num_returns=2).remote(4)) == ["item 0", "item 1"], "surplus"
        assert rt.get(f.options(num_returns=1).remote(4)) == "item 0"
        first, second, third = f.options(num_returns=3).remote(2)
        assert rt.get([first, second]) == ["item 0", "item 1"]
        with raises_task_error(rt, ValueError, match="yielded 2 item"):
            rt.get(third)
        with raises_task_error(rt, ValueError, match="yielded 0 item"):
            rt.get(f.options(num_returns=1).remote(0))
    kept, lost = items.options(num_returns=2).remote(1, fail=True)
    assert rt.get(kept) == "item 0"
    with raises_task_error(rt, OSError, match="no luck"):
        rt.get(lost)

    path = str(tmp_path / "ran")

    @rt.remote(num_returns=0)
    def silent():
        yield 1
        note(path)

    assert silent.remote() is None
    eventually(lambda: os.path.exists(path))


@line("RET.8")
def test_a_generator_of_large_items_with_a_number_of_returns(rt):
    @rt.remote(num_returns=3)
    def blocks():
        yield b"a" * 300_000
        yield b"b" * 300_000

    first, second, third = blocks.remote()
    assert rt.get(second) == b"b" * 300_000 and rt.get(first) == b"a" * 300_000
    with pytest.raises(ValueError):
        rt.get(third)


@line("RET.9")
def test_dynamic_returns(rt):
    with pytest.warns(DeprecationWarning, match="dynamic"):

        @rt.remote(num_returns="dynamic")
        def items(n, fail=False):
            for i in range(n):
                yield bytes([i]) * (300_000 if i == 1 else 1)
            if fail:
                raise OSError("no luck")

    ref = items.remote(3)
    assert type(ref) is rt.ObjectRef
    found = rt.get(ref)
    assert isinstance(found, rt.DynamicObjectRefGenerator) and len(found) == 3
    assert [rt.get(r)[:1] for r in found] == [b"\0", b"\1", b"\2"]
    with pytest.raises(TypeError):
        found[0]

    @rt.remote
    def total(refs):
        return sum(len(x) for x in rt.get(list(refs)))

    assert rt.get(total.remote(ref)) == 300_002
    assert len(rt.get(items.remote(0))) == 0

    *good, bad = rt.get(items.remote(2, fail=True))
    assert len(rt.get(good)) == 2
    with raises_task_error(rt, OSError, match="no luck"):
        rt.get(bad)


@line("RET.9")
@pytest.mark.filterwarnings("ignore:num_returns:DeprecationWarning")
def test_dynamic_returns_of_methods(rt):
    @rt.remote
    class Actor:
        def items(self, n):
            yield from [10 * i for i in range(n)]

    @rt.remote
    class AsyncActor:
        async def items(self, n):
            for i in range(n):
                yield 10 * i

    for cls in (Actor, AsyncActor):
        found = rt.get(cls.remote().items.options(num_returns="dynamic").remote(3))
        assert rt.get(list(found)) == [0, 10, 20]


@line("RET.10")
@pytest.mark.filterwarnings("ignore:num_returns:DeprecationWarning")
def test_special_returns_of_what_is_no_generator(rt):
    f = rt.remote(lambda: [1, 2])
    with raises_task_error(rt, ValueError, match="must be a generator"):
        rt.get(next(f.options(num_returns="streaming").remote()))
    with raises_task_error(rt, ValueError, match="must be a generator"):
        rt.get(f.options(num_returns="dynamic").remote())


@line("RET.11")
def test_methods(rt):
    @rt.remote
    class Actor:
        def __init__(self):
            self.calls = 0

        @rt.method(num_returns=2)
        def two(self):
            self.calls += 1
            return 1, 2

        def one(self):
            self.calls += 1
            return 1, 2

        def count(self):
            return self.calls

    actor = Actor.remote()
    assert rt.get(actor.two.remote()) == [1, 2]
    assert rt.get(actor.two.options(num_returns=1).remote()) == (1, 2)
    assert rt.get(actor.one.remote()) == (1, 2)
    assert rt.get(actor.one.options(num_returns=2).remote()) == [1, 2]
    assert actor.one.options(num_returns=0).remote() is None
    assert rt.get(actor.count.remote()) == 5
    with pytest.raises((AssertionError, ValueError), match="foo"):
        rt.method(foo=1)
