"""Results as they complete, with or without a display of how far they are.

Users meet it as ``fanlight.as_completed`` and ``fanlight.progress``. In a terminal the display is a
line that is updated in place; the IPython extension puts a widget in its place (:func:`set_display`).
Nothing here knows IPython.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, Generic, NamedTuple, Protocol, TextIO, TypeVar

from fanlight import errors
from fanlight import messages as m
from fanlight.refs import ObjectRef

T = TypeVar("T")
PERIOD = 0.1  # seconds between two pictures: at most ten a second
SLICE = 0.25  # seconds after which a wait looks at the clock again
ENOUGH, EARLY = 3, 2.0  # results, and seconds, before which an estimate would be a guess
AT_ONCE = 0.02  # seconds in which only what was there before can have come
_BAR = 24  # characters


class Tally(NamedTuple):
    """How far a :class:`Progress` is."""

    total: int
    done: int
    failed: int
    cancelled: int
    elapsed: float  # seconds
    remaining: float | None  # seconds; None where nothing sound can be said
    stopped: bool = False  # nobody iterates any more

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled


class Display(Protocol):
    """What shows a :class:`Progress` while it is iterated."""

    def update(self, tally: Tally) -> None: ...
    def close(self, tally: Tally) -> None: ...


def seconds(value: float) -> str:
    """A duration for people.

    >>> [seconds(v) for v in (0.02, 3.14, 75, 7200)]
    ['20 ms', '3.1 s', '1:15 min', '2:00:00 h']
    """
    if value < 0.1:
        return f"{max(1, round(value * 1000))} ms" if value > 0 else "0 ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h"


def roughly(value: float) -> str:
    """An estimate, in steps that do not jump about.

    >>> [roughly(v) for v in (0.2, 4.4, 23, 61, 175, 8000)]
    ['1 s', '5 s', '25 s', '2 min', '3 min', '2.3 h']
    """
    if value <= 10:
        return f"{max(1, math.ceil(value))} s"
    if value <= 60:
        return f"{5 * math.ceil(value / 5)} s"
    if value <= 5400:
        return f"{math.ceil(value / 60)} min"
    return f"{math.ceil(value / 360) / 10:g} h"


def words(tally: Tally, desc: str = "") -> str:
    """A line of text.

    >>> words(Tally(64, 11, 1, 0, 3.14, 15.0), "squares")
    'squares: 12 of 64, 1 failed, 3.1 s, about 15 s left'
    >>> words(Tally(1, 1, 0, 0, 0.02, None))
    '1 done, 20 ms'
    """
    if tally.ended < tally.total:
        parts = [f"{tally.ended} of {tally.total}"]
    else:
        parts = [f"{tally.done} done"]
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    if tally.cancelled:
        parts.append(f"{tally.cancelled} cancelled")
    parts.append(seconds(tally.elapsed))
    if tally.remaining is not None:
        parts.append(f"about {roughly(tally.remaining)} left")
    return (f"{desc}: " if desc else "") + ", ".join(parts)


class Line:
    """One line of a terminal that is written again and again; nothing where that cannot be."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        try:
            self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        except (AttributeError, ValueError):  # no stream, or a closed one
            self.live = False

    def draw(self, text: str) -> None:
        if self.live:
            self._write(f"\r{text[: self._columns() - 1]}\x1b[K")

    def clear(self) -> None:
        if self.live:
            self._write("\r\x1b[K")

    def end(self, text: str) -> None:
        """Leave a last line behind, also where there is no terminal."""
        self.clear()
        self._write(f"{text}\n")

    close = clear

    def bar(self, share: float) -> str:
        """A bar in characters that the terminal has."""
        full = round(_BAR * min(1.0, share))
        try:
            "━─".encode(self.stream.encoding or "ascii")
        except (LookupError, UnicodeError, AttributeError):
            return "#" * full + "-" * (_BAR - full)
        return "━" * full + "─" * (_BAR - full)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return 80

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError, AttributeError):
            self.live = False  # it is closed, or gone


class LineDisplay:
    """A :class:`Progress` in a terminal; elsewhere one line at the end."""

    def __init__(self, progress: Progress[Any]) -> None:
        self.line = Line(sys.stderr)
        self.desc = progress.desc

    def update(self, tally: Tally) -> None:
        bar = self.line.bar(tally.ended / tally.total if tally.total else 1.0)
        self.line.draw(f"{bar} {words(tally, self.desc)}")

    def close(self, tally: Tally) -> None:
        self.line.end(words(tally, self.desc))


_make_display: Callable[[Progress[Any]], Display] = LineDisplay


