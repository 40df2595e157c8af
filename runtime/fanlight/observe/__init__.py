"""Watching runtimes from outside: find them, attach, read their events, send them commands.

Loaded on first use, since the node imports :mod:`fanlight.observe.discover` and must start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanlight.messages import Cancel, CancelGroups, KillActor, Query, Scale, Shutdown
    from fanlight.observe.client import AsyncObserver, Observer
    from fanlight.observe.discover import ConnectionInfo, connection_dir, runtimes
    from fanlight.wire.failures import ConnectionLost, HandshakeRefused, WireError

_HOME = {
    "AsyncObserver": "observe.client",
    "Cancel": "messages",
    "CancelGroups": "messages",
    "ConnectionInfo": "observe.discover",
    "ConnectionLost": "wire.failures",
    "HandshakeRefused": "wire.failures",
    "KillActor": "messages",
    "Observer": "observe.client",
    "Query": "messages",
    "Scale": "messages",
    "Shutdown": "messages",
    "WireError": "wire.failures",
    "connection_dir": "observe.discover",
    "runtimes": "observe.discover",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fanlight.observe' has no attribute {name!r}")
    return getattr(import_module(f"fanlight.{_HOME[name]}"), name)


__all__ = [
    "AsyncObserver",
    "Cancel",
    "CancelGroups",
    "ConnectionInfo",
    "ConnectionLost",
    "HandshakeRefused",
    "KillActor",
    "Observer",
    "Query",
    "Scale",
    "Shutdown",
    "WireError",
    "connection_dir",
    "runtimes",
]
