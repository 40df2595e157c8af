"""Tracebacks that cross processes and still show the notebook's own lines.

In the worker, :func:`note` writes the frames of the user's code (the runtime's own are left out) on
the exception, where pickling keeps them. In the notebook, :func:`rebuild` makes a traceback of them
that IPython formats like any other, and :func:`dress` makes IPython show exactly that one.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ATTRIBUTE = "__fanlight_trace__"
_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_FRAME = re.compile(r'^ *(?:[|] *)?File "(?P<file>.+)", line (?P<line>\d+), in (?P<name>.+)$', re.M)
LIMIT = 200  # frames kept; endless recursion has a thousand


@dataclass
class Frame:
    filename: str
    line: int
    name: str
    source: str = ""
    first: int = 0  # where the function starts; 0 for "not known"


@dataclass
class Trace:
    """One exception of a chain: what it was, where it was, and how it belongs to the one above."""

    frames: list[Frame]
    kind: str = ""
    message: str = ""
    relation: str = ""  # "" for the first, then "cause" or "context"
    exception: BaseException | None = None  # when it can be pickled


def register_source(filename: str, source: str) -> None:
    """Let ``linecache`` (and so every traceback) find a cell's lines under its file name."""
    lines = [line + "\n" for line in source.split("\n")]
    linecache.cache[filename] = (len(source), None, lines, filename)


def note(error: BaseException) -> None:
    """Called in the worker on the way out of the cell; never raises.

    An error of a nested task is noted on the user's exception inside it, since that is what keeps
    its attributes when it travels.
    """
    try:
        setattr(_innermost(error), ATTRIBUTE, _chain(error))
    except Exception:
        return


def _innermost(error: BaseException) -> BaseException:
    while isinstance(getattr(error, "cause", None), BaseException) and hasattr(
        error, "traceback_text"
    ):
        error = error.cause  # type: ignore[attr-defined]
    return error


def _chain(error: BaseException) -> list[Trace]:
    import cloudpickle

    traces: list[Trace] = []
    seen: set[int] = set()
    current: BaseException | None = error
    relation = ""
    while current is not None and id(current) not in seen and len(traces) < 10:
        seen.add(id(current))
        inner = _innermost(current)
        frames = user_frames(current.__traceback__)
        if inner is not current:  # from the cell's line on into the nested task's lines
            frames += frames_of_text(current.traceback_text)  # type: ignore[attr-defined]
        trace = Trace(
            frames=frames,
            kind=type(inner).__qualname__,
            message=_message(inner),
            relation=relation,
        )
        if traces:
            try:
                cloudpickle.dumps(inner)
                trace.exception = inner
            except Exception:
                trace.exception = None
        traces.append(trace)
        if current.__cause__ is not None:
            current, relation = current.__cause__, "cause"
        elif current.__context__ is not None and not current.__suppress_context__:
            current, relation = current.__context__, "context"
        else:
            current = None
    return traces


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<no message: its __str__ failed>"


