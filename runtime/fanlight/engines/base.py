"""What an engine is: the thing that runs tasks, behind one small protocol.

The public API speaks to this protocol only. An engine that cannot honour an option raises
``UnsupportedError`` and names itself and the option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from fanlight import events
from fanlight.refs import ObjectRef


class Capabilities(NamedTuple):
    """What an engine can do; tests and the coach ask, users need not."""

    processes: bool  # tasks run in processes of their own, and really overlap
    shared_memory: bool  # large arrays are shared, not copied
    interrupt: bool  # running tasks can be cancelled
    detached: bool  # actors may outlive their driver


class FunctionSpec(NamedTuple):
    """A function or class as the API hands it to an engine."""

    target: Any
    name: str
    options: dict[str, Any]  # validated by fanlight.options
    origin: str
    namespace: str


Call = Callable[[tuple[Any, ...], dict[str, Any]], Any]


class Subscription(Protocol):
    def close(self) -> None: ...


class Engine(Protocol):
    """Called by the public API from any thread of a driver or worker."""

    name: str
    capabilities: Capabilities

    def bind_task(self, spec: FunctionSpec) -> Call:
        """Return a function that submits one call and returns its ref(s)."""

    def create_actor(
        self, spec: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Create (or find, with get_if_exists) an actor; returns what a handle is made of."""

    def bind_method(
        self, actor_id: bytes, method: str, label: str, options: dict[str, Any], origin: str
    ) -> Call: ...

    def put(self, value: Any) -> ObjectRef[Any]: ...
    def get(self, oid: bytes, timeout: float | None) -> Any: ...
    def get_many(self, oids: list[bytes], timeout: float | None) -> list[Any]: ...
    def wait(self, oids: list[bytes], num_returns: int, timeout: float | None) -> list[int]: ...
    def cancel(self, oid: bytes, force: bool, recursive: bool) -> None: ...
    def kill(self, actor_id: bytes, no_restart: bool) -> None: ...
    def query(self, what: str, **args: Any) -> Any: ...
    def create_group(
        self,
        group: bytes,
        bundles: list[dict[str, int]],
        strategy: str,
        name: str,
        namespace: str,
        detached: bool,
    ) -> None: ...
    def remove_group(self, group: bytes) -> None: ...
    def group_ready(self, group: bytes, value: Any) -> ObjectRef[Any]: ...
    def scale(self, cpus: float) -> None: ...
    def subscribe(self, callback: Callable[[events.Event], None]) -> Subscription: ...
    def close(self) -> None: ...


def shape_returns(refs: Sequence[ObjectRef[Any]]) -> Any:
    """One ref, a list of refs, or None: what ``.remote()`` returns."""
    if len(refs) == 1:
        return refs[0]
    return list(refs) if refs else None
