"""Reference counts of a process: exact, whatever happens, against a model of the node.

The client, the refs and the pickles are real; the link is not. Behind it, a model of the node keeps
an object while a process holds it or another object contains it, and complains when it is told of
an object that it has freed: then somebody was told too late.
"""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from fanlight import ids, refs, serialization
from fanlight import messages as m
from fanlight.client.client import Client
from fanlight.client.counts import Counts
from fanlight.refs import ObjectRef

US, OTHER = "us", "other"


class NodeModel:
    """What the node knows: values, holders, and what is inside what."""

    def __init__(self) -> None:
        self.values: dict[bytes, m.Value] = {}
        self.holders: dict[bytes, set[str]] = {}

    def put(self, value: m.Value, holder: str) -> None:
        for oid in value.contained or ():
            assert oid in self.values, "contains what was freed"
        self.values[value.oid] = value
        self.holders[value.oid] = {holder}

    def add(self, holder: str, oids: Sequence[bytes]) -> None:
        for oid in oids:
            assert oid in self.values, "told too late: the object was freed"
            assert holder not in self.holders[oid], "told twice"
            self.holders[oid].add(holder)

    def drop(self, holder: str, oids: Sequence[bytes]) -> None:
        assert len(set(oids)) == len(oids)
        for oid in oids:
            assert holder in self.holders[oid], "dropped what it did not hold"
            self.holders[oid].discard(holder)
        while True:
            inside = {o for v in self.values.values() for o in v.contained or ()}
            loose = [o for o in self.values if not self.holders[o] and o not in inside]
            for oid in loose:
                del self.values[oid], self.holders[oid]
            if not loose:
                return


class FakeLink:
    def __init__(self, node: NodeModel) -> None:
        self.node = node
        self.client: Client
        self.lost = ""
        self.woken = 0
        self.sent: list[Any] = []

    def send(self, messages: Sequence[Any]) -> None:
        self.sent += messages
        for message in messages:
            match message:
                case m.Put(value):
                    self.node.put(value, US)
                case m.AddRefs(oids):
                    self.node.add(US, oids)
                case m.DropRefs(oids):
                    self.node.drop(US, oids)
                case m.Subscribe(oids):
                    values = [self.node.values[oid] for oid in oids]
                    self.client.handle(m.Objects(values))
                case _:
                    raise AssertionError(message)

    def send_soon(self, message: Any) -> None:
        self.send([message])

    def wait(self, done: Any, timeout: float | None = None) -> bool:
        assert done(), "nothing comes later"
        return True

    def wake(self) -> None:
        self.woken += 1


