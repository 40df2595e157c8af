"""Runs the parts of `make test`, and sums them up in one closing line.

    python tests/run.py [lint] [js] [py] [ui] [long] [PYTEST ARGUMENTS]

Without a name all parts run but "long", which is `make test-long`. Every part runs, even when one
before it failed; the exit code is not 0 if any of them did. Each linter counts as one test. Used by
the Makefile, with the Python of the development environment.

The steps of the parts run in two lanes, side by side. What is printed is in the order of STEPS: a
step's output as it comes, or when its turn comes; test-results/ has the log of each.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TextIO

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
    out: TextIO = sys.stdout  # of what is counted here

    def check(self, name: str, code: int) -> None:
        """Count a command that either passes or fails as one test."""
        if code == 0:
            self.passed += 1
        else:
            self.failed += 1
            self.broken.append(name)

    def say(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    def add(self, other: Tally) -> None:
        """What another one counted."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.broken += other.broken
        self.notes += other.notes

    def closing_line(self, seconds: float) -> str:
        """In the form of pytest's own."""
        counts = {"failed": self.failed, "passed": self.passed, "skipped": self.skipped}
        text = ", ".join(f"{n} {what}" for what, n in counts.items() if n) or "no tests ran"
        return f" {text} in {seconds:.2f}s ".center(80, "=")


def run(tally: Tally, title: str, *command: str) -> int:
    """Run a command, whose output goes where the tally's does; its exit code."""
    tally.say(f"\n--- {title}: {' '.join(command)}")
    started = time.monotonic()
    code = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=None if tally.out is sys.stdout else tally.out,
        stderr=None if tally.out is sys.stdout else tally.out,
        check=False,
    ).returncode
    verdict = "ok" if code == 0 else f"FAILED (exit code {code})"
    tally.say(f"--- {title}: {verdict}, {time.monotonic() - started:.1f} s")
    return code


def python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def lint_python(tally: Tally, extra: list[str]) -> None:
    for title, command in (
        ("ruff", python("-m", "ruff", "check")),
        ("ruff format", python("-m", "ruff", "format", "--check")),
        ("mypy", python("-m", "mypy")),
    ):
        tally.check(title, run(tally, title, *command))


def lint_front_end(tally: Tally, extra: list[str]) -> None:
    title = "ESLint and Prettier"
    tally.check(title, run(tally, title, *python("hatch_build.py", "--jlpm", "run", "lint:check")))


def js(tally: Tally, extra: list[str]) -> None:
    report = RESULTS / "jest.json"
    report.unlink(missing_ok=True)
    jest = ("run", "test", "--ci", "--json", f"--outputFile={report}")
    code = run(tally, "Jest", *python("hatch_build.py", "--jlpm", *jest))
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


# The Python tests of the second lane: with the browser's, they take about as long as all others. Those
# that count what all runtimes of a user have together, sessions or descriptors, stay in the first.
BESIDE = ("client", "faults", "packaging", "security", "store", "wire")
NOT_BESIDE = ("faults/test_sessions.py", "faults/test_limits.py")


def beside() -> list[str]:
    stay = {ROOT / "tests" / name for name in NOT_BESIDE}
    return [
        str(path.relative_to(ROOT))
        for name in BESIDE
        for path in sorted((ROOT / "tests" / name).glob("test_*.py"))
        if path not in stay
    ]


def py(tally: Tally, extra: list[str]) -> None:
    rest = extra or [f"--ignore={path}" for path in beside()]
    _pytest(tally, "Python tests", ["tests"], rest)


def py_beside(tally: Tally, extra: list[str]) -> None:
    if not extra:  # else `py` has them all
        _pytest(tally, "Python tests beside", beside(), ["-p", "no:cacheprovider"])


def ui(tally: Tally, extra: list[str]) -> None:
    browser = find_browser() or install_browser(tally)
    if browser is not None:
        os.environ["CHROMIUM"] = browser
        _pytest(tally, "browser tests", ["labextension/ui-tests"], extra)
        return
    note = "no Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
    tally.say(f"\n--- browser tests: {note}")
    if IN_CI:
        tally.check(f"browser tests ({note})", 1)
    else:
        tally.skipped += 1
        tally.notes.append(f"The browser tests did not run: {note}.")


