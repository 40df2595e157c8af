"""What the panel shows of the workers' log files."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from fanlight.observe import logs
from fanlight.observe.logs import Logs
from fanlight.observe.questions import QueryLogs
from fanlight.worker.logfile import LogFile

A, B = "a" * 56, "b" * 56
T1, T2 = "11" * 24, "22" * 24
NAMES = {T1: {"name": "f", "origin": "cell-1"}, T2: {"name": "g", "origin": "cell-2"}}


class Session:
    """The log files of a session, and who reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "logs"
        self.folder.mkdir()
        self.files: dict[str, LogFile] = {}
        self.now = 5.0
        self.logs = Logs({"session_dir": str(folder)}, lambda: self.now)

    def write(self, text: str, task: str = "", worker: str = A, end: str = "out") -> None:
        name = f"worker-{worker}-77.{end}"
        file = self.files.setdefault(name, LogFile(str(self.folder / name)))
        file.write(bytes.fromhex(task), text.encode())

    def ask(self, **query: Any) -> dict[str, Any]:
        async def named(what: str, args: dict[str, Any]) -> Any:
            assert what == "named"
            return {task: NAMES[task] for task in args["ids"] if task in NAMES}

        return asyncio.run(self.logs.answer(QueryLogs(**query), named))

    def texts(self, **query: Any) -> list[str]:
        return [line["text"] for line in self.ask(**query)["lines"]]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_lines_with_their_tasks_and_what_comes_later(session: Session) -> None:
    session.write("one\ntwo\n", T1)
    session.write("oops\n", T2, B, "err")
    first = session.ask()
    assert first["reset"] and not first["more"]
    line = next(x for x in first["lines"] if x["text"] == "oops")
    assert (line["worker"], line["pid"], line["stream"], line["task"]) == (B, 77, "err", T2)
    assert (line["name"], line["origin"], line["time"]) == ("g", "cell-2", 0.0)
    assert session.ask(after=first["cursor"])["lines"] == []
    session.write("three\nnot yet", T1)
    later = session.ask(after=first["cursor"])
    assert [(x["text"], x["task"], x["time"]) for x in later["lines"]] == [("three", T1, 5.0)]
    assert not later["reset"]
    session.write(" whole\n", T1)
    assert session.texts(after=later["cursor"]) == ["not yet whole"]
    # A cursor of another server begins anew.
    assert session.ask(after=10**9)["reset"]
    assert len(session.texts(after=10**9)) == 5
    session.now = 6.0
    session.logs = Logs({"session_dir": str(session.folder.parent)}, lambda: session.now)
    assert session.ask(after=later["cursor"])["reset"]


def test_of_one_worker_task_or_cell_and_what_matches(session: Session) -> None:
    for i in range(5):
        session.write(f"Loss {i}\n", T1)
        session.write(f"other {i}\n", T2, B)
    assert len(session.texts(worker=A)) == 5
    assert session.texts(cell="cell-2") == [f"other {i}" for i in range(5)]
    assert session.texts(search="LOSS 3") == ["Loss 3"]
    assert session.ask(search="nothing like it")["note"] == "No line matches."
    found = session.ask(worker=B, limit=2)
    assert [x["text"] for x in found["lines"]] == ["other 3", "other 4"] and found["more"]
    assert session.texts(task=T1) == [f"Loss {i}" for i in range(5)]


