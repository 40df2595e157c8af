"""Generators in a worker: their items, one by one or all at once.

A streaming call is a ``Production``: each item goes to the node as soon as it is there. With
back-pressure, a production that is ``full`` waits until the node answers that the consumer took
enough. The main thread and the threads of an actor run it to its end; on an actor's event loop it
awaits; the ``inproc`` engine makes one step at a time, whenever the driver blocks.

With any other ``num_returns``, ``gather`` turns a generator into an ordinary result.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from fanlight import context, ids, refs, serialization
from fanlight import messages as m
from fanlight.client.failures import cannot_serialize
from fanlight.generators import DynamicObjectRefGenerator
from fanlight.refs import ObjectRef
from fanlight.serialization import PLAIN
from fanlight.worker import arguments, values

if TYPE_CHECKING:
    import asyncio

    from fanlight.client.client import Client
    from fanlight.worker.executor import Executor

_END = object()


class Cancelled(Exception):
    """The task was cancelled before it began, or between two items."""


class _AsyncItems(Iterator[Any]):
    """An async generator, stepped from outside its loop (in the ``inproc`` engine)."""

    def __init__(self, items: AsyncGenerator[Any, None], run: Any) -> None:
        self._items = items
        self._run = run

    def __next__(self) -> Any:
        async def step() -> Any:
            return await anext(self._items, _END)

        item = self._run(step())
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        async def close() -> None:
            await self._items.aclose()

        self._run(close())


def _items(executor: Executor, spec: m.TaskSpec, result: Any) -> Any:
    """The iterator over what a generator function returned. Raises ValueError if it is none."""
    if isinstance(result, Generator):
        return result
    if isinstance(result, AsyncGenerator):
        actor = executor.actor
        if actor is None or not actor.is_async:
            raise TypeError("async generators cannot be tasks; make them methods of an actor")
        return _AsyncItems(result, actor.on_loop)
    if inspect.iscoroutine(result):
        result.close()
    kind = "dynamic" if spec.num_returns == m.DYNAMIC else "streaming"
    raise ValueError(
        f"With num_returns={kind!r}, {spec.name} must be a generator: a function that yields. It "
        f"returned a {type(result).__name__}."
    )


# --- one by one ----------------------------------------------------------------------------------


class Production:
    """One run of a streaming task or method, from its start to its report."""

    def __init__(
        self, executor: Executor, execute: m.Execute, spec: m.TaskSpec, main: bool = False
    ) -> None:
        self._executor = executor
        self._client = executor.client
        self._execute = execute
        self.spec = spec
        self.gpus = execute.gpus
        self._main = main
        self.context = executor._active.get(execute.task) or executor._context(execute, spec)
        self._items: Any = None
        self._made = 0
        self._taken = 0  # by the consumer, as far as we know
        self._started = time.perf_counter()
        self.stepping = False
        self.on_consumed: Callable[[], None] | None = None  # called once when it may go on
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress: asyncio.Event | None = None
        executor._active[execute.task] = self.context
        executor.productions[execute.task] = self
        executor._take_arguments(execute)

    @property
    def full(self) -> bool:
        """Whether it must wait for the consumer. A cancelled one goes on, to its end."""
        limit = self.spec.backpressure
        return (
            limit > 0
            and self._made - self._taken >= limit
            and self._execute.task not in self._executor.cancelled
        )

    def consumed(self, x: m.Consumed) -> None:
        """The node lets it go on; called by whichever thread reads."""
        self._taken = 1 << 62 if x.closed else x.count
        told, self.on_consumed = self.on_consumed, None
        if told is not None:
            told()
        if self._progress is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._progress.set)

    # --- in a thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Run it to its end in this thread."""
        token = context.current.set(self.context)
        try:
            while self.step():
                if self.full:
                    self._client._block(lambda: not self.full, None, 1)
        finally:
            context.current.reset(token)

    def step(self) -> bool:
        """Make one item; False when there is none, and the end is reported."""
        executor = self._executor
        self.stepping = True
        try:
            if self._items is None:
                self._items = _items(executor, self.spec, self._call())
            self._check_cancelled()
            try:
                executor.in_user_code = self._main
                item = next(self._items, _END)
            finally:
                executor.in_user_code = False
            if item is not _END:
                self._send(item)
                return True
            done = self._returned()
        except arguments.Lost as e:
            done = arguments.give_back(executor, self._execute, self.spec, e)
        except BaseException as e:
            done = self._raised(e)
        finally:
            self.stepping = False
        self._report(done)
        return False

    # --- on a loop ---------------------------------------------------------------------------

    async def run_async(self, slots: asyncio.Semaphore) -> None:
        """Run it to its end as a call of an async actor."""
        import asyncio

        context.current.set(self.context)
        self._loop = asyncio.get_running_loop()
        self._progress = asyncio.Event()
        actor = self._executor.actor
        assert actor is not None
        done: m.Done | None = None
        try:
            async with slots:
                self._check_cancelled()
                if not actor.begins():
                    return  # the node answers for all that never began
                self._started = time.perf_counter()
                try:
                    result = self._call()
                except arguments.Lost:
                    result = self._call(await arguments.wait(self._executor, self._execute))
                if isinstance(result, AsyncGenerator):
                    self._items = result
                else:
                    self._items = _items(self._executor, self.spec, result)
                while True:
                    self._check_cancelled()
                    if isinstance(self._items, AsyncGenerator):
                        item = await anext(self._items, _END)
                    else:
                        item = next(self._items, _END)
                        await asyncio.sleep(0)  # others have their turn
                    if item is _END:
                        break
                    self._progress.clear()  # before the node is told that this may wait
                    self._send(item)
                    while self.full:
                        await self._progress.wait()
                        self._progress.clear()
            done = self._returned()
        except BaseException as e:
            cancelled = self._execute.task in self._executor.cancelled
            done = self._raised(Cancelled() if cancelled else e)
        finally:
            if isinstance(self._items, AsyncGenerator):
                with contextlib.suppress(BaseException):
                    await self._items.aclose()
            self._report(done)

    # --- parts -------------------------------------------------------------------------------

    def _call(self, deps: list[Any] | None = None) -> Any:
        executor = self._executor
        self._check_cancelled()
        if self.gpus is not None and executor.own_process:
            executor.gpus.show(self.gpus)
        function, args, kwargs = executor._prepare(self._execute, self.spec, deps)
        self._check_cancelled()
        try:
            executor.in_user_code = self._main
            return function(*args, **kwargs)
        finally:
            executor.in_user_code = False

    def _check_cancelled(self) -> None:
        if self._execute.task in self._executor.cancelled:
            raise Cancelled

    def _send(self, item: Any) -> None:
        index = self._made + 1
        task, client = self._execute.task, self._client
        try:
            packed = serialization.dumps(item)
        except Exception as e:
            what = f"item {index} of {self.spec.name}"
            raise cannot_serialize(what, item, e) from e
        value = client.store(ids.object_id(task, index), packed)
        self._made = index
        full = self.full
        message = m.Yield(task, [value], full)
        if full:
            client.link.send([message])
        else:
            client.link.send_soon(message)  # many quick ones go out together
        client.release(value)

    def _end(self) -> m.Value:
        """The value of the object that stands for the end."""
        packed = serialization.dumps(None)
        return m.Value(
            ids.object_id(self._execute.task, 0), m.INLINE, packed.to_bytes(), packed.size
        )

    def _returned(self) -> m.Done | None:
        if self._executor.actor is not None and self._execute.task in self._executor.cancelled:
            return self._raised(Cancelled())
        duration = time.perf_counter() - self._started
        return m.Done(self._execute.task, True, [self._end()], duration)

    def _raised(self, error: BaseException) -> m.Done | None:
        if not isinstance(self._items, AsyncGenerator):
            self.close()  # it goes on living if an item could not be sent
        duration = time.perf_counter() - self._started
        done = self._executor._failed(self._execute, self.spec, error, duration)
        if done is not None:
            done.values.append(self._end())
        return done

    def close(self) -> None:
        """Let the generator clean up; what it raises then has nobody to hear it."""
        with contextlib.suppress(BaseException):
            self._items.close()

    def _report(self, done: m.Done | None) -> None:
        executor, execute = self._executor, self._execute
        executor.cancelled.discard(execute.task)
        try:
            if done is not None:  # else the actor leaves
                executor._report(execute, done, self._main)
        finally:
            self._items = None
            self.leave()

    def leave(self) -> None:
        """Let go of the arguments."""
        executor, execute = self._executor, self._execute
        executor._release_arguments(execute)
        if self.gpus is not None and executor.own_process and executor.actor is None:
            executor.gpus.restore()
        if executor.productions.get(execute.task) is self:  # not its next attempt
            del executor.productions[execute.task]
        executor.no_longer(execute.task, self.context)


