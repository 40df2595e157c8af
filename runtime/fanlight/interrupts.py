"""Ctrl-C that strikes in the finalizer of a ref.

Python cannot raise there: it would print the KeyboardInterrupt and forget it, and the reference would
be counted for ever. So finalizers that do so are named here; what was cut short is done again, and
the interrupt is given to the main thread once more, a moment later.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

_AGAIN = 0.01  # seconds until the interrupt is repeated: the finalizer is over by then

_finalizers: dict[Any, Callable[[], None]] = {}
_previous: Any = None


def finalizer(after: Callable[[], None]) -> Callable[[Any], Any]:
    """Decorate a ``__del__`` that begins with ``try:`` and the statement that registers the drop.
    ``after`` is called when it was interrupted, and may repeat what follows that statement."""

    def register(function: Any) -> Any:
        _finalizers[function] = after
        return function

    return register


def install() -> None:
    """Called when a process begins to count references."""
    global _previous
    if sys.unraisablehook is not _hook:
        _previous, sys.unraisablehook = sys.unraisablehook, _hook


def remove() -> None:
    """Called when it ends to; a hook that somebody set since then stays."""
    if sys.unraisablehook is _hook:
        sys.unraisablehook = _previous


def _hook(info: Any) -> None:
    function, trace = info.object, info.exc_traceback
    after = None
    if info.exc_type is KeyboardInterrupt and trace is not None:
        with contextlib.suppress(TypeError):  # not hashable: not ours
            after = _finalizers.get(function)
    if after is None:
        _previous(info)
        return
    main = threading.main_thread().ident
    # A true signal, so that a system call of the main thread is interrupted too.
    again = threading.Timer(_AGAIN, signal.pthread_kill, (main, signal.SIGINT))
    again.daemon = True
    with contextlib.suppress(RuntimeError):  # the interpreter is going away
        again.start()
    frame = trace.tb_frame
    if trace.tb_lineno <= frame.f_code.co_firstlineno + 1:  # the decorator, or the ``def``
        function(frame.f_locals["self"])
    after()
