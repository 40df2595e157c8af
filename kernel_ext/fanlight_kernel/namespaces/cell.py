"""A ``%%remote --on NAME`` cell: what differs from a cell that runs in any worker."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any

from IPython.core.error import UsageError

from fanlight_kernel import tracebacks, worker
from fanlight_kernel.capture import carry
from fanlight_kernel.interrupting import LAST, cancel, insist
from fanlight_kernel.namespaces.host import Call, SkippedRun
from fanlight_kernel.namespaces.inspection import Same
from fanlight_kernel.namespaces.registry import (
    NamespaceLostError,
    RemoteNamespace,
    died,
    named,
    reason,
)
from fanlight_kernel.remote import RemoteCell, hex_of

PATIENCE = 1.6  # seconds that an interrupted cell has to end
SOON = 0.2  # the same for one that waits behind another cell


class NamespaceCell(RemoteCell):
    """One run of a cell in a named namespace."""

    space: RemoteNamespace  # from submit on
    handle: Any = None  # of the actor that this cell went to

    # -- before it runs -----------------------------------------------------------------------
    def hidden(self) -> dict[str, Any]:
        """The namespace's own variables are not sent, unless ``--in`` names them."""
        ns = self.shell.user_ns
        forced = self.options.given.get("in") or ()
        own = {name: ns[name] for name in self.own() if name in ns and name not in forced}
        return {**super().hidden(), **own}

    def own(self) -> dict[str, Any]:
        """Names that cells assigned there, as far as the notebook knows before the cell runs."""
        from fanlight import session

        space = self.extension.namespaces.find(self.options.on)
        current = session.current()
        if space is None or space.lost or current is None:
            return {}
        return space.own if space.runtime_id == current.runtime_id else {}

    def prepare(self) -> None:
        super().prepare()
        self.had = self.own()
        self.told: set[str] = set()
        self.late: list[str] = []  # notes that only the namespace could give

    def _differing(self) -> list[str]:
        """Notes about the namespace's own variables that are not the notebook's of that name."""
        ns = self.shell.user_ns
        space = self.extension.namespaces.find(self.options.on)
        forced = self.options.given.get("in") or ()
        found = []
        for name, variable in self.had.items():
            if name not in self.names.reads or name not in ns or name in forced:
                continue
            seen = space.mirror.get(name) if space is not None else None
            if seen is None or not seen.is_(ns[name]):
                self.told.add(name)
                found.append(self.not_taken(name, f" ({variable.type})"))
        return found

    def expected_notes(self) -> list[str]:
        return [*self._differing(), *map(self._of_copies, super().expected_notes())]

    def notes(self, results: list[worker.CellResult]) -> list[str]:
        return [*self.late, *map(self._of_copies, super().notes(results))]

    def _of_copies(self, note: str) -> str:
        return re.sub(r"(change[sd]?) a copy of", rf"\1 {self.options.on}'s copy of", note)

    def facts(self) -> list[str]:
        name = self.options.on
        if self.extension.namespaces.find(name) is None:
            return [f"makes the namespace {name}"]
        forced = self.options.given.get("in") or ()
        used = [v for n, v in self.had.items() if n in self.names.reads and n not in forced]
        return [f"runs in {name}, and uses from there {', '.join(map(named, used)) or 'nothing'}"]

    def not_taken(self, name: str, kind: str = "") -> str:
        return (
            f"note: `{name}` is {self.options.on}'s own{kind}, not the notebook's. "
            f"`--in {name}` sends the notebook's.\n"
        )

    # -- running ------------------------------------------------------------------------------
    def runner(self, settings: dict[str, Any]) -> Any:
        given = self.options.given
        self.space, note = self.extension.namespaces.use(self.options.on, given)
        if note:
            self.say(note)
        for text in self._differing():
            self.say(text)
        self.handle = self.space.handle
        options = {key: settings[key] for key in ("name", "num_returns") if key in settings}
        tokens = {
            name: self._token(value)
            for name, value in self.inputs.values.items()
            if name not in self.inputs.large and name not in self.inputs.aliases
        }
        call = Call(uuid.uuid4().hex, tokens, tuple(given.get("in") or ()))
        return _Runner(self.handle.run.options(**options), call, self.inputs.aliases)

    def _token(self, value: Any) -> str:
        """Stands for the content of a small input: while it stays, so does the copy there."""
        packed = carry.pack(value, self.home)
        digest = hashlib.blake2b(packed.data, digest_size=16)
        for buffer in packed.buffers:
            digest.update(buffer)
        return digest.hexdigest() + "".join(ref.hex() for ref in packed.refs if hasattr(ref, "hex"))

    def submit(self) -> None:
        super().submit()
        for ref in self.results:
            self.space.began(ref, self.title)

    def got(self, index: int, result: Any, error: BaseException | None) -> None:
        self.space.ended(self.results[index], result, error)

    def stop(self, reason: str) -> int:
        """Interrupt what runs there; a second interrupt ends the process, and its variables."""
        import fanlight

        self.cancelled = reason
        if not self.results:
            return 0  # nothing was sent yet
        waiting: list[Any] = list(self.results)
        own = {bytes.fromhex(hex_of(ref.task_id())) for ref in waiting}
        nested: list[bytes] = []
        before = self.space.ahead_of(self.results)
        count = 0
        killed = False
        for patience in (SOON if before else PATIENCE, LAST):
            try:
                waiting = fanlight.wait(waiting, num_returns=len(waiting), timeout=0)[1]
                if not waiting:
                    break
                if killed:
                    self.extension.namespaces.kill(self.space)
                else:
                    tasks = cancel(self.extension, self.cell, waiting)
                    nested = [task for task in tasks if task not in own]
                    count = max(len(tasks), len(waiting))
                waiting = fanlight.wait(waiting, num_returns=len(waiting), timeout=patience)[1]
                break
            except KeyboardInterrupt:
                killed = True
        insist(self.extension, self.cell, nested)
        self.say(self._after_stop(killed, waiting, before, count))
        for index, ref in enumerate(self.results):
            ref.future().add_done_callback(lambda f, i=index: self._one_ended(i, f))
        return count

    def _after_stop(self, killed: bool, waiting: list[Any], before: str, count: int) -> str:
        """What became of the namespace, in a line."""
        name = self.space.name
        if killed:
            return self.space.loses("It was ended because the cell was interrupted again") + "\n"
        if waiting and before:
            return f"{self.title} waited for {before} in {name}, and will not begin.\n"
        if waiting:
            return (
                f"{self.title} has not stopped yet: it is in C code, or handles the interrupt. The "
                f"variables of {name} are kept. To end it at once, with its variables:\n"
                f"    %fanlight namespaces restart {name}\n"
            )
        return f"The variables of {name} are kept.\n" if count else ""

    def _one_ended(self, index: int, future: Any) -> None:
        try:
            error = future.exception()
        except BaseException as cancelled:
            error = cancelled
        self.got(index, None if error is not None else future.result(), error)

    # -- afterwards ---------------------------------------------------------------------------
    def failed(self, errors: list[tuple[int, BaseException]]) -> BaseException:
        from fanlight import errors as kinds

        real = [e for e in errors if not isinstance(kinds.innermost(e[1]), SkippedRun)]
        self.skipped = len(errors) - len(real)
        errors = real or errors
        error = errors[0][1]
        if not died(error):
            return super().failed(errors)
        if self.handle is self.space.handle:
            text = self.space.loses(reason(error))
        else:
            text = f"The namespace `{self.space.name}` was started anew while the cell was there."
        return tracebacks.short(NamespaceLostError(text))

    def heading(self, errors: list[tuple[int, BaseException]]) -> str:
        text = super().heading(errors)
        if text and self.skipped:
            text += f" The {self.skipped} after it did not begin."
        return text

    def bind(self, results: list[Any]) -> None:
        found = [result.state for result in results if getattr(result, "state", None) is not None]
        ns, mirror = self.shell.user_ns, self.space.mirror
        for name in dict.fromkeys(n for state in found for n in state.kept):
            same = name in mirror and name in ns and mirror[name].is_(ns[name])
            if name not in self.told and not same:
                self.late.append(self.not_taken(name))
        super().bind(results)
        if self.elements is None:
            self._remember(name for result in results for name in result.values)

    def bind_refs(self) -> None:
        super().bind_refs()
        if self.elements is None:
            self._remember(self.job.outputs)

    def _remember(self, names: Any) -> None:
        ns = self.shell.user_ns
        for name in names:
            if name in ns:
                self.space.mirror[name] = Same(ns[name])

    def stayed(self, items: list[worker.Unpicklable]) -> None:
        """What a namespace is for: what cannot be sent is there for the next cell."""
        if not items:
            return
        name = self.space.name
        if self.job.only is not None:
            item = items[0]
            raise UsageError(
                f"%%remote --out {item.name}: `{item.name}` ({item.type_name}) stays in {name}: "
                f"{item.reason}. Bring what you need of it in another variable."
            )
        listed = ", ".join(f"`{item.name}` ({item.type_name})" for item in items)
        which = "it" if len(items) == 1 else "them"
        self.say(
            f"note: {listed} cannot be sent and stays in {name}; cells on {name} have {which}.\n"
        )

    def forget(self, name: str) -> None:
        """Deleted there: here too, unless the notebook has another variable of that name."""
        seen = self.space.mirror.pop(name, None)
        ns = self.shell.user_ns
        if name in ns and (name not in self.had or (seen is not None and seen.is_(ns[name]))):
            super().forget(name)


class _Runner:
    """Adds to each run what the namespace wants to know of the cell."""

    def __init__(self, method: Any, call: Call, aliases: dict[str, str]) -> None:
        self._method = method
        self._call = call
        self._aliases = aliases

    def remote(self, job: Any, small: Any, element: Any, names: Any, *large: Any) -> Any:
        tokens = self._call.tokens
        for name, ref in zip(names, large, strict=True):  # the same content has the same ref
            tokens[name] = ref.hex()
        for name, other in self._aliases.items():
            tokens[name] = tokens[other]
        return self._method.remote(self._call, job, small, element, names, *large)
