"""What a pool's calls give: results that arrive later."""

from __future__ import annotations

import multiprocessing
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fanlight.util.multiprocessing.pool import Pool


class _Failed(NamedTuple):
    """Stands where a value would be."""

    error: BaseException


class Job:
    """What the workers tell of the chunks of one call of the pool; base of the results."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool  # a pool lives while somebody waits for it

    def put(self, index: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        """Chunk number ``index`` ended; ``errors`` by position, where values mean nothing."""
        raise NotImplementedError

    def end(self, chunks: int) -> None:
        """There are no more chunks than ``chunks``."""

    def fail(self, error: BaseException) -> None:
        """There will be no more: the pool was terminated, or cannot work."""
        raise NotImplementedError


class AsyncResult(Job):
    """The result of ``apply_async``, ``map_async`` and ``starmap_async``, as in the stdlib."""

    def __init__(
        self,
        pool: Pool,
        single: bool,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> None:
        super().__init__(pool)
        self._event = threading.Event()
        self._single = single
        self._callbacks = (error_callback, callback)
        self._chunks: dict[int, list[Any]] = {}
        self._errors: dict[tuple[int, int], BaseException] = {}  # by chunk and position in it
        self._count = -1
        self._value: Any = None
        self._error: BaseException | None = None

    def get(self, timeout: float | None = None) -> Any:
        """The result. Raises what the function raised, or multiprocessing.TimeoutError."""
        self.wait(timeout)
        if not self._event.is_set():
            raise multiprocessing.TimeoutError(f"The result is not ready after {timeout} s.")
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, or ``timeout`` seconds."""
        self._pool._workers.wait_for(self._event.is_set, self._event.wait, timeout)

    def ready(self) -> bool:
        """Whether the result is there."""
        self._pool._workers.poll()
        return self._event.is_set()

    def successful(self) -> bool:
        """Whether the call raised nothing. Raises ValueError while it is under way."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def put(self, index: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        self._chunks[index] = values
        for position, error in errors.items():
            self._errors[index, position] = error
        self._look()

    def end(self, chunks: int) -> None:
        self._count = chunks
        self._look()

    def _look(self) -> None:
        if len(self._chunks) != self._count or self._event.is_set():
            return
        chunks, self._chunks = self._chunks, {}
        if self._errors:
            self._settle(None, self._errors[min(self._errors)])
        elif self._single:
            self._settle(chunks[0][0], None)
        else:
            self._settle([value for i in range(self._count) for value in chunks[i]], None)

    def fail(self, error: BaseException) -> None:
        if not self._event.is_set():
            self._settle(None, error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        self._value, self._error = value, error
        callback = self._callbacks[error is None]
        try:
            if callback is not None:
                callback(value if error is None else error)
        except Exception:  # its own fault: other results are to be delivered
            traceback.print_exc()
        finally:
            self._event.set()


class IMapIterator(Job):
    """The results of ``imap`` and ``imap_unordered``; ``next(timeout)`` as in the stdlib.

    An item that failed raises at its place, and the next call goes on with the item after it.
    """

    def __init__(self, pool: Pool, ordered: bool) -> None:
        super().__init__(pool)
        self._ordered = ordered
        self._changed = threading.Condition()
        self._ready: deque[Any] = deque()
        self._early: dict[int, list[Any]] = {}  # chunks that came before an earlier one
        self._next = 0  # chunk
        self._got = 0  # chunks
        self._count = -1

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result. Raises StopIteration, what the function raised, or TimeoutError."""
        workers = self._pool._workers
        workers.wait_for(self._has_next, self._wait, timeout)
        with self._changed:
            if self._ready:
                value = self._ready.popleft()
            elif self._got == self._count:
                raise StopIteration
            else:
                raise multiprocessing.TimeoutError(f"No result is ready after {timeout} s.")
        if type(value) is _Failed:
            raise value.error
        return value

    def _has_next(self) -> bool:
        return bool(self._ready) or self._got == self._count

    def _wait(self, timeout: float | None) -> Any:
        with self._changed:
            return self._changed.wait_for(self._has_next, timeout)

    def put(self, index: int, values: list[Any], errors: dict[int, BaseException]) -> None:
        for position, error in errors.items():
            values[position] = _Failed(error)
        with self._changed:
            self._got += 1
            if self._ordered:
                self._early[index] = values
                while self._next in self._early:
                    self._ready.extend(self._early.pop(self._next))
                    self._next += 1
            else:
                self._ready.extend(values)
            self._changed.notify_all()

    def end(self, chunks: int) -> None:
        with self._changed:
            self._count = chunks
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            if self._got != self._count:
                for index in sorted(self._early):
                    self._ready.extend(self._early.pop(index))
                self._ready.append(_Failed(error))
                self._count = self._got
            self._changed.notify_all()
