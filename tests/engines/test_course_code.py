"""Programs in the manner of published courses: `import fanlight as ray`, and the rest as ever.

They use what such courses use most, in the ways they use it, and check what they would see.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import json
import logging
import os
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fanlight as ray
from fanlight.util import ActorPool, inspect_serializability
from tests.engines.support import ENGINES, line, needs, poll


@pytest.fixture(autouse=True)
def _init_with_this_engine(fresh, engine, monkeypatch):
    """Programs call ``ray.init`` as they like; the engine is the test's choice."""
    init = functools.partial(ray.init, **ENGINES[engine].init)
    monkeypatch.setattr(ray, "init", init)


# --- tasks ---------------------------------------------------------------------------------------


@line("INI.2", "INI.7", "INI.11", "TSK.1")
def test_first_steps():
    if ray.is_initialized:  # sic: the function, which courses forget to call
        ray.shutdown()
    context = ray.init(
        num_cpus=4, include_webui=False, ignore_reinit_error=True, logging_level=logging.ERROR
    )
    ray.init(num_cpus=4, ignore_reinit_error=True)
    assert "webui_url" in context.address_info
    assert ray.is_initialized()

    @ray.remote
    def greet(name, punctuation="!"):
        return f"Hello, {name}{punctuation}"

    names = ["Ada", "Grace", "Edsger"]
    assert ray.get([greet.remote(n) for n in names]) == [f"Hello, {n}!" for n in names]
    assert ray.get(greet.remote("you", punctuation="?")) == "Hello, you?"
    with pytest.raises(TypeError):
        greet("directly")
    assert ray.nodes()[0]["Resources"]["CPU"] == 4
    assert ray.cluster_resources()["CPU"] == 4
    assert ray.available_resources()["CPU"] == 4
    assert ray.__version__
    ray.shutdown()
    assert not ray.is_initialized()
    ray.shutdown()


@needs("overlap")
def test_two_tasks_overlap_right_after_init():
    """Courses assert that two tasks of half a second end within 1.1 s, without warming up."""
    ray.init(num_cpus=2)

    @ray.remote
    def slow(i):
        time.sleep(0.5)
        return i

    started = time.perf_counter()
    assert ray.get([slow.remote(1), slow.remote(2)]) == [1, 2]
    took = time.perf_counter() - started
    assert took < 2 * 0.5, f"one after the other: {took:.2f} s"


@line("INI.9")
@needs("default")
def test_it_starts_by_itself(monkeypatch):
    @ray.remote
    def f(x):
        return x + 1

    assert ray.get(f.remote(1)) == 2
    ray.shutdown()
    assert ray.get(f.remote(2)) == 3


@line("ARG.1", "ARG.2", "TSK.17")
def test_pipelines_of_tasks():
    ray.init(num_cpus=2)

    @ray.remote
    def load(i):
        return np.full(4, i)

    @ray.remote
    def add(x, y):
        return x + y

    @ray.remote
    def add_all(refs):
        assert all(isinstance(r, ray.ObjectRef) for r in refs)
        return sum(ray.get(refs))

    parts = [load.remote(i) for i in range(8)]
    total = add_all.remote(parts)
    while len(parts) > 1:
        parts.append(add.remote(parts.pop(0), parts.pop(0)))
    assert ray.get(parts[0]).tolist() == ray.get(total).tolist() == [28] * 4


@line("RES.8", "TSK.17")
@pytest.mark.parametrize("cpus", [1, 2])
def test_nested_tasks_on_few_cpus(cpus):
    ray.init(num_cpus=cpus)

    @ray.remote
    def sort(values):
        if len(values) <= 10:
            return sorted(values)
        pivot = values[0]
        left = sort.remote([v for v in values if v < pivot])
        right = sort.remote([v for v in values if v > pivot])
        same = [v for v in values if v == pivot]
        return ray.get(left) + same + ray.get(right)

    values = random.Random(1).choices(range(100), k=60)
    assert ray.get(sort.remote(values)) == sorted(values)


