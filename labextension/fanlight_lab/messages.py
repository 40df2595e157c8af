"""What browsers may send, as types: everything else is refused before it is looked at.

What is asked and ordered on the socket is in :mod:`fanlight.observe.questions`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from fanlight.observe.questions import MESSAGE_LIMIT, Ask, Do

__all__ = ["MESSAGE_LIMIT", "Ask", "Do", "Follow", "Pause", "Resume", "socket_decoder"]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+\Z", max_length=128)]


class Follow(Struct, tag="follow", forbid_unknown_fields=True):
    """Show the runtime of a kernel, or one named runtime; neither: show none."""

    kernel_id: Name | None = None
    runtime_id: Name | None = None


class Pause(Struct, tag="pause", forbid_unknown_fields=True):
    """Nobody looks: detach from the runtime."""


class Resume(Struct, tag="resume", forbid_unknown_fields=True):
    """Somebody looks again."""


SocketMessage = Follow | Pause | Resume | Ask | Do

socket_decoder = msgspec.json.Decoder(SocketMessage)
