"""The part of :mod:`fanlight.core.invariants` about room in the object store and what is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m

if TYPE_CHECKING:
    from fanlight.core.machine import Core


def validate_room(core: Core) -> None:
    """Segments stand where they belong, and nobody waits for room that is there."""
    room, objects = core.room, core.objects
    assert objects.used + objects.reserved <= objects.capacity, (
        f"{objects.used} bytes used, {objects.reserved} promised, of {objects.capacity}"
    )
    for name, segment in objects.segments.items():
        places = [
            label
            for label, place in (
                ("warm", room.warm), ("idle", room.idle), ("held", room.held), ("kept", room.kept)
            )
            if name in place
        ]  # fmt: skip
        expected: list[list[str]] = [[]]
        if segment.disk or not (segment.cached or segment.live):
            pass
        elif segment.cached:
            expected = [["warm"]]
        elif not segment.mapped:
            expected = [["idle"]]
        elif not segment.asked:
            expected = [["held"], ["kept"]]
        assert places in expected, f"segment {name} is {places}, should be one of {expected}"
        for place in (room.warm, room.idle, room.held):
            assert place.get(name, segment) is segment, f"segment {name}: another one in its place"
        asking = {a.peer for a in room.asks.values() if name in a.names}
        assert segment.asked is None or segment.asked <= asking, f"segment {name}: asked of nobody"
    placed = {*room.warm, *room.idle, *room.held, *room.kept}
    assert placed <= objects.segments.keys(), "segments that are gone have places"
    assert room.wanted == sum(wait.size for wait in room.waiting), "bytes wanted"
    for wait in room.waiting:
        assert wait.size > 0
        if wait.oid:
            assert core.spilling.returning.get(wait.oid) == 0, "one waits to come back for nothing"
        else:
            assert wait.peer in core.clients, "a client that is gone waits for room"
    assert not room.waiting or not room.fits(room.waiting[0].size), "there is room, and one waits"
    peers = {ask.peer for ask in room.asks.values()} | room.deaf
    assert peers <= core.clients.keys(), "clients that are gone are asked for segments"


def validate_spilling(core: Core) -> None:
    """No object is nowhere; nothing is on disk for nobody; who waits is going to be answered."""
    spilling, table = core.spilling, core.objects.table
    away = 0
    for oid, obj in table.items():
        if obj.kind == m.AWAY:
            away += obj.size
            assert oid in spilling.files, f"{oid.hex()} is away and has no file"
            assert not obj.data, f"{oid.hex()} is away and has a segment"
    assert spilling.away == away, f"{spilling.away} bytes away, not {away}"
    for oid in spilling.files:
        assert oid in table, f"{oid.hex()} has a file and does not exist"
        kind = table[oid].kind
        assert kind in (m.AWAY, m.STORED), f"{oid.hex()} has a file, and its kind is {kind}"
    writing = 0
    for number, write in spilling.writes.items():
        if write.dropped:
            continue
        writing += write.segment.size
        obj = table[write.oid]
        assert obj.kind == m.STORED, f"{write.oid.hex()} is written, and its kind is {obj.kind}"
        assert core.objects.segments[obj.data.decode()] is write.segment
        assert write.segment.written == number, "a segment is not known to be written"
        assert write.oid not in spilling.files, f"{write.oid.hex()} is written twice"
    assert spilling.writing == writing, f"{spilling.writing} bytes being written, not {writing}"
    waiting = {wait.oid for wait in core.room.waiting}
    for oid, number in spilling.returning.items():
        assert table[oid].kind == m.AWAY, f"{oid.hex()} comes back, and is not away"
        on_its_way = spilling.reads[number].oid == oid if number else oid in waiting
        assert on_its_way, f"{oid.hex()} does not come back"
    for oid, fetchers in spilling.fetches.items():
        assert fetchers, f"{oid.hex()} is fetched by nobody"
        assert table[oid].kind == m.AWAY, f"{oid.hex()} is here, and its fetchers wait"
        assert oid in spilling.returning, f"{oid.hex()}: nobody fetches it"
        for peer, _ in fetchers:
            assert peer in core.clients, "a client that is gone fetches"
