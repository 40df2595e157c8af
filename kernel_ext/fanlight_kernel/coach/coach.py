"""The coach in the notebook: gathers what a cell did, asks the rules, shows their hints.

The extension calls :meth:`Coach.before` and :meth:`Coach.after` around each cell. While a cell runs
for long, a thread looks every few seconds. Nothing here may ever harm the notebook: what goes wrong is
written to the kernel's log.
"""

from __future__ import annotations

import dataclasses
import linecache
import os
import threading
import time
import types
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanlight_kernel.coach import rulebook, show, values, work
from fanlight_kernel.coach.facts import (
    Defined,
    Facts,
    Function,
    Get,
    Hint,
    Limits,
    Mutation,
    Sent,
    Site,
    Span,
    Submit,
    Wait,
)
from fanlight_kernel.coach.reading import Source

if TYPE_CHECKING:
    from fanlight_kernel.cells import Cell

PERIOD = 5.0  # seconds between two looks at a cell that runs
PATIENCE = 5.0  # seconds that the node may take to answer
BRIEF = 0.5  # seconds that the start of a cell may wait for a look at the one before
QUICK = 0.05  # seconds: of a shorter cell nobody is asked how its tasks ran
_TIMED = ("<timed exec>", "<timed eval>")  # what %%time calls its body
_SOURCES = 200  # files remembered


