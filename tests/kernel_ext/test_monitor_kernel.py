"""The cell monitor in a real kernel: it moves while the cell runs, folds, and its button works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernel_ext.kernels import Execution, KernelClient

pytestmark = pytest.mark.slow
VIEW = "application/vnd.jupyter.widget-view+json"
GATED = (
    "import os, time\n@fanlight.remote\ndef gated(gate):\n"
    "    while not os.path.exists(gate):\n        time.sleep(0.01)\n"
    "fanlight.get([gated.remote(gate) for gate in {} for _ in range(4)]);"
)


def states(kernel: KernelClient, done: Execution) -> list[dict[str, Any]]:
    """All states that were pushed to the monitor of a cell, in order."""
    return [message["content"]["data"]["state"]["state"] for message in pushes(kernel, done)]


def pushes(kernel: KernelClient, done: Execution) -> list[dict[str, Any]]:
    """The messages with these states."""
    views = [d["data"][VIEW]["model_id"] for d in done.displays() if VIEW in d["data"]]
    assert views, "no monitor was shown"
    found = []
    for message in kernel.iopub:
        content = message["content"]
        if content.get("comm_id") != views[0]:
            continue
        if content["data"].get("state", {}).get("state"):
            found.append(message)
    return found


def final(done: Execution) -> str:
    """What the notebook holds of the monitor in the end."""
    texts = [d["text/plain"] for d in done.shown().values() if "task" in d.get("text/plain", "")]
    assert len(texts) == 1, done.shown()
    return str(texts[0])


def until_shown(kernel: KernelClient, running: Execution) -> None:
    kernel.until(lambda: any(VIEW in d["data"] for d in running.displays()), what="a monitor")
    assert not running.ended()


def test_a_plain_cell_gets_a_monitor_that_moves_and_folds(
    kernel: KernelClient, tmp_path: Path
) -> None:
    gates = [tmp_path / str(i) for i in range(4)]
    running = kernel.start(GATED.format([str(gate) for gate in gates]))
    until_shown(kernel, running)
    for i, gate in enumerate(gates[:3], 1):
        gate.touch()
        kernel.until(lambda i=i: any(s["done"] == 4 * i for s in states(kernel, running)))
    assert not running.ended()
    gates[3].touch()
    running.wait()
    kernel.until(lambda: VIEW not in str(running.shown()))
    assert final(running).startswith("16 tasks, ")
    assert "on 2 CPUs" in final(running)
    # A page that is loaded again finds the widget as it was in the end.
    kernel.until(lambda: states(kernel, running)[-1]["over"])
    last = states(kernel, running)[-1]
    assert last["unfinished"] == 0 and last["summary"].startswith("16 tasks, ")


def test_running_it_again_counts_only_the_new_tasks(kernel: KernelClient, tmp_path: Path) -> None:
    for i in range(2):
        gate = tmp_path / str(i)
        running = kernel.start(GATED.format([str(gate)]), cell_id="again-and-again")
        until_shown(kernel, running)
        gate.touch()
        running.wait()
        kernel.until(lambda r=running: VIEW not in str(r.shown()))
        assert final(running).startswith("4 tasks, ")


def test_a_remote_cell_has_one_too(kernel: KernelClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kernel.run(f"import os, time\ngate = {str(gate)!r}")
    running = kernel.start(
        "%%remote --each i=range(8)\nwhile not os.path.exists(gate):\n    time.sleep(0.01)\nx = i"
    )
    until_shown(kernel, running)
    gate.touch()
    running.wait()
    kernel.until(lambda: VIEW not in str(running.shown()))
    assert final(running).startswith("8 tasks, ")


def test_a_quick_remote_cell_ends_in_one_line(kernel: KernelClient) -> None:
    kernel.run("%config FanlightMagics.monitor_delay = 60")  # however slow this machine is
    done = kernel.run("%%remote\nx = 1")
    kernel.run("%config FanlightMagics.monitor_delay = 0.5")
    assert final(done).startswith("1 task, ")
    assert not any(VIEW in d["data"] for d in done.displays())


def test_quiet_and_off(kernel: KernelClient) -> None:
    done = kernel.run("%%remote --quiet\nimport time\ntime.sleep(0.5)")
    assert done.displays() == []
    kernel.run("%fanlight monitor off")
    done = kernel.run("fanlight.get(fanlight.remote(lambda: time.sleep(1)).remote())")
    assert not any(VIEW in d["data"] for d in done.displays())
    kernel.run("%config FanlightMagics.monitor = True")


def test_the_button_works_while_the_kernel_is_busy(kernel: KernelClient) -> None:
    """A press arrives on a comm over a subshell, as JupyterLab sends it."""
    client = kernel.client
    message = client.session.msg("create_subshell_request", {})
    client.control_channel.send(message)
    reply = client.get_control_msg(timeout=60)
    subshell = reply["content"]["subshell_id"]

    running = kernel.start(
        "@fanlight.remote\ndef spin():\n    while True:\n        pass\n"
        "fanlight.get([spin.remote() for _ in range(3)])"
    )
    kernel.until(lambda: any(VIEW in d["data"] for d in running.displays()))
    for kind, content in (
        ("comm_open", {"comm_id": "press", "target_name": "fanlight.uplink", "data": {}}),
        (
            "comm_msg",
            {"comm_id": "press", "data": {"type": "cancel", "origin": running.cell_id}},
        ),
    ):
        message = client.session.msg(kind, content)
        message["header"]["subshell_id"] = subshell
        client.shell_channel.send(message)
    running.wait()
    assert "TaskCancelledError" in running.traceback()
    kernel.until(lambda: VIEW not in str(running.shown()))
    assert "3 cancelled" in final(running)


def test_at_most_ten_updates_a_second(kernel: KernelClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    done = kernel.start(
        "import os, time\n@fanlight.remote\ndef tiny(i):\n    time.sleep(0.001)\n    return i\n"
        f"while not os.path.exists({str(gate)!r}):\n"
        "    fanlight.get([tiny.remote(i) for i in range(100)])"
    )
    kernel.until(lambda: any(VIEW in d["data"] for d in done.displays()))
    kernel.until(lambda: len(pushes(kernel, done)) > 9)
    gate.touch()
    done.wait()
    kernel.until(lambda: VIEW not in str(done.shown()))
    dates = [message["header"]["date"] for message in pushes(kernel, done)]
    took = (dates[-1] - dates[0]).total_seconds()
    assert 1 < len(dates) <= 10 * 1.1 * took + 4  # a tenth early at most; the end comes at once


def test_failures_unfold(kernel: KernelClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    running = kernel.start(
        "import os, time\n@fanlight.remote(max_retries=0)\ndef wrong(i, gate):\n"
        "    while not os.path.exists(gate):\n        time.sleep(0.01)\n"
        "    raise ValueError('<i>no</i>')\n"
        f"refs = [wrong.remote(i, {str(gate)!r}) for i in range(6)]\n"
        "_ = fanlight.wait(refs, num_returns=6)"
    )
    until_shown(kernel, running)
    gate.touch()
    running.wait()
    kernel.until(lambda: VIEW not in str(running.shown()))
    kernel.until(lambda: states(kernel, running)[-1]["over"])
    assert final(running).startswith("6 tasks, 6 failed, ")
    assert "wrong: ValueError: <i>no</i> (6 times)" in final(running)
    html = next(d["text/html"] for d in running.shown().values() if "tasks" in d["text/html"])
    assert "<details open>" in html and "&lt;i&gt;no" in html and "<i>" not in html
    assert states(kernel, running)[-1]["failures"] == [["wrong", "ValueError: <i>no</i>", 6]]


def test_the_reason_of_a_standstill(kernel: KernelClient) -> None:
    """Nothing of this cell runs while another one's actor holds the CPUs."""
    kernel.run(
        "@fanlight.remote(num_cpus=2)\nclass Hog:\n    def ready(self):\n        return True\n"
        "hog = Hog.remote()\nfanlight.get(hog.ready.remote())"
    )
    running = kernel.start("@fanlight.remote\ndef late():\n    pass\nfanlight.get(late.remote())")
    try:
        kernel.until(lambda: any(VIEW in d["data"] for d in running.displays()))
        kernel.until(lambda: any("Hog" in s["why"] for s in states(kernel, running)))
    finally:
        kernel.interrupt()
        running.wait()
        kernel.run("fanlight.kill(hog)")


