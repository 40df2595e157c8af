"""LIF: named and detached actors."""

from __future__ import annotations

import gc
import threading

import pytest

from tests.engines.support import line, poll


@pytest.fixture
def Actor(rt):
    @rt.remote
    class Actor:
        def __init__(self, n=0):
            self.n = n

        def inc(self):
            self.n += 1
            return self.n

        def name(self):
            return rt.get_runtime_context().get_actor_name()

    return Actor


def found(rt, name, **where):
    try:
        return rt.get_actor(name, **where)
    except ValueError:
        return None


@line("LIF.15")
def test_get_actor(rt, Actor):
    actor = Actor.options(name="mine").remote(3)
    same = rt.get_actor("mine")
    assert same == actor
    assert rt.get(same.inc.remote()) == 4
    assert rt.get(actor.inc.remote()) == 5
    assert rt.get(actor.name.remote()) == "mine"


@line("LIF.15")
def test_get_actor_before_it_is_created(rt, Actor):
    actor = Actor.options(name="early", resources={"never": 1}).remote()
    assert rt.get_actor("early") == actor


@line("LIF.15")
def test_missing_names(rt):
    with pytest.raises(ValueError, match="Failed to look up actor"):
        rt.get_actor("nobody")
    with pytest.raises(ValueError):
        rt.get_actor("")


@line("LIF.3", "LIF.15")
def test_a_killed_actor_gives_its_name_back(rt, Actor):
    first = Actor.options(name="again").remote()
    assert rt.get(first.inc.remote()) == 1
    rt.kill(first)
    assert poll(lambda: found(rt, "again") is None)
    second = Actor.options(name="again").remote(10)
    assert rt.get(rt.get_actor("again").inc.remote()) == 11
    del second


@line("LIF.16")
def test_a_taken_name(rt, Actor):
    actor = Actor.options(name="taken").remote()
    with pytest.raises(ValueError, match="taken") as info:
        Actor.options(name="taken").remote()
    assert isinstance(info.value, rt.exceptions.ActorAlreadyExistsError)
    assert rt.get(actor.inc.remote()) == 1


@line("LIF.17")
def test_get_if_exists(rt, Actor):
    Shared = Actor.options(name="shared", get_if_exists=True)
    first = Shared.remote(1)
    second = Shared.remote(100)
    assert first == second
    assert rt.get(first.inc.remote()) == 2
    assert rt.get(second.inc.remote()) == 3


@line("LIF.17")
def test_get_if_exists_from_many_at_once(rt, Actor):
    @rt.remote
    def use():
        return rt.get(Actor.options(name="race", get_if_exists=True).remote().inc.remote())

    keep = Actor.options(name="race", get_if_exists=True).remote()
    assert sorted(rt.get([use.remote() for _ in range(6)])) == list(range(1, 7))
    handles = []
    threads = [
        threading.Thread(
            target=lambda: handles.append(Actor.options(name="race2", get_if_exists=True).remote())
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(handles)) == 1 and len(handles) == 4
    del keep


@line("LIF.18")
def test_namespaces(rt, Actor):
    here = Actor.options(name="n").remote(0)
    there = Actor.options(name="n", namespace="other").remote(100)
    assert here != there
    assert rt.get_actor("n") == here
    assert rt.get_actor("n", namespace="other") == there
    assert found(rt, "n", namespace="third") is None
    assert rt.get_actor("n", namespace=rt.get_runtime_context().namespace) == here


@line("LIF.18")
def test_names_inside_tasks(rt, Actor):
    actor = Actor.options(name="inside").remote()

    @rt.remote
    def use():
        return rt.get(rt.get_actor("inside").inc.remote())

    assert rt.get([use.remote(), use.remote()]) in ([1, 2], [2, 1])
    assert rt.get(actor.inc.remote()) == 3


@line("LIF.19")
def test_a_named_actor_ends_with_its_counted_handles(rt, Actor, eventually):
    actor = Actor.options(name="weak").remote()
    weak = rt.get_actor("weak")
    assert rt.get(weak.inc.remote()) == 1
    del actor
    gc.collect()
    eventually(lambda: found(rt, "weak") is None)
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(weak.inc.remote())


@line("LIF.20")
def test_a_detached_actor_outlives_its_handles(rt, Actor):
    actor = Actor.options(name="kept", lifetime="detached").remote()
    assert rt.get(actor.inc.remote()) == 1
    del actor
    gc.collect()
    assert rt.get(rt.remote(lambda: 1).remote()) == 1
    again = rt.get_actor("kept")
    assert rt.get(again.inc.remote()) == 2
    rt.kill(again)
    assert poll(lambda: found(rt, "kept") is None)


@line("LIF.20", "LIF.21")
def test_a_detached_actor_outlives_the_actor_that_made_it(rt, Actor):
    @rt.remote
    class Parent:
        def __init__(self):
            self.child = Actor.options(name="left", lifetime="detached").remote()

        def ready(self):
            return rt.get(self.child.inc.remote())

    parent = Parent.remote()
    assert rt.get(parent.ready.remote()) == 1
    rt.kill(parent)
    with pytest.raises(rt.exceptions.RayActorError):
        rt.get(parent.ready.remote())
    left = rt.get_actor("left")
    assert rt.get(left.inc.remote()) == 2
    rt.kill(left)
