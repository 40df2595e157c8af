"""Recording a runtime: what is in the file, how it ends, what it costs others."""

from __future__ import annotations

import base64
import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fanlight
from fanlight import recordings, standalone
from fanlight.core.timeline import RECORD
from fanlight.events import Ended
from fanlight.observe import recorder as recorders
from fanlight.observe.fold import Fold
from fanlight.observe.recorder import Recorder
from fanlight.observe.recording import Recording, RecordingError, Writer
from tests.labextension.fake_node import Simulation
from tests.observe.scripted import ScriptedFeed, record_simulation


def test_events_come_back_in_order_and_whole(tmp_path: Path) -> None:
    found = record_simulation(tmp_path / "a.fanlight", title="A run")
    events = [msgspec.json.decode(payload) for payload in found.payloads()]
    assert events[0]["type"] == "snapshot"
    deltas = [e for e in events if e["type"] == "delta"]
    assert [d["seq"] for d in deltas] == list(range(1, len(deltas) + 1))
    simulation = Simulation()
    tasks: dict[str, Any] = {}
    while not simulation.done:
        tasks.update((t.id, msgspec.to_builtins(t)) for t in simulation.step().tasks)
    replayed: dict[str, Any] = {}
    for delta in deltas:
        replayed.update((t["id"], t) for t in delta["tasks"])
    assert replayed == tasks
    assert found.whole and found.end["reason"] == "stopped"
    assert found.head["title"] == "A run"


def test_playing_can_begin_at_every_keyframe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "KEY_DELTAS", 5)
    monkeypatch.setattr(recorders, "FLUSH_SECONDS", 0.0)
    found = record_simulation(tmp_path / "a.fanlight")
    keys = 0
    fold: Fold | None = None
    for payload in found.payloads():
        event = msgspec.json.decode(payload)
        if event["type"] == "delta":
            assert fold is not None
            fold.delta(event)
            continue
        if fold is not None:
            keys += 1
            assert event["seq"] == fold.seq
            assert {**event, "type": 0} == {**fold.snapshot(), "type": 0}
        fold = Fold(event)
    assert keys >= 3


def test_a_full_file_ends_the_recording_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "FLUSH_SECONDS", 0.0)
    feed, simulation, ended = ScriptedFeed(), Simulation(), threading.Event()
    active: list[bool] = []

    def told(recorder: Recorder) -> None:
        active.append(recorder.active)
        ended.set()

    recorder = Recorder(feed, tmp_path / "a.fanlight", limit=1_000, on_end=told)
    feed.say(simulation.snapshot())
    for _ in range(30):
        feed.say(simulation.step())
    assert ended.wait(30) and feed.closed
    assert active == [False]  # who is told finds it ended
    recorder.stop()  # nothing is left to do, and nothing went wrong
    assert recorder.reason == "The recording reached its limit of 1.0 kB."
    found = Recording(recorder.path)
    assert found.whole and found.end["reason"] == recorder.reason


def test_a_full_disk_is_told_and_the_runtime_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Writer, data: bytes) -> None:
        if self.size > 1_000:
            raise OSError(28, "No space left on device")
        appended(self, data)

    appended = Writer._append
    monkeypatch.setattr(Writer, "_append", full)
    feed, simulation, ended = ScriptedFeed(), Simulation(), threading.Event()
    recorder = Recorder(feed, tmp_path / "a.fanlight", on_end=lambda _: ended.set())
    feed.say(simulation.snapshot())
    for _ in range(30):
        feed.say(simulation.step())
    feed.say(Ended("over"))
    assert ended.wait(30) and feed.closed
    with pytest.raises(OSError, match="the disk is full"):
        recorder.stop()
    assert Recording(recorder.path).lost == 0


def test_what_is_not_understood_ends_it_with_a_reason(tmp_path: Path) -> None:
    feed = ScriptedFeed()
    recorder = Recorder(feed, tmp_path / "a.fanlight")
    feed.say(Simulation().snapshot())
    feed.given.put(b"neither")
    recorder._thread.join(30)
    assert "failed" in Recording(recorder.path).end["reason"]


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no directory"):
        fanlight.record(tmp_path / "nowhere" / "a")
    with pytest.raises(IsADirectoryError):
        (tmp_path / "b.fanlight").mkdir()
        fanlight.record(tmp_path / "b")
    with pytest.raises(ValueError, match="65536"):
        fanlight.record(tmp_path / "c", limit=10)
    with pytest.raises(ConnectionError, match="nobody"):
        fanlight.record(tmp_path / "d", address="nobody")
    assert not (tmp_path / "d.fanlight").exists()


def test_they_end_with_their_runtime_which_keeps_none_that_are_over(tmp_path: Path) -> None:
    fanlight.init(num_cpus=1, engine="inproc")
    try:
        at_end = fanlight.session.require().at_end
        one = fanlight.record(tmp_path / "one")
        endings = len(at_end)
        one.stop()
        for i in range(3):
            fanlight.record(tmp_path / str(i)).stop()
        last = [fanlight.record(tmp_path / name) for name in ("a", "b")]
        assert len(at_end) == endings
    finally:
        fanlight.shutdown()
    assert [r.reason for r in last] == ["the runtime ended"] * 2
    assert recordings._own == []