class Coach:
    """One for each shell."""

    def __init__(self, extension: Any) -> None:
        from fanlight import calls

        self.extension = extension
        self.limits = Limits()
        self.period = PERIOD
        self.known = values.Known()
        self.log = calls.Log(self.known.describe)
        self._lock = threading.RLock()  # around looking
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._cell: Cell | None = None
        self._due = 0.0  # time.monotonic() of the next look
        self._records: list[Any] = []
        self._spans: dict[bytes, Span] = {}
        self._runtime = ""  # that `_after` counts in
        self._after = 0  # ended runs read so far
        self._functions: dict[int, tuple[Any, Function]] = {}
        self._codes: dict[tuple[int, int], tuple[Any, Site | None]] = {}
        self._sources: OrderedDict[tuple[str, str], Source | None] = OrderedDict()
        self._mutated: dict[str, Mutation] = {}  # by cells before this one
        self._later: dict[str, Mutation] = {}  # the same, for the next one
        self._shown: dict[str, show.Shown] = {}
        self._display_id = ""
        ours = Path(__file__).parents[1], Path(calls.__file__).parent
        self._ours = tuple(f"{path}{os.sep}" for path in ours)

    # -- called by the extension --------------------------------------------------------------
    def open(self) -> None:
        from fanlight import calls, session

        current = session.current()
        calls.watch(self.log, current.engine if current is not None else None)

    def close(self) -> None:
        """Unloading: nothing is recorded any more."""
        from fanlight import calls

        calls.watch(None)
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._forget()

    def before(self, cell: Cell) -> None:
        """A cell begins, in the thread whose calls are its own."""
        on = bool(self.extension.magics.coach)
        try:
            # The thread may be looking yet, and wait for a node that stands still: no hints then.
            on = self._lock.acquire(timeout=BRIEF) and on
            self.log.on = on
            self.log.thread = threading.get_ident()
            self.log.offset = time.time() - time.perf_counter()
            self._cell = cell if on else None
            if on:
                self._forget()
        finally:
            try:  # nothing is asked first: Ctrl-C could strike then, and right after `acquire`
                self._lock.release()
            except RuntimeError:
                pass  # it was not to be had
        if on:
            with self._changed:
                self._due = time.monotonic() + self.period
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(
                        target=self._run, name="fanlight-coach", daemon=True
                    )
                    self._thread.start()
                self._changed.notify()

    def after(self, cell: Cell, *, interrupted: bool = False) -> None:
        """The cell is over: show what there is to say. Who interrupts it wants nothing more."""
        if interrupted:
            # Without the lock: the thread may have it, and wait for a node that stands still.
            self._cell = None
            return
        with self._lock:
            if self._cell is not cell:
                return
            try:
                self.look(cell)
            except KeyboardInterrupt:
                pass  # nothing of the user's was running any more
            except Exception as error:  # the coach must never harm the notebook
                self.extension.log(f"coach: {type(error).__name__}: {error}")
            finally:
                self._cell = None
                self._mutated = self._later
                self._forget()

    # -- while a cell runs --------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                cell = self._cell
                self._changed.wait(
                    None if cell is None else max(0.01, self._due - time.monotonic())
                )
                late = time.monotonic() >= self._due
                if late:
                    self._due = time.monotonic() + self.period
            with self._lock:
                cell = self._cell if late and not self._closed else None
                if cell is None:
                    continue
                try:
                    self.look(cell)
                except Exception as error:
                    self._cell = None
                    self.extension.log(f"coach: {type(error).__name__}: {error}")

    def _forget(self) -> None:
        self.log.take()
        self.log.stored.clear()
        self._records = []
        self._spans = {}
        self._functions.clear()
        self._codes.clear()
        self.known.clear()
        self._shown = {}
        self._display_id = ""

    def look(self, cell: Cell) -> None:
        """Gather, ask, and show what is new. With the lock."""
        found, _ = self.log.take()
        self._records += found
        if not self._records and not self._mutated:
            return
        facts = self.facts(cell)
        self._remember(facts)
        changed = False
        for hint in rulebook.hints(facts, self.limits):
            shown = self._as_shown(hint)
            changed |= self._shown.get(hint.rule) != shown
            if hint.rule == "global-state":  # told once
                self._later = {n: m for n, m in self._later.items() if m.site != hint.site}
            self._shown[hint.rule] = shown
        if changed and not cell.quiet:
            again, self._display_id = bool(self._display_id), self._display_id or uuid.uuid4().hex
            self.extension.router.display(
                cell,
                show.bundle([*self._shown.values()], self._alias()),
                display_id=self._display_id,
                update=again and self.extension.rich,
            )

    # -- gathering ----------------------------------------------------------------------------
    def facts(self, cell: Cell) -> Facts:
        """What the cell has done so far."""
        from fanlight import calls, session

        facts = Facts(
            elapsed=max(0.0, time.time() - cell.started),
            source=self.source,
            name_of=lambda key: self.known.name(key, self.extension.shell.user_ns),
            captured=values.captured,
            main=self._main(cell),
        )
        for record in self._records:
            if isinstance(record, calls.Defined):
                start, end = record.start + self.log.offset, record.end + self.log.offset
                facts.defined.append(Defined(start, end, *record[2:]))
                continue
            site = self._site(record.code, record.at)
            if site is None:
                continue
            end = record.end + self.log.offset
            if isinstance(record, calls.Sent):
                function = self._function(record.function)
                facts.sent.append(
                    Sent(
                        end, record.seconds, site, function, record.size, record.oid[:24],
                        record.values,  # type: ignore[arg-type]  # what `describe` gave
                    )
                )  # fmt: skip
                continue
            start = record.start + self.log.offset
            if isinstance(record, calls.Submitted):
                function = self._function(record.function)
                facts.submits.append(Submit(start, end, site, function, record.oid[:24]))
            elif isinstance(record, calls.Got):
                tasks = tuple(oid[:24] for oid in record.oids)
                facts.gets.append(Get(start, end, site, tasks, record.single, record.refs))
            else:
                facts.waits.append(Wait(start, end, site, *record[4:]))
        current = session.current()
        if current is not None and facts.submits and facts.elapsed >= QUICK:
            facts.processes = bool(current.engine.capabilities.processes)
            ask = current.client.query
            facts.totals = dict(ask("resources", PATIENCE)["total"])
            facts.machine = _cpus() if facts.processes else 1
            if facts.sent:
                store = ask("store", PATIENCE)
                facts.capacity = int(store.get("capacity", 0))
                facts.spilled = int(store.get("spilled", 0))
            self._read_runs(current, cell.started)
            facts.spans = self._spans
        return facts

    def _read_runs(self, current: Any, since: float) -> None:
        """Take in the runs that ended since the last look, and began in this cell's time."""
        from fanlight import calls

        if current.runtime_id != self._runtime:
            self._runtime, self._after = current.runtime_id, 0
        rows, self._after = calls.ended_runs(current.client, self._after, PATIENCE)
        for task, name, pid, flags, start, duration in rows:
            if start >= since - 1.0:
                self._spans[task] = Span(start, duration, pid, name, flags)

    def _function(self, record: Any) -> Function:
        """One for each function, or method of an actor, however often it was bound."""
        key = id(record.target) if record.target is not None else hash((record.actor, record.name))
        known = self._functions.get(key)
        if known is None or known[0].options != record.options:
            made = Function(record.name, record.target, record.options, record.actor)
            known = self._functions[key] = (record, made)
        return known[1]

    def _site(self, code: types.CodeType, at: int) -> Site | None:
        """The place of a call; None where it is not the user's own."""
        key = (id(code), at)
        known = self._codes.get(key)
        if known is None:
            site = None
            if not code.co_filename.startswith(self._ours):
                positions = [*code.co_positions()]
                line, end_line, column, end_column = positions[at // 2]
                if line is not None and end_line is not None:
                    site = Site(code.co_filename, line, end_line, column or 0, end_column or 0)
            known = self._codes[key] = (code, site)
        return known[1]

    def _remember(self, facts: Facts) -> None:
        """Globals that tasks have changed: a later cell may be the one that reads them."""
        namespace = self.extension.shell.user_ns
        facts.mutated = {n: m for n, m in self._mutated.items() if n in namespace}
        for mutation in work.mutations(facts):
            if values.is_state(namespace.get(mutation.name, values)):
                facts.mutated[mutation.name] = mutation
        self._later = {n: dataclasses.replace(m, line=0) for n, m in facts.mutated.items()}

    # -- the user's code ----------------------------------------------------------------------
    def _main(self, cell: Cell) -> str:
        """The file name that IPython gave the cell's code."""
        if _magic(cell.raw) in ("%%time", "%%timeit"):
            return _TIMED[0]
        numbers: dict[str, int] = getattr(self.extension.shell.compile, "_filename_map", {})
        return next((f for f, n in reversed(numbers.items()) if n == cell.number), "")

    def source(self, file: str) -> Source | None:
        """The code of a cell or a module; None where it is not known, or no Python."""
        shell = self.extension.shell
        shift, number = 0, getattr(shell.compile, "_filename_map", {}).get(file)
        if file in _TIMED:
            cell = self._cell
            if cell is None or _magic(cell.raw) != "%%time":
                return None
            head, _, body = cell.raw.partition("\n")
            if head.split()[1:]:
                return None  # options, or a statement of its own
            text, shift, number = shell.transform_cell(body), 1, cell.number
        else:
            text = "".join(linecache.getlines(file))
        if not text.strip():
            return None
        label = f"In[{number}]" if number else Path(file).name
        key = (f"{file} {label}", text)
        if key not in self._sources:
            try:
                self._sources[key] = Source(text, file, label, shift)
            except (SyntaxError, ValueError):
                self._sources[key] = None
            while len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
        return self._sources[key]

    def _alias(self) -> str:
        """What the notebook calls Fanlight."""
        import fanlight

        found = [n for n, v in [*self.extension.shell.user_ns.items()] if v is fanlight]
        return found[-1] if found else "fanlight"

    def _as_shown(self, hint: Hint) -> show.Shown:
        where = line = ""
        if hint.site is not None:
            source = self.source(hint.site.file)
            label = source.label if source is not None else Path(hint.site.file).name
            shift = source.shift if source is not None else 0
            where = f"{label}, line {hint.site.line + shift}"
            line = source.line(hint.site.line) if source is not None else ""
        return show.Shown(hint.rule, hint.evidence, where, line)


def _magic(raw: str) -> str:
    """The cell magic that a cell begins with, "" if none."""
    first = raw.lstrip().partition("\n")[0]
    return first.split()[0] if first.startswith("%%") else ""


def _cpus() -> int:
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
