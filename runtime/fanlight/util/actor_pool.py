"""``ActorPool``: work for a fixed set of actors, one call at a time for each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from fanlight import api, errors
from fanlight.refs import ObjectRef


class _Outcome(NamedTuple):
    """How a call ended: its value, or the exception that ``get_next`` raises."""

    ok: bool
    value: Any


class ActorPool:
    """Gives each of its actors the next piece of work when it is done with the last.

    Call it from one thread. It can be pickled, and so handed to a task or an actor, with the work
    that is under way; whoever goes on with it then is the only one who may.

    >>> import fanlight
    >>> @fanlight.remote
    ... class Squarer:
    ...     def square(self, x):
    ...         return x * x
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     pool = ActorPool([Squarer.remote(), Squarer.remote()])
    ...     pool.submit(lambda actor, x: actor.square.remote(x), 3)
    ...     pool.submit(lambda actor, x: actor.square.remote(x), 4)
    ...     pool.get_next(), pool.get_next(), pool.has_next()
    (9, 16, False)
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: deque[Any] = deque(actors)
        self._waiting: deque[tuple[int, Callable[[Any, Any], Any], Any]] = deque()
        self._running: dict[ObjectRef[Any], tuple[int, Any]] = {}  # call -> its number, its actor
        self._ended: dict[int, _Outcome] = {}  # in the order in which they ended
        self._dropped: set[int] = set()  # nobody wants to know how these end
        self._taken: set[int] = set()  # numbers above _next whose results were given out
        self._submitted = 0
        self._next = 0  # the number that get_next() gives

    # --- all at once -------------------------------------------------------------------------

    def map(self, fn: Callable[[Any, Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        """Apply ``fn(actor, value)`` to each value; results come in the order of ``values``.

        All work is submitted at once; it goes on while the results are iterated over. Earlier
        submissions whose results were not taken are given up. A task's error is raised at its
        place; iteration may then be taken up again with ``get_next``.

        Args:
            fn: takes an actor and a value and returns a ref: ``lambda a, v: a.work.remote(v)``.
            values: what to work on.
        """
        self._give_up_earlier()
        for value in values:
            self.submit(fn, value)
        return self._rest(self.get_next)

    def map_unordered(self, fn: Callable[[Any, Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        """Like ``map``; results come as they become ready."""
        self._give_up_earlier()
        for value in values:
            self.submit(fn, value)
        return self._rest(self.get_next_unordered)

    def _rest(self, get: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield get()

    def _give_up_earlier(self) -> None:
        self._ended.clear()
        self._waiting.clear()
        self._dropped.update(number for number, _ in self._running.values())
        self._taken.clear()
        self._next = self._submitted

    # --- one by one --------------------------------------------------------------------------

    def submit(self, fn: Callable[[Any, Any], Any], value: Any) -> None:
        """Call ``fn(actor, value)`` with an idle actor, or as soon as one is idle.

        That is noticed in ``get_next`` and ``get_next_unordered``.
        """
        self._waiting.append((self._submitted, fn, value))
        self._submitted += 1
        self._start_waiting()

    def has_next(self) -> bool:
        """Whether there is a result to come."""
        return self._submitted - self._next > len(self._taken)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result, in the order of submission. Raises what the task raised.

        Args:
            timeout: seconds; None waits for ever.
            ignore_if_timedout: when the time is up, give this piece of work up; its actor takes
                the next one when it is done with it.

        Raises:
            StopIteration: nothing was submitted, or all results were taken.
            TimeoutError: it is not ready in time.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        number = self._next
        if not self._wait(lambda: number in self._ended, timeout):
            if ignore_if_timedout:
                self._drop(number)
            raise TimeoutError(
                f"Timed out waiting for result {number} of the pool"
                + (": it was given up." if ignore_if_timedout else ".")
            )
        return self._take(number)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Any result, the first one that is ready; otherwise like ``get_next``."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        if not self._wait(lambda: self._ended, timeout):
            if ignore_if_timedout:
                started = [n for n, _ in self._running.values() if n not in self._dropped]
                self._drop(min(started, default=self._next))
            raise TimeoutError(
                "Timed out waiting for a result of the pool"
                + (": the oldest piece of work was given up." if ignore_if_timedout else ".")
            )
        return self._take(next(iter(self._ended)))

    def has_free(self) -> bool:
        """Whether an actor is idle and no work waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an idle actor out of the pool; None if there is none."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor. Raises ValueError if it is in the pool already."""
        if actor in self._idle or any(a == actor for _, a in self._running.values()):
            raise ValueError(f"{actor!r} belongs to this ActorPool already.")
        self._idle.append(actor)
        self._start_waiting()

    # --- within ------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        while self._idle and self._waiting:
            number, fn, value = self._waiting[0]
            actor = self._idle[0]
            try:
                ref = fn(actor, value)
                if not isinstance(ref, ObjectRef):
                    raise TypeError(
                        "The function of an ActorPool must return the ref of a call, such as "
                        f"`lambda actor, v: actor.work.remote(v)`; it returned {ref!r}."
                    )
            except Exception as e:
                self._waiting.popleft()
                if number == self._submitted - 1:  # the submit() that is under way: not done
                    self._submitted -= 1
                    raise
                self._ended[number] = _Outcome(False, e)
                continue
            self._waiting.popleft()
            self._idle.popleft()
            self._running[ref] = (number, actor)

    def _wait(self, done: Callable[[], Any], timeout: float | None) -> bool:
        """Let calls end until ``done()``; each actor goes on with what waits. False: too late."""
        deadline = None if timeout is None else time.monotonic() + max(0.0, timeout)
        while not done():
            if not self._running:
                # All actors are gone: what waits ends with that, one by one.
                number, _, _ = self._waiting.popleft()
                self._ended[number] = _Outcome(
                    False,
                    errors.ActorDiedError(
                        "All actors of the pool are dead, and this piece of work was never begun. "
                        "push() adds an actor."
                    ),
                )
                continue
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _ = api.wait(list(self._running), timeout=left)
            for ref in ready:
                self._end(ref)
            if not ready and not done():
                return False
        return True

    def _end(self, ref: ObjectRef[Any]) -> None:
        number, actor = self._running.pop(ref)
        alive = True
        try:
            outcome = _Outcome(True, api.get(ref))
        except errors.ActorDiedError as e:
            outcome = _Outcome(False, e)
            alive = _is_of_other(e, actor)
        except Exception as e:
            outcome = _Outcome(False, e)
        if number in self._dropped:
            self._dropped.discard(number)
        else:
            self._ended[number] = outcome
        if alive:
            self._idle.append(actor)
            self._start_waiting()

    def _take(self, number: int) -> Any:
        outcome = self._ended.pop(number)
        self._forget(number)
        if outcome.ok:
            return outcome.value
        raise outcome.value

    def _drop(self, number: int) -> None:
        waiting = [item for item in self._waiting if item[0] == number]
        if waiting:
            self._waiting.remove(waiting[0])
        else:
            self._dropped.add(number)
        self._forget(number)

    def _forget(self, number: int) -> None:
        self._taken.add(number)
        while self._next in self._taken:
            self._taken.discard(self._next)
            self._next += 1


def _is_of_other(error: errors.ActorDiedError, actor: Any) -> bool:
    """Whether the error tells of another actor's death, which the call only passed on."""
    return bool(error.actor_id) and error.actor_id != actor._id.hex()


__all__ = ["ActorPool"]
