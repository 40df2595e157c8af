"""``ref.why()`` and ``fanlight.why(x)``: each reason to wait, on each engine."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.support import needs, poll, runtime

Gate = Callable[[str], None]
reasons = importlib.import_module("fanlight.reasons")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is slow is not one that is stopped."""
    monkeypatch.setattr(reasons, "ANSWER_SECONDS", 20.0)


def codes(answer: Any) -> list[str]:
    """The codes along the chain of reasons."""
    links = [answer.facts]
    while links[-1]["next"]:
        links.append(links[-1]["next"][0])
    return [link["code"] for link in links]


def under_way(ref: Any) -> bool:
    """Wait until a task runs; in one process: until it is next."""
    return bool(poll(lambda: ref.why().code in ("running", "inproc")))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def load(rt: Any, gate: Path, wait_for: Gate) -> Callable[[], Any]:
    """``load()`` is a ref to a task that runs until the gate is open."""

    @rt.remote(num_cpus=1, max_calls=1000)  # so that none is handed out ahead of its turn
    def load() -> str:
        wait_for(str(gate))
        return "loaded"

    return load.remote


def test_the_chain_of_arguments(rt: Any, load: Any, gate: Path) -> None:
    @rt.remote
    def fit(x: Any) -> Any:
        return x

    first = load()
    second = fit.remote(first)
    third = fit.options(name="third").remote(second)
    assert under_way(first)
    answer = third.why()
    text = "`third` waits for its argument `fit`, which waits for its argument `load`, which "
    assert str(answer).startswith(text) and codes(answer)[:2] == ["argument", "argument"]
    assert answer.root["name"] == "load" and answer.root["pid"]
    assert (answer.facts["kind"], answer.facts["state"]) == ("task", "PENDING_ARGS")
    assert repr(answer).startswith(f"{answer}\n") and "`load`" in repr(answer)
    gate.touch()
    assert rt.get(third) == "loaded"
    done = third.why()
    assert done.code == "ready" and "`third` is ready" in str(done)


def test_resources_and_who_holds_them(rt: Any, load: Any, gate: Path) -> None:
    refs = [load() for _ in range(5)]
    assert under_way(refs[0]) and under_way(refs[1])
    answer = refs[4].why()
    assert "waits for 1 CPU (0 of 2 free), held by `load` ×2" in str(answer)
    assert str(answer).endswith("; 2 like it come first.")
    assert answer.facts["resources"] == {"CPU": [1, 0, 2]} and answer.facts["ahead"] == 2
    assert [h["name"] for h in answer.facts["held_by"]] == ["load", "load"]
    gate.touch()
    rt.get(refs)


def test_an_actor_that_holds_a_cpu(rt: Any) -> None:
    @rt.remote(num_cpus=2)
    class Keeper:
        pass

    @rt.remote
    def f() -> None:
        pass

    keeper = Keeper.remote()
    rt.get(keeper.__ray_ready__.remote())
    answer = f.remote().why()
    assert "held by the actor `Keeper`" in str(answer)
    assert answer.facts["held_by"][0]["held"] == {"CPU": 2}
    assert rt.why(keeper).code == "idle"
    rt.kill(keeper)


def test_what_can_never_run(rt: Any, never: Any) -> None:
    ref = never()
    answer = rt.why(ref)
    assert answer.code == "infeasible"
    assert str(answer) == (
        "`never` can never run here: it asks for 1 never (there are 0). It waits all the same, in "
        "case that changes; cancel() gives it up."
    )
    rt.cancel(ref)
    assert poll(lambda: ref.why().code == "cancelled")


def test_labels(rt: Any) -> None:
    @rt.remote(label_selector={"zone": "moon"})
    def f() -> None:
        pass

    ref = f.remote()
    answer = ref.why()
    assert answer.code == "infeasible" and "a node with the label zone" in str(answer)
    rt.cancel(ref)


def test_placement_groups(rt: Any, load: Any, gate: Path) -> None:
    first = load()
    assert under_way(first)
    group = rt.util.placement_group([{"CPU": 2}])
    strategy = rt.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)

    @rt.remote(scheduling_strategy=strategy)
    def inside() -> int:
        return 1

    ref = inside.remote()
    for answer in (group.why(), rt.why(group), rt.why(group.id), group.ready().why()):
        assert answer.code == "resources" and "2 CPU (1 of 2 free), held by `load`" in str(answer)
    assert codes(ref.why()) == ["placement", "resources"]
    gate.touch()
    assert rt.get(ref) == 1 and rt.why(group).code == "ready"
    rt.util.remove_placement_group(group)
    assert poll(lambda: "was removed" in str(rt.why(group)))
    never = rt.util.placement_group([{"CPU": 50}])
    assert rt.why(never).code == "infeasible"
    rt.util.remove_placement_group(never)


