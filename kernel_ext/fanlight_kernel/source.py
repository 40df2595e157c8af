"""Where a cell's code is: its file name in IPython, and the lines above a magic's body."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from fanlight_kernel import worker
from fanlight_kernel.capture.names import CellNames, analyse
from fanlight_kernel.cells import Cell

_FUTURES = importlib.import_module("__future__")
_FUTURE_FLAGS = 0
for _feature in _FUTURES.all_feature_names:
    _FUTURE_FLAGS |= getattr(_FUTURES, _feature).compiler_flag


def future_flags(shell: Any) -> int:
    """Compiler flags of the ``from __future__`` imports in effect in the notebook."""
    return int(shell.compile.flags) & _FUTURE_FLAGS


def analyse_as(source: str, filename: str, flags: int) -> CellNames:
    """Analyse, with the errors that compiling under the cell's own file name gives."""
    try:
        compile(source, filename, "exec", worker.TOP_LEVEL_AWAIT | flags, True)
        return analyse(source)
    except SyntaxError as error:
        raise cell_syntax_error(error) from None


def cell_syntax_error(error: SyntaxError) -> Exception:
    """The error as IPython shows it for a plain cell, without the magic's frames.

    IPython prints every frame below a SyntaxError that a running cell raises, whatever the error
    says about itself; so what is raised only bears the name.
    """
    from IPython.core.interactiveshell import InteractiveShell

    shown = type("SyntaxError", (Exception,), {"__module__": "builtins"})(str(error))
    shell = InteractiveShell.instance()
    lines = shell.SyntaxTB.structured_traceback(type(error), error, [])
    shown._render_traceback_ = lambda: lines
    return shown


def locate(shell: Any, cell: Cell, body: str) -> tuple[str, int]:
    """The file name that IPython gave the running cell, and the lines above the magic's body."""
    raw = cell.raw
    text = from_first_line(body)
    at = raw.rfind(text.rstrip()) if text.strip() else -1
    filename = running_filename(shell)
    if filename is None or at < 0:
        above = body.count("\n") - text.count("\n")
        return shell.compile.cache(body, cell.number, raw_code=body), above
    return filename, raw.count("\n", 0, at)


def from_first_line(body: str) -> str:
    """``body`` from its first line that is not blank."""
    lines = body.splitlines(keepends=True)
    while lines and not lines[0].strip():
        lines.pop(0)
    return "".join(lines)


def running_filename(shell: Any) -> str | None:
    """The file name of the innermost cell on the stack."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is shell.user_global_ns:
            return frame.f_code.co_filename
        frame = frame.f_back
    return None