def _pytest(tally: Tally, title: str, folders: list[str], extra: list[str]) -> None:
    report = RESULTS / f"{title.replace(' ', '-').lower()}.xml"
    report.unlink(missing_ok=True)
    color = ["--color=yes"] if tally.out is not sys.stdout and sys.stdout.isatty() else []
    code = run(
        tally, title, *python("-m", "pytest", *folders, f"--junitxml={report}", *color, *extra)
    )
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
    folders = ["tests"]
    browser = find_browser()
    if browser is not None:
        os.environ["CHROMIUM"] = browser
        folders.append("labextension/ui-tests")
    else:
        tally.notes.append("The long tests of the browser did not run: no Chromium.")
    _pytest(tally, "long tests", folders, ["-m", "long", "-v", "-s", *extra])


def find_browser() -> str | None:
    """The path of a Chromium: $CHROMIUM, or one on the PATH."""
    chosen = os.environ.get("CHROMIUM")
    if chosen:
        return shutil.which(chosen)
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def install_browser(tally: Tally) -> str | None:
    """Debian's own, where this runs as root with apt-get; None if that cannot be or fails."""
    if os.environ.get("CHROMIUM") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    run(tally, "apt-get update", "apt-get", "update", "-q")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ("apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium")
    run(tally, "Chromium", *install)
    return find_browser()


@dataclass
class Step:
    """A piece of a part; those of a lane run one after the other."""

    part: str
    lane: int
    do: Callable[[Tally, list[str]], None]

    def __post_init__(self) -> None:
        self.log = RESULTS / f"{self.do.__name__}.log"
        self.tally = Tally()
        self.began = threading.Event()
        self.ended = threading.Event()

    def run(self, extra: list[str]) -> None:
        with self.log.open("w") as self.tally.out:
            self.began.set()
            try:
                self.do(self.tally, extra)
            except Exception:  # this file's own: the lane goes on, and it is no success
                traceback.print_exc(file=self.tally.out)
                self.tally.check(self.log.stem, 1)
        self.ended.set()

    def show(self) -> None:
        """Print its log, until it has ended."""
        self.began.wait()
        with self.log.open("rb") as log:
            while True:
                over = self.ended.wait(0.2)
                sys.stdout.buffer.write(log.read())
                sys.stdout.buffer.flush()
                if over:
                    return


STEPS = [
    Step("lint", 0, lint_python),
    Step("lint", 1, lint_front_end),
    Step("js", 1, js),
    Step("py", 0, py),
    Step("py", 1, py_beside),
    Step("ui", 1, ui),
    Step("long", 0, long),
]
PARTS = list(dict.fromkeys(step.part for step in STEPS))


def side_by_side(steps: list[Step], extra: list[str]) -> None:
    """Run the lanes, and print in the order of the steps."""

    def run_lane(lane: int) -> None:
        for step in steps:
            if step.lane == lane:
                step.run(extra)

    for lane in {step.lane for step in steps}:
        threading.Thread(target=run_lane, args=(lane,), daemon=True).start()
    for step in steps:
        step.show()


def compile_sources() -> None:
    """Where PYTHONDONTWRITEBYTECODE is set, each of the many processes would compile them anew, and a
    runtime would take twice as long to start."""
    for name in ("runtime", "kernel_ext", "labextension"):
        compileall.compile_dir(ROOT / name, quiet=2)


def main(arguments: list[str]) -> int:
    named = list(takewhile(PARTS.__contains__, arguments))
    extra = arguments[len(named) :]
    wanted = named or [part for part in PARTS if part != "long"]
    steps = [step for step in STEPS if step.part in wanted]
    RESULTS.mkdir(exist_ok=True)
    started = time.monotonic()
    compile_sources()
    if len({step.lane for step in steps}) == 1:
        for step in steps:
            step.do(step.tally, extra)
    else:
        side_by_side(steps, extra)
    tally = Tally()
    for step in steps:
        tally.add(step.tally)
    print()
    for note in tally.notes:
        print(note)
    if tally.broken:
        print("Failed: " + ", ".join(tally.broken))
    print(tally.closing_line(time.monotonic() - started), flush=True)
    return 1 if tally.broken or tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
