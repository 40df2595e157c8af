"""CPU and memory of processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fanlight.observe import sampler as module
from fanlight.observe.sampler import ProcessSampler

BLOCK = 64 << 20


@pytest.fixture
def child():
    """Start ``python -c code``, wait for its first line of output; all are ended afterwards."""
    started = []

    def start(code: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", code + "\nprint(flush=True)\nimport sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_cpu_is_measured_between_calls():
    now = [0.0]
    sampler = ProcessSampler(clock=lambda: now[0])
    pid = os.getpid()
    assert sampler.sample([pid])[pid][0] == 0.0  # nothing to compare with yet
    before = sum(os.times()[:2])
    while sum(os.times()[:2]) - before < 0.1:
        pass
    spent = sum(os.times()[:2]) - before
    now[0] = 0.2
    percent = sampler.sample([pid])[pid][0]
    assert percent == pytest.approx(100 * spent / 0.2, abs=30)
    assert percent > 20
    now[0] = 0.2  # no time passed: no division by zero
    assert sampler.sample([pid])[pid][0] == 0.0


def test_memory_counts_what_the_process_holds(child):
    small = child("")
    large = child(f"block = bytes({BLOCK}); block = bytearray(block)")
    found = ProcessSampler().sample([small.pid, large.pid])
    assert BLOCK <= found[large.pid][1] - found[small.pid][1] < 3 * BLOCK


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells shared pages apart")
def test_memory_leaves_shared_mappings_out(child):
    small = child("")
    sharing = child(f"import mmap; m = mmap.mmap(-1, {BLOCK}); m.write(bytes({BLOCK}))")
    found = ProcessSampler().sample([small.pid, sharing.pid])
    difference = found[sharing.pid][1] - found[small.pid][1]
    # bytes(BLOCK) was freed again; the mapping itself is shared memory.
    assert difference < BLOCK // 2


def test_processes_that_end_are_left_out(child):
    sampler = ProcessSampler()
    process, other = child(""), child("")
    assert sampler.sample([process.pid, other.pid]).keys() == {process.pid, other.pid}
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but still a zombie
    assert sampler.sample([process.pid, other.pid]).keys() == {other.pid}
    process.wait()
    assert sampler.sample([process.pid, other.pid]).keys() == {other.pid}


@pytest.mark.parametrize("pid", [2**22 + 5, -1, 2**70])
def test_numbers_that_name_no_process(pid):
    assert ProcessSampler().sample([pid]) == {}


def test_process_objects_are_reused_and_forgotten(monkeypatch):
    opened = []
    real = module._open
    monkeypatch.setattr(module, "_open", lambda pid: opened.append(pid) or real(pid))
    sampler = ProcessSampler()
    pid = os.getpid()
    for _ in range(3):
        sampler.sample([pid])
    assert opened == [pid]
    sampler.sample([])
    sampler.sample([pid])
    assert opened == [pid, pid]


def test_psutil_is_imported_only_when_used():
    code = "import sys, fanlight.observe.sampler as s; s.ProcessSampler()\n"
    code += "assert 'psutil' not in sys.modules"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
