"""What runs in the worker for one ``%%remote`` cell.

:func:`run_cell` is the task that the notebook submits. It is imported by name in the worker, so
only its arguments travel. :class:`CellJob` describes the cell; values arrive beside it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import importlib
import inspect
import os
import sys
import threading
import time
import types
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from fanlight.serialization import PLAIN
from fanlight_kernel import descriptors, tracebacks, workshell
from fanlight_kernel.capture import alterations, carry, refusals
from fanlight_kernel.capture.carry import Home, Packed, Space

TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass
class CellJob:
    """A cell to run, as it travels."""

    source: str  # transformed, with blank lines in front so that line numbers are the notebook's
    filename: str  # as IPython's compiler names the cell
    raw: str  # what the user sees, for the lines in tracebacks
    outputs: tuple[str, ...] = ()  # names that the analysis says are assigned
    only: tuple[str, ...] | None = None  # --out: these and no others
    always: tuple[str, ...] = ()  # come back even when they are the same object (augmented)
    deletes: tuple[str, ...] = ()
    separate: bool = False  # each output as a return value of its own (for refs)
    display: bool = True  # show the value of the last expression
    keep_last: bool = False  # bring that value back whatever its size
    rich: bool = False  # the cell talks to the notebook: have a shell ready
    modules: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name: what to import
    changed: frozenset[str] = frozenset()  # inputs that the cell may change: writable copies
    aliases: dict[str, str] = field(default_factory=dict)  # the same large object's other names
    placeholders: tuple[str, ...] = ()  # names that exist only to be deleted
    flags: int = 0  # compiler flags of ``from __future__`` imports in the notebook


class Unassigned:
    """Stands for an output that the cell did not assign on this run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name} was not assigned when the cell ran>"


@dataclass
class Unpicklable:
    """Stands for an output that cannot leave the worker."""

    name: str
    type_name: str
    reason: str

    def __repr__(self) -> str:
        return f"<{self.name} stayed in the worker: {self.reason}>"


@dataclass
class CellResult:
    """What comes back beside the outputs."""

    values: dict[str, Any] = field(default_factory=dict)  # once they are unpacked
    packed: Packed | None = None
    modules: dict[str, str] = field(default_factory=dict)  # name of an output -> module
    stayed: dict[str, Unpicklable] = field(default_factory=dict)
    altered: tuple[str, ...] = ()  # inputs that were changed in place and did not come back
    exit: SystemExit | None = None  # the cell called sys.exit()
    deleted: tuple[str, ...] = ()
    shown: bool = False  # the last statement was an expression with a value
    data: dict[str, Any] = field(default_factory=dict)  # its MIME bundle
    metadata: dict[str, Any] = field(default_factory=dict)
    last: Any = None
    has_last: bool = False
    seconds: float = 0.0
    pid: int = 0
    state: Any = None  # of the namespace, after a cell on one


SMALL = 1 << 20  # the last expression's value comes along (for ``_`` and ``Out``) up to this size


def run_cell(
    job: CellJob,
    values: Packed,
    element: Packed | dict[str, Any],
    names: tuple[str, ...] = (),
    *large: Packed,
) -> Any:
    """Run a cell. ``names`` are the names of ``large``, inputs that came through the store;
    ``element`` holds the variable of ``--each``.

    Returns and raises what :func:`run_in` does.
    """
    module = types.ModuleType("__main__")
    space = Space(vars(module))
    opened = open_inputs(job, space, values, element, names, large)
    fill(space.ns, job, opened)
    bulky = {n for n, p in zip(names, large, strict=True) if len(p.data) > alterations.LIMIT}
    with main_module(module), surroundings(job):
        return run_in(job, space, opened.keys() - bulky)


