"""Arguments of tasks that are lost when the task is about to begin.

A task is given back, and holds nothing until they are there again: what computes them may need just
what it holds. A call of an actor keeps its place among the others, so its process waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanlight import errors
from fanlight import messages as m
from fanlight.store.segments import Unreadable

if TYPE_CHECKING:
    from fanlight.worker.executor import Executor


class Lost(Exception):
    """An argument cannot be read, and is not to be waited for here."""

    def __init__(self, problem: Unreadable) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read(executor: Executor, execute: m.Execute, spec: m.TaskSpec) -> list[Any]:
    """The values of a task's arguments. Raises Lost, and what an argument's task raised."""
    client = executor.client
    try:
        return client.values.read_all(execute.deps)
    except Unreadable as e:
        actor = executor.actor
        if spec.kind != m.ACTOR_CALL or (actor is not None and actor.is_async):
            raise Lost(e) from None
    return [*map(client.decode, execute.deps)]


async def wait(executor: Executor, execute: m.Execute) -> list[Any]:
    """``read`` for a call of an async actor: others go on meanwhile."""
    import asyncio

    return await asyncio.to_thread(lambda: [*map(executor.client.decode, execute.deps)])


def give_back(
    executor: Executor, execute: m.Execute, spec: m.TaskSpec, lost: Lost
) -> m.Done | None:
    """Say which arguments are lost, and that the task has not begun; the report if it was cancelled
    meanwhile."""
    if execute.task in executor.cancelled:
        error = errors.TaskCancelledError(f"{spec.name} was cancelled.", execute.task.hex())
        return executor._failed(execute, spec, error, 0.0)
    values = executor.client.values
    found = {v.oid: (v, saw) for v in execute.deps if (saw := values.damage(v))}
    if lost.problem.value.kind == m.STORED:  # of those on disk, a copy that came back
        found[lost.problem.value.oid] = (lost.problem.value, str(lost.problem))
    reports = [m.LostObject(v.oid, v.data.decode(), saw, False) for v, saw in found.values()]
    executor.flush()
    executor.client.link.send([*reports, m.Returned([execute.task])])
    return None
