"""The options of ``%%remote``: one table for parsing, help and tab completion."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

try:  # the parser itself needs no IPython, so that it can be used and tested without one
    from IPython.core.error import UsageError
except ImportError:  # pragma: no cover

    class UsageError(Exception):  # type: ignore[no-redef]
        """A magic was called with arguments that make no sense."""


@dataclass(frozen=True)
class Option:
    """One option.

    ``kind``: "flag", "value", "names" (a list), "pairs" (a value that may be given again and again,
    gathered in a dict), or "maybe" (value optional). ``completes`` says what its values are for tab
    completion: "variables" or "namespaces". ``group`` is its heading in the reference.
    """

    flag: str
    kind: str
    help: str
    metavar: str = ""
    convert: Callable[[str], Any] = str
    group: str = ""
    completes: str = ""

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


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if value < 0 or value != value or value == float("inf"):
        raise ValueError("it must be a number that is not negative")
    return int(value) if value.is_integer() else value


def _count(text: str) -> int:
    value = number(text)
    if not isinstance(value, int):
        raise ValueError("it must be a whole number")
    return value


def resources(text: str) -> dict[str, float]:
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


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?) *(?P<unit>[kmgt]?i?)b?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes from what people write. Raises ValueError.

    >>> parse_size("2G"), parse_size("500 MB"), parse_size("1.5GiB"), parse_size("4096")
    (2000000000, 500000000, 1610612736, 4096)
    """
    found = _SIZE.fullmatch(_unquote(text).strip())
    unit = found["unit"].lower() if found else "?"
    if found is None or unit not in _UNITS:
        raise ValueError(f"{text!r} is not a size such as 500MB, 2G or 1.5GiB")
    size = round(float(found["number"]) * _UNITS[unit])
    if not size:
        raise ValueError("it must be more than nothing")
    return size


def _variable(text: str) -> tuple[str, str]:
    """``K=V`` or ``K="V with blanks"``, for --env."""
    key, equals, value = _unquote(text).partition("=")
    if not equals or not _VARIABLE.fullmatch(key):
        raise ValueError("it must look like OMP_NUM_THREADS=4")
    return key, _unquote(value)


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def namespace_name(text: str) -> str:
    """Check the name of a namespace. Raises ValueError."""
    if not _NAMESPACE.fullmatch(text):
        raise ValueError(f"{text!r} is not a name for a namespace (letters, digits, _ - .)")
    return text


_NAMESPACE = re.compile(r"[A-Za-z_][\w.-]{0,79}")


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def label(text: str) -> str:
    return _unquote(text)


INOUT = "What goes there and comes back"
HOW = "How it runs"
TAKES = "What it takes"
SHOWN = "What is shown"

CELL_OPTIONS: tuple[Option, ...] = (
    Option(
        "--in",
        "names",
        "send these variables and no others",
        "NAMES",
        _name,
        INOUT,
        "variables",
    ),
    Option(
        "--out",
        "names",
        "bring these variables back and no others; without names, none",
        "[NAMES]",
        _name,
        INOUT,
        "variables",
    ),
    Option("--refs", "flag", "bind ObjectRefs instead of values", group=INOUT),
    Option(
        "--bg",
        "maybe",
        "return at once; outputs are refs; NAME gets a handle with done(), result(), cancel()",
        "NAME",
        _name,
        HOW,
    ),
    Option(
        "--each",
        "value",
        "run once per element, in parallel; outputs are lists in order",
        "VAR=EXPR",
        _each,
        HOW,
    ),
    Option(
        "--on",
        "value",
        "run in the namespace NAME, which keeps its variables for the next cell on it",
        "NAME",
        namespace_name,
        HOW,
        "namespaces",
    ),
    Option(
        "--num-cpus",
        "value",
        "CPUs that one run takes (default 1, with --on 0)",
        "N",
        number,
        TAKES,
    ),
    Option("--num-gpus", "value", "GPUs that one run takes", "N", number, TAKES),
    Option(
        "--resources", "value", 'other resources, as {"name": amount}', "JSON", resources, TAKES
    ),
    Option(
        "--memory", "value", "memory to reserve, such as 500MB or 2G", "SIZE", parse_size, TAKES
    ),
    Option(
        "--env",
        "pairs",
        "set an environment variable for the run; may be given again",
        "K=V",
        _variable,
        TAKES,
    ),
    Option(
        "--retries", "value", "run again up to N times after an error or a crash", "N", _count, HOW
    ),
    Option("--timeout", "value", "cancel the cell after S seconds", "S", number, HOW),
    Option("--name", "value", "what the panel and the monitor call it", "NAME", label, SHOWN),
    Option("--local", "flag", "run it here, in the notebook's own process", group=HOW),
    Option("--dry-run", "flag", "only say what would be sent and brought back", group=SHOWN),
    Option("--quiet", "flag", "no monitor, no summary, no notes", group=SHOWN),
)

