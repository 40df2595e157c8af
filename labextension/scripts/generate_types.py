"""Write ``labextension/src/events.ts`` from ``fanlight.events``, the one definition of the events.

Run from the repository root: ``python labextension/scripts/generate_types.py``. A test fails while
the committed file differs from what this writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec

from fanlight import events

TARGET = Path(__file__).resolve().parent.parent / "src" / "events.ts"

HEADER = """\
// Generated from runtime/fanlight/events.py by labextension/scripts/generate_types.py.
// Do not edit: change the Python definitions and run the script.
"""
ALIASES = ("TaskState", "ActorState", "WorkerState", "GroupKind")
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
            return " | ".join(type_of(t, aliases) for t in types)
        case inspect.StructType(cls=cls):
            return str(cls.__name__)
    raise TypeError(f"no TypeScript type is known for {kind!r}")


def structs() -> list[type[msgspec.Struct]]:
    """The event types in the order in which they are defined."""
    return [
        value
        for value in vars(events).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == events.__name__
    ]


def render() -> str:
    aliases = {tuple(sorted(get_args(getattr(events, name)))): name for name in ALIASES}
    parts = [HEADER]
    parts += [f"export const {name} = {getattr(events, name)};" for name in CONSTANTS]
    for name in ALIASES:
        members = "".join(f"\n  | '{value}'" for value in get_args(getattr(events, name)))
        parts.append(f"\nexport type {name} ={members};")
    for cls in structs():
        info = msgspec.inspect.type_info(cls)
        assert isinstance(info, msgspec.inspect.StructType)
        lines = [f"\nexport interface {cls.__name__} {{"]
        if info.tag_field is not None:
            lines.append(f"  {info.tag_field}: '{info.tag}';")
        lines += [f"  {f.encode_name}: {type_of(f.type, aliases)};" for f in info.fields]
        parts.append("\n".join([*lines, "}"]))
    union = " | ".join(cls.__name__ for cls in get_args(events.Event))
    parts.append(f"\nexport type Event = {union};")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), "utf-8")
    print(TARGET)
