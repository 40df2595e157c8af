"""What a cell reads and what it assigns, found without running it.

Pure functions over source text: nothing here knows IPython, a runtime or a user's namespace. The
source is the *transformed* cell (magics already turned into Python), and ``await`` may stand at
the top level.

The rules
---------
* A name counts as **read** when the cell, or anything nested in it, may look it up in the global
  namespace, unless the cell has certainly assigned it before. "Certainly" is judged statement by
  statement; whatever may not run (a branch, a loop body, a ``with`` body that may swallow an
  exception) never makes an assignment certain for what follows it.
* A name counts as **written** when a statement at the top level binds it (``=``, augmented, ``for``,
  ``with``, ``import``, ``def``, ``class``, ``:=`` also inside comprehensions, ``match``) or when a
  function declares it ``global`` and binds it. Comprehension variables are not written.
* A name counts as **deleted** when ``del`` or the end of an ``except ... as name`` may unbind it.
* A **mutation** is a change in place of a name that the cell never rebinds: a method that is known
  to change its object, or assignment to one of its items or attributes.
"""

from __future__ import annotations

import ast
import copy
import dis
import symtable
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fanlight_kernel.capture import mentions
from fanlight_kernel.capture.mutations import Mutation, mutations, own_code, targets


@dataclass(frozen=True)
class CellNames:
    """The result of :func:`analyse`. All tuples are in order of first appearance."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    deletes: tuple[str, ...]
    augmented: frozenset[str] = frozenset()
    mutations: dict[str, Mutation] = field(default_factory=dict)
    has_await: bool = False
    star_import: bool = False
    last_is_expression: bool = False
    imports: dict[str, str] = field(default_factory=dict)  # names bound by imports alone: how
    attributes: frozenset[str] = frozenset()  # all that follow a dot
    mentions: tuple[str, ...] = ()  # names in strings that the cell evaluates
    words: tuple[str, ...] = ()  # what may be a name, where names are looked up at run time
    looks_up: bool = False  # it looks names up at run time


def analyse(source: str) -> CellNames:
    """Analyse one cell. Raises :class:`SyntaxError` as compiling the cell would."""
    tree = ast.parse(source)
    walk = _Walk()
    walk.block(tree.body, set())
    writes = dict.fromkeys(n for n in walk.writes)
    nodes = list(ast.walk(tree))
    return CellNames(
        reads=tuple(walk.reads),
        writes=tuple(writes),
        deletes=tuple(dict.fromkeys([*walk.deletes, *_deleted_inside(nodes)])),
        augmented=frozenset(walk.augmented),
        mutations=mutations(tree.body),
        has_await=_has_await(tree.body),
        star_import=any(
            isinstance(n, ast.ImportFrom) and any(a.name == "*" for a in n.names) for n in nodes
        ),
        last_is_expression=bool(tree.body) and isinstance(tree.body[-1], ast.Expr),
        imports=_imports(tree.body),
        attributes=frozenset(n.attr for n in nodes if isinstance(n, ast.Attribute)),
        mentions=mentions.in_calls(nodes),
        words=mentions.words(nodes),
        looks_up=mentions.looks_up(nodes),
    )


def _deleted_inside(nodes: list[ast.AST]) -> Iterator[str]:
    """Names that some function declares ``global`` and one deletes."""
    declared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    for node in nodes:
        if declared and isinstance(node, ast.Delete):
            for target in targets(node.targets):
                if isinstance(target, ast.Name) and target.id in declared:
                    yield target.id


def _imports(body: list[ast.stmt]) -> dict[str, str]:
    """Names that only top-level imports bind, with the statement that binds each."""
    found: dict[str, str] = {}
    others: list[ast.stmt] = []
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                single = copy.copy(node)
                single.names = [alias]
                if alias.name != "*":
                    found[(alias.asname or alias.name).partition(".")[0]] = ast.unparse(single)
        else:
            others.append(node)
    bound = _names(others)[1] if others else set()
    return {name: how for name, how in found.items() if name not in bound}


def ends_with_semicolon(source: str) -> bool:
    """Whether the last statement ends in ``;``, which tells a notebook to show no result."""
    import io
    import tokenize

    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type not in (
                tokenize.COMMENT,
                tokenize.NL,
                tokenize.NEWLINE,
                tokenize.ENDMARKER,
                tokenize.DEDENT,
                tokenize.INDENT,
            ):
                last = token.string
    except (tokenize.TokenError, IndentationError):
        return False
    return last == ";"


def function_globals(function: types.FunctionType) -> tuple[str, ...]:
    """The global names that a function's code (and code nested in it) loads, stores or deletes."""
    return tuple(dict.fromkeys(_code_globals(function.__code__)))


