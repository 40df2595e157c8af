"""A feed for recorders that plays a simulated run, without a runtime.

``python -m tests.observe.scripted FILE`` makes the recording that the front end's tests play.
"""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fanlight import messages as m
from fanlight.core.timeline import RECORD, Timeline
from fanlight.observe import recorder
from fanlight.observe.recording import Recording
from tests.labextension.fake_node import Simulation


class ScriptedFeed:
    """Items that a test gives; the timeline holds what a simulation has finished."""

    def __init__(self, simulation: Simulation | None = None) -> None:
        self.given: queue.SimpleQueue[bytes | m.Reply | None] = queue.SimpleQueue()
        self.closed = False
        self.welcome: dict[str, Any] = {}
        self.simulation = simulation
        self.timeline = Timeline()

    def items(self) -> Iterator[bytes | m.Reply]:
        while (item := self.given.get()) is not None:
            yield item

    def ask(self, what: str, args: dict[str, Any]) -> None:
        if what != "timeline":
            self.given.put(m.Reply(1, b"", "not here"))
            return
        last, records = self.timeline.page(args["after"])
        groups = self.simulation.groups.values() if self.simulation else ()
        page = {
            "records": records,
            "record": RECORD,
            "next": last,
            "more": last < self.timeline.total,
            "forgotten": 0,
            "names": {g.id: [g.name, g.kind, g.origin] for g in groups},
            "lanes": {n: ["", "", []] for n in (1, 2)},
        }
        self.given.put(m.Reply(1, msgspec.msgpack.encode(page)))

    def settle(self) -> bool:
        self.given.put(None)
        return True

    def close(self) -> None:
        self.closed = True
        self.given.put(None)

    def say(self, event: Any) -> None:
        self.given.put(msgspec.json.encode(event))

    def play(self) -> None:
        """Say all events of the simulation, then have the whole timeline asked."""
        simulation = self.simulation
        assert simulation is not None
        self.say(simulation.snapshot())
        while not simulation.done:
            delta = simulation.step()
            for view in delta.tasks:
                if view.finished:
                    self.timeline.record(
                        bytes.fromhex(view.id),
                        view.group,
                        int(view.worker[-8:] or "1", 16),
                        4_000,
                        view.started,
                        view.finished - view.started,
                        ok=view.state == "FINISHED",
                        waited=view.started - view.submitted,
                    )
            self.say(delta)
        self.ask("timeline", {"after": 0})


def record_simulation(path: Path, **options: Any) -> Recording:
    feed = ScriptedFeed(Simulation())
    feed.play()
    made = recorder.Recorder(feed, path, **options)
    made.stop()
    assert feed.closed and not made.active
    return Recording(path)


class _Clock:
    """Every look at it takes a tenth of a second, as a step of the simulation does."""

    now = 0.0
    time = staticmethod(time.time)

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now


if __name__ == "__main__":
    recorder.KEY_DELTAS = 60
    recorder.time = _Clock()  # type: ignore[assignment]
    print(record_simulation(Path(sys.argv[1]), title="A simulated run").parts)