def run_in(job: CellJob, space: Space, sent: Collection[str] = ()) -> Any:
    """Run a cell whose globals are those of ``space``; these may be older than the cell (``--on``).

    ``sent`` are the inputs of which a change in place is to be told. Returns a
    :class:`CellResult`, or a tuple of it and one value for each of ``job.outputs`` when
    ``job.separate``.
    """
    tracebacks.register_source(job.filename, job.raw)
    ns = space.ns
    before = {name: value for name, value in ns.items() if name not in HIDDEN}
    marks = alterations.marks({name: ns[name] for name in sent}, space, job.changed)
    if job.rich:
        workshell.ensure_shell(ns)
    started = time.perf_counter()
    last: list[Any] = []
    workshell.forget_figures()
    try:
        with descriptors.followed():
            execute(job, ns, last)
        workshell.show_figures(ns)
    except SystemExit as ended:  # of the cell, not of the worker
        return _exited(job, ended)
    except BaseException as error:
        explain_read_only(error, job, before)
        raise
    result = CellResult(seconds=time.perf_counter() - started)
    if last and last[0] is not None and job.display:
        result.shown = True
        result.data, result.metadata = workshell.mimebundle(last[0], ns)
    result.deleted = tuple(n for n in before if n not in ns)
    found = collect(job, ns, before)
    altered = [n for n in alterations.altered(marks, before, space) if n not in found]
    if job.only is None:  # assigned to itself, as in x = f(x), where f changes and returns it
        found += [n for n in altered if n in job.outputs]
    result.altered = tuple(n for n in altered if n not in found)
    return deliver(job, space, found, last, result)


def _exited(job: CellJob, ended: SystemExit) -> Any:
    result = CellResult(exit=SystemExit(*ended.args))
    separate = job.separate and job.outputs
    return (result, *map(Unassigned, job.outputs)) if separate else result


HIDDEN = frozenset(
    f"__{n}__"
    for n in ("name", "builtins", "builtin", "doc", "loader", "package", "spec", "annotations")
)


def open_inputs(
    job: CellJob,
    space: Space,
    values: Packed,
    element: Packed | dict[str, Any],
    names: tuple[str, ...],
    large: tuple[Packed, ...],
) -> dict[str, Any]:
    """The inputs of a cell, rebuilt for ``space``, which does not hold them yet."""
    import_modules(space.ns, job)  # rebuilding may call functions, which may use them
    found: dict[str, Any] = values.open(space, writable=bool(job.changed))
    for name, packed in zip(names, large, strict=True):
        found[name] = packed.open(space, writable=name in job.changed)
    for name, other in job.aliases.items():
        found[name] = found[other]
    found.update(element if isinstance(element, dict) else element.open(space))
    return found


def import_modules(ns: dict[str, Any], job: CellJob) -> None:
    """Import what the notebook has imported and the cell uses."""
    ns["__builtins__"] = builtins
    for name, modules in job.modules.items():
        for module in modules[1:]:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        ns[name] = importlib.import_module(modules[0])


def fill(ns: dict[str, Any], job: CellJob, values: dict[str, Any]) -> None:
    """Put a cell's inputs into its globals."""
    for name in job.placeholders:
        ns[name] = _PLACEHOLDER
    ns.update(values)


@contextlib.contextmanager
def main_module(module: types.ModuleType) -> Iterator[None]:
    """Have the cell's namespace be ``__main__``'s, as it is in the notebook: for pickle,
    dataclasses, type hints. Not in the notebook's own process, whose ``__main__`` is the user's.
    """
    if Home.here is not None:
        yield
        return
    before = sys.modules.get("__main__")
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        if before is not None and sys.modules.get("__main__") is module:
            sys.modules["__main__"] = before


@contextlib.contextmanager
def surroundings(job: CellJob) -> Iterator[None]:
    """Leave the process's directory and environment as they were: it runs other cells and tasks,
    and which of them would meet the change is chance.

    What an imported module sets in the environment stays, as the module does.
    """
    try:
        folder = os.getcwd()
    except OSError:  # it was removed
        folder = ""
    variables = dict(os.environ) if "env" in job.source else None
    try:
        yield
    finally:
        if folder:
            with contextlib.suppress(OSError):
                os.chdir(folder)
        if variables is not None and variables != dict(os.environ):
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            os.environ.update(variables)


def explain_read_only(error: BaseException, job: CellJob, before: dict[str, Any]) -> None:
    """Tell whoever wrote into an array of the notebook why that failed, and what to do."""
    if not isinstance(error, ValueError) or "read-only" not in str(error):
        return
    names = [
        f"`{name}`"
        for name, value in before.items()
        if not getattr(getattr(value, "flags", None), "writeable", True)
    ]
    if names:
        which = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        error.add_note(
            f"Arrays of the notebook are shared with the cell without a copy, and read-only: "
            f"{which}. Copy first what you want to change (x = x.copy())."
        ) if hasattr(error, "add_note") else None


