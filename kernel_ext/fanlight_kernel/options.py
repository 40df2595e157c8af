"""The options of ``%%remote``: one table for parsing, help and tab completion."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:  # the parser itself needs no IPython, so that it can be used and tested without one
    from IPython.core.error import UsageError
except ImportError:  # pragma: no cover

    class UsageError(Exception):  # type: ignore[no-redef]
        """A magic was called with arguments that make no sense."""


@dataclass(frozen=True)
class Option:
    """One option. ``kind``: "flag", "value", "names" (a list), or "maybe" (value optional)."""

    flag: str
    kind: str
    help: str
    metavar: str = ""
    convert: Callable[[str], Any] = str

    @property
    def key(self) -> str:
        return self.flag[2:].replace("-", "_")

    @property
    def usage(self) -> str:
        if self.kind == "flag":
            return self.flag
        return (
            f"{self.flag} [{self.metavar}]"
            if self.kind == "maybe"
            else f"{self.flag} {self.metavar}"
        )


@dataclass
class Options:
    """Parsed options; ``None`` or ``False`` where an option was not given."""

    given: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return self.given.get(key)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if value < 0 or value != value or value == float("inf"):
        raise ValueError("it must be a number that is not negative")
    return int(value) if value.is_integer() else value


def _count(text: str) -> int:
    value = _number(text)
    if not isinstance(value, int):
        raise ValueError("it must be a whole number")
    return value


def _resources(text: str) -> dict[str, float]:
    try:
        value = json.loads(_unquote(text))
    except ValueError as error:
        raise ValueError(f'it must be JSON such as {{"license": 1}} ({error})') from None
    if not isinstance(value, dict) or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in value.values()
    ):
        raise ValueError('it must be a JSON object of numbers such as {"license": 1}')
    return value


def _name(text: str) -> str:
    if not text.isidentifier():
        raise ValueError(f"{text!r} is not a variable name")
    return text


def _each(text: str) -> tuple[str, str]:
    variable, equals, expression = _unquote(text).partition("=")
    if not equals or not variable.strip().isidentifier() or not expression.strip():
        raise ValueError("it must look like seed=range(100)")
    try:
        compile(expression.strip(), "<--each>", "eval")
    except SyntaxError as error:
        raise ValueError(f"{expression.strip()!r} is not an expression ({error.msg})") from None
    return variable.strip(), expression.strip()


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _label(text: str) -> str:
    return _unquote(text)


CELL_OPTIONS: tuple[Option, ...] = (
    Option("--in", "names", "send these variables and no others", "NAMES", _name),
    Option("--out", "names", "bring these variables back and no others", "NAMES", _name),
    Option("--refs", "flag", "bind ObjectRefs instead of values"),
    Option(
        "--bg",
        "maybe",
        "return at once; outputs are refs; NAME gets a handle with done(), result(), cancel()",
        "NAME",
        _name,
    ),
    Option(
        "--each",
        "value",
        "run once per element, in parallel; outputs are lists in order",
        "VAR=EXPR",
        _each,
    ),
    Option("--num-cpus", "value", "CPUs that one run of the cell takes (default 1)", "N", _number),
    Option("--num-gpus", "value", "GPUs that one run of the cell takes", "N", _number),
    Option("--resources", "value", 'other resources, as {"name": amount}', "JSON", _resources),
    Option("--retries", "value", "run again up to N times after an error or a crash", "N", _count),
    Option("--timeout", "value", "cancel the cell after S seconds", "S", _number),
    Option("--name", "value", "what the panel and the monitor call it", "NAME", _label),
    Option("--local", "flag", "run it here, in the notebook's own process"),
    Option("--dry-run", "flag", "only say what would be sent and brought back"),
    Option("--quiet", "flag", "no monitor, no summary, no notes"),
)

_BY_FLAG = {option.flag: option for option in CELL_OPTIONS}


def split(line: str) -> list[str]:
    """Split at blanks that stand outside quotes and brackets: ``x=[1, 2]`` is one word.

    Raises :class:`UsageError` where a quote or a bracket is not closed.
    """
    words: list[str] = []
    word = ""
    quote = ""
    depth = 0
    skip = False
    for char in line:
        if quote:
            word += char
            if skip:
                skip = False
            elif char == "\\":
                skip = True
            elif char == quote:
                quote = ""
        elif char.isspace() and depth == 0:
            if word:
                words.append(word)
            word = ""
        else:
            word += char
            if char in "'\"":
                quote = char
            elif char in "([{":
                depth += 1
            elif char in ")]}":
                depth -= 1
    if quote or depth > 0:
        raise UsageError(f"%%remote: unclosed {'quote' if quote else 'bracket'} in: {line.strip()}")
    return [*words, word] if word else words


def parse(line: str, table: tuple[Option, ...] = CELL_OPTIONS, magic: str = "%%remote") -> Options:
    """Parse the line of a magic. Raises :class:`UsageError` with what is wrong and what is near."""
    by_flag = {option.flag: option for option in table}
    options = Options()
    words = split(line)
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        flag, equals, inline = word.partition("=")
        option = by_flag.get(flag)
        if option is None:
            raise UsageError(_unknown(word, flag, by_flag, magic))
        if option.kind == "flag":
            if equals:
                raise UsageError(f"{magic}: {flag} takes no value")
            options.given[option.key] = True
            continue
        values = [inline] if equals else []
        while not equals and position < len(words) and not words[position].startswith("--"):
            values.append(words[position])
            position += 1
            if option.kind != "names":
                break
        if option.kind == "names":
            values = [part for value in values for part in value.split(",") if part]
        elif not values:
            if option.kind == "maybe":
                options.given[option.key] = True
                continue
            raise UsageError(f"{magic}: {option.usage} needs a value")
        try:
            converted = [option.convert(value) for value in values]
        except ValueError as error:
            raise UsageError(f"{magic}: {option.usage}: {error}") from None
        if option.kind == "names":
            options.given.setdefault(option.key, []).extend(converted)
        else:
            options.given[option.key] = converted[0]
    return options


def parse_cell(line: str) -> Options:
    """Parse the line of ``%%remote`` and refuse combinations that contradict each other."""
    options = parse(line)
    for one, other in (("local", "bg"), ("local", "refs"), ("local", "dry_run")):
        if options.given.get(one) and options.given.get(other):
            raise UsageError(
                f"%%remote: --{one.replace('_', '-')} and --{other.replace('_', '-')} "
                "do not go together"
            )
    return options


def _unknown(word: str, flag: str, by_flag: dict[str, Option], magic: str) -> str:
    if not word.startswith("-"):
        return f"{magic}: {word!r} is not an option (options start with --; see {magic}?)"
    bare = flag.lstrip("-")
    near = [f for f in by_flag if bare and f[2:].startswith(bare)]
    near += [f for f in difflib.get_close_matches(flag, by_flag, n=3, cutoff=0.55) if f not in near]
    near += [f for f in by_flag if len(bare) > 2 and bare in f and f not in near]
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else f" See {magic}? for all of them."
    return f"{magic}: unknown option {flag}.{hint}"


def help_text() -> str:
    """The docstring of ``%%remote``, so that ``%%remote?`` always says what the parser accepts."""
    usage = " ".join(f"[{option.usage}]" for option in CELL_OPTIONS)
    lines = [
        "Run the cell in a worker process.",
        "",
        "What the cell reads goes there, what it assigns comes back, and what it prints or",
        "displays appears under the cell as it happens. The worker gets copies: a list changed",
        "in place there stays as it was here (name it with --out to bring it back).",
        "",
        f"    %%remote {usage}",
        "",
        "Options",
        "-------",
    ]
    width = max(len(option.usage) for option in CELL_OPTIONS) + 2
    lines += [f"{option.usage:<{width}}{option.help}" for option in CELL_OPTIONS]
    lines += [
        "",
        "Examples",
        "--------",
        "    %%remote --num-cpus 2",
        "    total = sum(x * x for x in data)",
        "",
        "    %%remote --each seed=range(100) --out score",
        "    score = simulate(seed)",
    ]
    return "\n".join(lines)


def complete(line: str, names: Callable[[], list[str]] | None = None) -> list[str]:
    """What may follow ``line`` (the text of the ``%%remote`` line up to the cursor)."""
    words = re.split(r"\s+", line)
    current = words[-1] if words else ""
    before = words[1:-1]
    expects: Option | None = None
    for word in reversed(before):
        if word.startswith("--"):
            expects = _BY_FLAG.get(word)
            break
    if current.startswith("-"):
        used = {w.partition("=")[0] for w in before}
        return [f for f in _BY_FLAG if f.startswith(current) and f not in used]
    if expects is not None and expects.kind == "names" and names is not None:
        head, comma, tail = current.rpartition(",")
        return [f"{head}{comma}{n}" for n in names() if n.startswith(tail)]
    if expects is not None and expects.kind == "value" and before and before[-1] == expects.flag:
        return []
    if current:
        return []
    used = {w.partition("=")[0] for w in before}
    return [f for f in _BY_FLAG if f not in used]
