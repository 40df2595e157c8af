"""The worker's side of ``%%remote --on NAME``: an actor that keeps a cell's globals for the next one.

A name belongs to whoever assigned it last. What a cell assigned here is the namespace's own, and no
input replaces it unless ``--in`` names it. What came from the notebook stays a copy of the notebook's:
when it has another value there, that one is taken; while it has the same one, the copy stays as the
cells changed it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from fanlight import errors
from fanlight_kernel import worker
from fanlight_kernel.capture import alterations
from fanlight_kernel.capture.carry import Home, Packed, Space
from fanlight_kernel.namespaces import inspection
from fanlight_kernel.namespaces.inspection import Variable

ATTRIBUTE = "__fanlight_namespace__"  # of an exception: the namespace as the cell left it


@dataclass
class Call:
    """What a cell's run says of itself, beside its job."""

    batch: str  # of all the runs of one --each
    tokens: dict[str, str] = field(default_factory=dict)  # by input: stands for its content
    forced: tuple[str, ...] = ()  # --in: these replace what is here


@dataclass
class State:
    """The namespace after a cell, as the notebook remembers it."""

    pid: int
    gpus: list[Any]
    variables: list[Variable]
    own: tuple[str, ...]  # names that cells assigned here
    kept: tuple[str, ...] = ()  # inputs that were sent and not taken: the namespace has its own


class SkippedRun(Exception):
    """An earlier run of the same ``--each`` failed, so this one did not begin."""


class Namespace:
    """The actor. Cells run in its main thread, one after the other."""

    __fanlight_interruptible__ = True

    def __init__(self, name: str) -> None:

        self.name = name
        # Pickling, dataclasses and type hints look names up in the module of that name.
        self.module = types.ModuleType("__main__", f"The namespace {name}.")
        if Home.here is None:
            sys.modules["__main__"] = self.module
        self.space = Space(vars(self.module))
        self.ns = self.space.ns
        self.own: dict[str, None] = {}
        self.borrowed: dict[str, str | None] = {}
        self.frozen: set[str] = set()  # of those: arrays shared with the notebook, read-only
        self.failed: dict[str, None] = {}  # the newest batches whose rest is skipped

    def __repr__(self) -> str:
        return f"namespace {self.name}"

    def leave(self) -> None:
        """The namespace is removed: what it holds is closed in good order, files for instance."""
        self.ns.clear()
        gc.collect()

    def hello(self) -> State:
        """Answered as soon as there is a process."""
        return self.state()

    def state(self) -> State:
        """What there is now."""
        import fanlight

        return State(
            pid=os.getpid(),
            gpus=list(fanlight.get_gpu_ids()),
            variables=inspection.light(self.ns),
            own=tuple(name for name in self.own if name in self.ns),
        )

    def variables(self, seconds: float) -> list[Variable]:
        """The variables with their reprs; those of which there is no time for go without."""
        return inspection.full(self.ns, seconds)

    def run(
        self,
        call: Call,
        job: worker.CellJob,
        values: Packed,
        element: Packed | dict[str, Any],
        names: tuple[str, ...] = (),
        *large: Packed,
    ) -> Any:
        """Run a cell; as :func:`worker.run_cell`, and the result says what there is afterwards."""
        if call.batch in self.failed:
            raise SkippedRun
        kept: tuple[str, ...] = ()
        before: dict[str, Any] = {}
        try:
            kept, lent = self.receive(call, job, values, element, names, large)
            before = dict(self.ns)
            try:
                result = worker.run_in(job, self.space, lent)
            finally:
                self.claim(before, job.always)
        except BaseException as error:
            self.fails(call)
            self.note(error, kept)
            raise
        first = result[0] if isinstance(result, tuple) else result
        if first.exit is not None:
            self.fails(call)
        first.state = dataclasses.replace(self.state(), kept=kept)
        return result

    def receive(
        self,
        call: Call,
        job: worker.CellJob,
        values: Packed,
        element: Packed | dict[str, Any],
        names: tuple[str, ...],
        large: tuple[Packed, ...],
    ) -> tuple[tuple[str, ...], list[str]]:
        """Take the inputs that are not the namespace's own; returns the names of the others, and
        those of copies of which the notebook is to be told when the cell changes them."""
        owned = self.own.keys() - {*call.forced}
        opening = dataclasses.replace(
            job,
            modules={name: found for name, found in job.modules.items() if name not in owned},
            changed=job.changed | {""},  # small arrays are copies, and may be written to
        )
        opened = worker.open_inputs(opening, self.space, values, {}, names, large)
        kept = tuple(name for name in opened if name in owned)
        taken: dict[str, Any] = {}
        for name in opened.keys() - owned:
            token = call.tokens.get(name)
            same = token is not None and self.borrowed.get(name) == token and name in self.ns
            thaws = name in self.frozen and name in job.changed
            if same and not thaws and name not in call.forced:
                continue  # it has not changed there: ours stays as cells left it
            taken[name] = opened[name]
            self.borrowed[name] = token
            self.own.pop(name, None)
            self.frozen.discard(name)
            if (name in names or name in job.aliases) and name not in job.changed:
                self.frozen.add(name)
        placeholders = tuple(name for name in job.placeholders if name not in self.ns)
        worker.fill(self.ns, dataclasses.replace(job, placeholders=placeholders), taken)
        variable = element if isinstance(element, dict) else element.open(self.space)
        self.ns.update(variable)
        self.own.update(dict.fromkeys(variable))
        bulky = {n for n, p in zip(names, large, strict=True) if len(p.data) > alterations.LIMIT}
        return kept, [name for name in opened if name not in owned and name not in bulky]

    def claim(self, before: dict[str, Any], also: tuple[str, ...]) -> None:
        """What the cell assigned is the namespace's own from now on."""
        missing = object()
        for name, value in self.ns.items():
            if before.get(name, missing) is not value or name in also:
                self.own[name] = None
                self.borrowed.pop(name, None)
        for name in [n for n in (*self.own, *self.borrowed) if n not in self.ns]:
            self.own.pop(name, None)
            self.borrowed.pop(name, None)

    def fails(self, call: Call) -> None:
        self.failed[call.batch] = None
        while len(self.failed) > 100:
            self.failed.pop(next(iter(self.failed)))

    def note(self, error: BaseException, kept: tuple[str, ...]) -> None:
        """Put the namespace, as the cell left it, on the error that leaves."""
        with contextlib.suppress(Exception):
            state = dataclasses.replace(self.state(), kept=kept)
            setattr(errors.innermost(error), ATTRIBUTE, state)
