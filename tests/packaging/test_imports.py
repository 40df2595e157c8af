"""The import rules of the architecture: who may know whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .tree import PACKAGES

OURS = tuple(PACKAGES)
LEAVES = {
    *(f"fanlight.{name}" for name in ("_version", "config", "errors", "events", "ids", "labels")),
    *(f"fanlight.{name}" for name in ("cgroups", "messages", "options", "private", "runtime_env")),
    "fanlight.answers",
}
PUBLIC = {
    *(f"fanlight.{name}" for name in ("_version", "actor", "errors", "events", "exceptions")),
    *(
        f"fanlight.{name}"
        for name in ("by_value", "look", "observe", "progress_bar", "session", "words")
    ),
    "fanlight.calls",
    "fanlight.driver_log",
    "fanlight.interrupts",
    "fanlight.recordings",
    "fanlight.serialization",
    "fanlight.standalone",
    "fanlight.task_output",
    "fanlight.traces",
}
# Package or module -> what of ours it may import, besides itself. The longest name that fits decides.
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(LEAVES, LEAVES),
    "fanlight.core": LEAVES,
    "fanlight.wire": LEAVES,
    "fanlight.store": LEAVES | {"fanlight.serialization"},
    "fanlight.observe": LEAVES | {"fanlight.peek", "fanlight.wire", "fanlight.words"},
    "fanlight.engines.dask": LEAVES | {"fanlight.refs", "fanlight.engines.base"},
    "fanlight.engines.ray": LEAVES | {"fanlight.refs", "fanlight.engines.base"},
    "fanlight": {"fanlight"},
    "fanlight_kernel": PUBLIC,
    # For `fanlight.panel()` the kernel does what the server does for the sidebar.
    "fanlight_kernel.widgets.panel_link": PUBLIC
    | {f"fanlight_lab.{name}" for name in ("follow", "messages", "watch")},
    "fanlight_lab": PUBLIC,
}
# The places where the runtime knows the extension: `%load_ext fanlight` and `fanlight.panel()`.
KNOWN = {("fanlight", "fanlight_kernel"), ("fanlight.panels", "fanlight_kernel.widgets.panel")}

# The core answers stimuli: no clock, no chance, no input and output, nothing that waits.
IMPURE = {
    *("asyncio", "concurrent", "datetime", "multiprocessing", "os", "pathlib", "psutil", "random"),
    *("secrets", "select", "selectors", "signal", "socket", "subprocess", "tempfile", "threading"),
    *("time", "uuid"),
}
# The zygote is the workers' parent: it loads for them, and unpickles nothing itself.
FORKS_WORKERS = "fanlight.node.zygote"
PICKLERS = {"cloudpickle", "copyreg", "dill", "marshal", "pickle", "shelve"}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts))
            yield name.removesuffix(".__init__"), path


def imports(name: str, path: Path) -> Iterator[str]:
    """Full names of all that a module imports, wherever it does; a name that is imported from a
    package comes with it, so that `from fanlight import core` counts as `fanlight.core`."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join((*above, base)) if base else ".".join(above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in NAMES else base


NAMES = dict(modules())


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def rule(name: str) -> str:
    return max((key for key in ALLOWED if within(name, key)), key=len)


@pytest.mark.parametrize("name", NAMES)
def test_import_rules(name: str) -> None:
    key = rule(name)
    # From `fanlight` itself comes its public API; naming it does not allow what lies below it.
    from_outside = not within(name, "fanlight")
    for imported in imports(name, NAMES[name]):
        if imported.partition(".")[0] not in OURS or (name, imported) in KNOWN:
            continue
        ok = any(within(imported, allowed) for allowed in ALLOWED[key] | {key})
        assert ok or (from_outside and imported == "fanlight"), (
            f"{name} imports {imported}; the rule for {key} allows {sorted(ALLOWED[key])}"
        )


@pytest.mark.parametrize("name", [name for name in NAMES if within(name, "fanlight.core")])
def test_the_core_is_sans_io(name: str) -> None:
    roots = {imported.partition(".")[0] for imported in imports(name, NAMES[name])}
    assert not roots & IMPURE


NODE = ("fanlight.core", "fanlight.node", "fanlight.wire")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith(NODE) and name != FORKS_WORKERS]
)
def test_the_node_never_unpickles(name: str) -> None:
    roots = {imported.partition(".")[0] for imported in imports(name, NAMES[name])}
    assert not roots & PICKLERS


def test_the_rules_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "from ..node import shell\nfrom .. import ids\nimport time, fanlight.store as s\n"
    )
    found = set(imports("fanlight.core.bad", path))
    assert found == {"fanlight.node", "fanlight.ids", "time", "fanlight.store"}
    assert rule("fanlight.core.bad") == "fanlight.core"
    assert not any(within("fanlight.node", allowed) for allowed in ALLOWED["fanlight.core"])
