"""``%fanlight record`` and ``%fanlight replay``."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanlight import standalone
from tests.kernel_ext.conftest import Notebook


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_record_stop_and_play(notebook: Notebook, tmp_path: Path) -> None:
    done = notebook.run("%fanlight record first run")
    assert done.stdout == "Recording into first run.fanlight until %fanlight record stop.\n"
    notebook.run("%%remote --each i=range(3)\ny = i")
    done = notebook.run("%fanlight record stop")
    assert "3 finished" in done.stdout and "It is in first run.fanlight." in done.stdout
    assert notebook.run("%fanlight record stop").stdout == "Nothing is being recorded.\n"
    shown = notebook.run("%fanlight replay 'first run'").outputs[0].data
    assert "3 finished" in shown["text/plain"]
    assert "fanlight:open-recording" in shown["text/html"]
    assert "&quot;first run.fanlight&quot;" in shown["text/html"]


def test_a_page_is_written(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "text", lambda name: "")
    monkeypatch.setattr(standalone, "charts", lambda: b"")
    notebook.run("%fanlight record a")
    notebook.run("%fanlight record stop")
    for line in ("a --html b.html", "--html b.html a.fanlight"):
        done = notebook.run(f"%fanlight replay {line}")
        assert done.stdout == "Saved to b.html: it plays in any browser.\n"
        (tmp_path / "b.html").unlink()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("replay", "say which file"),
        ("replay nowhere", "nowhere.fanlight"),
        ("replay notes.txt", "is not a recording of Fanlight"),
        ("record notes.txt", "is no recording: choose another name"),
        ("record nowhere/a", "no directory"),
    ],
)
def test_what_is_refused(notebook: Notebook, tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    failed = notebook.run(f"%fanlight {line}", fails=True)
    assert says in str(failed.error)
    assert (tmp_path / "notes.txt").read_text() == "mine"
