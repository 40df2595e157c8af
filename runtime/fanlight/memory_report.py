"""``fanlight.memory()``: what is in the object store, who made it, and who keeps it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fanlight import errors, look, peek
from fanlight import session as sessions
from fanlight.client.ref_facts import variables
from fanlight.core.why_text import seconds, several
from fanlight.session import Session

_ANSWER_SECONDS = 5.0
_PEEKED = 100  # objects whose type is looked for
_HINTS = 3
_HINT_SHARE = 0.1  # of all that is stored, from which a variable is worth a hint
_SORTS = ("size", "age", "creator", "type", "holders")
_GROUPS = ("creator", "cell", "type", "holder", "place")
_PLACES = {
    "node": "in the runtime", "memory": "memory", "mapped": "memory, in use", "disk": "disk",
}  # fmt: skip

Row = dict[str, Any]


class Memory:
    """The answer of :func:`memory`: print it, or look at it in a notebook.

    Attributes:
        store: bytes: ``capacity``, ``used``, ``mapped``, ``cached``, ``spilled``, ``inline``, ….
        rows: the largest objects, dicts with ``id``, ``size``, ``type``, ``creator``, ``cell``,
            ``line``, ``age``, ``place``, ``state``, ``variables``, ``holders`` and ``used_by``.
        groups: sums of them, dicts with ``key``, ``count`` and ``size``; ``group_by`` says of what.
        hints: sentences: what to drop.
    """

    def __init__(
        self, store: dict[str, int], rows: list[Row], groups: list[Row], hints: list[str],
        group_by: str, left_out: tuple[int, int], shared: bool,
    ) -> None:  # fmt: skip
        self.store = store
        self.rows = rows
        self.groups = groups
        self.hints = hints
        self.group_by = group_by
        self._left_out = left_out
        self._shared = shared

    # --- for people --------------------------------------------------------------------------

    def headline(self) -> str:
        """One line: use against capacity."""
        store = self.store
        if not self._shared:
            return f"{look.size(store['inline'])} in {store['objects']} objects, in this process"
        parts = [
            f"{look.size(_used(store))} of {look.size(store['capacity'])} in use",
            f"{look.size(store['mapped'])} of it mapped by processes" if store["mapped"] else "",
            f"{look.size(store['spilled'])} on disk" if store["spilled"] else "",
            f"{look.size(store['inline'])} of small objects" if store["inline"] else "",
            f"{store['objects']} objects",
        ]
        return " · ".join(filter(None, parts))

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            made = f"`{row['creator']}`"
            if where := _where(row):
                made += f", {where}"
            held = several(
                [*(f"`{v}`" for v in row["variables"]), *row["holders"], *row["used_by"]]
            )
            age = "" if row["age"] is None else seconds(row["age"])
            yield (
                look.size(row["size"]), row["type"], made, age,
                _PLACES.get(row["place"], row["state"].lower()), held or "nobody",
            )  # fmt: skip

    _HEAD = ("size", "type", "made by", "age", "where", "kept by")

    def _rest(self) -> str:
        count, size = self._left_out
        return f"and {count} more, {look.size(size)}" if count else ""

    def _sums(self) -> list[tuple[str, str, str]]:
        return [
            (look.size(g["size"]), f"{g['count']} object{'s' * (g['count'] != 1)}", g["key"])
            for g in self.groups
        ]

    def __str__(self) -> str:
        parts = [f"Object store: {self.headline()}"]
        if self._shared and self.store["capacity"]:
            parts.append(f"  {look.text_bar(_used(self.store) / self.store['capacity'], 40)}")
        if len(self.groups) > 1:
            parts += [f"  by {self.group_by}", look.text_table(self._sums(), "    ", right=[0, 1])]
        if self.rows:
            table = [self._HEAD, *self._cells()]
            parts += ["  the largest", look.text_table(table, "    ", right=[0])]
        if rest := self._rest():
            parts.append(f"    {rest}")
        parts += [f"  > {hint}" for hint in self.hints]
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [look.title("Object store", self.headline())]
        store = self.store
        if self._shared and store["capacity"]:
            whole = store["capacity"]
            mapped = min(store["mapped"], _used(store)) / whole
            bar = (
                ("mapped by processes", mapped, look.BUSY),
                ("not mapped", _used(store) / whole - mapped, look.GOOD),
                ("kept warm for the next put", store["cached"] / whole, look.WARM),
            )
            parts.append(look.bar(bar, self.headline()))
        if len(self.groups) > 1:
            inner = look.table(("size", "", self.group_by), self._sums(), right=[0, 1])
            parts.append(
                f'<details><summary style="cursor:pointer;color:{look.MUTED}">by {self.group_by}'
                f"</summary>{inner}</details>"
            )
        if self.rows:
            parts.append(look.table(self._HEAD, self._cells(), right=[0]))
        if rest := self._rest():
            parts.append(f'<div style="color:{look.MUTED}">{rest}</div>')
        parts += [look.note(hint, look.BUSY) for hint in self.hints]
        return look.page(*parts)


def _used(store: dict[str, int]) -> int:
    return max(0, store["used"] - store["cached"])


def _where(row: Row) -> str:
    line = f"line {row['line']}" if row["line"] else ""
    file = "" if row["cell"] else os.path.basename(row["file"])
    return " ".join(filter(None, (row["cell"], file, line)))


def memory(*, sort_by: str = "size", group_by: str = "creator", limit: int = 20) -> Memory:
    """What is in the object store: use against capacity, the largest objects, who made them, where,
    and who keeps them; and what to drop.

    Args:
        sort_by: "size", "age", "creator", "type" or "holders": the order of the largest objects.
        group_by: "creator", "cell", "type", "holder" or "place": what the sums are of.
        limit: objects that are told one by one, at most 1,000.

    Raises:
        RuntimeNotStartedError: there is no runtime. RuntimeLostError: it is gone.
        GetTimeoutError: it does not answer.
        ValueError: ``sort_by``, ``group_by`` or ``limit`` is none of these.

    >>> import fanlight
    >>> with fanlight.init(engine="inproc", num_cpus=1):
    ...     ref = fanlight.put("x" * 200_000)
    ...     found = fanlight.memory()
    >>> found.rows[0]["size"] > 200_000, found.rows[0]["creator"], found.rows[0]["type"]
    (True, 'put', 'str')
    """
    if sort_by not in _SORTS:
        raise ValueError(f"sort_by must be one of {', '.join(map(repr, _SORTS))}, not {sort_by!r}.")
    if group_by not in _GROUPS:
        known = ", ".join(map(repr, _GROUPS))
        raise ValueError(f"group_by must be one of {known}, not {group_by!r}.")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= 1_000:
        raise ValueError(f"limit must be between 1 and 1,000, got {limit!r}.")
    session = sessions.require()
    try:
        found = session.client.query("memory", _ANSWER_SECONDS, limit=max(limit, 100))
    except errors.GetTimeoutError:
        from fanlight.reasons import silence

        raise errors.GetTimeoutError(silence(session)) from None
    names = variables()
    numbers = sessions.cell_numbers()
    rows = [
        _row(session, raw, names, numbers, found["now"], i) for i, raw in enumerate(found["rows"])
    ]
    hints = _hints(rows, found)
    groups = _grouped(rows, found, numbers, group_by)
    orders: dict[str, Any] = {
        "size": lambda r: -r["size"],
        "age": lambda r: -(r["age"] or 0.0),
        "creator": lambda r: (r["creator"], -r["size"]),
        "type": lambda r: (r["type"], -r["size"]),
        "holders": lambda r: (-r["holders_count"], -r["size"]),
    }
    rows.sort(key=orders[sort_by])
    rows = rows[:limit]
    left = found["count"] - len(rows), found["size"] - sum(r["size"] for r in rows)
    shared = bool(session.engine.capabilities.shared_memory)
    return Memory(found["store"], rows, groups, hints, group_by, left, shared)


def _row(
    session: Session, raw: Row, names: dict[bytes, list[str]], numbers: dict[str, int],
    now: float, i: int,
) -> Row:  # fmt: skip
    from fanlight.client.put_notes import notes

    oid = bytes.fromhex(raw["id"])
    note = notes.get(oid)
    origin = raw["origin"] or (note.origin if note is not None else "")
    made = note.time if note is not None else raw["made"]
    cell = f"In[{numbers[origin]}]" if origin in numbers else origin[:40]
    me = os.getpid()
    holders = [
        ("this process" if h["pid"] == me else h["what"]) + f" (pid {h['pid']})"
        for h in raw["holders"]
        if h["pid"] != me or oid not in names
    ]
    own = {h["pid"] for h in raw["holders"]}
    holders += [
        f"mapped by {h['what']} (pid {h['pid']})" for h in raw["mapped"] if h["pid"] not in own
    ]
    return {
        **{k: raw[k] for k in ("id", "size", "state", "place", "holders_count", "pins")},
        "creator": note.what if note is not None and note.what else raw["creator"],
        "type": _type(session, oid, raw) if i < _PEEKED else "",
        "cell": cell,
        "file": note.file if note is not None else raw["site"],
        "line": note.line if note is not None else 0,
        "age": max(0.0, now - made) if made else None,
        "variables": names.get(oid, []),
        "holders": list(dict.fromkeys(holders)),
        "used_by": list(dict.fromkeys(raw["used_by"])),
    }


def _type(session: Session, oid: bytes, raw: Row) -> str:
    """Type, shape and dtype, as far as the beginning of its pickle tells."""
    value = session.client.entries.get(oid)
    if value is not None and value.kind == 0:  # inline
        return peek.kind(value.data)
    reader = session.client.reader
    name = str(raw["file"])
    if reader is None or not name or "/" in name:
        return ""
    folder: Path | None = reader.folder_of(name)
    return peek.kind_of_file(folder / name, raw["size"]) if folder is not None else ""


def _hints(rows: list[Row], found: Row) -> list[str]:
    """Variables that keep much of what is stored, the largest first."""
    sums: dict[str, tuple[int, list[Row]]] = {}
    for row in rows:
        if len(row["variables"]) == 1 and not row["used_by"]:
            size, some = sums.get(row["variables"][0], (0, []))
            sums[row["variables"][0]] = size + row["size"], [*some, row]
    out = []
    least = max(1, int(found["size"] * _HINT_SHARE))
    for name, (size, some) in sorted(sums.items(), key=lambda x: -x[1][0])[:_HINTS]:
        if size >= least:
            cells = several(dict.fromkeys(r["cell"] for r in some if r["cell"]), 2)
            made = f" (made in {cells})" if cells else ""
            drop = f"del {name}" if not name.startswith("Out[") else "%reset -f out"
            many = f" in {len(some)} objects" if len(some) > 1 else ""
            out.append(f"`{name}` keeps {look.size(size)}{many}{made}: `{drop}` lets it go.")
    return out


def _grouped(rows: list[Row], found: Row, numbers: dict[str, int], group_by: str) -> list[Row]:
    """Sums: of all objects by creator and cell, of the told ones by the rest."""
    sums: dict[str, list[int]] = {}

    def add(key: str, count: int, size: int) -> None:
        total = sums.setdefault(key, [0, 0])
        total[0] += count
        total[1] += size

    if group_by in ("creator", "cell"):
        puts = [r for r in rows if r["creator"] == "put"] if group_by == "cell" else []
        for maker in found["makers"]:
            origin = maker["origin"]
            cell = f"In[{numbers[origin]}]" if origin in numbers else origin[:40]
            count, size = maker["count"], maker["size"]
            if group_by == "creator":
                add(f"`{maker['creator']}`" + (f", {cell}" if cell else ""), count, size)
            elif maker["creator"] == "put":
                for row in puts:
                    add(row["cell"] or "no cell", 1, row["size"])
                add("no cell", count - len(puts), size - sum(r["size"] for r in puts))
            else:
                add(cell or "no cell", count, size)
    else:
        for row in rows:
            keys = {
                "type": [row["type"] or "not known"],
                "place": [_PLACES.get(row["place"], row["place"])],
                "holder": [*(f"`{v}`" for v in row["variables"]), *row["holders"]] or ["nobody"],
            }[group_by]
            for key in keys:
                add(key, 1, row["size"])
    ordered = sorted(sums.items(), key=lambda item: -item[1][1])
    return [{"key": k, "count": count, "size": size} for k, (count, size) in ordered if count][:50]
