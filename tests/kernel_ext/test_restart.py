"""*Restart and run all*, again and again; and two notebooks at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kernel_ext.kernels import Execution, KernelClient

pytestmark = pytest.mark.slow

# As people write it: without shutdown, with work that goes on when the last cell has ended.
NOTEBOOK = [
    "%load_ext fanlight",
    "import fanlight, time\nfanlight.init(**connect)",
    """class Point:
    def __init__(self, x):
        self.x = x
@fanlight.remote
def double(p):
    print('doubles', p.x, label)
    return Point(2 * p.x)""",
    """points = fanlight.get([double.remote(Point(i)) for i in range(4)])
[p.x for p in points], all(type(p) is Point for p in points)""",
    """@fanlight.remote
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n
counter = Counter.options(name='counter').remote()
fanlight.get([fanlight.get_actor('counter').add.remote() for _ in range(3)])""",
    "%%remote\nprint('remote', label)\nhere = Point(5)\nhere.x",
    "%%remote --each i=range(3)\nsquare = i * i",
    "square, type(here) is Point",
    "%%remote --bg endless\nwhile True:\n    time.sleep(0.01)",
    "stuck = double.options(num_cpus=50).remote(Point(1))\nendless.done()",
]
RESULTS = {
    3: "([0, 2, 4, 6], True)",
    4: "[1, 2, 3]",
    5: "5",
    7: "([0, 1, 4], True)",
    9: "False",
}


def run_all(
    kernel: KernelClient, label: str, connect: str = "{'num_cpus': 3, 'num_gpus': 0}"
) -> list[Execution]:
    """Run the notebook, whose cells have the same ids each time; check what it shows."""
    kernel.run(f"label, connect = {label!r}, {connect}")
    done = [kernel.run(cell, cell_id=f"cell-{i}") for i, cell in enumerate(NOTEBOOK)]
    assert {i: done[i].result() for i in RESULTS} == RESULTS
    lines = done[3].text().splitlines()
    assert sorted(line.rpartition(") ")[2] for line in lines) == [
        f"doubles {i} {label}" for i in range(4)
    ]
    assert done[5].text() == f"remote {label}\n"
    for quiet in (0, 1, 2, 4, 6, 7, 8, 9):
        assert done[quiet].text() == ""
    return done


def processes(kernel: KernelClient) -> list[psutil.Process]:
    assert kernel.manager.provisioner is not None
    return psutil.Process(kernel.manager.provisioner.pid).children(recursive=True)


def check_gone(kernel: KernelClient, left: list[psutil.Process], folder: str) -> None:
    kernel.until(lambda: not any(p.is_running() for p in left), what="the end of the old runtime")
    kernel.until(lambda: not os.path.exists(folder), what="the end of its files")


def restarts(kernel: KernelClient, rounds: range) -> None:
    """Of the rounds, the odd ones end with a kill."""
    for round_ in rounds:
        run_all(kernel, f"round {round_}")
        left = processes(kernel)
        assert left
        folder = kernel.run("str(fanlight.session.current().info['session_dir'])").result()
        kernel.restart(now=round_ % 2 == 1)
        check_gone(kernel, left, folder.strip("'"))
    run_all(kernel, "the end")


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelClient]:
    client = KernelClient(Path(tmp_path_factory.mktemp("fresh")))
    try:
        yield client
    finally:
        client.close()


def test_restart_and_run_all(fresh: KernelClient) -> None:
    """Nothing of the old runtime is left, and all works anew."""
    restarts(fresh, range(1))


@pytest.mark.long
def test_restart_and_run_all_ten_times(fresh: KernelClient) -> None:
    restarts(fresh, range(10))


def test_two_notebooks_at_once(fresh: KernelClient) -> None:
    """Two copies of a notebook in one runtime: cells have the same ids, actors the same names."""
    second = KernelClient(fresh.folder)  # where it finds the runtime
    try:
        firsts = run_all(fresh, "first")
        seconds = run_all(second, "second", "{'address': 'auto'}")
        shown = [str([m["content"] for m in e.of("stream")]) for e in firsts]
        assert not any("second" in text for text in shown)
        # The same cell, running in both: interrupting one leaves the other's work alone.
        gate = fresh.folder / "gate"
        wait = (
            "@fanlight.remote\ndef waits(name):\n    open(name, 'w').close()\n    import os\n"
            f"    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)\n    return label\n"
            "fanlight.get(waits.options(num_cpus=0).remote(label))"
        )
        running = [k.start(wait, cell_id="waits") for k in (fresh, second)]
        fresh.until((fresh.folder / "first").exists)
        second.until((fresh.folder / "second").exists)
        second.interrupt()
        assert "KeyboardInterrupt" in running[1].wait().traceback()
        second.until(lambda: "Cancelled 1 task" in running[1].text("stderr"))
        assert not running[0].ended()
        gate.touch()
        assert running[0].wait().result() == "'first'"
        assert seconds[5].text() == "remote second\n"
    finally:
        second.close()
    assert fresh.run("fanlight.get(counter.add.remote())").result() == "4"
    assert fresh.run("endless.done()").result() == "False"
