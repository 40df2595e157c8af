"""Random histories of the core, millions of steps of them, and the shortest that shows a fault.

A history is a seed (which decides the machine and how often each thing happens) and a list of
actions, each a name and a number. So it can be repeated, shortened, and kept as a test:

>>> from fanlight.testing.histories import replay
>>> world = replay(3, [("submit", 0), ("finish", 0)])
>>> world.core.tasks.table
{}

A *step* is one stimulus that the core handles. At the end of each history all work is let finish,
everybody leaves, and every table must be empty.
"""

from __future__ import annotations

import gc
import random
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

from fanlight import messages as m
from fanlight.core import definitions, machine
from fanlight.core.invariants import validate
from fanlight.testing import faults, garbage, trouble  # noqa: F401  (they add their actions)
from fanlight.testing.actions import ACTIONS
from fanlight.testing.clients import Gone, StoreFull
from fanlight.testing.world import Draw, World, everybody_leaves, finish_everything

Actions = Sequence[tuple[str, int]]
LENGTH = 400  # actions
EVERY = 150  # steps of the core between two checks
_THOROUGH = 100  # of so many histories one is checked after every step
_ALWAYS = ("submit", "finish", "drop", "answer_spawn", "connect", "drop_most", "reap")
_BITS = 80
_ERROR = re.compile(r"[\w.]+(Error|Transition|Violation|Gone|StopIteration)\b")
_NUMBER = re.compile(r"\b(?=[0-9a-fx]*[0-9])[0-9a-fx]+\b|(#, )+#")


class Failure(NamedTuple):
    """A history that went wrong."""

    seed: int
    actions: list[tuple[str, int]]
    at: int  # which action; the number of actions if it was at the end
    error: str
    steps: int
    last: str  # time and stimuli of the last step

    @property
    def kind(self) -> str:
        """What went wrong and where, without ids: other histories may fail in the same way."""
        lines = self.error.strip().split("\n")
        places = [line.strip() for line in lines if line.startswith('  File "')]
        last = places[-1].rpartition("/")[2] if places else ""
        text = next((x for x in lines if _ERROR.match(x)), lines[-1])
        return f"{last}: {_NUMBER.sub('#', text)[:140]}"

    def __str__(self) -> str:
        shown = "".join(f"    {action!r},\n" for action in self.actions)
        return (
            f"seed {self.seed}, action {self.at} of {len(self.actions)}, step {self.steps}\n"
            f"{self.error}\nThe last step: {self.last}\nTo repeat it:\n"
            f"from fanlight.testing.histories import replay\n"
            f"replay({self.seed}, [\n{shown}])"
        )