def user_frames(tb: types.TracebackType | None) -> list[Frame]:
    """The frames of user code: from the cell on, and without the runtime's at the end."""
    frames = []
    for frame, line in traceback.walk_tb(tb):
        code = frame.f_code
        if code.co_filename.startswith(_OWN):
            continue
        source = linecache.getline(code.co_filename, line, frame.f_globals).rstrip()
        frames.append(Frame(code.co_filename, line, code.co_name, source, code.co_firstlineno))
    runtime = _runtime_folder()
    while frames and runtime and frames[0].filename.startswith(runtime):
        frames.pop(0)
    while frames and runtime and frames[-1].filename.startswith(runtime):
        frames.pop()
    if len(frames) > LIMIT:
        frames = [*frames[: LIMIT // 2], *frames[-LIMIT // 2 :]]
    return frames


def _runtime_folder() -> str:
    module = sys.modules.get("fanlight")
    path = getattr(module, "__file__", None)
    return os.path.dirname(os.path.abspath(path)) + os.sep if path else ""


def frames_of_text(text: str) -> list[Frame]:
    """The frames of user code in a formatted traceback, from the outermost task inwards.

    Of a chain of exceptions only the last is taken.
    """
    last = text.rpartition("Traceback (most recent call last):")[2] if _chained(text) else text
    runtime = _runtime_folder()
    return [
        Frame(m["file"], int(m["line"]), m["name"])
        for m in _FRAME.finditer(last)
        if not m["file"].startswith(_OWN) and not (runtime and m["file"].startswith(runtime))
    ]


def _chained(text: str) -> bool:
    return "The above exception was" in text or "During handling of the above" in text


def restore(error: BaseException) -> BaseException:
    """The user's exception inside what ``get`` raised, with traceback and causes rebuilt.

    Frames come from :func:`note`; where a class lost them on its way, from the text of the remote
    traceback.
    """
    inner = _innermost(error)
    traces: list[Trace] = list(getattr(inner, ATTRIBUTE, None) or [])
    text = getattr(error, "traceback_text", "")
    inner.__traceback__ = rebuild(traces[0].frames if traces else frames_of_text(text))
    above = inner
    for trace in traces[1:]:
        cause = trace.exception
        if cause is None:
            cause = _stand_in(trace)
        cause.__traceback__ = rebuild(trace.frames)
        if trace.relation == "cause":
            above.__cause__ = cause
        else:
            above.__context__ = cause
        above = cause
    return inner


def _stand_in(trace: Trace) -> BaseException:
    cls = type(trace.kind.rpartition(".")[2], (Exception,), {"__module__": "builtins"})
    return cls(trace.message)


def rebuild(frames: list[Frame]) -> types.TracebackType | None:
    """A traceback object whose entries name the given files, lines and functions."""
    tb: types.TracebackType | None = None
    for frame in reversed(frames):
        if frame.source and not linecache.getline(frame.filename, frame.line):
            _remember_line(frame)
        fake = _frame(frame)
        if fake is not None:
            tb = types.TracebackType(tb, fake, max(fake.f_lasti, 0), frame.line)
    return tb


def _remember_line(frame: Frame) -> None:
    """A file that only the worker has: keep at least the line that matters."""
    entry = linecache.cache.get(frame.filename)
    lines = list(entry[2]) if entry is not None and len(entry) == 4 else []
    lines += ["\n"] * (frame.line - len(lines))
    lines[frame.line - 1] = frame.source + "\n"
    linecache.cache[frame.filename] = (sum(map(len, lines)), None, lines, frame.filename)


class _Probe(Exception):
    pass


def _frame(frame: Frame) -> types.FrameType | None:
    """A frame whose code has the name, file and lines of the given one, and nothing else of it.

    IPython reads the line from the frame, and takes the source from where the function starts.
    """
    first = frame.first or _first_line(frame)
    above = max(0, frame.line - first)
    code = compile("\n" * above + "raise probe", frame.filename, "exec")
    code = code.replace(co_name=frame.name, co_qualname=frame.name, co_firstlineno=first)
    try:
        exec(code, {"probe": _Probe(), "__name__": "__main__", "__file__": frame.filename})
    except _Probe as error:
        tb = error.__traceback__
        assert tb is not None and tb.tb_next is not None
        return tb.tb_next.tb_frame
    return None


def _first_line(frame: Frame) -> int:
    """Where the function of a frame known from text starts: its nearest ``def`` above."""
    if not frame.name.startswith("<"):
        start = re.compile(rf"\s*(async\s+)?(def|class)\s+{re.escape(frame.name)}\b")
        for line in range(frame.line, 0, -1):
            if start.match(linecache.getline(frame.filename, line)):
                return line
    return 1


def dress(error: BaseException, shell: Any, heading: str = "") -> BaseException:
    """Make IPython show the rebuilt traceback alone, without the magic's frames, once.

    IPython asks an exception for ``_render_traceback_`` before it formats it itself.
    """
    tb = error.__traceback__
    try:
        lines = list(shell.InteractiveTB.structured_traceback(type(error), error, tb, tb_offset=0))
    except Exception:
        lines = traceback.format_exception(type(error), error, tb)
    if heading:
        lines = [*lines, heading]
    try:
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    except Exception:
        return error
    return error


def teach_errors(shell: Any) -> Callable[[], None]:
    """Have IPython show errors that ``get`` raises in plain cells as one traceback.

    It goes from the cell's line straight into the task's lines; the runtime's own frames say
    nothing to the user. Returns what undoes it.
    """
    from fanlight.errors import FanlightError

    def render(self: BaseException) -> list[str]:
        return plain_lines(self, shell)

    FanlightError._render_traceback_ = render  # type: ignore[attr-defined]

    def undo() -> None:
        if FanlightError.__dict__.get("_render_traceback_") is render:
            del FanlightError._render_traceback_  # type: ignore[attr-defined]

    return undo


def plain_lines(error: BaseException, shell: Any) -> list[str]:
    """The formatted traceback of an error that reached a plain cell through ``get``."""
    from fanlight.errors import TaskCancelledError

    inner = _innermost(error)
    text = str(getattr(error, "traceback_text", ""))
    chained = _chained(text)
    remote = None if chained or inner is error else rebuild(frames_of_text(text))
    tb = _without_runtime(error.__traceback__, remote)
    context, inner.__context__ = inner.__context__, None
    try:
        lines = shell.InteractiveTB.structured_traceback(type(inner), inner, tb, tb_offset=0)
    finally:
        inner.__context__ = context
    name = ""
    while inner is not error:
        name = getattr(error, "task_name", "") or name
        error = error.cause  # type: ignore[attr-defined]
    if isinstance(inner, TaskCancelledError):
        name = ""  # it says so itself
    tail = [f"This happened in the task {name}."] if name else []
    return [*lines, *tail, *(["\n" + text] if chained else [])]


def _without_runtime(
    tb: types.TracebackType | None, end: types.TracebackType | None
) -> types.TracebackType | None:
    """The traceback without frames of IPython and the runtime, and with ``end`` at its end."""
    import IPython

    assert IPython.__file__ is not None
    hidden = (_OWN, _runtime_folder() or _OWN, os.path.dirname(IPython.__file__) + os.sep)
    kept = []
    while tb is not None:
        if not tb.tb_frame.f_code.co_filename.startswith(hidden):
            kept.append(tb)
        tb = tb.tb_next
    for entry in reversed(kept):
        end = types.TracebackType(end, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return end


def text_of(error: BaseException, shell: Any) -> str:
    """The formatted traceback, for a background cell whose turn to raise is over."""
    render = getattr(error, "_render_traceback_", None)
    lines = render() if render is not None else traceback.format_exception(error)
    return "\n".join(lines)
