"""What a cell reads and assigns: rules one by one, then random cells against local execution."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import os
import pickle
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlight_kernel import carry, inputs, worker
from fanlight_kernel.capture import (
    CellNames,
    analyse,
    ends_with_semicolon,
    function_globals,
)

BUILTINS = {"print", "range", "len", "sum", "open", "ValueError", "list"}


def reads(source: str) -> set[str]:
    return set(analyse(source).reads) - BUILTINS


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = y + 1", {"y"}),
        ("x = x + 1", {"x"}),
        ("x = 1\nprint(x)", set()),
        ("print(x)\nx = 1", {"x"}),
        ("x += 1", {"x"}),
        ("[i * k for i in xs]", {"k", "xs"}),
        ("[(y := i) for i in xs]\nprint(y)", {"xs", "y"}),  # the list may be empty
        ("for i in xs:\n    a = i\n    print(a)\nprint(a)", {"xs", "a"}),
        ("if c:\n    x = 1\nelse:\n    x = 2\nprint(x)", {"c"}),
        ("if c:\n    x = 1\nprint(x)", {"c", "x"}),
        ("while c:\n    x = 1\nprint(x)", {"c", "x"}),
        ("with m() as f:\n    t = f.read()\nprint(t)", {"m", "t"}),
        ("try:\n    x = 1\nexcept ValueError:\n    x = 2\nprint(x)", set()),
        ("try:\n    x = 1\nexcept ValueError:\n    pass\nprint(x)", {"x"}),
        ("try:\n    pass\nfinally:\n    x = 1\nprint(x)", set()),
        ("def f(a, b=d):\n    return a + g", {"d", "g"}),
        ("def f():\n    return f()", set()),
        ("@f\ndef f():\n    pass", {"f"}),
        ("class C(B):\n    k = k\n    def m(self):\n        return z", {"B", "k", "z"}),
        ("lambda a: a + b", {"b"}),
        ("def f():\n    global g\n    g = h", {"h"}),
        ("import a.b\nprint(a)", set()),
        ("from m import n as o\nprint(o, n)", {"n"}),
        ("match p:\n    case C(x=q) if w:\n        print(q)", {"p", "C", "w"}),
        ("d[k] = v", {"d", "k", "v"}),
        ("o.a = v", {"o", "v"}),
        ("del x", set()),
        ("x = 1\ndel x\nprint(x)", {"x"}),
        ("x: T", {"T"}),
        ("x: T = y\nprint(x)", {"T", "y"}),
        ("await f(x)", {"f", "x"}),
        ("async for i in g:\n    print(i)", {"g"}),
        ("z = [await q async for q in w]", {"w"}),
        ("f'{a!r:>{width}}'", {"a", "width"}),
        ("(a, *b), c = d\nprint(a, b, c)", {"d"}),
        ("def f():\n    def g():\n        return deep\n    return g", {"deep"}),
        ("def f(x):\n    return [x + y for _ in z]", {"y", "z"}),
    ],
)
def test_reads(source: str, expected: set[str]) -> None:
    assert reads(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1", {"x"}),
        ("a, (b, *c) = d", {"a", "b", "c"}),
        ("x += 1", {"x"}),
        ("for i in xs: pass", {"i"}),
        ("with m() as (a, b): pass", {"a", "b"}),
        ("import a.b, c as d", {"a", "d"}),
        ("from m import n as o, p", {"o", "p"}),
        ("def f(arg):\n    inner = 1", {"f"}),
        ("async def f(): pass", {"f"}),
        ("class C:\n    k = 1", {"C"}),
        ("[i for i in xs]", set()),
        ("[(y := i) for i in xs]", {"y"}),
        ("print(w := 3)", {"w"}),
        ("match p:\n    case [a, *b]: pass\n    case {'k': c, **d}: pass", {"a", "b", "c", "d"}),
        ("def f():\n    global g\n    g = 1", {"f", "g"}),
        ("try:\n    pass\nexcept ValueError as e:\n    z = 1", {"e", "z"}),
        ("x: int", set()),
        ("x: int = 1", {"x"}),
        ("d[0] = o.a = 1", set()),
        ("lambda q: q", set()),
        ("x = await f()", {"x"}),
        ("async with m() as s:\n    r = 1", {"s", "r"}),
    ],
)
def test_writes(source: str, expected: set[str]) -> None:
    assert set(analyse(source).writes) == expected


def test_deletes() -> None:
    found = analyse("del a, (b, c), d[0]\ntry:\n    pass\nexcept ValueError as e:\n    pass")
    assert set(found.deletes) == {"a", "b", "c", "e"}
    assert "d" in found.reads


@pytest.mark.parametrize(
    ("source", "name", "how"),
    [
        ("data.append(1)", "data", "data.append(...)"),
        ("x = data.pop()", "data", "data.pop(...)"),
        ("data[0] = 1", "data", "data[...] = ..."),
        ("data['a']['b'] += 1", "data", "data[...] = ..."),
        ("model.weight = 2", "model", "model.weight = ..."),
        ("del data[0]", "data", "del data[...]"),
        ("for data[0] in xs: pass", "data", "data[...] = ..."),
        ("[data.append(i) for i in xs]", "data", "data.append(...)"),
    ],
)
def test_mutations(source: str, name: str, how: str) -> None:
    assert analyse(source).mutations[name].how == how


@pytest.mark.parametrize(
    "source",
    [
        "data = []\ndata.append(1)",
        "print(data.index(1))",
        "def f(data):\n    data.append(1)",
        "counter.add.remote(1)",
        "x = data[0]",
    ],
)
def test_no_mutation_to_warn_of(source: str) -> None:
    found = analyse(source)
    assert found.mutations.keys() <= {*found.writes}


def test_semicolons() -> None:
    assert ends_with_semicolon("x = 1\nx;  # quiet\n")
    assert not ends_with_semicolon("x = ';'\nx")
    assert not ends_with_semicolon("")


def test_functions_tell_their_globals() -> None:
    space: dict[str, Any] = {}
    exec("def f():\n    global w\n    w = a.b\n    return lambda: [c for _ in d]", space)
    assert set(function_globals(space["f"])) == {"w", "a", "c", "d"}


def test_await_is_found_at_the_top_only() -> None:
    assert analyse("x = await f()").has_await
    assert analyse("[i async for i in g]").has_await
    assert not analyse("async def f():\n    await g()").has_await


def test_a_syntax_error_is_one() -> None:
    with pytest.raises(SyntaxError):
        analyse("x = = 1")


# --- random cells: what a worker would do is what the notebook would have done --------------------

NAMES = ["a", "b", "c", "d", "xs", "f", "g"]
names = st.sampled_from(NAMES)
numbers = st.integers(-3, 3).map(str)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0:
        return draw(st.one_of(names, numbers))
    inner = expressions(depth - 1)
    kind = draw(st.integers(0, 8))
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
    return f"{draw(st.sampled_from(['f', 'g']))}({draw(inner)})"


def indent(source: str) -> str:
    return "\n".join("    " + line for line in source.splitlines())


@st.composite
def statements(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.integers(0, 14 if depth else 5))
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
        case _:
            case = indent(f"case {name}:\n{indent(draw(body))}")
            return f"match {expression}:\n{case}"


@st.composite
def blocks(draw: st.DrawFn, depth: int = 2) -> str:
    return "\n".join(draw(st.lists(statements(depth), min_size=1, max_size=4)))


def notebook_namespace() -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "__main__"}
    setup = (
        "from contextlib import suppress\n"
        "a = 1\nb = 2\nxs = (1, 2, 3)\n"  # a tuple: what a cell changes in place stays as it was
        "def f(x=0):\n    return (x, b)\n"
        "def g(x=0):\n    global d\n    d = f(x)\n    return d\n"
    )
    exec(setup, space)
    return space


def run(source: str, space: dict[str, Any], names: CellNames | None) -> tuple[str, str]:
    """Run locally (``names`` is None) or as a worker would; return what was printed and raised."""
    out = io.StringIO()
    raised = ""
    with contextlib.redirect_stdout(out):
        try:
            if names is None:
                exec(compile(source, "<cell>", "exec"), space)
            else:
                run_apart(source, space, names)
        except Exception as error:
            raised = type(error).__name__
    return re.sub(r" at 0x[0-9a-f]+", "", out.getvalue()), raised


def run_apart(source: str, space: dict[str, Any], names: CellNames) -> None:
    """All that %%remote does, without a runtime: gather, pickle, run, pickle, bind."""
    home = carry.Home(space)
    found = inputs.gather(names.reads, home, deleted=names.deletes)
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
    sent = pickle.dumps((job, carry.pack(found.values, home)), 5)
    result = pickle.dumps(worker.run_cell(*pickle.loads(sent), {}), 5)
    result = worker.unpack(pickle.loads(result), home)
    space.update(result.values)
    for name in result.deleted:
        space.pop(name, None)


def plain(value: Any, depth: int = 3) -> Any:
    """Something comparable: functions by what they return, classes by what they hold."""
    import types

    if isinstance(value, types.FunctionType):
        if depth == 0:
            return "function"
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
        if not depth:
            return "deep"
        return type(value).__name__, tuple(plain(v, depth - 1) for v in value)
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


@settings(
    max_examples=int(os.environ.get("FANLIGHT_EXAMPLES", "250")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(blocks().filter(valid))
def test_a_remote_cell_does_what_a_local_one_does(source: str) -> None:
    """Same output, same error; without an error, the same bindings afterwards."""
    here, there = notebook_namespace(), notebook_namespace()
    try:
        local = run(source, here, None)
    except RecursionError:
        return
    if local[1] == "RecursionError":
        return
    names = analyse(source)
    remote = run(source, there, names)
    assert remote == local, ast.unparse(ast.parse(source))
    if not local[1]:
        assert bindings(there) == bindings(here), source


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(blocks().filter(valid))
def test_the_analysis_never_misses_a_name(source: str) -> None:
    """What symtable calls a global of the module is read or written, or a builtin."""
    import symtable

    found = analyse(source)
    table = symtable.symtable(source, "<cell>", "exec")
    for symbol in table.get_symbols():
        name = symbol.get_name()
        if symbol.is_assigned() or symbol.is_imported():
            assert name in found.writes or name in found.deletes
        elif symbol.is_referenced():
            assert name in found.reads
    assert copy.deepcopy(found) == found