# --- all at once ---------------------------------------------------------------------------------


class Partial(Exception):
    """A generator with ``num_returns=k`` gave fewer items; its cause says why. The first results
    keep their values."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


def gathers(function: Any, spec: m.TaskSpec, result: Any) -> bool:
    """Whether a call returned a generator whose items are its results."""
    if spec.num_returns == m.DYNAMIC:
        return True
    kind = type(result)
    if kind in PLAIN or not (hasattr(kind, "__next__") or hasattr(kind, "__anext__")):
        return False  # the usual case
    if isinstance(result, Generator | AsyncGenerator):
        return spec.num_returns > 1 or (
            inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        )
    return False


class _Gathering:
    """Collects the items of one generator."""

    def __init__(self, executor: Executor, execute: m.Execute, spec: m.TaskSpec) -> None:
        self._executor = executor
        self._execute = execute
        self._spec = spec
        self._items: list[Any] = []
        # In the `inproc` engine refs are counted by the driver's client.
        self._client: Client = refs._client or executor.client

    def add(self, item: Any) -> bool:
        """Take an item; whether more are wanted."""
        count = self._spec.num_returns
        if count == m.DYNAMIC:
            self._items.append(self._client.put(item))
        elif count:
            self._items.append(item)
        return count <= 0 or len(self._items) < count

    def result(self, error: Exception | None) -> Any:
        """What the call returns, after the last item or ``error``."""
        count, items = self._spec.num_returns, self._items
        if count == m.DYNAMIC:
            if error is not None:
                items.append(self._put_error(error))
            return DynamicObjectRefGenerator(items)
        if error is None and len(items) < count:
            error = ValueError(
                f"{self._spec.name} yielded {len(items)} item(s), but num_returns={count}."
            )
        if error is not None:
            raise Partial(items) from error
        return items[0] if count == 1 else items

    def _put_error(self, error: Exception) -> ObjectRef[Any]:
        client = self._client
        done = values.failed(self._execute, self._spec, error, 0.0, self._executor.actor)
        value = done.values[0]
        value.oid = ids.object_id(client.next_task_id(), 0)
        client._counts[value.oid] = 1
        client.entries[value.oid] = value
        ref: ObjectRef[Any] = ObjectRef(value.oid)
        client.link.send([m.Put(value)])
        return ref


def gather(executor: Executor, execute: m.Execute, spec: m.TaskSpec, result: Any) -> Any:
    """The result of a call that returned a generator. Raises Partial."""
    gathering = _Gathering(executor, execute, spec)
    items = _items(executor, spec, result)
    try:
        for item in items:
            if not gathering.add(item):
                break
    except Exception as e:
        return gathering.result(e)
    finally:
        items.close()
    return gathering.result(None)


async def gather_async(
    executor: Executor, execute: m.Execute, spec: m.TaskSpec, result: Any
) -> Any:
    """``gather`` for a method of an async actor."""
    if not isinstance(result, AsyncGenerator):
        return gather(executor, execute, spec, result)
    gathering = _Gathering(executor, execute, spec)
    try:
        async for item in result:
            if not gathering.add(item):
                break
    except Exception as e:
        return gathering.result(e)
    finally:
        await result.aclose()
    return gathering.result(None)


def kept(client: Client, execute: m.Execute, partial: Partial) -> list[m.Value]:
    """The first results of a call that failed later; those that cannot be pickled are left out."""
    made: list[m.Value] = []
    for i, item in enumerate(partial.items):
        with contextlib.suppress(Exception):
            oid = ids.object_id(execute.task, i)
            made.append(client.store(oid, serialization.dumps(item)))
    return made
