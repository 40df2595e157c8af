"""Ray's parallel iterators, which Ray itself has dropped: every use is refused with an error."""

from __future__ import annotations

from typing import Any

from fanlight.errors import UnsupportedError


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise UnsupportedError(
        f"util.iter.{name} (parallel iterators) is not in this version of Fanlight. "
        "fanlight.util.ActorPool.map or fanlight.util.multiprocessing.Pool.imap do the same work."
    )
