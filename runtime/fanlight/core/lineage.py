"""Objects whose values are gone though somebody holds them: what becomes of them.

The bytes of a stored object can be lost: its segment was deleted, cut short or overwritten by
somebody else, or what was spilled to disk cannot be read back. Whoever notices calls
:meth:`Lineage.lost`, and nobody waits for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core import model
from fanlight.core.model import Object

if TYPE_CHECKING:
    from fanlight.core.machine import Core


class Lineage:
    """A part of the core, beside :class:`fanlight.core.objects.Objects`, whose table it uses."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def lost(self, obj: Object, reason: str) -> None:
        """The bytes of an object that has a value are gone, for ``reason`` (a clause, for people:
        "its file in shared memory was deleted").

        Its segment is deleted. Everyone who waits for it or asks for it from now on gets an
        ObjectLostError with the reason.
        """
        if obj.kind == model.PENDING or obj.kind >= m.ERROR:
            return  # known already
        core = self.core
        made = f"a result of {obj.group.name}" if obj.group is not None else "a value that was put"
        failure = core.failure(
            "object_lost", f"The object {obj.id.hex()} ({made}) is lost: {reason}."
        )
        core.objects.vacate(obj)
        core.objects.fail([obj.id], failure)
