"""The public functions. Names and behaviour are those of Ray's core API."""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from fanlight import context, errors, ids, limits, options
from fanlight import session as sessions
from fanlight._version import __version__
from fanlight.actor import ActorClass, ActorHandle, check_session
from fanlight.client.waiting import Rest
from fanlight.engines import make
from fanlight.generators import ObjectRefGenerator
from fanlight.labels import check_labels
from fanlight.logging_config import LoggingConfig
from fanlight.refs import ObjectRef
from fanlight.remote_function import RemoteFunction

T = TypeVar("T")
_log = logging.getLogger("fanlight")

# Arguments of Ray's init that change nothing here, and why they may be passed all the same.
_ACCEPTED = {
    "include_dashboard": "the panel needs no server",
    "dashboard_host": "the panel needs no server",
    "dashboard_port": "the panel needs no server",
    "include_webui": "the panel needs no server",
    "logging_format": "logging is the driver's own",
    "configure_logging": "logging is the driver's own",
}


class Context:
    """What ``init`` returns; ``with fanlight.init():`` shuts down at the end."""

    def __init__(self, session: sessions.Session) -> None:
        import platform

        self.dashboard_url = ""
        self.python_version = platform.python_version()
        self.ray_version = self.fanlight_version = __version__
        directory = str(session.info["session_dir"])
        self.address_info: dict[str, Any] = {
            "node_ip_address": "127.0.0.1",
            "session_dir": directory,
            "node_id": session.info["node_id"],
            "gcs_address": session.runtime_id,
            "address": session.runtime_id,
            "webui_url": "",
            "runtime_id": session.runtime_id,
        }

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        shutdown()

    def disconnect(self) -> None:
        shutdown()

    def __getitem__(self, key: str) -> Any:
        warnings.warn(
            f"Use .address_info[{key!r}] of what init() returns.", DeprecationWarning, stacklevel=2
        )
        return self.address_info[key]

    def __repr__(self) -> str:
        return f"<fanlight runtime {self.address_info['runtime_id']}>"


