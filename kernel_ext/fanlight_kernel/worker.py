"""What runs in the worker for one ``%%remote`` cell.

:func:`run_cell` is the task that the notebook submits. It is imported by name in the worker, so
only its arguments travel. :class:`CellJob` describes the cell; values arrive beside it.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import threading
import time
import types
from dataclasses import dataclass, field
from typing import Any

from fanlight_kernel import tracebacks, workshell

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
    modules: dict[str, str] = field(default_factory=dict)  # name in the cell -> module to import
    functions: tuple[str, ...] = ()  # inputs that are the notebook's own functions
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

    values: dict[str, Any] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    shown: bool = False  # the last statement was an expression with a value
    data: dict[str, Any] = field(default_factory=dict)  # its MIME bundle
    metadata: dict[str, Any] = field(default_factory=dict)
    last: Any = None
    has_last: bool = False
    seconds: float = 0.0
    pid: int = 0


SMALL = 1 << 20  # the last expression's value comes along (for ``_`` and ``Out``) up to this size


def run_cell(
    job: CellJob,
    values: dict[str, Any],
    element: dict[str, Any],
    names: tuple[str, ...] = (),
    *large: Any,
) -> Any:
    """Run a cell. ``names`` are the names of ``large``, inputs that came through the store;
    ``element`` holds the variable of ``--each``.

    Returns and raises what :func:`run_in` does.
    """
    ns = namespace(job, {**values, **dict(zip(names, large, strict=True)), **element})
    return run_in(job, ns)


def run_in(job: CellJob, ns: dict[str, Any]) -> Any:
    """Run a cell whose globals are ``ns``; these may be older than the cell (``--on``).

    Returns a :class:`CellResult`, or a tuple of it and one value for each of ``job.outputs`` when
    ``job.separate``.
    """
    tracebacks.register_source(job.filename, job.raw)
    before = {name: value for name, value in ns.items() if not name.startswith("__")}
    if job.rich:
        workshell.ensure_shell(ns)
    started = time.perf_counter()
    last: list[Any] = []
    execute(job, ns, last)
    workshell.show_figures(ns)
    result = CellResult(seconds=time.perf_counter() - started)
    if last and last[0] is not None and job.display:
        _show(job, ns, last[0], result)
    result.deleted = tuple(n for n in job.deletes if n in before and n not in ns)
    found = collect(job, ns, before)
    if not job.separate:
        result.values = found
        return result
    separate = [found.get(name, Unassigned(name)) for name in job.outputs]
    return (result, *separate)


def namespace(job: CellJob, values: dict[str, Any]) -> dict[str, Any]:
    """The globals of the cell: inputs, modules, and functions that share these very globals."""
    ns: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    fill(ns, job, values)
    return ns


def fill(ns: dict[str, Any], job: CellJob, values: dict[str, Any]) -> None:
    """Put a cell's inputs into its globals."""
    for name, module in job.modules.items():
        ns[name] = importlib.import_module(module)
    for name in job.placeholders:
        ns[name] = _PLACEHOLDER
    ns.update(values)
    for name in job.functions:
        ns[name] = adopt(ns[name], ns)
    for value in list(values.values()):
        if isinstance(value, type) and value.__module__ == "__main__":
            adopt_class(value, ns)


def adopt(function: Any, ns: dict[str, Any]) -> Any:
    """A function with the same code whose globals are ``ns``."""
    if not isinstance(function, types.FunctionType):
        return function
    copy = types.FunctionType(
        function.__code__, ns, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    copy.__qualname__ = function.__qualname__
    copy.__doc__ = function.__doc__
    copy.__module__ = function.__module__
    copy.__annotations__ = dict(function.__annotations__)
    return copy


def adopt_class(cls: type, ns: dict[str, Any]) -> None:
    """Point the globals of a notebook class's methods at ``ns``."""
    for name, member in list(vars(cls).items()):
        made: Any = None
        if isinstance(member, types.FunctionType):
            if member.__globals__ is not ns and member.__module__ == "__main__":
                made = adopt(member, ns)
        elif isinstance(member, (staticmethod, classmethod)):
            inner = member.__func__
            if isinstance(inner, types.FunctionType) and inner.__globals__ is not ns:
                made = type(member)(adopt(inner, ns))
        elif isinstance(member, property):
            get, put, delete = (adopt(f, ns) for f in (member.fget, member.fset, member.fdel))
            made = property(get, put, delete, member.__doc__)
        if made is not None:
            try:
                setattr(cls, name, made)
            except (AttributeError, TypeError):
                continue


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


def collect(job: CellJob, ns: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a run: what is new, what was rebound, and what was asked for."""
    if job.only is not None:
        names = [n for n in job.only if n in ns]
    else:
        held = [n for n in job.outputs if n in ns and ns[n] is not _PLACEHOLDER]
        names = [n for n in held if n in job.always or _changed(n, ns, before)]
        names += [
            n
            for n in ns
            if n not in job.outputs and not n.startswith("__") and _changed(n, ns, before)
        ]
    return {name: _portable(name, ns[name], ns) for name in names}


_ABSENT = object()
_PLACEHOLDER = object()


def _changed(name: str, ns: dict[str, Any], before: dict[str, Any]) -> bool:
    return before.get(name, _ABSENT) is not ns[name]


_SAFE = (int, float, complex, str, bytes, bool, type(None), types.ModuleType)


def _portable(name: str, value: Any, ns: dict[str, Any]) -> Any:
    """``value`` as it can travel, or a stand-in that says why it cannot."""
    kind = type(value)
    if kind in _SAFE:
        return value
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
        return value
    from fanlight_kernel import inputs

    if isinstance(value, types.FunctionType) and value.__globals__ is ns:
        value = inputs.strip(value)
    reason = inputs.why_not(value)
    if reason is None:
        return value
    return Unpicklable(name, type(value).__name__, reason)


def _show(job: CellJob, ns: dict[str, Any], value: Any, result: CellResult) -> None:
    from fanlight_kernel import inputs

    result.shown = True
    result.data, result.metadata = workshell.mimebundle(value, ns)
    try:
        if job.keep_last or inputs.size_of(value) <= SMALL:
            result.last = value
            result.has_last = True
    except Exception:
        result.has_last = False
