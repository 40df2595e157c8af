"""What a notebook defines stays the same thing in cells and workers, until it is redefined; and what
it raises there is shown with the cells' own lines, the causes, and nothing of the runtime."""

from __future__ import annotations

import re

import pytest

from tests.kernel_ext.kernels import KernelClient

pytestmark = pytest.mark.slow

DEFINITIONS = """import abc, dataclasses, enum, functools, inspect, typing

class MyError(Exception):
    def __init__(self, code, *, hint=""):
        super().__init__(code)
        self.code, self.hint = code, hint

class Point:
    made = 0
    def __init__(self, x):
        self.x = x
        Point.made += 1
    def scaled(self):
        return scale(self.x)

class Sub(Point):
    pass

def scale(x):
    return x * 10

class Color(enum.Enum):
    RED = 1
    BLUE = 2

@dataclasses.dataclass
class Data:
    a: int

class Pair(typing.NamedTuple):
    a: int

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Square(Shape):
    def area(self):
        return 4

Shape.register(Point)
T = typing.TypeVar("T")

class Box(typing.Generic[T]):
    def __init__(self, value):
        self.value = value

@functools.singledispatch
def kind(x):
    return "object"

@kind.register
def _(x: int):
    return "int"

@kind.register
def _(x: Point):
    return "Point"

def everything():
    return {
        "points": [Point(1), {"sub": Sub(2)}], "color": Color.RED, "data": Data(1), "pair": Pair(2),
        "square": Square(), "box": Box[int](3), "kinds": [kind(1), kind(Point(1)), kind(Sub(1)), kind("")],
        "class": Point, "enum": Color,
    }

def check(r):
    point, sub = r["points"][0], r["points"][1]["sub"]
    return {
        "instance": type(point) is Point, "subclass": type(sub) is Sub and isinstance(sub, Point),
        "member": r["color"] is Color.RED and r["enum"] is Color, "dataclass": r["data"] == Data(1),
        "namedtuple": type(r["pair"]) is Pair and r["pair"] == Pair(2), "abc": isinstance(r["square"], Shape),
        "registered": isinstance(point, Shape), "generic": isinstance(r["box"], Box),
        "dispatch": r["kinds"] == ["int", "Point", "Point", "object"] and kind(point) == "Point",
        "class": r["class"] is Point, "globals": Point.scaled.__globals__ is globals(),
    }

def wrong(r):
    return [name for name, ok in check(r).items() if not ok]

everything_there = fanlight.remote(everything)
"""


@pytest.fixture(scope="module")
def defined(kernel: KernelClient) -> KernelClient:
    kernel.run(DEFINITIONS)
    return kernel


def test_what_a_task_returns_is_of_the_notebooks_classes(defined: KernelClient) -> None:
    assert defined.run("wrong(fanlight.get(everything_there.remote()))").result() == "[]"


def test_and_what_an_actor_returns(defined: KernelClient) -> None:
    defined.run(
        "@fanlight.remote\nclass Keeper(Shape):\n    def area(self):\n        return everything()\n"
        "    def same(self, value, cls):\n        return type(value) is cls\n"
        "keeper = Keeper.remote()"
    )
    assert defined.run("wrong(fanlight.get(keeper.area.remote()))").result() == "[]"
    # Objects and classes that come with different calls meet in one process.
    assert defined.run("fanlight.get(keeper.same.remote(Point(1), Point))").result() == "True"
    defined.run("kept = fanlight.put(Sub(1))")
    assert defined.run("fanlight.get(keeper.same.remote(kept, Sub))").result() == "True"


def test_attributes_of_a_class_do_not_come_back(defined: KernelClient) -> None:
    """They flow from the notebook to workers only: a result replaces none of the notebook's."""
    defined.run(
        "Point.made = 100\nbefore = Point.scaled\n"
        "@fanlight.remote\ndef makes():\n    Point(1)\n    return Point.made, Point(2)"
    )
    assert defined.run("made, point = fanlight.get(makes.remote())\nmade").result() == "101"
    assert defined.run("Point.made, Point.scaled is before").result() == "(100, True)"


