"""``fanlight.graph()``: which task is made of which, as a picture, as text, and for Graphviz."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fanlight import ids
from fanlight import session as sessions
from fanlight.layers import Layout, layered
from fanlight.refs import ObjectRef
from fanlight.trace import bundle, cell_id, pictures
from fanlight.words import seconds, size

EXPAND = 300  # tasks that are shown one by one without being asked to
LIMIT = 2_000
_LINES = 60  # of text
LEVELS = ("auto", "tasks", "functions")
_MARKS = {
    "FINISHED": "✓",
    "FAILED": "✗",
    "RUNNING": "▶",
    "CANCELLED": "■",
    "VALUE": "◆",
    "GONE": "?",
}
_DOT = {"FINISHED": "#009E73", "FAILED": "#D55E00", "RUNNING": "#0072B2", "CANCELLED": "#CC79A7"}
_GROUP_STATES = ("FAILED", "RUNNING", "SUBMITTED", "PENDING_RESOURCES", "PENDING_ARGS", "CANCELLED")


@dataclass(frozen=True)
class Node:
    """A task, a value that was put, or all tasks of a function."""

    name: str
    state: str
    cell: str
    done: int  # of ``count``
    count: int  # 1, or how many tasks of the function there are
    kind: str  # "task", "value" or "function"
    facts: dict[str, str]  # what there is to say about it

    @property
    def mark(self) -> str:
        """A sign for its state."""
        return _MARKS.get(self.state, "…")

    @property
    def progress(self) -> str:
        return f"{self.done:,}/{self.count:,}" if self.kind == "function" else ""


@dataclass(frozen=True)
class Edge:
    """What goes from one node to another; numbers are places in ``Graph.nodes``."""

    source: int
    target: int
    count: int  # objects, or calls
    size: int | None  # bytes, None where they are not known
    kind: str  # "data", or "spawn": the one called the other

    @property
    def text(self) -> str:
        what = "call" if self.kind == "spawn" else "object"
        text = f"{self.count:,} {what}{'s' if self.count != 1 else ''}"
        return text if not self.size else f"{text}, {size(self.size)}"


class Graph:
    """Tasks and what they pass to each other; shows itself as a picture in a notebook."""

    def __init__(
        self, nodes: list[Node], edges: list[Edge], level: str, note: str, roots: list[int]
    ) -> None:
        self.nodes = nodes
        self.edges = edges
        self.level = level  # "tasks" or "functions"
        self.note = note  # what is not in it, "" for nothing
        self.roots = roots  # of the refs that were asked for

    @cached_property
    def layout(self) -> Layout:
        return layered(len(self.nodes), [(e.source, e.target) for e in self.edges])

    def headline(self) -> str:
        """One line: how many tasks there are, and in which states."""
        if not self.nodes:
            return "no tasks"
        if self.level == "functions":
            tasks = sum(node.count for node in self.nodes)
            done = sum(node.done for node in self.nodes)
            text = f"{tasks:,} tasks of {len(self.nodes)} functions, {done:,} ended"
        else:
            tasks = sum(node.kind == "task" for node in self.nodes)
            text = f"{tasks:,} task{'s' if tasks != 1 else ''}"
            states = Counter(n.state for n in self.nodes if n.kind == "task")
            for state, count in sorted(states.items()):
                text += f", {count:,} {state.lower().replace('_', ' ')}"
        return text

    def to_dot(self) -> str:
        """The graph in Graphviz's language.

        >>> Graph([Node('f', 'FINISHED', '', 1, 1, 'task', {})], [], 'tasks', '', []).to_dot()
        'digraph fanlight {\\n  node [shape=box];\\n  n0 [label="f", color="#009E73"];\\n}\\n'
        """
        lines = ["digraph fanlight {", "  node [shape=box];"]
        for i, node in enumerate(self.nodes):
            label = "\\n".join(_quoted(t) for t in (node.name, node.progress) if t)
            colour = _DOT.get(node.state, "#8A8A8A")
            shape = ", shape=ellipse" if node.kind == "value" else ""
            lines.append(f'  n{i} [label="{label}", color="{colour}"{shape}];')
        for edge in self.edges:
            style = ", style=dashed" if edge.kind == "spawn" else ""
            lines.append(f'  n{edge.source} -> n{edge.target} [label="{edge.text}"{style}];')
        return "\n".join([*lines, "}"]) + "\n"

    def to_mermaid(self) -> str:
        """The graph in Mermaid's language, for Markdown."""
        lines = ["flowchart TD"]
        for i, node in enumerate(self.nodes):
            label = " ".join(t for t in (node.mark, node.name, node.progress) if t)
            lines.append(f'  n{i}["{_entities(label)}"]')
        for edge in self.edges:
            arrow = "-.->" if edge.kind == "spawn" else "-->"
            lines.append(f'  n{edge.source} {arrow}|"{edge.text}"| n{edge.target}')
        return "\n".join(lines) + "\n"

    def figure(self, **options: Any) -> Any:
        """A Bokeh figure; ``options`` are those of ``bokeh.plotting.figure``."""
        return pictures("figure").graph_figure(self, **options)

    def to_html(self, filename: str | os.PathLike[str]) -> None:
        """Write a page with the interactive picture, which needs neither network nor kernel."""
        pictures("to_html").write_page(self, filename)

    def __repr__(self) -> str:
        lines = [f"Task graph: {self.headline()}"]
        lines += _tree(self) if self.roots else _listing(self)
        if len(lines) > _LINES:
            lines = [*lines[:_LINES], f"… {len(lines) - _LINES} more lines: see to_dot()"]
        return "\n".join([*lines, self.note] if self.note else lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(self)


def graph(
    refs: Any = None,
    *,
    cell: str | int | None = None,
    function: str | None = None,
    level: str = "auto",
) -> Graph:
    """The task graph: tasks, and which of them get the results of which.

    Up to 300 tasks are shown one by one, more are added up by function, with counts and progress.

    Args:
        refs: a ref, or a list of them: what they were made of, back to the first task. Without,
            everything that the runtime knows.
        cell: only tasks of this cell: ``"this"``, a cell's number, or its id.
        function: only tasks of this function.
        level: ``"tasks"`` or ``"functions"``, to have it so whatever their number (2,000 tasks at
            most).

    Raises:
        RuntimeNotStartedError: before ``init``, and after ``shutdown``.
        TypeError: for something else than refs.
        ValueError: for an unknown level or cell.

    >>> import fanlight
    >>> @fanlight.remote
    ... def add(*numbers):
    ...     return sum(numbers)
    >>> with fanlight.init(engine="inproc", num_cpus=1):
    ...     total = add.remote(add.remote(1), add.remote(2))
    ...     print(fanlight.get(total), str(fanlight.graph(total)).split(chr(10))[0])
    3 Task graph: 3 tasks, 3 finished
    """
    session = sessions.require()
    if level not in LEVELS:
        raise ValueError(f"level is one of {', '.join(map(repr, LEVELS))}, not {level!r}.")
    oids = list(_object_ids(refs)) if refs is not None else []
    if refs is not None and not oids:
        return Graph([], [], "tasks", "", [])
    limit = {"tasks": LIMIT, "auto": EXPAND, "functions": 0}[level]
    answer = session.engine.query(
        "graph",
        refs=[oid.hex() for oid in oids],
        origin=cell_id(cell) if cell is not None else "",
        function=function or "",
        limit=LIMIT if oids else limit,
    )
    tasks = answer["tasks"]
    counted = sum(sum(counts) for *_, counts, _ in answer["groups"])
    few = len(tasks) > 0 and (level == "tasks" or len(tasks) <= EXPAND)
    most = bool(oids) or answer["whole"] or 2 * len(tasks) > counted
    if level != "functions" and few and (most or level == "tasks"):
        return _of_tasks(answer, {ids.task_of(oid) for oid in oids}, counted)
    return _of_groups(answer, bool(oids), level)


def _object_ids(refs: Any) -> Iterator[bytes]:
    if isinstance(refs, ObjectRef):
        yield refs.binary()
    elif isinstance(refs, list | tuple | set | frozenset):
        for ref in refs:
            yield from _object_ids(ref)
    elif isinstance(refs, dict):
        yield from _object_ids(list(refs.values()))
    else:
        raise TypeError(f"graph() takes a ref or a list of refs, not {type(refs).__name__}.")


def _of_tasks(answer: dict[str, Any], roots: set[bytes], counted: int) -> Graph:
    """A node for each task."""
    rows = answer["tasks"]
    place = {row["id"]: i for i, row in enumerate(rows)}
    kinds = {number: kind for number, _, kind, *_ in answer["groups"]}
    nodes = [_node(row, kinds.get(row["group"], "task"), answer["now"]) for row in rows]
    edges: list[Edge] = []
    for i, row in enumerate(rows):
        found: dict[int, tuple[int, int | None]] = {}
        for oid, length in row["deps"]:
            source = place.get(ids.task_of(oid))
            if source is not None:
                count, total = found.get(source, (0, None))
                more = total if length is None else (total or 0) + length
                found[source] = count + 1, more
        edges += [Edge(source, i, n, total, "data") for source, (n, total) in found.items()]
        parent = place.get(row["parent"])
        if parent is not None and parent not in found:
            edges.append(Edge(parent, i, 1, None, "spawn"))
    missing = counted - sum(node.kind == "task" for node in nodes)
    note = ""
    if roots:
        if not answer["whole"]:
            note = f"Only the {LIMIT:,} nearest tasks are shown."
    elif missing > 0:
        note = (
            f"{missing:,} more tasks are not shown one by one: they ended a while ago, or were "
            "direct calls of actors. level='functions' counts them."
        )
    return Graph(nodes, edges, "tasks", note, [place[r] for r in roots if r in place])


def _node(row: dict[str, Any], kind: str, now: float) -> Node:
    submitted, started, finished = row["times"]
    value = row["state"] in ("VALUE", "GONE")
    facts = {"state": row["state"].lower().replace("_", " ")}
    if started:
        facts["took" if finished else "running for"] = seconds((finished or now) - started)
        if submitted and started > submitted and not row["attempt"]:
            facts["waited before"] = seconds(started - submitted)
    if row["size"]:
        facts["size" if value else "results"] = size(row["size"])
    if row["attempt"]:
        facts["attempt"] = str(row["attempt"] + 1)
    if row["worker"]:
        facts["process"] = str(row["worker"])
    if kind != "task" and not value:
        facts["kind"] = {"actor": "constructor of an actor", "method": "call of an actor"}[kind]
    if row["error"]:
        facts["error"] = row["error"]
    facts["id"] = row["id"].hex()
    ended = int(row["state"] in ("FINISHED", "FAILED", "CANCELLED"))
    shape = "value" if value else "task"
    return Node(row["name"], row["state"], row["cell"], ended, 1, shape, facts)


def _of_groups(answer: dict[str, Any], of_refs: bool, level: str) -> Graph:
    """A node for each function."""
    states = answer["states"]
    counts: dict[int, Counter[str]] = {}
    if of_refs:
        for row in answer["tasks"]:
            counts.setdefault(row["group"], Counter())[row["state"]] += 1
    groups = [row for row in answer["groups"] if sum(row[4]) or of_refs]
    place = {row[0]: i for i, row in enumerate(groups)}
    nodes = []
    for number, name, kind, cell, known, duration in groups:
        own = counts[number] if of_refs else Counter(dict(zip(states, known, strict=True)))
        total = sum(own.values())
        ended = own["FINISHED"] + own["FAILED"] + own["CANCELLED"]
        facts = {
            state.lower().replace("_", " "): f"{own[state]:,}" for state in states if own[state]
        }
        if duration and not of_refs:
            facts["time"] = seconds(duration)
        state = next((s for s in _GROUP_STATES if own[s]), "FINISHED")
        full = f"{name}.__init__" if kind == "actor" else name
        nodes.append(Node(full, state, cell, ended, total, "function", facts))
    edges = [
        Edge(place[source], place[target], count, None, kind)
        for source, target, kind, count in answer["edges"]
        if source in place and target in place
    ]
    note = ""
    if level == "tasks":
        note = f"There are too many tasks to show one by one ({LIMIT:,} at most)."
    return Graph(nodes, edges, "functions", note, [])


# --- as text -------------------------------------------------------------------------------------


def _line(node: Node) -> str:
    shown = ("took", "running for", "results", "size", "error")
    facts = [node.facts[key] for key in shown if node.facts.get(key)]
    if node.kind == "function":
        facts = [f"{node.progress} ended", *(v for k, v in node.facts.items() if k == "time")]
        if node.facts.get("failed"):
            facts.append(f"{node.facts['failed']} failed")
    else:
        facts.insert(0, node.state.lower().replace("_", " "))
    return f"{node.mark} {node.name} ({', '.join(facts)})"


def _listing(graph: Graph) -> list[str]:
    """Layer by layer, each node with what it feeds; tasks that are alike are one entry."""
    below: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        below.setdefault(edge.source, []).append(edge)
    entries: dict[Any, list[str]] = {}
    alike: Counter[Any] = Counter()
    for i in sorted(range(len(graph.nodes)), key=lambda i: graph.layout.places[i][::-1]):
        node, targets = graph.nodes[i], below.get(i, [])
        names = sorted({graph.nodes[edge.target].name for edge in targets})
        key = i if node.kind == "function" else (node.name, node.state, *names)
        alike[key] += 1
        if key in entries:
            continue
        entries[key] = lines = [_line(node)]
        for edge in targets[:8]:
            arrow = "⇢" if edge.kind == "spawn" else "→"
            lines.append(f"    {arrow} {graph.nodes[edge.target].name}: {edge.text}")
        if len(targets) > 8:
            lines.append(f"    → {len(targets) - 8} more")
    for key, lines in entries.items():
        if alike[key] > 1:
            lines[0] += f" and {alike[key] - 1:,} more like it"
    return [line for lines in entries.values() for line in lines]


def _tree(graph: Graph) -> list[str]:
    """From the refs down to what they were made of."""
    above: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        if edge.kind == "data":
            above.setdefault(edge.target, []).append(edge)
    seen: set[int] = set()
    lines: list[str] = []
    todo = [(root, 0) for root in reversed(graph.roots)]
    while todo:
        i, depth = todo.pop()
        known = i in seen and above.get(i)
        text = f"{'  ' * min(depth, 30)}{_line(graph.nodes[i])}"
        lines.append(text + (" (see above)" if known else ""))
        if i not in seen:
            seen.add(i)
            todo += [(e.source, depth + 1) for e in reversed(above.get(i, []))]
    return lines


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _entities(text: str) -> str:
    return (
        text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    )
