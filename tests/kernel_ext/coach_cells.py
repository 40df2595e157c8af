"""For each rule of the coach a small notebook that shows it, and one that must not: a near miss.

Every cell is short; the limits of a case are lowered so far that it shows its point all the same. No
case depends on how quick the machine is: what has to overlap waits for a file, and what is measured
lies far on its side of the limit.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    rule: str
    evidence: str  # a pattern that the hint matches
    where: str  # line, and code on it
    shows: str
    near: str
    limits: dict[str, Any]


PRELUDE = """\
import os, time
import numpy as np
import fanlight

@fanlight.remote
def nap(seconds, *rest):
    time.sleep(seconds)
    return seconds

@fanlight.remote
def use(value, *rest):
    return 1

@fanlight.remote
def gated(path, value):
    while not os.path.exists(path):
        time.sleep(0.01)

data = np.zeros(2_000_000)
total = 0
"""

CASES = [
    Case(
        "get-in-loop",
        r"6 calls waited .* in turn; together they would have taken about",
        "line 3: found.append(fanlight.get(nap.remote(0.1)))",
        "found = []\nfor i in range(6):\n    found.append(fanlight.get(nap.remote(0.1)))",
        "x = 0.1\nfor i in range(6):\n    x = fanlight.get(nap.remote(x))",
        {"seconds": 0.08},
    ),
    Case(
        "early-get",
        r"5 gets waited .* for values that were only passed on to use \(line 4\)",
        "line 3: value = fanlight.get(nap.remote(0.1))",
        "refs = []\nfor i in range(5):\n    value = fanlight.get(nap.remote(0.1))\n"
        "    refs.append(use.remote(value))",
        "refs = []\nfor i in range(5):\n    value = nap.remote(0.1)\n"
        "    refs.append(use.remote(value))\nv = fanlight.get(refs)",
        {"seconds": 0.05},
    ),
    Case(
        "tiny-tasks",
        r"6000 tasks of use ran for .* each\); submitting and fetching them took",
        "line 1: refs = [use.remote(i) for i in range(6000)]",
        "refs = [use.remote(i) for i in range(6000)]\nv = fanlight.get(refs)",
        "refs = [use.remote(i) for i in range(150)]\nv = fanlight.get(refs)",
        # A run that lost its CPU for a moment counts with that: these are quick cells.
        {"seconds": 0.001, "tiny_lost": 0.01, "tiny_run": 10.0},
    ),
    Case(
        "same-large-value",
        r"`data` \(an ndarray, 16.0 MB\) was sent with 5 calls: 80.0 MB were copied",
        "line 1: refs = [use.remote(data, i) for i in range(5)]",
        "refs = [use.remote(data, i) for i in range(5)]\nv = fanlight.get(refs)",
        "ref = fanlight.put(data)\nrefs = [use.remote(ref, i) for i in range(5)]\n"
        "refs += [use.remote(data + i, i) for i in range(3)]\nv = fanlight.get(refs)",
        {"sent_bytes": 50_000_000},
    ),
    Case(
        "large-closure",
        r"first is 2.4 MB pickled, since it captures `table` \(2.4 MB\)",
        "line 5: v = fanlight.get(first.remote(1))",
        "table = np.zeros(300_000)\n@fanlight.remote\ndef first(i):\n    return table[i]\n"
        "v = fanlight.get(first.remote(1))",
        "table = np.zeros(300_000)\n@fanlight.remote\ndef first(t, i):\n    return t[i]\n"
        "v = fanlight.get(first.remote(table, 1))",
        {"captured_bytes": 1_000_000},
    ),
    Case(
        "unbounded-submission",
        r"\d+ calls of gated waited at once where 2 run: their arguments held",
        "line 1: refs = [gated.remote('gate', np.full(100_000, i)) for i in range(14)]",
        "refs = [gated.remote('gate', np.full(100_000, i)) for i in range(14)]\n"
        "open('gate', 'w').close()\nv = fanlight.get(refs)\nos.remove('gate')",
        "open('gate', 'w').close()\nrefs = []\nfor i in range(14):\n    if len(refs) >= 3:\n"
        "        ready, refs = fanlight.wait(refs)\n"
        "    refs.append(gated.remote('gate', np.full(100_000, i)))\n"
        "v = fanlight.get(refs)\nos.remove('gate')",
        {"pending": 4, "pending_bytes": 1e-6},
    ),
    Case(
        "submission-order",
        r"6 results fetched in the order of submission: for .* the notebook waited",
        "line 3: v = fanlight.get(ref)",
        "refs = [nap.remote(s) for s in (1.2, 0.01, 0.01, 0.01, 0.01, 0.01)]\nfor ref in refs:\n"
        "    v = fanlight.get(ref)\n    time.sleep(0.1)",
        "refs = [nap.remote(s) for s in (1.2, 0.01, 0.01, 0.01, 0.01, 0.01)]\nwhile refs:\n"
        "    ready, refs = fanlight.wait(refs)\n    v = fanlight.get(ready[0])\n    time.sleep(0.1)",
        {"seconds": 0.15},
    ),
    Case(
        "nested-get",
        r"\d+ tasks of tree were running at once on 2 CPUs: at least \d+ of these",
        "line 6: return sum(fanlight.get([tree.remote(depth - 1) for _ in range(2)]))",
        "@fanlight.remote\ndef tree(depth):\n    if not depth:\n        time.sleep(0.3)\n"
        "        return 1\n    return sum(fanlight.get([tree.remote(depth - 1) for _ in range(2)]))\n"
        "v = fanlight.get(tree.remote(3))",
        "@fanlight.remote\ndef outer(n):\n"
        "    return sum(fanlight.get([nap.remote(0.01) for _ in range(n)]))\n"
        "v = fanlight.get(outer.remote(8))",
        {"nested": 2, "seconds": 0.05},
    ),
    Case(
        "idle-tasks",
        r"\d+ tasks of nap ran for .* and used less than a tenth of their CPU time",
        "line 1: refs = [nap.remote(0.25) for i in range(20)]",
        "refs = [nap.remote(0.25) for i in range(20)]\nv = fanlight.get(refs)",
        "refs = [nap.remote(0.1) for i in range(3)]\nv = fanlight.get(refs)",
        {"idle_seconds": 1.0, "idle_tasks": 2},
    ),
    Case(
        "returned-put",
        r"made returns what it `put`: 1 call gave a ref to a ref",
        "line 3: return fanlight.put(7)",
        "@fanlight.remote\ndef made():\n    return fanlight.put(7)\n"
        "v = fanlight.get(fanlight.get(made.remote()))",
        "@fanlight.remote\ndef made():\n    return use.remote(7)\n"
        "v = fanlight.get(fanlight.get(made.remote()))",
        {},
    ),
    Case(
        "global-state",
        r"add assigns the global `total`, in 4 calls that ran in .* line 8 reads the notebook's own",
        "line 5: total += x",
        "total = 0\n@fanlight.remote\ndef add(x):\n    global total\n    total += x\n"
        "    time.sleep(0.05)\nv = fanlight.get([add.remote(i) for i in range(4)])\nprint(total)",
        "total = 0\n@fanlight.remote\ndef add(x):\n    time.sleep(0.05)\n    return total + x\n"
        "v = fanlight.get([add.remote(i) for i in range(4)])\nprint(total)",
        {},
    ),
    Case(
        "redefined",
        r"again was defined 12 times by the same lines",
        "line 4: def again(x):",
        "refs = []\nfor i in range(12):\n    @fanlight.remote\n    def again(x):\n        return x\n"
        "    refs.append(again.remote(i))\nv = fanlight.get(refs)",
        "refs = []\nfor i in range(12):\n    refs.append(use.options(num_cpus=1).remote(i))\n"
        "v = fanlight.get(refs)",
        {"definitions": 10},
    ),
    Case(
        "polling",
        r"\d+ calls, of which \d+ found nothing, kept the notebook's CPU busy",
        "line 3: ready, rest = fanlight.wait(refs, timeout=0)",
        "refs = [nap.remote(0.5)]\nwhile True:\n    ready, rest = fanlight.wait(refs, timeout=0)\n"
        "    if ready:\n        break",
        "refs = [nap.remote(0.5)]\nwhile True:\n    ready, rest = fanlight.wait(refs, timeout=0)\n"
        "    if ready:\n        break\n    time.sleep(0.01)",
        {"polls": 20, "seconds": 0.02},
    ),
]  # fmt: skip
