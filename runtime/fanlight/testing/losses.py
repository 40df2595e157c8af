"""Ways to lose a stored object, as somebody else on the machine could do it; for tests.

>>> import fanlight
>>> @fanlight.remote
... def large(n):
...     return bytes(n)
>>> with fanlight.init(num_cpus=1, engine="inproc"):
...     ref = large.remote(200_000)
...     _ = fanlight.wait([ref])
...     lose(ref)
...     len(fanlight.get(ref))
200000
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fanlight import messages as m
from fanlight import session
from fanlight.engines.inproc import InprocEngine
from fanlight.refs import ObjectRef

WAYS = ("deleted", "cut", "emptied", "overwritten")


def segment(ref: ObjectRef[Any]) -> Path:
    """The file of an object whose value this driver was told of."""
    client = session.require_client()
    folder = client.values.folder
    assert folder is not None
    for _ in range(2):
        value = client.entries[ref.binary()]
        assert value is not None and value.kind == m.STORED, "not in shared memory"
        path = folder / value.data.decode()
        if path.exists():
            break
        client.get(ref.binary(), None)  # it was computed again, and nobody has told us yet
    return path


def damage(path: Path, way: str = "deleted") -> None:
    """Do to a segment's file what nobody should."""
    if way == "deleted":
        path.unlink()
        return
    size = path.stat().st_size
    if way == "overwritten":
        with open(path, "r+b") as file:
            file.write(bytes(min(size, 4096)))
            file.seek(-4, os.SEEK_END)
            file.write(bytes(4))
    else:
        os.truncate(path, 0 if way == "emptied" else size // 2)


def lose(ref: ObjectRef[Any], way: str = "deleted") -> None:
    """Lose the value of an object that is ready: a large one, which this driver does not look at."""
    engine = session.require().engine
    if isinstance(engine, InprocEngine):
        engine.node.lose(ref.binary(), "a test has lost it")
    else:
        damage(segment(ref), way)
