"""Reads the user's code: what the calls that were seen mean for each other. Pure.

Rules ask here only about calls that really happened, by their place. Every answer errs on the safe
side: what cannot be seen for certain is not said.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from fanlight_kernel.coach.facts import Site

Loop = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.DictComp
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Module)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Source:
    """One file, or one cell. Raises SyntaxError."""

    def __init__(self, text: str, file: str = "", label: str = "", shift: int = 0) -> None:
        self.file = file
        self.label = label  # "In[7]", "module.py"
        self.shift = shift  # lines above, that the reader sees too
        self.lines = text.splitlines()
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.tree: ast.Module = compile(text, file or "<cell>", "exec", flags, True)
        self.parents: dict[ast.AST, ast.AST] = {}
        self._calls: dict[tuple[int, int, int, int], ast.Call] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            if isinstance(node, ast.Call):
                self._calls[_place(node)] = node

    def call(self, site: Site) -> ast.Call | None:
        """The call at ``site``."""
        return self._calls.get((site.line, site.end_line, site.column, site.end_column))

    def line(self, number: int) -> str:
        """A line, as the user wrote it."""
        return self.lines[number - 1].strip() if 0 < number <= len(self.lines) else ""

    def site(self, node: ast.AST) -> Site:
        return Site(self.file, *_place(node))

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """What ``node`` stands in, from the inside."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def loop(self, call: ast.AST) -> Loop | None:
        """The innermost loop that does ``call`` in each round."""
        inner = call
        for node in self.above(call):
            if isinstance(node, _LOOPS) and not _once(node, inner):
                return node
            if isinstance(node, _SCOPES):
                return None
            inner = node
        return None

    def scope(self, node: ast.AST) -> ast.AST:
        """The function, class or module that ``node`` belongs to."""
        return next((n for n in self.above(node) if isinstance(n, _SCOPES)), self.tree)

    def function(self, first_line: int, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The definition whose code begins at ``first_line``."""
        for node in ast.walk(self.tree):
            if isinstance(node, FUNCTIONS) and node.name == name:
                begins = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if begins == first_line or node.lineno == first_line:
                    return node
        return None


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    return (  # lineno and so on are there for all that has a place
        node.lineno,  # type: ignore[attr-defined]
        node.end_lineno,  # type: ignore[attr-defined]
        node.col_offset,  # type: ignore[attr-defined]
        node.end_col_offset,  # type: ignore[attr-defined]
    )


def _once(loop: ast.AST, child: ast.AST) -> bool:
    """Whether ``child`` of ``loop`` is evaluated once, not in each round."""
    if isinstance(loop, ast.For | ast.AsyncFor):
        return child is loop.iter or child in loop.orelse
    if isinstance(loop, ast.While):
        return child in loop.orelse
    if isinstance(loop, ast.ListComp | ast.SetComp | ast.DictComp):
        return child is loop.generators[0] and len(loop.generators) == 1
    return False


# --- does one round of a loop need what an earlier one fetched? ------------------------------------


def rounds_are_independent(
    source: Source, loop: Loop, gets: Sequence[ast.Call], submits: Sequence[ast.Call]
) -> bool:
    """Whether no call in ``submits`` can depend on what ``gets`` returned in this or another round.

    Followed: assignments, augmented ones, targets of loops, and methods and functions that are
    given a fetched value. A loop that may end early is taken to depend on what it fetched.
    """
    if any(
        isinstance(node, ast.Break | ast.Return | ast.Raise | ast.Global | ast.Nonlocal | ast.Await)
        for node in _inside(loop)
    ):
        return False
    fetched = _flows(loop, gets, submits)
    called = _flows(loop, submits, submits)
    local = _set_first(loop)
    for submit in submits:
        used = names_in(submit)
        if used & fetched or used & (called - local):
            return False
        if any(inner is not submit and inner in gets for inner in ast.walk(submit)):
            return False  # f.remote(get(...))
        for node in source.above(submit):
            if isinstance(node, ast.If | ast.IfExp | ast.While | ast.comprehension) and _touches(
                _condition(node), fetched, gets
            ):
                return False
            if node is loop:
                break
    return not _touches(_condition(loop), fetched | (called - local), gets)


def _condition(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return [node.test]
    if isinstance(node, ast.For | ast.AsyncFor):
        return [node.iter]
    if isinstance(node, ast.comprehension):
        return [*node.ifs]
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
        return [part for c in node.generators for part in (c.iter, *c.ifs)]
    return []


def _touches(nodes: Iterable[ast.AST], names: set[str], calls: Sequence[ast.Call]) -> bool:
    return any(names_in(n) & names or any(c in calls for c in ast.walk(n)) for n in nodes)


def _inside(loop: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(loop):
        if node is not loop:
            yield node


def names_in(node: ast.AST) -> set[str]:
    """All names in the code of ``node``."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def base_of(node: ast.AST) -> str:
    """The name at the root of ``a.b[c]``, "" if there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _targets(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Tuple | ast.List):
        return set().union(*map(_targets, node.elts)) if node.elts else set()
    return {base_of(node)} - {""}


def _flows(loop: ast.AST, seeds: Sequence[ast.Call], barred: Sequence[ast.Call]) -> set[str]:
    """Names that may hold something of what ``seeds`` return. ``barred`` calls take it over
    themselves: handing something to ``remote()`` does not change it here."""
    tainted: set[str] = set()

    def carries(node: ast.AST | None) -> bool:
        if node is None:
            return False
        if isinstance(node, ast.Name):
            return node.id in tainted
        if node in seeds:
            return True
        return any(carries(child) for child in ast.iter_child_nodes(node))

    before = -1
    while before != len(tainted):
        before = len(tainted)
        for node in ast.walk(loop):
            if isinstance(node, ast.Assign) and carries(node.value):
                for target in node.targets:
                    tainted |= _targets(target)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
                if carries(node.value):
                    tainted |= _targets(node.target)
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                if carries(node.iter):
                    tainted |= _targets(node.target)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                if carries(node.context_expr):
                    tainted |= _targets(node.optional_vars)
            elif isinstance(node, ast.Call) and node not in seeds and node not in barred:
                given = [*node.args, *(k.value for k in node.keywords)]
                if any(map(carries, given)):
                    tainted |= {base_of(g) for g in given if isinstance(g, ast.Name)} - {""}
                    if isinstance(node.func, ast.Attribute):
                        tainted |= {base_of(node.func)} - {""}
    return tainted


def _set_first(loop: ast.AST) -> set[str]:
    """Names that each round sets before it reads them."""
    local: set[str] = set()
    seen: set[str] = set()
    if isinstance(loop, ast.For | ast.AsyncFor):
        local |= _targets(loop.target)
    for c in getattr(loop, "generators", []):
        local |= _targets(c.target)
    for statement in getattr(loop, "body", []):
        if isinstance(statement, ast.Assign):
            seen |= names_in(statement.value)
            for target in statement.targets:
                if isinstance(target, ast.Name) and target.id not in seen:
                    local.add(target.id)
        seen |= names_in(statement)
    return local


# --- what becomes of a fetched value? --------------------------------------------------------------


def only_passed_on(source: Source, get: ast.Call, submits: Sequence[ast.Call]) -> ast.Call | None:
    """The ``remote()`` call that takes all that ``get`` returns, if nobody else looks at it."""
    parent = source.parents.get(get)
    taker = _taker(source, get, submits)
    if taker is not None:
        return taker
    names: set[str] = set()
    if isinstance(parent, ast.Assign) and parent.value is get and len(parent.targets) == 1:
        target = parent.targets[0]
        if isinstance(target, ast.Name):
            names = {target.id}
        elif isinstance(target, ast.Tuple) and all(isinstance(e, ast.Name) for e in target.elts):
            names = _targets(target)
    if not names:
        return None
    return _all_passed(source, names, source.scope(get), parent, submits, 0)


def _taker(source: Source, node: ast.AST, submits: Sequence[ast.Call]) -> ast.Call | None:
    """The submission that ``node`` is an argument of."""
    parent = source.parents.get(node)
    if isinstance(parent, ast.keyword | ast.Starred):
        node, parent = parent, source.parents.get(parent)
    if isinstance(parent, ast.Call) and parent in submits and node is not parent.func:
        return parent
    return None


def _all_passed(
    source: Source,
    names: set[str],
    scope: ast.AST,
    made: ast.AST | None,
    submits: Sequence[ast.Call],
    depth: int,
) -> ast.Call | None:
    """The submission that takes ``names``, if every use of them in ``scope`` is such a one."""
    found: ast.Call | None = None
    for name in names:
        taken = None
        for node in ast.walk(scope):
            if isinstance(node, ast.Global | ast.Nonlocal) and name in node.names:
                return None
            if not isinstance(node, ast.Name) or node.id != name:
                continue
            if isinstance(node.ctx, ast.Store):
                if source.parents.get(node) is not made and made not in [*source.above(node)]:
                    return None  # it is something else at another time
                continue
            taker = _use(source, node, submits, scope, depth)
            if taker is None:
                return None
            taken = taker
        if taken is None:
            return None  # nobody uses it here: perhaps another cell does
        found = taken
    return found


def _use(
    source: Source, node: ast.Name, submits: Sequence[ast.Call], scope: ast.AST, depth: int
) -> ast.Call | None:
    taker = _taker(source, node, submits)
    if taker is not None:
        return taker
    parent = source.parents.get(node)
    if isinstance(parent, ast.Subscript) and parent.value is node:
        return _taker(source, parent, submits)
    if depth:
        return None
    if isinstance(parent, ast.comprehension | ast.For) and parent.iter is node:
        target = parent.target
        if isinstance(target, ast.Name):
            inner = source.parents[parent] if isinstance(parent, ast.comprehension) else parent
            where = inner if isinstance(parent, ast.comprehension) else scope
            return _all_passed(source, {target.id}, where, parent, submits, depth + 1)
    return None
