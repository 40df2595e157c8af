"""Who is let in: what the node asks of a Hello, beyond the token, before anything else is read.

Whoever has the token is this user; so this is not about enemies but about mistakes: a process that
takes the place of another one would have its work, its results and its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fanlight import ids
from fanlight import messages as m
from fanlight.core.model import W_STARTING
from fanlight.wire import peers
from fanlight.wire.handshake import refusal

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.node.connections import Connection

ROLES = ("driver", "worker", "observer")


def problem(hello: m.Hello, token: str, connections: Iterable[Connection]) -> str:
    """Why the sender of ``hello`` is turned away, "" if it is not."""
    reason = refusal(hello, token, ROLES)
    if reason:
        return reason
    if len(hello.client_id) != ids.CLIENT_LEN:
        return f"a client id has {ids.CLIENT_LEN} bytes, not {len(hello.client_id)}"
    if any(c.client_id == hello.client_id for c in connections):
        return "another process has this client id"
    return ""


def worker_number(hello: m.Hello, connection: Connection, core: Core, zygote: int) -> int:
    """Which of the expected workers this is. Raises ValueError if it is none of them.

    The zygote forks all workers: where the system says whose child the peer is, nobody else gets in.
    """
    number = int(hello.info.get("number", "0"))
    worker = core.workers.get(number)
    if worker is None or worker.state != W_STARTING or worker.peer:
        raise ValueError(f"no worker {number} is expected")
    found = peers.parent(connection.sock)
    if found not in (None, (hello.pid, zygote)):
        raise ValueError(f"process {hello.pid} is no worker of this runtime")
    return number
