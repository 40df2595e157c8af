"""The connection of this process to a runtime: one at a time, started on first use.

Users meet it as ``init`` and ``shutdown``; extensions (magics, widgets) use the functions here.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import json
import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fanlight import calls, config, context, errors, interrupts, limits, refs, task_output
from fanlight import messages as m
from fanlight.driver_log import DriverLog
from fanlight.engines import make
from fanlight.task_output import TaskOutput

if TYPE_CHECKING:
    from fanlight import events
    from fanlight.client.client import Client
    from fanlight.engines.base import Subscription
    from fanlight.logging_config import LoggingConfig
    from fanlight.node.boot import BootConfig
    from fanlight.observe.discover import ConnectionInfo
    from fanlight.refs import ObjectRef

_current: Session | None = None
_lock = threading.RLock()
_again: dict[str, Any] | None = None  # what the last runtime was started with
_cell_numbers: Callable[[], dict[str, int]] | None = None
_PREFIXES = ("FANLIGHT", "RAY")  # of environment variables
_ended_clients: dict[bytes, str] = {}  # this process's former clients: what became of the runtime
_forked = False  # this process is a fork of one that had a runtime, and has had none of its own


class Session:
    """This process's runtime, from ``init`` to ``shutdown``."""

    def __init__(
        self, engine: Any, namespace: str, role: str = "driver", log: DriverLog | None = None
    ) -> None:
        self.engine = engine
        self.client: Client = engine.client
        self.namespace = namespace
        self.role = role
        self.log_to_driver = True
        self.log = log or DriverLog(environ={})
        self.runtime_id: str = engine.runtime_id
        self.node_pid: int = engine.node_pid
        self.info: dict[str, Any] = engine.info
        self.worker_id = b""
        self._job = 0
        self._undo_logging: Callable[[], None] = lambda: None
        self.at_end: list[Callable[[], None]] = []  # called before the runtime ends

    def set_logging(self, config: LoggingConfig) -> None:
        """Have the root logger of this process as ``init(logging_config=)`` wants it."""
        from fanlight.logging_config import apply

        def facts() -> dict[str, str]:
            running = context.current.get()
            job = running.job if running is not None else self._job
            return {
                "job_id": int(job).to_bytes(4, "little").hex() if job else "",
                "worker_id": (self.worker_id or self.client.id.ljust(28, b"\0")).hex(),
                "node_id": str(self.info["node_id"]),
            }

        self._undo_logging = apply(config, facts)

    @property
    def engine_name(self) -> str:
        return str(self.engine.name)

    @property
    def connection(self) -> ConnectionInfo | None:
        """How observers reach the runtime; None for engines in this process."""
        connection: ConnectionInfo | None = self.engine.connection
        return connection

    @property
    def task_namespace(self) -> str:
        """The namespace in which names are valid here: the task's, else the driver's."""
        running = context.current.get()
        return (running.namespace if running is not None else "") or self.namespace

    @property
    def job(self) -> int:
        running = context.current.get()
        if running is not None and running.job:
            return running.job
        if not self._job:
            self._job = self.engine.query("job")["job"]
        return self._job

    @property
    def resources(self) -> dict[str, float]:
        total: dict[str, float] = self.engine.query("resources")["total"]
        return total

    def on_output(self, output: m.Output) -> None:
        """Output of a task arrived; called by whichever thread reads."""
        item = task_output.of(output)
        if not task_output.show(item) and self.log_to_driver:
            self.log.output(item)

    def on_notice(self, text: str) -> None:
        if self.log_to_driver:
            self.log.notice(text)

    def on_unhandled(self, text: str, pattern: str, origin: str) -> None:
        """A task failed, and nobody will ask for its result."""
        how = "suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'"
        self.log.notice(f"Unhandled error ({how}): {text}", f"Unhandled error in {pattern}", origin)


# --- the current session -------------------------------------------------------------------------


def is_stored(mapped: Any) -> bool:
    """Whether ``mapped``, which a buffer is a part of, is an object in the store as this process
    maps it: read-only, and the same for as long as it lives."""
    reader = None if _current is None else _current.client.values.reader
    return reader is not None and reader.holds(mapped)


