"""``fanlight.status()`` and ``fanlight.memory()``: what they say, on each engine."""

from __future__ import annotations

import importlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.support import needs, poll

EVIL = '<img src=x onerror="alert(1)">'
overview = importlib.import_module("fanlight.overview")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is slow is not one that is stopped."""
    for name in ("reasons.ANSWER_SECONDS", "overview._ANSWER_SECONDS"):
        monkeypatch.setattr(f"fanlight.{name}", 20.0)


@pytest.fixture
def gated(rt: Any, tmp_path: Path, wait_for: Callable[[str], None]) -> Callable[..., Any]:
    """``gated(...)`` is a ref to a task that runs until ``gated.open()``."""
    gate = tmp_path / "gate"

    @rt.remote(max_calls=1000)
    def gated(*args: Any) -> None:
        wait_for(str(gate))

    def submit(*args: Any) -> Any:
        return gated.remote(*args)

    submit.open = gate.touch  # type: ignore[attr-defined]
    return submit


# --- status --------------------------------------------------------------------------------------
def test_status(rt: Any, gated: Any, never: Any) -> None:
    refs = [gated() for _ in range(6)]
    lost = never()
    after = gated(lost)

    def placed() -> bool:
        found = rt.status()
        return found.resources["CPU"] == (2, 2) and len(found.pending) == 2

    assert poll(placed)
    found = rt.status()
    assert found.running and not found.problem and found.uptime >= 0
    assert found.engine in ("local", "inproc") and found.workers["BUSY"] == 2
    assert found.tasks["PENDING_ARGS"] == 1 and found.tasks["PENDING_RESOURCES"] == 5
    pending = {(p["name"], p["code"]): p["count"] for p in found.pending}
    assert pending == {("gated", "resources"): 4, ("never", "infeasible"): 1}
    text = str(found)
    assert re.search(r"CPU +2 of 2 in use: `gated` ×2", text)
    assert re.search(r"4 × +`gated` +1 CPU +waits for 1 CPU \(0 of 2 free\)", text)
    assert "! 1 × `never` can never run here" in text and repr(found) == text
    page = found._repr_html_()
    assert "<code" in page and "can never run here" in page and "`" not in page
    gated.open()
    rt.get(refs)
    rt.cancel(lost)
    rt.cancel(after)
    assert poll(lambda: not rt.status().pending and rt.status().resources["CPU"] == (0, 2))


def test_actors_and_groups_in_the_status(rt: Any) -> None:
    @rt.remote(num_cpus=1)
    class Keeper:
        pass

    keeper = Keeper.remote()
    rt.get(keeper.__ray_ready__.remote())
    group = rt.util.placement_group([{"CPU": 2}])
    found = rt.status()
    assert found.actors["ALIVE"] == 1 and found.workers["ACTOR"] == 1
    assert "`Keeper`" in dict(found.rows())["CPU"]
    [row] = found.pending
    assert (row["kind"], row["demand"], row["code"]) == ("placement group", {"CPU": 2}, "resources")
    rt.util.remove_placement_group(group)
    rt.kill(keeper)


def test_without_a_runtime(fresh: Any) -> None:
    fl = fresh.fanlight
    found = fl.status()
    assert not found.running and found.rows() == []
    assert str(found).startswith("No runtime is running.") and "fanlight.init()" in str(found)
    assert "No runtime is running" in found._repr_html_()
    assert not fl.is_initialized(), "it starts nothing"
    with pytest.raises(fl.errors.RuntimeNotStartedError):
        fl.memory()


@needs("processes", "background")
def test_a_stopped_and_a_dead_node(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fl = fresh.fanlight
    fresh.init(num_cpus=1)
    pid = importlib.import_module("fanlight.session").current().node_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(overview, "_ANSWER_SECONDS", 1.0)
            found = fl.status()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not found.running and str(pid) in str(found) and "Nobody can say" in str(found)
    assert poll(lambda: fl.status().running)
    os.kill(pid, signal.SIGKILL)
    assert poll(lambda: "SIGKILL" in str(fl.status()))
    assert "init()" in str(fl.status())


@needs("processes", "background")
def test_a_stopped_worker_is_a_warning(rt: Any, gated: Any) -> None:
    ref = gated()
    assert poll(lambda: ref.why().code == "running")
    pid = ref.why().facts["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert poll(lambda: [w for w in rt.status().warnings if "is stopped" in w])
        assert f"(pid {pid}) is stopped by SIGSTOP" in str(rt.status())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert poll(lambda: not [w for w in rt.status().warnings if "is stopped" in w])
    gated.open()
    rt.get(ref)


def test_names_are_escaped(rt: Any) -> None:
    refs = [rt.remote(num_cpus=9)(lambda: None).options(name=EVIL).remote() for _ in range(2)]

    @rt.remote
    def make() -> Any:
        return np.zeros(50_000)

    kept = make.options(name=EVIL).remote()
    rt.get(kept)
    for page in (rt.status()._repr_html_(), rt.memory()._repr_html_()):
        assert "&lt;img" in page and "<img" not in page
    for ref in refs:
        rt.cancel(ref)


# --- memory --------------------------------------------------------------------------------------
def mine(found: Any, *refs: Any) -> list[dict[str, Any]]:
    by_id = {row["id"]: row for row in found.rows}
    return [by_id[ref.hex()] for ref in refs]


def test_the_largest_objects(rt: Any) -> None:
    @rt.remote
    def make(n: int) -> Any:
        return np.ones((n, 10), "f4")

    put, slices = rt.put(np.zeros((300, 400))), rt.put(np.zeros((200, 5_000))[:, ::10])
    made = make.remote(20_000)
    rt.wait([made])
    small = rt.put(1)
    found = rt.memory()
    one, two, three = mine(found, put, made, slices)
    assert three["type"] == "ndarray float64 (200, 500)", "it is copied into the pickle"
    assert (one["type"], two["type"]) == (
        "ndarray float64 (300, 400)",
        "ndarray float32 (20000, 10)",
    )
    assert (one["creator"], two["creator"]) == ("put", "make")
    assert one["size"] > 960_000 and one["age"] is not None and two["age"] is not None
    assert (
        one["file"] == __file__
        and one["line"] == test_the_largest_objects.__code__.co_firstlineno + 5
    )
    assert one["holders"] == [f"this process (pid {os.getpid()})"]
    assert small.hex() not in {row["id"] for row in found.rows}, "the small are summed up"
    sums = {g["key"]: g for g in found.groups}
    assert sums["`make`"]["count"] == 1 and sums["`make`"]["size"] == two["size"]
    text = str(found)
    assert text.startswith("Object store: ") and "ndarray float64 (300, 400)" in text
    assert "ndarray float32" in found._repr_html_()


def test_who_keeps_them(rt: Any, gated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    main = importlib.import_module("__main__")
    ref, other = rt.put(np.zeros(100_000)), rt.put(np.zeros(30_000))
    monkeypatch.setattr(main, "my_array", ref, raising=False)
    monkeypatch.setattr(main, "several", [other, other], raising=False)
    waiting = gated(ref)
    found = rt.memory()
    one, two = mine(found, ref, other)
    assert one["variables"] == ["my_array"] and two["variables"] == ["several"]
    assert one["used_by"] == ["an argument of `gated`"]
    gated.open()
    rt.get(waiting)
    del waiting

    def hinted() -> bool:
        return any(h.startswith("`my_array` keeps 800 kB") for h in rt.memory().hints)

    assert poll(hinted)
    assert any("`del my_array` lets it go" in hint for hint in rt.memory().hints)
    outer = rt.put([other])
    assert mine(rt.memory(), other)[0]["used_by"] == ["in a value of `put`"]
    del outer


def test_sorting_and_grouping(rt: Any) -> None:
    refs = [rt.put(np.zeros(n)) for n in (20_000, 60_000, 40_000)]
    found = rt.memory(limit=2)
    assert [r["size"] for r in found.rows] == sorted((r["size"] for r in found.rows), reverse=True)
    assert len(found.rows) == 2 and "more" in str(found)
    newest = rt.memory(sort_by="age").rows[-1]
    assert newest["id"] == refs[2].hex()
    types = {g["key"]: g["count"] for g in rt.memory(group_by="type").groups}
    assert types["ndarray float64 (20000,)"] == 1
    for group in ("creator", "cell", "holder", "place"):
        assert rt.memory(group_by=group).groups
    for sort in ("creator", "type", "holders"):
        assert len(rt.memory(sort_by=sort).rows) >= 3
    for wrong in ({"sort_by": "colour"}, {"group_by": "colour"}, {"limit": 0}, {"limit": True}):
        with pytest.raises(ValueError, match="must be"):
            rt.memory(**wrong)


@needs("processes")
def test_what_is_on_disk(fresh: Any) -> None:
    fl = fresh.fanlight
    fresh.init(num_cpus=1, object_store_memory=8 << 20)
    refs = [fl.put(np.zeros(250_000)) for _ in range(8)]
    assert poll(lambda: fl.memory().store["spilled"] > 0)
    rows = mine(fl.memory(), *refs)
    assert {row["place"] for row in rows} >= {"disk"}
    assert {row["type"] for row in rows} == {"ndarray float64 (250000,)"}, "read off the files, too"
    assert "on disk" in str(fl.memory()) and "aria-label" in fl.memory()._repr_html_()
    assert refs[0].why().code in ("spilled", "ready")