def init(
    address: str | None = None,
    *,
    engine: str | None = None,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    memory: int | None = None,
    max_processes: int | None = None,
    object_spilling_directory: str | os.PathLike[str] | None = None,
    namespace: str | None = None,
    name: str = "",
    ignore_reinit_error: bool = False,
    log_to_driver: bool = True,
    logging_level: int | str | None = None,
    runtime_env: dict[str, Any] | None = None,
    logging_config: Any = None,
    **others: Any,
) -> Context:
    """Start a runtime, or attach to one.

    Args:
        address: "local" starts a runtime that ends with this process; "auto" attaches to the newest
            one of this user; a runtime's name or id attaches to that one. Default: what the
            environment variable FANLIGHT_ADDRESS, else RAY_ADDRESS, says; else "local".
        engine: "local" (the default: processes on this machine) or "inproc" (everything in this
            process, one task at a time, deterministic: for debugging).
        num_cpus: CPUs to schedule on; may differ from the machine's. Default: its CPUs.
        num_gpus: GPUs to schedule on. Default: those that NVML finds.
        resources: custom resources, whole numbers.
        labels: of the node, for ``label_selector=`` and ``NodeLabelSchedulingStrategy``.
        object_store_memory: bytes of shared memory for objects; what does not fit goes to disk.
            Default: 30 % of the memory that this process may use, and no more than tmpfs has.
        object_spilling_directory: where objects go that do not fit into memory. Default: the
            session's directory, among the system's temporary files; /var/tmp if those are in memory.
        memory: bytes that the runtime's processes and objects may use together; above 95 % of it
            the newest task ends first and is tried again. Default: no limit but the machine's.
        max_processes: processes that may run tasks and actors. Default: no limit.
        namespace: where actors' names are valid. Default: a new one.
        name: what the runtime is called in the panel.
        ignore_reinit_error: a second ``init`` is no error.
        log_to_driver: show what tasks print.
        logging_level: level of the logger "fanlight".
        logging_config: how ``logging`` looks in the driver and its workers, a ``LoggingConfig``.
        runtime_env: what workers of this driver's tasks and actors are given: a dict, see
            :mod:`fanlight.runtime_env`.

    Raises:
        RuntimeError: ``init`` was called before, or an argument is unknown.
        ConnectionError: no runtime answers to ``address``.
        ValueError: an argument has an impossible value.

    >>> import fanlight
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     fanlight.get(fanlight.put("hello"))
    'hello'
    """
    reservable, settings = others.pop("_memory", None), others.pop("_system_config", None)
    temp_dir = _temp_dir(others.pop("_temp_dir", None), engine, address)
    _check_others(others)
    if sessions.current() is not None:
        if ignore_reinit_error:
            return Context(sessions.require())
        raise RuntimeError(
            "Maybe you called ray.init twice by accident? fanlight.init() was called before; "
            "pass ignore_reinit_error=True to keep that runtime, or call shutdown() first."
        )
    _check_totals(num_cpus, num_gpus, resources, object_store_memory)
    limits.check(memory, max_processes, object_store_memory, reservable, settings)
    if engine not in (None, "local", "inproc"):
        raise ValueError(f"engine must be 'local' or 'inproc', got {engine!r}.")
    spill_dir = os.fspath(object_spilling_directory) if object_spilling_directory else None
    if spill_dir is not None and engine == "inproc":
        raise errors.UnsupportedError(
            "engine='inproc' cannot honour init(object_spilling_directory=): its objects stay in "
            "the memory of this process."
        )
    if address is None and engine is None:
        address = make.default_address()
    if address not in (None, "local") and any(
        x is not None
        for x in (
            num_cpus, num_gpus, resources, labels, object_store_memory, memory, max_processes,
            reservable, settings, spill_dir,
        )
    ):  # fmt: skip
        raise ValueError(
            "When attaching to an existing runtime, num_cpus, num_gpus, resources, labels, memory, "
            "max_processes, object_store_memory and object_spilling_directory must not be "
            "provided: it has them already."
        )
    if engine == "inproc" and (memory is not None or max_processes is not None):
        option = "memory" if memory is not None else "max_processes"
        raise errors.UnsupportedError(
            f"engine='inproc' cannot honour init({option}=): everything runs in this process."
        )
    if address is not None and "://" in address:
        raise errors.UnsupportedError(
            f"address={address!r}: the Dask and Ray engines are not in this version of Fanlight."
            + make.why_address(address)
        )
    if runtime_env is not None:
        from fanlight import runtime_env as environments

        environments.check(runtime_env)
    if logging_config is not None:
        if not isinstance(logging_config, LoggingConfig):
            kind = type(logging_config).__name__
            raise TypeError(f"logging_config must be a LoggingConfig, not a {kind}.")
        if address not in (None, "local"):
            raise errors.UnsupportedError(
                "engine='local' cannot honour init(logging_config=) when it attaches to a runtime: "
                "its workers log as the driver that started it wants."
            )
    if logging_level is not None:
        _log.setLevel(logging_level)
    session = sessions.start(
        address=address,
        engine=engine,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        resources=resources,
        labels=check_labels(labels) if labels is not None else {},
        object_store_memory=object_store_memory,
        memory=memory,
        max_processes=max_processes,
        reservable=reservable,
        settings=settings,
        object_spilling_directory=spill_dir,
        namespace=namespace,
        name=name,
        log_to_driver=log_to_driver,
        runtime_env=runtime_env,
        logging_config=logging_config,
        temp_dir=temp_dir,
    )
    return Context(session)


def _temp_dir(given: Any, engine: str | None, address: str | None) -> str:
    """Where sessions are to live, as an absolute path; "" for the system's temporary directory."""
    if given is None:
        return ""
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"_temp_dir must be a path, not a {type(given).__name__}.")
    if engine == "inproc":
        raise errors.UnsupportedError(
            "engine='inproc' cannot honour init(_temp_dir=): it has no files."
        )
    if address not in (None, "local"):
        raise ValueError("When attaching to an existing runtime, _temp_dir must not be provided.")
    return os.path.abspath(os.fsdecode(given))


def _check_others(others: dict[str, Any]) -> None:
    if others.pop("local_mode", False):
        raise RuntimeError(
            "local_mode is gone. Use engine='inproc' to run everything in this process."
        )
    if others.pop("job_config", None) is not None:
        raise errors.UnsupportedError("init(job_config=) is not in this version of Fanlight.")
    unknown = [k for k in others if k not in _ACCEPTED and not k.startswith("_")]
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")


def _check_totals(
    num_cpus: float | None,
    num_gpus: float | None,
    resources: dict[str, float] | None,
    object_store_memory: int | None,
) -> None:
    amounts: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus, **(resources or {})}
    for key, value in amounts.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{key} must be a number, got {value!r}.")
        if value < 0:
            raise ValueError(f"{key} cannot be negative, got {value}.")
        if value != int(value):
            raise ValueError(
                f"Resource quantities of a node must all be whole numbers, got {key}={value}."
            )
    for reserved in ("CPU", "GPU", "memory"):
        if resources and reserved in resources:
            raise ValueError(f"resources must not name {reserved!r}; there is an argument for it.")
    if object_store_memory is not None and object_store_memory < 1 << 20:
        raise ValueError("object_store_memory must be at least 1 MiB (it is in bytes).")


