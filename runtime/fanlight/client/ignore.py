"""Which files of a directory are not copied: patterns as git understands them in ``.gitignore``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from fanlight import config

DEFAULT = (".git", ".venv", "venv", "__pycache__")
FILES = (".gitignore", ".rayignore", ".fanlightignore")


class Rule(NamedTuple):
    """One line: a pattern below ``base``, a path relative to the root ("" or "a/b/")."""

    base: str
    pattern: re.Pattern[str]
    negated: bool
    folders_only: bool


def parse(line: str, base: str = "") -> Rule | None:
    """The rule of one line; None for blank lines and comments.

    >>> parse("# nothing"), parse("*.log").pattern.fullmatch("a/b.log") is not None
    (None, True)
    """
    line = line.rstrip("\n")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    if negated:
        line = line[1:]
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    anchored = "/" in line
    line = line.removeprefix("/")
    prefix = "" if anchored else "(?:.*/)?"
    return Rule(base, re.compile(prefix + _translate(line), re.DOTALL), negated, folders_only)


def _translate(pattern: str) -> str:
    """A regular expression: ``*`` and ``?`` stay within a name, ``**`` spans several."""
    out = []
    i = 0
    while i < len(pattern):
        if pattern.startswith("**/", i) and (i == 0 or pattern[i - 1] == "/"):
            out.append("(?:.*/)?")
            i += 3
        elif pattern.startswith("**", i) and i + 2 == len(pattern) and i and pattern[i - 1] == "/":
            out.append(".+")
            i += 2
        elif pattern[i] == "*":
            out.append("[^/]*")
            i += 1
        elif pattern[i] == "?":
            out.append("[^/]")
            i += 1
        elif pattern[i] == "[" and (end := pattern.find("]", i + 2)) > 0:
            inside = pattern[i + 1 : end].replace("\\", "\\\\")
            out.append(f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]")
            i = end + 1
        else:
            if pattern[i] == "\\" and i + 1 < len(pattern):
                i += 1
            out.append(re.escape(pattern[i]))
            i += 1
    return "".join(out)


def ignored(path: str, folder: bool, rules: list[Rule]) -> bool:
    """Whether ``path`` (relative, with slashes) is left out; the last rule that fits decides."""
    for rule in reversed(rules):
        if rule.folders_only and not folder:
            continue
        if path.startswith(rule.base) and rule.pattern.fullmatch(path[len(rule.base) :]):
            return not rule.negated
    return False


def walk(root: str, excludes: list[str], *, gitignore: bool = True) -> Iterator[tuple[str, bool]]:
    """Paths below ``root`` that are kept, relative, folders (with True) before what is in them.

    Ignore files count for the directory that they are in. Links to directories are not followed:
    they come as files do. What is neither (sockets, pipes) is left out, and so are the sessions of
    Fanlight, should they be below ``root``.
    """
    names = FILES if gitignore else FILES[1:]
    made = (parse(line) for line in (*DEFAULT, *excludes))
    yield from _walk(root, "", [rule for rule in made if rule is not None], [], names)


def _walk(
    root: str, base: str, always: list[Rule], rules: list[Rule], names: tuple[str, ...]
) -> Iterator[tuple[str, bool]]:
    for name in names:
        try:
            with open(os.path.join(root, base, name), encoding="utf-8", errors="replace") as f:
                rules = rules + [r for r in (parse(line, base) for line in f) if r is not None]
        except (FileNotFoundError, IsADirectoryError):
            pass
    ours = config.socket_dir()
    with os.scandir(os.path.join(root, base)) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = base + entry.name
        folder = entry.is_dir(follow_symlinks=False)
        if folder and entry.name == ours.name:
            latest = os.path.join(entry.path, "session_latest")  # of init(_temp_dir=)
            if os.path.lexists(latest) or os.path.samefile(entry.path, ours):
                continue  # what we write there now would be copied again and again
        if ignored(path, folder, always) or ignored(path, folder, rules):
            continue
        if folder:
            yield path, True
            yield from _walk(root, path + "/", always, rules, names)
        elif entry.is_file() or entry.is_symlink():
            yield path, False
