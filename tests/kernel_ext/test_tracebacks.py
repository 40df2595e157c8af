"""Errors of workers in the notebook: the cells' own lines, the causes, and nothing of the runtime."""

from __future__ import annotations

import re

import pytest

from tests.kernel_ext.kernels import KernelClient

pytestmark = pytest.mark.slow

DEFINITIONS = """import fanlight
class MyError(Exception):
    pass
def deep(x):
    y = 1
    return y / x
@fanlight.remote
def chained(x):
    try:
        return deep(x)
    except ZeroDivisionError as e:
        e.add_note("a note")
        raise MyError("outer") from e
@fanlight.remote
def nested(x):
    return fanlight.get(chained.remote(x))
@fanlight.remote
def grouped():
    try:
        deep(0)
    except ZeroDivisionError as e:
        raise ExceptionGroup("several", [e, KeyError("k")])"""


@pytest.fixture(scope="module")
def defined(kernel: KernelClient) -> KernelClient:
    kernel.run(DEFINITIONS)
    return kernel


def arrows(text: str) -> list[str]:
    """The lines that a traceback points at."""
    return re.findall(r"^-+> +\d+ +(.*)$", text, re.M)


def check(text: str, *pointed: str) -> None:
    """It points at these lines, of cells only, and has nothing of the runtime in it."""
    assert arrows(text) == list(pointed), text
    files = re.findall(r'^(?:File|Cell|  File) ?"?(\S+)', text, re.M)
    assert set(files) <= {f"In[{n}]," for n in range(200)}, text
    assert "fanlight/" not in text and "fanlight_kernel" not in text


def test_a_cause_and_its_note_through_nested_tasks(defined: KernelClient) -> None:
    line = "fanlight.get(nested.remote(0))"
    text = defined.run(line, fails=True).traceback()
    below = ["return deep(x)", "return y / x"]
    above = [line, "return fanlight.get(chained.remote(x))", 'raise MyError("outer") from e']
    check(text, *below, *above)
    assert text.index("ZeroDivisionError: division by zero\na note") < text.index("direct cause")
    assert text.index("direct cause") < text.index("MyError: outer")
    assert text.rstrip().endswith("This happened in the task nested.")


def test_the_same_in_a_remote_cell(defined: KernelClient) -> None:
    line = "fanlight.get(nested.remote(0))"
    text = defined.run(f"%%remote\nx = 0\n{line}", fails=True).traceback()
    below = ["return deep(x)", "return y / x"]
    check(
        text,
        *below,
        line,
        "return fanlight.get(chained.remote(x))",
        'raise MyError("outer") from e',
    )
    assert "a note" in text and "direct cause" in text


def test_methods_constructors_coroutines_and_comprehensions(defined: KernelClient) -> None:
    defined.run(
        "@fanlight.remote\nclass Actor:\n    def __init__(self, x):\n        self.x = deep(x)\n"
        "    def method(self):\n        return [1 / z for z in [0]]\n"
        "@fanlight.remote\nclass Async:\n    async def method(self):\n        import asyncio\n"
        "        await asyncio.sleep(0)\n        return (lambda z: 1 / z)(0)"
    )
    line = "fanlight.get(Actor.remote(1).method.remote())"
    check(defined.run(line, fails=True).traceback(), line, "return [1 / z for z in [0]]")
    line = "fanlight.get(Async.remote().method.remote())"
    inner = "return (lambda z: 1 / z)(0)"
    check(defined.run(line, fails=True).traceback(), line, inner, inner)
    text = defined.run("fanlight.get(Actor.remote(0).method.remote())", fails=True).traceback()
    assert "ActorDiedError" in text and "deep(x)" in text and "return y / x" in text


def test_awaits_and_syntax_errors_in_a_remote_cell(defined: KernelClient) -> None:
    source = "%%remote\nimport asyncio\nasync def co():\n    await asyncio.sleep(0)\n    deep(0)\nawait co()"
    check(defined.run(source, fails=True).traceback(), "await co()", "deep(0)", "return y / x")
    text = defined.run("%%remote\nx = 1\nx = = 3", fails=True).traceback()
    assert re.search(r"Cell In\[\d+\], line 3\n +x = = 3\n", text), text
    assert "fanlight" not in text


