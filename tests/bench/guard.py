"""The regression guard: what things cost in byte codes, messages, frames and bytes, against budgets.

    python -m tests.bench.guard             compare, and show every figure
    python -m tests.bench.guard --record    write the figures of this interpreter to budgets.json

None of it depends on the machine or its load. Byte codes depend on Python's version, so each version
has a record of its own; on a version without one, only the rest is compared. What happens in C costs
one byte code however long it takes: ``test_guard.py`` has ratios of times for that.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import workloads

BUDGETS = Path(__file__).with_name("budgets.json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
FEW, MANY = 50, 500  # how often each workload does its thing
ROOM = 1.10  # a figure may be this much above the recorded one
GROWTH = 1.10  # and that of MANY this much above that of FEW
# Workloads whose cost may grow with the number, and why; the figure for MANY still has a budget.
GROWS: dict[str, str] = {}

Figures = dict[str, float]


def measure(name: str) -> tuple[Figures, Figures]:
    """Figures per thing of one workload: with FEW of them, and with MANY."""
    found = []
    for n in (FEW, MANY):
        spent = workloads.WORKLOADS[name](n)
        figures = {"byte codes": spent.opcodes / spent.n, "messages": spent.messages / spent.n}
        if name.startswith("core_"):
            figures["frames"] = spent.frames / spent.n
        found.append({what: round(figure, 3) for what, figure in figures.items()})
    return found[0], found[1]


def recorded() -> dict[str, Any]:
    try:
        budgets: dict[str, Any] = json.loads(BUDGETS.read_text())
    except FileNotFoundError:
        budgets = {"byte codes": {}, "counts": {}, "message bytes": {}}
    return budgets


def budget_of(budgets: dict[str, Any], name: str, what: str) -> float | None:
    """The recorded figure; None for byte codes on a version of Python that has no record."""
    if what == "byte codes":
        of_version = budgets["byte codes"].get(PYTHON)
        return None if of_version is None else of_version.get(name, 0.0)
    return float(budgets["counts"].get(name, {}).get(what, 0.0))


def problems(name: str, few: Figures, many: Figures, budgets: dict[str, Any]) -> list[str]:
    """What is above its budget, or grows with the number of things, in sentences."""
    found = []
    for what, figure in many.items():
        budget = budget_of(budgets, name, what)
        if budget is not None and figure > budget * ROOM + 0.01:
            found.append(
                f"{name}: {figure:,.6g} {what} each; {budget:,.6g} are recorded "
                f"({figure / budget - 1:+.0%})."
                if budget
                else f"{name}: {figure:,.6g} {what} each, and nothing is recorded."
            )
        if figure > few[what] * GROWTH + 0.01 and name not in GROWS:
            found.append(
                f"{name}: {few[what]:,.6g} {what} each when there are {FEW}, {figure:,.6g} when "
                f"there are {MANY}: the cost grows with their number."
            )
    return found


def bytes_problems(budgets: dict[str, Any]) -> list[str]:
    return [
        f"The message {name} of a small task has {size} bytes; recorded are {budget}."
        for name, size in workloads.message_bytes().items()
        if size > (budget := budgets["message bytes"].get(name, 0)) * ROOM
    ]


ADVICE = (
    "If the cost is meant, record it: python -m tests.bench.guard --record, and say in the commit "
    "what it buys."
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the figures to budgets.json")
    parser.add_argument("names", nargs="*", help="only these workloads")
    options = parser.parse_args(argv)
    budgets = recorded()
    found = [] if options.record else bytes_problems(budgets)
    for name in options.names or workloads.WORKLOADS:
        few, many = measure(name)
        before = {what: budget_of(budgets, name, what) for what in many}
        print(
            f"{name:26}",
            "  ".join(
                f"{figure:>9,.6g} {what}"
                + (f" ({figure / budget - 1:+.1%})" if (budget := before[what]) else "")
                for what, figure in many.items()
            ),
            flush=True,
        )
        if options.record:
            budgets["byte codes"].setdefault(PYTHON, {})[name] = many.pop("byte codes")
            budgets["counts"][name] = many
        else:
            found += problems(name, few, many, budgets)
    if options.record:
        if not options.names:  # what is not measured any more goes
            known = workloads.WORKLOADS
            for record in (budgets["byte codes"][PYTHON], budgets["counts"]):
                for name in set(record) - set(known):
                    del record[name]
        budgets["message bytes"] = workloads.message_bytes()
        BUDGETS.write_text(json.dumps(budgets, indent=1, sort_keys=True) + "\n")
    print(*found, ADVICE if found else "", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
