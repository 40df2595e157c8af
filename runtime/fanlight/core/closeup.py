"""One task, actor or worker from near, with what stands around it: what the panel's drawer shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fanlight import answers as a
from fanlight import events as e
from fanlight import ids
from fanlight import messages as m
from fanlight.core import why_text
from fanlight.core.model import FAILED, FINISHED, PENDING, TASK_STATES, Task, Worker
from fanlight.core.views import actor_view, group_view, task_view, worker_view
from fanlight.core.why import Why, text

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_DEPS = 100
_SHOWN = 32  # arguments and results that are told with their facts
_SCANNED = 50_000  # unfinished tasks that are looked through
_NEIGHBOURS = 300  # tasks in one answer
_RADIUS = 6
_GONE = "The task ended a while ago; the runtime keeps only the newest ones."


def find_task(core: Core, task_id: bytes) -> Task | None:
    """An unfinished task, or one of the newest that ended."""
    task = core.tasks.table.get(task_id)
    if task is not None:
        return task
    return next((t for t in reversed(core.recent) if t.id == task_id), None)


# --- a task --------------------------------------------------------------------------------------
def task(core: Core, _client: Any, args: dict[str, Any]) -> a.TaskAnswer:
    """All that is known of the task ``id``. Raises LookupError."""
    task_id = bytes.fromhex(args["id"])
    found = find_task(core, task_id)
    spans = core.timeline.find(task_id)
    if found is None:
        return _forgotten(core, spans)
    error = next((x for x in reversed(core.errors) if x.task == task_id), None)
    worker = found.worker
    spec = found.spec
    return a.TaskAnswer(
        task=task_view(found),
        why=text(core, found),
        lines=why_lines(Why(core).task(found)),
        traceback=error.traceback if error is not None else "",
        deps=[oid.hex() for oid in found.deps[:_DEPS]],
        arguments=[argument(core, oid) for oid in found.deps[:_SHOWN]],
        results=[
            argument(core, ids.object_id(task_id, i)) for i in range(min(spec.returns, _SHOWN))
        ],
        attempts=_attempts(core, found, spans),
        times=_times(spans),
        origin=spec.spec.origin,
        pid=worker.pid if worker is not None else spans[-1][3] if spans else 0,
        worker=worker.number if worker is not None else spans[-1][2] if spans else 0,
        site=core.objects.sites.get(ids.object_id(task_id, 0), ""),
        forgotten=False,
    )


def _forgotten(core: Core, spans: list[Any]) -> a.TaskAnswer:
    """What the timeline says of a task that is not remembered otherwise. Raises LookupError."""
    if not spans:
        raise LookupError(_GONE)
    task_id, number, worker, pid, attempt, flags, start, duration, *_ = spans[-1]
    times = _times(spans)
    group = core.groups.get(number)
    name = group.name if group is not None else "?"
    view = e.TaskView(
        id=task_id.hex(),
        group=number,
        name=name,
        state="FAILED" if flags & 1 else "FINISHED",
        deps=[],
        parent="",
        actor="",
        worker=worker_id(core, worker).hex(),
        submitted=start - (times.waited if times is not None else 0.0),
        started=start,
        finished=start + duration,
        attempt=attempt,
        error="",
    )
    return a.TaskAnswer(
        task=view,
        why=f"{name} {'failed' if flags & 1 else 'ended'} a while ago: only when and where it ran "
        "is remembered.",
        lines=[],
        traceback="",
        deps=[],
        arguments=[],
        results=[],
        attempts=[_attempt(span) for span in spans],
        times=times,
        origin=group.origin if group is not None else "",
        pid=pid,
        worker=worker,
        site="",
        forgotten=True,
    )


def why_lines(node: Any) -> list[a.WhyLine]:
    return [a.WhyLine(**line) for line in why_text.lines(node)]


def worker_id(core: Core, number: int) -> bytes:
    """The id of a worker that may be gone."""
    return core.config.node_id[:24] + number.to_bytes(4, "big")


def _times(spans: list[Any]) -> a.TaskTimes | None:
    if not spans:
        return None
    duration, reading, storing, waited, size = spans[-1][7:12]
    return a.TaskTimes(
        waited=max(0.0, waited),
        reading=reading,
        running=max(0.0, duration - reading - storing),
        storing=storing,
        size=int(size),
    )


def _attempt(span: Any) -> a.AttemptView:
    _, _, worker, pid, attempt, flags, start, duration, *_ = span
    return a.AttemptView(attempt, pid, worker, start, start + duration, "", not flags & 1)


def _attempts(core: Core, found: Task, spans: list[Any]) -> list[a.AttemptView]:
    """Those that were retried, and the last one if it is over."""
    rows = {span[4]: _attempt(span) for span in spans}
    for past in core.history.attempts:
        if past.task is found:
            worker = past.worker
            rows[past.number] = a.AttemptView(
                attempt=past.number,
                pid=worker.pid if worker is not None else 0,
                worker=worker.number if worker is not None else 0,
                started=past.started,
                finished=past.ended,
                error=past.error[:2_000],
                ok=False,
            )
    last = rows.get(found.attempt)
    if last is not None:
        last.error = found.error[:2_000]
    return [rows[number] for number in sorted(rows)]


def argument(core: Core, oid: bytes) -> a.ArgumentView:
    """What is known of an object, by its id."""
    obj = core.objects.table.get(oid)
    maker = ids.task_of(oid)
    if obj is None:
        known = core.timeline.find(maker)
        group = core.groups.get(known[-1][1]) if known else None
        name = group.name[:200] if group is not None else "?"
        return a.ArgumentView(oid.hex(), maker.hex() if known else "", name, "GONE", 0, "")
    making = core.tasks.table.get(maker)
    state = "READY"
    if obj.kind == PENDING:
        state = TASK_STATES[making.state] if making is not None else "PENDING"
    elif obj.kind >= m.ERROR:
        state = TASK_STATES[FAILED]
    made = obj.group is not None
    return a.ArgumentView(
        id=oid.hex(),
        task=maker.hex() if made else "",
        name=obj.group.name[:200] if obj.group is not None else "put",
        state=state,
        size=obj.size if obj.kind != PENDING else 0,
        place=core.room.place_of(obj),
    )


# --- around it -----------------------------------------------------------------------------------
def neighbours(core: Core, _client: Any, args: dict[str, Any]) -> a.NeighboursAnswer:
    """What the task ``id`` was made of, what is made of it, its parent and its children, and of
    those the same, ``radius`` times. Raises LookupError."""
    centre = bytes.fromhex(args["id"])
    radius = max(1, min(int(args.get("radius", 1)), _RADIUS))
    limit = max(1, min(int(args.get("limit", _NEIGHBOURS)), _NEIGHBOURS))
    known: dict[bytes, Task] = {}
    users: dict[bytes, list[bytes]] = {}
    children: dict[bytes, list[bytes]] = {}
    for t in chain(core.recent, islice(core.tasks.table.values(), _SCANNED)):
        known[t.id] = t
        for oid in t.deps:
            users.setdefault(oid[: ids.TASK_LEN], []).append(t.id)
        if t.parent:
            children.setdefault(t.parent, []).append(t.id)
    start = known.get(centre) or find_task(core, centre)
    if start is None:
        raise LookupError(_GONE)
    known[centre] = start
    distance = {centre: 0}
    line = deque([centre])
    whole = True
    while line:
        here = line.popleft()
        if distance[here] == radius:
            continue
        around: Iterable[bytes] = chain(
            (oid[: ids.TASK_LEN] for oid in known[here].deps),
            (known[here].parent,),
            users.get(here, ()),
            children.get(here, ()),
        )
        for other in around:
            if other in distance or other not in known:
                continue
            if len(distance) == limit:
                whole = False
                break
            distance[other] = distance[here] + 1
            line.append(other)
    links: dict[tuple[str, str, str], a.LinkView] = {}
    values: dict[str, a.ArgumentView] = {}
    for task_id in distance:
        _link(core, known[task_id], distance, links, values)
    return a.NeighboursAnswer(
        tasks=[task_view(known[task_id]) for task_id in distance],
        values=list(values.values()),
        links=list(links.values()),
        whole=whole,
    )


def _link(
    core: Core,
    task: Task,
    shown: dict[bytes, int],
    links: dict[tuple[str, str, str], a.LinkView],
    values: dict[str, a.ArgumentView],
) -> None:
    """The links that end at a task."""
    target = task.id.hex()
    for oid in task.deps[:_DEPS]:
        obj = core.objects.table.get(oid)
        size = obj.size if obj is not None and obj.kind != PENDING else 0
        maker = oid[: ids.TASK_LEN]
        if maker in shown:
            source = maker.hex()
        elif len(values) < _NEIGHBOURS and shown[task.id] < _RADIUS:
            source = oid.hex()
            values.setdefault(source, argument(core, oid))
        else:
            continue
        link = links.setdefault((source, target, "data"), a.LinkView(source, target, "data", 0))
        link.size += size
    if task.parent in shown:
        parent = task.parent.hex()
        links[parent, target, "spawn"] = a.LinkView(parent, target, "spawn", 0)


# --- actors and workers --------------------------------------------------------------------------
def actor(core: Core, _client: Any, args: dict[str, Any]) -> a.ActorAnswer:
    """The actor ``id``. Raises LookupError."""
    found = core.actors.table.get(bytes.fromhex(args["id"]))
    if found is None:
        raise LookupError("The actor ended a while ago; the runtime keeps only the newest ones.")
    spec = found.spec.spec
    node = Why(core).actor(found)
    waiting = chain(
        found.flight.values(), found.direct.values(), found.backlog, *found.lines.values()
    )
    prefix = spec.name + "."
    methods = (
        g for g in core.groups.values() if g.kind == "method" and g.function.startswith(prefix)
    )
    worker = found.worker
    return a.ActorAnswer(
        actor=actor_view(found),
        why=why_text.sentence(node),
        lines=why_lines(node),
        origin=spec.origin,
        resources=core.resources(spec.resources),
        gpus=(worker.gpus or []) if worker is not None else [],
        methods=[group_view(g) for g in islice(methods, 200)],
        waiting=[task_view(t) for t in islice(waiting, 100)],
        detached=found.detached,
    )


def worker(core: Core, _client: Any, args: dict[str, Any]) -> a.WorkerAnswer:
    """The worker ``id``. Raises LookupError."""
    key = bytes.fromhex(args["id"])
    if len(key) != ids.NODE_LEN:
        raise LookupError("That is no worker's id.")
    number = int.from_bytes(key[24:], "big")
    found = core.workers.get(number)
    recent = islice((t for t in reversed(core.recent) if _ran_on(t, number)), 50)
    views = [task_view(t) for t in recent]
    if found is not None and found.id == key:
        return a.WorkerAnswer(
            worker=worker_view(found, 0.0, 0),
            number=number,
            how="",
            created=found.created,
            ended=0.0,
            recent=views,
            queue=[task_view(t) for t in islice(_queue(found), 100)],
            resources=core.resources(found.held),
            blocked=found.blocked,
        )
    ended = next((x for x in reversed(core.history.workers) if x.id == key), None)
    if ended is None:
        raise LookupError("The worker ended a while ago; the runtime keeps only the newest ones.")
    return a.WorkerAnswer(
        worker=None,
        number=number,
        how=ended.how,
        created=ended.started,
        ended=ended.ended,
        recent=views,
        queue=[],
        resources={},
        blocked=0,
    )


def _ran_on(task: Task, number: int) -> bool:
    return task.worker is not None and task.worker.number == number and task.state >= FINISHED


def _queue(worker: Worker) -> Iterable[Task]:
    if worker.actor is None:
        return worker.queue
    return chain(worker.actor.flight.values(), worker.actor.direct.values())


# --- many ids ------------------------------------------------------------------------------------
_NAMED = 500  # tasks in one question
_FOUND = 50  # of them that are looked for in the timeline


def named(core: Core, _client: Any, args: dict[str, Any]) -> dict[str, a.Named]:
    """Whose the tasks ``ids`` are; those that nobody remembers are left out."""
    wanted = {bytes.fromhex(x) for x in args["ids"][:_NAMED]}
    found: dict[str, a.Named] = {}
    for t in chain(core.recent, (core.tasks.table[x] for x in wanted & core.tasks.table.keys())):
        if t.id in wanted:
            spec = t.spec
            state: Any = TASK_STATES[t.state]
            found[t.id.hex()] = a.Named(t.name[:200], spec.group.number, spec.spec.origin, state)
    rest = (x for x in wanted if x.hex() not in found)
    for task_id in islice(rest, _FOUND):
        spans = core.timeline.find(task_id)
        group = core.groups.get(spans[-1][1]) if spans else None
        if group is not None:
            found[task_id.hex()] = a.Named(group.name[:200], group.number, group.origin, None)
    return found


def spans(core: Core, client: Any, args: dict[str, Any]) -> a.SpansAnswer:
    """A page of the timeline from number ``after`` on, for a browser."""
    from fanlight.core import timeline

    found = timeline.query(core, client, args)
    lanes: dict[int, tuple[str, str, list[int], int, str, str]] = {}
    for number, lane in found["lanes"].items():
        w = core.workers[number]
        owner = w.actor.id.hex() if w.actor is not None else ""
        lanes[number] = (lane[0], lane[1], lane[2], w.pid, w.id.hex(), owner)
    return a.SpansAnswer(
        records=found["records"],
        record=timeline.RECORD,
        next=found["next"],
        reset=int(args.get("after", 0)) > found["next"],
        more=found["more"],
        forgotten=found["forgotten"],
        now=core.now,
        names={n: (name[:200], kind, origin) for n, (name, kind, origin) in found["names"].items()},
        running=[(row[0].hex(), *row[1:7], row[7].hex()) for row in found["running"]],
        lanes=lanes,
        clients=found.get("clients", {}),
    )