@line("RET.1", "RET.11", "TSK.14")
def test_several_returns_and_options():
    ray.init(num_cpus=2)

    @ray.remote(num_returns=3)
    def split(text):
        return text.split(",")

    @ray.remote
    class Divider:
        @ray.method(num_returns=2)
        def divmod(self, a, b):
            return divmod(a, b)

        def both(self, a):
            return a, -a

    a, b, c = split.remote("x,y,z")
    assert ray.get([c, a, b]) == ["z", "x", "y"]
    assert ray.get(split.options(num_returns=2).remote("x,y")) == ["x", "y"]
    divider = Divider.remote()
    quotient, rest = divider.divmod.remote(17, 5)
    assert ray.get([quotient, rest]) == [3, 2]
    assert ray.get(divider.both.options(num_returns=2).remote(4)) == [4, -4]


@line("WAI.1")
def test_results_as_they_come():
    ray.init(num_cpus=2)

    @ray.remote
    def work(i):
        return i * i

    left, found = [work.remote(i) for i in range(12)], []
    while left:
        ready, left = ray.wait(left, num_returns=min(2, len(left)), timeout=60)
        found += ray.get(ready)
    assert sorted(found) == [i * i for i in range(12)]


@line("GET.4")
@needs("background")
def test_a_timeout(tmp_path, wait_for, note):
    ray.init(num_cpus=1)
    gate = str(tmp_path / "gate")
    ref = ray.remote(wait_for).remote(gate)
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.05)
    ready, pending = ray.wait([ref], timeout=0)
    assert (ready, pending) == ([], [ref])
    note(gate)
    ray.get(ref)


def test_word_count_by_map_and_reduce():
    ray.init(num_cpus=2)
    texts = ["a b a", "b c", "a c c c"]

    @ray.remote
    def map_text(text, reducers):
        out = [collections.Counter() for _ in range(reducers)]
        for word in text.split():
            out[ord(word) % reducers][word] += 1
        return out

    @ray.remote
    def reduce_counts(*counters):
        return sum(counters, collections.Counter())

    mapped = [map_text.options(num_returns=2).remote(t, 2) for t in texts]
    reduced = [reduce_counts.remote(*(m[i] for m in mapped)) for i in range(2)]
    assert sum(ray.get(reduced), collections.Counter()) == {"a": 3, "b": 2, "c": 4}


@line("ERR.1")
def test_errors_of_the_users_own():
    ray.init(num_cpus=2)

    class Impossible(ValueError):
        def __init__(self, what, code=7):
            super().__init__(what)
            self.code = code

    @ray.remote
    def fail(x):
        raise Impossible(f"no {x}")

    @ray.remote
    def passes_on(x):
        return x

    for ref in (fail.remote("way"), passes_on.remote(fail.remote("way"))):
        try:
            ray.get(ref)
        except Impossible as e:
            assert e.code == 7 and isinstance(e, ray.exceptions.RayTaskError)
            assert "no way" in str(e)
        else:
            raise AssertionError("it did not raise")


