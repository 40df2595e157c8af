"""What a client may ask for at all, beyond the types of its messages; and what nobody foresaw.

The decoder has checked types, lengths and ranges (:mod:`fanlight.messages`). Here is what needs the
state, off the hot path. Breaking a rule raises ProtocolViolation: the client is dropped.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core.model import ProtocolViolation, Spec
from fanlight.ids import handle_oid

if TYPE_CHECKING:
    from fanlight.core.machine import Core


def segment_name(value: m.Value) -> str:
    """The name of a stored value's segment: a file in the segments' directory and nowhere else."""
    try:
        name = value.data.decode("ascii")
    except UnicodeDecodeError:
        name = ""
    if not name or len(name) > 255 or "/" in name or "\0" in name or name[0] == ".":
        raise ProtocolViolation("a segment with a name that is none")
    return name


def put(value: m.Value) -> None:
    """A client may put values and errors of its own; failures are the node's to make."""
    if value.kind == m.STORED:
        segment_name(value)
    elif value.kind == m.FAILURE:
        raise ProtocolViolation("a failure that the node did not make")


def spec(x: m.DefineSpec) -> None:
    if x.spec.kind == m.ACTOR_CREATE and x.spec.num_returns:  # Tasks.submit relies on it
        raise ProtocolViolation("a constructor that returns something")
    where = x.spec.where
    if where is not None:
        for rule in where.labels.values():
            if not rule:
                raise ProtocolViolation("a label without a rule")


def constructor(message: m.CreateActor, spec: Spec | None, core: Core) -> None:
    if spec is not None and spec.spec.kind != m.ACTOR_CREATE:
        raise ProtocolViolation("an actor of a spec that is none of an actor")
    if message.task in core.tasks.table or handle_oid(message.actor) in core.objects.table:
        raise ProtocolViolation("an actor with the id of something else")


def unforeseen(peer: int, stimulus: Any, error: Exception) -> fx.DropClient:
    """An exception while a client's message was handled: the client goes, the node stays.

    Raises the exception again if nobody in particular sent the stimulus.
    """
    if not peer or isinstance(stimulus, fx.Connected | fx.Disconnected):
        raise error
    lines = traceback.format_exception(error, limit=-3)
    return fx.DropClient(
        peer, f"its {type(stimulus).__name__} could not be handled:\n{''.join(lines)}"
    )
