"""The magics: ``%%remote``, ``%remote`` and ``%fanlight``."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display
from traitlets import Bool, Float

from fanlight_kernel import options, render, worker
from fanlight_kernel.background import BackgroundCell
from fanlight_kernel.cells import Cell
from fanlight_kernel.options import Option, Options
from fanlight_kernel.progress import Progress, Row
from fanlight_kernel.remote import RemoteCell
from fanlight_kernel.results import show_result

_SHARED = ("--num-cpus", "--num-gpus", "--resources", "--name")
_STARTS: tuple[Option, ...] = (
    *(option for option in options.CELL_OPTIONS if option.flag in _SHARED),
    Option("--address", "value", 'an existing runtime: "auto" or an address', "ADDRESS"),
    Option("--engine", "value", '"local" or "inproc"', "NAME"),
)


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

    start_options = _STARTS

    def __init__(self, shell: Any, extension: Any) -> None:
        super().__init__(shell=shell)
        self.extension = extension

    # -- %%remote and %remote -----------------------------------------------------------------
    @no_var_expand
    @cell_magic("remote")
    def remote_cell(self, line: str, cell: str) -> None:
        """Replaced below by the text that the option table makes."""
        self._run(options.parse_cell(line), cell)

    @no_var_expand
    @line_magic("remote")
    def remote_line(self, line: str) -> None:
        """Evaluate one expression in a worker process: ``%remote EXPR``.

        Its value is shown as the cell's result. Names are captured as in a ``%%remote`` cell;
        ``%remote x = f(y)`` works too.
        """
        if not line.strip():
            raise UsageError("%remote: say what to evaluate, as in %remote f(x)")
        self._run(Options({"quiet": True}), line)

    def _run(self, given: Options, body: str) -> None:
        extension = self.extension
        cell: Cell = extension.cells.current or extension.cells.start(self.shell, _NoInfo())
        run = RemoteCell(extension, given, body, cell)
        try:
            run.prepare()
        except KeyboardInterrupt:
            run.interrupted()
        if given.dry_run:
            self._describe(run)
        elif given.local:
            self._run_here(run)
        else:
            self._run_there(run)

    def _run_there(self, run: RemoteCell) -> None:
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
                return
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
        run.show(results)

    def _ended(
        self,
        run: RemoteCell,
        error: BaseException | None,
        elapsed: float,
        results: list[worker.CellResult],
    ) -> None:
        count = len(run.results)
        row = Row(run.title)
        if error is None:
            row.done = count
        elif run.cancelled:
            row.cancelled = count
        else:
            row.failed = run.failures or count
            row.done = count - row.failed
        row.busy = sum(r.seconds for r in results)
        progress = Progress(
            rows=[row] if count else [],
            cpus=self._cpus() if count > 1 else 0.0,
            elapsed=elapsed,
            busy=row.busy if error is None and count > 1 else None,
        )
        self.extension.hub.remote_ended(run.cell, progress)

    def _cpus(self) -> float:
        from fanlight import session

        current = session.current()
        resources = getattr(current, "resources", None) or {}
        return float(resources.get("CPU", 0.0))

    def _run_here(self, run: RemoteCell) -> None:
        """``--local``: the same cell, in the notebook's own process and namespace."""
        ns = self.shell.user_ns
        elements: list[dict[str, Any]] = [{}]
        if run.elements is not None:
            elements = [{run.options.each[0]: value} for value in run.elements]
        columns: dict[str, list[Any]] = {}
        shown: list[Any] = []
        for element in elements:
            ns.update(element)
            last: list[Any] = []
            worker.execute(run.job, ns, last)
            if last and run.job.display and last[0] is not None:
                shown.append(last[0])
            if run.elements is not None:
                for name in run.job.outputs:
                    columns.setdefault(name, []).append(ns.get(name))
        ns.update(columns)
        if run.elements is not None:
            ns.pop(run.options.each[0], None)
            if shown:
                show_result(self.shell, shown)
        elif shown:
            show_result(self.shell, shown[0])

    def _describe(self, run: RemoteCell) -> None:
        """``--dry-run``: names, types and sizes."""
        rows: list[tuple[str, str, str]] = []
        for name, value in run.inputs.values.items():
            rows.append((name, type(value).__name__, render.size(run.inputs.sizes.get(name))))
        rows += [
            (name, f"module {module[0]}", "imported there")
            for name, module in run.job.modules.items()
        ]
        returned = ", ".join(run.job.outputs) or "nothing"
        how = "as refs" if run.job.separate else "as values"
        if run.elements is not None:
            how = f"as lists of {len(run.elements)}" + (" refs" if run.job.separate else "")
        total = render.size(sum(run.inputs.sizes.values()))
        head = f"sends {total} in {len(run.inputs.values)} variables"
        text = [head]
        if rows:
            text.append(render.text_table(rows, "  "))
        text.append(f"brings back {returned}" + (f" ({how})" if run.job.outputs else ""))
        notes = "".join(run.expected_notes())
        table = render.html_table(("variable", "type", "size"), rows) if rows else ""
        html = f'<div style="{render.FONT}">{escape(head)}{table}{escape(text[-1])}</div>'
        display({"text/plain": "\n".join(text), "text/html": html}, raw=True)
        if notes:
            run.say(notes)

    # -- %fanlight ----------------------------------------------------------------------------
    @no_var_expand
    @line_magic("fanlight")
    def fanlight_line(self, line: str) -> None:
        """Look at the runtime, start it, stop it.

        %fanlight status               engine, workers, resources, object store
        %fanlight start [options]      --num-cpus N --num-gpus N --resources JSON --name NAME
                                       --address ADDRESS --engine NAME
        %fanlight stop                 end it, and everything that runs in it
        %fanlight monitor on|off       live monitors under cells
        """
        words = line.split(None, 1)
        command = words[0] if words else "status"
        rest = words[1] if len(words) > 1 else ""
        handler = {
            "status": self._status,
            "start": self._start,
            "stop": self._stop,
            "monitor": self._monitor,
            "help": self._help,
        }.get(command)
        if handler is None:
            raise UsageError(
                f"%fanlight: unknown command {command!r}. There are status, start, stop and monitor."
            )
        handler(rest)

    def _help(self, rest: str) -> None:
        print(type(self).fanlight_line.__doc__)

    def _monitor(self, rest: str) -> None:
        if rest.strip() not in ("on", "off", ""):
            raise UsageError("%fanlight monitor: say on or off")
        if rest.strip():
            self.monitor = rest.strip() == "on"
        print(f"Cell monitors are {'on' if self.monitor else 'off'}.")

    def _start(self, rest: str) -> None:
        import fanlight

        given = options.parse(rest, _STARTS, "%fanlight start").given
        if fanlight.is_initialized():
            raise UsageError(
                "%fanlight start: the runtime is running already; %fanlight stop ends it"
            )
        fanlight.init(given.pop("address", None), **given)
        self._status("")

    def _stop(self, rest: str) -> None:
        import fanlight
        from fanlight import session

        if not fanlight.is_initialized():
            print(session.why_gone() or "No runtime is running.")
            fanlight.shutdown()  # of what a dead one left
            return
        self.extension.puts.clear()
        fanlight.shutdown()
        print("The runtime has stopped.")

    def _status(self, rest: str) -> None:
        import fanlight
        from fanlight import session

        current = session.current()
        if current is None:
            text = session.why_gone() or (
                "No runtime is running. It starts with the first task, or with %fanlight start."
            )
            style = f"{render.FONT};color:{render.MUTED}"
            display(
                {
                    "text/plain": text,
                    "text/html": f'<div style="{style}">{escape(text)}</div>',
                },
                raw=True,
            )
            return
        total = fanlight.cluster_resources()
        free = fanlight.available_resources()
        rows = [("engine", str(current.engine_name)), ("runtime", str(current.runtime_id))]
        if current.node_pid:
            rows.append(("node", f"pid {current.node_pid}"))
        for name in sorted(total, key=lambda n: (n not in ("CPU", "GPU"), n)):
            if name.startswith("node:"):
                continue
            if "memory" in name:
                left = render.size(free.get(name, 0.0))
                rows.append((name.replace("_", " "), f"{render.size(total[name])}, {left} free"))
            else:
                rows.append((name, f"{total[name]:g}, {free.get(name, 0.0):g} free"))
        rows.append(("monitors", "on" if self.monitor else "off"))
        display(
            {
                "text/plain": "Fanlight\n" + render.text_table(rows, "  "),
                "text/html": render.card("Fanlight", rows),
            },
            raw=True,
        )


FanlightMagics.remote_cell.__doc__ = options.help_text()
# Front ends that look up the word under the cursor find the line magic first.
FanlightMagics.remote_line.__doc__ = (
    f"{FanlightMagics.remote_line.__doc__}\n\nThe cell magic, %%remote:\n\n{options.help_text()}"
)


class _NoInfo:
    """For a magic that is run outside any cell."""

    raw_cell = ""
    cell_id = None
