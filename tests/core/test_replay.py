"""The core is deterministic: the same stimuli give the same effects, in every process."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys

from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode


def busy_hour(seed: int) -> SimulatedNode:
    """A run with a bit of everything."""
    chance = random.Random(seed)
    node = SimulatedNode(2, 1, capacity=5000, check=lambda core: None)
    drivers = [node.driver(), node.driver()]
    for _ in range(150):
        client = chance.choice([*drivers, *node.busy()])
        refs = [oid for oid in client.values if not oid.endswith(b"\0" * 12)]
        deps = chance.sample(refs, min(len(refs), chance.randrange(3)))
        match chance.randrange(8):
            case 0:
                actor = client.create_actor(actor_spec(), deps, max_restarts=1)
                client.submit(method_spec(retries=1), actor=actor)
            case 1:
                if node.busy():
                    chance.choice(node.busy()).crash()
            case 2:
                if refs:
                    client.cancel(chance.choice(refs), force=chance.random() < 0.5)
            case 3 | 4:
                for worker in node.busy():
                    worker.finish(sizes=[chance.choice([8, 300])])
            case _:
                client.submit(task_spec("f", gpus=chance.choice([0, 0.5]), retries=1), deps)
        node.advance(0.1)
    node.settle()
    return node


def digest(node: SimulatedNode) -> str:
    text = "\n".join(f"{sorted(e.out.items())} {e.actions}" for e in node.effects)
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_same_stimuli_give_the_same_effects() -> None:
    node = busy_hour(1)
    replayed = node.replayed()
    assert len(replayed) == len(node.effects) > 300
    for step, (first, second) in enumerate(zip(node.effects, replayed, strict=True)):
        assert first.out == second.out, f"step {step}"
        assert first.actions == second.actions, f"step {step}"


def test_runs_do_not_depend_on_the_hash_seed() -> None:
    """Nothing is decided by the order of a set of bytes or texts."""
    code = f"import runpy; g = runpy.run_path({__file__!r}); print(g['digest'](g['busy_hour'](2)))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
