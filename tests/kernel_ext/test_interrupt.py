"""■ in every phase of a cell: it ends, it says what was cancelled, and nothing is left running."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.kernel_ext.kernels import Execution, KernelClient

pytestmark = pytest.mark.slow

DEFINITIONS = """import ctypes, fanlight, os, time
def mark(name):
    open(os.path.join(folder, name), "w").close()
def marked(name):
    return os.path.exists(os.path.join(folder, name))
def for_ever(name):
    mark(name)
    while True:
        time.sleep(0.01)
class SlowThere:
    # Its pickling, or its unpickling in another process, never ends.
    def __init__(self, where):
        self.where, self.pid = where, os.getpid()
    def __reduce__(self):
        if self.where == "pickling":
            for_ever("serialising")
        return rebuilt, (os.getpid(), folder)
def rebuilt(pid, folder):
    import os, time
    if pid != os.getpid():
        open(os.path.join(folder, "unpickling"), "w").close()
        while True:
            time.sleep(0.01)
def spin():
    mark("running")
    while True:
        pass
def sleeps():
    mark("running")
    time.sleep(1000)
def sleeps_in_c():
    mark("running")
    ctypes.CDLL(None).sleep(1000)
def holds_the_lock():
    mark("running")
    ctypes.PyDLL(None).sleep(1000)
def is_stubborn():
    mark("running")
    while True:
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            pass
def slow_to_read():
    return SlowThere("here")
def outer():
    fanlight.get([fanlight.remote(spin).remote(), fanlight.remote(spin).remote()])
def outer_of_stubborn():
    fanlight.get(fanlight.remote(holds_the_lock).remote())
slow_pickle, slow_unpickle = SlowThere("pickling"), SlowThere("here")
def hook():
    for_ever("hook")
