"""What a notebook defines stays the same thing in cells and workers, until it is redefined."""

from __future__ import annotations

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
