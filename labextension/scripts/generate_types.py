"""Write ``labextension/src/events.ts`` from ``fanlight.events``, the one definition of the events, and
``answers.ts`` from ``fanlight.answers`` and ``fanlight.observe.questions``.

Run from the repository root: ``python labextension/scripts/generate_types.py``. A test fails while
the committed files differ from what this writes.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec

from fanlight import answers, events
from fanlight.observe import questions

_SOURCES = Path(__file__).resolve().parent.parent / "src"
TARGET = _SOURCES / "events.ts"
ANSWERS = _SOURCES / "answers.ts"

HEADER = """\
// Generated from runtime/fanlight/events.py by labextension/scripts/generate_types.py.
// Do not edit: change the Python definitions and run the script.
"""
ANSWERS_HEADER = """\
// Generated from runtime/fanlight/answers.py and observe/questions.py by
// labextension/scripts/generate_types.py. Do not edit: change the Python definitions and run the script.
"""
# What bytes are in JSON: columns and packed records.
BASE64 = """
/** Base64 of bytes; numbers in them are little-endian. */
export type Base64 = string;
"""
ALIASES = ("TaskState", "ActorState", "WorkerState", "GroupKind")
ASKED = ("what", "action")  # what the records are told apart by that a browser sends
CONSTANTS = ("EVENTS_VERSION", "TASK_LIMIT", "ERROR_LIMIT", "HISTORY_LIMIT")


def literal(values: tuple[str, ...]) -> str:
    return " | ".join(f"'{value}'" for value in values)


def type_of(kind: Any, aliases: dict[tuple[str, ...], str]) -> str:
    """The TypeScript type of a node of ``msgspec.inspect``."""
    inspect = msgspec.inspect
    match kind:
        case inspect.StrType():
            return "string"
        case inspect.IntType() | inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "boolean"
        case inspect.NoneType():
            return "null"
        case inspect.BytesType():
            return "Base64"
        case inspect.TupleType(item_types=items):
            return f"[{', '.join(type_of(item, aliases) for item in items)}]"
        case inspect.DictType(key_type=inspect.IntType(), value_type=value):
            return f"Record<number, {type_of(value, aliases)}>"
        case inspect.LiteralType(values=values):
            return aliases.get(tuple(sorted(values)), literal(tuple(values)))
        case inspect.ListType(item_type=item):
            inner = type_of(item, aliases)
            return f"Array<{inner}>" if " " in inner else f"{inner}[]"
        case inspect.DictType(key_type=inspect.LiteralType() as key, value_type=value):
            return f"Partial<Record<{type_of(key, aliases)}, {type_of(value, aliases)}>>"
        case inspect.DictType(value_type=value):
            return f"Record<string, {type_of(value, aliases)}>"
        case inspect.UnionType(types=types):
            return " | ".join(dict.fromkeys(type_of(t, aliases) for t in types))
        case inspect.StructType(cls=cls):
            return str(cls.__name__)
    raise TypeError(f"no TypeScript type is known for {kind!r}")


def structs(module: ModuleType = events) -> list[type[msgspec.Struct]]:
    """The types of a module in the order in which they are defined."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == module.__name__
    ]


def interface(cls: type[msgspec.Struct], aliases: dict[tuple[str, ...], str]) -> str:
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType)
    lines = [f"\nexport interface {cls.__name__} {{"]
    if info.tag_field is not None:
        lines.append(f"  {info.tag_field}: '{info.tag}';")
    lines += [
        # What need not be said has a default; of what is told, all is always there.
        f"  {f.encode_name}{'?' if info.tag_field in ASKED and not f.required else ''}: "
        f"{type_of(f.type, aliases)};"
        for f in info.fields
    ]
    return "\n".join([*lines, "}"])


def render() -> str:
    aliases = {tuple(sorted(get_args(getattr(events, name)))): name for name in ALIASES}
    parts = [HEADER]
    parts += [f"export const {name} = {getattr(events, name)};" for name in CONSTANTS]
    for name in ALIASES:
        members = "".join(f"\n  | '{value}'" for value in get_args(getattr(events, name)))
        parts.append(f"\nexport type {name} ={members};")
    for cls in structs():
        parts.append(interface(cls, aliases))
    union = " | ".join(cls.__name__ for cls in get_args(events.Event))
    parts.append(f"\nexport type Event = {union};")
    return "\n".join(parts) + "\n"


def render_answers() -> str:
    """The questions, the orders and the answers."""
    aliases = {tuple(sorted(get_args(getattr(events, name)))): name for name in ALIASES}
    asked = get_args(questions.Query)
    parts = [interface(cls, aliases) for cls in (*asked, *get_args(questions.Command))]
    for name in ("Query", "Command"):
        members = get_args(getattr(questions, name))
        union = "".join(f"\n  | {cls.__name__}" for cls in members)
        parts.append(f"\nexport type {name} ={union};")
    parts += [interface(cls, aliases) for cls in structs(answers)]
    text = "\n".join(parts)
    known = [*ALIASES, *(cls.__name__ for cls in structs())]
    used = sorted(name for name in known if re.search(rf"\b{name}\b", text))
    imported = "".join(f"\n  {name}," for name in used).rstrip(",")
    head = f"import type {{{imported}\n}} from './events';\n{BASE64}"
    return f"{ANSWERS_HEADER}{head}{text}\n"


if __name__ == "__main__":
    for target, text in ((TARGET, render()), (ANSWERS, render_answers())):
        target.write_text(text, "utf-8")
        print(target)
