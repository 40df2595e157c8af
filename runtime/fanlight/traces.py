"""Where an exception came from, as it travels with it: frames, causes, notes, parts of a group.

Pickling an exception loses its traceback and its causes. So the worker packs an :class:`Trace`
beside it (:func:`of`), and the driver keeps that on the error that ``get`` raises. Front ends make
tracebacks of it (:func:`restore`) that look as if the code had run here: no text is parsed.

Of an error that passed through several tasks, the frames go on from the outermost task's code into
that of the innermost.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import traceback
from types import CodeType, FrameType, TracebackType
from typing import Any

import msgspec

from fanlight import errors, serialization

LIMIT = 100  # frames kept of one exception; endless recursion has a thousand
_REPEATS = 3  # of the same frame
_CHAIN = 10  # causes kept
_PARTS = 20  # of a group
_WIDTH = 400  # characters of a line of source

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_HIDDEN = ("fanlight.", "fanlight_kernel.")
_RUNS_CELLS = "fanlight_kernel.worker"


class Frame(msgspec.Struct, array_like=True):
    filename: str
    line: int
    name: str
    source: str = ""  # the line itself, for files that only the worker has
    first: int = 0  # where the function starts; 0 for "not known"


class Trace(msgspec.Struct, array_like=True):
    """One exception of a chain."""

    frames: list[Frame]
    kind: str = ""
    message: str = ""
    relation: str = ""  # to the one above: "" for the first, then "cause" or "context"
    pickled: bytes = b""  # the exception, if it can be pickled; not of the first
    notes: list[str] = []
    parts: list[list[Trace]] = []  # the chains of a group's exceptions
    pid: int = 0


def of(error: BaseException) -> list[Trace]:
    """The chain of an exception that left a task; its causes follow it. Never raises."""
    try:
        return _chain(error, set())
    except Exception:
        return []


def _chain(error: BaseException, seen: set[int]) -> list[Trace]:
    traces: list[Trace] = []
    current: BaseException | None = error
    relation = ""
    while current is not None and id(current) not in seen and len(traces) < _CHAIN:
        seen.add(id(current))
        inner = errors.innermost(current)
        frames = frames_of(current.__traceback__)
        # From the line of this task that waited for another on into the other's own lines.
        nested = _nested(current)
        if nested:
            frames += nested[0].frames
        trace = Trace(
            frames[: LIMIT // 2] + frames[-LIMIT // 2 :] if len(frames) > LIMIT else frames,
            type(inner).__qualname__,
            _text(inner),
            relation,
            notes=[str(note) for note in getattr(inner, "__notes__", ())],
            pid=nested[0].pid if nested else os.getpid(),
        )
        if traces:
            trace.pickled = _pickled(inner)
        if isinstance(inner, BaseExceptionGroup):
            trace.parts = [_chain(part, seen) for part in inner.exceptions[:_PARTS]]
            if nested and nested[0].parts:
                trace.parts = nested[0].parts
        traces.append(trace)
        traces += nested[1:]
        if nested:
            break  # its causes are there
        if current.__cause__ is not None:
            current, relation = current.__cause__, "cause"
            continue
        context = None if current.__suppress_context__ else current.__context__
        if context is not None and not frames_of(context.__traceback__) and traces[-1].frames:
            context = None  # what the runtime itself was about says nothing to users
        current, relation = context, "context"
    return traces


def _nested(error: BaseException) -> list[Trace]:
    """What an error that came from another task tells of that."""
    cause = error.__cause__
    if isinstance(cause, errors.TaskError) and errors.innermost(cause) is error:
        error = cause  # see ``failures.own_error``
    found: list[Trace] = getattr(error, "_trace", None) or []
    return found if isinstance(error, errors.FanlightError) else []


def _pickled(error: BaseException) -> bytes:
    """An exception that is only shown; refs in it would have to be counted."""
    try:
        found = serialization.dumps(error)
        return b"" if found.contained else found.to_bytes()
    except Exception:
        return b""


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<no message: its __str__ failed>"


def our_folders() -> tuple[str, ...]:
    """Where the runtime's and the extension's own code is; the extension need not be loaded."""
    extension = getattr(sys.modules.get("fanlight_kernel"), "__file__", None)
    return (_PACKAGE, os.path.dirname(extension) + os.sep) if extension else (_PACKAGE,)


def is_ours(frame: FrameType) -> bool:
    """Whether it is code of the runtime or of the extension, which says nothing to users."""
    return str(frame.f_globals.get("__name__", "")).startswith(_HIDDEN) or (
        frame.f_code.co_filename.startswith(_PACKAGE)
    )


def frames_of(tb: TracebackType | None) -> list[Frame]:
    """The frames of users' code in a traceback, outermost first."""
    frames: list[Frame] = []
    for frame, line in traceback.walk_tb(tb):
        if is_ours(frame):
            if frame.f_globals.get("__name__") == _RUNS_CELLS:
                frames.clear()  # such as those of asyncio, in which it runs the cell
            continue
        code = frame.f_code
        source = linecache.getline(code.co_filename, line, frame.f_globals).rstrip()[:_WIDTH]
        frames.append(Frame(code.co_filename, line, code.co_name, source, code.co_firstlineno))
    return _without_repeats(frames)


