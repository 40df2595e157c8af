"""What work prints and displays, in a real kernel: under which cell, how much of it, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel_ext.kernels import Execution, KernelClient

pytestmark = pytest.mark.slow
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def notebook(kernel: KernelClient) -> Iterator[KernelClient]:
    """The kernel without monitors, whose displays would be among those that are looked at."""
    kernel.run("%fanlight monitor off\nimport os, sys, time\nfrom IPython.display import HTML")
    kernel.run(
        "def wait_for(path):\n    while not os.path.exists(path):\n        time.sleep(0.01)\n"
        "@fanlight.remote\ndef say(text, gate=''):\n    if gate:\n        wait_for(gate)\n"
        "    print(text)"
    )
    yield kernel


def updates(done: Execution, display_id: str) -> list[dict[str, Any]]:
    """The states of one display, in order."""
    return [
        d["data"] for d in done.displays() if d.get("transient", {}).get("display_id") == display_id
    ]


def plain(done: Execution) -> list[str]:
    """What the displays of a saved notebook would hold, as text."""
    return [data["text/plain"] for data in done.shown().values()]


def test_concurrent_tasks_keep_their_lines_whole_and_in_order(notebook: KernelClient) -> None:
    done = notebook.run(
        "@fanlight.remote\ndef count(n):\n    for i in range(300):\n"
        "        sys.stdout.write(f'{n} ')\n        sys.stdout.flush() if i % 7 == 0 else None\n"
        "        print(i)\n"
        "fanlight.get([count.remote(n) for n in 'abcd'])"
    )
    found: dict[str, str] = {}
    for line in done.text().splitlines():
        body = re.sub(r"^\(count pid=\d+\) ", "", line)
        assert body != line, f"no prefix: {line!r}"
        name = line.partition(")")[0]
        found[name] = found.get(name, "") + " ".join(body.split()) + " "
    words = " ".join(found.values()).split()
    for letter in "abcd":
        assert words.count(letter) == 300
    for i in range(300):
        assert words.count(str(i)) == 4
    for text in found.values():  # of one worker: its tasks, one after the other
        numbers = [int(w) for w in text.split() if w.isdigit()]
        assert numbers == list(range(300)) * (len(numbers) // 300)


def test_quick_cells_and_one_that_is_run_again(notebook: KernelClient) -> None:
    """Cells that have ended, one after the other, before their tasks print."""
    gate = notebook.folder / "gate-quick"
    cells = [notebook.start(f"refs_{i} = say.remote('cell {i}', {str(gate)!r})") for i in range(4)]
    for cell in cells:
        cell.wait()
    again = notebook.run("extra = say.remote('again')", cell_id=cells[0].cell_id)
    gate.touch()
    notebook.until(lambda: "cell 0" in again.text() and "again" in again.text())
    for i in range(1, 4):
        notebook.until(lambda i=i: f"cell {i}" in cells[i].text())
        assert cells[i].text().count("cell") == 1
    assert cells[0].text() == "", "it is not there any more"


def test_streams_of_all_kinds(notebook: KernelClient) -> None:
    done = notebook.run(
        "%%remote\nimport logging, warnings\nlogging.getLogger('mine').warning('a log line')\n"
        "warnings.warn('a warning')\nsys.stdout.buffer.write('grün 🦜'.encode()[:-1])\n"
        "sys.stdout.buffer.write('🦜'.encode()[-1:])\nprint(' and \\x1b[31mred\\x1b[0m \\x00')\n"
        "print('no end', end='')"
    )
    assert done.text() == "grün 🦜 and \x1b[31mred\x1b[0m ␀\nno end"
    assert "a log line\n" in done.text("stderr") and "a warning" in done.text("stderr")


def test_child_processes_and_c_code_print_too(notebook: KernelClient) -> None:
    gate = notebook.folder / "gate-child"
    running = notebook.start(
        "%%remote\nimport subprocess, ctypes\nprint('first')\n"
        "subprocess.run(['echo', 'from a child'])\n"
        f"wait_for({str(gate)!r})\n"
        "ctypes.CDLL(None).printf(b'from C\\n')\nos.system('echo shell >&2')\nprint('last')"
    )
    notebook.until(lambda: "from a child\n" in running.text())
    assert not running.ended()
    gate.touch()
    running.wait()
    assert sorted(running.text().splitlines()) == [
        "first", "from C", "from a child", "last", "shell"
    ]  # fmt: skip


def test_the_last_words_of_a_worker(notebook: KernelClient) -> None:
    failed = notebook.run("%%remote\nprint('just before')\nos._exit(3)", fails=True)
    assert failed.text() == "just before\n"


def test_a_flood_is_cut_and_says_where_the_whole_is(notebook: KernelClient) -> None:
    done = notebook.run("%%remote\nfor i in range(60_000):\n    print('line', i)")
    text = done.text() + "\n".join(plain(done))
    lines = text.splitlines()
    assert lines[0] == "line 0" and lines[-1] == "line 59999"
    assert len(lines) < 20_000
    numbers = [int(n) for n in re.findall(r"^line (\d+)$", text, re.MULTILINE)]
    assert numbers == sorted(set(numbers)), "in order, and none twice"
    notices = re.findall(r"^… ([\d,]+) lines? \([\d.]+ [kM]B\) left out; (.*) …$", text, re.M)
    assert len(numbers) + sum(int(n.replace(",", "")) for n, _ in notices) == 60_000
    path = re.search(r"the whole is in (\S+)", notices[0][1])
    assert path is not None and "line 31234\n" in Path(path[1]).read_text()


def test_an_endless_flood_ends_in_one_place_that_is_updated(notebook: KernelClient) -> None:
    limits = "get_ipython()._fanlight_extension.router.limits"
    notebook.run(f"lines = {limits}.lines\nold = lines.total\nlines.total = 1000")
    try:
        done = notebook.run("%%remote\nfor i in range(30_000):\n    print('line', i)")
    finally:
        notebook.run("lines.total = old")
    assert done.text().count("\n") <= 600, "one task has half of it"
    last = plain(done)[-1] if plain(done) else done.text()
    assert last.rstrip().endswith("line 29999")


def test_a_flood_leaves_room_for_other_tasks(notebook: KernelClient) -> None:
    gate = notebook.folder / "gate-room"
    done = notebook.run(
        "@fanlight.remote\ndef flood(gate):\n    for i in range(20_000):\n        print('noise', i)\n"
        "    open(gate, 'w').close()\n"
        f"fanlight.get([flood.remote({str(gate)!r}), say.remote('important', {str(gate)!r})])"
    )
    assert re.search(r"\(say pid=\d+\) important\n", done.text())


def test_displays_are_limited_too(notebook: KernelClient) -> None:
    done = notebook.run("%%remote\nfor i in range(1000):\n    display(i)")
    assert plain(done)[-1] == "999" and len(plain(done)) < 600
    assert re.search(r"… \d+ displays left out …", done.text())


def test_display_from_tasks_nested_tasks_and_actors(notebook: KernelClient) -> None:
    done = notebook.run(
        "@fanlight.remote\ndef inner():\n    display(HTML('<b>nested</b>'))\n"
        "@fanlight.remote\ndef outer():\n    display(HTML('<b>task</b>'))\n"
        "    fanlight.get(inner.remote())\n"
        "@fanlight.remote\nclass Shower:\n    def show(self):\n"
        "        display(HTML('<b>actor</b>'))\n"
        "fanlight.get([outer.remote(), Shower.remote().show.remote()]);"
    )
    shown = {data.get("text/html") for data in done.shown().values()}
    assert shown == {"<b>task</b>", "<b>nested</b>", "<b>actor</b>"}


def test_displays_are_updated_from_any_later_task(notebook: KernelClient) -> None:
    first = notebook.run(
        "@fanlight.remote\ndef show(n, update):\n    from IPython.display import update_display\n"
        "    (update_display if update else display)(n, display_id='counter')\n"
        "fanlight.get(show.remote(0, False))"
    )
    later = notebook.run("for n in range(1, 4):\n    fanlight.get(show.remote(n, True))")
    assert [d["text/plain"] for d in updates(first, "counter")] == ["0"]
    states = [d["text/plain"] for d in updates(later, "counter")]
    assert states[-1] == "3" and later.of("display_data") == []


def test_clear_output_takes_back_one_s_own_only(notebook: KernelClient) -> None:
    done = notebook.run(
        "@fanlight.remote\ndef redo():\n    from IPython.display import clear_output\n"
        "    for i in range(5):\n        clear_output(wait=True)\n        print('step', i)\n"
        "        display(HTML(f'<i>{i}</i>'))\n"
        "fanlight.get(say.remote('stays'))\nfanlight.get(redo.remote())"
    )
    assert "stays\n" in done.text() and "step" not in done.text()
    assert not done.of("clear_output")
    assert sorted(plain(done))[-1] == "step 4"
    assert [d["text/html"] for d in done.shown().values() if "text/html" in d] == ["<i>4</i>"]


def test_widgets_have_a_plain_stand_in(notebook: KernelClient) -> None:
    done = notebook.run("%%remote\nimport ipywidgets\ndisplay(ipywidgets.IntSlider(7))\nHTML('x')")
    (first, *_) = done.displays()
    assert WIDGET not in str(done.displays())
    assert first["data"]["text/plain"].startswith("IntSlider(value=7)")
    assert "widgets live in the notebook" in first["data"]["text/html"]


def test_figures_of_a_task_and_of_a_cell(notebook: KernelClient) -> None:
    done = notebook.run(
        "@fanlight.remote\ndef plot(show):\n    import matplotlib.pyplot as plt\n"
        "    plt.figure()\n    plt.plot([1, 3, 2])\n    plt.show() if show else None\n"
        "fanlight.get(plot.remote(True))\nfanlight.get([plot.remote(False) for _ in range(4)]);"
    )
    assert sum("image/png" in d["data"] for d in done.displays()) == 1
    cell = notebook.run("%%remote\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert sum("image/png" in d["data"] for d in cell.displays()) == 1, "not what a task left open"


@pytest.mark.parametrize("module", ["std", "auto", "notebook"])
def test_tqdm_has_a_line_for_each_bar(notebook: KernelClient, module: str) -> None:
    done = notebook.run(
        f"@fanlight.remote\ndef work(name):\n    from tqdm.{module} import tqdm\n"
        "    for _ in tqdm(range(30), desc=name):\n"
        "        for _ in tqdm(range(2), desc='inner', leave=False):\n            pass\n"
        "        print(name, 'prints') if name == 'a' else None\n"
        "fanlight.get([work.remote(name) for name in 'abc']);"
    )
    (block,) = plain(done)
    lines = block.splitlines()
    assert len(lines) == 3 and "inner" not in block
    for name in "abc":
        assert re.search(rf"^\(work pid=\d+\) {name}: 100%\|█+\| 30/30 \[", block, re.M)
    assert done.text().count("a prints\n") == 30 and "\r" not in done.text()
    assert done.text("stderr") == ""


def test_bars_are_updated_in_place_and_not_too_often(notebook: KernelClient) -> None:
    done = notebook.run(
        "%%remote\nfor i in range(20_001):\n    print(f'\\r{i} of 20000', end='', file=sys.stderr)"
    )
    (block,) = plain(done)
    assert block == "20000 of 20000"
    assert len(done.displays()) < 300
    assert done.text("stderr") == ""


def test_rich_progress_and_tables(notebook: KernelClient) -> None:
    done = notebook.run(
        "%%remote\nimport rich\nfrom rich.progress import Progress\nfrom rich.table import Table\n"
        "with Progress() as progress:\n    jobs = [progress.add_task(n, total=5) for n in 'xy']\n"
        "    for _ in range(5):\n        for job in jobs:\n            progress.advance(job)\n"
        "table = Table('col')\ntable.add_row('cell')\nrich.print(table)"
    )
    (block,) = (text for text in plain(done) if not text.startswith("note:"))
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in block.splitlines()]
    assert [(line[0], "100%" in line) for line in lines] == [("x", True), ("y", True)]
    assert "│ cell │" in done.text()


def test_an_actor_prints_under_the_cell_of_each_call(notebook: KernelClient) -> None:
    made = notebook.run(
        "@fanlight.remote\nclass Talker:\n    def __init__(self):\n"
        "        import threading\n        self.go = threading.Event()\n"
        "        threading.Thread(target=self.alone, daemon=True).start()\n        print('made')\n"
        "    def alone(self):\n        self.go.wait()\n        print('alone')\n"
        "    def call(self, n):\n        print('call', n)\n        self.go.set()\n"
        "talker = Talker.remote()\nfanlight.get(talker.__ray_ready__.remote());"
    )
    calls = [notebook.run(f"fanlight.get(talker.call.remote({n}))") for n in range(2)]
    notebook.until(lambda: "alone" in made.text())
    assert [re.sub(r"\(.*?\) ", "", c.text()) for c in calls] == ["call 0\n", "call 1\n"]
    assert re.sub(r"\(.*?\) ", "", made.text()) == "made\nalone\n"


def test_a_failure_that_nobody_fetches_is_shown_under_its_cell(notebook: KernelClient) -> None:
    gate = notebook.folder / "gate-fail"
    failing = notebook.run(
        "@fanlight.remote\ndef fail(gate):\n    wait_for(gate)\n    raise ValueError('unseen')\n"
        f"fail.remote({str(gate)!r});"
    )
    other = notebook.start(
        f"open({str(gate)!r}, 'w').close()\n"
        "while not fanlight.get(fanlight.remote(lambda: os.path.exists(gate)).remote()"
        f" if (gate := {str(gate)!r}) else None):\n    pass"
    ).wait()
    notebook.until(lambda: "ValueError: unseen" in failing.text("stderr"))
    assert failing.text("stderr").count("Unhandled error") == 1
    assert "unseen" not in other.text("stderr")


def test_a_background_cell_tells_its_error_once(notebook: KernelClient) -> None:
    failing = notebook.run("%%remote --bg\nraise ValueError('in the background')")
    notebook.until(lambda: "in the background" in failing.text("stderr"))
    notebook.run("import gc\ngc.collect()\nfanlight.get(say.remote('fence'))")
    said = re.sub(r"\x1b\[[0-9;]*m", "", failing.text("stderr"))
    assert said.count("ValueError: in the background") == 1
    assert "Unhandled" not in failing.text("stderr")
