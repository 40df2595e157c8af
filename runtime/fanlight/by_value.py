"""Functions and classes that travel by value: those of a notebook, lambdas, local ones.

cloudpickle carries them; this module adds what a notebook needs.

*Identity.* A class has an id, and a process that knows the id uses the class it has. Its attributes
flow one way, from the driver to the workers: what a worker sends back never changes a class that
the driver knows, and between workers a class only reaches who does not know it yet. (cloudpickle
alone has each pickle that passes overwrite the methods and attributes of the class, so that a
result would replace the notebook's own.)

*Source.* The lines of the cell travel with what it defines, so that ``inspect.getsource`` and
tracebacks find them in a worker, and in the notebook those of a cell that ran in a worker.

*Dispatch.* ``functools.singledispatch`` functions travel with their registry.
"""

from __future__ import annotations

import functools
import linecache
import weakref
from types import FunctionType
from typing import Any

in_worker = False  # set by worker processes

SOURCE_LIMIT = 1 << 18  # characters of a cell that travel with what it defines

_known: weakref.WeakSet[type] = weakref.WeakSet()  # classes that are complete in this process
_joined: dict[str, tuple[list[str], str]] = {}  # by file name: the lines, as one text
_dispatch_code = functools.singledispatch(lambda x: x).__code__  # type: ignore[attr-defined]


def reduce(pickler: Any, obj: Any, reduced: Any) -> Any:
    """What ``reducer_override`` of a pickler returns for ``obj``, after cloudpickle ``reduced`` it.

    ``pickler.sources`` is the set of the files whose lines this pickle has already.
    """
    if type(obj) is FunctionType:
        if obj.__code__ is _dispatch_code and hasattr(obj, "registry"):
            return _reduce_dispatch(obj)
        if type(reduced) is tuple and len(reduced) == 6:
            source = _source(obj.__code__.co_filename, pickler.sources)
            if source is not None:
                make, args, state, _, _, setter = reduced
                return make, args, (setter, state, *source), None, None, set_function
    elif type(reduced) is tuple and len(reduced) == 6 and isinstance(obj, type):
        make, args, state, _, _, setter = reduced
        _known.add(obj)
        return make, args, (setter, not in_worker, state), None, None, set_class
    return reduced


def know(cls: type) -> None:
    """``cls`` is complete in this process: what another worker sends of it changes nothing."""
    _known.add(cls)


def set_class(cls: type, payload: tuple[Any, bool, Any]) -> type:
    """Called by unpickling, with what :func:`reduce` put there."""
    setter, from_driver, state = payload
    if cls in _known and not (in_worker and from_driver):
        return cls
    setter(cls, state)
    _known.add(cls)
    return cls


def set_function(function: FunctionType, payload: tuple[Any, Any, str, str]) -> None:
    """Called by unpickling, with what :func:`reduce` put there."""
    setter, state, filename, source = payload
    setter(function, state)
    if filename not in linecache.cache:
        remember_source(filename, source)


def remember_source(filename: str, source: str) -> None:
    """Let ``linecache``, and so tracebacks and ``inspect``, find a cell's lines."""
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)


def _source(filename: str, sent: set[str]) -> tuple[str, str] | None:
    """File name and text of the cell that a function is of, once in each pickle."""
    if filename in sent:
        return None
    sent.add(filename)
    entry: Any = linecache.cache.get(filename)
    # Files have a time of change; what has none is kept in memory only.
    if entry is None or len(entry) != 4 or entry[1] is not None:
        return None
    lines = entry[2]
    joined = _joined.get(filename)
    if joined is None or joined[0] is not lines:
        if len(_joined) > 1000:
            _joined.clear()
        joined = _joined[filename] = (lines, "".join(lines))
    return (filename, joined[1]) if len(joined[1]) <= SOURCE_LIMIT else None


def _reduce_dispatch(function: Any) -> Any:
    """``singledispatch`` keeps its registry in closures that cannot be pickled."""
    registry = dict(function.registry)
    default = registry.pop(object)
    attributes = {
        key: value
        for key, value in vars(function).items()
        if key not in ("registry", "dispatch", "register", "_clear_cache", "__wrapped__")
    }
    return _make_dispatch, (default,), (registry, attributes), None, None, _set_dispatch


def _make_dispatch(default: Any) -> Any:
    return functools.singledispatch(default)


def _set_dispatch(function: Any, state: tuple[dict[type, Any], dict[str, Any]]) -> None:
    registry, attributes = state
    for cls, implementation in registry.items():
        function.register(cls, implementation)
    vars(function).update(attributes)
