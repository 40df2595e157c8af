"""Values to bytes and back: anything that pickles, arrays of every layout, refs found inside."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fanlight import refs, serialization
from fanlight.refs import ObjectRef

steady = settings(deadline=None, derandomize=True, database=None, max_examples=80)

Point = namedtuple("Point", "x y")

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
hashable = st.integers() | st.text(max_size=5) | st.tuples(st.integers(), st.booleans())
values = st.recursive(
    scalars | st.frozensets(hashable, max_size=3) | st.builds(Point, scalars, scalars),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.builds(OrderedDict, st.dictionaries(st.text(max_size=3), inner, max_size=2))
    ),
    max_leaves=20,
)
dtypes = st.one_of(
    npst.integer_dtypes(),
    npst.floating_dtypes(),
    npst.boolean_dtypes(),
    npst.unicode_string_dtypes(max_len=4),
    npst.datetime64_dtypes(endianness="="),
    npst.array_dtypes(max_size=3),
)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
arrays = npst.arrays(dtypes, shapes)


def round_trip(value: Any) -> Any:
    return serialization.loads(serialization.dumps(value).to_bytes())


def forms(packed: serialization.Serialized) -> list[bytes]:
    """The serialized form, made in each of the three ways."""
    target = bytearray(packed.size)
    packed.write_into(memoryview(target))
    return [packed.to_bytes(), b"".join(packed.pieces()), bytes(target)]


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


# --- round trips ---------------------------------------------------------------------------------


@steady
@given(values)
def test_nested_containers(value: Any) -> None:
    back = round_trip(value)
    assert back == value
    assert type(back) is type(value)


@steady
@given(st.lists(arrays, max_size=4))
def test_arrays(value: list[np.ndarray]) -> None:
    packed = serialization.dumps(value)
    first, *others = forms(packed)
    assert len(first) == packed.size
    assert others == [first, first]
    for original, back in zip(value, serialization.loads(first), strict=True):
        same(original, back)


@steady
@given(st.dictionaries(st.text(max_size=3), arrays | values, max_size=3))
def test_arrays_among_other_values(value: dict[str, Any]) -> None:
    back = round_trip(value)
    assert back.keys() == value.keys()
    for key, part in value.items():
        if isinstance(part, np.ndarray):
            same(part, back[key])
        else:
            assert back[key] == part


@pytest.mark.parametrize(
    "value",
    [
        np.arange(24.0).reshape(4, 6)[:, ::2],
        np.asfortranarray(np.arange(24.0).reshape(4, 6)),
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10)[::-1],
        np.array(5),
        np.float32(2.5),
        np.empty((0, 3)),
        np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([1, "x", None], dtype=object),
        np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]),
        np.arange(6, dtype=">i4"),
        np.broadcast_to(np.arange(3), (4, 3)),
    ],
    ids=[
        "strided", "fortran", "transposed", "reversed", "0-d", "scalar", "empty", "structured",
        "objects", "masked", "big-endian", "broadcast",
    ],
)  # fmt: skip
def test_layouts(value: Any) -> None:
    back = round_trip(value)
    assert back.dtype == value.dtype and back.shape == value.shape
    if value.dtype != object:
        assert back.tobytes() == value.tobytes()
    else:
        assert back.tolist() == value.tolist()


def test_fortran_order_is_kept_without_a_copy() -> None:
    value = np.asfortranarray(np.arange(24.0).reshape(4, 6))
    packed = serialization.dumps(value)
    assert len(packed.buffers) == 1
    assert serialization.loads(packed.to_bytes()).flags.f_contiguous


def test_one_array_in_two_places_is_one_buffer() -> None:
    shared = np.arange(1000.0)
    packed = serialization.dumps({"a": shared, "b": shared})
    assert len(packed.buffers) == 1
    back = serialization.loads(packed.to_bytes())
    assert back["a"] is back["b"]


def test_bytearrays_and_pickle_buffers() -> None:
    value = [bytearray(b"abc" * 100), pickle.PickleBuffer(b"xyz")]
    back = round_trip(value)
    assert back[0] == value[0] and isinstance(back[0], bytearray | memoryview)
    assert bytes(back[1]) == b"xyz"


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    back = round_trip(value)
    assert back[1] is back


# --- buffers -------------------------------------------------------------------------------------


@steady
@given(st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_buffers_are_aligned_and_read_only(lengths: list[int]) -> None:
    packed = serialization.dumps([np.arange(n, dtype=np.uint8) for n in lengths])
    data = packed.to_bytes()
    memory = np.zeros(len(data) + 64, dtype=np.uint8)  # what a mapping is: aligned
    start = -memory.ctypes.data % 64
    memory[start : start + len(data)] = np.frombuffer(data, dtype=np.uint8)
    for n, back in zip(lengths, serialization.loads(memory[start:].data), strict=True):
        assert not back.flags.writeable
        assert back.tolist() == np.arange(n, dtype=np.uint8).tolist()
        assert n == 0 or back.ctypes.data % 64 == 0


def test_loading_copies_nothing() -> None:
    data = serialization.dumps(np.arange(1000.0)).to_bytes()
    back = serialization.loads(data)
    assert np.shares_memory(back, np.frombuffer(data, dtype=np.uint8))


def test_what_follows_the_value_is_ignored() -> None:
    """A warm segment is a little larger than the object in it."""
    for value in ({"a": 1}, np.arange(10.0)):
        data = serialization.dumps(value).to_bytes() + b"\x80old bytes"
        back = serialization.loads(memoryview(data))
        assert np.array_equal(back, value)


def test_damaged_bytes_raise() -> None:
    with pytest.raises(pickle.UnpicklingError):
        serialization.loads(b"FLVX" + bytes(40))
    with pytest.raises(Exception, match=r".+"):
        serialization.loads(serialization.dumps(np.arange(100.0)).to_bytes()[:200])


# --- references ----------------------------------------------------------------------------------


@pytest.fixture
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refs made here are nobody's: no client counts them."""
    monkeypatch.setattr(refs, "dropped", type(refs.dropped)())


