"""The panel's types are those of the events."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "labextension" / "scripts" / "generate_types.py"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_types", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_types_are_what_the_generator_writes() -> None:
    module = generator()
    assert module.TARGET.read_text("utf-8") == module.render(), (
        "fanlight.events has changed: run python labextension/scripts/generate_types.py"
    )
    assert module.ANSWERS.read_text("utf-8") == module.render_answers(), (
        "fanlight.answers or its questions have changed: run "
        "python labextension/scripts/generate_types.py"
    )


def test_every_event_has_its_type() -> None:
    text = generator().render()
    for name in ("Snapshot", "Delta", "Ended", "TaskView", "StoreView"):
        assert f"export interface {name} {{" in text
    assert "type: 'snapshot';" in text
    assert "counts: Partial<Record<TaskState, number>>;" in text
