"""Pictures of timelines: what they say, how large they may be, and that they work anywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanlight.spans import Span, Spans
from fanlight.task_graph import Edge, Graph, Node
from fanlight.trace import Timeline
from fanlight_kernel import pictures
from fanlight_kernel.pictures import blocks, palette

ROOT = Path(__file__).resolve().parents[2]
EPOCH = 1_700_000_000.0


def span(name: str = "work", start: float = 0.0, took: float = 1.0, **more: Any) -> Span:
    values: dict[str, Any] = {
        "task": b"t" * 24, "name": name, "kind": "task", "cell": "cell-1", "worker": 1, "pid": 10,
        "attempt": 0, "state": "done", "start": EPOCH + start, "duration": took, "reading": 0.0,
        "storing": 0.0, "waited": 0.5, "size": 1000,
    }  # fmt: skip
    return Span(**(values | more))


def timeline(*spans: Span, **more: Any) -> Timeline:
    return Timeline([], Spans(spans, **more))


SMALL = (
    span(),
    span("<b>bad</b>", 1.5, 0.5, state="failed"),
    span("Counter.add", 0.5, 1.0, kind="method", worker=2, pid=11, reading=0.3, storing=0.2),
    span("Counter.add", 0.7, 1.0, kind="method", worker=2, pid=11, state="running"),
)


def models_of(document: str) -> set[str]:
    return set(re.findall(r'"name":"([A-Z]\w+)","id"', document))


def sources(figure: Any) -> list[dict[str, Any]]:
    return [dict(r.data_source.data) for r in figure.renderers]


def test_a_bundle_has_a_document_html_and_text():
    bundle = timeline(*SMALL)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", pictures.MIME}
    picture = bundle[pictures.MIME]
    assert isinstance(picture["document"], str), "saving a notebook sorts keys, which have an order"
    assert json.loads(picture["document"])["roots"] and picture["height"] > 100
    assert bundle["text/plain"].startswith("Timeline: 4 tasks in 2.0 s on 1 worker and 1 actor")
    for text in (bundle["text/html"], bundle["text/plain"]):
        assert "1 failed" in text and "1 running" in text


def test_an_empty_timeline_says_so():
    bundle = timeline()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "no task has ended yet" in bundle["text/html"]


def test_html_is_what_untrusted_notebooks_keep():
    """Neither script nor SVG nor style sheet, and what users named is escaped."""
    text = timeline(*SMALL)._repr_mimebundle_()["text/html"]
    assert set(re.findall(r"<(\w+)", text)) <= {"div", "span"}
    assert "<b>" not in text and "&lt;b&gt;bad&lt;/b&gt;" in text
    assert 'title="function: work\nstate: done\ncell: cell-1' in text
    assert "var(" not in text and "url(" not in text


def test_lanes_blocks_and_details():
    figure = timeline(*SMALL, live={2: ["Counter", "c", [0]]}).figure(width=700)
    labels = figure.yaxis[0].major_label_overrides
    assert labels[0] == "worker 1" and labels[-1] == "Counter 'c' (worker 2) · GPU 0"
    (work,) = [s for s in sources(figure) if s.get("f0") == ["work"]]
    assert work["left"] == [0.0] and work["right"] == [1.0]
    details = [work[f"f{i}"][0] for i in range(8)]
    assert details[1:3] == ["done", "cell-1"] and details[4:] == ["1.0 s", "500 ms", "–", "1.0 kB"]
    (calls,) = [s for s in sources(figure) if s.get("f0") == ["Counter.add"] * 2]
    assert calls["bottom"][0] > calls["top"][1], "calls beside each other have rows of their own"
    assert calls["f6"][0] == "300 ms in, 200 ms out" and calls["f1"][1] == "running"


def test_where_the_program_waited_is_a_lane_of_its_own():
    waits = [(EPOCH - 9, EPOCH - 8, "long ago"), (EPOCH - 1, EPOCH + 1.5, "get of <3> objects")]
    shown = timeline(*SMALL, waits=waits)
    assert shown.spans.waited == pytest.approx(1.5)
    figure = shown.figure()
    assert figure.yaxis[0].major_label_overrides[-2] == "your program waits"
    (row,) = [s for s in sources(figure) if "what" in s]
    assert (row["left"], row["right"]) == ([0.0], [1.5]) and row["what"] == ["get of <3> objects"]
    assert "get of &lt;3&gt; objects: 1.5 s" in shown._repr_mimebundle_()["text/html"]
    assert re.search("\nyour program +│░░░", str(shown))


def test_only_models_that_the_extension_draws():
    """The renderer in JupyterLab registers just these; any other is refused there."""
    known = (ROOT / "labextension" / "src" / "picture.ts").read_text()
    known = known[known.index("register_models({") : known.index("});")]
    document = pictures.document(pictures.timeline_figure(timeline(*SMALL)))["document"]
    used = models_of(document)
    assert "Figure" in used and "CustomJS" not in known
    assert used - {"DocumentConfig"} <= set(re.findall(r"\w+", known))


def test_fifty_thousand_tasks_are_a_bounded_picture():
    many = [span("fg"[i % 2], i * 0.001, 0.0009, worker=i % 4, pid=i % 4) for i in range(50_000)]
    shown = timeline(*many)
    drawn = blocks.scene(shown.spans, 3000)
    assert 500 < len(drawn.blocks) <= 3000
    assert sum(b.count for b in drawn.blocks) == 50_000
    assert "50,000 tasks are drawn as" in drawn.note
    bundle = shown._repr_mimebundle_()
    assert len(json.dumps(bundle[pictures.MIME])) < 2_000_000
    assert len(bundle["text/html"]) < 300_000
    assert "50,000 tasks are drawn as" in bundle["text/html"]
    assert len(bundle["text/plain"]) < 5000


def test_merging_keeps_long_tasks_gaps_and_failures():
    short = [span("s", i * 0.001, 0.0005) for i in range(1000)]
    late = [span("s", 6 + i * 0.001, 0.0005, state="failed" if i == 500 else "done")
            for i in range(1000)]  # fmt: skip
    long = span("long", 2, 3, worker=2, pid=11)
    drawn = blocks.scene(timeline(*short, long, *late).spans, 300)
    assert len(drawn.blocks) <= 300
    assert [b.count for b in drawn.blocks if b.span.name == "long"] == [1]
    assert sum(b.failed for b in drawn.blocks) == 1
    merged = [b for b in drawn.blocks if b.span.name == "s"]
    assert all(b.end <= EPOCH + 1 or b.begin >= EPOCH + 6 for b in merged), "gaps show"


def test_a_page_needs_nothing_else(tmp_path):
    path = tmp_path / "run.html"
    timeline(*SMALL).to_html(path)
    text = path.read_text()
    outside = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)
    assert not re.search(r"\b(src|href)\s*=", outside) and len(text) > 500_000
    assert "prefers-color-scheme:dark" in text and "Bokeh" in text


def test_without_bokeh_there_is_text(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "fanlight_kernel.pictures", None)
    shown = timeline(*SMALL)
    assert set(shown._repr_mimebundle_()) == {"text/plain"}
    with pytest.raises(ImportError, match="pip install bokeh"):
        shown.to_html(tmp_path / "x.html")


def test_a_terminal_gets_text(shell):
    data, _ = shell.display_formatter.format(timeline(*SMALL))
    assert set(data) == {"text/plain"} and data["text/plain"].startswith("Timeline: 4 tasks")


def test_colours_are_told_apart_and_are_not_that_of_failures():
    assert len(set(palette.COLOURS)) == len(palette.COLOURS)
    assert palette.FAILED not in palette.COLOURS
    names = [f"f{i}" for i in range(20)]
    assert palette.of_functions(names)["f19"] == palette.OTHER


def test_cells_by_number(notebook):
    notebook.run("import fanlight")
    notebook.run("f = fanlight.remote(lambda: 1)", cell_id="cell-a")
    notebook.run("fanlight.get([f.remote(), f.remote()])", cell_id="cell-b")
    number = notebook.shell.execution_count - 1
    assert notebook.run("fanlight.timeline(cell='this')", cell_id="cell-c").value.spans.all == []
    for cell in (number, "cell-b"):
        notebook.ns["cell"] = cell
        found = notebook.run("fanlight.timeline(cell=cell)", cell_id="cell-c").value
        assert [s.cell for s in found.spans.all] == ["cell-b"] * 2
    assert f"cell: In [{number}]" in pictures.bundle(found)["text/html"]
    notebook.run("fanlight.timeline(cell=999)", fails=True)


# --- the task graph ------------------------------------------------------------------------------


def graph(level: str = "tasks") -> Graph:
    nodes = [
        Node("load", "FINISHED", "cell-1", 1, 1, "task", {"took": "1.0 s", "id": "ab"}),
        Node("<i>add</i>", "FAILED", "cell-1", 1, 1, "task", {"error": "<script>x</script>"}),
        Node("put", "VALUE", "", 0, 1, "value", {"size": "8 B"}),
        Node("late", "PENDING_ARGS", "", 0, 1, "task", {}),
    ]
    edges = [
        Edge(0, 1, 2, 5_000_000, "data"), Edge(2, 1, 1, 8, "data"), Edge(1, 3, 1, None, "spawn"),
    ]  # fmt: skip
    if level == "functions":
        nodes = [replace(n, kind="function", done=3, count=4) for n in nodes]
        edges.append(Edge(1, 1, 7, None, "data"))
    return Graph(nodes, edges, level, "A note.", [])


@pytest.mark.parametrize("level", ["tasks", "functions"])
def test_the_bundle_of_a_graph(level):
    bundle = graph(level)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", pictures.MIME}
    text = bundle["text/html"]
    assert set(re.findall(r"<(\w+)", text)) <= {"div", "span", "img", "br"}
    assert "<script" not in text and "&lt;i&gt;add" in text and "A note." in text
    known = (ROOT / "labextension" / "src" / "picture.ts").read_text()
    known = known[known.index("register_models({") : known.index("});")]
    used = models_of(bundle[pictures.MIME]["document"])
    assert used - {"DocumentConfig"} <= set(re.findall(r"\w+", known))


def test_what_nodes_and_edges_say():
    found = sources(graph().figure())
    what = next(s["what"] for s in found if "what" in s)
    assert next(iter(what)) == "2 objects, 5.0 MB from load to <i>add</i>"
    details = [text for s in found if "details" in s for text in s["details"]]
    assert "✓ load\ncell: cell-1\ntook: 1.0 s\nid: ab" in details
    dashes = next(list(s["dash"]) for s in found if "dash" in s)
    assert dashes == ["solid", "solid", "dashed"]


def test_large_and_empty_graphs(tmp_path):
    many = [Node("f", "FINISHED", "", 1, 1, "task", {}) for _ in range(2000)]
    bundle = Graph(many, [], "tasks", "", [])._repr_mimebundle_()
    assert len(bundle["text/html"]) < 2000 and len(json.dumps(bundle[pictures.MIME])) < 800_000
    assert set(Graph([], [], "tasks", "", [])._repr_mimebundle_()) == {"text/plain", "text/html"}
    graph().to_html(tmp_path / "graph.html")
    assert "<title>4 tasks" not in (tmp_path / "graph.html").read_text()[:500]
