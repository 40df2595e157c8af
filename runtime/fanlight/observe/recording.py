"""The file of a recording, ``.fanlight``: what an observer saw, to be looked at again later.

A file is a 16-byte head (:data:`MAGIC`, the version of the format) and parts that each stand for
themselves::

    part := "PART"  u32 meta length  u32 body length  u32 length of the unpacked body
            u32 CRC-32 of all else in the part                            (little-endian)
            meta: JSON {"kind", "t0", "t1", …}
            body: JSON lines or records, packed with zlib

======== =========================================================================================
kind     body
======== =========================================================================================
head     one line: versions, the runtime's name, when it began
key      one line, a Snapshot: the whole state at ``t0``. Playing can begin at any of them
delta    Delta events between ``t0`` and ``t1``, each a line; ``seq`` counts on from the key's
spans    a line (names, lanes, the number of the first record), then packed records of the timeline
answers  lines ``{"time", "query", "data"}``: what the runtime answered to questions, and when
end      one line: why the recording ended; not there when the recorder was killed
======== =========================================================================================

Parts are only ever appended, each with one call: a file whose writer was killed is good up to its
last whole part. Readers skip kinds that they do not know; a change that they could not understand
raises :data:`FORMAT`. The player in the front end reads the same (``labextension/src/replay/``).
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

MAGIC = b"\x89FANLIGHT\r\n\x1a\n"
FORMAT = 1
SUFFIX = ".fanlight"
PART_LIMIT = 64 << 20  # bytes of one unpacked body; more is refused, whoever wrote it

_HEAD = struct.Struct("<13sHB")  # magic, format, 0
_SIZES = struct.Struct("<4sIII")
_CHECK = struct.Struct("<I")
_PART = _SIZES.size + _CHECK.size
_TAG = b"PART"
_META_LIMIT = 1 << 20


class RecordingError(ValueError):
    """A file is not a recording that can be read; says what it is instead."""


class Part(NamedTuple):
    """One part, as it lies in the file."""

    kind: str
    t0: float
    t1: float
    meta: dict[str, Any]
    offset: int  # of its body
    packed: int  # bytes
    size: int  # bytes of the unpacked body


class Writer:
    """Makes a recording. Used by one thread; see :mod:`fanlight.observe.recorder`.

    Raises OSError from any call when the disk is full: the file is then what it was before.
    """

    def __init__(self, path: str | os.PathLike[str], replace: bool = True) -> None:
        """Create the file.

        Raises FileExistsError where something else of that name lies there than a recording, and
        for any file if not ``replace``.
        """
        self.path = Path(path)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        if replace and is_recording(self.path):
            # Not truncated: who still reads or writes the old one keeps it.
            self.path.unlink()
        try:
            self._fd = os.open(self.path, flags, 0o666)
        except FileExistsError:
            raise FileExistsError(
                f"{self.path} exists, and is no recording: choose another name."
                if replace
                else f"{self.path} exists."
            ) from None
        self.size = 0
        try:
            self._append(_HEAD.pack(MAGIC, FORMAT, 0))
        except BaseException:
            self.close()
            with contextlib.suppress(OSError):
                self.path.unlink()
            raise

    def part(self, kind: str, body: bytes, t0: float, t1: float, **meta: Any) -> None:
        """Append one part. Raises OSError."""
        note = msgspec.json.encode({"kind": kind, "t0": t0, "t1": t1, **meta})
        packed = zlib.compress(body, 6)
        sizes = _SIZES.pack(_TAG, len(note), len(packed), len(body))
        self._append(b"".join((sizes, _CHECK.pack(_check(sizes, note, packed)), note, packed)))

    def _append(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)  # half a part helps nobody
                os.lseek(self._fd, self.size, os.SEEK_SET)
            raise
        self.size += len(data)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _check(*pieces: bytes) -> int:
    check = 0
    for piece in pieces:
        check = zlib.crc32(piece, check)
    return check


def is_recording(path: Path) -> bool:
    """Whether a regular file lies there that begins as a recording does."""
    try:
        if not path.is_file():  # to open a pipe is to wait for who writes into it
            return False
        with path.open("rb") as f:
            return f.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class Recording:
    """A recording that can be read.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "a.fanlight")
    >>> writer = Writer(file)
    >>> writer.part("delta", b'{"type":"delta","seq":1}', 10.0, 12.0)
    >>> writer.close()
    >>> recording = Recording(file)
    >>> [part.kind for part in recording.parts], recording.whole, recording.seconds
    (['delta'], False, 2.0)
    >>> list(recording.lines(recording.parts[0]))
    [b'{"type":"delta","seq":1}']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Look through the file, without unpacking it.

        Raises RecordingError for what is no recording, or one of a newer Fanlight; OSError.
        """
        self.path = Path(path)
        with self.path.open("rb") as f:
            self._size = os.fstat(f.fileno()).st_size
            check_head(f.read(_HEAD.size), self.path.name)
            self.parts = list(self._scan(f))
        #: Bytes at the end that are of no use: the recorder was killed, or the file was cut.
        last = self.parts[-1] if self.parts else None
        self.good = last.offset + last.packed if last else _HEAD.size
        self.lost = self._size - self.good

    def _scan(self, f: Any) -> Iterator[Part]:
        offset = _HEAD.size
        while True:
            sizes, check = f.read(_SIZES.size), f.read(_CHECK.size)
            if len(check) < _CHECK.size:
                return
            tag, note_size, packed, size = _SIZES.unpack(sizes)
            if tag != _TAG or note_size > _META_LIMIT or size > PART_LIMIT:
                return
            if offset + _PART + note_size + packed > self._size:
                return
            note, body = f.read(note_size), f.read(packed)
            if _CHECK.pack(_check(sizes, note, body)) != check:
                return
            try:
                meta = msgspec.json.decode(note, type=dict[str, Any])
                part = Part(
                    str(meta["kind"]), float(meta["t0"]), float(meta["t1"]), meta,
                    offset + _PART + note_size, packed, size,
                )  # fmt: skip
            except (msgspec.DecodeError, KeyError, TypeError, ValueError):
                return
            yield part
            offset = part.offset + packed

    @property
    def whole(self) -> bool:
        """Whether the recorder ended in order."""
        return not self.lost and any(part.kind == "end" for part in self.parts)

    @property
    def start(self) -> float:
        return min((p.t0 for p in self.parts if p.kind in ("key", "delta")), default=0.0)

    @property
    def seconds(self) -> float:
        """From its first event to its last."""
        return max((p.t1 for p in self.parts if p.kind in ("key", "delta")), default=0) - self.start

    def body(self, part: Part) -> bytes:
        """The unpacked body. Raises RecordingError where it is not what it says."""
        with self.path.open("rb") as f:
            f.seek(part.offset)
            packed = f.read(part.packed)
        try:
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(packed, part.size + 1)
            if len(body) == part.size and unpacker.eof:
                return body
        except zlib.error:
            pass
        raise RecordingError(f"{self.path.name} is damaged.")

    def lines(self, part: Part) -> Iterator[bytes]:
        return (line for line in self.body(part).split(b"\n") if line)

    def payloads(self) -> Iterator[bytes]:
        """The JSON events in order, as an observer got them: a snapshot, then deltas.

        Snapshots after the first one say again what the deltas before them have said; where
        ``seq`` goes on, they can be left out.
        """
        for part in self.parts:
            if part.kind in ("key", "delta"):
                yield from self.lines(part)

    @property
    def head(self) -> dict[str, Any]:
        """What the recording says of itself: versions, the runtime's name, when it began."""
        return self._one("head")

    @property
    def end(self) -> dict[str, Any]:
        """Why it ended; empty when the recorder was killed."""
        return self._one("end")

    def _one(self, kind: str) -> dict[str, Any]:
        for part in self.parts:
            if part.kind == kind:
                found: dict[str, Any] = msgspec.json.decode(self.body(part), type=dict[str, Any])
                return found
        return {}


def check_head(head: bytes, name: str) -> None:
    """Raise RecordingError unless a file that begins so can be read; ``name`` is for the text."""
    if not head:
        raise RecordingError(f"{name} is empty.")
    if head[: len(MAGIC)] != MAGIC[: len(head)]:
        if b"FANLIGHT" in head:
            raise RecordingError(
                f"{name} was changed on its way, as a text file is: copy it as a binary file."
            )
        raise RecordingError(f"{name} is not a recording of Fanlight.")
    if len(head) < _HEAD.size:
        raise RecordingError(f"{name} was cut short: there is nothing in it.")
    _, version, _ = _HEAD.unpack(head)
    if version > FORMAT:
        raise RecordingError(
            f"{name} was made by a newer Fanlight (format {version}; this one reads {FORMAT}): "
            "update Fanlight to open it."
        )