def current() -> Session | None:
    """The session, or None before ``init`` and after ``shutdown``."""
    session = _current
    if session is not None and session.role == "driver" and session.client.link.ended():
        return None
    return session


def ensure() -> Session:
    """The session; starts a runtime with default settings if there is none.

    Raises RuntimeLostError when there was one and it is gone: nothing of it would be in a new one.
    """
    session = current()
    if session is not None:
        return session
    _raise_if_gone()
    flag = os.environ.get("FANLIGHT_ENABLE_AUTO_CONNECT", "1")
    if flag == "0" or os.environ.get("RAY_ENABLE_AUTO_CONNECT") == "0":
        raise errors.RuntimeNotStartedError("Call fanlight.init() first: auto-init is turned off.")
    return start(address=make.default_address())


def why_gone() -> str:
    """What happened to the runtime if it ended without having been asked by this process, else "".

    ``init`` or ``shutdown`` clears that.
    """
    lost = _current
    if lost is None or current() is not None:
        return ""
    return errors.lost_text(lost.client.link.lost)


def _raise_if_gone() -> None:
    """There is no session: raises if that is nothing that this process has asked for."""
    lost = _current
    if lost is not None:
        lost.client._lost_check()
    if _forked:
        raise errors.RuntimeNotStartedError(
            "This process is a fork of the one that is connected to the runtime, and cannot use "
            "its connection, its refs or its actors. Call fanlight.init() here for a runtime of "
            "this process's own, or fanlight.init(address='auto') to attach to the newest one."
        )


def require() -> Session:
    """The session. Raises RuntimeNotStartedError instead of starting one, RuntimeLostError when it
    is gone."""
    session = current()
    if session is None:
        _raise_if_gone()
        raise errors.RuntimeNotStartedError(
            "This needs a runtime, and does not start one by itself: call it after, not "
            "before init(). (In Ray's words: before ray.init().)"
        )
    return session


def require_client() -> Client:
    return ensure().client


