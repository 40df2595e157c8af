"""The magics: ``%%remote``, ``%remote`` and ``%fanlight``."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display
from traitlets import Bool, Float

from fanlight import look
from fanlight_kernel import commands, options, worker
from fanlight_kernel.background import BackgroundCell
from fanlight_kernel.cells import Cell
from fanlight_kernel.commands import Commands
from fanlight_kernel.namespaces.cell import NamespaceCell
from fanlight_kernel.options import Options
from fanlight_kernel.remote import RemoteCell
from fanlight_kernel.results import show_result
from fanlight_kernel.widgets import render
from fanlight_kernel.widgets.progress import Progress, Row


@magics_class
class FanlightMagics(Magics):
    """Settings: ``%config FanlightMagics.monitor = False``."""

    monitor = Bool(True, help="Show a live monitor under cells whose work takes time.").tag(
        config=True
    )
    monitor_delay = Float(0.5, help="Seconds of work after which a plain cell gets a monitor.").tag(
        config=True
    )
    cancel_on_interrupt = Bool(
        True, help="Interrupting a cell cancels the work that it has submitted."
    ).tag(config=True)

    coach = Bool(True, help="Give hints under cells that do what makes them slow.").tag(config=True)

    def __init__(self, shell: Any, extension: Any) -> None:
        super().__init__(shell=shell)
        self.extension = extension
        self.commands = Commands(extension, self)

    # -- %%remote and %remote -----------------------------------------------------------------
    @no_var_expand
    @cell_magic("remote")
    def remote_cell(self, line: str, cell: str) -> None:
        """Replaced below by the text that the option table makes."""
        self._run(options.parse_cell(line), cell)

    @no_var_expand
    @line_magic("remote")
    def remote_line(self, line: str) -> Any:
        """Evaluate one expression in a worker process: ``%remote [options] EXPR``.

        Its value is the magic's: shown at the end of a cell, or assigned by ``x = %remote f(y)``.
        Names are captured as in a ``%%remote`` cell; ``%remote x = f(y)`` works too.
        """
        given, body = options.parse_line(line)
        if not body:
            raise UsageError("%remote: say what to evaluate, as in %remote f(x)")
        given.given.setdefault("quiet", True)
        return self._run(given, body, line=True)

    def _run(self, given: Options, body: str, *, line: bool = False) -> Any:
        """Run a cell; returns the value of a ``%remote`` line, which IPython shows or assigns."""
        extension = self.extension
        cell: Cell = extension.cells.current or extension.cells.start(self.shell, _NoInfo())
        run = (NamespaceCell if given.on else RemoteCell)(extension, given, body, cell)
        try:
            run.prepare()
        except KeyboardInterrupt:
            run.interrupted()
        run.job.keep_last = run.job.keep_last or line
        if given.dry_run:
            return self._describe(run)
        if given.local:
            return self._run_here(run, line)
        return self._run_there(run, line)

    def _run_there(self, run: RemoteCell, line: bool) -> Any:
        extension, cell, given = self.extension, run.cell, run.options
        cell.remote = True
        cell.quiet = bool(given.quiet)
        if not given.quiet:
            extension.hub.watch(cell, 0.0 if given.bg else 0.25)
            extension.hub.place(cell)
        started = time.perf_counter()
        handle: BackgroundCell | None = None
        try:
            run.submit()
            if given.bg:
                run.bind_refs()
                handle = BackgroundCell(run)
                if isinstance(given.bg, str):
                    self.shell.user_ns[given.bg] = handle
                handle.watch()
                return None
            run.wait()
            results = run.collect()
        except BaseException as error:
            try:
                if isinstance(error, KeyboardInterrupt) and not run.cancelled:
                    run.interrupted()  # it came before or after the wait
            finally:
                self._ended(run, error, time.perf_counter() - started, [])
            raise
        self._ended(run, None, time.perf_counter() - started, results)
        if given.refs:
            run.bind_refs()
        else:
            run.bind(results)
        for note in run.notes(results):
            run.say(note)
        if line:
            values = [run.value_of(result) for result in results]
            return values if run.elements is not None else values[0]
        run.show(results)
        return None

    def _ended(
        self,
        run: RemoteCell,
        error: BaseException | None,
        elapsed: float,
        results: list[worker.CellResult],
    ) -> None:
        count = len(run.results)
        parallel = count > 1 and not run.options.on  # runs in a namespace follow each other
        row = Row(run.title)
        if error is None:
            row.done = count
        elif run.cancelled:
            row.cancelled = count
        else:
            row.failed = run.failures or count
            row.cancelled = run.skipped
            row.done = count - row.failed - row.cancelled
        row.busy = sum(r.seconds for r in results)
        progress = Progress(
            rows=[row] if count else [],
            cpus=self._cpus() if parallel else 0.0,
            elapsed=elapsed,
            busy=row.busy if error is None and parallel else None,
        )
        self.extension.hub.remote_ended(run.cell, progress)

    def _cpus(self) -> float:
        from fanlight import session

        current = session.current()
        resources = getattr(current, "resources", None) or {}
        return float(resources.get("CPU", 0.0))

    def _run_here(self, run: RemoteCell, line: bool) -> Any:
        """``--local``: the same cell, in the notebook's own process and namespace."""
        ns = self.shell.user_ns
        elements: list[dict[str, Any]] = [{}]
        if run.elements is not None:
            elements = [{run.options.each[0]: value} for value in run.elements]
        columns: dict[str, list[Any]] = {}
        shown: list[Any] = []
        own = {n: ns[n] for n in elements[0] if n in ns} if elements else {}
        try:
            for element in elements:
                ns.update(element)
                last: list[Any] = []
                worker.execute(run.job, ns, last)
                if last and run.job.display and last[0] is not None:
                    shown.append(last[0])
                if run.elements is not None:
                    for name in run.job.outputs:
                        columns.setdefault(name, []).append(ns.get(name))
        finally:  # the notebook's variable of that name stays as it was, as without --local
            if run.elements is not None:
                ns.pop(run.options.each[0], None)
                ns.update(own)
        ns.update(columns)
        value = shown if run.elements is not None else next(iter(shown), None)
        if line:
            return value
        if shown:
            show_result(self.shell, value)
        return None

    def _describe(self, run: RemoteCell) -> None:
        """``--dry-run``: names, types and sizes."""
        rows: list[tuple[str, str, str]] = []
        for name, value in run.inputs.values.items():
            rows.append((name, type(value).__name__, look.size(run.inputs.sizes.get(name))))
        rows += [
            (name, f"module {module[0]}", "imported there")
            for name, module in run.job.modules.items()
        ]
        returned = ", ".join(run.job.outputs) or "nothing"
        how = "as refs" if run.job.separate else "as values"
        if run.elements is not None:
            how = f"as lists of {len(run.elements)}" + (" refs" if run.job.separate else "")
        total = look.size(sum(run.inputs.sizes.values()))
        count = len(run.inputs.values)
        head = f"sends {total} in {count} variable{'' if count == 1 else 's'}"
        text = [*run.facts(), head]
        if rows:
            text.append(look.text_table(rows, "  "))
        text.append(f"brings back {returned}" + (f" ({how})" if run.job.outputs else ""))
        notes = "".join(run.expected_notes())
        table = look.table(("variable", "type", "size"), rows, right=[2]) if rows else ""
        facts = "".join(f"{escape(fact)}<br>" for fact in run.facts())
        html = f'<div style="{render.FONT}">{facts}{escape(head)}{table}{escape(text[-1])}</div>'
        display({"text/plain": "\n".join(text), "text/html": html}, raw=True)
        if notes:
            run.say(notes)

    @no_var_expand
    @line_magic("fanlight")
    def fanlight_line(self, line: str) -> None:
        """Replaced below by the text that the table of commands makes."""
        self.commands.run(line)


FanlightMagics.fanlight_line.__doc__ = commands.help_text()
FanlightMagics.remote_cell.__doc__ = options.help_text()
# Front ends that look up the word under the cursor find the line magic first.
FanlightMagics.remote_line.__doc__ = (
    f"{FanlightMagics.remote_line.__doc__}\n\nThe cell magic, %%remote:\n\n{options.help_text()}"
)


class _NoInfo:
    """For a magic that is run outside any cell."""

    raw_cell = ""
    cell_id = None
