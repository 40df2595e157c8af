"""Changes in place that a cell's text tells of: for the note's words, and for what is copied.

Whether one happened is found by comparing (see :mod:`fanlight_kernel.capture.alterations`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MUTATORS = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "difference_update",
        "discard",
        "extend",
        "extendleft",
        "fill",
        "insert",
        "intersection_update",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "resize",
        "reverse",
        "rotate",
        "setdefault",
        "sort",
        "symmetric_difference_update",
        "update",
    ]
)

# Functions that change what they get first.
FIRST_ARGUMENT = frozenset(
    [
        *("copyto", "delattr", "delitem", "fill_diagonal", "heapify", "heappop", "heappush"),
        *("insort", "insort_left", "insort_right", "place", "put", "putmask"),
        *("setattr", "setitem", "shuffle"),
    ]
)


@dataclass(frozen=True)
class Mutation:
    """A change in place: where, and how people would say it."""

    line: int  # 1-based, in the analysed source
    how: str  # "data.append(...)", "data[...] = ..."


def targets(nodes: Iterable[ast.expr]) -> Iterator[ast.expr]:
    for node in nodes:
        if isinstance(node, (ast.Tuple, ast.List)):
            yield from targets(node.elts)
        elif isinstance(node, ast.Starred):
            yield from targets([node.value])
        else:
            yield node


def own_code(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes of the cell's own code: function, class and lambda bodies are left out."""
    stack = list(body)
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        stack.extend(ast.iter_child_nodes(node))


def mutations(body: list[ast.stmt]) -> dict[str, Mutation]:
    found: dict[str, Mutation] = {}

    def note(name: str, node: ast.AST, how: str) -> None:
        line = getattr(node, "lineno", 1)
        if name not in found or line < found[name].line:
            found[name] = Mutation(line, how)

    for node in own_code(body):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            root = _root(owner)
            if root is not None and node.func.attr in MUTATORS:
                note(root, node, f"{ast.unparse(owner)}.{node.func.attr}(...)")
        if isinstance(node, ast.Call):
            for name, how in _changed_by(node):
                note(name, node, how)
            continue
        bound: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            bound = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor)):
            bound = [node.target]
        verb = "del {}" if isinstance(node, ast.Delete) else "{} = ..."
        for target in targets(bound):
            if isinstance(target, (ast.Subscript, ast.Attribute)):
                root = _root(target)
                if root is not None:
                    part = "[...]" if isinstance(target, ast.Subscript) else f".{target.attr}"
                    note(root, node, verb.format(root + part))
    return found


def _root(node: ast.expr) -> str | None:
    """``x`` of ``x[0].y``."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _changed_by(call: ast.Call) -> Iterator[tuple[str, str]]:
    """Names that a call is told to write into, and how people would say it."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    function = call.func.id if isinstance(call.func, ast.Name) else function
    for keyword in call.keywords:
        root = _root(keyword.value)
        if keyword.arg == "out" and root is not None:
            yield root, f"{function}(..., out={root})"
        owner = _root(call.func.value) if isinstance(call.func, ast.Attribute) else None
        if keyword.arg == "inplace" and owner is not None and _is_true(keyword.value):
            yield owner, f"{owner}.{function}(..., inplace=True)"
    if function in FIRST_ARGUMENT and call.args:
        root = _root(call.args[0])
        if root is not None:
            yield root, f"{function}({root}, ...)"


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
