"""The looks at many objects behind ``wait`` and ``get``, against plain loops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fanlight.client import waiting
from fanlight.refs import ObjectRef


def oid(number: int) -> bytes:
    return number.to_bytes(28, "big")


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, int, list[list[int]]]:
    """How many objects, how many of them are wanted, and which arrive in each step."""
    count = draw(st.integers(1, 12))
    order = draw(st.permutations(range(count)))
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=6)))
    steps = [order[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    return count, draw(st.integers(1, count)), steps


@given(arrivals())
def test_enough_holds_as_soon_as_enough_are_there(case: tuple[int, int, list[list[int]]]) -> None:
    count, number, steps = case
    entries: dict[bytes, str | None] = {oid(i): None for i in range(count)}
    oids = [*entries]
    holds = waiting.enough(entries.get, oids, number)
    for step in steps:
        entries.update({oid(i): "value" for i in step})
        positions = [i for i in range(count) if entries[oid(i)] is not None]
        assert holds() is (len(positions) >= number)
        assert waiting.ready(entries.get, oids, number) == positions[:number]


@given(st.data())
def test_a_rest_goes_with_its_list(data: st.DataObject) -> None:
    refs = [ObjectRef(oid(i)) for i in range(data.draw(st.integers(1, 20)))]
    rest = waiting.Rest(refs, [ref._id for ref in refs])
    assert rest.known(refs)
    before = refs
    while before:
        positions = data.draw(st.sets(st.integers(0, len(before) - 1)).map(sorted))
        copy = before.copy()
        after = rest.without(positions)
        assert before == copy, "the caller's own list was changed"
        assert after == [ref for i, ref in enumerate(before) if i not in positions]
        assert rest.oids == [ref._id for ref in after]
        assert rest.known(after) and not rest.known(before)
        before = after
        if not positions:
            break


def test_a_changed_list_is_not_known() -> None:
    def fresh() -> tuple[waiting.Rest, list[ObjectRef[int]]]:
        refs: list[ObjectRef[int]] = [ObjectRef(oid(i)) for i in range(4)]
        rest = waiting.Rest(refs, [ref._id for ref in refs])
        return rest, rest.without([0])

    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    rest, refs = fresh()
    assert rest.known(refs) and not rest.known(refs.copy())
    for change in (
        lambda refs: refs.pop(),
        lambda refs: refs.append(refs[0]),
        lambda refs: refs.reverse(),
        lambda refs: refs.__setitem__(1, refs[0]),
        lambda refs: refs.__setitem__(0, 5),
        lambda refs: refs.__setitem__(0, Incomparable()),
    ):
        rest, refs = fresh()
        change(refs)
        assert not rest.known(refs)
