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