def what_became_of(client_id: bytes) -> str:
    """Of the runtime of a former client of this process; "" if ``client_id`` was none.

    >>> what_became_of(b"somebody else")
    ''
    """
    return _ended_clients.get(client_id, "")


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Ctrl-C may strike in the moment after ``held`` has let go: that counts as within, too."""
    before = _current
    try:
        yield
    except KeyboardInterrupt:
        if _current is not before:
            stop()
        raise


def start(
    *,
    address: str | None = None,
    engine: str | None = None,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    object_spilling_directory: str | None = None,
    namespace: str | None = None,
    name: str = "",
    log_to_driver: bool = True,
    runtime_env: dict[str, Any] | None = None,
    logging_config: LoggingConfig | None = None,
    memory: int | None = None,
    max_processes: int | None = None,
    reservable: int | None = None,
    settings: dict[str, Any] | None = None,
    temp_dir: str = "",
) -> Session:
    """Start or attach to a runtime; ``fanlight.init`` checks the arguments first."""
    global _again, _current, _forked
    given = dict(locals())
    with _all_or_nothing(), _lock, interrupts.held():
        if _current is not None:
            if current() is not None:
                return _current
            stop()  # the node died: clear up what is left of that session
        log = DriverLog()
        bounds = limits.settle(num_cpus, memory, max_processes, settings)
        if bounds.memory:  # of the runtime: a part for what tasks reserve, a part for the store
            reservable = reservable or int(bounds.memory * 0.7)
            store = config.store_capacity(config.segment_root())
            own = int(bounds.memory * config.STORE_FRACTION)
            object_store_memory = object_store_memory or min(store, own)
        totals = make.totals(bounds.cpus, num_gpus, resources, reservable)
        made = make.make(
            address, engine, totals, labels or {}, object_store_memory, name,
            _facts(logging_config), bounds, temp_dir, object_spilling_directory,
        )  # fmt: skip
        session = Session(made, namespace or str(uuid.uuid4()), log=log)
        session.log_to_driver = log_to_driver
        if runtime_env:
            try:
                with interrupts.let_through():
                    made.start_job(runtime_env)
            except BaseException:  # files that cannot be copied, or Ctrl-C meanwhile
                made.close()
                raise
        session.client.on_output = session.on_output
        session.client.on_notice = session.on_notice
        if not any(os.environ.get(f"{x}_IGNORE_UNHANDLED_ERRORS") == "1" for x in _PREFIXES):
            session.client.unhandled.report = session.on_unhandled
        if logging_config is not None:
            session.set_logging(logging_config)
        refs.dropped.clear()
        refs.attach(session.client)
        _current, _forked = session, False
        _again = given
        calls.attach(made)
        if address in (None, "local"):
            for text in bounds.notices:
                session.on_notice(text)
        if session.connection is None and made.name == "local":
            session.on_notice(
                "The panel and init(address='auto') do not find this runtime: no file can be "
                "written to Jupyter's runtime directory. Set JUPYTER_RUNTIME_DIR to another one."
            )
        if interrupts.noted():  # Ctrl-C meanwhile: nothing was started
            stop()
        return session


def again() -> Session:
    """Start a runtime with the options of the last one, which has ended; a first one without any.

    Called by ``%fanlight restart`` and by the panel.
    """
    return start(**(_again or {"address": make.default_address()}))


def _facts(logging_config: LoggingConfig | None) -> dict[str, str]:
    """What the node is told of this driver."""
    info = {"pid": str(os.getpid()), "kernel_id": kernel_id(), "entrypoint": _entrypoint()}
    if hasattr(builtins, "__IPYTHON__"):
        info["ipython"] = "1"
    if logging_config is not None:
        info["logging"] = json.dumps(vars(logging_config))  # for the workers
    return info


def _entrypoint() -> str:
    """The command line of this process, for people."""
    return " ".join(sys.argv)[:500]


def kernel_id() -> str:
    """The id of the Jupyter kernel that this process is, "" if it is none."""
    ipykernel = sys.modules.get("ipykernel.kernelapp")
    app = getattr(ipykernel, "IPKernelApp", None)
    if app is None or not app.initialized():
        return ""
    file = os.path.basename(str(app.instance().connection_file))
    return file.removeprefix("kernel-").removesuffix(".json") if file.startswith("kernel-") else ""


def in_task() -> bool:
    """Whether the caller is (in the process of) a task, which is a guest of its runtime."""
    if context.current.get() is not None:  # the in-process engine has no other processes
        return True
    return _current is not None and _current.role == "worker"


def stop() -> None:
    """End the session: the runtime that this driver started ends too. Idempotent.

    Ctrl-C strikes when all is over.
    """
    global _current
    with _lock, interrupts.held():
        session, _current = _current, None
        if session is None:
            return
        for ending in session.at_end:
            ending()
        with contextlib.suppress(Exception):  # whatever stderr is by now: the rest must end
            session.client.tell_failures()
        refs.attach(None)
        lost = session.client.link.lost
        _ended_clients[session.client.id] = f"is gone: {lost}" if lost else "was shut down"
        try:
            session.engine.close()
        finally:
            session.client.unhandled.report = None
            session._undo_logging()
            session.log.close()


def attach_worker(client: Client, boot: BootConfig, worker_id: bytes) -> None:
    """Called once in each worker process: API calls in tasks go to the same runtime."""
    global _current
    from fanlight.engines.base import Capabilities
    from fanlight.engines.native import NativeEngine

    class WorkerEngine(NativeEngine):
        name = "local"
        capabilities = Capabilities(True, True, True, True)
        runtime_id = boot.runtime_id
        node_pid = os.getppid()
        connection = None

        def __init__(self) -> None:
            super().__init__(client)
            self.info = {
                "runtime_id": boot.runtime_id,
                "node_id": boot.node_id.hex(),
                "session_dir": boot.session_dir,
            }

        def close(self) -> None:
            """A worker ends when its node says so."""

    _current = Session(WorkerEngine(), "", "worker")
    _current.worker_id = worker_id
    refs.attach(client)
    chosen = boot.driver_info.get("logging")
    if chosen:
        from fanlight.logging_config import LoggingConfig

        _current.set_logging(LoggingConfig(**json.loads(chosen)))
    logging.lastResort = logging.StreamHandler(sys.stderr)
    logging.lastResort.setLevel(logging.WARNING)


@atexit.register
def _at_exit() -> None:
    if _current is not None and _current.role == "driver":
        stop()


if hasattr(os, "register_at_fork"):

    def _after_fork() -> None:
        # A fork of a driver shares its socket: using it from both would mix their messages.
        global _current, _forked, _lock
        _lock = threading.RLock()  # another thread may have held it
        if _current is not None:
            refs.attach(None)
            _ended_clients[_current.client.id] = "only the process that started this one can use"
            _current, _forked = None, True

    os.register_at_fork(after_in_child=_after_fork)


# --- for extensions ------------------------------------------------------------------------------


@contextlib.contextmanager
def origin(cell_id: str) -> Iterator[None]:
    """Work submitted inside, and what that work submits, belongs to this notebook cell."""
    token = context.push_origin(cell_id)
    try:
        yield
    finally:
        context.pop_origin(token)


@contextlib.contextmanager
def putting(what: str) -> Iterator[None]:
    """Large values that are put inside are called ``what`` in :func:`fanlight.memory`."""
    from fanlight.client import put_notes

    before, put_notes.what = put_notes.what, what
    try:
        yield
    finally:
        put_notes.what = before


def set_default_origin(cell_id: str) -> None:
    """Like ``origin``, for all threads, until changed."""
    context.set_default_origin(cell_id)


def set_cell_numbers(numbers: Callable[[], dict[str, int]] | None) -> None:
    """Have ``numbers`` tell which cell has which number: ids of cells with their execution counts."""
    global _cell_numbers
    _cell_numbers = numbers


def cell_numbers() -> dict[str, int]:
    """The numbers of the notebook's cells by their ids; none without the IPython extension."""
    return _cell_numbers() if _cell_numbers is not None else {}