def test_an_error_of_the_notebook_is_caught_by_its_class(defined: KernelClient) -> None:
    defined.run(
        "@fanlight.remote\ndef fails():\n    raise MyError(7, hint='h')\n"
        "class Special(MyError):\n    pass\n"
        "@fanlight.remote\ndef fails_specially():\n    raise Special(8)"
    )
    caught = "try:\n    fanlight.get({}.remote())\nexcept MyError as e:\n    seen = e.code, e.hint, isinstance(e.cause, {})\nseen"
    assert defined.run(caught.format("fails", "MyError")).result() == "(7, 'h', True)"
    assert defined.run(caught.format("fails_specially", "Special")).result() == "(8, '', True)"


def test_a_redefined_helper_is_used_by_the_next_submission(defined: KernelClient) -> None:
    """Also when the cell that submits is the same one, run again."""
    defined.run("def helper():\n    return deeper()\ndef deeper():\n    return 'old'")
    defined.run("@fanlight.remote\ndef calls():\n    return helper()")
    submit = "fanlight.get(calls.remote())"
    assert defined.run(submit, cell_id="submits").result() == "'old'"
    defined.run("def deeper():\n    return 'new'")
    assert defined.run(submit, cell_id="submits").result() == "'new'"
    defined.run("factor = 2\n@fanlight.remote\ndef times(x):\n    return x * factor")
    assert defined.run("fanlight.get(times.remote(3))", cell_id="times").result() == "6"
    defined.run("factor = 5")
    assert defined.run("fanlight.get(times.remote(3))", cell_id="times").result() == "15"


def test_a_redefined_class_is_another_one(defined: KernelClient) -> None:
    """As in plain Python: old instances keep the old class, in workers too."""
    cell = "class Versioned:\n    def version(self):\n        return {}"
    defined.run(cell.format(1), cell_id="versioned")
    defined.run(
        "old = Versioned()\n@fanlight.remote\ndef versions(*objects):\n"
        "    return [o.version() for o in objects], [type(o) is Versioned for o in objects]"
    )
    submit = "fanlight.get(versions.remote(old, Versioned()))"
    assert defined.run(submit, cell_id="v").result() == "([1, 1], [True, True])"
    defined.run(cell.format(2), cell_id="versioned")
    assert defined.run(submit, cell_id="v").result() == "([1, 2], [False, True])"
    defined.run("def patched(self):\n    return 3\nVersioned.version = patched")
    assert defined.run(submit, cell_id="v").result() == "([1, 3], [False, True])"


def test_an_actor_keeps_its_class_and_a_new_one_has_the_new(defined: KernelClient) -> None:
    cell = "@fanlight.remote\nclass Told:\n    def tell(self):\n        return {}"
    defined.run(cell.format(1))
    defined.run("first = Told.remote()")
    assert defined.run("fanlight.get(first.tell.remote())").result() == "1"
    defined.run(cell.format(2))
    defined.run("second = Told.remote()")
    tells = "fanlight.get([first.tell.remote(), second.tell.remote()])"
    assert defined.run(tells).result() == "[1, 2]"


def test_what_rebuilds_an_object_finds_what_it_uses(defined: KernelClient) -> None:
    """Functions of the notebook that are called while a cell's inputs are unpickled."""
    defined.run(
        "import json\noffset = 3\ndef moved(x):\n    return json.loads(json.dumps(x + offset))\n"
        "class Stateful:\n    def __getstate__(self):\n        return 1\n"
        "    def __setstate__(self, state):\n        self.x = moved(state)\n"
        "class Reduced:\n    def __reduce__(self):\n        return made, (1,)\n"
        "def made(x):\n    self = Reduced()\n    self.x = moved(x)\n    return self\n"
        "stateful, reduced = Stateful(), Reduced()"
    )
    assert defined.run("%%remote\nstateful.x, reduced.x").result() == "(4, 4)"
    defined.run("%%remote\nthere = Stateful(), Reduced()")
    assert defined.run("[x.x for x in there], type(there[0]) is Stateful").result() == (
        "([4, 4], True)"
    )


