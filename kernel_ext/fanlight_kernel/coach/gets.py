"""Rules about ``get`` and ``wait``: in a loop, too early, in the order of submission, polling."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from fanlight.words import seconds, size
from fanlight_kernel.coach import reading
from fanlight_kernel.coach.facts import Facts, Get, Hint, Limits, Site, Submit, Wait, makespan

PAUSE = 0.0005  # seconds between two waits: with less, nothing is done in between


def find(facts: Facts, limits: Limits) -> Iterator[Hint]:
    places = _Places(facts)
    early = [*_early(facts, limits, places)]
    yield from early
    told = {hint.site for hint in early}
    for rule in (_in_loop, _in_order):
        for hint in rule(facts, limits, places):
            if hint.site not in told:
                told.add(hint.site)
                yield hint
    yield from _polling(facts, limits)


class _Places:
    """Gets and submissions by their place in the code."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.gets: dict[Site, list[Get]] = defaultdict(list)
        self.submits: dict[Site, list[Submit]] = defaultdict(list)
        self.of_task: dict[bytes, Submit] = {}
        for get in facts.gets:
            self.gets[get.site].append(get)
        for submit in facts.submits:
            self.submits[submit.site].append(submit)
            if submit.task:
                self.of_task[submit.task] = submit

    def calls(self, source: reading.Source) -> tuple[list[ast.Call], list[ast.Call]]:
        """The gets and the submissions in one file that happened."""
        gets = [source.call(s) for s in self.gets if s.file == source.file]
        submits = [source.call(s) for s in self.submits if s.file == source.file]
        return [c for c in gets if c is not None], [c for c in submits if c is not None]

    def slots(self, submits: list[Submit]) -> int:
        """How many of these can run at once, of all their functions; 0 if unknown."""
        functions = {s.function for s in submits}
        return min((self.facts.slots(f) for f in functions), default=0)


def _enough(saved: float, facts: Facts, limits: Limits) -> bool:
    return saved >= limits.seconds and saved >= limits.part * facts.elapsed


def _in_loop(facts: Facts, limits: Limits, places: _Places) -> Iterator[Hint]:
    """Gets that wait each for a call that was submitted right before."""
    for site, gets in places.gets.items():
        source = facts.source(site.file)
        node = source.call(site) if source is not None else None
        loop = source.loop(node) if source is not None and node is not None else None
        if source is None or node is None or loop is None or len(gets) < limits.gets:
            continue
        around = source.site(loop)
        inside = [s for s in facts.submits if s.site.inside(around)]
        if not inside or sum(g.waited for g in gets) < limits.seconds:
            continue
        got_calls, submit_calls = places.calls(source)
        mine = [c for c in submit_calls if source.site(c).inside(around)]
        others = [c for c in got_calls if source.site(c).inside(around)]
        if any(c is not node for c in others) and any(s.function.actor for s in inside):
            continue  # calls of actors may matter to each other in ways that no code shows
        if not reading.rounds_are_independent(source, loop, others, mine):
            continue
        found = _serial(facts, places, gets, inside)
        if found is None:
            continue
        waited, ran, together, count = found
        # What was waited beyond the runs may have any cause: it does not count as saved.
        saved = min(waited, ran) - together
        if count >= limits.gets and _enough(saved, facts, limits):
            yield Hint(
                "get-in-loop",
                f"`get` in a loop: {count} calls waited {seconds(waited)} in turn; together they "
                f"would have taken about {seconds(together)}.",
                site,
            )


def _serial(
    facts: Facts, places: _Places, gets: list[Get], inside: list[Submit]
) -> tuple[float, float, float, int] | None:
    """Seconds waited in turn, seconds of the runs, seconds that they need together, number of gets.

    What one round submits counts as one piece of work that is done in turn. None when the runs are
    not known, or when calls were submitted ahead of the gets.
    """
    rounds: list[float] = []
    actors: dict[bytes, float] = defaultdict(float)
    waited = 0.0
    used: list[Submit] = []
    at = 0
    ordered = sorted(inside, key=lambda s: s.start)
    for get in sorted(gets, key=lambda g: g.start):
        mine: list[Submit] = []
        while at < len(ordered) and ordered[at].start < get.end:
            mine.append(ordered[at])
            at += 1
        if not mine or not set(get.tasks) <= {s.task for s in mine}:
            return None  # it fetched what was submitted in an earlier round, or elsewhere
        run = 0.0
        for submit in mine:
            span = facts.spans.get(submit.task)
            if submit.function.actor:  # their runs are told late: no longer than the wait
                took = span.duration if span is not None else get.waited
                actors[submit.function.actor] += took
            elif span is None:
                return None
            else:
                run += span.duration
        rounds.append(run)
        waited += get.waited
        used += mine
    tasks = [s for s in used if not s.function.actor]
    slots = places.slots(tasks) if tasks else 1
    if not slots:
        return None
    together = makespan(rounds, slots) if tasks else 0.0
    if actors:
        together = max(together, makespan(sorted(actors.values(), reverse=True), facts.machine))
    ran = sum(rounds) + sum(actors.values())
    return waited, ran, together, len(gets)


