"""Runs the parts of `make test` one after the other, and sums them up in one closing line.

    python tests/run.py [lint] [js] [py] [ui] [long] [PYTEST ARGUMENTS]

Without a name all parts run but "long", which is `make test-long`. Every part runs, even when one
before it failed; the exit code is not 0 if any of them did. Each linter counts as one test. Used by
the Makefile, with the Python of the development environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "test-results"
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_TESTS_COLLECTED = 5


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, name: str, code: int) -> None:
        """Count a command that either passes or fails as one test."""
        if code == 0:
            self.passed += 1
        else:
            self.failed += 1
            self.broken.append(name)

    def add(self, other: Tally) -> None:
        """What another part counted meanwhile."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.broken += other.broken

    def closing_line(self, seconds: float) -> str:
        """In the form of pytest's own."""
        counts = {"failed": self.failed, "passed": self.passed, "skipped": self.skipped}
        text = ", ".join(f"{n} {what}" for what, n in counts.items() if n) or "no tests ran"
        return f" {text} in {seconds:.2f}s ".center(80, "=")


def run(title: str, *command: str, log: Path | None = None) -> int:
    """Run a command with its output passed through, or into ``log``; its exit code."""
    print(f"\n--- {title}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("w")) if log is not None else None
        code = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        ).returncode
    verdict = "ok" if code == 0 else f"FAILED (exit code {code})"
    print(f"--- {title}: {verdict}, {time.monotonic() - started:.1f} s", flush=True)
    return code


def python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def lint(tally: Tally, extra: list[str]) -> None:
    for title, command in (
        ("ruff", python("-m", "ruff", "check")),
        ("ruff format", python("-m", "ruff", "format", "--check")),
        ("mypy", python("-m", "mypy")),
        ("ESLint and Prettier", python("hatch_build.py", "--jlpm", "run", "lint:check")),
    ):
        tally.check(title, run(title, *command))


def js(tally: Tally, extra: list[str]) -> None:
    report = RESULTS / "jest.json"
    report.unlink(missing_ok=True)
    jest = ("run", "test", "--ci", "--json", f"--outputFile={report}")
    code = run("Jest", *python("hatch_build.py", "--jlpm", *jest))
    try:
        result = json.loads(report.read_text())
        tally.passed += result["numPassedTests"]
        tally.failed += result["numFailedTests"] + result["numRuntimeErrorTestSuites"]
        tally.skipped += result["numPendingTests"] + result["numTodoTests"]
    except (OSError, ValueError, KeyError):
        code = code or 1
        tally.failed += 1
    if code != 0:
        tally.broken.append("Jest")


# Tests that run beside the rest, on the other core: about half of all, by time. Those that count what
# all runtimes of a user have together, sessions or descriptors, stay with the rest.
BESIDE = (
    "bench", "client", "core", "faults", "notebooks", "packaging", "security", "store", "wire",
)  # fmt: skip
NOT_BESIDE = ("faults/test_sessions.py", "faults/test_limits.py")


def py(tally: Tally, extra: list[str]) -> None:
    if extra:
        _pytest(tally, "Python tests", ["tests"], extra)
        return
    stay = {ROOT / "tests" / name for name in NOT_BESIDE}
    beside = [
        str(path.relative_to(ROOT))
        for name in BESIDE
        for path in sorted((ROOT / "tests" / name).glob("test_*.py"))
        if path not in stay
    ]
    with ThreadPoolExecutor(1) as threads:
        other = Tally()
        done = threads.submit(
            _pytest, other, "Python tests beside", beside, ["-p", "no:cacheprovider"], quiet=True
        )
        rest = [f"--ignore={path}" for path in beside]
        _pytest(tally, "Python tests", ["tests"], rest)
        done.result()
        print((RESULTS / "python-tests-beside.log").read_text(), flush=True)
    tally.add(other)


def ui(tally: Tally, extra: list[str]) -> None:
    browser = find_browser() or install_browser()
    if browser is not None:
        os.environ["CHROMIUM"] = browser
        _pytest(tally, "browser tests", ["labextension/ui-tests"], extra)
        return
    note = "no Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
    print(f"\n--- browser tests: {note}", flush=True)
    if IN_CI:
        tally.check(f"browser tests ({note})", 1)
    else:
        tally.skipped += 1
        tally.notes.append(f"The browser tests did not run: {note}.")


def _pytest(
    tally: Tally, title: str, folders: list[str], extra: list[str], quiet: bool = False
) -> None:
    name = title.replace(" ", "-").lower()
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    log = RESULTS / f"{name}.log" if quiet else None
    command = python("-m", "pytest", *folders, f"--junitxml={report}", *extra)
    code = run(title, *command, log=log)
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        tally.check(title, code or 1)
        return
    for suite in root.iter("testsuite"):
        count = {
            name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
        }
        failed = count["failures"] + count["errors"]
        tally.failed += failed
        tally.skipped += count["skipped"]
        tally.passed += max(0, count["tests"] - failed - count["skipped"])
    if code == NO_TESTS_COLLECTED:
        tally.failed += 1
        tally.broken.append(f"{title} (none found)")
    elif code != 0:
        tally.broken.append(title)


def long(tally: Tally, extra: list[str]) -> None:
    """What `make test` leaves out; ``-s`` shows how far each test is."""
    _pytest(tally, "long tests", ["tests"], ["-m", "long", "-v", "-s", *extra])


def find_browser() -> str | None:
    """The path of a Chromium: $CHROMIUM, or one on the PATH."""
    chosen = os.environ.get("CHROMIUM")
    if chosen:
        return shutil.which(chosen)
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def install_browser() -> str | None:
    """Debian's own, where this runs as root with apt-get; None if that cannot be or fails."""
    if os.environ.get("CHROMIUM") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    run("apt-get update", "apt-get", "update", "-q")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("Chromium", "apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium")
    return find_browser()


PARTS: dict[str, Callable[[Tally, list[str]], None]] = {
    "lint": lint, "js": js, "py": py, "ui": ui, "long": long,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    named = list(takewhile(PARTS.__contains__, arguments))
    extra = arguments[len(named) :]
    wanted = [name for name in PARTS if name in (named or PARTS.keys() - {"long"})]
    RESULTS.mkdir(exist_ok=True)
    tally = Tally()
    started = time.monotonic()
    for name in wanted:
        PARTS[name](tally, extra)
    print()
    for note in tally.notes:
        print(note)
    if tally.broken:
        print("Failed: " + ", ".join(tally.broken))
    print(tally.closing_line(time.monotonic() - started), flush=True)
    return 1 if tally.broken or tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
