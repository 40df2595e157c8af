"""OBS.1: what a task prints arrives whole, in order and as its own, however it is written."""

from __future__ import annotations

import sys

import pytest

from tests.engines.support import needs


@pytest.fixture
def outputs(rt):
    """Everything that came, as TaskOutputs."""
    found = []
    remove = rt.task_output.add_listener(lambda output: found.append(output) or True)
    yield found
    remove()


def text(outputs, stream="stdout"):
    return "".join(o.text for o in outputs if o.stream == stream)


@needs("output")
def test_both_streams_keep_their_order(rt, outputs):
    @rt.remote
    def speak():
        for i in range(200):
            print(i, file=sys.stdout if i % 2 else sys.stderr)

    rt.get(speak.remote())
    assert "".join(o.text for o in outputs) == "".join(f"{i}\n" for i in range(200))


@needs("output")
def test_bytes_and_characters_that_are_cut(rt, outputs):
    @rt.remote
    def speak():
        for byte in "grün – 🦜\n".encode():
            sys.stdout.buffer.write(bytes([byte]))
        sys.stdout.buffer.write(b"junk: \xff\xfe\n")
        print("half a surrogate: \ud83e")

    rt.get(speak.remote())
    assert text(outputs) == "grün – 🦜\njunk: \ufffd\ufffd\nhalf a surrogate: ?\n"


@needs("output")
def test_threads_print_and_submit_in_the_name_of_their_task(rt, outputs):
    @rt.remote
    def child():
        print("child")

    @rt.remote
    def parent():
        import concurrent.futures
        import threading

        def work():
            print("thread")
            rt.get(child.remote())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(print, "pool").result()

    with rt.session.origin("cell-1"):
        rt.get(parent.remote())
    assert {o.origin for o in outputs} == {"cell-1"}
    said = {
        name: "".join(o.text for o in outputs if o.name == name) for name in ("parent", "child")
    }
    assert said == {"parent": "thread\npool\n", "child": "child\n"}


@needs("output")
def test_threads_of_an_actor_belong_to_the_cell_that_started_them(rt, outputs, eventually):
    @rt.remote
    class Talker:
        def __init__(self):
            import threading

            self.go = threading.Event()
            threading.Thread(target=self.talk, daemon=True).start()

        def talk(self):
            self.go.wait()
            print("by itself")

        def call(self):
            print("called")
            self.go.set()

    with rt.session.origin("made"):
        talker = Talker.remote()
        rt.get(talker.__ray_ready__.remote())
    with rt.session.origin("calling"):
        rt.get(talker.call.remote())
    eventually(lambda: len(outputs) == 2)
    assert {(o.text, o.origin) for o in outputs} == {
        ("called\n", "calling"),
        ("by itself\n", "made"),
    }


@needs("output")
def test_a_flood_in_a_notebook_is_counted_and_ends_with_its_last_lines(rt, outputs):
    lines = 50_000

    @rt.remote
    def flood():
        print("\n".join(f"line {i}" for i in range(lines)))
        for i in range(lines, 2 * lines):
            print("line", i)

    with rt.session.origin("cell-1"):
        rt.get(flood.remote())
    shown = text(outputs).splitlines()
    left_out = sum(o.data["lines"] for o in outputs if o.stream == "left_out")
    assert shown[0] == "line 0" and shown[-1] == f"line {2 * lines - 1}"
    numbers = [int(line.split()[1]) for line in shown]
    assert numbers == sorted(set(numbers)), "in order, and none twice"
    assert len(shown) + left_out == 2 * lines and left_out > lines // 2

    outputs.clear()
    rt.get(flood.remote())
    assert text(outputs).count("\n") == 2 * lines, "a script gets every line"


@needs("output")
def test_children_by_fork_do_not_write_to_the_worker_s_connection(rt, outputs):
    @rt.remote
    def forks():
        import logging
        import os

        handler = logging.StreamHandler(sys.stderr)
        if not (pid := os.fork()):
            handler.emit(logging.makeLogRecord({"msg": "from the child"}))
            print("from the child")
            os._exit(0)
        return os.waitpid(pid, 0)[1]

    assert rt.get(forks.remote()) == 0
    assert rt.get(rt.remote(lambda: print("fine")).remote()) is None
    assert text(outputs) == "fine\n"