class Nth:
    """Pickles like a ref in a value, and is none."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> Any:
        return serialization.ref_inside, (self.index,)


def list_of(oids: list[bytes]) -> serialization.Serialized:
    """What another process makes of a list of refs."""
    unique = list(dict.fromkeys(oids))
    pickled = pickle.dumps([Nth(unique.index(oid)) for oid in oids], 5)
    return serialization.Serialized(pickled, [], [], unique)


class Process:
    """A client, counted by ``refs``, and the model behind it."""

    def __init__(self) -> None:
        self.node = NodeModel()
        self.link = FakeLink(self.node)
        self.client = Client(ids.new_client_id(), None)
        self.client.link = self.link  # type: ignore[assignment]
        self.link.client = self.client
        self.other_id = ids.task_id_factory(ids.new_client_id())
        refs.dropped.clear()
        refs.attach(self.client)

    def foreign(self, inside: list[bytes]) -> bytes:
        """An object that another process puts and holds."""
        oid = ids.object_id(self.other_id(), 0)
        packed = list_of(inside)
        self.node.put(m.Value(oid, m.INLINE, packed.to_bytes(), packed.size, inside), OTHER)
        return oid

    def close(self) -> None:
        refs.attach(None)


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    yield made
    made.close()


class Breaks:
    """Cannot be rebuilt; what stands before it in a list was rebuilt already."""

    def __reduce__(self) -> Any:
        return _break, ()


def _break() -> None:
    raise ZeroDivisionError


class Ignores:
    """Drops the ref that it gets, while the value around it is still being rebuilt."""

    def __init__(self, ref: Any = None) -> None:
        self.ref = ref

    def __reduce__(self) -> Any:
        return _ignore, (self.ref,)


def _ignore(ref: Any) -> Ignores:
    return Ignores()


class CountsMachine(RuleBasedStateMachine):
    lists = Bundle("lists")  # lists of refs that this process has

    @initialize()
    def start(self) -> None:
        self.process = Process()
        self.client, self.node = self.process.client, self.process.node
        self.live: list[list[ObjectRef[Any]]] = []
        self.foreign: list[bytes] = []  # held by the other process

    def teardown(self) -> None:
        for refs_here in self.live:
            refs_here.clear()
        self.client.flush_drops()
        if self.foreign:
            self.node.drop(OTHER, self.foreign)
        assert not self.node.values, "leaked"
        assert not self.client._counts and not self.client.entries
        assert not self.client._counts._inside and not self.client.owes_drops
        self.process.close()

    def _keep(self, refs_here: list[ObjectRef[Any]]) -> list[ObjectRef[Any]]:
        self.live.append(refs_here)
        return refs_here

    @rule(target=lists, number=st.integers(1, 12))
    def put_plain(self, number: int) -> Any:
        return self._keep([self.client.put(i) for i in range(number)])

    @rule(target=lists, parts=st.lists(lists, min_size=1, max_size=3), twice=st.booleans())
    def put_refs(self, parts: list[Any], twice: bool) -> Any:
        value = [ref for part in parts for ref in part]
        return self._keep([self.client.put([value, value.copy()] if twice else [value])])

    @rule(target=lists, parts=st.lists(lists, min_size=1, max_size=3), way=st.integers(0, 1))
    def put_troubled(self, parts: list[Any], way: int) -> Any:
        value: list[Any] = [ref for part in parts for ref in part]
        value += [Breaks()] if way else [Ignores(value[-1]), value[-1]] if value else []
        return self._keep([self.client.put(value)])

    @rule(target=lists, part=lists, data=st.data())
    def get(self, part: list[Any], data: st.DataObject) -> Any:
        if not part:
            return self._keep([])
        index = data.draw(st.integers(0, len(part) - 1))
        try:
            value = self.client.get(part[index]._id, None)
        except ZeroDivisionError:
            return self._keep([])
        found = []
        todo = [value]
        del value
        while todo:
            item = todo.pop()
            if isinstance(item, list):
                todo += item
            elif isinstance(item, ObjectRef):
                found.append(item)
        return self._keep(found)

    @rule(target=lists, part=lists, some=st.integers(1, 3))
    def take_out(self, part: list[Any], some: int) -> Any:
        """Refs that were inside outlive what they were in."""
        found = self._keep([])
        for outer in part:
            try:
                value = self.client.get(outer._id, None)
            except ZeroDivisionError:
                continue
            while isinstance(value, list) and value:
                found += [item for item in value if isinstance(item, ObjectRef)][::some]
                value = value[0]
        part.clear()
        self.client.flush_drops()
        return found

    @rule(target=lists, part=lists)
    def wrap(self, part: list[Any]) -> Any:
        outer = self.client.put(part)
        part.clear()
        return self._keep([outer])

    @rule(part=lists)
    def drop(self, part: list[Any]) -> None:
        part.clear()

    @rule(part=lists, data=st.data())
    def drop_some(self, part: list[Any], data: st.DataObject) -> None:
        del part[: data.draw(st.integers(0, len(part)))]

    @rule(parts=st.lists(lists, max_size=2))
    def other_puts(self, parts: list[Any]) -> None:
        inside = list(dict.fromkeys(ref._id for part in parts for ref in part))
        self.foreign.append(self.process.foreign(inside))

    @rule(target=lists, data=st.data())
    def argument_arrives(self, data: st.DataObject) -> Any:
        """A list of refs that is no object's value: the node is told at once."""
        if not self.foreign:
            return self._keep([])
        oids = data.draw(st.lists(st.sampled_from(self.foreign), min_size=1, max_size=12))
        return self._keep(serialization.loads(list_of(oids).to_bytes()))

    @rule(data=st.data())
    def other_drops(self, data: st.DataObject) -> None:
        if self.foreign:
            oid = self.foreign.pop(data.draw(st.integers(0, len(self.foreign) - 1)))
            self.node.drop(OTHER, [oid])

    @rule()
    def flush(self) -> None:
        self.client.flush_drops()

    @invariant()
    def what_is_held_exists(self) -> None:
        if not hasattr(self, "live"):
            return
        counted = Counter(ref._id for part in self.live for ref in part)
        missing = counted.keys() - self.node.values.keys()
        assert not missing, "freed while refs to it exist"

    @invariant()
    def counts_are_exact(self) -> None:
        if not hasattr(self, "live"):
            return
        with self.client._lock:
            self.client._count_drops()
        counts = self.client._counts
        # One value that names an object twice has the same ref in both places.
        distinct = {id(ref): ref._id for part in self.live for ref in part}
        counted = Counter(distinct.values())
        assert {oid: counts.number(oid) for oid in counts} == counted


