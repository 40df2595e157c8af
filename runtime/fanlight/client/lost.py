"""Values that cannot be read any more: the node is told, and what it has made again is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.refs import ObjectRef
from fanlight.store.segments import Unreadable

if TYPE_CHECKING:
    from fanlight.client.client import Client


def decode(client: Client, problem: Unreadable, deadline: float | None) -> Any:
    """The value of an object that could not be read, when it is there again.

    Raises GetTimeoutError after ``deadline`` (by the monotonic clock), and why it is gone for good.
    """
    oid = problem.value.oid
    client.adopt(oid)
    keep: ObjectRef[Any] = ObjectRef(oid)  # arguments come without a ref
    while True:
        ask_again(client, [problem])
        [value] = _await(client, [keep._id], deadline)
        try:
            return client.read(value)
        except Unreadable as e:
            problem = e


def decode_all(
    client: Client, problem: Unreadable, oids: list[bytes], deadline: float | None
) -> list[Any]:
    """The same for several objects that this process has refs to; all lost ones are asked for at
    once."""
    entries, values = client.entries, client.values
    while True:
        problems = [problem]
        for oid in dict.fromkeys(oids):
            value = entries[oid]
            if value is not None and (saw := values.damage(value)):
                problems.append(Unreadable(saw))
                problems[-1].value = value
        ask_again(client, problems)
        found = _await(client, oids, deadline)
        try:
            return values.read_all(found)
        except Unreadable as e:
            problem = e


def call_back(client: Client, problem: Unreadable, callback: Callable[[], None]) -> None:
    """For who cannot wait: ``callback`` is called when there is a new value, or an error."""
    oid = problem.value.oid
    client.link.prompt(True)
    with client._lock:
        client._callbacks.setdefault(oid, []).append(callback)
    ask_again(client, [problem])
    if client.entries.get(oid) is not None or client.link.lost:
        client._call_back(oid)


def ask_again(client: Client, problems: list[Unreadable]) -> None:
    """Tell the node of values that are lost, in one message, since one run may make several of
    them; what comes instead will be in the entries."""
    entries = client.entries
    messages: list[m.LostObject] = []
    try:
        with client._lock:
            for problem in problems:
                value: m.Value = problem.value
                if _vacate(client, value):
                    name = value.data.decode() if value.kind == m.STORED else ""
                    messages.append(m.LostObject(value.oid, name, str(problem)))
        if messages:
            client.link.send(messages)
    except BaseException:  # interrupted: the next call asks again
        for problem in problems:
            if entries.get(problem.value.oid) is None:
                entries.pop(problem.value.oid, None)
        raise


def _vacate(client: Client, value: m.Value) -> bool:
    """Make a value that cannot be read pending here. False if somebody has asked for a new one, or
    has it. With the lock."""
    entries, oid = client.entries, value.oid
    known = entries.get(oid)
    if known is None:
        if oid in entries:
            return False
    elif known.kind == m.STORED and known.data == value.data:
        if client.reader is not None:
            client.reader.done(known.data.decode())
    elif known.kind != m.AWAY or value.kind not in (m.STORED, m.LOST):
        return False
    entries[oid] = None
    return True


def _await(client: Client, oids: list[bytes], deadline: float | None) -> list[m.Value]:
    entries = client.entries
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    client._block(lambda: all(map(entries.get, oids)), left, len(oids))
    return [value for oid in oids if (value := entries[oid]) is not None]
