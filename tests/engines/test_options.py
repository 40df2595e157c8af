"""OPT: options are validated where they are written."""

from __future__ import annotations

import pytest

from tests.engines.support import line


def _function():
    pass


class _Class:
    pass


def refused(rt, kind, options, error, match=None):
    """The decorator and ``.options`` refuse the same things."""
    thing = _function if kind == "task" else _Class
    with pytest.raises(error, match=match):
        rt.remote(**options)(thing)
    with pytest.raises(error, match=match):
        rt.remote(thing).options(**options)


@line("OPT.1")
@pytest.mark.parametrize(
    ("kind", "name"),
    [("task", "foo"), ("task", "max_restarts"), ("actor", "foo"), ("actor", "max_retries")],
)
def test_unknown_options(rt, kind, name):
    what = "for remote functions" if kind == "task" else "for actors"
    refused(rt, kind, {name: 1}, ValueError, f"Invalid option keyword {name} {what}")


@line("OPT.2")
@pytest.mark.parametrize("kind", ["task", "actor"])
def test_wrong_types_and_negative_amounts(rt, kind):
    words = "The type of keyword 'num_cpus' must be"
    refused(rt, kind, {"num_cpus": "1"}, TypeError, words)
    refused(rt, kind, {"resources": ["x"]}, TypeError, "The type of keyword 'resources'")
    refused(rt, kind, {"num_cpus": -1}, ValueError, "cannot be negative")
    refused(rt, kind, {"resources": {"x": -1}}, ValueError, "cannot be negative")


@line("OPT.3")
@pytest.mark.parametrize("options", [{"num_cpus": 0.00001}, {"resources": {"x": 0.00004}}])
def test_the_smallest_amount(rt, options):
    refused(rt, "task", options, ValueError)


@line("OPT.3", "RES.4")
@pytest.mark.runtime(num_cpus=1, resources={"x": 1})
def test_the_smallest_amount_works(rt):
    f = rt.remote(lambda: rt.get_runtime_context().get_assigned_resources())
    assert rt.get(f.options(num_cpus=0, resources={"x": 0.0001}).remote()) == {"x": 0.0001}


@line("OPT.4")
@pytest.mark.parametrize(("name", "option"), [("CPU", "num_cpus"), ("GPU", "num_gpus")])
def test_named_resources_have_their_own_option(rt, name, option):
    refused(rt, "task", {"resources": {name: 1}}, ValueError, option)
    refused(rt, "actor", {"resources": {name: 1}}, ValueError, option)


@line("OPT.5")
def test_more_than_one_gpu_is_whole(rt):
    with pytest.raises(ValueError):
        rt.remote(num_gpus=1.5)(_function).remote()
    with pytest.raises(ValueError):
        rt.remote(_function).options(num_gpus=1.5).remote()
    rt.remote(num_gpus=0.5)(_function)
    rt.remote(num_gpus=2)(_function)


@line("OPT.6")
def test_counts_of_retries(rt):
    refused(rt, "task", {"max_retries": -2}, ValueError)
    refused(rt, "actor", {"max_restarts": -2}, ValueError)
    refused(rt, "actor", {"max_task_retries": -2}, ValueError)
    refused(rt, "task", {"max_retries": 1.5}, TypeError)
    rt.remote(max_retries=-1)(_function)
    rt.remote(max_restarts=-1, max_task_retries=-1)(_Class)


@line("OPT.7")
def test_retry_exceptions(rt):
    refused(rt, "task", {"retry_exceptions": [int]}, ValueError)
    refused(rt, "task", {"retry_exceptions": ["ValueError"]}, ValueError)
    refused(rt, "task", {"retry_exceptions": "yes"}, TypeError)
    for value in (True, [ValueError], (ValueError, OSError)):
        rt.remote(retry_exceptions=value)(_function)


@line("OPT.8")
def test_none_means_the_default(rt):
    f = rt.remote(resources={"never": 1}, num_returns=2)(lambda: (1, 2))
    cleared = f.options(resources=None, num_returns=None, num_cpus=None)
    assert rt.get(cleared.remote()) == (1, 2)


@line("OPT.9")
def test_names_and_lifetimes(rt):
    refused(rt, "actor", {"lifetime": "forever"}, ValueError)
    refused(rt, "actor", {"name": 5}, TypeError)
    actor = rt.remote(_Class)
    with pytest.raises(ValueError):
        actor.options(get_if_exists=True).remote()
    with pytest.raises(ValueError):
        actor.options(name="").remote()
    for lifetime in (None, "detached", "non_detached"):
        actor.options(lifetime=lifetime)


@line("OPT.10")
def test_concurrency_groups_are_of_the_class(rt):
    with pytest.raises((ValueError, NotImplementedError)):
        rt.remote(_Class).options(concurrency_groups={"io": 2})


@line("OPT.12")
def test_unknown_strategies(rt):
    with pytest.raises(ValueError, match="WHEREVER"):
        rt.remote(_function).options(scheduling_strategy="WHEREVER").remote()
    f = rt.remote(lambda: 1)
    for strategy in (None, "DEFAULT", "SPREAD"):
        assert rt.get(f.options(scheduling_strategy=strategy).remote()) == 1


def test_options_in_a_loop_leave_nothing(rt):
    @rt.remote
    def f(i):
        return i

    @rt.remote
    class Actor:
        def call(self, i):
            return i

    actor = Actor.remote()
    for i in range(0, 400, 4):
        refs = [f.options(name=f"number {i + j}").remote(j) for j in range(2)]
        refs += [rt.remote(lambda i=i: i).remote(), actor.call.options(name=f"c {i}").remote(i)]
        assert rt.get(refs) == [0, 1, i, i]
    home = rt.session.current().client.definitions
    rt.get([f.remote(1), f.options(name="number 0").remote(2), actor.call.remote(3)])
    rt.session.current().client.flush_drops()
    assert len(home._entries) < 200 and len(home._functions) < 200, "of 400 that were defined"
