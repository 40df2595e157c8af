"""Rich reprs of references and actor handles, registered with IPython's formatters.

The runtime itself knows nothing of IPython; unloading the extension takes them away again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanlight_kernel import render

_WORDS = {
    "PENDING_ARGS": "waiting for its arguments",
    "PENDING_RESOURCES": "waiting for resources",
    "SUBMITTED": "about to run",
    "PENDING": "pending",
    "RUNNING": "running",
    "READY": "ready",
    "FINISHED": "ready",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}


def facts_of_ref(ref: Any) -> list[tuple[str, str]]:
    """State, size, maker and error of a reference; never blocks and never raises."""
    from fanlight import session

    try:
        state = session.ref_state(ref)
    except Exception:
        state = {}
    word = str(state.get("state") or "unknown")
    rows = [("state", _WORDS.get(word.upper(), word.lower()))]
    if state.get("size"):
        rows.append(("size", render.size(state["size"])))
    maker = state.get("creator") or state.get("name")
    if maker:
        rows.append(("made by", str(maker)))
    if state.get("error"):
        rows.append(("error", str(state["error"]).strip().splitlines()[-1]))
    rows.append(("id", ref.hex()))
    return rows


def ref_html(ref: Any) -> str:
    return render.card("ObjectRef", facts_of_ref(ref))


def ref_text(ref: Any, printer: Any, cycle: bool) -> None:
    facts = dict(facts_of_ref(ref))
    parts = [facts["state"], *(facts[k] for k in ("size",) if k in facts)]
    if "made by" in facts:
        parts.append(f"made by {facts['made by']}")
    printer.text(f"ObjectRef({ref.hex()[:16]}…, {', '.join(parts)})")


def facts_of_actor(handle: Any) -> list[tuple[str, str]]:
    """Class and id; an actor's attributes are methods, so only its own dictionary is read."""
    known = vars(handle)
    rows = [("class", str(known.get("_class_name", "?")))]
    identity = known.get("_id")
    if isinstance(identity, bytes):
        rows.append(("id", identity.hex()))
    methods = [name for name in known.get("_methods", ()) if not name.startswith("_")]
    if methods:
        shown = ", ".join(methods[:8]) + (", …" if len(methods) > 8 else "")
        rows.append(("methods", shown))
    return rows


def actor_html(handle: Any) -> str:
    return render.card("Actor", facts_of_actor(handle))


def actor_text(handle: Any, printer: Any, cycle: bool) -> None:
    printer.text(repr(handle))


def register(shell: Any) -> Callable[[], None]:
    """Register the reprs; returns what undoes it."""
    import fanlight

    targets: list[tuple[type, Any, Any]] = [(fanlight.ObjectRef, ref_html, ref_text)]
    try:
        from fanlight.actor import ActorHandle

        targets.append((ActorHandle, actor_html, actor_text))
    except ImportError:
        pass
    formatters = shell.display_formatter.formatters
    undo: list[tuple[Any, type, Any]] = []
    for cls, to_html, to_text in targets:
        for kind, function in (("text/html", to_html), ("text/plain", to_text)):
            previous = formatters[kind].for_type(cls, function)
            undo.append((formatters[kind], cls, previous))

    def restore() -> None:
        for formatter, cls, previous in undo:
            formatter.pop(cls, None)
            if previous is not None:
                formatter.for_type(cls, previous)

    return restore
