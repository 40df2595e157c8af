"""Files on disk that hold one object each: what was spilled, and what never fitted into memory.

A file is a header of 64 bytes and the object as it would be in a segment. So readers can map it::

    b"FLF1" | u32 checksum of the object | u64 its size | u32 1 if there is a checksum
    u32 checksum of the 20 bytes before | zeros

Objects that were spilled have a checksum (CRC-32), which is compared before anybody reads them.
A file is written under another name and renamed, so that one that has its name is complete.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fanlight import config

HEADER = 64  # bytes; a multiple of the alignment of buffers in a serialized value
DISK = "@"  # names of files begin with it, those of segments do not
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HEAD = struct.Struct("<4sIQI")
_CHECK = struct.Struct("<I")
_MAGIC = b"FLF1"
_CHUNK = 1 << 20
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unreadable(Exception):
    """The bytes of an object are gone, or are not what was written; the text is a clause."""


class Stopped(Exception):
    """The copying was to end early."""


def check_room(folder: Path, size: int) -> None:
    """Raise OSError (ENOSPC) if ``size`` more bytes would fill the disk beyond the limit."""
    facts = os.statvfs(folder)
    used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    total = used + facts.f_bavail * facts.f_frsize
    limit = config.disk_limit()
    if used + size > total * limit:
        percent = 100 * used / max(1, total)
        raise OSError(
            errno.ENOSPC,
            f"the disk is {percent:.1f} % full, and would be more than {100 * limit:.0f} % full "
            "(FANLIGHT_local_fs_capacity_threshold)",
            str(folder),
        )


def _header(size: int, checksum: int | None) -> bytes:
    head = _HEAD.pack(_MAGIC, checksum or 0, size, int(checksum is not None))
    return (head + _CHECK.pack(zlib.crc32(head))).ljust(HEADER, b"\0")


def _write_all(file: Any, data: memoryview) -> None:
    while data.nbytes:
        data = data[file.write(data) :]


def create(folder: Path, name: str, size: int, pieces: Iterable[Any]) -> None:
    """Write an object that does not fit into memory. Raises OSError, and leaves nothing then."""
    check_room(folder, size)
    path = folder / name
    try:
        with open(os.open(path, _NEW, 0o600), "wb", buffering=0) as file:
            _write_all(file, memoryview(_header(size, None)))
            for piece in pieces:
                view = memoryview(piece).cast("B")
                for start in range(0, view.nbytes, _CHUNK):
                    _write_all(file, view[start : start + _CHUNK])
    except FileExistsError:
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def spill(
    segment: Path, folder: Path, name: str, size: int, going: Callable[[], bool] = lambda: True
) -> None:
    """Copy the first ``size`` bytes of a segment to a file.

    Raises Unreadable if the segment cannot be read, OSError if the file cannot be written, Stopped
    as soon as ``going()`` is false; no file is left then.
    """
    try:
        source = open(os.open(segment, _OLD), "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        raise Unreadable("its file in shared memory was deleted") from None
    unfinished = folder / f"{name}.part"
    with source:
        check_room(folder, size)
        try:
            with open(os.open(unfinished, _NEW, 0o600), "wb", buffering=0) as file:
                file.write(bytes(HEADER))
                what = "its file in shared memory"
                checksum = _copy(source, size, what, going, lambda x: _write_all(file, x))
                file.seek(0)
                _write_all(file, memoryview(_header(size, checksum)))
            os.rename(unfinished, folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
            raise


def restore(
    folder: Path,
    name: str,
    segment: Path | None,
    size: int,
    going: Callable[[], bool] = lambda: True,
) -> None:
    """Check a file that ``spill`` wrote, and copy what is in it to a new segment.

    Raises Unreadable if it is not what was written, OSError if the segment cannot be written (or
    the file not be opened for want of descriptors), Stopped as above; no segment is left then.
    """
    try:
        source = open(os.open(folder / name, _OLD), "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        raise Unreadable("its file on disk was deleted") from None
    with source:
        expected = _read_header(source, size)
        if segment is None:
            found = _copy(source, size, "its file on disk", going, None)
            _compare(found, expected)
            return
        try:
            with open(os.open(segment, _NEW, 0o600), "wb", buffering=0) as file:
                found = _copy(
                    source, size, "its file on disk", going, lambda x: _write_all(file, x)
                )
            _compare(found, expected)
        except FileExistsError:
            raise
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(segment)
            raise


def _read_header(source: Any, size: int) -> int | None:
    head = source.read(HEADER)
    magic, checksum, found, has = _HEAD.unpack(head.ljust(HEADER, b"\0")[: _HEAD.size])
    if head != _header(found, checksum if has else None) or magic != _MAGIC or found != size:
        raise Unreadable("its file on disk is damaged")
    return checksum if has else None


def _compare(found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise Unreadable("its file on disk is damaged (the checksum is another one)")


def _copy(
    source: Any,
    size: int,
    what: str,
    going: Callable[[], bool],
    write: Callable[[memoryview], None] | None,
) -> int:
    """Read ``size`` bytes; returns their checksum. Other threads run meanwhile."""
    buffer = memoryview(bytearray(min(_CHUNK, max(1, size))))
    checksum = 0
    while size:
        if not going():
            raise Stopped
        try:
            count = source.readinto(buffer[: min(size, _CHUNK)])
        except OSError as e:
            raise Unreadable(f"{what} cannot be read: {e.strerror}") from None
        if not count:
            raise Unreadable(f"{what} was cut short")
        part = buffer[:count]
        checksum = zlib.crc32(part, checksum)
        if write is not None:
            write(part)
        size -= count
    return checksum
