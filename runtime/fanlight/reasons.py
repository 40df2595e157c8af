"""``fanlight.why(x)``: why is it waiting? One sentence, and the facts behind it."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fanlight import errors, ids, look
from fanlight import messages as m
from fanlight import session as sessions
from fanlight.core.why_text import Node, amount, chain
from fanlight.refs import ObjectRef

if TYPE_CHECKING:
    from fanlight.session import Session

ANSWER_SECONDS = 2.0  # that a node which is alive needs at most
_MANY = 1_000  # refs that are asked for at once
_ENDED = ("failed", "cancelled", "lost", "freed", "unknown")  # no value, and nothing to wait for
_ID_DIGITS = (32, 48, 56)  # of actors and groups, tasks, objects
_COLOURS = {
    **dict.fromkeys(("ready", "finished", "idle", "spilled"), look.GOOD),
    **dict.fromkeys(("running", "blocked", "restoring", "inproc", "paused"), look.BUSY),
    **dict.fromkeys(("failed", "infeasible", "stopped", "lost", "silent", "gone"), look.BAD),
}


class Why:
    """The answer of :func:`why`. ``str()`` is the sentence.

    ``facts`` is what programs read: a dictionary with ``code`` (one word for the reason), ``state``,
    ``kind``, ``name`` and ``id``; ``next`` holds such dictionaries of what it waits for, and other
    keys what belongs to the reason: ``resources``, ``held_by``, ``ahead``, ``pid``, ``attempt``, ….
    Of several refs it has ``total``, ``ready`` and ``reasons``.
    """

    def __init__(self, sentence: str, facts: Node, lines: list[dict[str, Any]]) -> None:
        self.sentence = sentence
        self.facts = facts
        self._lines = lines

    @property
    def code(self) -> str:
        """One word for the reason: "argument", "resources", "infeasible", "running", …"""
        return str(self.facts.get("code", ""))

    @property
    def root(self) -> Node:
        """The facts of the last link of the chain: what all the others wait for."""
        return chain(self.facts)[-1] if "next" in self.facts else self.facts

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        rows = [self.sentence]
        for line in self._lines:
            label, colon = line["label"], "" if line["label"][-1:] in ("`", "×", "") else ":"
            rows.append(f"{'  ' * line['depth']}  {label}{colon} {line['text']}")
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        colour = _COLOURS.get(str(self.root.get("code", self.code)), look.WARN)
        tree = _tree(self._lines) if self._lines else ""
        if tree:
            opened = " open" if len(self._lines) <= 12 else ""
            tree = (
                f'<details{opened} style="margin-top:2px"><summary style="cursor:pointer;'
                f'color:{look.MUTED}">the facts</summary>{tree}</details>'
            )
        inner = f'<div style="border-left:3px solid {colour};padding:2px 0 2px 10px">'
        return look.page(f"{inner}<div>{look.rich(self.sentence)}</div>{tree}</div>")


def _tree(lines: list[dict[str, Any]]) -> str:
    """Nested lists, by depth."""
    style = "list-style:none;margin:0;padding:0 0 0 14px"
    out, depth = [], -1
    for line in lines:
        while depth > line["depth"]:
            out.append("</ul>")
            depth -= 1
        while depth < line["depth"]:
            out.append(f'<ul style="{style}">')
            depth += 1
        label = look.rich(line["label"])
        if not line["label"].startswith("`"):
            label = f'<span style="color:{look.MUTED}">{label}</span>'
        out.append(f"<li>{label} {look.rich(line['text'])}</li>")
    out.append("</ul>" * (depth + 1))
    return "".join(out)


def why(x: Any) -> Why:
    """Why is it waiting? Never waits itself, but for the runtime's answer (two seconds at most).

    Args:
        x: an ``ObjectRef`` or a list of them, an actor's handle, a placement group, a generator, the
            name of a task or actor, an id in hexadecimal digits, a background cell or a namespace.

    Returns:
        A :class:`Why`: print it, look at it in a notebook, or read its ``facts``.

    Raises:
        RuntimeNotStartedError: there is no runtime.
        TypeError: ``x`` is nothing that could wait.

    >>> import fanlight
    >>> @fanlight.remote(num_cpus=8)
    ... def large():
    ...     pass
    >>> with fanlight.init(engine="inproc", num_cpus=2):
    ...     reason = fanlight.why(large.remote())
    >>> print(reason.sentence.partition(". ")[0])
    `large` can never run here: it asks for 8 CPU (there are 2)
    >>> reason.code
    'infeasible'
    """
    if sessions.current() is None and (gone := sessions.why_gone()):
        return _said("gone", gone)
    session = sessions.require()
    try:
        return _why(session, x)
    except LookupError as e:
        return _said("unknown", str(e.args[0] if e.args else e))
    except errors.GetTimeoutError:
        return _said("silent", silence(session))
    except errors.RuntimeLostError as e:
        return _said("gone", str(e))


def _said(code: str, sentence: str) -> Why:
    facts = {"code": code, "state": "UNKNOWN", "kind": "", "name": "", "id": "", "next": []}
    return Why(sentence, facts, [])


def silence(session: Session) -> str:
    """What to say when the node does not answer in time."""
    from fanlight.node.boot import stopped

    pid = session.node_pid
    if session.role == "driver" and stopped(pid):
        return (
            f"Nobody can say: the runtime's node process (pid {pid}) is stopped. It goes on after "
            f"`kill -CONT {pid}`; shutdown() ends it."
        )
    return f"Nobody can say: the runtime (pid {pid}) did not answer within {ANSWER_SECONDS:g} s."


def _why(session: Session, x: Any) -> Why:
    if isinstance(x, str):
        digits = len(x) in _ID_DIGITS and set(x) <= set(string.hexdigits)
        return _answer(_ask(session, **({"id": x} if digits else {"name": x})))
    if isinstance(x, ObjectRef):
        return _of_ref(session, x._id)
    found = list(_refs(x))
    several = isinstance(x, list | tuple | set | frozenset | dict)
    if len(found) == 1 and not several:
        return _of_ref(session, found[0], x)
    if not found and not several:
        raise TypeError(
            f"why() takes refs, actors' handles, placement groups, generators, names and ids, not a "
            f"{type(x).__name__}."
        )
    return _of_many(session, found)


def _refs(x: Any, depth: int = 0) -> Iterator[bytes]:
    """Ids of all that is in it: of objects, and of handles; or of a placement group (16 bytes)."""
    from fanlight.actor import ActorHandle, ActorMethod
    from fanlight.generators import ObjectRefGenerator
    from fanlight.util.placement_group import PlacementGroup

    if isinstance(x, ObjectRef):
        yield x._id
    elif isinstance(x, ActorHandle):
        yield ids.handle_oid(x._id)
    elif isinstance(x, ActorMethod):
        yield ids.handle_oid(x._handle._id)
    elif isinstance(x, ObjectRefGenerator):
        yield x.completed()._id
    elif isinstance(x, PlacementGroup):
        yield x._id
    elif isinstance(inside := getattr(x, "__fanlight_refs__", None), Iterable) or callable(inside):
        yield from _refs(inside() if callable(inside) else inside, depth + 1)
    elif hasattr(x, "binary") and hasattr(x, "hex"):  # ids of tasks, actors, groups
        yield x.binary()
    elif isinstance(x, dict):
        yield from _refs(list(x.values()), depth)
    elif isinstance(x, list | tuple | set | frozenset) and depth < 5:
        for item in x:
            yield from _refs(item, depth + 1)


def _ask(session: Session, **args: Any) -> Any:
    return session.client.query("why", ANSWER_SECONDS, **args)


def _answer(found: Node) -> Why:
    found["same"] = found.get("same", 0)
    sentence, lines = found.pop("sentence"), found.pop("lines")
    if found["same"]:
        sentence += f" ({found['same']} more of this name.)"
    return Why(sentence, found, _below(_with_cells(lines)))


def _with_cells(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells by the numbers that the notebook shows, not by their ids."""
    numbers = sessions.cell_numbers()
    for line in lines:
        if line["label"] == "cell" and line["text"] in numbers:
            line["text"] = f"In[{numbers[line['text']]}]"
    return lines


