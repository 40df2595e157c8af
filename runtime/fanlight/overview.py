"""``fanlight.status()``: the runtime at a glance."""

from __future__ import annotations

import shutil
from typing import Any

from fanlight import errors, look
from fanlight import session as sessions
from fanlight._version import __version__
from fanlight.core.why_text import seconds, several
from fanlight.session import Session

_ANSWER_SECONDS = 2.0
_NONE = "No runtime is running. It starts with the first task, or with fanlight.init()."
_NEARLY = 0.9  # of memory, of the store
_DISK = 0.95
_SHOWN = 8  # rows of pending work
_HIDDEN = ("node:", "object_store_memory")  # resources that nobody asks for
_WORKERS = (
    ("BUSY", "busy"), ("BLOCKED", "wait in get()"), ("ACTOR", "for actors"), ("IDLE", "idle"),
    ("STARTING", "starting"),
)  # fmt: skip
_ACTORS = (
    ("ALIVE", "alive"), ("PENDING_ARGS", "wait for arguments"), ("PENDING_CREATION", "wait to be made"),
    ("RESTARTING", "restarting"), ("DEAD", "dead"),
)  # fmt: skip
_TASKS = (
    ("RUNNING", "running"), ("SUBMITTED", "with a worker"), ("PENDING_RESOURCES", "wait for resources"),
    ("PENDING_ARGS", "wait for arguments"), ("FINISHED", "finished"), ("FAILED", "failed"),
    ("CANCELLED", "cancelled"),
)  # fmt: skip


class Status:
    """The answer of :func:`status`: print it, or look at it in a notebook.

    Attributes:
        running: whether there is a runtime that answers.
        problem: what happened to it, or why there is none; "" if it is well.
        engine, runtime_id, name, node_pid, uptime: of the runtime; uptime in seconds.
        resources: name -> (used, total).
        workers, tasks, actors: state -> how many.
        pending: dicts with ``name``, ``count``, ``demand``, ``code`` and ``clause``.
        store, memory: bytes.
        warnings: sentences.
        facts: all that the runtime answered.
    """

    def __init__(self, session: Session | None, facts: dict[str, Any] | None, problem: str) -> None:
        self.problem = problem
        self.facts = found = facts or {}
        self.running = bool(found)
        self.engine = session.engine_name if session is not None else ""
        self.runtime_id = session.runtime_id if session is not None else ""
        connection = session.connection if session is not None else None
        self.name = connection.name if connection is not None else ""
        self.node_pid = session.node_pid if session is not None else 0
        self.uptime: float = found["now"] - found["started"] if found else 0.0
        total, free = found.get("total", {}), found.get("available", {})
        self.resources = {
            name: (max(0.0, value - free.get(name, 0.0)), value)
            for name, value in sorted(
                total.items(), key=lambda x: (x[0] not in ("CPU", "GPU"), x[0])
            )
            if not name.startswith(_HIDDEN)
        }
        self.workers: dict[str, int] = found.get("workers", {})
        self.tasks: dict[str, int] = found.get("tasks", {})
        self.actors: dict[str, int] = found.get("actors", {})
        self.pending: list[dict[str, Any]] = found.get("pending", [])
        self.store: dict[str, int] = found.get("store", {})
        self.memory: dict[str, Any] | None = found.get("memory")
        self.warnings = _warnings(self, session) if found else []

    # --- for people --------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str]]:
        """Labels and texts, in the order in which they are shown."""
        if not self.running:
            return []
        rows = [
            ("runtime", " · ".join(filter(None, (self.name, self.runtime_id[:12], self._node()))))
        ]
        for name, (used, total) in self.resources.items():
            if name != "memory" or used:
                label = "reserved" if name == "memory" else name.replace("_", " ")
                rows.append((label, self._resource(name, used, total)))
        rows.append(("workers", _counts(self.workers, _WORKERS) or "none yet"))
        rows.append(("tasks", _counts(self.tasks, _TASKS) or "none yet"))
        if self.actors:
            rows.append(("actors", _counts(self.actors, _ACTORS)))
        if self.memory:
            used, limit = self.memory["used"], self.memory["limit"]
            text = f"{look.size(used)} of {look.size(limit)} in use ({self.memory['scope']})"
            rows.append(("memory", text))
        rows.append(("object store", self._store()))
        return rows

    def _node(self) -> str:
        return f"node pid {self.node_pid}" if self.engine != "inproc" else "all in this process"

    def _resource(self, name: str, used: float, total: float) -> str:
        if name == "memory":
            return f"{look.size(used)} of {look.size(total)} of memory"
        holders = [
            f"`{h['name']}`" + (f" ×{h['count']}" if h["count"] > 1 else "")
            for h in self.facts["held_by"]
            if name in h["held"]
        ]
        by = f": {several(holders, 4)}" if holders and used else ""
        return f"{used:g} of {total:g} in use{by}"

    def _store(self) -> str:
        store = self.store
        used = store["used"] - store["cached"]
        text = f"{look.size(used)} of {look.size(store['capacity'])} in {store['objects']} objects"
        if self.engine == "inproc":
            text = f"{look.size(store['inline'])} in {store['objects']} objects, in this process"
        if store["spilled"]:
            text += f"; {look.size(store['spilled'])} on disk"
        return text

    def waiting(self) -> list[tuple[str, str, str, str]]:
        """Pending work: how many, what, what each asks for, and why the first one waits."""
        rows = []
        for p in self.pending[:_SHOWN]:
            demand = " ".join(
                f"{look.size(value) if name == 'memory' else format(value, 'g')} {name}"
                for name, value in p["demand"].items()
            )
            kind = "" if p["kind"] == "task" else f" ({p['kind']})"
            name = p["name"] if p["kind"] == "placement group" else f"`{p['name']}`{kind}"
            rows.append((f"{p['count']} ×", name, demand or "nothing", p["clause"]))
        return rows

    def __str__(self) -> str:
        if not self.running:
            return self.problem
        head = f"Fanlight {__version__} · engine {self.engine} · up {seconds(self.uptime)}"
        parts = [head, look.text_table(self.rows(), "  ")]
        if self.store["capacity"] and self.engine != "inproc":
            share = (self.store["used"] - self.store["cached"]) / self.store["capacity"]
            parts[-1] += f"\n  {'':{max(len(k) for k, _ in self.rows())}}  {look.text_bar(share)}"
        if self.pending:
            parts += ["  pending", look.text_table(self.waiting(), "    ", right=[0])]
        parts += [f"  ! {text}" for text in self.warnings]
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.running:
            return look.page(f'<div style="color:{look.MUTED}">{look.rich(self.problem)}</div>')
        note = f"engine {self.engine} · up {seconds(self.uptime)}"
        parts = [look.title(f"Fanlight {__version__}", note), look.facts(self.rows())]
        if self.pending:
            head = ("", "pending", "asks for", "why")
            parts.append(look.table(head, self.waiting(), right=[0]))
        parts += [look.note(text, look.WARN) for text in self.warnings]
        return look.page(*parts)