@needs("processes")
def test_modules_and_files_beside_the_program(script):
    done = script("""
        import fanlight as ray, helper, os
        open("data.txt", "w").write("41")

        @ray.remote
        def read(path):
            return helper.double(int(open(path).read()))

        print(ray.get(read.remote("data.txt")))
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "82"


# --- actors --------------------------------------------------------------------------------------


@line("ACT.1", "ACT.2")
def test_counters_with_a_base_class():
    ray.init(num_cpus=2)

    class Base:
        def __init__(self, start=0):
            self.n = start

        def increment(self, by=1):
            self.n += by
            return self.n

    @ray.remote
    class Counter(Base):
        def value(self):
            return self.n

        def reset(self):
            self.n = 0

    counters = [Counter.remote(), Counter.remote(start=10)]
    refs = [c.increment.remote() for _ in range(5) for c in counters]
    assert ray.get(refs) == [x for i in range(1, 6) for x in (i, 10 + i)]
    counters[0].reset.remote()
    assert ray.get([c.value.remote() for c in counters]) == [0, 15]


def test_an_attribute_with_the_name_of_a_method():
    ray.init(num_cpus=1)

    @ray.remote
    class Game:
        def __init__(self):
            self.score = 3

        def score(self):
            return "the method"

        def read(self):
            return self.score

    game = Game.remote()
    assert ray.get(game.read.remote()) == 3
    assert ray.get(game.score.remote()) == "the method"


@line("ARG.7", "LIF.3", "LIF.15", "LIF.20")
def test_handles_names_and_ends():
    ray.init(num_cpus=2, namespace="course")

    @ray.remote
    class Board:
        def __init__(self):
            self.seen = {}

        def report(self, who, what):
            self.seen[who] = what

        def all(self):
            return self.seen

    @ray.remote
    class Player:
        def __init__(self, board: ray.actor.ActorHandle):
            self.board = board

        def play(self, who):
            ray.get(self.board.report.remote(who, who * 2))

    @ray.remote
    def visit(board):
        return ray.get(board.report.remote("task", "was here"))

    board = Board.options(name="board", lifetime="detached").remote()
    players = [Player.remote(board) for _ in range(2)]
    ray.get([p.play.remote(i) for i, p in enumerate(players)] + [visit.remote(board)])
    same = ray.get_actor("board")
    assert ray.get(same.all.remote()) == {0: 0, 1: 2, "task": "was here"}
    assert ray.util.list_named_actors() == ["board"]
    ray.kill(board)

    def gone():
        try:
            return ray.get_actor("board") is None
        except ValueError:
            return True

    assert poll(gone)


def test_a_parameter_server():
    ray.init(num_cpus=2)

    @ray.remote
    class Server:
        def __init__(self, size):
            self.weights = np.zeros(size)

        def push(self, gradient):
            self.weights = self.weights + gradient

        def pull(self):
            return self.weights

    @ray.remote
    def work(server, steps):
        for _ in range(steps):
            weights = ray.get(server.pull.remote())
            ray.get(server.push.remote(np.ones_like(weights)))

    server = Server.remote(20_000)
    ray.get([work.remote(server, 4) for _ in range(3)])
    assert ray.get(server.pull.remote()).sum() == 20_000 * 12


def test_monte_carlo_with_an_actor_pool():
    ray.init(num_cpus=2)

    @ray.remote
    class Progress:
        def __init__(self):
            self.done = {}

        def report(self, task, n):
            self.done[task] = n

        def total(self):
            return sum(self.done.values())

    @ray.remote
    class Sampler:
        def sample(self, seed, n, progress):
            generator = random.Random(seed)
            inside = sum(generator.random() ** 2 + generator.random() ** 2 <= 1 for _ in range(n))
            progress.report.remote(seed, n)
            return inside

    progress = Progress.remote()
    pool = ActorPool([Sampler.remote() for _ in range(2)])
    counts = list(pool.map_unordered(lambda a, s: a.sample.remote(s, 2000, progress), range(6)))
    assert abs(4 * sum(counts) / 12_000 - 3.14159) < 0.1
    assert poll(lambda: ray.get(progress.total.remote()) == 12_000)


@line("ACC.1", "ACC.5")
def test_async_and_threaded_actors():
    ray.init(num_cpus=2)

    @ray.remote
    class Async:
        async def fetch(self, i):
            await asyncio.sleep(0.001)
            return i * 10

    @ray.remote(max_concurrency=4)
    class Threaded:
        def fetch(self, i):
            return i + 0.5

    a, t = Async.remote(), Threaded.remote()

    async def program():
        assert await a.fetch.remote(4) == 40
        return await asyncio.gather(*(actor.fetch.remote(i) for i in range(5) for actor in (a, t)))

    assert asyncio.run(program()) == [x for i in range(5) for x in (i * 10, i + 0.5)]


# --- resources and the rest ----------------------------------------------------------------------


@line("INI.2", "RES.1")
def test_pretend_gpus_and_custom_resources():
    ray.init(num_cpus=16, num_gpus=4, resources={"accelerator": 2})

    @ray.remote(num_gpus=2, max_calls=10)
    def train():
        return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    @ray.remote(resources={"accelerator": 1})
    def special():
        return ray.available_resources().get("accelerator", 0)

    ids, visible = ray.get(train.remote())
    assert len(ids) == 2 and visible == ",".join(map(str, ids))
    assert ray.get(special.remote()) == 1
    assert ray.get_gpu_ids() == []
    assert ray.cluster_resources()["GPU"] == 4
    impossible = ray.remote(resources={"accelerator": 3})(lambda: None).remote()
    assert ray.wait([impossible], timeout=0.05)[0] == []


@line("CAN.2", "LIF.11")
@needs("processes")
def test_faults(tmp_path, note):
    ray.init(num_cpus=2)
    log = str(tmp_path / "log")

    @ray.remote(max_retries=2)
    def flaky():
        note(log)
        if Path(log).read_text().count("x") < 3:
            os._exit(1)
        return "in the end"

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Phoenix:
        def __init__(self):
            self.n = 0

        def count(self):
            self.n += 1
            return self.n

        def burn(self):
            os._exit(1)

    assert ray.get(flaky.remote()) == "in the end"
    phoenix = Phoenix.options(max_task_retries=0).remote()
    assert ray.get(phoenix.count.remote()) == 1
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(phoenix.burn.remote())

    def risen():
        try:
            return ray.get(phoenix.count.remote())
        except ray.exceptions.RayActorError:
            return None

    assert poll(risen) == 1
    waiting = ray.remote(resources={"none": 1})(lambda: None).remote()
    ray.cancel(waiting)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(waiting)


@line("OBS.6", "OBS.12")
def test_where_am_i(tmp_path):
    ray.init(num_cpus=2)

    @ray.remote
    def me():
        context = ray.get_runtime_context()
        return context.get_node_id(), context.get_task_id()

    node, task = ray.get(me.remote())
    assert node == ray.nodes()[0]["NodeID"] and task
    ray.timeline(filename=str(tmp_path / "timeline.json"))
    assert isinstance(json.loads((tmp_path / "timeline.json").read_text()), list)


def test_pools_of_the_standard_library_and_joblib():
    joblib = pytest.importorskip("joblib")
    from fanlight.util.joblib import register_ray
    from fanlight.util.multiprocessing import Pool

    ray.init(num_cpus=2)
    with Pool() as pool:
        assert pool.map(lambda x: x * x, range(10)) == [x * x for x in range(10)]
        assert sorted(pool.imap_unordered(abs, [-2, -1])) == [1, 2]
    register_ray()
    with joblib.parallel_backend("ray"):
        out = joblib.Parallel(n_jobs=-1)(joblib.delayed(pow)(i, 2) for i in range(5))
    assert out == [0, 1, 4, 9, 16]


def test_objects_and_pickles(capsys):
    ray.init(num_cpus=2)
    array = np.arange(50_000.0)
    ref = ray.put(array)
    assert isinstance(ref, ray.ObjectRef) and isinstance(ref, ray.ObjectID)

    @ray.remote
    def total(x, weights):
        assert not x.flags.writeable
        return float((x * weights).sum())

    assert ray.get([total.remote(ref, w) for w in (1, 2)]) == [array.sum(), 2 * array.sum()]
    assert ray.cloudpickle.loads(ray.cloudpickle.dumps(lambda: ref))() == ref
    ok, failures = inspect_serializability(threading.Lock().acquire, name="a lock's method")
    assert not ok and failures
    assert "a lock's method cannot be sent" in capsys.readouterr().out
