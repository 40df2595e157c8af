"""``Queue``: a first-in-first-out queue for tasks and actors, kept by an actor.

The actor holds items as the bytes that the sender made of them, or, when they are large or hold
refs, as a ref to the stored object: it neither copies nor unpickles what passes through.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from fanlight import api, config, errors, serialization
from fanlight import session as sessions
from fanlight.refs import ObjectRef

_Item = bytes | list[ObjectRef[Any]]
_SMALL = config.INLINE_LIMIT // 4


class Empty(queue.Empty):
    """There is nothing in the queue (``queue.Empty`` catches it too)."""


class Full(queue.Full):
    """There is no room in the queue (``queue.Full`` catches it too)."""


class _QueueActor:
    """Keeps the items. Answers are data, not exceptions: an empty queue is no failed task."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: deque[_Item] = deque()
        self._getters: deque[asyncio.Future[_Item]] = deque()
        self._putters: deque[tuple[asyncio.Future[None], _Item]] = deque()

    def size(self) -> int:
        return len(self._items)

    def put_now(self, items: list[_Item]) -> int:
        """Append all or none; -1, or how many there are if there is no room."""
        if self._maxsize > 0 and len(self._items) + len(items) > self._maxsize:
            return len(self._items)
        self._items.extend(items)
        self._match()
        return -1

    def get_now(self, count: int) -> list[_Item] | int:
        """Take so many, or none: then how many there are."""
        if len(self._items) < count:
            return len(self._items)
        taken = [self._items.popleft() for _ in range(count)]
        self._match()
        return taken

    def put_back(self, item: _Item) -> None:
        """An item that was taken by somebody who was interrupted."""
        self._items.appendleft(item)
        self._match()

    async def put(self, item: _Item, timeout: float | None) -> int:
        if not self._putters and self.put_now([item]) < 0:
            return -1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (future, item)
        self._putters.append(entry)
        try:
            await asyncio.wait([future], timeout=timeout)
        finally:
            if not future.done():  # too late, or cancelled
                self._putters.remove(entry)
        return -1 if future.done() else len(self._items)

    async def get(self, timeout: float | None) -> list[_Item] | int:
        if not self._getters and self._items:
            return self.get_now(1)
        future: asyncio.Future[_Item] = asyncio.get_running_loop().create_future()
        self._getters.append(future)
        try:
            await asyncio.wait([future], timeout=timeout)
        except asyncio.CancelledError:
            if future.done():  # an item came in the same moment: it is not lost
                self.put_back(future.result())
            raise
        finally:
            if not future.done():
                self._getters.remove(future)
        return [future.result()] if future.done() else 0

    def _match(self) -> None:
        """Give items to those who wait for one, and room to those who wait for room."""
        while True:
            if self._getters and self._items:
                self._getters.popleft().set_result(self._items.popleft())
            elif self._putters and (self._maxsize <= 0 or len(self._items) < self._maxsize):
                future, item = self._putters.popleft()
                self._items.append(item)
                future.set_result(None)
            else:
                return


