"""What only a driver knows of its refs: the variables that hold them, and where they were put.

The node asks when somebody looks at the largest objects; ``fanlight.memory()`` looks itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fanlight import messages as m
from fanlight.client.put_notes import notes
from fanlight.refs import ObjectRef

_ITEMS = 10_000  # of a variable that are looked through for refs
_ALL = 100_000  # of all variables
_NAMES = 5  # of one object


def variables(space: dict[str, Any] | None = None) -> dict[bytes, list[str]]:
    """Which of the user's variables hold a ref, by object; Out[n] too.

    Called in any thread: what changes meanwhile is seen or not.
    """
    found: dict[bytes, list[str]] = {}
    left = _ALL

    def add(value: Any, name: str) -> None:
        nonlocal left
        for oid in _inside(value):
            left -= 1
            known = found.setdefault(oid, [])
            if len(known) < _NAMES and name not in known:
                known.append(name)
        if isinstance(value, dict | list | tuple | set):
            left -= min(len(value), _ITEMS)

    if space is None:
        space = dict(getattr(sys.modules.get("__main__"), "__dict__", {}))
    for name, value in space.items():
        if not name.startswith("_") and name not in ("In", "Out") and left > 0:
            add(value, name)
    out = space.get("Out")
    if isinstance(out, dict) and "In" in space:
        for number, value in list(out.items()):
            if left > 0:
                add(value, f"Out[{number}]")
    return found


def _inside(value: Any) -> Iterator[bytes]:
    if isinstance(value, ObjectRef):
        yield value._id
    elif isinstance(value, dict | list | tuple | set) and 0 < len(value) <= _ITEMS:
        try:
            items = list(value.values() if isinstance(value, dict) else value)
        except RuntimeError:  # another thread changes it
            return
        for item in items:
            if isinstance(item, ObjectRef):
                yield item._id


def answer(oids: Iterable[bytes], send: Callable[[list[Any]], None]) -> None:
    """Tell the node; called by the link with what :class:`messages.TellRefs` names."""
    names = variables()
    rows = []
    for oid in oids:
        fact = m.RefFact(oid, [name[:200] for name in names.get(oid, [])])
        note = notes.get(oid)
        if note is not None:
            fact.origin, fact.file, fact.line = note.origin[:500], note.file[-500:], note.line
            fact.time, fact.what = note.time, note.what[:200]
        rows.append(fact)
    send([m.RefFacts(rows)])
