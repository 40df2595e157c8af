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
    curves = {curve.key: curve for curve in rows.CURVES}
    keys = ",".join([*rows.BY_KEY, *curves])
    parser.add_argument("--quick", action="store_true", help="one short round, a few minutes")
    parser.add_argument(
        "--full",
        action="store_true",
        help="also what takes long: a million tasks in the queue, 1,000 actors, 8 GB, ...",
    )
    parser.add_argument("--rows", metavar="A,B", help=f"only these rows and curves, of {keys}")
    parser.add_argument("--peers", metavar="A,B", help=f"only these peers, of {names}")
    parser.add_argument("--rounds", type=int, help="default 3; 1 with --quick")
    parser.add_argument("--cpus", type=int, default=2, help="workers of each peer, default 2")
    parser.add_argument(
        "--set", metavar="A=1,B=2", default="", help="change settings, e.g. actors=50,huge_gb=2"
    )
    parser.add_argument("--no-install", action="store_true", help="leave out what is not there")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument("--out", type=Path, default=peers.ROOT / "bench-results", metavar="FOLDER")
    options = parser.parse_args(argv)
    for given, known, what in (
        (options.rows, {**rows.BY_KEY, **curves}, "row"),
        (options.peers, peers.BY_NAME, "peer"),
    ):
        for name in (given or "").split(","):
            if name and name not in known:
                parser.error(f"unknown {what} {name!r}; known: {', '.join(known)}")
    for item in filter(None, options.set.split(",")):
        if item.partition("=")[0] not in runner.Plan([], 1, 1, True).settings:
            parser.error(f"unknown setting {item!r}")
    return options


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)

    def is_chosen(row: rows.Row | rows.Curve) -> bool:
        if options.rows:
            return row.key in options.rows.split(",")
        return options.full or not row.full_only

    chosen_rows = [row for row in rows.ROWS if is_chosen(row)]
    curves = [curve for curve in rows.CURVES if is_chosen(curve)]
    wanted = options.peers.split(",") if options.peers else list(peers.BY_NAME)
    chosen = [peer for peer in peers.PEERS if peer.name in wanted]
    left_out = {}
    for peer in chosen:
        reason = peers.prepare(peer, not options.no_install, say)
        if reason:
            left_out[peer.name] = reason
            say(f"{peer.title} is left out: {reason}")
    plan = runner.Plan(
        [*chosen_rows, *curves],
        options.cpus,
        options.rounds or (1 if options.quick else 3),
        options.quick,
        options.full,
    )
    for item in filter(None, options.set.split(",")):
        name, _, number = item.partition("=")
        plan.settings[name] = type(plan.settings[name])(number)
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
        "curves": results.curves(curves, chosen, samples),
        "leftovers": samples.get("leftovers", {}),
    }
    from . import curves as drawing
    from .page import page

    table = results.markdown(found) + drawing.markdown(found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(found, indent=1))
    (options.out / "table.md").write_text(table)
    summary = results.summary(found)
    (options.out / "summary.md").write_text(summary)
    (options.out / "bench.html").write_text(page(found))
    print(table)
    print(summary)
    missed = results.missed(found)
    for line in missed:
        print(f"missed: {line}")
    say(f"written: {options.out}/results.json, table.md, summary.md, bench.html")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
