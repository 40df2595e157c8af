"""The arguments of a call: pickled on one side, filled in on the other."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

from fanlight import config, serialization
from fanlight.client import failures
from fanlight.refs import ObjectRef
from fanlight.serialization import PLAIN

if TYPE_CHECKING:
    from fanlight.client.client import Client


class _Local(threading.local):
    """Implicit puts, which must outlive the Submit message that names them."""

    def __init__(self) -> None:
        self.kept: list[ObjectRef[Any]] = []


_local = _Local()


class Arguments:
    """A part of a client: what it sends along with a call."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def encode(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], what: str
    ) -> tuple[bytes, list[bytes], list[bytes]]:
        """Pickle arguments: bytes, objects to fill in at the top level, refs nested deeper.

        Large ones are stored first, as an object, which is the last of those to fill in.
        """
        if not kwargs and PLAIN.issuperset(map(type, args)):  # the usual case, quickly
            blob = pickle.dumps((args, kwargs, []), 5)
            if len(blob) <= config.INLINE_LIMIT or self._client.writer is None:
                return blob, [], []
            return self._as_object(serialization.Serialized(blob, [], []), [])
        deps: list[bytes] = []
        slots: list[int | str] = []
        for i, value in enumerate(args):
            if type(value) is ObjectRef:
                deps.append(value._id)
                slots.append(i)
        for name, value in kwargs.items():
            if type(value) is ObjectRef:
                deps.append(value._id)
                slots.append(name)
        if slots:
            self._client.publish(*deps)
            args, kwargs = _cleared(args, kwargs, slots)
        try:
            packed = serialization.dumps((args, kwargs, slots))
        except Exception as e:
            raise failures.cannot_serialize_arguments(what, args, kwargs, e) from e
        if packed.size <= config.INLINE_LIMIT or self._client.writer is None:
            return packed.to_bytes(), deps, packed.contained
        return self._as_object(packed, deps)

    def _as_object(
        self, packed: serialization.Serialized, deps: list[bytes]
    ) -> tuple[bytes, list[bytes], list[bytes]]:
        # As one object: what arguments share is shared in the task too, and pickled once. Whoever
        # keeps a view of one of them keeps the memory of all, though.
        ref = self._client.values.put_packed(packed)
        _local.kept.append(ref)
        deps.append(ref._id)
        return b"", deps, []

    def sent(self) -> None:
        """The message that names implicitly put arguments is on its way: the node pins them."""
        _local.kept.clear()


def _cleared(
    args: tuple[Any, ...], kwargs: dict[str, Any], slots: list[int | str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with None where a slot will be filled in."""
    positions = set(slots)
    return (
        tuple(None if i in positions else a for i, a in enumerate(args)),
        {k: None if k in positions else v for k, v in kwargs.items()},
    )


def decode_args(blob: bytes, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The worker's side of ``Arguments.encode``: arguments with ``values`` filled in."""
    if blob:
        args, kwargs, slots = serialization.loads(blob)
    elif values:
        args, kwargs, slots = values.pop()
    else:
        return [], {}
    args = list(args)
    if slots or values:
        for slot, value in zip(slots, values, strict=True):
            if type(slot) is int:
                args[slot] = value
            else:
                kwargs[slot] = value
    return args, kwargs
