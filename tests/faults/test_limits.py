"""What the system refuses: descriptors, processes. The answer is an error that says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.support import Driver

MANY_ACTORS = """
import resource
{limit}
started(num_cpus=2)

@fanlight.remote(num_cpus=0)
class Cell:
    def get(self):
        return 7

cells = [Cell.remote() for _ in range({wanted})]
calls = [cell.get.remote() for cell in cells]
fanlight.wait(calls, num_returns=len(calls), timeout=60)
good, errors = [], []
for cell, call in zip(cells, calls):
    try:
        assert fanlight.get(call, timeout=0) == 7
        good.append(cell)
    except fanlight.exceptions.ActorDiedError as e:
        errors.append(str(e))
say("counts", len(good), len(errors))
say("error", *errors[0].split())
assert fanlight.get([cell.get.remote() for cell in good]) == [7] * len(good)
for cell in good[:5]:
    fanlight.kill(cell)
check()
assert fanlight.get(Cell.remote().get.remote(), timeout=60) == 7
say("again")
fanlight.shutdown()
"""


@pytest.mark.long
def test_more_actors_than_descriptors(driver: Callable[..., Driver]) -> None:
    """The node has one for each process; those that are there go on, and tasks run when there is room."""
    limit = "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))"
    script = driver(MANY_ACTORS.format(limit=limit, wanted=45))
    script.up()
    good, bad = map(int, script.hear("counts", 60))
    assert good > 10 and bad > 0 and good + bad == 45
    error = " ".join(script.hear("error"))
    assert "could not be made: no process could be started" in error
    assert "open files (ulimit -n" in error
    script.hear("again")
    assert script.wait() == 0


@pytest.mark.slow
def test_a_low_soft_limit_is_raised(driver: Callable[..., Driver]) -> None:
    """Shells often start with 1,024 descriptors where many more are allowed."""
    body = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (25, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    started(num_cpus=2)

    @fanlight.remote(num_cpus=0)
    class Cell:
        def get(self):
            return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    cells = [Cell.remote() for _ in range(30)]
    say("limits", *set(fanlight.get([cell.get.remote() for cell in cells], timeout=60)))
    fanlight.shutdown()
    """
    script = driver(body)
    script.up()
    assert script.hear("limits") == ["25"]  # user code keeps the limit that it was started with


@pytest.mark.long
def test_more_arrays_than_descriptors(driver: Callable[..., Driver]) -> None:
    """A mapping needs no open file: neither where objects are read, nor where they are written
    into segments that were used before, nor in a worker."""
    one = driver("""
        import gc
        import resource
        import numpy

        started()
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

        @fanlight.remote
        def hold(refs):
            import os, resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
            arrays = fanlight.get(refs)
            made = [fanlight.put(a + 1) for a in arrays]
            return sum(int(fanlight.get(ref)[0]) for ref in made), len(os.listdir("/dev/fd"))

        for _ in range(3):
            refs = [fanlight.put(numpy.full(14_000, i)) for i in range(150)]
            arrays = fanlight.get(refs)
            assert [int(a[-1]) for a in arrays] == list(range(150))
            total, descriptors = fanlight.get(hold.remote(refs))
            assert total == sum(range(1, 151)) and descriptors < 40, descriptors
            assert not arrays[0].flags.writeable
            del arrays, refs
            gc.collect()
            time.sleep(0.3)
        say("done")
        """)
    one.up()
    one.hear("done")
    assert one.wait() == 0, one.output()