def set_display(make: Callable[[Progress[Any]], Display] | None) -> Callable[[], None]:
    """Have ``make`` make the displays from now on; returns a function that undoes that.

    Called by the IPython extension.
    """
    global _make_display
    before, _make_display = _make_display, make or LineDisplay

    def restore() -> None:
        global _make_display
        _make_display = before

    return restore


def _waits_in_slices() -> bool:
    """Whether work goes on while nobody waits for it: then waits may be cut to draw in between."""
    from fanlight import session

    current = session.current()
    return current is not None and current.engine.capabilities.processes


def _next_ready(left: list[Any], timeout: float | None) -> tuple[list[Any], list[Any]]:
    """All that is ready, at least one unless the time is up, and what is not."""
    from fanlight import api

    if any(isinstance(item, futures.Future) for item in left):
        by_future = {i.future() if isinstance(i, ObjectRef) else i: i for i in left}
        done, _ = futures.wait(by_future, timeout, return_when=futures.FIRST_COMPLETED)
        ready = [item for future, item in by_future.items() if future in done]
        return ready, [item for future, item in by_future.items() if future not in done]
    ready, rest = api.wait(left, num_returns=1, timeout=timeout)
    if ready and rest and _waits_in_slices():
        more, rest = api.wait(rest, num_returns=len(rest), timeout=0)
        ready += more
    return ready, rest


def _value(item: Any) -> Any:
    """The value of what is ready; raises its error."""
    from fanlight import api

    return item.result() if isinstance(item, futures.Future) else api.get(item)


def _checked(refs: Iterable[Any], caller: str) -> list[Any]:
    if isinstance(refs, ObjectRef):
        raise TypeError(
            f"{caller} takes several ObjectRefs, as a list. For one: fanlight.get(ref)."
        )
    items = list(refs)
    for item in items:
        if not isinstance(item, ObjectRef | futures.Future):
            raise TypeError(f"{caller} takes ObjectRefs and futures, not a {type(item).__name__}.")
    if len(set(items)) != len(items):
        raise ValueError(f"{caller} takes each ObjectRef once.")
    return items


def as_completed(
    refs: Iterable[Any], *, timeout: float | None = None, yield_refs: bool = False
) -> Iterator[Any]:
    """The values of ``refs``, each as soon as it is there.

    Args:
        refs: ObjectRefs, and futures of ``concurrent.futures`` too.
        timeout: seconds for all of it together.
        yield_refs: give the refs themselves, for calls of ``get`` in a ``try`` of its own.

    Raises:
        GetTimeoutError: the time is up.
        Exception: a task's own, when its turn comes; that ends the iteration.

    >>> import fanlight
    >>> square = fanlight.remote(lambda x: x * x)
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     sorted(fanlight.as_completed([square.remote(i) for i in range(4)]))
    [0, 1, 4, 9]
    """
    return _as_completed(_checked(refs, "as_completed()"), timeout, yield_refs)


def _as_completed(left: list[Any], timeout: float | None, yield_refs: bool) -> Iterator[Any]:
    until = None if timeout is None else time.monotonic() + timeout
    while left:
        patience = None if until is None else max(0.0, until - time.monotonic())
        ready, left = _next_ready(left, patience)
        if not ready:
            raise errors.GetTimeoutError(
                f"{len(left)} of the refs were not ready in {timeout:g} s."
            )
        for item in ready:
            yield item if yield_refs else _value(item)


