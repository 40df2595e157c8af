"""From answers to results: medians, ratios, goals; as JSON and as a Markdown table."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .peers import BY_NAME, Peer
from .rows import OWN, Curve, Goal, Row
from .runner import Samples

VERSION = 1


def machine() -> dict[str, Any]:
    """Facts that the figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        memory = 0.0
    model = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cores": cores,
        "memory_gib": round(memory, 1),
        "processor": model,
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "load_before": [round(x, 2) for x in os.getloadavg()],
    }


def collect(
    rows: Sequence[Row], peers: Sequence[Peer], samples: Samples, left_out: dict[str, str]
) -> list[dict[str, Any]]:
    """One dict per row: values, ratios (how many times better Fanlight is) and goals."""
    return [_row(row, peers, samples.get(row.asks, {}), left_out) for row in rows]


def _row(
    row: Row, peers: Sequence[Peer], answers: dict[str, list[dict[str, Any]]], left_out: dict
) -> dict[str, Any]:
    values: dict[str, dict[str, Any]] = {}
    for peer in peers:
        if peer.name in left_out:
            continue
        got = answers.get(peer.name, [])
        numbers = [float(a[row.value]) for a in got if row.value in a]
        entry: dict[str, Any] = {"samples": numbers, "answers": got}
        if numbers:
            entry["median"] = statistics.median(numbers)
        else:
            for kind in ("skipped", "error"):
                if text := next((a[kind] for a in got if kind in a), ""):
                    entry[kind] = text
        values[peer.name] = entry
    own = values.get(OWN, {})
    ratios = {}
    if "median" in own:
        for name, entry in values.items():
            if name != OWN and entry.get("median"):  # no ratio to nothing
                ratios[name] = better(row, own["median"], entry["median"])
        shares = [a["value"] / a["memcpy"] for a in own["answers"] if a.get("memcpy")]
        if shares:
            ratios["memcpy"] = statistics.median(shares)
    return {
        "key": row.key,
        "title": _title(row, values),
        "unit": row.unit,
        "lower_is_better": row.lower_is_better,
        "values": values,
        "ratios": ratios,
        "goals": [_goal(row, goal, own.get("median"), ratios) for goal in row.goals],
    }


def _title(row: Row, values: dict[str, dict[str, Any]]) -> str:
    """With the ``n`` of the answers, Fanlight's first; a peer with another one is named."""
    if "{n}" not in row.title:
        return row.title
    found = {
        name: next((a["n"] for a in entry["answers"] if "n" in a), None)
        for name, entry in values.items()
    }
    known = {name: n for name, n in found.items() if n is not None}
    if not known:
        return row.title.format(n="n")
    usual = known.get(OWN, next(iter(known.values())))
    others = [
        f"{BY_NAME[name].title if name in BY_NAME else name}: {n:,}"
        for name, n in known.items()
        if n != usual
    ]
    return row.title.format(n=f"{usual:,}") + (f" ({', '.join(others)})" if others else "")


def curves(
    chosen: Sequence[Curve], peers: Sequence[Peer], samples: Samples
) -> list[dict[str, Any]]:
    """One dict per curve: the points of each peer, and what is said of those that have none."""
    found = []
    for curve in chosen:
        answers = samples.get(curve.key, {})
        first = {peer.name: answers[peer.name][0] for peer in peers if answers.get(peer.name)}
        found.append(
            {
                "key": curve.key,
                "title": curve.title,
                "x": curve.x,
                "y": curve.y,
                "unit": curve.unit,
                "points": {name: a["points"] for name, a in first.items() if "points" in a},
                "ideal": next((a["ideal"] for a in first.values() if "ideal" in a), []),
                "errors": {name: a["error"] for name, a in first.items() if "error" in a},
            }
        )
    return found


def better(row: Row, own: float, other: float) -> float:
    """How many times better ``own`` is than ``other``."""
    over, under = (other, own) if row.lower_is_better else (own, other)
    return over / under if under else float("inf")


def _goal(row: Row, goal: Goal, own: float | None, ratios: dict[str, float]) -> dict[str, Any]:
    """``margin``: reached over asked for; 1 and above is reached; None when not measured."""
    if goal.against:
        text = f"{goal.factor:g}× {goal.against}"
        ratio = ratios.get(goal.against)
        margin = None if ratio is None else ratio / goal.factor
    else:
        text = f"{'≤' if row.lower_is_better else '≥'} {show(goal.factor, row.unit)}"
        margin = None if own is None else better(row, own, goal.factor)
    return {
        "text": text,
        "against": goal.against,
        "factor": goal.factor,
        "later": goal.later,
        "margin": margin,
        "reached": None if margin is None else margin >= 1,
    }


