"""What all tests share: private directories, and a count of what each module leaves behind."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leaks

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent

# Tests in these folders start runtimes: nothing of theirs may be there when a module ends.
CHECKED = frozenset({"engines", "faults", "store", "notebooks", "kernel_ext", "security"})

LONG_SECONDS = 1800  # that a test marked `long` may take, unless it says otherwise


def pytest_configure(config: pytest.Config) -> None:
    _need_this_tree()
    # Short, since the paths of unix sockets are bounded. TMPDIR stays: runtimes of one user must see
    # each other's sessions, and those of a developer's open notebook are not ours to disturb.
    home = Path(tempfile.mkdtemp(prefix="flt-", dir="/tmp"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for name in ("RUNTIME", "CONFIG", "DATA"):
        folder = home / name.lower()
        folder.mkdir(mode=0o700)
        os.environ[f"JUPYTER_{name}_DIR"] = str(folder)
    os.environ["IPYTHONDIR"] = str(home / "ipython")
    os.environ[leaks.MARK] = uuid.uuid4().hex


@pytest.hookimpl(tryfirst=True)  # the folders give less to what has no time of its own yet
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))


def pytest_collection_finish() -> None:
    """What collecting the tests has made stays to the end: the many counts of what is left need not
    look through it, which takes a quarter of a second each time."""
    gc.collect()
    gc.freeze()


def _need_this_tree() -> None:
    """Stop if `import fanlight` would take another tree's package, or none."""
    spec = importlib.util.find_spec("fanlight")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders or not Path(folders[0]).resolve().is_relative_to(ROOT):
        raise pytest.UsageError(
            f"`import fanlight` finds {folders or 'nothing'}, not this tree: run `make install`"
        )


@pytest.fixture(autouse=True, scope="module")
def _module_leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the last test of a module and its fixtures: no process, segment, file, descriptor."""
    path = request.path
    if not path.is_relative_to(TESTS) or path.relative_to(TESTS).parts[0] not in CHECKED:
        yield
        return
    before = leaks.snapshot()
    yield
    _fail_if_left(before, path.name)


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """The same check after one test, for tests whose runtime ends with them."""
    before = leaks.snapshot()
    yield
    _fail_if_left(before, request.node.name)


def _fail_if_left(before: leaks.Snapshot, what: str) -> None:
    left = leaks.left_since(before)
    if left:
        leaks.kill_since(before)
        pytest.fail(f"{what} left behind:\n  " + "\n  ".join(left), pytrace=False)
