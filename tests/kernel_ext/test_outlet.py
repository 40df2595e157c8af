"""What becomes of output on its way to a cell: lines that are rewritten, floods, what is redone."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanlight.task_output import TaskOutput
from fanlight_kernel.cells import Cell, Router
from fanlight_kernel.output import outlet as outlets
from fanlight_kernel.output.outlet import Outlet
from fanlight_kernel.output.quota import Limits, Rate
from fanlight_kernel.output.screen import COLUMNS, ROWS, Screen


class Notebook:
    """Stands for a router; keeps what would be under the cell. Time is the test's."""

    def __init__(self, rich: bool = True, **limits: Rate) -> None:
        self.rich = rich
        self.now = 100.0
        self.streams = {"stdout": "", "stderr": ""}
        self.shown: dict[str, dict[str, Any]] = {}
        self.messages = 0
        self.tended = 0
        self.outlet = Outlet(self, Cell("cell"), Limits(**limits))  # type: ignore[arg-type]

    def write(self, cell: Cell, stream: str, text: str) -> None:
        self.streams[stream] += text

    def display(
        self, cell: Cell, data: Any, metadata: Any, display_id: Any, update: Any = 0
    ) -> None:
        self.messages += 1
        key = display_id or f"anonymous {self.messages}"
        assert bool(update) == (key in self.shown), "an update has something to update"
        self.shown[key] = data

    def tend(self, outlet: Outlet) -> None:
        self.tended += 1

    def logs_of(self, pids: Any, stream: str) -> list[str]:
        return [f"/logs/{pid}" for pid in pids]

    def take(self, text: str, task: str = "t", stream: str = "stdout", prefix: str = "") -> None:
        self.outlet.take(TaskOutput(task, "cell", stream, text, None, None, "f", 7), prefix)

    def show(self, data: Any = None, task: str = "t", **transient: Any) -> None:
        item = TaskOutput(task, "cell", "display", "", data or {}, {}, "f", 7, transient)
        self.outlet.take(item, "")

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.05
            self.outlet.tick(self.now)

    def texts(self) -> list[str]:
        return [data["text/plain"] for data in self.shown.values()]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: list[Notebook] = []
    monkeypatch.setattr(outlets, "time", SimpleNamespace(monotonic=lambda: made[-1].now))

    def make(**options: Any) -> Notebook:
        made.append(Notebook(**options))
        return made[-1]

    return make


def test_lines_of_two_tasks_are_not_mixed(notebook: Any) -> None:
    shown = notebook()
    shown.take("a1 \x1b[31mred", "a", prefix="[a] ")
    shown.take("b1\n", "b", prefix="[b] ")
    shown.take("still\x1b[0m\n", "a", prefix="[a] ")
    assert shown.streams["stdout"] == (
        "[a] a1 \x1b[31mred\n\x1b[0m[b] b1\n\x1b[31m[a] still\x1b[0m\n"
    )


def test_a_bar_stays_where_it_is_and_plain_lines_go_on(notebook: Any) -> None:
    shown = notebook()
    shown.take("before\n\r 10 %")
    shown.take("\r100 %\nafter\n")
    shown.pass_time(1)
    assert shown.streams["stdout"] == "before\nafter\n"
    assert shown.texts() == ["100 %"]
    shown.take("\r second\n")
    shown.pass_time(1)
    assert shown.texts() == ["100 %\n second"]


def test_many_updates_are_few_messages(notebook: Any) -> None:
    shown = notebook()
    for i in range(1000):
        shown.take(f"\r{i}")
        shown.now += 0.001
        shown.outlet.tick(shown.now)
    assert shown.messages <= 12
    shown.outlet.settle()
    assert shown.texts() == ["999"]


def test_in_a_terminal_bars_are_printed_when_they_are_over(notebook: Any) -> None:
    shown = notebook(rich=False)
    for i in range(5):
        shown.take(f"\r{i} of 4", prefix="(f) ")
    assert shown.streams["stdout"] == ""
    shown.take("\n")
    shown.take("next\n", prefix="(f) ")
    shown.take("\rhalf", "other", "stderr")
    shown.outlet.settle()
    shown.outlet.settle()
    assert shown.streams == {"stdout": "(f) 4 of 4\n(f) next\n", "stderr": "half\n"}


def test_a_flood_is_counted_and_its_end_is_shown(notebook: Any) -> None:
    shown = notebook(lines=Rate(20, 1, 1000))
    for i in range(100):
        shown.take(f"line {i}\n")
    shown.take("of another\n", "other")
    assert "of another\n" in shown.streams["stdout"]
    shown.pass_time(0.5)
    lines = shown.streams["stdout"].splitlines()
    assert lines[:10] == [f"line {i}" for i in range(10)]
    assert lines[11] == (
        "… 70 lines (0.6 kB) left out; the whole is in /logs/7 while the runtime runs …"
    )
    assert lines[12:] == [f"line {i}" for i in range(80, 100)]
    assert not shown.outlet.tick(shown.now), "nothing waits"


