"""ARG: what arguments become."""

from __future__ import annotations

import os

import pytest

from tests.engines.support import line, raises_task_error


@line("ARG.1")
def test_direct_refs_become_values(rt):
    @rt.remote
    def add(a, b=0, *rest, **more):
        return a + b + sum(rest) + sum(more.values())

    one = rt.put(1)
    two = add.remote(one, one)
    assert rt.get(add.remote(one, b=two)) == 3
    assert rt.get(add.remote(one, two, two, one, x=one)) == 7


@line("ARG.1")
def test_hundreds_of_refs(rt):
    @rt.remote
    def total(*values):
        return sum(values)

    one = rt.remote(lambda i: i)
    refs = [one.remote(i) if i % 2 else rt.put(i) for i in range(300)]
    assert rt.get(total.remote(*refs)) == sum(range(300))


@line("ARG.1")
def test_a_task_waits_for_its_arguments(rt, never, tmp_path, note):
    path = str(tmp_path / "ran")

    @rt.remote
    def use(value):
        note(path)

    pending = never()
    ref = use.remote(pending)
    assert rt.get(rt.remote(lambda: 1).remote()) == 1
    assert rt.wait([ref], timeout=0) == ([], [ref])
    assert not os.path.exists(path)


@line("ARG.2")
def test_nested_refs_stay_refs_and_are_not_waited_for(rt, never):
    class Box:
        def __init__(self, ref):
            self.ref = ref

    @rt.remote
    def look(a, b, c, box):
        return [type(x).__name__ for x in (a[0], b[0], c["k"], box.ref)], rt.get(a[0])

    ready, pending = rt.put(7), never()
    found = rt.get(look.remote([ready], (pending,), {"k": pending}, Box(pending)))
    assert found == (["ObjectRef"] * 4, 7)


@line("ARG.3")
def test_resolution_is_one_level_deep(rt):
    @rt.remote
    def look(refs):
        return [type(r).__name__ for r in refs], sum(rt.get(refs))

    outer = rt.put([rt.put(1), rt.put(2)])
    assert rt.get(look.remote(outer)) == (["ObjectRef"] * 2, 3)


@line("ARG.4")
def test_arguments_are_copies(rt):
    @rt.remote
    def spoil(values):
        values.append("spoiled")
        return values

    mine = [1]
    ref = rt.put(mine)
    assert rt.get(spoil.remote(mine)) == [1, "spoiled"]
    assert rt.get([spoil.remote(ref), spoil.remote(ref)]) == [[1, "spoiled"]] * 2
    assert mine == rt.get(ref) == [1]


@line("ARG.4")
def test_actor_arguments_are_copies(rt):
    @rt.remote
    class Keeper:
        def __init__(self, values):
            self.values = values

        def add(self, values):
            self.values.append(len(values))
            return self.values

    mine = [1]
    keeper = Keeper.remote(mine)
    assert rt.get(keeper.add.remote(mine)) == [1, 1]
    first = rt.get(keeper.add.remote(mine))
    first.append("spoiled")
    assert mine == [1]
    assert rt.get(keeper.add.remote(mine)) == [1, 1, 1, 1]


@line("ARG.5")
def test_arguments_are_taken_at_the_call(rt):
    identity = rt.remote(lambda x: x)
    values = [1]
    ref = identity.remote(values)
    values.append(2)
    assert rt.get(ref) == [1]


@line("ARG.6", "ERR.8")
def test_a_failed_argument(rt, tmp_path, note):
    path = str(tmp_path / "ran")

    @rt.remote
    def produce():
        raise KeyError("lost key")

    @rt.remote
    def consume(a, b):
        note(path)

    @rt.remote
    def consume_later(a):
        note(path)

    failed = produce.remote()
    for ref in (consume.remote(1, failed), consume_later.remote(consume.remote(failed, b=2))):
        with raises_task_error(rt, KeyError) as info:
            rt.get(ref)
        text = str(info.value)
        assert "At least one of the input arguments" in text
        assert "consume" in text and "produce" in text and "lost key" in text
        assert type(info.value.cause) is KeyError
    assert not os.path.exists(path)


@line("ARG.7")
def test_refs_travel_everywhere(rt):
    @rt.remote
    class Keeper:
        def __init__(self, box):
            self.box = box

        def give(self):
            return self.box

        def read(self):
            return rt.get(self.box["ref"])

    ref = rt.put("value")
    keeper = Keeper.remote({"ref": ref})
    assert rt.get(keeper.read.remote()) == "value"
    assert rt.get(keeper.give.remote())["ref"] == ref

    @rt.remote
    def through_return():
        return [rt.put("made"), keeper]

    made, handle = rt.get(through_return.remote())
    assert rt.get(made) == "made"
    assert rt.get(handle.read.remote()) == "value"

    box = rt.put({"ref": ref, "keeper": keeper})
    unpacked = rt.get(box)
    assert rt.get(unpacked["ref"]) == "value"
    assert rt.get(unpacked["keeper"].read.remote()) == "value"

    @rt.remote
    def through_closure():
        return rt.get(ref), rt.get(keeper.read.remote())

    assert rt.get(through_closure.remote()) == ("value", "value")


@line("ARG.15")
def test_a_captured_ref_is_not_resolved(rt):
    ref = rt.put(5)

    @rt.remote
    def look():
        return type(ref).__name__, rt.get(ref)

    assert rt.get(look.remote()) == ("ObjectRef", 5)


@line("ARG.16")
def test_refs_as_values(rt):
    ref = rt.put(1)
    copy = rt.get(rt.put([ref]))[0]
    assert copy == ref and hash(copy) == hash(ref)
    assert {ref: "x"}[copy] == "x"
    other = rt.put(1)
    assert other != ref
    assert ref != ref.hex()
    assert len(ref.binary()) == 28 and len(ref.hex()) == 56
    assert bytes.fromhex(ref.hex()) == ref.binary()
    assert repr(ref) == f"ObjectRef({ref.hex()})"
    assert bool(ref) is True
    with pytest.raises(TypeError):
        iter(ref)


@line("ARG.17")
def test_the_task_of_a_ref(rt):
    @rt.remote
    def me():
        return rt.get_runtime_context().get_task_id()

    ref = me.remote()
    assert rt.get(ref) == ref.task_id().hex()


@line("ARG.10", "ARG.13")
@pytest.mark.parametrize("size", [10, 300_000])
def test_what_arguments_share_is_shared_in_the_task(rt, size):
    """Better than the reference, which pickles each argument by itself."""

    @rt.remote
    def look(a, b, ref, *, inside):
        a.append(1)
        return b is a, inside["a"] is a, len(inside["a"]) == len(b), ref

    shared = [bytes(size)]
    ref = rt.put("from a ref")
    assert rt.get(look.remote(shared, shared, ref, inside={"a": shared})) == (
        True,
        True,
        True,
        "from a ref",
    )
    assert len(shared) == 1


@line("ARG.7", "ARG.13", "GC.4")
def test_refs_in_large_arguments(rt):
    @rt.remote
    def look(parts, ref, *, more):
        return rt.get(parts["refs"]), ref, rt.get(more[1]), len(more[0])

    refs = [rt.put(i) for i in range(3)]
    more = [bytes(300_000), rt.put("more")]
    pending = look.remote({"data": bytes(200_000), "refs": refs}, rt.put("top"), more=more)
    del refs, more
    assert rt.get(pending) == ([0, 1, 2], "top", "more", 300_000)
