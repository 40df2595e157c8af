"""Values as futures of ``concurrent.futures``; imported when somebody asks for one."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fanlight.refs import ObjectRef

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
            if not future.set_running_or_notify_cancel():
                return
            value = client.entries.get(oid)
            if value is None:
                raise client._lost_error()
            future.set_result(client.decode(value))
        except BaseException as e:
            future.set_exception(e)
        finally:
            del keep_cell[:]  # not before: the entry would go with it

    keep_cell = [keep]
    del keep
    client.on_ready(oid, ready)
    return future