def show(value: float, unit: str) -> str:
    """A figure with its unit: three digits that count of what was measured, all of an integer."""
    if isinstance(value, int):
        text = f"{value:,}"
    elif value >= 1000:
        text = f"{float(f'{value:.3g}'):,.0f}"
    else:
        text = f"{value:.3g}"
    return f"{text}{unit}" if unit.startswith("/") or not unit else f"{text} {unit}"


def missed(results: dict[str, Any]) -> list[str]:
    """The goals that were measured and not reached, those for later left out."""
    return [
        f"{row['title']}: {goal['text']} (at {goal['margin']:.2f} of it)"
        for row in results["rows"]
        for goal in row["goals"]
        if goal["reached"] is False and not goal["later"]
    ]


def markdown(results: dict[str, Any]) -> str:
    """The table, with Fanlight's ratio to each peer in brackets."""
    names = [name for name in results["peers"] if "note" not in results["peers"][name]]
    head = [results["peers"][n]["title"] + _version(results["peers"][n]) for n in names]
    lines = [
        "| what | " + " | ".join(head) + " | goals |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in results["rows"]:
        cells = [_cell(row, name) for name in names]
        goals = "<br>".join(_goal_text(goal) for goal in row["goals"]) or "–"
        lines.append(f"| {row['title']} | " + " | ".join(cells) + f" | {goals} |")
    facts = results["machine"]
    plan = results["settings"]
    lines += [
        "",
        (
            f"{facts['cores']} cores, {facts['memory_gib']} GiB, {facts['processor']}, "
            f"{facts['system']}, Python {facts['python']}; {plan['cpus']} workers each; "
            f"median of {plan['rounds']} round(s), peers in turn; {results['when']}; "
            f"took {results['took']:.0f} s; load before {facts['load_before'][0]}, at the end "
            f"{results['load_after']}."
        ),
        "In brackets: how many times better Fanlight is than this peer in the same run.",
    ]
    for name, peer in results["peers"].items():
        if "note" in peer:
            lines.append(f"{peer['title']} was left out: {peer['note']}.")
        for row in results["rows"]:
            if error := row["values"].get(name, {}).get("error"):
                lines.append(f"{row['title']}, {peer['title']}: {error}.")
    return "\n".join(lines) + "\n"


def summary(results: dict[str, Any]) -> str:
    """Fanlight, its ratio to Ray, and to the best of the others: the table of ``DESIGN.md``."""
    ray = results["peers"].get("ray", {})
    lines = [
        f"| what | Fanlight | beside Ray{_version(ray)} | beside the best of the others | goal |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        own = row["values"].get(OWN, {})
        figure = show(own["median"], row["unit"]) if "median" in own else _cell(row, OWN)
        ratios = dict(row["ratios"])
        beside_ray = f"{show(ratios.pop('ray'), '')}×" if "ray" in ratios else ""
        ratios.pop("raw", None)
        share = ratios.pop("memcpy", None)
        others = [(ratio, name) for name, ratio in ratios.items()]
        best = f"{share:.2f} of memcpy" if share else ""
        if others:
            ratio, name = min(others)
            best = f"{show(ratio, '')}× {results['peers'][name]['title']}"
        goals = ", ".join(_goal_text(goal) for goal in row["goals"])
        lines.append(f"| {row['title']} | {figure} | {beside_ray} | {best} | {goals} |")
    return "\n".join(lines) + "\n"


def _version(peer: dict[str, Any]) -> str:
    version = peer.get("version", "")
    return f" {version}" if version[:1].isdigit() else ""


def _cell(row: dict[str, Any], name: str) -> str:
    entry = row["values"].get(name, {})
    if "median" not in entry:
        return "failed" if "error" in entry else "–"
    text = show(entry["median"], row["unit"])
    ratio = row["ratios"].get(name)
    if name == OWN:
        share = row["ratios"].get("memcpy")
        return f"**{text}**" + (f" ({share:.2f} of memcpy)" if share else "")
    return f"{text} ({show(ratio, '')}×)" if ratio else text


def _goal_text(goal: dict[str, Any]) -> str:
    mark = {True: "✓", False: "✗", None: "?"}[goal["reached"]]
    if goal["later"]:
        return f"later {goal['text']}{' ✓' if goal['reached'] else ''}"
    return f"{mark} {goal['text']}"
