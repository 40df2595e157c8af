"""The coach in a real kernel: each rule once in a notebook that shows it, once in a near miss."""

from __future__ import annotations

import re

import pytest

from fanlight.worker.idleness import _delayed
from fanlight_kernel.coach.rules import RULES
from tests.kernel_ext.coach_cells import CASES, PRELUDE, Case
from tests.kernel_ext.kernels import Execution, KernelClient

pytestmark = pytest.mark.slow
LOOP = CASES[0]


@pytest.fixture(scope="module")
def taught(kernel: KernelClient) -> KernelClient:
    """The module's kernel, with what the cells use, and two workers that are there."""
    kernel.run(PRELUDE)
    kernel.run("%config FanlightMagics.monitor = False")
    kernel.run("v = fanlight.get([nap.remote(0.12) for _ in range(4)])")
    kernel.run(
        "from fanlight_kernel.coach import coach as module\n"
        "from fanlight_kernel.coach.facts import Limits\n"
        "module.QUICK = 0.0\n"  # however quick this machine is
        "module.PATIENCE = 60\n"  # and however slow
        "coach = get_ipython()._fanlight_extension.coach\ncoach.period = 60\n"
        "logged = []\nget_ipython()._fanlight_extension.log = logged.append\n"
        "def limits(**given):\n    coach.limits = Limits(**{'part': 0.01} | given)"
    )
    return kernel


def hints(done: Execution) -> str:
    """What the coach said under a cell, as plain text; "" if nothing."""
    if done.ended():
        assert done.client.run("logged").result() == "[]"
    found = [d["text/plain"] for d in done.shown().values() if "coach" in str(d.get("text/html"))]
    assert len(found) <= 1, "one box for a cell"
    return found[0] if found else ""


def number(done: Execution) -> int:
    """What the notebook shows in front of a cell."""
    assert done.reply is not None
    return int(done.reply["content"]["execution_count"])


def first_lines(text: str) -> list[str]:
    return [line.removeprefix("Hint: ") for line in text.splitlines() if line.startswith("Hint: ")]


def test_each_rule_has_a_case() -> None:
    assert [case.rule for case in CASES] == [*dict.fromkeys(case.rule for case in CASES)]
    assert {case.rule for case in CASES} == set(RULES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_shown(taught: KernelClient, case: Case) -> None:
    if case.rule == "idle-tasks" and _delayed() < 0:
        pytest.skip("this kernel does not tell how long a thread waited")
    taught.run(f"limits(**{case.limits!r})")
    done = taught.run(case.shows)
    said = hints(done)
    assert any(re.search(case.evidence, line) for line in first_lines(said)), said
    assert f"In[{number(done)}], {case.where}" in said
    right = [line for line in RULES[case.rule].right.splitlines() if line]
    assert all(line.replace("ray.", "fanlight.") in said for line in right)
    assert said.count("%config FanlightMagics.coach = False") == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_near_miss(taught: KernelClient, case: Case) -> None:
    taught.run(f"limits(**{case.limits!r})")
    assert hints(taught.run(case.near)) == ""


def test_again_when_it_happens_again_and_not_when_it_is_off(taught: KernelClient) -> None:
    taught.run(f"limits(**{LOOP.limits!r})")
    for _ in range(2):
        assert "`get` in a loop" in hints(taught.run(LOOP.shows, cell_id="same"))
    taught.run("%config FanlightMagics.coach = False")
    done = taught.run(LOOP.shows, cell_id="same")
    assert hints(done) == ""
    assert taught.run("len(coach.log.calls)").result() == "0", "nothing is recorded"
    taught.run("%config FanlightMagics.coach = True")


def test_ordinary_small_cells_get_no_hint(taught: KernelClient) -> None:
    taught.run("from fanlight_kernel.coach.facts import Limits\ncoach.limits = Limits()")
    for source in (
        "print([fanlight.get(nap.remote(0.01)) for _ in range(5)])",
        "print(fanlight.get([use.remote(i) for i in range(150)]))",  # below the limit for tiny ones
        "a = fanlight.get(nap.remote(0.1))\nb = fanlight.get(use.remote(a))\nprint(a, b)",
        "print(fanlight.get([nap.remote(0.2) for _ in range(6)]))",
        "%%remote\ny = data.sum()\nprint(y)",
    ):
        assert hints(taught.run(source)) == "", source


def test_a_function_of_another_cell_is_named_with_its_cell(taught: KernelClient) -> None:
    taught.run(f"limits(**{LOOP.limits!r})")
    made = taught.run(
        "def collect():\n    return [fanlight.get(nap.remote(0.1)) for _ in range(6)]"
    )
    said = hints(taught.run("v = collect()"))
    assert f"In[{number(made)}], line 2: return [fanlight.get(nap.remote(0.1))" in said


def test_a_timed_cell_counts_its_lines_as_shown(taught: KernelClient) -> None:
    taught.run(f"limits(**{LOOP.limits!r})")
    said = hints(taught.run("%%time\n" + LOOP.shows))
    assert "line 4: found.append(" in said


def test_a_long_cell_gets_its_hint_while_it_runs(taught: KernelClient) -> None:
    taught.run(f"limits(**{LOOP.limits!r})\ncoach.period = 0.3")
    running = taught.start(
        LOOP.shows + "\nwhile not os.path.exists('go on'):\n    time.sleep(0.01)"
    )
    taught.until(lambda: hints(running), what="a hint while the cell runs")
    assert not running.ended()
    (taught.folder / "go on").touch()
    running.wait()
    assert len(first_lines(hints(running))) == 1
    taught.run("coach.period = 60")


def test_an_interrupted_cell_ends_without_a_hint(taught: KernelClient) -> None:
    taught.run(f"limits(**{LOOP.limits!r})")
    running = taught.start(LOOP.shows + "\nprint('there')\nv = fanlight.get(nap.remote(60))")
    taught.until(lambda: "there" in running.text())
    taught.interrupt()
    running.wait()
    assert "KeyboardInterrupt" in running.traceback()
    assert hints(running) == ""
    assert "`get` in a loop" in hints(taught.run(LOOP.shows))
