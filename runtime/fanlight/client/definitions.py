"""What a client has defined to its node: functions, and specs that name them by a number.

A spec is defined once for all calls that share it, however many functions with ``options`` or
handles made them. It is forgotten when nobody can use it any more, and the function with its last
spec; the newest idle ones are kept, since loops make and drop the same ``f.options(...)`` again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from fanlight import interrupts
from fanlight import messages as m

IDLE = 64  # specs without a user that stay defined

_pack = msgspec.msgpack.encode


class Use:
    """Keeps a spec defined; ``number`` is its name in messages."""

    __slots__ = ("_dropped", "number")

    def __init__(self, number: int, dropped: deque[int]) -> None:
        self.number = number
        self._dropped = dropped

    @interrupts.finalizer(after=lambda: None)
    def __del__(self) -> None:
        try:
            self._dropped.append(self.number)  # a finalizer may run at any moment: no lock
        except AttributeError:
            pass  # Ctrl-C struck in __init__


class _Entry:
    __slots__ = ("content", "function", "users")

    def __init__(self, content: bytes, function: bytes) -> None:
        self.content = content
        self.function = function
        self.users = 0


class Definitions:
    """Of one client; ``send`` sends messages in order. Any thread may call it.

    ``on_forget`` is called with the numbers of specs that were forgotten. ``lock``: see ``Client``.
    """

    def __init__(
        self, send: Callable[[list[Any]], None], lock: threading.RLock | None = None
    ) -> None:
        self.dropped: deque[int] = deque()  # uses that ended
        self.on_forget: Callable[[list[int]], None] = lambda specs: None
        self._send = send
        self._lock = lock or threading.RLock()
        self._made = 0
        self._numbers: dict[bytes, int] = {}  # by content
        self._entries: dict[int, _Entry] = {}
        self._idle: dict[int, None] = {}  # without users, the oldest first
        self._functions: dict[bytes, int] = {}  # how many specs each has

    def define(self, spec: m.TaskSpec, blob: bytes = b"") -> Use:
        """Have the node know a spec; ``blob`` is its pickled function, if it has one.

        Interrupted, it may define something twice, which does no harm.
        """
        content = _pack(spec)
        with self._lock:
            number = self._numbers.get(content)
            if number is None:
                self._made += 1
                number = self._made
                key = spec.function
                if key and key not in self._functions:
                    self._send([m.DefineFunction(key, blob)])
                self._send([m.DefineSpec(number, spec)])
                self._functions[key] = self._functions.get(key, 0) + 1
                self._entries[number] = _Entry(content, key)
                self._numbers[content] = number
            self._idle.pop(number, None)
            self._entries[number].users += 1
            return Use(number, self.dropped)

    def settle(self) -> None:
        """Tell the node what it may forget; called with dropped refs, now and then."""
        with self._lock:
            for _ in range(len(self.dropped)):
                number = self.dropped.popleft()
                entry = self._entries[number]
                entry.users -= 1
                if not entry.users:
                    self._idle[number] = None
            if len(self._idle) < 2 * IDLE:
                return
            specs, functions = [], []
            for number in list(self._idle)[:-IDLE]:
                del self._idle[number]
                entry = self._entries.pop(number)
                del self._numbers[entry.content]
                specs.append(number)
                self._functions[entry.function] -= 1
                if not self._functions[entry.function]:
                    del self._functions[entry.function]
                    if entry.function:
                        functions.append(entry.function)
            self._send([m.Forget(specs, functions)])
        self.on_forget(specs)  # without the lock: it takes others
