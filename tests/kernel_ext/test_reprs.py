"""Reprs of refs, lists of refs, actors and placement groups: in a shell, and live in a kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fanlight_kernel.widgets.cards import Card
from tests.kernel_ext.conftest import Notebook
from tests.kernel_ext.kernels import Execution, KernelClient

VIEW = "application/vnd.jupyter.widget-view+json"
WAIT = """
import os, time
@fanlight.remote
def wait_for(path):
    end = time.monotonic() + 120
    while not os.path.exists(path):
        assert time.monotonic() < end
        time.sleep(0.01)
    return b'x' * 200_000
"""


# -- in a shell, where nothing moves --------------------------------------------------------------
def test_a_card_is_plain_html_and_text() -> None:
    card = Card("ObjectRef", "failed", "bad", ["<b>"], ["<script>"], "ab" * 24 + "0" * 8)
    bundle = card.bundle()
    assert bundle["text/plain"] == "ObjectRef(ababab…abababababababab, failed, <b>)"
    assert "&lt;script&gt;" in bundle["text/html"] and "<script" not in bundle["text/html"]
    assert Card(**card.as_state()) == card


def shown(notebook: Notebook, source: str) -> dict[str, Any]:
    value = notebook.run(source).value
    data, _ = notebook.shell.display_formatter.format(value)
    return dict(data)


def test_refs_in_a_terminal(notebook: Notebook) -> None:
    notebook.run("import fanlight\nf = fanlight.remote(lambda: b'x' * 5000)\nref = f.remote()")
    data = shown(notebook, "fanlight.get(ref)\nref")
    assert re.fullmatch(
        r"ObjectRef\(\w{6}…\w+, ready, 5\.\d kB, made by .*lambda.*\)", data["text/plain"]
    )
    assert "made by" in data["text/html"] and notebook.ns["ref"].hex() in data["text/html"]
    assert "made by put" in shown(notebook, "fanlight.put(1)")["text/plain"]


def test_a_list_of_refs_is_one_thing(notebook: Notebook) -> None:
    notebook.run("import fanlight\ng = fanlight.remote(lambda i: i)")
    data = shown(notebook, "refs = [g.remote(i) for i in range(100)]\nfanlight.get(refs)\nrefs")
    assert data["text/plain"].startswith("100 ObjectRefs(ready, ")
    assert "made by" in data["text/html"]
    data = shown(notebook, "more = [g.remote(i) for i in range(5)]\nmore")  # nothing runs by itself
    assert data["text/plain"].startswith("5 ObjectRefs(0 of 5 ready, ")
    assert (
        "2 ObjectRefs(" in shown(notebook, "fanlight.wait(refs[:2], num_returns=2)")["text/plain"]
    )


def test_other_lists_stay_as_they_are(notebook: Notebook) -> None:
    for source in ("[]", "[1, 2]", "[[1], 'a' * 90]", "['x' * 70, 'y' * 70]"):
        assert set(shown(notebook, source)) == {"text/plain"}
    assert shown(notebook, "['x' * 70, 'y' * 70]")["text/plain"].count("\n") == 1
    notebook.run("l = [1]\nl.append(l)")
    assert shown(notebook, "l")["text/plain"] == "[1, [...]]"
    notebook.run("import fanlight\nr = fanlight.put(1)")
    assert shown(notebook, "[r, 1]")["text/plain"].endswith(", 1]")
    assert shown(notebook, "[r]")["text/plain"].startswith("[ObjectRef(")


def test_actors_and_placement_groups(notebook: Notebook) -> None:
    notebook.run(
        "import fanlight\nfrom fanlight.util import placement_group\n"
        "class Counter:\n    def one(self):\n        return 1\n"
        "c = fanlight.remote(Counter).options(name='<c>').remote()\nfanlight.get(c.one.remote())"
    )
    data = shown(notebook, "c")
    assert data["text/plain"].startswith("Actor Counter(")
    assert "alive, named '<c>', pid " in data["text/plain"] and "1 done" in data["text/plain"]
    assert "&lt;c&gt;" in data["text/html"]
    data = shown(notebook, "group = placement_group([{'CPU': 0.5}, {'CPU': 0.5}])\ngroup")
    assert "reserved, 2 × (0.5 CPU), PACK" in data["text/plain"]


def test_without_a_runtime(notebook: Notebook) -> None:
    notebook.run("import fanlight\nref = fanlight.put(1)\nrefs = [ref, fanlight.put(2)]")
    notebook.run("fanlight.shutdown()")
    data = shown(notebook, "ref")
    assert "unknown" in data["text/plain"] and "no runtime is running" in data["text/html"]
    assert "2 ObjectRefs(unknown)" in shown(notebook, "refs")["text/plain"]


# -- in a kernel, where they move -----------------------------------------------------------------
@pytest.fixture(scope="module")
def kernel(kernel: KernelClient) -> KernelClient:
    """The module's kernel, in which the runtime has all the time that it needs for its answers."""
    kernel.run("from fanlight_kernel.widgets import facts\nfacts.ANSWER = 30")
    return kernel