def plan(seed: int, length: int = LENGTH) -> list[tuple[str, int]]:
    """The actions of a seed. In each history some kinds are frequent and some never happen."""
    chance = random.Random(seed)
    names, weights = [], []
    for name, (_, weight) in ACTIONS.items():
        factor = chance.choice((0, 0.3, 1, 1, 1, 3))
        names.append(name)
        weights.append(weight * (max(factor, 0.5) if name in _ALWAYS else factor))
    length = chance.choice((length // 8, length, 2 * length))
    chosen = chance.choices(names, weights, k=length)
    return [(name, chance.getrandbits(_BITS)) for name in chosen]


def world_of(seed: int, every: int) -> World:
    """The machine that a seed's history happens on."""
    chance = random.Random(-seed - 1)
    spill = chance.random() < 0.5
    return World(
        every,
        chance.choice((1, 2, 2, 4)),
        chance.choice((0, 1, 1, 2)),
        disk=1,
        prompt=chance.random() < 0.5,
        max_processes=chance.choice((0, 0, 0, 1, 3)),
        lineage_bytes=8000,  # of a few tasks
        spill=spill,
        capacity=chance.choice((1600, 2000, 4000) if spill else (2000, 4000, 1 << 20)),
        pool_size=chance.choice((1, 2, 4)),
        persistent=True,
        labels=chance.choice(({}, {"zone": "here"})),
        channels=chance.random() < 0.7,
    )


def replay(seed: int, actions: Actions, every: int = 1) -> World:
    """Repeat a history; raises what went wrong. The world is as it was before all leave."""
    with _small_limits():
        world = world_of(seed, every)
        _act(world, actions, [0])
        _end(world)
    return world


@contextmanager
def _small_limits() -> Iterator[None]:
    """What is forgotten after a while is forgotten soon."""
    with (
        mock.patch.object(definitions, "_LOOSE", 4),
        mock.patch.object(definitions, "GROUPS_KEPT", 60),
        mock.patch.object(definitions, "_FOLDED", 20),
        mock.patch.object(machine, "DEAD_KEPT", 5),
    ):
        yield


def _act(world: World, actions: Actions, position: list[int]) -> None:
    world.driver()
    held = 0
    for i, (name, number) in enumerate(actions):
        position[0] = i
        try:
            ACTIONS[name][0](world, Draw(number))
        except (StoreFull, Gone):
            pass  # that can happen to anybody
        if world.held is not None:
            held += 1
            if held > 4:
                held = 0
                world.flush()
    position[0] = len(actions)


def _end(world: World) -> None:
    world.flush()
    world.cut.clear()
    for client in list(world.mad.values()):
        world.end(client, "killed by SIGKILL")
    world.post([(0, m.Scale(0, 4.0))])  # there may be none left
    finish_everything(world)
    validate(world.core)
    everybody_leaves(world)


def attempt(seed: int, actions: Actions, every: int) -> tuple[int, Failure | None]:
    """Let a history happen: its steps, and what went wrong."""
    position = [0]
    with _small_limits():
        world = world_of(seed, every)
        try:
            _act(world, actions, position)
            _end(world)
        except Exception:  # whatever it is, it is wrong
            failure = Failure(
                seed,
                list(actions),
                position[0],
                traceback.format_exc(),
                world.steps,
                str(world.journal[-1]),
            )
            return world.steps, failure
    return world.steps, None


def shrink(failure: Failure, tries: int = 2000) -> Failure:
    """The shortest history found that fails in the same way: parts are left out as long as it does."""
    kind = failure.kind
    best = failure
    seen = attempt(failure.seed, failure.actions, 10**9)[1]
    every = 1 if seen is None or seen.kind != kind else 10**9  # checks take most of the time

    def try_it(actions: list[tuple[str, int]]) -> bool:
        nonlocal best, tries
        tries -= 1
        found = attempt(failure.seed, actions, every)[1]
        if found is None or found.kind != kind:
            return False
        best = found._replace(actions=actions[: found.at + 1])
        return True

    if not try_it(failure.actions[: failure.at + 1]):
        again = attempt(failure.seed, failure.actions, 1)[1]
        if again is None:
            return failure  # only seen with fewer checks
        kind, best = again.kind, again._replace(actions=again.actions[: again.at + 1])
    size = max(1, len(best.actions) // 2)
    while tries > 0:
        i, smaller = 0, False
        while i < len(best.actions) and tries > 0:
            if try_it(best.actions[:i] + best.actions[i + size :]):
                smaller = True
            else:
                i += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    for i in range(len(best.actions)):
        for number in (0, *(best.actions[i][1] % 2**k for k in (4, 8, 16, 32))):
            if tries <= 0 or i >= len(best.actions):
                break
            name, old = best.actions[i]
            if number < old and try_it([*best.actions[:i], (name, number), *best.actions[i + 1 :]]):
                break
    return best


def run(seeds: Iterator[int], steps: int, length: int = LENGTH) -> tuple[int, int, Failure | None]:
    """Histories until so many steps were made, or one failed: steps, histories, the failure."""
    done = count = 0
    frozen = gc.get_freeze_count()  # by the tests' own process: it stays so
    gc.collect()
    gc.freeze()  # what was there before need not be looked through again and again
    gc.disable()
    try:
        while done < steps:
            seed = next(seeds)
            every = 1 if seed % _THOROUGH == 0 else EVERY
            made, failure = attempt(seed, plan(seed, length), every)
            done += made
            count += 1
            if count % 20 == 0:
                gc.collect()
            if failure is not None:
                return done, count, failure
    finally:
        gc.enable()
        if not frozen:
            gc.unfreeze()
    return done, count, None