def test_what_a_task_printed_long_ago(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KEPT", 10)
    session.write("its line\nanother\n", T1)
    for i in range(50):
        session.write(f"noise {i}\n", T2)
    session.write("once more\n", T1)
    assert len(session.texts()) == 10
    assert session.texts(task=T1) == ["its line", "another", "once more"]
    assert session.texts(task=T1, search="another") == ["another"]
    assert session.texts(task="33" * 24) == []


def test_rotated_deleted_and_odd_files(session: Session) -> None:
    session.write("before\n", T1)
    cursor = session.ask()["cursor"]
    path = session.folder / f"worker-{A}-77.out"
    path.rename(str(path) + ".1")
    session.files.clear()
    session.write("after\n", T2)
    found = session.ask(after=cursor)
    assert [(x["text"], x["task"]) for x in found["lines"]] == [("after", T2)]
    assert session.texts(task=T1) == ["before"]  # in the older part
    (session.folder / f"worker-{B}-78.out").write_bytes(b"\xff\xfe\x00 <b>\r\n\x1ebad mark\nx\n")
    (session.folder / "worker-3.log").write_bytes(b"segfault\n")
    (session.folder / "notes.txt").write_text("not a log\n")
    found = session.ask(after=found["cursor"])
    assert {(x["text"], x["stream"]) for x in found["lines"]} == {
        ("\ufffd\ufffd\x00 <b>", "out"), ("x", "out"), ("segfault", "log"),
    }  # fmt: skip
    path.unlink()
    assert session.ask(after=found["cursor"])["lines"] == []


def test_floods_are_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_END", 1000)
    monkeypatch.setattr(logs, "_AT_ONCE", 1000)
    session.write("".join(f"line {i}\n" for i in range(1000)), T1)
    first = session.ask()
    assert 50 < len(first["lines"]) < 130 and first["lines"][-1]["text"] == "line 999"
    session.write("".join(f"more {i}\n" for i in range(1000)), T1)
    later = session.ask(after=first["cursor"])
    assert later["lines"][-1]["text"] == "more 999" and len(later["lines"]) < 130
    session.write("y" * 50_000 + "\n", T1)
    assert max(len(x["text"]) for x in session.ask()["lines"]) <= logs.LINE + 1
    monkeypatch.setattr(logs, "KEPT_BYTES", 2000)
    session.write("z\n", T1)
    session.ask()
    assert len(session.logs._lines) < 12


def test_whose_lines_follow_what_was_skipped(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_END", 1000)
    monkeypatch.setattr(logs, "_AT_ONCE", 1000)
    monkeypatch.setattr(logs, "_CHUNK", 70)

    def flood(task: str) -> None:
        session.write("".join(f"line {i}\n" for i in range(500)), task)

    def whose(after: int) -> tuple[int, set[str]]:
        found = session.ask(after=after)
        return found["cursor"], {line["task"] for line in found["lines"]}

    flood(T1)
    cursor, tasks = whose(0)
    assert tasks == {T1}
    flood(T1)
    flood(T2)
    cursor, tasks = whose(cursor)
    assert tasks == {T2}
    flood(T2)  # its mark was read before
    cursor, tasks = whose(cursor)
    assert tasks == {T2}
    session.write("begun, ", T2)
    cursor, _ = whose(cursor)
    flood("")
    _, tasks = whose(cursor)
    assert tasks == {""}


def test_a_line_that_its_task_never_ended(session: Session) -> None:
    cursor = session.ask()["cursor"]
    session.write("loading ... ", T1)
    session.write("other\n", T2)
    session.write("50 %\r", T1)
    session.files[f"worker-{A}-77.out"].actor = b"\x33" * 16
    session.write("call\n", T2)
    found = session.ask(after=cursor)["lines"]
    assert [(x["text"], x["task"]) for x in found] == [
        ("loading ... ", T1), ("other", T2), ("50 %", T1), ("call", T2),
    ]  # fmt: skip
    assert session.texts(task=T1) == ["loading ... ", "50 %"]


@pytest.mark.parametrize("chunk", [1, 7, 49, 50, 51, 1000])
def test_the_last_mark_wherever_it_stands(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_CHUNK", chunk)
    first, last = (b"\x1e" + task.encode() + b"\n" for task in (T1, T2))
    data = first + b"a line\nno \x1e mark\n" + last + b"its line\nanother\n"
    at = data.index(last)

    def task(begin: int, end: int) -> str:
        return logs._last_task(io.BytesIO(data), begin, end, "before")

    assert task(0, len(data)) == task(at, len(data)) == T2
    assert task(0, at) == T1
    assert task(len(first), at) == task(at, at) == "before"


def test_without_files(tmp_path: Path) -> None:
    async def never(what: str, args: dict[str, Any]) -> Any:
        raise AssertionError

    for welcome in ({}, {"session_dir": str(tmp_path / "gone")}):
        found = asyncio.run(Logs(welcome).answer(QueryLogs(), never))
        assert (found["lines"], found["note"]) == ([], "This runtime keeps no log files.")
    (tmp_path / "logs").mkdir()
    found = asyncio.run(Logs({"session_dir": str(tmp_path)}).answer(QueryLogs(), never))
    assert found["note"] == "Nothing was printed."


def test_lines_that_come_while_names_are_asked_for_are_told_next_time(session: Session) -> None:
    session.write("one\n", T1)

    async def slow(what: str, args: dict[str, Any]) -> Any:
        session.write("two\n", T1)
        session.logs.look()  # another question, meanwhile
        return {}

    first = asyncio.run(session.logs.answer(QueryLogs(), slow))
    assert [line["text"] for line in first["lines"]] == ["one"]
    assert session.texts(after=first["cursor"]) == ["two"]


def test_questions_at_the_same_time_while_lines_come(session: Session) -> None:
    async def both() -> None:
        for turn in range(20):
            session.write("".join(f"{turn} {i}\n" for i in range(2_000)), T1)
            queries = [QueryLogs(search=text, limit=2_000) for text in ("9", "none", "7", "")]
            await asyncio.gather(*(session.logs.answer(q, nobody) for q in queries))

    async def nobody(what: str, args: dict[str, Any]) -> Any:
        return {}

    asyncio.run(both())
