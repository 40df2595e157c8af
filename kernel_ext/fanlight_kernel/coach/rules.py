"""The table of rules: what each hint is called, why it matters, and how the code is mended.

Hints in the notebook and ``docs/coach.md`` are made from it. Ray's documentation describes the same
anti-patterns; the words and the examples here are our own.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    key: str
    title: str
    why: str  # what it costs
    seen: str  # from what it is told
    wrong: str
    right: str


RULES: dict[str, Rule] = {
    rule.key: rule
    for rule in (
        Rule(
            "get-in-loop",
            "`get` in a loop",
            "Each `get` waits for its own task before the next one is even submitted, so that only "
            "one of them runs at a time.",
            "The gets waited for calls that were submitted one by one, no call needs what an "
            "earlier one returned, and the measured run times would fit side by side on the CPUs.",
            "results = []\nfor x in data:\n    results.append(ray.get(work.remote(x)))",
            "refs = [work.remote(x) for x in data]\nresults = ray.get(refs)",
        ),
        Rule(
            "early-get",
            "`get` too early",
            "A value that goes only into another task need not come to the notebook: the notebook "
            "waits for it, and sends it away again. A ref can be passed instead.",
            "All that was fetched went into `remote()` calls and nowhere else, and the wait, or the "
            "bytes that were sent on, were measured.",
            "part = ray.get(load.remote(path))\nresult = ray.get(work.remote(part))",
            "part = load.remote(path)  # a ref\nresult = ray.get(work.remote(part))",
        ),
        Rule(
            "tiny-tasks",
            "tiny tasks",
            "A task costs a few dozen microseconds to send, run and fetch. When it does less than "
            "that, the notebook alone is quicker.",
            "Hundreds of tasks ran shorter than a millisecond, and submitting and fetching them took "
            "the cell many times longer than their own run time.",
            "refs = [add_one.remote(x) for x in data]",
            "@ray.remote\n"
            "def add_one_to_all(batch):\n"
            "    return [x + 1 for x in batch]\n"
            "\n"
            "\n"
            "refs = [add_one_to_all.remote(data[i : i + 1000]) for i in range(0, len(data), 1000)]",
        ),
        Rule(
            "same-large-value",
            "the same large value sent again and again",
            "A large argument is copied into the object store by every call that gets it.",
            "Calls were given the very same value, unchanged, and the bytes of each copy are known.",
            "refs = [work.remote(data, i) for i in range(100)]",
            "data_ref = ray.put(data)  # once\n"
            "refs = [work.remote(data_ref, i) for i in range(100)]",
        ),
        Rule(
            "large-closure",
            "a function that captures a large value",
            "What a remote function uses of the notebook travels with its definition: it is pickled "
            "with the function and copied into every worker process.",
            "The size of the pickled function, and the size of the variable that makes it large.",
            "@ray.remote\ndef work(i):\n    return data[i].sum()  # data is captured",
            "@ray.remote\n"
            "def work(data, i):\n"
            "    return data[i].sum()\n"
            "\n"
            "\n"
            "data_ref = ray.put(data)\n"
            "refs = [work.remote(data_ref, i) for i in range(100)]",
        ),
        Rule(
            "unbounded-submission",
            "more is submitted than can run",
            "Calls that wait hold their arguments, and finished ones their results. When many more "
            "are submitted than can run, memory fills with them.",
            "The largest number of calls that waited at once, and the bytes of large arguments that "
            "they held, or objects that had to go to disk.",
            "refs = [work.remote(load(p)) for p in paths]",
            "pending, results = [], []\nfor p in paths:\n    if len(pending) >= 8:\n"
            "        ready, pending = ray.wait(pending)\n        results += ray.get(ready)\n"
            "    pending.append(work.remote(load(p)))\nresults += ray.get(pending)",
        ),
        Rule(
            "submission-order",
            "results fetched in the order of submission",
            "While the notebook waits for a slow task, quicker ones are done already and could be "
            "processed.",
            "From when each task ended, and how long the notebook worked on each result, follows how "
            "long it would have taken in the order in which they ended.",
            "for ref in refs:\n    process(ray.get(ref))",
            "while refs:\n    ready, refs = ray.wait(refs)\n    process(ray.get(ready[0]))\n\n"
            "# or: for result in fanlight.as_completed(refs): ...",
        ),
        Rule(
            "nested-get",
            "tasks that wait for tasks",
            "A task that waits in `get` gives its CPU back, but keeps its process and its memory. "
            "With many of them, most processes only wait.",
            "More calls of the function ran at once than there are CPUs for them, which is possible "
            "only while the others wait in `get`.",
            "@ray.remote\ndef outer(part):\n    return sum(ray.get([inner.remote(x) for x in part]))",
            "refs = [inner.remote(x) for part in parts for x in part]\n"
            "results = ray.get(refs)  # one level: nobody waits\n"
            "\n"
            "# in a recursion: call the plain function below a certain size",
        ),
        Rule(
            "idle-tasks",
            "tasks that hold a CPU and do not use it",
            "A task that sleeps, or waits for a network or a disk, holds its CPU all the same, and "
            "others wait behind it.",
            "The tasks' processes used hardly any CPU time while they ran, and calls were waiting.",
            "@ray.remote\ndef fetch(url):\n    return requests.get(url).text",
            "@ray.remote(num_cpus=0.1)  # ten at a time on each CPU\n"
            "def fetch(url):\n"
            "    return requests.get(url).text\n"
            "\n"
            "\n"
            "# or an actor with async methods, which has many calls open at once",
        ),
        Rule(
            "returned-put",
            "a task that returns `put(x)`",
            "The result is a ref to a ref: it takes two gets, and small values cannot travel with "
            "the answer. What a task returns is stored anyway.",
            "The function's code, and a fetched result that was a ref.",
            "@ray.remote\ndef work():\n    return ray.put(compute())",
            "@ray.remote\ndef work():\n    return compute()",
        ),
        Rule(
            "global-state",
            "a global changed in a task",
            "Each worker process has its own copy of the notebook's variables. What a task changes "
            "is not seen here, nor by other tasks, unless they happen to run in the same process.",
            "The function's code changes a variable of the notebook, it ran in other processes, and "
            "the notebook reads that variable afterwards.",
            "total = 0\n"
            "\n"
            "\n"
            "@ray.remote\n"
            "def add(x):\n"
            "    global total\n"
            "    total += x\n"
            "\n"
            "\n"
            "ray.get([add.remote(x) for x in data])\n"
            "print(total)  # 0",
            "@ray.remote\n"
            "class Total:\n"
            "    def __init__(self):\n"
            "        self.value = 0\n"
            "\n"
            "    def add(self, x):\n"
            "        self.value += x\n"
            "        return self.value\n"
            "\n"
            "\n"
            "total = Total.remote()\n"
            "ray.get([total.add.remote(x) for x in data])",
        ),
        Rule(
            "redefined",
            "a remote function defined again and again",
            "Each definition is pickled and sent to the workers anew, though it is the same code.",
            "The same lines made many remote functions, and each was pickled.",
            "for x in data:\n"
            "\n"
            "    @ray.remote\n"
            "    def work(v):\n"
            "        return v + 1\n"
            "\n"
            "    refs.append(work.remote(x))",
            "@ray.remote\n"
            "def work(v):\n"
            "    return v + 1\n"
            "\n"
            "\n"
            "refs = [work.remote(x) for x in data]",
        ),
        Rule(
            "polling",
            "`wait` in a tight loop",
            "`wait` with a time-out of nothing returns at once; in a loop it keeps a CPU busy that "
            "the tasks could use.",
            "Hundreds of waits in one place that returned nothing, with nothing done between them.",
            "while True:\n    ready, refs = ray.wait(refs, timeout=0)\n    if ready:\n"
            "        break",
            "ready, refs = ray.wait(refs)  # sleeps until one is ready",
        ),
    )
}
