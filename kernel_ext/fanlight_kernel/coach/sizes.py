"""Rules about bytes: the same large value again, large closures, more in the queue than can run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fanlight.words import seconds, size
from fanlight_kernel.coach.facts import Facts, Function, Hint, Large, Limits, Sent, Submit


def find(facts: Facts, limits: Limits) -> Iterator[Hint]:
    yield from _again(facts, limits)
    yield from _captured(facts, limits)
    yield from _unbounded(facts, limits)


def _again(facts: Facts, limits: Limits) -> Iterator[Hint]:
    """One value among the arguments of several calls."""
    calls: dict[tuple[object, ...], list[tuple[Sent, Large]]] = defaultdict(list)
    for sent in facts.sent:
        for value in sent.values:
            calls[value.key].append((sent, value))
    for key, found in calls.items():
        value = found[0][1]
        count = len(found)
        again = (count - 1) * value.size
        took = sum(sent.seconds * min(1.0, value.size / sent.size) for sent, _ in found[1:])
        slow = took >= limits.seconds and took >= limits.part * facts.elapsed
        if count < limits.sends or not (again >= limits.sent_bytes or slow):
            continue
        name = facts.name_of(key)
        what = (
            f"`{name}` ({value.label}, {size(value.size)})"
            if name
            else (f"{value.label} of {size(value.size)}")
        )
        yield Hint(
            "same-large-value",
            f"{what} was sent with {count} calls: {size(count * value.size)} were copied, which "
            f"took {seconds(took + found[0][0].seconds)}; put once, it is {size(value.size)}.",
            found[1][0].site,
        )


def _captured(facts: Facts, limits: Limits) -> Iterator[Hint]:
    told: set[str] = set()
    for defined in facts.defined:
        if defined.size < limits.captured_bytes or defined.name in told:
            continue
        large = [
            (name, bytes_)
            for name, bytes_ in facts.captured(defined.target)
            if 4 * bytes_ >= defined.size
        ]
        if not large:
            continue  # nothing that can be named: a large function by itself
        told.add(defined.name)
        names = ", ".join(f"`{name}` ({size(bytes_)})" for name, bytes_ in large[:3])
        yield Hint(
            "large-closure",
            f"{defined.name} is {size(defined.size)} pickled, since it captures {names}; each worker "
            "process gets a copy of its own.",
            next((s.site for s in facts.submits if s.function.target is defined.target), None),
        )


def _unbounded(facts: Facts, limits: Limits) -> Iterator[Hint]:
    by_function: dict[Function, list[Submit]] = defaultdict(list)
    for submit in facts.submits:
        if submit.task:
            by_function[submit.function].append(submit)
    held_by: dict[bytes, int] = defaultdict(int)
    for sent in facts.sent:
        held_by[sent.task] += sent.size
    for function, submits in by_function.items():
        slots = facts.slots(function)
        if not slots or len(submits) < limits.pending * slots:
            continue
        most, held = _peak(facts, submits, held_by)
        if most < limits.pending * slots or not facts.capacity:
            continue
        share = held / facts.capacity
        spilled = facts.spilled if held >= facts.spilled > 0 else 0
        if share < limits.pending_bytes and not spilled:
            continue
        disk = f", and {size(spilled)} of objects are on disk" if spilled else ""
        at_once = "one runs" if slots == 1 else f"{slots} run"
        yield Hint(
            "unbounded-submission",
            f"{most} calls of {function.name} waited at once where {at_once}: their arguments held "
            f"{size(held)}, {100 * share:.0f} % of the object store{disk}.",
            submits[0].site,
        )


def _peak(facts: Facts, submits: list[Submit], held_by: dict[bytes, int]) -> tuple[int, int]:
    """The largest number of calls that were submitted and had not begun, and what those held."""
    moves: list[tuple[float, int, int]] = []
    for submit in submits:
        size_ = held_by.get(submit.task, 0)
        moves.append((submit.end, 1, size_))
        span = facts.spans.get(submit.task)
        if span is not None:
            moves.append((max(span.start, submit.end), -1, -size_))
    moves.sort()
    count = held = most = most_held = 0
    for _, one, bytes_ in moves:
        count += one
        held += bytes_
        most, most_held = max(most, count), max(most_held, held)
    return most, most_held
