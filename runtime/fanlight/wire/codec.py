"""Messages to bytes and back. Decoding validates every field's type; nothing is unpickled here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fanlight import messages as m
from fanlight.wire.failures import BadMessage
from fanlight.wire.framing import frame

_encoder = msgspec.msgpack.Encoder()
_handshake = msgspec.msgpack.Decoder(list[m.HandshakeMessage])
_from_client = msgspec.msgpack.Decoder(list[m.FromClient])
_from_node = msgspec.msgpack.Decoder(list[m.FromNode])
_from_caller = msgspec.msgpack.Decoder(list[m.FromCaller])
_from_actor = msgspec.msgpack.Decoder(list[m.FromActor])


def encode(messages: Sequence[Any]) -> bytes:
    """One frame that holds ``messages`` in order."""
    return frame(_encoder.encode(messages))


def _decode(decoder: Any, payload: bytes) -> list[Any]:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise BadMessage(str(e)) from None


def decode_handshake(payload: bytes) -> list[m.HandshakeMessage]:
    return _decode(_handshake, payload)


def decode_from_client(payload: bytes) -> list[m.FromClient]:
    """Messages that a node accepts. Raises BadMessage."""
    return _decode(_from_client, payload)


def decode_from_node(payload: bytes) -> list[m.FromNode]:
    """Messages that a client, worker or observer accepts. Raises BadMessage."""
    return _decode(_from_node, payload)


def decode_from_caller(payload: bytes) -> list[m.FromCaller]:
    """Messages that an actor accepts on a channel. Raises BadMessage."""
    return _decode(_from_caller, payload)


def decode_from_actor(payload: bytes) -> list[m.FromActor]:
    """Messages that a caller accepts on a channel. Raises BadMessage."""
    return _decode(_from_actor, payload)
