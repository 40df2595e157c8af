"""What no file of the project may hold, and what must agree between files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

import fanlight

from .tree import ROOT, project_files

# Spelled so that this file does not match itself.
FORBIDDEN = {
    "a package registry's host": re.compile(
        r"https?://[^\s\"'<>]*\b(?:py[p]i|pythonhoste[d]|npm[j]s|yarnpk[g]|regist[r]y)\b"
        r"|\"resolved\":\s*\"http|(?:extra-)?index[-]url"
    ),
    "a path of one machine": re.compile(
        r"(?<![\w.])/(?:hom[e]/\w|roo[t]/|Us[e]rs/\w|wor[k]/|far[m]/)"
    ),
    "unfinished work": re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b"),
}
BINARY = {".fanlight", ".png", ".svg", ".woff", ".woff2", ".ico", ".gif"}
LOCKS = {"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "bun.lockb"}


def test_no_file_names_a_registry_or_a_machine() -> None:
    found = []
    for path in project_files():
        if path.suffix in BINARY:
            continue
        text = (ROOT / path).read_text("utf-8")
        for what, pattern in FORBIDDEN.items():
            if match := pattern.search(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path}:{line}: {what}: {match.group()}")
    assert not found, "\n".join(found)


def test_yarn_lock_is_the_only_lock_file() -> None:
    locks = {str(p) for p in project_files() if p.suffix == ".lock" or p.name in LOCKS}
    assert locks == {"yarn.lock"}


def test_one_version_everywhere() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    released = re.search(r"^## \[?(\d[^\]\s]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert package["version"] == fanlight.__version__
    assert released is not None and released[1] == fanlight.__version__


def test_make_help_lists_every_job() -> None:
    makefile = (ROOT / "Makefile").read_text()
    jobs = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split()
    assert jobs
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make (\S+)  +\S", done.stdout, re.MULTILINE))
    assert listed == set(jobs) - {"env"}


def test_ci_entry_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^exec make test\b", script.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["fanlight", "fanlight.errors", "fanlight.events"])
def test_import_needs_three_packages_only(name: str) -> None:
    """`import fanlight` starts fast: nothing of Jupyter, Bokeh or NumPy is imported with it."""
    code = (
        f"import sys, {name}\n"
        "roots = {m.partition('.')[0] for m in sys.modules}\n"
        "heavy = roots & {'IPython', 'anywidget', 'asyncio', 'bokeh', 'dask', 'ipykernel',\n"
        "  'ipywidgets', 'jupyter_client', 'jupyter_core', 'jupyter_server', 'jupyterlab',\n"
        "  'matplotlib', 'numpy', 'pandas', 'pynvml', 'ray', 'tornado', 'traitlets'}\n"
        "print(' '.join(sorted(heavy)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