def cards(kernel: KernelClient, done: Execution) -> list[dict[str, Any]]:
    """All states of the first live display of a cell, in order."""
    views = [d["data"][VIEW]["model_id"] for d in done.displays() if VIEW in d["data"]]
    found = []
    for message in kernel.iopub:
        content = message["content"]
        if views and content.get("comm_id") == views[0]:
            state = content["data"].get("state", {}).get("state")
            if state:
                found.append(state)
    return found


def texts(done: Execution) -> str:
    return " ".join(str(d.get("text/plain")) for d in done.shown().values())


def test_a_ref_updates_itself(kernel: KernelClient, tmp_path: Path) -> None:
    kernel.run(f"%fanlight monitor off{WAIT}")
    gate = tmp_path / "gate"
    made = kernel.run(f"ref = wait_for.remote({str(gate)!r})\nref", cell_id="maker")
    number = made.reply["content"]["execution_count"] if made.reply else 0
    kernel.until(lambda: any(c["state"] == "running" for c in cards(kernel, made)))
    assert "as of " in texts(made)  # what is saved now says when that was
    gate.touch()
    kernel.until(lambda: VIEW not in str(made.shown()))
    assert re.search(
        rf"ready, 200 kB in shared memory, made by wait_for in In\[{number}\]", texts(made)
    )
    last = cards(kernel, made)[-1]
    assert last["final"] and last["state"] == "ready"
    again = kernel.run("ref").of("execute_result")[0]["content"]["data"]
    assert "ready" in again["text/plain"] and VIEW not in again


def test_failed_and_cancelled_refs_say_so(kernel: KernelClient, tmp_path: Path) -> None:
    gate = tmp_path / "never"
    kernel.run(
        "@fanlight.remote(max_retries=0)\ndef wrong():\n    raise KeyError('<no>')\n"
        f"bad = wrong.remote()\nstopped = wait_for.remote({str(gate)!r})\n"
        "_ = fanlight.wait([bad])\nfanlight.cancel(stopped)\n_ = fanlight.wait([stopped])"
    )
    shown = kernel.run("bad").displays()[0]["data"]
    assert "failed" in shown["text/plain"]
    assert "KeyError: &#x27;&lt;no&gt;&#x27;" in shown["text/html"]
    assert "cancelled" in kernel.run("stopped").displays()[0]["data"]["text/plain"]


def test_a_list_moves_and_ends(kernel: KernelClient, tmp_path: Path) -> None:
    gates = [tmp_path / str(i) for i in range(3)]
    made = kernel.run(f"many = [wait_for.remote(p) for p in {[str(g) for g in gates]!r}]\nmany")
    gates[0].touch()
    kernel.until(lambda: any(c["state"] == "1 of 3 ready" for c in cards(kernel, made)))
    for gate in gates:
        gate.touch()
    kernel.until(lambda: VIEW not in str(made.shown()))
    assert "3 ObjectRefs(ready, 600 kB, made by wait_for in In[" in texts(made)


