"""All tasks of one function, for the panel's grid: columns, of which only what changed is told.

A roll is made when somebody first asks for a group and kept while somebody goes on asking. It
follows what :meth:`fanlight.core.tasks.Tasks.move` notes for observers, so tasks cost nothing more
than that; a group that nobody looks at has none. What the core has forgotten comes from its packed
timeline.
"""

from __future__ import annotations

import operator
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight.answers import TaskColumns
from fanlight.core.model import FAILED, FINISHED, RUNNING, Task

if TYPE_CHECKING:
    from fanlight.core.machine import Core

SLOTS = 20_000  # tasks of one roll
ROLLS = 4  # groups that are followed at once
IDLE_SECONDS = 30.0  # after which a roll that nobody asked for is dropped
_SCANNED = 50_000  # unfinished tasks that are looked through when a roll is made
_DEPTHS = 200_000  # tasks whose depth is remembered
_DEEPEST = 65_535
_TASK = ids.TASK_LEN
_submitted = operator.attrgetter("submitted")
_COLUMNS = (("state", "B"), ("depth", "H"), ("worker", "I"), ("submitted", "d"),
            ("started", "d"), ("finished", "d"))  # fmt: skip


class Roll:
    """The slots of one group."""

    def __init__(self, group: int, version: int) -> None:
        self.group = group
        self.born = version
        self.asked = 0.0
        self.spans = 0  # records of the timeline that it has seen
        self.slots: dict[bytes, int] = {}  # by task
        self.tasks: list[bytes] = []  # by slot
        self.state = array("B")
        self.depth = array("H")
        self.worker = array("I")
        self.submitted = array("d")
        self.started = array("d")
        self.finished = array("d")
        self.changed: dict[int, int] = {}  # slot -> version, the newest last
        # Slots whose tasks have ended, the oldest first.
        self._over: OrderedDict[int, None] = OrderedDict()

    def put(
        self, task: bytes, state: int, depth: int, worker: int, submitted: float, started: float,
        finished: float, version: int,
    ) -> None:  # fmt: skip
        """Note how a task is; one that has no slot gets one if there is any."""
        slot = self.slots.get(task)
        if slot is None:
            slot = self._slot_for(task, state)
            if slot is None:
                return
        if state < FINISHED:
            self._over.pop(slot, None)  # it may run again
        elif self.state[slot] < FINISHED:
            self._over[slot] = None
        self.state[slot] = state
        self.depth[slot] = depth
        self.worker[slot] = worker & 0xFFFFFFFF
        self.submitted[slot] = submitted
        self.started[slot] = started
        self.finished[slot] = finished
        self.changed.pop(slot, None)
        self.changed[slot] = version

    def extend(self, version: int, names: list[bytes], **columns: list[Any]) -> None:
        """Put many that have no slots, in one go."""
        slots = range(len(self.tasks), len(self.tasks) + len(names))
        self.tasks += names
        self.slots.update(zip(names, slots, strict=True))
        for name, values in columns.items():
            getattr(self, name).extend(values)
        self.changed.update(dict.fromkeys(slots, version))
        ended = zip(slots, columns["state"], strict=True)
        self._over.update((slot, None) for slot, state in ended if state >= FINISHED)

    def _slot_for(self, task: bytes, state: int) -> int | None:
        slot = len(self.tasks)
        if slot < SLOTS:
            self.tasks.append(task)
            for name, _ in _COLUMNS:
                getattr(self, name).append(0)
        else:
            if state < RUNNING or not self._over:
                return None
            slot, _ = self._over.popitem(last=False)
            del self.slots[self.tasks[slot]]
            self.tasks[slot] = task
            self.state[slot] = 0
        self.slots[task] = slot
        return slot

    def columns(self, after: int, cursor: int, total: int) -> TaskColumns:
        """What changed after version ``after``; all if that is before the roll was made."""
        reset = not self.born <= after <= cursor
        some: list[int] | None = None
        if not reset:
            some = []
            for slot in reversed(self.changed):
                if self.changed[slot] <= after:
                    break
                some.append(slot)
        if some is None:
            slot_column = array("I", range(len(self.tasks)))
            joined = b"".join(self.tasks)
        else:
            slot_column = array("I", some)
            joined = b"".join([self.tasks[slot] for slot in some])

        def column(name: str, code: str) -> bytes:
            whole: array[Any] = getattr(self, name)
            return _little(whole if some is None else array(code, [whole[s] for s in some]))

        return TaskColumns(
            group=self.group,
            cursor=cursor,
            reset=reset,
            slots=len(self.tasks),
            total=total,
            slot=_little(slot_column),
            ids=joined,
            **{name: column(name, code) for name, code in _COLUMNS},
        )


def _little(column: array[Any]) -> bytes:
    if _BIG:
        column = column[:]
        column.byteswap()
    return column.tobytes()


_BIG = array("H", [1]).tobytes() != b"\1\0"


