"""What is measured, and what Fanlight must reach in each row."""

from __future__ import annotations

from dataclasses import dataclass

OWN = "fanlight"


@dataclass(frozen=True)
class Goal:
    """One threshold.

    ``against`` names a peer, or ``"memcpy"`` (measured between the puts of the same row), or is
    empty for an absolute figure in the row's unit. ``factor`` is then how many times better
    Fanlight must be, or the figure itself. ``later`` marks what is aimed at but not yet asked for.
    """

    against: str
    factor: float
    later: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table. ``key`` is the request that a subject answers.

    ``value`` names the field of the answer that is the row's figure; ``cap`` is the number of
    seconds after which a subject that has not answered is stopped (a quarter of it with --quick).
    ``{n}`` in the title is the ``n`` of the answers: how much there was of what is measured. A row
    that is measured ``once`` is left out of all rounds but the first.
    """

    key: str
    title: str
    unit: str
    goals: tuple[Goal, ...]
    lower_is_better: bool = False
    cap: float = 60.0
    request: str = ""
    value: str = "value"
    full_only: bool = False
    once: bool = False

    @property
    def asks(self) -> str:
        """The request that is sent; several rows may read different fields of one answer."""
        return self.request or self.key


ROWS: tuple[Row, ...] = (
    Row(
        "startup",
        "Start to first task's result, imports included",
        "s",
        (Goal("", 0.35), Goal("ray", 12)),
        lower_is_better=True,
    ),
    Row(
        "memory",
        "Idle memory, 2 workers, whole runtime and driver (PSS)",
        "MB",
        (Goal("", 80),),
        lower_is_better=True,
    ),
    Row(
        "task_sync",
        "Tasks, one at a time",
        "/s",
        (Goal("ray", 8), Goal("futures", 1), Goal("", 12_000, later=True)),
    ),
    Row(
        "task_burst",
        "Tasks, many in flight",
        "/s",
        (Goal("ray", 20), Goal("pool", 1), Goal("", 100_000, later=True)),
    ),
    Row(
        "actor_sync",
        "Actor calls, one at a time",
        "/s",
        (Goal("ray", 5), Goal("", 12_000, later=True)),
    ),
    Row(
        "actor_burst",
        "Actor calls, many in flight",
        "/s",
        (Goal("ray", 8), Goal("", 100_000, later=True)),
    ),
    Row("put_small", "put of a small object", "/s", (Goal("", 50_000),)),
    Row("put_large", "put of large arrays", "GB/s", (Goal("memcpy", 0.8),)),
    Row("get_small", "get of a small object already there", "/s", (Goal("", 300_000),)),
    Row(
        "get_large",
        "get of a 1 GB array from another process",
        "ms",
        (Goal("", 1.0),),
        lower_is_better=True,
        cap=120,
    ),
    Row("wait_many", "wait on 1,000 refs, until all are done", "rounds/s", (Goal("", 100),)),
    Row("get_many_refs", "get of an object that holds 10,000 refs", "/s", (Goal("", 100),)),
    Row(
        "chain",
        "A chain of {n} dependent tasks",
        "/s",
        (Goal("ray", 5),),
    ),
    Row(
        "fan_in",
        "{n} tasks with dependencies: fan-in of ten, two levels",
        "/s",
        (Goal("ray", 5),),
        cap=400,
        once=True,
    ),
    Row("tree", "Tree reduction of {n} values, two by two", "/s", (Goal("ray", 5),)),
    Row(
        "many_args",
        "One task with {n} refs as arguments",
        "ms",
        (Goal("ray", 1),),
        lower_is_better=True,
    ),
    Row(
        "many_returns",
        "One task with {n} returns",
        "ms",
        (Goal("ray", 1),),
        lower_is_better=True,
    ),
    Row(
        "nested",
        "Tasks submitted by a task, share of the driver's own rate",
        "",
        (Goal("", 0.5),),
    ),
    Row("two_drivers", "Two drivers at once: the smaller share", "", (Goal("", 0.4),)),
    Row(
        "busy_driver",
        "Tasks while the driver holds the GIL, share of the usual rate",
        "",
        (Goal("", 0.95),),
        cap=120,
    ),
    Row(
        "observed",
        "Tasks in flight with three observers, share of the rate without",
        "",
        (Goal("", 0.95),),
    ),
    Row(
        "queue_million",
        "{n} queued tasks: memory each",
        "bytes",
        (Goal("", 1024),),
        lower_is_better=True,
        cap=1200,
        full_only=True,
    ),
    Row(
        "queue_steady",
        "{n} queued tasks: rates at the end / at the start, the lower",
        "",
        (Goal("", 0.9),),
        cap=1200,
        request="queue_million",
        value="steady",
        full_only=True,
    ),
    Row(
        "queue_run",
        "{n} queued tasks: run, all in all",
        "/s",
        (),
        cap=1200,
        request="queue_million",
        value="overall",
        full_only=True,
    ),
    Row(
        "queue_node",
        "{n} queued tasks: memory each in the node alone",
        "bytes",
        (),
        lower_is_better=True,
        cap=1200,
        request="queue_million",
        value="node_bytes",
        full_only=True,
    ),
    Row(
        "huge_object",
        "put of one object of {n} GB",
        "GB/s",
        (),
        cap=240,
        full_only=True,
    ),
    Row(
        "many_actors",
        "Actors alive at once, up to 1,000 in four minutes",
        "",
        (Goal("", 1000),),
        cap=600,
        full_only=True,
    ),
    Row(
        "actors_rate",
        "Actors alive at once: made and answered",
        "/s",
        (Goal("ray", 5),),
        cap=600,
        request="many_actors",
        value="rate",
        full_only=True,
    ),
    Row(
        "actors_memory",
        "Actors alive at once: memory each (PSS)",
        "MB",
        (Goal("ray", 5),),
        lower_is_better=True,
        cap=600,
        request="many_actors",
        value="mb_each",
        full_only=True,
    ),
    Row(
        "finished_memory",
        "The node's growth from a tenth to all of {n} finished tasks",
        "MB",
        (Goal("", 5),),
        lower_is_better=True,
        cap=1100,
        full_only=True,
    ),
)

BY_KEY = {row.key: row for row in ROWS}


@dataclass(frozen=True)
class Curve:
    """A rate against something that grows; measured once, drawn as a plot.

    ``key`` is the request; the answer's ``points`` are ``[x, y]``.
    """

    key: str
    title: str
    x: str
    y: str
    unit: str
    cap: float = 240.0

    @property
    def asks(self) -> str:
        return self.key

    @property
    def once(self) -> bool:
        return True

    full_only = False


CURVES: tuple[Curve, ...] = (
    Curve(
        "scale_tasks", "Rate against the number of tasks", "tasks submitted at once", "tasks", "/s"
    ),
    Curve("scale_size", "A value to a task and back", "bytes", "throughput", "GB/s"),
    Curve("scale_workers", "Tasks that sleep for 5 ms", "workers", "tasks", "/s"),
)
