"""Rich reprs of refs, lists of refs, actors, placement groups and background cells.

Registered with IPython's formatters; the runtime itself knows nothing of them, and unloading the
extension takes them away again. In a notebook what may still change updates itself
(:mod:`fanlight_kernel.widgets.live`); it is known by its id, so that being shown keeps nothing alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from IPython.lib import pretty

from fanlight_kernel.background import BackgroundCell
from fanlight_kernel.widgets import facts
from fanlight_kernel.widgets.cards import Card

SHORT = 2  # refs that a list must have to be shown as one thing
_pretty_list = pretty._type_pprinters[list]


class CardItem:
    """A card on display, for :class:`fanlight_kernel.widgets.live.Live`."""

    kind = "card"

    def __init__(self, ask: Callable[[], Card], steady: float) -> None:
        self._ask = ask
        self._card: Card | None = None
        self.steady = steady

    def look(self) -> tuple[dict[str, Any], bool]:
        self._card = card = self._ask()
        return card.as_state(), card.final

    def bundle(self) -> dict[str, Any]:
        return self._card.bundle() if self._card is not None else {}


class Reprs:
    """The formatters of one shell."""

    def __init__(self, extension: Any) -> None:
        self.extension = extension
        # What was asked a moment ago for one MIME type answers for the others.
        self._fresh: tuple[int, Card] | None = None

    # -- how to ask about a thing, without the thing -------------------------------------------
    def _asker(self, thing: Any) -> tuple[Callable[[], Card], float] | None:
        """A function that makes its card, and seconds between two questions; None for plain lists."""
        import fanlight

        where = self.extension.where
        if isinstance(thing, fanlight.ObjectRef):
            oid = thing.binary()
            return (lambda: facts.ref_card(oid, where)), 1.0
        if isinstance(thing, list):
            if len(thing) < SHORT or any(type(item) is not fanlight.ObjectRef for item in thing):
                return None
            cell = self.extension.cells.current
            monitored = cell.origin if cell is not None and self.extension.monitor_on else ""
            many = facts.ManyRefs([ref.binary() for ref in thing], where, monitored)
            return many.card, 1.0 + many.total / 2000
        if isinstance(thing, fanlight.ActorHandle):
            known = vars(thing)  # its attributes are methods of the actor
            actor_id, name = known["_id"], str(known["_class_name"])
            return (lambda: facts.actor_card(actor_id, name)), 5.0
        if isinstance(thing, BackgroundCell):
            handle = weakref.ref(thing)
            return (lambda: _background(handle)), 1.0
        group_id = thing.id.binary()
        return (lambda: facts.group_card(group_id)), 2.0

    def _card(self, thing: Any) -> Card | None:
        fresh, self._fresh = self._fresh, None
        if fresh is not None and fresh[0] == id(thing):
            self._fresh = fresh if fresh[1].final else None
            return fresh[1]
        found = self._asker(thing)
        return found[0]() if found is not None else None

    # -- IPython's formatters -----------------------------------------------------------------
    def display(self, thing: Any) -> None:
        """For what may still change. Raises NotImplementedError: the other formatters show it."""
        if isinstance(thing, list) and (len(thing) < SHORT or not _is_ref(thing[0])):
            raise NotImplementedError
        extension = self.extension
        cell = extension.cells.current
        found = self._asker(thing)
        if found is None or cell is None:
            raise NotImplementedError
        item = CardItem(*found)
        state, final = item.look()
        if final:
            assert item._card is not None
            self._fresh = (id(thing), item._card)
            raise NotImplementedError
        extension.live.show(item, cell, state)

    def html(self, thing: Any) -> str | None:
        if isinstance(thing, list) and (len(thing) < SHORT or not _is_ref(thing[0])):
            return None
        card = self._card(thing)
        return card.html() if card is not None else None

    def text(self, thing: Any, printer: Any, cycle: bool) -> None:
        if isinstance(thing, list) and (cycle or len(thing) < SHORT or not _is_ref(thing[0])):
            _pretty_list(thing, printer, cycle)
            return
        card = self._card(thing)
        if card is None:
            _pretty_list(thing, printer, cycle)
        else:
            printer.text(card.text())


def _is_ref(thing: Any) -> bool:
    import fanlight

    return type(thing) is fanlight.ObjectRef


def _background(handle: weakref.ref[BackgroundCell]) -> Card:
    cell = handle()
    if cell is None:
        return Card("Background cell", "forgotten", lines=["Nobody holds its handle."], final=True)
    return facts.background_card(cell)


def register(shell: Any, extension: Any) -> Callable[[], None]:
    """Register the reprs; returns what undoes it."""
    import fanlight

    reprs = Reprs(extension)
    types = (
        fanlight.ObjectRef,
        fanlight.ActorHandle,
        fanlight.util.PlacementGroup,
        BackgroundCell,
        list,
    )
    formatters = shell.display_formatter.formatters
    targets: list[tuple[Any, Any]] = [
        (formatters["text/html"], reprs.html),
        (formatters["text/plain"], reprs.text),
    ]
    if extension.rich:
        targets.append((shell.display_formatter.ipython_display_formatter, reprs.display))
    undo: list[tuple[Any, type, Any]] = [
        (formatter, cls, formatter.for_type(cls, function))
        for formatter, function in targets
        for cls in types
    ]

    def restore() -> None:
        for formatter, cls, previous in undo:
            formatter.pop(cls, None)
            if previous is not None:
                formatter.for_type(cls, previous)

    return restore
