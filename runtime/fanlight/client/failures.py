"""Errors as clients meet them: values that hold an exception, and values that cannot travel."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec

from fanlight import errors, serialization
from fanlight import messages as m
from fanlight.wire.failures import ConnectionLost

__all__ = [
    "ConnectionLost",
    "cannot_serialize",
    "cannot_serialize_arguments",
    "exception_of",
    "pack_error",
]


def pack_error(error: BaseException, text: str, name: str) -> serialization.Serialized:
    """A task's exception as a value of kind ERROR; called by workers.

    The cause is pickled by itself, so that the text arrives even if the exception does not.
    """
    cause = errors.innermost(error)
    try:
        inner = serialization.dumps(cause)
        packed, contained = inner.to_bytes(), inner.contained
        problem = ""
    except Exception as e:
        packed, contained, problem = b"", [], f"{type(e).__name__}: {e}"
    outer = pickle.dumps((packed, text, name, type(cause).__name__, problem), 5)
    return serialization.Serialized(outer, [], contained)


def _unpack_error(data: bytes) -> tuple[BaseException, str, str]:
    packed, text, name, type_name, problem = pickle.loads(data)
    if not packed:
        cause: BaseException = errors.FanlightError(
            f"The task raised {type_name}, which cannot be pickled ({problem}). "
            f"Its traceback:\n{text}"
        )
        return cause, text, name
    try:
        cause = serialization.loads(packed)
        if not isinstance(cause, BaseException):
            raise TypeError(f"unpickled to {type(cause).__name__}")
    except Exception as e:
        cause = errors.UnserializableException(
            f"The task raised {type_name}, which cannot be rebuilt here "
            f"({type(e).__name__}: {e}). Its traceback:\n{text}"
        )
    return cause, text, name


def exception_of(value: m.Value) -> BaseException:
    """The exception that ``get`` raises for a failed value; a new one at each call."""
    if value.kind == m.ERROR:
        cause, text, name = _unpack_error(value.data)
        if isinstance(cause, errors.UnserializableException):
            return cause
        if isinstance(cause, KeyboardInterrupt):
            cause = errors.TaskCancelledError("The task raised KeyboardInterrupt.")
        return errors.make_task_error(cause, text, name)
    failure = msgspec.msgpack.decode(value.data, type=m.Failure)
    if failure.code == "dependency":
        detail = failure.detail
        inner = exception_of(m.Value(b"", detail["kind"], detail["data"]))
        text = f"fanlight::{failure.task_name}()\n{failure.message}\n{inner}"
        return errors.make_task_error(errors.innermost(inner), text, failure.task_name)
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
    if failure.code == "cancelled":
        return errors.make_task_error(error, message, failure.task_name)
    return error


def cannot_serialize(what: str, value: Any, error: BaseException) -> TypeError:
    """A TypeError that names the part of ``value`` that cannot be pickled."""
    part = _culprit(value)
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


def _culprit(value: Any, path: str = "", depth: int = 0) -> str:
    """The innermost part that fails by itself, as a path like ``.lock`` or ``['x'][0]``."""
    if depth > 4:
        return path
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        parts = [(f"[{k!r}]", v) for k, v in list(value.items())[:50]]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"[{i}]", v) for i, v in enumerate(list(value)[:50])]
    elif callable(value) and getattr(value, "__closure__", None):
        names = value.__code__.co_freevars
        parts = [
            (f" captured variable {n!r}", c.cell_contents)
            for n, c in zip(names, value.__closure__, strict=True)
        ]
    if callable(value) and hasattr(value, "__code__"):
        used = value.__code__.co_names
        space = getattr(value, "__globals__", {})
        parts += [(f" global {n!r}", space[n]) for n in used if n in space]
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts += [(f".{k}", v) for k, v in list(vars(value).items())[:50]]
    for label, part in parts:
        try:
            serialization.dumps(part)
        except Exception:
            return _culprit(part, path + label, depth + 1)
    return path