def shutdown(_exiting_interpreter: bool = False) -> None:
    """End the runtime that this process started, or detach from the one it attached to.

    All its processes are gone and its memory is free when this returns. Idempotent, and legal
    before any ``init``. In a task, or a ``%%remote`` cell, it only warns: the runtime is not the
    task's, which would lose its own result.
    """
    if sessions.in_task():
        warnings.warn(
            "shutdown() does nothing in a task: the runtime ends where it was started.",
            stacklevel=2,
        )
        return
    sessions.stop()


def is_initialized() -> bool:
    """Whether there is a runtime: after ``init``, before ``shutdown``."""
    return sessions.current() is not None


@overload
def remote(function: Callable[..., Any]) -> Any: ...
@overload
def remote(**opts: Any) -> Callable[[Any], Any]: ...
def remote(*args: Any, **opts: Any) -> Any:
    """Make a function a task, or a class an actor; with or without options.

    >>> import fanlight
    >>> @fanlight.remote
    ... def double(x):
    ...     return 2 * x
    >>> with fanlight.init(num_cpus=2, engine="inproc"):
    ...     fanlight.get([double.remote(i) for i in range(3)])
    [0, 2, 4]
    """
    if len(args) == 1 and not opts and callable(args[0]):
        return _make_remote(args[0], {})
    assert not args and opts, (
        "The @remote decorator must be applied either with no arguments and no parentheses, or "
        "with keyword options: @remote(num_cpus=2)."
    )
    return lambda target: _make_remote(target, opts)


def _make_remote(target: Any, opts: dict[str, Any]) -> Any:
    if inspect.isclass(target):
        return ActorClass(target, options.check(opts, "actor"))
    if inspect.isfunction(target):
        checked = options.check(opts, "task")
        return RemoteFunction(target, checked)
    raise TypeError("The @remote decorator must be applied to either a function or a class.")


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
def get(refs: Any, *, timeout: float | None = None) -> Any:
    """The value of a ref, or the values of a list of refs, in order; waits for them.

    Large arrays are not copied: they are read-only views of shared memory.

    Args:
        refs: an ObjectRef or a list of them.
        timeout: seconds; 0 polls, None waits for ever.

    Raises:
        TaskError: the task raised; also an instance of the user's exception type.
        GetTimeoutError: not ready in time. The task goes on.
        FanlightError: its subclasses say what else went wrong.
    """
    if timeout is not None and timeout < 0:
        timeout = None
    session = sessions._current
    if session is None:
        session = sessions.ensure()
    if type(refs) is ObjectRef:
        _check_own(session, refs)
        return session.engine.get(refs._id, timeout)
    if not isinstance(refs, list):
        raise ValueError(
            f"get() takes an ObjectRef or a list of ObjectRefs, not a {type(refs).__name__}."
        )
    _check_refs(refs, "get()")
    if refs:
        _check_own(session, refs[0])
    return session.engine.get_many([ref._id for ref in refs], timeout)


def _check_refs(refs: list[Any], what: str) -> None:
    if set(map(type, refs)) - {ObjectRef}:
        wrong = next(type(r).__name__ for r in refs if type(r) is not ObjectRef)
        raise TypeError(f"{what} found a {wrong} in the list of ObjectRefs.")


def _check_own(session: sessions.Session, ref: ObjectRef[Any]) -> None:
    if sessions._ended_clients:
        became = sessions.what_became_of(ref._id[:16])
        if became:
            raise ValueError(f"{ref!r} belongs to a runtime that {became}. It is unknown here.")


def put(value: Any) -> ObjectRef[Any]:
    """Store a value; returns a ref to it. Later changes to ``value`` are not seen."""
    if type(value) is ObjectRef:
        raise TypeError("Calling put() on an ObjectRef is not allowed: it is stored already.")
    session = sessions._current
    if session is None or session.client.link.lost:
        session = sessions.ensure()
    ref: ObjectRef[Any] = session.engine.put(value)
    return ref


