"""OBS: output of tasks, and the runtime context."""

from __future__ import annotations

import json
import logging
import os
import re
import sys

import pytest

from tests.engines.support import DEADLINE, line, needs, poll


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
    remove = rt.task_output.add_listener(bad)
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

    remove = rt.task_output.add_listener(lambda output: True)
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
            print("this is", self.name)

    rt.get(Named.remote("Ann").speak.remote())
    assert shown(r"\(Named\(Ann\) pid=\d+\).* this is Ann$")
    rt.get(Named.remote("bad").speak.remote())
    assert shown(r"\(<.*Named object at .*> pid=\d+\).* this is bad$")


@line("OBS.6")
def test_older_names_in_the_context(rt):
    context = rt.get_runtime_context()
    for name in ("job_id", "node_id", "worker_id", "task_id", "actor_id"):
        with pytest.warns(DeprecationWarning, match=f"get_{name}"):
            assert getattr(context, name) == getattr(context, f"get_{name}")()


@line("INI.11")
def test_what_init_returns(fresh):
    context = fresh.init(num_cpus=1)
    keys = {"node_ip_address", "session_dir", "node_id", "gcs_address", "address", "webui_url"}
    assert keys <= context.address_info.keys()
    assert context.ray_version and context.python_version.startswith("3.")
    assert isinstance(context.dashboard_url, str)
    with pytest.warns(DeprecationWarning):
        assert context["node_id"] == context.address_info["node_id"]
    with context as same:
        assert same is context and fresh.fanlight.is_initialized()
    assert not fresh.fanlight.is_initialized()
    fresh.init(num_cpus=1).disconnect()
    assert not fresh.fanlight.is_initialized()


@line("INI.10")
def test_questions_do_not_start_a_runtime(fresh):
    rt = fresh.fanlight
    for ask in (rt.nodes, rt.cluster_resources, rt.available_resources, rt.timeline):
        with pytest.raises(rt.exceptions.RaySystemError, match=r"before ray\.init"):
            ask()
    assert not rt.is_initialized()


@line("OBS.4")
@needs("output")
def test_logging_of_workers(rt, shown):
    @rt.remote
    def log():
        import logging

        logging.getLogger("mine").info("not shown")
        logging.getLogger("mine").warning("take care")

    rt.get(log.remote())
    assert shown(r"\(log pid=\d+\).* take care$", "err")


@line("OBS.4")
def test_a_logging_config(fresh, capfd):
    rt = fresh.fanlight
    fresh.init(num_cpus=1, logging_config=rt.LoggingConfig("JSON", "INFO", ["name"]))

    @rt.remote
    class Logs:
        def log(self):
            import logging

            logging.getLogger("mine").info("in %s", "JSON", extra={"step": 3})

    actor = Logs.remote()
    ref = actor.log.remote()
    rt.get(ref)
    logging.getLogger("mine").info("in the driver")
    seen = []

    def lines():
        seen.append(capfd.readouterr().err)
        found = re.findall(r"\{.*\}$", "".join(seen), re.MULTILINE)
        return found if len(found) >= 2 else None

    task, driver = sorted(map(json.loads, poll(lines)), key=lambda x: x["message"], reverse=False)
    assert (task["message"], task["step"], task["name"]) == ("in JSON", 3, "mine")
    assert task["task_id"] == ref.task_id().hex() and task["actor_id"] == actor._actor_id.hex()
    assert task["levelname"] == "INFO" and task["filename"] == "test_observability.py"
    assert driver["message"] == "in the driver" and "task_id" not in driver
    before = logging.getLogger().handlers[:]
    rt.shutdown()
    assert len(logging.getLogger().handlers) == len(before) - 1


@line("OBS.4")
def test_a_text_logging_config(fresh, capfd):
    rt = fresh.fanlight
    fresh.init(num_cpus=1, logging_config=rt.LoggingConfig(log_level="ERROR"))

    @rt.remote
    def log():
        import logging

        logging.getLogger().warning("not shown")
        logging.getLogger().error("an error")

    rt.get(log.remote())
    seen = []
    wanted = r"\tERROR test_observability\.py:\d+ -- an error job_id=\w{8} .*task_name=log"
    assert poll(lambda: seen.append(capfd.readouterr().err) or re.search(wanted, "".join(seen)))
    assert "not shown" not in "".join(seen)


@line("OBS.4")
def test_bad_logging_configs(fresh):
    rt = fresh.fanlight
    for bad in ({"encoding": "XML"}, {"log_level": "LOUD"}, {"log_level": True},
                {"additional_log_standard_attrs": ["colour"]}):  # fmt: skip
        with pytest.raises(ValueError):
            rt.LoggingConfig(**bad)
    with pytest.raises(TypeError, match="LoggingConfig"):
        fresh.init(logging_config={"encoding": "JSON"})
    with pytest.raises(rt.errors.UnsupportedError, match="logging_config"):
        rt.init(address="auto", logging_config=rt.LoggingConfig())
    assert not rt.is_initialized()
