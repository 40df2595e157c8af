"""Reads the functions that tasks run, and what the notebook does around them. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fanlight_kernel.coach.reading import FUNCTIONS, Source, base_of, names_in

Definition = ast.FunctionDef | ast.AsyncFunctionDef
_CHANGES = frozenset(
    {
        *("append", "add", "extend", "insert", "update", "setdefault", "pop", "popleft"),
        *("remove", "discard", "clear", "appendleft", "sort", "reverse"),
    }
)


class Change(NamedTuple):
    """A global that a function changes."""

    name: str
    how: str
    node: ast.AST


def changes_of_globals(function: Definition) -> list[Change]:
    """Globals that the function assigns or changes in place, each once.

    What is looked at first (``if model is None: model = load()``, ``if key not in cache``) is a
    cache of the process, and left out.
    """
    declared = {
        n for node in ast.walk(function) if isinstance(node, ast.Global) for n in node.names
    }
    own = _locals(function) - declared
    cached = {
        name
        for node in ast.walk(function)
        if isinstance(node, ast.If | ast.IfExp | ast.While)
        for name in names_in(node.test)
    }
    found: dict[str, Change] = {}

    def note(name: str, how: str, node: ast.AST) -> None:
        if name and name not in own and name not in cached:
            found.setdefault(name, Change(name, how, node))

    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    if target.id in declared:
                        note(target.id, "assigns", node)
                elif isinstance(target, ast.Subscript | ast.Attribute):
                    note(base_of(target), "changes", node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func
            if called.attr in _CHANGES and isinstance(called.value, ast.Name):
                note(called.value.id, "changes", node)
    return list(found.values())


def _locals(function: Definition) -> set[str]:
    args = function.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    names = {a.arg for a in every if a is not None}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, FUNCTIONS) and node is not function:
            names.add(node.name)
            names |= {a.arg for a in node.args.args}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name).partition(".")[0] for a in node.names}
    return names


def reads_after(source: Source, name: str, line: int) -> ast.Name | None:
    """Where top-level code of the cell reads ``name`` after ``line``, as it was before.

    None when the cell sets it first, or only hands it to ``remote()``.
    """
    uses = sorted(
        (n for n in ast.walk(source.tree) if isinstance(n, ast.Name) and n.id == name),
        key=lambda n: (n.lineno, n.col_offset),
    )
    for node in uses:
        if node.lineno <= line or isinstance(source.scope(node), (*FUNCTIONS, ast.Lambda)):
            continue
        if isinstance(node.ctx, ast.Load):
            return node
        if not isinstance(source.parents.get(node), ast.AugAssign):
            return None
    return None


def returned_puts(function: Definition, puts: Iterable[str]) -> ast.Return | None:
    """The ``return put(x)`` of the function. ``puts`` is how it can be called there: "ray.put"."""
    ways = set(puts)

    def is_put(node: ast.AST | None) -> bool:
        return isinstance(node, ast.Call) and ast.unparse(node.func) in ways

    stored = {
        n.targets[0].id
        for n in _own(function)
        if isinstance(n, ast.Assign)
        and is_put(n.value)
        and len(n.targets) == 1
        and isinstance(n.targets[0], ast.Name)
    }
    for node in _own(function):
        if isinstance(node, ast.Return) and (
            is_put(node.value) or (isinstance(node.value, ast.Name) and node.value.id in stored)
        ):
            return node
    return None


def waits_inside(function: Definition, gets: Iterable[str]) -> ast.Call | None:
    """The call of ``get`` in a function that also calls ``remote()``. ``gets``: as for puts."""
    ways = set(gets)
    calls = [n for n in _own(function) if isinstance(n, ast.Call)]
    if not any(isinstance(c.func, ast.Attribute) and c.func.attr == "remote" for c in calls):
        return None
    return next((c for c in calls if ast.unparse(c.func) in ways), None)


def _own(function: Definition) -> Iterator[ast.AST]:
    """What stands in a function, but not in functions inside it."""
    todo: list[ast.AST] = [*function.body]
    while todo:
        node = todo.pop(0)
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