TestCounts = CountsMachine.TestCase
TestCounts.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, derandomize=True, database=None
)


# --- one by one ----------------------------------------------------------------------------------


def names(process: Process) -> list[str]:
    sent, process.link.sent = process.link.sent, []
    return [type(message).__name__ for message in sent]


def test_refs_in_a_value_cost_no_message_while_their_object_is_here(process: Process) -> None:
    outer = process.client.put([process.client.put(i) for i in range(100)])
    process.client.flush_drops()
    names(process)
    for _ in range(3):
        inner = process.client.get(outer._id, None)
        del inner[1:]
        process.client.flush_drops()
        assert names(process) == []
    (ref,) = inner
    del outer
    process.client.flush_drops()
    assert [*process.node.values] == [ref._id]
    assert names(process) == ["AddRefs", "DropRefs"]
    del ref, inner
    process.client.flush_drops()
    assert not process.node.values


def test_a_value_that_cannot_be_rebuilt_leaves_no_counts(process: Process) -> None:
    inner = process.client.put(1)
    outer = process.client.put([inner, Breaks()])
    for oid in (outer._id, b""):
        data = process.client.entries[outer._id].data  # type: ignore[union-attr]
        with pytest.raises(ZeroDivisionError):
            serialization.loads(data, oid)
        process.client.flush_drops()
        assert process.client._counts.number(inner._id) == 1
    assert process.node.holders[inner._id] == {US}


def test_a_ref_dropped_and_found_again_is_not_told(process: Process) -> None:
    inner = process.client.put(1)
    outer = process.client.put([inner])
    process.client.flush_drops()
    names(process)
    del inner
    (again,) = process.client.get(outer._id, None)
    del outer
    process.client.flush_drops()
    assert names(process) == ["DropRefs"] and [*process.node.values] == [again._id]


def test_what_is_not_counted_is_left_alone() -> None:
    counts = Counts()
    counts.add(b"known")
    assert counts.drop([b"foreign", b"known", b"known", b"foreign"]) == [b"known"]
    assert [type(x) for x in counts.news()] == [m.DropRefs] and not counts


def test_finalizers_wake_the_client_once_until_it_looks(process: Process) -> None:
    several = [process.client.put(i) for i in range(20)]
    process.link.woken = 0
    del several[10:]
    assert process.link.woken == 1
    process.client.flush_drops()
    several.clear()
    assert process.link.woken == 2


def test_threads_that_get_and_drop_the_same_refs(process: Process) -> None:
    outer = process.client.put([process.client.put(i) for i in range(200)])
    expected = process.client.get(outer._id, None)
    outer_id, oids = outer._id, [ref._id for ref in expected]
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(60):
                got = process.client.get(outer_id, None)
                assert [ref._id for ref in got] == oids
                del got[:: number + 2]
                if i % 3 == number:
                    process.client.flush_drops()
        except BaseException as e:
            problems.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    process.client.flush_drops()
    counts = process.client._counts
    assert {counts.number(ref._id) for ref in expected} == {1}
    del outer
    process.client.flush_drops()
    assert process.node.values.keys() == {ref._id for ref in expected}
    del expected
    process.client.flush_drops()
    assert not process.node.values and not counts
