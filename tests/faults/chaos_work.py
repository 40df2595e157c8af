"""The kinds of work of the chaos tests: each begins something and knows what must come of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.chaos_ledger import Ledger

# Seconds: only a hang takes so long.
PATIENCE = float(os.environ.get("FANLIGHT_TEST_DEADLINE", "90"))

Steps = tuple[int, Iterator[None]]  # tasks, and what yields once before it waits


class Work:
    """Kinds of jobs. A method gets a random number, and returns how many tasks it stands for and an
    iterator: its first step submits, the rest waits and checks."""

    WEIGHTS = {  # noqa: RUF012
        "small": 30, "stored": 6, "chain": 4, "tree": 1, "stream": 2, "mortal": 0.4, "nested": 2,
        "cancelled": 2, "raising": 4, "group": 0.3, "environment": 0.3, "brief": 0.3, "slow": 2,
        "limited": 1, "maker": 0.3,
    }  # fmt: skip

    def __init__(self, rt: Any, folder: Path) -> None:
        self.rt = rt
        self.folder = folder
        self.gentle = False  # nothing that ends a process of the pool
        self._marks = 0
        self._groups = 0  # that hold a CPU: never all of them, since each waits for other work
        self._define(rt)

    def _define(self, rt: Any) -> None:
        remote = rt.remote(max_retries=-1)

        @remote
        def square(n: int) -> int:
            return n * n

        @remote
        def array(n: int) -> Any:
            import numpy

            return numpy.arange(n, n + 30_000)

        @remote
        def total(*values: Any) -> int:
            return sum(int(v.sum()) if hasattr(v, "sum") else v for v in values)

        @remote
        def add(x: Any, y: Any) -> Any:
            return x + y

        @remote
        def tree(n: int, depth: int) -> int:
            if not depth:
                return n
            refs = [tree.remote(n + i, depth - 1) for i in range(2)]
            return sum(rt.get(refs)) + n

        @rt.remote(max_retries=-1, num_returns="streaming")
        def stream(n: int, count: int) -> Any:
            import numpy

            for i in range(count):
                yield n + i if i % 4 else numpy.full(20_000, n + i)

        @remote
        def mortal(mark: str, way: str) -> str:
            import os

            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return way
            if way == "exit":
                os._exit(3)
            if way == "segfault":
                import ctypes

                ctypes.string_at(0)
            os.kill(os.getpid(), 9)
            return ""

        @remote
        def inside(value: Any) -> int:
            return sum(int(x) if isinstance(x, int) else int(x[0]) for x in rt.get(value["refs"]))

        @remote
        def pause(seconds: float) -> float:
            import time

            time.sleep(seconds)
            return seconds

        @remote
        def raising(n: int) -> None:
            raise ValueError(n)

        @rt.remote(max_retries=-1, max_calls=3)
        def limited(n: int) -> int:
            return n + 1

        @remote
        def variable() -> str:
            import os

            return os.environ["CHAOS"]

        @rt.remote(max_restarts=-1, max_task_retries=0, num_cpus=0)
        class Ledger:
            def __init__(self, path: str) -> None:
                import os

                self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
                self.have = set(os.read(self.file, 1 << 26).split())

            def record(self, n: int, more: Any = None) -> int:
                import os

                if b"%d" % n not in self.have:
                    os.write(self.file, b"%d\n" % n)
                    self.have.add(b"%d" % n)
                return n * n

            def large(self, n: int) -> Any:
                import numpy

                self.record(n)
                return numpy.full(20_000, n)

            def items(self, n: int, count: int) -> Any:
                self.record(n)
                yield from range(count)

        @remote
        def relay(ledger: Any, n: int) -> int:
            """Calls from a worker: the second one may take a channel."""
            while True:
                try:
                    return [rt.get(ledger.record.remote(n)) for _ in range(3)][-1]
                except rt.errors.ActorUnavailableError:
                    pass

        @rt.remote(num_cpus=0, max_restarts=1)
        class Brief:
            def say(self, n: int) -> int:
                return n + 1

        self.square, self.array, self.total, self.add = square, array, total, add
        self.tree_, self.stream_, self.mortal_, self.inside = tree, stream, mortal, inside
        self.pause, self.raising_, self.variable = pause, raising, variable

        @remote
        def maker(n: int) -> int:
            brief = Brief.remote()
            return sum(rt.get([brief.say.remote(i) for i in range(n)]))

        self.Ledger, self.Brief, self.relay = Ledger, Brief, relay
        self.limited_, self.maker_ = limited, maker

    def small_one(self) -> Any:
        return self.square.remote(3)

    def close(self) -> None:
        """Let go of the functions: their definitions are dropped."""
        for name in [n for n in vars(self) if n not in ("rt", "folder")]:
            delattr(self, name)

    def get(self, ref: Any) -> Any:
        return self.rt.get(ref, timeout=PATIENCE)

    # --- tasks -------------------------------------------------------------------------------

    def small(self, n: int) -> Steps:
        def steps() -> Iterator[None]:
            ref = self.square.remote(n)
            yield
            assert self.get(ref) == n * n

        return 1, steps()

    def stored(self, n: int) -> Steps:
        def steps() -> Iterator[None]:
            made = self.array.remote(n)
            put = self.rt.put(n)
            summed = self.total.remote(made, put, made)
            if n % 3 == 0:
                value = None
            yield
            expected = sum(range(n, n + 30_000))
            if n % 3 == 0:
                value = self.get(made)
                assert int(value.sum()) == expected and len(value) == 30_000
            del made
            assert self.get(summed) == 2 * expected + n

        return 2, steps()

    def chain(self, n: int) -> Steps:
        length = 2 + n % 9

        def steps() -> Iterator[None]:
            large = n % 2
            ref = self.array.remote(n) if large else self.square.remote(n)
            for _ in range(length):
                ref = self.add.remote(ref, 1)
            yield
            value = self.get(ref)
            assert (int(value[7]) == n + 7 + length) if large else (value == n * n + length)

        return 1 + length, steps()

    def tree(self, n: int) -> Steps:
        depth = 1 + n % 3

        def expected(n: int, depth: int) -> int:
            return n if not depth else sum(expected(n + i, depth - 1) for i in (0, 1)) + n

        def steps() -> Iterator[None]:
            ref = self.tree_.remote(n, depth)
            yield
            assert self.get(ref) == expected(n, depth)

        return 2 ** (depth + 1) - 1, steps()

    def stream(self, n: int) -> Steps:
        count = n % 12

        def steps() -> Iterator[None]:
            items = self.stream_.remote(n, count)
            yield
            got = []
            for ref in items:
                value = self.get(ref)
                got.append(value if isinstance(value, int) else int(value[-1]))
                if n % 7 == 0 and len(got) == 3:
                    return  # it wants no more
            assert got == [n + i for i in range(count)]

        return 1, steps()

    def mortal(self, n: int) -> Steps:
        if self.gentle:
            return self.small(n)
        way = ("exit", "segfault", "kill")[n % 3]
        self._marks += 1
        mark = str(self.folder / f"mark-{os.getpid()}-{self._marks}")

        def steps() -> Iterator[None]:
            ref = self.mortal_.remote(mark, way)
            yield
            assert self.get(ref) == way

        return 1, steps()

    def nested(self, n: int) -> Steps:
        """Refs in a value, and the value in a task that gets them."""

        def steps() -> Iterator[None]:
            refs = [self.square.remote(n % 1000), self.array.remote(n), self.rt.put(5)]
            box = self.rt.put({"refs": refs})
            ref = self.inside.remote(box)
            other = self.inside.remote({"refs": refs})
            del refs, box
            yield
            expected = (n % 1000) ** 2 + n + 5
            assert self.get(ref) == expected
            assert self.get(other) == expected

        return 4, steps()

    def cancelled(self, n: int) -> Steps:
        def steps() -> Iterator[None]:
            ref = self.pause.remote((n % 7) / 100)
            later = self.add.remote(ref, 1)
            if n % 2:
                self.rt.cancel(ref, force=n % 3 == 0 and not self.gentle)
            yield
            self.rt.cancel(ref, force=n % 5 == 0 and not self.gentle)
            for one, value in ((ref, (n % 7) / 100), (later, (n % 7) / 100 + 1)):
                try:
                    assert self.get(one) == value
                except (self.rt.errors.TaskCancelledError, self.rt.errors.TaskError) as e:
                    assert "cancel" in str(e).lower(), e

        return 2, steps()

    def raising(self, n: int) -> Steps:
        def steps() -> Iterator[None]:
            ref = self.raising_.remote(n)
            later = self.add.remote(ref, 1) if n % 2 else ref
            yield
            try:
                self.get(later)
            except ValueError as e:
                assert f"ValueError: {n}" in str(e), e
            else:
                raise AssertionError("it did not raise")

        return 1 + n % 2, steps()

    def slow(self, n: int) -> Steps:
        def steps() -> Iterator[None]:
            ref = self.pause.remote((n % 30) / 1000)
            yield
            assert self.get(ref) == (n % 30) / 1000

        return 1, steps()

    def limited(self, n: int) -> Steps:
        """A function whose process ends after three runs."""

        def steps() -> Iterator[None]:
            ref = self.limited_.remote(n)
            yield
            assert self.get(ref) == n + 1

        return 1, steps()

    def maker(self, n: int) -> Steps:
        """A task that makes an actor and calls it."""

        def steps() -> Iterator[None]:
            ref = self.maker_.remote(n % 9)
            yield
            try:
                assert self.get(ref) == sum(range(1, n % 9 + 1))
            except self.rt.errors.TaskError as e:
                assert isinstance(e, self.rt.errors.ActorError), e

        return 2 + n % 9, steps()

    def group(self, n: int) -> Steps:
        """Tasks in a placement group, which is removed afterwards."""
        from fanlight.util import placement_group, remove_placement_group
        from fanlight.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        if self._groups + 1 >= self.rt.cluster_resources()["CPU"]:
            return self.small(n)

        def steps() -> Iterator[None]:
            self._groups += 1
            made = placement_group([{"CPU": 1}])
            where = PlacementGroupSchedulingStrategy(made)
            refs = [self.square.options(scheduling_strategy=where).remote(n + i) for i in (0, 1)]
            yield
            try:
                assert self.get(refs) == [(n + i) ** 2 for i in (0, 1)]
            finally:
                remove_placement_group(made)
                self._groups -= 1

        return 2, steps()

    def environment(self, n: int) -> Steps:
        def steps() -> Iterator[None]:
            text = f"value {n % 3}"
            task = self.variable.options(runtime_env={"env_vars": {"CHAOS": text}})
            ref = task.remote()
            yield
            assert self.get(ref) == text

        return 1, steps()

    def brief(self, n: int) -> Steps:
        """An actor that is killed for good, or restarted, or dropped, while it has calls."""

        def steps() -> Iterator[None]:
            errors = self.rt.errors
            actor = self.Brief.remote()
            refs = [actor.say.remote(i) for i in range(5)]
            if n % 3:
                with contextlib.suppress(errors.ActorError):
                    self.get(refs[0])
                self.rt.kill(actor, no_restart=n % 3 == 1)
            refs += [actor.say.remote(i) for i in range(5, 8)]
            del actor
            yield
            for i, ref in enumerate(refs):
                with contextlib.suppress(errors.ActorError):
                    assert self.get(ref) == i + 1

        return 9, steps()

    # --- actors ------------------------------------------------------------------------------

    def ledger(self, number: int, resend: bool) -> Ledger:
        path = self.folder / f"ledger-{os.getpid()}-{number}"
        options: dict[str, Any] = {"max_task_retries": -1} if resend else {}
        if number % 5 == 4:
            options["max_concurrency"] = 4
        handle = self.Ledger.options(**options).remote(str(path))
        return Ledger(self, handle, path, resend, alone=number % 3 != 2 and number % 5 != 4)