def subscribe(callback: Callable[[events.Event], None]) -> Subscription:
    """Have ``callback`` called with the runtime's events, about ten times a second."""
    subscription: Subscription = require().engine.subscribe(callback)
    return subscription


def cancel_origin(cell_id: str, *, force: bool = False) -> int:
    """Cancel all unfinished tasks of one cell, nested ones too; returns their number."""
    tasks = unfinished_of_origin(cell_id)
    cancel_tasks(tasks, force=force)
    return len(tasks)


def unfinished_of_origin(cell_id: str) -> list[bytes]:
    """The ids of all unfinished tasks of one cell of this driver, nested ones too."""
    session = current()
    return [] if session is None else list(session.engine.unfinished_of_origin(cell_id))


def cancel_tasks(tasks: Iterable[bytes], *, force: bool = False) -> None:
    """Cancel tasks by their ids; those that ended are left alone. ``force`` kills workers, but not
    those of actors."""
    session = current()
    if session is not None:
        session.engine.cancel_tasks(tasks, force)


def ref_state(ref: ObjectRef[Any]) -> dict[str, Any]:
    """State, size, creator and reason to wait of an object; does not wait for it."""
    session = require()
    channels = session.client.channels
    own = channels.facts(ref.binary()) if channels is not None else None
    facts: dict[str, Any] = own or session.engine.query("object", id=ref.hex())
    return facts


def publish_display(
    data: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    transient: dict[str, Any] | None = None,
) -> None:
    """In a task: show a mimebundle in the driver's notebook.

    ``transient`` may have a "display_id", "update" (of what has that id) and "clear": take back
    what this task has shown, at once or, when it is "wait", with the next that it shows.
    """
    session = require()
    if session.role != "worker":
        task = context.current.get()
        output = TaskOutput(
            task.task_id.hex() if task is not None else "", context.origin(), "display", "", data,
            metadata or {}, "", 0, transient,
        )  # fmt: skip
        if not task_output.show(output):
            session.log.output(output)
        return
    from fanlight.worker.output import send_display

    send_display(session.client, data, metadata or {}, transient or {})
