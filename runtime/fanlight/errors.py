"""What Fanlight raises.

::

    FanlightError
    ├── TaskError                      a task raised; also an instance of the user's exception type
    ├── TaskCancelledError             it was cancelled before it finished
    ├── WorkerCrashedError             the worker process that ran a task died
    ├── ActorError                     an actor cannot answer
    │   ├── ActorDiedError             it is gone for good
    │   └── ActorUnavailableError      it restarts; the call may be tried again
    ├── GetTimeoutError                also a TimeoutError
    ├── RuntimeLostError               the node process died
    ├── ObjectLostError                a value is gone
    │   └── OwnerDiedError · ObjectReconstructionFailedError · ObjectFreedError · …
    ├── ObjectStoreFullError · OutOfDiskError · OutOfMemoryError
    ├── TaskUnschedulableError · ActorUnschedulableError
    ├── RuntimeEnvSetupError · PendingCallsLimitExceeded · UnserializableException
    ├── OutOfBandRefError
    └── ActorAlreadyExistsError · ActorHandleNotFoundError    also ValueErrors

``fanlight.exceptions`` has the same classes under Ray's names.
"""

from __future__ import annotations

import contextlib
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any


class FanlightError(Exception):
    """Base of everything that the runtime raises on its own account."""

    _trace: Any = None  # list[traces.Trace] of the worker that it comes from


class TaskCancelledError(FanlightError):
    """The task was cancelled before it finished."""

    def __init__(self, message: str = "This task was cancelled.", task_id: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.task_id)


class WorkerCrashedError(FanlightError):
    """The worker process died while it ran the task."""


class ActorError(FanlightError):
    """An actor cannot answer: see the subclasses."""

    def __init__(
        self,
        message: str = "The actor died.",
        actor_id: str = "",
        actor_init_failed: bool = False,
    ) -> None:
        super().__init__(message)
        self.actor_id = actor_id
        self.error_msg = message
        self.actor_init_failed = actor_init_failed
        self.preempted = False

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error_msg, self.actor_id, self.actor_init_failed)


class ActorDiedError(ActorError):
    """The actor is gone for good."""


class ActorUnavailableError(ActorError):
    """The actor's process died and restarts; this call was lost."""


class GetTimeoutError(FanlightError, TimeoutError):
    """``get`` ran out of time; the task goes on."""


class RuntimeLostError(FanlightError):
    """The runtime's node process is gone; ``init()`` starts a new one."""


def lost_text(reason: str) -> str:
    """What a RuntimeLostError says.

    >>> lost_text("the node process has ended")
    'The node process has ended. (init() starts a new runtime.)'
    """
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}. (init() starts a new runtime.)"


class RuntimeNotStartedError(FanlightError):
    """The call needs a runtime, and does not start one itself."""


class ObjectLostError(FanlightError):
    """The object's value is gone."""

    def __init__(self, message: str = "The object is lost.", object_ref_hex: str = "") -> None:
        super().__init__(message)
        self.object_ref_hex = object_ref_hex

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.object_ref_hex)


class OwnerDiedError(ObjectLostError):
    pass


class ObjectReconstructionFailedError(ObjectLostError):
    pass


class ObjectFetchTimedOutError(ObjectLostError):
    pass


class ObjectFreedError(ObjectLostError):
    pass


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    pass


class ObjectStoreFullError(FanlightError):
    """Neither shared memory nor disk can hold the object; nothing else is lost."""


class OutOfDiskError(FanlightError):
    pass


class OutOfMemoryError(FanlightError):
    pass


class NodeDiedError(FanlightError):
    pass


class RuntimeEnvSetupError(FanlightError):
    pass


class PendingCallsLimitExceeded(FanlightError):
    pass


class StreamingGeneratorReplayInconsistentError(FanlightError):
    """A generator that was run again yielded fewer items than it had delivered before."""


class TaskUnschedulableError(FanlightError):
    pass


class ActorUnschedulableError(FanlightError):
    pass


class TaskPlacementGroupRemoved(FanlightError):
    pass


class ActorPlacementGroupRemoved(FanlightError):
    pass


class UnserializableException(FanlightError):
    """The task's exception could not be rebuilt here; its traceback is in the text."""


class OutOfBandRefError(FanlightError):
    """A ref was pickled outside of a value, which a setting forbids."""


class AsyncioActorExit(FanlightError):
    pass


class ActorAlreadyExistsError(FanlightError, ValueError):
    pass


class ActorHandleNotFoundError(FanlightError, ValueError):
    pass


class ActorClassInheritanceException(TypeError, FanlightError):
    pass


class UnsupportedError(FanlightError, NotImplementedError):
    """This engine, or this version, does not have the feature; the text says which."""


# --- a task's own exception ----------------------------------------------------------------------


