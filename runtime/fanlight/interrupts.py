"""Ctrl-C at moments at which it must not strike.

In the finalizer of a ref, Python cannot raise: it would print the KeyboardInterrupt and forget it,
and the reference would be counted for ever. So finalizers that do so are named here; what was cut
short is done again, and the interrupt is given to the main thread once more, a moment later.

While a runtime is started or ended, it is held back: see :func:`held`.
"""

from __future__ import annotations

import _signal  # what signal wraps in enums, at a cost
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_SIGINT = int(signal.SIGINT)
_INSIST = 3  # Ctrl-C is held back that often
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
    again = False
    registered = _registered(trace)
    while True:  # it may be pressed again and again
        try:
            if not again:
                _repeat()
                again = True
            while not registered:
                try:
                    registered = True
                    function(trace.tb_frame.f_locals["self"])
                except KeyboardInterrupt as e:
                    inner = e.__traceback__
                    registered = inner is not None and _registered(inner.tb_next)
            after()
            return
        except KeyboardInterrupt:
            continue


def _registered(trace: Any) -> bool:
    """Whether a finalizer was struck after its statement that registers the drop; ``trace`` is of
    its own frame."""
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    return bool(trace.tb_lineno > code.co_firstlineno + 1)  # the decorator, and the ``def``


def _repeat() -> None:
    """Interrupt the main thread once more, a moment later."""
    main = threading.main_thread().ident
    # A true signal, so that a system call of the main thread is interrupted too.
    again = threading.Timer(_AGAIN, signal.pthread_kill, (main, signal.SIGINT))
    again.daemon = True
    with contextlib.suppress(RuntimeError):  # the interpreter is going away
        again.start()


# --- Ctrl-C while a runtime is started or ended --------------------------------------------------


class _Hold:
    """While it is entered, Ctrl-C is noted; it strikes when it is left."""

    def __init__(self) -> None:
        self.noted = 0
        self._handler: Any = None
        self._outer: _Hold | None = None

    def __enter__(self) -> _Hold:
        global _hold
        self._outer = _hold
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        global _hold
        if self._outer is not None or self._handler is None:
            return  # the outer one goes on, or there was nothing to hold back
        _hold = None
        self._give()

    def _take(self) -> None:
        global _hold
        if _hold is not None or threading.get_ident() != threading.main_thread().ident:
            return
        handler = _signal.getsignal(_SIGINT)
        if callable(handler):  # else it is ignored, or not Python's
            self._handler = handler
            _signal.signal(_SIGINT, self._note)
            _hold = self

    def _give(self) -> None:
        """Ctrl-C strikes from now on; also one that came meanwhile."""
        handler, self._handler = self._handler, None
        if _signal.getsignal(_SIGINT) == self._note:
            _signal.signal(_SIGINT, handler)
        if self.noted:
            self.noted = 0
            handler(signal.SIGINT, None)

    def _note(self, number: int, frame: Any) -> None:
        self.noted += 1
        if self.noted > _INSIST and self._handler is not None:
            self._handler(number, frame)  # whatever is half done: it hangs


_hold: _Hold | None = None


def held() -> _Hold:
    """For the main thread: inside, Ctrl-C waits, so that nothing is left half made or half ended.

    What takes long in there asks :func:`noted`, or is done inside :func:`let_through`. Nothing
    happens in other threads, which Ctrl-C does not strike.
    """
    return _Hold()


def noted() -> int:
    """How often Ctrl-C was pressed since it is held back."""
    return _hold.noted if _hold is not None else 0


class _LetThrough:
    """No generator: an interrupt that strikes as one is entered leaves it in the middle, and what it
    does in the end would be done whenever it is collected."""

    def __init__(self) -> None:
        self._held: _Hold | None = None

    def __enter__(self) -> None:
        global _hold
        hold = _hold
        if hold is None or threading.current_thread() is not threading.main_thread():
            return
        _hold = None
        try:
            hold._give()
        except BaseException:
            hold._take()
            raise
        self._held = hold

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held._take()


def let_through() -> _LetThrough:
    """Inside of :func:`held`: let Ctrl-C strike for a while."""
    return _LetThrough()


def slices(seconds: float, each: float = 0.1) -> Iterator[float]:
    """Time-outs for short waits, one after the other, ``seconds`` in sum.

    A laptop may sleep: the time in which this process is stopped counts as one slice.

    >>> list(slices(0.3, 0.1))
    [0.1, 0.1, 0.1]
    """
    for _ in range(round(seconds / each)):
        yield each
