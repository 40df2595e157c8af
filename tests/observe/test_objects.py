"""The largest objects, as the panel is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from fanlight import serialization
from fanlight.observe import objects
from fanlight.observe.objects import ObjectFacts
from fanlight.observe.questions import QueryObjects


def row(key: str, size: int, **more: Any) -> dict[str, Any]:
    return {
        "id": key, "size": size, "state": "READY", "place": "memory", "file": "", "head": b"",
        "creator": "put", "origin": "", "site": "", "made": 0.0, "holders": [],
        "holders_count": 1, "mapped": [{}], "pins": 0, "used_by": [], "variables": [],
        "where": ["", 0], **more,
    }  # fmt: skip


def test_types_places_and_order(tmp_path: Path) -> None:
    array = serialization.dumps(numpy.zeros((30, 40))).to_bytes()
    small = serialization.dumps({"a": 1}).to_bytes()
    (tmp_path / "seg1").write_bytes(array)
    facts = ObjectFacts({"segment_dir": str(tmp_path), "spill_dir": str(tmp_path)})
    raw = {
        "rows": [
            row("1", len(array), file="seg1", made=9.0, variables=["x"]),
            row("2", 5000, head=small, made=4.0, where=["f.py", 7]),
            row("3", 4000, file="../../etc/passwd", site="(put object) g.py:12:main"),
            row("4", 3000, file="gone"),
        ],
        "count": 4,
    }
    found = facts.answer(raw, QueryObjects())
    kinds = {r["id"]: r["type"] for r in found["rows"]}
    assert kinds == {"1": "ndarray float64 (30, 40)", "2": "dict", "3": "", "4": ""}
    assert [r["id"] for r in found["rows"]] == ["1", "2", "3", "4"]
    assert [(r["file"], r["line"]) for r in found["rows"][1:3]] == [("f.py", 7), ("g.py", 12)]
    assert found["rows"][0]["release"] == "del x" and found["rows"][0]["mapped"] == []
    aged = facts.answer(raw, QueryObjects(sort="age", limit=2))
    assert [r["id"] for r in aged["rows"]] == ["2", "1"] and aged["count"] == 4
    (tmp_path / "seg1").unlink()  # spilled meanwhile: what it is does not change
    assert facts.answer(raw, QueryObjects())["rows"][0]["type"] == kinds["1"]


def test_types_are_forgotten_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_KEPT", 2)

    class Types(dict[str, str]):
        """Another question is answered whenever the oldest is looked for, if it can be."""

        def __iter__(self) -> Iterator[str]:
            found = super().__iter__()
            if not facts._lock.locked():
                facts.answer(raw("other"), QueryObjects())
            return found

    def raw(key: str) -> dict[str, Any]:
        return {"rows": [row(key, len(small), head=small)], "count": 1}

    small = serialization.dumps({"a": 1}).to_bytes()
    facts = ObjectFacts({})
    facts._types = Types()
    for key in "abcd":
        assert facts.answer(raw(key), QueryObjects())["rows"][0]["type"] == "dict"
    assert set(facts._types.keys()) == {"c", "d"}
