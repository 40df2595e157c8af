"""Reading objects that are on disk: the node brings them back when it is asked.

An entry (or an argument) whose kind is ``AWAY`` says that there is a value. Whoever reads it asks with
``Fetch`` and gets a value of his own, which he releases; the entry is given a share of it, so that
the next one who reads it need not ask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from fanlight import messages as m
from fanlight.client import failures

if TYPE_CHECKING:
    from fanlight.client.client import Client

_unpack = msgspec.msgpack.decode


def fetch(client: Client, value: m.Value, then: Callable[[m.Value | None], None]) -> int:
    """Ask for a value that is away. ``then`` is called, by whichever thread reads, with one that can
    be read, and that is to be released; or with None when the runtime is lost. Returns the number of
    the request."""
    request = client.next_request()

    def answered(reply: m.Reply | None) -> None:
        then(None if reply is None or reply.error else _arrived(client, value, reply))

    client.answers[request] = answered
    client.link.send([m.Fetch(request, value.oid)])
    return request


def _arrived(client: Client, asked: m.Value, reply: m.Reply) -> m.Value:
    came = _unpack(reply.data, type=m.Value)
    if came.kind == m.STORED:
        client.values.take(came)
    with client._lock:
        entry = client.entries.get(came.oid)
        if entry is asked and asked.kind == m.AWAY and came.kind != m.LOST:
            if came.kind == m.STORED:
                assert client.reader is not None
                client.reader.share(came.data.decode())
            client.entries[came.oid] = m.Value(came.oid, came.kind, came.data, came.size)
    return came


@contextlib.contextmanager
def fetched(client: Client, values: list[m.Value]) -> Iterator[dict[bytes, m.Value]]:
    """The same values, by object, as they can be read; waits until all are there. What could not be
    brought back, and is computed again, is LOST.

    Raises RuntimeLostError.
    """
    found: dict[bytes, m.Value | None] = {}
    requests: list[int] = []
    closed = False

    def store(oid: bytes, came: m.Value | None) -> None:
        with client._lock:  # who waits may be interrupted just now
            if not closed:
                found[oid] = came
            elif came is not None:
                client.release(came)

    try:
        try:
            for value in values:
                then = _then(store, value.oid)
                requests.append(fetch(client, value, then))
            client.link.wait(lambda: len(found) == len(values))
        except failures.ConnectionLost:
            raise client._lost_error() from None
        if None in found.values():
            raise client._lost_error()
        yield {oid: value for oid, value in found.items() if value is not None}
    finally:
        with client._lock:
            closed = True
            there, found = found, {}
        late = [m.Withdraw(request) for request in requests if request in client.answers]
        if late:  # interrupted: what comes all the same is released
            client.link.send(late)
        for came in there.values():
            if came is not None:
                client.release(came)


def _then(
    store: Callable[[bytes, m.Value | None], None], oid: bytes
) -> Callable[[m.Value | None], None]:
    return lambda came: store(oid, came)
