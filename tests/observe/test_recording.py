"""The file of a recording: what is read of whole, cut, damaged, foreign and hostile files."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fanlight import events as ev
from fanlight.observe import recording
from fanlight.observe.fold import Fold
from fanlight.observe.recorder import merged
from fanlight.observe.recording import MAGIC, Recording, RecordingError, Writer
from tests.labextension.fake_node import Simulation


def write(path: Path, parts: int = 3) -> bytes:
    writer = Writer(path)
    for n in range(parts):
        writer.part("delta", b'{"n":%d}\n' % n * 50, n, n + 1, counts={"RUNNING": n})
    writer.close()
    return path.read_bytes()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.fanlight"
    write(file)
    found = Recording(file)
    assert [(p.kind, p.t0, p.t1, p.meta["counts"]) for p in found.parts] == [
        ("delta", n, n + 1, {"RUNNING": n}) for n in range(3)
    ]
    assert found.body(found.parts[2]) == b'{"n":2}\n' * 50
    assert (found.lost, found.seconds, found.whole) == (0, 3.0, False)


def test_a_file_cut_anywhere_is_good_up_to_its_last_whole_part(tmp_path: Path) -> None:
    file = tmp_path / "a.fanlight"
    data = write(file)
    ends = [16, *(p.offset + p.packed for p in Recording(file).parts)]
    for length in range(len(data)):
        file.write_bytes(data[:length])
        if length < 16:
            with pytest.raises(RecordingError, match=r"empty|cut short"):
                Recording(file)
            continue
        found = Recording(file)
        good = sum(end <= length for end in ends) - 1
        assert [p.t0 for p in found.parts] == list(range(good))
        assert found.lost == length - ends[good]


def test_a_changed_byte_costs_what_follows_and_nothing_before(tmp_path: Path) -> None:
    file = tmp_path / "a.fanlight"
    data = write(file)
    ends = [p.offset + p.packed for p in Recording(file).parts]
    rng = random.Random(5)
    for _ in range(300):
        at = rng.randrange(16, len(data))
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        assert len(Recording(file).parts) == sum(end <= at for end in ends)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "a.fanlight is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a recording of Fanlight"),
        (b'{"cells": []}', "not a recording"),
        (MAGIC.replace(b"\r\n", b"\n") + bytes(40), "copy it as a binary file"),
        (MAGIC.decode("latin1").encode() + bytes(40), "copy it as a binary file"),
        (MAGIC + b"\x02\x00\x00" + bytes(40), "made by a newer Fanlight .format 2"),
    ],
)
def test_files_of_others_are_named(tmp_path: Path, content: bytes, text: str) -> None:
    file = tmp_path / "a.fanlight"
    file.write_bytes(content)
    with pytest.raises(RecordingError, match=text):
        Recording(file)


def test_a_part_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.fanlight"
    file.write_bytes(recording._HEAD.pack(MAGIC, 1, 0))
    bomb, note = zlib.compress(bytes(10 << 20)), b'{"kind":"delta","t0":0,"t1":0}'
    sizes = recording._SIZES.pack(b"PART", len(note), len(bomb), 100)
    check = zlib.crc32(sizes + note + bomb).to_bytes(4, "little")
    with file.open("ab") as f:
        f.write(sizes + check + note + bomb)
    found = Recording(file)
    with pytest.raises(RecordingError, match="damaged"):
        found.body(found.parts[0])


def test_only_a_recording_is_replaced(tmp_path: Path) -> None:
    other = tmp_path / "thesis.fanlight"
    other.write_text("my thesis")
    with pytest.raises(FileExistsError, match="is no recording"):
        Writer(other)
    assert other.read_text() == "my thesis"
    write(tmp_path / "a.fanlight", 5)
    write(tmp_path / "a.fanlight", 1)
    assert len(Recording(tmp_path / "a.fanlight").parts) == 1
    with pytest.raises(FileExistsError):
        Writer(tmp_path / "a.fanlight", replace=False)


def test_no_half_part_stays_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.fanlight"
    writer = Writer(file)
    writer.part("delta", b"one", 0, 1)
    really = recording.os.write

    def half(fd: int, data: Any) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return really(fd, data[: len(data) // 2])

    monkeypatch.setattr(recording.os, "write", half)
    with pytest.raises(OSError, match="No space"):
        writer.part("delta", bytes(1000), 1, 2)
    monkeypatch.undo()
    writer.part("delta", b"three", 2, 3)  # there is room again
    writer.close()
    assert [p.t0 for p in Recording(file).parts] == [0, 2]
    assert Recording(file).lost == 0


def plain(event: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    return decoded


def test_a_keyframe_says_what_the_deltas_before_it_said() -> None:
    simulation = Simulation()
    fold = Fold(plain(simulation.snapshot()))
    while not simulation.done:
        fold.delta(plain(simulation.step()))
        got, wanted = fold.snapshot(), plain(simulation.snapshot())
        for name in ("groups", "tasks", "actors", "errors", "edges"):
            key = msgspec.json.encode
            assert sorted(map(key, got[name])) == sorted(map(key, wanted[name])), name
        assert (got["seq"], got["workers"]) == (wanted["seq"], wanted["workers"])


def test_a_keyframe_is_bounded_and_leaves_out_what_is_out_of_date() -> None:
    base = {"type": "snapshot", "seq": 0, "time": 0.0, "store": []}
    fold = Fold(base)
    for n in range(9_000):
        task = {"id": str(n), "group": 1, "state": "FINISHED" if n % 10 else "RUNNING"}
        counts = {"RUNNING": 7, "FINISHED": n}
        row = {"id": 1, "counts": counts}
        fold.delta({"seq": n, "time": n, "tasks": [task], "groups": [row], "store": {"time": n}})
    shown = fold.snapshot()
    assert len(shown["tasks"]) == ev.TASK_LIMIT
    running = [t["id"] for t in shown["tasks"] if t["state"] == "RUNNING"]
    assert running == [str(n) for n in range(8_930, 9_000, 10)]  # the newest 7, as the group says
    assert len(shown["store"]) == ev.HISTORY_LIMIT
    assert fold.counts() == {"RUNNING": 7, "FINISHED": 8_999}


def test_joined_deltas_lead_to_the_same_state() -> None:
    simulation = Simulation()
    first = plain(simulation.snapshot())
    deltas = []
    while not simulation.done:
        deltas.append(plain(simulation.step()))
    joined = list(merged(deltas, 1.0))
    assert len(joined) < len(deltas) / 5
    one, two = Fold(first), Fold(first)
    for delta in deltas:
        one.delta(delta)
    for delta in joined:
        two.delta(delta)
    fine, coarse = one.snapshot(), two.snapshot()
    assert {**fine, "store": 0} == {**coarse, "store": 0}
    assert coarse["store"][-1] == fine["store"][-1]


def test_a_pipe_is_no_recording_and_nobody_waits_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "a.fanlight"
    os.mkfifo(pipe)
    assert not recording.is_recording(pipe)
    with pytest.raises(FileExistsError, match="choose another name"):
        Writer(pipe)