class Progress(Generic[T]):
    """What :func:`progress` returns: iterate over it. Can be iterated again for what is left."""

    def __init__(
        self, items: list[Any], desc: str, ordered: bool, on_error: str, yield_refs: bool
    ) -> None:
        self.desc = desc
        self._items = items
        self._ordered = ordered
        self._on_error = on_error
        self._yield_refs = yield_refs
        self._given = 0  # how many were handed out
        self._waiting = list(items)  # never changed in place
        self._ready: deque[Any] = deque()  # ended, in the order in which they did; not handed out
        self._here: set[Any] = set()  # the same, where they are handed out in the order of items
        self._failed = self._cancelled = 0
        self._early = 0  # were there before anybody looked
        self._started = time.monotonic()
        self._last = 0.0  # when the last one ended
        self._stopped = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<progress of {words(self.tally(look=False), self.desc)}>"

    def __iter__(self) -> Iterator[T]:
        self._stopped = False
        display = _make_display(self)
        drawn = 0.0
        try:
            while self._given < len(self._items):
                item = self._take()
                now = time.monotonic()
                if item is None or now - drawn >= PERIOD:
                    drawn = now
                    display.update(self.tally(look=False))
                if item is None:
                    self._wait(SLICE if _waits_in_slices() else None)
                    continue
                try:
                    value = item if self._yield_refs else _value(item)
                except Exception as error:
                    if self._on_error == "raise":
                        raise
                    if self._on_error == "skip":
                        continue
                    value = error
                yield value
        finally:
            self._stopped = True
            display.close(self.tally(look=False))

    def cancel(self, *, force: bool = False) -> int:
        """Cancel what has not ended; returns how many that were. From any thread."""
        from fanlight import api

        left = self._waiting
        for item in left:
            try:
                if isinstance(item, futures.Future):
                    item.cancel()
                else:
                    api.cancel(item, force=force)
            except Exception:
                continue  # it ended just now, or cannot be cancelled
        return len(left)

    def first_waiting(self) -> bytes | None:
        """The id of the first ref that is not ready yet."""
        return next((i.binary() for i in self._waiting if isinstance(i, ObjectRef)), None)

    def tally(self, *, look: bool = True) -> Tally:
        """How far it is. ``look``: ask now, without waiting. From any thread."""
        if look and self._waiting and _waits_in_slices():
            self._wait(0)
        with self._lock:
            ended = len(self._items) - len(self._waiting)
            failed, cancelled = self._failed, self._cancelled
            fresh = ended - self._early
            elapsed = (time.monotonic() if self._waiting else self._last) - self._started
            remaining = None
            if self._waiting and fresh >= ENOUGH and elapsed >= EARLY and not self._stopped:
                remaining = elapsed * len(self._waiting) / fresh
        return Tally(
            len(self._items), ended - failed - cancelled, failed, cancelled,
            max(0.0, elapsed), remaining, self._stopped,
        )  # fmt: skip

    def _take(self) -> Any:
        """The next one to hand out, if it is there."""
        with self._lock:
            if self._ordered:
                item = self._items[self._given]
                if item not in self._here:
                    return None
                self._here.discard(item)
            elif self._ready:
                item = self._ready.popleft()
            else:
                return None
            self._given += 1
            return item

    def _wait(self, timeout: float | None) -> None:
        """Take note of what has ended; wait so long for one that does."""
        left = self._waiting
        if not left:
            return
        ready, rest = _next_ready(left, timeout)
        if not ready:
            return
        kinds = [_how_it_ended(item) for item in ready]
        with self._lock:
            if self._waiting is not left:  # another thread saw some of them first
                still = set(self._waiting)
                pairs = [(i, k) for i, k in zip(ready, kinds, strict=True) if i in still]
                ready, kinds = [i for i, _ in pairs], [k for _, k in pairs]
                gone = set(ready)
                rest = [item for item in self._waiting if item not in gone]
            self._waiting = rest
            self._here.update(ready) if self._ordered else self._ready.extend(ready)
            self._failed += kinds.count("failed")
            self._cancelled += kinds.count("cancelled")
            self._last = time.monotonic()
            if self._last - self._started < AT_ONCE:
                self._early += len(ready)


def _how_it_ended(item: Any) -> str:
    """ "done", "failed" or "cancelled", without fetching a large value."""
    from fanlight import session

    if isinstance(item, futures.Future):
        if item.cancelled():
            return "cancelled"
        return "done" if item.exception() is None else "failed"
    current = session.current()
    value = current.client.entries.get(item.binary()) if current is not None else None
    if value is not None and value.kind < m.ERROR:
        return "done"
    try:
        _value(item)
    except Exception as error:
        inner = errors.innermost(error)
        return "cancelled" if isinstance(inner, errors.TaskCancelledError) else "failed"
    return "done"


def progress(
    refs: Iterable[Any],
    desc: str = "",
    *,
    ordered: bool = False,
    on_error: str = "raise",
    yield_refs: bool = False,
) -> Progress[Any]:
    """The values of ``refs`` as they complete, with a display of how far they are.

    In a terminal that is a line on the standard error stream; with ``%load_ext fanlight`` a widget
    with a cancel button. The widget shows how far the tasks are, also while the loop's body works.

    Args:
        refs: ObjectRefs, and futures of ``concurrent.futures`` too.
        desc: what to call it.
        ordered: give the values in the order of ``refs`` instead.
        on_error: "raise" a task's error when its turn comes (iterate again for what is left),
            "skip" it, or "give" the exception in the value's place. All are counted.
        yield_refs: give the refs themselves.

    Raises:
        TypeError, ValueError: ``refs`` has something else in it, or one of them twice.

    >>> import fanlight
    >>> square = fanlight.remote(lambda x: x * x)
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     refs = [square.remote(i) for i in range(4)]
    ...     list(fanlight.progress(refs, "squares", ordered=True))
    [0, 1, 4, 9]
    """
    if on_error not in ("raise", "skip", "give"):
        raise ValueError(f'on_error is "raise", "skip" or "give", not {on_error!r}.')
    return Progress(_checked(refs, "progress()"), desc, ordered, on_error, yield_refs)
