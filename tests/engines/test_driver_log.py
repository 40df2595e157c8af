"""OBS.1-3, 14: how a driver shows output: prefix, colour, lines that are alike."""

from __future__ import annotations

import io
import os
import re
import signal
import sys

import pytest

from fanlight.driver_log import DriverLog
from fanlight.task_output import TaskOutput
from tests.engines.support import line, needs, poll


class Shown:
    """A log whose time the test moves, and what it has shown."""

    def __init__(self, **environ: str) -> None:
        self.now = 100.0
        self.out: list[str] = []
        self.err: list[str] = []
        self.calls: list[tuple[float, object]] = []
        self.log = DriverLog(
            environ=environ, clock=lambda: self.now, later=self._later, write=self._write
        )

    def _write(self, stream, text):
        (self.out if stream == "stdout" else self.err).extend(text.splitlines())

    def _later(self, seconds, call):
        entry = (self.now + seconds, call)
        self.calls.append(entry)
        return lambda: self.calls.remove(entry)

    def pass_time(self, seconds):
        end = self.now + seconds
        while due := [c for c in self.calls if c[0] <= end]:
            entry = min(due, key=lambda c: c[0])
            self.calls.remove(entry)
            self.now = max(self.now, entry[0])
            entry[1]()
        self.now = end

    def print(self, pid, text, stream="stdout", name="f"):
        self.log.output(TaskOutput("", "", stream, text + "\n", None, None, name, pid))


@line("OBS.3")
def test_the_same_line_from_several_processes():
    shown = Shown()
    for pid in (1, 2, 3, 4):
        shown.print(pid, f"step {pid * 10} of 0x{pid:x}")
    assert shown.out == ["(f pid=1) step 10 of 0x1"], "the first at once"
    shown.pass_time(4.9)
    assert len(shown.out) == 1
    shown.pass_time(0.2)
    assert len(shown.out) == 2 and not shown.calls
    assert shown.out[1].startswith("(f pid=4) step 40 of 0x4 [repeated 3x across cluster]")
    assert "FANLIGHT_DEDUP_LOGS=0" in shown.out[1], "explained once"
    for pid in (1, 2, 3):
        shown.print(pid, "again 1")
    shown.pass_time(6)
    assert shown.out[2:] == ["(f pid=1) again 1", "(f pid=3) again 1 [repeated 2x across cluster]"]


@line("OBS.3")
def test_one_process_may_repeat_itself():
    shown = Shown()
    for i in range(5):
        shown.print(1, f"step {i}")
    assert [x[-1] for x in shown.out] == list("01234") and not shown.calls


@line("OBS.3")
def test_a_single_repetition_is_shown_as_it_is():
    shown = Shown()
    shown.print(1, "hello 1")
    shown.print(2, "hello 2")
    shown.pass_time(6)
    assert shown.out == ["(f pid=1) hello 1", "(f pid=2) hello 2"], "nothing is lost"


@line("OBS.3")
def test_streams_and_windows_are_apart():
    shown = Shown()
    shown.print(1, "x")
    shown.print(2, "x", "stderr")
    assert (len(shown.out), len(shown.err)) == (1, 1)
    shown.pass_time(5.1)
    shown.print(3, "x")
    assert len(shown.out) == 2 and not shown.calls, "a new window: shown at once"


@line("OBS.3")
def test_what_is_held_back_is_shown_at_the_end():
    shown = Shown()
    for pid in range(4):
        shown.print(pid, "x")
    shown.log.close()
    assert len(shown.out) == 2 and "3x" in shown.out[1] and not shown.calls
    shown.print(9, "x")
    assert shown.out[-1] == "(f pid=9) x", "what still comes is shown"


@line("OBS.3")
@pytest.mark.parametrize("prefix", ["RAY", "FANLIGHT"])
def test_environment_variables(prefix):
    shown = Shown(**{f"{prefix}_DEDUP_LOGS": "0"})
    for pid in range(4):
        shown.print(pid, "x")
    assert len(shown.out) == 4
    shown = Shown(**{f"{prefix}_DEDUP_LOGS_ALLOW_REGEX": "^loss"})
    for pid in range(3):
        shown.print(pid, "loss 1")
        shown.print(pid, "other")
    assert [x.split()[2] for x in shown.out] == ["loss", "other", "loss", "loss"]
    shown = Shown(**{f"{prefix}_DEDUP_LOGS_SKIP_REGEX": "Warning"})
    shown.print(1, "A Warning: no\nbut this")
    assert shown.out == ["(f pid=1) but this"]
    shown = Shown(**{f"{prefix}_DEDUP_LOGS_AGG_WINDOW_S": "1"})
    shown.print(1, "x")
    shown.print(2, "x")
    shown.pass_time(1.1)
    assert len(shown.out) == 2
    with pytest.raises(ValueError, match="DEDUP_LOGS_SKIP_REGEX"):
        Shown(**{f"{prefix}_DEDUP_LOGS_SKIP_REGEX": "("})


@line("OBS.3")
def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("fanlight.driver_log._PATTERNS", 10)
    shown = Shown()
    letters = [a + b for a in "abcdefgh" for b in "abcdefgh"]
    for text in letters:
        shown.print(1, text)
        shown.print(2, text)
        shown.print(3, text)
    assert len(shown.log._lines) == 10
    shown.log.close()
    assert len(shown.out) == 2 * len(letters), "what was forgotten was shown before"


