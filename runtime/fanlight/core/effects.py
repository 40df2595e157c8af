"""What the core asks its shell to do, and what the shell tells the core besides messages."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any, NamedTuple

import msgspec

# --- effects -------------------------------------------------------------------------------------


class SpawnWorker(NamedTuple):
    """Start a worker process; answered by Connected, or by WorkerExited."""

    number: int
    worker_id: bytes
    env: str = ""  # key of the runtime environment that it belongs to


class KillWorker(NamedTuple):
    """End a worker's process at once; answered by WorkerExited.

    With a ``task``: only if that is the last one that the process has begun.
    """

    number: int
    task: bytes = b""


class DeleteSegment(NamedTuple):
    """Delete a segment, or (a name that begins with ``@``) a file on disk."""

    name: str


class RestoreFolder(NamedTuple):
    """Make the folder of segments anew if it is gone."""


class Spill(NamedTuple):
    """Write the first ``size`` bytes of a segment to a file; answered by Spilled."""

    number: int
    segment: str
    file: str
    size: int


class Restore(NamedTuple):
    """Check a file that Spill wrote, and copy what is in it to a new segment, if one is named;
    answered by Restored."""

    number: int
    file: str
    segment: str
    size: int


class DropClient(NamedTuple):
    """Close a connection whose sender broke the protocol."""

    peer: int
    reason: str


class DriversChanged(NamedTuple):
    """Rewrite the connection file: the kernels attached are now these."""

    kernel_ids: list[str]


class Stop(NamedTuple):
    """End the node."""

    reason: str


class PrepareEnvironment(NamedTuple):
    """Set up a runtime environment, aside; answered by EnvironmentPrepared."""

    number: int  # of this attempt
    key: str
    description: bytes


class CancelPreparation(NamedTuple):
    """The result of a preparation is not wanted any more: end it."""

    number: int


class Effects(msgspec.Struct, eq=False):
    """Messages by receiver, and actions, in the order in which they are to happen."""

    out: defaultdict[int, list[Any]] = msgspec.field(default_factory=partial(defaultdict, list))
    actions: list[Any] = msgspec.field(default_factory=list)


# --- stimuli that are no messages ----------------------------------------------------------------


class Connected(NamedTuple):
    """A client proved the token. ``worker`` is its number, 0 for drivers and observers."""

    role: str
    client_id: bytes
    pid: int
    info: dict[str, str]
    worker: int = 0


class Disconnected(NamedTuple):
    """The connection ended; all that was read from it has been handled."""


class WorkerExited(NamedTuple):
    """A worker's process is gone; all that it had sent has been handled."""

    number: int
    how: str  # for people: "killed by SIGKILL", "exit code 1"
    log: str = ""  # the last lines it wrote
    begun: bytes | None = None  # the last task that it began, b"" for none; None: not known
    memory: str = ""  # why the kernel may have killed it for want of memory


class WorkerStopped(NamedTuple):
    """A worker's process was stopped by a signal, or continued."""

    number: int
    how: str  # "SIGSTOP"; "" when it goes on
    begun: bytes = b""  # the last task that it began, b"" for none


class EnvironmentPrepared(NamedTuple):
    """A preparation ended."""

    number: int
    problem: str = ""  # "" if all went well
    log: str = ""  # the last lines that it wrote


class Slept(NamedTuple):
    """Time has passed that does not count: the machine slept, or its clock was set."""

    seconds: float  # below 0: the clock was set back


OWN_LIMIT = "this runtime"


class MemorySample(NamedTuple):
    """How full memory is, of what is fullest of the machine, the cgroups and the runtime's limit."""

    scope: str  # for people: "this machine", "this container", or OWN_LIMIT
    used: int
    limit: int
    threshold: int  # bytes, at which something has to end
    # By pid, (bytes of its own, resident bytes) of the runtime's processes and drivers, with what
    # they started. Only if it is over the threshold, or the core asked for it.
    processes: dict[int, tuple[int, int]] | None = None
    store: int = 0  # bytes of the object store in shared memory


class Spilled(NamedTuple):
    """The end of a Spill. When there was a problem, no file is left."""

    number: int
    problem: str = ""  # "" | "lost": the segment cannot be read | "disk": the file not written
    detail: str = ""  # for people


class Restored(NamedTuple):
    """The end of a Restore. When there was a problem, no segment is left."""

    number: int
    problem: str = ""  # "" | "lost": the file cannot be read | "no_room": in shared memory
    detail: str = ""  # for people


class Tick(NamedTuple):
    """Time passed."""