_BY_FLAG = {option.flag: option for option in CELL_OPTIONS}


def split(line: str, magic: str = "%%remote") -> list[str]:
    """Split at blanks that stand outside quotes and brackets: ``x=[1, 2]`` is one word.

    Raises :class:`UsageError` where a quote or a bracket is not closed.
    """
    return [word for word, _ in _words(line, magic)]


def _words(line: str, magic: str) -> Iterator[tuple[str, int]]:
    """The words of :func:`split`, each with the position behind it."""
    word = ""
    quote = ""
    depth = 0
    skip = False
    for position, char in enumerate(line):
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
                yield word, position
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
        raise UsageError(f"{magic}: unclosed {'quote' if quote else 'bracket'} in: {line.strip()}")
    if word:
        yield word, len(line)


def parse(line: str, table: tuple[Option, ...] = CELL_OPTIONS, magic: str = "%%remote") -> Options:
    """Parse the line of a magic. Raises :class:`UsageError` with what is wrong and what is near."""
    options = Options()
    words = split(line, magic)
    position = 0
    while position < len(words):
        position = _take(options, words, position, table, magic)
    return options


def parse_line(line: str) -> tuple[Options, str]:
    """``%remote [options] EXPR``: the options in front, each with one word, and the rest as it is.

    >>> parse_line("--on gpu0 model  + 1")
    (Options(given={'on': 'gpu0'}), 'model  + 1')
    """
    options = Options()
    rest = line.strip()
    while rest.startswith("--"):
        words = _words(rest, "%remote")
        word, end = next(words)
        option = _BY_FLAG.get(word)
        if option is not None and option.kind not in ("flag", "maybe"):
            value, end = next(words, ("", end))
            _take(options, [word, value] if value else [word], 0, CELL_OPTIONS, "%remote")
        else:
            _take(options, [word], 0, CELL_OPTIONS, "%remote")
        rest = rest[end:].lstrip()
    return _agreeing(options, "%remote"), rest


def _take(
    options: Options, words: list[str], position: int, table: tuple[Option, ...], magic: str
) -> int:
    """Take the option at ``position`` and its values; returns where the next one is."""
    by_flag = {option.flag: option for option in table}
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
        return position
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
            return position
        raise UsageError(f"{magic}: {option.usage} needs a value")
    try:
        converted = [option.convert(value) for value in values]
    except ValueError as error:
        raise UsageError(f"{magic}: {option.usage}: {error}") from None
    if option.kind == "names":
        options.given.setdefault(option.key, []).extend(converted)
    elif option.kind == "pairs":
        options.given.setdefault(option.key, {}).update(converted)
    else:
        options.given[option.key] = converted[0]
    return position


def parse_cell(line: str) -> Options:
    """Parse the line of ``%%remote`` and refuse combinations that contradict each other."""
    return _agreeing(parse(line), "%%remote")


def _agreeing(options: Options, magic: str) -> Options:
    for one, other in _CONTRADICTIONS:
        if options.given.get(one) and options.given.get(other):
            raise UsageError(
                f"{magic}: --{one.replace('_', '-')} and --{other.replace('_', '-')} "
                f"do not go together{_BECAUSE.get((one, other), '')}"
            )
    return options


_CONTRADICTIONS = (
    ("local", "bg"),
    ("local", "refs"),
    ("local", "dry_run"),
    ("local", "on"),
    ("on", "retries"),
)
_BECAUSE = {
    ("on", "retries"): ": a second run would meet what the first one left in the namespace",
}


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
