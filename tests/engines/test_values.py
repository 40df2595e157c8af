"""ARG and IMM: values survive the way, and arrays are shared, read-only."""

from __future__ import annotations

import collections
import copy
import dataclasses
import math
import threading
import types

import pytest

from tests.engines.support import line, raises_task_error

np = pytest.importorskip("numpy")

SMALL, LARGE = 10, 300_000  # elements: inline, and in shared memory


@line("ARG.8")
def test_an_argument_that_cannot_be_pickled(rt):
    @rt.remote
    def f(x, y=None):
        return x

    lock = threading.Lock()
    for args, kwargs in (((lock,), {}), (([lock],), {}), ((1,), {"y": lock})):
        with pytest.raises(TypeError, match="Could not serialize the argument") as info:
            f.remote(*args, **kwargs)
        assert not isinstance(info.value, rt.exceptions.RayError)
    assert rt.get(f.remote(1)) == 1


@line("ARG.9")
def test_a_result_or_put_that_cannot_be_pickled(rt):
    @rt.remote
    def f():
        return threading.Lock()

    with raises_task_error(rt, TypeError):
        rt.get(f.remote())
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        rt.put(threading.Lock())


VALUES = {
    "none": None,
    "bools": [True, False],
    "integers": [0, -1, 2**100, -(2**63)],
    "floats": [0.5, math.inf, -0.0],
    "complex": 1j,
    "text": "häß 🎉",
    "bytes": b"\0\xff",
    "tuple": (1, (2, [3])),
    "set": {1, 2},
    "frozenset": frozenset({1}),
    "dict": {1: "a", (2, 3): "b", None: "c"},
    "range": range(3),
    "slice": slice(1, 2),
    "counter": collections.Counter("abca"),
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "deque": collections.deque([1, 2], maxlen=3),
    "defaultdict": collections.defaultdict(int, {"a": 1}),
    "namespace": types.SimpleNamespace(a=1),
    "numpy scalar": np.float32(1.5),
    "numpy datetime": np.datetime64("2026-01-02"),
    "exception class": ValueError,
    "ellipsis": ...,
}


@line("ARG.10")
@pytest.mark.parametrize("name", VALUES)
def test_exact_types(rt, name):
    value = VALUES[name]
    identity = rt.remote(lambda x: x)
    for found in (rt.get(rt.put(value)), rt.get(identity.remote(value))):
        assert found == value
        assert type(found) is type(value)
        if isinstance(value, list | tuple):
            assert [type(x) for x in found] == [type(x) for x in value]


@line("ARG.10")
def test_named_tuples_dataclasses_and_local_classes(rt):
    LocalPair = collections.namedtuple("LocalPair", "a b")

    @dataclasses.dataclass
    class LocalRow:
        name: str

    class Plain:
        def __init__(self, x):
            self.x = x

    identity = rt.remote(lambda x: x)
    for value in (LocalPair(1, 2), LocalRow("r")):
        for found in (rt.get(rt.put(value)), rt.get(identity.remote(value))):
            assert found == value and type(found) is type(value)
    found = rt.get(identity.remote(Plain(3)))
    assert isinstance(found, Plain) and found.x == 3


@line("ARG.10")
def test_functions_as_values(rt):
    def outer(n):
        def inner(x):
            return x + n

        return inner

    @rt.remote
    def call(f, x):
        return f(x), f

    result, f = rt.get(call.remote(outer(2), 3))
    assert result == f(3) == 5
    factory = rt.get(rt.put(collections.defaultdict(lambda: 7)))
    assert factory["x"] == 7


@line("ARG.11")
def test_cycles(rt):
    a: list = [1]
    a.append(a)
    b = rt.get(rt.put(a))
    assert b[1] is b and b[0] == 1
    c = rt.get(rt.remote(lambda x: x).remote({"self": a, "again": a}))
    assert c["self"] is c["again"]


