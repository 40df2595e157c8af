"""Which inputs a cell changed in place, found by comparing them before and after.

The notebook would see such a change if the cell ran there; of a copy in a worker it does not, and
the user is told. What a cell calls cannot be known from its text (``s.add(t)`` changes a set
and no Series; ``f(data)`` may do anything), so this looks at what happened.
"""

from __future__ import annotations

import types
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fanlight.serialization import PLAIN
from fanlight_kernel.capture.carry import Packer, Space, reference_types
from fanlight_kernel.capture.unchanged import address_of, same_bytes, view_of

LIMIT = 1 << 20  # bytes of pickle for one input: comparing more would be felt
COPIED = 1 << 20  # bytes of writable buffers


@dataclass
class Mark:
    """What an input was before the cell ran."""

    data: bytes
    buffers: list[memoryview]


def marks(values: dict[str, Any], space: Space, changed: Collection[str]) -> dict[str, Mark]:
    """Remember the inputs that could be changed in place; ``changed`` are those of which the cell's
    text says it. Of others that are writable and too large to keep, large tensors for instance,
    nothing can be said."""
    functions = types.FunctionType, types.BuiltinFunctionType
    fixed = (types.ModuleType, type, *functions, *reference_types())
    found = {}
    for name, value in values.items():
        if type(value) in PLAIN or isinstance(value, fixed):
            continue
        if _is_read_only_array(value):
            continue
        mark = _mark(value, space)
        if mark is not None and (name in changed or all(b.readonly for b in mark.buffers)):
            found[name] = mark
    return found


def altered(marked: dict[str, Mark], before: dict[str, Any], space: Space) -> list[str]:
    """Names of inputs that are still the same objects, and not what they were."""
    ns = space.ns
    found = []
    for name, mark in marked.items():
        if ns.get(name, marked) is not before[name]:
            continue
        after = _mark(ns[name], space)
        if after is None or after.data != mark.data or not _same(mark.buffers, after.buffers):
            found.append(name)
    return found


def _is_read_only_array(value: Any) -> bool:
    flags = getattr(value, "flags", None)
    dtype = getattr(value, "dtype", None)
    return (
        type(value).__module__ == "numpy"
        and getattr(flags, "writeable", True) is False
        and not getattr(dtype, "hasobject", True)
    )


def _mark(value: Any, space: Space) -> Mark | None:
    try:
        packed = Packer(space).pack(value)
    except Exception:  # the cell made it so, or asked for what cannot be pickled
        return None
    if len(packed.data) > LIMIT:
        return None
    views = []
    for buffer in packed.buffers:
        view = view_of(buffer)
        if not view.readonly and view.nbytes <= COPIED:
            view = memoryview(bytes(view))
        views.append(view)
    return Mark(packed.data, views)


def _same(before: list[memoryview], after: list[memoryview]) -> bool:
    if len(before) != len(after):
        return False
    for one, other in zip(before, after, strict=True):
        if one.nbytes != other.nbytes:
            return False
        if address_of(one) == address_of(other):
            if not one.readonly:
                return False  # it was too large to be kept: the cell's text says that it changes
        elif not same_bytes(one, other):
            return False
    return True