def execute(job: CellJob, ns: dict[str, Any], last: list[Any]) -> None:
    """Compile and run; the value of a last expression is appended to ``last``."""
    codes = compile_cell(job)
    if not any(inspect.CO_COROUTINE & code.co_flags for code, _ in codes):
        for code, keep in codes:
            value = eval(code, ns)
            if keep:
                last.append(value)
        return

    async def main() -> None:
        for code, keep in codes:
            value = eval(code, ns)
            if inspect.iscoroutine(value) and code.co_flags & inspect.CO_COROUTINE:
                value = await value
            if keep:
                last.append(value)

    _run_coroutine(main)


def _run_coroutine(main: Any) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
        return
    # The in-process engine under a notebook: its loop is running in this very thread.
    failure: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="fanlight-await", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def compile_cell(job: CellJob) -> list[tuple[types.CodeType, bool]]:
    """Code objects in order; the flag marks the last expression."""
    flags = TOP_LEVEL_AWAIT | job.flags
    tree = compile(job.source, job.filename, "exec", flags | ast.PyCF_ONLY_AST, True)
    codes: list[tuple[types.CodeType, bool]] = []
    body = tree.body
    final = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    if body:
        module = ast.Module(body=body, type_ignores=[])
        codes.append((compile(module, job.filename, "exec", flags, True), False))
    if final is not None:
        expression = ast.Expression(final.value)
        codes.append((compile(expression, job.filename, "eval", flags, True), True))
    return codes


def collect(job: CellJob, ns: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The outputs of a run: what is new, what was rebound, and what was asked for."""
    if job.only is not None:
        return [n for n in job.only if n in ns]
    held = [n for n in job.outputs if n in ns and ns[n] is not _PLACEHOLDER]
    names = [n for n in held if n in job.always or _changed(n, ns, before)]
    names += [n for n in ns if n not in job.outputs and n not in HIDDEN and _changed(n, ns, before)]
    return names


_ABSENT = object()
_PLACEHOLDER = object()


def _changed(name: str, ns: dict[str, Any], before: dict[str, Any]) -> bool:
    return before.get(name, _ABSENT) is not ns[name]


LAST = "<last>"  # the name under which the last expression's value travels


def deliver(
    job: CellJob, space: Space, names: list[str], last: list[Any], result: CellResult
) -> Any:
    """What the run returns: its outputs as they can travel, and stand-ins for those that cannot."""
    ns = space.ns
    travelling: dict[str, Any] = {}
    if result.shown and _comes_along(job, space, last[0], names):
        travelling[LAST] = last[0]
        result.has_last = True
    if job.separate:
        result.packed = carry.pack_names(travelling, space) if travelling else None
        separate = [_separate(name, space, name in names) for name in job.outputs]
        return (result, *separate) if separate else result
    for name in names:
        if isinstance(ns[name], types.ModuleType):
            result.modules[name] = ns[name].__name__
        else:
            travelling[name] = ns[name]
    try:
        result.packed = carry.pack_names(travelling, space)
    except Exception:
        for name in [n for n in names if n in travelling]:
            reason = refusals.why_not(ns[name], space)
            if reason is not None:
                result.stayed[name] = Unpicklable(name, type(ns[name]).__name__, reason)
                del travelling[name]
        result.packed = carry.pack_names(travelling, space)
    return result


def _separate(name: str, space: Space, assigned: bool) -> Any:
    if not assigned:
        return Unassigned(name)
    value = space.ns[name]
    try:
        return carry.portable(value, space)
    except Exception:
        reason = refusals.why_not(value, space) or "it cannot be pickled"
        return Unpicklable(name, type(value).__name__, reason)


def _comes_along(job: CellJob, space: Space, value: Any, names: list[str]) -> bool:
    """Whether the shown value itself comes back: it is an output anyway, or small."""
    if type(value) in PLAIN or (not job.separate and any(space.ns[n] is value for n in names)):
        return refusals.why_not(value, space) is None
    try:
        return carry.pack(value, space).size <= SMALL or job.keep_last
    except Exception:
        return False


def unpack(result: CellResult, home: Home) -> CellResult:
    """In the notebook: rebuild what came back."""
    if result.packed is not None:
        result.values = result.packed.open(home)
        result.packed = None
        result.last = result.values.pop(LAST, None)
    for name, module in result.modules.items():
        with contextlib.suppress(ImportError):
            result.values[name] = importlib.import_module(module)
    result.values.update(result.stayed)
    return result
