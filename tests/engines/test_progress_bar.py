"""``fanlight.progress`` and ``fanlight.as_completed``: results as they complete."""

from __future__ import annotations

import io
from concurrent.futures import Future
from typing import Any

import pytest

import fanlight
from fanlight import progress_bar
from fanlight.progress_bar import Line, Tally
from tests.engines.support import needs


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        super().isatty()  # raises when it is closed
        return True


class Recorder:
    """A display that keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[Tally] = []
        self.closed: list[Tally] = []

    def __call__(self, progress: Any) -> Recorder:
        return self

    def update(self, tally: Tally) -> None:
        self.seen.append(tally)

    def close(self, tally: Tally) -> None:
        self.closed.append(tally)


@pytest.fixture
def display():
    recorder = Recorder()
    restore = progress_bar.set_display(recorder)
    yield recorder
    restore()


@pytest.fixture
def odd(rt):
    @rt.remote(max_retries=0)
    def odd(i):
        if i % 2 == 0:
            raise ValueError(f"{i} is even")
        return i

    return odd


def test_all_values_come(rt, display):
    square = rt.remote(lambda x: x * x)
    refs = [square.remote(i) for i in range(30)]
    assert sorted(rt.as_completed(refs)) == [i * i for i in range(30)]
    assert set(rt.as_completed(refs, yield_refs=True)) == set(refs)
    assert sorted(rt.progress(refs)) == [i * i for i in range(30)]
    assert list(rt.progress(refs, ordered=True)) == [i * i for i in range(30)]
    assert set(rt.progress(refs, yield_refs=True)) == set(refs)
    assert list(rt.progress([])) == list(rt.as_completed([])) == []
    assert len(rt.progress(refs)) == 30
    assert [(t.total, t.ended, t.stopped) for t in display.closed[:1]] == [(30, 30, True)]


@needs("background")
def test_what_is_ready_comes_first(rt, tmp_path, wait_for, note, display):
    gate = str(tmp_path / "gate")

    @rt.remote
    def late():
        wait_for(gate)
        return "late"

    @rt.remote
    def early(i):
        return i

    refs = [late.remote(), *[early.remote(i) for i in range(9)]]
    for give in (rt.as_completed, rt.progress):
        values = give(refs) if give is rt.as_completed else iter(give(refs))
        first = [next(values) for _ in range(9)]
        assert sorted(first) == list(range(9))
        if give is rt.progress:
            note(gate)
            assert list(values) == ["late"]
    assert next(iter(rt.progress(refs, ordered=True))) == "late"


@needs("background")
def test_the_time_may_be_limited(rt, never):
    quick = rt.remote(lambda: 1)
    values = rt.as_completed([quick.remote(), never()], timeout=60)
    assert next(values) == 1
    values = rt.as_completed([never()], timeout=0.01)
    with pytest.raises(rt.exceptions.GetTimeoutError, match="1 of the refs"):
        next(values)


def test_failures_are_counted(rt, odd, display):
    refs = [odd.remote(i) for i in range(5)]
    assert sorted(rt.progress(refs, on_error="skip")) == [1, 3]
    last = display.closed[-1]
    assert (last.total, last.done, last.failed, last.cancelled) == (5, 2, 3, 0)
    given = list(rt.progress(refs, on_error="give", ordered=True))
    assert [str(v.cause) if isinstance(v, Exception) else v for v in given] == [
        "0 is even", 1, "2 is even", 3, "4 is even",
    ]  # fmt: skip
    shown = rt.progress(refs, ordered=True)
    with pytest.raises(ValueError, match="0 is even"):
        list(shown)
    with pytest.raises(ValueError, match="2 is even"):
        list(shown)  # goes on with what is left
    assert sorted(rt.progress(refs, on_error="skip", yield_refs=True), key=refs.index) == refs


def test_leaving_the_loop_ends_the_display(rt, display):
    square = rt.remote(lambda x: x * x)
    for _ in rt.progress([square.remote(i) for i in range(4)]):
        break
    assert len(display.closed) == 1


@needs("background")
def test_cancel(rt, never, display):
    shown = rt.progress([never() for _ in range(3)], on_error="skip")
    assert shown.cancel() == 3
    assert list(shown) == []
    assert display.closed[-1].cancelled == 3
    assert shown.cancel() == 0


@needs("background")
def test_futures_too(rt):
    square = rt.remote(lambda x: x * x)
    done: Future[int] = Future()
    done.set_result(100)
    mixed = [done, square.remote(2), square.remote(3).future()]
    assert sorted(rt.as_completed(mixed)) == [4, 9, 100]
    assert list(rt.progress(mixed, ordered=True)) == [100, 4, 9]


def test_what_is_refused(rt):
    ref = rt.put(1)
    for call in (rt.progress, rt.as_completed):
        with pytest.raises(TypeError, match="takes several ObjectRefs"):
            call(ref)
        with pytest.raises(TypeError, match="not a int"):
            call([ref, 3])
        with pytest.raises(ValueError, match="each ObjectRef once"):
            call([ref, ref])
    with pytest.raises(ValueError, match="on_error"):
        rt.progress([ref], on_error="ignore")


def test_a_terminal_has_one_line(rt, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    square = rt.remote(lambda x: x * x)
    list(rt.progress([square.remote(i) for i in range(5)], "squares"))
    text = terminal.getvalue()
    assert text.count("\n") == 1
    assert text.rsplit("\r", 1)[1].startswith("\x1b[Ksquares: 5 done, ")
    assert "━" in text or "─" in text


def test_elsewhere_only_the_last_line(rt, monkeypatch):
    plain = io.StringIO()
    monkeypatch.setattr("sys.stderr", plain)
    square = rt.remote(lambda x: x * x)
    list(rt.progress([square.remote(i) for i in range(5)]))
    assert plain.getvalue().startswith("5 done, ")
    assert plain.getvalue().count("\n") == 1


def test_a_line_needs_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert not Line(Terminal()).live
    monkeypatch.setenv("TERM", "xterm")
    line = Line(Terminal())
    assert line.live
    line.draw("x" * 500)
    assert line.stream.getvalue().count("x") == 79  # a line that wraps cannot be replaced
    ascii_only = Terminal()
    ascii_only.encoding = "ascii"
    assert Line(ascii_only).bar(0.5) == "#" * 12 + "-" * 12
    closed = Terminal()
    closed.close()
    assert not Line(closed).live
    assert not Line(None).live  # pythonw has no stderr


def test_names(rt):
    assert fanlight.progress is progress_bar.progress
    assert fanlight.as_completed is progress_bar.as_completed
    assert fanlight.util.as_completed is not fanlight.as_completed  # Ray's, in chunks
