"""The largest objects, for people: what they are, why they are kept, and what would let them go.

The node knows who holds an object; what it is stands in the object itself, of which only the
beginning is read, in the process that asks.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from fanlight import peek
from fanlight.observe import questions as q

_DISK = "@"  # names of files on disk begin with it
_PEEKED = 200  # objects whose type is looked for in one answer
_KEPT = 2_000  # types that are remembered

Row = dict[str, Any]


class ObjectFacts:
    """Types of objects, remembered; one for each runtime that is looked at. Any thread may ask."""

    def __init__(self, welcome: dict[str, Any]) -> None:
        self._segments = str(welcome.get("segment_dir", ""))
        self._spilled = str(welcome.get("spill_dir", ""))
        self._types: dict[str, str] = {}
        self._lock = threading.Lock()

    def answer(self, found: Row, query: q.QueryObjects) -> Row:
        """An :class:`fanlight.answers.ObjectsAnswer` of what the node said. Reads files."""
        rows = [
            self._row(raw, self._type(raw) if i < _PEEKED else "")
            for i, raw in enumerate(found["rows"])
        ]
        orders: dict[str, Any] = {
            "size": lambda r: -r["size"],
            "age": lambda r: (not r["made"], r["made"], -r["size"]),
            "creator": lambda r: (r["creator"], -r["size"]),
            "type": lambda r: (r["type"], -r["size"]),
            "holders": lambda r: (-r["holders_count"], -r["size"]),
        }
        rows.sort(key=orders[query.sort])
        return {**found, "rows": rows[: query.limit]}

    def _type(self, raw: Row) -> str:
        known = self._types.get(raw["id"])
        if known is not None:
            return known
        head = raw["head"]
        found = peek.kind_of_head(head, raw["size"]) if head else self._of_file(raw)
        with self._lock:  # several questions are answered at a time
            while len(self._types) >= _KEPT:
                del self._types[next(iter(self._types))]
            if found:
                self._types[raw["id"]] = found
        return found

    def _of_file(self, raw: Row) -> str:
        name = raw["file"]
        folder = self._spilled if name.startswith(_DISK) else self._segments
        if not name or not folder or "/" in name:
            return ""
        with contextlib.suppress(OSError, ValueError):
            return peek.kind_of_file(Path(folder, name), raw["size"])
        return ""

    def _row(self, raw: Row, kind: str) -> Row:
        site, variables = raw["site"], raw["variables"]
        file, line = raw["where"] if raw["where"][0] else _place(site)
        holders = [h for h in raw["holders"] if h]
        mapped = [h for h in raw["mapped"] if h]
        row = {
            "id": raw["id"],
            "size": raw["size"],
            "state": raw["state"],
            "place": raw["place"],
            "type": kind,
            "creator": raw["creator"],
            "origin": raw["origin"],
            "file": file,
            "line": line,
            "made": raw["made"],
            "holders": holders,
            "holders_count": raw["holders_count"],
            "mapped": mapped,
            "pins": raw["pins"],
            "used_by": raw["used_by"],
            "variables": variables,
        }
        return {**row, "why": why(row), "release": release(row)}


def _place(site: str) -> tuple[str, int]:
    """File and line of ``(put object) file:line:function``.

    >>> _place("(put object) /srv/a/b.py:12:main"), _place("")
    (('/srv/a/b.py', 12), ('', 0))
    """
    file, _, number = site.partition(") ")[2].rpartition(":")[0].rpartition(":")
    return (file, int(number)) if number.isdecimal() else ("", 0)


def several(words: list[str], most: int = 3) -> str:
    """
    >>> several(["a"]), several(["a", "b"]), several(list("abcde"))
    ('a', 'a and b', 'a, b, c and 2 more')
    """
    shown = words[:most] if len(words) > most else words[:-1]
    last = f"{len(words) - most} more" if len(words) > most else words[-1]
    return f"{', '.join(shown)} and {last}" if shown else last


def why(row: Row) -> str:
    """Why an object is kept, in one sentence.

    >>> row = {"variables": ["x"], "used_by": [], "holders": [], "mapped": [], "pins": 0,
    ...        "holders_count": 1, "size": 8_000_000}
    >>> why(row)
    'The variable `x` holds it.'
    >>> why(row | {"variables": [], "used_by": ["an argument of `fit`"], "pins": 1})
    'It is an argument of `fit`.'
    >>> why(row | {"variables": [], "holders_count": 0})
    'Nobody holds it: it is about to go.'
    """
    names = row["variables"]
    if names:
        many = len(names) > 1
        text = several([f"`{name}`" for name in names])
        return f"The variable{'s' * many} {text} hold{'' if many else 's'} it."
    if row["used_by"]:
        return f"It is {several(row['used_by'])}."
    if row["holders_count"]:
        who = [f"{h['what']} (pid {h['pid']})" for h in row["holders"]]
        return f"A ref to it is held by {several(who)}." if who else "A ref to it is held."
    if row["mapped"]:
        who = [f"{h['what']} (pid {h['pid']})" for h in row["mapped"]]
        return f"Its memory is in use by {several(who)}."
    if row["pins"]:
        return f"{row['pins']} tasks or objects need it."
    return "Nobody holds it: it is about to go."


def release(row: Row) -> str:
    """The line that lets an object go; "" where a variable is not what keeps it.

    >>> row = {"variables": ["x"], "used_by": [], "pins": 0}
    >>> release(row), release(row | {"variables": ["Out[3]"]}), release(row | {"pins": 1})
    ('del x', '%reset -f out', '')
    """
    names = row["variables"]
    if not names or row["pins"] or row["used_by"]:
        return ""
    if any(name.startswith("Out[") for name in names):
        return "%reset -f out"
    return f"del {', '.join(names)}"
