"""Makes a node check its invariants now and then, and write down how long its tables are.

Python imports it at its start where this folder is on PYTHONPATH; only a node of a chaos or soak test
does anything with it. What is wrong goes to $FANLIGHT_NODEWATCH/broken, sizes to …/tables.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Sized
from typing import Any

SHARE = 0.1  # of the node's time for checks
EVERY = 0.5  # seconds between two records of the sizes


def sizes(thing: Any, path: str, found: dict[str, int], seen: set[int], depth: int = 0) -> None:
    """The lengths of all containers of the core and of its parts, by name."""
    for name, value in vars(thing).items():
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Sized) and not isinstance(value, str | bytes):
            found[f"{path}.{name}"] = len(value)
        part = hasattr(value, "__dict__") and type(value).__module__.startswith("fanlight.core")
        if part and depth < 2 and f"{path}.{name}" not in found:
            sizes(value, f"{path}.{name}", found, seen, depth + 1)


def install(folder: str) -> None:
    from fanlight.core.invariants import validate
    from fanlight.core.machine import Core

    handle = Core.handle
    check_at = write_at = 0.0

    def checked(core: Core, stimuli: Any, now: float) -> Any:
        nonlocal check_at, write_at
        effects = handle(core, stimuli, now)
        clock = time.perf_counter()
        if clock >= check_at:
            try:
                validate(core)
            except BaseException:
                with open(os.path.join(folder, "broken"), "a") as file:
                    traceback.print_exc(file=file)
                raise
            check_at = clock + (time.perf_counter() - clock) / SHARE
        if clock >= write_at:
            write_at = clock + EVERY
            found: dict[str, int] = {}
            sizes(core, "core", found, set())
            name = os.path.join(folder, "tables.json")
            with open(name + ".new", "w") as file:
                json.dump(found, file)
            os.replace(name + ".new", name)
        return effects

    Core.handle = checked  # type: ignore[method-assign]


if os.environ.get("FANLIGHT_NODEWATCH") and any("fanlight.node.main" in a for a in sys.orig_argv):
    install(os.environ["FANLIGHT_NODEWATCH"])
