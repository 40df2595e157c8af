"""What a driver shows of its tasks' output, unless an output listener has shown it.

Each line has its source in front: ``(f pid=123) text``. When several processes print the same line,
but for the numbers in it, the first is shown at once; the others are counted for five seconds and
then shown as one line that ends in ``[repeated 3x across cluster]``. A process that repeats itself
is not shortened. Of a progress bar, which rewrites its line, the last state is shown, and now and then
one before it. These environment variables are read by ``init``; the same names with ``FANLIGHT_``
in the place of ``RAY_`` go before them:

=============================== ================================================================
RAY_DEDUP_LOGS=0                show every line
RAY_DEDUP_LOGS_ALLOW_REGEX      lines in which it is found are always shown
RAY_DEDUP_LOGS_SKIP_REGEX       lines in which it is found are never shown
RAY_DEDUP_LOGS_AGG_WINDOW_S     seconds, instead of five
RAY_COLOR_PREFIX                0: no colour; 1: a colour for each process; else cyan
=============================== ================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanlight.task_output import TaskOutput

WINDOW = 5.0  # seconds
Write = Callable[[str, str], None]  # shows text on "stdout" or "stderr"
_PATTERNS = 10_000  # that are remembered at a time
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{16,}\b|\d+")
_CYAN = 36
_COLOURS = (36, 35, 33, 32, 34, 96, 95, 93, 92, 94)


def _nowhere(origin: str) -> Write | None:
    return None


# Set by the notebook extension: where a cell's notices go, "" being the cell that runs now.
places: Callable[[str], Write | None] = _nowhere


class _Line:
    """A pattern that was shown, and what was held back since."""

    __slots__ = ("first", "held", "last", "many", "source", "stream", "write")

    def __init__(self, stream: str, source: object, now: float, write: Write) -> None:
        self.stream = stream
        self.write = write  # what showed it shows the counts
        self.source = source  # who printed it first
        self.many = False  # others did, too
        self.first = now
        self.held = 0
        self.last = ""  # as it would have been shown


def _later(seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer.cancel


class DriverLog:
    """One for each session; called by whichever thread reads.

    ``clock`` gives seconds, ``later(seconds, call)`` calls back once and returns what stops it;
    ``write(stream, text)`` shows text on "stdout" or "stderr". Tests give their own.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], Callable[[], None]] = _later,
        write: Write | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._clock = clock
        self._later = later
        self._write = write or _show
        self._lock = threading.RLock()
        self._lines: dict[tuple[str, str], _Line] = {}
        self._bars: dict[tuple[str, str], tuple[str, float]] = {}  # states not shown, and since
        self._stop: Callable[[], None] | None = None  # of the timer that runs
        self._explained = False
        self._closed = False
        self._allow = _regex(environ, "DEDUP_LOGS_ALLOW_REGEX")
        self._skip = _regex(environ, "DEDUP_LOGS_SKIP_REGEX")
        self._dedup = _variable(environ, "DEDUP_LOGS") != "0"
        self._colours = _variable(environ, "COLOR_PREFIX")
        if "NO_COLOR" in environ:
            self._colours = "0"
        try:
            self._window = float(_variable(environ, "DEDUP_LOGS_AGG_WINDOW_S") or WINDOW)
        except ValueError:
            self._window = WINDOW

    # --- what comes in -----------------------------------------------------------------------

    def output(self, item: TaskOutput) -> None:
        """Lines that a task wrote, or something that it displayed."""
        if item.stream == "left_out":
            counts = item.data or {}
            item = item._replace(
                stream=counts["stream"], text=left_out(counts["lines"], counts["bytes"]) + "\n"
            )
        display = item.stream == "display"
        text = str((item.data or {}).get("text/plain", "")) if display else item.text
        stream = "stderr" if item.stream == "stderr" else "stdout"
        prefix = self._prefix(stream, item.name or "worker", item.pid)
        shown = []
        with self._lock:
            now = self._clock()
            lines = text.replace("\r\n", "\n").splitlines()
            key = (item.task_id, item.stream)
            if "\r" in text or key in self._bars:
                lines = self._states(key, text.replace("\r\n", "\n"), prefix, now)
            for line in lines:
                if (line or len(lines) > 1) and not (self._skip and self._skip.search(line)):
                    whole = f"{prefix}{line}\n"
                    if display or not self._holds_back(
                        stream, line, item.pid, whole, now, self._write
                    ):
                        shown.append(whole)
            if shown:
                self._write(stream, "".join(shown))

    def notice(self, text: str, pattern: str = "", origin: str = "") -> None:
        """A sentence of the runtime, or a longer report whose ``pattern`` is told: alike ones
        within the window are counted. ``origin``: of the cell that it is about."""
        write = places(origin) or self._write
        pattern = f"{origin}\0{pattern or text}" if origin else pattern or text
        with self._lock:
            whole = f"(fanlight) {text}\n"
            if not self._holds_back("stderr", pattern, object(), whole, self._clock(), write):
                write("stderr", whole)

    def close(self) -> None:
        """Show what was held back; from now on nothing is."""
        with self._lock:
            self._closed = True
            self._flush(everything=True)
            self._show_bars(0.0)
            self._lines.clear()
            if self._stop is not None:
                self._stop()
                self._stop = None

    # --- progress bars -----------------------------------------------------------------------

    def _states(self, key: tuple[str, str], text: str, prefix: str, now: float) -> list[str]:
        """The lines to show of text that rewrites its last line; notes the state of that."""
        *lines, last = text.split("\n")
        lines = [_state(line) for line in lines]
        _, since = self._bars.get(key, ("", -self._window))
        if lines:
            self._bars.pop(key, None)
        if last and "\r" not in last:
            return [*lines, last]
        if _state(last):
            self._bars[key] = (f"{prefix}{_state(last)}\n", since)
            if now - since >= self._window:
                self._bars[key] = ("", now)
                return [*lines, _state(last)]
            self._arm()
        return lines

    def _show_bars(self, age: float) -> None:
        """Show states that nothing has followed."""
        now = self._clock()
        for key, (whole, since) in list(self._bars.items()):
            if now - since >= age:
                del self._bars[key]
                if whole:
                    self._write(key[1] if key[1] == "stderr" else "stdout", whole)

    def _arm(self) -> None:
        if self._stop is None:
            self._stop = self._later(self._window, self._due)

    # --- lines that are alike ----------------------------------------------------------------

    def _holds_back(
        self, stream: str, line: str, source: object, whole: str, now: float, write: Write
    ) -> bool:
        """Whether the line is one to be counted; takes notice of it in any case."""
        if not self._dedup or self._closed or not line:
            return False
        if self._allow and self._allow.search(line):
            return False
        key = (stream, _NUMBERS.sub("0", line))
        known = self._lines.get(key)
        if known is not None and now - known.first >= self._window:
            self._flush()
            known = None
        if known is None:
            while len(self._lines) >= _PATTERNS:
                self._tell(self._lines.pop(next(iter(self._lines))))
            self._lines[key] = _Line(stream, source, now, write)
            return False
        if known.source == source and not known.many:
            return False
        known.many = True
        known.held += 1
        known.last = whole
        self._arm()
        return True

    def _due(self) -> None:
        """The timer's call."""
        with self._lock:
            self._stop = None
            if self._closed:
                return
            self._flush()
            self._show_bars(self._window)
            held = [line.first for line in self._lines.values() if line.held]
            held += [since for _, since in self._bars.values()]
            if held:
                wait = min(held) + self._window - self._clock()
                self._stop = self._later(max(wait, 0.01), self._due)

    def _flush(self, everything: bool = False) -> None:
        """Show counts of the patterns whose window is over, and forget those."""
        now = self._clock()
        for key, line in list(self._lines.items()):
            if everything or now - line.first >= self._window:
                del self._lines[key]
                self._tell(line)

    def _tell(self, line: _Line) -> None:
        if not line.held:
            return
        text = line.last
        if line.held > 1:
            text = f"{text[:-1]} [repeated {line.held}x across cluster]"
            if not self._explained:
                self._explained = True
                text += " (FANLIGHT_DEDUP_LOGS=0 shows every line)"
            text += "\n"
        line.write(line.stream, text)

    # --- looks -------------------------------------------------------------------------------

    def _prefix(self, stream: str, name: str, pid: int) -> str:
        prefix = f"({name} pid={pid})"
        if self._colours != "0" and _colourful(_file(stream)):
            colour = _COLOURS[pid % len(_COLOURS)] if self._colours == "1" else _CYAN
            prefix = f"\033[{colour}m{prefix}\033[0m"
        return prefix + " "


