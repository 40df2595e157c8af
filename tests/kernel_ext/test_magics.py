"""``%%remote`` over the in-process engine: names, binding, notes, errors; loading and unloading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fanlight
import fanlight_kernel
from tests.kernel_ext.conftest import Notebook

NAPS = (
    "@fanlight.remote\ndef nap(i):\n    time.sleep(0.2)\n    return i\n"
    "sum(fanlight.get([nap.remote(i) for i in range(8)]))"
)


def texts(captured: Any) -> list[str]:
    return [o.data.get("text/plain", "") for o in captured.outputs]


def test_assignments_come_back(notebook: Notebook) -> None:
    notebook.run("data = [1, 2]\nfactor = 3")
    done = notebook.run("%%remote\ntotal = sum(data) * factor\ntotal")
    assert notebook.ns["total"] == 9
    assert notebook.ns["_"] == 9
    assert "9" in done.stdout
    assert any(t.startswith("1 task, ") for t in texts(done))


def test_functions_share_the_notebooks_globals_again(notebook: Notebook) -> None:
    notebook.run(
        "%%remote\nk = 1\ndef f(x):\n    return x + k\nclass C:\n    def m(self):\n        return k"
    )
    notebook.run("k = 10")
    assert notebook.run("f(1), C().m()").value == (11, 10)


def test_a_function_sees_what_the_cell_rebinds(notebook: Notebook) -> None:
    notebook.run("k = 1\ndef f():\n    return k")
    notebook.run("%%remote\nk = 5\ngot = f()")
    assert notebook.ns["got"] == 5


def test_imports_come_back_as_modules(notebook: Notebook) -> None:
    notebook.run("%%remote --each i=range(2)\nimport json\nx = json.dumps(i)")
    assert notebook.ns["json"].dumps is __import__("json").dumps
    assert notebook.ns["x"] == ["0", "1"]
    notebook.run("%%remote --refs\nimport math\ny = math.pi")
    assert notebook.ns["math"].sqrt(4) == 2
    assert fanlight.get(notebook.ns["y"]) == pytest.approx(3.14159, abs=1e-4)


def test_in_and_out_restrict(notebook: Notebook) -> None:
    notebook.run("a = 1\nb = 2")
    notebook.run("%%remote --out d\nc = a\nd = b")
    assert notebook.ns["d"] == 2
    assert "c" not in notebook.ns
    failed = notebook.run("%%remote --in a\ne = a + b", fails=True)
    assert isinstance(failed.error, NameError)
    failed = notebook.run("%%remote --in nowhere\npass", fails=True)
    assert "no variable of that name" in str(failed.error)
    done = notebook.run("%%remote --out never\nx = 1")
    assert "did not assign `never`" in done.stderr


def test_deleting_deletes(notebook: Notebook) -> None:
    notebook.run("a = 1\nhuge = 2")
    notebook.run("%%remote\ndel a, huge")
    assert "a" not in notebook.ns
    assert "huge" not in notebook.ns


def test_a_change_in_place_is_noted_and_can_be_fetched(notebook: Notebook) -> None:
    notebook.run("data = [1]")
    done = notebook.run("%%remote\ndata.append(2)")
    assert "changed a copy of `data` (data.append(...))" in done.stderr
    assert notebook.ns["data"] == [1]
    done = notebook.run("%%remote --out data\ndata.append(2)")
    assert done.stderr == ""
    assert notebook.ns["data"] == [1, 2]
    assert notebook.run("%%remote --quiet\ndata.append(2)").stderr == ""


def test_what_cannot_come_back_stays_with_a_note(notebook: Notebook) -> None:
    done = notebook.run("%%remote\nhandle = (i for i in range(3))\nx = 1")
    assert notebook.ns["x"] == 1
    assert "handle" not in notebook.ns
    assert "`handle` (generator) stayed in the worker" in done.stderr
    failed = notebook.run("%%remote --out handle\nhandle = (i for i in range(3))", fails=True)
    assert "`handle` (generator) stayed in the worker" in str(failed.error)


def test_what_cannot_go_is_named_with_the_way_out(notebook: Notebook) -> None:
    notebook.run("import threading\nlock = threading.Lock()\ndef f():\n    return lock")
    failed = notebook.run("%%remote\nf()", fails=True)
    assert "`lock`, which `f` uses, cannot be sent" in str(failed.error)
    assert "make the lock inside the cell" in str(failed.error)


def test_what_cannot_be_rebuilt_here_is_said(notebook: Notebook) -> None:
    failed = notebook.run(
        "%%remote\ndef refuse():\n    raise ValueError('not here')\n"
        "class Fussy:\n    def __reduce__(self):\n        return refuse, ()\nx = Fussy()",
        fails=True,
    )
    assert "cannot be rebuilt in the notebook (ValueError: not here)" in str(failed.error)
    notebook.run("%%remote\ny = 1")
    assert notebook.ns["y"] == 1


def test_each(notebook: Notebook) -> None:
    notebook.run("base = 10")
    done = notebook.run("%%remote --each n=range(base, base + 3)\nsquare = n * n\nn")
    assert notebook.ns["square"] == [100, 121, 144]
    assert "n" not in notebook.ns
    assert "[10, 11, 12]" in done.stdout
    notebook.run("%%remote --each n=[]\nsquare = n")
    assert notebook.ns["square"] == []


def test_each_says_how_many_failed(notebook: Notebook) -> None:
    failed = notebook.run("%%remote --each n=range(5)\nx = 1 / (n % 2)", fails=True)
    assert isinstance(failed.error, ZeroDivisionError)
    assert "run with n = 0; and 2 others failed (n = 2, 4), of 5 runs" in failed.stdout


def test_errors_keep_type_cause_and_attributes(notebook: Notebook) -> None:
    notebook.run(
        "class Mine(Exception):\n    def __init__(self, code):\n        super().__init__(code)\n        self.code = code"
    )
    failed = notebook.run(
        "%%remote\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise Mine(7) from e",
        fails=True,
    )
    assert type(failed.error).__name__ == "Mine"
    assert failed.error.code == 7
    assert isinstance(failed.error.__cause__, ZeroDivisionError)
    assert failed.stdout.count("Traceback (most recent call last)") == 2
    assert "raise Mine(7) from e" in failed.stdout
    assert "fanlight" not in failed.stdout


def test_a_syntax_error_is_shown_at_its_line(notebook: Notebook) -> None:
    failed = notebook.run("%%remote\nx = 1\nif\n", fails=True)
    assert "line 3" in failed.stdout
    assert "invalid syntax" in failed.stdout
    assert "magics.py" not in failed.stdout


def test_lines_are_the_notebooks(notebook: Notebook) -> None:
    failed = notebook.run("\n\n%%remote\n\n# a comment\nx = 1\n\n1 / 0", fails=True)
    assert "line 8" in failed.stdout


def test_semicolon_and_assignment_show_nothing(notebook: Notebook) -> None:
    assert "Out[" not in notebook.run("%%remote\n1 + 1;").stdout
    assert "Out[" not in notebook.run("%%remote\nx = 1").stdout


def test_retries(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run(f"import os\nflag = {str(tmp_path / 'once')!r}")
    notebook.run(
        "%%remote --retries 1\nif not os.path.exists(flag):\n    open(flag, 'w').close()\n"
        "    raise RuntimeError('first time')\nok = True"
    )
    assert notebook.ns["ok"] is True


def test_local_runs_here(notebook: Notebook) -> None:
    notebook.run("data = []")
    notebook.run("%%remote --local\ndata.append(1)\nx = data")
    assert notebook.ns["x"] is notebook.ns["data"]
    notebook.run("%%remote --local --each i=range(3)\ny = i * 2")
    assert notebook.ns["y"] == [0, 2, 4]


def test_local_each_leaves_the_notebooks_variable(notebook: Notebook) -> None:
    notebook.run("i = 'mine'")
    notebook.run("%%remote --local --each i=range(3)\ny = i")
    assert (notebook.ns["i"], notebook.ns["y"]) == ("mine", [0, 1, 2])
    notebook.run("%%remote --local --each i=range(3)\n1 / i", fails=True)
    assert notebook.ns["i"] == "mine"


def test_results_of_earlier_cells_are_sent(notebook: Notebook) -> None:
    number = notebook.shell.execution_count
    notebook.run("[1, 2]")
    notebook.run(f"%%remote\nx = sum(_), sum(_{number})")
    assert notebook.ns["x"] == (3, 3)
    notebook.run("(i for i in range(3))")  # cannot be sent, and need not be
    notebook.run("%%remote\nfor _ in range(2):\n    pass\ny = _")
    assert notebook.ns["y"] == 1


def test_directory_and_environment_are_the_cells_own(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run(f"import os\nhome, there = os.getcwd(), {str(tmp_path)!r}")
    change = "os.chdir(there)\nos.environ['FANLIGHT_TEST_CELL'] = 'x'\nseen = os.getcwd()"
    for end, fails in (("", False), ("\n1 / 0", True)):
        notebook.run(f"%%remote\n{change}{end}", fails=fails)
        notebook.run("%%remote\nafter = os.getcwd(), os.environ.get('FANLIGHT_TEST_CELL')")
        assert notebook.ns["after"] == (notebook.ns["home"], None)
    assert Path(notebook.ns["seen"]) == tmp_path


def test_shutdown_in_a_cell_leaves_the_runtime(notebook: Notebook) -> None:
    notebook.run("import fanlight")
    with pytest.warns(UserWarning, match="does nothing in a task"):
        done = notebook.run("%%remote\nfanlight.shutdown()\nx = fanlight.is_initialized()")
    assert done.error is None and notebook.ns["x"] is True


def test_dry_run(notebook: Notebook) -> None:
    notebook.run("data = [1]\nimport json")
    done = notebook.run("%%remote --dry-run\nx = json.dumps(data)")
    text = texts(done)[0]
    assert "data  list" in text
    assert "module json" in text
    assert "brings back x (as values)" in text
    assert "x" not in notebook.ns


def test_one_expression(notebook: Notebook) -> None:
    notebook.run("data = [1, 2]")
    assert "3" in notebook.run("%remote sum(data)").stdout
    notebook.run("%remote y = max(data)")
    assert notebook.ns["y"] == 2


def test_background(notebook: Notebook) -> None:
    notebook.run("%%remote --bg job\nx = 6 * 7")
    assert fanlight.get(notebook.ns["x"]) == 42
    assert notebook.ns["job"].result() == {"x": 42}


def test_refs_of_conditional_outputs_say_so(notebook: Notebook) -> None:
    notebook.run("%%remote --refs\nif False:\n    x = 1")
    assert "x was not assigned" in repr(fanlight.get(notebook.ns["x"]))


def test_large_inputs_are_put_once_for_each_content(notebook: Notebook) -> None:
    puts = notebook.shell._fanlight_extension.puts
    notebook.run("block = b'x' * 200_000")
    notebook.run("%%remote\nsize = len(block)")
    notebook.run("%%remote\nsize = len(block) + 1")
    assert puts.puts == 1
    notebook.run("block = b'y' * 200_000")
    notebook.run("%%remote\nsize = len(block)")
    notebook.run("block = b'x' * 200_000")
    notebook.run("%%remote\nsize = len(block)")
    assert puts.puts == 2


def test_usage_errors(notebook: Notebook) -> None:
    failed = notebook.run("%%remote --cpus 2\nx = 1", fails=True)
    assert "Did you mean --num-cpus" in str(failed.error)
    failed = notebook.run("%fanlight fly", fails=True)
    assert "unknown command 'fly'" in str(failed.error)


def test_status_start_and_stop(notebook: Notebook) -> None:
    assert "CPU" in texts(notebook.run("%fanlight"))[0]
    notebook.run("%fanlight stop")
    assert "No runtime is running" in texts(notebook.run("%fanlight status"))[0]
    notebook.run("%fanlight start --num-cpus 3 --engine inproc")
    assert fanlight.cluster_resources()["CPU"] == 3
    notebook.run("%fanlight scale 5")
    assert fanlight.cluster_resources()["CPU"] == 5
    notebook.run("%fanlight restart")
    assert fanlight.cluster_resources()["CPU"] == 3, "as it was started"
    assert fanlight.session.require().engine.name == "inproc"
    failed = notebook.run("%fanlight scale many", fails=True)
    assert "'many' is not a number" in str(failed.error)
    failed = notebook.run("%fanlight start", fails=True)
    assert "running already" in str(failed.error)


def test_plain_cells_show_one_traceback(notebook: Notebook) -> None:
    notebook.run("import fanlight\n@fanlight.remote\ndef bad(x):\n    return 1 / x")
    failed = notebook.run("fanlight.get(bad.remote(0))", fails=True)
    assert "fanlight.get(bad.remote(0))" in failed.stdout
    assert "return 1 / x" in failed.stdout
    assert "client.py" not in failed.stdout
    assert "happened in the task bad" in failed.stdout


def test_unloading_restores_everything(shell: Any) -> None:
    from fanlight import task_output
    from fanlight.errors import FanlightError

    def facts() -> Any:
        return (
            dict(shell.magics_manager.magics["line"]),
            dict(shell.magics_manager.magics["cell"]),
            {event: list(found) for event, found in shell.events.callbacks.items()},
            {kind: dict(f.type_printers) for kind, f in shell.display_formatter.formatters.items()},
            list(task_output._listeners),
            list(shell.configurables),
            hasattr(FanlightError, "_render_traceback_"),
            [
                entry
                for dispatcher in shell.strdispatchers.values()
                for chain in dispatcher.strs.values()
                for entry in chain.chain
            ],
        )

    before = facts()
    for _ in range(2):
        fanlight_kernel.load_ipython_extension(shell)
        fanlight_kernel.load_ipython_extension(shell)  # twice is once
        assert facts() != before
        fanlight_kernel.unload_ipython_extension(shell)
        assert facts() == before
    fanlight_kernel.unload_ipython_extension(shell)


def test_everything_runs_in_nbclient_and_is_saved_statically(tmp_path: Path) -> None:
    """Restart and run all: twice, with the same static outputs, and nbconvert renders them."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    sources = [
        (
            "%load_ext fanlight\nimport fanlight, time\nfanlight.init(num_cpus=2)\n"
            # The client takes no message that comes after a cell's end.
            "from fanlight_kernel.widgets import monitor\nmonitor.SETTLE = 60"
        ),
        "%%remote --each i=range(4)\nimport time\ntime.sleep(0.2)\nx = i",
        NAPS,
        "x",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    for _ in range(2):
        NotebookClient(book, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
        assert "4 tasks, " in str(book.cells[1].outputs)
        assert "8 tasks, " in str(book.cells[2].outputs)
        assert "28" in str(book.cells[2].outputs)
        assert "widget-view" not in str(book.cells)
        assert book.cells[3].outputs[0]["data"]["text/plain"] == "[0, 1, 2, 3]"
    html, _ = HTMLExporter().from_notebook_node(book)
    assert "8 tasks, " in html
