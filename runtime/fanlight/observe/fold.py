"""The state of a runtime as an observer knows it, folded from its events: what keyframes are made of.

The same as the front end's reducer does, on plain dicts, so that records may gain fields. Bounded as
the events are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fanlight.events import ERROR_LIMIT, HISTORY_LIMIT, TASK_LIMIT

Record = dict[str, Any]

_KEYS: dict[str, Callable[[Record], Any]] = {
    "groups": lambda r: r["id"],
    "edges": lambda r: (r["source"], r["target"], r["kind"]),
    "tasks": lambda r: r["id"],
    "actors": lambda r: r["id"],
    "errors": lambda r: r["task_id"],
}
_LIMITS = {"groups": 2_500, "edges": 10_000, "tasks": TASK_LIMIT, "errors": ERROR_LIMIT}
_ACTORS = 2_000
_OVER = frozenset(("FINISHED", "FAILED", "CANCELLED"))


class Fold:
    """Feed it events; ``snapshot`` is what a new observer would be told.

    >>> fold = Fold({"type": "snapshot", "seq": 4, "time": 1.0, "tasks": [], "workers": []})
    >>> fold.delta({"seq": 5, "time": 2.0, "tasks": [{"id": "a", "group": 1, "state": "RUNNING"}]})
    >>> fold.snapshot()["tasks"], fold.snapshot()["seq"]
    ([{'id': 'a', 'group': 1, 'state': 'RUNNING'}], 5)
    """

    def __init__(self, snapshot: Record) -> None:
        self._plain = {k: v for k, v in snapshot.items() if k not in _KEYS}
        self._tables: dict[str, dict[Any, Record]] = {
            name: {key(r): r for r in snapshot.get(name, ())} for name, key in _KEYS.items()
        }

    @property
    def seq(self) -> int:
        return int(self._plain["seq"])

    @property
    def time(self) -> float:
        return float(self._plain["time"])

    def delta(self, delta: Record) -> None:
        """Take a delta in. The records are kept, not copied."""
        plain = self._plain
        for name, value in delta.items():
            table = self._tables.get(name)
            if table is not None:
                key = _KEYS[name]
                for record in value:
                    table[key(record)] = record
                if len(table) > 2 * _LIMITS.get(name, _ACTORS):
                    self._bound(name)
            elif value is None or name == "type":
                continue
            elif name == "store":
                plain["store"] = [*plain.get("store", ()), value][-HISTORY_LIMIT:]
            else:
                plain[name] = value

    def whose(self, task: str) -> tuple[str, str]:
        """Name and origin of a task; empty where it is not remembered."""
        found = self._tables["tasks"].get(task)
        if found is None:
            return "", ""
        group = self._tables["groups"].get(found["group"], {})
        return found["name"], group.get("origin", "")

    def counts(self) -> dict[str, int]:
        """Tasks by state, in all."""
        total: dict[str, int] = {}
        for group in self._tables["groups"].values():
            for state, number in group.get("counts", {}).items():
                total[state] = total.get(state, 0) + number
        return total

    def snapshot(self) -> Record:
        """All that is known, with what is out of date left out."""
        self._forget_stale()
        for name in self._tables:
            self._bound(name)
        tables = {name: list(table.values()) for name, table in self._tables.items()}
        return {**self._plain, **tables}

    def _bound(self, name: str) -> None:
        """Forget the oldest, of tasks those that are over first."""
        table = self._tables[name]
        surplus = len(table) - _LIMITS.get(name, _ACTORS)
        if surplus <= 0:
            return
        old: Iterable[Any] = list(table)
        if name == "tasks":
            over = [k for k in old if table[k]["state"] in _OVER]
            old = over + [k for k in old if table[k]["state"] not in _OVER]
        for key in list(old)[:surplus]:
            del table[key]

    def _forget_stale(self) -> None:
        """Of very many short tasks some changes are never told; the counts of groups are exact."""
        left: dict[tuple[int, bool], int] = {}
        for number, group in self._tables["groups"].items():
            counts = group.get("counts", {})
            running = counts.get("RUNNING", 0)
            over = sum(counts.get(state, 0) for state in _OVER)
            left[number, True] = running
            left[number, False] = sum(counts.values()) - running - over
        tasks = self._tables["tasks"]
        for key in reversed(list(tasks)):
            task = tasks[key]
            if task["state"] in _OVER:
                continue
            slot = (task["group"], task["state"] == "RUNNING")
            if slot not in left:
                continue
            left[slot] -= 1
            if left[slot] < 0:
                del tasks[key]


def joined(first: Record, then: Record) -> Record:
    """Two deltas as one: of each record what was said last."""
    result = dict(then)
    for name, value in first.items():
        if name in _KEYS:
            key = _KEYS[name]
            records = {key(r): r for r in value}
            records.update((key(r), r) for r in then.get(name, ()))
            result[name] = list(records.values())
        elif result.get(name) is None:
            result[name] = value
    return result
