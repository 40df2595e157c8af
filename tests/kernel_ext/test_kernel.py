"""The extension in a real kernel with real workers: what arrives where, and when."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil
import pytest

from tests.kernel_ext.kernels import KernelClient

pytestmark = pytest.mark.slow


def test_values_go_there_and_come_back(kernel: KernelClient) -> None:
    kernel.run(
        "import os\nhere = os.getpid()\ndata = [1, 2, 3]\ndef double(x):\n    return scale * x\nscale = 2"
    )
    done = kernel.run("%%remote\nthere = os.getpid()\nscaled = [double(x) for x in data]\nscaled")
    assert done.result() == "[2, 4, 6]"
    assert kernel.run("there != here, scaled, _").result() == "(True, [2, 4, 6], [2, 4, 6])"


def test_output_arrives_under_its_own_cell_before_it_ends(kernel: KernelClient) -> None:
    gate = kernel.folder / "gate-output"
    kernel.run(f"import os\ngate = {str(gate)!r}")
    running = kernel.start(
        "%%remote\nimport sys, time\nprint('one')\nprint('two', file=sys.stderr)\n"
        "while not os.path.exists(gate):\n    time.sleep(0.01)\nprint('three')"
    )
    kernel.until(lambda: "one" in running.text() and "two" in running.text("stderr"))
    assert not running.ended()
    gate.touch()
    running.wait()
    assert running.text() == "one\nthree\n"


def test_reports_name_cells_and_variables(kernel: KernelClient) -> None:
    kernel.run("import numpy as np\nbig = fanlight.put(np.zeros((500, 500)))")
    kernel.run("@fanlight.remote(num_cpus=99)\ndef huge():\n    pass\nnever = huge.remote()")
    number = kernel.run("len(In) - 1").result()
    shown = kernel.run("fanlight.memory()").of("execute_result")[-1]["content"]["data"]
    made = f"`put`, In[{int(number) - 2}] line 2"
    assert made in shown["text/plain"] and "`del big` lets it go" in shown["text/plain"]
    assert "ndarray float64 (500, 500)" in shown["text/html"]
    shown = kernel.run("never.why()").of("execute_result")[-1]["content"]["data"]
    assert shown["text/plain"].startswith("`huge` can never run here")
    assert f"In[{int(number) - 1}]" in shown["text/plain"] and "<code" in shown["text/html"]
    assert f"cell: In[{int(number) - 1}]" in kernel.run("fanlight.why([never])").result()
    shown = kernel.run("fanlight.status()").of("execute_result")[-1]["content"]["data"]
    assert "1 × `huge` can never run here" in shown["text/plain"] and "text/html" in shown
    kernel.run("fanlight.cancel(never)\ndel big, never")


def test_nested_tasks_print_under_the_cell_too(kernel: KernelClient) -> None:
    kernel.run("@fanlight.remote\ndef child(i):\n    print('child', i)\n    return i")
    done = kernel.run(
        "%%remote\nprint('parent')\ntotal = sum(fanlight.get([child.remote(i) for i in range(3)]))"
    )
    text = done.text()
    assert "parent\n" in text
    assert sorted(line.rpartition(") ")[2] for line in text.splitlines() if "child" in line) == [
        "child 0",
        "child 1",
        "child 2",
    ]
    assert "(child pid=" in text


def test_work_of_a_plain_cell_prints_under_it_with_its_source(kernel: KernelClient) -> None:
    kernel.run("@fanlight.remote\ndef shout(i):\n    print('loud', i)\n    return i")
    done = kernel.run("fanlight.get([shout.remote(i) for i in range(2)])")
    lines = done.text().splitlines()
    assert sorted(line.rpartition(") ")[2] for line in lines) == ["loud 0", "loud 1"]
    assert all(line.startswith("(shout pid=") for line in lines)


def test_a_late_task_prints_under_the_cell_that_submitted_it(kernel: KernelClient) -> None:
    gate = kernel.folder / "gate-late"
    kernel.run(
        "@fanlight.remote\ndef late(gate):\n    import os, time\n"
        "    while not os.path.exists(gate):\n        time.sleep(0.01)\n    print('late news')"
    )
    first = kernel.run(f"ref = late.remote({str(gate)!r})")
    second = kernel.start(
        f"open({str(gate)!r}, 'w').close()\nfanlight.get(ref)\nprint('second')"
    ).wait()
    kernel.until(lambda: "late news" in first.text())
    assert "late news" not in second.text()
    assert second.text() == "second\n"


def test_background_output_comes_under_its_cell_after_it_ended(kernel: KernelClient) -> None:
    gate = kernel.folder / "gate-bg"
    kernel.run(f"gate = {str(gate)!r}\nimport os")
    first = kernel.run(
        "%%remote --bg job\nimport time\nwhile not os.path.exists(gate):\n    time.sleep(0.01)\n"
        "print('from the background')\nanswer = 42\nanswer"
    )
    assert "background" not in first.text()
    second = kernel.start("import time\nprint('busy')\nwhile not job.done():\n    time.sleep(0.01)")
    kernel.until(lambda: "busy" in second.text())
    gate.touch()
    second.wait()
    kernel.until(lambda: "from the background\n" in first.text())
    kernel.until(lambda: any(d["data"].get("text/plain") == "42" for d in first.displays()))
    assert second.text() == "busy\n"
    assert kernel.run("fanlight.get(answer), job.result()").result() == "(42, {'answer': 42})"


def test_each_runs_in_parallel_and_in_order(kernel: KernelClient) -> None:
    kernel.run(f"import glob, os, time\nseen = {str(kernel.folder / 'parallel-')!r}")
    done = kernel.run(  # none ends before two processes are at it
        "%%remote --each seed=range(6)\npid = os.getpid()\nopen(f'{seen}{pid}', 'w').close()\n"
        "while len(glob.glob(f'{seen}*')) < 2:\n    time.sleep(0.01)\n"
        "square = seed * seed\nprint('run')"
    )
    assert kernel.run("square, len(set(pid)) > 1").result() == "([0, 1, 4, 9, 16, 25], True)"
    assert "[seed=3] run\n" in done.text()


def test_an_error_shows_the_cells_own_line_once(kernel: KernelClient) -> None:
    kernel.run("import math\ndef helper(x):\n    return math.sqrt(x)")
    failed = kernel.run(
        "%%remote\nx = 1\ntry:\n    helper(-x)\nexcept ValueError as e:\n    raise KeyError('no root') from e",
        fails=True,
    )
    text = failed.traceback()
    assert "----> 6     raise KeyError('no root') from e" in text
    assert "return math.sqrt(x)" in text
    assert "direct cause" in text
    assert text.count("KeyError: 'no root'") == 1
    assert "fanlight" not in text.replace("fanlight.remote", "")
    assert failed.of("error")[0]["content"]["ename"] == "KeyError"


def test_an_error_of_a_nested_task_goes_on_into_its_lines(kernel: KernelClient) -> None:
    kernel.run("@fanlight.remote\ndef inverse(x):\n    y = x\n    return 1 / y")
    failed = kernel.run("%%remote\nx = 0\nfanlight.get(inverse.remote(x))", fails=True)
    text = failed.traceback()
    assert "----> 3 fanlight.get(inverse.remote(x))" in text
    assert "----> 4     return 1 / y" in text
    assert text.index("inverse.remote(x)") < text.index("return 1 / y")
    assert text.count("ZeroDivisionError: division by zero") == 1


def test_an_error_of_each_counts_the_others(kernel: KernelClient) -> None:
    failed = kernel.run("%%remote --each n=range(4)\nvalue = 1 / (n % 2)", fails=True)
    text = failed.traceback()
    assert "ZeroDivisionError" in text
    assert "1 other failed (n = 2), of 4 runs" in text
    kernel.until(lambda: "4 tasks, 2 failed" in str(failed.shown()))
    assert len(failed.shown()) == 1


def test_what_cannot_be_sent_is_named(kernel: KernelClient) -> None:
    kernel.run("import threading\nconfig = {'guard': threading.Lock()}")
    failed = kernel.run("%%remote\nconfig['guard']", fails=True)
    said = failed.text("stderr") + "".join(str(m["content"]) for m in failed.of("error"))
    assert "`config` (in `config['guard']`" in said
    assert "make the lock inside the cell" in said


def test_top_level_await_and_display(kernel: KernelClient) -> None:
    done = kernel.run(
        "%%remote\nimport asyncio\nfrom IPython.display import HTML, display\n"
        "await asyncio.sleep(0.01)\ndisplay(HTML('<b>bold</b>'))\nready = True"
    )
    assert any(d["data"].get("text/html") == "<b>bold</b>" for d in done.displays())
    assert kernel.run("ready").result() == "True"


def test_rich_results_are_made_in_the_worker(kernel: KernelClient) -> None:
    done = kernel.run("%%remote\nimport pandas as pd\ntable = pd.DataFrame({'a': [1, 2]})\ntable")
    bundle = done.of("execute_result")[0]["content"]["data"]
    assert "<table" in bundle["text/html"]
    assert kernel.run("int(table.a.sum())").result() == "3"


def test_figures_appear_under_the_cell(kernel: KernelClient) -> None:
    done = kernel.run("%%remote\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);")
    assert any("image/png" in d["data"] for d in done.displays())


def workers_busy(kernel: KernelClient) -> list[float]:
    """CPU of the kernel's descendants."""
    assert kernel.manager.provisioner is not None
    children = psutil.Process(kernel.manager.provisioner.pid).children(recursive=True)

    def used() -> list[float]:
        found = []
        for child in children:
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                found.append(child.cpu_percent())
        return found

    used()
    time.sleep(0.3)
    return used()