def _code_globals(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in (
            "LOAD_GLOBAL",
            "LOAD_NAME",
            "STORE_GLOBAL",
            "DELETE_GLOBAL",
            "LOAD_FROM_DICT_OR_GLOBALS",
        ):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_globals(constant)


class _Walk:
    """Walks statements in order and collects names."""

    def __init__(self) -> None:
        self.reads: dict[str, None] = {}
        self.writes: dict[str, None] = {}
        self.deletes: dict[str, None] = {}
        self.augmented: set[str] = set()

    def block(self, body: Iterable[ast.stmt], sure: set[str]) -> set[str]:
        """Visit statements that run one after the other; return the names certainly bound."""
        sure = set(sure)
        for statement in body:
            visit = getattr(self, "visit_" + type(statement).__name__, self.simple)
            sure = visit(statement, sure)
        return sure

    # -- statements without a block -----------------------------------------------------------
    def simple(self, node: ast.stmt, sure: set[str]) -> set[str]:
        read, written, _ = _names([node])
        self._read(read, sure)
        self._write(written)
        if isinstance(node, (ast.Assign, ast.Import, ast.ImportFrom)):
            return sure | _bound_by(node)
        return sure

    def visit_FunctionDef(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, sure: set[str]
    ) -> set[str]:
        # A definition may use its own name: recursion reads what the definition itself binds.
        read, written, inner = _names([node])
        if isinstance(node, ast.ClassDef):
            own = {node.name} & _names(node.body)[0]
        else:
            outside = [*node.decorator_list, *node.args.defaults]
            outside += [d for d in node.args.kw_defaults if d is not None]
            own = {node.name} & _names([ast.Expr(d) for d in outside])[0]
        self._read((read - {node.name}) | own, sure)
        self._write(written | inner)
        return sure | {node.name}

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign, sure: set[str]) -> set[str]:
        if node.value is None and isinstance(node.target, ast.Name):
            self._expression(node.annotation, sure)
            return sure
        sure = self.simple(node, sure)
        return sure | {node.target.id} if isinstance(node.target, ast.Name) else sure

    def visit_AugAssign(self, node: ast.AugAssign, sure: set[str]) -> set[str]:
        if isinstance(node.target, ast.Name):
            self._expression(node.value, sure)
            self._read({node.target.id}, sure)
            self._write({node.target.id})
            self.augmented.add(node.target.id)
            return sure
        return self.simple(node, sure)

    def visit_Delete(self, node: ast.Delete, sure: set[str]) -> set[str]:
        for target in targets(node.targets):
            if isinstance(target, ast.Name):
                self.deletes.setdefault(target.id)
                sure = sure - {target.id}
            else:
                self._expression(target, sure)
        return sure

    # -- statements with blocks ---------------------------------------------------------------
    def visit_If(self, node: ast.If, sure: set[str]) -> set[str]:
        self._expression(node.test, sure)
        then = self.block(node.body, sure)
        other = self.block(node.orelse, sure)
        return then & other

    def visit_While(self, node: ast.While, sure: set[str]) -> set[str]:
        self._expression(node.test, sure)
        self.block(node.body, sure)
        self.block(node.orelse, sure)
        return sure - set(self.deletes)

    def visit_For(self, node: ast.For | ast.AsyncFor, sure: set[str]) -> set[str]:
        self._expression(node.iter, sure)
        self.block(node.body, sure | self._target(node.target, sure))
        self.block(node.orelse, sure)
        return sure - set(self.deletes)

    visit_AsyncFor = visit_For

    def visit_With(self, node: ast.With | ast.AsyncWith, sure: set[str]) -> set[str]:
        inner = set(sure)
        for item in node.items:
            self._expression(item.context_expr, inner)
            if item.optional_vars is not None:
                inner |= self._target(item.optional_vars, inner)
        self.block(node.body, inner)
        return sure - set(self.deletes)

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try, sure: set[str]) -> set[str]:
        body = self.block(node.body, sure)
        # After an exception anything may have been deleted, and nothing new is certain.
        start = sure - set(self.deletes)
        ends = [self.block(node.orelse, body)]
        for handler in node.handlers:
            if handler.type is not None:
                self._expression(handler.type, start)
            inner = set(start)
            if handler.name:
                self._write({handler.name})
                self.deletes.setdefault(handler.name)
                inner.add(handler.name)
            ends.append(self.block(handler.body, inner) - {handler.name or ""})
        before = set.intersection(*ends)
        final = self.block(node.finalbody, start - set(self.deletes))
        return before | (final - start)

    visit_TryStar = visit_Try

    def visit_Match(self, node: ast.Match, sure: set[str]) -> set[str]:
        self._expression(node.subject, sure)
        for case in node.cases:
            stub = ast.Match(
                subject=ast.Constant(None),
                cases=[ast.match_case(pattern=case.pattern, guard=None, body=[ast.Pass()])],
            )
            read, bound, _ = _names([stub])
            self._read(read, sure)
            self._write(bound)
            inner = sure | bound
            if case.guard is not None:
                self._expression(case.guard, inner)
            self.block(case.body, inner)
        return sure - set(self.deletes)

    # -- parts --------------------------------------------------------------------------------
    def _expression(self, node: ast.expr, sure: set[str]) -> None:
        read, written, inner = _names([ast.Expr(node)])
        self._read(read, sure)
        self._write(written | inner)

    def _target(self, target: ast.expr, sure: set[str]) -> set[str]:
        """A loop's or a with's target: what it binds; its subscripts and attributes are reads."""
        read, written, _ = _names([ast.Assign(targets=[target], value=ast.Constant(None))])
        self._read(read, sure)
        self._write(written)
        return written

    def _read(self, names: Iterable[str], sure: set[str]) -> None:
        for name in sorted(set(names) - sure):
            self.reads.setdefault(name)

    def _write(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.writes.setdefault(name)


def _names(body: list[ast.stmt]) -> tuple[set[str], set[str], set[str]]:
    """Global names that statements read, bind themselves, and bind from nested scopes."""
    module = ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
    table = symtable.symtable(ast.unparse(module), "<cell>", "exec")
    reads: set[str] = set()
    writes: set[str] = set()
    inner: set[str] = set()
    for symbol in table.get_symbols():
        if symbol.is_referenced():
            reads.add(symbol.get_name())
        if symbol.is_assigned() or symbol.is_imported():
            writes.add(symbol.get_name())
    for child in table.get_children():
        _nested(child, reads, inner)
    return reads, writes | inner, inner


def _nested(table: symtable.SymbolTable, reads: set[str], writes: set[str]) -> None:
    for symbol in table.get_symbols():
        name = symbol.get_name()
        if symbol.is_global():
            if symbol.is_referenced():
                reads.add(name)
            if symbol.is_assigned() or symbol.is_imported():
                writes.add(name)
        elif table.get_type() == "class" and symbol.is_local() and symbol.is_referenced():
            reads.add(name)  # ``x = x`` in a class body looks the right one up globally
    for child in table.get_children():
        _nested(child, reads, writes)


def _bound_by(node: ast.stmt) -> set[str]:
    """Names that a statement binds for certain when it completes."""
    if isinstance(node, ast.Assign):
        return {t.id for t in targets(node.targets) if isinstance(t, ast.Name)}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).partition(".")[0] for a in node.names if a.name != "*"}
    return set()


def _has_await(body: list[ast.stmt]) -> bool:
    for node in own_code(body):
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            return True
        if isinstance(node, ast.comprehension) and node.is_async:
            return True
    return False
