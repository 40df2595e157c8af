"""Collects the panel's texts for translators: ``python labextension/scripts/extract_messages.py``
prints a gettext template (a ``.pot`` file) of the domain ``fanlight_lab``.

Texts are the literal first arguments of ``trans.__`` and ``trans._n``, and what JupyterLab takes
from the settings' schema. A call that gives anything but literals is an error: nobody could
translate it. Language packs of JupyterLab hold the translations (``fanlight_lab.json``).
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LAB = Path(__file__).resolve().parents[1]
DOMAIN = "fanlight_lab"

_CALL = re.compile(r"\btrans\s*\.\s*(__|_n)\s*\(")
_LITERAL = re.compile(r"""\s*('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")\s*(,|\))""")
_COMMENT = re.compile(r"/\*.*?\*/|(?<![:'\"])//[^\n]*", re.DOTALL)
_PLACE = re.compile(r"%\d")


class Message(NamedTuple):
    """One text. ``plural`` and ``context`` are "" for none; ``place`` is where it is first used."""

    text: str
    plural: str
    context: str
    place: str


def messages(root: Path = LAB) -> list[Message]:
    """Each text once, in the order of files. ValueError names the calls that cannot be read."""
    found: dict[tuple[str, str], Message] = {}
    problems: list[str] = []
    for path in sorted((root / "src").rglob("*.ts*")):
        if path.name == "i18n.ts":
            continue
        for message in _of_source(path.read_text("utf-8"), str(path.relative_to(root)), problems):
            known = found.setdefault((message.context, message.text), message)
            if message.plural and not known.plural:
                found[message.context, message.text] = message
    for path in sorted((root / "schema").glob("*.json")):
        place = str(path.relative_to(root))
        for text, context in _of_schema(json.loads(path.read_text("utf-8"))):
            found.setdefault((context, text), Message(text, "", context, place))
    if problems:
        raise ValueError("\n".join(problems))
    return list(found.values())


def _of_source(source: str, place: str, problems: list[str]) -> Iterator[Message]:
    source = _COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), source)
    for call in _CALL.finditer(source):
        where = f"{place}:{source.count(chr(10), 0, call.start()) + 1}"
        texts: list[str] = []
        at = call.end()
        for _ in range(2 if call.group(1) == "_n" else 1):
            literal = _LITERAL.match(source, at)
            if literal is None:
                problems.append(f"{where}: the text is not a literal")
                break
            texts.append(ast.literal_eval(literal.group(1)))
            at = literal.end()
        else:
            one, many = texts[0], texts[1] if len(texts) > 1 else ""
            # The singular may leave out the number.
            if many and not set(_PLACE.findall(one)) <= set(_PLACE.findall(many)):
                problems.append(f"{where}: singular and plural have different places")
            yield Message(one, many, "", where)


def _of_schema(schema: Any) -> Iterator[tuple[str, str]]:
    """What JupyterLab translates of a schema, with the contexts that it uses."""
    for key, context in (("title", "schema"), ("description", "schema")):
        if key in schema:
            yield schema[key], context
    if "jupyter.lab.setting-icon-label" in schema:
        yield schema["jupyter.lab.setting-icon-label"], "settings"
    for name in schema.get("properties", {}).values():
        for key in ("title", "description"):
            if key in name:
                yield name[key], "settings"
    yield from ((label, "menu") for label in _labels(schema.get("jupyter.lab.menus", {})))


def _labels(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("label"), str):
            yield part["label"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from _labels(item)


def template(found: list[Message]) -> str:
    """The texts as a ``.pot`` file."""
    head = (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
        f'"Domain: {DOMAIN}\\n"\n"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
    )
    return head + "".join(map(_entry, found))


def _entry(message: Message) -> str:
    lines = ["", f"#: {message.place}"]
    if message.context:
        lines.append(f"msgctxt {_quoted(message.context)}")
    lines.append(f"msgid {_quoted(message.text)}")
    if message.plural:
        lines += [f"msgid_plural {_quoted(message.plural)}", 'msgstr[0] ""', 'msgstr[1] ""']
    else:
        lines.append('msgstr ""')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(template(messages()))
