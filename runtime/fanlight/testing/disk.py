"""The disk of a :class:`fanlight.testing.simulation.SimulatedNode`, and room in its store: what the
core wants written and brought back is done when the test says so, well or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight.core import effects as fx

if TYPE_CHECKING:
    from fanlight.testing.simulation import SimulatedNode

DISK = "@"


class SimulatedDisk:
    """Files are names in ``SimulatedNode.files``, as segments are."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.jobs: dict[int, fx.Spill | fx.Restore] = {}  # not answered, oldest first
        self.damaged: set[str] = set()  # files and segments that cannot be read
        self.full = False  # nothing can be written
        self.lost = False  # something could not be read, so far
        self.written = 0

    def answer(self, number: int = 0, problem: str = "") -> None:
        """A job (the oldest, unless named) ends; with a ``problem`` of its kind, if any."""
        number = number or next(iter(self.jobs))
        job = self.jobs.pop(number)
        files = self.node.files
        if self.damaged or problem == "lost":
            self.lost = True
        if isinstance(job, fx.Spill):
            if not problem and (job.segment in self.damaged or job.segment not in files):
                problem = "lost"
            elif not problem and self.full:
                problem = "disk"
            if not problem:
                self.written += 1
                files.add(job.file)
            detail = f"{job.segment}: {problem}" if problem else ""
            self.node.post([(0, fx.Spilled(number, problem, detail))])
            return
        if not problem and (job.file in self.damaged or job.file not in files):
            problem = "lost"
        if problem == "no_room" and not job.segment:
            problem = ""
        if not problem and job.segment:
            files.add(job.segment)
        detail = f"{job.file}: {problem}" if problem else ""
        self.node.post([(0, fx.Restored(number, problem, detail))])

    def hurry(self) -> None:
        """Somebody cannot go on: let happen what it may wait for."""
        if self.jobs:
            self.answer()
        else:
            self.node.advance(1.0)  # nobody waits for ever for a client that does not answer

    def delete(self, name: str) -> None:
        self.damaged.discard(name)
        self.node.files.remove(name)
