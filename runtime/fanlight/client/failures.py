"""Errors as clients meet them: values that hold an exception, and values that cannot travel."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from fanlight import errors, serialization, traces
from fanlight import messages as m
from fanlight.wire.failures import ConnectionLost

__all__ = [
    "ConnectionLost",
    "Culprit",
    "cannot_serialize",
    "cannot_serialize_arguments",
    "culprits",
    "exception_of",
    "own_error",
    "pack_error",
]


def pack_error(
    error: BaseException, text: str, name: str, origin: str = ""
) -> serialization.Serialized:
    """A task's exception as a value of kind ERROR; called by workers. ``origin``: of the task.

    The cause is pickled by itself, so that the text arrives even if the exception does not.
    """
    cause = errors.innermost(error)
    try:
        inner = serialization.dumps(cause)
        packed, contained = inner.to_bytes(), inner.contained
        problem = ""
    except Exception as e:
        packed, contained, problem = b"", [], f"{type(e).__name__}: {e}"
    chain = traces.of(error)
    fields = (packed, text, name, type(cause).__name__, problem, origin, chain)
    return serialization.Serialized(pickle.dumps(fields, 5), [], contained)


def _unpack_error(data: bytes) -> tuple[BaseException, str, str, list[traces.Trace]]:
    packed, text, name, type_name, problem, _, chain = pickle.loads(data)
    if not packed:
        sentence = f"The task raised {type_name}, which cannot be pickled ({problem})."
        cause: BaseException = errors.FanlightError(f"{sentence} Its traceback:\n{text}")
        return cause, f"{text}\n{sentence}", name, chain
    try:
        cause = serialization.loads(packed)
        if not isinstance(cause, BaseException):
            raise TypeError(f"unpickled to {type(cause).__name__}")
    except Exception as e:
        cause = errors.UnserializableException(
            f"The task raised {type_name}, which cannot be rebuilt here "
            f"({type(e).__name__}: {e}). Its traceback:\n{text}"
        )
    return cause, text, name, chain


def exception_of(value: m.Value) -> BaseException:
    """The exception that ``get`` raises for a failed value; a new one at each call."""
    if value.kind == m.ERROR:
        cause, text, name, chain = _unpack_error(value.data)
        if isinstance(cause, errors.UnserializableException):
            cause._trace = chain
            return cause
        if isinstance(cause, KeyboardInterrupt):
            cause = errors.TaskCancelledError("The task raised KeyboardInterrupt.")
        found = errors.make_task_error(cause, text, name)
        found._trace = chain
        return found
    failure = msgspec.msgpack.decode(value.data, type=m.Failure)
    if failure.code == "dependency":
        detail = failure.detail
        inner = exception_of(m.Value(b"", detail["kind"], detail["data"]))
        text = f"fanlight::{failure.task_name}()\n{failure.message}\n{inner}"
        found = errors.make_task_error(errors.innermost(inner), text, failure.task_name)
        found._trace = getattr(inner, "_trace", None)
        return found
    message = failure.message
    if "data" in failure.detail:  # it died of another failure
        inner = exception_of(m.Value(b"", failure.detail["kind"], failure.detail["data"]))
        message = f"{message}\n{inner}"
    error = errors.from_failure(
        failure.code,
        message,
        task_id=failure.task_id.hex(),
        actor_id=failure.actor_id.hex(),
        init_failed=bool(failure.detail.get("init_failed")),
    )
    if isinstance(error, errors.ObjectLostError):
        error.object_ref_hex = value.oid.hex()
    if failure.code == "cancelled":
        return errors.make_task_error(error, message, failure.task_name)
    return error


def own_error(error: BaseException) -> BaseException:
    """The user's exception, for interfaces that promise its own type; what ``get`` raised, with
    the remote traceback, is its cause."""
    own = errors.innermost(error)
    if own is not error:
        own.__cause__ = error
    return own


def cannot_serialize(what: str, value: Any, error: BaseException) -> TypeError:
    """A TypeError that names the part of ``value`` that cannot be pickled."""
    part = next(culprits(value, error)).path if isinstance(error, Exception) else ""
    where = f" The part that cannot be pickled: {part}." if part else ""
    return TypeError(
        f"Could not serialize {what} {_short(value)}: {type(error).__name__}: {error}.{where} "
        "Locks, open files, sockets, generators and database connections belong to one process; "
        "make them inside the task instead."
    )


def cannot_serialize_arguments(
    what: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException
) -> TypeError:
    """As above, for the argument of a call that is to blame."""
    for name, value in [*enumerate(args), *kwargs.items()]:
        try:
            serialization.dumps(value)
        except Exception as e:
            label = f"number {name}" if isinstance(name, int) else repr(name)
            return cannot_serialize(f"the argument {label} of {what}:", value, e)
    return cannot_serialize(f"the argument of {what}:", args, error)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Culprit(NamedTuple):
    """A part of a value that cannot be pickled, although none of its own parts is to blame."""

    obj: Any
    path: str  # from the value: ``.lock``, ``['x'][0]``, ``captured variable 'file'``
    name: str  # the last step of the path
    parent: Any  # what holds it
    error: Exception


def culprits(value: Any, error: Exception, depth: int = 5) -> Iterator[Culprit]:
    """The innermost parts of ``value`` that fail by themselves; ``error`` is what it raised."""
    return _culprits(Culprit(value, "", "", None, error), depth, {id(value)})


def _culprits(whole: Culprit, depth: int, seen: set[int]) -> Iterator[Culprit]:
    found = False
    for label, part in _parts(whole.obj) if depth else ():
        if id(part) in seen:
            continue
        try:
            serialization.dumps(part)
        except Exception as e:
            found = True
            seen.add(id(part))
            inner = Culprit(part, whole.path + label, label.strip(" ."), whole.obj, e)
            yield from _culprits(inner, depth - 1, seen)
    if not found:
        yield whole


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What pickling ``value`` would pickle in turn, as far as it can be told from outside."""
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        parts = [(f"[{k!r}]", v) for k, v in list(value.items())[:50]]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"[{i}]", v) for i, v in enumerate(list(value)[:50])]
    elif callable(value) and getattr(value, "__closure__", None):
        names = value.__code__.co_freevars
        for name, cell in zip(names, value.__closure__, strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                parts.append((f" captured variable {name!r}", cell.cell_contents))
    if callable(value) and hasattr(value, "__code__"):
        used = value.__code__.co_names
        space = getattr(value, "__globals__", {})
        parts += [(f" global {n!r}", space[n]) for n in used if n in space]
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts += [(f".{k}", v) for k, v in list(vars(value).items())[:50]]
    elif isinstance(value, type):
        parts += [(f".{k}", v) for k, v in vars(value).items() if not _is_dunder(k)]
    return parts


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
