"""How many refs to each object exist in this process, and what the node has to know of it.

Rules:

* Each ``ObjectRef`` (and counted ``ActorHandle``) that exists is one count, from just before it is
  made until after its finalizer has run.
* The node is told of an object's first count and of the end of its last one; between the two it
  takes this process for a holder. Except:
* a ref that was found inside a value needs no telling while this process holds the *outer* object,
  since the node keeps what is inside an object as long as the object. Such a ref is *covered*. The
  node hears of it only if it outlives its outer object here, and before it hears the end of that.

Sans-IO: :class:`Counts` says what to send. Its caller holds a lock, sends what ``add`` and
``add_inside`` ask for at once, and ``news`` now and then. Values may hold many thousands of refs, so
batches are handled by loops in C; what is not simple has a plain loop beside it.
"""

from __future__ import annotations

import weakref
from collections import deque
from itertools import repeat
from typing import Any

from fanlight import messages as m


class Cover:
    """Stands for "one count, covered" of all refs that were found in a value at one time."""

    __slots__ = ("__weakref__", "oids")

    def __init__(self, oids: list[bytes]) -> None:
        self.oids = oids


class Counts(dict[bytes, Any]):
    """By object: the count of one that the node was told of; a ``Cover``, for a covered one that
    counts 1; or ``(count, cover)``. Objects that count 0 are left out."""

    def __init__(self) -> None:
        self.gone: dict[bytes, bool] = {}  # told, and the node must hear of its end
        self._outlived: list[bytes] = []  # outlived their outer objects: to be told before `gone`
        self._inside: dict[bytes, list[weakref.ref[Cover]]] = {}  # covers, by outer object

    def number(self, oid: bytes) -> int:
        """How many refs there are."""
        value = self.get(oid, 0)
        if type(value) is tuple:
            return value[0]
        return 1 if type(value) is Cover else value

    # --- one more ----------------------------------------------------------------------------

    def add(self, oid: bytes) -> bool:
        """One ref more. True if the node has to hear of it at once."""
        value = self.get(oid)
        if value is None:
            self[oid] = 1
            return not self.gone.pop(oid, False)  # the node was not told yet, and need not be
        if type(value) is int:
            self[oid] = value + 1
        elif type(value) is tuple:
            self[oid] = (value[0] + 1, value[1])
        else:
            self[oid] = (2, value)
        return False

    def add_inside(self, oids: list[bytes], outer: bytes) -> list[bytes]:
        """One ref more to each of ``oids``, all different, found in the value of ``outer``.

        Returns those of which the node has to hear at once.
        """
        if outer not in self:
            return [oid for oid in oids if self.add(oid)]
        cover = Cover(oids)
        before = list(map(self.setdefault, oids, repeat(cover)))
        known = before.count(cover) < len(oids)
        if known or self.gone:
            for oid, value in zip(oids, before, strict=True):
                if value is not cover:
                    self.add(oid)
                elif self.gone.pop(oid, False):
                    self[oid] = 1
        covers = [ref for ref in self._inside.get(outer, ()) if ref() is not None]
        covers.append(weakref.ref(cover))
        self._inside[outer] = covers
        return []

    # --- one less ----------------------------------------------------------------------------

    def drop(self, batch: list[bytes]) -> list[bytes]:
        """One ref less for each of ``batch``; returns those of which there is none any more.

        What is not counted (refs of an earlier runtime) is left out.
        """
        have = list(map(self.get, batch))
        kinds = set(map(type, have))
        if kinds == {Cover}:
            gone = batch
            deque(map(self.pop, gone, repeat(None)), maxlen=0)
        elif kinds == {int} and have.count(1) == len(have):
            gone = batch
            deque(map(self.pop, gone, repeat(None)), maxlen=0)
            self.gone.update(dict.fromkeys(gone, True))
        else:
            gone = [oid for oid in batch if self._drop_one(oid)]
        if self._inside:
            for outer in filter(self._inside.__contains__, gone):
                self._uncover(outer)
        return gone

    def _drop_one(self, oid: bytes) -> bool:
        """One ref less; True if it was the last."""
        value = self.get(oid)
        if type(value) is int:
            if value > 1:
                self[oid] = value - 1
                return False
            self.gone[oid] = True
        elif type(value) is tuple:
            count, cover = value
            self[oid] = (count - 1, cover) if count > 2 else cover
            return False
        elif value is None:
            return False
        del self[oid]
        return True

    def _uncover(self, outer: bytes) -> None:
        """An outer object is gone: what was found in it and is still here stands for itself."""
        for ref in self._inside.pop(outer):
            cover = ref()
            if cover is None:  # nothing of it is left
                continue
            for oid in cover.oids:
                value = self.get(oid)
                if value is cover:
                    self[oid] = 1
                elif type(value) is tuple and value[1] is cover:
                    self[oid] = value[0]
                else:
                    continue
                self._outlived.append(oid)

    # --- telling -----------------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether there is news."""
        return bool(self.gone or self._outlived)

    def news(self) -> list[Any]:
        """The messages that the node has to get, in this order."""
        messages: list[Any] = []
        if self._outlived:
            messages.append(m.AddRefs(self._outlived))
            self._outlived = []
        if self.gone:
            messages.append(m.DropRefs([*self.gone]))
            self.gone = {}
        return messages
