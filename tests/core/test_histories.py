"""Random histories of the core: the same ones in each run, and none of them goes wrong.

``python -m tests.core.simulate`` makes as many others as one likes. What to do about a failure: the
message ends with the shortest history that was found, to be repeated with ``histories.replay``.
"""

from __future__ import annotations

import itertools
import os
from unittest import mock

import pytest

from fanlight.core import scheduler
from fanlight.core.objects import Objects
from fanlight.testing import histories
from fanlight.testing.actions import ACTIONS

# Steps of each of two series; in FANLIGHT_TEST_STEPS, as many as one has time for.
STEPS = int(os.environ.get("FANLIGHT_TEST_STEPS", "40000"))
LONG_STEPS = 2_500_000
SERIES = (0, 1_000_000)


def expect_none(first: int, steps: int) -> None:
    made, _, failure = histories.run(itertools.count(first), steps)
    if failure is not None:
        pytest.fail(str(histories.shrink(failure)), pytrace=False)
    assert made >= steps


@pytest.mark.parametrize("first", SERIES)
def test_random_histories(first: int) -> None:
    expect_none(first, STEPS)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("first", SERIES)
def test_millions_of_steps(first: int) -> None:
    expect_none(first + 10_000, LONG_STEPS)


def test_every_action_happens_often() -> None:
    """None of them does nothing for want of somebody to do it."""
    plans = [name for seed in range(40) for name, _ in histories.plan(seed)]
    rare = [name for name in ACTIONS if plans.count(name) < 20]
    assert not rare


def test_a_history_is_repeated_by_its_seed_and_actions() -> None:
    steps = 0
    for seed in range(8):
        actions = histories.plan(seed, 200)
        first, second = (histories.replay(seed, actions, 1000) for _ in range(2))
        assert len(first.effects) == len(second.effects)
        for one, other in zip(first.effects, second.effects, strict=True):
            assert one.out == other.out and one.actions == other.actions
        steps += first.steps
    assert steps > 500


BROKEN = {
    "pins are not counted down": mock.patch.object(Objects, "unpin", lambda self, oids: None),
    "CPUs are not given back": mock.patch.object(
        scheduler.Scheduler, "blocked", lambda self, worker: setattr(worker, "blocked", 1)
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_core_is_found_and_the_history_is_short(how: str) -> None:
    with BROKEN[how]:
        _, _, failure = histories.run(itertools.count(1), 50_000)
        assert failure is not None
        short = histories.shrink(failure, tries=160)
        assert len(short.actions) <= len(failure.actions) // 2
        assert "replay(" in str(short)
        with pytest.raises(Exception):  # noqa: B017 (whatever it is)
            histories.replay(short.seed, short.actions)
    histories.replay(short.seed, short.actions)