def test_notices_are_shortened_too():
    shown = Shown()
    for pid in (11, 22, 33):
        shown.log.notice(f"The worker {pid} died.")
    shown.pass_time(6)
    assert shown.err[0] == "(fanlight) The worker 11 died."
    assert shown.err[1].startswith("(fanlight) The worker 33 died. [repeated 2x across cluster]")


@line("OBS.2")
def test_colours(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def prefix(**environ):
        shown = Shown(**environ)
        shown.print(1, "x")
        return shown.out[0]

    assert prefix() == "(f pid=1) x", "a file has none"
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert prefix() == "\033[36m(f pid=1)\033[0m x"
    assert prefix(RAY_COLOR_PREFIX="0") == prefix(NO_COLOR="") == "(f pid=1) x"
    assert prefix(RAY_COLOR_PREFIX="1") == "\033[35m(f pid=1)\033[0m x"


def test_lines_of_all_kinds():
    shown = Shown()
    shown.print(1, "a\rb\r\nc\n\nd")
    assert [x.split(") ")[1] for x in shown.out] == ["b", "c", "", "d"]
    item = TaskOutput("", "", "display", "", {"text/plain": "table"}, {}, "", 5)
    shown.log.output(item)
    shown.log.output(item._replace(pid=6))
    assert shown.out[-2:] == ["(worker pid=5) table", "(worker pid=6) table"]


# --- with a runtime ------------------------------------------------------------------------------


@line("OBS.3")
@needs("processes")
def test_in_a_driver(script):
    done = script(
        """
        import os, time
        @fanlight.remote
        class Speaker:
            def speak(self, i):
                print("number", i)
        speakers = [Speaker.remote() for _ in range(3)]
        fanlight.get([s.speak.remote(i) for i, s in enumerate(speakers)])
        fanlight.shutdown()
        print("the end")
        """
    )
    first, second, end = done.stdout.splitlines()
    assert re.match(r"\(Speaker pid=\d+\) number \d$", first), done.stdout
    assert re.match(r"\(Speaker pid=\d+\) number \d \[repeated 2x across cluster\]", second)
    assert end == "the end", "shown before shutdown() returns"


@line("OBS.14", "FLT.5")
@needs("processes")
def test_the_death_of_a_worker_is_told(rt, capfd):
    @rt.remote(max_retries=1)
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(rt.exceptions.WorkerCrashedError):
        rt.get(dies.remote())
    seen = []
    assert poll(lambda: seen.append(capfd.readouterr().err) or "Worker ID" in "".join(seen))
    text = "".join(seen)
    assert re.search(r"\(fanlight\) A worker died .*dies.*Worker ID: [0-9a-f]{56}.*pid: \d+", text)
    assert "SYSTEM_ERROR" in text and "SIGKILL" in text
    assert "There are 0 retries remaining" in text


@line("FLT.5")
def test_a_retried_exception_is_told(rt, capfd, tmp_path, eventually):
    @rt.remote(retry_exceptions=True, max_retries=3)
    def second(path):
        with open(path, "a") as f:
            f.write("x")
        if os.path.getsize(path) < 2:
            raise ValueError("not yet")

    rt.get(second.remote(str(tmp_path / "tries")))
    seen = []
    eventually(
        lambda: seen.append(capfd.readouterr().err) or "There are 2 retries" in "".join(seen)
    )
    assert "ValueError: not yet" in "".join(seen)


def bar(shown, text, task="t1", stream="stderr"):
    shown.log.output(TaskOutput(task, "", stream, text, None, None, "f", 1))


def test_a_progress_bar_is_shown_now_and_then_and_as_it_ends():
    shown = Shown()
    for percent in range(0, 100, 10):
        bar(shown, f"\r{percent} % ")
        shown.now += 0.1
    assert shown.err == ["(f pid=1) 0 % "], "the first at once, the others wait"
    shown.pass_time(5)
    assert shown.err == ["(f pid=1) 0 % ", "(f pid=1) 90 % "]
    bar(shown, "\r95 % \r100 %\n")
    assert shown.err[2:] == ["(f pid=1) 100 %"]
    shown.pass_time(20)
    assert len(shown.err) == 3 and not shown.calls


def test_a_bar_without_an_end_is_not_lost():
    shown = Shown()
    bar(shown, "\r1 of 2")
    bar(shown, "\r2 of 2")
    shown.log.close()
    assert shown.err[-1] == "(f pid=1) 2 of 2"


def test_what_was_left_out_of_a_flood_is_said():
    shown = Shown()
    counts = {"stream": "stdout", "lines": 1000, "bytes": 123_456}
    shown.log.output(TaskOutput("t", "cell", "left_out", "", counts, None, "f", 1))
    assert shown.out == ["(f pid=1) … 1,000 lines (0.1 MB) left out …"]


def test_counts_of_notices_go_where_the_notice_went(monkeypatch):
    """Of a cell that is over, they must not be written under the next one."""
    shown = Shown()
    under: dict[str, list[str]] = {"a": [], "b": []}
    running = ["a"]

    def places(origin):
        cell = origin or running[0]
        return lambda stream, text: under[cell].append(text)

    monkeypatch.setattr("fanlight.driver_log.places", places)
    for _ in range(3):
        shown.log.notice("full")
    shown.log.notice("it failed", "failed", "b")
    running[0] = "b"
    shown.pass_time(6)
    assert len(under["a"]) == 2 and "[repeated 2x" in under["a"][1]
    assert under["b"] == ["(fanlight) it failed\n"] and not shown.err