def _below(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the first one, which the sentence begins with."""
    return [line | {"depth": max(0, line["depth"] - 1)} for line in lines[1:]]


def _of_ref(session: Session, key: bytes, x: Any = None) -> Why:
    client = session.client
    channels = client.channels
    own = channels.facts(key) if channels is not None and len(key) == ids.OBJECT_LEN else None
    if own is not None and channels is not None:
        return _of_own(session, key, own)
    answer = _answer(_ask(session, id=key.hex()))
    limit = getattr(x, "__dict__", {}).get("_traits", {}).get("max_pending_calls", -1)
    if limit >= 0:
        count = x._outstanding.count()
        answer.facts["max_pending_calls"] = limit
        answer.facts["pending_calls"] = count
        text = f"{count} unanswered; more than {limit} raise PendingCallsLimitExceeded"
        answer._lines.append(
            {"depth": 0, "label": "calls of this handle", "text": text, "task": ""}
        )
    return answer


def _of_own(session: Session, oid: bytes, own: dict[str, Any]) -> Why:
    """A result of an actor's call that went straight to its process: the node may not know it."""
    channels = session.client.channels
    assert channels is not None
    call = channels.inflight.get(ids.task_of(oid))
    value = session.client.entries.get(oid)
    if value is not None or call is None:
        code, clause = "freed", "is not known here any more"
        if value is not None and value.kind >= m.ERROR:
            code, clause = "failed", "failed: get() raises the error"
        elif value is not None:
            code, clause = "ready", f"is ready: {amount(value.size)}, in this process"
        name = own["creator"] or "the call"
        facts: Node = {
            "kind": "object", "name": name, "id": oid.hex(), "state": own["state"], "code": code,
            "clause": clause, "next": [], "size": own["size"],
        }  # fmt: skip
        return Why(f"`{name}` {clause}.", facts, [])
    task, actor = ids.task_of(oid).hex(), call.line.actor.hex()
    return _answer(_ask(session, id=task, actor=actor, label=call.spec.name))


def _of_many(session: Session, keys: list[bytes]) -> Why:
    client = session.client
    channels = client.channels
    looked = keys[:_MANY]
    ours: list[Why] = []
    ready = 0
    asked: list[str] = []
    for key in looked:
        mine = len(key) == ids.OBJECT_LEN and channels is not None
        own = channels.facts(key) if mine and channels is not None else None
        if own is None:
            asked.append(key.hex())
        elif own["state"] == "READY":
            ready += 1
        else:
            ours.append(_of_own(session, key, own) if not ours else ours[0])
    found = _ask(session, ids=asked)
    reasons = [node | {"lines": _below(_with_cells(node["lines"]))} for node in found["reasons"]]
    if ours:
        lines, sentence = ours[0]._lines, ours[0].sentence
        reasons.append({**ours[0].facts, "lines": lines, "sentence": sentence, "count": len(ours)})
    total, ready = len(keys), found["ready"] + ready
    left = found["left_out"] + total - len(looked)
    waiting = total - ready
    if not total:
        sentence = "There is nothing in it that could wait."
    elif not waiting:
        sentence = f"All {total} are ready." if total > 1 else "It is ready."
    else:
        parts = [f"{node['count']} × {node['sentence']}" for node in reasons[:3]]
        ended = not left and all(node["code"] in _ENDED for node in reasons)
        state = "have no value" if ended else "are not ready"
        sentence = f"{waiting} of {total} {state}. {' '.join(parts)}"
    out: list[dict[str, Any]] = []
    for node in reasons:
        out.append(
            {"depth": 0, "label": f"{node['count']} ×", "text": node["sentence"], "task": ""}
        )
        out += [line | {"depth": line["depth"] + 1} for line in node.pop("lines")]
    if left:
        out.append({"depth": 0, "label": f"{left} ×", "text": "others, not looked at", "task": ""})
    code = reasons[0]["code"] if reasons else "ready"
    facts = {
        "kind": "list", "code": code, "total": total, "ready": ready, "reasons": reasons,
        "left_out": left,
    }  # fmt: skip
    return Why(sentence, facts, out)
