"""Identifiers: how they are made and what their bytes mean.

All ids are plain ``bytes`` so that they hash fast, travel as they are and need no class.

========== ===== ==========================================================
id         bytes made of
========== ===== ==========================================================
client        16 random, one for each connected process
task          24 the submitting client's id + an 8-byte counter (whose first byte is
                 OWN for calls on a channel, which the node need not know)
object        28 the task that makes it + a 4-byte index (puts: index 0 of a
                 task id that never runs)
actor         16 random
node          28 random
worker        28 the node's first 24 bytes + a 4-byte number
job            4 counted up by the node, one for each driver
========== ===== ==========================================================
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

CLIENT_LEN = 16
TASK_LEN = 24
OBJECT_LEN = 28
ACTOR_LEN = 16
NODE_LEN = 28
OWN = b"\x80"
ACTOR_SUFFIX = b"\0" * (OBJECT_LEN - ACTOR_LEN)

_INDEX_CACHE = tuple(i.to_bytes(4, "little") for i in range(64))
FIRST = _INDEX_CACHE[0]  # what the id of a task's first object ends with


def new_client_id() -> bytes:
    return os.urandom(CLIENT_LEN)


def new_actor_id() -> bytes:
    return os.urandom(ACTOR_LEN)


def new_node_id() -> bytes:
    return os.urandom(NODE_LEN)


def task_id_factory(client_id: bytes) -> Callable[[], bytes]:
    """Return a function that gives a fresh task id at each call (safe to call from any thread)."""
    count = itertools.count(1).__next__

    def next_task_id() -> bytes:
        return client_id + count().to_bytes(8, "big")

    return next_task_id


def call_id_factory(client_id: bytes) -> Callable[[], bytes]:
    """The same for calls of actors: ``is_call`` tells them from tasks, wherever a ref goes."""
    count = itertools.count(1).__next__
    prefix = client_id + b"\x40"

    def next_call_id() -> bytes:
        return prefix + count().to_bytes(7, "big")

    return next_call_id


def is_call(task_id: bytes) -> bool:
    """Whether the task is a call of an actor's method: its counter begins with a mark."""
    return task_id[CLIENT_LEN] >= 0x40


def own_task_id_factory(client_id: bytes) -> Callable[[], bytes]:
    """The same for calls on channels."""
    count = itertools.count(1).__next__
    prefix = client_id + OWN

    def next_task_id() -> bytes:
        return prefix + count().to_bytes(7, "big")

    return next_task_id


def object_id(task_id: bytes, index: int) -> bytes:
    """The id of the ``index``-th return value of a task."""
    return task_id + (_INDEX_CACHE[index] if index < 64 else index.to_bytes(4, "little"))


def handle_oid(actor_id: bytes) -> bytes:
    """The object id under which an actor's handles are counted, like refs to an object."""
    return actor_id + ACTOR_SUFFIX


def task_of(oid: bytes) -> bytes:
    """The id of the task that makes the object ``oid``."""
    return oid[:TASK_LEN]


def index_of(oid: bytes) -> int:
    """Which of its task's objects ``oid`` is."""
    return int.from_bytes(oid[TASK_LEN:], "little")
