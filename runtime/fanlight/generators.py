"""What calls of generator functions return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from fanlight import interrupts, refs
from fanlight.refs import ObjectRef, TaskID

if TYPE_CHECKING:
    from fanlight.client.streams import Stream
    from fanlight.reasons import Why


class ObjectRefGenerator(Iterator[ObjectRef[Any]], AsyncIterator[ObjectRef[Any]]):
    """The items of a generator that runs as a task or an actor's method, as refs.

    ``for ref in gen`` (or ``async for``) yields each ref as soon as its item is there, while the
    task goes on. An exception in the generator is the value of one more ref, the last. Several
    threads may take from one generator; each item goes to one of them. It belongs to the process
    that made the call: pass its refs on, not itself. Dropping it does not end the task; items that
    nobody took are freed. ``fanlight.cancel(gen)`` ends the task.

    >>> import fanlight
    >>> @fanlight.remote
    ... def squares(n):
    ...     for i in range(n):
    ...         yield i * i
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     [fanlight.get(ref) for ref in squares.remote(4)]
    [0, 1, 4, 9]
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> ObjectRef[Any]:
        ref = self._stream.take()
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> ObjectRef[Any]:
        import asyncio

        stream = self._stream
        while True:
            ended = stream.count is not None
            ref = stream.pop()
            if ref is not None:
                return ref
            if ended:
                raise StopAsyncIteration
            stream.client._lost_check()
            loop = asyncio.get_running_loop()
            progress = loop.create_future()

            def tell(loop: Any = loop, progress: Any = progress) -> None:
                loop.call_soon_threadsafe(lambda: progress.done() or progress.set_result(None))

            stream.on_progress(tell)
            try:
                await progress
            finally:
                stream.forget(tell)

    def completed(self) -> ObjectRef[None]:
        """A ref that is ready when the task has ended. Its value is None, also when the generator
        raised; getting it raises only what the system did to the task."""
        return self._stream.completion

    def why(self) -> Why:
        """Why its next item, or its end, is not there yet. See :func:`fanlight.why`."""
        from fanlight.reasons import why

        return why(self)

    def next_ready(self) -> bool:
        """Whether an item can be taken without waiting."""
        self._stream.poll()
        return bool(self._stream.ready)

    def is_finished(self) -> bool:
        """Whether the task has ended and all items were taken."""
        self._stream.poll()
        return self._stream.finished()

    def task_id(self) -> TaskID:
        """The id of the task that yields the items."""
        return TaskID(self._stream.task)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(
            "The generator runs in another process: nothing can be sent into it. Use "
            "fanlight.cancel(gen) to end it, or give the task an actor to ask."
        )

    send = throw = close = asend = athrow = aclose = _refuse

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "An ObjectRefGenerator cannot be pickled: it belongs to the process that made the "
            "call. Pass its refs instead, one by one or as a list."
        )

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._stream.task.hex()})"

    @interrupts.finalizer(after=refs.remind)
    def __del__(self) -> None:
        try:
            self._stream.client.streams.dropped.append(self._stream)
            self._stream.client.wake()
        except (AttributeError, TypeError):
            pass  # the interpreter is going away


class DynamicObjectRefGenerator:
    """The refs of all items of a generator with ``num_returns="dynamic"``; has a length."""

    __slots__ = ("_refs",)

    def __init__(self, refs: list[ObjectRef[Any]]) -> None:
        self._refs = refs

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __reduce__(self) -> Any:
        return DynamicObjectRefGenerator, (self._refs,)

    def __repr__(self) -> str:
        return f"DynamicObjectRefGenerator({len(self._refs)} refs)"
