"""ERR: errors."""

from __future__ import annotations

import os
import threading

import pytest

from tests.engines.support import line, needs, raises_task_error


@line("ERR.1", "ERR.2", "ERR.6")
def test_a_user_exception_comes_back_as_its_own_type(rt):
    class Boom(Exception):
        def __init__(self, a):
            super().__init__(a)
            self.a = a

    @rt.remote
    def f():
        raise Boom(7)

    with raises_task_error(rt, Boom) as info:
        rt.get(f.remote())
    error = info.value
    assert type(error.cause) is Boom
    assert error.a == error.cause.a == 7
    assert error.cause.args == (7,)
    assert error.args == (error.cause,)
    assert type(error).__name__.endswith("TaskError(Boom)")


@line("ERR.1")
def test_methods_raise_too(rt):
    @rt.remote
    class Actor:
        def f(self):
            raise ValueError("from a method")

    with raises_task_error(rt, ValueError, match="from a method"):
        rt.get(Actor.remote().f.remote())


@line("ERR.3")
def test_the_text_of_an_error(rt):
    @rt.remote
    def outer_function():
        def helper():
            raise ValueError("a message")  # a comment to find

        return helper()

    with raises_task_error(rt, ValueError) as info:
        rt.get(outer_function.remote())
    text = str(info.value)
    header, *rest = text.splitlines()
    assert "fanlight::" in header and "outer_function()" in header and "pid=" in header
    assert "in outer_function" in text and "in helper" in text
    assert "a comment to find" in text and os.path.basename(__file__) in text
    assert rest[-1] == "ValueError: a message"
    assert os.path.dirname(rt.__file__) not in text, "frames of the runtime are shown"


@line("ERR.4")
def test_the_header_of_a_method(rt):
    @rt.remote
    class Thing:
        def __repr__(self):
            return "Thing-1"

        def fail(self):
            raise ValueError("x")

    with raises_task_error(rt, ValueError) as info:
        rt.get(Thing.remote().fail.remote())
    header = str(info.value).splitlines()[0]
    assert "Thing.fail()" in header
    assert "actor_id=" in header and "repr=Thing-1" in header


@line("ERR.5")
def test_chained_exceptions(rt):
    @rt.remote
    def f():
        try:
            raise KeyError("first")
        except KeyError as e:
            raise ValueError("second") from e

    with raises_task_error(rt, ValueError) as info:
        rt.get(f.remote())
    text = str(info.value)
    assert "first" in text and "second" in text and "direct cause" in text
    assert type(info.value.cause) is ValueError


@line("ERR.1", "ERR.2")
@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (lambda: os.stat("/nothing/here"), {"errno": 2, "filename": "/nothing/here"}),
        (lambda: {}["missing"], {}),
        (lambda: b"\xff".decode(), {"start": 0, "encoding": "utf-8"}),
        (lambda: __import__("no_such_module"), {"name": "no_such_module"}),
        (lambda: 1 / 0, {}),
        (lambda: compile("1 +", "text.py", "exec"), {"filename": "text.py", "lineno": 1}),
        (lambda: next(iter([])), {"value": None}),
        (lambda: (5).nothing, {}),
    ],
    ids=["OSError", "KeyError", "Unicode", "Import", "Zero", "Syntax", "Stop", "Attribute"],
)
def test_builtin_exceptions_keep_their_fields(rt, make, fields):
    try:
        make()
    except Exception as e:
        kind = type(e)
    with raises_task_error(rt, kind) as info:
        rt.get(rt.remote(lambda: make()).remote())
    assert type(info.value.cause) is kind
    for name, value in fields.items():
        assert getattr(info.value, name) == getattr(info.value.cause, name) == value


@line("ERR.7")
def test_every_get_raises_a_fresh_error(rt):
    @rt.remote
    def f():
        raise ValueError("again")

    ref = f.remote()
    errors = []
    for _ in range(3):
        with raises_task_error(rt, ValueError) as info:
            rt.get(ref)
        errors.append(info.value)
    assert len({id(e) for e in errors}) == 3


@line("ERR.9")
def test_errors_through_nested_gets(rt):
    class Deep(Exception):
        pass

    @rt.remote
    def innermost():
        raise Deep("at the bottom")

    @rt.remote
    def middle():
        return rt.get(innermost.remote())

    @rt.remote
    def outermost():
        return rt.get(middle.remote())

    with raises_task_error(rt, Deep) as info:
        rt.get(outermost.remote())
    assert type(info.value.cause) is Deep
    text = str(info.value)
    for name in ("innermost", "middle", "outermost", "at the bottom"):
        assert name in text


