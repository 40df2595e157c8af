"""ObjectRef: a promise for a value that is, or will be, somewhere in the runtime."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from fanlight import errors, ids, interrupts, serialization

if TYPE_CHECKING:
    import concurrent.futures

    from fanlight.client.client import Client
    from fanlight.reasons import Why

T = TypeVar("T")
_OUT_OF_BAND = "RAY_allow_out_of_band_object_ref_serialization"

# Ids of refs that were dropped and not yet told to the node. A deque, since finalizers run at any
# moment, also while the same thread holds a lock.
dropped: deque[bytes] = deque()
_client: Client | None = None
_alarm: Any = None  # to be called once for the first ref that is dropped from now on


def attach(client: Client | None) -> None:
    """Name the client that counts references from now on; called by sessions and workers."""
    global _client
    _client = client
    arm()
    if client is not None:
        interrupts.install()
    else:
        interrupts.remove()


def arm() -> None:
    """Have the client woken by the next ref that is dropped. To be called before ``dropped`` is
    emptied, so that none is overlooked."""
    global _alarm
    _alarm = _client.wake if _client is not None else None


def ring() -> None:
    """Wake the client that counts references: there are dropped ones. Called by finalizers, at any
    moment and in any thread."""
    global _alarm
    alarm, _alarm = _alarm, None
    if alarm is not None:
        alarm()


def remind() -> None:
    """The alarm may have been lost: ring it in any case."""
    arm()
    ring()


class ObjectRef(msgspec.Struct, Generic[T], frozen=True, weakref=True):
    """A reference to one object. Equal and hashed by id; awaitable; picklable.

    ``fanlight.get(ref)`` gives the value. While any process holds a ref, the value stays.
    """

    # A struct, since those are made quickly and are not tracked by the garbage collector: a list
    # of a million refs costs it nothing.

    _id: bytes

    @interrupts.finalizer(after=remind)
    def __del__(self) -> None:
        try:
            dropped.append(self._id)
            if _alarm is not None:
                ring()
        except (AttributeError, TypeError):
            pass  # the interpreter is going away

    def binary(self) -> bytes:
        """The id, 28 bytes."""
        return self._id

    def hex(self) -> str:
        """The id, 56 hexadecimal digits."""
        return self._id.hex()

    def why(self) -> Why:
        """Why the value is not there yet, or what became of it: a sentence, and its facts.

        Does not wait for the value. See :func:`fanlight.why`.
        """
        from fanlight.reasons import why

        return why(self)

    def task_id(self) -> TaskID:
        """The id of the task that makes the object."""
        return TaskID(ids.task_of(self._id))

    def future(self) -> concurrent.futures.Future[T]:
        """A ``concurrent.futures.Future`` that gets the value or the exception."""
        from fanlight import session
        from fanlight.client.futures import future

        return future(session.require_client(), self._id)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self.future()).__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __reduce__(self) -> Any:
        # Pickled by somebody else's pickler: nobody can say how long that copy lives, so the
        # object is kept as long as this process.
        _check_allowed()
        if _client is not None:
            _client.publish(self._id)
            _client.adopt(self._id)
        return rebuild, (self._id,)

    def __copy__(self) -> ObjectRef[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T]:
        return self

    def __iter__(self) -> Any:
        raise TypeError("An ObjectRef is one object. Use fanlight.get(ref) to have its value.")


class TaskID:
    """A task's id, as ``ObjectRef.task_id()`` gives it."""

    __slots__ = ("_id",)

    def __init__(self, task_id: bytes) -> None:
        self._id = task_id

    def hex(self) -> str:
        return self._id.hex()

    def binary(self) -> bytes:
        return self._id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskID) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"TaskID({self._id.hex()})"


def rebuild(oid: bytes) -> ObjectRef[Any]:
    """Called when a ref is unpickled that travelled by itself: this process holds the object from
    now on."""
    if _client is not None:
        _client.adopt(oid)
    return ObjectRef(oid)


def _inside(oids: list[bytes], outer: bytes) -> list[ObjectRef[Any]]:
    """The refs inside a value that is being rebuilt; ``oids`` are all different."""
    if _client is not None:
        _client.adopt_inside(oids, outer)
    return list(map(ObjectRef, oids))


def _check_allowed() -> None:
    """Raises if refs must not be pickled outside of values (a setting that finds leaks)."""
    if os.environ.get(_OUT_OF_BAND) == "0":
        raise errors.OutOfBandRefError(
            "An ObjectRef was pickled outside of a value: by a function that captures it, or by "
            "another pickler than Fanlight's. What it names could never be freed. Pass it as an "
            f"argument, or unset {_OUT_OF_BAND}."
        )


def _reduce(ref: ObjectRef[Any], contained: list[bytes]) -> tuple[Any, ...]:
    _check_allowed()
    contained.append(ref._id)
    if _client is not None:
        _client.publish(ref._id)
    return rebuild, (ref._id,)


def _leave(oids: list[bytes]) -> None:
    if _client is not None:
        _client.publish(*oids)


serialization.register_refs(ObjectRef, _inside, _leave)
serialization.register_reducer(ObjectRef, _reduce)
