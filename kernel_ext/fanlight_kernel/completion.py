"""Tab completion of ``%%remote``, ``%remote`` and ``%fanlight``, from the tables of their options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from fanlight_kernel.commands import COMMANDS, Command
from fanlight_kernel.options import CELL_OPTIONS, Option

Sources = Mapping[str, Callable[[], list[str]]]  # what values there are: "variables", "namespaces"


def complete(line: str, sources: Sources | None = None) -> list[str]:
    """What may follow ``line``, the text of the line up to the cursor: for its last word, or, as
    IPython has it, for what stands behind that word's last comma or equals sign.

    >>> complete("%%remote --num-")
    ['--num-cpus', '--num-gpus']
    >>> complete("%fanlight namespaces re", {})
    ['restart', 'remove']
    """
    line = line.lstrip()
    sources = sources or {}
    magic, _, rest = line.partition(" ")
    if magic == line:
        return []  # the magic's own name is not finished
    if magic == "%%remote":
        return _options(rest, CELL_OPTIONS, sources)
    if magic == "%remote":  # what follows the options is an expression: others complete that
        before = rest.split()[:-1] if not rest.endswith(" ") else rest.split()
        expects = _expects(before, CELL_OPTIONS)
        starts = rest.split(" ")[-1].startswith("-") and all(
            word.startswith("-") for word in before[:1]
        )
        if starts or expects:
            return _options(rest, CELL_OPTIONS, sources)
        typed = re.search(r"(?<![\w.])\w*$", rest)
        names = sources.get("variables")
        return [n for n in names() if n.startswith(typed[0])] if typed and names else []
    if magic == "%fanlight":
        return _command(rest, sources)
    return []


def takes_python(line: str) -> bool:
    """Whether Python's own names may stand where ``line`` ends."""
    magic, blank, rest = line.lstrip().partition(" ")
    if magic not in ("%%remote", "%fanlight") or not blank:
        return True
    words = rest.split()
    last = next((w.partition("=")[0] for w in reversed(words) if w.startswith("--")), "")
    return magic == "%%remote" and last == "--each"


def _options(rest: str, table: Sequence[Option], sources: Sources) -> list[str]:
    words = re.split(r"\s+", rest.lstrip())
    current, before = words[-1], words[:-1]
    used = {word.partition("=")[0] for word in before}
    free = [o.flag for o in table if o.flag not in used or o.kind == "pairs"]
    flag, equals, _ = current.partition("=")
    by_flag = {option.flag: option for option in table}
    if equals and flag in by_flag:
        return _values(by_flag[flag], current, sources)
    if current.startswith("-"):
        return [f for f in free if f.startswith(current)]
    expects = _expects(before, table)
    if expects is not None and (expects.completes or expects.kind == "value"):
        found = _values(expects, current, sources)
        more = expects.kind == "names" and not current and before[-1] != expects.flag
        return [*found, *(free if more else [])]
    return [] if current else free


def _expects(before: Sequence[str], table: Sequence[Option]) -> Option | None:
    """The option that the word after ``before`` is a value of."""
    by_flag = {option.flag: option for option in table}
    for distance, word in enumerate(reversed(before)):
        if word.startswith("--"):
            option = by_flag.get(word)
            if option is None or option.kind == "flag":
                return None
            return option if option.kind == "names" or distance == 0 else None
    return None


def _values(option: Option, current: str, sources: Sources) -> list[str]:
    source = sources.get(option.completes)
    if source is None:
        return []
    typed = re.split(r"[,=]", current)[-1]
    return [name for name in source() if name.startswith(typed)]


def _command(rest: str, sources: Sources) -> list[str]:
    words = re.split(r"\s+", rest.lstrip())
    current, before = words[-1], words[:-1]
    if not before:
        firsts = dict.fromkeys(command.name.split()[0] for command in COMMANDS)
        return [name for name in firsts if name.startswith(current)]
    first = "namespaces" if before[0] == "namespace" else before[0]
    found: Command | None = None
    for command in COMMANDS:
        parts = command.name.split()
        if parts == [first, *before[1:]][: len(parts)] and (
            found is None or len(command.name) > len(found.name)
        ):
            found = command
    seconds = [
        command.name.split()[1] for command in COMMANDS if command.name.startswith(f"{first} ")
    ]
    if seconds and len(before) == 1:
        return [name for name in seconds if name.startswith(current)]
    if found is None:
        return []
    behind = before[len(found.name.split()) :]
    if current.startswith("-") or _expects(behind, found.takes) is not None:
        return _options(" ".join([*behind, current]), found.takes, sources)
    values: list[str] = []
    for value in found.values:
        source = sources.get(value.strip("<>"))
        values += source() if source is not None else [value]
    if found.name == "config" and "settings" in sources:
        values += sources["settings"]()
    return [value for value in values if value.startswith(current) and value not in behind]
