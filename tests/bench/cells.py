"""``python -m tests.bench.cells``: a ``%%remote`` cell beside ipyparallel's ``%%px``, in one run.

Both take turns, round by round; only the ratios are compared. ipyparallel is installed into
``.peers/ipyparallel`` by the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from .peers import ROOT, SUBJECTS, Peer, environment, prepare

PEERS = (
    Peer("fanlight", "Fanlight %%remote", "cells.py"),
    Peer("ipyparallel", "ipyparallel %%px", "cells.py", (), ("ipyparallel", "numpy")),
)
ROWS = (
    ("plain", "a plain empty cell"),
    ("empty", "an empty cell elsewhere"),
    ("value", "a cell that reads a number and assigns one"),
    ("array", "a cell that reads an unchanged array"),
)
GOAL = 10.0  # ms that an empty %%remote cell may take longer than a plain one
CAP = 300.0


def measure(peer: Peer, seconds: float, megabytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="flc-", dir="/tmp") as temp:
        env = environment(peer, "cells", temp)
        if peer.name == "fanlight":
            env["PYTHONPATH"] = os.pathsep.join(str(ROOT / p) for p in ("runtime", "kernel_ext"))
        env["IPYTHONDIR"] = temp
        what = (peer.name, str(seconds), str(megabytes))
        done = subprocess.run(
            [str(peer.python()), str(SUBJECTS / peer.script), *what],
            env=env,
            cwd=temp,
            capture_output=True,
            text=True,
            timeout=CAP,
        )
    if done.returncode:
        raise RuntimeError(f"{peer.title} failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def table(samples: dict[str, list[dict[str, Any]]], megabytes: int) -> str:
    """Medians of the rounds, in ms, and how many times faster Fanlight is."""

    def median(name: str, key: str) -> float:
        return statistics.median(sample[key] for sample in samples[name])

    lines = [
        f"| ms | {' | '.join(p.title for p in PEERS if p.name in samples)} | times faster |",
        "|---|" + "---:|" * (len(samples) + 1),
    ]
    for key, title in ROWS:
        row = [median(name, key) for name in samples]
        ratio = f"{row[1] / row[0]:.1f}" if len(row) > 1 else ""
        size = f" of {megabytes} MB" if key == "array" else ""
        lines.append(f"| {title}{size} | {' | '.join(f'{v:.2f}' for v in row)} | {ratio} |")
    extra = median("fanlight", "empty") - median("fanlight", "plain")
    lines += ["", f"An empty %%remote cell takes {extra:.1f} ms more than a plain one."]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cells", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--megabytes", type=int, default=256, help="of the array")
    parser.add_argument("--no-install", action="store_true", help="leave out what is not there")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args(argv)
    samples: dict[str, list[dict[str, Any]]] = {}
    present = []
    for peer in PEERS:
        reason = prepare(peer, not options.no_install, lambda text: print(text, file=sys.stderr))
        if reason:
            print(f"{peer.title} is left out: {reason}", file=sys.stderr)
        else:
            present.append(peer)
    for _ in range(options.rounds):
        for peer in present:
            samples.setdefault(peer.name, []).append(
                measure(peer, options.seconds, options.megabytes)
            )
    print(table(samples, options.megabytes))
    if not options.check:
        return 0
    empty = {n: statistics.median(s["empty"] for s in found) for n, found in samples.items()}
    plain = statistics.median(sample["plain"] for sample in samples["fanlight"])
    faster = empty["fanlight"] < empty.get("ipyparallel", float("inf"))
    return 0 if faster and empty["fanlight"] - plain <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
