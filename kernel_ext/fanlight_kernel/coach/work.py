"""Rules about the tasks themselves: too small, waiting for each other, idle; defined anew."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator

from fanlight.words import seconds
from fanlight_kernel.coach import bodies, reading
from fanlight_kernel.coach.facts import (
    WAITED,
    Facts,
    Function,
    Hint,
    Limits,
    Mutation,
    Span,
    Submit,
    median,
)

NEVER = 1_000_000_000  # a line that no cell has


def find(facts: Facts, limits: Limits) -> Iterator[Hint]:
    yield from _tiny(facts, limits)
    yield from _nested(facts, limits)
    yield from _idle(facts, limits)
    yield from _returned(facts)
    yield from _globals(facts)
    yield from _redefined(facts, limits)


def _by_function(facts: Facts) -> dict[Function, list[Submit]]:
    found: dict[Function, list[Submit]] = defaultdict(list)
    for submit in facts.submits:
        if not submit.function.actor:
            found[submit.function].append(submit)
    return found


def _tiny(facts: Facts, limits: Limits) -> Iterator[Hint]:
    """Many runs that are over at once, and much more time around them."""
    for function, submits in _by_function(facts).items():
        spans = [facts.spans[s.task] for s in submits if s.task in facts.spans]
        if len(spans) < max(limits.tiny_tasks, 0.9 * len(submits)):
            continue
        middle = median([span.duration for span in spans])
        if middle >= limits.tiny:
            continue
        tasks = {s.task for s in submits}
        around = sum(max(0.0, s.end - s.start) for s in submits)
        for get in facts.gets:
            if tasks.issuperset(get.tasks):
                around += get.waited
        run = sum(span.duration for span in spans)
        lost = around - run / max(1, facts.slots(function))
        much = max(limits.seconds, limits.tiny_lost * facts.elapsed)
        if lost >= much and run <= limits.tiny_run * around:
            yield Hint(
                "tiny-tasks",
                f"{len(submits)} tasks of {function.name} ran for {seconds(run)} in all "
                f"({seconds(middle)} each); submitting and fetching them took {seconds(around)}.",
                submits[0].site,
            )


def _nested(facts: Facts, limits: Limits) -> Iterator[Hint]:
    """More calls at once than CPUs: what is beyond waits in ``get``."""
    by_name: dict[str, list[Span]] = defaultdict(list)
    for span in facts.spans.values():
        by_name[span.name].append(span)
    told: set[str] = set()
    for function in _by_function(facts):
        cpus = function.options.get("num_cpus")
        cpus = 1.0 if cpus is None else float(cpus)
        if function.name in told or cpus < 1 or not facts.processes:
            continue
        found = _definition(facts, function.target)
        if found is None:
            continue
        source, node = found
        inner = bodies.waits_inside(node, _ways(function.target, "get"))
        if inner is None:
            continue
        told.add(function.name)
        slots = max(1, int(facts.totals.get("CPU", 0.0) / cpus))
        most, above = _crowd(by_name[function.name], slots)
        waiting = most - slots
        if waiting < limits.nested + slots or above < limits.seconds:
            continue
        runs = f"on {slots} CPU{'' if slots == 1 else 's'}"
        yield Hint(
            "nested-get",
            f"{most} tasks of {function.name} were running at once {runs}: at least {waiting} of "
            f"these processes only waited in `get` for tasks that they had submitted.",
            source.site(inner),
        )


def _crowd(spans: list[Span], slots: int) -> tuple[int, float]:
    """The most of them at one time, and for how long there were more than ``slots``."""
    most, above, since = 0, 0.0, 0.0
    ends: list[float] = []

    def leave(until: float) -> None:
        nonlocal above
        while ends and ends[0] <= until:
            end = heapq.heappop(ends)
            if len(ends) == slots:
                above += end - since

    for span in sorted(spans):
        leave(span.start)
        heapq.heappush(ends, span.end)
        if len(ends) == slots + 1:
            since = span.start
        most = max(most, len(ends))
    leave(float("inf"))
    return most, above


def _idle(facts: Facts, limits: Limits) -> Iterator[Hint]:
    """Runs that were flagged by their worker, while others waited for their CPU."""
    if not facts.processes:
        return
    for function, submits in _by_function(facts).items():
        cpus = function.options.get("num_cpus")
        slots = int(facts.totals.get("CPU", 0.0) / (1.0 if cpus is None else float(cpus) or 1e9))
        if not slots or function.options.get("num_gpus"):
            continue
        spans = [facts.spans[s.task] for s in submits if s.task in facts.spans]
        idle = [span for span in spans if span.flags & WAITED]
        waited = sum(span.duration for span in idle)
        queued = any(
            facts.spans[s.task].start - s.end > 0.5 * facts.spans[s.task].duration
            for s in submits
            if s.task in facts.spans
        )
        if (
            len(idle) < limits.idle_tasks * slots
            or len(idle) < 0.7 * len(spans)  # the first of a process is never among them
            or waited < limits.idle_seconds
            or not queued
        ):
            continue
        yield Hint(
            "idle-tasks",
            f"{len(idle)} tasks of {function.name} ran for {seconds(waited)} in all and used less "
            f"than a tenth of their CPU time: they slept, or waited for I/O, while others waited for "
            f"the {slots} CPU{'' if slots == 1 else 's'} that they held.",
            submits[0].site,
        )


# --- what the function's code says ------------------------------------------------------------------


def _definition(facts: Facts, target: object) -> tuple[reading.Source, bodies.Definition] | None:
    code = getattr(target, "__code__", None)
    source = facts.source(code.co_filename) if code is not None else None
    if source is None or code is None:
        return None
    node = source.function(code.co_firstlineno, code.co_name)
    return (source, node) if node is not None else None


def _ways(target: object, what: str) -> list[str]:
    """How the function calls ``fanlight.get`` or ``put``, from the globals that it sees."""
    ways: list[str] = []
    for name, value in getattr(target, "__globals__", {}).items():
        module = getattr(value, "__name__", None)
        if module in ("fanlight", "ray") and hasattr(value, what) and hasattr(value, "remote"):
            ways.append(f"{name}.{what}")
        elif module == what and str(getattr(value, "__module__", "")).partition(".")[0] in (
            "fanlight",
            "ray",
        ):
            ways.append(name)
    return ways or [f"ray.{what}", f"fanlight.{what}"]


def _returned(facts: Facts) -> Iterator[Hint]:
    refs = {task for get in facts.gets if get.refs for task in get.tasks}
    if not refs:
        return
    told: set[str] = set()
    for function, submits in _by_function(facts).items():
        count = sum(1 for s in submits if s.task in refs)
        found = _definition(facts, function.target) if count else None
        if found is None or function.name in told:
            continue
        source, node = found
        returned = bodies.returned_puts(node, _ways(function.target, "put"))
        if returned is None:
            continue
        told.add(function.name)
        calls = "1 call" if count == 1 else f"{count} calls"
        yield Hint(
            "returned-put",
            f"{function.name} returns what it `put`: {calls} gave a ref to a ref, which has to be "
            "fetched twice.",
            source.site(returned),
        )


def mutations(facts: Facts) -> Iterator[Mutation]:
    """Globals that functions change which ran in other processes, in this run of the cell."""
    if not facts.processes:
        return
    for function, submits in _by_function(facts).items():
        spans = [facts.spans[s.task] for s in submits if s.task in facts.spans]
        found = _definition(facts, function.target) if spans else None
        if found is None:
            continue
        source, node = found
        pids = len({span.pid for span in spans})
        # Who calls it from a function may do so at any time: then only later cells are looked at.
        line = max((s.site.end_line for s in submits if s.site.file == facts.main), default=NEVER)
        for change in bodies.changes_of_globals(node):
            site = source.site(change.node)
            yield Mutation(change.name, function.name, site, change.how, len(spans), pids, line)


def _globals(facts: Facts) -> Iterator[Hint]:
    """The notebook reads what only other processes have changed."""
    source = facts.source(facts.main)
    if source is None:
        return
    for name, mutation in facts.mutated.items():
        read = bodies.reads_after(source, name, mutation.line)
        if read is None:
            continue
        calls = "1 call" if mutation.calls == 1 else f"{mutation.calls} calls"
        pids = "another process" if mutation.pids == 1 else f"{mutation.pids} other processes"
        they = "it" if mutation.calls == 1 else "they"
        yield Hint(
            "global-state",
            f"{mutation.function} {mutation.how} the global `{name}`, in {calls} that ran in {pids}; "
            f"line {read.lineno + source.shift} reads the notebook's own `{name}`, which {they} did "
            "not change.",
            mutation.site,
        )


def _redefined(facts: Facts, limits: Limits) -> Iterator[Hint]:
    made: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    spent: dict[tuple[str, int, str], float] = defaultdict(float)
    for defined in facts.defined:
        code = getattr(defined.target, "__code__", None)
        if code is None:
            continue
        key = (code.co_filename, code.co_firstlineno, defined.name)
        made[key].add(id(defined.target))
        spent[key] += max(0.0, defined.end - defined.start)
    for key, targets in made.items():
        if len(targets) < limits.definitions:
            continue
        source = facts.source(key[0])
        node = source.function(key[1], key[2].rpartition(".")[2]) if source is not None else None
        site = None
        if source is not None and node is not None:
            line = source.site(node)
            site = line._replace(end_line=line.line)
        yield Hint(
            "redefined",
            f"{key[2]} was defined {len(targets)} times by the same lines; pickling the definitions "
            f"took {seconds(spent[key])}.",
            site,
        )
