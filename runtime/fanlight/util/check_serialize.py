"""``inspect_serializability``: which part of a value cannot travel to another process."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from fanlight import serialization
from fanlight.client.failures import culprits


class SerializationFailure:
    """One part that cannot be pickled.

    Attributes:
        obj: the part.
        name: what it is called in its parent: an attribute, a variable, a position.
        parent: what holds it; None for the inspected value itself.
        path: the way to it from the inspected value.
        error: what pickling it raised.
    """

    def __init__(self, obj: Any, name: str, parent: Any, path: str, error: Exception) -> None:
        self.obj = obj
        self.name = name
        self.parent = parent
        self.path = path
        self.error = error

    def __repr__(self) -> str:
        return f"SerializationFailure({self.path}: {type(self.obj).__name__})"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 5, print_file: TextIO | None = None
) -> tuple[bool, set[SerializationFailure]]:
    """Print whether ``base_obj`` can be pickled, and what in it cannot.

    Args:
        base_obj: a function, class or value, as it would be given to a task.
        name: what to call it in the report.
        depth: how many levels to look into.
        print_file: where to print; default: the standard output.

    Returns:
        ``(True, set())``, or False and the innermost parts that are to blame.

    >>> import threading
    >>> lock = threading.Lock()
    >>> ok, failures = inspect_serializability({"a": 1, "lock": lock}, name="config")
    config cannot be sent to other processes: TypeError: cannot pickle '_thread.lock' object
      config['lock'] is to blame: <class '_thread.lock'>
    >>> ok, next(iter(failures)).obj is lock
    (False, True)
    """
    out = print_file or sys.stdout
    label = name or getattr(base_obj, "__qualname__", None) or type(base_obj).__name__
    target = getattr(base_obj, "_function", None) or getattr(base_obj, "_cls", base_obj)
    try:
        if target is base_obj and not callable(base_obj):
            serialization.dumps(base_obj)
        else:
            serialization.dumps_function(target)
    except Exception as error:
        print(
            f"{label} cannot be sent to other processes: {type(error).__name__}: {error}", file=out
        )
        failures = {
            SerializationFailure(c.obj, c.name or label, c.parent, f"{label}{c.path}", c.error)
            for c in culprits(target, error, depth)
        }
        for failure in sorted(failures, key=lambda f: f.path):
            print(f"  {failure.path} is to blame: {type(failure.obj)!r}", file=out)
        return False, failures
    print(f"{label} can be sent to other processes.", file=out)
    return True, set()


__all__ = ["SerializationFailure", "inspect_serializability"]
