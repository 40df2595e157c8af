"""What can go wrong on a connection."""

from __future__ import annotations


class WireError(Exception):
    """The peer sent something that is not the protocol; the connection is closed."""


class FrameTooLong(WireError):
    """A frame's header names more bytes than the reader accepts."""


class BadMessage(WireError):
    """A frame does not decode to messages of this direction."""


class HandshakeRefused(WireError):
    """Wrong token, wrong protocol version, or unknown role."""


class ConnectionLost(WireError):
    """The peer closed the connection or died."""
