"""Small functions of ``fanlight.util`` that need no module of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fanlight import api
from fanlight import session as sessions
from fanlight.refs import ObjectRef


def as_completed(
    refs: Sequence[ObjectRef[Any]], chunk_size: int = 10, yield_obj_refs: bool = False
) -> Iterator[Any]:
    """The values of ``refs`` as they become ready.

    They are waited for, and fetched, ``chunk_size`` at a time; within such a chunk they come in the
    order of ``refs``. A failed task's error is raised when its turn comes.

    Args:
        refs: the refs; none may occur twice.
        chunk_size: how many to wait for at once; 1 gives each value as soon as it is there.
        yield_obj_refs: give the refs themselves instead of their values.

    Raises:
        ValueError: ``chunk_size`` is not positive.

    >>> import fanlight
    >>> square = fanlight.remote(lambda x: x * x)
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     sorted(as_completed([square.remote(i) for i in range(4)]))
    [0, 1, 4, 9]
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
    return _as_completed(list(refs), chunk_size, yield_obj_refs)


def _as_completed(
    left: list[ObjectRef[Any]], chunk_size: int, yield_obj_refs: bool
) -> Iterator[Any]:
    while left:
        ready, left = api.wait(left, num_returns=min(chunk_size, len(left)))
        if yield_obj_refs:
            yield from ready
            continue
        for ref in ready:
            yield api.get(ref)


def map_unordered(
    fn: Any, items: Iterable[Any], backpressure_size: int | None = 100, chunk_size: int = 10
) -> Iterator[Any]:
    """Call the remote function ``fn`` with each item; gives results as they become ready.

    Args:
        fn: a remote function (or a method of an actor) of one argument.
        items: any iterable, also an endless one.
        backpressure_size: at most so many calls are under way at once; None for no bound.
        chunk_size: how many results to wait for at once.

    Raises:
        ValueError: ``chunk_size`` is not positive, or larger than ``backpressure_size``.

    >>> import fanlight
    >>> square = fanlight.remote(lambda x: x * x)
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     sorted(map_unordered(square, range(4)))
    [0, 1, 4, 9]
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
    if backpressure_size is not None and backpressure_size < chunk_size:
        raise ValueError(
            f"backpressure_size ({backpressure_size}) must be at least chunk_size ({chunk_size})."
        )
    if not hasattr(fn, "remote"):
        raise TypeError(f"map_unordered() takes a remote function, not {fn!r}.")
    return _map_unordered(fn, iter(items), backpressure_size, chunk_size)


def _map_unordered(
    fn: Any, items: Iterator[Any], bound: int | None, chunk_size: int
) -> Iterator[Any]:
    under_way: list[ObjectRef[Any]] = []
    for item in items:
        while bound is not None and len(under_way) >= bound:
            ready, under_way = api.wait(under_way, num_returns=chunk_size)
            for ref in ready:
                yield api.get(ref)
        under_way.append(fn.remote(item))
    yield from _as_completed(under_way, chunk_size, False)


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """The names of living actors in this namespace, or ``{"name", "namespace"}`` of all.

    >>> import fanlight
    >>> @fanlight.remote
    ... class Greeter: ...
    >>> with fanlight.init(num_cpus=1, engine="inproc"):
    ...     greeter = Greeter.options(name="hello").remote()
    ...     list_named_actors()
    ['hello']
    """
    session = sessions.require()
    found: list[dict[str, str]] = session.engine.query(
        "named_actors", namespace=session.task_namespace, all=all_namespaces
    )
    found.sort(key=lambda actor: (actor["namespace"], actor["name"]))
    return found if all_namespaces else [actor["name"] for actor in found]


def get_node_ip_address() -> str:
    """The address of this node, as ``fanlight.nodes()`` has it."""
    return str(sessions.ensure().engine.query("nodes")[0]["NodeManagerAddress"])
