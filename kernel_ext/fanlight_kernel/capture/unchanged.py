"""Whether memory still holds what was copied from it: certain, and fast where the kernel helps.

Three ways, all certain:

* **Fixed**: results of earlier cells and tasks lie in the store, where nobody writes to them.
* **Watched** pages (Linux ≥ 6.7, where ``userfaultfd`` is allowed): the kernel write-protects them,
  lifts that by itself at the first write, and tells which were written. Asking about 1 GB takes
  less than a millisecond, protecting it some. What is watched is memory, not an object: when it is
  freed and given to another array, the pages count as written.
* **Compared** with the copy, byte by byte, on several threads and without the GIL: 2 GB are read
  for 1 GB.

A device or another process that got the pages before they were watched could write into them unseen
(memory registered for RDMA or ``io_uring``); only private anonymous memory can be watched, which
leaves out what is mapped from files and shared memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fanlight import session

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PIECE = 32 << 20  # bytes that one thread compares before it takes the next piece

_SYSCALL = {"x86_64": 323, "aarch64": 282}.get(platform.machine(), 0)
_API, _REGISTER, _UNREGISTER, _PROTECT = 0xC018AA3F, 0xC020AA00, 0x8010AA01, 0xC018AA06
_WP_UNPOPULATED, _WP_ASYNC = 1 << 13, 1 << 15
_SCAN = 0xC0606610  # PAGEMAP_SCAN
_WRITTEN = 2  # PAGE_IS_WRITTEN


def address_of(view: memoryview) -> int:
    """Where a contiguous buffer begins."""
    import pickle

    if not view.readonly:
        return ctypes.addressof(ctypes.c_char.from_buffer(view))
    pointer = _Buffer()
    _get_buffer(ctypes.py_object(pickle.PickleBuffer(view)), ctypes.byref(pointer), 0)
    try:
        return int(pointer.buf or 0)
    finally:
        _release_buffer(ctypes.byref(pointer))


class _Buffer(ctypes.Structure):
    """Py_buffer, of which only the address is read."""

    _fields_ = (("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("rest", ctypes.c_char * 128))


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_libc = ctypes.CDLL(None, use_errno=True)
_memcmp = _libc.memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def same_bytes(one: memoryview, other: memoryview) -> bool:
    """Whether two buffers hold the same; the GIL is free meanwhile."""
    if one.nbytes != other.nbytes:
        return False
    size = one.nbytes
    first, second = address_of(one), address_of(other)
    starts = range(0, size, _PIECE)

    def piece(start: int) -> bool:
        return not _memcmp(first + start, second + start, min(_PIECE, size - start))

    if len(starts) < 2:
        return all(map(piece, starts))
    if not piece(0):  # what differs often does at once
        return False
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(piece, starts[1:])
        equal = all(results)
        if not equal:
            pool.shutdown(wait=True, cancel_futures=True)
    return equal


class Fixed:
    """A part of a mapping that nobody writes to, known for as long as the mapping lives."""

    def __init__(self, mapped: Any, view: memoryview) -> None:
        self._mapped = weakref.ref(mapped)
        self._place = address_of(view), view.nbytes

    def unwritten(self, view: memoryview) -> bool:
        mapped = self._mapped()
        same = mapped is not None and owner_of(view) is mapped
        return same and self._place == (address_of(view), view.nbytes)

    def close(self) -> None:
        """Nothing is held."""


def owner_of(view: memoryview) -> Any:
    """What a buffer is a part of in the end."""
    found: Any = view
    for _ in range(100):
        inner = found.obj if isinstance(found, memoryview) else getattr(found, "base", None)
        if inner is None:
            return found
        found = inner
    return None


class Watch:
    """Pages of one buffer whose writes the kernel notes."""

    def __init__(self, watcher: Watcher, start: int, end: int, edges: tuple[int, int]) -> None:
        self._watcher = watcher
        self.start = start
        self.end = end
        self._edges = edges  # the buffer's own first and last address
        self._head = ctypes.string_at(edges[0], start - edges[0])
        self._tail = ctypes.string_at(end, edges[1] - end)

    def unwritten(self, view: memoryview) -> bool:
        """Whether it is this very memory, and holds what it held when it was watched."""
        first, last = self._edges
        return (
            (address_of(view), view.nbytes) == (first, last - first)
            and not self._watcher.written(self.start, self.end)
            and ctypes.string_at(first, self.start - first) == self._head
            and ctypes.string_at(self.end, last - self.end) == self._tail
        )

    def close(self) -> None:
        self._watcher.release(self.start, self.end)


class Watcher:
    """The process's userfaultfd; :meth:`watch` gives ``None`` wherever the kernel does not help."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd = -1
        self._pagemap = -1
        self._pid = 0
        self._counts: dict[tuple[int, int], int] = {}

    def _open(self) -> bool:
        """Raises OSError where the kernel refuses."""
        if self._pid == os.getpid():
            return self._fd >= 0
        self._pid, self._fd = os.getpid(), -1  # a forked child watches for itself
        if not (sys.platform == "linux" and _SYSCALL) or os.environ.get("FANLIGHT_WATCH") == "0":
            return False
        import fcntl

        user_mode_only = 1
        fd = _libc.syscall(_SYSCALL, os.O_CLOEXEC | os.O_NONBLOCK | user_mode_only)
        if fd < 0:
            return False
        try:
            wanted = _WP_UNPOPULATED | _WP_ASYNC
            fcntl.ioctl(fd, _API, bytearray(struct.pack("QQQ", 0xAA, wanted, 0)))
            self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            self._scan(0, PAGE)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def watch(self, view: memoryview) -> Watch | Fixed | None:
        """Note writes to the memory of ``view`` from now on. Call it before it is copied."""
        owner = owner_of(view) if view.readonly else None
        if owner is not None and session.is_stored(owner):
            return Fixed(owner, view)
        first = address_of(view)
        last = first + view.nbytes
        start, end = -(-first // PAGE) * PAGE, last // PAGE * PAGE
        with self._lock:
            try:
                if end <= start or not self._open():
                    return None
                import fcntl

                register = bytearray(struct.pack("QQQQ", start, end - start, 2, 0))
                fcntl.ioctl(self._fd, _REGISTER, register)
                protect = bytearray(struct.pack("QQQ", start, end - start, 1))
                fcntl.ioctl(self._fd, _PROTECT, protect)
            except (OSError, ImportError):
                return None  # memory of a kind that cannot be watched, or somebody else does
            self._counts[start, end] = self._counts.get((start, end), 0) + 1
        return Watch(self, start, end, (first, last))

    def written(self, start: int, end: int) -> bool:
        with self._lock:
            try:
                return not self._open() or self._scan(start, end)
            except OSError:
                return True

    def release(self, start: int, end: int) -> None:
        """Forget one :class:`Watch` of these pages."""
        import fcntl

        with self._lock:
            left = self._counts.get((start, end), 0) - 1
            if left > 0:
                self._counts[start, end] = left
                return
            self._counts.pop((start, end), None)
            if self._fd >= 0 and self._pid == os.getpid():
                with contextlib.suppress(OSError):
                    fcntl.ioctl(self._fd, _UNREGISTER, struct.pack("QQ", start, end - start))

    def _scan(self, start: int, end: int) -> bool:
        """Whether any page was written."""
        import fcntl

        found = (ctypes.c_uint64 * 3)()
        at = ctypes.addressof(found)
        request = struct.pack("12Q", 96, 0, start, end, 0, at, 1, 1, 0, _WRITTEN, 0, _WRITTEN)
        return bool(fcntl.ioctl(self._pagemap, _SCAN, bytearray(request)))

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0 and self._pid == os.getpid():
                os.close(self._fd)
                os.close(self._pagemap)
            self._fd, self._pid = -1, 0
            self._counts.clear()


def view_of(buffer: Any) -> memoryview:
    """The bytes of a PickleBuffer or of any contiguous buffer."""
    raw = getattr(buffer, "raw", None)
    return raw() if raw is not None else memoryview(buffer).cast("B")