def test_calls_behind_others(rt: Any, gate: Path, wait_for: Gate) -> None:
    @rt.remote
    class Counter:
        def slow(self) -> int:
            wait_for(str(gate))
            return 1

        def quick(self) -> int:
            return 2

    counter = Counter.remote()
    rt.get(counter.quick.remote())
    slow = [counter.slow.remote() for _ in range(2)]
    last = counter.quick.remote()
    assert under_way(slow[0])

    def told() -> bool:  # on a channel, the actor's process says so after a moment
        return "now `Counter.slow`" in str(last.why()) or codes(last.why())[0] == "turn"

    assert poll(told)
    assert "`Counter.quick`" in str(last.why()) and "its actor `Counter`" in str(last.why())
    assert poll(lambda: "runs `Counter.slow`" in str(rt.why(counter)))
    assert rt.why(counter).facts["kind"] == "actor"
    gate.touch()
    assert rt.get([*slow, last]) == [1, 1, 2]
    assert last.why().code == "ready" and rt.why(counter.quick).code == "idle"
    rt.kill(counter)
    assert poll(lambda: "is dead" in str(rt.why(counter)))


def test_an_actor_that_is_not_made_yet(rt: Any, load: Any, gate: Path) -> None:
    @rt.remote
    class Late:
        def __init__(self, x: Any) -> None:
            pass

        def ping(self) -> int:
            return 1

    first = load()
    late = Late.remote(first)
    call = late.ping.remote()
    assert under_way(first)
    assert codes(call.why())[:2] == ["actor", "argument"]
    assert "`Late.ping` waits for its actor `Late`, which waits for its argument" in str(call.why())
    assert codes(rt.why(late))[0] == "argument"
    gate.touch()
    assert rt.get(call) == 1


def test_how_it_ended(rt: Any) -> None:
    @rt.remote
    def bad() -> None:
        raise ValueError("no such <thing>")

    ref = bad.remote()
    with pytest.raises(ValueError, match="no such"):
        rt.get(ref)
    answer = ref.why()
    assert answer.code == "failed" and "ValueError: no such <thing>" in str(answer)
    assert str(rt.why([ref, ref])).startswith("2 of 2 have no value. 2 × `")
    assert "<thing>" not in answer._repr_html_() and "&lt;thing&gt;" in answer._repr_html_()
    value = rt.put([1, 2, 3])
    assert value.why().code == "ready" and "`put` is ready: " in str(value.why())


def test_names_in_html_are_escaped(rt: Any, never: Any) -> None:
    evil = '<img src=x onerror="alert(1)">`<b>'
    refs = [f.remote() for f in [rt.remote(resources={evil: 1})(lambda: None).options(name=evil)]]
    for answer in (refs[0].why(), rt.why(refs), rt.why(evil)):
        page = answer._repr_html_()
        assert "<img" not in page and "<b>" not in page and "&lt;img" in page
    rt.cancel(refs[0])


def test_many_and_by_name(rt: Any, load: Any, never: Any, gate: Path) -> None:
    ready = rt.put(1)
    refs = {"ready": [ready, ready], "load": [load() for _ in range(4)], "never": (never(),)}
    assert under_way(refs["load"][0]) and under_way(refs["load"][1])
    answer = rt.why(refs)
    assert (answer.facts["total"], answer.facts["ready"]) == (7, 2)
    found = {(n["name"], n["code"]): n["count"] for n in answer.facts["reasons"]}
    assert found["never", "infeasible"] == 1 and found["load", "resources"] == 2
    assert str(answer).startswith("5 of 7 are not ready. 2 × `load`")
    named = rt.why("load")
    assert named.facts["same"] == 3 and str(named).endswith("(3 more of this name.)")
    task = refs["load"][3].task_id()
    assert rt.why(task).facts["id"] == rt.why(task.hex()).facts["id"] == task.hex()
    gate.touch()
    rt.get(refs["load"])
    assert str(rt.why(refs["load"])) == "All 4 are ready."
    assert str(rt.why([])) == "There is nothing in it that could wait."
    rt.cancel(refs["never"][0])


def test_generators(rt: Any, gate: Path, wait_for: Gate) -> None:
    @rt.remote
    def items() -> Any:
        yield 1
        wait_for(str(gate))
        yield 2

    made = items.remote()
    assert poll(lambda: made.why().code in ("running", "inproc"))
    assert "`items`" in str(made.why())
    gate.touch()
    assert [rt.get(ref) for ref in made] == [1, 2]
    assert rt.why(made).code == "ready"


