"""What a browser may ask and order, as types: everything else is refused before it is looked at.

``{"type": "ask", "id": n, "query": {"what": …}}`` is answered by ``{"type": "answer", "id": n,
"data": …}``, or with ``"error"`` in the place of ``"data"``; ``{"type": "do", "id": n, "command":
{"action": …}}`` likewise. The answers are the records of :mod:`fanlight.answers`. The same frames
travel on the server's socket and on a comm; :class:`fanlight.observe.desk.Desk` answers them.

Ids are hexadecimal text. The limits are generous for the panel and tight for anybody else.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

MESSAGE_LIMIT = 4096  # bytes of one message from a browser

TaskId = Annotated[str, Meta(pattern=r"^[0-9a-f]{48}\Z")]
ActorId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
WorkerId = Annotated[str, Meta(pattern=r"^[0-9a-f]{56}\Z")]
AnyId = Annotated[str, Meta(pattern=r"^([0-9a-f]{32}|[0-9a-f]{48}|[0-9a-f]{56})\Z")]
Number = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=200)]


class QueryTask(Struct, tag_field="what", tag="task", forbid_unknown_fields=True):
    """One task: times, arguments, attempts, traceback, why it waits."""

    id: TaskId


class QueryWhy(Struct, tag_field="what", tag="why", forbid_unknown_fields=True):
    """Why an actor or a task waits, or an object is not there."""

    id: AnyId


class QueryActor(Struct, tag_field="what", tag="actor", forbid_unknown_fields=True):
    id: ActorId


class QueryWorker(Struct, tag_field="what", tag="worker", forbid_unknown_fields=True):
    id: WorkerId


class QueryGroupTasks(Struct, tag_field="what", tag="group_tasks", forbid_unknown_fields=True):
    """The tasks of a group as columns: what changed after the cursor of the answer before.

    With a ``limit``: the newest of those that are remembered one by one, as they are in events.
    """

    group: Number
    after: Number = 0
    limit: Annotated[int, Meta(ge=1, le=2000)] | None = None


class QueryNeighbours(Struct, tag_field="what", tag="neighbours", forbid_unknown_fields=True):
    """What stands around one task."""

    id: TaskId
    radius: Annotated[int, Meta(ge=1, le=6)] = 1


class QuerySpans(Struct, tag_field="what", tag="spans", forbid_unknown_fields=True):
    """A page of the timeline, from ``next`` of the page before."""

    after: Number = 0


class QueryObjects(Struct, tag_field="what", tag="objects", forbid_unknown_fields=True):
    """The largest objects, in this order."""

    sort: Literal["size", "age", "creator", "type", "holders"] = "size"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class QueryLogs(Struct, tag_field="what", tag="logs", forbid_unknown_fields=True):
    """Lines that tasks printed, after a cursor; of one worker, actor's process or task, or of all."""

    worker: WorkerId | None = None
    task: TaskId | None = None
    cell: Text | None = None
    after: Number = 0
    search: Text = ""
    limit: Annotated[int, Meta(ge=1, le=2000)] = 500


class QueryErrors(Struct, tag_field="what", tag="errors", forbid_unknown_fields=True):
    """Failures by cause."""


class CancelTask(Struct, tag_field="action", tag="cancel", forbid_unknown_fields=True):
    task: TaskId
    force: bool = False


class KillActor(Struct, tag_field="action", tag="kill_actor", forbid_unknown_fields=True):
    actor: ActorId


class CancelGroups(Struct, tag_field="action", tag="cancel_groups", forbid_unknown_fields=True):
    """Cancel all unfinished tasks of some functions, a cell's for instance; answers how many."""

    groups: Annotated[list[Number], Meta(min_length=1, max_length=500)]
    force: bool = False


class Scale(Struct, tag_field="action", tag="scale", forbid_unknown_fields=True):
    """Have so many CPUs to schedule on; answers how many there were."""

    cpus: Annotated[float, Meta(ge=0, le=10_000)]


class ShutDown(Struct, tag_field="action", tag="shutdown", forbid_unknown_fields=True):
    """End the runtime."""


Query = (
    QueryTask
    | QueryWhy
    | QueryActor
    | QueryWorker
    | QueryGroupTasks
    | QueryNeighbours
    | QuerySpans
    | QueryObjects
    | QueryLogs
    | QueryErrors
)
Command = CancelTask | CancelGroups | KillActor | Scale | ShutDown


class Ask(Struct, tag="ask", forbid_unknown_fields=True):
    """A question; ``query`` is decoded when it is answered, so that a bad one is told so."""

    id: Number
    query: msgspec.Raw


class Do(Struct, tag="do", forbid_unknown_fields=True):
    """An order."""

    id: Number
    command: msgspec.Raw


query_decoder = msgspec.json.Decoder(Query)
command_decoder = msgspec.json.Decoder(Command)