class Rolls:
    """The rolls that are kept; a part of the core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.table: dict[int, Roll] = {}
        # Begins with the time, so that a cursor of another runtime is known for one.
        self.version = int(core.now * 1000) + 1
        # How many tasks each depends on in a row, where that is not 0; the oldest are forgotten.
        self._depths: dict[bytes, int] = {}

    def note(self, changed: Iterable[Task]) -> None:
        """Called by the hub ten times a second with the tasks that changed since the last time."""
        if not self.table:
            return
        self.version += 1
        get = self.table.get
        for task in changed:
            if task.deps:
                self._measure(task)
            roll = get(task.spec.group.number)
            if roll is not None:
                self._put(roll, task)
        now = self.core.now
        for number in [n for n, roll in self.table.items() if now - roll.asked > IDLE_SECONDS]:
            del self.table[number]
        if not self.table:
            self._depths.clear()

    def clear(self) -> None:
        """Nobody watches any more."""
        self.table.clear()
        self._depths.clear()

    def ask(self, group: int, after: int) -> TaskColumns:
        """The columns of a group. Raises LookupError."""
        known = self.core.groups.get(group)
        if known is None:
            raise LookupError("There is no such function here any more.")
        roll = self.table.get(group)
        if roll is None:
            roll = self._make(group)
        roll.asked = self.core.now
        self._read_spans(roll)
        return roll.columns(after, self.version, sum(known.counts))

    # --- making ------------------------------------------------------------------------------

    def _make(self, group: int) -> Roll:
        core = self.core
        if len(self.table) >= ROLLS:
            del self.table[min(self.table.values(), key=lambda roll: roll.asked).group]
        if not self.table:  # depths are kept up to date only while there is a roll
            for task in chain(core.recent, islice(core.tasks.table.values(), _SCANNED)):
                if task.deps:
                    self._measure(task)
        self.version += 1
        roll = Roll(group, self.version)
        over = [t for t in core.recent if t.spec.group.number == group]
        scanned = islice(core.tasks.table.values(), _SCANNED)
        open_ = list(islice((t for t in scanned if t.spec.group.number == group), SLOTS))
        seen = {t.id for t in chain(over, open_)}
        room = SLOTS - min(len(open_), SLOTS // 2) - len(over)
        spans = list(islice(self._past(group, seen), max(0, room)))
        roll.spans = core.timeline.total
        spans.reverse()
        names = [span[0] for span in spans]
        depth = self._depths.get
        roll.extend(
            self.version,
            names,
            state=[FAILED if span[5] & 1 else FINISHED for span in spans],
            depth=[depth(name, 0) for name in names],
            worker=[span[2] for span in spans],
            submitted=[span[6] - span[10] for span in spans],
            started=[span[6] for span in spans],
            finished=[span[6] + span[7] for span in spans],
        )
        tasks = over + open_[: SLOTS - len(spans) - len(over)]
        tasks.sort(key=_submitted)
        names = [task.id for task in tasks]
        workers = [task.worker for task in tasks]
        roll.extend(
            self.version,
            names,
            state=[task.state for task in tasks],
            depth=[depth(name, 0) for name in names],
            worker=[w.number & 0xFFFFFFFF if w is not None else 0 for w in workers],
            submitted=[task.submitted for task in tasks],
            started=[task.started for task in tasks],
            finished=[task.finished for task in tasks],
        )
        self.table[group] = roll
        return roll

    def _past(self, group: int, seen: set[bytes]) -> Iterator[Any]:
        """The last attempts of tasks that only the timeline remembers, the newest first."""
        for span in self.core.timeline.newest(group):
            if span[0] not in seen:
                seen.add(span[0])
                yield span

    def _read_spans(self, roll: Roll) -> None:
        """Calls on channels that the node heard of only when they were over."""
        timeline = self.core.timeline
        count = timeline.total - roll.spans
        if count <= 0:
            return
        roll.spans = timeline.total
        new = [s for s in timeline.newest(roll.group, count) if s[0] not in roll.slots]
        if new:
            self.version += 1
        for span in reversed(new):
            if span[0] not in self.core.tasks.table:
                self._put_span(roll, span)

    def _put(self, roll: Roll, task: Task) -> None:
        worker = task.worker
        roll.put(
            task.id, task.state, self._depths.get(task.id, 0),
            worker.number if worker is not None else 0,
            task.submitted, task.started, task.finished, self.version,
        )  # fmt: skip

    def _put_span(self, roll: Roll, span: Any) -> None:
        task, _, worker, _, _, flags, start, duration, _, _, waited, *_ = span
        state = FAILED if flags & 1 else FINISHED
        depth = self._depths.get(task, 0)
        times = start - waited, start, start + duration
        roll.put(task, state, depth, worker, *times, self.version)

    # --- depths ------------------------------------------------------------------------------

    def _measure(self, task: Task) -> None:
        depths = self._depths
        if task.id in depths:
            return
        get = depths.get
        deepest = max([get(oid[:_TASK], 0) for oid in task.deps])
        # What was put has no maker; what a task made is one level below this one.
        if deepest or any(map(self._is_made, task.deps)):
            depths[task.id] = min(deepest + 1, _DEEPEST)
            if len(depths) > _DEPTHS:
                del depths[next(iter(depths))]

    def _is_made(self, oid: bytes) -> bool:
        obj = self.core.objects.table.get(oid)
        return obj is None or obj.group is not None


def query(core: Core, _client: Any, args: dict[str, Any]) -> TaskColumns:
    """``group``: its number; ``after``: the cursor of the answer before, or 0."""
    return core.rolls.ask(int(args["group"]), int(args.get("after", 0)))
