"""The coach's rules, over made-up facts: what happened, when, and the code that did it."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from fanlight_kernel.coach import rulebook
from fanlight_kernel.coach.facts import (
    WAITED,
    Defined,
    Facts,
    Function,
    Get,
    Hint,
    Large,
    Limits,
    Mutation,
    Sent,
    Site,
    Span,
    Submit,
    Wait,
)
from fanlight_kernel.coach.reading import Source

FILE = "the cell"
START = 1_000_000.0


class Story:
    """A cell, and what is said to have happened in it. Time passes as calls are told."""

    def __init__(self, text: str, cpus: float = 2, machine: int = 2) -> None:
        self.text = text
        self.source = Source(text, FILE, "cell 1")
        self.now = START
        self.numbers = itertools.count(1)
        self.functions: dict[Any, Function] = {}
        self.sites: dict[str, Site] = {}
        self.facts = Facts(
            totals={"CPU": cpus},
            machine=machine,
            source=lambda file: self.source if file == FILE else None,
            main=FILE,
            capacity=1_000_000_000,
        )

    def site(self, code: str) -> Site:
        """The place of the call that is written like ``code``; the last, if there are several."""
        if code not in self.sites:
            found = [
                node
                for node in ast.walk(self.source.tree)
                if isinstance(node, ast.Call) and ast.get_source_segment(self.text, node) == code
            ]
            assert found, f"{code} is not in the cell"
            self.sites[code] = self.source.site(found[-1])
        return self.sites[code]

    def function(self, name: str, actor: bytes = b"", **options: Any) -> Function:
        key = (name, actor, str(options))
        if key not in self.functions:
            target = None
            if not actor:
                scope: dict[str, Any] = {}
                node = self.source.function(0, name) or next(
                    (
                        n
                        for n in ast.walk(self.source.tree)
                        if isinstance(n, ast.FunctionDef) and n.name == name
                    ),
                    None,
                )
                if node is not None:
                    lines = [""] * (node.lineno - 1) + self.text.splitlines()[node.lineno - 1 :]
                    code = compile("\n".join(lines), FILE, "exec", ast.PyCF_ONLY_AST)
                    only = ast.Module(
                        [n for n in code.body if isinstance(n, ast.FunctionDef)][:1], []
                    )
                    exec(compile(only, FILE, "exec"), scope)
                    target = scope[name]
            self.functions[key] = Function(name, target, options, actor)
        return self.functions[key]

    def submit(
        self,
        code: str,
        run: float | None = None,
        *,
        begins: float | None = None,
        took: float = 0.0,
        pid: int = 1,
        flags: int = 0,
        function: Function | None = None,
    ) -> bytes:
        """A call that runs for ``run`` seconds (None: nobody knows when it ran)."""
        task = next(self.numbers).to_bytes(24, "big")
        function = function or self.function(code.partition(".remote")[0].partition(".options")[0])
        self.facts.submits.append(
            Submit(self.now, self.now + took, self.site(code), function, task)
        )
        self.now += took
        if run is not None:
            start = self.now if begins is None else begins
            self.facts.spans[task] = Span(start, run, pid, function.name, flags)
        return task

    def get(self, code: str, *tasks: bytes, waits: float, single: bool = True, **more: Any) -> None:
        self.facts.gets.append(
            Get(self.now, self.now + waits, self.site(code), tasks, single, **more)
        )
        self.now += waits

    def sent(self, code: str, size: int, *values: Large, seconds: float = 0.0) -> None:
        last = self.facts.submits[-1]
        self.facts.sent.append(
            Sent(self.now, seconds, self.site(code), last.function, size, last.task, values)
        )

    def hints(self, **limits: Any) -> list[Hint]:
        self.facts.elapsed = max(self.facts.elapsed, self.now - START)
        return [*rulebook.hints(self.facts, Limits(**limits))]

    def rules(self, **limits: Any) -> list[str]:
        return [hint.rule for hint in self.hints(**limits)]


def in_turn(text: str, get: str, submit: str, n: int = 25, run: float = 0.5, **made: Any) -> Story:
    """A cell that gets each call right after its own submission."""
    story = Story(text, **made)
    for _ in range(n):
        task = story.submit(submit, run)
        story.get(get, task, waits=run)
    return story


# --- get in a loop ---------------------------------------------------------------------------------

GET, CALL = "ray.get(f.remote(i))", "f.remote(i)"


def test_get_in_a_loop_says_what_it_cost_and_where() -> None:
    story = in_turn(
        "out = []\nfor i in range(25):\n    out.append(ray.get(f.remote(i)))", GET, CALL
    )
    (hint,) = story.hints()
    assert hint.rule == "get-in-loop"
    assert hint.evidence == (
        "`get` in a loop: 25 calls waited 12.5 s in turn; together they would have taken about 6.5 s."
    )
    assert hint.site is not None and hint.site.line == 3


@pytest.mark.parametrize(
    "text",
    [
        "[ray.get(f.remote(i)) for i in range(9)]",
        "{i: ray.get(f.remote(i)) for i in range(9)}",
        "for i in range(9):\n    print(ray.get(f.remote(i)))",
        "for i in range(9):\n    total += ray.get(f.remote(i))",
        "for i, x in enumerate(xs):\n    found[x] = ray.get(f.remote(i))",
        "for i in xs:\n    v = ray.get(f.remote(i))\n    if v > best:\n        best = v",
        "for i in xs:\n    try:\n        ray.get(f.remote(i))\n    except ValueError:\n        pass",
        "i = 0\nwhile i < 9:\n    ray.get(f.remote(i))\n    i += 1",
        "def run():\n    return [ray.get(f.remote(i)) for i in range(9)]\nrun()",
        "async def run():\n    return [ray.get(f.remote(i)) for i in range(9)]\nawait run()",
        "for j in xs:\n    i = j + 1\n    v = ray.get(f.remote(i))\n    out.append(v)",
    ],
)
def test_loops_whose_rounds_do_not_need_each_other(text: str) -> None:
    assert in_turn(text, GET, CALL).rules() == ["get-in-loop"]


@pytest.mark.parametrize(
    "text",
    [
        "for _ in range(9):\n    i = ray.get(f.remote(i))",
        "for _ in range(9):\n    v = ray.get(f.remote(i))\n    i = v + 1",
        "for _ in range(9):\n    v = ray.get(f.remote(i))\n    i.append(v)",
        "for _ in range(9):\n    i.w = ray.get(f.remote(i))",
        "for _ in range(9):\n    i['w'] += ray.get(f.remote(i))",
        "for _ in range(9):\n    update(i, ray.get(f.remote(i)))",
        "for _ in range(9):\n    for i in ray.get(f.remote(i)):\n        pass",
        "for _ in range(9):\n    (i := ray.get(f.remote(i)))",
        "for _ in range(9):\n    with ray.get(f.remote(i)) as i:\n        pass",
        "for i in todo:\n    todo.extend(ray.get(f.remote(i)))",
        "while not ok:\n    ok = ray.get(f.remote(i))",
        "while True:\n    if ray.get(f.remote(i)):\n        break",
        "for i in xs:\n    v = ray.get(f.remote(i))\n    if v:\n        break",
        "def g():\n    for i in xs:\n        if ray.get(f.remote(i)):\n            return i\ng()",
        "for i in xs:\n    if state:\n        state = ray.get(f.remote(i))",
        "def g(i):\n    return ray.get(f.remote(i))\nfor i in xs:\n    g(i)",
        "ray.get(f.remote(i))",
        "for x in ray.get(f.remote(i)):\n    pass",
    ],
)
def test_rounds_that_may_need_each_other_are_left_alone(text: str) -> None:
    assert in_turn(text, GET, CALL).rules() == []


def test_a_chain_of_refs_is_left_alone() -> None:
    text = "for _ in range(9):\n    i = f.remote(i)\n    print(ray.get(i))"
    assert in_turn(text, "ray.get(i)", CALL).rules() == []


LOOP = "for i in xs:\n    out.append(ray.get(f.remote(i)))"


@pytest.mark.parametrize(
    ("n", "run", "made"),
    [
        (25, 0.5, {"cpus": 1}),  # nothing to gain
        (25, 0.5, {"machine": 1}),  # more CPUs than there are
        (2, 5.0, {}),
        (25, 0.01, {}),
        (3, 0.3, {}),  # 0.3 s saved
    ],
)
def test_small_losses_are_left_alone(n: int, run: float, made: dict[str, Any]) -> None:
    assert in_turn(LOOP, GET, CALL, n, run, **made).rules() == []


def test_a_small_part_of_a_long_cell_is_left_alone() -> None:
    story = in_turn(LOOP, GET, CALL, 5, 0.5)
    story.now += 60
    assert story.rules() == []
    assert story.rules(part=0.0) == ["get-in-loop"]


def test_runs_that_nobody_knows_are_no_evidence() -> None:
    story = Story(LOOP)
    for _ in range(9):
        story.get(GET, story.submit(CALL), waits=1.0)
    assert story.rules() == []


def test_what_a_function_needs_decides_how_many_run_at_once() -> None:
    for options, rules in (
        ({"num_cpus": 2}, []),
        ({"num_gpus": 1}, []),
        ({"resources": {"key": 1}}, []),
        ({"scheduling_strategy": "SPREAD"}, []),
        ({"num_cpus": 0.5}, ["get-in-loop"]),
    ):
        story = Story(LOOP)
        story.facts.totals |= {"GPU": 1.0, "key": 1.0}
        for _ in range(9):
            task = story.submit(CALL, 0.5, function=story.function("f", **options))
            story.get(GET, task, waits=0.5)
        assert story.rules() == rules, options


@pytest.mark.parametrize(("actors", "rules"), [(1, []), (3, ["get-in-loop"])])
def test_calls_of_one_actor_run_in_turn_anyway(actors: int, rules: list[str]) -> None:
    story = Story(LOOP)
    for i in range(12):
        actor = story.function("A.f", actor=bytes([i % actors + 1]) * 16)
        # Such runs are told late: the wait counts.
        story.get(GET, story.submit(CALL, function=actor), waits=0.5)
    assert story.rules() == rules


def test_two_actors_that_take_turns_are_left_alone() -> None:
    story = Story("for i in xs:\n    ray.get(f.remote(i))\n    ray.get(g.remote(i))")
    for _ in range(9):
        for name in ("f", "g"):
            actor = story.function(name, actor=name.encode() * 16)
            story.get(f"ray.get({name}.remote(i))", story.submit(f"{name}.remote(i)", function=actor), waits=0.5)  # fmt: skip
    assert story.rules() == []


def test_submitted_before_and_fetched_one_by_one_is_harmless() -> None:
    story = Story("refs = [f.remote(i) for i in xs]\nfor r in refs:\n    print(ray.get(r))")
    tasks = [story.submit(CALL, 0.5, begins=START + 0.5 * (i // 2)) for i in range(10)]
    for i, task in enumerate(tasks):
        story.get("ray.get(r)", task, waits=0.5 * (i % 2 == 0))
    assert story.rules() == []


# --- get too early ---------------------------------------------------------------------------------


def passed_on(text: str, get: str, submit: str, use: str, n: int = 8, run: float = 0.5) -> Story:
    story = Story(text)
    for _ in range(n):
        task = story.submit(submit, run)
        story.get(get, task, waits=run)
        story.submit(use, 0.0)
    return story


@pytest.mark.parametrize(
    ("text", "get", "use"),
    [
        ("for i in xs:\n    v = ray.get(f.remote(i))\n    out.append(g.remote(v))", GET, "g.remote(v)"),
        ("for i in xs:\n    out.append(g.remote(ray.get(f.remote(i))))", GET, "g.remote(ray.get(f.remote(i)))"),
        ("out = [g.remote(a=ray.get(f.remote(i))) for i in xs]", GET, "g.remote(a=ray.get(f.remote(i)))"),
        ("for i in xs:\n    a, b = ray.get(f.remote(i))\n    g.remote(a, b)", GET, "g.remote(a, b)"),
    ],
)  # fmt: skip
def test_a_value_that_is_only_passed_on(text: str, get: str, use: str) -> None:
    (hint,) = passed_on(text, get, CALL, use).hints()
    assert hint.rule == "early-get"
    assert "8 gets waited 4.0 s in turn" in hint.evidence
    assert "together would have taken about 2.0 s" in hint.evidence


@pytest.mark.parametrize(
    "extra",
    [
        "print(v)",
        "if v:\n        pass",
        "kept.append(v)",
        "w = v + 1",
        "v = 3",
        "def h():\n        return v",
    ],
)
def test_a_value_that_is_looked_at_too(extra: str) -> None:
    text = f"for i in xs:\n    v = ray.get(f.remote(i))\n    g.remote(v)\n    {extra}"
    assert "early-get" not in passed_on(text, GET, CALL, "g.remote(v)").rules()


def test_one_small_value_costs_next_to_nothing() -> None:
    text = "v = ray.get(f.remote(i))\nout = g.remote(v)"
    assert passed_on(text, GET, CALL, "g.remote(v)", n=1, run=9.0).rules() == []


def test_large_values_that_come_only_to_be_sent_on() -> None:
    text = "vs = ray.get([f.remote(i) for i in xs])\nout = [g.remote(v) for v in vs]"
    story = Story(text)
    tasks = [story.submit(CALL, 0.1) for _ in range(4)]
    story.get("ray.get([f.remote(i) for i in xs])", *tasks, waits=0.2, single=False)
    for i in range(4):
        story.submit("g.remote(v)", 0.1)
        story.sent("g.remote(v)", 10_000_000, Large((i,), 10_000_000, "an ndarray"))
    (hint,) = story.hints()
    assert hint.evidence == (
        "`get` too early: values were fetched only to be passed on to g (line 2), which sent 40.0 MB "
        "into the store again."
    )
    assert story.rules(early_bytes=50_000_000) == []


# --- the order of submission -----------------------------------------------------------------------

ORDER = "refs = [f.remote(i) for i in xs]\nfor r in refs:\n    use(ray.get(r))"


def in_order(runs: Sequence[float], work: float, actor: bytes = b"") -> Story:
    """All begin at once; each result is worked on for ``work`` seconds."""
    story = Story(ORDER, cpus=len(runs), machine=len(runs))
    function = story.function("f", actor)
    tasks = [story.submit(CALL, run, begins=START, function=function) for run in runs]
    for task, run in zip(tasks, runs, strict=True):
        story.get("ray.get(r)", task, waits=max(0.0, START + run - story.now))
        story.now += work
    return story


def test_waiting_for_a_slow_one_while_others_are_ready() -> None:
    (hint,) = in_order([4.0, 0.1, 0.1, 0.1, 0.1], work=1.0).hints()
    assert hint.rule == "submission-order"
    assert "for 3.9 s the notebook waited" in hint.evidence
    assert "about 3.0 s sooner" in hint.evidence  # of the last one's work nothing is known


@pytest.mark.parametrize(
    ("runs", "work"),
    [
        ([4.0, 0.1, 0.1, 0.1, 0.1], 0.0),  # nothing is done with them
        ([0.1, 0.1, 0.1, 0.1, 4.0], 1.0),  # the slow one is the last
        ([1.0, 1.0, 1.0, 1.0], 1.0),  # all are ready at once
        ([0.5, 0.1], 1.0),
    ],
)
def test_orders_that_cost_nothing(runs: list[float], work: float) -> None:
    assert in_order(runs, work).rules() == []


def test_calls_of_an_actor_end_in_their_order() -> None:
    assert in_order([4.0, 0.1, 0.1, 0.1, 0.1], 1.0, actor=b"a" * 16).rules() == []


# --- polling ---------------------------------------------------------------------------------------


def polling(pause: float, found: int = 0, n: int = 3000, timeout: float | None = 0) -> Story:
    story = Story("while refs:\n    ready, refs = ray.wait(refs, timeout=0)")
    site = story.site("ray.wait(refs, timeout=0)")
    for _ in range(n):
        story.facts.waits.append(Wait(story.now, story.now + 3e-4, site, 5, found, timeout))
        story.now += 3e-4 + pause
    return story


def test_a_tight_loop_of_waits() -> None:
    (hint,) = polling(1e-5).hints()
    assert "3000 calls, of which 3000 found nothing" in hint.evidence
    assert polling(1e-2).rules() == []  # it sleeps, or does something
    assert polling(1e-5, found=1).rules() == []
    assert polling(1e-5, timeout=0.1).rules() == []
    assert polling(1e-5, n=150).rules() == []


# --- bytes -----------------------------------------------------------------------------------------

SEND = "refs = [f.remote(data, i) for i in xs]"
SENT = "f.remote(data, i)"


def sending(keys: Sequence[int], size: int = 80_000_000, seconds: float = 0.0) -> Story:
    story = Story(SEND)
    for key in keys:
        story.submit(SENT)
        story.sent(SENT, size, Large((key,), size, "an ndarray"), seconds=seconds)
    return story


def test_the_same_large_value_again() -> None:
    story = sending([7] * 12)
    story.facts.name_of = lambda key: "data" if key == (7,) else ""
    (hint,) = story.hints()
    assert hint.rule == "same-large-value"
    assert hint.evidence.startswith("`data` (an ndarray, 80.0 MB) was sent with 12 calls: 960 MB")
    assert sending([1, 2, 3, 4, 5, 6]).rules() == []  # each its own
    assert sending([7] * 2).rules() == []
    assert sending([7] * 12, size=1_000_000).rules() == []
    assert sending([7] * 12, size=1_000_000, seconds=0.1).rules() == ["same-large-value"]


def test_a_function_that_captures_a_large_variable() -> None:
    story = Story(LOOP)
    target = story.function("f").target or (lambda: 0)
    story.facts.defined.append(Defined(START, START, "f", target, 40_000_000))
    assert story.rules() == []  # nobody knows why it is so large
    story.facts.captured = lambda t: [("data", 39_000_000), ("small", 100)] if t is target else []
    (hint,) = story.hints()
    assert hint.evidence.startswith("f is 40.0 MB pickled, since it captures `data` (39.0 MB);")
    assert story.rules(captured_bytes=50_000_000) == []


def queueing(n: int, size: int, ahead: float = 0.0) -> Story:
    """Each waits ``ahead`` seconds for the one before it; two run at once."""
    story = Story(SEND)
    for i in range(n):
        story.submit(SENT, 1.0, begins=START + ahead * i)
        story.sent(SENT, size, Large((i,), size, "an ndarray"))
        story.now += 0.001
    return story


def test_more_in_the_queue_than_the_store_can_bear() -> None:
    (hint,) = queueing(400, 1_000_000, ahead=0.5).hints()
    assert hint.rule == "unbounded-submission"
    assert "40 % of the object store" in hint.evidence
    assert "where 2 run" in hint.evidence
    assert queueing(400, 1_000, ahead=0.5).rules() == []  # small ones may wait
    assert queueing(20, 20_000_000, ahead=0.5).rules() == []  # a few may be large
    assert queueing(400, 1_000_000, ahead=0.001).rules() == []  # they run as they come


def test_objects_on_disk_are_evidence_too() -> None:
    story = queueing(400, 500_000, ahead=0.5)
    assert story.rules() == []
    story.facts.spilled = 100_000_000
    (hint,) = story.hints()
    assert "100 MB of objects are on disk" in hint.evidence


# --- tasks -----------------------------------------------------------------------------------------

MANY = "refs = [f.remote(i) for i in xs]\nray.get(refs)"


def many(n: int, run: float, submit: float, waits: float) -> Story:
    story = Story(MANY)
    tasks = [story.submit(CALL, run, took=submit) for _ in range(n)]
    story.get("ray.get(refs)", *tasks, waits=waits, single=False)
    return story


def test_tiny_tasks() -> None:
    (hint,) = many(20_000, 5e-6, 3e-5, 0.5).hints()
    assert hint.rule == "tiny-tasks"
    assert hint.evidence == (
        "20000 tasks of f ran for 100 ms in all (5 µs each); submitting and fetching them took 1.1 s."
    )
    assert many(2_000, 5e-6, 3e-5, 0.1).rules() == []  # nobody feels that
    assert many(20_000, 2e-3, 3e-5, 20.0).rules() == []  # not tiny
    assert many(150, 5e-6, 1e-2, 1.0).rules() == []  # not many
    story = many(20_000, 5e-6, 3e-5, 0.4)
    story.now += 10
    assert story.rules() == []  # the cell does something else


def test_time_that_the_notebook_itself_takes_is_no_overhead() -> None:
    story = Story(MANY)
    for _ in range(1000):
        story.submit(CALL, 5e-6, took=2e-5)
        story.now += 0.01
    assert story.rules() == []


TREE = (
    "def tree(d):\n    if not d:\n        return 1\n"
    "    return sum(ray.get([tree.remote(d - 1), tree.remote(d - 1)]))\n"
    "ray.get(tree.remote(9))"
)


def nested(at_once: int, text: str = TREE, seconds: float = 2.0) -> Story:
    story = Story(text)
    story.submit("tree.remote(9)", seconds)
    for i in range(at_once - 1):
        story.facts.spans[b"inner%d" % i] = Span(START + i * 1e-3, seconds, i, "tree")
    return story


def test_processes_that_wait_for_each_other() -> None:
    (hint,) = nested(30).hints()
    assert hint.rule == "nested-get"
    assert hint.evidence.startswith("30 tasks of tree were running at once on 2 CPUs: at least 28 ")
    assert hint.site is not None and hint.site.line == 4
    assert nested(8).rules() == []
    assert nested(30, seconds=0.1).rules() == []
    plain = TREE.replace("ray.get(", "list(", 1)
    assert nested(30, plain).rules() == []  # nothing in it waits


def test_tasks_of_less_than_a_cpu_are_many_at_once_anyway() -> None:
    story = nested(30)
    half = story.function("tree", num_cpus=0.1)
    story.facts.submits = [s._replace(function=half) for s in story.facts.submits]
    assert story.rules() == []


def idle(n: int, flags: int = WAITED, apart: float = 0.5, **options: Any) -> Story:
    story = Story(MANY)
    function = story.function("f", **options)
    for i in range(n):
        story.submit(CALL, 1.0, begins=START + apart * i, flags=flags, function=function)
    return story


def test_tasks_that_wait_and_hold_their_cpu() -> None:
    (hint,) = idle(40).hints()
    assert hint.rule == "idle-tasks"
    assert "40 tasks of f ran for 40.0 s in all" in hint.evidence
    assert idle(40, flags=0).rules() == []
    assert idle(10).rules() == []  # a lesson that sleeps
    assert idle(40, apart=0.0).rules() == []  # nobody waited for the CPU
    assert idle(40, num_cpus=0.1).rules() == []
    assert idle(40, num_gpus=1).rules() == []


# --- what functions do -----------------------------------------------------------------------------


def returning(body: str, refs: bool = True) -> Story:
    story = Story(f"def f():\n{body}\nray.get(ray.get(f.remote()))")
    task = story.submit("f.remote()", 0.1)
    story.get("ray.get(f.remote())", task, waits=0.1, refs=refs)
    return story


@pytest.mark.parametrize(
    "body",
    [
        "    return ray.put(1)",
        "    ref = ray.put(1)\n    return ref",
        "    if 1:\n        return fanlight.put(2)",
    ],
)
def test_a_put_that_is_returned(body: str) -> None:
    (hint,) = returning(body).hints()
    assert hint.rule == "returned-put"
    assert "1 call gave a ref to a ref" in hint.evidence
    assert returning(body, refs=False).rules() == []  # that line did not run


@pytest.mark.parametrize(
    "body",
    [
        "    return g.remote()",  # somebody else's task
        "    return [ray.put(1), ray.put(2)]",  # several, one by one
        "    queue.put(1)\n    return 2",
        "    def inner():\n        return ray.put(1)\n    return g.remote()",
    ],
)
def test_other_refs_may_be_returned(body: str) -> None:
    assert returning(body).rules() == []


def changing(body: str, after: str = "print(total)") -> Story:
    """``f`` changed what its body changes, and the cell goes on with ``after``."""
    text = f"def f(x):\n{body}\nray.get([f.remote(i) for i in xs])\n{after}"
    story = Story(text)
    for pid in (1, 2, 1):
        story.submit(CALL, 0.1, pid=pid)
    from fanlight_kernel.coach import work

    story.facts.mutated = {m.name: m for m in work.mutations(story.facts)}
    return story


@pytest.mark.parametrize(
    "body",
    [
        "    global total\n    total += x",
        "    global total\n    total = x",
        "    total.append(x)",
        "    total['x'] = x",
        "    total['x'] += x",
        "    total.x = x",
        "    del total[x]",
    ],
)
def test_a_global_that_tasks_change_and_the_notebook_reads(body: str) -> None:
    (hint,) = changing(body).hints()
    assert hint.rule == "global-state"
    assert "3 calls that ran in 2 other processes" in hint.evidence
    assert changing(body, "total = 0\nprint(total)").rules() == []
    assert changing(body, "print('done')").rules() == []
    assert changing(body, "def g():\n    print(total)").rules() == []


@pytest.mark.parametrize(
    "body",
    [
        "    return total + x",
        "    total = x",
        "    total = []\n    total.append(x)",
        "    total = {}\n    total['x'] = x",
        "    for total in x:\n        total.append(1)",
        "    global total\n    if total is None:\n        total = x",  # a cache of the process
        "    if x not in total:\n        total[x] = 1",
    ],
)
def test_functions_that_change_nothing_of_the_notebook(body: str) -> None:
    assert changing(body).rules() == []


def test_a_later_cell_that_reads_it() -> None:
    mutation = Mutation("total", "f", Site("another cell", 3, 3, 4, 9), "assigns", 1, 1)
    for text, rules in (
        ("print(total)", ["global-state"]),
        ("total += 1", []),
        ("total = 0\nprint(total)", []),
        ("print('done')", []),
    ):
        story = Story(text)
        story.facts.mutated = {"total": mutation}
        assert story.rules() == rules, text


def test_inproc_has_no_other_processes() -> None:
    story = Story("def f(x):\n    total.append(x)\nf.remote(i)\nprint(total)")
    story.facts.processes = False
    story.submit(CALL, 0.1)
    from fanlight_kernel.coach import work

    assert [*work.mutations(story.facts)] == []


def test_a_function_that_is_defined_in_each_round() -> None:
    story = Story("for i in range(200):\n    def f(x):\n        return x\n")
    made = []
    for _ in range(200):
        scope: dict[str, Any] = {}
        exec(compile("\ndef f(x):\n    return x\n", FILE, "exec"), scope)
        made.append(scope["f"])
    story.facts.defined += [Defined(START, START + 1e-3, "f", f, 300) for f in made]
    (hint,) = story.hints()
    assert hint.evidence == (
        "f was defined 200 times by the same lines; pickling the definitions took 200 ms."
    )
    assert hint.site is not None and hint.site.line == 2
    story.facts.defined = story.facts.defined[:50]
    assert story.rules() == []
    story.facts.defined = [Defined(START, START + 1e-3, "f", made[0], 300)] * 200  # pickled anew
    assert story.rules() == []


def test_nothing_is_said_of_code_that_cannot_be_read() -> None:
    story = in_turn(LOOP, GET, CALL)
    story.facts.source = lambda file: None
    assert story.rules() == []


def test_of_each_kind_the_first_only() -> None:
    story = Story(LOOP + "\n" + LOOP.replace("(i)", "(j)").replace("for i", "for j"))
    for name in ("i", "j"):
        for _ in range(9):
            task = story.submit(f"f.remote({name})", 0.5)
            story.get(f"ray.get(f.remote({name}))", task, waits=0.5)
    (hint,) = story.hints()
    assert hint.site is not None and hint.site.line == 2
