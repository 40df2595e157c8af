"""Frames come out of a byte stream whole and in order, however it was cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.wire import framing
from fanlight.wire.failures import FrameTooLong, WireError
from fanlight.wire.framing import FRAME_LIMIT, HANDSHAKE_LIMIT, HEADER, FrameReader, frame
from tests.wire.strategies import steady

payload_lists = st.lists(st.binary(max_size=300), max_size=8)
cuts = st.lists(st.integers(0, 2500), max_size=12)


def pieces(stream: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(a, len(stream)) for a in at), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(bounds)]


@steady
@given(payload_lists, cuts)
def test_any_split_gives_the_same_frames(payloads, at):
    reader = FrameReader()
    found = []
    for piece in pieces(b"".join(map(frame, payloads)), at):
        found += reader.feed(piece)
    assert found == payloads
    assert reader.pending == 0


@steady
@given(payload_lists)
def test_byte_by_byte(payloads):
    reader = FrameReader()
    stream = b"".join(map(frame, payloads))
    assert [f for i in range(len(stream)) for f in reader.feed(stream[i : i + 1])] == payloads


@steady
@given(payload_lists, cuts, st.integers(1, 200))
def test_a_frame_is_given_as_soon_as_it_is_complete(payloads, at, missing):
    """What waits is less than one frame, and never a complete one."""
    stream = b"".join(map(frame, payloads))
    cut = stream[: max(0, len(stream) - missing)]
    reader = FrameReader()
    found = [f for piece in pieces(cut, at) for f in reader.feed(piece)]
    ends, position = [], 0
    for payload in payloads:
        position += HEADER + len(payload)
        ends.append(position)
    complete = sum(end <= len(cut) for end in ends)
    assert found == payloads[:complete]
    assert reader.pending == len(cut) - (ends[complete - 1] if complete else 0)


@steady
@given(st.binary(max_size=3000), cuts)
def test_random_bytes_give_frames_or_a_wire_error(data, at):
    reader = FrameReader(limit=200)
    for piece in pieces(data, at):
        try:
            frames = reader.feed(piece)
        except WireError as e:
            assert type(e) is FrameTooLong
            return
        assert all(type(f) is bytes and len(f) <= 200 for f in frames)
        assert reader.pending < HEADER + 200


@steady
@given(st.lists(st.binary(max_size=30), max_size=4), st.integers(1, 2**32 - 1 - 64), cuts)
def test_a_frame_that_is_too_long_is_refused_at_its_header(before, excess, at):
    """Its body is never waited for: the four bytes of the header are enough."""
    stream = b"".join(map(frame, before)) + (64 + excess).to_bytes(HEADER, "little")
    reader = FrameReader(limit=64)
    with pytest.raises(FrameTooLong, match=str(64 + excess)):
        for piece in pieces(stream, at):
            reader.feed(piece)


def test_the_limit_itself_is_allowed():
    assert FrameReader(limit=5).feed(frame(b"12345")) == [b"12345"]
    with pytest.raises(FrameTooLong):
        FrameReader(limit=5).feed(frame(b"123456"))


@steady
@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=20))
def test_a_stranger_cannot_make_the_node_hold_memory(pieces):
    reader = FrameReader(HANDSHAKE_LIMIT)
    try:
        for piece in pieces:
            reader.feed(piece)
            assert reader.pending < HEADER + HANDSHAKE_LIMIT
    except FrameTooLong:
        pass


def test_the_limit_can_be_raised_after_the_handshake():
    reader = FrameReader(HANDSHAKE_LIMIT)
    assert reader.feed(frame(b"hello")) == [b"hello"]
    reader.limit = FRAME_LIMIT
    large = bytes(HANDSHAKE_LIMIT + 1)
    assert reader.feed(frame(large)) == [large]


def test_a_large_frame_in_small_reads_costs_linear_work(monkeypatch):
    """While a frame is incomplete, a read only appends: nothing is cut or copied again."""
    reader = FrameReader()
    stream = frame(bytes(1 << 20))
    cut_calls = []
    real = FrameReader._cut
    monkeypatch.setattr(FrameReader, "_cut", lambda self, d: cut_calls.append(1) or real(self, d))
    found = []
    for start in range(0, len(stream), 1024):
        found += reader.feed(stream[start : start + 1024])
    assert [len(f) for f in found] == [1 << 20]
    assert len(cut_calls) <= 3


def test_what_cannot_be_received_is_not_sent(monkeypatch):
    """The sender learns it, rather than the receiver closing the connection."""
    monkeypatch.setattr(framing, "FRAME_LIMIT", 10)
    assert frame(bytes(10)) == b"\x0a\0\0\0" + bytes(10)
    with pytest.raises(FrameTooLong, match="11 bytes"):
        frame(bytes(11))
