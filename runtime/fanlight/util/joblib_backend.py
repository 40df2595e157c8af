"""The backend that ``fanlight.util.joblib`` registers: each batch of calls is a task."""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, SequentialBackend
from joblib.parallel import ParallelBackendBase

from fanlight import api
from fanlight import session as sessions
from fanlight.client.failures import own_error
from fanlight.refs import ObjectRef

_LARGE = 1 << 20  # bytes of an array that is stored once instead of sent with each batch


class _Shared(NamedTuple):
    """Stands for a large array in a batch."""

    ref: ObjectRef[Any]


def _run(batch: Any) -> Any:
    """The task: call the functions of a batch."""
    batch.items = [
        (
            function,
            tuple(api.get(a.ref) if type(a) is _Shared else a for a in args),
            {k: api.get(a.ref) if type(a) is _Shared else a for k, a in kwargs.items()},
        )
        for function, args, kwargs in batch.items
    ]
    return batch()


class _Job(NamedTuple):
    batch: Any
    callback: Callable[[Any], None]


class FanlightBackend(AutoBatchingMixin, ParallelBackendBase):
    """Called by joblib; ``submit`` from its own thread and from the one that calls back."""

    supports_retrieve_callback = True
    uses_threads = False
    supports_sharedmem = False

    def __init__(self, ray_remote_args: dict[str, Any] | None = None, **others: Any) -> None:
        super().__init__(**others)
        self._options: dict[str, Any] = {"max_retries": 0, **(ray_remote_args or {})}
        self._lock = threading.RLock()
        self._waiting: deque[_Job] = deque()
        self._running: dict[ObjectRef[Any], _Job] = {}
        self._most = self._bound = 1
        self._tasks: dict[str, Any] = {}  # by the name that people see
        self._shared: dict[int, tuple[Any, _Shared]] = {}
        self._prompt: Any = None  # the link that was asked to be prompt
        self._caller: ThreadPoolExecutor | None = None

    # --- for joblib --------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches run at once: ``-1`` is one for each CPU of the runtime, -2 one less."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs < 0:
            cpus = int(sessions.ensure().resources.get("CPU", 1))
            return max(1, cpus + 1 + n_jobs)
        return n_jobs

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Called once for each Parallel, or for each with-block around one."""
        self._most = self.effective_n_jobs(n_jobs)
        if self._most == 1 or not sessions.ensure().engine.capabilities.processes:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        cpus = int(sessions.ensure().resources.get("CPU", 1))
        # With a CPU each they cannot be too many at once, and the next ones are better there early.
        self._bound = self._most if self._most < cpus or "num_cpus" in self._options else 1 << 30
        self.parallel = parallel
        self._caller = ThreadPoolExecutor(1, "fanlight-joblib")
        self._be_prompt(True)
        return self._most

    def _be_prompt(self, on: bool) -> None:
        """joblib looks for results every 10 ms: they are to be read as they come meanwhile."""
        if on and self._prompt is None:
            self._prompt = sessions.ensure().client.link
            self._prompt.prompt(True)
        elif not on and self._prompt is not None:
            link, self._prompt = self._prompt, None
            link.prompt(False)

    def submit(self, func: Any, callback: Any = None) -> _Job:
        """Start a batch, or keep it until there are fewer than ``n_jobs``."""
        job = _Job(func, callback)
        with self._lock:
            self._waiting.append(job)
            self._start()
        return job

    def retrieve_result_callback(self, out: Any) -> Any:
        """The values of a batch; raises what a call raised, as its own type."""
        try:
            return api.get(out)
        except Exception as e:
            error = own_error(e)
            if error is e:
                raise
            raise error from e

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A call failed, or Ctrl-C: what has not ended is not wanted."""
        with self._lock:
            self._waiting.clear()
            running, self._running = list(self._running), {}
        if sessions.current() is not None:
            for ref in running:
                api.cancel(ref)

    def stop_call(self) -> None:
        """A Parallel call is done: arrays may change from now on."""
        with self._lock:
            self._shared.clear()

    def terminate(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.shutdown(wait=False)
        self._be_prompt(False)
        super().terminate()

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """joblib waits for results by sleeping: inside a task, the CPU is free meanwhile."""
        unblock = sessions.ensure().client.before_block()
        try:
            yield
        finally:
            if unblock is not None:
                unblock()

    def __reduce__(self) -> Any:
        return functools.partial(
            FanlightBackend, self._options, nesting_level=self.nesting_level
        ), ()

    # --- within ------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start what may start; the lock is held."""
        while self._waiting and len(self._running) < self._bound:
            job = self._waiting.popleft()
            ref = self._task(job.batch).remote(self._with_shared(job.batch))
            self._running[ref] = job
            sessions.require_client().on_ready(ref._id, functools.partial(self._ready, ref))

    def _ready(self, ref: ObjectRef[Any]) -> None:
        """In the thread that reads from the node, which must not wait: another one goes on."""
        caller = self._caller
        if caller is not None:
            with contextlib.suppress(RuntimeError):  # shut down in the same moment
                caller.submit(self._ended, ref)

    def _ended(self, ref: ObjectRef[Any]) -> None:
        with self._lock:
            job = self._running.pop(ref, None)
            if job is None:
                return  # aborted
            self._start()
        job.callback(ref)

    def _task(self, batch: Any) -> Any:
        """The remote function, named after what the batch calls."""
        function = batch.items[0][0] if batch.items else _run
        name = getattr(function, "__qualname__", type(function).__qualname__)
        found = self._tasks.get(name)
        if found is None:
            found = self._tasks[name] = api.remote(**{"name": name, **self._options})(_run)
        return found

    def _with_shared(self, batch: Any) -> Any:
        """The batch with refs in the place of large arrays."""
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return batch

        def share(value: Any) -> Any:
            if type(value) is not numpy.ndarray or value.nbytes < _LARGE:
                return value
            if value.dtype.hasobject:
                return value
            found = self._shared.get(id(value))
            if found is None:
                found = self._shared[id(value)] = (value, _Shared(api.put(value)))
            return found[1]

        items = [
            (function, tuple(map(share, args)), {k: share(v) for k, v in kwargs.items()})
            for function, args, kwargs in batch.items
        ]
        changed = copy.copy(batch)
        changed.items = items
        return changed