@steady
@given(st.lists(st.binary(min_size=28, max_size=28), max_size=4, unique=True), values)
def test_contained_refs_are_found(ids: list[bytes], other: Any) -> None:
    value = {"x": [ObjectRef(i) for i in ids], "y": (other, np.zeros(3))}
    packed = serialization.dumps(value)
    assert packed.contained == ids
    del value
    refs.dropped.clear()


def test_refs_are_found_by_either_pickler(no_runtime: None) -> None:
    ref: ObjectRef[Any] = ObjectRef(b"r" * 28)
    local = lambda: ref  # noqa: E731 - what only cloudpickle can carry
    assert serialization.dumps([local, 1]).contained == [b"r" * 28]
    assert serialization.dumps([ref, 1]).contained == [b"r" * 28]
    blob, contained = serialization.dumps_function(local)
    assert contained == [b"r" * 28]
    assert blob


def test_a_ref_in_an_object_array(no_runtime: None) -> None:
    ref: ObjectRef[Any] = ObjectRef(b"r" * 28)
    array = np.array([ref, None], dtype=object)
    assert serialization.dumps(array).contained == [b"r" * 28]


# --- functions and classes -----------------------------------------------------------------------


def test_functions_and_local_classes_travel_by_value() -> None:
    factor = 3

    class Local:
        def times(self, x: int) -> int:
            return x * factor

    function, obj = round_trip([lambda x: x + factor, Local()])
    assert (function(1), obj.times(2)) == (4, 6)


def test_a_class_of_a_script_reaches_another_process() -> None:
    """What ``__main__`` defines goes by value: the reader has another ``__main__``."""
    write = (
        "import sys\nfrom fanlight import serialization as s\n"
        "class Mine:\n    def __init__(self): self.x = 7\n    def get(self): return self.x\n"
        "sys.stdout.buffer.write(s.dumps([Mine(), Mine]).to_bytes())"
    )
    read = (
        "import sys\nfrom fanlight import serialization as s\n"
        "a, cls = s.loads(sys.stdin.buffer.read())\nprint(a.get(), type(a) is cls)"
    )
    data = subprocess.run([sys.executable, "-c", write], capture_output=True, check=True).stdout
    answer = subprocess.run(
        [sys.executable, "-c", read], input=data, capture_output=True, check=True
    ).stdout
    assert answer == b"7 True\n"


def test_what_cannot_be_pickled_raises() -> None:
    with pytest.raises(TypeError):
        serialization.dumps([1, (n for n in range(3))])


# --- damaged values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [bytes(1000), "x" * 1000, np.arange(1000.0), [np.arange(9), np.ones(99), "text"], {}]
)
def test_damage_to_the_ends_of_a_value_is_seen(value: object) -> None:
    whole = serialization.dumps(value).to_bytes()
    size = len(whole)
    assert serialization.damage(memoryview(whole), size) == ""
    assert serialization.damage(memoryview(whole + bytes(99)), size) == "", "a larger segment"
    assert "bytes" in serialization.damage(memoryview(whole)[:-1], size)
    assert serialization.damage(memoryview(bytes(size)), size)
    assert serialization.damage(memoryview(bytes(4) + whole[4:]), size)
    assert serialization.damage(memoryview(whole[:-4] + bytes(4)), size)
