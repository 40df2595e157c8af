"""Measuring memory: files of a made-up machine, and this process as it is."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fanlight import cgroups
from fanlight.node import memory_monitor
from fanlight.node.memory_monitor import MemoryMonitor

MB = 1 << 20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


class Machine:
    """/proc of a machine that has what the test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.cost = 0.0  # seconds that a look takes
        self.groups: cgroups.Groups = []
        self.memory(total=1000, available=1000)
        self.write("proc/vmstat", "nr_free 7\noom_kill 0\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def memory(self, total: int, available: int) -> None:
        text = f"MemTotal: {total << 10} kB\nMemFree: 1 kB\nMemAvailable:  {available << 10} kB\n"
        self.write("proc/meminfo", text)

    def process(self, pid: int, own: int, shared: int = 0, exact: int | None = None) -> None:
        pages = MB // os.sysconf("SC_PAGE_SIZE")
        resident, others = (own + shared) * pages, shared * pages
        self.write(f"proc/{pid}/statm", f"{resident * 2} {resident} {others} 1 0 9 0\n")
        if exact is not None:
            self.write(f"proc/{pid}/smaps_rollup", f"Rss: 1 kB\nPss_Anon: {exact << 10} kB\n")

    def child(self, pid: int, child: int) -> None:
        self.write(f"proc/{pid}/task/{pid}/children", f"{child} ")

    def group(self, name: str, limit: int, used: int, cache: int = 0, kills: int = 0) -> None:
        self.write(f"{name}/memory.max", str(limit * MB))
        self.write(f"{name}/memory.current", str(used * MB))
        self.write(f"{name}/memory.stat", f"anon 5\ninactive_file {cache * MB}\n")
        self.write(f"{name}/memory.events", f"oom 3\noom_kill {kills}\n")
        entry = (cgroups._V2, self.root / name)
        self.groups += [] if entry in self.groups else [entry]

    def clock(self) -> float:
        self.now += self.cost
        return self.now

    def monitor(self, limit: int = 0, **options: float) -> MemoryMonitor:
        return MemoryMonitor(
            limit * MB, root=self.root, groups=self.groups, clock=self.clock, **options
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_machine(machine: Machine) -> None:
    monitor = machine.monitor()
    machine.memory(total=1000, available=40)
    sample = monitor.look([], [], [], 0)
    assert sample is not None
    assert (sample.scope, sample.used, sample.limit) == ("this machine", 960 * MB, 1000 * MB)
    assert sample.threshold == 950 * MB


def test_the_fullest_counts(machine: Machine) -> None:
    machine.memory(total=1000, available=500)
    machine.group("outer", limit=800, used=500)
    machine.group("inner", limit=400, used=390, cache=30)
    machine.process(1, own=100)
    sample = machine.monitor(limit=200).look([1], [], [], 5 * MB)
    assert sample is not None and sample.scope == "this container"
    assert (sample.used, sample.limit) == (360 * MB, 400 * MB), "without cache"
    machine.process(1, own=190)
    sample = machine.monitor(limit=200).look([1], [], [], 5 * MB)
    assert sample is not None and sample.scope == "this runtime"
    assert (sample.used, sample.limit) == (195 * MB, 200 * MB)


def test_what_shared_pages_cost(machine: Machine) -> None:
    """Workers share the zygote's pages: counted once, when it matters."""
    monitor = machine.monitor(limit=100)
    for pid in (1, 2, 3):
        machine.process(pid, own=40, shared=300, exact=20)
    sample = monitor.look([1, 2, 3], [], [], 0)
    assert sample is not None and sample.used == 60 * MB
    for pid in (1, 2, 3):
        machine.process(pid, own=40, exact=35)
    machine.now += 3
    sample = monitor.look([1, 2, 3], [9], [8], 0)
    assert sample is not None and sample.used == 105 * MB
    assert sample.processes is not None
    assert sample.processes[1] == (35 * MB, 40 * MB) and sample.processes[8] == (0, 0)


def test_what_a_task_started_is_its_own(machine: Machine) -> None:
    machine.process(1, own=10)
    machine.process(5, own=70)
    machine.process(6, own=15)
    machine.child(1, 5)
    machine.child(5, 6)
    sample = machine.monitor(limit=100).look([1], [], [], 0)
    assert sample is not None and sample.processes == {1: (95 * MB, 95 * MB)}


def test_detail_only_where_it_is_of_use(machine: Machine) -> None:
    machine.process(1, own=10)
    monitor = machine.monitor()
    sample = monitor.look([1], [], [], 0)
    assert sample is not None and sample.processes is None
    sample = monitor.look([1], [], [], 0, detail=True)
    assert sample is not None and sample.processes == {1: (10 * MB, 10 * MB)}
    machine.memory(total=1000, available=1)
    sample = monitor.look([1], [], [], 0)
    assert sample is not None and sample.processes


def test_looks_are_rare_when_far_and_frequent_when_near(machine: Machine) -> None:
    monitor = machine.monitor()
    pauses = []
    for available in (10_000, 4_000, 1_500, 1_000, 100):
        machine.memory(total=10_000, available=available)
        monitor.look([], [], [], 0)
        pauses.append(monitor.next_look - machine.now)
    assert pauses == sorted(pauses, reverse=True)
    assert pauses[0] == 2.0 and pauses[-1] == memory_monitor.REFRESH


def test_what_fills_fast_is_looked_at_sooner(machine: Machine) -> None:
    """A small container is full in less than the usual time between two looks."""
    monitor = machine.monitor()
    pauses = []
    for available in (360, 160, 100, 60, 60, 10):
        machine.memory(total=400, available=available)
        machine.now += 0.1
        monitor.look([], [], [], 0)
        pauses.append(round(monitor.next_look - machine.now, 3))
    # 200 MB in 0.1 s, then 60, then 40; then it stands still; then it is over.
    assert pauses == [0.25, 0.035, 0.067, 0.05, 0.25, 0.25]


def test_looking_never_takes_much(machine: Machine) -> None:
    monitor = machine.monitor()
    machine.cost = 0.01
    machine.memory(total=10_000, available=9_000)
    monitor.look([], [], [], 0)
    assert monitor.spent == machine.cost
    assert machine.cost / (monitor.next_look - machine.now) <= 0.00101
    machine.memory(total=10_000, available=100)
    monitor.look([], [], [], 0)
    assert machine.cost / (monitor.next_look - machine.now) <= 0.0201


def test_it_can_be_turned_off_but_for_the_limit(machine: Machine) -> None:
    assert machine.monitor(refresh=0).next_look == float("inf")
    machine.memory(total=1000, available=0)
    machine.process(1, own=10)
    sample = machine.monitor(limit=100, refresh=0).look([1], [], [], 0)
    assert sample is not None and sample.scope == "this runtime"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("psutil tells there")
    monitor = MemoryMonitor(root=tmp_path, groups=[])
    assert monitor.look([1], [], [], 0) is None and monitor.next_look == float("inf")


def test_the_kernels_killer(machine: Machine) -> None:
    machine.group("own", limit=400, used=100, kills=2)
    monitor = machine.monitor()
    kill = ["killed by SIGKILL"]
    assert monitor.why_killed(kill) == "", "those were before"
    machine.group("own", limit=400, used=100, kills=3)
    assert monitor.why_killed(["exit code 1"]) == ""
    assert "the container's memory was full" in monitor.why_killed(kill)
    assert monitor.why_killed(kill) == ""
    machine.write("proc/vmstat", "nr_free 7\noom_kill 1\n")
    assert "out-of-memory killer" in monitor.why_killed(kill)
    machine.memory(total=1000, available=100)
    monitor.look([], [], [], 0)
    assert monitor.why_killed(kill) == "memory was almost full"


def test_the_runtimes_own_limit_is_no_business_of_the_kernel(machine: Machine) -> None:
    machine.process(1, own=100)
    monitor = machine.monitor(limit=100)
    monitor.look([1], [], [], 0)
    assert monitor.why_killed(["killed by SIGKILL"]) == ""


@linux
def test_this_process_as_it_is() -> None:
    """Touched pages count, shared ones do not, those of children do."""
    monitor = MemoryMonitor(1 << 40)
    before = monitor._one(os.getpid(), True)[0]
    # Mapped anew: malloc might give pages that this process has touched before.
    with mmap.mmap(-1, 50 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as own:
        own.write(b"1" * (50 * MB))
        assert 45 * MB < monitor._one(os.getpid(), True)[0] - before < 60 * MB
    with mmap.mmap(-1, 50 * MB) as shared:
        for i in range(0, 50 * MB, 4096):
            shared[i] = 1
        assert monitor._one(os.getpid(), True)[0] - before < 10 * MB
    code = f"x = bytearray(b'1') * {40 * MB}; print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()
        tree, alone = monitor._tree(os.getpid(), True)[0], monitor._one(os.getpid(), True)[0]
        child.communicate(b"\n")
    assert tree - alone > 35 * MB
    sample = monitor.look([os.getpid()], [], [], 0)
    assert sample is not None and 0 < sample.used < sample.limit


@linux
def test_a_look_far_from_the_threshold_costs_little() -> None:
    """Less than a thousandth of the time until the next one."""
    monitor = MemoryMonitor(threshold=1.0)
    begun = time.monotonic()
    sample = monitor.look([os.getpid()] * 8, [os.getpid()], [os.getpid()], 0)
    cost = time.monotonic() - begun
    if sample is not None and sample.used < 0.8 * sample.threshold:
        assert cost <= 0.0015 * (monitor.next_look - begun)
