"""Values as futures of ``concurrent.futures``; imported when somebody asks for one."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.client import fetching, lost
from fanlight.refs import ObjectRef
from fanlight.store.segments import Unreadable

if TYPE_CHECKING:
    from fanlight.client.client import Client


def future(client: Client, oid: bytes) -> Future[Any]:
    """A future of the object's value, or error; it keeps the object meanwhile."""
    future: Future[Any] = Future()
    keep: ObjectRef[Any] = ObjectRef(oid)  # until the value is there
    with client._lock:
        client._counts.add(oid)

    def ready() -> None:
        try:
            if not future.running() and not future.set_running_or_notify_cancel():
                del keep_cell[:]
                return
            value = client.entries.get(oid)
            if value is not None and value.kind == m.AWAY:  # no waiting in callbacks
                client.link.prompt(True)
                fetching.fetch(client, value, read)
                return
            result(value)
        except Unreadable as e:
            lost.call_back(client, e, ready)
            return
        except BaseException as e:
            future.set_exception(e)
        del keep_cell[:]  # not before: the entry would go with it

    def read(value: m.Value | None) -> None:
        """Its bytes are back from disk."""
        client.link.prompt(False)
        try:
            result(value)
        except Unreadable as e:
            lost.call_back(client, e, ready)
        except BaseException as e:
            future.set_exception(e)
        finally:
            if value is not None:
                client.release(value)
            if future.done():
                del keep_cell[:]

    def result(value: m.Value | None) -> None:
        if value is None:
            raise client._lost_error()
        future.set_result(client.read(value))

    keep_cell = [keep]
    del keep
    client.on_ready(oid, ready)
    return future
