"""``Pool``: the stdlib's ``multiprocessing.Pool``, with actors for processes."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from fanlight import api, serialization
from fanlight import session as sessions
from fanlight.client import failures
from fanlight.util.multiprocessing.process import APPLY, MAP, STAR
from fanlight.util.multiprocessing.results import AsyncResult, IMapIterator, Job
from fanlight.util.multiprocessing.workers import Function, Workers, pickle_function

_log = logging.getLogger("fanlight")
_Callback = Callable[[Any], Any] | None


class Pool:
    """A pool of processes that call functions; the interface of ``multiprocessing.Pool``.

    Functions of a notebook work, and errors come with the traceback of the process. A process that
    dies is replaced, and the chunk that it ran fails; with the stdlib's pool the program would wait
    for ever. Results that are not there when the pool is terminated raise ``TaskCancelledError``.

    Args:
        processes: how many; at most, and by default, as many as the runtime has CPUs. They hold no
            CPU of the runtime unless ``ray_remote_args`` says so.
        initializer: called once in each process, with ``initargs``; global variables that it sets
            are seen by the functions that run there.
        maxtasksperchild: a process is replaced after so many chunks.
        context: ignored, with a warning: there is one way to start a process.
        ray_address: the ``address`` for ``init``, if there is no runtime yet.
        ray_remote_args: options of the actors, such as ``{"num_cpus": 1}``.

    Raises:
        ValueError: there are not so many CPUs, or an argument makes no sense.

    >>> import fanlight
    >>> from fanlight.util.multiprocessing import Pool
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     with Pool(2) as pool:
    ...         pool.map(abs, [-1, 2, -3]), pool.apply(divmod, (7, 2))
    ([1, 2, 3], (3, 1))
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if context is not None:
            _log.warning("Pool(context=) means nothing to Fanlight and is ignored.")
        if sessions.current() is None and ray_address is not None:
            api.init(address=ray_address)
        cpus = int(sessions.ensure().resources.get("CPU", 0))
        if processes is None:
            processes = max(1, cpus)
        elif processes > cpus:
            raise ValueError(
                f"Tried to start a pool with {processes} processes on a runtime with {cpus} CPUs."
            )
        self._initializer = initializer
        self._workers = Workers(
            processes,
            _pickle_setup(initializer, tuple(initargs)),
            maxtasksperchild,
            ray_remote_args or {},
        )
        self._functions: weakref.WeakKeyDictionary[Any, Function] = weakref.WeakKeyDictionary()

    # --- one call ----------------------------------------------------------------------------

    def apply(
        self, func: Callable[..., Any], args: Sequence[Any] = (), kwds: Mapping[str, Any] = {}
    ) -> Any:
        """Call ``func(*args, **kwds)`` in a process, and wait for the result."""
        with self._workers.attended():
            return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        """``apply`` that does not wait. Callbacks are called in another thread of this process."""
        result = AsyncResult(self, True, callback, error_callback)
        item = (tuple(args or ()), dict(kwds or {}))
        self._submit(result, func, APPLY, [[item]])
        return result

    # --- all at once -------------------------------------------------------------------------

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """``[func(x) for x in iterable]``, in chunks, by all processes."""
        with self._workers.attended():
            result: list[Any] = self.map_async(func, iterable, chunksize).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        return self._map(MAP, func, iterable, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """``[func(*args) for args in iterable]``."""
        with self._workers.attended():
            result: list[Any] = self.starmap_async(func, iterable, chunksize).get()
        return result

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        return self._map(STAR, func, iterable, chunksize, callback, error_callback)

    def _map(
        self,
        how: int,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: _Callback,
        error_callback: _Callback,
    ) -> AsyncResult:
        self._check_running()
        items = iterable if isinstance(iterable, Sequence) else list(iterable)
        if chunksize is None:  # four chunks for each process, as in the stdlib
            chunksize = max(1, -(-len(items) // (4 * self._workers.count)))
        _check_chunksize(chunksize)
        chunks = (items[i : i + chunksize] for i in range(0, len(items), chunksize))
        result = AsyncResult(self, False, callback, error_callback)
        self._submit(result, func, how, chunks)
        return result

    # --- one after the other -----------------------------------------------------------------

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """An iterator over ``func(x)`` for each ``x``, in order.

        The iterable is drawn from as processes become free, so it may be endless.
        """
        return self._imap(func, iterable, chunksize, True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Like ``imap``, in the order in which results are ready."""
        return self._imap(func, iterable, chunksize, False)

    def _imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int, ordered: bool
    ) -> IMapIterator:
        _check_chunksize(chunksize)
        result = IMapIterator(self, ordered)
        lazy = not isinstance(iterable, Sequence)
        self._submit(result, func, MAP, _cut(iter(iterable), chunksize), lazy)
        return result

    # --- its end -----------------------------------------------------------------------------

    def close(self) -> None:
        """No more work will come; the processes end when all is done."""
        self._workers.close()

    def terminate(self) -> None:
        """End the processes at once."""
        self._workers.terminate()

    def join(self) -> None:
        """Wait until the processes have ended. Raises ValueError before close or terminate."""
        if not self._workers.stopped:
            raise ValueError("Pool is still running")
        self._workers.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        state = self._workers.stopped or "running"
        return f"<Pool {state}, {self._workers.count} processes>"

    # --- within ------------------------------------------------------------------------------

    def _submit(
        self,
        job: Job,
        func: Callable[..., Any],
        how: int,
        chunks: Iterable[Any],
        lazy: bool = False,
    ) -> None:
        self._check_running()
        self._workers.submit(job, self._pickled(func), how, chunks, lazy)

    def _check_running(self) -> None:
        if self._workers.stopped:
            raise ValueError("Pool not running")
        if sessions.current() is not self._workers.session:
            raise ValueError("Pool not running: its runtime was shut down")

    def _pickled(self, func: Any) -> Function:
        """A function is pickled once, with the values that its global names have then."""
        try:
            found = self._functions.get(func)
            if found is None:
                found = self._functions[func] = pickle_function(func, self._initializer)
        except TypeError:  # no weak references to it, or it cannot be pickled: the latter says so
            found = pickle_function(func, self._initializer)
        return found


def _pickle_setup(initializer: Any, initargs: tuple[Any, ...]) -> bytes:
    if initializer is None:
        return b""
    try:
        packed = serialization.dumps((initializer, initargs))
    except Exception as e:
        raise failures.cannot_serialize("the initializer or its arguments", initargs, e) from e
    client = sessions.require_client()
    for oid in packed.contained:  # kept as long as this process: new ones may be started any time
        client.adopt(oid)
    return packed.to_bytes()


def _check_chunksize(chunksize: int) -> None:
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize}")


def _cut(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


__all__ = ["Pool"]
