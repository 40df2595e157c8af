"""Generators under Ctrl-C and deaths: nothing lost, nothing twice, nothing left."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest

from tests import leaks
from tests.faults.support import PATIENCE, Driver, assert_gone, poll


def test_a_blocked_next_is_interrupted(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    one = driver("""
        @fanlight.remote(num_cpus=0)
        def gated():
            for name in "abc":
                while not os.path.exists(os.path.join(FOLDER, name)):
                    time.sleep(0.005)
                yield name

        started()
        gen = gated.remote()
        for name in "abc":
            try:
                say("blocks")
                next(gen)
            except KeyboardInterrupt:
                say("interrupted")
            note(name)
            assert fanlight.get(next(gen)) == name
        assert list(gen) == []
        check()
        say("works")
        """)
    runtime = one.up()
    for _ in range(3):
        one.hear("blocks")
        one.kill(signal.SIGINT)
        one.hear("interrupted", PATIENCE)
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


@pytest.mark.parametrize("limit", [-1, 4])
def test_a_loop_over_items_interrupted_many_times(
    driver: Callable[..., Driver], before: leaks.Snapshot, limit: int
) -> None:
    """Whoever is interrupted may lose the item in his hands, and no other; objects are freed."""
    one = driver(f"""
        @fanlight.remote(num_cpus=0, _generator_backpressure_num_objects={limit})
        def items():
            for i in range(3000):
                yield i, bytes(150_000 if i % 100 == 0 else 0)

        def loop():
            hits = 0
            while True:
                try:
                    if not hits:
                        say("loops")
                    for ref in gen:
                        got.append(fanlight.get(ref)[0])
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    return hits
                except KeyboardInterrupt:
                    hits += 1

        started()
        gen, got = items.remote(), []
        hits = loop()
        say("done")
        assert got == sorted(set(got)), "out of order, or twice"
        assert len(got) >= 3000 - hits, (hits, 3000 - len(got))
        assert fanlight.get(gen.completed()) is None
        del gen
        query = fanlight.session.require().engine.query
        end = time.monotonic() + 20
        while query("store")["objects"] and time.monotonic() < end:
            time.sleep(0.01)
        assert not query("store")["objects"], query("store")
        say("works")
        """)
    runtime = one.up()
    one.hear("loops")
    chance = random.Random(limit)
    for _ in range(40):
        one.kill(signal.SIGINT)
        poll(lambda: True, 0.001)
        if chance.random() < 0.5:
            poll(lambda: False, chance.random() * 0.02)
    one.hear("done")
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


_ENDLESS = """
    @fanlight.remote(_generator_backpressure_num_objects=2)
    def limited():
        while True:
            yield bytes(200_000)

    @fanlight.remote
    def free():
        while True:
            time.sleep(0.001)
            yield 1

    started()
    gens = [limited.remote(), free.remote()]
    for gen in gens:
        fanlight.get(next(gen))
    say("ready")
    """


@pytest.mark.parametrize("victim", ["node", "zygote and node"])
def test_the_node_dies_in_the_middle(
    driver: Callable[..., Driver], before: leaks.Snapshot, victim: str
) -> None:
    one = driver(
        _ENDLESS
        + """
    import asyncio

    async def consume():
        async for _ in gens[1]:
            pass

    for use in (lambda: list(gens[0]), lambda: asyncio.run(consume()), gens[0].next_ready):
        try:
            while True:
                use()
        except fanlight.errors.RuntimeLostError:
            say("lost")
    fanlight.shutdown()
    fanlight.init(num_cpus=2, log_to_driver=False)
    check()
    say("works")
    """
    )
    runtime = one.up()
    one.hear("ready")
    runtime.look()
    zygote = runtime.zygote()
    runtime.node.kill()
    if victim != "node":
        zygote.kill()
    for _ in range(3):
        one.hear("lost", PATIENCE)
    one.hear("works")
    assert one.wait() == 0, one.output()
    assert_gone(before, runtime)


def test_the_driver_is_killed_in_the_middle(
    driver: Callable[..., Driver], before: leaks.Snapshot
) -> None:
    one = driver(_ENDLESS + "sys.stdin.readline()\n")
    runtime = one.up()
    one.hear("ready")
    runtime.look()
    one.kill(signal.SIGKILL)
    one.wait()
    assert_gone(before, runtime)
