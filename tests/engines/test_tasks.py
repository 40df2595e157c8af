"""TSK: tasks."""

from __future__ import annotations

import functools
import os
import threading

import pytest

from tests.engines.support import line, needs

counter = 0


@line("TSK.1")
def test_ways_to_decorate(rt):
    def f(x=1):
        return x

    assert rt.get(rt.remote(f).remote(2)) == 2
    assert rt.get(rt.remote(num_cpus=1)(f).remote(3)) == 3
    assert rt.get(rt.remote(num_returns=1, max_retries=0)(f).remote()) == 1


@line("TSK.1")
def test_what_cannot_be_decorated(rt):
    class Callable:
        def __call__(self):
            pass

    with pytest.raises((AssertionError, TypeError)):
        rt.remote()
    with pytest.raises((AssertionError, TypeError)):
        rt.remote(5)
    for thing in (functools.partial(print), len, Callable()):
        with pytest.raises(TypeError, match="either a function or a class"):
            rt.remote(thing)


@line("TSK.2")
def test_a_direct_call(rt):
    @rt.remote
    def f():
        pass

    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        f()


@line("TSK.3")
def test_remote_returns_at_once(rt, never):
    ref = never()
    assert isinstance(ref, rt.ObjectRef)
    assert rt.wait([ref], timeout=0) == ([], [ref])


@line("TSK.4")
@needs("processes")
def test_bodies_run_in_other_processes(rt):
    assert rt.get(rt.remote(lambda: os.getpid()).remote()) != os.getpid()


@line("TSK.4")
@needs("background")
def test_tasks_overlap(rt, tmp_path, wait_for, note):
    @rt.remote
    def meet(me, other):
        note(me)
        wait_for(other)
        return True

    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert rt.get([meet.remote(a, b), meet.remote(b, a)]) == [True, True]


@line("TSK.5")
@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 1}, "got an unexpected keyword argument 'z'"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
    ],
)
def test_signatures_are_checked_by_the_caller(rt, args, kwargs, words):
    @rt.remote
    def f(a, b=2):
        return a, b

    with pytest.raises(TypeError, match=words) as info:
        f.remote(*args, **kwargs)
    assert not isinstance(info.value, rt.exceptions.RayError)


@line("TSK.6")
def test_kinds_of_parameters(rt):
    @rt.remote
    def f(a, b=2, /, c=3, *rest, d, e=5, **more):
        return a, b, c, rest, d, e, more

    assert rt.get(f.remote(1, d=4)) == (1, 2, 3, (), 4, 5, {})
    assert rt.get(f.remote(1, 2, 3, 4, 5, d=6, e=7, x=8)) == (1, 2, 3, (4, 5), 6, 7, {"x": 8})


@line("TSK.7")
def test_captured_values_are_those_of_the_first_call(rt):
    x = 1

    @rt.remote
    def f():
        return x

    assert rt.get(f.remote()) == 1
    x = 2
    assert rt.get(f.remote()) == 1


@line("TSK.8")
def test_what_is_defined_later_is_captured(rt):
    @rt.remote
    def even(n):
        return True if n == 0 else rt.get(odd.remote(n - 1))

    @rt.remote
    def odd(n):
        return False if n == 0 else rt.get(even.remote(n - 1))

    @rt.remote
    def factorial(n):
        return 1 if n <= 1 else n * rt.get(factorial.remote(n - 1)) * one()

    def one():
        return 1

    assert rt.get([even.remote(4), odd.remote(4)]) == [True, False]
    assert rt.get(factorial.remote(5)) == 120


