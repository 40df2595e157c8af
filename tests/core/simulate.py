"""Random histories of the core, by hand: ``python -m tests.core.simulate --steps 1000000 --seed 1``.

With ``--go-on`` it does not stop at the first fault, and lists each kind of fault once.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

from fanlight.testing import histories


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--length", type=int, default=histories.LENGTH, help="actions a history")
    parser.add_argument("--go-on", action="store_true")
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args()
    seeds = itertools.count(options.seed)
    found: dict[str, list[histories.Failure]] = {}
    started, done, count = time.process_time(), 0, 0
    while done < options.steps:
        steps, number, failure = histories.run(seeds, options.steps - done, options.length)
        done, count = done + steps, count + number
        if failure is not None:
            found.setdefault(failure.kind, []).append(failure)
            if not options.go_on:
                break
    seconds = time.process_time() - started
    for kind, failures in sorted(found.items(), key=lambda x: -len(x[1])):
        print(f"{len(failures)} × {kind}   (seeds {[f.seed for f in failures[:5]]})")
    if found and not options.no_shrink:
        print(histories.shrink(next(iter(found.values()))[0]))
    print(f"{done:,} steps in {count} histories, {seconds:.1f} s, {done / seconds:,.0f} steps/s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
