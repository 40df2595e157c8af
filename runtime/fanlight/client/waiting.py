"""How ``wait`` and ``get`` look at many objects without a step of Python for each.

``wait`` is made for loops, ``ready, rest = wait(rest)``, and each round of such a loop would have to
check and look up all refs again. So the client remembers the list it gave back last (a ``Rest``): if
that very list comes in, unchanged, its ids are known, valid and on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress, count, filterfalse, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanlight.refs import ObjectRef

Look = Callable[[bytes], Any]  # the value of an object, None while it is pending


def ready(get: Look, oids: Sequence[bytes], number: int) -> list[int]:
    """Positions of the first ``number`` objects that have a value."""
    return list(islice(compress(count(), map(get, oids)), number))


def enough(get: Look, oids: Sequence[bytes], number: int) -> Callable[[], bool]:
    """A predicate: ``number`` of the objects have a value.

    Asked again and again while values arrive. It keeps just so many pending objects in view that
    it cannot hold while all of those are pending, and moves on when one is not: for all of the
    objects that is one at a time, for any of them all of them, at the speed of C.
    """
    spare = len(oids) - number
    unseen = iter(oids)
    pending: list[bytes] = []

    def holds() -> bool:
        nonlocal pending
        if len(pending) > spare and not any(map(get, pending)):
            return False
        pending = [*filterfalse(get, pending)]
        pending += islice(filterfalse(get, unseen), spare + 1 - len(pending))
        return len(pending) <= spare

    return holds


class Rest:
    """The refs that ``wait`` gave back as not ready, to know them again.

    It keeps them alive, so the client forgets it whenever it looks at dropped refs.
    """

    __slots__ = ("_copy", "_list", "oids")

    def __init__(self, refs: list[ObjectRef[Any]], oids: list[bytes]) -> None:
        self._list = refs
        self._copy = refs.copy()
        self.oids = oids

    def known(self, refs: list[ObjectRef[Any]]) -> bool:
        """Whether this is the list that was given back, and nobody changed it since."""
        try:
            return refs is self._list and refs == self._copy
        except Exception:  # somebody put into it what cannot be compared
            return False

    def without(self, positions: list[int]) -> list[ObjectRef[Any]]:
        """A new list of the others, which is what is known from now on."""
        if len(positions) <= 4:
            self._list = self._list.copy()
            for position in reversed(positions):
                del self._list[position], self._copy[position], self.oids[position]
        else:
            keep = bytearray(b"\1") * len(self.oids)
            for position in positions:
                keep[position] = 0
            self._copy = list(compress(self._list, keep))
            self.oids = list(compress(self.oids, keep))
            self._list = self._copy.copy()
        return self._list