def _counts(found: dict[str, int], words: Any) -> str:
    return ", ".join(f"{found[state]} {word}" for state, word in words if found.get(state))


def _warnings(status: Status, session: Session | None) -> list[str]:
    found, out = status.facts, []
    memory, store = status.memory, status.store
    if memory and memory["used"] >= _NEARLY * memory["threshold"]:
        share = 100 * memory["used"] / memory["limit"]
        out.append(
            f"Memory is nearly full: {share:.0f} % of {memory['scope']} is in use; above "
            f"{100 * memory['threshold'] / memory['limit']:.0f} % the newest task ends."
        )
    used = store["used"] - store["cached"]
    if store["capacity"] and used >= _NEARLY * store["capacity"]:
        out.append(
            f"The object store is nearly full ({100 * used / store['capacity']:.0f} %): objects go "
            "to disk. fanlight.memory() says who made them."
        )
    if found["trouble"]:
        out.append(f"Objects cannot be written to disk: {found['trouble']}")
    directory = str(session.info.get("session_dir", "")) if session is not None else ""
    if directory:
        try:
            disk = shutil.disk_usage(directory)
        except OSError:
            disk = None
        if disk is not None and disk.used / disk.total >= _DISK:
            out.append(f"The disk of {directory} is nearly full: {look.size(disk.free)} are left.")
    out += found["stopped"]
    if found["failed_starts"]:
        out.append(f"The last {found['failed_starts']} worker processes could not be started.")
    for p in status.pending:
        if p["code"] == "infeasible":
            out.append(f"{p['count']} × `{p['name']}` {p['clause']}.")
    return out


def status() -> Status:
    """The runtime at a glance: engine, resources and who holds them, workers, tasks, what is pending
    and why, memory, the object store, and what to look after.

    Never raises and starts nothing: before ``init``, and when the runtime has died, it says so.

    >>> import fanlight
    >>> with fanlight.init(engine="inproc", num_cpus=2):
    ...     found = fanlight.status()
    >>> found.resources["CPU"], found.engine, found.pending
    ((0.0, 2.0), 'inproc', [])
    >>> fanlight.status().running
    False
    """
    session = sessions.current()
    if session is None:
        gone = sessions.why_gone()
        tail = " init() starts a new one." if gone and "init()" not in gone else ""
        return Status(None, None, f"{gone}{tail}" if gone else _NONE)
    try:
        return Status(session, session.client.query("status", _ANSWER_SECONDS), "")
    except errors.GetTimeoutError:
        from fanlight.reasons import silence

        return Status(session, None, silence(session))
    except (errors.RuntimeLostError, LookupError) as e:
        return Status(session, None, str(e.args[0] if e.args else e))