def test_a_class_of_a_remote_cell_lives_on(defined: KernelClient) -> None:
    defined.run(
        "%%remote\nclass Inner(Point):\n    def who(self):\n        return scale(self.x)\n"
        "inner = Inner(2)\nfirst = everything()"
    )
    assert defined.run("wrong(first)").result() == "[]"
    text = (
        "type(inner) is Inner, isinstance(inner, Point), inner.who(), inspect.getsource(Inner.who)"
    )
    source = "    def who(self):\n        return scale(self.x)\n"
    assert defined.run(text).result() == repr((True, True, 20, source))
    found = defined.run(
        "%%remote\nsecond = Inner(3)\ntype(inner) is Inner, inspect.getsource(Inner.who)"
    )
    assert found.result() == repr((True, source))
    text = "type(second) is Inner, fanlight.get(fanlight.remote(lambda x: type(x) is Inner).remote(second))"
    assert defined.run(text).result() == "(True, True)"


def test_getsource_works_in_a_worker(defined: KernelClient) -> None:
    defined.run("# a comment above\n\ndef sourced():\n    return 'source'")
    defined.run(
        "@fanlight.remote\ndef source():\n    import inspect\n"
        "    return inspect.getsource(sourced), inspect.getsourcelines(Point.scaled), "
        "inspect.getsource(Told_in_value)"
    )
    defined.run("def Told_in_value():\n    pass")
    text = "source, (lines, number), other = fanlight.get(source.remote())\nsource"
    assert defined.run(text).result() == repr("def sourced():\n    return 'source'\n")
    assert defined.run("lines[-1], number").result() == repr(
        (
            "        return scale(self.x)\n",
            1 + DEFINITIONS.split("\n").index("    def scaled(self):"),
        )
    )


# --- tracebacks ---------------------------------------------------------------------------------

