"""UTL: metrics."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fanlight.util.metrics import Counter, Gauge, Histogram, prometheus_text
from tests.engines.support import line, needs, poll


def shown(*names):
    """The lines of these metrics, without the runtime's own."""
    return [x for x in prometheus_text().splitlines() if x.startswith(names)]


@pytest.fixture
def rt(fresh):
    """Figures stay as long as the runtime: each test has its own."""
    fresh.init(num_cpus=2)
    return fresh.fanlight


@line("UTL.12")
def test_counters(rt):
    hits = Counter("hits", "pages", tag_keys=("page",))
    hits.inc(tags={"page": "a"})
    hits.inc(2.5, tags={"page": "a"})
    hits.inc(np.int64(2), {"page": "b"})
    assert shown("ray_hits") == ['ray_hits_total{page="a"} 3.5', 'ray_hits_total{page="b"} 2.0']
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError):
            hits.inc(wrong, tags={"page": "a"})
    for wrong in ("1", None, True):
        with pytest.raises(TypeError):
            hits.inc(wrong, tags={"page": "a"})


@line("UTL.12")
def test_gauges_and_histograms(rt):
    depth = Gauge("depth")
    depth.set(3)
    depth.set(-2)
    sizes = Histogram("sizes", boundaries=[1, 10])
    for size in (0.5, 1, 5, 50):
        sizes.observe(size)
    assert shown("ray_depth") == ["ray_depth -2.0"]
    assert shown("ray_sizes") == [
        'ray_sizes_bucket{le="1.0"} 2',
        'ray_sizes_bucket{le="10.0"} 3',
        'ray_sizes_bucket{le="+Inf"} 4',
        "ray_sizes_sum 56.5",
        "ray_sizes_count 4",
    ]


@line("UTL.12")
def test_what_is_refused():
    for boundaries in (None, [], [0, 1], [-1, 1], [2, 1], [1, 1]):
        with pytest.raises(ValueError):
            Histogram("h", boundaries=boundaries)
    for keys in (["a"], "a", ("a", 1)):
        with pytest.raises(TypeError):
            Counter("c", tag_keys=keys)
    for name in ("", "a b", "1a", "a-b"):
        with pytest.raises(ValueError):
            Gauge(name)
    with pytest.raises(TypeError):
        Gauge(None)
    tagged = Counter("c", tag_keys=("a", "b"))
    with pytest.raises(ValueError, match="Missing value"):
        tagged.inc(tags={"a": "1"})
    with pytest.raises(ValueError, match="Missing value"):
        tagged.inc()
    with pytest.raises(ValueError, match="Unrecognized"):
        tagged.inc(tags={"a": "1", "b": "2", "c": "3"})
    with pytest.raises(TypeError):
        tagged.inc(tags={"a": 1, "b": "2"})
    with pytest.raises(ValueError):
        tagged.inc(tags={"a": "\ud800", "b": "2"})
    with pytest.raises(ValueError):
        tagged.set_default_tags({"c": "1"})


@line("UTL.12")
def test_default_tags_and_info(rt):
    tagged = Counter("tagged", "what it is", tag_keys=("a", "b"))
    assert tagged.set_default_tags({"a": "1"}) is tagged
    tagged.inc(tags={"b": "2"})
    tagged.inc(tags={"a": "9", "b": "2"})
    assert shown("ray_tagged") == [
        'ray_tagged_total{a="1",b="2"} 1.0',
        'ray_tagged_total{a="9",b="2"} 1.0',
    ]
    assert tagged.info == {
        "name": "tagged",
        "description": "what it is",
        "tag_keys": ("a", "b"),
        "default_tags": {"a": "1"},
    }
    assert Histogram("h", boundaries=[1, 2]).info["boundaries"] == [1.0, 2.0]


@line("UTL.12")
def test_tasks_and_actors_record_too(rt):
    """What an ended task recorded is there at once; in the reference it takes some seconds."""
    done = Counter("done", tag_keys=("kind",)).set_default_tags({"kind": "task"})

    @rt.remote
    def work():
        done.inc()

    @rt.remote
    class Actor:
        def __init__(self):
            self.done = Counter("done", tag_keys=("kind",))

        def work(self):
            self.done.inc(tags={"kind": "actor"})

    @rt.remote
    class Async:
        async def work(self):
            Counter("done", tag_keys=("kind",)).inc(tags={"kind": "async"})

    actor, other = Actor.remote(), Async.remote()
    rt.get([work.remote() for _ in range(50)])
    rt.get([actor.work.remote() for _ in range(50)])
    rt.get([other.work.remote() for _ in range(50)])
    done.inc(0.5)
    assert shown("ray_done") == [
        'ray_done_total{kind="actor"} 50.0',
        'ray_done_total{kind="async"} 50.0',
        'ray_done_total{kind="task"} 50.5',
    ]


@line("UTL.12")
@needs("background")
def test_a_task_that_goes_on_is_heard_of(rt, tmp_path, wait_for, note):
    gate = str(tmp_path / "gate")

    @rt.remote
    def work():
        Counter("begun").inc()
        wait_for(gate)

    ref = work.remote()
    assert poll(lambda: shown("ray_begun") == ["ray_begun_total 1.0"])
    note(gate)
    rt.get(ref)


@line("UTL.12")
def test_from_many_threads(rt):
    hits = Counter("threads")

    def hit():
        for _ in range(200):
            hits.inc()

    threads = [threading.Thread(target=hit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown("ray_threads") == ["ray_threads_total 800.0"]


@line("UTL.12")
def test_the_runtimes_own_figures(rt):
    rt.get([rt.remote(lambda: 1).remote() for _ in range(3)])
    lines = prometheus_text().splitlines()
    assert 'fanlight_tasks{state="FINISHED"} 3' in lines
    assert 'fanlight_resources{name="CPU",kind="total"} 2.0' in lines
    for text in lines:
        assert text.startswith(("# HELP ", "# TYPE ")) or len(text.split(" ")) == 2


@line("UTL.12")
def test_two_kinds_of_one_name(rt, capsys):
    Counter("both").inc()
    Gauge("both").set(7)
    assert shown("ray_both") == ["ray_both_total 1.0"]
    assert "'both'" in capsys.readouterr().err


def test_before_and_after_a_runtime(fresh):
    early = Counter("early")
    early.inc()
    with pytest.raises(fresh.fanlight.exceptions.RayError):
        prometheus_text()
    fresh.init(num_cpus=1)
    assert shown("ray_early") == ["ray_early_total 1.0"]
    early.inc()
    fresh.stop()
    early.inc()
    fresh.init(num_cpus=1)
    early.inc()
    assert shown("ray_early")[0] in ("ray_early_total 2.0", "ray_early_total 3.0")
