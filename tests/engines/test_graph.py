"""The task graph of real runs, as data, text and other languages."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.layers import layered


@pytest.fixture
def cell(request):
    return f"cell-{request.node.name}"


@pytest.fixture
def tree(rt, cell):
    """A reduction of four values, and a failure that depends on it; submitted from ``cell``."""

    @rt.remote
    def leaf(i):
        return np.full(50_000, i)

    @rt.remote
    def join(a, b):
        return a + b

    @rt.remote(max_retries=0)
    def fail(x):
        raise ValueError('a "quoted" <b>text</b>')

    with rt.session.origin(cell):
        leaves = [leaf.remote(i) for i in range(3)] + [rt.put(np.ones(50_000))]
        halves = [join.remote(*leaves[:2]), join.remote(*leaves[2:])]
        root = join.remote(*halves)
        bad = fail.remote(root)
    with pytest.raises(ValueError):
        rt.get(bad)
    return leaves, halves, root, bad


def named(graph):
    nodes = graph.nodes
    return sorted((nodes[e.source].name, nodes[e.target].name) for e in graph.edges)


def test_what_a_ref_was_made_of(rt, tree):
    leaves, halves, root, bad = tree
    graph = rt.graph(halves[1])
    assert sorted(node.name for node in graph.nodes) == ["join", "leaf", "put"]
    assert named(graph) == [("leaf", "join"), ("put", "join")]
    assert {edge.size >= 400_000 for edge in graph.edges} == {True}
    graph = rt.graph(bad)
    assert (len(graph.nodes), len(graph.edges), graph.level) == (8, 7, "tasks")
    (failed,) = [n for n in graph.nodes if n.state == "FAILED"]
    assert failed.name == "fail" and "ValueError" in failed.facts["error"]
    text = str(graph)
    assert text.startswith("Task graph: 7 tasks, 1 failed, 6 finished\n✗ fail (failed")
    assert "\n  ✓ join" in text and "\n      ◆ put (value, 4" in text
    assert len(rt.graph([*leaves, *halves, root]).nodes) == 7
    assert rt.graph([]).nodes == [] and rt.graph({"a": leaves[0]}).nodes[0].name == "leaf"


def test_of_a_cell_by_tasks_and_by_functions(rt, tree, cell):
    graph = rt.graph(cell=cell)
    assert len([n for n in graph.nodes if n.kind == "task"]) == 7 and graph.note == ""
    by_function = rt.graph(cell=cell, level="functions")
    assert {n.name: n.progress for n in by_function.nodes} == {
        "leaf": "3/3", "join": "3/3", "fail": "1/1",
    }  # fmt: skip
    assert named(by_function) == [("join", "fail"), ("join", "join"), ("leaf", "join")]
    assert "✗ fail (1/1 ended, " in str(by_function)
    assert {n.name for n in rt.graph(cell=cell, function="leaf").nodes} == {"leaf"}


def test_other_languages(rt, tree, cell):
    dot = rt.graph(tree[3]).to_dot()
    assert dot.startswith("digraph fanlight {") and dot.count("->") == 7 and dot.endswith("}\n")
    mermaid = rt.graph(cell=cell, level="functions").to_mermaid()
    assert mermaid.startswith("flowchart TD\n") and "1 object" in mermaid


def test_nested_tasks_hang_on_their_parent(rt, cell):
    @rt.remote
    def inner():
        return 1

    @rt.remote
    def outer():
        import fanlight

        return fanlight.get(inner.remote())

    with rt.session.origin(cell):
        rt.get(outer.remote())
    graph = rt.graph(cell=cell)
    assert named(graph) == [("outer", "inner")] and graph.edges[0].kind == "spawn"


def test_many_are_added_up_by_function(rt, cell):
    @rt.remote
    def one_of_many():
        pass

    with rt.session.origin(cell):
        rt.get([one_of_many.remote() for _ in range(310)])
    graph = rt.graph(cell=cell)
    assert graph.level == "functions" and graph.nodes[0].progress == "310/310"
    assert len(rt.graph(cell=cell, level="tasks").nodes) == 310


def test_wrong_arguments(rt):
    with pytest.raises(TypeError, match="not int"):
        rt.graph(3)
    with pytest.raises(ValueError, match="level is one of"):
        rt.graph(level="all")


def test_it_does_not_start_a_runtime(fresh):
    with pytest.raises(fresh.fanlight.exceptions.RaySystemError):
        fresh.fanlight.graph()
    assert not fresh.fanlight.is_initialized()


# --- layout --------------------------------------------------------------------------------------


def test_nodes_stand_below_what_they_are_made_of():
    edges = [(0, 3), (1, 3), (3, 4), (2, 4), (0, 4)]
    places = layered(5, edges).places
    assert all(places[a][1] < places[b][1] for a, b in edges)
    assert places[2][1] == places[3][1], "beside what is used with it"
    assert len(set(places)) == 5
    assert layered(5, edges) == layered(5, edges)


def test_cycles_loops_and_wide_layers():
    assert len(set(layered(3, [(0, 1), (1, 2), (2, 0), (1, 1)]).places)) == 3
    wide = layered(50, [(i, 49) for i in range(49)])
    assert wide.width == 24 and wide.height == 4
    assert layered(0, []).places == []
    chain = layered(3000, [(i, i + 1) for i in range(2999)])
    assert chain.height == 3000


def test_few_crossings():
    """Pairs that were submitted in reverse order stand below their own sources."""
    places = layered(8, [(0, 7), (1, 6), (2, 5), (3, 4)]).places
    assert [places[i][0] for i in (7, 6, 5, 4)] == [0.0, 1.0, 2.0, 3.0]
