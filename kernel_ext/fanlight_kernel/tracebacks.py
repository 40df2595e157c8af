"""Tracebacks that cross processes and still show the notebook's own lines.

The runtime brings the frames of users' code along (:mod:`fanlight.traces`). :func:`restored` makes
a traceback of them that IPython formats like any other, and :func:`dress` makes IPython show
exactly that one.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import traceback
import types
from collections.abc import Callable
from typing import Any

from fanlight import by_value, errors, traces

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_RUNTIME = os.path.dirname(os.path.abspath(traces.__file__)) + os.sep


def register_source(filename: str, source: str) -> None:
    """Let ``linecache`` (and so every traceback) find a cell's lines under its file name."""
    entry: Any = linecache.cache.get(filename)
    if entry is None or len(entry) != 4 or "".join(entry[2]) != source:
        by_value.remember_source(filename, source)


def restored(error: BaseException) -> BaseException:
    """The user's exception inside what ``get`` raised, with traceback and causes rebuilt.

    For one that could not travel, something that looks like it and says so.
    """
    inner = errors.innermost(error)
    trace = getattr(error, "_trace", None)
    if not trace:
        return inner
    if type(inner) in (errors.FanlightError, errors.UnserializableException):
        reason = str(inner).partition(" Its traceback:")[0]
        inner = traces.stand_in(trace[0])
        inner.add_note(reason)
    elif inner is error:
        return inner
    traces.restore(inner, trace)
    return inner


def dress(error: BaseException, shell: Any, heading: str = "") -> BaseException:
    """Make IPython show the rebuilt traceback alone, without the magic's frames, once.

    IPython asks an exception for ``_render_traceback_`` before it formats it itself.
    """
    lines = format_lines(error, error.__traceback__, shell)
    if heading:
        lines = [*lines, heading]
    try:
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    except Exception:
        return error
    return error


def format_lines(error: BaseException, tb: types.TracebackType | None, shell: Any) -> list[str]:
    """As IPython formats it, causes included; groups of exceptions as Python does."""
    if not isinstance(error, BaseExceptionGroup):
        try:
            return list(
                shell.InteractiveTB.structured_traceback(type(error), error, tb, tb_offset=0)
            )
        except Exception:
            return traceback.format_exception(type(error), error, tb)
    text = "".join(traceback.format_exception(type(error), error, tb))
    text = _CARETS.sub("", text)  # those of rebuilt frames mean nothing
    return _FILE.sub(lambda found: _as_cell(found, shell), text).splitlines()


_CARETS = re.compile(r"^[ |]*[~^]+\n", re.M)
_FILE = re.compile(r'File "(?P<file>[^"\n]+)", line')


def _as_cell(found: re.Match[str], shell: Any) -> str:
    label = shell.compile.format_code_name(found["file"])
    return f"{' '.join(label)}, line" if label else found[0]


def teach_errors(shell: Any) -> Callable[[], None]:
    """Have IPython show errors that ``get`` raises in plain cells as one traceback.

    It goes from the cell's line straight into the task's lines; the runtime's own frames say
    nothing to the user. Returns what undoes it.
    """
    from fanlight.errors import FanlightError

    def render(self: BaseException) -> list[str]:
        return plain_lines(self, shell)

    FanlightError._render_traceback_ = render  # type: ignore[attr-defined]
    own = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *args: Any, **kwargs: Any) -> Any:
        """IPython does not ask groups of exceptions how to show them."""
        try:
            kind, value, _ = shell._get_exc_info(exc_tuple)
        except ValueError:
            return own(exc_tuple, *args, **kwargs)
        if isinstance(value, BaseExceptionGroup) and hasattr(value, "_render_traceback_"):
            return shell._showtraceback(kind, value, value._render_traceback_())
        if not hasattr(value, "_render_traceback_"):
            _trim(value, shell)
        return own(exc_tuple, *args, **kwargs)

    shell.showtraceback = showtraceback

    def undo() -> None:
        if shell.__dict__.get("showtraceback") is showtraceback:
            del shell.showtraceback
        if FanlightError.__dict__.get("_render_traceback_") is render:
            del FanlightError._render_traceback_  # type: ignore[attr-defined]

    return undo


def _trim(error: Any, shell: Any) -> None:
    """What the runtime's own code raised is shown where the cell called it; an interrupt that
    struck in what it calls, too."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = frames[-1:] if not isinstance(error, KeyboardInterrupt) else frames
    if any(map(traces.is_ours, last)):
        tb = _without_runtime(error.__traceback__, None)
        with contextlib.suppress(AttributeError, TypeError):
            error._render_traceback_ = lambda: format_lines(error, tb, shell)


def plain_lines(error: BaseException, shell: Any) -> list[str]:
    """The formatted traceback of an error that reached a plain cell through ``get``."""
    outer, inner = error, restored(error)
    remote = None
    if inner is not error:
        remote = inner.__traceback__
        context = error.__context__
        ours = context is None or not traces.frames_of(context.__traceback__)
        if inner.__context__ is None and context is not inner and not ours:
            inner.__context__ = context
    whole = _without_runtime(error.__traceback__, remote)
    lines = format_lines(inner, whole, shell)
    name = ""
    while inner is not outer and isinstance(outer, errors.TaskError):
        name = outer.task_name or name
        outer = outer.cause
    if isinstance(inner, errors.TaskCancelledError):
        name = ""  # it says so itself
    return [*lines, f"This happened in the task {name}."] if name else lines


def _without_runtime(
    tb: types.TracebackType | None, end: types.TracebackType | None
) -> types.TracebackType | None:
    """The traceback without frames of IPython and the runtime, and with ``end`` at its end."""
    import IPython

    assert IPython.__file__ is not None
    hidden = (_OWN, _RUNTIME, os.path.dirname(IPython.__file__) + os.sep)
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


def short(error: BaseException, heading: str = "") -> BaseException:
    """An error of the system rather than of the cell: no traceback says more than its text."""
    text = f"{type(error).__name__}: {error}"
    lines = [text, heading] if heading else [text]
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error
