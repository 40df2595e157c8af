"""Failures by their cause: what the panel's list of errors is made of.

Kept when a task fails, which is rare enough; of more than :data:`KEPT` causes, those that are
longest without a failure are forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanlight.answers import CauseView, ErrorsAnswer

if TYPE_CHECKING:
    from fanlight.core.machine import Core, ErrorRecord

KEPT = 200
_EXAMPLES = 20  # tasks of one cause that are told
_MESSAGE = 2_000  # characters
_TRACEBACK = 20_000


class Causes:
    def __init__(self) -> None:
        self.table: dict[tuple[Any, ...], CauseView] = {}  # the newest last
        self.count = 0
        self._made = 0

    def add(self, record: ErrorRecord) -> None:
        """Called for each failure."""
        self.count += 1
        kind = kind_of(record.message)
        file, line, function = place_of(record.traceback)
        key = (record.name, record.origin, kind, file, line)
        cause = self.table.pop(key, None)
        if cause is None:
            self._made += 1
            cause = CauseView(
                id=str(self._made),
                kind=kind,
                message="",
                name=record.name[:200],
                group=record.group,
                origin=record.origin,
                file=file,
                line=line,
                function=function,
                count=0,
                first=record.time,
                last=0.0,
                tasks=[],
                traceback="",
            )
            if len(self.table) >= KEPT:
                del self.table[next(iter(self.table))]
        self.table[key] = cause
        cause.count += 1
        cause.last = record.time
        cause.message = record.message[:_MESSAGE]
        cause.traceback = _ends(record.traceback)
        task = record.task.hex()
        if not cause.tasks or cause.tasks[0] != task:  # an attempt more of the same task
            cause.tasks.insert(0, task)
            del cause.tasks[_EXAMPLES:]

    def moved(self, groups: dict[int, int]) -> None:
        """Groups were folded into others."""
        for cause in self.table.values():
            cause.group = groups.get(cause.group, cause.group)


def _ends(text: str) -> str:
    if len(text) <= _TRACEBACK:
        return text
    half = _TRACEBACK // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def kind_of(message: str) -> str:
    """The type that the last line of a traceback begins with.

    >>> kind_of("ValueError: bad input"), kind_of("pkg.mod.Broken"), kind_of("Task f was cancelled.")
    ('ValueError', 'Broken', '')
    """
    head = message.partition(":")[0].split("\n")[0].strip()
    name = head.rpartition(".")[2]
    return name if head and name.isidentifier() and " " not in head else ""


def place_of(traceback: str) -> tuple[str, int, str]:
    """File, line and function of the innermost frame; of a group of exceptions, the outermost's.

    >>> place_of('Traceback (most recent call last):\\n  File "<cell 4>", line 3, in flaky\\n    x\\n')
    ('<cell 4>', 3, 'flaky')
    >>> place_of("no traceback")
    ('', 0, '')
    """
    at = traceback.rfind('  File "')
    if at < 0:
        return "", 0, ""
    file, _, rest = traceback[at + 8 :].partition('", line ')
    number, _, function = rest.partition("\n")[0].partition(", in ")
    return file[:500], int(number) if number.isdecimal() else 0, function.strip()[:200]


def query(core: Core, _client: Any, _args: dict[str, Any]) -> ErrorsAnswer:
    """All causes that are remembered, the newest first."""
    causes = core.causes
    return ErrorsAnswer(causes=list(reversed(causes.table.values())), count=causes.count)
