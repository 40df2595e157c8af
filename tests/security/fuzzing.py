"""Random messages that know the protocol: what a client could send, with what it could know.

A :class:`Maker` builds messages from their types. Where an id is wanted it mostly takes one that is
known (of a task, object, actor, …) and sometimes one that is not; numbers are small, or at the edges.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

from msgspec import inspect as mi

from fanlight import messages as m

_EDGES = (0, 1, 2, 3, 7, 255, 1 << 16, 1 << 31, (1 << 53) + 1, 1 << 60, -1, -2, -(1 << 31))
_FLOATS = (0.0, 1.0, 0.001, -1.0, 1e-12, 1e12, -1e12, 1e300, float("inf"), float("nan"))
_WORDS = (
    "", "x", "default", "CPU", "GPU", "memory", "PACK", "STRICT_SPREAD", "in", "!in", "exists", "id",
    "name", "namespace", "kind", "limit", "filters", "=", "tasks", "actors", "stdout", "display",
    "../../etc/passwd", "/etc/passwd", "a\0b", "<img src=x onerror=alert(1)>", "\u202e", "é" * 40,
    "x" * 5000, "pip a",
)  # fmt: skip
_BYTES = (b"", b"key", b"\x80\x04N.", b"{}", b"\xff\xfe", b"../x", b"\xc1", b"x" * 300)


@functools.cache
def _fields(cls: type) -> list[tuple[str, mi.Type]]:
    return [(f.name, f.type) for f in mi.type_info(cls).fields]  # type: ignore[attr-defined]


class Maker:
    """Makes messages; ``known`` is what ids, names and numbers are mostly taken from."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.known: dict[int, list[bytes]] = {}  # ids by length
        self.words: list[str] = list(_WORDS)
        self.bytes: list[bytes] = list(_BYTES)
        self.numbers: list[int] = [1, 2, 3]

    def message(self, types: Sequence[type]) -> Any:
        return self.struct(self.random.choice(types))

    def struct(self, cls: type) -> Any:
        made = {name: self.value(info) for name, info in _fields(cls)}
        if cls is m.Submit and self.random.random() < 0.7:
            made["after"] = made["incarnation"] = 0
        return cls(**made)

    def value(self, info: mi.Type) -> Any:
        draw = self.random
        match info:
            case mi.AnyType():
                return self.anything(2)
            case mi.NoneType():
                return None
            case mi.BoolType():
                return draw.random() < 0.5
            case mi.IntType():
                return self.number(info)
            case mi.FloatType():
                return draw.choice(_FLOATS)
            case mi.StrType():
                if info.pattern is not None and draw.random() < 0.95:
                    return draw.choice(("e1", "e2", "e3"))
                return draw.choice(self.words)
            case mi.BytesType():
                return self.binary(info)
            case mi.ListType():
                return [self.value(info.item_type) for _ in range(draw.choice((0, 1, 1, 2, 3)))]
            case mi.DictType():
                return {
                    self.value(info.key_type): self.value(info.value_type)
                    for _ in range(draw.choice((0, 1, 2)))
                }
            case mi.UnionType():
                return self.value(draw.choice(info.types))
            case mi.StructType():
                return self.struct(info.cls)
        raise AssertionError(info)

    def number(self, info: mi.IntType) -> int:
        draw = self.random
        found: int = draw.choice(self.numbers) if draw.random() < 0.7 else draw.choice(_EDGES)
        if draw.random() < 0.02:
            return found  # the decoder's to refuse
        low = -(1 << 63) if info.ge is None else int(info.ge)
        high = 1 << 62 if info.le is None else int(info.le)
        if high == m.MOST_RETURNS:
            high = 2000  # allowed, and only slow
        return min(max(found, low), high)

    def binary(self, info: mi.BytesType) -> bytes:
        draw = self.random
        length = info.max_length
        if length is None:
            return draw.choice(self.bytes)
        if info.min_length is None and draw.random() < 0.5:
            return b""
        known = self.known.get(length)
        if known and draw.random() < 0.85:
            return draw.choice(known)
        return draw.randbytes(length if draw.random() < 0.97 else draw.randrange(40))

    def anything(self, depth: int) -> Any:
        draw = self.random
        kind = draw.randrange(8)
        if kind == 0 and depth:
            return [self.anything(depth - 1) for _ in range(draw.randrange(3))]
        if kind == 1 and depth:
            return {draw.choice(self.words): self.anything(depth - 1) for _ in range(2)}
        if kind == 2:
            ids = self.known.get(draw.choice((16, 24, 28)), [])
            return draw.choice(ids).hex() if ids else "00"
        return draw.choice((None, True, -1, 0, 5, 1 << 62, 0.5, "", draw.choice(self.words), b"x"))

    # --- bytes -------------------------------------------------------------------------------

    def damaged(self, data: bytes) -> bytes:
        """The same with a few bytes changed, left out, doubled or added."""
        draw, out = self.random, bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 4))):
            at = draw.randrange(len(out) + 1)
            match draw.randrange(5):
                case 0 if at < len(out):
                    out[at] ^= 1 << draw.randrange(8)
                case 1:
                    out[at:at] = draw.choice(
                        (
                            b"\xdf\xff\xff\xff\xff",
                            b"\xdd\xff\xff\xff\xff",
                            b"\x91" * 500,
                            b"\xc1",
                            b"\xc0",
                        )
                    )
                case 2:
                    del out[at : at + draw.randrange(1, 9)]
                case 3:
                    out[at:at] = out[max(0, at - draw.randrange(1, 30)) : at]
                case _:
                    out[at:at] = draw.randbytes(draw.randrange(1, 6))
        return bytes(out)
