"""Messages survive the wire; whatever else arrives is refused, and never runs."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fanlight.wire
from fanlight import messages as m
from fanlight.wire import codec
from fanlight.wire.failures import BadMessage, WireError
from fanlight.wire.framing import HANDSHAKE_LIMIT, HEADER, FrameReader
from tests.wire.strategies import ALL_MESSAGES, DIRECTIONS, batches, messages_of, steady, typed

DECODERS = {
    "handshake": codec.decode_handshake,
    "from_client": codec.decode_from_client,
    "from_node": codec.decode_from_node,
    "from_caller": codec.decode_from_caller,
    "from_actor": codec.decode_from_actor,
}
directions = st.sampled_from(sorted(DECODERS))


def payload(batch):
    return codec.encode(batch)[HEADER:]


def decode_or_refuse(direction, data):
    """What any bytes must do: give typed messages of this direction, or raise a WireError."""
    try:
        found = DECODERS[direction](data)
    except WireError:
        return None
    assert type(found) is list
    for message in found:
        assert isinstance(message, DIRECTIONS[direction])
        assert typed(message)
    return found


def test_every_message_is_in_a_direction():
    """A message type that is in no union could be encoded and never be decoded."""
    tagged = {
        t
        for t in vars(m).values()
        if isinstance(t, type) and issubclass(t, msgspec.Struct) and t.__struct_config__.tag
    }
    assert tagged == set(ALL_MESSAGES)
    tags = [t.__struct_config__.tag for t in tagged]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("cls", ALL_MESSAGES, ids=lambda c: c.__name__)
@settings(steady, max_examples=25)
@given(data=st.data())
def test_round_trip(cls, data):
    message = data.draw(messages_of(cls))
    assert typed(message)
    for direction, types in DIRECTIONS.items():
        if cls in types:
            (found,) = DECODERS[direction](payload([message]))
            assert found == message
            assert type(found) is cls
        else:
            with pytest.raises(BadMessage):
                DECODERS[direction](payload([message]))


@steady
@given(data=st.data(), direction=directions, step=st.integers(1, 40))
def test_batches_through_a_stream(data, direction, step):
    sent = data.draw(st.lists(batches(direction), max_size=4))
    stream = b"".join(map(codec.encode, sent))
    reader = FrameReader()
    frames = [f for i in range(0, len(stream), step) for f in reader.feed(stream[i : i + step])]
    assert [DECODERS[direction](f) for f in frames] == sent


@settings(steady, max_examples=200)
@given(direction=directions, data=st.binary(max_size=200))
@example("handshake", b"\xdd\xff\xff\xff\xff")  # an array of four billion messages
@example("handshake", b"\x91\x92\x02\x81\xa1a\xdf\xff\xff\xff\xff")  # the same as a map
@example("from_client", b"\x91\x92\x0f\xdd\x08\x00\x00\x00")  # AddRefs of 2**27 ids
@example("handshake", b"\x91\x92\x02\x81\xa1a\x81\x80\x01")  # a map as a key
@example("handshake", b"\x91\x92\x02\x81\xa1a\xd7" + b"\xff" * 9)  # an impossible time
@example("handshake", b"\x91\x92\x02\x81\xa1\xff\x01")  # no UTF-8
@example("handshake", b"\x91\x92\x02\x81\xa1a" + b"\x91" * 100_000 + b"\x01")  # too deep
def test_random_bytes(direction, data):
    decode_or_refuse(direction, data)


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat", "truncate"]),
        st.integers(0, 400),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=5,
)


def mutated(data: bytes, changes) -> bytes:
    out = bytearray(data)
    for kind, at, value in changes:
        at %= len(out) + 1
        if kind == "set" and at < len(out):
            out[at] = value
        elif kind == "insert":
            out[at:at] = bytes([value])
        elif kind == "delete":
            del out[at : at + 1 + value % 4]
        elif kind == "repeat":
            out[at:at] = out[at : at + value]
        elif kind == "truncate":
            del out[at:]
    return bytes(out)


@settings(steady, max_examples=200)
@given(data=st.data(), direction=directions, changes=edits)
def test_mutated_messages(data, direction, changes):
    valid = payload(data.draw(batches(direction).filter(bool)))
    found = decode_or_refuse(direction, mutated(valid, changes))
    if found is not None:
        assert DECODERS[direction](payload(found)) is not None  # and it can be sent on


@steady
@given(data=st.data(), direction=directions, changes=edits, step=st.integers(1, 60))
def test_mutated_streams(data, direction, changes, step):
    """Damage to the stream itself, headers included, with the limit of the handshake."""
    sent = data.draw(st.lists(batches(direction), min_size=1, max_size=3))
    stream = mutated(b"".join(map(codec.encode, sent)), changes)
    reader = FrameReader(HANDSHAKE_LIMIT)
    for start in range(0, len(stream), step):
        try:
            frames = reader.feed(stream[start : start + step])
        except WireError:
            return
        assert reader.pending < HEADER + HANDSHAKE_LIMIT
        for found in frames:
            decode_or_refuse(direction, found)


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_in_messages_stay_bytes(tmp_path, monkeypatch):
    """Wherever a message may carry bytes, a pickle in it is never loaded."""
    target = tmp_path / "made"
    bomb = pickle.dumps(_Bomb(str(target)))

    def forbidden(*args, **kwargs):
        raise AssertionError("decoding unpickled something")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    task, oid, actor = bytes(24), bytes(28), bytes(16)
    value = m.Value(oid, m.INLINE, bomb)
    spec = m.TaskSpec(m.TASK, bomb, "f", {}, retry_types=bomb)
    carriers = [
        m.DefineFunction(bomb, bomb), m.DefineSpec(1, spec), m.Submit(task, 1, bomb, [], []),
        m.CreateActor(actor, task, 1, bomb, [], [], methods=bomb), m.Put(value),
        m.DefineEnvironment("key", bomb), m.GroupReady(actor, oid, bomb),
        m.Done(task, True, [value]), m.Yield(task, [value]), m.Output(task, "stdout", bomb),
        m.Deliver(1, [value]),
    ]  # fmt: skip
    assert codec.decode_from_client(payload(carriers)) == carriers
    with pytest.raises(BadMessage):
        codec.decode_handshake(bomb)
    with pytest.raises(BadMessage):
        codec.decode_handshake(payload([carriers[2]]))
    query = m.Query(1, "task", {"id": bomb})
    assert codec.decode_from_client(payload([query])) == [query]
    assert not target.exists()


def test_the_wire_package_cannot_unpickle():
    """None of its modules imports a module that can run what a peer sends."""
    folder = Path(fanlight.wire.__file__).parent
    forbidden = {"pickle", "_pickle", "cloudpickle", "marshal", "shelve", "dill"}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not forbidden & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Name):
                assert node.id not in {"eval", "exec", "__import__"}, path


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_lengths_that_lie_cost_no_memory():
    """A header that promises gigabytes must not make the decoder allocate them."""
    lies = [
        b"\xdd\xff\xff\xff\xff",
        b"\x91\x92\x02\xdf\xff\xff\xff\xff",
        b"\x91\x92\x02\x81\xa1a\xdd\x10\x00\x00\x00",
        b"\x91\x92\x02\x81\xa1a\xc6\xff\xff\xff\xff",
        b"\x91\x92\x02\x81\xa1a\xdb\xff\xff\xff\xff",
    ]
    code = (
        "from fanlight.wire import codec, failures\n"
        "import resource, sys\n"
        "with open('/proc/self/statm') as f: pages = int(f.read().split()[0])\n"
        "size = pages * resource.getpagesize() + (64 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
        f"for lie in {lies!r}:\n"
        "    try: codec.decode_handshake(lie)\n"
        "    except failures.BadMessage: pass\n"
        "    else: sys.exit('accepted')\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
