"""``%%remote --on NAME``: named namespaces, over the in-process engine and in real processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fanlight
import fanlight_kernel
from fanlight_kernel import namespaces
from fanlight_kernel.namespaces import inspection
from tests.kernel_ext.conftest import Notebook, Ran
from tests.kernel_ext.kernels import DEADLINE, Execution, KernelClient


def texts(ran: Ran) -> list[str]:
    return [o.data.get("text/plain", "") for o in ran.outputs]


# --- whose variables ---------------------------------------------------------------------------


def test_the_next_cell_sees_what_the_last_one_left(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nimport json\nx = [1]\ndef f():\n    return json.dumps(x)")
    notebook.run("del x, f, json")
    notebook.run("%%remote --on a\nx.append(2)\ny = f()")
    assert notebook.ns["y"] == "[1, 2]"
    assert "x" not in notebook.ns
    failed = notebook.run("%%remote --on b\ny + x[0]", fails=True)
    assert isinstance(failed.error, NameError)


def test_what_it_assigned_is_its_own_and_in_sends_the_notebooks(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nx = 1")
    assert notebook.ns["x"] == 1
    assert notebook.run("%%remote --on a\nx").stderr == ""  # the same there and here
    notebook.run("x = 100")
    ran = notebook.run("%%remote --on a\nx + 1")
    assert "2" in ran.stdout
    assert "`x` is a's own (int), not the notebook's" in ran.stderr
    ran = notebook.run("%%remote --on a --in x\nx + 1")
    assert "101" in ran.stdout
    assert ran.stderr == ""
    notebook.run("x = 7")  # --in lent it: it is the notebook's again
    assert "8" in notebook.run("%%remote --on a\nx + 1").stdout


def test_what_was_sent_stays_the_notebooks(notebook: Notebook) -> None:
    notebook.run("rate = 1\ndata = [1]\ndef scale(x):\n    return x * rate")
    assert "5" in notebook.run("%%remote --on a\ndata.append(2)\nscale(5)").stdout
    notebook.run("rate = 2")
    ran = notebook.run("%%remote --on a\n(scale(5), data)")
    assert "(10, [1, 2])" in ran.stdout  # a changed value is sent; an unchanged one stays changed
    notebook.run("def scale(x):\n    return x * rate * 100\ndata = [3]")
    assert "(1000, [3])" in notebook.run("%%remote --on a\n(scale(5), data)").stdout


def test_a_change_in_place_is_of_the_namespaces_copy(notebook: Notebook) -> None:
    notebook.run("data = [1]")
    ran = notebook.run("%%remote --on a\ndata.append(2)")
    assert "changed a's copy of `data`" in ran.stderr
    assert notebook.ns["data"] == [1]
    notebook.run("%%remote --on a --out data\ndata.append(3)")
    assert notebook.ns["data"] == [1, 2, 3]


def test_what_cannot_be_sent_stays_there(notebook: Notebook) -> None:
    ran = notebook.run("%%remote --on a\nit = iter([1, 2])\ngen = (i for i in range(3))\nn = 1")
    assert "`gen` (generator) cannot be sent and stays in a" in ran.stderr
    assert notebook.ns["n"] == 1
    assert "gen" not in notebook.ns
    assert "0" in notebook.run("%%remote --on a\nnext(gen)").stdout
    notebook.run("import threading\ngen = threading.Lock()")  # not sent: it has its own
    ran = notebook.run("%%remote --on a\nnext(gen)")
    assert "1" in ran.stdout
    assert "`gen` is a's own (generator)" in ran.stderr
    failed = notebook.run("%%remote --on a --out gen\nn = 2", fails=True)
    assert "`gen` (generator) stays in a" in str(failed.error)


def test_out_limits_what_comes_back(notebook: Notebook) -> None:
    notebook.run("%%remote --on a --out q\np = 1\nq = 2")
    assert "p" not in notebook.ns
    notebook.run("%%remote --on a --out\nq = 3")
    assert notebook.ns["q"] == 2
    notebook.run("%%remote --on a\nr = p + q")
    assert notebook.ns["r"] == 4


def test_deleting_there_deletes_the_notebooks_copy_alone(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nx = [1]\ny = [2]")
    notebook.run("y = 'another'")
    notebook.run("%%remote --on a\ndel x, y")
    assert "x" not in notebook.ns
    assert notebook.ns["y"] == "another"
    failed = notebook.run("%%remote --on a\nx", fails=True)
    assert isinstance(failed.error, NameError)


def test_an_error_leaves_what_was_assigned(notebook: Notebook) -> None:
    failed = notebook.run("%%remote --on a\nx = 1\n1 / 0\nx = 2", fails=True)
    assert isinstance(failed.error, ZeroDivisionError)
    assert "line 3" in failed.stdout
    assert "x" not in notebook.ns
    notebook.run("%%remote --on a\ny = x")
    assert notebook.ns["y"] == 1


def test_refs_and_background(notebook: Notebook) -> None:
    notebook.run("%%remote --on a --refs\nx = 5")
    assert fanlight.get(notebook.ns["x"]) == 5
    ran = notebook.run("%%remote --on a --bg job\nx += 1\nz = x")
    assert "note" not in ran.stderr
    assert notebook.ns["job"].result() == {"x": 6, "z": 6}
    ran = notebook.run("%%remote --on a\nx + z")  # the notebook has refs of these very values
    assert "12" in ran.stdout
    assert "note" not in ran.stderr
    notebook.run("%%remote --on a --bg empty\nprint('no outputs')")
    assert notebook.ns["empty"].result() == {}


def test_await_and_definitions_stay(notebook: Notebook) -> None:
    notebook.run(
        "%%remote --on a\nimport asyncio\nclass C:\n    n = 1\nawait asyncio.sleep(0)\nc = C()"
    )
    assert "(True, 1)" in notebook.run("%%remote --on a\n(type(c) is C, c.n)").stdout


def test_each_runs_one_after_the_other_and_stops_at_an_error(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\ntotal = 0")
    ran = notebook.run("%%remote --on a --each n=range(4)\ntotal += n\ntotal")
    assert notebook.ns["total"] == [0, 1, 3, 6]
    assert "[0, 1, 3, 6]" in ran.stdout
    failed = notebook.run("%%remote --on a --each n=range(9)\ntotal += 1\nassert n < 2", fails=True)
    assert "run with n = 2, of 9 runs. The 6 after it did not begin." in failed.stdout
    assert any("9 tasks, 1 failed, 6 cancelled" in text for text in texts(failed))
    ran = notebook.run("%%remote --on a\ntotal")
    assert "9" in ran.stdout
    assert "`total` is a's own (int)" in ran.stderr  # the notebook's is a list


def test_a_line(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nx = 20")
    assert notebook.run("%remote --on a x + 1").value == 21
    notebook.run("got = %remote --on a x * 2\nother = %remote max([1, 2])")
    assert (notebook.ns["got"], notebook.ns["other"]) == (40, 2)


def test_dry_run_says_what_is_used_from_where(notebook: Notebook) -> None:
    notebook.run("data = [1]")
    assert "makes the namespace a" in texts(notebook.run("%%remote --dry-run --on a\ndata"))[0]
    assert "There are no namespaces" in texts(notebook.run("%fanlight namespaces"))[0]
    notebook.run("%%remote --on a\nmodel = 1")
    text = texts(notebook.run("%%remote --dry-run --on a\n(model, data)"))[0]
    assert "runs in a, and uses from there model (int)" in text
    assert "data  list" in text


def test_leaving_the_cell_does_not_end_the_namespace(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nimport sys\nx = 3")
    failed = notebook.run("%%remote --on a\nsys.exit(1)", fails=True)
    assert isinstance(failed.error, SystemExit)
    assert "3" in notebook.run("%%remote --on a\nx").stdout


# --- managing them -----------------------------------------------------------------------------


def test_listing_variables_restart_and_remove(notebook: Notebook) -> None:
    notebook.run("%%remote --on b\nx = 1")
    notebook.run(
        "%%remote --on a\nx = 'hello'\nclass C:\n    def __repr__(self):\n        1 / 0\nc = C()"
    )
    table = notebook.run("%fanlight namespaces").outputs[0].data
    assert [row.split()[:2] for row in table["text/plain"].splitlines()[1:]] == [
        ["a", "idle"],
        ["b", "idle"],
    ]
    assert '<th scope="col"' in table["text/html"]
    shown = notebook.run("%fanlight namespaces vars a").outputs[0].data["text/plain"]
    assert shown.splitlines()[0] == "3 variables in a"
    assert "x         str    54 B  5 characters  'hello'" in shown
    assert "<its repr failed: ZeroDivisionError>" in shown
    assert "Namespaces: a, b" in texts(notebook.run("%fanlight status"))[-1]
    notebook.run("%fanlight namespaces restart a")
    failed = notebook.run("del x\n%remote --on a x", fails=True)
    assert isinstance(failed.error, NameError)
    notebook.run("%fanlight namespaces remove a b")
    assert namespaces.listing() == []
    failed = notebook.run("%fanlight namespaces vars a", fails=True)
    assert "There is no namespace 'a'" in str(failed.error)
    failed = notebook.run("%fanlight namespaces restart", fails=True)
    assert "say which namespace" in str(failed.error)


def test_the_runtimes_own_pictures(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run("import fanlight\nref = fanlight.put(1)\n%remote 1 + 1")
    for command in ("timeline", "graph", "memory", "why ref", "status"):
        assert notebook.run(f"%fanlight {command}").outputs, command
    notebook.run("%%remote --on a\nx = 1")
    assert notebook.run("%fanlight why a").outputs
    file = tmp_path / "a trace.json"
    assert "Saved to" in notebook.run(f"%fanlight timeline '{file}'").stdout
    assert file.read_text()[:1] == "["
    failed = notebook.run("%fanlight why", fails=True)
    assert "say of what" in str(failed.error)


def test_the_python_api(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nx = 1")
    [info] = namespaces.listing()
    assert (info.name, info.state, info.pid, info.variables) == ("a", "idle", os.getpid(), 1)
    space = namespaces.get("a")
    assert [(v.name, v.type, v.text) for v in space.variables()] == [("x", "int", "1")]
    assert "<namespace a: idle>" in repr(space)
    space.restart(env={"GREETING": "hi there"})
    assert len(space.variables()) == 0
    notebook.run("%%remote --on a --env GREETING='hi there'\nimport os\ng = os.environ['GREETING']")
    assert notebook.ns["g"] == "hi there"
    space.remove()
    assert "There are no namespaces" in repr(namespaces.listing())


def test_what_it_takes_is_fixed_when_it_is_made(notebook: Notebook) -> None:
    notebook.run("%%remote --on a --num-cpus 1 --env K='a b'\nx = 1")
    assert fanlight.available_resources()["CPU"] == 1
    notebook.run("%%remote --on a --num-cpus 1\nx")
    failed = notebook.run("%%remote --on a --num-cpus 2\nx", fails=True)
    assert "it was made with --num-cpus 1 --env K='a b'" in str(failed.error)
    assert "%fanlight namespaces restart a --num-cpus 2" in str(failed.error)
    notebook.run("%fanlight namespaces restart a --num-cpus 2")
    notebook.run("%%remote --on a --num-cpus 2\nimport os\nk = os.environ['K']")
    assert notebook.ns["k"] == "a b"
    failed = notebook.run("%%remote --on b --num-cpus 99\nx", fails=True)
    assert "asks for 99 CPU, and this runtime has 2" in str(failed.error)
    assert namespaces.listing()[0].name == "a"
    notebook.run("%%remote --on c\nx = 1")  # by default it holds nothing
    assert fanlight.available_resources().get("CPU", 0) == 0


def test_another_runtime_starts_it_anew_and_says_so(notebook: Notebook) -> None:
    notebook.run("%%remote --on a\nx = 1")
    fanlight.shutdown()
    fanlight.init(engine="inproc", num_cpus=2)
    assert namespaces.listing()[0].state == "gone (the runtime was stopped)"
    notebook.run("del x")
    ran = notebook.run("%%remote --on a\n'x' in globals()")
    assert "False" in ran.stdout
    assert "`a` starts anew: the runtime was stopped" in ran.stderr
    notebook.run("%fanlight stop")
    assert namespaces.listing() == []


def test_unloading_ends_them(notebook: Notebook) -> None:
    notebook.run("%%remote --on a --num-cpus 2\nx = 1")
    assert fanlight.available_resources().get("CPU", 0) == 0
    fanlight_kernel.unload_ipython_extension(notebook.shell)
    assert fanlight.available_resources()["CPU"] == 2
    with pytest.raises(RuntimeError, match="load_ext"):
        namespaces.get("a")


def test_variables_are_described_without_walking_through_them() -> None:
    import numpy as np

    ns: dict[str, Any] = {
        "array": np.zeros((3, 4)),
        "many": list(range(100_000)),
        "text": "é" * 500,
        "f": lambda x, y=1: x,
        "os": os,
        "_hidden": 1,
    }
    found = {v.name: v for v in inspection.full(ns, 5.0)}
    assert list(found) == ["array", "many", "text", "f"]
    assert (found["array"].shape, found["array"].size) == ("3 × 4 float64", 96)
    assert found["many"].shape == "100,000 items"
    assert all(len(v.text) <= inspection.WIDTH for v in found.values())
    assert found["f"].text == "<lambda>(x, y=1)"


# --- in processes of their own -----------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelClient]:
    """A real kernel over two CPUs and two GPUs that are only numbers."""
    client = KernelClient(Path(tmp_path_factory.mktemp("jupyter")))
    try:
        client.run("%load_ext fanlight")
        client.run("import fanlight\nfanlight.init(num_cpus=2, num_gpus=2)")
        yield client
    finally:
        client.close()


def interrupt(kernel: KernelClient, source: str, *, until: str = "") -> Execution:
    """Run a cell that prints "go", interrupt it, again when it prints ``until``; wait for its end."""
    cell = kernel.start(source)
    kernel.until(lambda: "go" in cell.text(), DEADLINE, "its first line")
    kernel.interrupt()
    if until:
        kernel.until(lambda: until in cell.text(), DEADLINE, "the first interrupt")
        kernel.interrupt()
    cell.wait()
    assert cell.reply is not None and cell.reply["content"]["status"] == "error"
    return cell


def test_each_has_a_process_and_gpus_of_its_own(kernel: KernelClient) -> None:
    source = "import os\n(os.environ['CUDA_VISIBLE_DEVICES'], os.getpid(), __name__)"
    one = kernel.run(f"%%remote --on gpu0 --num-gpus 1\n{source}").result()
    two = kernel.run(f"%%remote --on gpu1 --num-gpus 1\n{source}").result()
    assert sorted([one[:5], two[:5]]) == ["('0',", "('1',"]
    assert one[5:] != two[5:]
    assert kernel.run(f"%%remote --on gpu0\n{source}").result() == one
    table = kernel.run("%fanlight namespaces").shown()
    rows = [row.split() for data in table.values() for row in data["text/plain"].splitlines()[1:]]
    assert [row[0] for row in rows] == ["gpu0", "gpu1"]
    assert sorted(row[3] for row in rows) == ["0", "1"]
    kernel.run("%fanlight namespaces remove --all")
    kernel.until(  # its GPUs are free again when its process is gone
        lambda: kernel.run("fanlight.available_resources().get('GPU')").result() == "2.0"
    )


def test_a_repr_that_hangs_holds_nobody_up(kernel: KernelClient) -> None:
    kernel.run(
        "%%remote --on a --out\nclass Slow:\n    def __repr__(self):\n        while True:\n"
        "            pass\nfirst = 1\nslow = Slow()\nlast = 2"
    )
    look = (
        "from fanlight_kernel import namespaces\n[v.text for v in namespaces.get('a').variables(2)]"
    )
    found = kernel.run(look).result()
    assert found.endswith("'1', '<its repr takes too long>', '…']")
    assert kernel.run("%%remote --on a\nlast").result() == "2"


def test_pickling_there_finds_its_classes(kernel: KernelClient) -> None:
    kernel.run("%%remote --on a --out\nimport pickle\nclass P:\n    x = 1\np = P()")
    shown = kernel.run("%%remote --on a\ntype(pickle.loads(pickle.dumps(p))) is P").result()
    assert shown == "True"


def test_output_is_shown_under_the_cell_that_made_it(kernel: KernelClient) -> None:
    kernel.run("%%remote --on a\nprint('one')\ndef say(x):\n    print('say', x)", cell_id="c1")
    second = kernel.run("%%remote --on a\nsay('two')\ndisplay({'three': 3})", cell_id="c2")
    assert second.text() == "say two\n"
    assert any("three" in str(data) for data in second.displays())
    background = kernel.run(
        "%%remote --on a --bg job\nimport time\ntime.sleep(0.2)\nsay('later')", cell_id="c3"
    )
    between = kernel.run("1 + 1", cell_id="c4")
    kernel.until(lambda: "later" in background.text(), DEADLINE, "the cell in the background")
    assert between.text() == ""


def test_an_interrupt_ends_the_cell_and_keeps_the_variables(kernel: KernelClient) -> None:
    kernel.run("%%remote --on a\nx = 1")
    cell = interrupt(
        kernel,
        "%%remote --on a\nimport time\nx += 1\nprint('go')\ntry:\n    time.sleep(1000)\n"
        "finally:\n    cleaned = True",
    )
    assert "KeyboardInterrupt" in cell.traceback()
    assert "The variables of a are kept." in cell.text("stderr")
    assert kernel.run("%%remote --on a\n(x, cleaned)").result() == "(2, True)"


def test_a_second_interrupt_ends_the_namespace(kernel: KernelClient) -> None:
    patience = "from fanlight_kernel.namespaces import cell\ncell.PATIENCE = "
    kernel.run(f"{patience}60")  # so that the second one comes in time
    kernel.run("%%remote --on twice\nx = 1\nbig = bytes(2_000_000)")
    source = (
        "%%remote --on twice\nimport time\nprint('go', flush=True)\nwhile True:\n    try:\n"
        "        time.sleep(1000)\n    except KeyboardInterrupt:\n"
        "        print('again', flush=True)"
    )
    said = interrupt(kernel, source, until="again").text("stderr")
    assert "`twice` is gone" in said
    assert "x (int), big (bytes, 2.0 MB)" in said
    kernel.run(f"{patience}1.6")
    kernel.run("del x")
    again = kernel.run("%%remote --on twice\n'x' in globals()")
    assert again.result() == "False"
    assert "`twice` starts anew" in again.said()


def test_a_cell_that_does_not_stop_is_left_alone_and_told_of(
    kernel: KernelClient, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    source = (
        f"%%remote --on busy\nimport os, time\nprint('go', flush=True)\n"
        f"while not os.path.exists({str(gate)!r}):\n    try:\n        time.sleep(0.01)\n"
        "    except KeyboardInterrupt:\n        pass\nkept = 1"
    )
    said = interrupt(kernel, source).text("stderr")
    assert "has not stopped yet" in said
    assert "%fanlight namespaces restart busy" in said
    gate.write_text("")
    assert kernel.run("%%remote --on busy\nkept").result() == "1"


def test_a_cell_that_waits_behind_another_never_begins(
    kernel: KernelClient, tmp_path: Path
) -> None:
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    kernel.run("%%remote --on a\nkept = 1")
    kernel.run(
        f"%%remote --on a --bg job\nimport os, time\nprint('began')\n"
        f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\nkept = 2"
    )
    waiting = kernel.start(f"print('go')\n%remote --on a open({str(ran)!r}, 'w')")
    kernel.until(lambda: "go" in waiting.text(), DEADLINE, "the cell's start")
    listing = "from fanlight_kernel import namespaces\nnamespaces.listing()[0].state"
    kernel.interrupt()
    waiting.wait()
    assert waiting.reply is not None and waiting.reply["content"]["status"] == "error"
    assert "busy" in kernel.run(listing).result()
    shown = kernel.run("%fanlight namespaces vars a").shown().popitem()[1]["text/plain"]
    assert "a is busy: In[" in shown
    assert "kept" in shown
    gate.write_text("")
    assert kernel.run("job.result()").result() == "{'kept': 2}"
    assert kernel.run("%%remote --on a\nkept").result() == "2"
    assert not ran.exists()


def test_a_death_is_told_with_the_variables_that_are_lost(kernel: KernelClient) -> None:
    kernel.run("%fanlight namespaces remove --all")
    kernel.run("%%remote --on d\nx = 1\nimport threading\nlock = threading.Lock()")
    cell = kernel.run("%%remote --on d\nimport os\nprint('last words')\nos._exit(3)", fails=True)
    text = cell.traceback()
    assert "NamespaceLostError" in text
    assert "`d` is gone, and with it its 2 variables: x (int), lock (lock)." in text
    assert "exit code 3" in text
    assert "last words" in text
    assert "The next cell on it starts anew" in text
    assert "notebook " not in text
    kernel.run("del x")
    again = kernel.run("%%remote --on d\n'x' in globals()")
    assert again.result() == "False"
    # Between two cells, too: the first to meet it says so, and does not run on nothing.
    kernel.run("%%remote --on d\nimport os\npid = os.getpid()")
    kernel.run("import os, signal\nos.kill(pid, signal.SIGKILL)")
    late = kernel.run("%%remote --on d\nx = 'ran'", fails=True)
    assert "`d` is gone, and with it its variable: pid (int)." in late.traceback()
    assert "killed by SIGKILL" in late.traceback()


def test_environment_and_memory_of_a_plain_cell(kernel: KernelClient) -> None:
    cell = kernel.run(
        "%%remote --env GREETING='hello there' --env N=2 --memory 50MB\n"
        "import os\n(os.environ['GREETING'], os.environ['N'])"
    )
    assert cell.result() == "('hello there', '2')"
    free = kernel.run("'GREETING' in os.environ").result()
    assert free == "False"


def test_completion_and_help_in_a_kernel(kernel: KernelClient) -> None:
    kernel.run("%%remote --on gpu7\nx = 1")

    def matches(text: str) -> list[str]:
        reply = kernel.client.complete(text, reply=True, timeout=DEADLINE)
        found: list[str] = reply["content"]["matches"]
        return found

    assert matches("%%remote --num-") == ["--num-cpus", "--num-gpus"]
    assert matches("%%remote --on gp") == ["gpu7"]
    assert matches("%fanlight namespaces ") == ["vars", "restart", "remove"]
    assert "range" in matches("%%remote --each x=ran")
    reply = kernel.client.inspect("%%remote", reply=True, timeout=DEADLINE)
    assert "--memory SIZE" in reply["content"]["data"]["text/plain"]
