"""Why a value cannot be sent, in the user's names: which part of which variable, and the way out."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterable
from typing import Any

from fanlight_kernel.capture.carry import Packer, Space
from fanlight_kernel.capture.names import function_globals

DEPTH = 6  # of the search for the part that cannot be sent
_MANY = 1000  # parts of one value that are tried


def why_not(value: Any, space: Space) -> str | None:
    """Why ``value`` cannot be pickled, in a few words; ``None`` when it can."""
    try:
        Packer(space).pack(value)
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


# Words of a type's full name, from what users see to what they do not; and what helps.
_WAYS = (
    (("subprocess.Popen",), "start the process inside the cell"),
    (("threading.Thread", "threading.Timer"), "start the thread inside the cell"),
    (("PoolExecutor", "multiprocessing.pool"), "make the pool inside the cell, or use tasks"),
    (("futures.Future", "asyncio.Task", "asyncio.Future"), "send its result"),
    (("queue.", "Queue"), "use fanlight.util.queue.Queue, which works across processes"),
    (("_io.", "tempfile.", "io.", "file"), "open the file inside the cell"),
    (("socket", "ssl.", "Session", "aiohttp"), "open the connection inside the cell"),
    (
        ("sqlite3", "psycopg", "redis", "pymongo", "sqlalchemy", "Connection", "Cursor", "Client"),
        "connect inside the cell",
    ),
    (
        ("lock", "Lock", "Condition", "Semaphore", "threading.Event", "threading.Barrier"),
        "make the lock inside the cell; between processes, an actor takes its place",
    ),
    (("torch.",), "send a copy that .cpu() makes"),
    (("generator",), "send a list of its items, or make it inside the cell"),
    (("coroutine",), "call the async function inside the cell"),
    (("frame", "traceback"), "send its text instead"),
)


def explain(name: str, value: Any, error: BaseException, via: str | None, space: Space) -> str:
    """One message for a variable that cannot be sent: which, why, and what to do."""
    reason = _reason(error)
    chain = find_culprit(name, value, space)
    path, culprit = chain[-1]
    # Of the outermost part that is known: a thread rather than its lock.
    ways = (way for _, part in chain if (way := _way_for(part)))
    way = next(ways, "make it inside the cell")
    where = f"`{name}`" if path == name else f"`{name}` (in `{path}`, {_a(culprit)})"
    used = f", which `{via}` uses," if via else ""
    return (
        f"The variable {where}{used} cannot be sent to a worker: {reason}. "
        f"Way out: {way}, or leave it out with --in."
    )


def _way_for(part: Any) -> str | None:
    if isinstance(part, (dict, list, tuple, type, types.FunctionType)):
        return None
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(part).__mro__[:-1]]
    kinds = [kind for kind in kinds if not kind.startswith("__main__.")]
    return next(
        (way for keys, way in _WAYS if any(k in kind for k in keys for kind in kinds)), None
    )


def _a(value: Any) -> str:
    name = type(value).__qualname__
    return f"a{'n' if name[:1].lower() in 'aeiou' else ''} {name}"


def find_culprit(path: str, value: Any, space: Space, depth: int = DEPTH) -> list[tuple[str, Any]]:
    """From ``value`` to its innermost part that cannot be pickled, each with its expression."""
    chain = [(path, value)]
    if depth > 0:
        for part_path, part in _parts(path, value):
            if why_not(part, space) is not None:
                return chain + find_culprit(part_path, part, space, depth - 1)
    return chain


def _parts(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", v) for key, v in list(value.items())[:_MANY]]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{i}]", v) for i, v in enumerate(value[:_MANY])]
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        parts = []
        for name, cell in cells:
            try:
                parts.append((name, cell.cell_contents))
            except ValueError:  # not filled yet
                continue
        parts += [(f"{path}.{key}", v) for key, v in vars(value).items()]
        known = value.__globals__
        return parts + [(n, known[n]) for n in function_globals(value) if n in known]
    if isinstance(value, types.MethodType):
        return [(f"{path}.__self__", value.__self__)]
    if isinstance(value, functools.partial):
        named = [(f"{path}.keywords[{key!r}]", v) for key, v in value.keywords.items()]
        return [*((f"{path}.args[{i}]", v) for i, v in enumerate(value.args)), *named]
    if isinstance(value, type):
        return [(f"{path}.{key}", v) for key, v in vars(value).items() if key[:2] != "__"]
    found: list[tuple[str, Any]] = []
    if hasattr(value, "__dict__"):
        found += [(f"{path}.{key}", v) for key, v in list(vars(value).items())[:_MANY]]
    elif dataclasses.is_dataclass(value):  # with slots
        fields = [f.name for f in dataclasses.fields(value)]
        found += [(f"{path}.{key}", getattr(value, key)) for key in fields if hasattr(value, key)]
    if type(value).__module__ == "__main__":
        found.append((type(value).__qualname__, type(value)))
    return found