def test_an_interrupt_cancels_and_the_runtime_goes_on(kernel: KernelClient) -> None:
    running = kernel.start("%%remote\nprint('spinning')\nwhile True:\n    pass")
    kernel.until(lambda: "spinning" in running.text())
    kernel.interrupt()
    running.wait()
    assert "KeyboardInterrupt" in running.traceback()
    assert "Cancelled" in running.text("stderr")
    assert (
        kernel.run("fanlight.session.cancel_origin(" + repr(running.cell_id) + ")").result() == "0"
    )
    assert kernel.run("%%remote\nafter = 1\nafter").result() == "1"
    kernel.until(lambda: max(workers_busy(kernel), default=0.0) < 60)


def test_an_interrupt_stops_what_ignores_it(kernel: KernelClient) -> None:
    running = kernel.start(
        "%%remote\nimport time\nprint('stubborn')\nwhile True:\n    try:\n        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        print('no')"
    )
    kernel.until(lambda: "stubborn" in running.text())
    kernel.interrupt()
    running.wait()
    assert "KeyboardInterrupt" in running.traceback()
    assert kernel.run("%%remote\nafter = 2\nafter").result() == "2"


def test_interrupting_a_plain_cell_cancels_its_work(kernel: KernelClient) -> None:
    kernel.run("@fanlight.remote\ndef spin():\n    print('spin')\n    while True:\n        pass")
    running = kernel.start("fanlight.get([spin.remote() for _ in range(4)])")
    kernel.until(lambda: "spin" in running.text())
    kernel.interrupt()
    running.wait()
    assert "KeyboardInterrupt" in running.traceback()
    kernel.until(lambda: "Cancelled 4 tasks" in running.text("stderr"))
    assert kernel.run("%%remote\nafter = 3\nafter").result() == "3"