def _early(facts: Facts, limits: Limits, places: _Places) -> Iterator[Hint]:
    """Values that are fetched only to be passed on."""
    for site, gets in places.gets.items():
        source = facts.source(site.file)
        node = source.call(site) if source is not None else None
        if source is None or node is None:
            continue
        _, submit_calls = places.calls(source)
        taker = reading.only_passed_on(source, node, submit_calls)
        if taker is None:
            continue
        there = source.site(taker)
        count = len(gets)
        waited = sum(g.waited for g in gets)
        passed = [s for s in places.submits.get(there, []) if s.start >= gets[0].end]
        if not passed:
            continue
        sent = [s for s in facts.sent if s.site == there]
        total = sum(s.size for s in sent)
        if count > 1:
            loop = source.loop(node)
            together = _alone(facts, places, gets)
            if loop is not None and together is not None:
                ran, least = together
                saved = min(waited, ran) - least
                if _enough(saved, facts, limits):
                    yield Hint(
                        "early-get",
                        f"`get` too early: {count} gets waited {seconds(waited)} in turn for values "
                        f"that were only passed on to {passed[0].function.name} (line "
                        f"{there.line + source.shift}); their tasks together would have taken about "
                        f"{seconds(least)}.",
                        site,
                    )
                    continue
        if total >= limits.early_bytes:
            one = count == 1 and gets[0].single
            what = "a value was fetched" if one else "values were fetched"
            yield Hint(
                "early-get",
                f"`get` too early: {what} only to be passed on to {passed[0].function.name} (line "
                f"{there.line + source.shift}), which sent {size(total)} into the store again.",
                site,
            )


def _alone(facts: Facts, places: _Places, gets: list[Get]) -> tuple[float, float] | None:
    """Seconds of the fetched tasks, and seconds that they need together; None if that is not known, or if one of them was
    submitted ahead of an earlier get."""
    runs: list[float] = []
    submits: list[Submit] = []
    before = 0.0
    for get in sorted(gets, key=lambda g: g.start):
        for task in get.tasks:
            span, submit = facts.spans.get(task), places.of_task.get(task)
            if span is None or submit is None or submit.function.actor or submit.start < before:
                return None
            runs.append(span.duration)
            submits.append(submit)
        before = get.end
    source = facts.source(submits[0].site.file) if submits else None
    if source is None:
        return None
    called = source.call(submits[0].site)
    loop = source.loop(called) if called is not None else None
    got, calls = places.calls(source)
    if called is None or loop is None:
        return None
    around = source.site(loop)
    # Only what is fetched must not be needed for the next one of the same.
    mine = [c for c in calls if c is called]
    others = [c for c in got if source.site(c).inside(around)]
    if not reading.rounds_are_independent(source, loop, others, mine):
        return None
    slots = places.slots(submits)
    return (sum(runs), makespan(runs, slots)) if slots else None


def _in_order(facts: Facts, limits: Limits, places: _Places) -> Iterator[Hint]:
    """Gets of a batch, one by one, while later ones of them were ready."""
    for site, gets in places.gets.items():
        source = facts.source(site.file)
        node = source.call(site) if source is not None else None
        if source is None or node is None or source.loop(node) is None or len(gets) < limits.gets:
            continue
        gets = sorted(gets, key=lambda g: g.start)
        first = gets[0].start
        submits = [places.of_task.get(t) for g in gets for t in g.tasks]
        if any(s is None or s.start > first for s in submits) or any(not g.single for g in gets):
            continue
        if any(s is not None and s.function.actor for s in submits):
            continue  # a call's results come in the order of the calls
        spans = [facts.spans.get(g.tasks[0]) for g in gets]
        if any(span is None for span in spans):
            continue
        ends = [span.end for span in spans if span is not None]
        # What the notebook did with each result: until the next get. Of the last one nothing is known.
        work = [max(0.0, b.start - a.end) for a, b in pairwise(gets)] + [0.0]
        now = first
        for end, did in sorted(zip(ends, work, strict=True)):
            now = max(now, end) + did
        actual = gets[-1].end - first
        saved = actual - (now - first)
        idle = sum(
            max(0.0, get.end - max(get.start, min(ends[i + 1 :])))
            for i, get in enumerate(gets[:-1])
            if min(ends[i + 1 :]) < get.end
        )
        if _enough(min(saved, idle), facts, limits):
            yield Hint(
                "submission-order",
                f"{len(gets)} results fetched in the order of submission: for {seconds(idle)} the "
                f"notebook waited while a later one was ready. In the order in which they ended, it "
                f"would have been done about {seconds(saved)} sooner.",
                site,
            )


def _polling(facts: Facts, limits: Limits) -> Iterator[Hint]:
    by_site: dict[Site, list[Wait]] = defaultdict(list)
    for wait in facts.waits:
        by_site[wait.site].append(wait)
    for site, waits in by_site.items():
        empty = [w for w in waits if not w.found]
        if len(empty) < limits.polls or len(empty) < 0.9 * len(waits):
            continue
        waits = sorted(waits, key=lambda w: w.start)
        pairs = [*pairwise(waits)]
        tight = [a for a, b in pairs if a.timeout == 0 and b.start - a.end < PAUSE]
        spun = sum(b.start - a.start for a, b in pairs if b.start - a.end < PAUSE)
        if len(tight) > 0.9 * len(pairs) and _enough(spun, facts, limits):
            yield Hint(
                "polling",
                f"`wait` in a tight loop: {len(waits)} calls, of which {len(empty)} found nothing, "
                f"kept the notebook's CPU busy for {seconds(spun)}.",
                site,
            )