@line("ERR.10")
def test_a_final_exception_class(rt):
    class Final(Exception):
        def __init_subclass__(cls):
            raise TypeError("not to be subclassed")

    @rt.remote
    def f():
        raise Final("end")

    with pytest.raises(rt.exceptions.RayTaskError) as info:
        rt.get(f.remote())
    assert type(info.value) is rt.exceptions.RayTaskError
    assert type(info.value.cause) is Final


@line("ERR.11")
def test_an_exception_that_cannot_be_pickled(rt):
    class Locked(Exception):
        def __init__(self, text):
            super().__init__(text)
            self.lock = threading.Lock()

    @rt.remote
    def f():
        raise Locked("with a lock")

    with pytest.raises(rt.exceptions.RayTaskError) as info:
        rt.get(f.remote())
    assert isinstance(info.value.cause, rt.exceptions.RayError)
    assert "with a lock" in str(info.value.cause)
    assert "Locked" in str(info.value)


@line("ERR.12")
def test_an_exception_that_cannot_be_rebuilt(rt):
    class Two(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    @rt.remote
    def f():
        raise Two("this", "that")

    with pytest.raises(rt.exceptions.RayError) as info:
        rt.get(f.remote())
    assert "this and that" in str(info.value) and "Two" in str(info.value)


@line("ERR.13")
def test_exceptions_that_are_not_ordinary(rt):
    @rt.remote
    def base():
        raise BaseException("base")

    @rt.remote
    def stop():
        raise StopIteration("stop")

    with pytest.raises(rt.exceptions.RayTaskError, match="base"):
        rt.get(base.remote())
    with raises_task_error(rt, StopIteration):
        rt.get(stop.remote())


@line("ERR.13")
@needs("processes")
def test_raising_keyboard_interrupt(rt):
    @rt.remote
    def f():
        raise KeyboardInterrupt

    with pytest.raises(rt.exceptions.TaskCancelledError):
        rt.get(f.remote())


@line("ERR.14")
def test_exception_groups(rt):
    @rt.remote
    def f():
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    with raises_task_error(rt, ExceptionGroup) as info:
        rt.get(f.remote())
    assert [type(e) for e in info.value.exceptions] == [ValueError, KeyError]
    caught = []
    try:
        rt.get(f.remote())
    except* KeyError as group:
        caught += group.exceptions
    except* ValueError as group:
        caught += group.exceptions
    assert sorted(type(e).__name__ for e in caught) == ["KeyError", "ValueError"]


@line("ERR.15")
def test_an_exception_returned_is_a_value(rt):
    f = rt.remote(lambda: ValueError("a value"))
    found = rt.get(f.remote())
    assert type(found) is ValueError and found.args == ("a value",)


TREE = {
    "RayTaskError": "RayError",
    "TaskCancelledError": "RayError",
    "WorkerCrashedError": "RayError",
    "RayActorError": "RayError",
    "ActorDiedError": "RayActorError",
    "ActorUnavailableError": "RayActorError",
    "RaySystemError": "RayError",
    "ObjectStoreFullError": "RayError",
    "OutOfDiskError": "RayError",
    "OutOfMemoryError": "RayError",
    "NodeDiedError": "RayError",
    "RuntimeEnvSetupError": "RayError",
    "PendingCallsLimitExceeded": "RayError",
    "TaskUnschedulableError": "RayError",
    "ActorUnschedulableError": "RayError",
    "TaskPlacementGroupRemoved": "RayError",
    "ActorPlacementGroupRemoved": "RayError",
    "UnserializableException": "RayError",
    "AsyncioActorExit": "RayError",
    "LocalRayletDiedError": "RayError",
    "GetTimeoutError": "RayError",
    "ObjectLostError": "RayError",
    "OwnerDiedError": "ObjectLostError",
    "ObjectReconstructionFailedError": "ObjectLostError",
    "ObjectFetchTimedOutError": "ObjectLostError",
    "ObjectFreedError": "ObjectLostError",
    "ReferenceCountingAssertionError": "ObjectLostError",
}


@line("ERR.17", "ERR.18", "ERR.19")
def test_the_tree_of_classes(rt):
    exceptions = rt.exceptions
    for name, base in TREE.items():
        assert issubclass(getattr(exceptions, name), getattr(exceptions, base)), name
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)
    for name in ("ActorAlreadyExistsError", "ActorHandleNotFoundError"):
        assert issubclass(getattr(exceptions, name), ValueError)


@line("ERR.22")
def test_an_exception_does_not_end_an_actor(rt):
    @rt.remote
    class Actor:
        def __init__(self):
            self.n = 0

        def fail(self):
            self.n += 1
            raise ValueError("x")

        def count(self):
            return self.n

    actor = Actor.remote()
    for _ in range(2):
        with raises_task_error(rt, ValueError):
            rt.get(actor.fail.remote())
    assert rt.get(actor.count.remote()) == 2
