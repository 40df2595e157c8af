"""Random cells: what a worker would do is what the notebook would have done."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import os
import pickle
import re
import symtable
import types
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlight_kernel import worker
from fanlight_kernel.capture import carry, inputs
from fanlight_kernel.capture.names import CellNames, analyse

EXAMPLES = int(os.environ.get("FANLIGHT_EXAMPLES", "100"))

NAMES = ["a", "b", "c", "d", "xs", "ls", "o", "f", "g"]
names = st.sampled_from(NAMES)
numbers = st.integers(-3, 3).map(str)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0:
        return draw(st.one_of(names, numbers))
    inner = expressions(depth - 1)
    kind = draw(st.integers(0, 14))
    if kind <= 1:
        return draw(st.one_of(names, numbers))
    if kind == 2:
        return f"({draw(inner)} + {draw(inner)})"
    if kind == 3:
        return f"[{draw(inner)} for {draw(names)} in range({draw(st.integers(0, 3))})]"
    if kind == 4:
        return f"({draw(names)} := {draw(inner)})"
    if kind == 5:
        return f"({draw(inner)} if {draw(inner)} else {draw(inner)})"
    if kind == 6:
        return f"(lambda {draw(names)}: {draw(inner)})({draw(inner)})"
    if kind == 7:
        name, each = draw(st.tuples(names, names).filter(lambda p: p[0] != p[1]))
        return f"[({name} := {each}) for {each} in range({draw(st.integers(0, 2))})]"
    if kind == 8:
        return f"eval({draw(names)!r})"
    if kind == 9:
        return f"o.get({draw(inner)})"
    if kind == 10:
        return f"partial({draw(st.sampled_from(['f', 'g']))}, {draw(inner)})()"
    if kind == 11:
        return f"f'{{{draw(names)}!r}} {{{draw(names)}}}'"
    if kind == 12:
        return f"sum(({draw(inner)}) for {draw(names)} in range({draw(st.integers(0, 2))}))"
    if kind == 13:
        return f"pair[{draw(st.integers(0, 1))}]({draw(numbers)})"
    return f"{draw(st.sampled_from(['f', 'g']))}({draw(inner)})"


def indent(source: str) -> str:
    return "\n".join("    " + line for line in source.splitlines())


@st.composite
def statements(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.integers(0, 22 if depth else 5))
    name = draw(names)
    expression = draw(expressions())
    body = blocks(depth - 1) if depth else st.just("pass")
    match kind:
        case 0 | 1:
            return f"{name} = {expression}"
        case 2:
            return f"{name} += {expression}"
        case 3:
            return f"print({expression})"
        case 4:
            return f"del {name}"
        case 5:
            return f"{name}, {draw(names)} = {expression}, {draw(expressions())}"
        case 6:
            return f"for {name} in range({draw(st.integers(0, 2))}):\n{indent(draw(body))}"
        case 7:
            return f"if {expression}:\n{indent(draw(body))}\nelse:\n{indent(draw(body))}"
        case 8:
            handler = f"except (TypeError, NameError, ZeroDivisionError) as {draw(names)}:"
            return f"try:\n{indent(draw(body))}\n{handler}\n{indent(draw(body))}"
        case 9:
            returned = indent(f"return {draw(expressions())}")
            return f"def {draw(st.sampled_from(['f', 'g']))}({name}=0):\n{returned}"
        case 10:
            which = draw(st.sampled_from(["f", "g"]))
            inner = f"global {name}\n{name} = {expression}\nreturn {name}"
            return f"def {which}(_=0):\n{indent(inner)}"
        case 11:
            return f"class {name}:\n    {draw(names)} = {expression}"
        case 12:
            return f"import math as {name}"
        case 13:
            return f"with suppress(Exception):\n{indent(draw(body))}"
        case 14:
            return f"ls.append({expression})"
        case 15:
            return f"o.v = {expression}"
        case 16:
            return f"ls += [{expression}]"
        case 17:
            body_of = indent(f"{name} = {expression}\ndef get(self, x=0):\n    return x, {name}")
            return f"class K:\n{body_of}\no = K()"
        case 18:
            return f"@twice\ndef {draw(st.sampled_from(['f', 'g']))}(x=0):\n    return {expression}"
        case 19:
            inner = "n = 0\ndef up(k=1):\n    nonlocal n\n    n += k\n    return n\nreturn up, lambda _=0: n"
            return f"def counter():\n{indent(inner)}\npair = counter()\npair[0](2)"
        case 20:
            return f"{name}: {draw(names)} = {expression}"
        case 21:
            return "from math import *"
        case _:
            case = indent(f"case {name}:\n{indent(draw(body))}")
            return f"match {expression}:\n{case}"


@st.composite
def blocks(draw: st.DrawFn, depth: int = 2) -> str:
    return "\n".join(draw(st.lists(statements(depth), min_size=1, max_size=4)))


def notebook_namespace() -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "__main__"}
    setup = (
        "from contextlib import suppress\nfrom functools import partial\n"
        "a = 1\nb = 2\nxs = (1, 2, 3)\n"  # a tuple: what a cell changes in place stays as it was
        "def f(x=0):\n    return (x, b)\n"
        "def g(x=0):\n    global d\n    d = f(x)\n    return d\n"
        "ls = [1, 2]\n"
        "class O:\n    v = 0\n    def get(self, x=0):\n        return x, a, self.v\n"
        "o = O()\n"
        "def twice(h):\n    def both(*args):\n        return h(*args), h(*args), b\n    return both\n"
        "def counter():\n    n = 0\n    def up(k=1):\n        nonlocal n\n        n += k\n"
        "        return n\n    return up, lambda _=0: n\n"
        "pair = counter()\n"
    )
    exec(setup, space)
    return space


def run(
    source: str, space: dict[str, Any], names: CellNames | None
) -> tuple[str, str, tuple[str, ...]]:
    """Run locally (``names`` is None) or as a worker would; return what was printed and raised, and
    which inputs are said to have been changed in place."""
    out = io.StringIO()
    raised = ""
    told: tuple[str, ...] = ()
    with contextlib.redirect_stdout(out):
        try:
            if names is None:
                exec(compile(source, "<cell>", "exec", dont_inherit=True), space)
            else:
                told = run_apart(source, space, names)
        except Exception as error:
            raised = type(error).__name__
    return re.sub(r" at 0x[0-9a-f]+", "", out.getvalue()), raised, told


def run_apart(source: str, space: dict[str, Any], names: CellNames) -> tuple[str, ...]:
    """All that %%remote does, without a runtime: gather, pickle, run, pickle, bind."""
    home = carry.Home(space)
    found = inputs.gather(
        [*names.reads, *names.mentions],
        home,
        deleted=names.deletes,
        words=names.words,
        looks_up=names.looks_up,
    )
    job = worker.CellJob(
        source=source,
        filename="<cell>",
        raw=source,
        outputs=names.writes,
        always=tuple(names.augmented | names.mutations.keys() & {*names.writes}),
        deletes=names.deletes,
        display=False,
        modules=found.modules,
        placeholders=tuple(found.placeholders),
        changed=names.augmented | names.mutations.keys(),
    )
    sent = pickle.dumps((job, carry.pack_names(found.values, home)), 5)
    result = pickle.dumps(worker.run_cell(*pickle.loads(sent), {}), 5)
    result = worker.unpack(pickle.loads(result), home)
    space.update(result.values)
    for name in result.deleted:
        space.pop(name, None)
    return result.altered


def plain(value: Any, depth: int = 3) -> Any:
    """Something comparable: functions by what they return, classes by what they hold."""
    if depth <= 0 and not isinstance(value, (int, str, type(None))):
        return "deep", type(value).__name__
    if isinstance(value, types.FunctionType):
        space = dict(value.__globals__)
        probe = types.FunctionType(
            value.__code__, space, value.__name__, value.__defaults__, value.__closure__
        )
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return "function", plain(probe(7), depth - 1)
        except Exception as error:
            return "function", type(error).__name__
    if isinstance(value, type):
        members = {k: plain(v, depth - 1) for k, v in vars(value).items() if k[0] != "_"}
        return "class", value.__name__, tuple(sorted(members.items(), key=repr))
    if isinstance(value, types.ModuleType):
        return "module", value.__name__
    if isinstance(value, BaseException):
        return "exception", type(value).__name__
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(plain(v, depth - 1) for v in value)
    if isinstance(value, str):
        return re.sub(r" at 0x[0-9a-f]+", "", value)
    if type(value).__module__ == "__main__":
        return "instance", type(value).__name__, plain(dict(vars(value)), depth - 1)
    if isinstance(value, dict):
        return tuple((key, plain(part, depth - 1)) for key, part in value.items())
    return value


def bindings(space: dict[str, Any]) -> dict[str, Any]:
    held = [(n, v) for n, v in sorted(space.items()) if n in NAMES]
    return {n: plain(v) for n, v in held}


def valid(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def compare(source: str) -> None:
    here, there = notebook_namespace(), notebook_namespace()
    try:
        output, raised, _ = run(source, here, None)
    except RecursionError:
        return
    if raised == "RecursionError":
        return
    names = analyse(source)
    *same, told = run(source, there, names)
    if same[1] == "RecursionError":  # it stands deeper on the stack
        return
    assert same == [output, raised], ast.unparse(ast.parse(source))
    if raised:
        return
    local, remote = bindings(here), bindings(there)
    differing = {n for n in {*local, *remote} if local.get(n, "-") != remote.get(n, "-")}
    # What was changed in place stays as it was, and so does what something else shows of it.
    assert told or not differing, source


CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(blocks().filter(valid))
def test_a_remote_cell_does_what_a_local_one_does(source: str) -> None:
    """Same output, same error; without an error, the same bindings, or a note says which differ."""
    compare(source)


@pytest.mark.long
@settings(max_examples=EXAMPLES * 30, deadline=None, suppress_health_check=CHECKS)
@given(blocks().filter(valid))
def test_many_remote_cells_do_what_local_ones_do(source: str) -> None:
    compare(source)


@settings(max_examples=EXAMPLES // 2, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(blocks().filter(valid))
def test_the_analysis_never_misses_a_name(source: str) -> None:
    """What symtable calls a global of the module is read or written, or a builtin."""
    found = analyse(source)
    table = symtable.symtable(source, "<cell>", "exec")
    for symbol in table.get_symbols():
        name = symbol.get_name()
        if symbol.is_assigned() or symbol.is_imported():
            assert name in found.writes or name in found.deletes
        elif symbol.is_referenced():
            assert name in found.reads
    assert copy.deepcopy(found) == found