def test_being_shown_keeps_nothing(kernel: KernelClient, tmp_path: Path) -> None:
    """With ``del`` the last ref goes (IPython holds ``_`` and ``Out``, which are cleared)."""
    gate = tmp_path / "gate"
    made = kernel.run(f"lone = wait_for.remote({str(gate)!r})\nlone")
    kernel.until(lambda: cards(kernel, made))
    kernel.run(
        "del lone\nOut.clear()\n_ = __ = ___ = None\nimport gc\n_ = gc.collect()\n%reset -f out"
    )
    gate.touch()
    kernel.until(lambda: VIEW not in str(made.shown()))
    assert "gone" in texts(made)


def test_actors_live_until_they_die(kernel: KernelClient) -> None:
    made = kernel.run(
        "@fanlight.remote\nclass Cat:\n    def meow(self):\n        return 1\n"
        "cat = Cat.remote()\nfanlight.get(cat.meow.remote())\ncat"
    )
    kernel.until(lambda: any("pid" in str(c["facts"]) for c in cards(kernel, made)))
    kernel.run("fanlight.kill(cat)")
    kernel.until(lambda: VIEW not in str(made.shown()))
    assert re.search(r"Actor Cat\(\w+…\w+, dead", texts(made))


def test_progress_is_a_widget(kernel: KernelClient, tmp_path: Path) -> None:
    """It moves while the loop's body works, and its button cancels what is left."""
    gates = [tmp_path / str(i) for i in range(3)]
    running = kernel.start(
        f"refs = [wait_for.remote(p) for p in {[str(g) for g in gates]!r}]\n"
        "kept = fanlight.progress(refs, 'gates', on_error='skip')\n"
        f"for value in kept:\n    fanlight.get(wait_for.options(num_cpus=0).remote({str(gates[2])!r}))\n"
        "len(value)"
    )
    gates[0].touch()  # the body waits for the third gate
    kernel.until(lambda: any(c["done"] == 1 for c in cards(kernel, running)))
    gates[1].touch()
    kernel.until(lambda: any(c["done"] == 2 for c in cards(kernel, running)))
    gates[2].touch()
    running.wait()
    assert running.result() == "200000"
    kernel.until(lambda: VIEW not in str(running.shown()))
    assert "gates: 3 done, " in texts(running)

    waiting = kernel.run(
        f"left = [wait_for.remote({str(tmp_path / 'no')!r})]\np = fanlight.progress(left)\np"
    )
    kernel.until(lambda: cards(kernel, waiting))
    kernel.run("p.cancel()")
    kernel.until(lambda: VIEW not in str(waiting.shown()))
    assert "1 cancelled" in texts(waiting)


def test_a_node_that_is_stopped_delays_nobody(kernel: KernelClient, tmp_path: Path) -> None:
    """Also the next cells: a repr waits half a second at most, and the rest is off the hot path."""
    kernel.run("import signal\npid = fanlight.session.current().node_pid\nref = fanlight.put(1)")
    kernel.run("facts.ANSWER = 0.5\nos.kill(pid, signal.SIGSTOP)")
    try:
        made = kernel.run("ref")
        assert "the runtime does not answer" in str(made.displays()[0])
    finally:
        kernel.run("os.kill(pid, signal.SIGCONT)\nfacts.ANSWER = 30")
    kernel.until(lambda: VIEW not in str(made.shown()))
    assert "ready" in texts(made)


def test_unloading_takes_the_reprs_away(kernel: KernelClient) -> None:
    kernel.run("%unload_ext fanlight")
    assert re.fullmatch(r"ObjectRef\(\w{56}\)", kernel.run("ref").result())
    assert kernel.run("[ref, ref]").result().startswith("[ObjectRef(")
    kernel.run("%load_ext fanlight")
