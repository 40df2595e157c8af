"""What a task made, as it travels: its results as values, its exception as a report."""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

from fanlight import errors, ids, serialization
from fanlight import messages as m
from fanlight.client.failures import cannot_serialize, pack_error
from fanlight.worker import tracebacks

if TYPE_CHECKING:
    from fanlight.client.client import Client
    from fanlight.worker.actor_host import ActorHost


def results(client: Client, execute: m.Execute, spec: m.TaskSpec, result: Any) -> list[m.Value]:
    """The values of what a function returned; raises what pickling raises, and TypeError or
    ValueError when it is not ``num_returns`` results."""
    count = spec.num_returns
    if count == 1 or count == m.DYNAMIC:
        oid = ids.object_id(execute.task, 0)
        try:
            packed = serialization.dumps(result)
        except Exception as e:
            raise _unserializable(spec.name, result, e) from None
        return [client.store(oid, packed)]
    if count == 0:
        return []
    items = _split(result, count)
    values: list[m.Value] = []
    try:
        for i, item in enumerate(items):
            try:
                packed = serialization.dumps(item)
            except Exception as e:
                raise _unserializable(spec.name, item, e) from None
            values.append(client.store(ids.object_id(execute.task, i), packed))
    except BaseException:
        # Segments of the first results are written: announced, they are taken back.
        for value in values:
            client.abandon(value)
        raise
    return values


def _unserializable(name: str, value: Any, error: Exception) -> Exception:
    """What says which part of a result cannot be pickled; errors of the user's own stay."""
    if isinstance(error, TypeError | AttributeError | pickle.PicklingError):
        return cannot_serialize(f"the result of {name}:", value, error)
    return error


def _split(result: Any, count: int) -> tuple[Any, ...]:
    try:
        length = len(result)
    except TypeError:
        raise TypeError(
            f"A task with num_returns={count} must return {count} values, not a "
            f"{type(result).__name__}."
        ) from None
    if length != count:
        raise ValueError(f"Task returned {length} objects, but num_returns={count}.")
    return tuple(result)


def failed(
    execute: m.Execute,
    spec: m.TaskSpec,
    error: BaseException,
    duration: float,
    actor: ActorHost | None,
) -> m.Done:
    """The report of a task or of a method of ``actor`` that raised ``error``."""
    header = f"fanlight::{spec.name}() (pid={os.getpid()}"
    if actor is not None:
        header += f", actor_id={actor.id.hex()}, repr={actor.repr()}"
    text = tracebacks.text_of(error, header + ")")
    packed = pack_error(error, text, spec.name, spec.origin)
    value = m.Value(
        ids.object_id(execute.task, 0), m.ERROR, packed.to_bytes(), packed.size,
        packed.contained or None,
    )  # fmt: skip
    retriable = spec.retry_exceptions and isinstance(error, Exception)
    if retriable and spec.retry_types:
        retriable = _is_one_of(errors.innermost(error), spec)
    return m.Done(
        execute.task, False, [value], duration, tracebacks.last_line(error), text, retriable
    )


def _is_one_of(error: BaseException, spec: m.TaskSpec) -> bool:
    """Whether it is of a type in ``retry_exceptions``; types that cannot be loaded here are not."""
    try:
        return isinstance(error, pickle.loads(spec.retry_types))
    except Exception as e:
        print(
            f"{spec.name} is not retried: its retry_exceptions cannot be loaded in this process: "
            f"{type(e).__name__}: {e}",
            file=sys.stderr,
        )
        return False