def test_an_interrupt_ends_the_cell_though_the_node_is_stopped(kernel: KernelClient) -> None:
    node = kernel.run("fanlight.session.current().node_pid").result()
    os.kill(int(node), signal.SIGSTOP)
    try:
        running = kernel.start("fanlight.get(fanlight.remote(lambda: 1).remote())")
        kernel.until(lambda: "is stopped" in running.text("stderr"))
        kernel.interrupt()
        running.wait()
        assert "KeyboardInterrupt" in running.traceback()
        kernel.until(lambda: "not cancelled" in running.text("stderr"))
    finally:
        os.kill(int(node), signal.SIGCONT)
    assert kernel.run("%%remote\nafter = 4\nafter").result() == "4"


def test_a_time_limit_cancels(kernel: KernelClient) -> None:
    failed = kernel.run("%%remote --timeout 0.3\nimport time\ntime.sleep(60)", fails=True)
    assert "TimeoutError" in failed.traceback()


def test_dry_run_runs_nothing(kernel: KernelClient) -> None:
    done = kernel.run("%%remote --dry-run\nprint('ran')\nz = data")
    assert done.text() == ""
    said = done.displays()[0]["data"]["text/plain"]
    assert "data" in said
    assert "brings back z" in said


def test_magics_complete_and_explain_themselves(kernel: KernelClient) -> None:
    code = "%%remote --num-"
    kernel.client.complete(code, len(code))
    reply = kernel.client.get_shell_msg(timeout=60)
    assert {"--num-cpus", "--num-gpus"} <= set(reply["content"]["matches"])
    kernel.client.inspect("%%remote", 8)
    reply = kernel.client.get_shell_msg(timeout=60)
    assert "--each VAR=EXPR" in str(reply["content"]["data"])


def test_status(kernel: KernelClient) -> None:
    data = kernel.run("%fanlight status").displays()[0]["data"]
    assert "CPU" in data["text/plain"]
    assert "<table" in data["text/html"]


def test_refs_have_rich_reprs(kernel: KernelClient) -> None:
    kernel.run("%%remote --refs\nblock = b'x' * 100_000")
    bundle = kernel.run("fanlight.get(block)\nblock").of("execute_result")[0]["content"]["data"]
    assert "ready" in bundle["text/plain"]
    assert "100" in bundle["text/html"]


def test_a_runtime_that_died_under_the_notebook(kernel: KernelClient) -> None:
    """The next cell says how, and so does ``%fanlight``; ``init`` works at once."""
    kernel.run("import os, signal")
    kernel.run("pid = fanlight.session.current().node_pid\nos.kill(pid, signal.SIGKILL)")
    kernel.run("import time\nwhile fanlight.is_initialized():\n    time.sleep(0.01)")
    failed = kernel.run("fanlight.get(fanlight.put(1))", fails=True)
    assert failed.reply is not None
    said = failed.reply["content"]
    assert said["ename"] == "RuntimeLostError" and "killed by SIGKILL" in said["evalue"]
    assert "killed by SIGKILL" in str(kernel.run("%fanlight").messages)
    kernel.run("fanlight.init(num_cpus=2, num_gpus=0)")
    assert kernel.run("fanlight.get(fanlight.put('ok'))").result() == "'ok'"
