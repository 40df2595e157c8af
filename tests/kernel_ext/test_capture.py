"""What a cell reads and assigns, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from fanlight_kernel.capture.names import (
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
