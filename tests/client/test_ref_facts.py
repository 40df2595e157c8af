"""Which variables hold a ref, and what the node is told of it."""

from __future__ import annotations

import fanlight
from fanlight import messages as m
from fanlight.client import ref_facts


def test_variables_and_where_it_was_put():
    with fanlight.init(engine="inproc", num_cpus=1):
        ref = fanlight.put("x" * 200_000)
        many = [fanlight.put(i) for i in range(3)]
        space = {
            "a": ref, "b": {"k": [ref], "r": ref}, "many": many, "_hidden": ref, "In": [""],
            "Out": {3: ref, 4: 5}, "huge": [ref] * 20_000,
        }  # fmt: skip
        found = ref_facts.variables(space)
        assert found[ref._id] == ["a", "b", "Out[3]"]
        assert found[many[1]._id] == ["many"]
        sent: list[m.RefFacts] = []
        ref_facts.answer([ref._id, b"?" * 28], sent.extend)
        known, unknown = sent[0].rows
        assert (known.file, unknown.file) == (__file__, "")
        assert known.time > 0 and known.line > 0
        assert unknown == m.RefFact(b"?" * 28, [])