def wait(
    refs: list[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
    """Wait until ``num_returns`` refs are ready; returns (ready, not ready), in input order.

    A failed task counts as ready. After ``timeout`` seconds returns what is ready by then. The list
    may hold ObjectRefGenerators: one is ready when its ``next`` would not wait.
    """
    if not isinstance(refs, list):
        raise TypeError(f"wait() takes a list of ObjectRefs, not a {type(refs).__name__}.")
    session = sessions._current
    rest = None
    mixed = False
    if session is not None and not session.client.link.lost:
        rest = session.client.known_rest(refs)  # in a loop over the same refs
    if rest is None:
        mixed = ObjectRefGenerator in set(map(type, refs))
        _check_refs(
            [r for r in refs if type(r) is not ObjectRefGenerator] if mixed else refs, "wait()"
        )
    if timeout is not None and timeout < 0:
        raise ValueError(f"The timeout of wait() cannot be negative, got {timeout}.")
    if rest is None:
        session = sessions.ensure()
    assert session is not None
    if not refs:
        return [], []
    if rest is None:
        oids: list[Any]
        if mixed:
            oids = [r._stream if type(r) is ObjectRefGenerator else r._id for r in refs]
        else:
            oids = [r._id for r in refs]
        if len(set(oids)) != len(oids):
            raise ValueError("wait() takes a list of unique ObjectRefs.")
    else:
        oids = rest.oids
    if not 0 < num_returns <= len(refs):
        raise ValueError(
            f"num_returns of wait() must be between 1 and the number of refs ({len(refs)}), got "
            f"{num_returns}."
        )
    if mixed:
        found = session.client.streams.wait(oids, num_returns, timeout)
        chosen = set(found)
        return [refs[i] for i in found], [r for i, r in enumerate(refs) if i not in chosen]
    if rest is None:
        positions = session.engine.wait(oids, num_returns, timeout)
        rest = Rest(refs, oids)
    else:
        positions = session.client.await_some(oids, num_returns, timeout)
    ready = [refs[i] for i in positions]
    left = rest.without(positions)
    if left:
        session.client.remember(rest)
    return ready, left


def cancel(ref: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task that makes ``ref``; ``get`` of it then raises TaskCancelledError.

    ``ref`` may be an ObjectRefGenerator: its next item raises the error, and it ends.

    A task that has not started never runs. One that runs gets a KeyboardInterrupt, or, with
    ``force=True``, its process is killed. Finished tasks are left alone. Tasks that it submitted
    are cancelled too, unless ``recursive=False``.

    A call of an actor that waits is skipped. One that runs is not interrupted, unless it is async
    (``asyncio.CancelledError``); ``get`` raises TaskCancelledError all the same. ``force=True`` raises
    ValueError for calls: it would end the actor.
    """
    if type(ref) is ObjectRefGenerator:
        ref = ref.completed()
    if type(ref) is not ObjectRef:
        raise TypeError(f"cancel() takes an ObjectRef, not a {type(ref).__name__}.")
    if force and ids.is_call(ref._id):
        raise ValueError(
            "force=True would end the actor's process. Leave it out to cancel the call alone, or use "
            "kill() on the actor's handle."
        )
    sessions.ensure().engine.cancel(ref._id, force, recursive)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once; running and queued calls raise ActorDiedError."""
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() takes an actor's handle, not a {type(actor).__name__}.")
    session = sessions.ensure()
    if actor._counted:
        check_session(session, actor._id)
    session.engine.kill(actor._id, no_restart)


def nodes() -> list[dict[str, Any]]:
    """The machines of the runtime, each a dict with NodeID, Alive, Resources and more."""
    found: list[dict[str, Any]] = sessions.require().engine.query("nodes")
    return found


def scale(num_cpus: float) -> None:
    """Have ``num_cpus`` CPUs to schedule on from now on, and as many worker processes.

    Takes effect at once. With fewer than are held just now, what runs goes on, and nothing new
    starts until enough of it has ended. Raises ValueError for a number that cannot be.

    >>> import fanlight
    >>> fanlight.init(num_cpus=1)  # doctest: +SKIP
    >>> fanlight.scale(4)  # doctest: +SKIP
    >>> fanlight.cluster_resources()["CPU"]  # doctest: +SKIP
    4.0
    """
    if isinstance(num_cpus, bool) or not isinstance(num_cpus, (int, float)):
        raise TypeError(f"scale() takes a number of CPUs, not {type(num_cpus).__name__}.")
    sessions.require().engine.scale(float(num_cpus))


def cluster_resources() -> dict[str, float]:
    """All resources, as numbers by name."""
    session = sessions.require()
    total: dict[str, float] = session.engine.query("resources")["total"]
    store: float = session.engine.query("store")["capacity"]
    return {**total, "object_store_memory": float(store)}


def available_resources() -> dict[str, float]:
    """Free resources; what is used up is left out."""
    session = sessions.require()
    free: dict[str, float] = session.engine.query("resources")["available"]
    facts = session.engine.query("store")
    return {**free, "object_store_memory": float(facts["capacity"] - facts["used"])}


def get_gpu_ids() -> list[Any]:
    """The GPUs of the task or actor that calls this; [] without one.

    Numbers; or, where CUDA_VISIBLE_DEVICES was set when the runtime started, the names from there.
    """
    sessions.ensure()
    running = context.current.get()
    return list(running.gpus) if running is not None else []


__all__ = [
    "Context",
    "available_resources",
    "cancel",
    "cluster_resources",
    "get",
    "get_gpu_ids",
    "init",
    "is_initialized",
    "kill",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "wait",
]
