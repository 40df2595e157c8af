"""Maps files into memory without keeping them open.

``mmap.mmap`` keeps a copy of the descriptor for as long as the mapping lasts (before Python 3.13), and
a process may have a thousand by default: whoever held a thousand arrays could open no file any more.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from typing import Any

SHARED = mmap.MAP_SHARED
WARM = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
PRIVATE = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
READ = mmap.PROT_READ
WRITE = mmap.PROT_READ | mmap.PROT_WRITE

Mapping = Any  # has a buffer, and takes weak references; unmapped when nothing refers to it

_libc: Any = None


def map_file(fd: int, flags: int, protection: int, size: int = 0) -> Mapping:
    """The first ``size`` bytes of a file, or all of it; ``fd`` may be closed. Raises OSError."""
    size = size or os.fstat(fd).st_size
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, flags=flags, prot=protection, trackfd=False)
    return _map(fd, flags, protection, size)


def view(mapping: Mapping, protection: int) -> memoryview:
    """The bytes of a mapping, which lasts as long as this or a part of it."""
    bytes_ = memoryview(mapping).cast("B")
    return bytes_ if protection == WRITE else bytes_.toreadonly()


def _map(fd: int, flags: int, protection: int, size: int) -> Mapping:
    import ctypes  # not needed by who has no large objects

    global _libc
    if _libc is None:
        libc = ctypes.CDLL(None, use_errno=True)
        pointer, length, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        libc.mmap.restype = pointer
        libc.mmap.argtypes = (pointer, length, number, number, number, ctypes.c_longlong)
        libc.munmap.argtypes = (pointer, length)
        _libc = libc
    address = _libc.mmap(None, size, protection, flags, fd, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    mapping = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(mapping, _libc.munmap, address, size).atexit = False
    return mapping