def test_what_is_unknown(rt: Any) -> None:
    ref = rt.put(1)
    name = ref.hex()
    del ref
    assert poll(lambda: rt.why(name).code == "freed")
    assert rt.why("ab" * 28).code == "unknown" and rt.why("ab" * 24).code == "unknown"
    assert (
        str(rt.why("nobody")) == "There is no task, actor or placement group named 'nobody' here."
    )
    for wrong in (12, None, object(), b"no name"):
        with pytest.raises(TypeError, match="why"):
            rt.why(wrong)


def test_what_has_refs_inside(rt: Any, never: Any) -> None:
    class Cell:
        def __fanlight_refs__(self) -> Any:
            return [ref]

    ref = never()
    assert rt.why(Cell()).facts["name"] == "never"
    rt.cancel(ref)


def test_the_limit_of_pending_calls(rt: Any, gate: Path, wait_for: Gate) -> None:
    @rt.remote(max_pending_calls=2)
    class Busy:
        def slow(self) -> None:
            wait_for(str(gate))

    busy = Busy.remote()
    refs = [busy.slow.remote() for _ in range(2)]
    answer = rt.why(busy)
    assert (answer.facts["pending_calls"], answer.facts["max_pending_calls"]) == (2, 2)
    assert "PendingCallsLimitExceeded" in repr(answer)
    gate.touch()
    rt.get(refs)


def test_from_within_a_task(rt: Any) -> None:
    @rt.remote
    def asks() -> tuple[str, str]:
        import fanlight

        ref = fanlight.remote(num_cpus=50)(lambda: None).options(name="own").remote()
        answer = ref.why(), fanlight.why("asks")
        fanlight.cancel(ref)
        return answer[0].code, answer[1].facts["state"]

    assert rt.get(asks.remote()) == ("infeasible", "RUNNING")


# --- where there are processes -------------------------------------------------------------------
@needs("processes", "background")
def test_it_waits_in_get_for_its_own_work(rt: Any) -> None:
    @rt.remote
    def outer() -> None:
        rt.get(rt.remote(resources={"never": 1})(lambda: None).options(name="inner").remote())

    ref = outer.remote()
    assert poll(lambda: codes(ref.why()) == ["blocked", "infeasible"])
    assert "and waits in get() for `inner`, which can never run here" in str(ref.why())
    rt.cancel(ref)


@needs("processes", "background")
def test_a_stopped_worker(rt: Any, load: Any, gate: Path) -> None:
    ref = load()
    assert poll(lambda: ref.why().code == "running")
    pid = ref.why().facts["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert poll(lambda: ref.why().code == "stopped")
        assert f"(pid {pid}) is stopped by SIGSTOP" in str(ref.why())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert poll(lambda: ref.why().code == "running")
    gate.touch()
    rt.get(ref)


@needs("processes", "background")
def test_a_stopped_node_keeps_nobody(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fl = fresh.fanlight
    fresh.init(num_cpus=1)
    ref = fl.remote(resources={"never": 1})(lambda: None).remote()
    assert ref.why().code == "infeasible"
    pid = importlib.import_module("fanlight.session").current().node_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(reasons, "ANSWER_SECONDS", 1.0)
            answer = ref.why()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert answer.code == "silent" and str(answer).startswith("Nobody can say")
    assert str(pid) in str(answer)
    assert poll(lambda: ref.why().code == "infeasible"), "all goes on"


@needs("processes", "background")
def test_a_dead_runtime(fresh: Any) -> None:
    fl = fresh.fanlight
    fresh.init(num_cpus=1)
    ref = fl.put(1)
    pid = importlib.import_module("fanlight.session").current().node_pid
    os.kill(pid, signal.SIGKILL)
    assert poll(lambda: ref.why().code == "gone")
    assert "killed by SIGKILL" in str(ref.why()) or "SIGKILL" in str(fl.why("x"))


def test_no_runtime(fresh: Any) -> None:
    fl = fresh.fanlight
    with pytest.raises(fl.errors.RuntimeNotStartedError):
        fl.why("anything")


@needs("processes", "background")
@runtime(num_cpus=1)
def test_retries_and_restarts(rt: Any, gate: Path, wait_for: Gate, tmp_path: Path) -> None:
    @rt.remote(max_retries=1)
    def dies(path: str) -> int:
        if not os.path.exists(path):
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        wait_for(str(gate))
        return 1

    ref = dies.remote(str(tmp_path / "died"))
    assert poll(lambda: ref.why().facts.get("attempt") == 1)
    assert "attempt: 2; the last one failed: its worker died" in repr(ref.why())
    gate.touch()
    assert rt.get(ref) == 1
