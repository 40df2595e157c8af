"""The bench itself: it runs, writes its three outputs, and survives peers that hang or die.

No time is asserted here, except one loose ratio, both sides of which are measured in one run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import cells, curves, peers, results, rows, runner
from tests.bench.page import page
from tests.bench.peers import Peer

# A collapse of the whole path (a task that waits for a timer, a lost wake-up) costs a factor of
# ten or more, each time it is measured; noise on a busy machine costs that much once at most.
COLLAPSED = 0.3
ROWS = "startup,task_sync,chain,scale_tasks"


def bench(out: Path, *arguments: str) -> dict[str, Any]:
    """One run of the command, as ``make bench`` makes it; gives its results."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--no-install", "--out", str(out), *arguments],
        cwd=peers.ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    found["printed"] = done.stdout
    return found


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("bench")
    found = bench(out, "--quick", "--rows", ROWS, "--peers", "fanlight,futures")
    found["out"] = out
    return found


def row_of(found: dict[str, Any], key: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in found["rows"] if row["key"] == key)
    return row


@pytest.mark.timeout(300)
def test_rows_with_two_peers(quick: dict[str, Any]) -> None:
    assert [row["key"] for row in quick["rows"]] == ROWS.split(",")[:-1]
    assert list(quick["peers"]) == ["fanlight", "futures"]
    for row in quick["rows"]:
        assert set(row["values"]) == {"fanlight", "futures"}
        for name, entry in row["values"].items():
            assert entry.get("median", 0) > 0, (row["key"], name, entry)
        own, other = (row["values"][n]["median"] for n in ("fanlight", "futures"))
        expected = other / own if row["lower_is_better"] else own / other
        assert row["ratios"]["futures"] == pytest.approx(expected)
    assert row_of(quick, "chain")["title"] == "A chain of 200 dependent tasks"
    assert quick["machine"]["cores"] >= 1
    assert quick["leftovers"] == {}


@pytest.mark.timeout(300)
def test_three_outputs(quick: dict[str, Any]) -> None:
    table = (quick["out"] / "table.md").read_text()
    assert quick["printed"].startswith(table)
    assert "| Tasks, one at a time | **" in table
    assert "| Tasks, one at a time | " in (quick["out"] / "summary.md").read_text()
    html = (quick["out"] / "bench.html").read_text()
    assert "Tasks, one at a time" in html
    assert "<script src=" not in html
    assert "<link " not in html


@pytest.mark.timeout(300)
def test_a_curve_of_two_peers(quick: dict[str, Any]) -> None:
    (curve,) = quick["curves"]
    assert set(curve["points"]) == {"fanlight", "futures"}
    for points in curve["points"].values():
        assert [x for x, _ in points] == [1, 10, 100, 1000]
        assert all(y > 0 for _, y in points)
    table = (quick["out"] / "table.md").read_text()
    assert "| tasks submitted at once | Fanlight | ProcessPoolExecutor |" in table
    assert "| 1,000 | " in table
    assert "Rate against the number of tasks" in (quick["out"] / "bench.html").read_text()


@pytest.mark.timeout(300)
def test_one_by_one_has_not_collapsed(quick: dict[str, Any], tmp_path: Path) -> None:
    ratio = row_of(quick, "task_sync")["ratios"]["futures"]
    for again in "again", "and again", "and again and again":
        if ratio > COLLAPSED:
            break
        found = bench(
            tmp_path / again, "--quick", "--rows", "task_sync", "--peers", "fanlight,futures"
        )
        ratio = row_of(found, "task_sync")["ratios"]["futures"]
    assert ratio > COLLAPSED


def test_every_goal_names_what_can_be_measured() -> None:
    known = {"", "memcpy", *peers.BY_NAME}
    assert {goal.against for row in rows.ROWS for goal in row.goals} <= known
    assert len(rows.BY_KEY) == len(rows.ROWS)


def answers(**values: float) -> runner.Samples:
    return {"task_sync": {name: [{"value": v}] for name, v in values.items()}}


def test_goals_and_ratios() -> None:
    row = rows.BY_KEY["task_sync"]
    found = results.collect([row], peers.PEERS, answers(fanlight=900, ray=100, futures=1000), {})
    assert found[0]["ratios"] == {"ray": 9.0, "futures": 0.9}
    assert [goal["reached"] for goal in found[0]["goals"]] == [True, False, False]
    assert [goal["later"] for goal in found[0]["goals"]] == [False, False, True]
    assert len(results.missed({"rows": found})) == 1


def test_lower_is_better() -> None:
    row = rows.BY_KEY["startup"]
    samples = {"startup": {"fanlight": [{"value": 0.5}], "ray": [{"value": 6.0}]}}
    found = results.collect([row], peers.PEERS, samples, {})
    assert found[0]["ratios"] == {"ray": 12.0}
    assert [goal["reached"] for goal in found[0]["goals"]] == [False, True]


def test_median_of_rounds_and_memcpy_of_the_same_round() -> None:
    row = rows.BY_KEY["put_large"]
    rounds = [{"value": v, "memcpy": m} for v, m in ((4.0, 5.0), (9.0, 10.0), (1.0, 5.0))]
    found = results.collect([row], peers.PEERS, {"put_large": {"fanlight": rounds}}, {})
    assert found[0]["values"]["fanlight"]["median"] == 4.0
    assert found[0]["ratios"]["memcpy"] == pytest.approx(0.8)
    assert found[0]["goals"][0]["reached"] is True


