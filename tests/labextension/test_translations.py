"""The panel's texts can be translated: each is a literal that the extraction finds."""

from __future__ import annotations

from pathlib import Path

import extract_messages as extract
import pytest


def test_every_text_of_the_panel_can_be_translated() -> None:
    found = extract.messages()  # raises for a call that is not literal
    texts = {message.text: message for message in found}
    assert texts["Start Fanlight"].place.startswith("src/sections/notice.tsx:")
    assert texts["Open as a Tab"].context == "menu"
    assert texts["Live status bar"].context == "settings"
    assert not [text for text in texts if text != text.strip()]
    template = extract.template(found)
    assert template.count("\nmsgid ") == len(found)  # and one empty, at the beginning


def panel(tmp_path: Path, source: str) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.tsx").write_text(source)
    return tmp_path


def test_texts_are_read_as_they_are_written(tmp_path: Path) -> None:
    source = r"""
const a = trans.__('It\'s “%1”', name);   // trans.__('in a comment')
const b = trans._n(
  '%1 task',
  "%1 tasks",
  n
);
/* trans.__(not, literal) */
"""
    found = extract.messages(panel(tmp_path, source))
    assert [(m.text, m.plural, m.place) for m in found] == [
        ("It's “%1”", "", "src/a.tsx:2"),
        ("%1 task", "%1 tasks", "src/a.tsx:3"),
    ]
    assert 'msgid_plural "%1 tasks"' in extract.template(found)


@pytest.mark.parametrize(
    "source",
    ["trans.__(name)", "trans.__(`a ${b}`)", "trans.__('a' + b)", "trans._n('one', many, n)"],
)
def test_what_nobody_could_translate_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(ValueError, match=r"src/a\.tsx:1: the text is not a literal"):
        extract.messages(panel(tmp_path, source))


def test_singular_and_plural_name_the_same_values(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different places"):
        extract.messages(panel(tmp_path, "trans._n('%2 of %1', '%1', n, m)"))
