"""What browsers may send, as types: everything else is refused before it is looked at.

Ids travel as hexadecimal text. The limits are generous for the panel and tight for anybody else.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

MESSAGE_LIMIT = 4096  # bytes of one message from a browser

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+\Z", max_length=128)]
TaskId = Annotated[str, Meta(pattern=r"^[0-9a-f]{48}\Z")]
ActorId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class Follow(Struct, tag="follow", forbid_unknown_fields=True):
    """Show the runtime of a kernel, or one named runtime; neither: show none."""

    kernel_id: Name | None = None
    runtime_id: Name | None = None


class Pause(Struct, tag="pause", forbid_unknown_fields=True):
    """Nobody looks: detach from the runtime."""


class Resume(Struct, tag="resume", forbid_unknown_fields=True):
    """Somebody looks again."""


class QueryTask(Struct, tag_field="what", tag="task", forbid_unknown_fields=True):
    id: TaskId


class QueryWhy(Struct, tag_field="what", tag="why", forbid_unknown_fields=True):
    """Why an actor or a task waits."""

    id: TaskId | ActorId


class QueryGroup(Struct, tag_field="what", tag="group_tasks", forbid_unknown_fields=True):
    group: Annotated[int, Meta(ge=0, le=2**53)]
    limit: Annotated[int, Meta(ge=1, le=2000)] = 2000


class CancelTask(Struct, tag_field="action", tag="cancel", forbid_unknown_fields=True):
    task: TaskId
    force: bool = False


class KillActor(Struct, tag_field="action", tag="kill_actor", forbid_unknown_fields=True):
    actor: ActorId


class ShutDown(Struct, tag_field="action", tag="shutdown", forbid_unknown_fields=True):
    """End the runtime."""


SocketMessage = Follow | Pause | Resume
QueryRequest = QueryTask | QueryGroup | QueryWhy
CommandRequest = CancelTask | KillActor | ShutDown

socket_decoder = msgspec.json.Decoder(SocketMessage)
query_decoder = msgspec.json.Decoder(QueryRequest)
command_decoder = msgspec.json.Decoder(CommandRequest)
