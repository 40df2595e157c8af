"""How hints look, what is known of large values, the page of documentation, and `inproc`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlight_kernel.coach import page, show, values
from fanlight_kernel.coach.rules import RULES
from tests.kernel_ext.conftest import Notebook

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "coach.md").read_text("utf-8")
    assert written == page.page(), "python -m fanlight_kernel.coach.page > docs/coach.md"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_examples_are_python(rule: Any) -> None:
    compile(rule.wrong, rule.key, "exec")
    compile(rule.right, rule.key, "exec")
    assert rule.right != rule.wrong


def test_what_users_wrote_is_escaped() -> None:
    hint = show.Shown("get-in-loop", "`<b>` & <i>", "cell 1, line 2", "print('<script>', `x`)")
    html = show.bundle([hint])["text/html"]
    assert (
        "<script>" not in html
        and "<i>" not in html
        and "<b>`" not in html
        and html.count("<b>") == 1
    )
    assert "&lt;script&gt;" in html and "<code" in html
    assert "print('<script>', `x`)" in show.bundle([hint])["text/plain"]
    assert "<script" not in html and " on" + "click" not in html


def test_examples_have_the_users_name_for_fanlight() -> None:
    hint = show.Shown("get-in-loop", "so and so", "", "")
    assert "results = fl.get(refs)" in show.text([hint], "fl")
    assert "ray." not in show.text([hint], "fl")


# --- large values ----------------------------------------------------------------------------------


def keys(*found: Any) -> list[Any]:
    """The keys of one large value in each of some calls."""
    known = values.Known()
    return [known.describe((value,), {})[0].key for value in found]


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(100_000),
        lambda: [float(i) for i in range(100_000)],
        lambda: {i: str(i) for i in range(100_000)},
        lambda: b"x" * 100_000,
        lambda: "x" * 100_000,
        lambda: bytearray(100_000),
    ],
)
def test_a_value_is_known_again_and_another_one_is_not(make: Any) -> None:
    one, other = make(), make()
    a, b, c = keys(one, one, other)
    assert a == b != c


def test_an_address_that_is_used_again_is_another_value() -> None:
    known = values.Known()
    seen = set()
    for i in range(20):
        seen.add(known.describe((np.full(50_000, i),), {})[0].key)
        seen.add(known.describe(([i] * 50_000,), {})[0].key)
    assert len(seen) == 40


@pytest.mark.parametrize("change", [lambda v: v.__setitem__(0, -1), lambda v: v.__setitem__(-1, 7)])
@pytest.mark.parametrize("make", [lambda: np.arange(100_000), lambda: [0] * 100_000])
def test_a_value_that_was_changed_is_another_one(make: Any, change: Any) -> None:
    value = make()
    known = values.Known()
    before = known.describe((value,), {})[0].key
    change(value)
    assert known.describe((value,), {})[0].key != before


def test_small_values_and_refs_are_not_looked_at() -> None:
    known = values.Known()
    assert known.describe((1, "x", [1, 2], np.zeros(10)), {"k": {}}) == ()
    (large,) = known.describe((1,), {"k": np.zeros(100_000)})
    assert (large.size, large.label) == (800_000, "an ndarray")
    assert values.size_of(_Angry()) >= 0 and values.fingerprint(_Angry()) == 0


class _Angry:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")


def test_values_are_not_kept_alive() -> None:
    import weakref

    known = values.Known()
    value = np.zeros(100_000)
    known.describe((value,), {})
    weak = weakref.ref(value)
    del value
    assert weak() is None


def test_what_travels_with_a_function() -> None:
    table, small = np.zeros(100_000), 3

    def inner() -> Any:
        return table[small], np, inner

    found = dict(values.captured(inner))
    assert found["table"] == 800_000 and found["small"] < 100
    assert values.captured(len) == []


# --- `inproc`, and a terminal ----------------------------------------------------------------------


def hints(notebook: Notebook, source: str, **limits: Any) -> str:
    coach = notebook.shell._fanlight_extension.coach
    for name, value in limits.items():
        setattr(coach.limits, name, value)
    ran = notebook.run(source)
    texts = [o.data.get("text/plain", "") for o in ran.outputs]
    return "\n".join(text for text in [ran.stdout, *texts] if "Hint: " in text)


def test_inproc_has_hints_that_make_sense_there(notebook: Notebook) -> None:
    notebook.run("import fanlight as ray, time, numpy as np")
    said = hints(
        notebook,
        "big = np.zeros(300_000)\n@ray.remote\ndef f(i): return big[i]\nv = ray.get(f.remote(1))",
        captured_bytes=1_000_000,
    )
    assert "f is 2.4 MB pickled, since it captures `big`" in said
    said = hints(
        notebook, "@ray.remote\ndef g(): return ray.put(1)\nv = ray.get(ray.get(g.remote()))"
    )
    assert "g returns what it `put`" in said


def test_inproc_has_none_about_what_runs_side_by_side(notebook: Notebook) -> None:
    notebook.run("import fanlight as ray, time\n@ray.remote\ndef nap(s): time.sleep(s)")
    assert hints(notebook, "[ray.get(nap.remote(0.05)) for _ in range(6)]", seconds=0.1) == ""
    source = "n = []\n@ray.remote\ndef f(): n.append(1)\nray.get(f.remote())\nprint(n)"
    assert hints(notebook, source) == ""


def test_a_fault_of_the_coach_does_not_harm_the_notebook(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension = notebook.shell._fanlight_extension
    logged: list[str] = []
    monkeypatch.setattr(extension, "log", logged.append)
    monkeypatch.setattr(extension.coach, "facts", lambda cell: 1 / 0)
    notebook.run("import fanlight as ray\nx = ray.get(ray.put(2))")
    assert notebook.ns["x"] == 2
    assert logged == ["coach: ZeroDivisionError: division by zero"]


def test_unloading_leaves_nothing(notebook: Notebook) -> None:
    import fanlight_kernel
    from fanlight import calls, session

    engine = session.require().engine
    assert "bind_task" in vars(engine)
    notebook.run("import fanlight as ray\nv = ray.get(ray.put(2))")
    fanlight_kernel.unload_ipython_extension(notebook.shell)
    assert "bind_task" not in vars(engine)
    assert calls._log is None