hooked = fanlight.remote(runtime_env={"worker_process_setup_hook": hook})(spin)
large = fanlight.remote(num_cpus=50)(spin)
"""


@pytest.fixture(scope="module")
def defined(kernel: KernelClient) -> KernelClient:
    kernel.run(f"folder = {str(kernel.folder)!r}")
    kernel.run(DEFINITIONS)
    return kernel


def interrupt(
    kernel: KernelClient, source: str, ready: str | Callable[[], object], times: int = 1
) -> Execution:
    """Run a cell, interrupt it when it is ``ready`` (a mark that it makes), see it end."""
    path = kernel.folder / str(ready)
    path.unlink(missing_ok=True)
    running = kernel.start(source)
    kernel.until(path.exists if isinstance(ready, str) else ready, what=f"{ready} of {source}")
    assert not running.ended()
    for _ in range(times):
        kernel.interrupt()
        if times > 1:
            kernel.pump(0.2)
    running.wait()
    assert "KeyboardInterrupt" in running.traceback()
    return running


def check_idle(kernel: KernelClient) -> None:
    """Nothing of it runs any more, and the runtime takes new work."""
    deadline = time.monotonic() + 60
    while kernel.run("fanlight.available_resources().get('CPU')").result() != "2.0":
        assert time.monotonic() < deadline, "something is left running"
    assert kernel.run("%%remote\nafter = 1\nafter").result() == "1"


LONG = (
    "its inputs are unpickled", "it is stubborn", "it sleeps", "tasks in it run",
    "an argument is unpickled", "a task is stubborn", "nested tasks run", "a task runs",
    "it sleeps in C", "it enters its environment",
)  # fmt: skip


def phases(table: dict[str, tuple[str, str, str]]) -> list[object]:
    return [pytest.param(p, marks=pytest.mark.long if p in LONG else ()) for p in table]


REMOTE = {
    "its inputs are pickled": ("%%remote\nslow_pickle", "serialising", "nothing of it had run"),
    "its inputs are unpickled": ("%%remote\nslow_unpickle", "unpickling", "1 task stopped"),
    "it runs Python": ("%%remote\nspin()", "running", "1 task stopped"),
    "it sleeps": ("%%remote\nsleeps()", "running", "1 task stopped"),
    "it sleeps in C": ("%%remote\nsleeps_in_c()", "running", "1 task stopped"),
    "it holds the lock": ("%%remote\nholds_the_lock()", "running", "1 task stopped"),
    "it is stubborn": ("%%remote\nis_stubborn()", "running", "1 task stopped"),
    "tasks in it run": ("%%remote\nouter()", "running", "3 tasks stopped"),
    "a task in it is stubborn": ("%%remote\nouter_of_stubborn()", "running", "2 tasks stopped"),
    "many of it run": ("%%remote --each i=range(1000)\nspin()", "running", r"\d+ tasks? stopped"),
    "its outputs are unpickled": ("%%remote\nx = slow_to_read()", "unpickling", "it had run"),
}


@pytest.mark.parametrize("phase", phases(REMOTE))
def test_a_remote_cell_while(defined: KernelClient, phase: str) -> None:
    source, ready, said = REMOTE[phase]
    ended = interrupt(defined, source, ready)
    assert re.search(rf"Cancelled In\[\d+\]: {said}", ended.text("stderr"))
    assert "fanlight" not in ended.traceback()
    check_idle(defined)


def test_a_remote_cell_that_waits_in_the_queue(defined: KernelClient) -> None:
    before = len(defined.iopub)

    def queued() -> bool:  # its monitor says so
        return any("'pending': 1" in str(m["content"]) for m in defined.iopub[before:])

    ended = interrupt(defined, "%%remote --num-cpus 50\nspin()", queued)
    assert "1 task stopped" in ended.text("stderr")
    check_idle(defined)


def test_a_remote_cell_as_it_is_sent(defined: KernelClient) -> None:
    """It runs already, and the kernel has had no time to note so."""
    defined.run(
        "import signal\nfrom fanlight_kernel.remote import RemoteCell\n"
        "class Striking:\n"
        "    def __init__(self, runner):\n"
        "        self.runner = runner\n"
        "    def remote(self, *args):\n"
        "        ref = self.runner.remote(*args)\n"
        "        while not marked('running'):\n"
        "            fanlight.wait([ref], timeout=0.01)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        return ref\n"
        "usual_runner = RemoteCell.runner\n"
        "RemoteCell.runner = lambda self, given: Striking(usual_runner(self, given))"
    )
    (defined.folder / "running").unlink(missing_ok=True)
    ended = defined.start("%%remote\nspin()").wait()
    defined.run("RemoteCell.runner = usual_runner")
    assert "KeyboardInterrupt" in ended.traceback()
    assert "1 task stopped" in ended.text("stderr")
    check_idle(defined)


def test_a_second_interrupt_kills_at_once(defined: KernelClient) -> None:
    ended = interrupt(defined, "%%remote\nis_stubborn()", "running", times=2)
    assert "Cancelled" in ended.text("stderr")
    check_idle(defined)


PLAIN = {
    "an argument is pickled": ("spinning.remote(slow_pickle)", "serialising", ""),
    "an argument is unpickled": ("spinning.remote(slow_unpickle)", "unpickling", "1 task"),
    "it enters its environment": ("hooked.remote()", "hook", "1 task"),
    "a task runs": ("fanlight.remote(spin).remote()", "running", "1 task"),
    "a task holds the lock": ("fanlight.remote(holds_the_lock).remote()", "running", "1 task"),
    "a task is stubborn": ("fanlight.remote(is_stubborn).remote()", "running", "1 task"),
    "nested tasks run": ("fanlight.remote(outer).remote()", "running", "3 tasks"),
    "a result is unpickled": ("fanlight.remote(slow_to_read).remote()", "unpickling", ""),
}


@pytest.mark.parametrize("phase", phases(PLAIN))
def test_a_plain_cell_while(defined: KernelClient, phase: str) -> None:
    call, ready, said = PLAIN[phase]
    source = "spinning = fanlight.remote(lambda x: x)\nfanlight.get({})"
    ended = interrupt(defined, source.format(call), ready)
    if said:
        defined.until(lambda: f"Cancelled {said} of this cell." in ended.text("stderr"))
    assert "fanlight/" not in ended.traceback() and "-> 2 fanlight.get(" in ended.traceback()
    check_idle(defined)
    if phase in ("a task holds the lock", "a task is stubborn"):
        defined.until(lambda: "1 task did not stop when asked" in ended.text("stderr"))


def test_a_plain_cell_that_waits_for_resources(defined: KernelClient) -> None:
    ended = interrupt(defined, "ref = large.remote()\nmark('made')\nfanlight.get(ref)", "made")
    defined.until(lambda: "Cancelled 1 task of this cell." in ended.text("stderr"))
    check_idle(defined)


def test_between_two_statements_of_a_plain_cell(defined: KernelClient) -> None:
    """Where IPython compiles the last expression, after the others ran."""
    defined.run(
        "class Interrupting(type(get_ipython().compile)):\n"
        "    def __call__(self, source, filename, symbol, *more, **options):\n"
        "        if symbol == 'single' and armed:\n"
        "            armed.clear()\n"
        "            raise KeyboardInterrupt\n"
        "        return super().__call__(source, filename, symbol, *more, **options)\n"
        "armed, usual = [], type(get_ipython().compile)\n"
        "get_ipython().compile.__class__ = Interrupting"
    )
    ended = defined.start("ref = large.remote()\narmed.append(1)\nfanlight.get(ref)").wait()
    defined.run("get_ipython().compile.__class__ = usual")
    assert "KeyboardInterrupt" in ended.traceback()
    assert "Cancelled 1 task of this cell." in ended.text("stderr")
    check_idle(defined)


def test_a_method_of_an_actor_runs_on_and_that_is_said(defined: KernelClient) -> None:
    defined.run(
        "@fanlight.remote\nclass Actor:\n    def method(self):\n        mark('running')\n"
        "        while not marked('release'):\n            time.sleep(0.01)\n"
        "    def after(self):\n        return 'alive'\nactor = Actor.remote()"
    )
    ended = interrupt(defined, "fanlight.get(actor.method.remote())", "running")
    defined.until(lambda: "of actors runs on until it returns" in ended.text("stderr"))
    (defined.folder / "release").touch()
    assert defined.run("fanlight.get(actor.after.remote())").result() == "'alive'"
    defined.run("fanlight.kill(actor)\ndel actor")
    check_idle(defined)


def test_background_work_survives_interrupts(defined: KernelClient) -> None:
    """Of an idle kernel, and of a cell that waits for it."""
    (defined.folder / "go").unlink(missing_ok=True)
    (defined.folder / "waits").unlink(missing_ok=True)
    defined.run("%%remote --bg job\nwhile not marked('go'):\n    time.sleep(0.01)\nanswer = 42")
    defined.interrupt()
    interrupt(defined, "mark('waits')\njob.result()", "waits")
    interrupt(defined, "mark('waits')\nfanlight.get(answer)", "waits")
    (defined.folder / "go").touch()
    assert defined.run("job.result()").result() == "{'answer': 42}"
    check_idle(defined)


def test_what_the_same_cell_started_again_is_left_alone(defined: KernelClient) -> None:
    """Killing what did not stop is for the tasks that were interrupted only."""
    source = "fanlight.get(fanlight.remote(is_stubborn if first else sleeps).remote())"
    defined.run("first = True")
    (defined.folder / "running").unlink(missing_ok=True)
    running = defined.start(source, cell_id="again")
    defined.until((defined.folder / "running").exists)
    defined.interrupt()
    running.wait()
    (defined.folder / "running").unlink()
    second = defined.start("first = False\n" + source, cell_id="again")
    defined.until((defined.folder / "running").exists)
    defined.until(
        lambda: "did not stop when asked" in running.text("stderr") + second.text("stderr")
    )
    assert not second.ended()
    defined.interrupt()
    second.wait()
    check_idle(defined)