def test_groups_of_exceptions(defined: KernelClient) -> None:
    for cell in ("fanlight.get(grouped.remote())", "%%remote\nfanlight.get(grouped.remote())"):
        text = defined.run(cell, fails=True).traceback()
        assert text.count("ExceptionGroup: several (2 sub-exceptions)") == 1
        assert re.search(r"Cell In\[\d+\], line 20, in grouped\n", text), text
        assert re.search(r"Cell In\[\d+\], line 6, in deep\n    \|     return y / x\n", text), text
        assert "fanlight/" not in text and "site-packages" not in text


def test_endless_recursion_is_short(defined: KernelClient) -> None:
    defined.run("def again(n):\n    return again(n + 1)")
    text = defined.run("fanlight.get(fanlight.remote(again).remote(0))", fails=True).traceback()
    assert arrows(text)[1:] == ["return again(n + 1)"] * 3
    assert re.search(r"again \[and \d+ more like this\]", text)


def test_an_exception_that_cannot_travel_is_shown_all_the_same(defined: KernelClient) -> None:
    source = (
        "%%remote\nclass Bad(Exception):\n    def __init__(self, a, b):\n"
        "        super().__init__(a)\nraise Bad({})"
    )
    text = defined.run(source.format("1, 2"), fails=True).traceback()
    check(text, "raise Bad(1, 2)")
    assert "Bad: 1\n" in text and "cannot be rebuilt here" in text


def test_an_error_while_another_is_handled(defined: KernelClient) -> None:
    cell = "try:\n    {}['x']\nexcept KeyError:\n    fanlight.get(fanlight.remote(deep).remote(0))"
    text = defined.run(cell, fails=True).traceback()
    assert arrows(text)[-2:] == ["fanlight.get(fanlight.remote(deep).remote(0))", "return y / x"]
    assert "KeyError: 'x'" in text
    assert "During handling of the above exception" in text


def test_debug_shows_the_workers_lines(defined: KernelClient) -> None:
    """Its variables are elsewhere, and say so; the frames can be walked."""
    defined.run("fanlight.get(nested.remote(0))", fails=True)
    found = defined.run(
        "import sys\ntb, names = get_ipython().InteractiveTB.tb or sys.last_traceback, []\n"
        "while tb is not None:\n    names.append(tb.tb_frame.f_code.co_name)\n    last, tb = tb, tb.tb_next\n"
        "names[-2:], last.tb_frame.f_globals['variables_are_elsewhere'][:28]"
    )
    assert found.result() == "(['nested', 'chained'], 'This ran in a worker process')"


def test_source_that_only_the_worker_has(defined: KernelClient) -> None:
    """Code of a file that is gone when the notebook looks: at least the line itself."""
    path = defined.folder / "gone.py"
    defined.run(
        f"import os\npath = {str(path)!r}\n@fanlight.remote\ndef runs_a_file():\n"
        "    import linecache\n    source = 'def g():\\n    # why\\n    return 1 / 0\\ng()'\n"
        "    open(path, 'w').write(source)\n    try:\n        exec(compile(source, path, 'exec'))\n"
        "    finally:\n        linecache.getlines(path)\n        os.remove(path)"
    )
    text = defined.run("fanlight.get(runs_a_file.remote())", fails=True).traceback()
    assert "ZeroDivisionError" in text and "gone.py:3" in text


def test_the_error_itself_has_causes_after_it_was_shown(defined: KernelClient) -> None:
    defined.run(
        "try:\n    fanlight.get(nested.remote(0))\nexcept MyError as e:\n    kept = e\n"
        "shown = kept._render_traceback_()"
    )
    result = defined.run(
        "type(kept.cause.__cause__).__name__, kept.cause.__cause__.__notes__"
    ).result()
    assert result == "('ZeroDivisionError', ['a note'])"