def _without_repeats(frames: list[Frame]) -> list[Frame]:
    """Of a line that called itself again and again only the first few."""
    kept: list[Frame] = []
    more = 0
    for frame in frames:
        if frame == (kept[-1] if kept else None):
            more += 1
            if more < _REPEATS:
                kept.append(frame)
            continue
        _say_repeated(kept, more)
        more = 0
        kept.append(frame)
    _say_repeated(kept, more)
    return kept


def _say_repeated(kept: list[Frame], more: int) -> None:
    if more >= _REPEATS:
        left_out = f"{kept[-1].name} [and {more - _REPEATS + 1:,} more like this]"
        kept[-1] = msgspec.structs.replace(kept[-1], name=left_out)


# --- where it is shown ---------------------------------------------------------------------------


def restore(error: BaseException, traces: list[Trace]) -> None:
    """Give ``error`` the traceback, the notes and the causes that ``traces`` tells of."""
    above = error
    for position, trace in enumerate(traces):
        current = error if not position else _revived(trace)
        current.__traceback__ = rebuild(trace.frames, trace.pid)
        if trace.notes and not getattr(current, "__notes__", None):
            for note in trace.notes:
                current.add_note(note)
        if isinstance(current, BaseExceptionGroup):
            for part, chain in zip(current.exceptions, trace.parts, strict=False):
                restore(part, chain)
        if position:
            if trace.relation == "cause":
                above.__cause__ = current
            else:
                above.__context__ = current
                above.__suppress_context__ = False
        above = current


def _revived(trace: Trace) -> BaseException:
    if trace.pickled:
        try:
            found = serialization.loads(trace.pickled)
            if isinstance(found, BaseException):
                return found
        except Exception:  # its class cannot be rebuilt here
            trace.pickled = b""
    return stand_in(trace)


def stand_in(trace: Trace) -> BaseException:
    """Something to show for an exception that cannot be had itself."""
    kind: Any = type(trace.kind.rpartition(".")[2], (Exception,), {"__module__": "builtins"})
    found: BaseException = kind(trace.message)
    return found


def rebuild(frames: list[Frame], pid: int = 0) -> TracebackType | None:
    """A traceback whose entries name the given files, lines and functions."""
    tb: TracebackType | None = None
    for position in reversed(range(len(frames))):
        frame = frames[position]
        if position and _is_inlined(frame, frames[position - 1]):
            continue
        if frame.source and not linecache.getline(frame.filename, frame.line):
            _remember_line(frame)
        made = _frame(frame, pid)
        if made is not None:
            tb = TracebackType(tb, made, max(made.f_lasti, 0), frame.line)
    return tb


def _remember_line(frame: Frame) -> None:
    """A file that only the worker has: keep at least the line that matters."""
    entry: Any = linecache.cache.get(frame.filename)
    lines = list(entry[2]) if entry is not None and len(entry) == 4 else []
    lines += ["\n"] * (frame.line - len(lines))
    lines[frame.line - 1] = frame.source + "\n"
    linecache.cache[frame.filename] = (sum(map(len, lines)), None, lines, frame.filename)


class _Probe(Exception):
    pass


_codes: dict[int, CodeType] = {}
_COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")
_STARTS = re.compile(r"\s*((async\s+)?def\s|@)|.*(?<!\w)lambda(:|\s)")


def _is_inlined(frame: Frame, above: Frame) -> bool:
    """Whether it is a comprehension in the line of the frame above, which newer Pythons run there."""
    same = frame.filename == above.filename and frame.line == above.line
    return same and frame.name in _COMPREHENSIONS


def _start(frame: Frame) -> tuple[int, str]:
    """The line that ``inspect`` finds to be the first of a frame's source; and the frame's name."""
    if frame.name not in _COMPREHENSIONS:
        return frame.first or 1, frame.name
    for line in range(frame.first, 0, -1):
        if _STARTS.match(linecache.getline(frame.filename, line)):
            return line, frame.name
    return 1, "<module>"  # the whole file


def _frame(frame: Frame, pid: int) -> FrameType | None:
    """A frame whose code has the name, file and lines of the given one, and nothing else of it.

    Who looks at its variables in a debugger finds one that says where they are.
    """
    first, name = _start(frame)
    above = max(0, frame.line - first)
    code = _codes.get(above)
    if code is None:
        code = compile("\n" * above + "raise _probe", "<frame>", "exec")
        if above < 1000:
            _codes[above] = code
    code = code.replace(
        co_filename=frame.filename,
        co_name=name,
        co_qualname=name,
        co_firstlineno=first,
    )
    where = f" (pid {pid})" if pid else ""
    space = {
        "_probe": _Probe(),
        "__name__": "__main__",
        "__file__": frame.filename,
        "variables_are_elsewhere": f"This ran in a worker process{where}: its variables are there.",
    }
    try:
        exec(code, space)
    except _Probe as error:
        tb = error.__traceback__
        assert tb is not None and tb.tb_next is not None
        return tb.tb_next.tb_frame
    finally:
        del space["_probe"]
    return None
