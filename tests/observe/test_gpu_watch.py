"""The thread that asks NVML, and what the node makes of its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from fanlight.events import GpuView
from fanlight.observe import gpu, gpu_watch
from fanlight.observe.gpu_watch import GpuWatch

DEADLINE = 60.0


class FakeSampler:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.asked = threading.Event()
        self.closed = threading.Event()

    def sample(self):
        self.asked.set()
        assert self.may_answer.wait(DEADLINE)
        view = GpuView(0, "GPU-0", "x", 0.0, 1.0, None, None, None, None, None, [], "")
        return [view], ""

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setattr(gpu, "library_present", lambda: True)


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_driver_that_hangs_holds_nobody_up(library):
    sampler, now = FakeSampler(), [0.0]
    watch = GpuWatch(0.001, lambda: sampler, lambda: now[0])
    try:
        assert watch.latest().status == gpu_watch.LOOKING
        assert sampler.asked.wait(DEADLINE)
        now[0] = 12.0
        silent = watch.latest()
        assert (silent.views, silent.status) == (
            [],
            "The NVIDIA driver has not answered for 12 s.",
        )
        watch.release()
        watch.latest()  # somebody observes again, before the thread could end
        assert [t.name for t in threading.enumerate()].count("fanlight-gpu") == 1
        sampler.may_answer.set()
        until(lambda: watch.latest().views)
        assert watch.latest().status == ""
    finally:
        sampler.may_answer.set()
        watch.close()
    assert sampler.closed.wait(DEADLINE)
    until(lambda: "fanlight-gpu" not in {t.name for t in threading.enumerate()})


def test_no_thread_without_a_library(monkeypatch):
    monkeypatch.setattr(gpu, "library_present", lambda: False)
    watch = GpuWatch(sampler=lambda: pytest.fail("a sampler was made"))
    assert watch.latest()[1:3] == ([], gpu.NO_LIBRARY)
    assert "fanlight-gpu" not in {t.name for t in threading.enumerate()}
    watch.close()


SCRIPT = """
import json, os, sys, time
import fanlight
from fanlight.observe.client import Observer
from fanlight.observe.discover import runtimes
import msgspec
from fanlight import events

conf, ready, done = sys.argv[1:]

@fanlight.remote(num_gpus=0.5)
def train(ready, done):
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with open(ready + ".part", "w") as file:
        file.write(f"{os.getpid()} {child.pid} {os.environ['CUDA_VISIBLE_DEVICES']}")
    os.rename(ready + ".part", ready)
    while not os.path.exists(done):
        time.sleep(0.01)
    child.communicate(b"\\n")
    return 1

with fanlight.init(num_cpus=1, num_gpus=2) as context:
    ref = train.remote(ready, done)
    while not os.path.exists(ready):
        time.sleep(0.01)
    pid, child, visible = open(ready).read().split()
    with open(conf + ".part", "w") as file:
        file.write(f"devices 4\\ngpu3.processes {pid}:4096,{child}:512,1:7\\n")
    os.rename(conf + ".part", conf)
    observer = Observer(runtimes()[0])
    found = status = None
    history = None
    for payload in observer.payloads():
        event = msgspec.json.decode(payload, type=events.Event)
        if event.gpu_status is not None:
            status = event.gpu_status
        if event.gpus and len(event.gpus[0].processes) == 3:
            found = event.gpus
            break
    observer.close()
    late = Observer(runtimes()[0])
    first = msgspec.json.decode(next(late.payloads()), type=events.Event)
    late.close()
    open(done, "w").close()
    assert fanlight.get(ref) == 1
names = {pid: "worker", child: "child", "1": "init"}
print(json.dumps({
    "visible": visible, "status": status,
    "gpus": [[g.index, g.number, g.share, g.error] for g in found],
    "processes": [[names[str(p.pid)], p.memory, p.task, bool(p.worker)] for p in found[0].processes],
    "history": [[h.device, h.utilization[-1], h.memory[-1]] for h in first.gpu_history],
}))
"""


def test_a_runtime_and_its_devices(nvml_dir, tmp_path):
    """Four GPUs, of which CUDA_VISIBLE_DEVICES shows three in another order, and the runtime uses
    two: the figures, tasks and shares belong to the right ones."""
    conf = tmp_path / "nvml.conf"
    conf.write_text("devices 4\ngpu2.handle 15\n")  # lost while the runtime starts
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "NVML_STANDIN": str(conf),
        "LD_LIBRARY_PATH": str(nvml_dir),
        "CUDA_VISIBLE_DEVICES": "3,2,0",
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(conf), str(tmp_path / "ready"), str(tmp_path / "done")],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["visible"] == "3"
    assert found["status"] == "CUDA_VISIBLE_DEVICES='3,2,0' hides 1 of 4 GPUs."
    # Number 2 came back after the runtime had numbered its devices: it is not used.
    assert found["gpus"] == [[3, 0, 0.5, ""], [2, -1, 0.0, ""], [0, 1, 0.0, ""]]
    assert found["processes"] == [
        ["worker", 4096, "train", True],
        ["child", 512, "train", True],
        ["init", 7, "", False],
    ]
    assert [h[1:] for h in found["history"]] == [[37.0, 1 << 30]] * 3
