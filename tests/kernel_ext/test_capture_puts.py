"""Large inputs are put once for each content, and a single changed byte is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fanlight
from fanlight_kernel.capture import alterations, carry, unchanged
from fanlight_kernel.capture.putcache import HASHED, PutCache

SIZE = HASHED * 4


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    fanlight.shutdown()
    fanlight.init(num_cpus=1, num_gpus=0)
    yield
    fanlight.shutdown()


@pytest.fixture(params=["watched", "compared"])
def puts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Puts]:
    if request.param == "compared":
        monkeypatch.setenv("FANLIGHT_WATCH", "0")
    made = Puts()
    if request.param == "watched":
        probe = made.cache._watcher.watch(memoryview(np.zeros(SIZE, np.uint8)))
        if probe is None:
            pytest.skip("this kernel does not tell which pages were written")
        probe.close()
    yield made
    made.cache.clear()


class Puts:
    def __init__(self) -> None:
        self.cache = PutCache()

    def put(self, value: Any) -> Any:
        ref = self.cache.put("runtime", carry.pack(value, carry.Home({})), "x")
        stored = fanlight.get(ref).open(carry.Space({}))
        assert type(stored) is type(value) and np.array_equal(stored, value)
        return ref


def test_unchanged_is_put_once(puts: Puts) -> None:
    array = np.arange(SIZE, dtype=np.uint8)
    first = puts.put(array)
    assert puts.put(array) == first
    assert puts.put(array) == first
    assert puts.cache.puts == 1
    assert puts.cache.watched + puts.cache.compared == 2


@pytest.mark.parametrize("place", [0, 1, 4095, 4096, SIZE // 2, SIZE - 4097, SIZE - 1])
def test_one_changed_byte_is_noticed(puts: Puts, place: int) -> None:
    array = np.zeros(SIZE, np.uint8)
    first = puts.put(array)
    array[place] = 1
    assert puts.put(array) != first
    assert puts.cache.puts == 2
    array[place] = 0  # what it was before: in the store already
    assert puts.put(array) == first
    assert puts.cache.puts == 2


def test_the_same_content_elsewhere_is_not_put_again(puts: Puts) -> None:
    array = np.arange(SIZE, dtype=np.uint8)
    first = puts.put(array)
    assert puts.put(array.copy()) == first
    assert puts.cache.puts == 1


def test_memory_that_became_another_arrays(puts: Puts) -> None:
    for value in range(8):  # numpy gets the same addresses again and again
        array = np.full(SIZE, value, np.uint8)
        puts.put(array)
        del array
    assert puts.cache.puts == 8


def test_shape_and_type_belong_to_the_content(puts: Puts) -> None:
    array = np.zeros(SIZE, np.uint8)
    first = puts.put(array)
    assert puts.put(array.reshape(2, -1)) != first
    assert puts.put(array.view(np.int8)) != first


def test_parts_of_one_array(puts: Puts) -> None:
    array = np.zeros(SIZE * 2, np.uint8)
    puts.put(array)
    puts.put(array[:SIZE])
    puts.put(array[SIZE:])  # equal to the other half: one object
    assert puts.cache.puts == 2
    array[0] = 1
    puts.put(array[SIZE:])
    assert puts.cache.puts == 2
    puts.put(array[:SIZE])
    assert puts.cache.puts == 3


def test_results_need_no_watching(puts: Puts) -> None:
    result = fanlight.get(fanlight.put(np.arange(SIZE, dtype=np.uint8)))
    first = puts.put(result)
    assert puts.put(result) == first
    assert (puts.cache.watched, puts.cache.compared) == (1, 0)


def test_what_holds_refs_is_never_shared(puts: Puts) -> None:
    value = {"ref": fanlight.put(1), "array": b"x" * SIZE}
    packed = carry.pack(value, carry.Home({}))
    assert puts.cache.put("runtime", packed, "x") != puts.cache.put("runtime", packed, "x")


def test_only_so_many_are_kept() -> None:
    cache = PutCache(limit=3)
    for value in range(5):
        cache.put("runtime", carry.pack(np.full(SIZE, value, np.uint8), carry.Home({})), "x")
    assert sum(map(len, cache._entries.values())) == 3
    cache.clear()


def test_comparing_sees_every_byte() -> None:
    one = np.zeros((64 << 20) + 5, np.uint8)
    other = one.copy()
    assert unchanged.same_bytes(memoryview(one), memoryview(other))
    for place in (0, 5, len(one) // 2, len(one) - 1):
        other[place] = 1
        assert not unchanged.same_bytes(memoryview(one), memoryview(other))
        other[place] = 0
    assert not unchanged.same_bytes(memoryview(one), memoryview(other)[:-1])


def test_a_forked_child_watches_nothing_of_its_parents() -> None:
    watcher = unchanged.Watcher()
    array = np.zeros(SIZE, np.uint8)
    watch = watcher.watch(memoryview(array))
    if watch is None:
        pytest.skip("this kernel does not tell which pages were written")
    pid = os.fork()
    if not pid:
        array[5] = 1
        os._exit(0 if not watch.unwritten(memoryview(array)) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert watch.unwritten(memoryview(array))
    watch.close()
    watcher.close()


def test_tensors_are_not_copied_and_stay_tensors(puts: Puts) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(SIZE, dtype=torch.uint8)
    packed = carry.pack({"t": tensor}, carry.Home({}))
    first = puts.cache.put("runtime", packed, "x")
    again = carry.pack({"t": tensor}, carry.Home({}))
    assert puts.cache.put("runtime", again, "x") == first
    there = fanlight.get(first).open(carry.Space({}))["t"]
    assert torch.equal(there, tensor)
    there[0] = 7  # its own page
    assert tensor[0] == 0
    assert fanlight.get(first).open(carry.Space({}))["t"][0] == 0


def test_what_is_large_and_writable_is_told_of_only_if_the_text_says_so() -> None:
    """A large tensor is always writable, and is not kept to compare it with."""
    space = carry.Space({"t": np.zeros(2 * alterations.COPIED, np.uint8)})
    before = dict(space.ns)
    assert alterations.altered(alterations.marks(before, space, ()), before, space) == []
    marked = alterations.marks(before, space, {"t"})
    assert alterations.altered(marked, before, space) == ["t"]
