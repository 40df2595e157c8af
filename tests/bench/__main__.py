"""``python -m tests.bench``: measure, print the table, write JSON, Markdown and a page."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from . import peers, results, rows, runner


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = ",".join(peers.BY_NAME)
    keys = ",".join(rows.BY_KEY)
    parser.add_argument("--quick", action="store_true", help="one short round, under two minutes")
    parser.add_argument("--full", action="store_true", help="also 1,000,000 queued tasks")
    parser.add_argument("--rows", metavar="A,B", help=f"only these rows, of {keys}")
    parser.add_argument("--peers", metavar="A,B", help=f"only these peers, of {names}")
    parser.add_argument("--rounds", type=int, help="default 3; 1 with --quick")
    parser.add_argument("--cpus", type=int, default=2, help="workers of each peer, default 2")
    parser.add_argument("--no-install", action="store_true", help="leave out what is not there")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument("--out", type=Path, default=peers.ROOT / "bench-results", metavar="FOLDER")
    options = parser.parse_args(argv)
    for given, known, what in (
        (options.rows, rows.BY_KEY, "row"),
        (options.peers, peers.BY_NAME, "peer"),
    ):
        for name in (given or "").split(","):
            if name and name not in known:
                parser.error(f"unknown {what} {name!r}; known: {', '.join(known)}")
    return options


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    chosen_rows = [
        row
        for row in rows.ROWS
        if (
            row.key in options.rows.split(",")
            if options.rows
            else options.full or not row.full_only
        )
    ]
    wanted = options.peers.split(",") if options.peers else list(peers.BY_NAME)
    chosen = [peer for peer in peers.PEERS if peer.name in wanted]
    left_out = {}
    for peer in chosen:
        reason = peers.prepare(peer, not options.no_install, say)
        if reason:
            left_out[peer.name] = reason
            say(f"{peer.title} is left out: {reason}")
    plan = runner.Plan(
        chosen_rows, options.cpus, options.rounds or (1 if options.quick else 3), options.quick
    )
    facts = results.machine()
    begin = time.monotonic()
    present = [peer for peer in chosen if peer.name not in left_out]
    samples, versions = runner.run(plan, present, say)
    found: dict[str, Any] = {
        "version": results.VERSION,
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "took": time.monotonic() - begin,
        "machine": facts,
        "load_after": round(os.getloadavg()[0], 2),
        "settings": {
            **plan.settings,
            "cpus": plan.cpus,
            "rounds": plan.rounds,
            "quick": plan.quick,
        },
        "peers": {
            peer.name: {"title": peer.title, "version": versions.get(peer.name, "")}
            | ({"note": left_out[peer.name]} if peer.name in left_out else {})
            for peer in chosen
        },
        "rows": results.collect(chosen_rows, chosen, samples, left_out),
        "leftovers": samples.get("leftovers", {}),
    }
    table = results.markdown(found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(found, indent=1))
    (options.out / "table.md").write_text(table)
    from .page import page

    (options.out / "bench.html").write_text(page(found))
    print(table)
    missed = results.missed(found)
    for line in missed:
        print(f"missed: {line}")
    say(f"written: {options.out}/results.json, table.md, bench.html")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