def everything(samples: runner.Samples, left_out: dict[str, str]) -> dict[str, Any]:
    return {
        "when": "now",
        "took": 1.0,
        "load_after": 0.5,
        "machine": results.machine(),
        "settings": {"cpus": 2, "rounds": 1},
        "peers": {
            peer.name: {"title": peer.title, "version": "1"}
            | ({"note": left_out[peer.name]} if peer.name in left_out else {})
            for peer in peers.PEERS
        },
        "rows": results.collect(rows.ROWS, peers.PEERS, samples, left_out),
    }


def test_what_is_missing_is_said() -> None:
    samples = answers(fanlight=900)
    samples["task_sync"]["futures"] = [{"error": "it <ended>"}]
    found = everything(samples, {"ray": "not installed"})
    table = results.markdown(found)
    assert "Ray was left out: not installed." in table
    assert "Tasks, one at a time, ProcessPoolExecutor: it <ended>." in table
    html = page(found)
    assert "Ray was left out: not installed" in html
    assert "it &lt;ended&gt;" in html


def test_a_peer_that_measured_less_is_named() -> None:
    row = rows.BY_KEY["finished_memory"]
    samples = {
        "finished_memory": {
            "fanlight": [{"value": 0.5, "n": 10_000_000}],
            "ray": [{"value": 40.0, "n": 70_000}],
        }
    }
    (found,) = results.collect([row], peers.PEERS, samples, {})
    assert "all of 10,000,000 finished tasks (Ray: 70,000)" in found["title"]


def test_a_ratio_to_nothing_is_left_out() -> None:
    row = rows.BY_KEY["two_drivers"]
    samples = {"two_drivers": {"fanlight": [{"value": 0.5}], "ray": [{"value": 0.0}]}}
    (found,) = results.collect([row], peers.PEERS, samples, {})
    assert found["ratios"] == {}
    assert found["goals"][0]["reached"] is True


def test_a_curve_that_failed_is_said() -> None:
    samples: runner.Samples = {
        "scale_size": {
            "fanlight": [{"value": 1.0, "points": [[1024, 0.001], [8192, 0.5]]}],
            "ray": [{"error": "it <ended>"}],
        }
    }
    found = everything({}, {})
    found["curves"] = results.curves(rows.CURVES[1:2], peers.PEERS, samples)
    table = curves.markdown(found)
    assert "| 1 KiB | 1 MB/s |" in table
    assert "Ray: it <ended>." in table
    assert "it &lt;ended&gt;" in page(found)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "0.0123 s"),
        (12345.0, "/s", "12,300/s"),
        (999.0, "", "999"),
        (1024, "bytes", "1,024 bytes"),
    ],
)
def test_figures(value: float, unit: str, text: str) -> None:
    assert results.show(value, unit) == text


SCRIPT = """
import sys, time
sys.path.insert(0, {subjects!r})
import common

def hang(settings):
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    time.sleep(300)

def die(settings):
    import os
    print("last words", flush=True)
    os._exit(3)

def fine(settings):
    return {{"value": 7.0}}

def broken(settings):
    raise ValueError("no")

common.serve(0.5, "1.0", dict(task_sync=hang, task_burst=die, put_small=fine, get_small=broken),
             lambda: None)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_peer_that_hangs_or_dies_costs_only_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "subject.py"
    script.write_text(SCRIPT.format(subjects=str(peers.SUBJECTS)))
    keys = ("startup", "task_sync", "task_burst", "put_small", "get_small", "wait_many")
    plan = runner.Plan([rows.BY_KEY[key] for key in keys], cpus=1, rounds=1, quick=True)
    monkeypatch.setattr(plan, "cap", lambda row: 1.0 if row.key == "task_sync" else 60.0)
    started: list[runner.Subject] = []

    class Remembered(runner.Subject):
        def __init__(self, peer: Peer, cpus: int) -> None:
            super().__init__(peer, cpus)
            started.append(self)

    monkeypatch.setattr(runner, "Subject", Remembered)
    samples, versions = runner.run(plan, [Peer("test", "Test", str(script))], lambda text: None)
    found = {key: samples[key]["test"] for key in keys}
    assert found["startup"] == [{"value": 0.5}]
    (hung,) = found["task_sync"]
    assert hung["error"] == "no answer within 1 s"
    assert "in hang" in hung["stacks"]
    assert found["task_burst"] == [{"error": "it ended: last words"}]
    assert found["put_small"][0]["value"] == 7.0
    assert found["get_small"][0]["error"] == "ValueError: no"
    assert found["wait_many"][0]["skipped"] == "not measured"
    assert versions == {"test": "1.0"}
    assert len(started) == 3
    for subject in started:
        assert subject._processes() == []
        assert not Path(subject.temp).exists()


def test_cells_beside_ipyparallels(capsys: pytest.CaptureFixture[str]) -> None:
    """Fanlight's side runs; the ratios are right where both are there."""
    assert (
        cells.main(["--no-install", "--rounds", "1", "--seconds", "0.05", "--megabytes", "1"]) == 0
    )
    assert "An empty %%remote cell takes" in capsys.readouterr().out
    one = {"plain": 1.0, "empty": 4.0, "value": 5.0, "array": 6.0}
    other = {key: 3 * value for key, value in one.items()}
    text = cells.table({"fanlight": [one, one], "ipyparallel": [other, other]}, 1)
    assert "| an empty cell elsewhere | 4.00 | 12.00 | 3.0 |" in text
    assert "takes 3.0 ms more" in text
