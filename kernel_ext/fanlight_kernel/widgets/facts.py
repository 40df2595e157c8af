"""Asks the runtime about things and makes cards of the answers: bounded in time, never raising.

Everything is asked by id, so that showing a thing does not keep it alive. An answer that does not
come in time is said to be missing; the next question may have better luck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fanlight.look import size
from fanlight.progress_bar import seconds
from fanlight_kernel.widgets.cards import Card
from fanlight_kernel.widgets.progress import one_line
from fanlight_kernel.widgets.wording import number

ANSWER = 0.5  # seconds that a runtime has for its answer
MANY = 5_000  # refs of a list that are asked about
Where = Callable[[str], str]  # a cell's origin -> "In[3]", "" if unknown

_STATES = {
    "PENDING_ARGS": ("waiting for its arguments", "idle"),
    "PENDING_RESOURCES": ("waiting for resources", "idle"),
    "PENDING": ("pending", "idle"),
    "SUBMITTED": ("about to run", "busy"),
    "RUNNING": ("running", "busy"),
    "READY": ("ready", "good"),
    "FINISHED": ("ready", "good"),
    "FAILED": ("failed", "bad"),
    "CANCELLED": ("cancelled", "warn"),
    "GONE": ("gone", "idle"),
}
_FINAL = ("READY", "FINISHED", "FAILED", "CANCELLED", "GONE")
_PLACES = {"memory": "in shared memory", "mapped": "in shared memory", "disk": "on disk"}


class Missing(Exception):
    """There is no answer; the text says why."""


def ask(what: str, **args: Any) -> Any:
    """Ask the runtime. Raises Missing."""
    from fanlight import errors, session

    current = session.current()
    if current is None:
        raise Missing(one_line(session.why_gone() or "no runtime is running"))
    try:
        return current.engine.query(what, ANSWER, **args)
    except LookupError as error:
        raise LookupError(*error.args) from None
    except errors.GetTimeoutError:
        raise Missing("the runtime does not answer") from None
    except Exception as error:
        raise Missing(one_line(str(error))) from None


def _unknown(title: str, error: Missing, identity: str = "") -> Card:
    from fanlight import session

    return Card(
        title, "unknown", "idle", lines=[str(error)], identity=identity,
        final=session.current() is None,
    )  # fmt: skip


def no_cell(origin: str) -> str:
    return ""


# -- one ref --------------------------------------------------------------------------------------
def ref_card(oid: bytes, where: Where = no_cell) -> Card:
    """State, size, place and maker of one object; why it waits, or its error."""
    from fanlight import session

    identity = oid.hex()
    try:
        facts = _channel_facts(oid) or ask("object", id=identity)
    except Missing as error:
        return _unknown("ObjectRef", error, identity)
    state = str(facts["state"])
    failure = ""
    if state == "FAILED":
        state, failure = _end_of(oid)
    word, tone = _STATES.get(state, (state.lower(), "idle"))
    final = state in _FINAL
    shown = []
    if facts.get("size") and state in ("READY", "FINISHED"):
        place = _PLACES.get(str(facts.get("place", "")), "")
        shown.append(f"{size(facts['size'])} {place}".rstrip())
    maker = str(facts.get("creator") or "")
    if maker:
        cell = where(str(facts.get("origin") or ""))
        shown.append(f"made by {maker}" + (f" in {cell}" if cell not in ("", maker) else ""))
    lines = [failure] if failure else []
    if not final and state not in ("RUNNING", "SUBMITTED") and facts.get("why"):
        lines.append(str(facts["why"]))
    if state == "GONE" and session.current() is not None:
        lines.append("Nobody holds it any more, so it was freed.")
    return Card("ObjectRef", word, tone, shown, lines, identity, final=final)


def _channel_facts(oid: bytes) -> dict[str, Any] | None:
    """Of a call that went to its actor directly: the node does not know it."""
    from fanlight import session

    current = session.current()
    channels = current.client.channels if current is not None else None
    return channels.facts(oid) if channels is not None else None


def _end_of(oid: bytes) -> tuple[str, str]:
    """How a task ended that gave an error: its state, and the error's first line."""
    try:
        task = ask("task", id=oid[:24].hex())["task"]
    except (LookupError, Missing):
        return "FAILED", ""
    state = "CANCELLED" if task["state"] == "CANCELLED" else "FAILED"
    return state, one_line(task["error"]) if task["error"] and state == "FAILED" else ""


