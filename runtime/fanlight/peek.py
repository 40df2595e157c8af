"""What a serialized value is, by the beginning of its pickle: nothing is unpickled or imported.

Called for the few objects that a report shows. It follows the pickle's first steps, as far as types,
shapes and the like can be read off; what it does not understand it leaves out.

>>> import numpy, fanlight.serialization as s
>>> kind(s.dumps(numpy.zeros((3, 4), "f4")).to_bytes())
'ndarray float32 (3, 4)'
>>> kind(s.dumps({"a": 1}).to_bytes()), kind(s.dumps("text").to_bytes()), kind(b"?")
('dict', 'str', '')
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_HEAD = struct.Struct("<4sIQQ")  # as in fanlight.serialization
_LOOKED_AT = 8_192  # bytes of a pickle
_STEPS = 400
_FILE_HEADER = 64  # of a file on disk, see fanlight.store.files
# Operations of a pickle that a long string or bytes follow, and the form of its length.
_BYTES = {0x42: ("bytes", "<I"), 0x8E: ("bytes", "<Q"), 0x96: ("bytearray", "<Q"),
          0x58: ("str", "<I"), 0x8D: ("str", "<Q")}  # fmt: skip
_NAMES = {"_frombuffer": "ndarray", "_reconstruct": "ndarray"}  # of numpy
_OTHERS = {"_make_function": "function", "_reconstruct_table": "Table"}
_DTYPES = {
    "f8": "float64", "f4": "float32", "f2": "float16", "i8": "int64", "i4": "int32", "i2": "int16",
    "i1": "int8", "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64", "b1": "bool",
    "c16": "complex128", "c8": "complex64", "O8": "object",
}  # fmt: skip


class _Global(NamedTuple):
    module: str
    name: str


class _Call(NamedTuple):
    function: Any
    args: Any


_MARK = object()


def kind(data: bytes) -> str:
    """The type of a value, with shape and dtype where there are such; "" if it is not clear."""
    return _kind(lambda at, length: data[at : at + length], len(data))


def kind_of_head(head: bytes, size: int) -> str:
    """The same for a value of ``size`` bytes of which only the beginning is there."""
    return _kind(lambda at, length: head[at : at + length], size)


def kind_of_file(path: Path, size: int) -> str:
    """The same for a segment, or for a file on disk (whose name begins with ``@``), which holds a
    value of ``size`` bytes."""
    skip = _FILE_HEADER if path.name.startswith("@") else 0
    try:
        with path.open("rb") as file:

            def read(at: int, length: int) -> bytes:
                file.seek(at + skip)
                return file.read(length)

            return _kind(read, size)
    except OSError:
        return ""


def _kind(read: Callable[[int, int], bytes], size: int) -> str:
    try:
        head = read(0, _HEAD.size)
        start, length = 0, size
        if head[:3] == b"FLV" or head[:3] == b"FLR":
            _, _, start, length = _HEAD.unpack(head)
        data = read(start, min(length, _LOOKED_AT))
        found = _top(data)
        if found is not None:
            return _describe(found)[:80]
        # The first thing in it does not end here: a long string or bytes, or what begins with one.
        at = 11 if len(data) > 11 and data[2] == 0x95 else 2
        name, form = _BYTES[data[at]]
        (own,) = struct.unpack_from(form, data, at + 1)
        end = at + 1 + struct.calcsize(form) + own
        return name if end + 3 >= length else ""  # after it nothing but MEMOIZE and STOP
    except Exception:
        return ""  # a pickle of a kind that nobody thought of


def _top(data: bytes) -> Any:
    """What is lowest on the stack after the first steps."""
    stack: list[Any] = []
    memo: list[Any] = []

    def to_mark() -> list[Any]:
        items: list[Any] = []
        while stack and (item := stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    try:
        for step, (op, arg, _) in enumerate(pickletools.genops(data)):
            name = op.name
            if step > _STEPS or name == "STOP":
                break
            if name in ("PROTO", "FRAME", "READONLY_BUFFER"):
                continue
            if name == "MEMOIZE":
                memo.append(stack[-1])
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[int(str(arg))])
            elif name == "MARK":
                stack.append(_MARK)
            elif name == "TUPLE":
                stack.append(tuple(to_mark()))
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
                empty: Any = {"T": (), "L": [], "D": {}, "S": set()}[name[6]]
                stack.append(empty)
            elif name == "STACK_GLOBAL":
                stack[-2:] = [_Global(str(stack[-2]), str(stack[-1]))]
            elif name == "GLOBAL":
                stack.append(_Global(*str(arg).split(" ", 1)))
            elif name in ("REDUCE", "NEWOBJ"):
                stack[-2:] = [_Call(stack[-2], stack[-1])]
            elif name == "NEWOBJ_EX":
                stack[-3:] = [_Call(stack[-3], stack[-2])]
            elif name == "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], _Call) and isinstance(state, tuple):
                    stack[-1] = _Call(stack[-1].function, (*stack[-1].args, "state", *state))
            elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
                to_mark()
            elif name == "APPEND":
                stack.pop()
            elif name == "SETITEM":
                del stack[-2:]
            elif name in ("POP", "POP_MARK"):
                to_mark() if name == "POP_MARK" else stack.pop()
            elif name == "NEXT_BUFFER":
                stack.append(None)
            else:
                stack.append({"NEWTRUE": True, "NEWFALSE": False}.get(name, arg))
    except (ValueError, IndexError, TypeError, KeyError):
        # It goes on beyond what was read: what is to become of the first thing counts, too.
        if stack and isinstance(stack[0], _Call) and isinstance(stack[0].args, tuple):
            return _Call(stack[0].function, (*stack[0].args, *stack[1:]))
    return stack[0] if stack else None


def _describe(value: Any) -> str:
    if not isinstance(value, _Call):
        return "function or class" if isinstance(value, _Global) else type(value).__name__
    function, args = value.function, value.args
    if not isinstance(function, _Global):
        return ""
    name = _NAMES.get(function.name, function.name) if "numpy" in function.module else function.name
    if name == "ndarray":
        dtypes = [a for a in args if isinstance(a, _Call) and _dtype(a)]
        shapes = [a for a in args if isinstance(a, tuple) and not isinstance(a, _Call | _Global)]
        shapes = [s for s in shapes if all(isinstance(n, int) for n in s)]
        shape = str(shapes[-1]) if shapes else ""
        return " ".join(filter(None, ("ndarray", _dtype(dtypes[-1]) if dtypes else "", shape)))
    name = _OTHERS.get(name, name)
    return "" if name.startswith("_") else name


def _dtype(call: _Call) -> str:
    function, args = call.function, call.args
    if not isinstance(function, _Global) or function.name != "dtype" or not args:
        return ""
    return _DTYPES.get(str(args[0]), str(args[0]))
