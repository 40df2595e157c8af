"""Names that a cell looks up by way of strings: ``!echo {n}``, ``eval("a")``, ``df.query("x > @k")``.

No analysis of the code finds these. A name that such a string mentions goes along if the notebook
has a variable of that name; one more than needed costs its transport, one less would be an error.
"""

from __future__ import annotations

import ast
import re
import string
import types
from collections.abc import Iterable, Iterator

LOOK_UP = frozenset({"eval", "exec", "globals", "locals", "vars", "dir", "__main__"})
_WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")
_DOLLAR = re.compile(r"(?<!\$)\$([^\W\d]\w*)")
_AT = re.compile(r"@([^\W\d]\w*)")
_SHELL = frozenset({"system", "getoutput", "getoutput_split", "sx"})
_MAGICS = frozenset({"run_line_magic", "run_cell_magic", "run_cell", "ev", "ex"})


def in_calls(nodes: list[ast.AST]) -> tuple[str, ...]:
    """The names that a cell's calls mention, in order of appearance."""
    found: dict[str, None] = {}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = list(_strings([*node.args, *(k.value for k in node.keywords)]))
            if _is_shell(node.func.value):
                if node.func.attr in _SHELL:
                    names = [n for text in texts for n in expanded(text)]
                elif node.func.attr in _MAGICS:
                    names = [n for text in texts[1:] for n in (*_words(text), *expanded(text))]
                else:
                    names = []
            elif node.func.attr in ("query", "eval"):  # pandas
                names = [n for text in texts for n in _AT.findall(text)]
            else:
                continue
            found.update(dict.fromkeys(names))
    return tuple(found)


def words(nodes: list[ast.AST]) -> tuple[str, ...]:
    """What may be a name where code looks names up at run time: words in strings, attributes."""
    found = dict.fromkeys(n for text in _strings(nodes) for n in _words(text))
    found.update(dict.fromkeys(n.attr for n in nodes if isinstance(n, ast.Attribute)))
    return tuple(found)


def looks_up(nodes: Iterable[ast.AST]) -> bool:
    """Whether code looks names up at run time."""
    return any(
        (isinstance(node, ast.Name) and node.id in LOOK_UP)
        or (isinstance(node, ast.alias) and node.name in LOOK_UP)
        for node in nodes
    )


def in_code(code: types.CodeType) -> Iterator[str]:
    """Names that a function's strings mention, where it looks names up at run time."""
    if LOOK_UP.isdisjoint(code.co_names):
        return
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield from _words(constant)


def expanded(text: str) -> Iterator[str]:
    """Names in ``{expression}`` and ``$name``, which IPython fills in."""
    yield from _DOLLAR.findall(text)
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return
    for _, expression, spec, _ in parts:
        yield from _words(expression or "")
        yield from _words(spec or "")


def _is_shell(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "get_ipython"
    )


def _strings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