def left_out(lines: int, size: int, where: str = "") -> str:
    """A sentence for a flood of which this was not shown.

    >>> left_out(12345, 1_200_000, "/tmp/x.out has it all")
    '… 12,345 lines (1.2 MB) left out; /tmp/x.out has it all …'
    """
    amount = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(size / 1e3, 0.1):.1f} kB"
    what = f"{lines:,} line{'' if lines == 1 else 's'} ({amount})" if lines else amount
    return f"… {what} left out{f'; {where}' if where else ''} …"


def _state(line: str) -> str:
    """What a line shows in the end that carriage returns rewrite."""
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"FANLIGHT_{name}") or environ.get(f"RAY_{name}") or ""


def _regex(environ: Mapping[str, str], name: str) -> re.Pattern[str] | None:
    text = _variable(environ, name)
    try:
        return re.compile(text) if text else None
    except re.error as e:
        raise ValueError(f"The environment's {name} is not a regular expression: {e}") from None


def _colourful(stream: Any) -> bool:
    """Terminals, and notebooks, whose streams are no terminals but show colours."""
    if type(stream).__module__.startswith("ipykernel."):
        return True
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _file(stream: str) -> Any:
    file = sys.stderr if stream == "stderr" else sys.stdout
    return getattr(file, "behind", file)  # not into the output of a task of engine="inproc"


def _show(stream: str, text: str) -> None:
    file = _file(stream)
    with contextlib.suppress(ValueError, OSError, AttributeError):  # closed, or None
        file.write(text)
        file.flush()