@line("ARG.12")
def test_reduce_and_getstate_are_honoured(rt):
    class Reduced:
        def __init__(self, x):
            self.x = x

        def __reduce__(self):
            return type(self), (self.x + 1,)

    class Stated:
        def __init__(self):
            self.lock = threading.Lock()
            self.x = 1

        def __getstate__(self):
            return {"x": self.x}

        def __setstate__(self, state):
            self.x = state["x"] + 10

    assert rt.get(rt.put(Reduced(1))).x == 2
    assert rt.get(rt.put(Stated())).x == 11


@line("IMM.1")
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_arrays_are_read_only(rt, n):
    make = rt.remote(lambda n: np.arange(n))
    for ref in (rt.put(np.arange(n)), make.remote(n)):
        array = rt.get(ref)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        own = array.copy()
        own[0] = 5
        assert rt.get(ref)[0] == 0


@line("IMM.2")
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_array_arguments_are_read_only(rt, n):
    @rt.remote
    def writeable(a, b):
        return a.flags.writeable, b.flags.writeable, int(a.sum() + b.sum())

    array = np.ones(n)
    assert rt.get(writeable.remote(rt.put(array), array)) == (False, False, 2 * n)
    assert array.flags.writeable


@line("IMM.3")
def test_two_gets_share_memory(rt):
    ref = rt.put(np.arange(LARGE))
    assert np.shares_memory(rt.get(ref), rt.get(ref))


@line("IMM.4", "GET.19")
def test_other_containers_are_fresh_copies(rt):
    for value in ([1, [2]], {"a": [1]}, np.array([[1], None], dtype=object)):
        ref = rt.put(value)
        first = rt.get(ref)
        assert first is not rt.get(ref)
        first[0 if not isinstance(first, dict) else "a"] = "changed"
        again = rt.get(ref)
        assert str(again) == str(value)
    pair = rt.get(rt.put((1, [2])))
    assert pair is not rt.get(rt.put(pair))


@line("IMM.5", "GC.1")
@pytest.mark.runtime(num_cpus=1, object_store_memory=80 << 20)
def test_a_view_outlives_its_ref(rt):
    ref = rt.put(np.arange(LARGE))
    view = rt.get(ref)
    part = view[100:200]
    del ref, view
    for i in range(30):
        other = rt.put(np.full(LARGE * 2, i))  # 30 times 4.8 MB through 80 MB
        assert rt.get(other)[-1] == i
        del other
    assert part.tolist() == list(range(100, 200))


@line("IMM.6")
def test_arrays_inside_containers(rt):
    value = {"a": np.arange(LARGE), "b": [np.ones(LARGE)], "c": "text"}
    ref = rt.put(value)
    first, second = rt.get(ref), rt.get(ref)
    assert np.array_equal(first["a"], value["a"])
    assert not first["a"].flags.writeable and not first["b"][0].flags.writeable
    assert np.shares_memory(first["b"][0], second["b"][0])
    assert first["c"] == "text"
    first["c"] = "mine"
    assert second["c"] == "text"


@line("IMM.6")
def test_data_frames(rt):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": np.arange(1000), "y": np.ones(1000), "z": ["t"] * 1000})
    double = rt.remote(lambda f: f.assign(x=f.x * 2))
    found = rt.get(double.remote(frame))
    pd.testing.assert_frame_equal(found, frame.assign(x=frame.x * 2))


@line("IMM.1", "ARG.10")
@pytest.mark.parametrize(
    "make",
    [
        lambda: np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        lambda: np.arange(12).reshape(3, 4)[:, ::2],
        lambda: np.zeros((0, 3)),
        lambda: np.array(5),
        lambda: np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        lambda: np.array(["a", "bc"]),
        lambda: np.ones(LARGE, dtype=np.float16)[::-1],
    ],
    ids=["fortran", "strided", "empty", "0-d", "record", "text", "reversed"],
)
def test_kinds_of_arrays(rt, make):
    array = make()
    identity = rt.remote(lambda x: x)
    for found in (rt.get(rt.put(array)), rt.get(identity.remote(array))):
        assert found.dtype == array.dtype and found.shape == array.shape
        assert np.array_equal(found, array)
    assert copy.deepcopy(found).flags.writeable
