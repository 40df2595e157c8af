"""Seeded random programs that call actors in all ways at once, checked against a model.

Each caller (threads of the driver, tasks, other actors) counts its own calls of each actor: every
call says its number, and the actor says which ones of that caller it saw out of order.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from typing import Any

import pytest

from fanlight.ids import handle_oid
from tests.engines.support import needs, poll

SECONDS = float(os.environ.get("FANLIGHT_RANDOM_SECONDS", "1"))  # for each program


def _counter(rt: Any) -> Any:
    @rt.remote(num_cpus=0)
    class Counter:
        def __init__(self):
            self.last = {}
            self.wrong = []

        def call(self, caller, number, value, *_):
            if number <= self.last.get(caller, -1):
                self.wrong.append((caller, number, self.last[caller]))
            self.last[caller] = number
            return caller, number, value

        def fail(self, caller, number):
            self.call(caller, number, None)
            raise ValueError(f"{caller} {number}")

        def large(self, caller, number):
            import numpy

            self.call(caller, number, None)
            return numpy.full(30_000, number)

        def inner(self, caller, number):
            self.call(caller, number, None)
            return [rt.put(number)]

        def items(self, caller, number, n):
            self.call(caller, number, None)
            yield from range(n)

        def work(self, others, caller, seed, count):
            return work(rt, others, caller, random.Random(seed), count)

        def seen_wrong(self):
            return self.wrong

        def pid(self):
            return os.getpid()

    return Counter


def work(rt: Any, actors: list[Any], caller: str, chance: random.Random, count: int) -> int:
    """Random calls from one thread; returns how many were answered rightly. Raises AssertionError."""
    numbers = [0] * len(actors)
    held = rt.put("held")
    waiting: list[tuple[str, Any, Any]] = []
    right = 0

    def check(kind: str, ref: Any, expected: Any) -> None:
        if kind == "call":
            assert rt.get(ref, timeout=60) == expected
        elif kind == "fail":
            try:
                rt.get(ref, timeout=60)
            except ValueError as e:
                assert expected in str(e)
            else:
                raise AssertionError("it did not fail")
        elif kind == "large":
            assert (rt.get(ref, timeout=60) == expected).all()
        elif kind == "inner":
            assert rt.get(rt.get(ref, timeout=60)[0], timeout=60) == expected
        elif kind == "items":
            assert [rt.get(item, timeout=60) for item in ref] == expected
        elif kind == "nested":
            assert rt.get(rt.get(ref, timeout=60)[0], timeout=60) == expected

    for _ in range(count):
        i = chance.randrange(len(actors))
        actor, number = actors[i], numbers[i]
        numbers[i] += 1
        name = caller
        kind = chance.choice(["call"] * 8 + ["ref", "pin", "fail", "large", "inner", "items",
                                             "nested", "drop", "chain", "burst", "full"])  # fmt: skip
        if kind in ("call", "full"):
            value = b"x" * 90_000 if kind == "full" else number
            waiting.append(("call", actor.call.remote(name, number, value), (name, number, value)))
        elif kind in ("ref", "pin"):
            extra = held if kind == "ref" else [held]
            ref = actor.call.remote(name, number, number, extra)
            waiting.append(("call", ref, (name, number, number)))
        elif kind == "fail":
            waiting.append(("fail", actor.fail.remote(name, number), f"{name} {number}"))
        elif kind in ("large", "inner"):
            waiting.append((kind, getattr(actor, kind).remote(name, number), number))
        elif kind == "items":
            made = actor.items.options(num_returns="streaming").remote(name, number, 3)
            waiting.append(("items", made, [0, 1, 2]))
        elif kind == "nested":
            ref = actor.call.remote(name, number, number)
            waiting.append(("nested", rt.put([ref]), (name, number, number)))
        elif kind == "drop":
            actor.large.remote(name, number)
        elif kind == "chain":
            first = actor.call.remote(name, number, number)
            numbers[i] += 1
            ref = actor.call.remote(name, number + 1, first)
            waiting.append(("call", ref, (name, number + 1, (name, number, number))))
        else:
            refs = [actor.call.remote(name, number + k, k) for k in range(100)]
            numbers[i] += 99
            waiting += [("call", r, (name, number + k, k)) for k, r in enumerate(refs)]
        while waiting and (len(waiting) > 150 or chance.random() < 0.3):
            check(*waiting.pop(chance.randrange(len(waiting))))
            right += 1
    for entry in waiting:
        check(*entry)
        right += 1
    return right


def _nothing_is_left(rt: Any) -> None:
    from fanlight import session

    client = session.require_client()
    channels = client.channels
    query = session.current().engine.query
    gc.collect()

    def left() -> dict[str, Any]:
        client.flush_drops()
        sets = ("inflight", "_published", "_promised", "_coming", "_unwanted", "_early", "lines")
        found = {name: len(getattr(channels, name)) for name in sets if getattr(channels, name)}
        store = query("store")
        found |= {"objects": store["objects"]} if store["objects"] else {}
        found |= {"used": store["used"]} if store["used"] != store["cached"] else {}
        found |= {"entries": len(client.entries)} if client.entries else {}
        found |= {"open": channels._open} if channels._open else {}
        if channels.lines:  # what keeps them
            found["lines"] = [
                (
                    line.sent,
                    line.answered,
                    line.drop,
                    line.channel,
                    client._counts.number(handle_oid(a)),
                )
                for a, line in channels.lines.items()
            ]
        return found

    poll(lambda: not left())
    assert not left()


@needs("processes")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_all_ways_at_once(fresh, seed):
    rt = fresh.fanlight
    fresh.init(num_cpus=2)
    Counter = _counter(rt)
    chance = random.Random(seed)
    end = time.monotonic() + SECONDS
    rounds = 0
    while not rounds or time.monotonic() < end:
        rounds += 1
        actors = [Counter.remote() for _ in range(3)]
        problems: list[BaseException] = []

        def thread(caller: str, seed: int, actors: list[Any], problems: list[Any]) -> None:
            try:
                work(rt, actors, caller, random.Random(seed), 60)
            except BaseException as e:
                problems.append(e)

        threads = [
            threading.Thread(
                target=thread, args=(f"t{n}", chance.randrange(1 << 30), actors, problems)
            )
            for n in range(2)
        ]
        task = rt.remote(num_cpus=0)(work_in_task)
        refs = [task.remote(actors, f"p{n}", chance.randrange(1 << 30), 60) for n in range(2)]
        callers = [Counter.remote() for _ in range(2)]
        for n, caller in enumerate(callers):
            refs.append(caller.work.remote(actors, f"a{n}", chance.randrange(1 << 30), 60))
        for t in threads:
            t.start()
        try:
            assert all(n > 0 for n in rt.get(refs, timeout=60))
        finally:
            for t in threads:
                t.join()
        assert not problems, problems
        assert rt.get([a.seen_wrong.remote() for a in actors]) == [[], [], []]
        del actors, callers, refs, threads, caller, t, thread, problems
    _nothing_is_left(rt)


@needs("processes")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_kills_in_the_midst(fresh, seed):
    """Every call is answered: by its result, or by its actor's end."""
    rt = fresh.fanlight
    fresh.init(num_cpus=2)
    Counter = _counter(rt)
    chance = random.Random(seed)
    end = time.monotonic() + SECONDS
    rounds = 0
    while not rounds or time.monotonic() < end:
        rounds += 1
        restarts = chance.choice([0, 1])
        actor = Counter.options(max_restarts=restarts).remote()
        pid = rt.get(actor.pid.remote())
        held = rt.put(1)
        how = chance.choice(["kill", "signal", "terminate", "signal"])
        moment = chance.randrange(300)
        refs: list[Any] = []
        for i in range(300):
            if i == moment:
                if how == "kill":
                    rt.kill(actor)
                elif how == "signal":
                    os.kill(pid, 9)
                else:
                    actor.__ray_terminate__.remote()
            kind = chance.random()
            if kind < 0.85:
                refs.append(actor.call.remote("d", i, i))
            elif kind < 0.9:
                refs.append(actor.call.remote("d", i, i, held))
            elif kind < 0.95:
                refs.append(actor.large.remote("d", i))
            else:
                refs.append(rt.put([actor.call.remote("d", i, i)]))
            if chance.random() < 0.05:
                rt.wait([refs[-1]], timeout=0.001)
        answered = 0
        for i, ref in enumerate(refs):
            try:
                value = rt.get(ref, timeout=60)
                if isinstance(value, list):
                    value = rt.get(value[0], timeout=60)
                assert value == ("d", i, i) if isinstance(value, tuple) else (value == i).all()
                answered += 1
            except (rt.exceptions.ActorDiedError, rt.exceptions.ActorUnavailableError):
                pass
        if how == "signal" and restarts:
            assert poll(lambda a=actor: _answers(rt, a))
        del actor, refs, ref, held, value
    _nothing_is_left(rt)


def _answers(rt: Any, actor: Any) -> bool:
    try:
        return rt.get(actor.call.remote("z", time.monotonic_ns(), 0))[0] == "z"
    except rt.exceptions.ActorUnavailableError:
        return False


def work_in_task(actors: list[Any], caller: str, seed: int, count: int) -> int:
    import fanlight

    return work(fanlight, actors, caller, random.Random(seed), count)