def test_what_the_worker_left_out_counts_too(notebook: Any) -> None:
    shown = notebook()
    counts = {"stream": "stdout", "lines": 5000, "bytes": 50_000}
    shown.take("first\n")
    shown.outlet.take(TaskOutput("t", "cell", "left_out", "", counts, None, "f", 7), "")
    shown.take("last\n")
    shown.pass_time(1)
    first, notice, last = shown.streams["stdout"].splitlines()
    assert (first, last) == ("first", "last") and notice.startswith("… 5,000 lines (50.0 kB)")


def test_when_all_is_spent_one_place_shows_the_end(notebook: Any) -> None:
    shown = notebook(lines=Rate(20, 20, 40))
    for i in range(400):
        shown.take(f"line {i}\n")
        shown.pass_time(0.1)
    shown.pass_time(1)
    (tail,) = shown.texts()
    assert tail.splitlines()[-1] == "line 399" and len(tail.splitlines()) <= 21
    assert shown.messages < 60
    before = shown.messages
    shown.pass_time(10)
    assert shown.messages <= before + 1, "nothing is said again"


def test_displays_are_limited_and_the_last_is_shown(notebook: Any) -> None:
    shown = notebook(displays=Rate(3, 0, 5))
    for i in range(10):
        shown.show({"text/plain": str(i)})
    shown.pass_time(1)
    assert shown.texts() == ["0", "1", "2", "9"]
    assert shown.streams["stdout"] == "… 6 displays left out …\n"


def test_clearing_takes_back_one_s_own(notebook: Any) -> None:
    shown = notebook()
    shown.show({"text/plain": "other"}, task="o")
    for i in range(3):
        shown.show(clear="wait")
        shown.take(f"step {i}\n")
        shown.show({"text/plain": f"figure {i}"})
        if i < 2:
            shown.show({"text/plain": "more"})
        shown.pass_time(1)
    assert [text for text in shown.texts() if text] == ["other", "step 2", "figure 2"]
    shown.show(clear="now")
    shown.pass_time(1)
    assert [text for text in shown.texts() if text] == ["other"]


def test_clearing_after_the_first_figure(notebook: Any) -> None:
    shown = notebook()
    shown.show({"text/plain": "other"}, task="o")
    for i in range(3):
        shown.show({"text/plain": f"figure {i}"})
        shown.show(clear="wait")
        shown.pass_time(1)
    shown.show({"text/plain": "last"})
    shown.pass_time(1)
    assert [text for text in shown.texts() if text] == ["other", "last"]


def test_a_screen_is_bounded() -> None:
    screen = Screen()
    screen.feed("\r" + "x" * 10_000 + "\r\x1b[5000C!\n" * 1000 + "\x1b[9999A\x1b[")
    assert len(screen.rows) <= ROWS and max(map(len, screen.rows)) <= COLUMNS + 1
    screen.feed("2K" * 3)


@example(["\x1b", "\x1b", "0"])
@example(["\x1b\n", "0"])
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(st.sampled_from("ab\n\r\b\x1b[0123;?mAKJGHfCD ]\x07"), max_size=30)))
def test_any_output_can_be_shown(pieces: list[str]) -> None:
    """And cut anywhere it gives the same."""
    one, many = Screen(), Screen()
    one.feed("".join(pieces))
    for piece in pieces:
        many.feed(piece)
    if not re.search(r"\x1b(\]|$)", "".join(pieces)):
        assert one.lines() == many.lines()
    shown = Notebook()
    for i, piece in enumerate(pieces):
        shown.take(piece, f"t{i % 3}", prefix=f"[{i % 3}] ")
    shown.outlet.settle()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xy\n", max_size=8))))
def test_plain_text_is_complete_and_in_order(writes: list[tuple[str, str]]) -> None:
    shown = Notebook()
    for task, text in writes:
        shown.take(text, task, prefix=f"[{task}]")
    for task in "abc":
        wanted = "".join(text for t, text in writes if t == task)
        lines = re.findall(rf"^\[{task}\](.*)$", shown.streams["stdout"], re.M)
        assert "".join(lines) == wanted.replace("\n", "")


def test_a_router_ends_its_thread() -> None:
    router = Router(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    outlet = SimpleNamespace(tick=lambda now: True, settle=lambda: None)
    router.tend(outlet)  # type: ignore[arg-type]
    thread = router._thread
    router.close()
    assert thread is not None and not thread.is_alive()