class Queue:
    """A queue that many processes share: pass it to tasks and actors.

    Args:
        maxsize: how many items it holds at most; 0 for no bound.
        actor_options: options of the actor that keeps the items, such as ``{"name": "jobs"}``.

    A ref that is put comes out as its value. Items that were not taken are gone when the last
    process that has the queue drops it.

    >>> import fanlight
    >>> from fanlight.util.queue import Queue
    >>> @fanlight.remote
    ... def produce(queue):
    ...     for i in range(3):
    ...         queue.put(i)
    >>> with fanlight.init(num_cpus=1, engine="inproc"):
    ...     queue = Queue(maxsize=10)
    ...     ref = produce.remote(queue)
    ...     [queue.get() for _ in range(3)]
    [0, 1, 2]
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": 1_000_000}
        options.update(actor_options or {})
        self.actor: Any = api.remote(**options)(_QueueActor).remote(maxsize)

    # --- one item ----------------------------------------------------------------------------

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an item; waits for room, at most ``timeout`` seconds, unless ``block=False``.

        Raises:
            Full: there was no room in time.
            ValueError: ``timeout`` is negative.
        """
        if not block:
            return self.put_nowait(item)
        _check_timeout(timeout)
        packed = _pack(item)
        if _overlaps():
            _put_result(_call(self._actor().put.remote(packed, timeout)), self.maxsize)
        else:
            _retry(lambda: self._put_now([packed]), Full, timeout)
        return None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item; waits for one, at most ``timeout`` seconds, unless ``block=False``.

        Raises:
            Empty: there was no item in time.
            ValueError: ``timeout`` is negative.
        """
        if not block:
            return self.get_nowait()
        _check_timeout(timeout)
        if not _overlaps():
            return _retry(self.get_nowait, Empty, timeout)
        ref = self._actor().get.remote(timeout)
        try:
            answer = api.get(ref)
        except KeyboardInterrupt:
            self._give_up(ref)
            raise
        return _one(answer)

    def put_nowait(self, item: Any) -> None:
        """Append an item, or raise Full."""
        self._put_now([_pack(item)])

    def get_nowait(self) -> Any:
        """Take the first item, or raise Empty."""
        return _one(api.get(self._actor().get_now.remote(1)))

    # --- several, all or none ----------------------------------------------------------------

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Append all items, in order, or raise Full and append none."""
        if not isinstance(items, Iterable):
            raise TypeError("put_nowait_batch() takes an iterable of items.")
        self._put_now([_pack(item) for item in items])

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take ``num_items``, or raise Empty and take none."""
        if not isinstance(num_items, int):
            raise TypeError(f"The number of items must be an int, got {num_items!r}.")
        if num_items < 0:
            raise ValueError(f"The number of items cannot be negative, got {num_items}.")
        answer = api.get(self._actor().get_now.remote(num_items))
        if isinstance(answer, int):
            raise Empty(f"Cannot get {num_items} items from a queue of size {answer}.")
        return [_unpack(item) for item in answer]

    # --- for asyncio -------------------------------------------------------------------------

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """``put`` for coroutines."""
        if not block or not _overlaps():
            return self.put(item, block, timeout)
        _check_timeout(timeout)
        _put_result(await self._actor().put.remote(_pack(item), timeout), self.maxsize)
        return None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """``get`` for coroutines."""
        if not block or not _overlaps():
            return self.get(block, timeout)
        _check_timeout(timeout)
        ref = self._actor().get.remote(timeout)
        try:
            answer = await ref
        except asyncio.CancelledError:
            await asyncio.to_thread(self._give_up, ref)
            raise
        if isinstance(answer, list) and isinstance(answer[0], list):
            return await answer[0][0]
        return _one(answer)

    # --- its state ---------------------------------------------------------------------------

    def qsize(self) -> int:
        """How many items are in it."""
        size: int = api.get(self._actor().size.remote())
        return size

    size = qsize
    __len__ = qsize

    def __bool__(self) -> bool:
        return True  # an empty queue is still a queue

    def empty(self) -> bool:
        return self.qsize() == 0

    def full(self) -> bool:
        return 0 < self.maxsize <= self.qsize()

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the queue's actor, with what is in it; the queue cannot be used afterwards.

        Args:
            force: at once, and not after the calls that are under way.
            grace_period_s: how long to wait for those, before they are cut off.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            api.wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)
        api.kill(actor)

    # --- within ------------------------------------------------------------------------------

    def _actor(self) -> Any:
        if self.actor is None:
            raise errors.ActorDiedError("This queue was shut down.")
        return self.actor

    def _put_now(self, packed: list[_Item]) -> None:
        _put_result(api.get(self._actor().put_now.remote(packed)), self.maxsize, len(packed))

    def _give_up(self, ref: ObjectRef[Any]) -> None:
        """Ctrl-C while waiting for an item: one that is on its way goes back."""
        api.cancel(ref)
        try:
            answer = api.get(ref, timeout=2.0)
        except Exception:
            return
        if isinstance(answer, list):
            api.get(self._actor().put_back.remote(answer[0]))


def _pack(item: Any) -> _Item:
    if type(item) is ObjectRef:
        return [item]
    if type(item) is not bytes or len(item) < _SMALL:
        packed = serialization.dumps(item)
        if packed.size < _SMALL and not packed.contained:
            return packed.to_bytes()
    return [api.put(item)]


def _unpack(item: _Item) -> Any:
    return serialization.loads(item) if isinstance(item, bytes) else api.get(item[0])


def _one(answer: list[_Item] | int) -> Any:
    if isinstance(answer, int):
        raise Empty("The queue is empty.")
    return _unpack(answer[0])


def _put_result(there: int, maxsize: int, count: int = 1) -> None:
    if there >= 0:
        raise Full(f"No room for {count} more: the queue holds {there} of at most {maxsize}.")


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"'timeout' must be a non-negative number, got {timeout}.")


def _call(ref: ObjectRef[Any]) -> Any:
    try:
        return api.get(ref)
    except KeyboardInterrupt:
        api.cancel(ref)
        raise


def _overlaps() -> bool:
    """Whether a method of an actor can wait while others run; else waiting is done here."""
    return bool(sessions.ensure().engine.capabilities.processes)


def _retry(attempt: Callable[[], Any], refused: type[Exception], timeout: float | None) -> Any:
    """Try again after other work went on, in an engine where it goes on only while one waits."""
    step = sessions.ensure().engine.step
    deadline = None if timeout is None else time.monotonic() + timeout
    moved = True  # other work went on since the last attempt began
    while True:
        try:
            return attempt()
        except refused as e:
            if not moved or (deadline is not None and time.monotonic() >= deadline):
                if timeout is not None:
                    raise
                raise errors.FanlightError(
                    f"Nothing can run any more, and this waits for a queue: {e} (The inproc engine "
                    "runs one task at a time; a task that waits keeps those below it waiting.)"
                ) from None
        moved = step()


__all__ = ["Empty", "Full", "Queue"]