def test_a_real_runtime(tmp_path: Path, no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans, errors and counts are there; its end ends the recording, too."""

    @fanlight.remote
    def add(a: int, b: int) -> int:
        if b == 7:
            print("seven <i>is</i> printed")
        return a + b

    @fanlight.remote
    def fail() -> None:
        raise ValueError("no <b>luck</b>")

    monkeypatch.setattr(recorders, "_LAST_EVENTS", 60.0)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    fanlight.init(num_cpus=2, log_to_driver=False)
    try:
        whole = fanlight.record(tmp_path / "whole")
        large = fanlight.put(bytes(3_000_000))
        fanlight.get([add.remote(1, i) for i in range(40)])
        with fanlight.record(tmp_path / "late") as late:
            with pytest.raises(ValueError):
                fanlight.get(fail.remote())
            with pytest.raises(FileExistsError, match="recorded just now"):
                fanlight.record(tmp_path / "late.fanlight")
        assert recordings.active() == [whole]
        fanlight.get(add.remote(1, 2))
        del large
    finally:
        fanlight.shutdown()
    assert not whole.active and recordings.active() == []
    found = fanlight.replay(tmp_path / "whole")
    assert found.counts == {"FINISHED": 41, "FAILED": 1}
    assert found.recording.whole
    records = b""
    for part in found.recording.parts:
        if part.kind == "spans":
            line, _, packed = found.recording.body(part).partition(b"\n")
            page = msgspec.json.decode(line)
            assert (page["record"], page["from"]) == (RECORD, len(records) // RECORD)
            records += packed
    assert len(records) // RECORD == 42
    other = fanlight.replay(late.path)
    asked: dict[str, Any] = {"logs": [], "objects": []}
    for part in other.recording.parts:
        if part.kind == "answers":
            row = msgspec.json.decode(other.recording.body(part))
            asked[row["query"]["what"]].append(row["data"])
    [line] = [x for data in asked["logs"] for x in data["lines"] if "seven" in x["text"]]
    assert line["text"] == "seven <i>is</i> printed" and line["name"].endswith("add")
    assert [r["type"] for r in asked["objects"][-1]["rows"]] == ["bytes"]
    assert other.counts == {"FINISHED": 40, "FAILED": 1}
    snapshot, *_ = map(msgspec.json.decode, other.recording.payloads())
    assert sum(g["counts"]["FINISHED"] for g in snapshot["groups"]) == 40
    assert "1 failed" in repr(other)
    deadline = time.monotonic() + 60
    while threading.active_count() > threads or len(os.listdir("/proc/self/fd")) > files:
        assert time.monotonic() < deadline, (threading.enumerate(), os.listdir("/proc/self/fd"))
        time.sleep(0.02)


def test_a_file_that_was_recorded_before_is_read(tmp_path: Path) -> None:
    """The one that the front end's tests play; `python -m tests.observe.scripted` made it."""
    path = Path(__file__).parents[1] / "labextension" / "jest" / "recorded" / "simulated.fanlight"
    found = fanlight.replay(path)
    assert found.recording.whole
    assert found.counts == {"FINISHED": 140, "FAILED": 2}
    assert repr(found) == "Recording simulated.fanlight: 25.7 s, 140 finished, 2 failed."


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the panel's scripts, which are not built for these tests."""
    monkeypatch.setattr(standalone, "text", lambda name: f"/* {name} </script> */")
    monkeypatch.setattr(standalone, "charts", lambda: b"")


def test_a_page_holds_the_recording_and_nothing_escapes(tmp_path: Path, scripts: None) -> None:
    record_simulation(tmp_path / "a.fanlight", title="</title><script>alert(1)</script>")
    with (tmp_path / "a.fanlight").open("ab") as f:
        f.write(b"PART: the recorder was killed here")
    page = fanlight.export_html(tmp_path / "a")
    assert page == tmp_path / "a.html"
    text = page.read_text("utf-8")
    assert "alert(1)</script>" not in text and "&lt;/title&gt;" in text
    held = text.partition('id="fanlight-blob">')[2].partition("<")[0]
    (tmp_path / "b.fanlight").write_bytes(base64.b64decode(held))
    assert Recording(tmp_path / "b.fanlight").whole  # without what is of no use
    assert fanlight.replay(page.with_suffix(".fanlight")).to_html(tmp_path) == page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fanlight", "a.html", "b.fanlight"]


def test_what_cannot_be_exported(
    tmp_path: Path, scripts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(tmp_path / "empty.fanlight").close()
    with pytest.raises(RecordingError, match="holds nothing to show"):
        fanlight.export_html(tmp_path / "empty.fanlight")
    with pytest.raises(FileNotFoundError):
        fanlight.export_html(tmp_path / "none")
    record_simulation(tmp_path / "a.fanlight")
    monkeypatch.setattr(recordings, "PAGE_LIMIT", 1_000)
    with pytest.raises(RecordingError, match="hand out the file itself"):
        fanlight.export_html(tmp_path / "a")
    assert not (tmp_path / "a.html").exists()