FAILING = """import fanlight
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
def failing(kernel: KernelClient) -> KernelClient:
    kernel.run(FAILING)
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


def test_a_cause_and_its_note_through_nested_tasks(failing: KernelClient) -> None:
    line = "fanlight.get(nested.remote(0))"
    text = failing.run(line, fails=True).traceback()
    below = ["return deep(x)", "return y / x"]
    above = [line, "return fanlight.get(chained.remote(x))", 'raise MyError("outer") from e']
    check(text, *below, *above)
    assert text.index("ZeroDivisionError: division by zero\na note") < text.index("direct cause")
    assert text.index("direct cause") < text.index("MyError: outer")
    assert text.rstrip().endswith("This happened in the task nested.")


def test_the_same_in_a_remote_cell(failing: KernelClient) -> None:
    line = "fanlight.get(nested.remote(0))"
    text = failing.run(f"%%remote\nx = 0\n{line}", fails=True).traceback()
    below = ["return deep(x)", "return y / x"]
    check(
        text,
        *below,
        line,
        "return fanlight.get(chained.remote(x))",
        'raise MyError("outer") from e',
    )
    assert "a note" in text and "direct cause" in text


def test_methods_constructors_coroutines_and_comprehensions(failing: KernelClient) -> None:
    failing.run(
        "@fanlight.remote\nclass Actor:\n    def __init__(self, x):\n        self.x = deep(x)\n"
        "    def method(self):\n        return [1 / z for z in [0]]\n"
        "@fanlight.remote\nclass Async:\n    async def method(self):\n        import asyncio\n"
        "        await asyncio.sleep(0)\n        return (lambda z: 1 / z)(0)"
    )
    line = "fanlight.get(Actor.remote(1).method.remote())"
    check(failing.run(line, fails=True).traceback(), line, "return [1 / z for z in [0]]")
    line = "fanlight.get(Async.remote().method.remote())"
    inner = "return (lambda z: 1 / z)(0)"
    check(failing.run(line, fails=True).traceback(), line, inner, inner)
    text = failing.run("fanlight.get(Actor.remote(0).method.remote())", fails=True).traceback()
    assert "ActorDiedError" in text and "deep(x)" in text and "return y / x" in text


def test_awaits_and_syntax_errors_in_a_remote_cell(failing: KernelClient) -> None:
    source = "%%remote\nimport asyncio\nasync def co():\n    await asyncio.sleep(0)\n    deep(0)\nawait co()"
    check(failing.run(source, fails=True).traceback(), "await co()", "deep(0)", "return y / x")
    text = failing.run("%%remote\nx = 1\nx = = 3", fails=True).traceback()
    assert re.search(r"Cell In\[\d+\], line 3\n +x = = 3\n", text), text
    assert "fanlight" not in text


def test_groups_of_exceptions(failing: KernelClient) -> None:
    for cell in ("fanlight.get(grouped.remote())", "%%remote\nfanlight.get(grouped.remote())"):
        text = failing.run(cell, fails=True).traceback()
        assert text.count("ExceptionGroup: several (2 sub-exceptions)") == 1
        assert re.search(r"Cell In\[\d+\], line 20, in grouped\n", text), text
        assert re.search(r"Cell In\[\d+\], line 6, in deep\n    \|     return y / x\n", text), text
        assert "fanlight/" not in text and "site-packages" not in text


def test_endless_recursion_is_short(failing: KernelClient) -> None:
    failing.run("def again(n):\n    return again(n + 1)")
    text = failing.run("fanlight.get(fanlight.remote(again).remote(0))", fails=True).traceback()
    assert arrows(text)[1:] == ["return again(n + 1)"] * 3
    assert re.search(r"again \[and \d+ more like this\]", text)


def test_an_exception_that_cannot_travel_is_shown_all_the_same(failing: KernelClient) -> None:
    source = (
        "%%remote\nclass Bad(Exception):\n    def __init__(self, a, b):\n"
        "        super().__init__(a)\nraise Bad({})"
    )
    text = failing.run(source.format("1, 2"), fails=True).traceback()
    check(text, "raise Bad(1, 2)")
    assert "Bad: 1\n" in text and "cannot be rebuilt here" in text


def test_an_error_while_another_is_handled(failing: KernelClient) -> None:
    cell = "try:\n    {}['x']\nexcept KeyError:\n    fanlight.get(fanlight.remote(deep).remote(0))"
    text = failing.run(cell, fails=True).traceback()
    assert arrows(text)[-2:] == ["fanlight.get(fanlight.remote(deep).remote(0))", "return y / x"]
    assert "KeyError: 'x'" in text
    assert "During handling of the above exception" in text


def test_debug_shows_the_workers_lines(failing: KernelClient) -> None:
    """Its variables are elsewhere, and say so; the frames can be walked."""
    failing.run("fanlight.get(nested.remote(0))", fails=True)
    found = failing.run(
        "import sys\ntb, names = get_ipython().InteractiveTB.tb or sys.last_traceback, []\n"
        "while tb is not None:\n    names.append(tb.tb_frame.f_code.co_name)\n    last, tb = tb, tb.tb_next\n"
        "names[-2:], last.tb_frame.f_globals['variables_are_elsewhere'][:28]"
    )
    assert found.result() == "(['nested', 'chained'], 'This ran in a worker process')"


def test_source_that_only_the_worker_has(failing: KernelClient) -> None:
    """Code of a file that is gone when the notebook looks: at least the line itself."""
    path = failing.folder / "gone.py"
    failing.run(
        f"import os\npath = {str(path)!r}\n@fanlight.remote\ndef runs_a_file():\n"
        "    import linecache\n    source = 'def g():\\n    # why\\n    return 1 / 0\\ng()'\n"
        "    open(path, 'w').write(source)\n    try:\n        exec(compile(source, path, 'exec'))\n"
        "    finally:\n        linecache.getlines(path)\n        os.remove(path)"
    )
    text = failing.run("fanlight.get(runs_a_file.remote())", fails=True).traceback()
    assert "ZeroDivisionError" in text and "gone.py:3" in text


def test_the_error_itself_has_causes_after_it_was_shown(failing: KernelClient) -> None:
    failing.run(
        "try:\n    fanlight.get(nested.remote(0))\nexcept MyError as e:\n    kept = e\n"
        "shown = kept._render_traceback_()"
    )
    result = failing.run(
        "type(kept.cause.__cause__).__name__, kept.cause.__cause__.__notes__"
    ).result()
    assert result == "('ZeroDivisionError', ['a note'])"


def test_what_the_runtime_raises_is_shown_where_it_was_called(failing: KernelClient) -> None:
    line = "fanlight.remote(deep).options(num_cpus=-1)"
    check(failing.run(line, fails=True).traceback(), line)
    line = "fanlight.get(fanlight.remote(deep).remote(0), timeout='x')"
    check(failing.run(line, fails=True).traceback(), line)