def test_a_runtime_that_is_shut_down_or_dies_under_a_monitor(kernel: KernelClient) -> None:
    nap = "@fanlight.remote\ndef nap():\n    time.sleep(600)\nrefs = [nap.remote() for _ in '123']"
    kill = "import os, signal\nos.kill(fanlight.session.current().node_pid, signal.SIGKILL)"
    for end, said in (("fanlight.shutdown()", "shut"), (kill, "node process")):
        running = kernel.run(nap)
        kernel.until(lambda r=running: any(VIEW in d["data"] for d in r.displays()))
        kernel.run(end)
        kernel.until(lambda r=running: VIEW not in str(r.shown()))
        assert said in final(running), final(running)
        assert "0 of 3 tasks" in final(running)
        kernel.run("fanlight.shutdown()\nfanlight.init(num_cpus=2, num_gpus=0)")


def test_a_kernel_that_is_shut_down_says_so(kernel: KernelClient) -> None:
    """The last test of this file: there is no kernel afterwards."""
    running = kernel.run(
        "import time\n@fanlight.remote\ndef nap():\n    time.sleep(600)\n"
        "refs = [nap.remote() for _ in '123']"
    )
    kernel.until(lambda: any(VIEW in d["data"] for d in running.displays()))
    kernel.client.shutdown()
    kernel.until(lambda: VIEW not in str(running.shown()))
    assert "then the kernel was shut down" in final(running)