# -- many refs ------------------------------------------------------------------------------------
class ManyRefs:
    """The refs of a list: asks only about those that may still change."""

    def __init__(self, oids: Sequence[bytes], where: Where = no_cell, monitored: str = "") -> None:
        """``monitored``: the cell whose tasks have a bar already, in its monitor."""
        self.total = len(oids)
        self._monitored = monitored
        self.where = where
        self._left = list(oids[:MANY])
        self._cut = self.total - len(self._left)
        self._ended: Counter[str] = Counter()
        self._size = 0
        self._makers: Counter[tuple[str, str]] = Counter()

    def card(self) -> Card:
        title = f"{number(self.total)} ObjectRefs"
        try:
            counts = self._ask()
        except Missing as error:
            return _unknown(title, error)
        done = counts["READY"] + counts["FINISHED"]
        ended = done + counts["FAILED"] + counts["CANCELLED"] + counts["GONE"]
        asked = self.total - self._cut
        running = counts["RUNNING"] + counts["SUBMITTED"]
        state = "ready" if done == asked else f"{number(done)} of {number(asked)} ready"
        facts = [
            f"{number(count)} {word}"
            for count, word in (
                (counts["FAILED"], "failed"), (counts["CANCELLED"], "cancelled"),
                (counts["RUNNING"], "running"), (asked - ended - counts["RUNNING"], "waiting"),
                (counts["GONE"], "gone"),
            )
            if count
        ]  # fmt: skip
        if self._size:
            facts.append(size(self._size))
        if self._makers:
            ((maker, origin), _), *others = self._makers.most_common()
            cell = self.where(origin)
            more = f" and {len(others)} others" if others else ""
            inside = "" if more or cell in ("", maker) else f" in {cell}"
            facts.append(f"made by {maker}{more}{inside}")
        cells = {origin for _, origin in self._makers}
        bar = {
            "total": asked, "done": done, "failed": counts["FAILED"], "running": running,
            "cancelled": counts["CANCELLED"],
        }  # fmt: skip
        tone = "bad" if counts["FAILED"] else "good" if done == asked else "busy"
        return Card(
            title, state, tone, facts, final=ended == asked,
            counts=bar if ended < asked and cells != {self._monitored} else None,
        )  # fmt: skip

    def _ask(self) -> Counter[str]:
        counts = Counter(self._ended)
        if not self._left:
            return counts
        unknown: list[bytes] = []
        found: list[tuple[bytes, dict[str, Any]]] = []
        for oid in self._left:
            facts = _channel_facts(oid)
            if facts is None:
                unknown.append(oid)
            else:
                found.append((oid, facts))
        rows = ask("objects", ids=b"".join(unknown)) if unknown else []
        found += zip(unknown, rows, strict=True)
        left = []
        for oid, facts in found:
            state = str(facts["state"])
            if not self._makers or sum(self._makers.values()) < self.total:
                self._makers[str(facts["creator"]), str(facts["origin"])] += 1
            counts[state] += 1
            if state in _FINAL:
                self._ended[state] += 1
                self._size += facts["size"] if state != "FAILED" else 0
            else:
                left.append(oid)
        self._left = left
        return counts


# -- actors, placement groups ---------------------------------------------------------------------
_ACTOR_STATES = {
    "PENDING_ARGS": ("waiting for its arguments", "idle"),
    "PENDING_CREATION": ("not started yet", "idle"),
    "ALIVE": ("alive", "good"),
    "RESTARTING": ("restarting", "warn"),
    "DEAD": ("dead", "bad"),
}


def actor_card(actor_id: bytes, class_name: str) -> Card:
    """State, process, queue and restarts of an actor; why it is not there, or why it died."""
    identity, title = actor_id.hex(), f"Actor {class_name}"
    try:
        found = ask("actor_facts", id=identity)
    except LookupError as error:
        return Card(title, "gone", "idle", lines=[str(error)], identity=identity, final=True)
    except Missing as error:
        return _unknown(title, error, identity)
    view = found["actor"]
    state, tone = _ACTOR_STATES[view["state"]]
    dead = view["state"] == "DEAD"
    facts = [f"named {view['name']!r}"] if view["name"] else []
    if not dead and view["pid"]:
        facts.append(f"pid {view['pid']}")
    if view["queued"] and not dead:
        facts.append(f"{number(view['queued'])} call{'s' if view['queued'] > 1 else ''} queued")
    if view["finished"]:
        facts.append(f"{number(view['finished'])} done")
    if view["restarts"]:
        facts.append(f"restarted {number(view['restarts'])} times")
    lines = [text for text in (view["death_cause"] if dead else found["why"],) if text]
    return Card(title, state, tone, facts, lines, identity, final=dead)


_GROUP_STATES = {
    "PENDING": ("waiting for its resources", "idle"),
    "CREATED": ("reserved", "good"),
    "REMOVED": ("removed", "idle"),
}


def group_card(group_id: bytes) -> Card:
    """State and bundles of a placement group; why it waits."""
    identity = group_id.hex()
    try:
        found = ask("placement_group", id=identity)
    except LookupError as error:
        return Card(
            "PlacementGroup", "removed", "idle", lines=[str(error)], identity=identity, final=True
        )
    except Missing as error:
        return _unknown("PlacementGroup", error, identity)
    state, tone = _GROUP_STATES.get(found["state"], (found["state"].lower(), "idle"))
    facts = [f"named {found['name']!r}"] if found["name"] else []
    facts += [_bundles(list(found["bundles"].values())), str(found["strategy"])]
    lines = [str(found["why"])] if found["why"] and found["state"] == "PENDING" else []
    final = found["state"] != "PENDING"
    return Card("PlacementGroup", state, tone, facts, lines, identity, final=final)


def _bundles(bundles: list[dict[str, float]]) -> str:
    """ "2 × (1 CPU, 1 GPU), (4 CPU)"."""
    kinds: Counter[str] = Counter(
        ", ".join(f"{amount:g} {name}" for name, amount in bundle.items()) for bundle in bundles
    )
    texts = [f"{n} × ({kind})" if n > 1 else f"({kind})" for kind, n in kinds.items()]
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} others" if len(texts) > 4 else "")


# -- background cells -----------------------------------------------------------------------------
def background_card(handle: Any) -> Card:
    """How far a ``%%remote --bg`` cell is."""
    total, ended, failed = handle.counts()
    title = f"Background cell {handle.title}"
    facts = [f"{number(ended)} of {number(total)} runs"] if total > 1 else []
    if failed and total > 1:
        facts.append(f"{number(failed)} failed")
    facts.append(seconds(handle.elapsed()))
    if not handle.done():
        return Card(title, "running", "busy", facts)
    return Card(title, *(("failed", "bad") if failed else ("done", "good")), facts, final=True)
