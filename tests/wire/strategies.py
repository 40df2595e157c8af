"""Hypothesis strategies for every message type, made from the types themselves."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec import inspect as mi

from fanlight import messages as m

# The same examples at every run, and no time limit for one of them: a slow machine is no failure.
steady = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)

DIRECTIONS: dict[str, tuple[type, ...]] = {
    "handshake": typing.get_args(m.HandshakeMessage),
    "from_client": typing.get_args(m.FromClient),
    "from_node": typing.get_args(m.FromNode),
    "from_caller": typing.get_args(m.FromCaller),
    "from_actor": typing.get_args(m.FromActor),
}
ALL_MESSAGES = sorted({t for group in DIRECTIONS.values() for t in group}, key=lambda t: t.__name__)

_texts = st.text(max_size=12)
_integers = st.integers(-(2**63), 2**64 - 1)
_floats = st.floats(allow_nan=False)
_plain = st.recursive(
    st.none() | st.booleans() | _integers | _floats | _texts | st.binary(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


def _of(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.AnyType():
            return _plain
        case mi.NoneType():
            return st.none()
        case mi.BoolType():
            return st.booleans()
        case mi.IntType():
            if info.ge is None and info.le is None:
                return _integers
            return st.integers(info.ge, info.le)
        case mi.FloatType():
            if info.ge is None and info.le is None:
                return _floats
            return st.floats(info.ge, info.le)
        case mi.StrType():
            if info.pattern is not None:
                return st.from_regex(info.pattern, fullmatch=True).filter(str.isascii)
            return _texts
        case mi.BytesType():
            most = 40 if info.max_length is None else info.max_length
            return st.binary(min_size=info.min_length or 0, max_size=most)
        case mi.ListType():
            return st.lists(_of(info.item_type), max_size=4)
        case mi.DictType():
            return st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3)
        case mi.UnionType():
            return st.one_of([_of(t) for t in info.types])
        case mi.StructType():
            fields = {f.name: _of(f.type) for f in info.fields}
            return st.builds(info.cls, **fields)
    raise AssertionError(f"a message has a field of a type that this test does not know: {info}")


def messages_of(cls: type | types.UnionType) -> st.SearchStrategy[Any]:
    """Instances of one message type, with any legal field values."""
    return _of(mi.type_info(cls))


def batches(direction: str) -> st.SearchStrategy[list[Any]]:
    """Lists of messages that may travel in one frame of this direction."""
    return st.lists(st.one_of([messages_of(t) for t in DIRECTIONS[direction]]), max_size=5)


def conforms(value: Any, info: mi.Type) -> bool:
    """Whether ``value`` really has the type that its message declares, all the way down."""
    match info:
        case mi.AnyType():
            return True
        case mi.NoneType():
            return value is None
        case mi.BoolType():
            return type(value) is bool
        case mi.IntType():
            return type(value) is int
        case mi.FloatType():
            return type(value) is float
        case mi.StrType():
            return type(value) is str
        case mi.BytesType():
            return type(value) is bytes
        case mi.ListType():
            return type(value) is list and all(conforms(v, info.item_type) for v in value)
        case mi.DictType():
            return type(value) is dict and all(
                conforms(k, info.key_type) and conforms(v, info.value_type)
                for k, v in value.items()
            )
        case mi.UnionType():
            return any(conforms(value, t) for t in info.types)
        case mi.StructType():
            return type(value) is info.cls and all(
                conforms(getattr(value, f.name), f.type) for f in info.fields
            )
    return False


def typed(value: Any) -> bool:
    """Whether ``value`` is a message whose fields have their declared types."""
    return isinstance(value, msgspec.Struct) and conforms(value, mi.type_info(type(value)))
