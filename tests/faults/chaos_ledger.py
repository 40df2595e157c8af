"""Actors of the chaos tests whose state outlives their processes, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.chaos_work import Work


class Ledger:
    """An actor that writes down what it is told, and survives in its file.

    ``resend``: the runtime repeats what was lost. Otherwise this class does, after the error that
    says so; then calls take a channel.
    """

    def __init__(self, work: Work, handle: Any, path: Path, resend: bool, alone: bool) -> None:
        self.work = work
        self.handle = handle
        self.path = path
        self.resend = resend
        self.alone = alone  # one caller, and one call at a time
        self.kind = "resent" if resend else "on a channel"
        self.told = 0
        self.lost = 0

    def call(self) -> Callable[[], None]:
        n, self.told = self.told, self.told + 1
        if not self.alone and n % 4 == 0:
            ref = self.work.relay.remote(self.handle, n)
            return lambda: _equal(self.work.get(ref), n * n)
        if n % 16 == 5:
            return self._call(n, lambda: self.handle.large.remote(n), self._large)
        if n % 16 == 6:
            items = self.handle.items.options(num_returns="streaming")
            return self._call(n, lambda: items.remote(n, 5), self._items)
        if n % 16 == 7:  # an argument that has to be made first
            made = self.work.square.remote(3)
            return self._call(n, lambda: self.handle.record.remote(n, made), self._record)
        return self._call(n, lambda: self.handle.record.remote(n), self._record)

    def _record(self, n: int, ref: Any) -> None:
        _equal(self.work.get(ref), n * n)

    def _large(self, n: int, ref: Any) -> None:
        value = self.work.get(ref)
        assert len(value) == 20_000 and int(value[-1]) == n

    def _items(self, n: int, items: Any) -> None:
        _equal([self.work.get(item) for item in items], list(range(5)))

    def _call(
        self, n: int, send: Callable[[], Any], look: Callable[[int, Any], None]
    ) -> Callable[[], None]:
        sent = send()

        def check() -> None:
            nonlocal sent
            while True:
                try:
                    look(n, sent)
                    return
                except self.work.rt.errors.ActorUnavailableError:
                    assert not self.resend, "it was to be sent again"
                    self.lost += 1
                    sent = send()

        return check

    def check(self) -> None:
        """All that it was told is there; and in order, if nobody but the runtime repeated any."""
        numbers = [int(word) for word in self.path.read_bytes().split()] if self.told else []
        first = list(dict.fromkeys(numbers))
        assert sorted(first) == list(range(self.told)), f"{len(first)} of {self.told} are there"
        if self.alone and (self.resend or not self.lost):
            assert first == sorted(first), "calls of one caller overtook each other"


def _equal(value: Any, expected: Any) -> None:
    assert value == expected, f"{value}, not {expected}"
