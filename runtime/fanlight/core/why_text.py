"""What :mod:`fanlight.core.why` finds, for people: one sentence, and the facts as lines of a tree.

A *node* is a dictionary that says of one task, actor, object or placement group what it does or
waits for; ``next`` are the nodes of what it waits for, the one that matters most first. So a chain of
reasons is a path through ``next``. Names stand in backquotes.

>>> end = {"kind": "task", "name": "load", "clause": "has been running for 12 s", "next": []}
>>> node = {"kind": "task", "name": "fit", "clause": "waits for its argument `load`", "next": [end]}
>>> sentence(node)
'`fit` waits for its argument `load`, which has been running for 12 s.'
>>> sentence(node, "It")
'It waits for its argument `load`, which has been running for 12 s.'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Node = dict[str, Any]
_SAID = 3  # reasons of a chain that a sentence names one by one
_LINES = 60  # of a tree


def seconds(value: float) -> str:
    """A duration for people.

    >>> seconds(0.004), seconds(3.21), seconds(12.3), seconds(75), seconds(7300)
    ('0.0 s', '3.2 s', '12 s', '1 min 15 s', '2 h 1 min')
    """
    value = max(0.0, value)
    if value < 60:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def amount(bytes_: float) -> str:
    """Bytes for people.

    >>> amount(512), amount(8_000_000), amount(123_456_789_000)
    ('512 B', '8.0 MB', '123 GB')
    """
    value = float(bytes_)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def several(words: Iterable[str], most: int = 3) -> str:
    """
    >>> several(["a"]), several(["a", "b"]), several("abcde")
    ('a', 'a and b', 'a, b, c and 2 more')
    """
    found = list(words)
    if len(found) > most:
        return f"{', '.join(found[:most])} and {len(found) - most} more"
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def called(node: Node) -> str:
    return f"`{node['name']}`"


def chain(node: Node) -> list[Node]:
    """The node, what it waits for, what that waits for, …: the last one is the root cause."""
    found = [node]
    while found[-1]["next"]:
        found.append(found[-1]["next"][0])
    return found


def sentence(node: Node, subject: str = "") -> str:
    """The whole chain in one sentence, and a hint if there is one."""
    links = chain(node)
    text = f"{subject or called(node)} {links[0]['clause']}"
    rest = links[1:]
    if len(rest) > _SAID:
        left = len(rest) - _SAID
        text += "".join(f", which {link['clause']}" for link in rest[: _SAID - 1])
        last = rest[-1]
        text += f", … and so on for {left} more, up to {called(last)}, which {last['clause']}"
    else:
        text += "".join(f", which {link['clause']}" for link in rest)
    text = text.rstrip(".") + "."
    hint = links[-1].get("hint", "")
    return f"{text} {hint}" if hint else text


def lines(node: Node) -> list[dict[str, Any]]:
    """The facts as a tree: ``depth``, ``label``, ``text``, and ``task`` (an id, or "") of each."""
    out: list[dict[str, Any]] = []
    _lines(node, 0, out)
    if len(out) > _LINES:
        out[_LINES:] = [{"depth": 0, "label": "", "text": "… and more", "task": ""}]
    return out


def _lines(node: Node, depth: int, out: list[dict[str, Any]]) -> None:
    task = node["id"] if node["kind"] in ("task", "call") else ""

    def add(depth: int, label: str, text: str, task: str = "") -> None:
        out.append({"depth": depth, "label": label, "text": text, "task": task})

    add(depth, called(node), node["clause"], task)
    for label, text in facts(node):
        add(depth + 1, label, text)
    for holder in node.get("held_by", ()):
        held = ", ".join(f"{value:g} {name}" for name, value in holder["held"].items())
        since = f", for {seconds(holder['seconds'])}" if holder["seconds"] is not None else ""
        where = f", pid {holder['pid']}" if holder["pid"] else ""
        text = f"`{holder['name']}` ({holder['kind']}) holds {held}{since}{where}"
        add(depth + 1, "held by", text, holder["task"])
    more = node.get("held_by_more", 0)
    if more:
        add(depth + 1, "held by", f"{more} more")
    for child in node["next"]:
        _lines(child, depth + 1, out)
    if node.get("left_out"):
        add(depth + 1, "", f"and {node['left_out']} more")


def facts(node: Node) -> list[tuple[str, str]]:
    """Facts of one node beyond its clause, as label and text."""
    rows: list[tuple[str, str]] = []
    for name, (asked, free, total) in node.get("resources", {}).items():
        rows.append((name, f"asks for {asked:g}, {free:g} of {total:g} free"))
    if node.get("ahead"):
        rows.append(("in line", f"{node['ahead']} come first"))
    if node.get("attempt"):
        failed = f"; the last one failed: {node['failed']}" if node.get("failed") else ""
        rows.append(("attempt", f"{node['attempt'] + 1}{failed}"))
    if node.get("waited") is not None:
        rows.append(("submitted", f"{seconds(node['waited'])} ago"))
    if node.get("origin"):
        rows.append(("cell", node["origin"]))
    if node.get("driver"):
        rows.append(("driver", f"another one, pid {node['driver']}"))
    return rows
