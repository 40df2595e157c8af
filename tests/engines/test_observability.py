"""OBS: output of tasks, and the runtime context."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.engines.support import DEADLINE, line, needs


@pytest.fixture
def shown(capsys, eventually):
    """``shown(pattern, where)``: wait until the driver shows it; return the match."""
    seen = {"out": "", "err": ""}

    def shown(pattern, where="out"):
        def look():
            captured = capsys.readouterr()
            seen["out"] += captured.out
            seen["err"] += captured.err
            return re.search(pattern, seen[where], re.MULTILINE)

        eventually(look)
        return look()

    return shown


@line("OBS.1")
@needs("output")
def test_output_of_tasks(rt, shown):
    @rt.remote
    def speak():
        print("to stdout")
        print("to stderr", file=sys.stderr)
        return os.getpid()

    pid = rt.get(speak.remote())
    assert shown(rf"\(speak pid={pid}\).* to stdout$")
    assert shown(rf"\(speak pid={pid}\).* to stderr$", "err")


@line("OBS.1")
@needs("output", "ordered_output")
def test_output_is_there_when_the_result_is(rt, capsys):
    @rt.remote
    def speak(i):
        print(f"number {i}")

    for i in range(5):
        rt.get(speak.remote(i))
        assert f"number {i}\n" in capsys.readouterr().out


@line("OBS.1")
@needs("output")
def test_output_of_actors_and_named_tasks(rt, shown):
    @rt.remote
    class Speaker:
        def speak(self):
            print("from a method")

    rt.get(Speaker.remote().speak.remote())
    assert shown(r"\(Speaker pid=\d+\).* from a method$")
    rt.get(rt.remote(lambda: print("named")).options(name="my name").remote())
    assert shown(r"\(my name pid=\d+\).* named$")


@line("OBS.1")
@needs("output")
def test_output_without_a_line_end(rt, shown):
    @rt.remote
    def mumble():
        print("no end", end="")

    rt.get(mumble.remote())
    assert shown(r"\(mumble pid=\d+\).* no end")


@line("OBS.1")
@needs("output", "ordered_output")
def test_many_lines_in_order(rt, capsys):
    @rt.remote
    def count():
        for i in range(300):
            print(f"line {i}")

    rt.get(count.remote())
    lines = re.findall(r"line (\d+)$", capsys.readouterr().out, re.MULTILINE)
    assert [int(n) for n in lines] == list(range(300))


@line("OBS.2")
@needs("output")
@pytest.mark.runtime(log_to_driver=False)
def test_output_can_be_silenced(rt, capsys):
    rt.get(rt.remote(lambda: print("not to be seen")).remote())
    captured = capsys.readouterr()
    assert "not to be seen" not in captured.out + captured.err


@needs("output", "ordered_output")
def test_a_listener_that_raises_harms_nobody(rt, capsys):
    def bad(output):
        seen.append(output.text)
        raise ValueError("from a listener")

    seen = []
    remove = rt.session.add_output_listener(bad)
    try:
        assert rt.get(rt.remote(lambda: print("for all") or 1).remote()) == 1
    finally:
        remove()
    assert seen == ["for all\n"]
    captured = capsys.readouterr()
    assert "for all" in captured.out, "it did not say that it handled it"
    assert "ValueError: from a listener" in captured.err


@needs("output")
def test_finalizers_may_print_at_any_moment(rt):
    @rt.remote
    def many():
        import gc

        class Cycle:
            def __init__(self):
                self.me = self

            def __del__(self):
                print("bye")

        before = gc.get_threshold()
        gc.set_threshold(5)  # so that some run within a print, and within its sending
        try:
            for i in range(1000):
                Cycle()
                print("number", i)
        finally:
            gc.set_threshold(*before)
        return "done"

    remove = rt.session.add_output_listener(lambda output: True)
    try:
        assert rt.get(many.remote(), timeout=DEADLINE / 2) == "done"
    finally:
        remove()


@line("OBS.6")
def test_the_context_in_a_task(rt):
    @rt.remote
    def look():
        c = rt.get_runtime_context()
        return {
            "job": c.get_job_id(),
            "node": c.get_node_id(),
            "worker": c.get_worker_id(),
            "task": c.get_task_id(),
            "actor": c.get_actor_id(),
            "name": c.get_task_name(),
            "namespace": c.namespace,
        }

    here = rt.get_runtime_context()
    seen = rt.get(look.remote())
    assert seen["job"] == here.get_job_id() and len(seen["job"]) == 8
    assert seen["node"] == here.get_node_id() == rt.nodes()[0]["NodeID"]
    assert len(seen["node"]) == 56 and len(seen["task"]) == 48
    assert seen["worker"]
    assert seen["actor"] is None
    assert seen["name"].endswith("look")
    assert seen["namespace"] == here.namespace
    named = look.options(name="given").remote()
    assert rt.get(named)["name"] == "given"


@line("OBS.6")
def test_the_context_in_an_actor(rt):
    @rt.remote
    class Look:
        def look(self):
            c = rt.get_runtime_context()
            return c.get_actor_id(), c.get_actor_name(), c.get_task_name(), c.get_task_id()

    actor = Look.remote()
    ref = actor.look.remote()
    actor_id, name, task_name, task_id = rt.get(ref)
    assert len(actor_id) == 32 and actor_id in repr(actor)
    assert name == ""
    assert task_name.endswith("Look.look")
    assert task_id == ref.task_id().hex()


@line("OBS.6")
def test_the_context_in_the_driver(rt):
    context = rt.get_runtime_context()
    assert context.get_task_id() is None
    assert context.get_actor_id() is None
    assert len(context.get_job_id()) == 8


@line("OBS.1")
@needs("output")
def test_an_actor_that_has_a_repr_is_shown_by_it(rt, shown):
    @rt.remote
    class Named:
        def __init__(self, name):
            self.name = name

        def __repr__(self):
            if self.name == "bad":
                raise ValueError("no repr")
            return f"Named({self.name})\nand more"

        def speak(self):
            print("it speaks")

    rt.get(Named.remote("Ann").speak.remote())
    assert shown(r"\(Named\(Ann\) pid=\d+\).* it speaks$")
    rt.get(Named.remote("bad").speak.remote())
    assert shown(r"\(<.*Named object at .*> pid=\d+\).* it speaks$")
