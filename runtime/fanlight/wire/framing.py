"""Frames: how batches of messages are cut out of a byte stream.

A frame is a 4-byte little-endian length and that many bytes of MessagePack: an array of messages.
The reader is sans-IO: bytes in, frames out. Rules:

* A frame longer than the reader's limit is refused before its body is read.
* Before the handshake the limit is :data:`HANDSHAKE_LIMIT`, so that a stranger cannot make the node
  hold memory.
"""

from __future__ import annotations

from fanlight.wire.failures import FrameTooLong

HEADER = 4
HANDSHAKE_LIMIT = 4096
FRAME_LIMIT = 1 << 31


def frame(payload: bytes) -> bytes:
    """Return ``payload`` with its length in front.

    Raises FrameTooLong for what no reader accepts: the sender should learn it, not the peer.
    """
    if len(payload) > FRAME_LIMIT:
        raise FrameTooLong(f"a frame of {len(payload)} bytes; the limit is {FRAME_LIMIT}")
    return len(payload).to_bytes(HEADER, "little") + payload


class FrameReader:
    """Cuts a stream into frames.

    >>> reader = FrameReader()
    >>> reader.feed(frame(b"one") + frame(b"two")[:5])
    [b'one']
    >>> reader.feed(b"wo")
    [b'two']
    """

    __slots__ = ("_buffer", "_need", "limit")

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._need = HEADER  # no frame can be complete below this many bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; return the frames it completes.

        Raises FrameTooLong when a frame's header names more than ``limit`` bytes.
        """
        buffer = self._buffer
        if not buffer:
            # The usual case: whole frames in one read. Nothing is copied but the frames.
            frames, rest = self._cut(data)
            if rest < len(data):
                buffer += data[rest:]
            return frames
        buffer += data
        if len(buffer) < self._need:
            return []
        frames, rest = self._cut(buffer)
        del buffer[:rest]
        return frames

    def _cut(self, data: bytes | bytearray) -> tuple[list[bytes], int]:
        frames: list[bytes] = []
        pos, end = 0, len(data)
        self._need = HEADER
        while end - pos >= HEADER:
            length = int.from_bytes(data[pos : pos + HEADER], "little")
            if length > self.limit:
                raise FrameTooLong(f"a frame of {length} bytes; the limit is {self.limit}")
            stop = pos + HEADER + length
            if stop > end:
                self._need = HEADER + length
                break
            frames.append(bytes(data[pos + HEADER : stop]))
            pos = stop
        return frames, pos

    def rest(self) -> bytes:
        """The bytes of the frame that is not complete, to hand them to another reader."""
        return bytes(self._buffer)

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)