class TaskError(FanlightError):
    """A task raised. ``get`` raises an instance of this *and* of the user's exception type.

    Attributes:
        cause: the user's exception, of its own type.
        traceback_text: the remote traceback, runtime frames removed.
        task_name: what ran.
    """

    cause: BaseException
    traceback_text: str
    task_name: str

    def __init__(self, cause: BaseException, traceback_text: str = "", task_name: str = "") -> None:
        self._set(cause, traceback_text, task_name)
        super().__init__(cause)

    def _set(self, cause: BaseException, traceback_text: str, task_name: str) -> None:
        self.cause = cause
        self.traceback_text = traceback_text
        self.task_name = task_name

    def __str__(self) -> str:
        return self.traceback_text or f"{type(self.cause).__name__}: {self.cause}"

    def __reduce__(self) -> tuple[Any, ...]:
        return make_task_error, (self.cause, self.traceback_text, self.task_name)


_classes: dict[type, type] = {}


def _dual_class(cause_type: type[BaseException]) -> type[TaskError]:
    """A class that is both TaskError and ``cause_type``; plain TaskError where that cannot be."""
    found = _classes.get(cause_type)
    if found is not None:
        return found
    result: type[TaskError] = TaskError
    if issubclass(cause_type, Exception) and not issubclass(cause_type, TaskError):

        def __init__(self: Any, cause: BaseException, text: str, name: str) -> None:
            self._set(cause, text, name)
            self.args = (cause,)

        def __getattr__(self: Any, attribute: str) -> Any:
            if attribute in ("cause", "traceback_text", "task_name"):
                raise AttributeError(attribute)
            return getattr(self.cause, attribute)

        built_in = next(b for b in cause_type.__mro__ if b.__module__ == "builtins")
        fields = [
            key
            for base in built_in.__mro__[:-2]  # BaseException's own are set by its __init__
            for key, member in vars(base).items()
            if isinstance(member, MemberDescriptorType | GetSetDescriptorType) and key[0] != "_"
        ]

        def __new__(cls: type, cause: BaseException, text: str, _name: str) -> Any:
            # The user's own __new__ and __init__ may want anything: neither is called.
            if isinstance(cause, BaseExceptionGroup):
                return BaseExceptionGroup.__new__(cls, cause.message, cause.exceptions)
            # MemoryError has a __new__ of its own, which is for its layout only.
            made = (Exception if built_in is MemoryError else built_in).__new__(cls, cause)
            for name in fields:  # such as OSError.errno, kept in the instance by C code
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(made, name, getattr(cause, name))
            return made

        members: dict[str, Any] = {
            "__new__": __new__,
            "__init__": __init__,
            "__getattr__": __getattr__,
            "__str__": TaskError.__str__,
            "__reduce__": TaskError.__reduce__,
            "__module__": "fanlight.errors",
        }
        if issubclass(cause_type, BaseExceptionGroup):
            members["derive"] = lambda self, excs: self.cause.derive(excs)
        try:
            made = type(f"TaskError({cause_type.__name__})", (TaskError, cause_type), members)
            made.__qualname__ = made.__name__
            result = made
        except TypeError:
            pass  # final classes and clashing layouts: callers get a plain TaskError
    _classes[cause_type] = result
    return result


def make_task_error(cause: BaseException, text: str, name: str) -> TaskError:
    """The exception that ``get`` raises for a task that raised ``cause``."""
    cls = _dual_class(type(cause))
    try:
        return cls(cause, text, name)
    except Exception:
        return TaskError(cause, text, name)


def innermost(error: BaseException) -> BaseException:
    """The user's exception inside an error that passed through any number of tasks."""
    while isinstance(error, TaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error


# --- errors made by the node ---------------------------------------------------------------------

FAILURES: dict[str, type[FanlightError]] = {
    "cancelled": TaskCancelledError,
    "worker_crashed": WorkerCrashedError,
    "actor_died": ActorDiedError,
    "actor_unavailable": ActorUnavailableError,
    "object_lost": ObjectLostError,
    "reconstruction_failed": ObjectReconstructionFailedError,
    "owner_died": OwnerDiedError,
    "store_full": ObjectStoreFullError,
    "out_of_memory": OutOfMemoryError,
    "replay_inconsistent": StreamingGeneratorReplayInconsistentError,
    "task_unschedulable": TaskUnschedulableError,
    "actor_unschedulable": ActorUnschedulableError,
    "task_group_removed": TaskPlacementGroupRemoved,
    "actor_group_removed": ActorPlacementGroupRemoved,
    "env_setup": RuntimeEnvSetupError,
    "runtime_lost": RuntimeLostError,
}


def from_failure(
    code: str, message: str, *, task_id: str = "", actor_id: str = "", init_failed: bool = False
) -> FanlightError:
    """The exception for a :class:`fanlight.messages.Failure`."""
    cls = FAILURES.get(code, FanlightError)
    if issubclass(cls, ActorError):
        return cls(message, actor_id, init_failed)
    if cls is TaskCancelledError:
        return TaskCancelledError(message, task_id)
    return cls(message)
