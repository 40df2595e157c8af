"""``%%remote`` in the notebook: send a cell, wait for it, bring back what it made.

The steps, each its own method: :meth:`RemoteCell.prepare` (names, inputs, the job), ``submit``,
``wait`` (with interrupts and the time limit), ``settle`` (errors, binding, display).
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, NoReturn

from IPython.core.error import UsageError

from fanlight.serialization import PLAIN
from fanlight_kernel import tracebacks, worker, workshell
from fanlight_kernel.capture import carry, inputs, refusals
from fanlight_kernel.capture.names import CellNames, ends_with_semicolon
from fanlight_kernel.cells import Cell
from fanlight_kernel.interrupting import GRACE, LAST, cancel, insist
from fanlight_kernel.options import Options
from fanlight_kernel.results import Shown, short, show_result
from fanlight_kernel.source import analyse_as, from_first_line, future_flags, locate
from fanlight_kernel.widgets import render


class RemoteCell:
    """One run of a ``%%remote`` cell."""

    def __init__(self, extension: Any, options: Options, body: str, cell: Cell) -> None:
        self.extension = extension
        self.shell = extension.shell
        self.options = options
        self.body = body
        self.cell = cell
        self.title = options.name or (f"In[{cell.number}]" if cell.number else "cell")
        self.names: CellNames
        self.job: worker.CellJob
        self.inputs: inputs.Inputs
        self.home: carry.Home = extension.home
        self.elements: list[Any] | None = None  # the values of --each
        self.packed: list[Any] = []  # the same as they travel
        self.results: list[Any] = []  # a ref of each run's CellResult
        self.outputs: list[list[Any]] = []  # refs of each run's outputs (with --refs, --bg)
        self.started = 0.0
        self.cancelled = ""
        self.failures = 0  # runs that raised
        self.skipped = 0  # runs that did not begin, because an earlier one in a namespace failed

    # -- before anything runs -----------------------------------------------------------------
    def prepare(self) -> None:
        """Analyse the cell and gather its inputs. Raises UsageError, or a cell's SyntaxError."""
        shell, options = self.shell, self.options
        filename, offset = locate(shell, self.cell, self.body)
        tracebacks.register_source(filename, self.cell.raw or self.body)
        # IPython drops blank lines at the start, so they count as lines above.
        transformed = shell.transform_cell(from_first_line(self.body))
        source = "\n" * offset + transformed
        flags = future_flags(shell)
        self.names = analyse_as(source, filename, flags)
        given = options.given
        try:
            self.inputs = inputs.gather(
                [*self.names.reads, *self.names.mentions, *self._pack_elements()],
                self.home,
                hidden=self.hidden(),
                deleted=self.names.deletes,
                explicit=given.get("in"),
                attributes=self.names.attributes,
                words=self.names.words,
                looks_up=self.names.looks_up,
            )
        except inputs.CaptureError as error:
            raise UsageError(f"%%remote: {error}") from None
        if options.each is not None:
            self.inputs.drop(options.each[0])
        only = given.get("out")
        outputs = tuple(only) if only is not None else self.default_outputs()
        self.job = worker.CellJob(
            source=source,
            filename=filename,
            raw=self.cell.raw or self.body,
            outputs=outputs,
            only=tuple(only) if only is not None else None,
            always=tuple(self.names.augmented | self.names.mutations.keys() & {*outputs}),
            deletes=self.names.deletes,
            separate=bool(options.refs or options.bg),
            display=self.names.last_is_expression and not ends_with_semicolon(self.body),
            keep_last=self.elements is not None,
            rich=workshell.wants_shell(
                "\n".join(
                    [
                        transformed,
                        *(name for names in self.inputs.modules.values() for name in names),
                        *self.names.reads,
                        *self.inputs.used,
                    ]
                )
            ),
            modules=self.inputs.modules,
            changed=self.names.augmented | self.names.mutations.keys(),
            aliases=self.inputs.aliases,
            placeholders=tuple(self.inputs.placeholders),
            flags=flags,
        )

    def _pack_elements(self) -> list[str]:
        """Evaluate ``--each``; return the names that what it yields needs in the cell."""
        if self.options.each is None:
            return []
        variable, expression = self.options.each
        self.elements = list(eval(expression, self.shell.user_ns))
        used: dict[str, None] = {}
        for value in self.elements:
            if type(value) in PLAIN:
                self.packed.append({variable: value})
                continue
            packer = carry.Packer(self.home)
            try:
                self.packed.append(packer.pack({variable: value}))
            except Exception as error:
                text = refusals.explain(variable, value, error, None, self.home)
                raise UsageError(f"%%remote --each: {text}") from None
            used.update(packer.used)
        return list(used)

    def hidden(self) -> dict[str, Any]:
        """Names that are not sent while they have these very values."""
        hidden = dict(self.shell.user_ns_hidden)
        for name in self.names.reads:  # results of earlier cells: `_`, `_12`
            if not name.strip("_0123456789") and name not in self.names.writes:
                hidden.pop(name, None)
        return hidden

    def default_outputs(self) -> tuple[str, ...]:
        """What the analysis says is assigned; a ref to an imported module would help nobody."""
        variable = self.options.each[0] if self.options.each else None
        left_out = {variable, "_"}
        if self.options.refs or self.options.bg:
            left_out |= set(self.names.imports)
        return tuple(
            name for name in self.names.writes if name not in left_out and not name.startswith("__")
        )

    def expected_notes(self) -> list[str]:
        """The same for ``--dry-run``, as far as the cell's text tells."""
        return [
            f"note: the cell would change a copy of `{name}` ({mutation.how}).\n"
            for name, mutation in self.names.mutations.items()
            if name in self.inputs.values and name not in self.job.outputs
            if not isinstance(self.inputs.values[name], (type, *carry.reference_types()))
        ]

    def notes(self, results: list[worker.CellResult]) -> list[str]:
        """Sentences about changes in place, which stay in the worker's copy."""
        altered = dict.fromkeys(name for result in results for name in result.altered)
        found = []
        for name in altered:
            mutation = self.names.mutations.get(name)
            how = f" ({mutation.how})" if mutation is not None else " in place"
            found.append(
                f"note: the cell changed a copy of `{name}`{how}; `{name}` stays as it "
                f"is here. `--out {name}` brings the changed copy back.\n"
            )
        ns = self.shell.user_ns
        for name in self.names.augmented:
            value = self.inputs.values.get(name)
            if name in self.job.outputs and hasattr(type(value), "__iadd__"):
                others = [n for n, v in ns.items() if v is value and n != name and n[:1] != "_"]
                if others and not altered.keys() & {*others}:
                    found.append(
                        f"note: `{name}` is another object now than `{others[0]}`, which stays as "
                        "it is: the cell changed a copy.\n"
                    )
        return found

    # -- sending ------------------------------------------------------------------------------
    def submit(self) -> None:
        """Send one run, or one for each element. Their ids are known before any output is routed."""
        import fanlight
        from fanlight import interrupts, session

        current = session.ensure()
        options = self.options.given
        settings: dict[str, Any] = {
            "name": self.title,
            "num_returns": 1 + len(self.job.outputs) if self.job.separate else 1,
            "num_cpus": options.get("num_cpus"),
            "num_gpus": options.get("num_gpus"),
            "resources": options.get("resources"),
            "memory": options.get("memory"),
            "runtime_env": {"env_vars": options["env"]} if options.get("env") else None,
            "max_retries": options.get("retries", 0),
            "retry_exceptions": bool(options.get("retries")),
        }
        run = self.runner({key: value for key, value in settings.items() if value is not None})
        small: Any
        small, names, large = self._arguments(current.runtime_id)
        job: Any = self.job
        if self.elements is not None and len(self.elements) > 1:
            job, small = fanlight.put(job), fanlight.put(small)  # once, not once for each element
        self.started = time.perf_counter()
        variable = self.options.each[0] if self.options.each else ""
        elements = [None] if self.elements is None else self.elements
        with self.extension.cells.submitting(), session.origin(self.cell.origin):
            for position, value in enumerate(elements):
                element = {} if self.elements is None else self.packed[position]
                prefix = "" if self.elements is None else f"[{variable}={short(value)}] "
                with interrupts.held():  # else what was sent might run on, and nobody know of it
                    refs = run.remote(job, small, element, names, *large)
                    refs = [refs] if not isinstance(refs, (list, tuple)) else list(refs)
                    self.results.append(refs[0])
                    self.outputs.append(refs[1:])
                    self.cell.own_tasks[hex_of(refs[0].task_id())] = prefix

    def runner(self, settings: dict[str, Any]) -> Any:
        """What takes the runs, as ``runner.remote(job, small, element, names, *large)``."""
        import fanlight

        return fanlight.remote(worker.run_cell).options(**settings)

    def _arguments(self, runtime_id: str) -> tuple[carry.Packed, tuple[str, ...], list[Any]]:
        """The small inputs together, the names of the large ones, and refs of those."""
        large = [
            self.extension.puts.put(runtime_id, packed, name)
            for name, packed in self.inputs.large.items()
        ]
        apart = self.inputs.large.keys() | self.inputs.aliases.keys()
        small = {n: v for n, v in self.inputs.values.items() if n not in apart}
        return carry.pack_names(small, self.home), tuple(self.inputs.large), large

    # -- waiting ------------------------------------------------------------------------------
    def wait(self) -> None:
        """Block until all runs ended. An interrupt or the time limit cancels them and raises."""
        import fanlight

        limit = self.options.timeout
        try:
            if self.results:
                _, waiting = fanlight.wait(
                    self.results, num_returns=len(self.results), timeout=limit
                )
                if waiting:
                    self.stop(f"it took longer than {limit:g} s")
                    raise tracebacks.short(
                        TimeoutError(f"{self.title} was cancelled after {limit:g} s (--timeout).")
                    )
        except KeyboardInterrupt:
            self.interrupted()

    def interrupted(self) -> NoReturn:
        """First interrupt: ask; a second later, or on a second one: kill. Always raises."""
        count = self.stop("interrupted")
        if count:
            text = f"{count} task{'' if count == 1 else 's'} stopped"
        elif self.results:
            text = "it had run, but nothing of it was brought back"
        else:
            text = "nothing of it had run"
        self.say(f"Cancelled {self.title}: {text}.\n")
        error = KeyboardInterrupt(f"{self.title} was cancelled")
        raise tracebacks.short(error) from None

    def stop(self, reason: str) -> int:
        """Cancel what has not ended and wait until it has; return how many tasks that were."""
        import fanlight

        self.cancelled = reason
        waiting: list[Any] = list(self.results)
        tasks: list[bytes] = []  # nested ones too
        count = 0
        force = False
        for attempt, patience in enumerate((GRACE, LAST)):
            force = force or attempt > 0
            if not waiting:
                break
            try:
                waiting = fanlight.wait(waiting, num_returns=len(waiting), timeout=0)[1]
                if not waiting:
                    break
                tasks = cancel(self.extension, self.cell, waiting, force)
                count = max(count, len(tasks), len(waiting))
                waiting = fanlight.wait(waiting, num_returns=len(waiting), timeout=patience)[1]
            except KeyboardInterrupt:
                continue  # the second interrupt: do not wait any longer, kill
        insist(self.extension, self.cell, tasks)
        return count

    # -- afterwards ---------------------------------------------------------------------------
    def collect(self) -> list[Any]:
        """The results in order; raises the first error, with how many others failed."""
        import fanlight

        found: list[Any] = []
        errors: list[tuple[int, BaseException]] = []
        for index, ref in enumerate(self.results):
            try:
                found.append(self._unpacked(fanlight.get(ref)))
                self.got(index, found[-1], None)
            except Exception as error:
                self.got(index, None, error)
                errors.append((index, error))
                found.append(None)
        if errors:
            self.failures = len(errors)
            raise self.failed(errors)
        for result in found:
            if result.exit is not None:
                raise result.exit
        return found

    def got(self, index: int, result: Any, error: BaseException | None) -> None:
        """Called for each run that ended, also of cells in the background."""

    def _unpacked(self, result: worker.CellResult) -> worker.CellResult:
        try:
            return worker.unpack(result, self.home)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise RuntimeError(
                f"What {self.title} made cannot be rebuilt in the notebook ({what}). Return what you "
                "need of it in simpler values, or name the outputs with --out."
            ) from error

    def failed(self, errors: list[tuple[int, BaseException]]) -> BaseException:
        """What the cell raises: the user's own exception, dressed with the cell's own lines."""
        from fanlight import errors as kinds

        error = errors[0][1]
        self.failures = len(errors)
        heading = self.heading(errors)
        inner = kinds.innermost(error)
        if isinstance(inner, kinds.TaskCancelledError):
            return tracebacks.short(
                kinds.TaskCancelledError(f"{self.title} was cancelled."), heading
            )
        if isinstance(error, (kinds.TaskError, kinds.UnserializableException)):
            return tracebacks.dress(tracebacks.restored(error), self.shell, heading)
        return tracebacks.short(error, heading)

    def heading(self, errors: list[tuple[int, BaseException]]) -> str:
        """Which run of ``--each`` failed, and how many others."""
        if self.elements is None:
            return ""
        variable = self.options.each[0]
        text = f"This was the run with {variable} = {short(self.elements[errors[0][0]])}"
        others = len(errors) - 1
        if others:
            which = ", ".join(short(self.elements[i]) for i, _ in errors[1:4])
            more = ", …" if others > 3 else ""
            plural = "s" if others > 1 else ""
            text += f"; and {others} other{plural} failed ({variable} = {which}{more})"
        return f"{text}, of {len(self.elements)} runs."

    def bind(self, results: list[Any]) -> None:
        """Put the outputs into the user's namespace."""
        ns = self.shell.user_ns
        stayed: list[worker.Unpicklable] = []
        if self.elements is None:
            for result in results:
                for name, value in result.values.items():
                    if isinstance(value, worker.Unpicklable):
                        stayed.append(value)
                    else:
                        ns[name] = value
                for name in result.deleted:
                    self.forget(name)
        else:
            order = dict.fromkeys(self.job.outputs)
            for result in results:
                order.update(dict.fromkeys(result.values))
            for name in order:
                if name in self.names.imports:  # the same module each time, not a list of it
                    if results and name in results[0].values:
                        ns[name] = results[0].values[name]
                    continue
                column = [r.values.get(name, worker.Unassigned(name)) for r in results]
                bad = [v for v in column if isinstance(v, worker.Unpicklable)]
                if bad:
                    stayed.append(bad[0])
                elif any(name in r.values for r in results) or not results:
                    ns[name] = column
        for name in self.job.only or ():
            if results and not any(name in r.values for r in results):
                self.say(f"note: the cell did not assign `{name}` (--out).\n")
        self.stayed(stayed)

    def stayed(self, items: list[worker.Unpicklable]) -> None:
        """Outputs that cannot leave the worker: a note, or an error for what was asked for."""
        for item in items:
            text = (
                f"`{item.name}` ({item.type_name}) stayed in the worker: {item.reason}. "
                f"Return what you need of it in another variable"
            )
            if self.job.only is not None:
                raise UsageError(f"%%remote --out {item.name}: {text}.")
            self.say(f"note: {text}, or name the outputs with --out.\n")

    def forget(self, name: str) -> None:
        """The cell deleted one of its inputs: it goes here, too."""
        self.shell.user_ns.pop(name, None)

    def bind_refs(self) -> None:
        """Put refs of the outputs into the user's namespace (``--refs``, ``--bg``).

        What the cell imports is imported here too, as far as it can be.
        """
        if self.job.only is None:
            for statement in self.names.imports.values():
                with contextlib.suppress(ImportError):
                    exec(statement, self.shell.user_ns)
        for position, name in enumerate(self.job.outputs):
            column = [refs[position] for refs in self.outputs]
            self.shell.user_ns[name] = column[0] if self.elements is None else column

    def show(self, results: list[Any]) -> None:
        """Display the value of the last expression as the cell's own result."""
        if self.elements is not None:
            if any(r.shown for r in results):
                values = [r.last if r.has_last else Shown(r.data) for r in results]
                show_result(self.shell, values)
            return
        for result in results:
            if result.shown and result.data:
                value = result.last if result.has_last else Shown(result.data)
                show_result(self.shell, value, result.data, result.metadata)

    def value_of(self, result: worker.CellResult) -> Any:
        """The value of a run's last expression, for a ``%remote`` line."""
        if not result.shown:
            return None
        return result.last if result.has_last else Shown(result.data)

    def facts(self) -> list[str]:
        """What ``--dry-run`` says first."""
        return []

    def say(self, text: str) -> None:
        """Tell something under the cell. Notes are not errors: no red, and none with ``--quiet``."""
        router = self.extension.router
        if not text.startswith("note:"):
            router.write(self.cell, "stderr", text)
        elif not self.options.quiet:
            if router.rich:
                router.display(self.cell, render.note(text))
            else:
                router.write(self.cell, "stderr", text)


def hex_of(task_id: Any) -> str:
    """A task id as TaskOutput names it."""
    return task_id if isinstance(task_id, str) else str(task_id.hex())