@line("TSK.8", "TSK.10", "TSK.11", "TSK.23", "INI.21", "INI.22")
def test_a_driver_script(script):
    done = script(
        """
        import os, sys
        import helper
        print("module level", flush=True)

        @fanlight.remote
        def even(n):
            return n == 0 or fanlight.get(odd.remote(n - 1))

        @fanlight.remote
        def odd(n):
            return n != 0 and fanlight.get(even.remote(n - 1))

        class Point:
            def __init__(self, x):
                self.x = x

        @fanlight.remote
        def make(x):
            return Point(helper.double(x)), __name__, os.getcwd()

        @fanlight.remote
        def same():
            return 1
        first = same

        @fanlight.remote
        def same():
            return 2

        point, name, cwd = fanlight.get(make.remote(4))
        print(fanlight.get([even.remote(3), odd.remote(3)]))
        print(isinstance(point, Point), point.x, name, cwd == os.getcwd())
        print(fanlight.get([first.remote(), same.remote()]))
        print(fanlight.get(fanlight.remote(helper.double).remote(5)))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "module level",
        "[False, True]",
        "True 8 __main__ True",
        "[1, 2]",
        "10",
    ]


@line("TSK.9")
def test_globals_change_only_where_the_task_runs(rt):
    @rt.remote
    def bump():
        global counter
        counter += 1
        return counter

    assert rt.get(bump.remote()) >= 1
    assert counter == 0


@line("TSK.12")
def test_async_functions_are_refused(rt):
    async def f():
        pass

    with pytest.raises(ValueError):
        rt.remote(f)


@line("TSK.13")
def test_lambdas_and_wrapped_functions(rt):
    def shout(f):
        @functools.wraps(f)
        def wrapper(*args, **kwargs):
            return f(*args, **kwargs).upper()

        return wrapper

    @rt.remote
    @shout
    def hello(name):
        return f"hello {name}"

    assert rt.get(hello.remote("you")) == "HELLO YOU"
    assert rt.get(rt.remote(lambda x: x + 1).remote(1)) == 2
    with pytest.raises(TypeError):
        hello.remote()


@line("TSK.14")
def test_options_make_a_new_object(rt):
    @rt.remote(num_returns=2)
    def f():
        return 1, 2

    three = f.options(num_returns=1)
    assert three is not f
    assert rt.get(three.remote()) == (1, 2)
    assert rt.get(f.remote()) == [1, 2]
    assert rt.get(f.options(name="other").remote()) == [1, 2]  # the rest is merged


@line("TSK.15")
@needs("processes")
def test_workers_are_used_again(rt):
    @rt.remote
    def pid():
        return os.getpid()

    assert len({rt.get(pid.remote()) for _ in range(20)}) <= 4


@line("TSK.17")
def test_tasks_submit_tasks_and_refs_are_not_flattened(rt):
    @rt.remote
    def child(x):
        return x + 1

    @rt.remote
    def parent(x):
        return child.remote(x)

    inner = rt.get(parent.remote(1))
    assert isinstance(inner, rt.ObjectRef)
    assert rt.get(inner) == 2


@line("TSK.17")
def test_tasks_create_actors(rt):
    @rt.remote
    class Counter:
        def __init__(self, n):
            self.n = n

        def inc(self):
            self.n += 1
            return self.n

    @rt.remote
    def use(n):
        c = Counter.remote(n)
        return rt.get([c.inc.remote() for _ in range(3)])

    assert rt.get(use.remote(10)) == [11, 12, 13]


@line("TSK.18")
def test_a_child_outlives_its_parent(rt, tmp_path, note, eventually):
    path = str(tmp_path / "done")

    @rt.remote
    def child():
        note(path)

    @rt.remote
    def parent():
        child.remote()

    assert rt.get(parent.remote()) is None
    eventually(lambda: os.path.exists(path))


@line("TSK.21")
def test_a_captured_value_that_cannot_be_pickled(rt):
    my_lock = threading.Lock()

    @rt.remote
    def f():
        return my_lock

    with pytest.raises(TypeError, match="my_lock"):
        f.remote()


@line("TSK.23")
def test_one_name_two_functions(rt):
    def make(n):
        @rt.remote
        def same():
            return n

        return same

    a, b = make(1), make(2)
    assert rt.get([a.remote(), b.remote(), a.remote()]) == [1, 2, 1]


@line("TSK.4", "TSK.20")
def test_many_tasks(rt):
    square = rt.remote(lambda x: x * x)
    assert rt.get([square.remote(i) for i in range(500)]) == [i * i for i in range(500)]


@line("TSK.22")
def test_a_function_that_captures_too_much(rt):
    import warnings

    def of(size):
        data = os.urandom(1 << 20) * (size >> 20)

        @rt.remote
        def f():
            return len(data)

        return f

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rt.get(of(1 << 20).remote()) == 1 << 20
    with pytest.warns(UserWarning, match=r"large: 1\d MB.*fanlight.put"):
        ref = of(12 << 20).remote()
    assert rt.get(ref) == 12 << 20
    with pytest.raises(ValueError, match=r"too large.*FUNCTION_SIZE_ERROR_THRESHOLD"):
        of(100 << 20).remote()
